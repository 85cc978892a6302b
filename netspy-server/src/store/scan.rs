//! Rows through their blocks: which blocks can hold what is asked for, what they say without being read, and the
//! reading of those that must be.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::block::{Table, classes, entries, processes};
use super::question::Question;
use super::row::cannot_read;
use crate::domain::{HistoryError, Page};

/// Of a scan's own: the ids, and the window.
pub(super) const PLACEHOLDERS: usize = 4;

/// More are compared here.
const FEW_PROCESSES: usize = 32;

/// A block that holds rows of a process and class that are asked for, as far as its summary says.
struct Candidate {
    ids: (i64, i64),
    wall_ns: (i64, i64),
    /// By class.
    rows: BTreeMap<u32, u64>,
    /// Whether `rows` is the answer: all of the block is in the window, and its summary knows enough.
    certain: bool,
}

/// The blocks that matter, latest first.
fn candidates(file: &Connection, table: Table, question: &Question) -> Result<Vec<Candidate>, HistoryError> {
    if question.is_empty() {
        return Ok(Vec::new());
    }
    let (since, until) = (question.window.since_ns, question.window.until_ns);
    let mut statement = file.prepare_cached(&blocks_within(table, question)).map_err(cannot_read)?;
    let changed = question.changed_since_ns.unwrap_or(i64::MIN);
    let mut blocks = statement.query([since, until, changed]).map_err(cannot_read)?;
    let mut found = Vec::new();
    while let Some(block) = blocks.next().map_err(cannot_read)? {
        let rows = matching(block, question).map_err(cannot_read)?;
        if rows.is_empty() {
            continue;
        }
        let at = |column| block.get::<_, i64>(column).map_err(cannot_read);
        let (ids, wall_ns) = ((at(0)?, at(1)?), (at(2)?, at(3)?));
        let certain = question.is_of_blocks() && since <= wall_ns.0 && wall_ns.1 <= until;
        found.push(Candidate { ids, wall_ns, rows, certain });
    }
    found.sort_by_key(|block| std::cmp::Reverse((block.wall_ns.1, block.ids.1)));
    Ok(found)
}

/// Which blocks the window touches. The long parts of a summary, which no index has, are read only for processes.
fn blocks_within(table: Table, question: &Question) -> String {
    let of_processes = if question.processes.is_some() { ", processes, entries" } else { "" };
    format!(
        "SELECT first_id, last_id, wall_first_ns, wall_last_ns, classes{of_processes} FROM {}
         WHERE wall_last_ns >= ?1 AND wall_first_ns <= ?2 AND changed_ns >= ?3",
        table.blocks
    )
}

/// Rows of a block that match by process and class, by class. Looks at no more of the summary than it must.
fn matching(block: &Row<'_>, question: &Question) -> rusqlite::Result<BTreeMap<u32, u64>> {
    let part = |column| block.get_ref(column).map(|part| part.as_blob().unwrap_or_default());
    let mut rows = BTreeMap::new();
    let mut add = |class: u32, count: u32| {
        if question.wants_class(class) {
            *rows.entry(class).or_default() += u64::from(count);
        }
    };
    let Some(wanted) = &question.processes else {
        classes(part(4)?).for_each(|(class, count)| add(class, count));
        return Ok(rows);
    };
    let is_wanted = |process: u32| wanted.binary_search(&process).is_ok();
    let last = wanted.last().copied().unwrap_or(0);
    if processes(part(5)?).take_while(|process| *process <= last).any(is_wanted) {
        entries(part(6)?)
            .take_while(|entry| entry.0 <= last)
            .filter(|entry| is_wanted(entry.0))
            .for_each(|(_, class, count)| add(class, count));
    }
    Ok(rows)
}

/// Hands over the rows of a block that match: wall time and id, class, and the row itself.
fn scan(
    file: &Connection,
    table: Table,
    question: &Question,
    block: &Candidate,
    mut take: impl FnMut((i64, i64), u32, &Row<'_>) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let and = if question.is_of_blocks() { "" } else { " AND " };
    let sql = format!(
        "SELECT * FROM {} WHERE id BETWEEN ?1 AND ?2 AND wall_ns BETWEEN ?3 AND ?4{}{and}{} ORDER BY id DESC",
        table.rows,
        of_few_processes(question),
        question.rows.sql
    );
    let window = question.window;
    let own: [_; PLACEHOLDERS] =
        [block.ids.0, block.ids.1, window.since_ns, window.until_ns].map(Value::from);
    let mut statement = file.prepare_cached(&sql).map_err(cannot_read)?;
    let values = own.iter().chain(&question.rows.values);
    let mut rows = statement.query(params_from_iter(values)).map_err(cannot_read)?;
    while let Some(row) = rows.next().map_err(cannot_read)? {
        let (process, class) = (row.get(2).map_err(cannot_read)?, row.get(3).map_err(cannot_read)?);
        if question.wants(process, class) {
            take((row.get(1).map_err(cannot_read)?, row.get(0).map_err(cannot_read)?), class, row)?;
        }
    }
    Ok(())
}

/// A condition on the process, where few are asked for: `SQLite` passes over a row faster than it hands it over.
fn of_few_processes(question: &Question) -> String {
    let Some(few) = question.processes.as_ref().filter(|processes| processes.len() <= FEW_PROCESSES) else {
        return String::new();
    };
    let numbers: Vec<_> = few.iter().map(u32::to_string).collect();
    format!(" AND process IN ({})", numbers.join(", "))
}

/// How many rows match, by class.
pub(super) fn count(
    file: &Connection,
    table: Table,
    question: &Question,
) -> Result<BTreeMap<u32, u64>, HistoryError> {
    let mut counts = BTreeMap::new();
    for block in candidates(file, table, question)? {
        if block.certain {
            for (class, rows) in block.rows {
                *counts.entry(class).or_default() += rows;
            }
        } else {
            scan(file, table, question, &block, |_, class, _| {
                *counts.entry(class).or_default() += 1;
                Ok(())
            })?;
        }
    }
    Ok(counts)
}

/// The newest `limit` rows that match, by wall time and then by id, and how many match in all.
pub(super) fn page<T>(
    file: &Connection,
    table: Table,
    question: &Question,
    limit: u32,
    convert: &mut dyn FnMut(&Row<'_>) -> Result<T, HistoryError>,
) -> Result<Page<T>, HistoryError> {
    let (mut newest, mut total) = (BTreeMap::<(i64, i64), T>::new(), 0);
    for block in candidates(file, table, question)? {
        let is_full = newest.len() >= limit as usize;
        let may_hold_newer = limit > 0
            && question.after.is_none_or(|(wall_ns, _)| block.wall_ns.0 <= wall_ns)
            && (!is_full || newest.first_key_value().is_some_and(|(at, _)| block.wall_ns.1 >= at.0));
        if block.certain {
            total += block.rows.values().sum::<u64>();
        }
        if block.certain && !may_hold_newer {
            continue;
        }
        scan(file, table, question, &block, |at, _, row| {
            total += u64::from(!block.certain);
            if question.after.is_some_and(|after| at >= after) {
                return Ok(());
            }
            let is_full = newest.len() >= limit as usize;
            if !is_full || newest.first_key_value().is_some_and(|(oldest, _)| at > *oldest) {
                newest.insert(at, convert(row)?);
            }
            if newest.len() > limit as usize {
                newest.pop_first();
            }
            Ok(())
        })?;
    }
    Ok(Page { rows: newest.into_values().rev().collect(), total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Filter, Keep, Window};
    use crate::store::block::{CONNECTIONS, DROPS};
    use crate::store::open;

    #[test]
    fn long_summaries_are_left_alone_where_no_process_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.db");
        let _open = open(&path, Keep::default()).unwrap();
        let file = Connection::open(&path).unwrap();
        let all = Filter::within(Window { since_ns: i64::MIN, until_ns: i64::MAX });
        for table in [CONNECTIONS, DROPS] {
            let question = Question::of_drops(&file, &all).unwrap();
            let sql = format!("EXPLAIN QUERY PLAN {}", blocks_within(table, &question));
            let plan: String = file.query_row(&sql, [0, 0, 0], |row| row.get("detail")).unwrap();
            assert!(plan.contains("USING COVERING INDEX"), "{plan}");
        }
    }
}
