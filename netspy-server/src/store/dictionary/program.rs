//! Programs: what rollups know of a process. Processes come and go by the thousand; what they run does not.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::Process;

/// New ones in one run of the server that are told apart; whatever comes after them is counted as number 0.
/// Names are free to choose, so that a hostile process could otherwise fill the disk with them.
const MOST_NEW: usize = 10_000;

/// Thread name, process name, executable, user.
type Key = (String, String, Option<String>, u32);

/// The writer's side.
#[derive(Debug, Default)]
pub(in crate::store) struct Programs {
    known: HashMap<Key, u32>,
    /// The last hour in which each was used, as far as the file knows.
    hours: HashMap<u32, i64>,
    new: usize,
}

impl Programs {
    /// The number of a process's program, which is in the file afterwards.
    pub(in crate::store) fn number(&mut self, file: &Connection, process: &Process) -> rusqlite::Result<u32> {
        let key = (process.comm.clone(), process.name.clone(), process.identity.exe.clone(), process.uid);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let (comm, name, exe, uid) = &key;
        let values = params![comm, name, exe, uid];
        let sql = "SELECT id FROM programs WHERE comm = ?1 AND name = ?2 AND exe IS ?3 AND uid = ?4";
        let stored = file.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
        let number = match stored {
            Some(number) => number,
            None if self.new >= MOST_NEW => return Ok(0),
            None => {
                self.new += 1;
                file.prepare_cached(
                    "INSERT INTO programs (comm, name, exe, uid, last_hour) VALUES (?1, ?2, ?3, ?4, 0)
                     RETURNING id",
                )?
                .query_row(values, |row| row.get(0))?
            }
        };
        self.known.insert(key, number);
        Ok(number)
    }

    /// Notes that the rollups of an hour (since 1970) name the program.
    pub(in crate::store) fn used(
        &mut self,
        file: &Connection,
        number: u32,
        hour: i64,
    ) -> rusqlite::Result<()> {
        if number == 0 || self.hours.get(&number).is_some_and(|known| *known >= hour) {
            return Ok(());
        }
        file.prepare_cached("UPDATE programs SET last_hour = max(last_hour, ?2) WHERE id = ?1")?
            .execute(params![number, hour])?;
        self.hours.insert(number, hour);
        Ok(())
    }
}
