//! Whether everything that was made is either recorded or counted as lost. Pure.

use serde_json::Value;

use super::workload::{Made, Workload};

/// What a server says of a workload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ledger {
    /// Outbound connections recorded for the workload's process.
    pub(super) recorded: u64,
    /// Of these, those whose outcome is not known.
    unfinished: u64,
    /// Inbound connections recorded for it; absent if the server does not record any.
    inbound: Option<u64>,
    /// Records of connections counted as lost since the server started, whosever they were.
    lost: u64,
    /// Drops since the server started, whosever they were: each is counted, not each has a record.
    pub(super) drops: u64,
    /// Those that have one.
    pub(super) drops_recorded: u64,
}

/// Kinds of loss (`by_kind`) that may be a connection's; where nobody knows what was lost, it is none of these.
const OF_CONNECTIONS: [&str; 2] = ["connection", "accept"];

impl Ledger {
    /// From the two summaries; `None` if they are not what they should be.
    pub(super) fn read(connections: &Value, drops: &Value) -> Option<Self> {
        let by_kind = connections["lost"]["by_kind"].as_object();
        let of_others =
            by_kind.into_iter().flatten().filter(|(kind, _)| !OF_CONNECTIONS.contains(&kind.as_str()));
        let of_others: u64 = of_others.filter_map(|(_, count)| count.as_u64()).sum();
        let drop_count = drops["count"].as_u64()?;
        Some(Self {
            recorded: connections["count"].as_u64()?,
            unfinished: connections["outcomes"]["pending"].as_u64().unwrap_or(0),
            inbound: connections["inbound"].as_u64(),
            lost: connections["lost"]["total"].as_u64()?.checked_sub(of_others)?,
            drops: drop_count,
            drops_recorded: drops["sampled"]["recorded"].as_u64().unwrap_or(drop_count),
        })
    }

    /// Records of connections lost since an earlier answer of the same server, about any workload.
    pub(super) fn lost_since(self, earlier: Self) -> u64 {
        self.lost.saturating_sub(earlier.lost)
    }

    /// Attempts since an earlier answer about another workload that are neither recorded nor counted as lost.
    /// Negative: so many more were lost than this workload made; they were other processes'.
    ///
    /// Of a refused attempt there are two records, its beginning and its outcome; each one lost leaves its trace. Of an
    /// established one there are more, and the ledger does not tell them apart: there only too little can be found.
    pub(super) fn unaccounted(self, workload: Workload, made: Made, earlier: Self) -> i64 {
        let missing = |recorded: u64| made.attempts.cast_signed() - recorded.cast_signed();
        let traces = missing(self.recorded) + self.unfinished.cast_signed();
        let lost = self.lost_since(earlier).cast_signed();
        match workload {
            Workload::Refused | Workload::Retry => traces - lost,
            Workload::Udp => (traces - lost).max(0),
            Workload::Tcp => (traces + self.inbound.map_or(0, missing) - lost).max(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ledger(count: u64, pending: u64, inbound: u64, lost: u64) -> Ledger {
        let connections = json!({
            "count": count, "outcomes": { "pending": pending, "refused": count - pending }, "inbound": inbound,
            "lost": { "total": lost + 50, "by_kind": { "packet_drop": 50, "connection": lost / 2 } },
        });
        Ledger::read(&connections, &json!({ "count": 7, "sampled": { "recorded": 5 } })).unwrap()
    }

    fn unaccounted(workload: Workload, ledger: Ledger, earlier: Ledger) -> i64 {
        ledger.unaccounted(workload, Made { attempts: 100, ..Made::default() }, earlier)
    }

    #[test]
    fn of_a_refused_attempt_every_lost_record_leaves_its_trace() {
        let none = Ledger::default();
        // Ten attempts lost, and three outcomes.
        assert_eq!(unaccounted(Workload::Refused, ledger(90, 3, 0, 13), none), 0);
        assert_eq!(unaccounted(Workload::Refused, ledger(90, 3, 0, 12), none), 1);
        assert_eq!(unaccounted(Workload::Retry, ledger(90, 3, 0, 20), none), -7);
        // What was lost before is not lost again.
        assert_eq!(unaccounted(Workload::Refused, ledger(90, 3, 0, 20), ledger(0, 0, 0, 7)), 0);
    }

    #[test]
    fn of_an_established_one_both_ends_are_looked_for() {
        let none = Ledger::default();
        assert_eq!(unaccounted(Workload::Tcp, ledger(90, 0, 95, 15), none), 0);
        assert_eq!(unaccounted(Workload::Tcp, ledger(90, 0, 95, 14), none), 1);
        assert_eq!(unaccounted(Workload::Tcp, ledger(90, 0, 95, 99), none), 0);
        assert_eq!(unaccounted(Workload::Udp, ledger(0, 0, 0, 0), none), 100);
    }

    #[test]
    fn lost_drops_are_not_lost_connections() {
        let ledger = ledger(90, 0, 0, 10);
        assert_eq!((ledger.drops, ledger.drops_recorded, ledger.lost_since(Ledger::default())), (7, 5, 10));
        assert!(Ledger::read(&json!({ "error": "busy" }), &json!({})).is_none());
    }
}
