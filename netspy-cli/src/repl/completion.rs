//! What the Tab key offers: commands first, then the flags of the command. Read from the grammar itself.

use clap::{Command, CommandFactory, ValueEnum};
use rustyline::completion::Completer;
use rustyline::{Context, Helper, Highlighter, Hinter, Validator};

use crate::cli::Line;
use crate::output::Format;

#[derive(Helper, Highlighter, Hinter, Validator)]
pub(super) struct Completion;

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, end: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(offers(&line[..end]))
    }
}

/// Where the word under the cursor begins, and what it may become.
fn offers(typed: &str) -> (usize, Vec<String>) {
    let start = typed.rfind(char::is_whitespace).map_or(0, |space| space + 1);
    let (before, word) = typed.split_at(start);
    let mut grammar = Line::command();
    grammar.build();
    let mut words = before.split_whitespace();
    let candidates = match (words.next(), words.last()) {
        (None, _) | (Some("help"), None) => commands(&grammar),
        (Some(_), Some("-o" | "--output")) => formats(),
        (Some(command), _) => grammar.find_subcommand(command).map(flags).unwrap_or_default(),
    };
    // A space after a whole word: the next thing to type is another word.
    let fitting = candidates.into_iter().filter(|candidate| candidate.starts_with(word));
    (start, fitting.map(|candidate| candidate + " ").collect())
}

fn formats() -> Vec<String> {
    Format::value_variants()
        .iter()
        .filter_map(|f| Some(f.to_possible_value()?.get_name().to_owned()))
        .collect()
}

fn commands(grammar: &Command) -> Vec<String> {
    let names = grammar.get_subcommands().flat_map(|command| {
        std::iter::once(command.get_name().to_owned()).chain(command.get_all_aliases().map(str::to_owned))
    });
    names.collect()
}

fn flags(command: &Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_flags_are_offered() {
        assert_eq!(offers("dropl"), (0, vec!["droplist ".to_owned()]));
        assert_eq!(offers("e"), (0, vec!["exit ".to_owned()]));
        assert_eq!(offers("list --max"), (5, vec!["--max-events ".to_owned()]));
        assert_eq!(offers("help summ"), (5, vec!["summary ".to_owned()]));
        assert_eq!(offers("list -o j"), (8, vec!["json ".to_owned()]));
        assert_eq!(offers("nonsense --"), (9, vec![]));
        assert_eq!(offers("list --process bä"), (15, vec![]));
    }
}
