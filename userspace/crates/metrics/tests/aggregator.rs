//! What the aggregator shows of known requests.

mod support;

use std::time::Duration;

use modeltap_core::accounting::InProgress;
use modeltap_core::connection::CgroupId;
use modeltap_core::measure::Measure;
use modeltap_core::record::{Completeness, Method, Outcome};
use modeltap_core::rollup::Figures;
use modeltap_core::time::UnixNs;
use modeltap_metrics::{Aggregator, Config};
use support::{ANCHOR, EPOCH, at, container, request};

const MS: Duration = Duration::from_millis(1);

fn aggregator() -> Aggregator {
    Aggregator::new(Config::default())
}

fn total(aggregator: &Aggregator, service: &str, route: &str, status: Option<u16>) -> u64 {
    let snapshot = aggregator.snapshot();
    let totals = &snapshot.service(service).expect("a known service").totals;
    totals
        .iter()
        .filter(|t| &*t.route == route && t.status == status)
        .map(|t| t.n_requests)
        .sum()
}

/// So many requests under way.
fn under_way(n_requests: u64) -> InProgress {
    InProgress {
        n_requests,
        ..InProgress::default()
    }
}

#[test]
fn known_load_shows_exact_counts_by_route_and_status() {
    let mut aggregator = aggregator();
    let api = container("api", "api-1");
    aggregator.set_containers(std::slice::from_ref(&api));
    aggregator.tick(at(0.0));
    for n in 0..1_000_u32 {
        let (path, status) = match n % 10 {
            0 => (
                format!("/missing{}", if n % 20 == 0 { "" } else { "/too" }),
                404,
            ),
            1 => ("/predict".into(), 422),
            2 => ("/predict".into(), 500),
            3..6 => (format!("/items/{n}"), 200),
            _ => ("/predict".into(), 200),
        };
        aggregator.record(request(&path, status, 0.5, MS * 3), &api, ANCHOR);
    }
    let rollups = aggregator.tick(at(1.01));
    assert_eq!(
        rollups
            .iter()
            .map(|rollup| rollup.figures.n_requests)
            .sum::<u64>(),
        1_000
    );
    assert_eq!(total(&aggregator, "api", "/items/{id}", Some(200)), 300);
    assert_eq!(total(&aggregator, "api", "/predict", Some(200)), 400);
    assert_eq!(total(&aggregator, "api", "/predict", Some(422)), 100);
    assert_eq!(total(&aggregator, "api", "/predict", Some(500)), 100);
    assert_eq!(total(&aggregator, "api", "/missing", Some(404)), 50);

    let snapshot = aggregator.snapshot();
    let service = snapshot.service("api").unwrap();
    assert_eq!(service.project.as_deref(), Some("shop"));
    assert_eq!(
        (service.window.n_requests, service.window.n_errors),
        (1_000, 100)
    );
    assert_eq!(service.window.error_rate(), Some(0.1));
    assert!(
        (service.window.rate - 1_000.0).abs() < 1e-9,
        "one second old: {}",
        service.window.rate
    );
    let second = service.second.unwrap();
    assert_eq!(second.at, UnixNs(EPOCH * 1_000_000_000));
    assert_eq!(second.by_status_class, [0, 700, 0, 200, 100, 0]);
    let predict = service
        .routes
        .iter()
        .find(|route| &*route.route == "/predict")
        .unwrap();
    assert_eq!(predict.method, Some(Method::Post));
    assert_eq!(
        predict.by_status,
        [(Some(200), 400), (Some(422), 100), (Some(500), 100)]
    );
    assert!((predict.time_share - 0.6).abs() < 1e-9);
}

#[test]
fn late_request_counts_in_the_open_window_and_only_there() {
    let mut aggregator = aggregator();
    let api = container("api", "api-1");
    aggregator.tick(at(0.0));
    aggregator.record(request("/a", 200, 0.9, MS), &api, ANCHOR);
    let first = aggregator.tick(at(1.0));
    aggregator.record(request("/a", 200, 0.95, MS), &api, ANCHOR);
    assert!(
        aggregator.tick(at(1.5)).is_empty(),
        "the second is not over"
    );
    let second = aggregator.tick(at(2.2));
    assert_eq!((first[0].start, first[0].figures.n_requests), (at(0.0), 1));
    assert_eq!(
        (second[0].start, second[0].figures.n_requests),
        (at(1.0), 1)
    );
    assert!(aggregator.tick(at(3.0)).is_empty());
    assert_eq!(total(&aggregator, "api", "/a", Some(200)), 2);
}

#[test]
fn finish_gives_what_the_open_window_has() {
    let mut aggregator = aggregator();
    assert!(aggregator.finish().is_empty());
    aggregator.record(
        request("/a", 200, 0.2, MS),
        &container("api", "api-1"),
        ANCHOR,
    );
    assert_eq!(aggregator.finish().len(), 1);
    assert!(aggregator.finish().is_empty());
}

#[test]
fn services_without_requests_are_there_with_nothing() {
    let mut aggregator = aggregator();
    aggregator.set_containers(&[container("quiet", "quiet-1"), container("quiet", "quiet-2")]);
    aggregator.tick(at(0.0));
    aggregator.tick(at(20.0));
    let snapshot = aggregator.snapshot();
    let quiet = snapshot.service("quiet").unwrap();
    assert_eq!(quiet.containers.len(), 2);
    assert_eq!(quiet.window.n_requests, 0);
    assert_eq!(
        (
            quiet.window.p50,
            quiet.window.max,
            quiet.window.error_rate()
        ),
        (None, None, None)
    );
    assert_eq!((quiet.second, quiet.last_request), (None, None));
    aggregator.set_containers(&[]);
    assert!(
        aggregator.snapshot().services.is_empty(),
        "it never counted anything"
    );
}

#[test]
fn live_window_forgets_after_a_minute_and_totals_do_not() {
    let mut aggregator = aggregator();
    let api = container("api", "api-1");
    aggregator.set_containers(std::slice::from_ref(&api));
    aggregator.tick(at(0.0));
    aggregator.record(request("/slow", 200, 2.1, MS * 2_000), &api, ANCHOR);
    aggregator.tick(at(1.0));
    for second in 1..=60_u32 {
        let finished = f64::from(second) + 0.5;
        aggregator.record(request("/fast", 200, finished, MS), &api, ANCHOR);
        let figures = aggregator.snapshot().service("api").unwrap().window;
        assert_eq!(
            figures.n_requests,
            u64::from(second),
            "in the window at {second}"
        );
        assert_eq!(figures.max, Some(MS * 2_000));
        assert_eq!(figures.p99.map(|p99| p99 > MS * 1_900), Some(true));
        aggregator.tick(at(f64::from(second) + 1.0));
    }
    let snapshot = aggregator.snapshot();
    let service = snapshot.service("api").unwrap();
    assert_eq!(snapshot.window, Duration::from_secs(60));
    assert_eq!((service.window.n_requests, service.window.rate), (60, 1.0));
    assert_eq!(service.window.max, Some(MS), "the slow one left the window");
    assert_eq!(service.routes.len(), 1);
    assert_eq!(
        service.sparkline, [1.0; 6],
        "requests a second by ten seconds"
    );
    assert_eq!(service.last_request, Some(at(60.5)));
    assert_eq!(total(&aggregator, "api", "/slow", Some(200)), 1);
    aggregator.tick(at(500.0));
    let snapshot = aggregator.snapshot();
    assert_eq!(snapshot.service("api").unwrap().window.n_requests, 0);
}

#[test]
fn percentiles_never_exceed_the_longest_duration() {
    let mut aggregator = aggregator();
    let api = container("api", "api-1");
    aggregator.tick(at(0.0));
    let duration = Duration::from_nanos(1_000_000_001);
    aggregator.record(request("/a", 200, 2.0, duration), &api, ANCHOR);
    aggregator.tick(at(1.0));
    let figures = aggregator.snapshot().service("api").unwrap().window;
    assert_eq!(figures.max, Some(duration));
    assert!(figures.p99 <= figures.max && figures.p50 <= figures.max);
}

#[test]
fn outcomes_and_completeness_are_counted_as_they_were() {
    let mut aggregator = aggregator();
    let api = container("api", "api-1");
    aggregator.tick(at(0.0));
    for (status, outcome, completeness) in [
        (None, Outcome::Unanswered, Completeness::Whole),
        (Some(200), Outcome::ServerAborted, Completeness::Whole),
        (Some(200), Outcome::ClientAborted, Completeness::Whole),
        (Some(503), Outcome::Complete, Completeness::Truncated),
        (Some(200), Outcome::Lost, Completeness::Gap),
    ] {
        let mut record = request("/a", 200, 0.5, MS);
        (record.status, record.outcome, record.completeness) = (status, outcome, completeness);
        if status.is_none() {
            record.timings.response_start = None;
            record.timings.response_end = None;
        }
        aggregator.record(record, &api, ANCHOR);
    }
    let rollups = aggregator.tick(at(1.0));
    assert_eq!(rollups.len(), 5, "a series an outcome");
    let figures = aggregator.snapshot().service("api").unwrap().window;
    assert_eq!(
        (figures.n_requests, figures.n_errors, figures.n_incomplete),
        (5, 3, 2)
    );
    let unanswered = rollups
        .iter()
        .find(|r| r.key.outcome == Outcome::Unanswered)
        .unwrap();
    assert!(unanswered.figures.time_to_first_byte.is_empty());
    assert_eq!(unanswered.figures.duration.count(), 1);
}

#[test]
fn totals_tell_versions_apart_and_count_exactly_by_bucket() {
    let mut aggregator = aggregator();
    let api = container("api", "api-1");
    for (minor, ms) in [(1, 5), (1, 6), (0, 5)] {
        let mut record = request("/a", 200, 0.5, MS * ms);
        record.http_minor = minor;
        record.timings.accepted = Some(record.timings.request_start);
        aggregator.record(record, &api, ANCHOR);
    }
    let totals = aggregator.totals();
    assert_eq!(totals.series.len(), 2);
    let newer = totals
        .series
        .iter()
        .find(|series| series.http_minor == 1)
        .unwrap();
    assert_eq!(
        newer.counters.duration.counts[..3],
        [1, 1, 0],
        "5 ms is in the first bucket"
    );
    assert_eq!(newer.counters.duration.sum_ns, 11_000_000);
    assert_eq!(newer.counters.response_body.sum_bytes, 4_000);
    let queue = totals.routes[0].counters.measure(Measure::Queue);
    assert_eq!(queue.map(|queue| queue.count()), Some(3));
}

#[test]
fn counts_of_a_removed_container_stay_for_an_hour() {
    let mut aggregator = aggregator();
    let (one, two) = (container("api", "api-1"), container("api", "api-2"));
    aggregator.set_containers(&[one.clone(), two.clone()]);
    aggregator.tick(at(0.0));
    aggregator.record(request("/a", 200, 0.5, MS), &one, ANCHOR);
    aggregator.record(request("/a", 200, 0.5, MS), &two, ANCHOR);
    aggregator.tick(at(1.0));
    aggregator.set_containers(std::slice::from_ref(&two));
    aggregator.record(request("/a", 200, 1.5, MS), &one, ANCHOR);
    aggregator.tick(at(3_000.0));
    assert_eq!(
        aggregator
            .snapshot()
            .service("api")
            .unwrap()
            .containers
            .len(),
        1
    );
    let of_one = |aggregator: &Aggregator| {
        let totals = aggregator.totals();
        let mut series = totals
            .series
            .iter()
            .filter(|s| &*s.key.container == "api-1");
        series.next().map(|s| s.counters.n_requests)
    };
    assert_eq!(of_one(&aggregator), Some(2), "with the late one");
    for minute in 51..=61 {
        aggregator.tick(at(f64::from(minute) * 60.0));
    }
    assert_eq!(of_one(&aggregator), None);
    assert_eq!(aggregator.stats().n_series, 1);
    assert_eq!(
        total(&aggregator, "api", "/a", Some(200)),
        3,
        "the service still knows"
    );
    aggregator.set_containers(&[]);
    aggregator.tick(at(10_000.0));
    assert!(aggregator.snapshot().services.is_empty());
    assert_eq!(aggregator.totals().series.len(), 0);
}

#[test]
fn containers_that_come_and_go_without_end_are_forgotten_but_for_the_last() {
    let mut aggregator = aggregator();
    aggregator.tick(at(0.0));
    let stays = container("stays", "stays-1");
    aggregator.upsert_container(&stays);
    aggregator.record(request("/predict", 200, 0.5, MS), &stays, ANCHOR);
    for second in 1..=2_000_u64 {
        let name = format!("job-{second}");
        let mut job = container(&name, &name);
        job.cgroup = CgroupId(1_000_000 + second);
        aggregator.upsert_container(&job);
        aggregator.record(request("/predict", 200, second as f64, MS), &job, ANCHOR);
        aggregator.tick(at(second as f64 + 1.0));
        aggregator.remove_container(&job.id);
    }
    let stats = aggregator.stats();
    // Those of the last two seconds wait for their window to close.
    let kept = 500..=503;
    assert!(kept.contains(&(stats.n_services - 1)), "{stats:?}");
    assert!(kept.contains(&(stats.n_series - 1)), "{stats:?}");
    assert_eq!(total(&aggregator, "job-2000", "/predict", Some(200)), 1);
    assert_eq!(total(&aggregator, "job-1600", "/predict", Some(200)), 1);
    assert!(aggregator.snapshot().service("job-1400").is_none());
    assert_eq!(total(&aggregator, "stays", "/predict", Some(200)), 1);
}

#[test]
fn a_container_that_comes_back_under_its_name_goes_on_counting() {
    let mut aggregator = aggregator();
    let old = container("api", "api-1");
    let mut new = old.clone();
    new.id.0.push('x');
    aggregator.set_containers(std::slice::from_ref(&old));
    aggregator.record(request("/a", 200, 0.5, MS), &old, ANCHOR);
    aggregator.set_containers(std::slice::from_ref(&new));
    aggregator.record(request("/a", 200, 0.6, MS), &new, ANCHOR);
    aggregator.record(request("/a", 200, 0.6, MS), &old, ANCHOR);
    let totals = aggregator.totals();
    assert_eq!(
        (totals.series.len(), totals.series[0].counters.n_requests),
        (1, 3)
    );
    aggregator.tick(at(1.0));
    assert_eq!(aggregator.snapshot().services[0].containers[0].id, new.id);
}

#[test]
fn renamed_container_counts_under_its_new_name() {
    let mut aggregator = aggregator();
    let mut api = container("api", "api-1");
    aggregator.upsert_container(&api);
    aggregator.record(request("/a", 200, 0.5, MS), &api, ANCHOR);
    api.name = "renamed".into();
    aggregator.upsert_container(&api);
    aggregator.record(request("/a", 200, 0.5, MS), &api, ANCHOR);
    let mut names: Vec<_> = aggregator
        .totals()
        .series
        .iter()
        .map(|s| s.key.container.to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["api-1", "renamed"]);
    let running = &aggregator.snapshot().services[0].containers;
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].name, "renamed");
}

#[test]
fn active_requests_follow_the_watched_cgroups() {
    let mut aggregator = aggregator();
    let (one, two) = (container("api", "api-1"), container("api", "api-2"));
    aggregator.set_containers(&[one.clone(), two.clone()]);
    aggregator.tick(at(0.0));
    aggregator.set_in_progress([(one.cgroup, under_way(3)), (two.cgroup, under_way(4))]);
    assert_eq!(aggregator.snapshot().services[0].n_active, 7);
    aggregator.set_in_progress([(two.cgroup, under_way(1))]);
    assert_eq!(aggregator.snapshot().services[0].n_active, 1);
    aggregator.remove_container(&two.id);
    aggregator.set_in_progress([(two.cgroup, under_way(9))]);
    assert_eq!(aggregator.snapshot().services[0].n_active, 0);
}

#[test]
fn hostile_container_cannot_grow_the_series_and_nothing_is_dropped() {
    let config = Config {
        max_series: 500,
        max_series_of_service: 300,
        ..Config::default()
    };
    let mut aggregator = Aggregator::new(config);
    let (bad, good) = (container("bad", "bad-1"), container("good", "good-1"));
    aggregator.tick(at(0.0));
    let mut n_requests = 0;
    for status in 100..=999_u16 {
        for path in ["/a", "/b", "/c", "/d"] {
            aggregator.record(request(path, status, 0.5, MS), &bad, ANCHOR);
            n_requests += 1;
        }
    }
    for _ in 0..10 {
        aggregator.record(request("/predict", 200, 0.5, MS), &good, ANCHOR);
    }
    let stats = aggregator.stats();
    assert!(
        stats.n_series <= 300 + 256 + 5 + 1,
        "{} series",
        stats.n_series
    );
    assert!(stats.n_requests_overflowed > 2_000);
    let mut all = Figures::default();
    let rollups = aggregator.tick(at(1.0));
    for rollup in rollups
        .iter()
        .filter(|rollup| &*rollup.key.service == "bad")
    {
        all.merge(&rollup.figures);
    }
    assert_eq!(all.n_requests, n_requests);
    assert_eq!(total(&aggregator, "good", "/predict", Some(200)), 10);
    let snapshot = aggregator.snapshot();
    let totals = &snapshot.service("bad").unwrap().totals;
    assert_eq!(
        totals.iter().map(|total| total.n_requests).sum::<u64>(),
        n_requests
    );
    assert!(totals.len() <= 305);
}

#[test]
fn recent_requests_are_newest_first_and_bounded() {
    let config = Config {
        max_recent_requests: 3,
        ..Config::default()
    };
    let mut aggregator = Aggregator::new(config);
    let api = container("api", "api-1");
    for n in 0..5_u32 {
        let finished = f64::from(n) / 10.0 + 0.1;
        aggregator.record(
            request(&format!("/items/{n}"), 200, finished, MS),
            &api,
            ANCHOR,
        );
    }
    let held: Vec<_> = aggregator.recent().cloned().collect();
    assert_eq!(
        held.iter()
            .map(|request| request.number)
            .collect::<Vec<_>>(),
        [5, 4, 3]
    );
    assert_eq!(held[0].record.path, "/items/4");
    assert_eq!(&*held[0].route, "/items/{id}");
    assert_eq!(held[0].finished, at(0.5));
    aggregator.record(request("/last", 200, 0.9, MS), &api, ANCHOR);
    assert_eq!(
        held[2].record.path, "/items/2",
        "what a reader holds does not change"
    );
    assert_eq!(aggregator.recent().next().unwrap().record.path, "/last");
}

#[test]
fn clock_set_back_loses_no_count() {
    let mut aggregator = aggregator();
    let api = container("api", "api-1");
    aggregator.tick(at(1_000.0));
    aggregator.record(request("/a", 200, 1_000.5, MS), &api, ANCHOR);
    let before = aggregator.tick(at(400.0));
    assert_eq!((before.len(), before[0].start), (1, at(1_000.0)));
    aggregator.record(request("/a", 200, 400.5, MS), &api, ANCHOR);
    let after = aggregator.tick(at(401.0));
    assert_eq!((after.len(), after[0].start), (1, at(400.0)));
    let snapshot = aggregator.snapshot();
    assert_eq!(snapshot.service("api").unwrap().window.n_requests, 1);
    assert_eq!(total(&aggregator, "api", "/a", Some(200)), 2);
}

#[test]
fn labels_of_a_container_name_its_routes() {
    let mut aggregator = aggregator();
    let mut api = container("api", "api-1");
    api.routes = vec!["/users/{name}".into()];
    aggregator.set_containers(std::slice::from_ref(&api));
    aggregator.record(request("/users/ann", 200, 0.5, MS), &api, ANCHOR);
    aggregator.tick(at(2.0));
    assert_eq!(total(&aggregator, "api", "/users/{name}", Some(200)), 1);
}
