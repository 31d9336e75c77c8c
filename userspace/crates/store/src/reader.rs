//! Answers from history.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use duckdb::{Connection, params_from_iter};
use modeltap_core::time::UnixNs;

use crate::query::{
    Metric, Query, QueryError, QueryResult, QuerySeries, Range, ServiceOverview, Stat,
};
use crate::scan::{Filter, Task, add_up, summarize, widen};
use crate::schema::TIERS;
use crate::shared::{Shared, Stats};
use crate::{resources, watch};

/// Longest a query may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Figures of one question.
pub const MAX_FIGURES: usize = 20;
/// Services in an overview.
const MAX_SERVICES: usize = 1_000;

/// Answers questions about history. Cheap to clone; every call blocks, for at
/// most some seconds, and is refused as [`QueryError::Busy`] where too many
/// others wait.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// Answers `query` from what is committed.
    ///
    /// # Errors
    /// The question is invalid, takes too long, too many others wait, or the
    /// database cannot be read now.
    pub fn query(&self, query: &Query) -> Result<QueryResult, QueryError> {
        let mut results = self.figures(query, &[])?;
        Ok(results.swap_remove(0))
    }

    /// Answers `query`, and the same question about `more` of the same
    /// requests, one answer each, all of one state and read at once.
    ///
    /// # Errors
    /// As [`Self::query`]; resources are not of requests, and stand alone.
    pub fn figures(
        &self,
        query: &Query,
        more: &[(Metric, Stat)],
    ) -> Result<Vec<QueryResult>, QueryError> {
        let mut range = query.range()?;
        let mut asked = vec![query.clone()];
        for &(metric, stat) in more {
            let also = Query {
                metric,
                stat,
                ..query.clone()
            };
            range = also.range()?;
            asked.push(also);
        }
        let is_resource = |query: &Query| matches!(query.metric, Metric::Resource(_));
        if asked.len() > 1 && asked.iter().any(is_resource) {
            let text = "what containers used is asked for by itself";
            return Err(QueryError::Invalid(text.into()));
        }
        if asked.len() > MAX_FIGURES {
            let text = format!("at most {MAX_FIGURES} figures are told at once");
            return Err(QueryError::Invalid(text));
        }
        self.snapshot(|connection| match query.metric {
            Metric::Resource(metric) => {
                Ok(vec![resources::answer(connection, query, metric, range)?])
            }
            _ => answer(connection, &asked, range),
        })
    }

    /// Every service with requests from `from` to before `to`, by name.
    ///
    /// # Errors
    /// The range is empty, it takes too long, too many others wait, or the
    /// database cannot be read now.
    pub fn overview(&self, from: UnixNs, to: UnixNs) -> Result<Vec<ServiceOverview>, QueryError> {
        if from >= to {
            return Err(QueryError::Invalid("from lies at or after to".into()));
        }
        let step = (to.0 - from.0).div_ceil(1_000_000_000).max(1);
        let first = from.seconds();
        let range = Range {
            first,
            end: first + step,
            step,
        };
        self.snapshot(|connection| overview(connection, range))
    }

    /// The store's own state.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Does `work` on one state of the database, within the limit of time.
    ///
    /// Rows move from tier to tier while a question is read in several pieces:
    /// in one transaction each is seen once.
    pub(crate) fn snapshot<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let connection = self.shared.readers.take()?;
        watch::within(TIME_LIMIT, &connection, || {
            connection.execute_batch("BEGIN TRANSACTION READ ONLY")?;
            let result = work(&connection);
            // Nothing was written; a failed transaction wants no other end.
            connection.execute_batch("ROLLBACK")?;
            result
        })
    }
}

/// Answers questions that differ only in the figure.
fn answer(
    connection: &Connection,
    asked: &[Query],
    range: Range,
) -> Result<Vec<QueryResult>, QueryError> {
    let filter = Filter::new(&asked[0]);
    let range = widen(connection, &filter, &TIERS, range)?;
    let plan = filter.plan(connection, range)?;
    let counted: Vec<usize> = (0..asked.len())
        .filter(|n| !asked[*n].is_merged())
        .collect();
    let (summary, sums) = if counted.is_empty() {
        (summarize(connection, &filter, &plan, range)?, Vec::new())
    } else {
        let figures = counted.iter().map(|n| (asked[*n].metric, asked[*n].stat));
        let figures: Vec<_> = figures.collect();
        add_up(connection, &filter, &plan, range, &figures)?
    };
    let names = summary.names();
    let of_query = |query| QueryResult {
        n_series_left_out: summary.parts.len() - names.len(),
        n_requests: summary.n_requests(),
        n_incomplete: summary.n_incomplete(),
        ..QueryResult::of(query, range, QuerySeries::empty(&names, range))
    };
    let mut results: Vec<QueryResult> = asked.iter().map(of_query).collect();
    if names.is_empty() {
        return Ok(results);
    }
    for (figure, &n) in counted.iter().enumerate() {
        let series = &mut results[n].series;
        let scale = match asked[n].stat {
            Stat::Rate => 1.0 / range.step as f64,
            _ => 1.0,
        };
        if asked[n].metric.is_count() {
            series.iter_mut().for_each(|one| one.values.fill(Some(0.0)));
        }
        for one in &sums {
            let value = one.values[figure];
            if let (Some(line), Some(value)) = (series.get_mut(one.part), value)
                && let Some(slot) = line.values.get_mut(one.step)
            {
                *slot = Some(value * scale);
            }
        }
    }
    let mut columns = Vec::new();
    for query in asked.iter().filter(|query| query.is_merged()) {
        if !columns.contains(&query.metric.column()) {
            columns.push(query.metric.column());
        }
    }
    if columns.is_empty() {
        return Ok(results);
    }
    let index = index_of(&names);
    let task = Task {
        connection,
        filter: &filter,
        plan: &plan,
        range,
        index: &index,
    };
    let of_column = |place: usize| {
        let column = columns[place];
        let is_of = move |query: &Query| query.is_merged() && query.metric.column() == column;
        (0..asked.len()).filter(move |n| is_of(&asked[*n]))
    };
    task.merge(
        &columns,
        summary.n_rows,
        names.len(),
        |step, at, column, merged| {
            for n in of_column(column) {
                let value = match asked[n].stat {
                    Stat::Quantile(q) => merged.quantile(q).map(|at| at.as_secs_f64()),
                    Stat::Max => merged.quantile(1.0).map(|at| at.as_secs_f64()),
                    _ => merged.mean(),
                };
                if let Some(slot) = results[n].series[at].values.get_mut(step) {
                    *slot = value;
                }
            }
        },
    )?;
    Ok(results)
}

fn index_of(names: &[String]) -> HashMap<&str, usize> {
    let places = names.iter().enumerate();
    places.map(|(at, name)| (name.as_str(), at)).collect()
}

fn overview(connection: &Connection, range: Range) -> Result<Vec<ServiceOverview>, QueryError> {
    let filter = Filter::named("service");
    let plan = filter.plan(connection, range)?;
    let sql = format!(
        "SELECT service, sum(n_requests)::UBIGINT, sum(n_errors)::UBIGINT, \
         sum(n_incomplete)::UBIGINT, sum(duration_sum_ns)::DOUBLE / nullif(sum(n), 0)::DOUBLE, \
         max(duration_max_ns), count(*)::UBIGINT FROM ({}) GROUP BY 1 ORDER BY 1 LIMIT {MAX_SERVICES}",
        filter.source(
            &plan,
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
    let index = index_of(&names);
    let task = Task {
        connection,
        filter: &filter,
        plan: &plan,
        range,
        index: &index,
    };
    task.merge(&["duration"], n_rows, names.len(), |_, at, _, merged| {
        let service = &mut services[at];
        let quantile = |q| Some(merged.quantile(q)?.min(service.max?));
        (service.p50, service.p95, service.p99) = (quantile(0.5), quantile(0.95), quantile(0.99));
    })?;
    Ok(services)
}
