//! What a block says of its rows by process or by port: as it is made, as it is stored, and as it is read.

use std::collections::BTreeMap;

use super::packed::{Numbers, put};

/// A block knows the ids of the rows of a process or port where they are no more than this.
pub(super) const FEW: usize = 8;

/// The rows of one process or port in a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    /// How many, by class; none of them 0.
    pub(super) classes: Vec<(u32, u32)>,
    /// Their ids, rising, where they are few.
    pub(super) ids: Option<Vec<i64>>,
}

impl Rows {
    pub(super) fn none() -> Self {
        Self { classes: Vec::new(), ids: Some(Vec::new()) }
    }

    pub(super) fn add(&mut self, id: i64, class: u32) {
        count(&mut self.classes, class, 1);
        self.ids = self.ids.take().filter(|ids| ids.len() < FEW).map(|mut ids| {
            ids.insert(ids.partition_point(|before| *before < id), id);
            ids
        });
    }

    pub(super) fn remove(&mut self, id: i64, class: u32) {
        uncount(&mut self.classes, class);
        if let Some(ids) = &mut self.ids {
            ids.retain(|one| *one != id);
        }
    }
}

/// Adds to the rows of a class, which are rising by class.
pub(super) fn count(classes: &mut Vec<(u32, u32)>, class: u32, rows: u32) {
    match classes.binary_search_by_key(&class, |(class, _)| *class) {
        Ok(at) => classes[at].1 += rows,
        Err(at) => classes.insert(at, (class, rows)),
    }
}

/// Takes one off the rows of a class.
pub(super) fn uncount(classes: &mut Vec<(u32, u32)>, class: u32) {
    if let Ok(at) = classes.binary_search_by_key(&class, |(class, _)| *class) {
        classes[at].1 -= 1;
        if classes[at].1 == 0 {
            classes.remove(at);
        }
    }
}

/// What a block says by process or by port, as it is stored.
#[derive(Default)]
pub(super) struct Encoded {
    pub(super) values: Vec<u8>,
    pub(super) few: Vec<u8>,
    pub(super) entries: Vec<u8>,
}

impl Encoded {
    /// What a block that begins with this id says of these.
    pub(super) fn of(by: &BTreeMap<u32, Rows>, first_id: i64) -> Self {
        let mut encoded = Self::default();
        let (mut before, mut few_before) = (0, 0);
        for (value, rows) in by {
            put(&mut encoded.values, value - before);
            for (class, of_class) in &rows.classes {
                for number in [value - before, *class, *of_class] {
                    put(&mut encoded.entries, number);
                }
                before = *value;
            }
            if let Some(ids) = &rows.ids {
                for number in [value - few_before, ids.len() as u32] {
                    put(&mut encoded.few, number);
                }
                few_before = *value;
                let mut last = first_id;
                for id in ids {
                    put(&mut encoded.few, id.wrapping_sub(last).cast_unsigned());
                    last = *id;
                }
            }
        }
        encoded
    }
}

/// Rows of a block by class. What is damaged ends it.
pub(super) fn classes(bytes: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    let mut rest = Numbers(bytes);
    std::iter::from_fn(move || Some((rest.short()?, rest.short()?)))
}

/// The processes or ports of a block, rising. What is damaged ends it.
pub(super) fn values(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (mut rest, mut value) = (Numbers(bytes), 0);
    std::iter::from_fn(move || rest.rising(&mut value))
}

/// Rows of a block by process or port and class, by rising process or port. What is damaged ends it.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = (u32, u32, u32)> {
    let (mut rest, mut value) = (Numbers(bytes), 0);
    std::iter::from_fn(move || Some((rest.rising(&mut value)?, rest.short()?, rest.short()?)))
}

/// The rows of those wanted processes or ports that have few in a block that begins with this id; both rise. What is damaged ends
/// it.
pub(super) fn few(
    bytes: &[u8],
    first_id: i64,
    is_wanted: impl Fn(u32) -> bool,
) -> impl Iterator<Item = (u32, Vec<i64>)> {
    let (mut rest, mut value) = (Numbers(bytes), 0);
    std::iter::from_fn(move || {
        let mut length;
        loop {
            (_, length) = (rest.rising(&mut value)?, rest.short()?);
            if is_wanted(value) {
                break;
            }
            rest.skip(length)?;
        }
        let mut id = first_id;
        let mut ids = Vec::with_capacity(FEW);
        for _ in 0..length {
            id = id.wrapping_add(rest.long()?.cast_signed());
            ids.push(id);
        }
        Some((value, ids))
    })
}
