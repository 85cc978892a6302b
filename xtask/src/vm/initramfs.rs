//! The guest's only file system: busybox, the programs under test, `nft` and `ip` with their libraries, modules.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;
use super::userland::{BUSYBOX, PROGRAMS, Userland};
use super::{LOCKDOWN, Plan, Programs, modules, serial};
use crate::command;

/// Builds the archive below `directory` and returns its path.
pub(super) fn build(directory: &Path, programs: &Programs, kernel: &Kernel, plan: &Plan) -> Result<PathBuf> {
    let tree = directory.join("root");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for empty in ["bin", "dev", "etc", "modules", "proc", "root", "run", "sys", "tmp"] {
        fs::create_dir_all(tree.join(empty))?;
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(tree.join("etc/group"), "root:x:0:\n")?;
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n")?;
    copy(&programs.userland.program(BUSYBOX)?, &tree.join("bin").join(BUSYBOX))?;
    copy(&programs.binaries.server, &tree.join("netspy-server"))?;
    copy(&programs.binaries.scenarios, &tree.join("scenarios"))?;
    for program in PROGRAMS {
        copy_with_libraries(&programs.userland, program, &tree)?;
    }
    let inserted = copy_modules(kernel, &tree, modules::WANTED)?;
    let init = tree.join("init");
    fs::write(&init, init_script(&inserted, plan))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let archive = directory.join("initramfs.cpio");
    pack(&tree, &archive)?;
    Ok(archive)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// The program in `/usr/sbin` (in `/bin` stand busybox's lesser ones), each library and the loader where the program expects them.
fn copy_with_libraries(userland: &Userland, program: &str, tree: &Path) -> Result<()> {
    let file = userland.program(program)?;
    copy(&file, &tree.join("usr/sbin").join(program))?;
    userland.libraries(&file)?.iter().try_for_each(|(library, place)| copy(library, &tree.join(place)))
}

/// Copies the modules, and what they need, unpacked (busybox's insmod reads no compressed ones) into the tree's
/// `modules`; their file names in order of insertion.
pub(crate) fn copy_modules(kernel: &Kernel, tree: &Path, wanted: &[&str]) -> Result<Vec<String>> {
    let index = kernel.modules.join("modules.dep");
    let index = fs::read_to_string(&index).with_context(|| format!("cannot read {}", index.display()))?;
    let mut inserted = Vec::new();
    for path in modules::in_order_of_insertion(&index, wanted) {
        let source = kernel.modules.join(&path);
        let name = source.file_name().context("a module without a name")?.to_string_lossy().into_owned();
        let (name, contents) = if let Some(plain) = name.strip_suffix(".xz") {
            (plain.to_owned(), decompressed("xz", &source)?)
        } else if let Some(plain) = name.strip_suffix(".zst") {
            (plain.to_owned(), decompressed("zstd", &source)?)
        } else {
            (name, fs::read(&source)?)
        };
        fs::write(tree.join("modules").join(&name), contents)?;
        inserted.push(name);
    }
    Ok(inserted)
}

fn decompressed(program: &str, file: &Path) -> Result<Vec<u8>> {
    Ok(command::output(Command::new(program).args(["--decompress", "--stdout"]).arg(file))?.stdout)
}

/// Sockets in TIME-WAIT that a guest has room for. As many as its memory would give it by default are filled by the scenario of ten
/// thousand connections, and for a minute, into the next rung, the end that closes first is then gone at once: what comes for it is
/// answered with a RST (`tcp_time_wait`, `net/ipv4/tcp_minisocks.c`).
const TIME_WAIT: u32 = 65_536;

/// The guest's first process. debugfs and tracefs stay unmounted on purpose: the server must do without them.
fn init_script(inserted: &[String], plan: &Plan) -> String {
    let [begin, exit] = [serial::BEGIN, serial::EXIT];
    let insert: Vec<String> = inserted.iter().map(|name| format!("insmod /modules/{name}\n")).collect();
    let scenario = &plan.scenario;
    let repeat =
        if plan.repeat.get() > 1 { format!("NETSPY_REPEAT={} ", plan.repeat) } else { String::new() };
    let run: Vec<String> = plan
        .rungs
        .iter()
        .enumerate()
        .map(|(at, rung)| {
            let other = if plan.once && at > 0 { "NETSPY_OTHER_RUNG=1 " } else { "" };
            format!(
                "echo; echo '{begin} {rung}'\nNETSPY_RUNG={rung} {repeat}{other}/scenarios {scenario} --test-threads=1 </dev/null\n\
                 code=$?; echo; echo \"{exit} {rung} $code\"\n"
            )
        })
        .collect();
    let (insert, run) = (insert.concat(), run.concat());
    // Last: a kernel in lockdown stays so until it ends.
    let lockdown = format!(
        "echo; echo '{begin} {LOCKDOWN}'\nmount -t securityfs none /sys/kernel/security\n\
         echo confidentiality > /sys/kernel/security/lockdown\numount /sys/kernel/security\n\
         NETSPY_LOCKED_DOWN=1 /scenarios </dev/null\ncode=$?; echo; echo \"{exit} {LOCKDOWN} $code\"\n"
    );
    format!(
        "#!/bin/busybox sh\n\
         /bin/busybox --install -s /bin 2>/dev/null\n\
         export PATH=/usr/sbin:/bin HOME=/root RUST_BACKTRACE=1 NETSPY_SERVER_BIN=/netspy-server\n\
         mount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmount -t devtmpfs devtmpfs /dev\n\
         mkdir -p /dev/shm /dev/pts\nmount -t tmpfs tmpfs /dev/shm\nmount -t tmpfs tmpfs /tmp\n\
         mount -t tmpfs tmpfs /run\nmount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         ip link set lo up\necho {TIME_WAIT} > /proc/sys/net/ipv4/tcp_max_tw_buckets\n{insert}{run}{lockdown}poweroff -f\n"
    )
}

/// Packs the tree in the format that the kernel unpacks; uncompressed, because the guest's processor is the slow one.
pub(crate) fn pack(tree: &Path, archive: &Path) -> Result<()> {
    let mut names = Vec::new();
    list(tree, tree, &mut names)?;
    let mut cpio = Command::new("cpio");
    cpio.args(["--create", "--format=newc", "--owner=0:0", "--null", "--quiet"]).current_dir(tree);
    let output = fs::File::create(archive).with_context(|| format!("cannot create {}", archive.display()))?;
    let mut cpio = cpio.stdin(Stdio::piped()).stdout(output).spawn().context("cannot start cpio")?;
    let mut input = cpio.stdin.take().context("cpio has no stdin")?;
    std::io::Write::write_all(&mut input, names.join("\0").as_bytes())?;
    drop(input);
    let status = cpio.wait()?;
    if !status.success() {
        bail!("cpio failed: {status}");
    }
    Ok(())
}

/// Relative names, a directory before what is in it.
fn list(tree: &Path, directory: &Path, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        names.push(path.strip_prefix(tree)?.to_string_lossy().into_owned());
        if path.is_dir() && !path.is_symlink() {
            list(tree, &path, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Architecture, Rung, kernel};
    use super::*;

    #[test]
    fn the_guest_runs_each_rung_once_and_powers_off() {
        let plan = Plan {
            series: &kernel::ALL[0],
            architecture: Architecture::X86_64,
            rungs: vec![Rung::Kprobe, Rung::Tracepoint],
            scenario: "a_word".to_owned(),
            repeat: std::num::NonZeroUsize::MIN,
            once: true,
        };
        let script = init_script(&["nfnetlink.ko".to_owned()], &plan);
        assert_eq!(script.matches("/scenarios").count(), 3, "each rung, and lockdown");
        assert!(script.contains("NETSPY_RUNG=kprobe /scenarios"));
        assert!(script.contains("NETSPY_RUNG=tracepoint NETSPY_OTHER_RUNG=1 /scenarios"));
        assert!(!script.contains("NETSPY_REPEAT"));
        assert!(script.contains("insmod /modules/nfnetlink.ko\n"));
        assert!(script.ends_with("poweroff -f\n"));
        assert!(!script.contains("tracefs") && !script.contains("debugfs"));
    }
}
