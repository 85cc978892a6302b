//! A filter as the store understands it: numbers of processes and classes, which blocks know, and SQL for the rest,
//! which only rows know.

use std::net::IpAddr;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::block::{PORT, PROCESS};
use super::codes::{self, Coded};
use super::row::{cannot_read, v6_bytes};
use super::scan;
use crate::domain::{Direction, End, Filter, HistoryError, Window, as_kernel_keeps, is_short_id};

/// Conditions that must all hold, and the values of their placeholders in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
    /// Placeholders of the statement before these.
    before: usize,
}

impl Condition {
    /// None yet, in a statement that has so many placeholders of its own before them.
    pub(super) fn behind(before: usize) -> Self {
        Self { before, ..Self::default() }
    }

    pub(super) fn and(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(if self.sql.is_empty() { "" } else { " AND " });
        self.sql.push_str(sql);
        self.values.extend(values);
    }
}

/// What rows are asked for.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) window: Window,
    /// Wall time and id that rows, but not counts, must be below.
    pub(super) after: Option<(i64, i64)>,
    /// Only blocks that changed at this moment or later hold such rows; ns since 1970.
    pub(super) changed_since_ns: Option<i64>,
    /// Rising; `None` for any, nobody included.
    pub(super) processes: Option<Vec<u32>>,
    /// Ports of the other end, rising; `None` for any, and where summaries do not know them.
    ports: Option<Vec<u32>>,
    /// Whether `rows` says nothing but these.
    only_ports: bool,
    /// Rising; `None` for any.
    classes: Option<Vec<u32>>,
    pub(super) rows: Condition,
}

impl Question {
    /// What `filter` asks of connections.
    pub(super) fn of_connections(file: &Connection, filter: &Filter) -> Result<Self, HistoryError> {
        let classes = match (filter.direction, &filter.verdicts[..]) {
            _ if filter.reason.is_some() || filter.packet_direction.is_some() => Some(Vec::new()),
            (None, []) => None,
            (direction, verdicts) => Some(codes::classes(direction, verdicts)),
        };
        let mut rows = Condition::behind(scan::PLACEHOLDERS);
        add_common(&mut rows, filter);
        if let Some(errno) = filter.errno {
            rows.and("errno = ?", [errno.into()]);
        }
        if let Some(since) = filter.changed_since_ns {
            let changed = "wall_ns + max(ifnull(outcome_ns, 0), ifnull(close_ns, 0)) >= ?";
            rows.and(changed, [since.into()]);
        }
        let inbound = codes::classes(Some(Direction::Inbound), &[]);
        let from = inbound.first().copied().unwrap_or_default();
        // Inbound, the local end is the destination. The one condition that summaries know comes last.
        let ports = filter.remote.ports.clone();
        let (remote, to_ports) =
            (End { ports: None, ..filter.remote.clone() }, End { ports: ports.clone(), network: None });
        let mut only_ports = false;
        for (end, near, far) in [
            (&filter.local, "destination", "source"),
            (&remote, "source", "destination"),
            (&to_ports, "source", "destination"),
        ] {
            only_ports = rows.sql.is_empty();
            add_end(&mut rows, end, |column, test| {
                format!(
                    "iif(class >= {from}, {}, {})",
                    test(&format!("{near}_{column}")),
                    test(&format!("{far}_{column}"))
                )
            });
        }
        let ports = ports.map(|ports| ports.map(u32::from).collect());
        Ok(Self { ports, only_ports, ..Self::of(file, filter, classes, rows)? })
    }

    /// What `filter` asks of drops.
    pub(super) fn of_drops(file: &Connection, filter: &Filter) -> Result<Self, HistoryError> {
        let classes = match &filter.reason {
            _ if filter.is_of_connections() => Some(Vec::new()),
            None => None,
            Some(reason) => {
                Some(numbers(file, "SELECT id FROM causes WHERE reason = ?", &[reason.clone().into()])?)
            }
        };
        let mut rows = Condition::behind(scan::PLACEHOLDERS);
        add_common(&mut rows, filter);
        if let Some(direction) = filter.packet_direction {
            rows.and("direction = ?", [direction.code().into()]);
        }
        add_either_end(&mut rows, filter);
        Self::of(file, filter, classes, rows)
    }

    fn of(
        file: &Connection,
        filter: &Filter,
        classes: Option<Vec<u32>>,
        rows: Condition,
    ) -> Result<Self, HistoryError> {
        // An id is stored as the i64 with the same bits.
        let after = filter.after.map(|place| (place.wall_ns, place.id.map_or(i64::MIN, u64::cast_signed)));
        let (window, changed_since_ns) = (filter.window, filter.changed_since_ns);
        let processes = processes(file, filter)?;
        let (ports, only_ports) = (None, false);
        Ok(Self { window, after, changed_since_ns, processes, ports, only_ports, classes, rows })
    }

    /// Whether rows of this process and class are asked for, as far as those say.
    pub(super) fn wants(&self, process: u32, class: u32) -> bool {
        is_among(self.processes.as_ref(), process) && self.wants_class(class)
    }

    /// Whether rows are asked for whatever their class.
    pub(super) fn wants_any_class(&self) -> bool {
        self.classes.is_none()
    }

    /// Whether rows of this class are asked for.
    pub(super) fn wants_class(&self, class: u32) -> bool {
        is_among(self.classes.as_ref(), class)
    }

    /// Whether it is plain that nothing can match.
    pub(super) fn is_empty(&self) -> bool {
        let none = |numbers: &Option<Vec<u32>>| numbers.as_ref().is_some_and(Vec::is_empty);
        none(&self.processes) || none(&self.classes) || self.window.since_ns > self.window.until_ns
    }

    /// What summaries are asked by, and for which: processes, else ports, if for any.
    pub(super) fn by(&self) -> Option<(usize, &[u32])> {
        let processes = self.processes.as_deref().map(|processes| (PROCESS, processes));
        processes.or_else(|| self.ports.as_deref().map(|ports| (PORT, ports)))
    }

    /// Whether summaries know enough to answer.
    pub(super) fn is_of_blocks(&self) -> bool {
        self.rows.sql.is_empty() || (self.only_ports && self.processes.is_none())
    }
}

fn is_among(numbers: Option<&Vec<u32>>, number: u32) -> bool {
    numbers.is_none_or(|numbers| numbers.binary_search(&number).is_ok())
}

/// Conditions on programs, for rollups; `None` when rollups cannot tell.
pub(super) fn programs(filter: &Filter) -> Option<Condition> {
    let beyond = filter.pid.is_some()
        || filter.unit.is_some()
        || filter.container.is_some()
        || filter.errno.is_some()
        || filter.changed_since_ns.is_some()
        || filter.is_of_packets();
    (!beyond).then(|| of_program(filter))
}

/// Rising numbers of the processes that are asked for.
fn processes(file: &Connection, filter: &Filter) -> Result<Option<Vec<u32>>, HistoryError> {
    let condition = of_process(filter);
    if condition.sql.is_empty() {
        return Ok(None);
    }
    let sql = format!("SELECT id FROM processes WHERE {}", condition.sql);
    numbers(file, &sql, &condition.values).map(Some)
}

/// Conditions on the table of processes.
pub(super) fn of_process(filter: &Filter) -> Condition {
    let mut condition = of_program(filter);
    if let Some(pid) = filter.pid {
        condition.and("pid = ?", [pid.into()]);
    }
    // As the indexes have it.
    if let Some(unit) = &filter.unit {
        condition.and("identity ->> '$.unit' = ?", [unit.clone().into()]);
    }
    if let Some(container) = &filter.container {
        // What goes on after a short id are hexadecimal digits, which are before "g".
        let last = if is_short_id(container) { format!("{container}g") } else { container.clone() };
        let between = "identity ->> '$.container_id' BETWEEN ? AND ?";
        condition.and(between, [container.clone().into(), last.into()]);
    }
    condition
}

fn of_program(filter: &Filter) -> Condition {
    let mut condition = Condition::default();
    if let Some(name) = &filter.process {
        // The last condition lets SQLite use the index on threads, which has only those rows.
        let names = [name.clone(), as_kernel_keeps(name)];
        condition.and(
            "(name IN (?, ?) OR (comm IN (?, ?) AND comm <> name))",
            names.clone().into_iter().chain(names).map(Value::from),
        );
    }
    if let Some(exe) = &filter.exe {
        condition.and("exe = ?", [exe.clone().into()]);
    }
    if let Some(uid) = filter.uid {
        condition.and("uid = ?", [uid.into()]);
    }
    condition
}

fn numbers(file: &Connection, sql: &str, values: &[Value]) -> Result<Vec<u32>, HistoryError> {
    let mut statement = file.prepare_cached(sql).map_err(cannot_read)?;
    let rows = statement.query_map(params_from_iter(values), |row| row.get(0)).map_err(cannot_read)?;
    let mut numbers = rows.collect::<Result<Vec<u32>, _>>().map_err(cannot_read)?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// What all rows have.
fn add_common(rows: &mut Condition, filter: &Filter) {
    if let Some(protocol) = filter.protocol {
        rows.and("protocol = ?", [protocol.into()]);
    }
    if let Some(family) = filter.family {
        rows.and("family = ?", [family.into()]);
    }
}

/// Adds conditions on the ends of a packet, of which neither is known to be the local one.
fn add_either_end(rows: &mut Condition, filter: &Filter) {
    for end in [&filter.local, &filter.remote] {
        add_end(rows, end, |column, test| {
            format!("({} OR {})", test(&format!("source_{column}")), test(&format!("destination_{column}")))
        });
    }
}

/// Conditions on rows of troubles, behind those of their own.
pub(super) fn add_of_troubles(rows: &mut Condition, filter: &Filter) {
    let tcp = libc::IPPROTO_TCP as u8;
    if filter.is_of_connections()
        || filter.packet_direction.is_some()
        || filter.protocol.is_some_and(|protocol| protocol != tcp)
    {
        rows.and("0", []);
    }
    if let Some(family) = filter.family {
        rows.and("family = ?", [family.into()]);
    }
    if let Some(reason) = &filter.reason {
        rows.and("reason = ?", [reason.clone().into()]);
    }
    add_either_end(rows, filter);
}

/// Adds conditions on one end. `either` says, for a test of a column (`ip`, `port`), on which ends it is made.
fn add_end(rows: &mut Condition, end: &End, either: impl Fn(&str, &dyn Fn(&str) -> String) -> String) {
    let mut test = |column: &str, ranges: Vec<(Value, Value)>| {
        let first = rows.before + rows.values.len() + 1;
        let between = |name: &str| {
            let ranges: Vec<_> = (0..ranges.len())
                .map(|n| format!("{name} BETWEEN ?{} AND ?{}", first + 2 * n, first + 2 * n + 1))
                .collect();
            format!("({})", ranges.join(" OR "))
        };
        let sql = either(column, &between);
        rows.and(&sql, ranges.iter().flat_map(|(least, most)| [least.clone(), most.clone()]));
    };
    if let Some(network) = end.network {
        // The greatest scope: a scoped address is after the same one without.
        let v6 = |least, most| (v6_bytes(least, 0).into(), v6_bytes(most, u32::MAX).into());
        let ranges = match (network.network(), network.broadcast()) {
            (IpAddr::V4(least), IpAddr::V4(most)) => vec![
                (u32::from(least).into(), u32::from(most).into()),
                v6(least.to_ipv6_mapped(), most.to_ipv6_mapped()),
            ],
            (IpAddr::V6(least), IpAddr::V6(most)) => vec![v6(least, most)],
            _ => Vec::new(), // a network has one family
        };
        test("ip", ranges);
    }
    if let Some(ports) = &end.ports {
        test("port", vec![((*ports.start()).into(), (*ports.end()).into())]);
    }
}
