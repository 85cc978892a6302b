//! The earlier netspy's spelling of flags: `-tool x`, `-pid=3`. Rewritten before clap sees them.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Command;

/// Adds the second dash to a long flag that was written with one. Values of flags, real short flags and
/// everything after `--` stay as they are.
pub(crate) fn normalise<S: Into<OsString>>(
    grammar: &Command,
    arguments: impl Iterator<Item = S>,
) -> Vec<OsString> {
    let flags = long_flags(grammar);
    let mut result = Vec::new();
    let mut is_value = false;
    let mut is_flag_free = false;
    for argument in arguments.map(Into::into) {
        let text = argument.to_str().unwrap_or_default();
        is_flag_free |= text == "--" && !is_value;
        if is_value || is_flag_free {
            is_value = false;
            result.push(argument);
            continue;
        }
        let (name, has_value) = match text.split_once('=') {
            Some((name, _)) => (name, true),
            None => (text, false),
        };
        let takes_value = name.strip_prefix('-').and_then(|n| flags.get(n.strip_prefix('-').unwrap_or(n)));
        is_value = takes_value == Some(&true) && !has_value;
        if takes_value.is_some() && !name.starts_with("--") {
            result.push(format!("-{text}").into());
        } else {
            result.push(argument);
        }
    }
    result
}

/// Every long flag of the grammar and whether the word after it is its value.
fn long_flags(grammar: &Command) -> BTreeMap<String, bool> {
    let mut flags = BTreeMap::from([("help".to_owned(), false), ("version".to_owned(), false)]);
    for command in std::iter::once(grammar).chain(grammar.get_subcommands()) {
        for argument in command.get_arguments() {
            let takes_value = argument.get_action().takes_values() && !argument.is_require_equals_set();
            let names = argument.get_long_and_visible_aliases().into_iter().flatten();
            let aliases = argument.get_all_aliases().into_iter().flatten();
            flags.extend(names.chain(aliases).map(|name| (name.to_owned(), takes_value)));
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::{Cli, Line};

    fn normal(arguments: &[&str]) -> Vec<OsString> {
        normalise(&Cli::command(), arguments.iter())
    }

    #[test]
    fn one_dash_becomes_two() {
        assert_eq!(
            normal(&[
                "netspy",
                "-tool",
                "x",
                "-pid=3",
                "-max-events",
                "4",
                "-max_events=1",
                "-help",
                "-verbose=true"
            ]),
            [
                "netspy",
                "--tool",
                "x",
                "--pid=3",
                "--max-events",
                "4",
                "--max_events=1",
                "--help",
                "--verbose=true"
            ]
        );
        let line = normalise(&Line::command(), ["list", "-process", "curl"].iter());
        assert_eq!(line, ["list", "--process", "curl"]);
    }

    #[test]
    fn everything_else_stays() {
        for kept in [
            &["netspy", "-o", "json", "-v", "-V", "-h", "-ojson", "-"][..],
            &["netspy", "list", "--process", "-pid", "--pid", "-5"],
            &["netspy", "-unknown", "-x=3", "--pid=3", "--verbose"],
            &["netspy", "--", "-pid", "3"],
        ] {
            assert_eq!(normal(kept), kept);
        }
    }
}
