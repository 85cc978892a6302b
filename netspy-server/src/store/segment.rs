//! Segments: one summary for 32 blocks that no longer grow, so that a question about a process or a port need not look at
//! each of them. It knows in which of its blocks a process or port has rows, and how many of each class in all.
//!
//! What changes later in one of its blocks changes the segment in the same transaction. When the first of its blocks is
//! deleted the segment is, too: the rest are blocks like others.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::block::{Entry, Of, PORT, PROCESS, Table};
use super::packed::{Numbers, put};
use super::summary::{count, entries, uncount};

/// Blocks in a segment: as many as bits in a set of them.
const BLOCKS: u32 = u32::BITS;
/// The newest blocks are left alone: much still changes in them.
const LEFT: u32 = 2;

/// A row of a block was added or has changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Late {
    /// First id of the block.
    pub(super) block: i64,
    /// What it was, and its class; `None` if it is new.
    pub(super) before: Option<(Of, u32)>,
    pub(super) now: Entry,
}

/// The rows of a process or port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rows {
    /// Bit n: the nth block may have some.
    blocks: u32,
    /// How many, by class; none of them 0.
    classes: Vec<(u32, u32)>,
}

/// Blocks that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Segment {
    /// Their first ids, rising.
    blocks: Vec<i64>,
    /// Earliest and latest wall time, ns since 1970.
    wall_ns: (i64, i64),
    /// By process, and by port.
    by: [BTreeMap<u32, Rows>; 2],
}

impl Segment {
    fn change(&mut self, late: &Late) {
        let bit = self.blocks.binary_search(&late.block).map_or(0, |at| 1 << at);
        for (at, by) in self.by.iter_mut().enumerate() {
            if let Some((before, class)) = late.before
                && let Some(rows) = by.get_mut(&before[at])
            {
                uncount(&mut rows.classes, class);
                if rows.classes.is_empty() {
                    by.remove(&before[at]);
                }
            }
            let rows = by.entry(late.now.of[at]).or_default();
            rows.blocks |= bit;
            count(&mut rows.classes, late.now.class, 1);
        }
        self.wall_ns = (self.wall_ns.0.min(late.now.wall_ns), self.wall_ns.1.max(late.now.wall_ns));
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let blocks = blocks(row.get(0)?, row.get_ref(1)?.as_blob()?).collect();
        let mut segment = Self { blocks, wall_ns: (row.get(2)?, row.get(3)?), by: Default::default() };
        for (at, by) in segment.by.iter_mut().enumerate() {
            let (mut rest, mut value) = (Numbers(row.get_ref(4 + at)?.as_blob()?), 0);
            while let Some(of) = rest.rising(&mut value)
                && let Some((blocks, classes)) = next(&mut rest)
            {
                let mut rows = Rows { blocks, classes: Vec::new() };
                for (class, of_class) in pairs(&mut rest, classes) {
                    count(&mut rows.classes, class, of_class);
                }
                by.insert(of, rows);
            }
        }
        Ok(segment)
    }

    /// The first ids of its blocks, but for the first.
    fn encoded_blocks(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for pair in self.blocks.windows(2) {
            put(&mut bytes, pair[1].wrapping_sub(pair[0]).cast_unsigned());
        }
        bytes
    }

    fn encoded(&self, by: usize) -> Vec<u8> {
        let (mut bytes, mut before) = (Vec::new(), 0);
        for (value, rows) in &self.by[by] {
            let classes = rows.classes.iter().flat_map(|(class, rows)| [*class, *rows]);
            for number in [value - before, rows.blocks, rows.classes.len() as u32].into_iter().chain(classes)
            {
                put(&mut bytes, number);
            }
            before = *value;
        }
        bytes
    }

    fn write(&self, file: &Connection, table: Table) -> rusqlite::Result<()> {
        let Some((first, last)) = self.blocks.first().zip(self.blocks.last()) else { return Ok(()) };
        let sql = format!("INSERT OR REPLACE INTO {} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", table.segments);
        let (blocks, processes, ports) = (self.encoded_blocks(), self.encoded(PROCESS), self.encoded(PORT));
        let values = params![first, last, self.wall_ns.0, self.wall_ns.1, blocks, processes, ports];
        file.prepare_cached(&sql)?.execute(values).map(drop)
    }
}

/// The first ids of the blocks of a segment that begins with this one. What is damaged ends them.
fn blocks(first: i64, bytes: &[u8]) -> impl Iterator<Item = i64> {
    let mut rest = Numbers(bytes);
    std::iter::successors(Some(first), move |before| {
        rest.long().map(|distance| before.wrapping_add(distance.cast_signed()))
    })
}

/// The blocks of a process or port and how many classes follow. What is damaged ends them.
fn next(rest: &mut Numbers<'_>) -> Option<(u32, u32)> {
    Some((rest.short()?, rest.short()?))
}

/// So many classes and their rows.
fn pairs(rest: &mut Numbers<'_>, classes: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..classes).map_while(|_| Some((rest.short()?, rest.short()?)))
}

/// First id of the last block that is in a segment.
pub(super) fn sealed(file: &Connection, table: Table) -> rusqlite::Result<i64> {
    let sql = format!("SELECT last_block FROM {} ORDER BY first_block DESC LIMIT 1", table.segments);
    let last = file.prepare_cached(&sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(i64::MIN))
}

/// Takes over what has changed in blocks that are in segments.
pub(super) fn adjust(file: &Connection, table: Table, late: &[Late]) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT first_block, blocks, wall_first_ns, wall_last_ns, processes, ports FROM {}
         WHERE first_block <= ?1 AND last_block >= ?1 ORDER BY first_block DESC LIMIT 1",
        table.segments
    );
    let mut changed = BTreeMap::<i64, Segment>::new();
    for late in late {
        let known = changed.range(..=late.block).next_back();
        let known = known.filter(|(_, segment)| segment.blocks.last() >= Some(&late.block));
        let first = if let Some((first, _)) = known {
            *first
        } else {
            let read = file.prepare_cached(&sql)?.query_row([late.block], Segment::read).optional()?;
            let Some((first, segment)) = read.and_then(|segment| Some((*segment.blocks.first()?, segment)))
            else {
                continue;
            };
            changed.insert(first, segment);
            first
        };
        if let Some(segment) = changed.get_mut(&first) {
            segment.change(late);
        }
    }
    changed.values().try_for_each(|segment| segment.write(file, table))
}

/// Makes segments of the blocks after `sealed`, as long as there are enough.
pub(super) fn seal(file: &Connection, table: Table, mut sealed: i64) -> rusqlite::Result<()> {
    let there = format!("SELECT count(*) FROM (SELECT 1 FROM {} WHERE first_id > ?1 LIMIT ?2)", table.blocks);
    let read = format!(
        "SELECT first_id, wall_first_ns, wall_last_ns, process_entries, port_entries FROM {}
         WHERE first_id > ?1 ORDER BY first_id LIMIT {BLOCKS}",
        table.blocks
    );
    while file
        .prepare_cached(&there)?
        .query_row([sealed, i64::from(BLOCKS + LEFT)], |row| row.get::<_, u32>(0))?
        == BLOCKS + LEFT
    {
        let mut segment = Segment { wall_ns: (i64::MAX, i64::MIN), ..Segment::default() };
        let mut statement = file.prepare_cached(&read)?;
        let mut blocks = statement.query([sealed])?;
        while let Some(block) = blocks.next()? {
            let bit = 1 << segment.blocks.len();
            for (at, by) in segment.by.iter_mut().enumerate() {
                for (value, class, of_class) in entries(block.get_ref(3 + at)?.as_blob()?) {
                    let rows = by.entry(value).or_default();
                    rows.blocks |= bit;
                    count(&mut rows.classes, class, of_class);
                }
            }
            sealed = block.get(0)?;
            segment.blocks.push(sealed);
            let (first, last): (i64, i64) = (block.get(1)?, block.get(2)?);
            segment.wall_ns = (segment.wall_ns.0.min(first), segment.wall_ns.1.max(last));
        }
        segment.write(file, table)?;
    }
    Ok(())
}

/// Takes the segment apart that this block is in.
pub(super) fn forget(file: &Connection, table: Table, block: i64) -> rusqlite::Result<()> {
    let sql = format!("DELETE FROM {} WHERE first_block <= ?1 AND last_block >= ?1", table.segments);
    file.prepare_cached(&sql)?.execute([block]).map(drop)
}

/// Where a segment is.
pub(super) struct Place {
    /// First ids of its first and last block.
    pub(super) blocks: (i64, i64),
    /// Earliest and latest wall time, ns since 1970.
    pub(super) wall_ns: (i64, i64),
}

/// A statement for all of them, by rising ids, and what they say by process or by port.
pub(super) fn all(table: Table, by: usize) -> String {
    let column = ["processes", "ports"][by];
    format!(
        "SELECT first_block, last_block, wall_first_ns, wall_last_ns, blocks, {column} FROM {} ORDER BY first_block",
        table.segments
    )
}

/// Where one is that [`all`] has found.
pub(super) fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place { blocks: (row.get(0)?, row.get(1)?), wall_ns: (row.get(2)?, row.get(3)?) })
}

/// First ids of those of its blocks that may have rows of these processes or ports, which rise; `take` gets how many rows they
/// have of each class.
pub(super) fn find(
    row: &Row<'_>,
    wanted: &[u32],
    mut take: impl FnMut(u32, u32),
) -> rusqlite::Result<Vec<i64>> {
    let last = wanted.last().copied().unwrap_or(0);
    let (mut rest, mut value, mut found) = (Numbers(row.get_ref(5)?.as_blob()?), 0, 0_u32);
    while let Some(of) = rest.rising(&mut value).filter(|of| *of <= last) {
        if wanted.binary_search(&of).is_err() {
            let Some(()) = pass(&mut rest) else { break };
            continue;
        }
        let Some((blocks, classes)) = next(&mut rest) else { break };
        pairs(&mut rest, classes).for_each(|(class, rows)| take(class, rows));
        found |= blocks;
    }
    let all = blocks(row.get(0)?, row.get_ref(4)?.as_blob()?).enumerate();
    Ok(all.filter(|(at, _)| found >> at & 1 == 1).map(|(_, first)| first).collect())
}

/// Leaves out what [`next`] and [`pairs`] read.
fn pass(rest: &mut Numbers<'_>) -> Option<()> {
    rest.skip(1)?;
    let classes = rest.short()?;
    rest.skip(classes.saturating_mul(2))
}
