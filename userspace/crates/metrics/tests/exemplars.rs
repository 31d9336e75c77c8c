//! The single requests that stand for their minute.

mod support;

use std::time::Duration;

use modeltap_core::exemplar::ExemplarReason;
use modeltap_core::record::Outcome;
use modeltap_metrics::{Aggregator, Config};
use support::{ANCHOR, at, container, request};

const MS: Duration = Duration::from_millis(1);

#[test]
fn slowest_of_a_minute_are_told_when_it_closes_and_the_slowest_first() {
    let mut aggregator = Aggregator::new(Config::default());
    let api = container("api", "api-1");
    // EPOCH is twenty seconds into its minute.
    for n in 0..1_000_u32 {
        let finished = f64::from(n) * 0.01;
        // Each duration once, in no order.
        let duration = MS * (n * 379 % 1_000 + 1);
        aggregator.record(request("/a", 200, finished, duration), &api, ANCHOR);
    }
    aggregator.tick(at(39.0));
    assert!(aggregator.take_exemplars().is_empty(), "the minute is open");
    aggregator.tick(at(40.0));
    let kept = aggregator.take_exemplars();
    let durations: Vec<_> = kept.iter().map(|kept| kept.duration.unwrap()).collect();
    assert_eq!(durations, [1_000, 999, 998, 997, 996].map(|n| MS * n));
    assert!(kept.iter().all(|kept| kept.reason == ExemplarReason::Slow));
    let first = &kept[0];
    assert_eq!((&*first.service, &*first.container), ("api", "api-1"));
    assert_eq!(first.finished.0 - first.started.0, 1_000_000_000);
    assert_eq!(first.app, Some(MS * 1_000));
    assert!(aggregator.take_exemplars().is_empty(), "told once");
}

#[test]
fn each_service_and_minute_has_its_own() {
    let mut aggregator = Aggregator::new(Config::default());
    let (a, b) = (container("a", "a-1"), container("b", "b-1"));
    aggregator.record(request("/a", 200, 1.0, MS), &a, ANCHOR);
    aggregator.record(request("/b", 200, 1.0, MS * 900), &b, ANCHOR);
    aggregator.tick(at(45.0));
    let first = aggregator.take_exemplars();
    assert_eq!(first.len(), 2);
    aggregator.record(request("/a", 200, 46.0, MS / 2), &a, ANCHOR);
    aggregator.finish();
    let last = aggregator.take_exemplars();
    assert_eq!(last.len(), 1, "the daemon's end closes the minute");
    assert_eq!(last[0].duration, Some(MS / 2));
}

#[test]
fn failed_requests_are_kept_up_to_a_limit_and_from_the_whole_minute() {
    let mut aggregator = Aggregator::new(Config::default());
    let api = container("api", "api-1");
    let n_failed = 2_000_u32;
    for n in 0..n_failed {
        let finished = f64::from(n) * 0.01;
        let mut failed = request("/a", 503, finished, MS);
        if n % 2 == 0 {
            failed.status = None;
            failed.outcome = Outcome::ServerAborted;
        }
        aggregator.record(failed, &api, ANCHOR);
        // What the client gave up, and what it asked in vain, did not fail.
        let mut aborted = request("/a", 200, finished, MS);
        aborted.outcome = Outcome::ClientAborted;
        aggregator.record(aborted, &api, ANCHOR);
        aggregator.record(request("/a", 404, finished, MS), &api, ANCHOR);
    }
    aggregator.finish();
    let kept = aggregator.take_exemplars();
    let failed: Vec<_> = kept
        .iter()
        .filter(|kept| kept.reason == ExemplarReason::Failed)
        .collect();
    assert_eq!(failed.len(), 20);
    assert_eq!(kept.len(), 25, "and the slowest");
    let seconds = failed
        .iter()
        .map(|kept| kept.finished.seconds() - at(0.0).seconds());
    let in_first_half = seconds.filter(|second| *second < 10).count();
    assert!(
        (4..=16).contains(&in_first_half),
        "{in_first_half} of the first ten of twenty seconds"
    );
}

#[test]
fn request_whose_end_was_lost_is_not_among_the_slowest() {
    let mut aggregator = Aggregator::new(Config::default());
    let mut lost = request("/a", 200, 1.0, MS * 5_000);
    lost.outcome = Outcome::Lost;
    aggregator.record(lost, &container("api", "api-1"), ANCHOR);
    aggregator.finish();
    assert!(aggregator.take_exemplars().is_empty());
}

#[test]
fn what_is_open_is_told_so_far_and_comes_whole_at_its_end() {
    let mut aggregator = Aggregator::new(Config::default());
    assert!(aggregator.rollups_so_far().is_empty());
    let (a, b) = (container("a", "a-1"), container("b", "b-1"));
    for n in 1..=5_u32 {
        aggregator.record(request("/a", 200, 1.1, MS * n), &a, ANCHOR);
        aggregator.record(request("/b", 500, 1.1, MS * n), &b, ANCHOR);
        let so_far = aggregator.rollups_so_far();
        assert_eq!(so_far.len(), 2);
        for rollup in so_far {
            assert_eq!(rollup.figures.duration.count(), u64::from(n));
        }
        // The slowest of both, and the failed ones of the second.
        assert_eq!(aggregator.exemplars_so_far().len(), 3 * n as usize);
    }
    let mut so_far = aggregator.rollups_so_far();
    so_far.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(aggregator.tick(at(2.0)), so_far);
    assert!(aggregator.rollups_so_far().is_empty());
    assert_eq!(aggregator.exemplars_so_far().len(), 15);
}
