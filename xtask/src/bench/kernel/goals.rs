//! What the numbers have to be, and whether they are. Pure.

use serde::Serialize;

use super::idle::Idle;
use super::workload::Workload;
use super::{loss, slowdown};

/// Rate of the baseline divided by the rate under netspy, at most.
pub(super) fn slowdown_limit(workload: Workload) -> f64 {
    match workload {
        Workload::Tcp | Workload::Refused | Workload::Retry => 1.25,
        Workload::Udp => 1.15,
    }
}

/// If others use more than this, in CPUs, a slow-down is theirs as well as the tool's.
const QUIET: f64 = 0.25;
/// At this many attempts a second nothing may be lost.
const LOSSLESS_RATE: u32 = 50_000;
/// The idle server's part of a core, at most.
const IDLE_CPU: f64 = 0.005;
/// Its memory, at most.
const IDLE_KIB: u64 = 64 << 10;

/// One goal and what was measured.
#[derive(Debug, Serialize)]
pub(super) struct Goal {
    /// What it is about.
    pub(super) what: String,
    /// What was measured.
    pub(super) measured: String,
    /// What it has to be.
    pub(super) wanted: String,
    /// Whether it is.
    pub(super) met: bool,
}

impl Goal {
    fn new(
        what: impl Into<String>,
        measured: impl Into<String>,
        wanted: impl Into<String>,
        met: bool,
    ) -> Self {
        Self { what: what.into(), measured: measured.into(), wanted: wanted.into(), met }
    }
}

/// Of the slow-down: netspy's rows only.
pub(super) fn of_slowdown(rows: &[slowdown::Row]) -> Vec<Goal> {
    let own = rows.iter().filter(|row| row.tool == slowdown::NETSPY);
    own.flat_map(|row| {
        let (title, limit, median) =
            (row.workload.title(), slowdown_limit(row.workload), row.slowdown.median);
        let quiet = row.others.median <= QUIET;
        let others = format!(", which says nothing: others used {:.1} CPUs", row.others.median);
        let others = if quiet { "" } else { &others };
        let unaccounted = row.unaccounted.unwrap_or(row.made);
        let measured = format!("{unaccounted} of {} unaccounted", row.made);
        [
            Goal::new(
                format!("slow-down, {title}"),
                format!("{median:.2}{others}"),
                format!("≤ {limit}"),
                quiet && median <= limit,
            ),
            Goal::new(format!("recorded + lost = made, {title}"), measured, "0", unaccounted == 0),
        ]
    })
    .collect()
}

/// Of the losses.
pub(super) fn of_loss(rows: &[loss::Row]) -> Vec<Goal> {
    let lossless = || rows.iter().filter(|row| row.wanted == Some(LOSSLESS_RATE));
    let fastest = lossless().map(|row| row.rate).fold(0.0, f64::max);
    let reached = lossless().any(|row| row.reached);
    let rate = format!("{LOSSLESS_RATE}/s");
    let mut goals =
        vec![Goal::new("rate without loss: made by the generator", format!("{fastest:.0}/s"), rate, reached)];
    goals.extend(lossless().map(|row| {
        Goal::new(format!("records lost, {}", row.title()), row.lost.to_string(), "0", row.lost == 0)
    }));
    // Or else the ledger of a full ring was not put to the test.
    goals.extend(rows.iter().filter(|row| row.stalled).map(|row| {
        Goal::new(format!("records lost, {}", row.title()), row.lost.to_string(), "> 0", row.lost > 0)
    }));
    goals.extend(rows.iter().map(|row| {
        let others = match row.unaccounted {
            ..0 => format!(" ({} recorded of other processes)", row.of_others),
            _ => String::new(),
        };
        let measured = format!("{} of {} unaccounted{others}", row.unaccounted, row.made);
        Goal::new(format!("recorded + lost = made, {}", row.title()), measured, "0", row.unaccounted == 0)
    }));
    goals
}

/// Of the idle server.
pub(super) fn of_idle(idle: &Idle) -> Vec<Goal> {
    let wakeups = format!("{} in {} s ({} events of others)", idle.wakeups, idle.seconds, idle.events);
    let cpu = format!("{:.2} %", idle.cpu * 100.0);
    let rss = idle.memory.rss_kib;
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    vec![
        Goal::new("idle: wake-ups", wakeups, "0", idle.wakeups == 0),
        Goal::new("idle: part of a core", cpu, format!("≤ {} %", IDLE_CPU * 100.0), idle.cpu <= IDLE_CPU),
        Goal::new("idle: resident memory", mib(rss), format!("≤ {}", mib(IDLE_KIB)), rss <= IDLE_KIB),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::kernel::process::Memory;
    use crate::bench::kernel::spread::Spread;

    fn missed(goals: &[Goal]) -> Vec<&str> {
        goals.iter().filter(|goal| !goal.met).map(|goal| goal.what.as_str()).collect()
    }

    #[test]
    fn only_netspys_own_slowdown_is_judged() {
        let spread = |median| Spread { low: median, median, high: median };
        let row = |tool, median, unaccounted| slowdown::Row {
            tool,
            workload: Workload::Udp,
            slowdown: spread(median),
            cpu_slowdown: spread(1.0),
            rate: spread(1.0),
            made: 10,
            reported: 10,
            lost: unaccounted,
            unaccounted,
            others: spread(0.0),
        };
        assert!(
            missed(&of_slowdown(&[row(slowdown::NETSPY, 1.15, Some(0)), row("peer", 9.0, None)])).is_empty()
        );
        let both = ["slow-down, UDP connect", "recorded + lost = made, UDP connect"];
        assert_eq!(missed(&of_slowdown(&[row(slowdown::NETSPY, 1.16, Some(1))])), both);
        let busy = slowdown::Row { others: spread(0.5), ..row(slowdown::NETSPY, 1.0, Some(0)) };
        assert_eq!(missed(&of_slowdown(&[busy])), both[..1]);
    }

    #[test]
    fn loss_is_judged_at_the_rate_that_was_promised_and_the_ledger_at_each() {
        let row = |wanted, lost, unaccounted| loss::Row {
            workload: Workload::Refused,
            wanted,
            stalled: false,
            reached: true,
            rate: 50_000.0,
            made: 100,
            recorded: 100,
            lost,
            unaccounted,
            of_others: 7,
            drops: (0, 0),
            behind_s: 0.0,
            server_us_each: 0.0,
            others: 0.0,
            memory: Memory { rss_kib: 0, pss_kib: 0 },
            history_mib: 0.0,
        };
        assert!(missed(&of_loss(&[row(Some(50_000), 0, 0), row(None, 9, 0)])).is_empty());
        assert_eq!(missed(&of_loss(&[row(Some(50_000), 1, 0)])), ["records lost, refused connect 50000/s"]);
        let off = of_loss(&[row(Some(50_000), 0, -3)]);
        assert_eq!(missed(&off), ["recorded + lost = made, refused connect 50000/s"]);
        assert!(off.iter().any(|goal| goal.measured.contains("7 recorded of other processes")));
        let stalled = |lost| loss::Row { stalled: true, ..row(None, lost, 0) };
        assert_eq!(missed(&of_loss(&[row(Some(50_000), 0, 0), stalled(1), stalled(0)])).len(), 1);
        let never = [loss::Row { reached: false, ..row(Some(50_000), 0, 0) }];
        assert_eq!(missed(&of_loss(&never)).len(), 1);
    }

    #[test]
    fn an_idle_server_neither_wakes_nor_grows() {
        let memory = Memory { rss_kib: 65_537, pss_kib: 1 };
        let idle = Idle { seconds: 10, events: 0, wakeups: 1, cpu: 0.006, memory };
        assert_eq!(missed(&of_idle(&idle)).len(), 3);
        let memory = Memory { rss_kib: 65_536, pss_kib: 1 };
        assert!(missed(&of_idle(&Idle { wakeups: 0, cpu: 0.005, memory, ..idle })).is_empty());
    }
}
