//! Parameters of `/query` and `/requests`, read into types that have only
//! valid values.

use std::time::Duration;

use jiff::Timestamp;
use modeltap_core::connection::Transport;
use modeltap_core::measure::Measure;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::time::UnixNs;
use modeltap_metrics::FinishedRequest;
use modeltap_store::{GroupBy, MAX_STEPS, Metric, Query, Stat};
use serde::Deserialize;

use crate::convert;
use crate::error::ApiError;

/// Most requests that `/requests` gives.
const MAX_REQUESTS: usize = 2_000;
/// Requests that `/requests` gives if nothing is said.
const DEFAULT_REQUESTS: usize = 100;
/// Range of `/query` if no `from` is given.
const DEFAULT_RANGE_MS: u64 = 60 * 60 * 1_000;
/// Steps of `/query` if no `step` is given: as many as a chart shows.
const DEFAULT_STEPS: u64 = 240;
/// What `/query` can tell of.
const METRICS: &str = "requests, errors, duration, ttfb, felt, queue, read, app, stream, drain, \
                       first_chunk, chunk_interval, chunks, stalls, input_tokens or \
                       output_tokens";

/// Parameters of `/requests`, as they came.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestParameters {
    service: Option<String>,
    container: Option<String>,
    route: Option<String>,
    status: Option<String>,
    outcome: Option<String>,
    transport: Option<String>,
    min_duration: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryParameters {
    metric: Option<String>,
    stat: Option<String>,
    from: Option<String>,
    to: Option<String>,
    step: Option<String>,
    service: Option<String>,
    container: Option<String>,
    route: Option<String>,
    method: Option<String>,
    status_class: Option<String>,
    by: Option<String>,
}

impl QueryParameters {
    /// Whether both ends of the range are given.
    pub fn has_range(&self) -> bool {
        self.from.is_some() && self.to.is_some()
    }

    /// Reads the parameters; `now_ms` is the end of the range if none is given.
    pub fn parse(self, now_ms: u64) -> Result<Query, ApiError> {
        let metric = match self.metric.as_deref() {
            None | Some("requests") => Metric::Requests,
            Some("errors") => Metric::Errors,
            Some("duration") => Metric::Duration,
            Some("ttfb") => Metric::TimeToFirstByte,
            Some("chunks") => Metric::Chunks,
            Some("stalls") => Metric::Stalls,
            Some("input_tokens") => Metric::InputTokens,
            Some("output_tokens") => Metric::OutputTokens,
            Some(other) => match Measure::parse(other) {
                Some(measure) => Metric::Measure(measure),
                None => return Err(bad("metric", other, METRICS)),
            },
        };
        let is_count = metric.is_count();
        let stat = match self.stat.as_deref() {
            None if is_count => Stat::Rate,
            None => Stat::Quantile(0.95),
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
                return Err(bad(
                    "stat",
                    other,
                    "rate, count, p50, p90, p95, p99, p999, max or avg",
                ));
            }
        };
        if is_count && !matches!(stat, Stat::Rate | Stat::Count) {
            let given = self.stat.unwrap_or_default();
            return Err(bad(
                "stat",
                &given,
                "rate or count, which what is counted has",
            ));
        }
        if !is_count && matches!(stat, Stat::Rate | Stat::Count) {
            let given = self.stat.unwrap_or_default();
            return Err(bad(
                "stat",
                &given,
                "p50 to p999, max or avg, which times have",
            ));
        }
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
        .or_else(|| text.parse().ok().map(StatusFilter::Exactly))
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
fn time(name: &str, text: &str) -> Result<u64, ApiError> {
    if let Ok(millis) = text.parse() {
        return Ok(millis);
    }
    text.parse::<Timestamp>()
        .ok()
        .and_then(|time| u64::try_from(time.as_millisecond()).ok())
        .ok_or_else(|| bad(name, text, "Unix milliseconds or RFC 3339"))
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
    let seconds = digits.parse().unwrap_or(f64::NAN) * factor;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| bad(name, text, "seconds, or a number with ms, s, m, h or d"))
}

fn from_millis(millis: u64) -> UnixNs {
    UnixNs(millis.saturating_mul(1_000_000))
}

fn bad(name: &str, given: &str, right: &str) -> ApiError {
    let given: String = given.chars().take(80).collect();
    ApiError::BadRequest(format!("{name} must be {right}: {given:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    #[test]
    fn query_without_parameters_is_the_request_rate_of_the_last_hour() {
        let query = QueryParameters::default().parse(NOW_MS).unwrap();
        assert_eq!((query.metric, query.stat), (Metric::Requests, Stat::Rate));
        assert_eq!(query.to.millis() - query.from.millis(), DEFAULT_RANGE_MS);
        assert_eq!(query.step, Duration::from_secs(15));
    }

    #[test]
    fn times_are_milliseconds_or_rfc_3339() {
        assert_eq!(time("from", "1700000000000").unwrap(), NOW_MS);
        assert_eq!(time("from", "2023-11-14T22:13:20Z").unwrap(), NOW_MS);
        assert!(time("from", "yesterday").is_err());
    }

    #[test]
    fn durations_take_units() {
        for (text, millis) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("300ms", 300),
            ("1m", 60_000),
        ] {
            assert_eq!(
                duration("step", text).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
        for text in ["", "s", "-1s", "1 fortnight", "1e400", "NaN"] {
            assert!(duration("step", text).is_err(), "{text}");
        }
    }

    #[test]
    fn too_many_steps_are_refused_with_the_step_that_would_do() {
        let parameters = QueryParameters {
            from: Some("0".to_owned()),
            step: Some("1s".to_owned()),
            ..QueryParameters::default()
        };
        let error = parameters.parse(86_400_000).unwrap_err().to_string();
        assert!(error.contains("at least 44s"), "{error}");
    }

    #[test]
    fn every_metric_is_asked_for_by_its_name() {
        let parse = |metric: &str, stat: Option<&str>| {
            QueryParameters {
                metric: Some(metric.to_owned()),
                stat: stat.map(str::to_owned),
                ..QueryParameters::default()
            }
            .parse(NOW_MS)
        };
        let names = METRICS.replace(" or", ",");
        for name in names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let query = parse(name, None).unwrap();
            let (right, wrong) = if query.metric.is_count() {
                ("count", "p95")
            } else {
                ("p999", "rate")
            };
            assert!(parse(name, Some(right)).is_ok(), "{name} {right}");
            assert!(parse(name, Some(wrong)).is_err(), "{name} {wrong}");
        }
        for measure in Measure::ALL {
            assert!(METRICS.contains(measure.as_str()), "{measure:?}");
        }
        let error = parse("latency", None).unwrap_err().to_string();
        assert!(error.contains("felt"), "{error}");
    }

    #[test]
    fn inner_hops_are_given_only_if_asked_for() {
        let parse = |transport: Option<&str>| {
            RequestParameters {
                transport: transport.map(str::to_owned),
                ..RequestParameters::default()
            }
            .parse(0)
        };
        assert_eq!(parse(None).unwrap().transport, Transport::Tcp);
        assert_eq!(parse(Some("unix")).unwrap().transport, Transport::Unix);
        assert!(parse(Some("udp")).is_err());
    }

    #[test]
    fn cursor_of_an_earlier_run_is_refused() {
        assert_eq!(cursor("7-40", 7).unwrap(), 40);
        let error = cursor("6-40", 7).unwrap_err().to_string();
        assert!(error.contains("begun anew"), "{error}");
        for wrong in ["", "40", "7-", "-40", "7-x", "7-18446744073709551616"] {
            assert!(cursor(wrong, 7).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_values_name_what_is_right() {
        let parameters = QueryParameters {
            stat: Some("p42".to_owned()),
            ..QueryParameters::default()
        };
        let error = parameters.parse(NOW_MS).unwrap_err().to_string();
        assert!(error.contains("p999") && error.contains("p42"), "{error}");
        assert_eq!(status_filter("4xx").unwrap(), StatusFilter::Class(4));
        assert_eq!(status_filter("404").unwrap(), StatusFilter::Exactly(404));
        assert!(status_filter("9xx").is_err());
    }
}
