//! Tables and indexes, and whether a file is one of ours.
//!
//! Version 1. Ids and other u64 are stored as the i64 with the same bits: `SQLite` has no unsigned
//! integers, and `printf('%016x', id)` in its shell gives the id that the API shows.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::domain::HistoryError;

/// `nspy`: marks the file as netspy's (`file(1)` and `PRAGMA application_id` show it).
pub(super) const APPLICATION: i32 = 0x6e73_7079;

/// Version of the tables below.
pub(super) const VERSION: i32 = 1;

/// A name is looked for in the process and in the thread. Most threads bear the name of their process, so the
/// index on threads holds the others only.
const TABLES: &str = "
CREATE TABLE connections (
    id INTEGER PRIMARY KEY,
    wall_ns INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    cgroup_id INTEGER NOT NULL,
    started_ns INTEGER NOT NULL,
    comm TEXT NOT NULL,
    process TEXT NOT NULL,
    exe TEXT,
    family INTEGER NOT NULL,
    source_ip BLOB,
    source_port INTEGER,
    destination_ip BLOB,
    destination_port INTEGER,
    protocol INTEGER NOT NULL,
    netns INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    outcome_ns INTEGER,
    errno INTEGER,
    stage TEXT
) STRICT;
CREATE INDEX connections_by_time ON connections (wall_ns);
CREATE INDEX connections_by_pid ON connections (pid, wall_ns);
CREATE INDEX connections_by_process ON connections (process, wall_ns);
CREATE INDEX connections_by_thread ON connections (comm, wall_ns) WHERE comm <> process;

CREATE TABLE drops (
    id INTEGER PRIMARY KEY,
    wall_ns INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    attribution TEXT NOT NULL,
    pid INTEGER,
    tid INTEGER,
    uid INTEGER,
    cgroup_id INTEGER,
    started_ns INTEGER,
    comm TEXT,
    process TEXT,
    exe TEXT,
    reason_code INTEGER,
    reason TEXT NOT NULL,
    location TEXT NOT NULL,
    family INTEGER NOT NULL,
    source_ip BLOB,
    source_port INTEGER,
    destination_ip BLOB,
    destination_port INTEGER,
    protocol INTEGER NOT NULL,
    length INTEGER NOT NULL,
    ether_type INTEGER NOT NULL,
    interface INTEGER NOT NULL,
    netns INTEGER NOT NULL
) STRICT;
CREATE INDEX drops_by_time ON drops (wall_ns);
CREATE INDEX drops_by_pid ON drops (pid, wall_ns) WHERE pid IS NOT NULL;
CREATE INDEX drops_by_process ON drops (process, wall_ns) WHERE process IS NOT NULL;
CREATE INDEX drops_by_thread ON drops (comm, wall_ns) WHERE comm <> process;

CREATE TABLE losses (
    wall_ns INTEGER NOT NULL,
    place TEXT NOT NULL,
    count INTEGER NOT NULL
) STRICT;
CREATE INDEX losses_by_time ON losses (wall_ns);
";

/// Makes the tables in an empty database; refuses a file that is not netspy's or is from a later netspy,
/// without having changed it.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), HistoryError> {
    match create_or_check(connection) {
        Ok(Found::Usable) => {}
        Ok(Found::Newer(version)) => {
            return Err(refuse(
                path,
                &format!(
                    "was written by a later netspy (its schema is {version}, this one knows {VERSION}): \
                     use that netspy"
                ),
            ));
        }
        Ok(Found::Foreign) => return Err(refuse(path, "is a database, but not netspy's")),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            return Err(refuse(path, "is not a database"));
        }
        Err(error) => return Err(super::cannot_open(path, &error)),
    }
    write_ahead(connection).map_err(|error| super::cannot_open(path, &error))
}

/// The version that the database says it has.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

enum Found {
    Usable,
    Newer(i32),
    Foreign,
}

/// Looks and creates in one transaction, so that of two servers that start at once one creates.
fn create_or_check(connection: &mut Connection) -> rusqlite::Result<Found> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = version(&transaction)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (APPLICATION, VERSION) => Ok(Found::Usable),
        (APPLICATION, newer) if newer > VERSION => Ok(Found::Newer(newer)),
        (0, 0) if tables == 0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
            Ok(Found::Usable)
        }
        _ => Ok(Found::Foreign),
    }
}

/// Only now that the file is known to be ours: the journal mode is written into it. A power cut may then cost
/// the last transactions (`synchronous = NORMAL`), but never the database.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // Reading opens the log at once: a temporary history is about to lose its name.
    version(connection).map(|_| ())
}

fn refuse(path: &Path, what: &str) -> HistoryError {
    HistoryError(format!("{} {what}; move it away or pass --db FILE", path.display()))
}
