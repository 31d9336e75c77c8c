//! Percentiles of merged histograms against the sorted durations themselves.

mod support;

use std::time::Duration;

use modeltap_store::{Metric, Query, Stat};
use support::{open, query, rollup};

/// A percentile is the middle of a bucket no wider than a 128th of its value,
/// or than 512 ns.
#[track_caller]
fn check(found: Option<f64>, exact: Duration, what: &str) {
    let found = found.unwrap_or(f64::NAN);
    let exact = exact.as_secs_f64();
    let bound = (exact / 256.0).max(256e-9) + 1e-9;
    assert!(
        (found - exact).abs() <= bound,
        "{what}: {found} for {exact}"
    );
}

/// Durations whose spread and shape follow from `seed`.
fn durations(seed: u64, n: usize) -> Vec<Duration> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let octaves = 1 + seed % 32;
    (0..n)
        .map(|_| {
            let ns = match seed % 3 {
                0 => 1_000 + next() % (1 << (8 + octaves)),
                1 => 300 << (next() % octaves),
                // Few values, and one far away.
                _ if next() % 50 == 0 => 60_000_000_000,
                _ => 5_000_000 + next() % 3,
            };
            Duration::from_nanos(ns)
        })
        .collect()
}

#[test]
fn percentiles_over_any_split_are_those_of_the_sorted_durations() {
    let directory = tempfile::tempdir().expect("a directory");
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    for seed in 0..40_u64 {
        let service = format!("s{seed}");
        let n = 1 + usize::try_from(seed * seed * 3).expect("small");
        let mut all = durations(seed, n);
        // The same durations over routes, containers and seconds.
        let mut rollups = Vec::new();
        for (part, piece) in (0..).zip(all.chunks(1 + n / 17)) {
            let mut one = rollup(&service, &format!("/{}", part % 3), 200, part * 3, piece);
            one.key.container = format!("{service}-{}", part % 4).into();
            rollups.push(one);
        }
        writer.append(rollups);
        writer.flush();
        all.sort_unstable();
        for q in [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
            let asked = Query {
                service: Some(service.clone()),
                ..query(Metric::Duration, Stat::Quantile(q), 0..60, 60)
            };
            let answer = reader.query(&asked).expect("an answer");
            let rank = ((q * n as f64).ceil() as usize).clamp(1, n);
            let what = format!("seed {seed}, q {q}");
            check(answer.series[0].values[0], all[rank - 1], &what);
        }
    }
}
