//! The programs under test, linked statically so that they run in a guest that has no libraries.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::architecture::Architecture;
use super::cross;
use crate::{command, workspace};

/// What the guest runs.
pub(super) struct Binaries {
    /// `netspy-server`.
    pub(super) server: PathBuf,
    /// The integration test `live` of netspy-server.
    pub(super) scenarios: PathBuf,
}

/// Builds both. `target/static` is theirs alone: other flags there do not throw away the everyday build.
pub(super) fn build(root: &Path, architecture: Architecture) -> Result<Binaries> {
    println!("building the static server and scenarios for {}", architecture.name());
    let executables = |arguments: &[&str]| {
        let mut cargo = cargo(root, architecture)?;
        executables(cargo.args(arguments).args(["--target", &architecture.target()]))
    };
    let server = executables(&["build", "--package", "netspy-server", "--bin", "netspy-server"])?;
    let scenarios = executables(&["test", "--package", "netspy-server", "--test", "live", "--no-run"])?;
    Ok(Binaries { server: named(&server, "netspy-server")?, scenarios: named(&scenarios, "live")? })
}

fn cargo(root: &Path, architecture: Architecture) -> Result<Command> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    let mut cargo = match architecture {
        Architecture::X86_64 => command::cargo(root),
        Architecture::Aarch64 => cross::cargo(root, architecture, &mut flags)?,
    };
    // Of all the ways to give flags the one that wins. With `--target` they are not for what runs on this machine.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.env("CARGO_TARGET_DIR", workspace::target(root).join("static"));
    // Emulation is slow: a little optimisation repays itself; DWARF would only fill the guest's memory.
    cargo.envs([("CARGO_PROFILE_DEV_OPT_LEVEL", "1"), ("CARGO_PROFILE_DEV_DEBUG", "0")]);
    cargo.envs([("CARGO_PROFILE_TEST_OPT_LEVEL", "1"), ("CARGO_PROFILE_TEST_DEBUG", "0")]);
    Ok(cargo)
}

/// Runs the build; its executables as (target's name, file).
fn executables(cargo: &mut Command) -> Result<Vec<(String, PathBuf)>> {
    cargo.args(["--quiet", "--message-format", "json-render-diagnostics"]);
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
