//! The figures behind a service's charts: history from the API, extended by
//! the live seconds. Pure: the time is an argument.

use std::collections::VecDeque;

use modeltap_api_types::{QueryResult, Second};

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
    pub fn parse(range: Option<&str>, to: Option<&str>) -> Self {
        let span = range.and_then(parse_span).unwrap_or(Self::DEFAULT_SECONDS);
        let end_ms = to
            .and_then(|t| t.parse::<f64>().ok())
            .filter(|t| t.is_finite() && *t > 0.0);
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

    /// The query string that leads back here.
    #[must_use]
    pub fn query(&self) -> String {
        match self.end_ms {
            Some(end) => format!("?range={}&to={end:.0}", self.span_text()),
            None => format!("?range={}", self.span_text()),
        }
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

    /// Counts and rates of a stretch; no percentiles.
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
    percentiles: [Vec<Option<f64>>; 3],
    /// Requests in the range.
    pub n_requests: u64,
    /// Of them: something was lost or truncated.
    pub n_incomplete: u64,
}

impl History {
    /// Puts the answers together: requests counted by status class, errors
    /// counted, and p50, p95 and p99 of durations.
    #[must_use]
    pub fn new(
        requests: QueryResult,
        errors: QueryResult,
        percentiles: [QueryResult; 3],
        until_ms: f64,
    ) -> Self {
        let mut history = Self {
            from_ms: requests.from_unix_ms as f64,
            step_ms: f64::from(requests.step_seconds.max(1)) * 1e3,
            until_ms,
            n_requests: requests.n_requests,
            n_incomplete: requests.n_incomplete,
            ..Self::default()
        };
        for series in requests.series {
            let class = match series.name.as_bytes().first() {
                Some(digit @ b'1'..=b'5') => usize::from(digit - b'1'),
                _ => CLASSES - 1,
            };
            history.classes[class] = series.values;
        }
        history.errors = first(errors);
        history.percentiles = percentiles.map(first);
        history
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
            percentiles: std::array::from_fn(|p| at(&self.percentiles[p])),
            n_requests: counts.iter().flatten().sum(),
            n_errors: at(&self.errors).unwrap_or(0.0),
        })
    }
}

/// Figures of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Step {
    rates: [Option<f64>; CLASSES],
    percentiles: [Option<f64>; 3],
    n_requests: f64,
    n_errors: f64,
}

fn first(result: QueryResult) -> Vec<Option<f64>> {
    result
        .series
        .into_iter()
        .next()
        .map(|s| s.values)
        .unwrap_or_default()
}

/// One series a line, all over the same times; `None` is a gap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Beginning of each step, Unix seconds.
    pub x: Vec<f64>,
    /// Requests a second by status class.
    pub rates: [Vec<Option<f64>>; CLASSES],
    /// p50, p95 and p99 of durations in seconds.
    pub percentiles: [Vec<Option<f64>>; 3],
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
                let percentiles = known.map(|k| k.percentiles).unwrap_or_default();
                frame.push_live_step(live, begin, end.min(live_until), step, percentiles);
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
        for (line, value) in self.percentiles.iter_mut().zip(step.percentiles) {
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
        percentiles: [Option<f64>; 3],
    ) {
        if end - begin >= LEAST_SHARE_OF_STEP * step {
            // Percentiles of seconds cannot be joined to one of a longer
            // step: history has that one when the step is over.
            self.push(
                begin,
                Step {
                    percentiles,
                    ..live.sum(begin, end)
                },
            );
        }
    }

    /// Second by second: the percentiles of each, and rates over the time of
    /// a step before it, so that they compare with those of history.
    fn push_live_seconds(&mut self, live: &LiveSeconds, begin: f64, end: f64, step: f64) {
        let live_from = live.from_ms.unwrap_or(0) as f64;
        let mut at = begin;
        while at < end {
            let next = at + 1e3;
            let second = live.between(at, next).next().map(|s| s.figures);
            let percentiles = second.map(|f| [f.p50, f.p95, f.p99]).unwrap_or_default();
            let sum = live.sum((next - step).max(live_from), next);
            self.push(at, Step { percentiles, ..sum });
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use modeltap_api_types::{QuerySeries, WindowFigures};

    use super::*;

    const T0: u64 = 1_700_000_000_000;

    fn second(at_unix_ms: u64, n: u64, n_errors: u64) -> Second {
        Second {
            service: "s".into(),
            at_unix_ms,
            figures: WindowFigures {
                n_requests: n,
                n_errors,
                p50: Some(0.01),
                p95: Some(0.02),
                p99: Some(0.03),
                ..WindowFigures::default()
            },
            by_status_class: [0, n - n_errors, 0, 0, n_errors, 0],
        }
    }

    fn result(step_seconds: u32, series: &[(&str, &[Option<f64>])]) -> QueryResult {
        QueryResult {
            metric: String::new(),
            stat: String::new(),
            unit: String::new(),
            from_unix_ms: T0,
            step_seconds,
            series: series
                .iter()
                .map(|(name, values)| QuerySeries {
                    name: (*name).into(),
                    values: values.to_vec(),
                })
                .collect(),
            n_incomplete: 0,
            n_requests: 0,
        }
    }

    fn history(until_ms: u64) -> History {
        let p = |v| result(10, &[("", &[Some(v), None, Some(v)])]);
        History::new(
            result(
                10,
                &[
                    ("2xx", &[Some(90.0), None, Some(40.0)]),
                    ("5xx", &[Some(10.0), None, None]),
                    ("none", &[None, None, Some(10.0)]),
                ],
            ),
            result(10, &[("", &[Some(10.0), None, Some(5.0)])]),
            [p(0.1), p(0.2), p(0.3)],
            until_ms as f64,
        )
    }

    #[test]
    fn address_bar_round_trips_and_nonsense_is_the_default() {
        for (range, to, expected) in [
            (Some("5m"), None, (300, None)),
            (Some("1h"), Some("1700000000000"), (3_600, Some(T0 as f64))),
            (Some("90s"), None, (90, None)),
            (Some("24h"), Some("x"), (86_400, None)),
            (Some("0m"), None, (300, None)),
            (Some("9999999h"), None, (300, None)),
            (Some("é"), Some("-1"), (300, None)),
            (Some(""), Some("inf"), (300, None)),
            (None, None, (300, None)),
        ] {
            let parsed = Range::parse(range, to);
            assert_eq!((parsed.span_seconds, parsed.end_ms), expected, "{range:?}");
            assert_eq!(Range::parse(Some(&parsed.span_text()), to), parsed);
        }
        assert_eq!(Range::parse(Some("1h"), Some("1700000000000")).query(), {
            "?range=1h&to=1700000000000"
        });
    }

    #[test]
    fn every_offered_range_has_between_60_and_200_steps() {
        for (span, step) in [
            (300, 5),
            (900, 5),
            (3_600, 20),
            (21_600, 120),
            (86_400, 600),
        ] {
            let range = Range {
                span_seconds: span,
                end_ms: None,
            };
            assert_eq!(range.step_seconds(), step);
            assert!((60..=200).contains(&(span / step)), "{span}");
        }
    }

    fn at(frame: &Frame) -> Vec<f64> {
        frame.x.iter().map(|x| x - T0 as f64 / 1e3).collect()
    }

    #[test]
    fn history_counts_become_rates_and_gaps_stay_gaps_only_before_the_start() {
        let range = Range {
            span_seconds: 30,
            end_ms: Some((T0 + 30_000) as f64),
        };
        let h = history(T0 + 60_000);
        let none = LiveSeconds::default();
        let unknown = Frame::join(range, 0.0, Some(&h), &none, (T0 + 60_000) as f64);
        assert_eq!(at(&unknown), [0.0, 10.0, 20.0]);
        assert_eq!(unknown.rates[1], vec![Some(9.0), None, Some(4.0)]);
        assert_eq!(unknown.rates[5], vec![Some(0.0), None, Some(1.0)]);
        assert_eq!(unknown.error_rate, vec![Some(0.1), None, Some(0.1)]);
        let known = Frame::join(range, 0.0, Some(&h), &none, T0 as f64);
        assert_eq!(known.rates[1], vec![Some(9.0), Some(0.0), Some(4.0)]);
        assert_eq!(known.percentiles[1], vec![Some(0.2), None, Some(0.2)]);
    }

    #[test]
    fn silence_just_before_history_was_asked_for_is_not_yet_a_zero() {
        let range = Range {
            span_seconds: 30,
            end_ms: Some((T0 + 30_000) as f64),
        };
        let h = history(T0 + 30_000);
        let frame = Frame::join(range, 0.0, Some(&h), &LiveSeconds::default(), T0 as f64);
        assert_eq!(frame.rates[1], vec![Some(9.0), None, Some(4.0)]);
    }

    #[test]
    fn step_that_is_not_over_is_divided_by_its_elapsed_time() {
        let range = Range {
            span_seconds: 30,
            end_ms: Some((T0 + 30_000) as f64),
        };
        let h = history(T0 + 25_000);
        let frame = Frame::join(range, 0.0, Some(&h), &LiveSeconds::default(), T0 as f64);
        assert_eq!(frame.rates[1][2], Some(8.0));
        let h = history(T0 + 22_000);
        let frame = Frame::join(range, 0.0, Some(&h), &LiveSeconds::default(), T0 as f64);
        assert_eq!(at(&frame), [0.0, 10.0]);
    }

    #[test]
    fn live_seconds_follow_history_one_by_one_with_rates_over_a_step() {
        let mut live = LiveSeconds::default();
        for i in 0..5 {
            let at = T0 + 10_000 + i * 1_000;
            live.push(at + 1_000, (i != 2).then(|| second(at, 10, i)));
        }
        let range = Range {
            span_seconds: 15,
            end_ms: None,
        };
        let h = history(T0 + 12_000);
        let frame = Frame::join(range, (T0 + 15_000) as f64, Some(&h), &live, T0 as f64);
        assert_eq!(at(&frame), [0.0, 10.0, 11.0, 12.0, 13.0, 14.0]);
        let successes = [10.0, 19.0 / 2.0, 19.0 / 3.0, 26.0 / 4.0, 32.0 / 5.0];
        assert_eq!(frame.rates[1][1..], successes.map(Some));
        assert_eq!(frame.percentiles[0][3], None, "the silent second has none");
        assert_eq!(frame.percentiles[0][4], Some(0.01));
        assert_eq!(frame.error_rate[5], Some(8.0 / 40.0));
    }

    #[test]
    fn history_takes_over_from_seconds_once_it_has_all_of_a_step() {
        let mut live = LiveSeconds::default();
        for i in 0..12 {
            let at = T0 + i * 1_000;
            live.push(at + 1_000, Some(second(at, 10, 1)));
        }
        let range = Range {
            span_seconds: 12,
            end_ms: None,
        };
        let whole = history(T0 + 12_000);
        let frame = Frame::join(range, (T0 + 12_000) as f64, Some(&whole), &live, T0 as f64);
        assert_eq!(at(&frame), [0.0, 10.0, 11.0]);
        assert_eq!(frame.percentiles[0][0], Some(0.1));

        let mut behind = history(T0 + 12_000);
        behind.classes[1][0] = Some(60.0);
        let frame = Frame::join(range, (T0 + 12_000) as f64, Some(&behind), &live, T0 as f64);
        assert_eq!(frame.x.len(), 12);
        assert_eq!(frame.percentiles[0][0], Some(0.01));
    }

    #[test]
    fn live_seconds_fill_whole_steps_of_a_long_range() {
        let mut live = LiveSeconds::default();
        for i in 0..14 {
            let at = T0 + 5_000 + i * 1_000;
            live.push(at + 1_000, Some(second(at, 10, 0)));
        }
        let range = Range {
            span_seconds: 3_600,
            end_ms: None,
        };
        let h = history(T0 + 6_000);
        let frame = Frame::join(range, (T0 + 19_000) as f64, Some(&h), &live, T0 as f64);
        // The first step began before the page did: history has it.
        assert_eq!(at(&frame)[frame.x.len() - 2..], [0.0, 10.0]);
        assert_eq!(
            frame.rates[1][frame.x.len() - 2..],
            [Some(15.0), Some(10.0)]
        );
        assert_eq!(
            frame.percentiles[0].last(),
            Some(&None),
            "never joined from seconds"
        );
    }

    #[test]
    fn missed_message_begins_the_live_stretch_anew() {
        let mut live = LiveSeconds::default();
        live.push(T0 + 1_000, Some(second(T0, 1, 0)));
        live.push(T0 + 2_000, None);
        live.push(T0 + 2_000, None);
        assert_eq!(
            (live.from_ms, live.until_ms, live.seconds.len()),
            (Some(T0), T0 + 2_000, 1)
        );
        live.push(T0 + 9_000, Some(second(T0 + 8_000, 1, 0)));
        assert_eq!((live.from_ms, live.seconds.len()), (Some(T0 + 8_000), 1));
    }

    #[test]
    fn live_seconds_are_bounded() {
        let mut live = LiveSeconds::default();
        for i in 0..5_000 {
            live.push(T0 + (i + 1) * 1_000, Some(second(T0 + i * 1_000, 1, 0)));
        }
        assert_eq!(live.seconds.len(), MAX_LIVE_SECONDS);
        assert_eq!(
            live.from_ms,
            Some(T0 + (5_000 - MAX_LIVE_SECONDS as u64) * 1_000)
        );
    }

    #[test]
    fn answer_of_absurd_shape_is_cut() {
        let many = vec![Some(1.0); 100_000];
        let p = || result(1, &[("", &many)]);
        let h = History::new(p(), p(), [p(), p(), p()], f64::MAX);
        let range = Range {
            span_seconds: 2_678_400,
            end_ms: Some((T0 + 2_678_400_000) as f64),
        };
        let frame = Frame::join(range, 0.0, Some(&h), &LiveSeconds::default(), 0.0);
        assert_eq!(frame.x.len(), MAX_STEPS);
        let empty = Frame::join(
            range,
            0.0,
            Some(&History::default()),
            &LiveSeconds::default(),
            0.0,
        );
        assert!(empty.is_empty() && empty.x.len() <= MAX_STEPS);
    }
}
