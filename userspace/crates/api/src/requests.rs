//! `GET /api/v1/requests`: recent single requests, a page at a time, in three
//! forms.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use modeltap_api_types as wire;
use modeltap_core::connection::Transport;
use serde_json::Value;

use crate::convert;
use crate::error::ApiError;
use crate::extract::Parameters;
use crate::format::{Cell, Csv, Format, ndjson};
use crate::query::{RequestFilter, RequestParameters};
use crate::rest;
use crate::state::Sources;

/// The columns of the table: the fields of a request under their own names,
/// those inside another with both.
const COLUMNS: &[&str] = &[
    "service",
    "container",
    "method",
    "route",
    "status",
    "outcome",
    "completeness",
    "started_unix_ms",
    "duration",
    "ttfb",
    "queue",
    "felt",
    "read",
    "app",
    "stream",
    "drain",
    "request_body_bytes",
    "response_body_bytes",
    "peer_address",
    "peer_port",
    "local_port",
    "transport",
    "connection",
    "sequence",
    "started_monotonic_ns",
    "ended_monotonic_ns",
    "arrived_unix_ms",
    "arrived_monotonic_ns",
    "streamed",
    "stream_format",
    "n_chunks",
    "first_chunk",
    "chunk_interval.p50",
    "chunk_interval.p95",
    "chunk_interval.p99",
    "chunk_interval.max",
    "chunk_pace",
    "n_stalls",
    "after_abort",
    "operation",
    "model",
    "input_tokens",
    "output_tokens",
];

/// Recent single requests, newest first.
///
/// Pages are stable: a request that finishes meanwhile moves nothing. The
/// header `Link` and, in JSON, `next` lead to the next page.
#[utoipa::path(
    get,
    path = "/api/v1/requests",
    tag = "live",
    params(RequestParameters),
    responses((
        status = 200,
        description = "A page. NDJSON has a request a line; CSV a column a field, those inside others \
                       with both names, and an apostrophe before text that begins as a formula.",
        headers(("Link" = String, description = "The next page, as `rel=\"next\"`, where there is one.")),
        content(
            (wire::Requests = "application/json"),
            (wire::Request = "application/x-ndjson"),
            (String = "text/csv"),
        )
    ))
)]
pub async fn requests(
    State(sources): State<Sources>,
    Parameters(parameters): Parameters<RequestParameters>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = Format::choose(parameters.format.as_deref(), &headers)?;
    let run = sources.daemon.borrow().started.millis();
    let filter = parameters.parse(run)?;
    let found = match filter.transport {
        Transport::Tcp => rest::recent(&sources).await?,
        Transport::Unix => rest::recent_inner(&sources).await?,
    };
    let (requests, next) = page(&found, &filter, run);
    let link = next.as_deref().and_then(|next| link(raw.as_deref(), next));
    let mut response = match format {
        Format::Json => {
            let mut response = Json(wire::Requests { requests, next }).into_response();
            let vary = HeaderValue::from_static("accept");
            response.headers_mut().insert(header::VARY, vary);
            response
        }
        Format::Ndjson => ndjson(requests)?,
        Format::Csv => table(&requests)?.into_response("requests.csv"),
    };
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// The requests of one page and where the next begins, if there is one.
fn page(
    found: &[std::sync::Arc<modeltap_metrics::FinishedRequest>],
    filter: &RequestFilter,
    run: u64,
) -> (Vec<wire::Request>, Option<String>) {
    let mut admitted = found
        .iter()
        .filter(|request| request.number < filter.before && filter.admits(request));
    let page: Vec<_> = admitted.by_ref().take(filter.limit).collect();
    let next = admitted
        .next()
        .and(page.last())
        .map(|last| format!("{run}-{}", last.number));
    let requests = page.into_iter().map(|request| convert::request(request));
    (requests.collect(), next)
}

/// Where the next page is (RFC 8288), with everything else that was asked for.
fn link(raw: Option<&str>, next: &str) -> Option<HeaderValue> {
    let mut query: Vec<&str> = raw.unwrap_or_default().split('&').collect();
    query.retain(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let cursor = format!("cursor={next}");
    query.push(&cursor);
    let target = format!("</api/v1/requests?{}>; rel=\"next\"", query.join("&"));
    HeaderValue::from_str(&target).ok()
}

fn table(requests: &[wire::Request]) -> Result<Csv, ApiError> {
    let mut table = Csv::new(COLUMNS.iter().copied());
    for request in requests {
        let fields =
            serde_json::to_value(request).map_err(|error| ApiError::Internal(error.to_string()))?;
        table.row(COLUMNS.iter().map(|column| cell(&fields, column)));
    }
    Ok(table)
}

fn cell<'a>(fields: &'a Value, column: &str) -> Cell<'a> {
    column
        .split('.')
        .try_fold(fields, |value, name| value.get(name))
        .map_or(Cell::Empty, Cell::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_request_is_a_column() {
        let request = wire::Request {
            route: "=cmd|' /C calc'!A0".to_owned(),
            duration: 0.25,
            chunk_interval: Some(wire::IntervalFigures {
                max: 2.5,
                ..wire::IntervalFigures::default()
            }),
            ..wire::Request::default()
        };
        let fields = serde_json::to_value(&request).unwrap();
        let mut names = Vec::new();
        for (name, value) in fields.as_object().unwrap() {
            match value.as_object() {
                Some(inner) => names.extend(inner.keys().map(|key| format!("{name}.{key}"))),
                None => names.push(name.clone()),
            }
        }
        names.sort();
        let mut columns: Vec<_> = COLUMNS.to_vec();
        columns.sort_unstable();
        assert_eq!(columns, names);

        let text = table(&[request]).unwrap().text().to_owned();
        let row = text.lines().nth(1).unwrap();
        assert!(row.starts_with(",,,\"'=cmd|' /C calc'!A0\",,"), "{row}");
        assert!(row.contains(",0.25,") && row.contains(",2.5,"), "{row}");
    }

    #[test]
    fn link_keeps_what_was_asked_and_replaces_the_cursor() {
        for (raw, expected) in [
            (None, "cursor=5-9"),
            (
                Some("service=a%26b&cursor=5-20&limit=2"),
                "service=a%26b&limit=2&cursor=5-9",
            ),
        ] {
            assert_eq!(
                link(raw, "5-9").unwrap(),
                format!("</api/v1/requests?{expected}>; rel=\"next\"")
            );
        }
    }
}
