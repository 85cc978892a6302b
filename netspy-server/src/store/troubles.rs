//! The tables of troubles, and of what was only counted. Kept small by the kernel side's limits: they have an index on
//! time, and no blocks.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::codes::Coded;
use super::dictionary::ProcessReader;
use super::question::{self, Condition};
use super::row::{Columns, Parameters, cannot_read, unreadable};
use crate::domain::{
    Attribution, Backlog, Counted, CountedKind, Filter, HistoryError, Page, Process, ReasonCounts, Trouble,
    TroubleKind, Unrecorded,
};

const PUT: &str = "INSERT OR IGNORE INTO troubles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The owner where one is known.
pub(super) fn known_owner(trouble: &Trouble) -> Option<&std::sync::Arc<Process>> {
    trouble.owner.as_ref().filter(|_| trouble.attribution != Attribution::None)
}

pub(super) fn put(file: &Connection, trouble: &Trouble, process: u32) -> rusqlite::Result<()> {
    let mut statement = file.prepare_cached(PUT)?;
    let mut row = Parameters::of(&mut statement);
    row.put(trouble.id.cast_signed())?;
    row.put(trouble.wall_ns)?;
    row.put(process)?;
    row.put(trouble.kind.name())?;
    row.put(trouble.monotonic_ns.cast_signed())?;
    row.put(trouble.attribution.code())?;
    row.put(trouble.reason.as_deref())?;
    row.put(trouble.family)?;
    row.put_end(trouble.source)?;
    row.put_end(trouble.destination)?;
    row.put(trouble.netns)?;
    row.put(trouble.length)?;
    row.put(trouble.backlog.map(|backlog| backlog.waiting))?;
    row.put(trouble.backlog.map(|backlog| backlog.limit))?;
    row.execute().map(drop)
}

pub(super) fn put_counted(file: &Connection, counted: &Counted, process: u32) -> rusqlite::Result<()> {
    file.prepare_cached("INSERT OR IGNORE INTO counted VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            counted.id.cast_signed(),
            counted.wall_ns,
            process,
            counted.kind.name(),
            counted.reason,
            counted.location,
            counted.count.cast_signed(),
        ])
        .map(drop)
}

fn read(row: &Row<'_>, processes: &mut ProcessReader<'_>) -> Result<Trouble, HistoryError> {
    let mut columns = Columns::of(row);
    let (id, wall_ns) = (columns.unsigned("id")?, columns.take("wall_ns")?);
    let (process, kind): (u32, String) = (columns.take("process")?, columns.take("kind")?);
    Ok(Trouble {
        id,
        kind: TroubleKind::from_name(&kind)
            .ok_or_else(|| unreadable("kind", &format!("nothing is called {kind:?}")))?,
        monotonic_ns: columns.unsigned("monotonic_ns")?,
        wall_ns,
        owner: if process == 0 { None } else { Some(processes.get(process)?.0) },
        attribution: columns.coded("attribution")?,
        reason: columns.take("reason")?,
        family: columns.take("family")?,
        source: columns.end("source_ip", "source_port")?,
        destination: columns.end("destination_ip", "destination_port")?,
        netns: columns.take("netns")?,
        length: columns.take("length")?,
        backlog: {
            let (waiting, limit) = (columns.take::<Option<u32>>("backlog")?, columns.take("backlog_limit")?);
            waiting.map(|waiting| Backlog { waiting, limit: Option::unwrap_or(limit, 0) })
        },
    })
}

/// Rows of a kind that match; those of nobody where nobody is asked for.
fn condition(kind: &str, filter: &Filter) -> Condition {
    let of_process = question::of_process(filter);
    let mut sql = "kind = ? AND wall_ns BETWEEN ? AND ?".to_owned();
    let window = filter.window;
    let mut values = vec![Value::from(kind.to_owned()), window.since_ns.into(), window.until_ns.into()];
    if !of_process.sql.is_empty() {
        sql = format!("{sql} AND process IN (SELECT id FROM processes WHERE {})", of_process.sql);
        values.extend(of_process.values);
    }
    Condition { sql, values }
}

/// The newest of a kind.
pub(super) fn page(
    file: &Connection,
    kind: TroubleKind,
    filter: &Filter,
    limit: u32,
) -> Result<Page<Trouble>, HistoryError> {
    let Condition { sql, mut values } = condition(kind.name(), filter);
    let total: i64 = file
        .prepare_cached(&format!("SELECT count(*) FROM troubles WHERE {sql}"))
        .and_then(|mut statement| statement.query_row(params_from_iter(&values), |row| row.get(0)))
        .map_err(cannot_read)?;
    values.push(limit.into());
    let sql = format!("SELECT * FROM troubles WHERE {sql} ORDER BY wall_ns DESC, id DESC LIMIT ?");
    let mut statement = file.prepare_cached(&sql).map_err(cannot_read)?;
    let mut rows = statement.query(params_from_iter(&values)).map_err(cannot_read)?;
    let (mut processes, mut found) = (ProcessReader::of(file), Vec::new());
    while let Some(row) = rows.next().map_err(cannot_read)? {
        found.push(read(row, &mut processes)?);
    }
    Ok(Page { rows: found, total: total.cast_unsigned() })
}

/// What was only counted.
pub(super) fn unrecorded(
    file: &Connection,
    kind: CountedKind,
    filter: &Filter,
) -> Result<Unrecorded, HistoryError> {
    let read = |Condition { sql, values }: Condition| -> Result<ReasonCounts, HistoryError> {
        let sql =
            format!("SELECT reason, location, sum(count) FROM counted WHERE {sql} GROUP BY reason, location");
        let mut statement = file.prepare_cached(&sql).map_err(cannot_read)?;
        let mut rows = statement.query(params_from_iter(&values)).map_err(cannot_read)?;
        let mut counts = ReasonCounts::new();
        while let Some(row) = rows.next().map_err(cannot_read)? {
            let mut columns = Columns::of(row);
            let key = (columns.take("reason")?, columns.take("location")?);
            counts.insert(key, columns.unsigned("count")?);
        }
        Ok(counts)
    };
    let matching = read(condition(kind.name(), filter))?;
    if question::of_process(filter).sql.is_empty() {
        return Ok(Unrecorded { matching, of_nobody: 0 });
    }
    let mut nobody = condition(kind.name(), &Filter::within(filter.window));
    nobody.sql.push_str(" AND process = 0");
    Ok(Unrecorded { matching, of_nobody: read(nobody)?.into_values().sum() })
}
