//! Reads the rows a question is about, and sums them up.

use std::collections::HashMap;

use duckdb::arrow::array::{Array, AsArray};
use duckdb::arrow::datatypes::Int64Type;
use duckdb::types::Value;
use duckdb::{Connection, params_from_iter};
use modeltap_core::histogram::visit_encoded;
use modeltap_core::record::Method;

use crate::dense::Dense;
use crate::plan::Plan;
use crate::query::{GroupBy, MAX_SERIES, MAX_STEPS, Metric, Query, QueryError, Range, Stat};
use crate::schema::{TIERS, Tier};

/// Histograms read at a time: some 6 MB.
const HISTOGRAMS_AT_A_TIME: u64 = 50_000;
const US: u64 = 1_000_000;

/// The rows a query is about. Every value of the user's is a parameter.
pub(crate) struct Filter {
    conditions: String,
    values: Vec<Value>,
    /// The expression that names a row's series.
    pub(crate) name: String,
    /// Whether sums by service say what is asked.
    is_of_services: bool,
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
        filter.is_of_services = query.route.is_none()
            && query.method.is_none()
            && !matches!(query.by, Some(GroupBy::Route | GroupBy::Method));
        filter
    }

    /// Every row of the range, in series named by an expression.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            conditions: "start >= make_timestamp($1) AND start < make_timestamp($2)".into(),
            values: Vec::new(),
            name: name.into(),
            is_of_services: true,
        }
    }

    fn add(&mut self, expression: &str, value: Value) {
        self.values.push(value);
        // $1 and $2 are the range.
        let place = self.values.len() + 2;
        self.conditions
            .push_str(&format!(" AND {expression} = ${place}"));
    }

    /// Where the rows of a range are read.
    pub(crate) fn plan(&self, connection: &Connection, range: Range) -> Result<Plan, QueryError> {
        if self.is_of_services {
            Plan::with_sums(connection, range)
        } else {
            Ok(Plan::of_tiers(&TIERS, range))
        }
    }

    /// `columns` of the rows of a plan.
    pub(crate) fn source(&self, plan: &Plan, columns: &str) -> String {
        let of_part = plan.parts.iter().map(|part| {
            format!(
                "SELECT {columns} FROM {} WHERE {} AND start >= make_timestamp({}) \
                 AND start < make_timestamp({})",
                part.table,
                self.conditions,
                part.first * US,
                part.end * US,
            )
        });
        of_part.collect::<Vec<_>>().join(" UNION ALL ")
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
    if tiers
        .iter()
        .all(|tier| range.step.is_multiple_of(tier.width_seconds))
    {
        return Ok(range);
    }
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
    plan: &Plan,
    range: Range,
) -> Result<Summary, QueryError> {
    let sql = format!(
        "SELECT name, sum(n_requests)::UBIGINT AS n, sum(n_incomplete)::UBIGINT, \
         count(*)::UBIGINT FROM ({}) GROUP BY name ORDER BY n DESC, name",
        filter.source(
            plan,
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

/// What DuckDB adds up of one series in one step.
pub(crate) struct Sums {
    /// The place of its series in [`Summary::parts`].
    pub(crate) part: usize,
    pub(crate) step: usize,
    /// A value each figure.
    pub(crate) values: Vec<Option<f64>>,
}

/// What the range has, by series, as [`summarize`], and counts, sums and
/// maxima of it by step, in one reading.
pub(crate) fn add_up(
    connection: &Connection,
    filter: &Filter,
    plan: &Plan,
    range: Range,
    figures: &[(Metric, Stat)],
) -> Result<(Summary, Vec<Sums>), QueryError> {
    let mut columns = vec!["n_requests", "n_incomplete"];
    let mut values = Vec::new();
    for &(metric, stat) in figures {
        let (of, value): (&[_], _) = match (metric, stat) {
            (Metric::Duration, Stat::Max) => (
                &["duration_max_ns"],
                "max(duration_max_ns) / 1e9".to_owned(),
            ),
            (Metric::Duration, _) => (
                // Requests whose end was lost have no duration.
                &[
                    "duration_sum_ns",
                    "CASE WHEN outcome = 'lost' THEN 0 ELSE n_requests END AS n_timed",
                ],
                "sum(duration_sum_ns)::DOUBLE / nullif(sum(n_timed), 0)::DOUBLE / 1e9".to_owned(),
            ),
            _ => (
                &[metric.column()],
                format!("sum({})::DOUBLE", metric.column()),
            ),
        };
        values.push(value);
        for column in of {
            if !columns.contains(column) {
                columns.push(column);
            }
        }
    }
    let source = format!(
        "{} AS step, {} AS name, {}",
        step_sql(range),
        filter.name,
        columns.join(", ")
    );
    let sql = format!(
        "SELECT name, step, sum(n_requests)::UBIGINT, sum(n_incomplete)::UBIGINT, \
         count(*)::UBIGINT, {} FROM ({}) GROUP BY name, step",
        values.join(", "),
        filter.source(plan, &source),
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(filter.parameters(range)))?;
    let mut parts: Vec<SummaryPart> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut n_rows = 0;
    let mut sums = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let place = places.get(&name).copied().unwrap_or_else(|| {
            parts.push(SummaryPart {
                name: name.clone(),
                n_requests: 0,
                n_incomplete: 0,
            });
            places.insert(name, parts.len() - 1);
            parts.len() - 1
        });
        parts[place].n_requests += row.get::<_, u64>(2)?;
        parts[place].n_incomplete += row.get::<_, u64>(3)?;
        n_rows += row.get::<_, u64>(4)?;
        if let Ok(step) = usize::try_from(row.get::<_, i64>(1)?) {
            let values = (5..5 + figures.len()).map(|column| row.get(column));
            sums.push(Sums {
                part: place,
                step,
                values: values.collect::<duckdb::Result<_>>()?,
            });
        }
    }
    // The busiest first, as a summary is.
    let mut sorted: Vec<(usize, SummaryPart)> = (0..).zip(parts).collect();
    sorted.sort_by(|(_, a), (_, b)| {
        let by_requests = b.n_requests.cmp(&a.n_requests);
        by_requests.then_with(|| a.name.cmp(&b.name))
    });
    let mut places = vec![0; sorted.len()];
    for (place, (found, _)) in sorted.iter().enumerate() {
        places[*found] = place;
    }
    for one in &mut sums {
        one.part = places[one.part];
    }
    let parts = sorted.into_iter().map(|(_, part)| part).collect();
    Ok((Summary { parts, n_rows }, sums))
}

pub(crate) struct Task<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) filter: &'a Filter,
    pub(crate) plan: &'a Plan,
    pub(crate) range: Range,
    /// Places of the series by name; others are left out.
    pub(crate) index: &'a HashMap<&'a str, usize>,
}

impl Task<'_> {
    /// Merges the histograms of `columns` by step and series, and gives each,
    /// with the places of its step, series and column, to `done`.
    ///
    /// The rows are read in slices of time that hold about
    /// [`HISTOGRAMS_AT_A_TIME`], each taken in the order of steps, so that only
    /// the series of one step are in memory whatever the range.
    pub(crate) fn merge(
        &self,
        columns: &[&str],
        n_rows: u64,
        n_series: usize,
        mut done: impl FnMut(usize, usize, usize, &Dense),
    ) -> Result<(), QueryError> {
        let list = columns.join(", ");
        let sql = format!(
            "SELECT step, name, {list} FROM ({})",
            self.filter.source(
                self.plan,
                &format!(
                    "{} AS step, {} AS name, {list}",
                    step_sql(self.range),
                    self.filter.name
                )
            ),
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut open = Open {
            step: 0,
            n_columns: columns.len(),
            merged: (0..n_series * columns.len()).map(|_| None).collect(),
        };
        let mut order = Vec::new();
        for slice in slices(self.range, n_rows * columns.len() as u64) {
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
            for &(step, at, number, row) in &order {
                if step != open.step {
                    open.close(&mut done);
                    open.step = step;
                }
                for column in 0..columns.len() {
                    let histograms = batches[number].column(2 + column).as_binary::<i32>();
                    if histograms.is_valid(row) {
                        open.add(at, column, histograms.value(row))?;
                    }
                }
            }
        }
        open.close(&mut done);
        Ok(())
    }
}

/// The histograms of one step that are being merged.
struct Open {
    step: usize,
    n_columns: usize,
    /// By series, and then by column.
    merged: Vec<Option<Box<Dense>>>,
}

impl Open {
    fn add(&mut self, at: usize, column: usize, encoded: &[u8]) -> Result<(), QueryError> {
        let place = &mut self.merged[at * self.n_columns + column];
        let dense = place.get_or_insert_with(Box::default);
        visit_encoded(encoded, |bucket, count| dense.add(bucket, count))
            .map_err(|error| QueryError::Database(Box::new(error)))
    }

    fn close(&mut self, done: &mut impl FnMut(usize, usize, usize, &Dense)) {
        for (place, merged) in self.merged.iter_mut().enumerate() {
            if let Some(dense) = merged
                && !dense.is_empty()
            {
                let (at, column) = (place / self.n_columns, place % self.n_columns);
                done(self.step, at, column, dense);
                dense.clear();
            }
        }
    }
}

/// Parts of the range, in order, with about [`HISTOGRAMS_AT_A_TIME`] of its
/// histograms each if they are spread evenly.
fn slices(range: Range, n_histograms: u64) -> impl Iterator<Item = Range> {
    let n_slices = n_histograms.div_ceil(HISTOGRAMS_AT_A_TIME).max(1);
    let length = (range.end - range.first).div_ceil(n_slices).max(1);
    (range.first..range.end)
        .step_by(usize::try_from(length).unwrap_or(usize::MAX))
        .map(move |first| Range {
            first,
            end: (first + length).min(range.end),
            ..range
        })
}
