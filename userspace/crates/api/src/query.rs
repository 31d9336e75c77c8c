//! Parameters of `/query` and `/requests`, read into types that have only
//! valid values.

use std::time::Duration;

use jiff::Timestamp;
use modeltap_api_types::RequestSelection;
use modeltap_core::connection::Transport;
use modeltap_core::measure::Measure;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::time::UnixNs;
use modeltap_metrics::FinishedRequest;
use modeltap_store::{GroupBy, MAX_FIGURES, MAX_STEPS, Metric, Query, ResourceMetric, Stat};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::convert;
use crate::error::ApiError;

/// Most requests that `/requests` gives.
const MAX_REQUESTS: usize = 2_000;
/// Requests that `/requests` gives if nothing is said.
const DEFAULT_REQUESTS: usize = 100;
/// Range of `/query` if no `from` is given.
pub(crate) const DEFAULT_RANGE_MS: u64 = 60 * 60 * 1_000;
/// Steps of `/query` if no `step` is given: as many as a chart shows.
const DEFAULT_STEPS: u64 = 240;
/// The beginning of 2200: what is counted in smaller units still fits.
const LAST_MS: u64 = 7_258_118_400_000;
/// Longest step or duration that can be asked for.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// What `/query` tells of metrics.
const STATS: &[&str] = &[
    "rate", "count", "p50", "p90", "p95", "p99", "p999", "max", "avg",
];
/// By what `/query` tells series apart.
const BY: &[&str] = &["service", "container", "route", "method", "status_class"];
/// Classes of statuses.
const CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a parameter of a path may be, where that is a list.
pub fn values_of(path: &str, parameter: &str) -> Option<Vec<&'static str>> {
    match path {
        "/api/v1/query" | "/api/v1/requests" => {}
        _ => return crate::history::values_of(path, parameter),
    }
    match parameter {
        "metric" => {
            let of_requests = METRICS.split([',', ' ']).filter(|name| name.len() > 2);
            let of_resources = ResourceMetric::ALL.map(ResourceMetric::as_str);
            Some(of_requests.chain(of_resources).collect())
        }
        "stat" => Some(STATS.to_vec()),
        "by" => Some(BY.to_vec()),
        "status_class" => Some(CLASSES.to_vec()),
        "method" => Some(Method::ALL.map(Method::as_str).to_vec()),
        "outcome" => Some(Outcome::ALL.map(Outcome::as_str).to_vec()),
        "transport" => Some(vec!["tcp", "unix"]),
        "format" => Some(vec!["json", "ndjson", "csv"]),
        _ => None,
    }
}

/// What `/query` can tell of.
const METRICS: &str = "requests, errors, duration, ttfb, felt, queue, read, app, stream, drain, \
                       first_chunk, chunk_interval, chunks, stalls, input_tokens or \
                       output_tokens";

/// Parameters of `/requests`, as they came.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestParameters {
    /// Only of this service.
    #[param(example = "chat")]
    service: Option<String>,
    /// Only of the container with this name.
    container: Option<String>,
    /// Only of this route template, as `/items/{id}`.
    #[param(example = "/v1/chat/completions")]
    route: Option<String>,
    /// Only with this status, as `404`, or of this class, as `4xx`.
    #[param(pattern = "^([1-5]xx|[1-5][0-9]{2})$", example = "5xx")]
    status: Option<String>,
    /// Only with this outcome.
    #[param(example = "client_aborted")]
    outcome: Option<String>,
    /// Requests over TCP, or the inner hops over UNIX sockets.
    #[param(default = "tcp")]
    transport: Option<String>,
    /// Only those that took at least this long, first byte of the request read
    /// to last byte of the response written: seconds, or a number with `ms`,
    /// `s`, `m`, `h` or `d`.
    #[param(
        pattern = "^[0-9]{1,9}(\\.[0-9]{1,9})?(ms|s|m|h|d)?$",
        example = "300ms"
    )]
    min_duration: Option<String>,
    /// Only those that finished then or later: Unix milliseconds or RFC 3339.
    #[param(
        pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$",
        example = "2026-01-31T03:10:00Z"
    )]
    from: Option<String>,
    /// Only those that finished then or earlier: Unix milliseconds or RFC 3339.
    #[param(
        pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$",
        example = "1769829000000"
    )]
    to: Option<String>,
    /// Most requests of a page.
    #[param(minimum = 1, maximum = 2000, default = 100, example = 20)]
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    #[param(pattern = "^[0-9]{1,19}-[0-9]{1,19}$")]
    cursor: Option<String>,
    /// The answer's form; comes before the header `Accept`.
    #[param(default = "json", example = "json")]
    pub format: Option<String>,
}

/// Which single requests are asked for.
#[derive(Clone, Debug)]
pub struct RequestFilter {
    service: Option<String>,
    container: Option<String>,
    route: Option<String>,
    status: Option<StatusFilter>,
    outcome: Option<Outcome>,
    min_duration: Duration,
    from: UnixNs,
    to: UnixNs,
    /// Over what the requests came: one kind at a time, for an inner hop is
    /// the same request told again.
    pub transport: Transport,
    /// Only requests of a smaller number: those of the pages before are not.
    pub before: u64,
    /// Most requests given.
    pub limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatusFilter {
    Exactly(u16),
    Class(u8),
}

impl From<RequestSelection> for RequestParameters {
    fn from(selection: RequestSelection) -> Self {
        Self {
            service: selection.service,
            container: selection.container,
            route: selection.route,
            status: selection.status,
            outcome: selection.outcome,
            min_duration: selection.min_duration,
            transport: selection.transport,
            ..Self::default()
        }
    }
}

impl RequestParameters {
    /// Reads the parameters; `run` tells this run of the daemon from others.
    pub fn parse(self, run: u64) -> Result<RequestFilter, ApiError> {
        let parameters = self;
        let limit = parameters.limit.unwrap_or(DEFAULT_REQUESTS);
        if limit == 0 || limit > MAX_REQUESTS {
            return Err(bad("limit", &limit.to_string(), "1 to 2000"));
        }
        Ok(RequestFilter {
            service: parameters.service,
            container: parameters.container,
            route: parameters.route,
            status: parameters
                .status
                .as_deref()
                .map(status_filter)
                .transpose()?,
            outcome: parameters.outcome.as_deref().map(outcome).transpose()?,
            min_duration: parameters
                .min_duration
                .as_deref()
                .map(|text| duration("min_duration", text))
                .transpose()?
                .unwrap_or_default(),
            from: parameters
                .from
                .as_deref()
                .map(|text| time("from", text))
                .transpose()?
                .map_or(UnixNs(0), from_millis),
            to: parameters
                .to
                .as_deref()
                .map(|text| time("to", text))
                .transpose()?
                .map_or(UnixNs(u64::MAX), from_millis),
            transport: parameters
                .transport
                .as_deref()
                .map_or(Ok(Transport::Tcp), transport)?,
            before: parameters
                .cursor
                .as_deref()
                .map_or(Ok(u64::MAX), |text| cursor(text, run))?,
            limit,
        })
    }
}

impl RequestFilter {
    /// Whether a request is asked for.
    pub fn admits(&self, request: &FinishedRequest) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        is(&self.service, &request.service)
            && is(&self.container, &request.container)
            && is(&self.route, &request.route)
            && self
                .outcome
                .is_none_or(|outcome| outcome == request.record.outcome)
            && self
                .status
                .is_none_or(|filter| match (filter, request.record.status) {
                    (StatusFilter::Exactly(wanted), Some(status)) => status == wanted,
                    (StatusFilter::Class(class), Some(status)) => status / 100 == u16::from(class),
                    (_, None) => false,
                })
            && request.record.timings.duration() >= self.min_duration
            && (self.from..=self.to).contains(&request.finished)
    }
}

/// Parameters of `/query`, as they came.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryParameters {
    /// What is told: a count, a time of each request, or what containers used.
    #[param(default = "requests", example = "duration")]
    pub metric: Option<String>,
    /// Counts have `rate` (a second) and `count`; times have percentiles,
    /// `max` and `avg`; resources two of `rate`, `count`, `avg` and `max`.
    #[param(example = "p95")]
    pub stat: Option<String>,
    /// Beginning of the range: Unix milliseconds or RFC 3339; an hour before
    /// `to` if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    pub from: Option<String>,
    /// End of the range, likewise; now if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    pub to: Option<String>,
    /// Length of a step: seconds, or a number with `ms`, `s`, `m`, `h` or `d`;
    /// at least a second. A 240th of the range if it is left out.
    #[param(pattern = "^[0-9]{1,9}(\\.[0-9]{1,9})?(ms|s|m|h|d)?$", example = "1m")]
    pub step: Option<String>,
    /// Only of this service.
    pub service: Option<String>,
    /// Only of the container with this name.
    pub container: Option<String>,
    /// Only of this route template.
    pub route: Option<String>,
    /// Only with this method.
    pub method: Option<String>,
    /// Only with a status of this class.
    pub status_class: Option<String>,
    /// One series for each value of this.
    #[param(example = "route")]
    pub by: Option<String>,
    /// Further figures of the same requests, each a metric and a stat of it:
    /// they are read together and told in `more`. At most 19; resources stand
    /// alone.
    #[param(
        pattern = "^[a-z_]+\\.[a-z0-9]+(,[a-z_]+\\.[a-z0-9]+){0,18}$",
        example = "duration.p50,duration.p99"
    )]
    pub more: Option<String>,
    /// The answer's form; comes before the header `Accept`.
    #[param(default = "json", example = "json")]
    pub format: Option<String>,
}

impl QueryParameters {
    /// Whether both ends of the range are given.
    pub fn has_range(&self) -> bool {
        self.from.is_some() && self.to.is_some()
    }

    /// The figures asked for beside the first.
    pub fn further(&self) -> Result<Vec<(Metric, Stat)>, ApiError> {
        let Some(text) = self.more.as_deref() else {
            return Ok(Vec::new());
        };
        more(metric(self.metric.as_deref().unwrap_or("requests"))?, text)
    }

    /// Reads the parameters; `now_ms` is the end of the range if none is given.
    pub fn parse(self, now_ms: u64) -> Result<Query, ApiError> {
        let metric = metric(self.metric.as_deref().unwrap_or("requests"))?;
        let stat = stat(metric, self.stat.as_deref())?;
        let to = self
            .to
            .as_deref()
            .map_or(Ok(now_ms), |text| time("to", text))?;
        let from = match self.from.as_deref() {
            Some(text) => time("from", text)?,
            None => to.saturating_sub(DEFAULT_RANGE_MS),
        };
        if from >= to {
            return Err(ApiError::BadRequest(format!(
                "from is not before to: {from} and {to}"
            )));
        }
        let range = (to - from).div_ceil(1_000);
        let step = match self.step.as_deref() {
            Some(text) => duration("step", text)?.as_secs().max(1),
            None => range.div_ceil(DEFAULT_STEPS).max(1),
        };
        if range.div_ceil(step) > MAX_STEPS {
            return Err(ApiError::BadRequest(format!(
                "step gives more than {MAX_STEPS} values: choose at least {}s",
                range.div_ceil(MAX_STEPS)
            )));
        }
        Ok(Query {
            metric,
            stat,
            from: from_millis(from),
            to: from_millis(to),
            step: Duration::from_secs(step),
            service: self.service,
            container: self.container,
            route: self.route,
            method: self.method.as_deref().map(method).transpose()?,
            status_class: self.status_class.as_deref().map(status_class).transpose()?,
            by: self.by.as_deref().map(by).transpose()?,
        })
    }
}

fn metric(text: &str) -> Result<Metric, ApiError> {
    Ok(match text {
        "requests" => Metric::Requests,
        "errors" => Metric::Errors,
        "duration" => Metric::Duration,
        "ttfb" => Metric::TimeToFirstByte,
        "chunks" => Metric::Chunks,
        "stalls" => Metric::Stalls,
        "input_tokens" => Metric::InputTokens,
        "output_tokens" => Metric::OutputTokens,
        other => match (Measure::parse(other), ResourceMetric::parse(other)) {
            (Some(measure), _) => Metric::Measure(measure),
            (None, Some(metric)) => Metric::Resource(metric),
            (None, None) => return Err(unknown_metric(other)),
        },
    })
}

/// What is said of `metric`; what is meant where nothing is named.
fn stat(metric: Metric, text: Option<&str>) -> Result<Stat, ApiError> {
    let given = text.unwrap_or_default();
    let stat = match text {
        None => metric.default_stat(),
        Some("rate") => Stat::Rate,
        Some("count") => Stat::Count,
        Some("p50") => Stat::Quantile(0.5),
        Some("p90") => Stat::Quantile(0.9),
        Some("p95") => Stat::Quantile(0.95),
        Some("p99") => Stat::Quantile(0.99),
        Some("p999") => Stat::Quantile(0.999),
        Some("max") => Stat::Max,
        Some("avg") => Stat::Avg,
        Some(other) => {
            let right = "rate, count, p50, p90, p95, p99, p999, max or avg";
            return Err(bad("stat", other, right));
        }
    };
    let is_count = matches!(stat, Stat::Rate | Stat::Count);
    match metric {
        Metric::Resource(resource) if !resource.has(stat) => {
            Err(bad("stat", given, resource.stats()))
        }
        metric if metric.is_count() && !is_count => {
            let right = "rate or count, which what is counted has";
            Err(bad("stat", given, right))
        }
        metric if metric.is_time() && is_count => {
            let right = "p50 to p999, max or avg, which times have";
            Err(bad("stat", given, right))
        }
        _ => Ok(stat),
    }
}

/// Further figures of the same requests: `duration.p50,felt.p95`.
fn more(first: Metric, text: &str) -> Result<Vec<(Metric, Stat)>, ApiError> {
    let right = "up to 19 figures of requests as duration.p50,felt.p95, beside one of requests";
    let mut figures = Vec::new();
    for figure in text.split(',') {
        let (name, of) = figure
            .split_once('.')
            .ok_or_else(|| bad("more", text, right))?;
        let metric = metric(name)?;
        figures.push((metric, stat(metric, Some(of))?));
    }
    let is_resource = |metric: Metric| matches!(metric, Metric::Resource(_));
    let has_resource = is_resource(first) || figures.iter().any(|(of, _)| is_resource(*of));
    if has_resource || figures.len() >= MAX_FIGURES {
        return Err(bad("more", text, right));
    }
    Ok(figures)
}

fn unknown_metric(given: &str) -> ApiError {
    let of_resources = ResourceMetric::ALL.map(ResourceMetric::as_str).join(", ");
    bad("metric", given, &format!("{METRICS}; or {of_resources}"))
}

fn by(text: &str) -> Result<GroupBy, ApiError> {
    match text {
        "service" => Ok(GroupBy::Service),
        "container" => Ok(GroupBy::Container),
        "route" => Ok(GroupBy::Route),
        "method" => Ok(GroupBy::Method),
        "status_class" => Ok(GroupBy::StatusClass),
        other => Err(bad(
            "by",
            other,
            "service, container, route, method or status_class",
        )),
    }
}

fn method(text: &str) -> Result<Method, ApiError> {
    match Method::parse(&text.to_ascii_uppercase()) {
        Method::Other if text != Method::Other.as_str() => {
            Err(bad("method", text, "a method of RFC 9110, PATCH or _OTHER"))
        }
        method => Ok(method),
    }
}

fn status_class(text: &str) -> Result<u8, ApiError> {
    class_digit(text).ok_or_else(|| bad("status_class", text, "1xx, 2xx, 3xx, 4xx or 5xx"))
}

fn class_digit(text: &str) -> Option<u8> {
    let digit = text.strip_suffix("xx")?.parse().ok()?;
    (1..=5).contains(&digit).then_some(digit)
}

fn status_filter(text: &str) -> Result<StatusFilter, ApiError> {
    class_digit(text)
        .map(StatusFilter::Class)
        .or_else(|| {
            let status = text.parse().ok()?;
            (text.len() == 3 && (100..600).contains(&status))
                .then_some(StatusFilter::Exactly(status))
        })
        .ok_or_else(|| {
            bad(
                "status",
                text,
                "a status such as 404, or a class such as 4xx",
            )
        })
}

fn outcome(text: &str) -> Result<Outcome, ApiError> {
    Outcome::parse(text).ok_or_else(|| {
        let names = Outcome::ALL.map(Outcome::as_str).join(", ");
        bad("outcome", text, &names)
    })
}

fn transport(text: &str) -> Result<Transport, ApiError> {
    [Transport::Tcp, Transport::Unix]
        .into_iter()
        .find(|known| convert::transport(*known) == text)
        .ok_or_else(|| bad("transport", text, "tcp or unix"))
}

/// Where a page begins, as the page before told it.
fn cursor(text: &str, run: u64) -> Result<u64, ApiError> {
    let (of, number) = text
        .split_once('-')
        .filter(|(of, number)| is_digits(of) && is_digits(number))
        .and_then(|(of, number)| Some((of.parse::<u64>().ok()?, number.parse().ok()?)))
        .ok_or_else(|| bad("cursor", text, "the `next` of an earlier page"))?;
    if of != run {
        return Err(bad(
            "cursor",
            text,
            "of this run of the daemon, which has begun anew: start from the first page",
        ));
    }
    Ok(number)
}

/// Unix milliseconds, or RFC 3339.
pub(crate) fn time(name: &str, text: &str) -> Result<u64, ApiError> {
    let millis = if is_digits(text) {
        text.parse().ok()
    } else {
        let time = text.parse::<Timestamp>().ok();
        time.and_then(|time| u64::try_from(time.as_millisecond()).ok())
    };
    millis
        .filter(|millis| *millis <= LAST_MS)
        .ok_or_else(|| bad(name, text, "Unix milliseconds or RFC 3339, before 2200"))
}

/// Seconds as a number, or with a unit: `300ms`, `10s`, `1m`, `1h`.
fn duration(name: &str, text: &str) -> Result<Duration, ApiError> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => f64::NAN,
    };
    // Not `inf`, `1e9` or a sign, which floats may have.
    let number = Some(digits)
        .filter(|digits| is_digits(&digits.replacen('.', "", 1)))
        .and_then(|digits| digits.parse().ok());
    let seconds = number.unwrap_or(f64::NAN) * factor;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| {
            let right = "seconds, or a number with ms, s, m, h or d, and at most 366 d";
            bad(name, text, right)
        })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(crate) fn from_millis(millis: u64) -> UnixNs {
    UnixNs(millis.saturating_mul(1_000_000))
}

pub(crate) fn bad(name: &str, given: &str, right: &str) -> ApiError {
    let given: String = given.chars().take(80).collect();
    ApiError::BadRequest(format!("{name} must be {right}: {given:?}"))
}

#[cfg(test)]
mod tests;
