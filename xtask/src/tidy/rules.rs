//! The rules: pure functions from a file's path and text to violations.

use std::fmt;
use std::path::Path;

use super::code;

/// Lines that a Rust file may have: above that it owns more than one thing.
const LONGEST_FILE: usize = 450;

/// Crates that one place alone may know, so that replacing them touches nothing else.
/// (crate, the paths that may import it, why)
const CONFINED: &[(&str, &[&str], &str)] = &[
    ("aya", KERNEL_SOURCE, "only the kernel source loads programs"),
    ("aya_log", KERNEL_SOURCE, "only the kernel source loads programs"),
    ("rusqlite", &["netspy-server/src/store/", "netspy-server/src/store.rs"], "only the store speaks SQL"),
    (
        "axum",
        &[
            "netspy-server/src/http/",
            "netspy-server/src/http.rs",
            "netspy-server/src/access/",
            "netspy-cli/src/mcp/",
        ],
        "only http/, the access before it and mcp/ know the web framework",
    ),
    ("prometheus_client", &["netspy-server/src/http/"], "only http/ knows how metrics are written"),
    ("rmcp", &["netspy-cli/src/mcp/", "netspy-cli/src/mcp.rs"], "only mcp/ knows the protocol library"),
    ("async_openai", &["netspy-cli/src/ai/"], "only ai/ talks to a model"),
];

const KERNEL_SOURCE: &[&str] = &["netspy-server/src/source/kernel/", "netspy-server/src/source/kernel.rs"];

/// Parts of the server that know the domain and never each other.
const SIBLINGS: &[&str] = &["source", "store", "http", "enrich"];

/// Words that say "not finished". Put together here so that this file does not contain them.
const LEFTOVERS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const LEFTOVERS_IN_CODE: &[&str] = &["todo!", "unimplemented!", "#[ignore"];

/// Where events are named, and the table that must have them all.
const LADDER: &str = "netspy-server/src/source/kernel/ladder/events.rs";
const KERNELS_TABLE: &str = "docs/kernels.md";

/// The two commands that a newcomer needs.
const README_COMMANDS: &[&str] = &["cargo xtask run", "cargo xtask test"];

/// One broken rule.
#[derive(Debug, PartialEq)]
pub(super) struct Violation {
    path: String,
    line: usize,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Collects violations of one file.
struct Report<'a> {
    path: &'a str,
    violations: Vec<Violation>,
}

impl Report<'_> {
    fn add(&mut self, line: usize, message: impl Into<String>) {
        self.violations.push(Violation { path: self.path.to_owned(), line, message: message.into() });
    }
}

/// Every rule over every file.
pub(super) fn check_all(files: &[(String, String)]) -> Vec<Violation> {
    let mut violations: Vec<Violation> = files.iter().flat_map(|(path, text)| check(path, text)).collect();
    check_kernels_table(files, &mut violations);
    if !files.iter().any(|(path, _)| path == "README.md") {
        violations.push(Violation { path: "README.md".into(), line: 1, message: "is missing".into() });
    }
    violations
}

/// Each event of the ladder has a row in the table that is made from runs on real kernels.
fn check_kernels_table(files: &[(String, String)], violations: &mut Vec<Violation>) {
    let text = |wanted: &str| files.iter().find(|(path, _)| path == wanted).map(|(_, text)| text.as_str());
    let (Some(ladder), table) = (text(LADDER), text(KERNELS_TABLE).unwrap_or_default()) else { return };
    let names = numbered(ladder).filter_map(|(number, line)| {
        Some((number, line.trim().strip_prefix("name: \"")?.split_once('"')?.0))
    });
    for (line, name) in names.filter(|(_, name)| !table.contains(&format!("\n| {name} |"))) {
        let message = format!("`{name}` has no row in {KERNELS_TABLE}: run `cargo xtask vm --write`");
        violations.push(Violation { path: LADDER.into(), line, message });
    }
}

/// Every rule over one file.
fn check(path: &str, text: &str) -> Vec<Violation> {
    let mut report = Report { path, violations: Vec::new() };
    check_whitespace(text, &mut report);
    check_leftovers(text, &mut report);
    if path == "README.md" {
        check_readme(text, &mut report);
    }
    if has_extension(path, "rs") {
        let code = code::only(text);
        check_shape(text, &mut report);
        check_unfinished_code(&code, &mut report);
        check_unsafe(&code, &mut report);
        check_confined(&code, &mut report);
        check_siblings(&code, &mut report);
    }
    report.violations.sort_by_key(|violation| violation.line);
    report.violations
}

fn check_whitespace(text: &str, report: &mut Report<'_>) {
    // A snapshot is what a program printed, trailing spaces included.
    if has_extension(report.path, "snap") {
        return;
    }
    for (number, line) in numbered(text) {
        if line.ends_with('\r') {
            report.add(number, "ends with a carriage return");
        } else if line.ends_with([' ', '\t']) {
            report.add(number, "trailing whitespace");
        }
    }
}

fn check_leftovers(text: &str, report: &mut Report<'_>) {
    // Generated; the names of other people's crates are not ours to finish.
    if has_extension(report.path, "lock") {
        return;
    }
    for (number, line) in numbered(text) {
        for leftover in LEFTOVERS.iter().filter(|word| has_word(line, word)) {
            report.add(number, format!("{leftover}: finish it or write down the decision"));
        }
    }
}

fn check_readme(text: &str, report: &mut Report<'_>) {
    for command in README_COMMANDS.iter().filter(|command| !text.contains(**command)) {
        report.add(1, format!("does not name `{command}`"));
    }
}

fn check_shape(text: &str, report: &mut Report<'_>) {
    if !text.starts_with("//!") {
        report.add(1, "does not open with `//!`: say what the file owns and what it does not");
    }
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        report.add(lines, format!("{lines} lines, more than {LONGEST_FILE}: split it by what it owns"));
    }
}

fn check_unfinished_code(code: &str, report: &mut Report<'_>) {
    for (number, line) in numbered(code) {
        for leftover in LEFTOVERS_IN_CODE.iter().filter(|leftover| line.contains(**leftover)) {
            report.add(number, format!("{leftover}: finish it"));
        }
    }
}

fn check_unsafe(code: &str, report: &mut Report<'_>) {
    let allowed =
        report.path.starts_with("netspy-ebpf/") || within(report.path, KERNEL_SOURCE) || is_test(report.path);
    for (number, line) in numbered(code) {
        if !allowed && has_word(line, "unsafe") {
            report.add(number, "`unsafe` outside netspy-ebpf and the server's kernel source");
        }
    }
}

fn check_confined(code: &str, report: &mut Report<'_>) {
    if is_test(report.path) {
        return;
    }
    for (name, allowed, reason) in CONFINED {
        if within(report.path, allowed) {
            continue;
        }
        for (number, line) in numbered(code).filter(|(_, line)| names_crate(line, name)) {
            report.add(number, format!("`{name}` in {:?}: {reason}", line.trim()));
        }
    }
}

/// Whether the line uses the crate: `name::`, or `use name` in any spelling.
fn names_crate(line: &str, name: &str) -> bool {
    words(line, name).any(|at| {
        let (before, after) = (line[..at].trim_end(), line[at + name.len()..].trim_start());
        let is_root = !before.ends_with("::") || before == "::" || before.ends_with(" ::");
        let imported = ["use", "crate"]
            .iter()
            .any(|keyword| words(before, keyword).any(|w| w + keyword.len() == before.len()));
        is_root && (after.starts_with("::") || imported)
    })
}

fn check_siblings(code: &str, report: &mut Report<'_>) {
    let Some(inside) = report.path.strip_prefix("netspy-server/src/") else { return };
    let own = inside.split(['/', '.']).next().unwrap_or_default();
    if !SIBLINGS.contains(&own) {
        return;
    }
    // From the module's own depth, that many `super::` lead to the crate's root too.
    let depth = inside.split('/').filter(|part| *part != "mod.rs").count();
    for root in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&root) {
            if code[..at].ends_with("::") || code[..at].ends_with(code::is_word) {
                continue;
            }
            for (offset, name) in first_segments(&code[at + root.len()..]) {
                if name != own && SIBLINGS.contains(&name) {
                    let line = code[..at + root.len() + offset].matches('\n').count() + 1;
                    report.add(
                        line,
                        format!("`{own}` uses its sibling `{name}`: both may know the domain only"),
                    );
                }
            }
        }
    }
}

/// The first path segments behind `crate::`, with their offsets: one, or those of a group `{a::b, c}`.
fn first_segments(after: &str) -> Vec<(usize, &str)> {
    let Some(group) = after.strip_prefix('{') else { return vec![(0, word_at(after, 0))] };
    let (mut depth, mut expected, mut segments) = (0_usize, true, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expected = true,
            _ if depth == 0 && expected && code::is_word(character) => {
                segments.push((at + 1, word_at(group, at)));
                expected = false;
            }
            _ => {}
        }
    }
    segments
}

fn word_at(text: &str, at: usize) -> &str {
    let rest = &text[at..];
    &rest[..rest.find(|character| !code::is_word(character)).unwrap_or(rest.len())]
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// Test code: a `tests` directory or file, or a file `…_tests.rs`, at any depth.
fn is_test(path: &str) -> bool {
    path.split('/')
        .any(|part| ["tests", "tests.rs", "benches"].contains(&part) || part.ends_with("_tests.rs"))
}

fn within(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

/// Lines with their numbers; unlike `str::lines` it keeps a carriage return.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n').enumerate().map(|(index, line)| (index + 1, line))
}

fn has_word(line: &str, word: &str) -> bool {
    words(line, word).next().is_some()
}

/// Where `word` stands alone, not as a part of a longer identifier.
fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    line.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !line[..*at].ends_with(code::is_word) && !line[at + word.len()..].starts_with(code::is_word)
    })
}

#[cfg(test)]
mod tests;
