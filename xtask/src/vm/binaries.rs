//! The programs under test, linked statically so that they run in a guest that has no libraries.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What the guest runs.
pub(super) struct Binaries {
    /// `netspy-server`.
    pub(super) server: PathBuf,
    /// The integration test `live` of netspy-server.
    pub(super) scenarios: PathBuf,
}

/// Builds both. `target/static` is theirs alone: other flags there do not throw away the everyday build.
pub(super) fn build(root: &Path) -> Result<Binaries> {
    println!("building the static server and scenarios");
    let server =
        executables(cargo(root).args(["build", "--package", "netspy-server", "--bin", "netspy-server"]))?;
    let scenarios =
        executables(cargo(root).args(["test", "--package", "netspy-server", "--test", "live", "--no-run"]))?;
    Ok(Binaries { server: named(&server, "netspy-server")?, scenarios: named(&scenarios, "live")? })
}

fn cargo(root: &Path) -> Command {
    let mut cargo = command::cargo(root);
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"); // either would hide the line above
    cargo.env("CARGO_TARGET_DIR", workspace::target(root).join("static"));
    // Emulation is slow: a little optimisation repays itself; DWARF would only fill the guest's memory.
    cargo.envs([("CARGO_PROFILE_DEV_OPT_LEVEL", "1"), ("CARGO_PROFILE_DEV_DEBUG", "0")]);
    cargo.envs([("CARGO_PROFILE_TEST_OPT_LEVEL", "1"), ("CARGO_PROFILE_TEST_DEBUG", "0")]);
    cargo
}

/// Runs the build; its executables as (target's name, file).
fn executables(cargo: &mut Command) -> Result<Vec<(String, PathBuf)>> {
    cargo.args(["--quiet", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    let output =
        cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the static build failed: {}", output.status);
    }
    Ok(executables_in(&String::from_utf8_lossy(&output.stdout)))
}

fn executables_in(messages: &str) -> Vec<(String, PathBuf)> {
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let file = message["executable"].as_str()?;
        Some((message["target"]["name"].as_str()?.to_owned(), file.into()))
    };
    messages.lines().filter_map(executable).collect()
}

fn named(executables: &[(String, PathBuf)], name: &str) -> Result<PathBuf> {
    let found = executables.iter().find(|(target, _)| target == name);
    found.map(|(_, file)| file.clone()).with_context(|| format!("cargo built no executable {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"netspy_common"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"live"},"executable":"/t/live-0123"}
{"reason":"build-finished","success":true}
a scenario printed this
"#;
        let found = executables_in(messages);
        assert_eq!(named(&found, "live").unwrap(), PathBuf::from("/t/live-0123"));
        assert!(named(&found, "netspy-server").is_err());
    }
}
