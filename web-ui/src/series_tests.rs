use modeltap_api_types::{QuerySeries, TimeParts, WindowFigures};

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
            felt_p95: Some(0.05),
            parts: Some(TimeParts {
                n_requests: n,
                app: n as f64 * 0.01,
                ..TimeParts::default()
            }),
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
        more: Vec::new(),
    }
}

fn lines(of: impl Fn(Measure) -> Vec<Option<f64>>) -> [Vec<Option<f64>>; N_MEASURES] {
    Measure::ALL.map(of)
}

fn history(until_ms: u64) -> History {
    let p = |v| vec![Some(v), None, Some(v)];
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
        lines(|m| match m {
            Measure::P50 => p(0.1),
            Measure::P95 => p(0.2),
            Measure::P99 => p(0.3),
            Measure::Queue => vec![Some(0.04), None, None],
            _ => Vec::new(),
        }),
        until_ms as f64,
    )
}

#[test]
fn address_bar_round_trips_and_nonsense_is_the_default() {
    for (range, to, expected) in [
        ("5m", "", (300, None)),
        ("1h", "1700000000000", (3_600, Some(T0 as f64))),
        ("90s", "", (90, None)),
        ("24h", "x", (86_400, None)),
        ("0m", "", (300, None)),
        ("9999999h", "", (300, None)),
        ("é", "-1", (300, None)),
        ("", "inf", (300, None)),
        ("", "", (300, None)),
    ] {
        let parsed = Range::parse(range, to);
        assert_eq!((parsed.span_seconds, parsed.end_ms), expected, "{range:?}");
        assert_eq!(Range::parse(&parsed.span_text(), to), parsed);
    }
    let (span, to) = Range::parse("1h", "1700000000000").values();
    assert_eq!((span.as_str(), to.as_str()), ("1h", "1700000000000"));
    assert_eq!(Range::parse("90s", "").values().1, "");
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
    assert_eq!(known.values(Measure::P95), [Some(0.2), None, Some(0.2)]);
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
    assert_eq!(
        frame.values(Measure::P50)[3],
        None,
        "the silent second has none"
    );
    assert_eq!(frame.values(Measure::P50)[4], Some(0.01));
    assert_eq!(frame.values(Measure::FeltP95)[4], Some(0.05));
    // Means are of all requests of a step, not of the seconds.
    let app = frame.values(Measure::App)[5].unwrap();
    assert!((app - (4.0 * 0.1 + 0.0) / 4.0).abs() < 1e-9, "{app}");
    assert_eq!(frame.values(Measure::Queue)[4], None, "unknown is no zero");
    assert!(frame.has(Measure::App) && !frame.has(Measure::FirstChunkP95));
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
    assert_eq!(frame.values(Measure::P50)[0], Some(0.1));

    let mut behind = history(T0 + 12_000);
    behind.classes[1][0] = Some(60.0);
    let frame = Frame::join(range, (T0 + 12_000) as f64, Some(&behind), &live, T0 as f64);
    assert_eq!(frame.x.len(), 12);
    assert_eq!(frame.values(Measure::P50)[0], Some(0.01));
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
        frame.values(Measure::P50).last(),
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
    let h = History::new(p(), p(), lines(|_| many.clone()), f64::MAX);
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

#[test]
fn measures_stand_where_their_number_says() {
    for (i, measure) in Measure::ALL.into_iter().enumerate() {
        assert_eq!(measure as usize, i);
    }
}
