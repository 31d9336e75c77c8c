use modeltap_api_types::{WhyBeside, WhyCarrier, WhyFinding, WhyPhase};

use super::*;
use crate::words::speak;

fn slow() -> WhyFinding {
    let carrier = |name: &str| WhyCarrier {
        name: name.into(),
        share: 0.96,
        before: Some(0.01),
        after: 0.21,
    };
    WhyFinding {
        kind: "slow".into(),
        figure: "felt".into(),
        stat: Some("p95".into()),
        since_unix_ms: 600_000,
        step_seconds: 5,
        before: 0.02,
        after: 0.3,
        phase: Some(WhyPhase {
            name: "app".into(),
            share: 0.97,
            before: Some(0.009),
            after: 0.2,
        }),
        route: Some(carrier("/b")),
        container: Some(carrier("api-2")),
        beside: vec![WhyBeside {
            kind: "image_changed".into(),
            at_unix_ms: 590_000,
            distance_seconds: -10,
            container: Some("api-2".into()),
            detail: "api:1 -> api:2".into(),
            n: 1,
            ..WhyBeside::default()
        }],
        ..WhyFinding::default()
    }
}

fn clock(ms: f64) -> String {
    format!("at {:.0}", ms / 1e3)
}

/// The sentences as they are read.
fn read(finding: &WhyFinding) -> String {
    let told = told("api", finding, clock);
    let text = format!("{} {} {}", told.lead, short(&told), told.then);
    text.replace('\u{a0}', " ").trim().to_owned()
}

#[test]
fn finding_is_told_in_two_sentences() {
    assert_eq!(
        read(&slow()),
        "Slower since at 600: p95 20.0 ms → 300 ms (15×), nearly all of it in the application on \
         /b, in container api-2. At that time: api-2 new image (api:1 → api:2), 10 s before."
    );
    let told = told("api", &slow(), clock);
    assert_eq!(told.class, "warn");
    assert_eq!(told.pieces[1], (Piece::Route, "/b".into()));
    let figures: Vec<&str> = told.figures.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(figures, ["app, mean", "/b, mean", "api-2, mean"]);
}

#[test]
fn finding_is_told_in_chinese() {
    speak(Lang::Chinese);
    let slow = read(&slow());
    let figures = told("api", &self::slow(), clock).figures;
    speak(Lang::English);
    assert_eq!(
        slow,
        "變慢 自 at 600 起：p95 20.0 ms → 300 ms（15×），幾乎全部花在 /b 的應用程式處理，容器 \
         api-2。 當時：api-2 更換映像檔（api:1 → api:2），早 10 秒。"
    );
    let (what, growth) = &figures[0];
    assert_eq!(what, "應用，平均");
    assert!(growth.ends_with("\u{a0}%）"), "{growth}");
    assert!(growth.contains("（占增加的 97.0"), "{growth}");
}

#[test]
fn what_is_not_known_is_not_said() {
    let bare = WhyFinding {
        phase: None,
        route: None,
        container: None,
        beside: Vec::new(),
        until_unix_ms: Some(900_000),
        ..slow()
    };
    assert_eq!(
        read(&bare),
        "Was slower from at 600 to at 900: p95 20.0 ms → 300 ms (15×)."
    );
}

#[test]
fn failing_and_starved_have_words_of_their_own() {
    let failing = WhyFinding {
        kind: "failing".into(),
        figure: "error_rate".into(),
        stat: None,
        before: 0.0,
        after: 0.25,
        phase: None,
        container: None,
        beside: vec![WhyBeside {
            kind: "more_traffic".into(),
            before: Some(10.0),
            after: Some(55.0),
            ..WhyBeside::default()
        }],
        ..slow()
    };
    assert_eq!(
        read(&failing),
        "Failing since at 600: errors 0 % → 25.0 %, nearly all of it on /b. At that time: more \
         traffic (10.0/s → 55.0/s)."
    );
    let killed = WhyFinding {
        kind: "starved".into(),
        figure: "oom_kills".into(),
        stat: None,
        before: 0.0,
        after: 3.0,
        phase: None,
        route: None,
        beside: Vec::new(),
        ..slow()
    };
    assert_eq!(
        read(&killed),
        "Out of memory since at 600: 3 processes killed in api-2."
    );
    let once = WhyFinding {
        until_unix_ms: Some(600_000),
        after: 1.0,
        container: None,
        ..killed
    };
    assert_eq!(read(&once), "Out of memory at at 600: 1 process killed.");
}

#[test]
fn words_of_a_newer_daemon_are_taken() {
    let newer = WhyFinding {
        kind: "melting".into(),
        figure: "heat".into(),
        phase: Some(WhyPhase {
            name: "warp".into(),
            ..WhyPhase::default()
        }),
        beside: vec![WhyBeside {
            kind: "sun_rose".into(),
            ..WhyBeside::default()
        }],
        ..slow()
    };
    assert!(read(&newer).contains("sun rose"));
}

#[test]
fn click_on_the_time_shows_as_much_before_as_since() {
    let (from, to) = around(&told("api", &slow(), clock), 1_000_000.0);
    assert_eq!((from, to), (200.0, 1_000.0));
    let (from, to) = around(&told("api", &slow(), clock), 601_000.0);
    assert_eq!((from, to), (540.0, 601.0), "a minute at least");
    let over = WhyFinding {
        until_unix_ms: Some(800_000),
        ..slow()
    };
    assert_eq!(around(&told("api", &over, clock), 9e6), (300.0, 900.0));
}

#[test]
fn data_is_named_by_its_metric_or_its_path() {
    let metric = data_name("/api/v1/query?stat=avg&metric=app&service=a");
    assert_eq!(metric, "app");
    assert_eq!(data_name("/api/v1/events?from=1"), "events");
    assert_eq!(data_name(""), "");
}
