//! Counts: from blocks and rows as far as those are kept, from rollups for what is older.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::block::{CONNECTIONS, Table};
use super::question::{self, Condition, Question};
use super::retention::{first_minute, first_rolled_minute};
use super::rollup::{HOUR_MINUTES, MINUTE_NS, Rollup};
use super::row::{Columns, cannot_read};
use super::scan;
use crate::domain::{Filter, HistoryError};

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

/// Hands over the rollups of a stretch of minutes: those of hours for whole hours, and where minutes are not kept.
pub(super) fn each(
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
