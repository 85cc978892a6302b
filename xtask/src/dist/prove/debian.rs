//! A Debian below a directory: bootstrapped once, and copied for each use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command;
use crate::packages::{self, Package};
use crate::vm::apt::{self, RELEASE};

/// What every one has: what the package depends on.
const ALWAYS: &[&str] = &["init-system-helpers", "passwd", "util-linux"];

/// A copy, to be spoilt.
pub(super) struct Debian {
    pub(super) root: PathBuf,
}

impl Debian {
    /// One with these packages besides the essential ones; `name` is its own below `out`.
    pub(super) fn make(root: &Path, out: &Path, name: &str, packages: &[&str]) -> Result<Self> {
        packages::ensure(root, &[Package { debian: "debootstrap", provides: "debootstrap" }])?;
        let pristine = out.join("debian").join(name);
        let included = [ALWAYS, packages].concat().join(",");
        let stamp = pristine.join("var/lib/misc/included");
        if fs::read_to_string(&stamp).is_ok_and(|made| made != included) {
            fs::remove_dir_all(&pristine)?;
        }
        apt::directory_once(&pristine, |partial| {
            println!("making a Debian in {}", pristine.display());
            let mut debootstrap = Command::new("debootstrap");
            debootstrap.args(["--variant=minbase", &format!("--include={included}"), RELEASE]).arg(partial);
            command::output(&mut debootstrap)?;
            Ok(fs::write(partial.join("var/lib/misc/included"), &included)?)
        })?;
        let used = out.join("debian").join(format!("{name}-used"));
        if used.exists() {
            fs::remove_dir_all(&used)?;
        }
        command::run(Command::new("cp").arg("--archive").arg(&pristine).arg(&used))?;
        Ok(Self { root: used })
    }

    /// A command in there, in namespaces of its own, with `/proc` and `/sys` as a service has them; `script` ends it.
    pub(super) fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("unshare");
        let script = format!(
            "mount --bind \"$0\" \"$0\" && mount -t proc proc \"$0/proc\" && mount --rbind /sys \"$0/sys\" && exec chroot \"$0\" sh -c '{script}'"
        );
        command.args(["--mount", "--", "sh", "-c", &script]).arg(&self.root);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// What it prints, if it succeeds.
    pub(super) fn run(&self, words: &[&str]) -> Result<String> {
        command::text(&mut self.shell(&words.join(" ")))
    }

    /// dpkg with a package of this machine.
    pub(super) fn dpkg(&self, action: &str, package: &Path) -> Result<()> {
        let name = package.file_name().context("a package has a name")?;
        fs::copy(package, self.root.join("tmp").join(name))?;
        self.run(&["dpkg", action, &format!("/tmp/{}", name.to_string_lossy())])?;
        Ok(fs::remove_file(self.root.join("tmp").join(name))?)
    }

    /// Every file and directory but what dpkg and others write for themselves: logs, locks, copies of the files of users.
    pub(super) fn files(&self) -> Result<Vec<String>> {
        let own = ["/var/log/*", "/var/lib/dpkg/*", "/var/cache/*", "/var/lib/systemd*", "/etc/*-", "*.lock"];
        let others: String = own.map(|path| format!(" -not -path \"{path}\"")).concat();
        let all = self.run(&["find / -xdev", &others])?;
        Ok(all.lines().map(str::to_owned).collect())
    }
}
