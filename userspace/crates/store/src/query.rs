//! What can be asked of history, and what comes back.

use std::error::Error;
use std::time::Duration;

use modeltap_core::measure::Measure;
use modeltap_core::record::Method;
use modeltap_core::time::UnixNs;
use thiserror::Error;

use crate::resources::ResourceMetric;

/// Steps a query may have.
pub const MAX_STEPS: u64 = 2_000;
/// Series a query gives: those with most requests.
pub const MAX_SERIES: usize = 50;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Finished requests.
    Requests,
    /// Requests that failed.
    Errors,
    /// Durations of requests.
    Duration,
    /// Times to the first byte.
    TimeToFirstByte,
    /// Another time.
    Measure(Measure),
    /// Content chunks of responses that streamed.
    Chunks,
    /// Stalls of responses that streamed.
    Stalls,
    /// Tokens of prompts, of requests that told them.
    InputTokens,
    /// Tokens generated, of requests that told them.
    OutputTokens,
    /// What containers used.
    Resource(ResourceMetric),
}

impl Metric {
    /// Whether it is counted, not timed.
    #[must_use]
    pub fn is_count(self) -> bool {
        match self {
            Self::Requests
            | Self::Errors
            | Self::Chunks
            | Self::Stalls
            | Self::InputTokens
            | Self::OutputTokens => true,
            Self::Duration | Self::TimeToFirstByte | Self::Measure(_) | Self::Resource(_) => false,
        }
    }

    /// Whether it is a time of requests, which has a histogram.
    #[must_use]
    pub fn is_time(self) -> bool {
        matches!(
            self,
            Self::Duration | Self::TimeToFirstByte | Self::Measure(_)
        )
    }

    /// The stat that is meant where none is named.
    #[must_use]
    pub fn default_stat(self) -> Stat {
        match self {
            Self::Resource(metric) => metric.default_stat(),
            _ if self.is_count() => Stat::Rate,
            _ => Stat::Quantile(0.95),
        }
    }

    /// The column that it is read from.
    pub(crate) fn column(self) -> &'static str {
        match self {
            Self::Requests => "n_requests",
            Self::Errors => "n_errors",
            Self::Duration => "duration",
            Self::TimeToFirstByte => "ttfb",
            Self::Measure(measure) => measure.as_str(),
            Self::Chunks => "n_chunks",
            Self::Stalls => "n_stalls",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Resource(metric) => metric.as_str(),
        }
    }
}

/// What is said of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stat {
    /// Occurrences a second.
    Rate,
    /// Occurrences.
    Count,
    /// The value below or at which this share (0 to 1) of all lies.
    Quantile(f64),
    /// The largest value.
    Max,
    /// The mean.
    Avg,
}

/// What a series each is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The service.
    Service,
    /// The container's name.
    Container,
    /// The route template.
    Route,
    /// The method; an empty name for responses without a request.
    Method,
    /// `1xx` to `5xx`, or `none` where no status was written.
    StatusClass,
}

/// A question about a range of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What is measured.
    pub metric: Metric,
    /// What is said of it.
    pub stat: Stat,
    /// Only this service.
    pub service: Option<String>,
    /// Only the container of this name.
    pub container: Option<String>,
    /// Only this route template.
    pub route: Option<String>,
    /// Only this method.
    pub method: Option<Method>,
    /// Only statuses of this class, 1 to 5.
    pub status_class: Option<u8>,
    /// A series each; one in all if `None`.
    pub by: Option<GroupBy>,
    /// Beginning, rounded down to a whole step.
    pub from: UnixNs,
    /// End, rounded up to a whole step.
    pub to: UnixNs,
    /// Length of a step in whole seconds; made longer where history has been
    /// merged to longer windows.
    pub step: Duration,
}

/// Unit of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Occurrences a second.
    PerSecond,
    /// A count, or a share.
    One,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
}

impl Unit {
    /// As UCUM writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::PerSecond => "1/s",
            Self::One => "1",
            Self::Bytes => "By",
            Self::BytesPerSecond => "By/s",
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    /// Unit of the values.
    pub unit: Unit,
    /// Beginning of the first step.
    pub from: UnixNs,
    /// Length of a step.
    pub step: Duration,
    /// Steps, and values of each series.
    pub n_steps: usize,
    /// The series with most requests first.
    pub series: Vec<QuerySeries>,
    /// Series beyond [`MAX_SERIES`] that are left out.
    pub n_series_left_out: usize,
    /// Requests in the range.
    pub n_requests: u64,
    /// Of them: something was lost or truncated.
    pub n_incomplete: u64,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct QuerySeries {
    /// The value of `by`; empty without it.
    pub name: String,
    /// One value a step; `None` where nothing was seen. Counts and rates are
    /// zero there instead, if the range has anything of the series.
    pub values: Vec<Option<f64>>,
}

impl QueryResult {
    /// An answer about no requests.
    pub(crate) fn of(query: &Query, range: Range, series: Vec<QuerySeries>) -> Self {
        Self {
            unit: query.unit(),
            from: UnixNs(range.first * 1_000_000_000),
            step: Duration::from_secs(range.step),
            n_steps: range.n_steps_usize(),
            series,
            n_series_left_out: 0,
            n_requests: 0,
            n_incomplete: 0,
        }
    }
}

impl QuerySeries {
    /// Series with nothing in them.
    pub(crate) fn empty(names: &[String], range: Range) -> Vec<Self> {
        let empty = |name: &String| Self {
            name: name.clone(),
            values: vec![None; range.n_steps_usize()],
        };
        names.iter().map(empty).collect()
    }
}

/// One service over a range.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceOverview {
    /// Its name.
    pub service: String,
    /// Requests.
    pub n_requests: u64,
    /// Of them: failed.
    pub n_errors: u64,
    /// Of them: something was lost or truncated.
    pub n_incomplete: u64,
    /// Mean duration.
    pub avg: Option<Duration>,
    /// Median duration.
    pub p50: Option<Duration>,
    /// 95th percentile of durations.
    pub p95: Option<Duration>,
    /// 99th percentile of durations.
    pub p99: Option<Duration>,
    /// Longest duration.
    pub max: Option<Duration>,
}

/// Why a question has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The question makes no sense; the text says what would.
    #[error("{0}")]
    Invalid(String),
    /// The database is closed after a failure; it is opened again.
    #[error("history is not available at the moment")]
    Unavailable,
    /// Too many other questions wait.
    #[error("too many queries wait already (ask again in a second)")]
    Busy,
    /// It took too much memory.
    #[error("the query takes more memory than it may (ask for less)")]
    TooLarge,
    /// It took too long.
    #[error("the query took longer than {0:?} (ask for a shorter range or fewer series)")]
    TooSlow(Duration),
    /// The database refuses.
    #[error("history cannot be read")]
    Database(#[source] Box<dyn Error + Send + Sync>),
}

impl From<duckdb::Error> for QueryError {
    fn from(error: duckdb::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// A range in whole steps, in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) step: u64,
}

impl Range {
    pub(crate) fn n_steps(self) -> u64 {
        (self.end - self.first) / self.step
    }

    pub(crate) fn n_steps_usize(self) -> usize {
        usize::try_from(self.n_steps()).expect("steps are bounded")
    }

    /// The range in whole steps of at least `width` seconds, a multiple of it.
    pub(crate) fn widened(self, width: u64) -> Self {
        let step = self.step.max(width).next_multiple_of(width);
        Self {
            first: self.first - self.first % step,
            end: self.end.next_multiple_of(step),
            step,
        }
    }
}

impl Query {
    /// The range in whole steps.
    pub(crate) fn range(&self) -> Result<Range, QueryError> {
        if let Metric::Resource(metric) = self.metric {
            metric.check(self)?;
            return self.steps();
        }
        let invalid = |text: String| Err(QueryError::Invalid(text));
        let is_count = matches!(self.stat, Stat::Rate | Stat::Count);
        match (self.metric.is_count(), is_count) {
            (true, false) => {
                return invalid("what is counted has the stats rate and count".into());
            }
            (false, true) => {
                return invalid("durations have the stats p50 to p999, max and avg".into());
            }
            (true, true) | (false, false) => {}
        }
        if let Stat::Quantile(q) = self.stat
            && !(0.0..=1.0).contains(&q)
        {
            return invalid(format!("a quantile lies between 0 and 1, not {q:?}"));
        }
        self.steps()
    }

    fn steps(&self) -> Result<Range, QueryError> {
        let invalid = |text: String| Err(QueryError::Invalid(text));
        let step = self.step.as_secs();
        if step == 0 || self.step.subsec_nanos() != 0 {
            return invalid(format!(
                "a step is one or more whole seconds, not {:?}",
                self.step
            ));
        }
        if self.from >= self.to {
            return invalid("from lies at or after to".into());
        }
        let first = self.from.seconds() - self.from.seconds() % step;
        let last = self.to.0.div_ceil(1_000_000_000);
        let end = last.checked_next_multiple_of(step).unwrap_or(last);
        let range = Range { first, end, step };
        if range.n_steps() > MAX_STEPS {
            let least = (last - first).div_ceil(MAX_STEPS - 1);
            return invalid(format!(
                "a query has at most {MAX_STEPS} steps; the step must be {least} s or longer \
                 for this range"
            ));
        }
        Ok(range)
    }

    /// Whether it is told from merged histograms; durations have exact sums and
    /// maxima beside theirs.
    pub(crate) fn is_merged(&self) -> bool {
        let is_exact = matches!(
            (self.metric, self.stat),
            (Metric::Duration, Stat::Max | Stat::Avg)
        );
        self.metric.is_time() && !is_exact
    }

    pub(crate) fn unit(&self) -> Unit {
        match (self.metric, self.stat) {
            (Metric::Resource(metric), stat) => metric.unit(stat),
            (_, Stat::Rate) => Unit::PerSecond,
            (_, Stat::Count) => Unit::One,
            _ => Unit::Seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(from: u64, to: u64, step: u64) -> Query {
        Query {
            metric: Metric::Requests,
            stat: Stat::Rate,
            service: None,
            container: None,
            route: None,
            method: None,
            status_class: None,
            by: None,
            from: UnixNs(from * 1_000_000_000),
            to: UnixNs(to * 1_000_000_000),
            step: Duration::from_secs(step),
        }
    }

    #[test]
    fn ranges_are_whole_steps() {
        assert_eq!(
            query(105, 131, 10).range().unwrap(),
            Range {
                first: 100,
                end: 140,
                step: 10
            }
        );
        assert_eq!(
            query(100, 140, 10).range().unwrap(),
            Range {
                first: 100,
                end: 140,
                step: 10
            }
        );
        let wide = Range {
            first: 100,
            end: 140,
            step: 20,
        }
        .widened(60);
        assert_eq!(
            wide,
            Range {
                first: 60,
                end: 180,
                step: 60
            }
        );
        let odd = Range {
            first: 75,
            end: 150,
            step: 75,
        }
        .widened(60);
        assert_eq!(
            odd,
            Range {
                first: 0,
                end: 240,
                step: 120
            }
        );
    }

    #[test]
    fn questions_without_sense_are_refused_with_the_remedy() {
        assert!(query(0, 2_000, 1).range().is_ok());
        let error = query(0, 7_200, 1).range().unwrap_err().to_string();
        assert!(error.contains("4 s or longer"), "{error}");
        assert!(query(0, 7_200, 4).range().is_ok());
        assert!(query(5, 5, 1).range().is_err());
        assert!(query(0, 5, 0).range().is_err());
        let mut fractional = query(0, 5, 1);
        fractional.step = Duration::from_millis(1_500);
        assert!(fractional.range().is_err());
        for (metric, stat, is_ok) in [
            (Metric::Requests, Stat::Count, true),
            (Metric::Requests, Stat::Quantile(0.5), false),
            (Metric::Errors, Stat::Avg, false),
            (Metric::Duration, Stat::Quantile(0.5), true),
            (Metric::Duration, Stat::Quantile(1.5), false),
            (Metric::Duration, Stat::Rate, false),
            (Metric::TimeToFirstByte, Stat::Max, true),
            (Metric::Measure(Measure::Felt), Stat::Quantile(0.999), true),
            (Metric::Measure(Measure::Queue), Stat::Count, false),
            (Metric::Chunks, Stat::Rate, true),
            (Metric::OutputTokens, Stat::Avg, false),
        ] {
            let asked = Query {
                metric,
                stat,
                ..query(0, 10, 1)
            };
            assert_eq!(asked.range().is_ok(), is_ok, "{metric:?} {stat:?}");
        }
    }
}
