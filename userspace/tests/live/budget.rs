//! A budget that is far too small: what is left out, and what is not.

use std::time::{Duration, Instant};

use modeltap_api_types::{Events, QueryResult};
use modeltap_testbed::clock::await_that;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Target};

use crate::start;

/// Requests that two changes of the level may find under way: one each of the
/// load's connections.
const MAX_UNDER_WAY: u64 = 40;
/// Longest time until nothing but counts is left.
const SHED_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn over_budget_less_is_captured_step_by_step_and_every_request_is_counted() {
    let Some(_ground) = ground::take("budget") else {
        return;
    };
    let image = images::servers();
    let container =
        Container::start("budget", &Spec::new(&image, "/srv/go-server")).listening(8000);
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let daemon = start(data.path()).env("MODELTAP_MAX_CPU", "0.1%").ready();
    daemon.await_service(container.name());
    let budget = || daemon.status().budget.expect("no replay");

    let begun = Instant::now();
    let (mut n_sent, mut classes, mut levels) = (0, [0; 5], vec!["full".to_owned()]);
    let mut send = || {
        let plan = load::spread(load::mix(40));
        for row in load::run(Target::inside(&container, 8000), plan) {
            let status = row.status.expect("every request is answered");
            classes[usize::from(status / 100) - 1] += 1;
            n_sent += 1;
        }
        (n_sent, classes)
    };
    let mut exact = |before: &str| {
        let (n_sent, classes) = send();
        let counted = || {
            let service = daemon.service(container.name()).expect("it is watched");
            service.kernel.expect("the kernel counts")
        };
        await_that("every request to be counted", SHED_WITHIN, || {
            counted().requests >= n_sent
        });
        let counted = counted();
        assert_eq!(counted.requests, n_sent, "at {before}");
        assert_eq!(counted.responses, classes, "at {before}");
        // While anything comes from the kernel, all of it is told.
        if before != "counts" && budget().level != "counts" {
            daemon.await_settled(container.name(), n_sent as usize);
            if budget().level != "counts" {
                assert_eq!(daemon.n_requests(container.name()), n_sent, "at {before}");
            }
        }
    };
    while levels.last().is_some_and(|level| level != "counts") {
        assert!(begun.elapsed() < SHED_WITHIN, "{levels:?}: {:?}", budget());
        let level = budget().level;
        exact(&level);
        if levels.last() != Some(&level) {
            levels.push(level);
        }
    }
    assert_eq!(levels, ["full", "details", "heads", "counts"]);
    exact("counts");
    let counted = || daemon.service(container.name()).expect("it is watched");
    // What only the kernel counts is left out and not lost, and as many
    // requests as the rest: but for those under way when the level changed.
    await_that(
        "the counted requests to be the service's",
        SHED_WITHIN,
        || {
            let service = counted();
            let kernel = service.kernel.expect("the kernel counts").requests;
            let told = daemon.n_requests(container.name());
            told.abs_diff(kernel) <= MAX_UNDER_WAY
        },
    );
    let service = counted();
    println!(
        "the kernel counted {:?}, {} are told",
        service.kernel,
        daemon.n_requests(container.name())
    );
    let capture = service.capture.expect("something was told");
    assert!(service.window.rate > 0.0, "{service:?}");
    assert!(capture.events_left_out > 0, "{capture:?}");
    assert_eq!((capture.events_lost, capture.bytes_lost), (0, 0));
    let status = daemon.status().capture;
    assert!(status.events_left_out >= capture.events_left_out);
    assert_eq!((status.events_lost, status.bytes_lost), (0, 0));
    let path = format!(
        "/api/v1/query?metric=requests&stat=count&service={}&step=2",
        container.name()
    );
    await_that("history to have them", SHED_WITHIN, || {
        let told: QueryResult = daemon.json(&path);
        let values = told.series.iter().flat_map(|series| &series.values);
        let kept: f64 = values.flatten().sum();
        kept >= daemon.n_requests(container.name()) as f64
    });

    let reduction = daemon.metrics().into_iter();
    let reduction = reduction.filter(|sample| sample.name == "modeltap_capture_reduction");
    let values: Vec<f64> = reduction.map(|sample| sample.value).collect();
    assert_eq!(values, [3.0]);
    await_that("each step to be told", Duration::from_secs(10), || {
        let told: Events = daemon.json("/api/v1/events?kind=capture_reduced");
        told.events.len() == 3
    });
    let lost: Events = daemon.json("/api/v1/events?kind=data_lost");
    assert_eq!(lost.events.len(), 0, "{lost:?}");
    daemon.stop();
}
