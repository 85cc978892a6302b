//! What the running kernel calls its numbers: from the enums in its types, those of modules too, and where
//! there are none from what it prints itself.

use std::{collections::BTreeMap, fs, path::Path};

use super::{btf::KernelTypes, tracefs::with_tracefs};
use crate::domain::KernelNames;

/// Enums with the drop reasons of subsystems, and the module that has each where it is not built in.
const SUBSYSTEM_ENUMS: [(&str, Option<&str>); 3] = [
    ("mac80211_drop_reason", Some("mac80211")),
    ("ovs_drop_reason", Some("openvswitch")),
    ("qdisc_drop_reason", None),
];

/// The names, as far as this kernel has them. A module that is loaded later brings none: its reasons are then
/// called by their subsystem and number.
pub fn kernel_names(types: &KernelTypes) -> KernelNames {
    let mut drop_reasons = types.enumerators("skb_drop_reason", "SKB_DROP_REASON_");
    // The end of the list and the mask of subsystems are no reasons.
    drop_reasons.retain(|code, name| *code <= 0xffff && name != "MAX");
    if drop_reasons.is_empty() {
        drop_reasons = printed_reasons();
    }
    let mut drop_subsystems = types.enumerators("skb_drop_reason_subsys", "SKB_DROP_REASON_SUBSYS_");
    drop_subsystems.retain(|_, name| name != "NUM");
    for (name, module) in SUBSYSTEM_ENUMS {
        let mut reasons = types.enumerators(name, "");
        if reasons.is_empty()
            && let Some(module) = module
        {
            reasons = types.enumerators_of_module(module, name);
        }
        reasons.retain(|code, name| drop_subsystems.contains_key(&(code >> 16)) && is_reason(*code, name));
        drop_reasons.extend(reasons);
    }
    let mut reset_reasons = types.enumerators("sk_rst_reason", "SK_RST_REASON_");
    reset_reasons.retain(|_, name| name != "MAX");
    KernelNames { drop_reasons, drop_subsystems, reset_reasons }
}

/// Not of the core, and not a mark of where the list begins or ends.
fn is_reason(code: u32, name: &str) -> bool {
    code > 0xffff && !name.starts_with("__") && !name.ends_with("_MAX")
}

/// How the kernel prints reasons in its trace; empty where it does not.
fn printed_reasons() -> BTreeMap<u32, String> {
    let read = || {
        ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
            .iter()
            .find_map(|root| fs::read_to_string(Path::new(root).join("events/skb/kfree_skb/format")).ok())
    };
    with_tracefs(read).ok().flatten().map(|format| parse_format(&format)).unwrap_or_default()
}

/// The pairs in `__print_symbolic(REC->reason, { 2, "NOT_SPECIFIED" }, …)`.
fn parse_format(format: &str) -> BTreeMap<u32, String> {
    let Some((_, pairs)) = format.split_once("__print_symbolic(REC->reason,") else {
        return BTreeMap::new();
    };
    let pairs = pairs.split('{').skip(1).map_while(|pair| {
        let (number, rest) = pair.split_once(',')?;
        let name = rest.split('"').nth(1)?;
        Some((number.trim().parse().ok()?, name.to_owned()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_format_names_the_reasons() {
        let format = "name: kfree_skb\nID: 1500\nformat:\n\tfield:unsigned short protocol;\toffset:32;\n\n\
                      print fmt: \"skbaddr=%p reason: %s\", REC->skbaddr, __print_symbolic(REC->reason, \
                      { 2, \"NOT_SPECIFIED\" }, { 3, \"NO_SOCKET\" }, { 0, \"MAX\" })\n";
        let expected = [(0, "MAX"), (2, "NOT_SPECIFIED"), (3, "NO_SOCKET")];
        assert_eq!(parse_format(format), expected.map(|(n, name)| (n, name.to_owned())).into());
        assert_eq!(parse_format("print fmt: \"skbaddr=%p\", REC->skbaddr"), BTreeMap::new());
        assert_eq!(parse_format("__print_symbolic(REC->reason, { x, \"A\" }"), BTreeMap::new());
    }
}
