//! What holds for any requests.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use modeltap_core::histogram::DurationHistogram;
use modeltap_core::rollup::Figures;
use modeltap_metrics::{Aggregator, Config};
use proptest::prelude::*;
use support::{ANCHOR, at, container, request};

/// Paths of a few real and many hostile kinds.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("/predict".to_owned()),
        (0..1_000_u32).prop_map(|id| format!("/items/{id}")),
        "/[a-z]{1,3}",
        "(/[ -~]{0,40}){0,20}",
        "\\PC{0,60}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Windows add up to the totals, whatever came when.
    #[test]
    fn sum_over_windows_is_the_total(
        requests in prop::collection::vec(
            (path(), 100..600_u16, 0..90_000_u64, 0..4_000_000_u64, 0..2_usize), 1..300),
    ) {
        let mut aggregator = Aggregator::new(Config { max_series: 40, ..Config::default() });
        let containers = [container("a", "a-1"), container("b", "b-1")];
        let mut sorted = requests.clone();
        sorted.sort_by_key(|(.., finished_ms, _, _)| *finished_ms);
        let mut windows: BTreeMap<_, Figures> = BTreeMap::new();
        let mut last = 0;
        for (path, status, finished_ms, duration_us, which) in sorted {
            last = finished_ms;
            let finished = finished_ms as f64 / 1_000.0;
            for rollup in aggregator.tick(at(finished)) {
                windows.entry(rollup.key.clone()).or_default().merge(&rollup.figures);
            }
            let duration = Duration::from_micros(duration_us);
            aggregator.record(request(&path, status, finished, duration), &containers[which], ANCHOR);
        }
        for rollup in aggregator.tick(at(last as f64 / 1_000.0 + 1.0)) {
            windows.entry(rollup.key.clone()).or_default().merge(&rollup.figures);
        }
        let n_requests = requests.len() as u64;
        prop_assert_eq!(windows.values().map(|figures| figures.n_requests).sum::<u64>(), n_requests);
        let totals = aggregator.totals();
        prop_assert_eq!(totals.series.len(), windows.len());
        for series in &totals.series {
            let figures = &windows[&series.key];
            prop_assert_eq!(series.counters.n_requests, figures.n_requests);
            prop_assert_eq!(series.counters.duration.count(), figures.n_requests);
            prop_assert_eq!(series.counters.duration.sum_ns, figures.duration_sum_ns);
            prop_assert_eq!(figures.duration.count(), figures.n_requests);
        }
        let shown: u64 = aggregator
            .snapshot()
            .services
            .iter()
            .flat_map(|service| service.totals.iter().map(|total| total.n_requests))
            .sum();
        prop_assert_eq!(shown, n_requests);
    }

    /// Percentiles of the live window are those of all its durations at once,
    /// and exact to a bucket's width.
    #[test]
    fn percentile_of_merged_windows_is_the_percentile_of_all(
        durations in prop::collection::vec((0..60_u32, 1..20_000_000_000_u64), 1..400),
    ) {
        let mut aggregator = Aggregator::new(Config::default());
        let api = container("api", "api-1");
        let mut sorted = durations.clone();
        sorted.sort_unstable();
        let mut all = DurationHistogram::default();
        aggregator.tick(at(30.0));
        for (second, ns) in sorted {
            aggregator.tick(at(30.0 + f64::from(second)));
            let duration = Duration::from_nanos(ns);
            all.record(duration);
            let mut record = request("/a", 200, 30.0 + f64::from(second), duration);
            record.timings.finished.0 = record.timings.request_start.0 + ns;
            record.timings.response_end = Some(record.timings.finished);
            aggregator.record(record, &api, ANCHOR);
        }
        aggregator.tick(at(90.0));
        let snapshot = aggregator.snapshot();
        let service = snapshot.service("api").unwrap();
        let mut exact: Vec<u64> = durations.iter().map(|(_, ns)| *ns).collect();
        exact.sort_unstable();
        let max = Duration::from_nanos(*exact.last().unwrap());
        for (q, shown) in [(0.5, service.window.p50), (0.95, service.window.p95), (0.99, service.window.p99)] {
            prop_assert_eq!(shown, all.quantile(q).map(|of_all| of_all.min(max)));
            let rank = ((q * exact.len() as f64).ceil() as usize).max(1) - 1;
            let error = shown.unwrap().as_nanos() as f64 - exact[rank] as f64;
            prop_assert!(error.abs() <= (exact[rank] as f64 / 128.0).max(512.0));
        }
        prop_assert_eq!(service.window.max, Some(max));
        prop_assert_eq!(service.routes[0].window.p95, service.window.p95);
    }

    /// Templates are bounded and never carry what a label must not.
    #[test]
    fn any_path_makes_a_bounded_route(paths in prop::collection::vec(path(), 1..50)) {
        let mut aggregator = Aggregator::new(Config::default());
        let api = container("api", "api-1");
        for path in &paths {
            aggregator.record(request(path, 200, 0.5, Duration::ZERO), &api, ANCHOR);
        }
        for request in aggregator.recent() {
            prop_assert!(request.route.len() <= 800, "{}", request.route);
            prop_assert!(!request.route.chars().any(char::is_control));
            prop_assert!(!request.route.contains(['"', '\\', ' ', '?', '%']));
        }
    }
}
