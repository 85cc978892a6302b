//! Why packets are dropped: the kernel's code and name for it, and where in its code. As many as the kernel has
//! such places; never deleted.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::{HistoryError, PacketDrop};
use crate::store::row::{Columns, cannot_read};

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) struct Cause {
    pub(in crate::store) code: Option<u32>,
    pub(in crate::store) reason: String,
    pub(in crate::store) location: String,
}

/// The writer's side: numbers that are known to be in the file.
#[derive(Debug, Default)]
pub(in crate::store) struct Causes(HashMap<Cause, u32>);

impl Causes {
    /// The number of the drop's cause, which is in the file afterwards.
    pub(in crate::store) fn number(&mut self, file: &Connection, drop: &PacketDrop) -> rusqlite::Result<u32> {
        let cause =
            Cause { code: drop.reason_code, reason: drop.reason.clone(), location: drop.location.clone() };
        if let Some(known) = self.0.get(&cause) {
            return Ok(*known);
        }
        let values = params![cause.code, cause.reason, cause.location];
        let sql = "SELECT id FROM causes WHERE code IS ?1 AND reason = ?2 AND location = ?3";
        let stored = file.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
        let number = match stored {
            Some(number) => number,
            None => file
                .prepare_cached(
                    "INSERT INTO causes (code, reason, location) VALUES (?1, ?2, ?3) RETURNING id",
                )?
                .query_row(values, |row| row.get(0))?,
        };
        self.0.insert(cause, number);
        Ok(number)
    }
}

/// The reader's side, within one transaction.
pub(in crate::store) struct CauseReader<'a> {
    file: &'a Connection,
    known: HashMap<u32, Cause>,
}

impl<'a> CauseReader<'a> {
    pub(in crate::store) fn of(file: &'a Connection) -> Self {
        Self { file, known: HashMap::new() }
    }

    /// The cause with this number.
    pub(in crate::store) fn get(&mut self, number: u32) -> Result<Cause, HistoryError> {
        if let Some(known) = self.known.get(&number) {
            return Ok(known.clone());
        }
        let sql = "SELECT code, reason, location FROM causes WHERE id = ?1";
        let mut statement = self.file.prepare_cached(sql).map_err(cannot_read)?;
        let mut rows = statement.query([number]).map_err(cannot_read)?;
        let row = rows.next().map_err(cannot_read)?;
        let mut columns = Columns::of(row.ok_or_else(|| super::process::missing("cause", number))?);
        let cause = Cause {
            code: columns.take("code")?,
            reason: columns.take("reason")?,
            location: columns.take("location")?,
        };
        self.known.insert(number, cause.clone());
        Ok(cause)
    }
}
