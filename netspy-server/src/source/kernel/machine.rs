//! What the running system allows: privileges, lockdown, limits, file systems. Read from `/proc` and `/sys`, and
//! understood by pure functions.

use std::{fs, path::Path};

use super::tracefs::with_mounted;

/// Where perf shows that the kernel has kprobes (Documentation/ABI/testing/sysfs-bus-event_source-devices).
pub(super) const KPROBES: &str = "/sys/bus/event_source/devices/kprobe";

/// Capabilities that matter here: their numbers (include/uapi/linux/capability.h) and names.
const CAPABILITIES: [(u32, &str); 6] = [
    (12, "CAP_NET_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (24, "CAP_SYS_RESOURCE"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

/// A set of capabilities, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Those that matter here, by name.
    pub fn names(self) -> Vec<&'static str> {
        CAPABILITIES.iter().filter(|(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| *name).collect()
    }

    /// Whether this one is in it.
    pub fn has(self, name: &str) -> bool {
        self.names().contains(&name)
    }

    /// What loading programs needs and this set lacks. `CAP_SYS_ADMIN` includes both.
    pub fn lacking(self) -> Vec<&'static str> {
        let needed = ["CAP_BPF", "CAP_PERFMON"];
        if self.has("CAP_SYS_ADMIN") {
            return Vec::new();
        }
        needed.into_iter().filter(|name| !self.has(name)).collect()
    }
}

/// The running system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `uname -r`
    pub release: String,
    /// `uname -m`
    pub arch: String,
    /// Effective user id.
    pub uid: u32,
    /// Capabilities that this process has.
    pub effective: Capabilities,
    /// Capabilities that it could get.
    pub bounding: Capabilities,
    /// Whether the kernel shows its types.
    pub btf: bool,
    /// Whether the kernel has kprobes.
    pub kprobes: bool,
    /// `none`, `integrity` or `confidentiality`; empty where that cannot be read.
    pub lockdown: String,
    /// Limit of locked memory in bytes, `None` for no limit; kernels before 5.11 count maps as such.
    pub memlock: Option<u64>,
    /// Where tracefs is mounted.
    pub tracefs: Option<String>,
    /// `v1`, `v2`, `v1 and v2`, or empty where none is mounted.
    pub cgroup: &'static str,
    /// `kernel.unprivileged_bpf_disabled`; empty where that cannot be read.
    pub unprivileged_bpf_disabled: String,
    /// `net.core.bpf_jit_enable`; empty where that cannot be read.
    pub jit: String,
}

impl Machine {
    /// Reads it all.
    pub fn read() -> Self {
        let name = rustix::system::uname();
        let status = text("/proc/self/status");
        let mounts = text("/proc/self/mountinfo");
        Self {
            release: name.release().to_string_lossy().into_owned(),
            arch: name.machine().to_string_lossy().into_owned(),
            uid: rustix::process::geteuid().as_raw(),
            effective: capabilities(&status, "CapEff"),
            bounding: capabilities(&status, "CapBnd"),
            btf: Path::new(super::btf::VMLINUX).exists(),
            kprobes: Path::new(KPROBES).exists(),
            lockdown: lockdown(),
            memlock: rustix::process::getrlimit(rustix::process::Resource::Memlock).current,
            tracefs: mounted(&mounts, "tracefs").map(str::to_owned),
            cgroup: match (mounted(&mounts, "cgroup").is_some(), mounted(&mounts, "cgroup2").is_some()) {
                (true, true) => "v1 and v2",
                (true, false) => "v1",
                (false, true) => "v2",
                (false, false) => "",
            },
            unprivileged_bpf_disabled: text("/proc/sys/kernel/unprivileged_bpf_disabled").trim().to_owned(),
            jit: text("/proc/sys/net/core/bpf_jit_enable").trim().to_owned(),
        }
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A mask in `/proc/self/status`, such as `CapEff:\t000001ffffffffff`.
fn capabilities(status: &str, field: &str) -> Capabilities {
    let mask = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Capabilities(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
}

/// securityfs is often not mounted; the answer is the kernel's, wherever it is asked.
fn lockdown() -> String {
    const ROOT: &str = "/sys/kernel/security";
    let file = format!("{ROOT}/lockdown");
    let read = || text(&file);
    let told = if Path::new(&file).exists() {
        read()
    } else {
        with_mounted("securityfs", ROOT, read).unwrap_or_default()
    };
    chosen(&told).to_owned()
}

/// The word in brackets: `none [integrity] confidentiality`.
fn chosen(told: &str) -> &str {
    told.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(word, _)| word)
}

/// Where a file system of this type is mounted (`proc_pid_mountinfo(5)`: after ` - ` comes the type).
fn mounted<'a>(mountinfo: &'a str, kind: &str) -> Option<&'a str> {
    mountinfo.lines().find_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        (system.split(' ').next()? == kind).then(|| mount.split(' ').nth(4)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_by_name() {
        let status = "Name:\tx\nCapPrm:\t0\nCapEff:\t000000c000001000\nCapBnd:\t000001ffffffffff\n";
        let effective = capabilities(status, "CapEff");
        assert_eq!(effective.names(), ["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]);
        assert!(effective.lacking().is_empty());
        assert_eq!(capabilities(status, "CapBnd").names().len(), CAPABILITIES.len());
        assert_eq!(capabilities(status, "CapPrm").lacking(), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(Capabilities(1 << 39).lacking(), ["CAP_PERFMON"]);
        assert!(Capabilities(1 << 21).lacking().is_empty(), "CAP_SYS_ADMIN includes both");
        assert_eq!(capabilities("", "CapEff"), Capabilities(0));
    }

    #[test]
    fn the_level_of_lockdown_is_the_word_in_brackets() {
        assert_eq!(chosen("none [integrity] confidentiality\n"), "integrity");
        assert_eq!(chosen("[none] integrity confidentiality\n"), "none");
        assert_eq!(chosen(""), "");
    }

    #[test]
    fn mounts_are_found_by_type_whatever_optional_fields_there_are() {
        let mounts = "24 1 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
                      30 24 0:26 / /sys/fs/cgroup rw shared:4 master:1 - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted(mounts, "cgroup2"), Some("/sys/fs/cgroup"));
        assert_eq!(mounted(mounts, "cgroup"), None);
        assert_eq!(mounted("garbage", "cgroup"), None);
    }
}
