//! `record-demo`: makes the recording that ships with the repository, by really doing what it shows. Needed
//! again when the records' ABI changes.
//!
//! Everything happens in a network namespace of its own, which is gone afterwards; whatever else the machine
//! does meanwhile is recorded too, so run it on a quiet one.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
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
    keep_the_script(&trace, &root)?;
    println!("{}", trace.display());
    Ok(())
}

/// Kind of a frame whose payload is JSON (docs/trace-format.md).
const FACT: u32 = 5;

/// Removes what the recording knows of the machine that made it: its sockets, what runs in the directory that this
/// repository is in or at home, and the ancestors of the script's shell.
fn keep_the_script(trace: &Path, root: &Path) -> Result<()> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let own = [root.parent().unwrap_or(root).as_os_str(), &home].map(OsStr::as_encoded_bytes);
    let is_own = |payload: &[u8]| {
        own.iter().any(|path| path.len() > 1 && payload.windows(path.len()).any(|part| part == *path))
    };
    let recorded = fs::read(trace)?;
    let header = 16 + u32_at(&recorded, 12)? as usize;
    let mut kept = recorded.get(..header).context("the recording has no header")?.to_vec();
    let mut at = header;
    while at < recorded.len() {
        let (kind, length) = (u32_at(&recorded, at)?, u32_at(&recorded, at + 4)? as usize);
        let payload = recorded.get(at + 8..at + 8 + length).context("the recording is cut off")?;
        at += 8 + length;
        let payload = if kind == FACT { without_ancestors(payload)? } else { Some(payload.to_vec()) };
        let Some(payload) = payload.filter(|payload| !is_own(payload)) else {
            continue;
        };
        kept.extend(kind.to_le_bytes());
        kept.extend(u32::try_from(payload.len())?.to_le_bytes());
        kept.extend(payload);
    }
    Ok(fs::write(trace, kept)?)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    Ok(u32::from_le_bytes(*found.context("the recording is cut off")?))
}

/// A fact without what the script's shell descends from; `None` for one about a socket of the machine.
fn without_ancestors(fact: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut fact: serde_json::Value = serde_json::from_slice(fact)?;
    if fact.get("existing").is_some() {
        return Ok(None);
    }
    if let Some(parents) =
        fact.pointer_mut("/identity/identity/parents").and_then(|found| found.as_array_mut())
    {
        let shell = parents.iter().position(|parent| parent["name"] == "sh");
        parents.truncate(shell.map_or(0, |shell| shell + 1));
    }
    Ok(Some(serde_json::to_vec(&fact)?))
}
