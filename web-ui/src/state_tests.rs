use leptos::reactive::owner::Owner;
use modeltap_api_types::{
    DockerState, DockerStatus, ProbesStatus, ProcessStatus, Requests, Second, ServiceContainer,
    StoreStatus, WindowFigures,
};

use super::*;

fn service(
    name: &str,
    health: Health,
    n_requests: u64,
    n_errors: u64,
    p95: Option<f64>,
) -> Service {
    Service {
        name: name.into(),
        project: Some("shop".into()),
        containers: vec![ServiceContainer {
            id: "0".into(),
            name: format!("{name}-1"),
            image: "org/api:1".into(),
            ..ServiceContainer::default()
        }],
        health,
        window: WindowFigures {
            n_requests,
            n_errors,
            rate: n_requests as f64 / 60.0,
            error_rate: (n_requests > 0).then(|| n_errors as f64 / n_requests as f64),
            p95,
            ..WindowFigures::default()
        },
        totals: Vec::new(),
        sparkline: Vec::new(),
        last_request_unix_ms: None,
        n_active: 1,
        ..Service::default()
    }
}

fn status() -> Status {
    Status {
        version: "0".into(),
        kernel: "6".into(),
        started_unix_ms: 0,
        uptime_seconds: 1.0,
        probes: ProbesStatus {
            attached: true,
            n_programs: 12,
            n_connections: 0,
            ..Default::default()
        },
        capture: CaptureStatus::default(),
        store: StoreStatus {
            ok: true,
            error: None,
            path: String::new(),
            size_bytes: 0,
            rollups_written: 0,
            rollups_dropped: 0,
            notice: None,
            ..StoreStatus::default()
        },
        docker: DockerStatus {
            state: DockerState::Connected,
            reason: None,
            n_containers: 1,
            n_excluded: 0,
            version: None,
        },
        process: ProcessStatus {
            cpu_cores: 0.0,
            memory_bytes: 0,
        },
        ..Status::default()
    }
}

fn live(services: Vec<Service>, names: &[&str], at_unix_ms: u64) -> Live {
    Live {
        status: status(),
        services,
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        seconds: Vec::new(),
        alerts: Vec::new(),
        at_unix_ms,
        window_seconds: 60,
    }
}

fn request(sequence: u64, duration: f64) -> Request {
    Request {
        service: "a".into(),
        container: "a-1".into(),
        method: Some("GET".into()),
        route: "/".into(),
        status: Some(200),
        outcome: "complete".into(),
        completeness: "whole".into(),
        streamed: false,
        peer_address: "172.17.0.1".into(),
        peer_port: 1,
        local_port: 80,
        connection: "c".into(),
        sequence,
        started_unix_ms: 0,
        started_monotonic_ns: 0,
        ended_monotonic_ns: 0,
        duration,
        ttfb: None,
        queue: None,
        stream: None,
        request_body_bytes: 0,
        response_body_bytes: 0,
        ..Request::default()
    }
}

#[test]
fn update_changes_only_its_services_and_drops_those_that_went() {
    Owner::new().with(|| {
        let store = Store::new();
        let (a, b) = (
            service("a", Health::Ok, 6, 0, None),
            service("b", Health::Ok, 6, 0, None),
        );
        store.apply(
            LiveMessage::Snapshot(live(vec![a, b], &["a", "b"], 10_000)),
            10_250.0,
        );
        assert_eq!(store.connection.get_untracked(), Connection::Open);
        assert_eq!(store.clock_ahead_ms.get_untracked(), 250.0);
        let b_before = store.service("b").expect("b is named");

        let a = service("a", Health::Critical, 60, 30, None);
        store.apply(
            LiveMessage::Update(live(vec![a], &["a", "b"], 11_000)),
            11_250.0,
        );
        assert!(!store.show_more());
        assert_eq!(
            store.service("a").expect("a is named").read().health,
            Health::Critical
        );
        assert_eq!(store.services().len(), 2);
        assert_eq!(b_before.read().window.n_requests, 6);

        store.apply(LiveMessage::Update(live(vec![], &["b"], 12_000)), 12_250.0);
        assert!(store.service("a").is_none());
        assert_eq!(store.services().len(), 1);
    });
}

/// Names of so many services, in their order.
fn names_of(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("s{i:04}")).collect()
}

/// A message about all of them, with so many requests each.
fn of_all(names: &[String], n_requests: u64) -> Live {
    let services = names.iter();
    let services = services.map(|n| service(n, Health::Ok, n_requests, 0, None));
    let named: Vec<&str> = names.iter().map(String::as_str).collect();
    live(services.collect(), &named, 1_000 * n_requests)
}

/// How many of all services show so many requests.
fn n_showing(store: &Store, n_requests: u64) -> usize {
    let services = store.services();
    let of = |s: &&ArcRwSignal<Service>| s.read_untracked().window.n_requests == n_requests;
    services.iter().filter(of).count()
}

#[test]
fn second_of_many_services_is_shown_in_frames_of_a_few() {
    for (n_services, most) in [(100, MOST_A_FRAME), (1_200, 40)] {
        Owner::new().with(|| {
            let store = Store::new();
            let names = names_of(n_services);
            store.apply(LiveMessage::Snapshot(of_all(&names, 1)), 0.0);
            assert_eq!(
                n_showing(&store, 1),
                n_services,
                "the first is there at once"
            );
            store.apply(LiveMessage::Update(of_all(&names, 2)), 0.0);
            assert_eq!(
                n_showing(&store, 2),
                0,
                "what was there waits for its frame"
            );
            let mut n_shown = 0;
            let mut n_frames = 0;
            loop {
                let more = store.show_more();
                n_frames += 1;
                let n = n_showing(&store, 2);
                assert!(n - n_shown <= most, "{} in one frame", n - n_shown);
                n_shown = n;
                if !more {
                    break;
                }
            }
            assert_eq!(n_shown, n_services);
            assert!(n_frames <= 30, "{n_frames} frames of the 60 of a second");
        });
    }
}

#[test]
fn page_out_of_sight_keeps_the_newest_of_each_service_and_no_more() {
    Owner::new().with(|| {
        let store = Store::new();
        let names = names_of(20);
        store.apply(LiveMessage::Snapshot(of_all(&names, 1)), 0.0);
        for second in 2..60 {
            store.apply(LiveMessage::Update(of_all(&names, second)), 0.0);
        }
        // One that went takes what waits of it along.
        store.apply(LiveMessage::Update(of_all(&names[1..], 60)), 0.0);
        while store.show_more() {}
        assert_eq!(n_showing(&store, 60), 19);
    });
}

#[test]
fn service_whose_page_is_open_waits_for_no_frame_and_is_not_set_back() {
    Owner::new().with(|| {
        let store = Store::new();
        let names = names_of(20);
        store.apply(LiveMessage::Snapshot(of_all(&names, 1)), 0.0);
        store.apply(LiveMessage::Update(of_all(&names, 2)), 0.0);
        store.watch(Some(names[7].clone()));
        store.apply(LiveMessage::Update(of_all(&names, 3)), 0.0);
        let of = |n: u64| store.service(&names[7]).unwrap().read().window.n_requests == n;
        assert!(of(3));
        while store.show_more() {}
        assert!(of(3));
    });
}

#[test]
fn seconds_are_kept_of_the_watched_service_only() {
    Owner::new().with(|| {
        let store = Store::new();
        let second = |service: &str| Second {
            service: service.into(),
            at_unix_ms: 10_000,
            figures: WindowFigures::default(),
            by_status_class: [0; 6],
        };
        let mut message = live(vec![], &["a", "b"], 11_000);
        message.seconds = vec![second("a"), second("b")];
        let mut expected = LiveSeconds::default();
        store.apply(LiveMessage::Update(message.clone()), 0.0);
        assert_eq!(store.seconds.get_untracked(), expected);
        store.watch(Some("b".into()));
        store.apply(LiveMessage::Update(message), 0.0);
        expected.push(11_000, Some(second("b")));
        assert_eq!(store.seconds.get_untracked(), expected);
        store.watch(Some("a".into()));
        assert_eq!(store.seconds.get_untracked(), LiveSeconds::default());
    });
}

#[test]
fn inbox_keeps_the_newest_requests_first_and_is_bounded() {
    Owner::new().with(|| {
        let store = Store::new();
        let batch = |from: u64| {
            let requests = (from..from + 400).rev().map(|i| request(i, 1.0)).collect();
            LiveMessage::Requests(Requests {
                requests,
                next: None,
            })
        };
        store.apply(batch(0), 0.0);
        store.apply(batch(400), 0.0);
        let inbox = store.inbox.get_untracked();
        assert_eq!(inbox.len(), MAX_REQUESTS);
        let sequences: Vec<u64> = inbox.iter().map(|r| r.sequence).collect();
        assert!(sequences.is_sorted_by(|a, b| a > b));
        assert_eq!(sequences[0], 799);
    });
}

#[test]
fn more_services_than_fit_are_left_out() {
    Owner::new().with(|| {
        let store = Store::new();
        let names: Vec<String> = (0..MAX_SERVICES + 10).map(|i| format!("s{i}")).collect();
        let services = names
            .iter()
            .map(|n| service(n, Health::Idle, 0, 0, None))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        store.apply(LiveMessage::Snapshot(live(services, &names, 0)), 0.0);
        assert_eq!(store.services().len(), MAX_SERVICES);
    });
}

#[test]
fn worst_first_then_by_errors_then_by_name() {
    let mut services = [
        service("idle", Health::Idle, 0, 0, None),
        service("b-ok", Health::Ok, 1_000, 9, Some(0.2)),
        service("a-ok", Health::Ok, 1_000, 1, Some(0.9)),
        service("warn", Health::Warning, 100, 3, Some(0.1)),
        service("crit-6", Health::Critical, 100, 6, Some(0.1)),
        service("crit-50", Health::Critical, 100, 50, Some(0.1)),
    ];
    let mut names = |by, reversed| {
        services.sort_by(|a, b| Sort { by, reversed }.compare(a, b));
        services
            .iter()
            .map(|s| s.name.clone())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        names(SortBy::Health, false),
        "crit-50 crit-6 warn a-ok b-ok idle"
    );
    assert_eq!(
        names(SortBy::P95, false),
        "a-ok b-ok crit-50 crit-6 warn idle"
    );
    assert_eq!(
        names(SortBy::P95, true),
        "crit-50 crit-6 warn b-ok a-ok idle"
    );
    assert_eq!(
        names(SortBy::Name, true),
        "warn idle crit-6 crit-50 b-ok a-ok"
    );
}

#[test]
fn filter_wants_every_word_somewhere() {
    let s = service("fraud-score", Health::Warning, 1, 0, None);
    for (typed, expected) in [
        ("", true),
        ("  ", true),
        ("FRAUD", true),
        ("shop fraud", true),
        ("warning", true),
        ("org/api", true),
        ("fraud-score-1", true),
        ("fraud nothing", false),
    ] {
        assert_eq!(matches(&s, typed), expected, "{typed:?}");
    }
}

#[test]
fn totals_add_counts_and_keep_the_highest_p95_with_its_owner() {
    let mut totals = Totals::default();
    assert_eq!(totals.error_rate(), None);
    totals.add(&service("a", Health::Ok, 60, 0, Some(0.1)));
    totals.add(&service("b", Health::Critical, 40, 10, Some(0.4)));
    totals.add(&service("c", Health::Idle, 0, 0, None));
    assert_eq!(totals.by_health, [1, 0, 1, 1]);
    assert_eq!(totals.error_rate(), Some(0.1));
    assert_eq!(totals.highest_p95, Some((0.4, "b".into())));
    assert_eq!(totals.n_active, 3);
}

#[test]
fn capture_is_whole_until_something_was_missed() {
    let whole = CaptureStatus {
        events_observed: 100,
        events_captured: 90,
        ..Default::default()
    };
    let summary = CaptureSummary::new(&whole);
    assert_eq!(
        (summary.trust, summary.share()),
        (Trust::Whole, Some(1.0)),
        "ten are on the way"
    );

    let cut = CaptureStatus {
        bytes_truncated: 7,
        ..whole
    };
    let summary = CaptureSummary::new(&cut);
    assert_eq!(
        (summary.trust, summary.share()),
        (Trust::Partial, Some(1.0))
    );
    assert_eq!(summary.misses, [(7, W::BytesTruncated)]);

    let lost = CaptureStatus {
        events_lost: 3,
        events_dropped: 2,
        ..cut
    };
    let summary = CaptureSummary::new(&lost);
    assert_eq!((summary.trust, summary.share()), (Trust::Lossy, Some(0.95)));
    assert_eq!(summary.misses.len(), 3);

    let left_out = CaptureStatus {
        events_left_out: 40,
        ..whole
    };
    let summary = CaptureSummary::new(&left_out);
    assert_eq!(
        (summary.trust, summary.share()),
        (Trust::Partial, Some(0.6)),
        "on purpose"
    );
    assert_eq!(summary.misses, [(40, W::LeftOutWord)]);

    let nothing = CaptureSummary::new(&CaptureStatus::default());
    assert_eq!((nothing.trust, nothing.share()), (Trust::Whole, None));
    let absurd = CaptureStatus {
        events_lost: u64::MAX,
        events_dropped: 1,
        ..whole
    };
    assert_eq!(CaptureSummary::new(&absurd).events_kept, 0);
}

#[test]
fn alerts_are_replaced_with_each_message_and_bounded() {
    Owner::new().with(|| {
        let store = Store::new();
        let alert = |n: usize| Alert {
            id: n.to_string(),
            ..Alert::default()
        };
        let mut first = live(Vec::new(), &[], 1_000);
        first.alerts = (0..MAX_ALERTS + 7).map(alert).collect();
        store.apply(LiveMessage::Snapshot(first), 0.0);
        assert_eq!(store.alerts.with(Vec::len), MAX_ALERTS);
        let mut next = live(Vec::new(), &[], 2_000);
        next.alerts = vec![alert(3)];
        store.apply(LiveMessage::Update(next), 0.0);
        assert_eq!(store.alerts.with(|a| a[0].id.clone()), "3");
        store.apply(LiveMessage::Update(live(Vec::new(), &[], 3_000)), 0.0);
        assert!(store.alerts.with(Vec::is_empty));
    });
}
