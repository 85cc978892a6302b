//! One test for each rule: what breaks it, where that is reported, and what must not be mistaken for it.

use super::*;

/// The violations as `line: message`, of a Rust file that is otherwise in order.
fn rust(path: &str, body: &str) -> Vec<String> {
    found(path, &format!("//! Owns a thing.\n{body}\n"))
}

fn found(path: &str, text: &str) -> Vec<String> {
    check(path, text).iter().map(|violation| format!("{}: {}", violation.line, violation.message)).collect()
}

#[track_caller]
fn assert_one(violations: &[String], start: &str) {
    assert!(violations.len() == 1 && violations[0].starts_with(start), "{violations:?}");
}

#[test]
fn a_violation_reads_as_path_line_message() {
    let violation = Violation { path: "a/b.rs".into(), line: 7, message: "what".into() };
    assert_eq!(violation.to_string(), "a/b.rs:7: what");
}

#[test]
fn a_confined_crate_is_found_in_every_spelling() {
    let path = "netspy-server/src/pipeline/mod.rs";
    for line in
        ["use aya::Ebpf;", "pub use aya;", "use ::aya::Ebpf;", "fn f(e: &aya::Ebpf) {}", "use aya as loader;"]
    {
        assert_one(&rust(path, line), "2: `aya`");
    }
    assert_one(&rust(path, "\nuse aya_log::EbpfLogger;"), "3: `aya_log`");
    assert_one(&rust(path, "use rusqlite::Connection;"), "2: `rusqlite`");
    assert_one(&rust("netspy-cli/src/repl.rs", "use rmcp::Server;"), "2: `rmcp`");
    assert_one(&rust("netspy-server/src/store/mod.rs", "use axum::Router;"), "2: `axum`");
}

#[test]
fn a_confined_crate_is_allowed_at_home_and_in_tests() {
    assert!(rust("netspy-server/src/source/kernel/load.rs", "use aya::Ebpf;").is_empty());
    assert!(rust("netspy-server/src/store/writer.rs", "use rusqlite::Connection;").is_empty());
    assert!(rust("netspy-server/src/access/gate.rs", "use axum::Router;").is_empty());
    assert!(rust("netspy-cli/src/mcp/mod.rs", "use rmcp::Server;").is_empty());
    assert!(rust("netspy-cli/tests/one_shot.rs", "use axum::Router;").is_empty());
    assert!(rust("netspy-server/src/enrich/cache_tests.rs", "use axum::Router;").is_empty());
}

#[test]
fn prose_and_longer_names_are_not_imports() {
    let path = "netspy-server/src/decode.rs";
    for line in [
        "// aya::Ebpf",
        "/* use aya; */",
        "let a = \"aya::Ebpf\";",
        "use aya_ebpf::maps;",
        "domain::aya::f();",
    ] {
        assert_eq!(rust(path, line), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn siblings_do_not_import_each_other() {
    let path = "netspy-server/src/http/list.rs";
    assert_one(&rust(path, "use crate::store::Store;"), "2: `http` uses its sibling `store`");
    assert_one(&rust(path, "use crate::{\n    domain,\n    store::{Store, source},\n};"), "4: `http`");
    assert_one(&rust(path, "use super::super::enrich::Cache;"), "2: `http`");
    assert_one(&rust("netspy-server/src/http/mod.rs", "use super::source::Source;"), "2: `http`");
}

#[test]
fn siblings_know_the_domain_and_themselves() {
    let path = "netspy-server/src/http/list.rs";
    for line in ["use crate::{domain::store, http};", "use super::store::x;", "use crate::http::router;"] {
        assert_eq!(rust(path, line), Vec::<String>::new(), "{line}");
    }
    assert!(rust("netspy-server/src/app.rs", "use crate::{http, store};").is_empty());
}

#[test]
fn unsafe_has_its_places() {
    let block = "fn f() { unsafe { g() } }";
    assert_one(&rust("netspy-server/src/enrich/mod.rs", block), "2: `unsafe`");
    for path in [
        "netspy-ebpf/src/main.rs",
        "netspy-server/src/source/kernel/map.rs",
        "netspy-server/tests/live/main.rs",
    ] {
        assert!(rust(path, block).is_empty(), "{path}");
    }
    assert!(rust("netspy-server/src/enrich/mod.rs", "#![deny(unsafe_code)] // unsafe").is_empty());
}

#[test]
fn a_rust_file_opens_with_its_purpose() {
    assert_one(&found("xtask/src/a.rs", "use std::fs;\n"), "1: does not open");
    assert!(found("netspy-api/data.json", "{}\n").is_empty());
}

#[test]
fn a_file_ends_somewhere() {
    assert_one(&rust("xtask/src/a.rs", &"\n".repeat(LONGEST_FILE)), "452: 452 lines");
    assert!(rust("xtask/src/a.rs", &"\n".repeat(LONGEST_FILE - 2)).is_empty());
    assert!(found("docs/long.md", &"a\n".repeat(LONGEST_FILE * 2)).is_empty());
}

#[test]
fn nothing_is_left_for_later() {
    for word in LEFTOVERS {
        assert_one(&rust("xtask/src/a.rs", &format!("// {word}: later")), "2: ");
        assert_one(&found("docs/a.md", &format!("a\n{word}\n")), "2: ");
        assert!(found("docs/a.md", &format!("mktemp {word}{word}\n")).is_empty());
        assert!(found("Cargo.lock", &format!("{word}\n")).is_empty());
    }
    for code in LEFTOVERS_IN_CODE {
        assert_one(&rust("xtask/src/a.rs", &format!("{code} x")), "2: ");
        assert!(rust("xtask/src/a.rs", &format!("// {code}")).is_empty());
    }
}

#[test]
fn lines_end_where_their_text_ends() {
    assert_one(&found("docs/a.md", "a \nb\n"), "1: trailing whitespace");
    assert_one(&found("docs/a.md", "a\nb\t\n"), "2: trailing whitespace");
    assert_one(&found("docs/a.md", "a\r\n"), "1: ends with a carriage return");
    assert!(found("netspy-cli/tests/snapshots/a.snap", "a \n").is_empty());
}

#[test]
fn the_readme_names_both_commands() {
    assert_one(&found("README.md", "cargo xtask run\n"), "1: does not name `cargo xtask test`");
    assert!(found("README.md", "`cargo xtask run`, `cargo xtask test`\n").is_empty());
    assert_eq!(check_all(&[]).len(), 1, "a missing one is reported");
}

#[test]
fn an_event_needs_its_row_in_the_table_of_kernels() {
    let files = |table: &str| {
        let ladder = "//! x\n    Event {\n        name: \"accept\",\n";
        [("README.md", "cargo xtask run, cargo xtask test"), (LADDER, ladder), (KERNELS_TABLE, table)]
            .map(|(path, text)| (path.to_owned(), text.to_owned()))
    };
    assert_eq!(check_all(&files("| event |\n| accept | kprobe |\n")), []);
    let missing = check_all(&files("| event |\n"));
    assert_eq!((missing.len(), missing[0].line), (1, 3), "{missing:?}");
    assert!(missing[0].message.contains("xtask vm --write"));
}
