//! Rows of a tier, merged into wider windows.

use std::collections::BTreeMap;
use std::sync::Arc;

use duckdb::arrow::array::RecordBatch;
use duckdb::{Connection, Row, params};
use modeltap_core::histogram::DurationHistogram;
use modeltap_core::measure::{Measure, TokenSums};
use modeltap_core::resource::ResourceFigures;
use modeltap_core::rollup::{Detail, Figures};

use crate::records::{self, ResourceRow};
use crate::rows::{RowKey, Rows};
use crate::schema::{COLUMNS, RESOURCE_COLUMNS};

/// Rows of one service, or of some that follow each other by name, from one
/// time to before another, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) service: String,
    pub(crate) last_service: String,
    pub(crate) first: i64,
    pub(crate) end: i64,
}

/// The condition that says what is in a piece; its parameters are the
/// services, `first` and `end`.
pub(crate) const IN_PIECE: &str =
    "service >= ? AND service <= ? AND start >= make_timestamp(?) AND start < make_timestamp(?)";

/// Merges a piece of a table of rollups into windows of `width` microseconds,
/// in the order in which they are read: by route and time.
pub(crate) fn rollups(
    connection: &Connection,
    table: &str,
    piece: &Piece,
    width: i64,
) -> duckdb::Result<RecordBatch> {
    let mut rows = Rows::default();
    for (key, figures) in &merged_rollups(connection, table, piece, width)? {
        rows.push_row(key, figures);
    }
    Ok(rows.finish())
}

pub(crate) fn merged_rollups(
    connection: &Connection,
    table: &str,
    piece: &Piece,
    width: i64,
) -> duckdb::Result<BTreeMap<RowKey, Figures>> {
    let columns = COLUMNS[1..].join(", ");
    let sql = format!("SELECT epoch_us(start), {columns} FROM {table} WHERE {IN_PIECE}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![
        piece.service,
        piece.last_service,
        piece.first,
        piece.end
    ])?;
    let mut merged = BTreeMap::new();
    let mut names = Names::default();
    while let Some(row) = rows.next()? {
        let start: i64 = row.get(0)?;
        let mut text = |column: usize| -> duckdb::Result<Arc<str>> {
            Ok(names.share(&row.get::<_, String>(column)?))
        };
        let key = RowKey {
            service: text(1)?,
            container: text(2)?,
            route: text(3)?,
            method: match row.get::<_, Option<String>>(4)? {
                Some(_) => Some(text(4)?),
                None => None,
            },
            status: row.get(5)?,
            outcome: text(6)?,
            start_us: start - start.rem_euclid(width),
        };
        let figures = Figures {
            n_requests: row.get(7)?,
            n_errors: row.get(8)?,
            n_incomplete: row.get(9)?,
            duration_sum_ns: row.get(10)?,
            duration_max_ns: row.get(11)?,
            request_body_bytes: row.get(12)?,
            response_body_bytes: row.get(13)?,
            duration: histogram(row, 14)?.unwrap_or_default(),
            time_to_first_byte: histogram(row, 15)?.unwrap_or_default(),
            detail: detail(row)?,
        };
        merged
            .entry(key)
            .or_insert_with(Figures::default)
            .merge(&figures);
    }
    Ok(merged)
}

/// Merges a piece of a table of resources, as [`rollups`].
pub(crate) fn resources(
    connection: &Connection,
    table: &str,
    piece: &Piece,
    width: i64,
) -> duckdb::Result<RecordBatch> {
    let columns = RESOURCE_COLUMNS[2..].join(", ");
    // Levels are those of the latest: the order matters.
    let sql =
        format!("SELECT epoch_us(start), {columns} FROM {table} WHERE {IN_PIECE} ORDER BY start");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![
        piece.service,
        piece.last_service,
        piece.first,
        piece.end
    ])?;
    let mut merged: BTreeMap<(String, i64), ResourceFigures> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let start: i64 = row.get(0)?;
        let figures = resource_figures(row)?;
        let key = (row.get(1)?, start - start.rem_euclid(width));
        match merged.get_mut(&key) {
            Some(known) => known.merge(&figures),
            None => {
                merged.insert(key, figures);
            }
        }
    }
    let rows: Vec<ResourceRow<'_>> = merged
        .iter()
        .map(|((container, start_us), figures)| ResourceRow {
            start_us: *start_us,
            service: &piece.service,
            container,
            figures,
        })
        .collect();
    Ok(records::resources(&rows))
}

fn resource_figures(row: &Row<'_>) -> duckdb::Result<ResourceFigures> {
    Ok(ResourceFigures {
        n_seconds: row.get(2)?,
        cpu_ns: row.get(3)?,
        cpu_limit_cores: row.get(4)?,
        n_periods: row.get(5)?,
        n_throttled: row.get(6)?,
        throttled_ns: row.get(7)?,
        memory_sum_bytes: row.get(8)?,
        memory_max_bytes: row.get(9)?,
        memory_limit_bytes: row.get(10)?,
        n_oom_kills: row.get(11)?,
        received_bytes: row.get(12)?,
        sent_bytes: row.get(13)?,
        read_bytes: row.get(14)?,
        written_bytes: row.get(15)?,
        n_pids_max: row.get(16)?,
        pressure_cpu_us: row.get(17)?,
        pressure_memory_us: row.get(18)?,
        pressure_io_us: row.get(19)?,
        gpu_utilization_sum: row.get(20)?,
        gpu_memory_max_bytes: row.get(21)?,
        gpu_memory_total_bytes: row.get(22)?,
    })
}

fn histogram(row: &Row<'_>, column: usize) -> duckdb::Result<Option<DurationHistogram>> {
    let Some(bytes) = row.get::<_, Option<Vec<u8>>>(column)? else {
        return Ok(None);
    };
    let decoded = DurationHistogram::decode(&bytes).map_err(|error| {
        let kind = duckdb::types::Type::Blob;
        duckdb::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })?;
    Ok(Some(decoded))
}

/// What is kept beside durations; `None` in a row that has nothing of it.
fn detail(row: &Row<'_>) -> duckdb::Result<Option<Box<Detail>>> {
    let mut detail = Detail::default();
    for (column, measure) in (16..).zip(Measure::ALL) {
        if let Some(times) = histogram(row, column)? {
            detail.measures[measure] = times;
        }
    }
    let count = |column: usize| row.get::<_, Option<u64>>(column);
    detail.streams.n_chunks = count(24)?.unwrap_or_default();
    detail.streams.n_stalls = count(25)?.unwrap_or_default();
    detail.tokens = TokenSums {
        input: count(26)?,
        output: count(27)?,
    };
    Ok((detail != Detail::default()).then(|| Box::new(detail)))
}

/// Spells each name once.
#[derive(Default)]
struct Names(std::collections::HashSet<Arc<str>>);

impl Names {
    fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}
