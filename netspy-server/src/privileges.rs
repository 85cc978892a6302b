//! What the server may still do once everything is open: as little as its work needs, for every thread that begins
//! after that.
//!
//! Landlock does not fit: a process in a domain of its own may not look at others through `/proc` (the kernel treats
//! that as tracing them), and looking at others is what this server is for.

use std::collections::BTreeMap;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use thiserror::Error;

/// What tracing needs while it goes on. Its beginning also needs `CAP_PERFMON`, to load and attach programs, and
/// `CAP_SYSLOG`, to open `/proc/kallsyms` for its addresses.
///
/// | capability | for |
/// | --- | --- |
/// | `CAP_BPF` | reading the programs' maps, where `kernel.unprivileged_bpf_disabled` is set |
/// | `CAP_SYS_PTRACE` | executables, open sockets and namespaces of other users' processes in `/proc` |
/// | `CAP_DAC_READ_SEARCH` | the same directories, which are their owner's |
/// | `CAP_SYS_ADMIN` | entering network namespaces to list their sockets |
pub const KEPT: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_ADMIN);

/// Why privileges could not be given up.
#[derive(Debug, Error)]
#[error("privileges cannot be given up: {0}; nothing is served with more of them than needed")]
pub struct ConfineError(#[from] rustix::io::Errno);

/// Gives up everything but `kept`, for good. What can only be had on some kernels is left out on others.
pub fn confine(kept: CapabilitySet) -> Result<(), ConfineError> {
    // Needs `CAP_SETPCAP`; without it there is nothing in the bounding set that could be had again.
    for capability in CapabilitySet::from_bits_retain(u64::MAX).difference(kept).iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    // A kernel before 4.3 has no such set.
    let _ = clear_ambient_capability_set();
    let kept = capabilities(None)?.permitted.intersection(kept);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    set_no_new_privs(true)?;
    if let Err(error) = filter().and_then(|filter| apply_filter(&filter)) {
        tracing::warn!(%error, "system calls are not filtered: this kernel has no seccomp filters");
    }
    tracing::debug!(?kept, "the other privileges are given up");
    Ok(())
}

/// System calls that a server has no use for, and an intruder has.
const NEVER: &[libc::c_long] = &[
    // other programs, other processes
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // other users
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    // file systems and namespaces
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // the machine
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_acct,
    // keys, and ways around this filter or into the kernel
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_personality,
];

#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
const KEXEC_FILE_LOAD: i64 = libc::SYS_kexec_file_load;
/// libc lacks it there (include/uapi/asm-generic/unistd.h).
#[cfg(all(target_arch = "aarch64", target_env = "musl"))]
const KEXEC_FILE_LOAD: i64 = 294;

/// Commands of bpf(2) that read, write and remove elements of maps (include/uapi/linux/bpf.h): lookup, update, delete,
/// next key, and what an open object is.
const BPF_COMMANDS: [u64; 5] = [1, 2, 3, 4, 15];

fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let never = NEVER.iter().map(|call| (*call, Vec::new()));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = never.collect();
    let is_not =
        |argument, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value);
    let other_command: Result<_, _> = BPF_COMMANDS.into_iter().map(|command| is_not(0, command)).collect();
    rules.insert(libc::SYS_bpf, vec![SeccompRule::new(other_command?)?]);
    let network = u64::from(libc::CLONE_NEWNET.unsigned_abs());
    rules.insert(libc::SYS_setns, vec![SeccompRule::new(vec![is_not(1, network)?])?]);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::{fd::AsFd, unix::process::CommandExt},
        process::Command,
        thread,
    };

    use rustix::{
        io::Errno,
        mount::{MountFlags, mount},
        system::{sethostname, uname},
        thread::{LinkNameSpaceType, move_into_link_name_space},
    };

    use super::*;

    /// Root may do all of this, and `CAP_SYS_ADMIN` most of it. Only the thread that gave it up cannot.
    #[test]
    fn what_an_intruder_wants_is_refused_and_what_the_server_needs_is_not() {
        let mut other = Command::new("sleep").arg("60").uid(65_534).spawn().unwrap();
        let of_other = |file: &str| format!("/proc/{}/{file}", other.id());
        let enter = |name: &str, kind| {
            let namespace = File::open(of_other(&format!("ns/{name}"))).unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(kind))
        };
        let name = uname();
        let try_all = || {
            [
                (
                    "another program",
                    Command::new("true").status().err().and_then(|error| error.raw_os_error()),
                ),
                (
                    "a mount",
                    mount("none", "/proc/self", "tmpfs", MountFlags::empty(), None)
                        .err()
                        .map(Errno::raw_os_error),
                ),
                (
                    "the machine's name",
                    sethostname(name.nodename().to_bytes()).err().map(Errno::raw_os_error),
                ),
                (
                    "the names of others",
                    enter("uts", LinkNameSpaceType::HostNameAndNISDomainName).err().map(Errno::raw_os_error),
                ),
            ]
        };
        let confined = thread::scope(|scope| {
            let confined = scope.spawn(|| {
                confine(KEPT).unwrap();
                enter("net", LinkNameSpaceType::Network).unwrap();
                fs::read_link(of_other("exe")).unwrap();
                fs::read_dir(of_other("fd")).unwrap();
                try_all()
            });
            confined.join()
        });
        other.kill().unwrap();
        other.wait().unwrap();
        for (what, error) in confined.unwrap() {
            assert_eq!(error, Some(libc::EPERM), "{what}");
        }
        assert!(Command::new("true").status().unwrap().success(), "other threads are not confined");
    }
}
