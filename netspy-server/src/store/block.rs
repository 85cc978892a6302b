//! Blocks: instead of an index entry per row, a short summary per two thousand rows, by which whole blocks are
//! counted or passed over.
//!
//! A block is a stretch of ids. It knows the wall times that its rows lie between, when the last of them changed, how
//! many rows it has of each process and class (for connections direction and verdict, for drops the cause), and which they are
//! where a process has few; the same of each port of the other end. Ids grow with time, so that a new row nearly always goes into
//! the last block; wall time may be stepped, so that blocks may overlap in it. Summaries of many blocks are in [`super::segment`].

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::packed::put;
use super::segment::{self, Late};
use super::summary::{Encoded, Rows, classes, count, entries, few};

/// A table that is divided into blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// Its name.
    pub(super) rows: &'static str,
    /// The table of its blocks.
    pub(super) blocks: &'static str,
    /// The table of its segments.
    pub(super) segments: &'static str,
}

pub(super) const CONNECTIONS: Table =
    Table { rows: "connections", blocks: "connection_blocks", segments: "connection_segments" };
pub(super) const DROPS: Table = Table { rows: "drops", blocks: "drop_blocks", segments: "drop_segments" };

/// Rows in a block, about: late ones may make it larger.
pub(super) const BLOCK_ROWS: u32 = 2_000;

/// By what rows are told apart, besides their class: the process, 0 for nobody, and the port of the other end, [`NO_PORT`]
/// where it has none or neither end is known to be the other one.
pub(super) type Of = [u32; 2];
/// The place of the process in it.
pub(super) const PROCESS: usize = 0;
/// The place of the port.
pub(super) const PORT: usize = 1;
pub(super) const NO_PORT: u32 = 1 << 16;

/// What a block learns of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// When it began, ns since 1970.
    pub(super) wall_ns: i64,
    /// When it began, was decided or ended, whichever came last; ns since 1970.
    pub(super) changed_ns: i64,
    pub(super) of: Of,
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
    /// By process, and by port.
    by: [BTreeMap<u32, Rows>; 2],
    rows: u32,
    changed: bool,
}

impl Block {
    fn beginning_with(id: i64, entry: Entry) -> Self {
        Self {
            ids: (id, id),
            wall_ns: (entry.wall_ns, entry.wall_ns),
            changed_ns: entry.changed_ns,
            by: Default::default(),
            rows: 0,
            changed: true,
        }
    }

    fn add(&mut self, id: i64, entry: Entry) {
        self.ids.1 = self.ids.1.max(id);
        self.wall_ns = (self.wall_ns.0.min(entry.wall_ns), self.wall_ns.1.max(entry.wall_ns));
        self.changed_ns = self.changed_ns.max(entry.changed_ns);
        for (by, value) in self.by.iter_mut().zip(entry.of) {
            by.entry(value).or_insert_with(Rows::none).add(id, entry.class);
        }
        (self.rows, self.changed) = (self.rows + 1, true);
    }

    fn remove(&mut self, id: i64, of: Of, class: u32) {
        for (by, value) in self.by.iter_mut().zip(of) {
            if let Some(rows) = by.get_mut(&value) {
                rows.remove(id, class);
                if rows.classes.is_empty() {
                    by.remove(&value);
                }
            }
        }
        (self.rows, self.changed) = (self.rows.saturating_sub(1), true);
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut block = Self {
            ids: (row.get(0)?, row.get(1)?),
            wall_ns: (row.get(2)?, row.get(3)?),
            changed_ns: row.get(4)?,
            by: Default::default(),
            rows: classes(row.get_ref(5)?.as_blob()?).map(|(_, rows)| rows).sum(),
            changed: false,
        };
        for (at, by) in block.by.iter_mut().enumerate() {
            for (value, class, rows) in entries(row.get_ref(6 + 2 * at)?.as_blob()?) {
                count(&mut by.entry(value).or_default().classes, class, rows);
            }
            for (value, ids) in few(row.get_ref(7 + 2 * at)?.as_blob()?, block.ids.0, |_| true) {
                by.entry(value).or_default().ids = Some(ids);
            }
        }
        Ok(block)
    }

    /// Rows by class.
    fn classes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (class, rows) in self.by[PROCESS].values().flat_map(|rows| &rows.classes) {
            count(&mut all, *class, *rows);
        }
        let mut bytes = Vec::new();
        for number in all.into_iter().flat_map(|(class, rows)| [class, rows]) {
            put(&mut bytes, number);
        }
        bytes
    }

    fn encoded(&self, by: usize) -> Encoded {
        Encoded::of(&self.by[by], self.ids.0)
    }
}

/// The blocks of a table while a batch is written.
pub(super) struct Blocks<'a> {
    file: &'a Connection,
    table: Table,
    /// Those that the batch touches, by first id, and the last of all.
    loaded: BTreeMap<i64, Block>,
    newest: Option<i64>,
    /// First id of the last block that a segment has.
    sealed: i64,
    /// What changes in blocks up to that one.
    late: Vec<Late>,
    /// Whether there is a block that the file does not have.
    begun: bool,
}

impl<'a> Blocks<'a> {
    pub(super) fn of(file: &'a Connection, table: Table) -> rusqlite::Result<Self> {
        let sealed = segment::sealed(file, table)?;
        let (loaded, late) = (BTreeMap::new(), Vec::new());
        let mut blocks = Self { file, table, loaded, newest: None, sealed, late, begun: false };
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
            let block = block.ids.0;
            self.note(Late { block, before: None, now: entry });
        } else {
            self.begin(id, entry);
        }
        Ok(())
    }

    fn begin(&mut self, id: i64, entry: Entry) {
        let mut block = Block::beginning_with(id, entry);
        block.add(id, entry);
        self.loaded.insert(id, block);
        self.begun = true;
    }

    /// A row that was this has changed.
    pub(super) fn replace(&mut self, id: i64, before: (Of, u32), entry: Entry) -> rusqlite::Result<()> {
        if let Some(block) = self.with(id)? {
            block.remove(id, before.0, before.1);
            block.add(id, entry);
            let block = block.ids.0;
            if before != (entry.of, entry.class) {
                self.note(Late { block, before: Some(before), now: entry });
            }
        }
        Ok(())
    }

    fn note(&mut self, late: Late) {
        if late.block <= self.sealed {
            self.late.push(late);
        }
    }

    /// The last block that begins at or before `id`.
    fn with(&mut self, id: i64) -> rusqlite::Result<Option<&mut Block>> {
        let newest = self.loaded.range(..=id).next_back();
        let known = newest.map(|(first, block)| (*first, block.ids.1 >= id));
        if let Some((first, true)) = known {
            return Ok(self.loaded.get_mut(&first));
        }
        // One in the file may be nearer; if it is not, only blocks that this batch began can hold it.
        let in_file = self.first_in_file(id)?;
        if in_file > known.map(|(first, _)| first)
            && let Some(block) = self.load(id)?
        {
            self.loaded.insert(block.ids.0, block);
        }
        Ok(self.loaded.range_mut(..=id).next_back().map(|(_, block)| block))
    }

    /// First id of the last block in the file that begins at or before `id`: found without reading the block, as rows that come
    /// late ask again and again.
    fn first_in_file(&self, id: i64) -> rusqlite::Result<Option<i64>> {
        let sql = format!("SELECT max(first_id) FROM {} WHERE first_id <= ?1", self.table.blocks);
        self.file.prepare_cached(&sql)?.query_row([id], |row| row.get(0))
    }

    /// The last block in the file that begins at or before `id`.
    fn load(&self, id: i64) -> rusqlite::Result<Option<Block>> {
        let sql = format!(
            "SELECT first_id, last_id, wall_first_ns, wall_last_ns, changed_ns, classes, process_entries,
                process_few, port_entries, port_few FROM {} WHERE first_id <= ?1 ORDER BY first_id DESC LIMIT 1",
            self.table.blocks
        );
        self.file.prepare_cached(&sql)?.query_row([id], Block::read).optional()
    }

    /// Writes what has changed.
    pub(super) fn flush(self) -> rusqlite::Result<()> {
        let sql = format!(
            "INSERT OR REPLACE INTO {} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            self.table.blocks
        );
        let mut put = self.file.prepare_cached(&sql)?;
        for block in self.loaded.values().filter(|block| block.changed) {
            let (ids, wall_ns, changed_ns) = (block.ids, block.wall_ns, block.changed_ns);
            let (classes, processes, ports) = (block.classes(), block.encoded(PROCESS), block.encoded(PORT));
            put.execute(params![
                ids.0,
                ids.1,
                wall_ns.0,
                wall_ns.1,
                changed_ns,
                classes,
                processes.values,
                processes.few,
                processes.entries,
                ports.values,
                ports.few,
                ports.entries,
            ])?;
        }
        segment::adjust(self.file, self.table, &self.late)?;
        if self.begun { segment::seal(self.file, self.table, self.sealed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::summary::{FEW, values};
    use super::*;

    const ENTRY: Entry = Entry { wall_ns: 1, changed_ns: 1, of: [5, NO_PORT], class: 0 };

    proptest! {
        #[test]
        fn a_summary_comes_back(
            rows in prop::collection::vec((any::<i64>(), 0_u32..20, 0_u32..4, any::<bool>()), 0..200),
        ) {
            let mut block = Block::beginning_with(i64::MIN, ENTRY);
            let (mut ids, mut counts) = (BTreeMap::<u32, Vec<i64>>::new(), BTreeMap::<_, u32>::new());
            for (id, process, class, stays) in rows {
                let of = [process, NO_PORT - process];
                block.add(id, Entry { of, class, ..ENTRY });
                if stays {
                    ids.entry(process).or_default().push(id);
                    *counts.entry((process, class)).or_default() += 1;
                } else {
                    block.remove(id, of, class);
                }
            }
            for ids in ids.values_mut() {
                ids.sort_unstable();
            }
            let encoded = block.encoded(PROCESS);
            let read: Vec<_> =
                entries(&encoded.entries).map(|(process, class, rows)| ((process, class), rows)).collect();
            prop_assert_eq!(read, counts.iter().map(|(key, rows)| (*key, *rows)).collect::<Vec<_>>());
            prop_assert_eq!(values(&encoded.values).collect::<Vec<_>>(), ids.keys().copied().collect::<Vec<_>>());
            let counted: u32 = classes(&block.classes()).map(|(_, count)| count).sum();
            prop_assert_eq!(counted, counts.values().sum::<u32>());
            let known: BTreeMap<_, _> = few(&encoded.few, i64::MIN, |_| true).collect();
            for (process, known) in &known {
                prop_assert_eq!(known, &ids[process]);
                let only: Vec<_> = few(&encoded.few, i64::MIN, |value| value == *process).collect();
                prop_assert_eq!(only, [(*process, known.clone())]);
            }
            for process in ids.keys().filter(|process| !known.contains_key(process)) {
                prop_assert!(block.by[PROCESS][process].ids.is_none());
            }
            let ports: Vec<_> = few(&block.encoded(PORT).few, i64::MIN, |_| true).collect();
            let same: Vec<_> = known.into_iter().rev().map(|(process, ids)| (NO_PORT - process, ids)).collect();
            prop_assert_eq!(ports, same);
        }

        #[test]
        fn damage_ends_a_summary(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(entries(&bytes).count() <= 34);
            prop_assert!(few(&bytes, 0, |_| true).count() <= 50);
        }
    }

    #[test]
    fn the_rows_of_a_process_are_known_while_they_are_few() {
        let mut block = Block::beginning_with(1, ENTRY);
        (1..=FEW as i64).for_each(|id| block.add(id, ENTRY));
        let known: Vec<_> = few(&block.encoded(PROCESS).few, 1, |_| true).collect();
        assert_eq!(known, [(5, (1..=FEW as i64).collect())]);
        block.add(99, ENTRY);
        assert_eq!(few(&block.encoded(PROCESS).few, 1, |_| true).count(), 0);
    }
}
