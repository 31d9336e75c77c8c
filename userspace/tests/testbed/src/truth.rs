//! What the client knows against what the daemon says.

use std::collections::BTreeMap;

use modeltap_api_types::{Request, Service};

use crate::exposition::Sample;
use crate::load::{Ending, Row};

/// Number of requests by route, method and status.
pub type Counts = BTreeMap<(String, String, String), u64>;

/// Counts by the client's own rows.
#[must_use]
pub fn sent(rows: &[Row]) -> Counts {
    let keys = rows.iter().map(|row| {
        (
            row.route.to_owned(),
            row.method.to_owned(),
            row.status
                .map(|status| status.to_string())
                .unwrap_or_default(),
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

/// Counts by the client's own rows; where the sender left, and so cannot know,
/// with the status that the daemon tells. [`check`] says whether that can be.
#[must_use]
pub fn sent_of_pairs(pairs: &[(&Row, &Request)]) -> Counts {
    let rows = pairs.iter().map(|(row, record)| Row {
        status: match row.ending {
            Ending::Left => record.status,
            Ending::Complete | Ending::Unanswered => row.status,
        },
        ..(*row).clone()
    });
    sent(&rows.collect::<Vec<_>>())
}

/// Pairs each row with the daemon's record of the same request: by the
/// client's port, and in the order of time on one port. Ports that carried
/// another number of requests than was told come back as sentences.
#[must_use]
pub fn pair<'a>(
    rows: &'a [Row],
    records: &'a [Request],
) -> (Vec<(&'a Row, &'a Request)>, Vec<String>) {
    let mut by_port: BTreeMap<u16, (Vec<&Row>, Vec<&Request>)> = BTreeMap::new();
    for row in rows {
        by_port.entry(row.local_port).or_default().0.push(row);
    }
    for record in records {
        by_port.entry(record.peer_port).or_default().1.push(record);
    }
    let mut pairs = Vec::with_capacity(rows.len());
    let mut unequal = Vec::new();
    for (port, (mut rows, mut records)) in by_port {
        rows.sort_by_key(|row| row.sent_ns);
        records.sort_by_key(|record| (record.started_monotonic_ns, record.sequence));
        if rows.len() == records.len() {
            pairs.extend(rows.into_iter().zip(records));
        } else {
            unequal.push(format!(
                "{} sent and {} told from port {port}: {rows:?} {records:?}",
                rows.len(),
                records.len()
            ));
        }
    }
    (pairs, unequal)
}

/// As [`pair`], where every port must fit.
///
/// # Panics
/// If a port carried another number of requests than was told.
#[must_use]
#[track_caller]
pub fn join<'a>(rows: &'a [Row], records: &'a [Request]) -> Vec<(&'a Row, &'a Request)> {
    let (pairs, unequal) = pair(rows, records);
    assert!(unequal.is_empty(), "{}", unequal.join("\n"));
    pairs
}

/// What is told otherwise than it was: the record lies inside its row, never
/// arrived or begun before the request was sent, with the same status and method, and
/// ended no later than the client had its last byte, but for the lateness of a
/// write's stamp.
///
/// A client that left knows no status: the server may have written none, or
/// its answer before it learned of the end.
///
/// # Errors
/// With the first that does not fit.
pub fn check(row: &Row, record: &Request) -> Result<(), String> {
    let fits = |holds: bool, what: &str| {
        let told = || format!("{what}: {row:?} {record:?}");
        holds.then_some(()).ok_or_else(told)
    };
    fits(record.method.as_deref() == Some(row.method), "method")?;
    fits(record.completeness == "whole", "completeness")?;
    let outcome_may_be = match (row.ending, record.outcome.as_str()) {
        (Ending::Complete, outcome) => outcome == "complete",
        (Ending::Unanswered, outcome) => outcome == "unanswered",
        // A sender that was held up left what was answered by then.
        (Ending::Left, "complete") => record.ended_monotonic_ns <= row.last_byte_ns,
        (Ending::Left, outcome) => outcome == "client_aborted",
    };
    fits(outcome_may_be, "outcome")?;
    let status_may_be = match row.ending {
        Ending::Complete | Ending::Unanswered => record.status == row.status,
        Ending::Left => matches!(record.status, None | Some(200)),
    };
    fits(status_may_be, "status")?;
    let (start, end) = (record.started_monotonic_ns, record.ended_monotonic_ns);
    fits(row.sent_ns <= start, "began before it was sent")?;
    if let Some(arrived) = record.arrived_monotonic_ns {
        fits(row.sent_ns <= arrived, "arrived before it was sent")?;
        fits(arrived <= start, "arrived after it was read")?;
    }
    fits(start <= end, "ended before it began")?;
    let seconds = (end - start) as f64 / 1e9;
    let is_difference = (record.duration - seconds).abs() < 1e-6;
    fits(is_difference, "duration is not end - start")?;
    if row.ending == Ending::Complete {
        fits(end <= row.last_byte_ns, "ended after its client had it all")?;
        let body = record.response_body_bytes == row.body_bytes;
        fits(body, "length of the body")?;
    }
    Ok(())
}

/// Whether a record ends no later than its client had the last byte, or has no
/// such end.
#[must_use]
pub fn is_inside(row: &Row, record: &Request) -> bool {
    row.ending != Ending::Complete || record.ended_monotonic_ns <= row.last_byte_ns
}

/// Asserts that every record fits its row, as [`check`] says.
///
/// # Panics
/// With the first pair that does not fit.
#[track_caller]
pub fn check_times(pairs: &[(&Row, &Request)]) {
    for (row, record) in pairs {
        if let Err(what) = check(row, record) {
            panic!("{what}");
        }
    }
}
