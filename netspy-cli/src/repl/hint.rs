//! What is shown behind the cursor: how the line went on when it was last typed, or what its command does.

use clap::CommandFactory;
use rustyline::Context;
use rustyline::hint::{Hint, Hinter, HistoryHinter};

use crate::cli::Line;

/// The end of a line, or words about it.
pub(super) struct Shown {
    text: String,
    /// Whether it may be taken over with the right arrow.
    is_typed: bool,
}

impl Hint for Shown {
    fn display(&self) -> &str {
        &self.text
    }

    fn completion(&self) -> Option<&str> {
        self.is_typed.then_some(self.text.as_str())
    }
}

/// The hint for a line with the cursor at its end.
pub(super) fn hint(line: &str, end: usize, context: &Context<'_>) -> Option<Shown> {
    if end < line.len() {
        return None;
    }
    let before = HistoryHinter::new().hint(line, end, context);
    before.map(|text| Shown { text, is_typed: true }).or_else(|| explanation(line))
}

/// Of a command that is whole.
fn explanation(line: &str) -> Option<Shown> {
    let grammar = Line::command();
    let about = grammar.find_subcommand(line.trim_end())?.get_about()?;
    Some(Shown { text: format!("  ({about})"), is_typed: false })
}

#[cfg(test)]
mod tests {
    use rustyline::history::{History, MemHistory};

    use super::*;

    #[test]
    fn the_last_line_like_this_or_what_the_command_does() {
        let mut history = MemHistory::new();
        history.add("list --process curl").unwrap();
        let context = Context::new(&history);
        let shown = |line: &str, end| hint(line, end, &context).map(|hint| (hint.text, hint.is_typed));
        assert_eq!(shown("list --p", 8), Some(("rocess curl".to_owned(), true)));
        assert_eq!(
            shown("status", 6),
            Some(("  (Show what is traced, how, and what was lost)".to_owned(), false))
        );
        assert_eq!(shown("status", 3), None, "the cursor is not at the end");
        assert_eq!(shown("nonsense", 8), None);
        assert_eq!(shown("", 0), None);
    }
}
