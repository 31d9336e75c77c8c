//! Reads the rows a question is about, and sums them up.

use std::collections::HashMap;

use duckdb::arrow::array::{Array, AsArray};
use duckdb::arrow::datatypes::Int64Type;
use duckdb::types::Value;
use duckdb::{Connection, params_from_iter};
use modeltap_core::histogram::visit_encoded;
use modeltap_core::record::Method;

use crate::dense::Dense;
use crate::query::{
    GroupBy, MAX_SERIES, MAX_STEPS, Metric, Query, QueryError, QuerySeries, Range, Stat,
};
use crate::schema::{TIERS, Tier};

/// Rows with histograms read at a time: some 6 MB.
const ROWS_AT_A_TIME: u64 = 50_000;
const US: u64 = 1_000_000;

/// The rows a query is about. Every value of the user's is a parameter.
pub(crate) struct Filter {
    conditions: String,
    values: Vec<Value>,
    /// The expression that names a row's series.
    pub(crate) name: String,
}

impl Filter {
    pub(crate) fn new(query: &Query) -> Self {
        let name = match query.by {
            None => "''",
            Some(GroupBy::Service) => "service",
            Some(GroupBy::Container) => "container",
            Some(GroupBy::Route) => "route",
            Some(GroupBy::Method) => "coalesce(method, '')",
            Some(GroupBy::StatusClass) => "coalesce((status // 100)::VARCHAR || 'xx', 'none')",
        };
        let mut filter = Self::named(name);
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

    /// Every row of the range, in series named by an expression.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            conditions: "start >= make_timestamp($1) AND start < make_timestamp($2)".into(),
            values: Vec::new(),
            name: name.into(),
        }
    }

    fn add(&mut self, expression: &str, value: Value) {
        self.values.push(value);
        // $1 and $2 are the range.
        let place = self.values.len() + 2;
        self.conditions
            .push_str(&format!(" AND {expression} = ${place}"));
    }

    /// `columns` of the rows of these tiers, the oldest first.
    pub(crate) fn source(&self, tiers: &[Tier], columns: &str) -> String {
        let of_tier = tiers.iter().rev().map(|tier| {
            format!(
                "SELECT {columns} FROM {} WHERE {}",
                tier.table, self.conditions
            )
        });
        of_tier.collect::<Vec<_>>().join(" UNION ALL ")
    }

    pub(crate) fn parameters(&self, range: Range) -> Vec<Value> {
        let micros = |seconds: u64| Value::BigInt(i64::try_from(seconds * US).unwrap_or(i64::MAX));
        let mut parameters = vec![micros(range.first), micros(range.end)];
        parameters.extend(self.values.iter().cloned());
        parameters
    }
}

/// The place of a row's step.
pub(crate) fn step_sql(range: Range) -> String {
    let Range { first, step, .. } = range;
    format!("(epoch_us(start) - {}) // {}", first * US, step * US)
}

/// What a range has, by series.
pub(crate) struct Summary {
    /// Series, those with most requests first.
    pub(crate) parts: Vec<SummaryPart>,
    pub(crate) n_rows: u64,
}

pub(crate) struct SummaryPart {
    pub(crate) name: String,
    pub(crate) n_requests: u64,
    pub(crate) n_incomplete: u64,
}

impl Summary {
    pub(crate) fn n_requests(&self) -> u64 {
        self.parts.iter().map(|part| part.n_requests).sum()
    }

    pub(crate) fn n_incomplete(&self) -> u64 {
        self.parts.iter().map(|part| part.n_incomplete).sum()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.parts
            .iter()
            .take(MAX_SERIES)
            .map(|part| part.name.clone())
            .collect()
    }
}

/// The range in steps as wide as its widest windows.
pub(crate) fn widen(
    connection: &Connection,
    filter: &Filter,
    tiers: &[Tier],
    range: Range,
) -> Result<Range, QueryError> {
    let mut widest = range;
    for tier in tiers.iter().rev() {
        // Widened, the range may begin in an older tier: that one is asked
        // about first, and wider steps are multiples of narrower ones.
        let sql = format!(
            "SELECT count(*) > 0 FROM (SELECT 1 FROM {} WHERE {} LIMIT 1)",
            tier.table, filter.conditions
        );
        let widened = range.widened(tier.width_seconds);
        let parameters = params_from_iter(filter.parameters(widened));
        let has_rows: bool = connection.query_row(&sql, parameters, |row| row.get(0))?;
        if has_rows {
            widest = widened;
            break;
        }
    }
    if widest.n_steps() > MAX_STEPS {
        let text = "the range has too many steps";
        return Err(QueryError::Invalid(text.into()));
    }
    Ok(widest)
}

/// What the range has, by series.
pub(crate) fn summarize(
    connection: &Connection,
    filter: &Filter,
    range: Range,
) -> Result<Summary, QueryError> {
    let sql = format!(
        "SELECT name, sum(n_requests)::UBIGINT AS n, sum(n_incomplete)::UBIGINT, \
         count(*)::UBIGINT FROM ({}) GROUP BY name ORDER BY n DESC, name",
        filter.source(
            &TIERS,
            &format!("{} AS name, n_requests, n_incomplete", filter.name)
        ),
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
    Ok(summary)
}

pub(crate) struct Task<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) filter: &'a Filter,
    pub(crate) range: Range,
    /// Places of the series by name; others are left out.
    pub(crate) index: &'a HashMap<&'a str, usize>,
}

impl Task<'_> {
    /// Counts, sums and maxima, which DuckDB adds up.
    pub(crate) fn scalars(
        &self,
        query: &Query,
        series: &mut [QuerySeries],
    ) -> Result<(), QueryError> {
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
            self.filter.source(
                &TIERS,
                &format!(
                    "{} AS step, {} AS name, {columns}",
                    step_sql(self.range),
                    self.filter.name
                )
            ),
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
        Ok(())
    }

    /// Quantiles and the like, from merged histograms.
    pub(crate) fn histograms(
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
    /// each taken in the order of steps, so that only the series of one step are in memory
    /// whatever the range.
    pub(crate) fn merge(
        &self,
        column: &str,
        n_rows: u64,
        n_series: usize,
        mut done: impl FnMut(usize, usize, &Dense),
    ) -> Result<(), QueryError> {
        let sql = format!(
            "SELECT step, name, histogram FROM ({})",
            self.filter.source(
                &TIERS,
                &format!(
                    "{} AS step, {} AS name, {column} AS histogram",
                    step_sql(self.range),
                    self.filter.name
                )
            ),
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut open: Vec<Option<Box<Dense>>> = (0..n_series).map(|_| None).collect();
        let mut step = 0;
        let mut order = Vec::new();
        for slice in slices(self.range, n_rows) {
            let batches = statement.query_arrow(params_from_iter(self.filter.parameters(slice)))?;
            let batches: Vec<_> = batches.collect();
            // Sorted here, for DuckDB would move the histograms too.
            order.clear();
            for (number, batch) in batches.iter().enumerate() {
                let steps = batch.column(0).as_primitive::<Int64Type>();
                let names = batch.column(1).as_string::<i32>();
                for row in 0..batch.num_rows() {
                    let at = self.index.get(names.value(row));
                    if let (Some(&at), Ok(step)) = (at, usize::try_from(steps.value(row))) {
                        order.push((step, at, number, row));
                    }
                }
            }
            order.sort_unstable();
            for &(row_step, at, number, row) in &order {
                if row_step != step {
                    close(&mut open, step, &mut done);
                    step = row_step;
                }
                let histograms = batches[number].column(2).as_binary::<i32>();
                if histograms.is_valid(row) {
                    let dense = open[at].get_or_insert_with(Box::default);
                    visit_encoded(histograms.value(row), |bucket, count| {
                        dense.add(bucket, count);
                    })
                    .map_err(|error| QueryError::Database(Box::new(error)))?;
                }
            }
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
