//! Why a rung did not hold, in words that say what to do: from the error and what the machine is. Pure.

use std::io;

use aya::programs::ProgramError;

use super::{
    super::machine::{KPROBES, Machine},
    attach::RungError,
    events::Rung,
};
use crate::domain::Refusal;

/// What the kernel returns where it was built without trampolines (`ENOTSUPP`, include/linux/errno.h).
const ENOTSUPP: i32 = 524;

/// The reason and the remedy. `listed` says whether `/proc/kallsyms` has a function.
pub(super) fn refusal(
    rung: Rung,
    error: &RungError,
    machine: &Machine,
    listed: impl Fn(&str) -> bool,
) -> Refusal {
    let (reason, remedy) = explained(rung, error, machine, listed);
    Refusal { rung: rung.name(), reason, remedy }
}

/// Why no program may be loaded at all, and what to do about it. Under lockdown some kernels load programs and then
/// show them zeroes, so that is not left to be found out.
pub(super) fn forbidden(machine: &Machine) -> Option<(String, String)> {
    if machine.lockdown == "confidentiality" {
        return Some((
            "not permitted: the kernel is locked down (confidentiality), eBPF programs may not read its memory".to_owned(),
            "boot without lockdown=confidentiality; lockdown=integrity is enough for Secure Boot".to_owned(),
        ));
    }
    let lacking = machine.effective.lacking();
    if lacking.is_empty() {
        return None;
    }
    let names = lacking.join(" and ");
    if machine.uid != 0 {
        return Some((
            format!("not permitted: this process is not root and lacks {names}"),
            "run it as root (sudo netspy-server), or give it CAP_BPF and CAP_PERFMON".to_owned(),
        ));
    }
    let flags: Vec<_> =
        lacking.iter().map(|name| format!("--cap-add {}", name.trim_start_matches("CAP_"))).collect();
    Some((
        format!("not permitted: this process is root, but lacks {names}, as in a container"),
        format!("start the container with {} (or --privileged)", flags.join(" ")),
    ))
}

fn explained(
    rung: Rung,
    error: &RungError,
    machine: &Machine,
    listed: impl Fn(&str) -> bool,
) -> (String, String) {
    let RungError::Program { program, target, source } = error else {
        return (error.to_string(), environment_remedy(error).to_owned());
    };
    let os_error = os_error(source);
    if is_permission(os_error)
        && let Some(forbidden) = forbidden(machine)
    {
        return forbidden;
    }
    let judged =
        matches!(source, ProgramError::LoadError { verifier_log, .. } if verifier_log.to_string() != "");
    if rung == Rung::Fentry && is_permission(os_error) && !judged {
        return (
            format!(
                "the kernel loads no program at the entry of {target}, although no capability is lacking"
            ),
            "use a kernel built with CONFIG_FUNCTION_TRACER=y and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y"
                .to_owned(),
        );
    }
    if let ProgramError::LoadError { io_error, verifier_log } = source {
        tracing::debug!("verifier log:\n{verifier_log}");
        return (
            format!("the kernel refused to load {program}: {io_error}"),
            format!(
                "report it with the log of netspy-server -vv and the kernel's release {}",
                machine.release
            ),
        );
    }
    if rung == Rung::Kprobe && !machine.kprobes {
        return (
            format!("this kernel has no kprobes: {KPROBES} does not exist"),
            "use a kernel built with CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y".to_owned(),
        );
    }
    if is_permission(os_error) && !machine.effective.has("CAP_SYS_ADMIN") {
        return (
            format!(
                "this kernel lets only administrators attach {program} (kernel.perf_event_paranoid is above 2)"
            ),
            "give the server CAP_SYS_ADMIN, or sysctl kernel.perf_event_paranoid=2".to_owned(),
        );
    }
    if os_error == Some(ENOTSUPP) {
        return (
            format!("this kernel cannot attach programs to the entry of {target}"),
            "use a kernel built with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y, of 6.6 or later for a function with more \
             than six arguments"
                .to_owned(),
        );
    }
    if rung != Rung::Tracepoint && !listed(target) {
        return (
            format!("this kernel has no function {target}: it is absent or inlined"),
            format!("use a kernel that has {target} as a function of its own"),
        );
    }
    (
        format!("{program} cannot be attached to {target}: {}", chain(source)),
        format!("report it with the kernel's release {}", machine.release),
    )
}

fn environment_remedy(error: &RungError) -> &'static str {
    match error {
        RungError::Tracefs(_) => {
            "mount it (mount -t tracefs nodev /sys/kernel/tracing), or give the server CAP_SYS_ADMIN to do so"
        }
        RungError::BuiltOn(_) => "remedy that event first",
        _ => "use a kernel with complete type information (CONFIG_DEBUG_INFO_BTF=y), and report this one",
    }
}

fn is_permission(os_error: Option<i32>) -> bool {
    matches!(os_error, Some(libc::EPERM | libc::EACCES))
}

/// The number of the system's error at the root of it.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(found);
        }
        at = error.source();
    }
    None
}

/// An error and what it was caused by.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        at = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::{super::super::Capabilities, *};

    fn able() -> Machine {
        let effective = Capabilities(u64::MAX);
        Machine { effective, kprobes: true, release: "7.2.9".into(), ..Machine::default() }
    }

    fn attaching(errno: i32) -> RungError {
        let io_error = io::Error::from_raw_os_error(errno);
        let source = SyscallError { call: "perf_event_open", io_error }.into();
        RungError::Program { program: "accept", target: "security_sock_graft".into(), source }
    }

    fn reason(rung: Rung, error: &RungError, machine: &Machine, listed: bool) -> String {
        let refusal = refusal(rung, error, machine, |_| listed);
        format!("{} | {}", refusal.reason, refusal.remedy)
    }

    #[test]
    fn a_missing_capability_is_named_with_its_remedy() {
        let container = Machine { effective: Capabilities(1 << 39), ..able() };
        let text = reason(Rung::Kprobe, &attaching(libc::EPERM), &container, true);
        assert!(text.contains("root, but lacks CAP_PERFMON") && text.contains("--cap-add PERFMON"), "{text}");
        let user = Machine { uid: 1000, ..container };
        let text = reason(Rung::Kprobe, &attaching(libc::EACCES), &user, true);
        assert!(text.contains("not root") && text.contains("sudo netspy-server"), "{text}");
    }

    #[test]
    fn what_the_kernel_lacks_is_named() {
        let locked = Machine { lockdown: "confidentiality".into(), ..able() };
        assert!(reason(Rung::Tracepoint, &attaching(libc::EPERM), &locked, true).contains("lockdown="));
        let without = Machine { kprobes: false, ..able() };
        assert!(reason(Rung::Kprobe, &attaching(libc::ENOENT), &without, true).contains("CONFIG_KPROBES=y"));
        let gone = reason(Rung::Kprobe, &attaching(libc::ENOENT), &able(), false);
        assert!(gone.contains("no function security_sock_graft: it is absent or inlined"), "{gone}");
        assert!(reason(Rung::Fentry, &attaching(ENOTSUPP), &able(), true).contains("DIRECT_CALLS"));
        let other = reason(Rung::Tracepoint, &attaching(libc::ENOMEM), &able(), true);
        assert!(other.contains("perf_event_open") && other.contains("7.2.9"), "{other}");
    }

    #[test]
    fn what_surrounds_the_programs_is_named() {
        let tracefs = RungError::Tracefs(io::Error::from_raw_os_error(libc::EPERM));
        assert!(reason(Rung::Tracepoint, &tracefs, &able(), true).contains("mount -t tracefs"));
        let layout = RungError::Layout("sock_num".into());
        assert!(reason(Rung::Kprobe, &layout, &able(), true).contains("lacks sock_num"));
        let built_on = RungError::BuiltOn("connection");
        assert!(reason(Rung::Kprobe, &built_on, &able(), true).contains("event connection"));
    }
}
