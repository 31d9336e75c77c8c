//! Answers from history.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use duckdb::{Connection, params_from_iter};
use modeltap_core::time::UnixNs;

use crate::query::{
    Metric, Query, QueryError, QueryResult, QuerySeries, Range, ServiceOverview, Stat,
};
use crate::scan::{Filter, Task, summarize, widen};
use crate::schema::TIERS;
use crate::shared::{Shared, Stats};
use crate::{resources, watch};

/// Longest a query may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
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
        let range = query.range()?;
        self.snapshot(|connection| match query.metric {
            Metric::Resource(metric) => resources::answer(connection, query, metric, range),
            _ => answer(connection, query, range),
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

fn answer(connection: &Connection, query: &Query, range: Range) -> Result<QueryResult, QueryError> {
    let filter = Filter::new(query);
    let range = widen(connection, &filter, &TIERS, range)?;
    let summary = summarize(connection, &filter, range)?;
    let names = summary.names();
    let mut series = QuerySeries::empty(&names, range);
    if !names.is_empty() {
        let index = index_of(&names);
        let task = Task {
            connection,
            filter: &filter,
            range,
            index: &index,
        };
        match (query.metric, query.stat) {
            (Metric::Duration, Stat::Max | Stat::Avg) => task.scalars(query, &mut series)?,
            (metric, _) if metric.is_count() => task.scalars(query, &mut series)?,
            _ => task.histograms(query, summary.n_rows, &mut series)?,
        }
    }
    Ok(QueryResult {
        n_series_left_out: summary.parts.len() - names.len(),
        n_requests: summary.n_requests(),
        n_incomplete: summary.n_incomplete(),
        ..QueryResult::of(query, range, series)
    })
}

fn index_of(names: &[String]) -> HashMap<&str, usize> {
    let places = names.iter().enumerate();
    places.map(|(at, name)| (name.as_str(), at)).collect()
}

fn overview(connection: &Connection, range: Range) -> Result<Vec<ServiceOverview>, QueryError> {
    let filter = Filter::named("service");
    let sql = format!(
        "SELECT service, sum(n_requests)::UBIGINT, sum(n_errors)::UBIGINT, \
         sum(n_incomplete)::UBIGINT, sum(duration_sum_ns)::DOUBLE / nullif(sum(n), 0)::DOUBLE, \
         max(duration_max_ns), count(*)::UBIGINT FROM ({}) GROUP BY 1 ORDER BY 1 LIMIT {MAX_SERVICES}",
        filter.source(
            &TIERS,
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
        range,
        index: &index,
    };
    task.merge("duration", n_rows, names.len(), |_, at, merged| {
        let service = &mut services[at];
        let quantile = |q| Some(merged.quantile(q)?.min(service.max?));
        (service.p50, service.p95, service.p99) = (quantile(0.5), quantile(0.95), quantile(0.99));
    })?;
    Ok(services)
}
