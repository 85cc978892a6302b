//! What the machine allows, each with what to do if it is not what netspy would like. Pure.

use serde::Serialize;

use crate::{domain::Refusal, source::kernel::Machine};

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// netspy does without, or it would be better otherwise.
    Limited,
    /// netspy cannot work like this.
    Missing,
}

/// One fact about the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Which fact; these names are stable.
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) value: String,
    /// What to do, in a sentence; empty if there is nothing to do.
    pub(super) remedy: String,
}

fn finding(name: &'static str, state: State, value: impl Into<String>, remedy: &str) -> Finding {
    Finding { name, state, value: value.into(), remedy: remedy.to_owned() }
}

/// All of them, in the order in which they are shown. `function_entry`: why programs cannot be attached there.
pub(super) fn findings(machine: &Machine, function_entry: Option<&Refusal>) -> Vec<Finding> {
    vec![
        capabilities(machine),
        lockdown(machine),
        if machine.btf {
            finding("btf", State::Ok, "the kernel shows its types", "")
        } else {
            let remedy = "use a kernel built with CONFIG_DEBUG_INFO_BTF=y";
            finding("btf", State::Missing, "/sys/kernel/btf/vmlinux does not exist", remedy)
        },
        if machine.kprobes {
            finding("kprobes", State::Ok, "the kernel has them", "")
        } else {
            let remedy = "use a kernel built with CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y";
            finding("kprobes", State::Limited, "the kernel has none", remedy)
        },
        match function_entry {
            None => finding("fentry", State::Ok, "programs can be attached at the entry of functions", ""),
            Some(refusal) => finding("fentry", State::Limited, &refusal.reason, &refusal.remedy),
        },
        memlock(machine),
        tracefs(machine),
        if machine.cgroup.is_empty() {
            let remedy = "mount -t cgroup2 none /sys/fs/cgroup";
            finding("cgroup", State::Limited, "no cgroup file system is mounted", remedy)
        } else {
            finding("cgroup", State::Ok, machine.cgroup, "")
        },
        match machine.unprivileged_bpf_disabled.as_str() {
            "0" => {
                let remedy = "sysctl kernel.unprivileged_bpf_disabled=2 (netspy does not need it)";
                finding("unprivileged_bpf", State::Limited, "every user may load programs", remedy)
            }
            "" => finding("unprivileged_bpf", State::Ok, "not told by this kernel", ""),
            _ => finding("unprivileged_bpf", State::Ok, "disabled", ""),
        },
        match machine.jit.as_str() {
            "0" => {
                let remedy = "sysctl net.core.bpf_jit_enable=1";
                finding("jit", State::Limited, "off: programs are interpreted, which costs time", remedy)
            }
            "" => finding("jit", State::Ok, "not told by this kernel", ""),
            _ => finding("jit", State::Ok, "on", ""),
        },
    ]
}

fn capabilities(machine: &Machine) -> Finding {
    let (has, lacking) = (machine.effective.names().join(" "), machine.effective.lacking());
    if lacking.is_empty() {
        return finding("capabilities", State::Ok, has, "");
    }
    let could = lacking.iter().all(|name| machine.bounding.has(name));
    let remedy = match (machine.uid, could) {
        (0, _) => "start the container with --cap-add BPF --cap-add PERFMON (or --privileged)",
        (_, true) => "run it as root (sudo netspy-server doctor)",
        (_, false) => "run it where these capabilities are not out of bounds, as root",
    };
    finding("capabilities", State::Missing, format!("lacks {}", lacking.join(" and ")), remedy)
}

fn lockdown(machine: &Machine) -> Finding {
    match machine.lockdown.as_str() {
        "confidentiality" => {
            let remedy =
                "boot without lockdown=confidentiality; lockdown=integrity is enough for Secure Boot";
            finding(
                "lockdown",
                State::Missing,
                "confidentiality: programs may not read kernel memory",
                remedy,
            )
        }
        "" => finding("lockdown", State::Ok, "not told by this kernel, or not to this process", ""),
        level => finding("lockdown", State::Ok, level, ""),
    }
}

/// Only kernels before 5.11 count maps against it, and there loading says so.
fn memlock(machine: &Machine) -> Finding {
    let value = machine.memlock.map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
    let may_raise = machine.memlock.is_none() || machine.effective.has("CAP_SYS_RESOURCE");
    let value =
        if may_raise { value } else { format!("{value}, and may not be raised; it counts before 5.11") };
    finding("memlock", State::Ok, value, "")
}

fn tracefs(machine: &Machine) -> Finding {
    match &machine.tracefs {
        Some(place) => finding("tracefs", State::Ok, format!("mounted at {place}"), ""),
        None if machine.effective.has("CAP_SYS_ADMIN") => {
            finding("tracefs", State::Ok, "not mounted; netspy mounts it for itself alone", "")
        }
        None => {
            let remedy =
                "mount -t tracefs nodev /sys/kernel/tracing, or give the server CAP_SYS_ADMIN to do so";
            finding("tracefs", State::Limited, "not mounted, and may not be", remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kernel::Capabilities;

    fn able() -> Machine {
        Machine {
            effective: Capabilities(u64::MAX),
            bounding: Capabilities(u64::MAX),
            btf: true,
            kprobes: true,
            lockdown: "integrity".into(),
            cgroup: "v2",
            unprivileged_bpf_disabled: "2".into(),
            jit: "1".into(),
            ..Machine::default()
        }
    }

    fn of(machine: &Machine, name: &str) -> Finding {
        findings(machine, None).into_iter().find(|finding| finding.name == name).unwrap()
    }

    #[test]
    fn a_machine_that_lacks_nothing_needs_no_remedy() {
        for finding in findings(&able(), None) {
            assert_eq!((finding.state, finding.remedy.as_str()), (State::Ok, ""), "{}", finding.name);
        }
    }

    #[test]
    fn everything_that_is_not_right_has_a_remedy() {
        let refusal = Refusal { rung: "fentry", reason: "it cannot".into(), remedy: "do this".into() };
        let poor = Machine {
            lockdown: "confidentiality".into(),
            unprivileged_bpf_disabled: "0".into(),
            jit: "0".into(),
            ..Machine::default()
        };
        for finding in findings(&poor, Some(&refusal)).iter().filter(|finding| finding.name != "memlock") {
            assert_ne!(finding.state, State::Ok, "{}", finding.name);
            assert_ne!(finding.remedy, "", "{}", finding.name);
        }
    }

    #[test]
    fn what_is_lacking_is_named_with_who_can_give_it() {
        let container =
            Machine { effective: Capabilities(1 << 39), bounding: Capabilities(1 << 39), ..able() };
        let finding = of(&container, "capabilities");
        assert_eq!(finding.value, "lacks CAP_PERFMON");
        assert!(finding.remedy.contains("--cap-add"), "{finding:?}");
        let user = Machine { uid: 1000, effective: Capabilities(0), ..able() };
        assert!(of(&user, "capabilities").remedy.contains("sudo"));
        let two = Machine { effective: Capabilities(3 << 38), ..able() };
        assert_eq!(of(&two, "capabilities").state, State::Ok);
        assert_eq!(of(&two, "tracefs").state, State::Limited, "only an administrator may mount it");
        assert!(of(&able(), "memlock").value.contains("unlimited"));
    }
}
