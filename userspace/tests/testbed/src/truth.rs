//! What the client knows against what the daemon says.

use std::collections::BTreeMap;

use modeltap_api_types::{Request, Service};

use crate::exposition::Sample;
use crate::load::Row;

/// Number of requests by route, method and status.
pub type Counts = BTreeMap<(String, String, String), u64>;

/// Latest that the daemon's end of a request may lie after its client's: a
/// write is stamped when its call returns, and the client may be run between
/// the arrival of its bytes and that return.
pub const LATEST_END_NS: u64 = 20_000_000;

/// Counts by the client's own rows.
#[must_use]
pub fn sent(rows: &[Row]) -> Counts {
    let keys = rows.iter().map(|row| {
        (
            row.route.to_owned(),
            row.method.to_owned(),
            row.status.to_string(),
        )
    });
    sum(keys.map(|key| (key, 1)))
}

/// Counts by the totals of a service.
#[must_use]
pub fn totals(service: &Service) -> Counts {
    sum(service.totals.iter().map(|total| {
        let method = total.method.clone().unwrap_or_default();
        let status = total
            .status
            .map(|status| status.to_string())
            .unwrap_or_default();
        ((total.route.clone(), method, status), total.n_requests)
    }))
}

/// Counts of a service by one metric.
#[must_use]
pub fn measured(samples: &[Sample], metric: &str, service: &str) -> Counts {
    let of_service = samples
        .iter()
        .filter(|sample| sample.name == metric && sample.label("service_name") == service);
    sum(of_service.map(|sample| {
        let label = |name: &str| sample.label(name).to_owned();
        let key = (
            label("http_route"),
            label("http_request_method"),
            label("http_response_status_code"),
        );
        // Counts are whole numbers far below 2^53.
        (key, sample.value as u64)
    }))
}

fn sum(counts: impl Iterator<Item = ((String, String, String), u64)>) -> Counts {
    let mut sums = Counts::new();
    for (key, n) in counts {
        *sums.entry(key).or_default() += n;
    }
    sums.retain(|_, n| *n > 0);
    sums
}

/// Pairs each row with the daemon's record of the same request: by the
/// client's port, and in the order of time on one port.
///
/// # Panics
/// If a port carried another number of requests than was told.
#[must_use]
#[track_caller]
pub fn join<'a>(rows: &'a [Row], records: &'a [Request]) -> Vec<(&'a Row, &'a Request)> {
    let mut by_port: BTreeMap<u16, (Vec<&Row>, Vec<&Request>)> = BTreeMap::new();
    for row in rows {
        by_port.entry(row.local_port).or_default().0.push(row);
    }
    for record in records {
        by_port.entry(record.peer_port).or_default().1.push(record);
    }
    let mut pairs = Vec::with_capacity(rows.len());
    for (port, (mut rows, mut records)) in by_port {
        rows.sort_by_key(|row| row.sent_ns);
        records.sort_by_key(|record| (record.started_monotonic_ns, record.sequence));
        assert_eq!(
            rows.len(),
            records.len(),
            "requests from port {port}: {rows:?} {records:?}"
        );
        pairs.extend(rows.into_iter().zip(records));
    }
    pairs
}

/// Asserts that every record lies inside its row: never begun before the
/// request was sent, with the same status and method, and ended no later than
/// the client had its last byte, but for the lateness of a write's stamp.
/// Returns the share of records whose end is not late at all.
///
/// # Panics
/// With the first pair that does not fit.
#[track_caller]
pub fn check_times(pairs: &[(&Row, &Request)]) -> f64 {
    let mut n_strict = 0_u32;
    for (row, record) in pairs {
        let told = (
            record.status,
            record.method.as_deref(),
            record.outcome.as_str(),
        );
        assert_eq!(
            told,
            (Some(row.status), Some(row.method), "complete"),
            "{row:?} {record:?}"
        );
        let (start, end) = (record.started_monotonic_ns, record.ended_monotonic_ns);
        assert!(
            row.sent_ns <= start,
            "began before it was sent: {row:?} {record:?}"
        );
        assert!(start <= end, "ended before it began: {record:?}");
        assert!(
            end <= row.last_byte_ns + LATEST_END_NS,
            "ended too late: {row:?} {record:?}"
        );
        let seconds = (end - start) as f64 / 1e9;
        assert!(
            (record.duration - seconds).abs() < 1e-6,
            "duration is not end - start: {record:?}"
        );
        n_strict += u32::from(end <= row.last_byte_ns);
    }
    f64::from(n_strict) / pairs.len().max(1) as f64
}
