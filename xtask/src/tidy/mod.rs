//! `tidy`: the project's own rules, which neither the compiler nor clippy knows.
//!
//! This file finds the files and reports; `rules` judges one file at a time; `code` sees Rust without its comments.

mod code;
mod rules;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use self::rules::Violation;
use crate::{command, workspace};

/// Lists every violation; fails if there is one.
pub(crate) fn job() -> Result<()> {
    let root = workspace::root()?;
    let files = text_files(&root)?;
    let violations: Vec<Violation> = rules::check_all(&files);
    for violation in &violations {
        println!("{violation}");
    }
    if !violations.is_empty() {
        bail!("{} violations of the rules above", violations.len());
    }
    println!("{} files are tidy", files.len());
    Ok(())
}

/// What git tracks or would track, as (path, text); binary files are left out.
fn text_files(root: &Path) -> Result<Vec<(String, String)>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let listing = command::text(&mut git).context("tidy asks git for the list of files")?;
    let mut paths: Vec<&str> = listing.split_terminator('\0').collect();
    paths.sort_unstable();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        // Deleted but not committed yet, or a symbolic link to a directory.
        if !root.join(path).is_file() {
            continue;
        }
        let bytes = fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        if let (false, Ok(text)) = (bytes.contains(&0), String::from_utf8(bytes)) {
            files.push((path.to_owned(), text));
        }
    }
    Ok(files)
}
