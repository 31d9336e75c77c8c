//! Figures that alert rules are about and no chart shows, as the rules' engine
//! has them live: a level is the mean of its seconds, a share that of the
//! container nearest to its limit.

use duckdb::types::Value;
use duckdb::{Connection, params_from_iter};
use modeltap_core::alert::AlertMetric;
use modeltap_core::histogram::visit_encoded;
use modeltap_core::record::Outcome;
use modeltap_core::time::UnixNs;
use modeltap_core::timeline::TimelineKind;

use crate::query::{QueryError, Range};
use crate::reader::Reader;
use crate::scan::step_sql;
use crate::schema::{RESOURCE_TIERS, TIERS, Tier};

/// Steps that are asked for at once: a week of minutes and more.
const MAX_FIGURES: u64 = 20_000;

/// A value a step.
type Figures = Vec<Option<f64>>;

/// How a figure is made from the rows of resources.
struct Level {
    /// Of one container in one window of time.
    of_container: &'static str,
    /// Of a service's containers in it, with `n` the seconds that were read.
    of_service: &'static str,
}

/// A figure of a rule, over steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FigureQuery<'a> {
    /// The figure.
    pub metric: AlertMetric,
    /// Of this service; `None` for all together.
    pub service: Option<&'a str>,
    /// Requests that a step must have for its share or percentile to be one.
    pub min_requests: u64,
    /// The first second, a multiple of `step`.
    pub from: u64,
    /// How many steps.
    pub n_steps: u64,
    /// Seconds of a step: whole minutes.
    pub step: u64,
}

impl Reader {
    /// A value a step; `None` where nothing is known. No values of a figure
    /// that [`Self::query`] tells: rates, percentiles, the share of errors.
    ///
    /// Two figures are nearly those of the live engine: requests in progress
    /// are the durations that ended in the step by its length (Little's law),
    /// and of streams only those count that wrote a content chunk.
    ///
    /// # Errors
    /// There are too many steps, it takes too long, too many others wait, or
    /// the database cannot be read now.
    pub fn alert_figure(&self, query: &FigureQuery<'_>) -> Result<Vec<Option<f64>>, QueryError> {
        let FigureQuery {
            metric,
            from,
            n_steps,
            step,
            ..
        } = *query;
        if n_steps > MAX_FIGURES || step == 0 {
            let text = format!("there are up to {MAX_FIGURES} steps of a second or more");
            return Err(QueryError::Invalid(text));
        }
        let range = Range {
            first: from,
            end: from.saturating_add(n_steps.saturating_mul(step)),
            step,
        };
        let rows = Rows::of(query.service, range);
        self.snapshot(|connection| match (level_of(metric), metric) {
            (Some(level), _) => rows.values(connection, &level_sql(&level, &rows)),
            (None, AlertMetric::OomKills) => {
                let sum = "SELECT step, sum(n_oom_kills)::DOUBLE";
                rows.values(
                    connection,
                    &format!("{sum} FROM ({}) GROUP BY step", rows.of_view("resources")),
                )
            }
            (None, AlertMetric::Restarts) => rows.counted(connection, &starts_sql(&rows)),
            (None, AlertMetric::ActiveRequests) => rows.counted(connection, &active_sql(&rows)),
            (None, AlertMetric::StreamAbortRate) => rows.aborted(connection, query.min_requests),
            (None, _) => Ok(Vec::new()),
        })
    }

    /// The newest second of which history has anything; `None` of none. The
    /// daemon was alive until then, if it watched a container.
    ///
    /// # Errors
    /// Too many others wait, or the database cannot be read now.
    pub fn last_second(&self) -> Result<Option<UnixNs>, QueryError> {
        self.snapshot(|connection| {
            let of_table = |tier: &Tier| {
                let table = tier.table;
                format!("SELECT epoch_us(max(start)) AS newest FROM {table}")
            };
            let tiers = TIERS.iter().chain(&RESOURCE_TIERS);
            let seconds = tiers.filter(|tier| tier.width_seconds == 1);
            let newest: Vec<String> = seconds.map(of_table).collect();
            let sql = format!("SELECT max(newest) FROM ({})", newest.join(" UNION ALL "));
            let newest: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
            let newest = newest.and_then(|us| u64::try_from(us).ok());
            Ok(newest.map(|us| UnixNs(us.saturating_mul(1_000))))
        })
    }
}

/// The rows that a figure is made from, and the steps they lie in.
struct Rows {
    range: Range,
    conditions: String,
    values: Vec<Value>,
}

impl Rows {
    fn of(service: Option<&str>, range: Range) -> Self {
        let micros = |second: u64| {
            let us = second.saturating_mul(1_000_000);
            Value::BigInt(i64::try_from(us).unwrap_or(i64::MAX))
        };
        let mut values = vec![micros(range.first), micros(range.end)];
        let mut conditions =
            "start >= make_timestamp($1) AND start < make_timestamp($2)".to_owned();
        if let Some(service) = service {
            values.push(Value::Text(service.to_owned()));
            conditions.push_str(" AND service = $3");
        }
        Self {
            range,
            conditions,
            values,
        }
    }

    /// The rows of a view, with their step.
    fn of_view(&self, view: &str) -> String {
        let step = step_sql(self.range);
        format!(
            "SELECT {step} AS step, * FROM {view} WHERE {}",
            self.conditions
        )
    }

    /// The step and value of each row that `sql` gives.
    fn values(&self, connection: &Connection, sql: &str) -> Result<Figures, QueryError> {
        let mut figures = vec![None; self.range.n_steps_usize()];
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query(params_from_iter(&self.values))?;
        while let Some(row) = rows.next()? {
            let place = usize::try_from(row.get::<_, i64>(0)?).ok();
            if let Some(figure) = place.and_then(|at| figures.get_mut(at)) {
                *figure = row.get(1)?;
            }
        }
        Ok(figures)
    }

    /// The same of what is nothing, and not unknown, while a container ran.
    fn counted(&self, connection: &Connection, sql: &str) -> Result<Figures, QueryError> {
        let sql = format!(
            "SELECT step, sum(value) FROM (SELECT step, value FROM ({sql}) UNION ALL \
             SELECT DISTINCT step, 0.0::DOUBLE FROM ({})) GROUP BY step",
            self.of_view("resources")
        );
        self.values(connection, &sql)
    }

    /// The share of streams whose client went away. Each stream that wrote a
    /// content chunk has its first in the histogram of its row.
    fn aborted(&self, connection: &Connection, min_streams: u64) -> Result<Figures, QueryError> {
        let mut streams = vec![(0_u64, 0_u64); self.range.n_steps_usize()];
        let sql = format!(
            "SELECT step, outcome, first_chunk FROM ({}) WHERE first_chunk IS NOT NULL",
            self.of_view("rollups")
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(&self.values))?;
        while let Some(row) = rows.next()? {
            let place = usize::try_from(row.get::<_, i64>(0)?).ok();
            let Some((n_streams, n_aborted)) = place.and_then(|at| streams.get_mut(at)) else {
                continue;
            };
            let is_aborted = row.get::<_, String>(1)? == Outcome::ClientAborted.as_str();
            visit_encoded(&row.get::<_, Vec<u8>>(2)?, |_, count| {
                *n_streams = n_streams.saturating_add(count);
                *n_aborted = n_aborted.saturating_add(if is_aborted { count } else { 0 });
            })
            .map_err(|error| QueryError::Database(Box::new(error)))?;
        }
        let share = |(n_streams, n_aborted): (u64, u64)| {
            (n_streams >= min_streams.max(1)).then(|| n_aborted as f64 / n_streams as f64)
        };
        Ok(streams.into_iter().map(share).collect())
    }
}

fn level_of(metric: AlertMetric) -> Option<Level> {
    let sum = |of_container, of_service| Level {
        of_container,
        of_service,
    };
    let worst = |of_container| Level {
        of_container,
        of_service: "max(value)",
    };
    Some(match metric {
        AlertMetric::CpuCores => sum("cpu_ns / 1e9", "sum(value) / max(n_seconds)"),
        AlertMetric::MemoryBytes => sum("memory_sum_bytes::DOUBLE", "sum(value) / max(n_seconds)"),
        AlertMetric::CpuShare => {
            worst("cpu_ns / 1e9 / nullif(n_seconds, 0) / nullif(cpu_limit_cores, 0)")
        }
        AlertMetric::ThrottledShare => worst("n_throttled / nullif(n_periods, 0)"),
        AlertMetric::MemoryShare => {
            worst("memory_sum_bytes / nullif(n_seconds, 0) / nullif(memory_limit_bytes, 0)")
        }
        AlertMetric::GpuUtilization => worst("gpu_utilization_sum / nullif(n_seconds, 0)"),
        AlertMetric::GpuMemoryShare => {
            worst("gpu_memory_max_bytes / nullif(gpu_memory_total_bytes, 0)")
        }
        _ => return None,
    })
}

/// The mean of a level over the seconds of each step.
fn level_sql(level: &Level, rows: &Rows) -> String {
    let Level {
        of_container,
        of_service,
    } = level;
    format!(
        "SELECT step, sum(value * n)::DOUBLE / sum(n)::DOUBLE FROM \
         (SELECT step, start, max(n_seconds) AS n, {of_service} AS value FROM \
         (SELECT step, start, n_seconds, {of_container} AS value FROM ({})) \
         WHERE value IS NOT NULL GROUP BY step, start) GROUP BY step",
        rows.of_view("resources"),
    )
}

/// Containers that started, by step.
fn starts_sql(rows: &Rows) -> String {
    let started = TimelineKind::ContainerStarted.as_str();
    let events = "(SELECT happened AS start, kind, service FROM events)";
    format!(
        "SELECT step, count(*)::DOUBLE AS value FROM ({}) WHERE kind = '{started}' GROUP BY step",
        rows.of_view(events),
    )
}

/// Time spent on requests that ended in a step, by its length.
fn active_sql(rows: &Rows) -> String {
    format!(
        "SELECT step, sum(duration_sum_ns)::DOUBLE / 1e9 / {} AS value FROM ({}) GROUP BY step",
        rows.range.step,
        rows.of_view("rollups"),
    )
}
