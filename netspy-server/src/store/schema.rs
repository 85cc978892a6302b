//! Tables and indexes, and whether a file is one of ours.
//!
//! Ids and other u64 are stored as the i64 with the same bits: `SQLite` has no unsigned
//! integers, and `printf('%016x', id)` in its shell gives the id that the API shows.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::block::{CONNECTIONS, DROPS, Table};
use super::{version2, version5};
use crate::domain::HistoryError;

/// `nspy`: marks the file as netspy's (`file(1)` and `PRAGMA application_id` show it).
pub(super) const APPLICATION: i32 = 0x6e73_7079;

/// Version of the tables below.
pub(super) const VERSION: i32 = 6;

/// The two big tables have no index but their id: ids grow with time, so that rows are appended, and blocks lead to
/// them (see [`super::block`]). Their first four columns are the same.
const TABLES: &str = "
CREATE TABLE connections (
    id INTEGER PRIMARY KEY,
    wall_ns INTEGER NOT NULL,
    process INTEGER NOT NULL,
    class INTEGER NOT NULL,
    rolled INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    found INTEGER NOT NULL,
    family INTEGER NOT NULL,
    socket_type INTEGER NOT NULL,
    protocol INTEGER NOT NULL,
    netns INTEGER NOT NULL,
    source_ip ANY,
    source_port INTEGER,
    destination_ip ANY,
    destination_port INTEGER,
    path TEXT,
    peer_pid INTEGER,
    outcome_ns INTEGER,
    errno INTEGER,
    stage INTEGER,
    accepted_after_ns INTEGER,
    bytes_sent INTEGER,
    bytes_received INTEGER,
    packets_sent INTEGER,
    packets_received INTEGER,
    srtt_us INTEGER,
    retransmits INTEGER,
    close_ns INTEGER,
    ending INTEGER,
    close_errno INTEGER
) STRICT;

CREATE TABLE drops (
    id INTEGER PRIMARY KEY,
    wall_ns INTEGER NOT NULL,
    process INTEGER NOT NULL,
    class INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    attribution INTEGER NOT NULL,
    family INTEGER NOT NULL,
    protocol INTEGER NOT NULL,
    source_ip ANY,
    source_port INTEGER,
    destination_ip ANY,
    destination_port INTEGER,
    length INTEGER NOT NULL,
    ether_type INTEGER NOT NULL,
    direction INTEGER,
    interface INTEGER NOT NULL,
    interface_name TEXT NOT NULL,
    netns INTEGER NOT NULL
) STRICT;

CREATE TABLE processes (
    id INTEGER PRIMARY KEY,
    program INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    cgroup_id INTEGER NOT NULL,
    started_ns INTEGER NOT NULL,
    comm TEXT NOT NULL,
    name TEXT NOT NULL,
    exe TEXT,
    identity TEXT
) STRICT;
CREATE INDEX processes_by_pid ON processes (pid);
CREATE INDEX processes_by_name ON processes (name);
CREATE INDEX processes_by_comm ON processes (comm) WHERE comm <> name;

CREATE TABLE programs (
    id INTEGER PRIMARY KEY,
    last_hour INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    comm TEXT NOT NULL,
    name TEXT NOT NULL,
    exe TEXT
) STRICT;
CREATE INDEX programs_by_name ON programs (name);

CREATE TABLE causes (
    id INTEGER PRIMARY KEY,
    code INTEGER,
    reason TEXT NOT NULL,
    location TEXT NOT NULL
) STRICT;
CREATE INDEX causes_by_location ON causes (location);

CREATE TABLE rollups (
    kind INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    program INTEGER NOT NULL,
    class INTEGER NOT NULL,
    destination ANY NOT NULL,
    count INTEGER NOT NULL,
    bytes_sent INTEGER NOT NULL,
    bytes_received INTEGER NOT NULL,
    PRIMARY KEY (kind, bucket, program, class, destination)
) STRICT, WITHOUT ROWID;

CREATE TABLE losses (
    wall_ns INTEGER NOT NULL,
    place TEXT NOT NULL,
    kind TEXT NOT NULL,
    count INTEGER NOT NULL
) STRICT;
CREATE INDEX losses_by_time ON losses (wall_ns);

CREATE TABLE troubles (
    id INTEGER PRIMARY KEY,
    wall_ns INTEGER NOT NULL,
    process INTEGER NOT NULL,
    kind TEXT NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    attribution INTEGER NOT NULL,
    reason TEXT,
    family INTEGER NOT NULL,
    source_ip ANY,
    source_port INTEGER,
    destination_ip ANY,
    destination_port INTEGER,
    netns INTEGER NOT NULL,
    length INTEGER NOT NULL,
    backlog INTEGER,
    backlog_limit INTEGER
) STRICT;
CREATE INDEX troubles_by_time ON troubles (kind, wall_ns);

CREATE TABLE counted (
    id INTEGER PRIMARY KEY,
    wall_ns INTEGER NOT NULL,
    process INTEGER NOT NULL,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    location TEXT NOT NULL,
    count INTEGER NOT NULL
) STRICT;
CREATE INDEX counted_by_time ON counted (kind, wall_ns);

CREATE TABLE horizons (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Summaries of a big table's rows, and of its blocks.
pub(super) fn summaries(of: Table) -> String {
    let Table { blocks, segments, .. } = of;
    format!(
        "CREATE TABLE {blocks} (
            first_id INTEGER PRIMARY KEY,
            last_id INTEGER NOT NULL,
            wall_first_ns INTEGER NOT NULL,
            wall_last_ns INTEGER NOT NULL,
            changed_ns INTEGER NOT NULL,
            classes BLOB NOT NULL,
            processes BLOB NOT NULL,
            process_few BLOB NOT NULL,
            process_entries BLOB NOT NULL,
            ports BLOB NOT NULL,
            port_few BLOB NOT NULL,
            port_entries BLOB NOT NULL
        ) STRICT;
        CREATE TABLE {segments} (
            first_block INTEGER PRIMARY KEY,
            last_block INTEGER NOT NULL,
            wall_first_ns INTEGER NOT NULL,
            wall_last_ns INTEGER NOT NULL,
            blocks BLOB NOT NULL,
            processes BLOB NOT NULL,
            ports BLOB NOT NULL
        ) STRICT;"
    )
}

/// All tables of a new file.
pub(super) fn all_tables() -> String {
    format!("{TABLES} {} {}", summaries(CONNECTIONS), summaries(DROPS))
}

/// Indexes on what a process's identity holds, and of blocks by time with what most questions ask of them, so that those
/// need not go by the long rest. A file of this version may still be without.
const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS connection_blocks_by_time
    ON connection_blocks (wall_last_ns, wall_first_ns, changed_ns, last_id, classes);
CREATE INDEX IF NOT EXISTS drop_blocks_by_time
    ON drop_blocks (wall_last_ns, wall_first_ns, changed_ns, last_id, classes);
CREATE INDEX IF NOT EXISTS processes_by_unit ON processes (identity ->> '$.unit');
CREATE INDEX IF NOT EXISTS processes_by_container ON processes (identity ->> '$.container_id');
";

/// Makes the tables in an empty database; refuses a file that is not netspy's or is from a later netspy,
/// without having changed it.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), HistoryError> {
    match create_or_check(connection) {
        Ok(Found::Usable) => {}
        Ok(Found::Version2) => version2::migrate(connection).map_err(|error| {
            HistoryError(format!("{}: {error}; it was left as it was, with its format 2", path.display()))
        })?,
        Ok(Found::Newer(version)) => {
            return Err(refuse(
                path,
                &format!(
                    "was written by a later netspy (its schema is {version}, this one knows {VERSION}): \
                     use that netspy"
                ),
            ));
        }
        Ok(Found::Unreleased) => {
            return Err(refuse(path, "was written by an unreleased netspy, whose format no other knows"));
        }
        Ok(Found::Foreign) => return Err(refuse(path, "is a database, but not netspy's")),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            return Err(refuse(path, "is not a database"));
        }
        Err(error) => return Err(super::cannot_open(path, &error)),
    }
    write_ahead(connection)
        .and_then(|()| connection.execute_batch(INDEXES))
        .map_err(|error| super::cannot_open(path, &error))
}

/// The version that the database says it has.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

enum Found {
    Usable,
    Version2,
    Unreleased,
    Newer(i32),
    Foreign,
}

/// Looks and creates in one transaction, so that of two servers that start at once one creates.
fn create_or_check(connection: &mut Connection) -> rusqlite::Result<Found> {
    // For a file that has no tables yet; of one that has it changes nothing.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = version(&transaction)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (APPLICATION, VERSION) => Ok(Found::Usable),
        (APPLICATION, 2) => Ok(Found::Version2),
        (APPLICATION, 4 | 5) => {
            version5::migrate(&transaction)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
            Ok(Found::Usable)
        }
        (APPLICATION, newer) if newer > VERSION => Ok(Found::Newer(newer)),
        (APPLICATION, _) => Ok(Found::Unreleased),
        (0, 0) if tables == 0 => {
            transaction.execute_batch(&all_tables())?;
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
