//! What history tells, as the wire has it.

use modeltap_api_types as wire;
use modeltap_core::exemplar::Exemplar;
use modeltap_core::timeline::TimelineEvent;
use modeltap_store::{Counts, Heatmap, Metric, SqlAnswer, SqlValue};

use super::{metric, seconds};

/// How often which durations were seen when.
pub fn heatmap(asked: Metric, map: Heatmap) -> wire::Heatmap {
    let bounds = map.bounds.iter();
    wire::Heatmap {
        metric: metric(asked).to_owned(),
        from_unix_ms: map.from.millis(),
        step_seconds: u32::try_from(map.step.as_secs()).unwrap_or(u32::MAX),
        bounds: bounds.map(|bound| bound.as_secs_f64()).collect(),
        counts: map.counts,
        n_requests: map.n_requests,
        n_incomplete: map.n_incomplete,
    }
}

/// A request that was kept.
pub fn exemplar(kept: Exemplar) -> wire::Exemplar {
    wire::Exemplar {
        reason: kept.reason.as_str().to_owned(),
        request: wire::Request {
            service: kept.service.to_string(),
            container: kept.container.to_string(),
            method: kept.method.map(|method| method.as_str().to_owned()),
            route: kept.route.to_string(),
            status: kept.status,
            outcome: kept.outcome.as_str().to_owned(),
            completeness: kept.completeness.as_str().to_owned(),
            streamed: kept.streamed,
            peer_address: kept.peer.ip().to_string(),
            peer_port: kept.peer.port(),
            local_port: kept.local_port,
            started_unix_ms: kept.started.millis(),
            // Of a request whose end was lost it is what was seen of it.
            duration: kept.duration.map_or_else(
                || kept.finished.0.saturating_sub(kept.started.0) as f64 / 1e9,
                |duration| duration.as_secs_f64(),
            ),
            ttfb: seconds(kept.time_to_first_byte),
            felt: seconds(kept.felt),
            queue: seconds(kept.queue),
            read: seconds(kept.read),
            app: seconds(kept.app),
            stream: seconds(kept.stream),
            drain: seconds(kept.drain),
            first_chunk: seconds(kept.first_chunk),
            n_chunks: kept.n_chunks,
            request_body_bytes: kept.request_body_bytes,
            response_body_bytes: kept.response_body_bytes,
            ..wire::Request::default()
        },
    }
}

/// Something that happened.
pub fn event(event: TimelineEvent) -> wire::Event {
    wire::Event {
        at_unix_ms: event.at.millis(),
        kind: event.kind.as_str().to_owned(),
        service: event.service.map(|name| name.to_string()),
        container: event.container.map(|name| name.to_string()),
        detail: event.detail,
    }
}

/// The answer to SQL.
pub fn sql(answer: SqlAnswer) -> wire::SqlResult {
    let columns = answer.columns.into_iter();
    let rows = answer.rows.into_iter();
    wire::SqlResult {
        columns: columns
            .map(|(name, kind)| wire::SqlColumn { name, kind })
            .collect(),
        rows: rows
            .map(|row| row.into_iter().map(sql_value).collect())
            .collect(),
        truncated: answer.truncated,
        elapsed_seconds: answer.elapsed.as_secs_f64(),
    }
}

fn sql_value(value: SqlValue) -> wire::SqlValue {
    match value {
        SqlValue::Null => wire::SqlValue::Null,
        SqlValue::Bool(truth) => wire::SqlValue::Bool(truth),
        SqlValue::Integer(number) => wire::SqlValue::Integer(number),
        SqlValue::Unsigned(number) => wire::SqlValue::Unsigned(number),
        // JSON has no other numbers.
        SqlValue::Float(number) if number.is_finite() => wire::SqlValue::Float(number),
        SqlValue::Float(number) => wire::SqlValue::Text(number.to_string()),
        SqlValue::Text(text) => wire::SqlValue::Text(text),
    }
}

/// Rows by kind.
pub fn rows(counts: &Counts) -> wire::StoreRows {
    wire::StoreRows {
        rollups: counts.rollups,
        resources: counts.resources,
        exemplars: counts.exemplars,
        events: counts.events,
        alerts: counts.alerts,
        deliveries: counts.deliveries,
    }
}
