//! History in `SQLite`: a file that survives a restart, or a private one that vanishes with the process.
//!
//! Owns the database: its file, its schema, its SQL. It knows nothing of HTTP and nothing of where events come
//! from; it implements the domain's [`Sink`](crate::domain::Sink) and [`History`](crate::domain::History).
//!
//! One connection writes, a few read. In WAL mode readers never wait for the writer, nor it for them. All are
//! opened at once: later the server may have lost the privilege to open the file, or the file its name.

mod block;
mod checkpoint;
mod codes;
mod connection;
mod dictionary;
mod ledger;
mod packed;
mod packet_drop;
mod question;
mod read;
mod retention;
mod rollup;
mod row;
mod scan;
mod schema;
mod segment;
mod summary;
mod sums;
mod top;
mod troubles;
mod version2;
mod version5;
mod write;

#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::domain::{HistoryError, Keep};
use checkpoint::Checkpoints;
use ledger::Unwritten;
pub use read::SqliteHistory;
pub use write::{Bounds, SqliteSink};

/// Connections that read at the same time; more queries than that wait for each other.
const READERS: usize = 4;

/// Opens the history at `path`, or begins one there that only its owner may read; `keep` bounds it.
pub fn open(path: &Path, keep: Keep) -> Result<(SqliteSink, SqliteHistory), HistoryError> {
    // SQLite takes some names, such as `:memory:`, for something else than a file, but no absolute path.
    let path = std::path::absolute(path).map_err(|error| cannot_open(path, &error))?;
    create_private(&path)?;
    let mut writer = connect(&path)?;
    schema::prepare(&mut writer, &path)?;
    let readers = (0..READERS).map(|_| connect_reader(&path)).collect::<Result<_, _>>()?;
    let checkpoints = Checkpoints::of(&mut writer, connect_reader(&path)?);
    let checkpoints = checkpoints.map_err(|error| cannot_open(&path, &error))?;
    let unwritten = Arc::<Unwritten>::default();
    let history = SqliteHistory::new(readers, unwritten.clone());
    Ok((SqliteSink::new(writer, checkpoints, keep, unwritten), history))
}

/// Begins a private history that is gone when the last of the two halves is, however the process ends.
///
/// It is a file without a name rather than one of `SQLite`'s in-memory databases: those cannot do WAL, so
/// that there a reader would block the writer.
pub fn open_temporary() -> Result<(SqliteSink, SqliteHistory), HistoryError> {
    let directory = create_private_directory(&std::env::temp_dir())?;
    let opened = open(&directory.join("history"), Keep::default());
    // Every connection has its files open by now, and takes no notice of their names going away.
    let removed = std::fs::remove_dir_all(&directory).map_err(|error| {
        HistoryError(format!("cannot remove the temporary directory {}: {error}", directory.display()))
    });
    let opened = opened?;
    removed?;
    Ok(opened)
}

/// Makes an empty file with mode 0600 where there is none. `SQLite` gives the `-wal` and `-shm` files the
/// mode of the database, and takes an empty file for an empty database.
fn create_private(path: &Path) -> Result<(), HistoryError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(cannot_open(path, &error)),
    }
}

/// A new directory with mode 0700. `mkdir` fails on a name that exists, so nobody can have prepared it.
fn create_private_directory(parent: &Path) -> Result<PathBuf, HistoryError> {
    let mut attempt = 0_u32;
    loop {
        let directory = parent.join(format!("netspy-{}-{attempt}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < 10_000 => attempt += 1,
            Err(error) => {
                let parent = parent.display();
                return Err(HistoryError(format!(
                    "cannot make a temporary history in {parent}: {error}; set TMPDIR to a writable directory"
                )));
            }
        }
    }
}

fn connect(path: &Path) -> Result<Connection, HistoryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| cannot_open(path, &error))?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(|error| cannot_open(path, &error))?;
    Ok(connection)
}

fn connect_reader(path: &Path) -> Result<Connection, HistoryError> {
    let connection = connect(path)?;
    // Not opened read-only: a reader of a WAL database takes part in its shared memory.
    connection.pragma_update(None, "query_only", true).map_err(|error| cannot_open(path, &error))?;
    // SQLite opens the files at the first reading, which must be before they lose their names.
    schema::version(&connection).map_err(|error| cannot_open(path, &error))?;
    Ok(connection)
}

fn cannot_open(path: &Path, error: &(dyn std::error::Error + 'static)) -> HistoryError {
    let code = error.downcast_ref().and_then(rusqlite::Error::sqlite_error_code);
    let remedy = if code == Some(ErrorCode::DiskFull) {
        "make room on its disk"
    } else {
        "make the file and its directory readable and writable for this user"
    };
    HistoryError(format!("cannot open the history {}: {error}; {remedy}, or pass --db FILE", path.display()))
}
