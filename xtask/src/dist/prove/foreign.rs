//! The programs for a processor that this machine does not have, in emulation (QEMU's for single programs): they begin,
//! say what they are, and the client reads a recording from the server.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::command;
use crate::dist::fresh;
use crate::packages::{self, Package};
use crate::vm::architecture::Architecture;

/// Emulation is slow.
const START_LIMIT: Duration = Duration::from_mins(1);
const DEMO: &str = "netspy-server/traces/demo.netspy";

/// Fails unless the package and its programs are as they should be.
pub(super) fn job(root: &Path, out: &Path, architecture: Architecture, package: &Path) -> Result<()> {
    let emulator = format!("qemu-{}-static", architecture.name());
    packages::ensure(root, &[Package { debian: "qemu-user-static", provides: "qemu-aarch64-static" }])?;
    let fields = command::text(
        Command::new("dpkg-deb")
            .args(["--show", "--showformat"])
            .args(["${Package} ${Architecture} ${Depends}"])
            .arg(package),
    )?;
    let expected = format!("netspy {} passwd", architecture.debian());
    ensure!(fields == expected, "the package's fields are {fields}, not {expected}");

    let tree = fresh(&out.join("foreign"))?;
    command::output(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&tree))?;
    let program = |name: &str| {
        let mut program = Command::new(&emulator);
        program.arg(tree.join("usr/bin").join(name));
        program
    };
    for name in ["netspy", "netspy-server"] {
        let version = command::text(program(name).arg("--version"))?;
        ensure!(version == format!("{name} {}\n", env!("CARGO_PKG_VERSION")), "{name} says {version}");
    }
    // The emulator has no bpf(2): the doctor must say so, and not be ill itself.
    let doctor = program("netspy-server").args(["doctor", "--output", "json"]).output()?;
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout)?;
    ensure!(doctor.status.code() == Some(1), "the doctor ended with {}", doctor.status);
    ensure!(report["arch"] == architecture.name(), "the doctor's machine is {}", report["arch"]);

    let socket = tree.join("netspy.sock");
    let mut serve = program("netspy-server");
    serve.args(["--listen", "off", "--replay"]).arg(root.join(DEMO)).arg("--socket").arg(&socket);
    let mut server = serve.stdin(Stdio::null()).stderr(fs::File::create(tree.join("log"))?).spawn()?;
    let address = format!("unix:{}", socket.display());
    let begun = Instant::now();
    let listed = loop {
        let mut ask = program("netspy");
        let listed =
            command::text(ask.args(["--server", &address, "list", "--process", "curl", "--output", "csv"]));
        if listed.is_ok() || begun.elapsed() > START_LIMIT {
            break listed;
        }
        thread::sleep(Duration::from_millis(500));
    };
    server.kill()?;
    server.wait()?;
    let Ok(listed) = listed else {
        bail!("the server does not answer:\n{}", fs::read_to_string(tree.join("log"))?)
    };
    ensure!(listed.contains("ECONNREFUSED"), "the list of the recording is odd:\n{listed}");
    println!(
        "{}: built, packaged, and in emulation it serves a recording and reads it",
        architecture.debian()
    );
    Ok(())
}
