//! A filter as the store understands it: numbers of processes and classes, which blocks know, and SQL for the rest,
//! which only rows know.

use std::net::IpAddr;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::codes;
use super::row::{cannot_read, v6_bytes};
use crate::domain::{Direction, End, Filter, HistoryError, Window};

/// Bytes of a name that the kernel keeps (`TASK_COMM_LEN` without the terminating zero).
const COMM_BYTES: usize = 15;

/// Conditions that must all hold, and the values of their placeholders in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Condition {
    fn and(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(if self.sql.is_empty() { "" } else { " AND " });
        self.sql.push_str(sql);
        self.values.extend(values);
    }
}

/// What rows are asked for.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) window: Window,
    /// Rising; `None` for any, nobody included.
    pub(super) processes: Option<Vec<u32>>,
    /// Rising; `None` for any.
    classes: Option<Vec<u32>>,
    pub(super) rows: Condition,
}

impl Question {
    /// What `filter` asks of connections.
    pub(super) fn of_connections(file: &Connection, filter: &Filter) -> Result<Self, HistoryError> {
        let classes = match (filter.direction, filter.verdict, &filter.reason) {
            (_, _, Some(_)) => Some(Vec::new()),
            (None, None, None) => None,
            (direction, verdict, None) => Some(codes::classes(direction, verdict)),
        };
        let mut rows = common(filter);
        if let Some(errno) = filter.errno {
            rows.and("errno = ?", [errno.into()]);
        }
        let inbound = codes::classes(Some(Direction::Inbound), None);
        let from = inbound.first().copied().unwrap_or_default();
        for (end, near, far) in
            [(&filter.local, "destination", "source"), (&filter.remote, "source", "destination")]
        {
            add_end(&mut rows, end, |column, test| {
                // Inbound, the local end is the destination.
                format!(
                    "iif(class >= {from}, {}, {})",
                    test(&format!("{near}_{column}")),
                    test(&format!("{far}_{column}"))
                )
            });
        }
        Ok(Self { window: filter.window, processes: processes(file, filter)?, classes, rows })
    }

    /// What `filter` asks of drops.
    pub(super) fn of_drops(file: &Connection, filter: &Filter) -> Result<Self, HistoryError> {
        let not_of_drops = filter.direction.is_some() || filter.verdict.is_some() || filter.errno.is_some();
        let classes = match &filter.reason {
            _ if not_of_drops => Some(Vec::new()),
            None => None,
            Some(reason) => {
                Some(numbers(file, "SELECT id FROM causes WHERE reason = ?", &[reason.clone().into()])?)
            }
        };
        let mut rows = common(filter);
        for end in [&filter.local, &filter.remote] {
            add_end(&mut rows, end, |column, test| {
                format!(
                    "({} OR {})",
                    test(&format!("source_{column}")),
                    test(&format!("destination_{column}"))
                )
            });
        }
        Ok(Self { window: filter.window, processes: processes(file, filter)?, classes, rows })
    }

    /// Whether rows of this process and class are asked for, as far as those say.
    pub(super) fn wants(&self, process: u32, class: u32) -> bool {
        is_among(self.processes.as_ref(), process) && self.wants_class(class)
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

    /// Whether blocks know enough to answer.
    pub(super) fn is_of_blocks(&self) -> bool {
        self.rows.sql.is_empty()
    }
}

fn is_among(numbers: Option<&Vec<u32>>, number: u32) -> bool {
    numbers.is_none_or(|numbers| numbers.binary_search(&number).is_ok())
}

/// Conditions on programs, for rollups; `None` when rollups cannot tell.
pub(super) fn programs(filter: &Filter) -> Option<Condition> {
    let beyond = filter.pid.is_some()
        || filter.protocol.is_some()
        || filter.family.is_some()
        || filter.errno.is_some()
        || [&filter.local, &filter.remote].iter().any(|end| **end != End::default());
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

/// What is left of a name in the kernel. A character that is cut in two reads as U+FFFD, as it does when the
/// kernel's bytes are decoded.
fn as_kernel_keeps(name: &str) -> String {
    let bytes = name.as_bytes();
    String::from_utf8_lossy(&bytes[..bytes.len().min(COMM_BYTES)]).into_owned()
}

fn numbers(file: &Connection, sql: &str, values: &[Value]) -> Result<Vec<u32>, HistoryError> {
    let mut statement = file.prepare_cached(sql).map_err(cannot_read)?;
    let rows = statement.query_map(params_from_iter(values), |row| row.get(0)).map_err(cannot_read)?;
    let mut numbers = rows.collect::<Result<Vec<u32>, _>>().map_err(cannot_read)?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// What connections and drops both have.
fn common(filter: &Filter) -> Condition {
    let mut rows = Condition::default();
    if let Some(protocol) = filter.protocol {
        rows.and("protocol = ?", [protocol.into()]);
    }
    if let Some(family) = filter.family {
        rows.and("family = ?", [family.into()]);
    }
    rows
}

/// Adds conditions on one end. `either` says, for a test of a column (`ip`, `port`), on which ends it is made.
fn add_end(rows: &mut Condition, end: &End, either: impl Fn(&str, &dyn Fn(&str) -> String) -> String) {
    let mut test = |column: &str, ranges: Vec<(Value, Value)>| {
        let first = rows.values.len() + FIRST_VALUE;
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

/// Number of the first placeholder of [`Question::rows`]: those before it are a scan's own.
const FIRST_VALUE: usize = 5;
