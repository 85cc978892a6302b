//! Rows through their blocks: which blocks can hold what is asked for, what they say without being read, and the
//! reading of those that must be.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::block::{PORT, PROCESS, Table};
use super::question::Question;
use super::row::cannot_read;
use super::segment;
use super::summary::{classes, entries, few, values};
use crate::domain::{HistoryError, Page};

/// Of a scan's own: the ids, and the window.
pub(super) const PLACEHOLDERS: usize = 4;

/// More are compared here.
const FEW_PROCESSES: usize = 32;

/// Where rows that are asked for can be, as far as summaries say.
struct Candidate {
    /// Blocks, by their first ids.
    blocks: Vec<i64>,
    wall_ns: (i64, i64),
    /// By class.
    rows: BTreeMap<u32, u64>,
    /// Whether `rows` is the answer: all of it is in the window, and its summary knows enough.
    certain: bool,
}

/// First ids of the first and the last of some blocks.
type Stretch = (i64, i64);

/// A block whose rows are looked at.
struct Block {
    /// First and last.
    ids: (i64, i64),
    wall_ns: (i64, i64),
    /// Those that are asked for, falling, where they are known.
    known: Option<Vec<i64>>,
}

/// The places that matter, latest first.
fn candidates(file: &Connection, table: Table, question: &Question) -> Result<Vec<Candidate>, HistoryError> {
    if question.is_empty() {
        return Ok(Vec::new());
    }
    let (mut found, stretches) = in_segments(file, table, question)?;
    let mut statement = file.prepare_cached(&blocks_within(table, question)).map_err(cannot_read)?;
    let changed = question.changed_since_ns.unwrap_or(i64::MIN);
    let own = [question.window.since_ns, question.window.until_ns, changed];
    for stretch in stretches {
        let values = own.into_iter().chain(stretch.into_iter().flat_map(|(first, last)| [first, last]));
        let mut blocks = statement.query(params_from_iter(values)).map_err(cannot_read)?;
        while let Some(block) = blocks.next().map_err(cannot_read)? {
            let rows = matching(block, question).map_err(cannot_read)?;
            if !rows.is_empty() {
                found.push(candidate(block, rows, question).map_err(cannot_read)?);
            }
        }
    }
    found.sort_by_key(|place| std::cmp::Reverse(place.wall_ns.1));
    Ok(found)
}

/// What segments that are all in the window say of the processes or ports that are asked for, and the stretches of blocks for
/// which none speaks; `None` is all of them.
fn in_segments(
    file: &Connection,
    table: Table,
    question: &Question,
) -> Result<(Vec<Candidate>, Vec<Option<Stretch>>), HistoryError> {
    let Some((by, wanted)) = of_segments(question) else { return Ok((Vec::new(), vec![None])) };
    let (mut found, mut stretches) = (Vec::new(), Vec::new());
    let mut statement = file.prepare_cached(&segment::all(table, by)).map_err(cannot_read)?;
    let mut segments = statement.query([]).map_err(cannot_read)?;
    // Blocks before the first segment are in none, and those behind the last.
    let (mut next, mut follows) = (i64::MIN, false);
    while let Some(segment) = segments.next().map_err(cannot_read)? {
        let segment::Place { blocks, wall_ns } = segment::place(segment).map_err(cannot_read)?;
        let within = is_within(wall_ns, question);
        if !within && question.window.since_ns <= wall_ns.1 && wall_ns.0 <= question.window.until_ns {
            follows = false; // its blocks say what of it is
            continue;
        }
        if !follows {
            stretches.push(Some((next, blocks.0.saturating_sub(1))));
        }
        (next, follows) = (blocks.1.saturating_add(1), true);
        let mut rows = BTreeMap::new();
        if within {
            let blocks = segment::find(segment, wanted, |class, count| {
                if question.wants_class(class) {
                    *rows.entry(class).or_default() += u64::from(count);
                }
            })
            .map_err(cannot_read)?;
            if !rows.is_empty() {
                let certain = question.is_of_blocks();
                found.push(Candidate { blocks, wall_ns, rows, certain });
            }
        }
    }
    stretches.push(Some((next, i64::MAX)));
    Ok((found, stretches))
}

/// What segments are asked by, and for which, if they know enough: they do not know what has changed in them.
fn of_segments(question: &Question) -> Option<(usize, &[u32])> {
    question.by().filter(|_| question.changed_since_ns.is_none())
}

fn is_within(wall_ns: (i64, i64), question: &Question) -> bool {
    question.window.since_ns <= wall_ns.0 && wall_ns.1 <= question.window.until_ns
}

/// The columns of a block that questions need. The long parts, which no index has, are read only for processes and ports.
fn columns(question: &Question) -> String {
    let long = match question.by() {
        Some((PROCESS, _)) => ", processes, process_few, process_entries",
        Some((PORT, _)) => ", ports, port_few, port_entries",
        _ => "",
    };
    format!("first_id, last_id, wall_first_ns, wall_last_ns, classes{long}")
}

/// Which blocks the window touches: of a stretch of them where segments speak for the rest, which leaves so few that an index on
/// time would only lengthen the way.
fn blocks_within(table: Table, question: &Question) -> String {
    let (columns, blocks) = (columns(question), table.blocks);
    let within = "wall_last_ns >= ?1 AND +wall_first_ns <= ?2 AND +changed_ns >= ?3";
    if of_segments(question).is_some() {
        format!("SELECT {columns} FROM {blocks} WHERE first_id BETWEEN ?4 AND ?5 AND +{within}")
    } else {
        format!("SELECT {columns} FROM {blocks} WHERE {within}")
    }
}

/// Rows of a block that match by process or port and by class, by class. Looks at no more of the summary than it must.
fn matching(block: &Row<'_>, question: &Question) -> rusqlite::Result<BTreeMap<u32, u64>> {
    let mut rows = BTreeMap::new();
    let mut add = |class: u32, count: u32| {
        if question.wants_class(class) {
            *rows.entry(class).or_default() += u64::from(count);
        }
    };
    let Some((_, wanted)) = question.by() else {
        classes(part(block, 4)?).for_each(|(class, count)| add(class, count));
        return Ok(rows);
    };
    let is_wanted = |value: u32| wanted.binary_search(&value).is_ok();
    let last = wanted.last().copied().unwrap_or(0);
    if values(part(block, 5)?).take_while(|value| *value <= last).any(is_wanted) {
        entries(part(block, 7)?)
            .take_while(|entry| entry.0 <= last)
            .filter(|entry| is_wanted(entry.0))
            .for_each(|(_, class, count)| add(class, count));
    }
    Ok(rows)
}

fn candidate(block: &Row<'_>, rows: BTreeMap<u32, u64>, question: &Question) -> rusqlite::Result<Candidate> {
    let wall_ns = (block.get(2)?, block.get(3)?);
    let certain = question.is_of_blocks() && is_within(wall_ns, question);
    Ok(Candidate { blocks: vec![block.get(0)?], wall_ns, rows, certain })
}

/// The ids of the rows of these processes or ports, falling, if the block knows all of them.
fn known(block: &Row<'_>, first_id: i64, wanted: &[u32]) -> rusqlite::Result<Option<Vec<i64>>> {
    let is_wanted = |value: u32| wanted.binary_search(&value).is_ok();
    let last = wanted.last().copied().unwrap_or(0);
    let there = values(part(block, 5)?).take_while(|value| *value <= last);
    let mut unknown = there.filter(|value| is_wanted(*value)).count();
    let mut all = Vec::new();
    for (_, ids) in few(part(block, 6)?, first_id, is_wanted).take(unknown) {
        unknown = unknown.saturating_sub(1);
        all.extend(ids);
    }
    all.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
    Ok(Some(all).filter(|_| unknown == 0))
}

fn part<'a>(block: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    Ok(block.get_ref(column)?.as_blob().unwrap_or_default())
}

/// A candidate's blocks, latest first.
fn blocks_of(
    file: &Connection,
    table: Table,
    question: &Question,
    of: &Candidate,
) -> Result<Vec<Block>, HistoryError> {
    let sql = format!("SELECT {} FROM {} WHERE first_id = ?1", columns(question), table.blocks);
    let mut statement = file.prepare_cached(&sql).map_err(cannot_read)?;
    let mut read = |first: &i64| {
        let read = |block: &Row<'_>| {
            let known = question.by().map(|(_, wanted)| known(block, *first, wanted)).transpose()?.flatten();
            Ok(Block { ids: (*first, block.get(1)?), wall_ns: (block.get(2)?, block.get(3)?), known })
        };
        statement.query_row([first], read).map_err(cannot_read)
    };
    let mut found = of.blocks.iter().map(&mut read).collect::<Result<Vec<_>, _>>()?;
    found.sort_by_key(|block| std::cmp::Reverse(block.wall_ns.1));
    Ok(found)
}

/// Hands over the rows of a block that match: wall time and id, and class. The rest of a row takes several times as long to
/// read, and is for those alone that are shown.
fn scan(
    file: &Connection,
    table: Table,
    question: &Question,
    block: &Block,
    mut take: impl FnMut((i64, i64), u32),
) -> Result<(), HistoryError> {
    let and = if question.rows.sql.is_empty() { "" } else { " AND " };
    let sql = format!(
        "SELECT id, wall_ns, process, class FROM {}
         WHERE id BETWEEN ?1 AND ?2 AND wall_ns BETWEEN ?3 AND ?4{}{and}{} ORDER BY id DESC",
        table.rows,
        of_few_processes(question),
        question.rows.sql
    );
    let mut statement = file.prepare_cached(&sql).map_err(cannot_read)?;
    let mut within = |first: i64, last: i64| -> Result<(), HistoryError> {
        let own: [_; PLACEHOLDERS] =
            [first, last, question.window.since_ns, question.window.until_ns].map(Value::from);
        let values = own.iter().chain(&question.rows.values);
        let mut rows = statement.query(params_from_iter(values)).map_err(cannot_read)?;
        while let Some(row) = rows.next().map_err(cannot_read)? {
            let (process, class) = (row.get(2).map_err(cannot_read)?, row.get(3).map_err(cannot_read)?);
            if question.wants(process, class) {
                take((row.get(1).map_err(cannot_read)?, row.get(0).map_err(cannot_read)?), class);
            }
        }
        Ok(())
    };
    match &block.known {
        Some(known) => known.iter().try_for_each(|id| within(*id, *id)),
        None => within(block.ids.0, block.ids.1),
    }
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
    for candidate in candidates(file, table, question)? {
        if candidate.certain {
            for (class, rows) in candidate.rows {
                *counts.entry(class).or_default() += rows;
            }
            continue;
        }
        for block in blocks_of(file, table, question, &candidate)? {
            scan(file, table, question, &block, |_, class| *counts.entry(class).or_default() += 1)?;
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
    let (mut newest, mut total) = (Newest { limit: limit as usize, rows: BTreeSet::new() }, 0);
    for candidate in candidates(file, table, question)? {
        let certain = candidate.certain;
        if certain {
            total += candidate.rows.values().sum::<u64>();
            if !newest.may_be_in(candidate.wall_ns, question) {
                continue;
            }
        }
        for block in blocks_of(file, table, question, &candidate)? {
            if certain && !newest.may_be_in(block.wall_ns, question) {
                continue;
            }
            scan(file, table, question, &block, |at, _| {
                total += u64::from(!certain);
                if question.after.is_none_or(|after| at < after) {
                    newest.take(at);
                }
            })?;
        }
    }
    let sql = format!("SELECT * FROM {} WHERE id = ?1", table.rows);
    let mut one = file.prepare_cached(&sql).map_err(cannot_read)?;
    let mut read = |id: i64| {
        let mut rows = one.query([id]).map_err(cannot_read)?;
        rows.next().map_err(cannot_read)?.map(&mut *convert).transpose()
    };
    let rows = newest.rows.into_iter().rev().filter_map(|(_, id)| read(id).transpose());
    Ok(Page { rows: rows.collect::<Result<_, _>>()?, total })
}

/// The newest rows so far, by wall time and id.
struct Newest {
    limit: usize,
    rows: BTreeSet<(i64, i64)>,
}

impl Newest {
    /// Whether rows between these wall times may be among them.
    fn may_be_in(&self, wall_ns: (i64, i64), question: &Question) -> bool {
        question.after.is_none_or(|(after_ns, _)| wall_ns.0 <= after_ns) && self.takes((wall_ns.1, i64::MAX))
    }

    fn takes(&self, at: (i64, i64)) -> bool {
        self.rows.len() < self.limit || self.rows.first().is_some_and(|oldest| at > *oldest)
    }

    fn take(&mut self, at: (i64, i64)) {
        if self.takes(at) {
            self.rows.insert(at);
        }
        if self.rows.len() > self.limit {
            self.rows.pop_first();
        }
    }
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
