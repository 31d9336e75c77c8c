//! A budget that is far too small: what is left out, and what is not.

use std::time::{Duration, Instant};

use modeltap_api_types::Events;
use modeltap_testbed::clock::await_that;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Target};

use crate::start;

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

    let reduction = daemon.metrics().into_iter();
    let reduction = reduction.filter(|sample| sample.name == "modeltap_capture_reduction");
    let values: Vec<f64> = reduction.map(|sample| sample.value).collect();
    assert_eq!(values, [3.0]);
    await_that("each step to be told", Duration::from_secs(10), || {
        let told: Events = daemon.json("/api/v1/events?kind=capture_reduced");
        told.events.len() == 3
    });
    daemon.stop();
}
