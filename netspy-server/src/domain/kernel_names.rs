//! What the running kernel calls its numbers. They differ between kernels, the names much less.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Above this bit a drop reason says which subsystem it is of (`SKB_DROP_REASON_SUBSYS_SHIFT`,
/// include/net/dropreason-core.h).
const SUBSYSTEM_SHIFT: u32 = 16;

/// Names by number, as the kernel's own types tell them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelNames {
    /// Drop reasons of the core without `SKB_DROP_REASON_`, and those of subsystems in full; empty before 5.17.
    pub drop_reasons: BTreeMap<u32, String>,
    /// Subsystems with drop reasons of their own.
    pub drop_subsystems: BTreeMap<u32, String>,
    /// Reasons of a RST that this machine sends, without `SK_RST_REASON_`; empty before 6.10.
    pub reset_reasons: BTreeMap<u32, String>,
}

impl KernelNames {
    /// Name of a drop reason. One of a subsystem that is not known by name is called `SUBSYSTEM(number)`.
    pub fn drop_reason(&self, code: u32) -> String {
        if let Some(name) = self.drop_reasons.get(&code) {
            return name.clone();
        }
        match self.drop_subsystems.get(&(code >> SUBSYSTEM_SHIFT)) {
            Some(subsystem) if code >> SUBSYSTEM_SHIFT != 0 => {
                format!("{subsystem}({})", code & ((1 << SUBSYSTEM_SHIFT) - 1))
            }
            _ => format!("UNKNOWN({code})"),
        }
    }

    /// Name of the reason of a RST.
    pub fn reset_reason(&self, code: u32) -> String {
        self.reset_reasons.get(&code).cloned().unwrap_or_else(|| format!("UNKNOWN({code})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_named_as_closely_as_the_kernel_allows() {
        let names = KernelNames {
            drop_reasons: [(3, "NO_SOCKET".into()), (0x3_0002, "QDISC_DROP_OVERLIMIT".into())].into(),
            drop_subsystems: [(0, "CORE".into()), (2, "OPENVSWITCH".into()), (3, "QDISC".into())].into(),
            reset_reasons: [(1, "NO_SOCKET".into())].into(),
        };
        assert_eq!(names.drop_reason(3), "NO_SOCKET");
        assert_eq!(names.drop_reason(0x3_0002), "QDISC_DROP_OVERLIMIT");
        assert_eq!(names.drop_reason(0x2_0005), "OPENVSWITCH(5)");
        assert_eq!(names.drop_reason(0x7_0005), format!("UNKNOWN({})", 0x7_0005));
        assert_eq!(names.drop_reason(999), "UNKNOWN(999)");
        assert_eq!((names.reset_reason(1), names.reset_reason(9)), ("NO_SOCKET".into(), "UNKNOWN(9)".into()));
    }
}
