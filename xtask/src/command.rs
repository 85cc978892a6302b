//! Child processes: started with a message that says what failed, never silently.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// A cargo of the workspace's own toolchain, run at the root, with our tools on `PATH`.
pub(crate) fn cargo(root: &Path) -> Command {
    this_cargo(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), root)
}

/// The same with another cargo.
pub(crate) fn this_cargo(program: impl AsRef<OsStr>, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root).env("PATH", workspace::search_path(root));
    // `cargo run` describes *this* package in the environment; a nested cargo must not inherit that.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(describes_running_package) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether cargo set this variable only to tell `cargo run`'s program about its own package.
pub(crate) fn describes_running_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || ["CARGO_CRATE_NAME", "CARGO_BIN_NAME", "CARGO_PRIMARY_PACKAGE"].contains(&name)
}

/// Runs to the end with the terminal inherited; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs to the end and returns what it printed; its stderr is part of the error when it fails.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    let line = describe(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(output)
}

/// Like [`output`], as text.
pub(crate) fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?.stdout).into_owned())
}

/// Runs to the end with stderr inherited, and gives each line to `read` as soon as it is printed.
pub(crate) fn lines(command: &mut Command, mut read: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let line = describe(command);
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = started.with_context(|| format!("cannot start `{line}`"))?;
    let printed = child.stdout.take().context("stdout is not piped")?;
    let read = BufReader::new(printed).lines().try_for_each(|printed| read(&printed?));
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    read
}

/// The command as one line for messages, without the environment.
fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_its_stderr() {
        let error =
            output(Command::new("sh").args(["-c", "echo reason >&2; exit 3"])).unwrap_err().to_string();
        assert!(
            error.contains("sh -c") && error.contains("exit status: 3") && error.contains("reason"),
            "{error}"
        );
    }

    #[test]
    fn only_the_running_packages_description_is_dropped() {
        assert!(describes_running_package("CARGO_PKG_NAME"));
        assert!(!describes_running_package("CARGO_TARGET_DIR"));
        assert!(!describes_running_package("CARGO_HOME"));
    }
}
