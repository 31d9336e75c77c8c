//! Rows of a tier, merged into wider windows.

use std::collections::BTreeMap;

use duckdb::arrow::array::RecordBatch;
use duckdb::{Connection, Row, params};
use modeltap_core::resource::ResourceFigures;
use modeltap_core::rollup::Figures;

use crate::records::{self, ResourceRow};
use crate::rows::{Names, RowKey, Rows, Stored};
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

/// Figures by the names of their rows, in the order in which they are read: by
/// service, route and time.
pub(crate) type Merged = BTreeMap<RowKey, Figures>;

/// Merges a piece of a table of rollups into windows of `width` microseconds.
pub(crate) fn rollups(
    connection: &Connection,
    table: &str,
    piece: &Piece,
    width: i64,
) -> duckdb::Result<Merged> {
    let columns = COLUMNS.join(", ");
    let sql = format!("SELECT {columns} FROM {table} WHERE {IN_PIECE}");
    let mut statement = connection.prepare_cached(&sql)?;
    let batches = statement.query_arrow(params![
        piece.service,
        piece.last_service,
        piece.first,
        piece.end
    ])?;
    let mut merged = Merged::new();
    let mut names = Names::default();
    for batch in batches {
        let rows = Stored::new(&batch);
        for row in 0..batch.num_rows() {
            let mut key = rows.key(row, &mut names);
            key.start_us -= key.start_us.rem_euclid(width);
            merged.entry(key).or_default().merge(&rows.figures(row)?);
        }
    }
    Ok(merged)
}

/// The columns of a tier filled with what was merged.
pub(crate) fn rows_of(merged: &Merged) -> RecordBatch {
    let mut rows = Rows::default();
    for (key, figures) in merged {
        rows.push_row(key, figures);
    }
    rows.finish()
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
