//! The package's life in a Debian of its own: installed, run as the user that it made, upgraded, purged, and nothing
//! is left. systemd does not run there; what its unit gives is given by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{command, packages};

/// What the unit's `AmbientCapabilities=` are, and `CAP_SYSLOG` for the symbols that it opens itself here.
const CAPABILITIES: &str = "+bpf,+perfmon,+sys_ptrace,+dac_read_search,+sys_admin,+syslog";
const SUITE: &str = "bookworm";
/// What a package has to get along with.
const INCLUDED: &str = "--include=init-system-helpers,passwd,util-linux";
const START_LIMIT: Duration = Duration::from_secs(30);

/// Fails unless everything is as it should be.
pub(super) fn job(root: &Path, out: &Path, package: &Path, newer: &Path) -> Result<()> {
    packages::ensure(root, &[packages::Package { debian: "debootstrap", provides: "debootstrap" }])?;
    let debian = Debian::make(out)?;
    let before = debian.files()?;

    debian.dpkg("--install", package)?;
    debian.run(&["netspy-server", "config"])?;
    let settings = debian.run(&["stat", "--format", "%a:%U", "/etc/netspy/server.toml"])?;
    ensure!(settings.trim() == "644:root", "/etc/netspy/server.toml is {settings}");
    for unit in ["sockets.target.wants/netspy-server.socket", "multi-user.target.wants/netspy-server.service"]
    {
        let link = debian.root.join("etc/systemd/system").join(unit);
        ensure!(link.is_symlink(), "{unit} is not enabled");
    }
    debian.serves()?;

    let edited = debian.root.join("etc/netspy/server.toml");
    fs::write(&edited, "keep-for = \"3d\"\n")?;
    debian.dpkg("--install", newer)?;
    let kept = debian.run(&["netspy-server", "config"])?;
    ensure!(kept.contains("file /etc/netspy/server.toml"), "the upgrade took the settings away:\n{kept}");
    debian.serves()?;

    debian.run(&["dpkg", "--remove", "netspy"])?;
    ensure!(edited.exists(), "removing is not purging: the settings must stay");
    debian.run(&["dpkg", "--purge", "netspy"])?;
    let after = debian.files()?;
    let left: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    let users = fs::read_to_string(debian.root.join("etc/passwd"))?;
    ensure!(!users.contains("netspy"), "the user is left behind");
    println!("installed, served, upgraded, served, removed, purged: nothing is left");
    Ok(())
}

/// A Debian below a directory.
struct Debian {
    root: PathBuf,
}

impl Debian {
    /// Bootstraps it once, and begins each time from a copy.
    fn make(out: &Path) -> Result<Self> {
        let (pristine, root) = (out.join("debian"), out.join("debian-used"));
        if !pristine.join("usr/bin/dpkg").exists() {
            println!("making a Debian in {}", pristine.display());
            let mut debootstrap = Command::new("debootstrap");
            debootstrap.args(["--variant=minbase", INCLUDED, SUITE]).arg(&pristine);
            command::output(&mut debootstrap)?;
        }
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        command::run(Command::new("cp").arg("--archive").arg(&pristine).arg(&root))?;
        Ok(Self { root })
    }

    /// A command in there, in namespaces of its own, with `/proc` and `/sys` as a service has them; `script` ends it.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("unshare");
        let script = format!(
            "mount --bind \"$0\" \"$0\" && mount -t proc proc \"$0/proc\" && mount --rbind /sys \"$0/sys\" && exec chroot \"$0\" sh -c '{script}'"
        );
        command.args(["--mount", "--", "sh", "-c", &script]).arg(&self.root);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        command::text(&mut self.shell(&words.join(" ")))
    }

    fn dpkg(&self, action: &str, package: &Path) -> Result<()> {
        let name = package.file_name().context("a package has a name")?;
        fs::copy(package, self.root.join("tmp").join(name))?;
        self.run(&["dpkg", action, &format!("/tmp/{}", name.to_string_lossy())])?;
        Ok(fs::remove_file(self.root.join("tmp").join(name))?)
    }

    /// Every file and directory but what dpkg and others write for themselves: logs, locks, copies of the files of users.
    fn files(&self) -> Result<Vec<String>> {
        let own = ["/var/log/*", "/var/lib/dpkg/*", "/var/cache/*", "/var/lib/systemd*", "/etc/*-", "*.lock"];
        let others: String = own.map(|path| format!(" -not -path \"{path}\"")).concat();
        let all = self.run(&["find / -xdev", &others])?;
        Ok(all.lines().map(str::to_owned).collect())
    }

    /// Starts the server as its user with the unit's capabilities, and asks it through its socket.
    fn serves(&self) -> Result<()> {
        self.run(&["install -d -o netspy -g netspy /var/lib/netspy /run/netspy"])?;
        let start = format!(
            "exec setpriv --reuid netspy --regid netspy --clear-groups --inh-caps={CAPABILITIES} \
             --ambient-caps={CAPABILITIES} -- netspy-server --listen off"
        );
        let mut server = Server(self.shell(&start).stdin(Stdio::null()).spawn()?);
        let begun = Instant::now();
        loop {
            let asked = self.run(&["netspy --server unix:/run/netspy/netspy.sock status"]);
            match asked {
                Ok(status) => {
                    ensure!(status.contains("connection"), "the server's status is odd:\n{status}");
                    break;
                }
                Err(error) if begun.elapsed() > START_LIMIT => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
            if let Some(status) = server.0.try_wait()? {
                bail!("the server ended: {status}");
            }
        }
        server.stop()
    }
}

/// A server that does not outlive this job.
struct Server(Child);

impl Server {
    fn stop(&mut self) -> Result<()> {
        command::run(Command::new("kill").arg(self.0.id().to_string()))?;
        let status = self.0.wait()?;
        ensure!(status.success(), "told to stop, the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
