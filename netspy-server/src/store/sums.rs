//! Sums: from blocks and rows as far as those are kept, from rollups for what is older; and the groups of most
//! connections, from rollups alone.

use std::collections::{BTreeMap, HashMap};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::block::{CONNECTIONS, Table};
use super::question::{self, Condition, Question};
use super::retention::{first_minute, first_rolled_minute};
use super::rollup::{Destination, HOUR_MINUTES, MINUTE_NS, Rollup};
use super::row::{Columns, cannot_read};
use super::{codes, scan};
use crate::domain::{Filter, Group, GroupBy, HistoryError, Sum};

/// Rows by class.
pub(super) fn count(
    file: &Connection,
    table: Table,
    mut question: Question,
    filter: &Filter,
) -> Result<BTreeMap<u32, u64>, HistoryError> {
    let (since, until) = (question.window.since_ns, question.window.until_ns);
    let mut first_minute = first_minute(file, table).map_err(cannot_read)?;
    let is_of_connections = table.rows == CONNECTIONS.rows;
    let mut counts = BTreeMap::new();
    if since < first_minute.saturating_mul(MINUTE_NS)
        && let Some(programs) = question::programs(filter)
    {
        let hour = first_minute.div_euclid(HOUR_MINUTES) * HOUR_MINUTES;
        if first_rolled_minute(file).map_err(cannot_read)? > hour {
            // What is missing of that hour is only in the sum of all of it: rows begin to count after it.
            first_minute = hour.saturating_add(HOUR_MINUTES);
        }
        question.window.since_ns = first_minute.saturating_mul(MINUTE_NS);
        let kinds = if is_of_connections {
            (Rollup::ConnectionsByMinute, Rollup::ConnectionsByHour)
        } else {
            (Rollup::DropsByMinute, Rollup::DropsByHour)
        };
        let minutes = (since.div_euclid(MINUTE_NS), until.div_euclid(MINUTE_NS).min(first_minute - 1));
        each(file, kinds, minutes, &programs, "class, count", |columns| {
            let (class, count) = (columns.take("class")?, columns.unsigned("count")?);
            if question.wants_class(class) {
                *counts.entry(class).or_default() += count;
            }
            Ok(())
        })?;
    }
    for (class, rows) in scan::count(file, table, &question)? {
        *counts.entry(class).or_default() += rows;
    }
    counts.retain(|_, count| *count > 0);
    Ok(counts)
}

/// The groups of most connections.
pub(super) fn top(
    file: &Connection,
    filter: &Filter,
    by: GroupBy,
    limit: u32,
) -> Result<Vec<(Group, Sum)>, HistoryError> {
    let Some(programs) = question::programs(filter).filter(|_| filter.reason.is_none()) else {
        return Err(HistoryError(
            "sums are kept by process name, executable, user, direction and outcome: ask by those".to_owned(),
        ));
    };
    let kinds = (Rollup::ConnectionsByMinute, Rollup::ConnectionsByHour);
    let window = (filter.window.since_ns.div_euclid(MINUTE_NS), filter.window.until_ns.div_euclid(MINUTE_NS));
    let classes = codes::classes(filter.direction, &filter.verdicts);
    let mut sums = HashMap::<Key, Sum>::new();
    let what = match by {
        GroupBy::Process => "program, class, count, bytes_sent, bytes_received",
        GroupBy::Destination => "destination, class, count, bytes_sent, bytes_received",
    };
    each(file, kinds, window, &programs, what, |columns| {
        let key = match by {
            GroupBy::Process => Key::Program(columns.take("program")?),
            GroupBy::Destination => Key::Destination(columns.take("destination")?),
        };
        if classes.binary_search(&columns.take("class")?).is_ok() {
            let sum = sums.entry(key).or_default();
            sum.connections += columns.unsigned("count")?;
            sum.bytes_sent += columns.unsigned("bytes_sent")?;
            sum.bytes_received += columns.unsigned("bytes_received")?;
        }
        Ok(())
    })?;
    let mut groups = named(file, sums)?;
    groups.sort_by_cached_key(|(group, sum)| (std::cmp::Reverse(sum.connections), format!("{group:?}")));
    groups.truncate(limit as usize);
    Ok(groups)
}

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Program(u32),
    Destination(Destination),
}

/// Programs by the names of their processes, of which several may be the same.
fn named(file: &Connection, sums: HashMap<Key, Sum>) -> Result<Vec<(Group, Sum)>, HistoryError> {
    let (mut groups, mut processes) = (Vec::new(), HashMap::<String, Sum>::new());
    let mut name_of = file.prepare_cached("SELECT name FROM programs WHERE id = ?1").map_err(cannot_read)?;
    for (key, sum) in sums.into_iter().filter(|(_, sum)| sum.connections > 0) {
        match key {
            Key::Destination(destination) => groups.push((destination.group(), sum)),
            Key::Program(0) => groups.push((Group::Others, sum)),
            Key::Program(number) => {
                let name = name_of.query_row([number], |row| row.get(0)).map_err(cannot_read)?;
                let all = processes.entry(name).or_default();
                all.connections += sum.connections;
                all.bytes_sent += sum.bytes_sent;
                all.bytes_received += sum.bytes_received;
            }
        }
    }
    groups.extend(processes.into_iter().map(|(name, sum)| (Group::Process(name), sum)));
    Ok(groups)
}

/// Hands over the rollups of a stretch of minutes: those of hours for whole hours, and where minutes are not kept.
fn each(
    file: &Connection,
    kinds: (Rollup, Rollup),
    minutes: (i64, i64),
    programs: &Condition,
    what: &str,
    mut take: impl FnMut(&mut Columns<'_, '_>) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let first_kept = first_rolled_minute(file).map_err(cannot_read)?;
    for (is_hour, first, last) in stretches(minutes, first_kept) {
        let kind = if is_hour { kinds.1 } else { kinds.0 };
        let and = if programs.sql.is_empty() {
            String::new()
        } else {
            format!(" AND program IN (SELECT id FROM programs WHERE {})", programs.sql)
        };
        let sql = format!("SELECT {what} FROM rollups WHERE kind = ? AND bucket BETWEEN ? AND ?{and}");
        let mut statement = file.prepare_cached(&sql).map_err(cannot_read)?;
        let own = [kind as i64, first, last].map(Value::from);
        let mut rows =
            statement.query(params_from_iter(own.iter().chain(&programs.values))).map_err(cannot_read)?;
        while let Some(row) = rows.next().map_err(cannot_read)? {
            take(&mut Columns::of(row))?;
        }
    }
    Ok(())
}

/// How to cover the minutes `first..=last` with the fewest rollups: whether of hours, first and last. Minutes before
/// `first_kept` are only in their hour, which is then counted whole.
fn stretches((first, last): (i64, i64), first_kept: i64) -> Vec<(bool, i64, i64)> {
    if first > last {
        return Vec::new();
    }
    let mut stretches = Vec::new();
    let mut next = first;
    // A whole hour begins at the first minute, or all that is left of it is the hour.
    let begins_within = next.rem_euclid(HOUR_MINUTES) != 0;
    if begins_within && next >= first_kept {
        let end = next.div_euclid(HOUR_MINUTES) * HOUR_MINUTES + HOUR_MINUTES - 1;
        stretches.push((false, next, end.min(last)));
        next = end + 1;
    }
    let hour = next.div_euclid(HOUR_MINUTES);
    // The last hour is whole if its last minute is asked for, or if its first one is not kept.
    let mut last_hour = (last + 1).div_euclid(HOUR_MINUTES) - 1;
    let rest = (last_hour + 1) * HOUR_MINUTES;
    if rest <= last && rest < first_kept {
        last_hour += 1;
    }
    if hour <= last_hour {
        stretches.push((true, hour, last_hour));
        next = (last_hour + 1) * HOUR_MINUTES;
    }
    if next <= last {
        stretches.push((false, next, last));
    }
    stretches
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_minute_is_covered_once_and_as_finely_as_is_kept(
            first in -200_i64..200, length in 0_i64..300, kept in -300_i64..300,
        ) {
            let last = first + length;
            let mut covered = Vec::new();
            for (is_hour, from, to) in stretches((first, last), kept) {
                prop_assert!(from <= to);
                covered.extend(if is_hour { from * 60..to * 60 + 60 } else { from..to + 1 });
            }
            let minutes: BTreeSet<_> = covered.iter().copied().collect();
            prop_assert_eq!(minutes.len(), covered.len(), "none twice");
            let asked: BTreeSet<_> = (first..=last).collect();
            prop_assert!(minutes.is_superset(&asked));
            for more in minutes.difference(&asked) {
                let hour = more.div_euclid(60) * 60;
                prop_assert!(hour < kept, "minute {} although those of its hour are kept", more);
            }
        }
    }
}
