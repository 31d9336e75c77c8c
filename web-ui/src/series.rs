//! The figures behind a service's charts: history from the API, extended by
//! the live seconds. Pure: the time is an argument.

use std::collections::VecDeque;

use modeltap_api_types::{QueryResult, QuerySeries, Second, WindowFigures};

use crate::json;

/// Seconds kept live, enough for the widest range that shows single seconds.
const MAX_LIVE_SECONDS: usize = 960;
/// Most steps a chart is made of, whatever an answer claims.
const MAX_STEPS: usize = 4_000;
/// History is written in batches: where it has nothing this shortly before it
/// was asked for, that is not yet a zero.
const WRITTEN_WITHIN_MS: f64 = 15_000.0;
/// A step of which less is over says nothing yet.
const LEAST_SHARE_OF_STEP: f64 = 0.3;
/// Status classes: `1xx` to `5xx`, then those without a status.
pub const CLASSES: usize = 6;

/// A time of requests as a line over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Median of durations.
    P50,
    /// 95th percentile of durations.
    P95,
    /// 99th percentile of durations.
    P99,
    /// Median of what clients felt.
    FeltP50,
    /// 95th percentile of what clients felt.
    FeltP95,
    /// Mean wait before the first read.
    Queue,
    /// Mean time of reading.
    Read,
    /// Mean time of the server's own work.
    App,
    /// Mean time of writing the body.
    Stream,
    /// Mean time until all was gone from the socket.
    Drain,
    /// 95th percentile of times to the first content chunk.
    FirstChunkP95,
    /// 95th percentile of times between content chunks.
    ChunkIntervalP95,
}

/// Measures there are.
pub const N_MEASURES: usize = 12;

impl Measure {
    /// All, in the order in which a [`Frame`] has them.
    pub const ALL: [Self; N_MEASURES] = [
        Self::P50,
        Self::P95,
        Self::P99,
        Self::FeltP50,
        Self::FeltP95,
        Self::Queue,
        Self::Read,
        Self::App,
        Self::Stream,
        Self::Drain,
        Self::FirstChunkP95,
        Self::ChunkIntervalP95,
    ];

    /// The `metric` and `stat` that history is asked for.
    #[must_use]
    pub fn query(self) -> (&'static str, &'static str) {
        match self {
            Self::P50 => ("duration", "p50"),
            Self::P95 => ("duration", "p95"),
            Self::P99 => ("duration", "p99"),
            Self::FeltP50 => ("felt", "p50"),
            Self::FeltP95 => ("felt", "p95"),
            Self::Queue => ("queue", "avg"),
            Self::Read => ("read", "avg"),
            Self::App => ("app", "avg"),
            Self::Stream => ("stream", "avg"),
            Self::Drain => ("drain", "avg"),
            Self::FirstChunkP95 => ("first_chunk", "p95"),
            Self::ChunkIntervalP95 => ("chunk_interval", "p95"),
        }
    }

    /// How many requests a mean is of; `None` for percentiles, which cannot be
    /// joined.
    fn weight(self, figures: &WindowFigures) -> Option<u64> {
        match self {
            Self::Queue => Some(figures.parts?.n_queue),
            Self::Read | Self::App | Self::Stream | Self::Drain => Some(figures.parts?.n_requests),
            _ => None,
        }
    }

    /// The same of one second.
    fn of_second(self, figures: &WindowFigures) -> Option<f64> {
        match self {
            Self::P50 => figures.p50,
            Self::P95 => figures.p95,
            Self::P99 => figures.p99,
            Self::FeltP50 => figures.felt_p50,
            Self::FeltP95 => figures.felt_p95,
            Self::Queue => figures.parts?.queue,
            Self::Read => Some(figures.parts?.read),
            Self::App => Some(figures.parts?.app),
            Self::Stream => Some(figures.parts?.stream),
            Self::Drain => Some(figures.parts?.drain),
            Self::FirstChunkP95 => figures.streams?.first_chunk_p95,
            Self::ChunkIntervalP95 => figures.streams?.chunk_interval_p95,
        }
    }
}

/// The stretch of time a chart shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Its length in seconds.
    pub span_seconds: u32,
    /// Its end, in Unix milliseconds; `None` while it follows the clock.
    pub end_ms: Option<f64>,
}

impl Range {
    /// What a page without a range in its address shows.
    pub const DEFAULT_SECONDS: u32 = 300;

    /// Reads the address bar's `range` (`5m`, `1h`, `90s`) and `to`
    /// (Unix milliseconds); anything else is the default.
    #[must_use]
    pub fn parse(range: &str, to: &str) -> Self {
        let span = parse_span(range).unwrap_or(Self::DEFAULT_SECONDS);
        let end_ms = json::float(to).filter(|t| *t > 0.0);
        Self {
            span_seconds: span,
            end_ms,
        }
    }

    /// The span as the address bar has it.
    #[must_use]
    pub fn span_text(&self) -> String {
        match self.span_seconds {
            s if s.is_multiple_of(3_600) => format!("{}h", s / 3_600),
            s if s.is_multiple_of(60) => format!("{}m", s / 60),
            s => format!("{s}s"),
        }
    }

    /// `range` and `to` that lead back here; an empty `to` follows the clock.
    #[must_use]
    pub fn values(&self) -> (String, String) {
        let to = self.end_ms.map(|end| format!("{end:.0}"));
        (self.span_text(), to.unwrap_or_default())
    }

    /// Length of one step of history, in seconds: about 200 steps, but not
    /// so short that a percentile is one of a handful of requests.
    #[must_use]
    pub fn step_seconds(&self) -> u32 {
        const STEPS: [u32; 8] = [5, 10, 20, 30, 60, 120, 300, 600];
        let wanted = self.span_seconds.div_ceil(200);
        STEPS.into_iter().find(|s| *s >= wanted).unwrap_or(14_400)
    }

    /// Whether what is newer than history is shown second by second, so that
    /// the charts move.
    #[must_use]
    pub fn shows_seconds(&self) -> bool {
        self.span_seconds <= 900
    }

    /// Beginning and end in Unix milliseconds.
    #[must_use]
    pub fn bounds(&self, now_ms: f64) -> (f64, f64) {
        let end = self.end_ms.unwrap_or(now_ms);
        (end - f64::from(self.span_seconds) * 1e3, end)
    }
}

fn parse_span(text: &str) -> Option<u32> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return None,
    };
    let n: u32 = text[..text.len() - 1].parse().ok()?;
    // A second is nothing to see and history ends after a month.
    n.checked_mul(unit).filter(|s| (10..=2_678_400).contains(s))
}

/// The seconds of one service that came in since its page was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveSeconds {
    /// Beginning of the unbroken stretch that is covered.
    from_ms: Option<u64>,
    /// Its end.
    until_ms: u64,
    /// Seconds in it that had requests.
    seconds: VecDeque<Second>,
}

impl LiveSeconds {
    /// Takes what one live message said of the service: the end of its last
    /// whole second, and the second itself if it had requests. A message
    /// that was left out breaks the stretch, and it begins anew.
    pub fn push(&mut self, at_ms: u64, second: Option<Second>) {
        let end = second.as_ref().map_or(at_ms, |s| s.at_unix_ms + 1_000);
        let begin = end.saturating_sub(1_000);
        if end <= self.until_ms {
            return;
        }
        let unbroken = self.from_ms.is_some() && begin <= self.until_ms + 500;
        if !unbroken {
            self.seconds.clear();
            self.from_ms = Some(begin);
        }
        self.until_ms = end;
        self.seconds.extend(second);
        while self.seconds.len() > MAX_LIVE_SECONDS {
            self.seconds.pop_front();
            self.from_ms = self.seconds.front().map(|s| s.at_unix_ms);
        }
    }

    fn between(&self, begin_ms: f64, end_ms: f64) -> impl Iterator<Item = &Second> {
        let first = self
            .seconds
            .partition_point(|s| (s.at_unix_ms as f64) < begin_ms);
        self.seconds
            .range(first..)
            .take_while(move |s| (s.at_unix_ms as f64) < end_ms)
    }

    /// The mean over a stretch, of measures that are means.
    fn mean(&self, measure: Measure, begin_ms: f64, end_ms: f64) -> Option<f64> {
        let (mut sum, mut n_requests) = (0.0, 0);
        for second in self.between(begin_ms, end_ms) {
            let figures = &second.figures;
            if let (Some(mean), Some(n)) = (measure.of_second(figures), measure.weight(figures)) {
                sum += mean * n as f64;
                n_requests += n;
            }
        }
        (n_requests > 0).then(|| sum / n_requests as f64)
    }

    /// Counts, rates and means of a stretch; no percentiles.
    fn sum(&self, begin_ms: f64, end_ms: f64) -> Step {
        let mut classes = [0u64; CLASSES];
        let mut step = Step::default();
        for second in self.between(begin_ms, end_ms) {
            for (sum, n) in classes.iter_mut().zip(second.by_status_class) {
                *sum += n;
            }
            step.n_requests += second.figures.n_requests as f64;
            step.n_errors += second.figures.n_errors as f64;
        }
        let seconds = (end_ms - begin_ms) / 1e3;
        step.rates = classes.map(|n| Some(n as f64 / seconds));
        step.lines = Measure::ALL.map(|m| self.mean(m, begin_ms, end_ms));
        step
    }
}

/// What `GET /api/v1/query` said of one service and range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    from_ms: f64,
    step_ms: f64,
    /// When it was asked for: nothing later is in it.
    until_ms: f64,
    classes: [Vec<Option<f64>>; CLASSES],
    errors: Vec<Option<f64>>,
    lines: [Vec<Option<f64>>; N_MEASURES],
    /// Requests in the range.
    pub n_requests: u64,
    /// Of them: something was lost or truncated.
    pub n_incomplete: u64,
}

impl History {
    /// Puts the answers together: requests counted by status class, errors
    /// counted, and each measure's values, none where it was not asked for.
    #[must_use]
    pub fn new(
        requests: QueryResult,
        errors: QueryResult,
        lines: [Vec<Option<f64>>; N_MEASURES],
        until_ms: f64,
    ) -> Self {
        let mut history = Self {
            from_ms: requests.from_unix_ms as f64,
            step_ms: f64::from(requests.step_seconds.max(1)) * 1e3,
            until_ms,
            n_requests: requests.n_requests,
            n_incomplete: requests.n_incomplete,
            lines,
            ..Self::default()
        };
        for series in requests.series {
            let class = match series.name.as_bytes().first() {
                Some(digit @ b'1'..=b'5') => usize::from(digit - b'1'),
                _ => CLASSES - 1,
            };
            history.classes[class] = series.values;
        }
        history.errors = values(errors.series);
        history
    }

    /// Requests in the range that failed.
    #[must_use]
    pub fn n_errors(&self) -> u64 {
        self.errors.iter().flatten().sum::<f64>() as u64
    }

    /// What is known of the step that begins at `begin_ms`; nothing if it has
    /// barely begun.
    fn step(&self, begin_ms: f64, known_from_ms: f64) -> Option<Step> {
        let i = ((begin_ms - self.from_ms) / self.step_ms).round();
        let end_ms = begin_ms + self.step_ms;
        let elapsed_ms = self.until_ms.min(end_ms) - begin_ms;
        if i < 0.0 || elapsed_ms < LEAST_SHARE_OF_STEP * self.step_ms {
            return None;
        }
        let at = |values: &[Option<f64>]| values.get(i as usize).copied().flatten();
        let counts: [Option<f64>; CLASSES] = std::array::from_fn(|c| at(&self.classes[c]));
        let seen = counts.iter().any(Option::is_some);
        let written = end_ms <= self.until_ms - WRITTEN_WITHIN_MS;
        let known = seen || (begin_ms >= known_from_ms && written);
        Some(Step {
            rates: counts.map(|n| known.then(|| n.unwrap_or(0.0) / (elapsed_ms / 1e3))),
            lines: std::array::from_fn(|line| at(&self.lines[line])),
            n_requests: counts.iter().flatten().sum(),
            n_errors: at(&self.errors).unwrap_or(0.0),
        })
    }
}

/// Figures of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Step {
    rates: [Option<f64>; CLASSES],
    lines: [Option<f64>; N_MEASURES],
    n_requests: f64,
    n_errors: f64,
}

/// The values of a figure with one series.
#[must_use]
pub fn values(series: Vec<QuerySeries>) -> Vec<Option<f64>> {
    let first = series.into_iter().next();
    first.map(|s| s.values).unwrap_or_default()
}

/// What the charts show, all over the same times; `None` is a gap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Beginning of each step, Unix seconds.
    pub x: Vec<f64>,
    /// Requests a second by status class.
    pub rates: [Vec<Option<f64>>; CLASSES],
    /// Times in seconds, in the order of [`Measure::ALL`].
    lines: [Vec<Option<f64>>; N_MEASURES],
    /// Share of requests that failed, 0 to 1; a gap without requests.
    pub error_rate: Vec<Option<f64>>,
}

impl Frame {
    /// Whether there is anything to draw.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self
            .rates
            .iter()
            .flatten()
            .any(|v| v.is_some_and(|v| v > 0.0))
    }

    /// Whether any request of a status class is in sight.
    #[must_use]
    pub fn has_class(&self, class: usize) -> bool {
        self.rates[class].iter().any(|v| v.is_some_and(|v| v > 0.0))
    }

    /// A measure's values.
    #[must_use]
    pub fn values(&self, measure: Measure) -> &[Option<f64>] {
        &self.lines[measure as usize]
    }

    /// Whether a measure has a value anywhere in sight.
    #[must_use]
    pub fn has(&self, measure: Measure) -> bool {
        self.values(measure).iter().any(Option::is_some)
    }

    /// Joins history and live seconds over `range`. Steps before
    /// `known_from_ms`, when the daemon started, are gaps where history has
    /// nothing: nobody watched. Later ones are zeros.
    #[must_use]
    pub fn join(
        range: Range,
        now_ms: f64,
        history: Option<&History>,
        live: &LiveSeconds,
        known_from_ms: f64,
    ) -> Self {
        let mut frame = Self::default();
        let (from, to) = range.bounds(now_ms);
        let step = history.map_or(f64::from(range.step_seconds()) * 1e3, |h| h.step_ms);
        let origin = history.map_or(0.0, |h| h.from_ms);
        let (live_from, live_until) = match live.from_ms {
            Some(from) if range.end_ms.is_none() => (from as f64, live.until_ms as f64),
            _ => (f64::INFINITY, 0.0),
        };
        let mut begin = origin + ((from - origin) / step).floor() * step;
        while begin < to && frame.x.len() < MAX_STEPS {
            let end = begin + step;
            let known = history.and_then(|h| h.step(begin, known_from_ms));
            if begin < live_from || begin >= live_until {
                if let Some(known) = known {
                    frame.push(begin, known);
                }
            } else if !range.shows_seconds() {
                let lines = known.map(|k| k.lines).unwrap_or_default();
                frame.push_live_step(live, begin, end.min(live_until), step, lines);
            } else if let Some(known) = known
                && end <= live_until
                && known.n_requests >= live.sum(begin, end).n_requests
            {
                frame.push(begin, known);
            } else {
                frame.push_live_seconds(live, begin, end.min(live_until), step);
            }
            begin = end;
        }
        frame
    }

    fn push(&mut self, begin_ms: f64, step: Step) {
        self.x.push(begin_ms / 1e3);
        for (rates, rate) in self.rates.iter_mut().zip(step.rates) {
            rates.push(rate);
        }
        for (line, value) in self.lines.iter_mut().zip(step.lines) {
            line.push(value);
        }
        let share = step.n_errors / step.n_requests;
        self.error_rate
            .push((step.n_requests > 0.0).then(|| share.min(1.0)));
    }

    /// A whole step, or as much of it as is over.
    fn push_live_step(
        &mut self,
        live: &LiveSeconds,
        begin: f64,
        end: f64,
        step: f64,
        lines: [Option<f64>; N_MEASURES],
    ) {
        if end - begin >= LEAST_SHARE_OF_STEP * step {
            // Percentiles of seconds cannot be joined to one of a longer
            // step: history has that one when the step is over.
            let mut sum = live.sum(begin, end);
            for (line, known) in sum.lines.iter_mut().zip(lines) {
                *line = known.or(*line);
            }
            self.push(begin, sum);
        }
    }

    /// Second by second: the percentiles of each, and rates and means over
    /// the time of a step before it, so that they compare with those of
    /// history.
    fn push_live_seconds(&mut self, live: &LiveSeconds, begin: f64, end: f64, step: f64) {
        let live_from = live.from_ms.unwrap_or(0) as f64;
        let mut at = begin;
        while at < end {
            let next = at + 1e3;
            let second = live.between(at, next).next().map(|s| s.figures);
            let mut sum = live.sum((next - step).max(live_from), next);
            for (line, measure) in sum.lines.iter_mut().zip(Measure::ALL) {
                let own = second.as_ref().and_then(|s| measure.of_second(s));
                *line = line.or(own);
            }
            self.push(at, sum);
            at = next;
        }
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
