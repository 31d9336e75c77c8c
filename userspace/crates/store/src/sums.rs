//! Requests summed up by service, for questions that name no route.
//!
//! A minute of a service is some rows here and hundreds in the tiers, and says
//! the same: histograms merge exactly.
//!
//! | what happens | in the same transaction |
//! |---|---|
//! | a minute is over | its rows are summed up, and `summed.until` moves behind it |
//! | a batch brings rows from before `until` | they are summed up by themselves |
//! | an hour is over | its sums come into order, and are added up to an hour |
//!
//! So every row from before `until` is in `service_minutes_new` or
//! `service_minutes` exactly once, and `service_hours` is always the sum of
//! `service_minutes`.

use std::time::{Duration, Instant};

use duckdb::arrow::array::RecordBatch;
use duckdb::{Connection, Transaction};

use crate::merge::{self, Merged};
use crate::rows::{Names, RowKey, Stored};
use crate::schema::{COLUMNS, SUMS, TIERS};

/// Length of the windows, in microseconds.
pub(crate) const MINUTE: i64 = 60_000_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// Age of a minute that is summed up: its last rows are written by then,
/// mostly, and those that come later cost rows of their own.
const GRACE: i64 = 5_000_000;
/// Minutes in one step at most, where there is much to catch up on.
const MAX_MINUTES: i64 = 60;
/// A step that took longer is followed by a smaller one.
const STEP_LIMIT: Duration = Duration::from_millis(50);

/// Requests before this time are summed up, in microseconds; `None` where
/// nothing is.
pub(crate) fn until(connection: &Connection) -> duckdb::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT epoch_us(until) FROM summed")?;
    statement.query_row([], |row| row.get(0))
}

/// Sums up what is over.
#[derive(Debug)]
pub(crate) struct Summing {
    n_minutes: i64,
}

impl Summing {
    pub(crate) fn new() -> Self {
        Self { n_minutes: 1 }
    }

    /// Sums up the next minutes in one transaction; where none is over, tells
    /// when to look again.
    pub(crate) fn step(
        &mut self,
        connection: &mut Connection,
        now: i64,
    ) -> duckdb::Result<Option<i64>> {
        let began = Instant::now();
        let over = floor(now - GRACE, MINUTE);
        let from = until(connection)?.unwrap_or(0);
        if from >= over {
            return Ok(Some(from + MINUTE + GRACE));
        }
        let Some(oldest) = oldest_since(connection, from)? else {
            return Ok(Some(now + 10_000_000));
        };
        let first = floor(oldest, MINUTE);
        if first >= over {
            return Ok(Some(first + MINUTE + GRACE));
        }
        let end = over.min(first + self.n_minutes * MINUTE);
        let transaction = connection.transaction()?;
        let mut merged = Merged::new();
        let mut names = Names::default();
        let columns = COLUMNS.join(", ");
        for tier in TIERS {
            let sql = format!(
                "SELECT {columns} FROM {} \
                 WHERE start >= make_timestamp(?) AND start < make_timestamp(?)",
                tier.table
            );
            let mut statement = transaction.prepare_cached(&sql)?;
            for batch in statement.query_arrow([first, end])? {
                add(&mut merged, &batch, end, &mut names)?;
            }
        }
        append(&transaction, SUMS[0].table, &merge::rows_of(&merged))?;
        let sql = "UPDATE summed SET until = make_timestamp(?)";
        transaction.execute(sql, [end])?;
        transaction.commit()?;
        let elapsed = began.elapsed();
        if elapsed > STEP_LIMIT {
            self.n_minutes = (self.n_minutes / 2).max(1);
        } else if elapsed < STEP_LIMIT / 4 {
            self.n_minutes = (self.n_minutes * 2).min(MAX_MINUTES);
        }
        Ok(None)
    }
}

/// The sums of those rows of `batches` that came late: from before what is
/// summed up already. `None` where there are none.
pub(crate) fn of_late<'a>(
    batches: impl Iterator<Item = &'a RecordBatch>,
    until: i64,
) -> duckdb::Result<Option<RecordBatch>> {
    let mut merged = Merged::new();
    let mut names = Names::default();
    for batch in batches {
        add(&mut merged, batch, until, &mut names)?;
    }
    Ok((!merged.is_empty()).then(|| merge::rows_of(&merged)))
}

/// Adds rows from before `end` to the sums of their minutes.
fn add(
    merged: &mut Merged,
    batch: &RecordBatch,
    end: i64,
    names: &mut Names,
) -> duckdb::Result<()> {
    let rows = Stored::new(batch);
    for row in 0..batch.num_rows() {
        if rows.start_us(row) >= end {
            continue;
        }
        let key = rows.key(row, names);
        let key = RowKey {
            route: names.share(""),
            method: None,
            status: key.status.map(|status| status / 100 * 100),
            start_us: floor(key.start_us, MINUTE),
            ..key
        };
        merged.entry(key).or_default().merge(&rows.figures(row)?);
    }
    Ok(())
}

/// Sums of minutes, added up by hours.
pub(crate) fn hours_of(minutes: &Merged) -> Merged {
    let mut hours = Merged::new();
    for (key, figures) in minutes {
        let key = RowKey {
            start_us: floor(key.start_us, HOUR),
            ..key.clone()
        };
        hours.entry(key).or_default().merge(figures);
    }
    hours
}

/// Adds rows to a table.
pub(crate) fn append(
    transaction: &Transaction<'_>,
    table: &str,
    rows: &RecordBatch,
) -> duckdb::Result<()> {
    let mut appender = transaction.appender(table)?;
    appender.append_record_batch(rows.clone())?;
    appender.flush()
}

/// The oldest row from a time on.
fn oldest_since(connection: &Connection, from: i64) -> duckdb::Result<Option<i64>> {
    let mut oldest: Option<i64> = None;
    for tier in TIERS {
        let sql = format!(
            "SELECT epoch_us(min(start)) FROM {} WHERE start >= make_timestamp(?)",
            tier.table
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let found: Option<i64> = statement.query_row([from], |row| row.get(0))?;
        oldest = match (oldest, found) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    Ok(oldest)
}

fn floor(at: i64, width: i64) -> i64 {
    at - at.rem_euclid(width)
}
