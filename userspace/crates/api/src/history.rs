//! The past: series, heatmaps, single requests, events and SQL.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use modeltap_api_types as wire;
use modeltap_core::exemplar::ExemplarReason;
use modeltap_core::time::UnixNs;
use modeltap_core::timeline::TimelineKind;
use modeltap_store::{
    EventQuery, ExemplarQuery, ExportFormat, ExportTable, MAX_KEPT, QueryError, Reader,
};
use serde::Deserialize;

use crate::error::ApiError;
use crate::extract::{self, Parameters};
use crate::format::{Cell, Csv, Format, ndjson};
use crate::query::{self, DEFAULT_RANGE_MS, QueryParameters, bad, from_millis, time};
use crate::state::Sources;
use crate::{cache, convert};

/// Exemplars or events that are given if nothing is said.
const DEFAULT_KEPT: usize = 200;

/// What a parameter of a path may be, where that is a list.
pub fn values_of(path: &str, parameter: &str) -> Option<Vec<&'static str>> {
    match (path, parameter) {
        ("/api/v1/heatmap", "metric") => {
            let mut times = query::values_of("/api/v1/query", "metric")?;
            times.retain(|name| {
                let is_time = QueryParameters {
                    metric: Some((*name).to_owned()),
                    ..QueryParameters::default()
                };
                is_time.parse(1).is_ok_and(|query| query.metric.is_time())
            });
            Some(times)
        }
        ("/api/v1/exemplars", "reason") => Some(vec!["slow", "failed"]),
        ("/api/v1/events", "kind") => Some(TimelineKind::ALL.map(TimelineKind::as_str).to_vec()),
        ("/api/v1/export", "table") => Some(ExportTable::ALL.map(ExportTable::as_str).to_vec()),
        ("/api/v1/export", "format") => Some(ExportFormat::ALL.map(ExportFormat::as_str).to_vec()),
        ("/api/v1/heatmap" | "/api/v1/exemplars" | "/api/v1/events", _) => {
            query::values_of("/api/v1/query", parameter)
        }
        _ => None,
    }
}

/// Time series of history.
///
/// CSV and NDJSON have a row a value, those without left out.
#[utoipa::path(
    get,
    path = "/api/v1/query",
    tag = "history",
    params(QueryParameters),
    responses(
        (
            status = 200,
            description = "A value a step; a range that is over may be kept.",
            content(
                (wire::QueryResult = "application/json"),
                (String = "application/x-ndjson"),
                (String = "text/csv"),
            )
        ),
        (status = 500, description = "The history could not be read."),
    )
)]
pub async fn query(
    State(sources): State<Sources>,
    Parameters(parameters): Parameters<QueryParameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = Format::choose(parameters.format.as_deref(), &headers)?;
    let now = now_ms();
    // A range that moves with the time is never over.
    let is_closed = parameters.has_range();
    let more = parameters.further()?;
    let query = parameters.parse(now)?;
    let (asked, figures) = (query.clone(), more.clone());
    let read = move |history: &Reader| history.figures(&asked, &figures);
    let mut results = ask(&sources, read).await?.into_iter();
    let first = results.next().expect("the question itself is answered");
    let mut result = convert::query_result(&query, first);
    let further = more.into_iter().zip(results);
    result.more = further
        .map(|(figure, answer)| convert::query_figure(figure, answer))
        .collect();
    let has_more = !result.more.is_empty();
    let mut response = match format {
        Format::Json => json(&result),
        Format::Ndjson => ndjson(values(&result).map(|row| {
            let mut told = serde_json::json!({
                "at_unix_ms": row.at, "series": row.series, "value": row.value
            });
            if has_more {
                told["metric"] = row.metric.into();
                told["stat"] = row.stat.into();
            }
            told
        }))?,
        Format::Csv if has_more => {
            let mut table = Csv::new(["at", "series", "value", "metric", "stat"]);
            for row in values(&result) {
                let (metric, stat) = (row.metric.into(), row.stat.into());
                table.row([
                    instant(row.at),
                    row.series.into(),
                    row.value.into(),
                    metric,
                    stat,
                ]);
            }
            table.into_response("query.csv")
        }
        Format::Csv => {
            let mut table = Csv::new(["at", "series", "value"]);
            for row in values(&result) {
                table.row([instant(row.at), row.series.into(), row.value.into()]);
            }
            table.into_response("query.csv")
        }
    };
    if is_closed {
        cache::settle(&mut response, query.to.millis(), now);
    }
    Ok(response)
}

/// A value of a time series.
struct Told<'a> {
    at: u64,
    series: &'a str,
    value: f64,
    metric: &'a str,
    stat: &'a str,
}

/// Each value there is.
fn values(result: &wire::QueryResult) -> impl Iterator<Item = Told<'_>> {
    let step = u64::from(result.step_seconds) * 1_000;
    let first = (&*result.metric, &*result.stat, &result.series);
    let more = result.more.iter();
    let more = more.map(|figure| (&*figure.metric, &*figure.stat, &figure.series));
    let lines = std::iter::once(first).chain(more);
    let lines = lines.flat_map(|(metric, stat, series)| {
        let of_figure = move |series| (metric, stat, series);
        series.iter().map(of_figure)
    });
    lines.flat_map(move |(metric, stat, line): (_, _, &wire::QuerySeries)| {
        let steps = (result.from_unix_ms..).step_by(usize::try_from(step.max(1)).unwrap_or(1));
        let steps = steps.zip(&line.values);
        steps.filter_map(move |(at, value)| {
            Some(Told {
                at,
                series: &line.name,
                value: (*value)?,
                metric,
                stat,
            })
        })
    })
}

/// Parameters of `/heatmap`, as they came.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeatmapParameters {
    /// A time of each request.
    #[param(default = "duration", example = "felt")]
    metric: Option<String>,
    /// Beginning of the range: Unix milliseconds or RFC 3339; an hour before
    /// `to` if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    from: Option<String>,
    /// End of the range, likewise; now if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    to: Option<String>,
    /// Length of a step: seconds, or a number with `ms`, `s`, `m`, `h` or `d`;
    /// at least a second. A 240th of the range if it is left out.
    #[param(pattern = "^[0-9]{1,9}(\\.[0-9]{1,9})?(ms|s|m|h|d)?$", example = "1m")]
    step: Option<String>,
    /// Only of this service.
    service: Option<String>,
    /// Only of the container with this name.
    container: Option<String>,
    /// Only of this route template.
    route: Option<String>,
    /// Only with this method.
    method: Option<String>,
    /// Only with a status of this class.
    status_class: Option<String>,
    /// The answer's form; comes before the header `Accept`.
    #[param(default = "json", example = "json")]
    format: Option<String>,
}

/// How often which durations were seen when.
///
/// Eight rows an octave, made of whole buckets of the stored histograms, from
/// the first to the last that has a request; fewer rows an octave where there
/// would be more than 200,000 cells. CSV and NDJSON have a row a cell that is
/// not zero.
#[utoipa::path(
    get,
    path = "/api/v1/heatmap",
    tag = "history",
    params(HeatmapParameters),
    responses(
        (
            status = 200,
            description = "Counts by step of time and row of duration.",
            content(
                (wire::Heatmap = "application/json"),
                (String = "application/x-ndjson"),
                (String = "text/csv"),
            )
        ),
        (status = 500, description = "The history could not be read."),
    )
)]
pub async fn heatmap(
    State(sources): State<Sources>,
    Parameters(parameters): Parameters<HeatmapParameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = Format::choose(parameters.format.as_deref(), &headers)?;
    let now = now_ms();
    let parameters = QueryParameters {
        metric: Some(parameters.metric.unwrap_or_else(|| "duration".to_owned())),
        from: parameters.from,
        to: parameters.to,
        step: parameters.step,
        service: parameters.service,
        container: parameters.container,
        route: parameters.route,
        method: parameters.method,
        status_class: parameters.status_class,
        ..QueryParameters::default()
    };
    let is_closed = parameters.has_range();
    let query = parameters.parse(now)?;
    let asked = query.clone();
    let map = ask(&sources, move |history| history.heatmap(&asked)).await?;
    let map = convert::history::heatmap(query.metric, map);
    let mut response = match format {
        Format::Json => json(&map),
        Format::Ndjson => ndjson(cells(&map).map(|(at, low, high, n)| {
            serde_json::json!({ "at_unix_ms": at, "low": low, "high": high, "n_requests": n })
        }))?,
        Format::Csv => {
            let mut table = Csv::new(["at", "low", "high", "n_requests"]);
            for (at, low, high, n) in cells(&map) {
                table.row([instant(at), low.into(), high.into(), Cell::Whole(n)]);
            }
            table.into_response("heatmap.csv")
        }
    };
    if is_closed {
        cache::settle(&mut response, query.to.millis(), now);
    }
    Ok(response)
}

/// Instant, bounds and count of each cell that is not zero.
fn cells(map: &wire::Heatmap) -> impl Iterator<Item = (u64, f64, f64, u64)> {
    let step = u64::from(map.step_seconds) * 1_000;
    let steps = (0..).zip(&map.counts);
    steps.flat_map(move |(n, counts)| {
        let cells = map.bounds.windows(2).zip(counts);
        let cells = cells.filter(|(_, count)| **count > 0);
        cells.map(move |(row, count)| (map.from_unix_ms + n * step, row[0], row[1], *count))
    })
}

/// Parameters of `/exemplars`, as they came.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExemplarParameters {
    /// Only of this service.
    service: Option<String>,
    /// Only of the container with this name.
    container: Option<String>,
    /// Only of this route template.
    route: Option<String>,
    /// Only those kept for this reason.
    reason: Option<String>,
    /// Only those that finished then or later: Unix milliseconds or RFC 3339;
    /// an hour before `to` if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    from: Option<String>,
    /// Only those that finished before, likewise; now if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    to: Option<String>,
    /// Most of them.
    #[param(minimum = 1, maximum = 2000, default = 200, example = 20)]
    limit: Option<usize>,
    /// The answer's form; comes before the header `Accept`.
    #[param(default = "json", example = "json")]
    format: Option<String>,
}

/// The slowest and the failed single requests of each minute.
///
/// The slow ones come first, the slowest of them first; then the failed ones,
/// the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/exemplars",
    tag = "history",
    params(ExemplarParameters),
    responses(
        (
            status = 200,
            description = "Those that were kept.",
            content(
                (wire::Exemplars = "application/json"),
                (wire::Exemplar = "application/x-ndjson"),
                (String = "text/csv"),
            )
        ),
        (status = 500, description = "The history could not be read."),
    )
)]
pub async fn exemplars(
    State(sources): State<Sources>,
    Parameters(parameters): Parameters<ExemplarParameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = Format::choose(parameters.format.as_deref(), &headers)?;
    let reason = match parameters.reason.as_deref() {
        None => None,
        Some(name) => {
            let reason = ExemplarReason::parse(name);
            Some(reason.ok_or_else(|| bad("reason", name, "slow or failed"))?)
        }
    };
    let (from, to) = range(parameters.from.as_deref(), parameters.to.as_deref())?;
    let query = ExemplarQuery {
        service: parameters.service,
        container: parameters.container,
        route: parameters.route,
        reason,
        from,
        to,
        limit: limit(parameters.limit)?,
    };
    let kept = ask(&sources, move |history| history.exemplars(&query)).await?;
    let exemplars = kept.into_iter().map(convert::history::exemplar);
    let exemplars: Vec<_> = exemplars.collect();
    match format {
        Format::Json => Ok(json(&wire::Exemplars { exemplars })),
        Format::Ndjson => ndjson(exemplars),
        Format::Csv => {
            const COLUMNS: [&str; 19] = [
                "service",
                "container",
                "method",
                "route",
                "status",
                "outcome",
                "completeness",
                "duration",
                "ttfb",
                "felt",
                "queue",
                "read",
                "app",
                "stream",
                "drain",
                "request_body_bytes",
                "response_body_bytes",
                "peer_address",
                "peer_port",
            ];
            let mut table = Csv::new(["started", "reason"].into_iter().chain(COLUMNS));
            for exemplar in &exemplars {
                let fields = serde_json::to_value(&exemplar.request);
                let fields = fields.map_err(|error| ApiError::Internal(error.to_string()))?;
                let first = [
                    instant(exemplar.request.started_unix_ms),
                    exemplar.reason.as_str().into(),
                ];
                let others = COLUMNS.iter().map(|column| Cell::from(&fields[*column]));
                table.row(first.into_iter().chain(others));
            }
            Ok(table.into_response("exemplars.csv"))
        }
    }
}

/// Parameters of `/events`, as they came.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventParameters {
    /// Only of this service; the daemon's own have none.
    service: Option<String>,
    /// Only of this kind.
    kind: Option<String>,
    /// Only what happened then or later: Unix milliseconds or RFC 3339; an hour
    /// before `to` if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    from: Option<String>,
    /// Only what happened before, likewise; now if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    to: Option<String>,
    /// Most of them.
    #[param(minimum = 1, maximum = 2000, default = 200, example = 20)]
    limit: Option<usize>,
    /// The answer's form; comes before the header `Accept`.
    #[param(default = "json", example = "json")]
    format: Option<String>,
}

/// What happened to containers, alerts, history and the daemon, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "history",
    params(EventParameters),
    responses(
        (
            status = 200,
            description = "What happened.",
            content(
                (wire::Events = "application/json"),
                (wire::Event = "application/x-ndjson"),
                (String = "text/csv"),
            )
        ),
        (status = 500, description = "The history could not be read."),
    )
)]
pub async fn events(
    State(sources): State<Sources>,
    Parameters(parameters): Parameters<EventParameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = Format::choose(parameters.format.as_deref(), &headers)?;
    let kind = match parameters.kind.as_deref() {
        None => None,
        Some(name) => {
            let names = || TimelineKind::ALL.map(TimelineKind::as_str).join(", ");
            let kind = TimelineKind::parse(name);
            Some(kind.ok_or_else(|| bad("kind", name, &names()))?)
        }
    };
    let (from, to) = range(parameters.from.as_deref(), parameters.to.as_deref())?;
    let query = EventQuery {
        service: parameters.service,
        kind,
        from,
        to,
        limit: limit(parameters.limit)?,
    };
    let happened = ask(&sources, move |history| history.events(&query)).await?;
    let events: Vec<_> = happened.into_iter().map(convert::history::event).collect();
    match format {
        Format::Json => Ok(json(&wire::Events { events })),
        Format::Ndjson => ndjson(events),
        Format::Csv => {
            let mut table = Csv::new(["at", "kind", "service", "container", "detail"]);
            for event in &events {
                table.row([
                    instant(event.at_unix_ms),
                    event.kind.as_str().into(),
                    event.service.as_deref().into(),
                    event.container.as_deref().into(),
                    event.detail.as_str().into(),
                ]);
            }
            Ok(table.into_response("events.csv"))
        }
    }
}

/// SQL over the history.
///
/// One SELECT, in DuckDB's dialect, over the tables that `SHOW TABLES` names.
/// It reads history and nothing else: no files, no settings. It has 5 s and
/// some memory, and is told 10,000 rows.
#[utoipa::path(
    post,
    path = "/api/v1/sql",
    tag = "history",
    request_body = wire::SqlRequest,
    responses(
        (status = 200, description = "The rows.", body = wire::SqlResult),
        (status = 500, description = "The history could not be read."),
    )
)]
pub async fn sql(
    State(sources): State<Sources>,
    _: Parameters<extract::NoParameters>,
    extract::Body(request): extract::Body<wire::SqlRequest>,
) -> Result<Json<wire::SqlResult>, ApiError> {
    let answer = ask(&sources, move |history| history.sql(&request.sql)).await?;
    Ok(Json(convert::history::sql(answer)))
}

/// Asks history, away from the threads of the runtime, for DuckDB blocks.
pub(crate) async fn ask<T: Send + 'static>(
    sources: &Sources,
    question: impl FnOnce(&Reader) -> Result<T, QueryError> + Send + 'static,
) -> Result<T, ApiError> {
    let history = sources
        .history
        .clone()
        .ok_or_else(|| ApiError::Unavailable("there is no history in a replay".to_owned()))?;
    let answered = tokio::task::spawn_blocking(move || question(&history)).await;
    let answer = answered.map_err(|error| ApiError::Store(error.to_string()))?;
    Ok(answer?)
}

fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// The last hour, but for what is given.
pub(crate) fn range(from: Option<&str>, to: Option<&str>) -> Result<(UnixNs, UnixNs), ApiError> {
    let to = to.map_or(Ok(now_ms()), |text| time("to", text))?;
    let earlier = to.saturating_sub(DEFAULT_RANGE_MS);
    let from = from.map_or(Ok(earlier), |text| time("from", text))?;
    if from >= to {
        return Err(ApiError::BadRequest(format!(
            "from is not before to: {from} and {to}"
        )));
    }
    Ok((from_millis(from), from_millis(to)))
}

fn limit(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit.unwrap_or(DEFAULT_KEPT) {
        limit if (1..=MAX_KEPT).contains(&limit) => Ok(limit),
        limit => Err(bad("limit", &limit.to_string(), "1 to 2000")),
    }
}

fn json(value: &impl serde::Serialize) -> Response {
    let mut response = Json(value).into_response();
    let vary = HeaderValue::from_static("accept");
    response.headers_mut().insert(header::VARY, vary);
    response
}

/// An instant as RFC 3339.
fn instant(unix_ms: u64) -> Cell<'static> {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).map_or(Cell::Empty, |at| at.to_string().into())
}

#[cfg(test)]
mod tests;
