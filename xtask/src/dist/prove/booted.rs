//! The package and the image on a Debian that is booted, in QEMU: its systemd, its kernel, its podman. What
//! is proven there stands in `guest/*.sh`; this file makes the machine and reads how each script ended.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::debian::Debian;
use super::kubernetes::Container;
use crate::dist::{Made, fresh};
use crate::packages::{self, Package};
use crate::vm::architecture::Architecture;
use crate::vm::boot::Machine;
use crate::vm::kernel::{self, Kernel, Series};
use crate::vm::{initramfs, userland};
use crate::{command, workspace};

/// The kernel of the Debian that is booted.
const SERIES: &str = "6.1";
/// What it has besides what the package needs: an init, what the scripts ask with, who shows pages and completes, and
/// who runs containers.
const INCLUDED: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "kmod",
    "jq",
    "man-db",
    "zsh",
    "fish",
    "podman",
    "crun",
    "netavark",
    "apparmor",
];
/// One boot each, in this order, of one disk.
const SCRIPTS: [&str; 3] = ["package", "upgrade", "container"];
/// Longest time of one of them; emulation is slow.
const LIMIT: Duration = Duration::from_mins(20);
/// Modules for the disk; the kernel has the file system built in.
const DISK_MODULES: &[&str] = &["virtio_pci", "virtio_blk"];
/// What a script prints last, before its exit code.
const EXIT: &str = "NETSPY-PROOF-EXIT ";
/// What a script prints after each thing that it has shown.
const PROVED: &str = "proved: ";

/// The guest's files: where they are there, and their text.
const FILES: &[(&str, &str)] = &[
    ("proof/run.sh", include_str!("guest/run.sh")),
    ("proof/common.sh", include_str!("guest/common.sh")),
    ("proof/package.sh", include_str!("guest/package.sh")),
    ("proof/reference.sh", include_str!("guest/reference.sh")),
    ("proof/upgrade.sh", include_str!("guest/upgrade.sh")),
    ("proof/container.sh", include_str!("guest/container.sh")),
    ("etc/systemd/system/netspy-proof.service", include_str!("guest/netspy-proof.service")),
    ("etc/systemd/system/earlier.socket", include_str!("guest/earlier.socket")),
    ("etc/systemd/system/earlier@.service", include_str!("guest/earlier@.service")),
];

/// Fails unless every script ends well.
pub(super) fn job(
    root: &Path,
    out: &Path,
    made: &Made,
    packages: [&Path; 2],
    container: &Container,
) -> Result<()> {
    packages::ensure(root, PACKAGES)?;
    packages::ensure(root, Architecture::X86_64.packages())?;
    let series = Series::parse(SERIES).map_err(anyhow::Error::msg)?;
    let kernel = kernel::ensure(root, Architecture::X86_64, series)?;
    let debian = Debian::make(root, out, "whole", INCLUDED)?;
    fill(&debian, root, made, packages, container)?;
    modules(&debian, &kernel)?;
    let directory = fresh(&out.join("booted"))?;
    let disk = directory.join("disk");
    let mke2fs =
        workspace::find_program(root, "mke2fs").context("mke2fs is missing (Debian package e2fsprogs)")?;
    command::output(
        Command::new(mke2fs).args(["-q", "-t", "ext4", "-d"]).arg(&debian.root).arg(&disk).arg("4G"),
    )?;
    let initramfs = initramfs(root, &directory, &kernel)?;
    for script in SCRIPTS {
        println!("booting Debian's {SERIES}: {script}");
        boot(&directory, &kernel, &initramfs, &disk, script)?;
    }
    Ok(fs::remove_file(disk)?)
}

const PACKAGES: &[Package] = &[
    Package { debian: "cpio", provides: "cpio" },
    Package { debian: "e2fsprogs", provides: "mke2fs" },
    Package { debian: "kmod", provides: "depmod" },
    Package { debian: "xz-utils", provides: "xz" },
    Package { debian: "zstd", provides: "zstd" },
];

/// Puts in what is proven, and what proves it.
fn fill(
    debian: &Debian,
    root: &Path,
    made: &Made,
    packages: [&Path; 2],
    container: &Container,
) -> Result<()> {
    for (place, text) in FILES {
        put(&debian.root.join(place), text.as_bytes())?;
    }
    for (place, from) in ["netspy.deb", "netspy-next.deb"].into_iter().zip(packages) {
        put(&debian.root.join("proof").join(place), &fs::read(from)?)?;
    }
    // The image is built by the Dockerfile's own words, in a tree like this one.
    let tree = debian.root.join("proof/tree");
    put(&tree.join("pod-run"), container.run.as_bytes())?;
    put(&tree.join("pod-probe"), container.probe.as_bytes())?;
    put(&tree.join("packaging/docker/Dockerfile"), &fs::read(root.join("packaging/docker/Dockerfile"))?)?;
    let programs = tree.join("target/dist/bin");
    fs::create_dir_all(&programs)?;
    command::run(Command::new("cp").args(["--archive", "--"]).arg(&made.programs).arg(programs))?;
    debian.run(&[
        "systemctl disable podman.socket podman podman-restart podman-auto-update.timer podman-auto-update",
    ])?;
    debian.run(&["systemctl enable netspy-proof.service earlier.socket"]).map(drop)
}

/// The kernel's modules: what is missing, it loads.
fn modules(debian: &Debian, kernel: &Kernel) -> Result<()> {
    let modules = debian.root.join("usr/lib/modules");
    fs::create_dir_all(&modules)?;
    command::run(Command::new("cp").args(["--archive", "--"]).arg(&kernel.modules).arg(modules))
}

fn put(place: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(directory) = place.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(place, bytes).with_context(|| format!("cannot write {}", place.display()))
}

/// What finds the disk and goes on from there.
fn initramfs(root: &Path, directory: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let tree = directory.join("initramfs");
    for empty in ["bin", "dev", "modules", "proc", "root", "sys"] {
        fs::create_dir_all(tree.join(empty))?;
    }
    let userland = userland::ensure(root, Architecture::X86_64)?;
    let busybox = userland.program(userland::BUSYBOX)?;
    fs::copy(busybox, tree.join("bin").join(userland::BUSYBOX))?;
    let modules = initramfs::copy_modules(kernel, &tree, DISK_MODULES)?;
    let insert: Vec<_> = modules.iter().map(|name| format!("insmod /modules/{name}\n")).collect();
    let insert = insert.concat();
    let init = tree.join("init");
    let script = format!(
        "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nmount -t devtmpfs devtmpfs /dev\n{insert}\
         for second in $(seq 30); do mount -t ext4 /dev/vda /root && break; sleep 1; done\nexec switch_root /root /sbin/init\n"
    );
    fs::write(&init, script)?;
    fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let archive = directory.join("initramfs.cpio");
    initramfs::pack(&tree, &archive)?;
    Ok(archive)
}

/// Boots the disk for one script, shows what it has proven, and fails if it did not end well. The whole log stays in
/// `directory`.
fn boot(directory: &Path, kernel: &Kernel, initramfs: &Path, disk: &Path, script: &str) -> Result<()> {
    let log_file = directory.join(format!("{script}.log"));
    let mut log = fs::File::create(&log_file)?;
    let drive = format!("file={},if=virtio,format=raw,cache=unsafe", disk.display());
    let options = ["-m", "2G", "-drive", &drive];
    let words = format!("systemd.show_status=no systemd.getty_auto=no netspy-proof={script}");
    let mut machine = Machine::start(Architecture::X86_64, kernel, initramfs, &options, &words)?;
    let lines = machine.lines()?;
    let deadline = Instant::now() + LIMIT;
    let (mut proven, mut exit) = (0, None);
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                writeln!(log, "{line}")?;
                if let Some(proved) = line.strip_prefix(PROVED) {
                    println!("[{script}] {proved}");
                    proven += 1;
                }
                exit = line.strip_prefix(EXIT).map(str::to_owned).or(exit);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!("{script}: not over after {LIMIT:?}: {}", log_file.display())
            }
        }
    }
    match (exit.as_deref(), proven) {
        (Some("0"), 1..) => Ok(()),
        (Some("0"), _) => bail!("{script} has proven nothing: {}", log_file.display()),
        (exit, _) => {
            let text = fs::read_to_string(&log_file)?;
            let lines: Vec<_> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(80)..].join("\n");
            bail!("{script} ended with {}:\n{end}\nlog: {}", exit.unwrap_or("no code"), log_file.display())
        }
    }
}
