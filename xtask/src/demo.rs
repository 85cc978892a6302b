//! `record-demo`: makes the recording that ships with the repository, by really doing what it shows. Needed
//! again when the records' ABI changes.
//!
//! Everything happens in a network namespace of its own, which is gone afterwards; whatever else the machine
//! does meanwhile is recorded too, so run it on a quiet one.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{command, packages, workspace};

/// What happens in the demonstration, one line each.
const SCRIPT: &str = r"
ip link set lo up
nft add table inet demo
nft add chain inet demo output '{ type filter hook output priority 0; }'
nft add rule inet demo output tcp dport 5432 drop
busybox httpd -f -p 127.0.0.1:8000 -h /usr/share/doc &
web=$!
sleep 0.3
curl -s -o /dev/null http://127.0.0.1:8000/
curl -s -o /dev/null http://127.0.0.1:8000/
curl -s -o /dev/null http://127.0.0.1:1/
curl -s -o /dev/null -g 'http://[::1]:443/'
curl -s -o /dev/null http://192.0.2.10/
curl -s -o /dev/null --max-time 0.4 http://127.0.0.1:5432/
ssh -o BatchMode=yes -o ConnectTimeout=1 127.0.0.1
bash -c 'echo metric > /dev/udp/127.0.0.1/8125'
sleep 0.2
kill $web
true
";

/// What the script calls.
const PACKAGES: &[packages::Package] = &[
    packages::Package { debian: "curl", provides: "curl" },
    packages::Package { debian: "openssh-client", provides: "ssh" },
    packages::Package { debian: "busybox-static", provides: "busybox" },
    packages::Package { debian: "nftables", provides: "nft" },
    packages::Package { debian: "iproute2", provides: "ip" },
];

/// Records the script.
pub(crate) fn job() -> Result<()> {
    let root = workspace::root()?;
    if !packages::is_root()? {
        bail!("recording a live run needs root: sudo -E cargo xtask record-demo");
    }
    packages::ensure(&root, PACKAGES)?;
    command::run(command::cargo(&root).args([
        "build",
        "--package",
        "netspy-server",
        "--bin",
        "netspy-server",
    ]))?;
    let trace = root.join("netspy-server/traces/demo.netspy");
    let database = workspace::target(&root).join("record-demo.db");
    let mut server = Command::new(workspace::target(&root).join("debug/netspy-server"))
        .args(["--port", "0", "--db"])
        .arg(database)
        .arg("--record")
        .arg(&trace)
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the server")?;
    let mut log = BufReader::new(server.stderr.take().context("the server has no log")?).lines();
    let serving = log.by_ref().map_while(Result::ok).any(|line| line.contains("serving on "));
    let acted = serving.then(|| {
        let path = workspace::search_path(&root);
        command::run(Command::new("unshare").args(["--net", "sh", "-c", SCRIPT]).env("PATH", path))
    });
    command::run(Command::new("kill").arg(server.id().to_string()))?;
    let ended = server.wait()?;
    acted.context("the server did not start")??;
    if !ended.success() {
        bail!("the server ended with {ended}");
    }
    println!("{}", trace.display());
    Ok(())
}
