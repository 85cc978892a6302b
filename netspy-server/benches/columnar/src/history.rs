//! The reading side: questions become plans of `DataFusion` over segments and what is not sealed yet.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, Result};
use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Int64Type, SchemaRef, UInt8Type, UInt64Type};
use datafusion::config::TableParquetOptions;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::functions_aggregate::expr_fn::{count, max, sum};
use datafusion::prelude::{Expr, SessionConfig, SessionContext, col, lit};
use netspy_server::domain::{
    Connection, ConnectionCounts, CountedKind, Filter, Group, GroupBy, History, HistoryError, LossCounts,
    PacketDrop, Page, ReasonCounts, Sum, Trouble, TroubleKind, Unrecorded, Verdict, Window,
};
use netspy_server::store::SqliteHistory;
use tokio::runtime::Runtime;

use crate::condition;
use crate::rows;
use crate::sink::Open;
use crate::table::{Segment, Snapshot, Table};

const MINUTE_NS: i64 = 60_000_000_000;

/// `DataFusion` and the threads that it runs on.
#[derive(Clone)]
pub(crate) struct Engine {
    context: SessionContext,
    runtime: Arc<Runtime>,
}

impl Engine {
    pub(crate) fn new() -> Result<Self> {
        let config = SessionConfig::new().with_information_schema(false);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        Ok(Self { context: SessionContext::new_with_config(config), runtime: Arc::new(runtime) })
    }

    fn collect(&self, plan: DataFrame) -> Result<RecordBatch> {
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let batches = self.runtime.block_on(plan.collect())?;
        Ok(concat_batches(&schema, &batches)?)
    }

    /// Rows of files that have the same columns.
    fn files<'a>(&self, paths: impl Iterator<Item = &'a Path>, schema: SchemaRef) -> Result<DataFrame> {
        let urls = paths.map(|path| ListingTableUrl::parse(path.to_string_lossy()));
        let mut options = TableParquetOptions::default();
        (options.global.pushdown_filters, options.global.reorder_filters) = (true, true);
        let format = Arc::new(ParquetFormat::default().with_options(options));
        let listing = ListingOptions::new(format)
            .with_session_config_options(self.context.state().config())
            .with_file_extension(".parquet");
        let config = ListingTableConfig::new_with_multi_paths(urls.collect::<Result<_, _>>()?)
            .with_listing_options(listing)
            .with_schema(schema);
        let cache = self.context.runtime_env().cache_manager.get_file_statistic_cache();
        Ok(self.context.read_table(Arc::new(ListingTable::try_new(config)?.with_cache(cache)))?)
    }

    fn memory(&self, batches: Vec<RecordBatch>, schema: SchemaRef) -> Result<DataFrame> {
        Ok(self.context.read_table(Arc::new(MemTable::try_new(schema, vec![batches])?))?)
    }

    /// The latest wall time of a segment.
    pub(crate) fn latest(&self, table: &Table, segment: &Segment) -> Result<i64> {
        if let Some(latest_ns) = segment.latest_ns.get() {
            return Ok(*latest_ns);
        }
        let rows = self.files([segment.path.as_path()].into_iter(), table.schema.clone())?;
        let answer = self.collect(rows.aggregate(vec![], vec![max(col("wall_ns"))])?)?;
        let latest_ns = answer.column(0).as_primitive::<Int64Type>().value(0);
        Ok(*segment.latest_ns.get_or_init(|| latest_ns))
    }

    /// What is kept of a segment that goes.
    pub(crate) fn sums(
        &self,
        table: &Table,
        segment: &Segment,
        is_of_connections: bool,
    ) -> Result<RecordBatch> {
        let rows = self.files([segment.path.as_path()].into_iter(), table.schema.clone())?;
        let minute = (col("wall_ns") / lit(MINUTE_NS)).alias("minute");
        let names: &[&str] =
            if is_of_connections { &condition::CONNECTION_KEY } else { &condition::DROP_KEY };
        let key = std::iter::once(minute).chain(names.iter().map(|name| col(*name))).collect();
        self.collect(rows.aggregate(key, summed(is_of_connections))?)
    }
}

/// What is summed up of rows, as sums of these have it too.
fn summed(is_of_connections: bool) -> Vec<Expr> {
    let mut sums = vec![count(lit(1_i64)).alias("count")];
    if is_of_connections {
        sums.extend(["bytes_sent", "bytes_received"].map(|name| sum(col(name)).alias(name)));
    }
    sums
}

/// Answers from a history.
#[derive(Clone)]
pub(crate) struct ColumnarHistory {
    rare: SqliteHistory,
    engine: Engine,
    connections: Arc<Table>,
    drops: Arc<Table>,
    open: Open,
}

impl ColumnarHistory {
    pub(crate) fn new(
        rare: SqliteHistory,
        engine: Engine,
        connections: Arc<Table>,
        drops: Arc<Table>,
        open: Open,
    ) -> Self {
        Self { rare, engine, connections, drops, open }
    }

    fn table(&self, is_of_connections: bool) -> &Table {
        if is_of_connections { &self.connections } else { &self.drops }
    }

    /// All rows at this moment; the snapshot keeps their files.
    fn rows(&self, is_of_connections: bool) -> Result<(Snapshot, DataFrame)> {
        let table = self.table(is_of_connections);
        let mut snapshot = table.snapshot();
        if is_of_connections {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let open: Vec<_> = open.values().cloned().collect();
            snapshot.recent.push(rows::of_connections(&open)?);
        }
        let mut all = self.engine.memory(snapshot.recent.clone(), table.schema.clone())?;
        if !snapshot.segments.is_empty() {
            let paths = snapshot.segments.iter().map(|segment| segment.path.as_path());
            all = self.engine.files(paths, table.schema.clone())?.union(all)?;
        }
        Ok((snapshot, all))
    }

    /// The newest rows that match, and how many there are.
    fn page(&self, filter: &Filter, limit: u32, is_of_connections: bool) -> Result<(RecordBatch, u64)> {
        let (_snapshot, all) = self.rows(is_of_connections)?;
        let asked = condition::of_rows(filter, is_of_connections)?;
        let matching = all.clone().filter(all.parse_sql_expr(&asked)?)?;
        let total = matching.clone().aggregate(vec![], vec![count(lit(1_i64)).alias("count")])?;
        let total = self.engine.collect(total)?.column(0).as_primitive::<Int64Type>().value(0);
        let behind = match condition::behind(filter) {
            Some(after) => matching.clone().filter(matching.parse_sql_expr(&after)?)?,
            None => matching,
        };
        let newest = |rows: DataFrame| -> Result<DataFrame> {
            let order = vec![col("wall_ns").sort(false, false), col("id").sort(false, false)];
            Ok(rows.sort(order)?.limit(0, Some(limit as usize))?)
        };
        // All columns are read only where the first two say that the rows are.
        let places = self.engine.collect(newest(behind.clone().select_columns(&["wall_ns", "id"])?)?)?;
        let oldest = places.column(0).as_primitive::<Int64Type>().values().last().copied();
        let since = col("wall_ns").gt_eq(lit(oldest.unwrap_or(i64::MAX)));
        let rows = self.engine.collect(newest(behind.filter(since)?)?)?;
        Ok((rows, total.cast_unsigned()))
    }

    /// Sums of rows and of what retention left of others.
    fn sums(
        &self,
        filter: &Filter,
        by: &[&str],
        is_of_connections: bool,
        whole_minutes: bool,
    ) -> Result<RecordBatch> {
        let (snapshot, all) = self.rows(is_of_connections)?;
        let key = || by.iter().map(|name| col(*name)).collect::<Vec<_>>();
        let asked = condition::of_rows(&minutes(filter, whole_minutes), is_of_connections)?;
        let mut found = all.clone().filter(all.parse_sql_expr(&asked)?)?;
        found = found.aggregate(key(), summed(is_of_connections))?;
        if let Some(asked) = condition::of_sums(filter, is_of_connections)
            && let Some(first) = snapshot.rollups.first()
        {
            let schema = self.engine.runtime.block_on(self.schema_of(first))?;
            let sums = self.engine.files(snapshot.rollups.iter().map(AsRef::as_ref), schema)?;
            let sums = sums.clone().filter(sums.parse_sql_expr(&asked)?)?;
            let names: &[&str] =
                if is_of_connections { &["count", "bytes_sent", "bytes_received"] } else { &["count"] };
            let again = || names.iter().map(|name| sum(col(*name)).alias(*name)).collect::<Vec<_>>();
            found = found.union(sums.aggregate(key(), again())?)?.aggregate(key(), again())?;
        }
        self.engine.collect(found)
    }

    async fn schema_of(&self, path: &Path) -> Result<SchemaRef> {
        let path = path.to_string_lossy();
        let frame = self.engine.context.read_parquet(path.as_ref(), Default::default()).await?;
        Ok(Arc::new(frame.schema().as_arrow().clone()))
    }

    fn counts(&self, filter: &Filter) -> Result<ConnectionCounts> {
        let found = self.sums(filter, &["direction", "verdict"], true, false)?;
        let mut counts = BTreeMap::new();
        for at in 0..found.num_rows() {
            let part =
                |column: usize| usize::from(found.column(column).as_primitive::<UInt8Type>().value(at));
            let what = (
                *rows::DIRECTIONS.get(part(0)).context("a direction is damaged")?,
                *Verdict::ALL.get(part(1)).context("a verdict is damaged")?,
            );
            counts.insert(what, counted(&found, at));
        }
        Ok(counts)
    }

    fn reasons(&self, filter: &Filter) -> Result<ReasonCounts> {
        let found = self.sums(filter, &["reason", "location"], false, false)?;
        let text = |column: usize, at| found.column(column).as_string_view().value(at).to_owned();
        Ok((0..found.num_rows()).map(|at| ((text(0, at), text(1, at)), counted(&found, at))).collect())
    }

    fn groups(&self, filter: &Filter, by: GroupBy, limit: u32, of: bool) -> Result<Vec<(Group, Sum)>> {
        let found = self.sums(filter, condition::columns(by)?, of, true)?;
        let mut groups = (0..found.num_rows())
            .map(|at| {
                let bytes = |name: &str| match found.column_by_name(name) {
                    Some(column) => column.as_primitive::<UInt64Type>().value(at),
                    None => 0,
                };
                let sum = Sum {
                    count: counted(&found, at),
                    bytes_sent: bytes("bytes_sent"),
                    bytes_received: bytes("bytes_received"),
                };
                Ok((condition::group(&found, at, by)?, sum))
            })
            .collect::<Result<Vec<_>>>()?;
        groups.sort_by_cached_key(|(group, sum)| (std::cmp::Reverse(sum.count), format!("{group:?}")));
        groups.truncate(limit as usize);
        Ok(groups)
    }
}

fn counted(found: &RecordBatch, at: usize) -> u64 {
    found
        .column_by_name("count")
        .map_or(0, |count| count.as_primitive::<Int64Type>().value(at).cast_unsigned())
}

/// The whole minutes that a window touches, as sums are kept by them.
fn minutes(filter: &Filter, whole: bool) -> Filter {
    let mut filter = filter.clone();
    if whole {
        let floor = |ns: i64| ns.div_euclid(MINUTE_NS).saturating_mul(MINUTE_NS);
        let (since, until) = (filter.window.since_ns, filter.window.until_ns);
        filter.window.since_ns = floor(since);
        filter.window.until_ns = floor(until).saturating_add(MINUTE_NS - 1);
    }
    filter
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn cannot_read(error: anyhow::Error) -> HistoryError {
    HistoryError(format!("cannot read the history: {error:#}"))
}

impl History for ColumnarHistory {
    fn connections(&self, filter: &Filter, limit: u32) -> Result<Page<Connection>, HistoryError> {
        let (batch, total) = self.page(filter, limit, true).map_err(cannot_read)?;
        let rows = rows::connections(&batch).context("a row is damaged").map_err(cannot_read)?;
        Ok(Page { rows, total })
    }

    fn connection_counts(&self, filter: &Filter) -> Result<ConnectionCounts, HistoryError> {
        self.counts(filter).map_err(cannot_read)
    }

    fn drops(&self, filter: &Filter, limit: u32) -> Result<Page<PacketDrop>, HistoryError> {
        let (batch, total) = self.page(filter, limit, false).map_err(cannot_read)?;
        let rows = rows::drops(&batch).context("a row is damaged").map_err(cannot_read)?;
        Ok(Page { rows, total })
    }

    fn drop_counts(&self, filter: &Filter) -> Result<ReasonCounts, HistoryError> {
        self.reasons(filter).map_err(cannot_read)
    }

    fn top(&self, filter: &Filter, by: GroupBy, limit: u32) -> Result<Vec<(Group, Sum)>, HistoryError> {
        self.groups(filter, by, limit, true).map_err(cannot_read)
    }

    fn top_drops(&self, filter: &Filter, by: GroupBy, limit: u32) -> Result<Vec<(Group, Sum)>, HistoryError> {
        self.groups(filter, by, limit, false).map_err(cannot_read)
    }

    fn troubles(
        &self,
        kind: TroubleKind,
        filter: &Filter,
        limit: u32,
    ) -> Result<Page<Trouble>, HistoryError> {
        self.rare.troubles(kind, filter, limit)
    }

    fn unrecorded(&self, kind: CountedKind, filter: &Filter) -> Result<Unrecorded, HistoryError> {
        self.rare.unrecorded(kind, filter)
    }

    fn losses(&self, window: Window) -> Result<LossCounts, HistoryError> {
        self.rare.losses(window)
    }

    fn size_bytes(&self) -> Result<u64, HistoryError> {
        Ok(self.rare.size_bytes()? + self.connections.bytes() + self.drops.bytes())
    }
}
