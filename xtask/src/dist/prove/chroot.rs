//! The package's life in a Debian of its own: installed, run as the user that it made, upgraded, purged, and nothing
//! is left. systemd does not run there; what its unit gives is given by hand.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::debian::Debian;
use crate::command;

/// What the unit's `AmbientCapabilities=` are, and `CAP_SYSLOG` for the symbols that it opens itself here.
const CAPABILITIES: &str = "+bpf,+perfmon,+sys_ptrace,+dac_read_search,+sys_admin,+syslog";
const START_LIMIT: Duration = Duration::from_secs(30);

/// Fails unless everything is as it should be.
pub(super) fn job(root: &Path, out: &Path, package: &Path, newer: &Path) -> Result<()> {
    let debian = Debian::make(root, out, "minimal", &[])?;
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
    serves(&debian)?;

    let edited = debian.root.join("etc/netspy/server.toml");
    fs::write(&edited, "keep-for = \"3d\"\n")?;
    debian.dpkg("--install", newer)?;
    let kept = debian.run(&["netspy-server", "config"])?;
    ensure!(kept.contains("file /etc/netspy/server.toml"), "the upgrade took the settings away:\n{kept}");
    serves(&debian)?;

    debian.run(&["dpkg", "--remove", "netspy"])?;
    ensure!(edited.exists(), "removing is not purging: the settings must stay");
    debian.run(&["dpkg", "--purge", "netspy"])?;
    let after = debian.files()?;
    let left: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    let users = fs::read_to_string(debian.root.join("etc/passwd"))?;
    ensure!(!users.contains("netspy"), "the user is left behind");
    println!("without systemd: installed, served, upgraded, served, removed, purged: nothing is left");
    Ok(())
}

/// Starts the server as its user with the unit's capabilities, then as root, and asks it through its socket.
fn serves(debian: &Debian) -> Result<()> {
    debian.run(&["install -d -o netspy -g netspy /var/lib/netspy /run/netspy"])?;
    let as_user = format!(
        "setpriv --reuid netspy --regid netspy --clear-groups --inh-caps={CAPABILITIES} --ambient-caps={CAPABILITIES} --"
    );
    for (user, begin, db) in [("netspy", as_user.as_str(), ""), ("root", "", "--db /tmp/root.db")] {
        let start = format!("exec {begin} netspy-server --listen off {db}");
        let mut server = Server(debian.shell(&start).stdin(Stdio::null()).spawn()?);
        let begun = Instant::now();
        loop {
            let asked = debian.run(&["netspy --server unix:/run/netspy/netspy.sock status"]);
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
        let socket = debian.run(&["stat --format %a:%U:%G /run/netspy/netspy.sock"])?;
        ensure!(socket.trim() == format!("660:{user}:netspy"), "the socket of {user}'s server is {socket}");
        server.stop()?;
    }
    debian.run(&["rm /tmp/root.db"]).map(drop)
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
