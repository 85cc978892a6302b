//! Processes: one row per [`Process`] that an event names. A new field of its
//! identity needs nothing here; one that is to be searched for needs a column.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::Programs;
use crate::domain::{HistoryError, Identity, Process};
use crate::store::row::{Columns, Parameters, cannot_read, unreadable};

/// Remembered at once; all are forgotten when there are more. Then a process gets another row: no harm, a
/// question about it finds both.
const MOST_KNOWN: usize = 32_768;
/// How far the row of a process may be behind with the newest event that names it, in ids, which are ns: a busy process needs no
/// update in each transaction.
const BEHIND: i64 = 10_000_000_000;
/// Rows looked at in one step of tidying up.
const SWEPT_AT_ONCE: u32 = 4_000;

/// What is stored of a process, in the order in which it is read and written.
const COLUMNS: &str = "program, pid, tid, uid, cgroup_id, started_ns, comm, name, identity";
const PUT: &str = "INSERT INTO processes (id, last_id, program, pid, tid, uid, cgroup_id, started_ns, comm, \
    name, exe, identity) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// A process that was written, and where.
#[derive(Debug)]
struct Known {
    process: Arc<Process>,
    number: u32,
    program: u32,
}

/// The writer's side.
#[derive(Debug, Default)]
pub(in crate::store) struct Processes {
    /// By address: while the value holds it, no other has it.
    by_address: HashMap<usize, Known>,
    by_value: HashMap<Arc<Process>, (u32, u32)>,
    /// What the file knows of the newest event that names each.
    noted: HashMap<u32, i64>,
    /// The newest event of this transaction.
    newest: i64,
    /// The greatest number given out; 0 before the file was asked.
    last: u32,
    /// Up to where the last sweep came.
    swept: u32,
}

impl Processes {
    /// A transaction begins; its newest event has this id.
    pub(in crate::store) fn begin(&mut self, newest: i64) {
        self.newest = newest;
    }

    /// Numbers of the process and of its program; both are in the file afterwards.
    pub(in crate::store) fn numbers(
        &mut self,
        file: &Connection,
        programs: &mut Programs,
        process: &Arc<Process>,
    ) -> rusqlite::Result<(u32, u32)> {
        let address = Arc::as_ptr(process).addr();
        let (number, program) = match self.by_address.get(&address) {
            Some(known) => (known.number, known.program),
            None => self.learn(file, programs, process)?,
        };
        if self.noted.get(&number).is_none_or(|noted| self.newest.saturating_sub(*noted) > BEHIND) {
            self.keep(file, process, number, program)?;
            self.noted.insert(number, self.newest);
        }
        Ok((number, program))
    }

    fn learn(
        &mut self,
        file: &Connection,
        programs: &mut Programs,
        process: &Arc<Process>,
    ) -> rusqlite::Result<(u32, u32)> {
        if self.by_address.len().max(self.by_value.len()) >= MOST_KNOWN {
            self.by_address.clear();
            self.by_value.clear();
            self.noted.clear();
        }
        let (number, program) = if let Some(known) = self.by_value.get(process) {
            *known
        } else {
            if self.last == 0 {
                let sql = "SELECT coalesce(max(id), 0) FROM processes";
                self.last = file.query_row(sql, [], |row| row.get(0))?;
            }
            self.last += 1;
            let numbers = (self.last, programs.number(file, process)?);
            self.by_value.insert(process.clone(), numbers);
            numbers
        };
        let known = Known { process: process.clone(), number, program };
        self.by_address.insert(Arc::as_ptr(&known.process).addr(), known);
        Ok((number, program))
    }

    /// Notes up to when the row is needed. One that is new, or that a sweep has removed since, is written.
    fn keep(&self, file: &Connection, process: &Process, number: u32, program: u32) -> rusqlite::Result<()> {
        let sql = "UPDATE processes SET last_id = max(last_id, ?2) WHERE id = ?1";
        if file.prepare_cached(sql)?.execute(params![number, self.newest])? == 1 {
            return Ok(());
        }
        let mut put = file.prepare_cached(PUT)?;
        let mut row = Parameters::of(&mut put);
        row.put(number)?;
        row.put(self.newest)?;
        row.put(program)?;
        row.put(process.pid)?;
        row.put(process.tid)?;
        row.put(process.uid)?;
        row.put(process.cgroup_id.cast_signed())?;
        row.put(process.started_ns.cast_signed())?;
        row.put(process.comm.as_str())?;
        row.put(process.name.as_str())?;
        row.put(process.identity.exe.as_deref())?;
        row.put(identity_json(&process.identity))?;
        row.execute().map(drop)
    }

    /// Removes those among the next few that no event from `oldest` on names.
    pub(in crate::store) fn sweep(&mut self, file: &Connection, oldest: i64) -> rusqlite::Result<()> {
        let sql =
            "SELECT max(id), count(*) FROM (SELECT id FROM processes WHERE id > ?1 ORDER BY id LIMIT ?2)";
        let looked_at = file.prepare_cached(sql)?.query_row([self.swept, SWEPT_AT_ONCE], |row| {
            Ok((row.get::<_, Option<u32>>(0)?, row.get::<_, u32>(1)?))
        });
        let (last, count) = looked_at?;
        let last = last.unwrap_or(self.swept);
        let oldest = oldest.saturating_sub(BEHIND);
        let gone = file
            .prepare_cached("DELETE FROM processes WHERE id > ?1 AND id <= ?2 AND last_id < ?3")?
            .execute(params![self.swept, last, oldest])?;
        if gone > 0 {
            self.noted.retain(|_, noted| *noted >= oldest);
        }
        // From the first again where there are no more: new ones always come, which are not the ones to look at.
        self.swept = if count < SWEPT_AT_ONCE { 0 } else { last };
        Ok(())
    }
}

/// The reader's side, within one transaction.
pub(in crate::store) struct ProcessReader<'a> {
    file: &'a Connection,
    known: HashMap<u32, (Arc<Process>, u32)>,
}

impl<'a> ProcessReader<'a> {
    pub(in crate::store) fn of(file: &'a Connection) -> Self {
        Self { file, known: HashMap::new() }
    }

    /// The process with this number, and the number of its program.
    pub(in crate::store) fn get(&mut self, number: u32) -> Result<(Arc<Process>, u32), HistoryError> {
        if let Some(known) = self.known.get(&number) {
            return Ok(known.clone());
        }
        let sql = format!("SELECT {COLUMNS} FROM processes WHERE id = ?1");
        let mut statement = self.file.prepare_cached(&sql).map_err(cannot_read)?;
        let mut rows = statement.query([number]).map_err(cannot_read)?;
        let row = rows.next().map_err(cannot_read)?;
        let mut columns = Columns::of(row.ok_or_else(|| missing("process", number))?);
        let program = columns.take("program")?;
        let process = Process {
            pid: columns.take("pid")?,
            tid: columns.take("tid")?,
            uid: columns.take("uid")?,
            cgroup_id: columns.unsigned("cgroup_id")?,
            started_ns: columns.unsigned("started_ns")?,
            comm: columns.take("comm")?,
            name: columns.take("name")?,
            identity: identity(columns.take("identity")?)?.into(),
        };
        let known = (Arc::new(process), program);
        self.known.insert(number, known.clone());
        Ok(known)
    }
}

/// JSON; `None` where nothing is known.
fn identity_json(identity: &Identity) -> Option<String> {
    let known = *identity != Identity::default();
    known.then(|| serde_json::to_string(identity).ok()).flatten()
}

fn identity(json: Option<String>) -> Result<Identity, HistoryError> {
    let Some(json) = json else { return Ok(Identity::default()) };
    serde_json::from_str(&json).map_err(|error| unreadable("identity", &error))
}

pub(super) fn missing(what: &str, number: u32) -> HistoryError {
    unreadable(what, &format!("there is no {what} with number {number}"))
}
