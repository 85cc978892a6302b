//! Blocks: instead of an index entry per row, a short summary per two thousand rows, by which whole blocks are
//! counted or passed over.
//!
//! A block is a stretch of ids. It knows the wall times that its rows lie between, when the last of them changed, and how
//! many rows it has of each process and class (for connections direction and verdict, for drops the cause). Ids grow with time, so that a
//! new row nearly always goes into the last block; wall time may be stepped, so that blocks may overlap in it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

/// A table that is divided into blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// Its name.
    pub(super) rows: &'static str,
    /// The table of its blocks.
    pub(super) blocks: &'static str,
}

pub(super) const CONNECTIONS: Table = Table { rows: "connections", blocks: "connection_blocks" };
pub(super) const DROPS: Table = Table { rows: "drops", blocks: "drop_blocks" };

/// Rows in a block, about: late ones may make it larger.
pub(super) const BLOCK_ROWS: u32 = 2_000;

/// What a block learns of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// When it began, ns since 1970.
    pub(super) wall_ns: i64,
    /// When it began, was decided or ended, whichever came last; ns since 1970.
    pub(super) changed_ns: i64,
    /// 0 is nobody.
    pub(super) process: u32,
    pub(super) class: u32,
}

/// A stretch of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// First and last id.
    pub(super) ids: (i64, i64),
    /// Earliest and latest wall time, ns since 1970.
    pub(super) wall_ns: (i64, i64),
    /// The latest moment at which a row began, was decided or ended, ns since 1970.
    changed_ns: i64,
    /// Rows by process and class; a process of 0 is nobody.
    entries: BTreeMap<(u32, u32), u32>,
    rows: u32,
    changed: bool,
}

impl Block {
    fn beginning_with(id: i64, entry: Entry) -> Self {
        Self {
            ids: (id, id),
            wall_ns: (entry.wall_ns, entry.wall_ns),
            changed_ns: entry.changed_ns,
            entries: BTreeMap::new(),
            rows: 0,
            changed: true,
        }
    }

    fn add(&mut self, id: i64, entry: Entry) {
        self.ids.1 = self.ids.1.max(id);
        self.wall_ns = (self.wall_ns.0.min(entry.wall_ns), self.wall_ns.1.max(entry.wall_ns));
        self.changed_ns = self.changed_ns.max(entry.changed_ns);
        *self.entries.entry((entry.process, entry.class)).or_default() += 1;
        (self.rows, self.changed) = (self.rows + 1, true);
    }

    fn remove(&mut self, process: u32, class: u32) {
        if let Some(count) = self.entries.get_mut(&(process, class)) {
            *count -= 1;
            (self.rows, self.changed) = (self.rows - 1, true);
            if *count == 0 {
                self.entries.remove(&(process, class));
            }
        }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let entries: BTreeMap<_, _> = entries(row.get_ref(5)?.as_blob()?)
            .map(|(process, class, rows)| ((process, class), rows))
            .collect();
        Ok(Self {
            ids: (row.get(0)?, row.get(1)?),
            wall_ns: (row.get(2)?, row.get(3)?),
            changed_ns: row.get(4)?,
            rows: entries.values().sum(),
            entries,
            changed: false,
        })
    }

    /// Its summary, the most useful first: rows by class, which processes there are, and rows by both.
    fn encoded(&self) -> [Vec<u8>; 3] {
        let (mut classes, mut processes, mut entries) = (BTreeMap::<u32, u32>::new(), Vec::new(), Vec::new());
        let mut before = 0;
        for ((process, class), rows) in &self.entries {
            *classes.entry(*class).or_default() += rows;
            if *process != before || processes.is_empty() {
                put_number(&mut processes, process - before);
            }
            for number in [process - before, *class, *rows] {
                put_number(&mut entries, number);
            }
            before = *process;
        }
        let classes = classes.iter().flat_map(|(class, rows)| [*class, *rows]);
        [encoded_numbers(classes), processes, entries]
    }
}

fn encoded_numbers(numbers: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    numbers.for_each(|number| put_number(&mut bytes, number));
    bytes
}

/// Rows of a block by class. What is damaged ends it.
pub(super) fn classes(bytes: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    let mut rest = bytes;
    std::iter::from_fn(move || Some((take_number(&mut rest)?, take_number(&mut rest)?)))
}

/// The processes of a block, rising. What is damaged ends it.
pub(super) fn processes(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (mut rest, mut process) = (bytes, 0_u32);
    std::iter::from_fn(move || {
        process = process.checked_add(take_number(&mut rest)?)?;
        Some(process)
    })
}

/// Rows of a block by process and class, by rising process. What is damaged ends it.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = (u32, u32, u32)> {
    let (mut rest, mut process) = (bytes, 0_u32);
    std::iter::from_fn(move || {
        process = process.checked_add(take_number(&mut rest)?)?;
        Some((process, take_number(&mut rest)?, take_number(&mut rest)?))
    })
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn put_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in (0..32).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The blocks of a table while a batch is written.
pub(super) struct Blocks<'a> {
    file: &'a Connection,
    table: Table,
    /// Those that the batch touches, by first id, and the last of all.
    loaded: BTreeMap<i64, Block>,
    newest: Option<i64>,
}

impl<'a> Blocks<'a> {
    pub(super) fn of(file: &'a Connection, table: Table) -> rusqlite::Result<Self> {
        let mut blocks = Self { file, table, loaded: BTreeMap::new(), newest: None };
        if let Some(last) = blocks.load(i64::MAX)? {
            blocks.newest = Some(last.ids.1);
            blocks.loaded.insert(last.ids.0, last);
        }
        Ok(blocks)
    }

    /// Whether a row with this id is certainly not in the table.
    pub(super) fn is_newest(&self, id: i64) -> bool {
        self.newest.is_none_or(|newest| id > newest)
    }

    /// A row was added.
    pub(super) fn add(&mut self, id: i64, entry: Entry) -> rusqlite::Result<()> {
        if self.is_newest(id) {
            self.newest = Some(id);
            match self.loaded.last_entry() {
                Some(mut last) if last.get().rows < BLOCK_ROWS => last.get_mut().add(id, entry),
                _ => self.begin(id, entry),
            }
        } else if let Some(block) = self.with(id)? {
            block.add(id, entry);
        } else {
            self.begin(id, entry);
        }
        Ok(())
    }

    fn begin(&mut self, id: i64, entry: Entry) {
        let mut block = Block::beginning_with(id, entry);
        block.add(id, entry);
        self.loaded.insert(id, block);
    }

    /// A row that had this process and class has changed.
    pub(super) fn replace(&mut self, id: i64, before: (u32, u32), entry: Entry) -> rusqlite::Result<()> {
        if let Some(block) = self.with(id)? {
            block.remove(before.0, before.1);
            block.add(id, entry);
        }
        Ok(())
    }

    /// The last block that begins at or before `id`.
    fn with(&mut self, id: i64) -> rusqlite::Result<Option<&mut Block>> {
        let newest = self.loaded.range(..=id).next_back();
        let known = newest.map(|(first, block)| (*first, block.ids.1 >= id));
        if let Some((first, true)) = known {
            return Ok(self.loaded.get_mut(&first));
        }
        // One in the file may be nearer; if it is not, only blocks that this batch began can hold it.
        let first = match (known, self.load(id)?) {
            (Some((first, _)), Some(block)) if first >= block.ids.0 => first,
            (Some((first, _)), None) => first,
            (None, None) => return Ok(None),
            (_, Some(block)) => {
                let first = block.ids.0;
                self.loaded.insert(first, block);
                first
            }
        };
        Ok(self.loaded.get_mut(&first))
    }

    /// The last block in the file that begins at or before `id`.
    fn load(&self, id: i64) -> rusqlite::Result<Option<Block>> {
        let sql = format!(
            "SELECT first_id, last_id, wall_first_ns, wall_last_ns, changed_ns, entries FROM {} WHERE first_id <= ?1
             ORDER BY first_id DESC LIMIT 1",
            self.table.blocks
        );
        self.file.prepare_cached(&sql)?.query_row([id], Block::read).optional()
    }

    /// Writes what has changed.
    pub(super) fn flush(self) -> rusqlite::Result<()> {
        let sql =
            format!("INSERT OR REPLACE INTO {} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", self.table.blocks);
        let mut put = self.file.prepare_cached(&sql)?;
        for block in self.loaded.values().filter(|block| block.changed) {
            let (ids, wall_ns) = (block.ids, block.wall_ns);
            let [classes, processes, entries] = block.encoded();
            let changed_ns = block.changed_ns;
            put.execute(params![
                ids.0, ids.1, wall_ns.0, wall_ns.1, changed_ns, classes, processes, entries
            ])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_summary_comes_back(rows in prop::collection::vec((any::<u32>(), any::<u32>()), 0..50)) {
            let entry = Entry { wall_ns: 1, changed_ns: 1, process: 0, class: 0 };
            let mut block = Block::beginning_with(1, entry);
            for (process, class) in &rows {
                block.add(1, Entry { process: *process, class: *class, ..entry });
            }
            let [by_class, of, by_both] = block.encoded();
            let read: Vec<_> = entries(&by_both).collect();
            let written: Vec<_> =
                block.entries.iter().map(|((process, class), rows)| (*process, *class, *rows)).collect();
            prop_assert_eq!(&read, &written);
            let mut named: Vec<_> = written.iter().map(|entry| entry.0).collect();
            named.dedup();
            prop_assert_eq!(processes(&of).collect::<Vec<_>>(), named);
            let counted: u32 = classes(&by_class).map(|(_, count)| count).sum();
            prop_assert_eq!(counted as usize, rows.len());
        }

        #[test]
        fn damage_ends_a_summary(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(entries(&bytes).count() <= 34);
        }
    }
}
