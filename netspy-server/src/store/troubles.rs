//! The tables of troubles, and of what was only counted. Kept small by the kernel side's limits: they have an index on
//! time, and no blocks.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::codes::Coded;
use super::dictionary::ProcessReader;
use super::question::{self, Condition};
use super::row::{Columns, Parameters, cannot_read, unreadable};
use crate::domain::{
    Attribution, Backlog, Counted, CountedKind, Filter, HistoryError, Page, Place, Process, ReasonCounts,
    Trouble, TroubleKind, Unrecorded,
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

/// Rows of a kind that match by time and owner; those of nobody too where nobody is asked for.
fn condition(kind: &str, filter: &Filter) -> Condition {
    let of_process = question::of_process(filter);
    let mut condition = Condition::default();
    let window = filter.window;
    let own = [Value::from(kind.to_owned()), window.since_ns.into(), window.until_ns.into()];
    condition.and("kind = ? AND wall_ns BETWEEN ? AND ?", own);
    if !of_process.sql.is_empty() {
        let among = format!("process IN (SELECT id FROM processes WHERE {})", of_process.sql);
        condition.and(&among, of_process.values);
    }
    condition
}

/// The newest of a kind.
pub(super) fn page(
    file: &Connection,
    kind: TroubleKind,
    filter: &Filter,
    limit: u32,
) -> Result<Page<Trouble>, HistoryError> {
    let mut asked = condition(kind.name(), filter);
    question::add_of_troubles(&mut asked, filter);
    let total: i64 = file
        .prepare_cached(&format!("SELECT count(*) FROM troubles WHERE {}", asked.sql))
        .and_then(|mut statement| statement.query_row(params_from_iter(&asked.values), |row| row.get(0)))
        .map_err(cannot_read)?;
    if let Some(Place { wall_ns, id }) = filter.after {
        let id = id.map_or(i64::MIN, u64::cast_signed);
        asked.and("(wall_ns, id) < (?, ?)", [wall_ns.into(), id.into()]);
    }
    asked.values.push(limit.into());
    let sql = format!("SELECT * FROM troubles WHERE {} ORDER BY wall_ns DESC, id DESC LIMIT ?", asked.sql);
    let mut statement = file.prepare_cached(&sql).map_err(cannot_read)?;
    let mut rows = statement.query(params_from_iter(&asked.values)).map_err(cannot_read)?;
    let (mut processes, mut found) = (ProcessReader::of(file), Vec::new());
    while let Some(row) = rows.next().map_err(cannot_read)? {
        found.push(read(row, &mut processes)?);
    }
    Ok(Page { rows: found, total: total.cast_unsigned() })
}

/// What was only counted. Ends and protocols are not known of it.
pub(super) fn unrecorded(
    file: &Connection,
    kind: CountedKind,
    filter: &Filter,
) -> Result<Unrecorded, HistoryError> {
    if filter.is_of_connections() {
        return Ok(Unrecorded::default());
    }
    let read = |filter: &Filter, and_nobody: bool| -> Result<ReasonCounts, HistoryError> {
        let mut asked = condition(kind.name(), filter);
        if let Some(reason) = &filter.reason {
            asked.and("reason = ?", [reason.clone().into()]);
        }
        if and_nobody {
            asked.and("process = 0", []);
        }
        let sql = format!(
            "SELECT reason, location, sum(count) FROM counted WHERE {} GROUP BY reason, location",
            asked.sql
        );
        let mut statement = file.prepare_cached(&sql).map_err(cannot_read)?;
        let mut rows = statement.query(params_from_iter(&asked.values)).map_err(cannot_read)?;
        let mut counts = ReasonCounts::new();
        while let Some(row) = rows.next().map_err(cannot_read)? {
            let mut columns = Columns::of(row);
            let key = (columns.take("reason")?, columns.take("location")?);
            counts.insert(key, columns.unsigned("count")?);
        }
        Ok(counts)
    };
    let mut matching = read(filter, false)?;
    let mut undecided = 0;
    if filter.is_of_packets() {
        undecided += std::mem::take(&mut matching).into_values().sum::<u64>();
    }
    if filter.is_of_somebody() {
        let anybody = Filter { reason: filter.reason.clone(), ..Filter::within(filter.window) };
        undecided += read(&anybody, true)?.into_values().sum::<u64>();
    }
    Ok(Unrecorded { matching, undecided })
}
