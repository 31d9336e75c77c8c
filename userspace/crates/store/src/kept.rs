//! Single requests that were kept, and events.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use duckdb::types::Value;
use duckdb::{Row, params_from_iter};
use modeltap_core::exemplar::{Exemplar, ExemplarReason};
use modeltap_core::record::{Completeness, Method, Outcome};
use modeltap_core::time::UnixNs;
use modeltap_core::timeline::{TimelineEvent, TimelineKind};

use crate::query::QueryError;
use crate::reader::Reader;
use crate::rows::micros;
use crate::schema::{EVENT_COLUMNS, EXEMPLAR_COLUMNS};

/// Most exemplars or events that an answer gives.
pub const MAX_KEPT: usize = 2_000;

/// Which single requests are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemplarQuery {
    /// Only this service.
    pub service: Option<String>,
    /// Only the container of this name.
    pub container: Option<String>,
    /// Only this route template.
    pub route: Option<String>,
    /// Only those kept for this reason.
    pub reason: Option<ExemplarReason>,
    /// Finished at or after.
    pub from: UnixNs,
    /// Finished before.
    pub to: UnixNs,
    /// As many at most; [`MAX_KEPT`] in any case.
    pub limit: usize,
}

/// Which events are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Only this service's.
    pub service: Option<String>,
    /// Only of this kind.
    pub kind: Option<TimelineKind>,
    /// Happened at or after.
    pub from: UnixNs,
    /// Happened before.
    pub to: UnixNs,
    /// As many at most; [`MAX_KEPT`] in any case.
    pub limit: usize,
}

/// Conditions on one table, with every value of the user's as a parameter.
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    fn of_range(column: &str, from: UnixNs, to: UnixNs) -> Result<Self, QueryError> {
        if from >= to {
            return Err(QueryError::Invalid("from lies at or after to".into()));
        }
        Ok(Self {
            sql: format!("{column} >= make_timestamp($1) AND {column} < make_timestamp($2)"),
            values: vec![Value::BigInt(micros(from)), Value::BigInt(micros(to))],
        })
    }

    fn only(&mut self, column: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.values.push(Value::Text(value.into()));
            self.sql
                .push_str(&format!(" AND {column} = ${}", self.values.len()));
        }
    }
}

impl Reader {
    /// The slow requests, the slowest first, then the failed ones, the newest
    /// first.
    ///
    /// # Errors
    /// The range is empty, it takes too long, too many others wait, or the
    /// database cannot be read now.
    pub fn exemplars(&self, query: &ExemplarQuery) -> Result<Vec<Exemplar>, QueryError> {
        let mut conditions = Conditions::of_range("finished", query.from, query.to)?;
        conditions.only("service", query.service.as_deref());
        conditions.only("container", query.container.as_deref());
        conditions.only("route", query.route.as_deref());
        conditions.only("reason", query.reason.map(ExemplarReason::as_str));
        let sql = format!(
            "SELECT epoch_us(finished), epoch_us(started), {} FROM exemplars WHERE {} \
             ORDER BY reason DESC, CASE WHEN reason = 'slow' THEN duration_ns END DESC NULLS LAST, \
             finished DESC LIMIT {}",
            EXEMPLAR_COLUMNS[2..].join(", "),
            conditions.sql,
            query.limit.min(MAX_KEPT),
        );
        self.snapshot(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(&conditions.values), exemplar)?;
            Ok(rows.collect::<duckdb::Result<_>>()?)
        })
    }

    /// What happened, the newest first.
    ///
    /// # Errors
    /// The range is empty, it takes too long, too many others wait, or the
    /// database cannot be read now.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<TimelineEvent>, QueryError> {
        let [at, kind, ..] = EVENT_COLUMNS;
        let mut conditions = Conditions::of_range(at, query.from, query.to)?;
        conditions.only("service", query.service.as_deref());
        conditions.only(kind, query.kind.map(TimelineKind::as_str));
        let sql = format!(
            "SELECT epoch_us({at}), {} FROM events WHERE {} ORDER BY {at} DESC LIMIT {}",
            EVENT_COLUMNS[1..].join(", "),
            conditions.sql,
            query.limit.min(MAX_KEPT),
        );
        self.snapshot(|connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(&conditions.values), event)?;
            let mut events = Vec::new();
            for row in rows {
                // A kind of a later version is not known here.
                events.extend(row?);
            }
            Ok(events)
        })
    }
}

fn event(row: &Row<'_>) -> duckdb::Result<Option<TimelineEvent>> {
    let kind: String = row.get(1)?;
    let Some(kind) = TimelineKind::parse(&kind) else {
        return Ok(None);
    };
    Ok(Some(TimelineEvent {
        at: time(row, 0)?,
        kind,
        service: row.get::<_, Option<String>>(2)?.map(Arc::from),
        container: row.get::<_, Option<String>>(3)?.map(Arc::from),
        detail: row.get(4)?,
    }))
}

fn exemplar(row: &Row<'_>) -> duckdb::Result<Exemplar> {
    let text = |column: usize| row.get::<_, String>(column);
    let time_of = |column: usize| -> duckdb::Result<Option<Duration>> {
        let ns: Option<u64> = row.get(column)?;
        Ok(ns.map(Duration::from_nanos))
    };
    let completeness = text(9)?;
    Ok(Exemplar {
        finished: time(row, 0)?,
        started: time(row, 1)?,
        reason: ExemplarReason::parse(&text(2)?).unwrap_or(ExemplarReason::Slow),
        service: text(3)?.into(),
        container: text(4)?.into(),
        route: text(5)?.into(),
        method: row
            .get::<_, Option<String>>(6)?
            .map(|method| Method::parse(&method)),
        status: row.get(7)?,
        outcome: Outcome::parse(&text(8)?).unwrap_or(Outcome::Lost),
        completeness: [Completeness::Whole, Completeness::Truncated]
            .into_iter()
            .find(|known| known.as_str() == completeness)
            .unwrap_or(Completeness::Gap),
        streamed: row.get(10)?,
        duration: time_of(11)?,
        time_to_first_byte: time_of(12)?,
        felt: time_of(13)?,
        queue: time_of(14)?,
        read: time_of(15)?,
        app: time_of(16)?,
        stream: time_of(17)?,
        drain: time_of(18)?,
        first_chunk: time_of(19)?,
        n_chunks: row.get(20)?,
        request_body_bytes: row.get(21)?,
        response_body_bytes: row.get(22)?,
        peer: text(23)?
            .parse()
            .unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
        local_port: row.get(24)?,
    })
}

fn time(row: &Row<'_>, column: usize) -> duckdb::Result<UnixNs> {
    let us: i64 = row.get(column)?;
    Ok(UnixNs(u64::try_from(us).unwrap_or(0).saturating_mul(1_000)))
}
