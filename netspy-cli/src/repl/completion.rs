//! What the Tab key offers: commands, the flags of the command, and for a flag the values that were really seen.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use clap::{Command, CommandFactory, ValueEnum};
use netspy_api::Client;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::{Context, Helper, Validator};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::hint::{self, Shown};
use super::word::{self, Word};
use crate::cli::{Line, SETTINGS};
use crate::output::Format;
use crate::registry::Seen;
use crate::render::escape;

/// How long a key may seem dead.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long what was seen is remembered: Tab is often pressed twice.
const FRESH: Duration = Duration::from_secs(3);
/// Lengths for `--since` that one may start from.
const LENGTHS: [&str; 5] = ["1m", "10m", "1h", "6h", "1d"];
const DIRECTIONS: [&str; 2] = ["outbound", "inbound"];

#[derive(Helper, Validator)]
pub(super) struct Completion {
    pub(super) client: Client,
    pub(super) runtime: Handle,
    pub(super) is_coloured: bool,
    pub(super) seen: RefCell<Option<(Instant, Seen)>>,
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, end: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(offers(&line[..end], || self.seen()))
    }
}

impl Hinter for Completion {
    type Hint = Shown;

    fn hint(&self, line: &str, end: usize, context: &Context<'_>) -> Option<Shown> {
        hint::hint(line, end, context)
    }
}

impl Highlighter for Completion {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.is_coloured { Cow::Owned(format!("\x1b[2m{hint}\x1b[0m")) } else { Cow::Borrowed(hint) }
    }
}

impl Completion {
    /// A server that does not answer at once has seen nothing.
    fn seen(&self) -> Seen {
        if let Some((when, seen)) = &*self.seen.borrow()
            && when.elapsed() < FRESH
        {
            return seen.clone();
        }
        let look = async { timeout(PATIENCE, Seen::look(&self.client)).await };
        let seen = self.runtime.block_on(look).unwrap_or_default();
        *self.seen.borrow_mut() = Some((Instant::now(), seen.clone()));
        seen
    }
}

/// Where the word under the cursor begins, and what it may become.
fn offers(typed: &str, seen: impl FnOnce() -> Seen) -> (usize, Vec<String>) {
    let Word { start, text, before } = word::last(typed);
    let mut grammar = Line::command();
    grammar.build();
    let command = before.first().map(String::as_str);
    let candidates = match (command, before[1.min(before.len())..].last().map(String::as_str)) {
        (None, _) | (Some("help"), None) => commands(&grammar),
        (Some("unset"), _) => SETTINGS.map(str::to_owned).into(),
        (Some(_), Some("-o" | "--output")) => formats(),
        (Some(_), Some("--direction")) => DIRECTIONS.map(str::to_owned).into(),
        (Some(_), Some("--since")) => LENGTHS.map(str::to_owned).into(),
        (Some(_), Some("--process")) => seen().names.into_iter().collect(),
        (Some(_), Some("--pid")) => seen().pids.into_iter().collect(),
        (Some(_), Some("--to")) => seen().addresses.into_iter().collect(),
        (Some(_), Some("--port")) => seen().ports.into_iter().collect(),
        (Some(command), _) => grammar.find_subcommand(command).map(flags).unwrap_or_default(),
    };
    // Once each, in order; what cannot be shown cannot be chosen either.
    let fitting: BTreeSet<_> = candidates
        .into_iter()
        .filter(|candidate| candidate.starts_with(&text) && escape::text(candidate) == candidate.as_str())
        .collect();
    // A space after a whole word: the next thing to type is another word.
    (start, fitting.iter().map(|candidate| word::quoted(candidate) + " ").collect())
}

fn formats() -> Vec<String> {
    Format::value_variants().iter().map(|format| format.name()).collect()
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

    fn offered(typed: &str) -> (usize, Vec<String>) {
        let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let seen = || Seen {
            names: set(&["curl", "cupsd", "my app", "\u{1b}[2Jevil", "it's"]),
            pids: set(&["7", "42"]),
            addresses: set(&["10.0.0.1", "::1"]),
            ports: set(&["443", "5432"]),
        };
        offers(typed, seen)
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn commands_and_flags_are_offered() {
        assert_eq!(offered("dropl"), (0, words(&["droplist "])));
        assert_eq!(offered("e"), (0, words(&["exit "])));
        assert_eq!(offered("list --max"), (5, words(&["--max-events "])));
        assert_eq!(offered("help summ"), (5, words(&["summary "])));
        assert_eq!(offered("list -o j"), (8, words(&["json "])));
        assert_eq!(offered("unset pro"), (6, words(&["process "])));
        assert_eq!(offered("nonsense --"), (9, vec![]));
        assert_eq!(offered("list --process bä"), (15, vec![]));
    }

    #[test]
    fn values_are_those_that_were_seen() {
        assert_eq!(offered("list --process cu"), (15, words(&["cupsd ", "curl "])));
        assert_eq!(offered("list --pid 4"), (11, words(&["42 "])));
        assert_eq!(offered("why --to "), (9, words(&["10.0.0.1 ", "::1 "])));
        assert_eq!(offered("why --port 5"), (11, words(&["5432 "])));
        assert_eq!(offered("why --since 1h"), (12, words(&["1h "])));
        assert_eq!(offered("list --direction in"), (17, words(&["inbound "])));
    }

    #[test]
    fn names_are_quoted_where_they_must_be_and_left_out_where_they_deceive() {
        assert_eq!(offered("list --process my"), (15, words(&["'my app' "])));
        assert_eq!(offered("list --process 'my a"), (15, words(&["'my app' "])));
        assert_eq!(offered("list --process it"), (15, words(&["\"it's\" "])));
        assert_eq!(offered("list --process \u{1b}"), (15, vec![]));
    }
}
