//! Answers from history.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duckdb::arrow::array::{Array, AsArray};
use duckdb::arrow::datatypes::Int64Type;
use duckdb::types::Value;
use duckdb::{Connection, params_from_iter};
use modeltap_core::histogram::{MAX_NS, bucket_bounds_ns, bucket_of, visit_encoded};
use modeltap_core::record::Method;
use modeltap_core::time::UnixNs;

use crate::query::{
    GroupBy, MAX_SERIES, MAX_STEPS, Metric, Query, QueryError, QueryResult, QuerySeries, Range,
    ServiceOverview, Stat,
};
use crate::schema::TIERS;
use crate::shared::{Shared, Stats};

/// Longest a query may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Rows with histograms read at a time: some 6 MB.
const ROWS_AT_A_TIME: u64 = 50_000;
/// Services in an overview.
const MAX_SERVICES: usize = 1_000;
const US: u64 = 1_000_000;

/// Answers questions about history. Cheap to clone; every call blocks, for at
/// most some seconds.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// Answers `query` from what is committed.
    ///
    /// # Errors
    /// The question is invalid, takes too long, or the database cannot be
    /// read now.
    pub fn query(&self, query: &Query) -> Result<QueryResult, QueryError> {
        let range = query.range()?;
        let deadline = Deadline::new();
        let place = self.shared.reader();
        let connection = place.as_ref().ok_or(QueryError::Unavailable)?;

        let filter = Filter::new(query);
        let (range, summary) = summarize(connection, &filter, range)?;
        let names = summary.names();
        let n_steps = usize::try_from(range.n_steps()).expect("steps are bounded");
        let mut series: Vec<QuerySeries> = names
            .iter()
            .map(|name| QuerySeries {
                name: name.clone(),
                values: vec![None; n_steps],
            })
            .collect();
        if !names.is_empty() {
            let index: HashMap<&str, usize> = names
                .iter()
                .enumerate()
                .map(|(at, name)| (name.as_str(), at))
                .collect();
            let task = Task {
                connection,
                filter: &filter,
                range,
                index: &index,
                deadline,
            };
            match (query.metric, query.stat) {
                (Metric::Duration, Stat::Max | Stat::Avg) => task.scalars(query, &mut series)?,
                (metric, _) if metric.is_count() => task.scalars(query, &mut series)?,
                _ => task.histograms(query, summary.n_rows, &mut series)?,
            }
        }
        Ok(QueryResult {
            unit: query.unit(),
            from: UnixNs(range.first * 1_000_000_000),
            step: Duration::from_secs(range.step),
            n_steps,
            n_series_left_out: summary.parts.len() - names.len(),
            series,
            n_requests: summary.parts.iter().map(|part| part.n_requests).sum(),
            n_incomplete: summary.parts.iter().map(|part| part.n_incomplete).sum(),
        })
    }

    /// Every service with requests from `from` to before `to`, by name.
    ///
    /// # Errors
    /// The range is empty, it takes too long, or the database cannot be read
    /// now.
    pub fn overview(&self, from: UnixNs, to: UnixNs) -> Result<Vec<ServiceOverview>, QueryError> {
        if from >= to {
            return Err(QueryError::Invalid("from lies at or after to".into()));
        }
        let deadline = Deadline::new();
        let place = self.shared.reader();
        let connection = place.as_ref().ok_or(QueryError::Unavailable)?;
        let filter = Filter {
            conditions: String::new(),
            values: Vec::new(),
            name: "service".into(),
        };
        let step = (to.0 - from.0).div_ceil(1_000_000_000).max(1);
        let first = from.seconds();
        let range = Range {
            first,
            end: first + step,
            step,
        };

        let sql = format!(
            "SELECT service, sum(n_requests)::UBIGINT, sum(n_errors)::UBIGINT, \
             sum(n_incomplete)::UBIGINT, sum(duration_sum_ns)::DOUBLE / nullif(sum(n), 0)::DOUBLE, \
             max(duration_max_ns), count(*)::UBIGINT FROM ({}) GROUP BY 1 ORDER BY 1 LIMIT {MAX_SERVICES}",
            filter.source(
                "service, n_requests, n_errors, n_incomplete, duration_sum_ns, duration_max_ns, \
                 CASE WHEN outcome = 'lost' THEN 0 ELSE n_requests END AS n"
            ),
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(filter.parameters(range)))?;
        let mut services = Vec::new();
        let mut n_rows = 0;
        while let Some(row) = rows.next()? {
            let n_requests: u64 = row.get(1)?;
            let avg_ns: Option<f64> = row.get(4)?;
            n_rows += row.get::<_, u64>(6)?;
            services.push(ServiceOverview {
                service: row.get(0)?,
                n_requests,
                n_errors: row.get(2)?,
                n_incomplete: row.get(3)?,
                avg: avg_ns.map(|ns| Duration::from_nanos(ns as u64)),
                p50: None,
                p95: None,
                p99: None,
                max: (n_requests > 0).then_some(Duration::from_nanos(row.get(5)?)),
            });
        }
        let names: Vec<String> = services
            .iter()
            .map(|service| service.service.clone())
            .collect();
        let index = names
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), at))
            .collect();
        let task = Task {
            connection,
            filter: &filter,
            range,
            index: &index,
            deadline,
        };
        task.merge("duration", n_rows, names.len(), |_, at, merged| {
            let service = &mut services[at];
            let quantile = |q| Some(merged.quantile(q)?.min(service.max?));
            (service.p50, service.p95, service.p99) =
                (quantile(0.5), quantile(0.95), quantile(0.99));
        })?;
        Ok(services)
    }

    /// The store's own state.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn new() -> Self {
        Self(Instant::now() + TIME_LIMIT)
    }

    fn check(self) -> Result<(), QueryError> {
        if Instant::now() > self.0 {
            Err(QueryError::TooSlow(TIME_LIMIT))
        } else {
            Ok(())
        }
    }
}

/// The rows a query is about. Every value of the user's is a parameter.
struct Filter {
    conditions: String,
    values: Vec<Value>,
    /// The expression that names a row's series.
    name: String,
}

impl Filter {
    fn new(query: &Query) -> Self {
        let name = match query.by {
            None => "''",
            Some(GroupBy::Service) => "service",
            Some(GroupBy::Container) => "container",
            Some(GroupBy::Route) => "route",
            Some(GroupBy::Method) => "coalesce(method, '')",
            Some(GroupBy::StatusClass) => "coalesce((status // 100)::VARCHAR || 'xx', 'none')",
        };
        let mut filter = Self {
            conditions: String::new(),
            values: Vec::new(),
            name: name.into(),
        };
        let texts = [
            ("service", query.service.clone()),
            ("container", query.container.clone()),
            ("route", query.route.clone()),
            (
                "method",
                query.method.map(|method| Method::as_str(method).to_owned()),
            ),
        ];
        for (column, text) in texts {
            if let Some(text) = text {
                filter.add(column, Value::Text(text));
            }
        }
        if let Some(class) = query.status_class {
            filter.add("status // 100", Value::USmallInt(u16::from(class)));
        }
        filter
    }

    fn add(&mut self, expression: &str, value: Value) {
        self.values.push(value);
        // $1 and $2 are the range.
        let place = self.values.len() + 2;
        self.conditions
            .push_str(&format!(" AND {expression} = ${place}"));
    }

    /// `columns` of the rows of every tier, the oldest tier first.
    fn source(&self, columns: &str) -> String {
        let of_tier = TIERS.iter().rev().map(|tier| {
            format!(
                "SELECT {columns} FROM {} \
                 WHERE start >= make_timestamp($1) AND start < make_timestamp($2){}",
                tier.table, self.conditions
            )
        });
        of_tier.collect::<Vec<_>>().join(" UNION ALL ")
    }

    fn parameters(&self, range: Range) -> Vec<Value> {
        let micros = |seconds: u64| Value::BigInt(i64::try_from(seconds * US).unwrap_or(i64::MAX));
        let mut parameters = vec![micros(range.first), micros(range.end)];
        parameters.extend(self.values.iter().cloned());
        parameters
    }
}

/// What a range has, by series.
struct Summary {
    /// Series, those with most requests first.
    parts: Vec<SummaryPart>,
    n_rows: u64,
}

struct SummaryPart {
    name: String,
    n_requests: u64,
    n_incomplete: u64,
}

impl Summary {
    fn names(&self) -> Vec<String> {
        self.parts
            .iter()
            .take(MAX_SERIES)
            .map(|part| part.name.clone())
            .collect()
    }
}

/// Sums up the range, after making its steps as wide as its widest windows.
fn summarize(
    connection: &Connection,
    filter: &Filter,
    range: Range,
) -> Result<(Range, Summary), QueryError> {
    let mut range = range;
    for tier in TIERS.iter().rev() {
        // Widened, the range may begin in an older tier: that one is asked
        // about first, and wider steps are multiples of narrower ones.
        let sql = format!(
            "SELECT count(*) > 0 FROM (SELECT 1 FROM {} WHERE start >= make_timestamp($1) \
             AND start < make_timestamp($2){} LIMIT 1)",
            tier.table, filter.conditions
        );
        let widened = range.widened(tier.width_seconds);
        let parameters = params_from_iter(filter.parameters(widened));
        let has_rows: bool = connection.query_row(&sql, parameters, |row| row.get(0))?;
        if has_rows {
            range = widened;
            break;
        }
    }
    if range.n_steps() > MAX_STEPS {
        let text = "the range has too many steps";
        return Err(QueryError::Invalid(text.into()));
    }
    let sql = format!(
        "SELECT name, sum(n_requests)::UBIGINT AS n, sum(n_incomplete)::UBIGINT, \
         count(*)::UBIGINT FROM ({}) GROUP BY name ORDER BY n DESC, name",
        filter.source(&format!(
            "{} AS name, n_requests, n_incomplete",
            filter.name
        )),
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(filter.parameters(range)))?;
    let mut summary = Summary {
        parts: Vec::new(),
        n_rows: 0,
    };
    while let Some(row) = rows.next()? {
        let part = SummaryPart {
            name: row.get(0)?,
            n_requests: row.get(1)?,
            n_incomplete: row.get(2)?,
        };
        summary.n_rows += row.get::<_, u64>(3)?;
        summary.parts.push(part);
    }
    Ok((range, summary))
}

struct Task<'a> {
    connection: &'a Connection,
    filter: &'a Filter,
    range: Range,
    /// Places of the series by name; others are left out.
    index: &'a HashMap<&'a str, usize>,
    deadline: Deadline,
}

impl Task<'_> {
    fn step_sql(&self) -> String {
        let Range { first, step, .. } = self.range;
        format!("(epoch_us(start) - {}) // {}", first * US, step * US)
    }

    /// Counts, sums and maxima, which DuckDB adds up.
    fn scalars(&self, query: &Query, series: &mut [QuerySeries]) -> Result<(), QueryError> {
        let column = query.metric.column();
        let (columns, value) = match (query.metric, query.stat) {
            (Metric::Duration, Stat::Max) => {
                ("duration_max_ns", "max(duration_max_ns) / 1e9".to_owned())
            }
            (Metric::Duration, _) => (
                // Requests whose end was lost have no duration.
                "duration_sum_ns, CASE WHEN outcome = 'lost' THEN 0 ELSE n_requests END AS n",
                "sum(duration_sum_ns)::DOUBLE / nullif(sum(n), 0)::DOUBLE / 1e9".to_owned(),
            ),
            _ => (column, format!("sum({column})::DOUBLE")),
        };
        let sql = format!(
            "SELECT step, name, {value} FROM ({}) GROUP BY step, name",
            self.filter.source(&format!(
                "{} AS step, {} AS name, {columns}",
                self.step_sql(),
                self.filter.name
            )),
        );
        let scale = match query.stat {
            Stat::Rate => 1.0 / self.range.step as f64,
            _ => 1.0,
        };
        if matches!(query.stat, Stat::Rate | Stat::Count) {
            for one in series.iter_mut() {
                one.values.fill(Some(0.0));
            }
        }
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(self.filter.parameters(self.range)))?;
        while let Some(row) = rows.next()? {
            let step: i64 = row.get(0)?;
            let name: String = row.get(1)?;
            let value: Option<f64> = row.get(2)?;
            let place = self.index.get(name.as_str());
            if let (Some(&at), Ok(step), Some(value)) = (place, usize::try_from(step), value)
                && let Some(slot) = series[at].values.get_mut(step)
            {
                *slot = Some(value * scale);
            }
        }
        self.deadline.check()
    }

    /// Quantiles and the like, from merged histograms.
    fn histograms(
        &self,
        query: &Query,
        n_rows: u64,
        series: &mut [QuerySeries],
    ) -> Result<(), QueryError> {
        let n_series = series.len();
        self.merge(
            query.metric.column(),
            n_rows,
            n_series,
            |step, at, merged| {
                let value = match query.stat {
                    Stat::Quantile(q) => merged.quantile(q).map(|at| at.as_secs_f64()),
                    Stat::Max => merged.quantile(1.0).map(|at| at.as_secs_f64()),
                    _ => merged.mean(),
                };
                if let Some(slot) = series[at].values.get_mut(step) {
                    *slot = value;
                }
            },
        )
    }

    /// Merges the histograms of `column` by step and series, and gives each to
    /// `done`.
    ///
    /// The rows are read in slices of time that hold about [`ROWS_AT_A_TIME`],
    /// each sorted by step, so that only the series of one step are in memory
    /// whatever the range.
    fn merge(
        &self,
        column: &str,
        n_rows: u64,
        n_series: usize,
        mut done: impl FnMut(usize, usize, &Dense),
    ) -> Result<(), QueryError> {
        let sql = format!(
            "SELECT step, name, histogram FROM ({}) ORDER BY step",
            self.filter.source(&format!(
                "{} AS step, {} AS name, {column} AS histogram",
                self.step_sql(),
                self.filter.name
            )),
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut open: Vec<Option<Box<Dense>>> = (0..n_series).map(|_| None).collect();
        let mut step = 0;
        for slice in slices(self.range, n_rows) {
            let batches = statement.query_arrow(params_from_iter(self.filter.parameters(slice)))?;
            for batch in batches {
                let steps = batch.column(0).as_primitive::<Int64Type>();
                let names = batch.column(1).as_string::<i32>();
                let histograms = batch.column(2).as_binary::<i32>();
                for row in 0..batch.num_rows() {
                    let Some(&at) = self.index.get(names.value(row)) else {
                        continue;
                    };
                    let Ok(row_step) = usize::try_from(steps.value(row)) else {
                        continue;
                    };
                    if row_step != step {
                        close(&mut open, step, &mut done);
                        step = row_step;
                    }
                    if histograms.is_valid(row) {
                        let dense = open[at].get_or_insert_with(Box::default);
                        visit_encoded(histograms.value(row), |bucket, count| {
                            dense.add(bucket, count);
                        })
                        .map_err(|error| QueryError::Database(Box::new(error)))?;
                    }
                }
            }
            self.deadline.check()?;
        }
        close(&mut open, step, &mut done);
        Ok(())
    }
}

fn close(
    open: &mut [Option<Box<Dense>>],
    step: usize,
    done: &mut impl FnMut(usize, usize, &Dense),
) {
    for (at, place) in open.iter_mut().enumerate() {
        if let Some(dense) = place
            && !dense.is_empty()
        {
            done(step, at, dense);
            dense.clear();
        }
    }
}

/// Parts of the range, in order, with about [`ROWS_AT_A_TIME`] of its rows
/// each if they are spread evenly.
fn slices(range: Range, n_rows: u64) -> impl Iterator<Item = Range> {
    let n_slices = n_rows.div_ceil(ROWS_AT_A_TIME).max(1);
    let length = (range.end - range.first).div_ceil(n_slices).max(1);
    (range.first..range.end)
        .step_by(usize::try_from(length).unwrap_or(usize::MAX))
        .map(move |first| Range {
            first,
            end: (first + length).min(range.end),
            ..range
        })
}

/// Every bucket in its place: adding is one store.
struct Dense {
    counts: Box<[u64]>,
    /// Buckets with counts lie in here.
    low: usize,
    high: usize,
}

impl Default for Dense {
    fn default() -> Self {
        let n_buckets = usize::from(bucket_of(MAX_NS)) + 1;
        Self {
            counts: vec![0; n_buckets].into(),
            low: n_buckets,
            high: 0,
        }
    }
}

impl Dense {
    fn add(&mut self, bucket: u16, count: u64) {
        let at = usize::from(bucket);
        self.counts[at] = self.counts[at].saturating_add(count);
        self.low = self.low.min(at);
        self.high = self.high.max(at + 1);
    }

    fn is_empty(&self) -> bool {
        self.low >= self.high
    }

    fn clear(&mut self) {
        if !self.is_empty() {
            self.counts[self.low..self.high].fill(0);
        }
        (self.low, self.high) = (self.counts.len(), 0);
    }

    fn buckets(&self) -> impl Iterator<Item = (u16, u64)> {
        let filled = self.low..self.high.max(self.low);
        filled
            .map(|at| (u16::try_from(at).expect("buckets are u16"), self.counts[at]))
            .filter(|(_, count)| *count > 0)
    }

    /// As `DurationHistogram::quantile`: nearest rank, middle of the bucket.
    fn quantile(&self, q: f64) -> Option<Duration> {
        let total: u64 = self.buckets().map(|(_, count)| count).sum();
        let rank = ((q * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets() {
            seen += count;
            if seen >= rank {
                return Some(middle(bucket));
            }
        }
        None
    }

    /// Mean in seconds, right to half a bucket's width.
    fn mean(&self) -> Option<f64> {
        let total: u64 = self.buckets().map(|(_, count)| count).sum();
        let sum: f64 = self
            .buckets()
            .map(|(bucket, count)| middle(bucket).as_secs_f64() * count as f64)
            .sum();
        (total > 0).then(|| sum / total as f64)
    }
}

fn middle(bucket: u16) -> Duration {
    let (low, high) = bucket_bounds_ns(bucket);
    Duration::from_nanos(low + (high - low) / 2)
}
