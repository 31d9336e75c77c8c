//! What is counted of a container as a whole: inner hops, sessions, and what
//! was seen and missed of it.

use std::collections::BTreeMap;

use modeltap_core::accounting::{CaptureAccount, RequestCounts};
use modeltap_core::totals::{ContainerTotals, InnerTotals, SessionTotals, Totals};

use crate::text::{Kind, Text};
use crate::{Labels, resources, time_histogram};

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", ""];

/// Every family that has a sample a container.
pub(crate) fn containers(text: &mut Text, totals: &Totals) {
    let mut merged: BTreeMap<Labels, ContainerTotals> = BTreeMap::new();
    for container in &totals.containers {
        let labels = vec![
            ("service_name", container.service.to_string()),
            ("container_name", container.container.to_string()),
        ];
        merged
            .entry(labels)
            .and_modify(|known| add(known, container))
            .or_insert_with(|| container.clone());
    }
    let family = (
        "http_server_active_requests",
        Kind::Gauge,
        "Requests in progress.",
    );
    text.each(family, &merged, |container| Some(container.n_active as f64));
    inner(text, &of(&merged, |found| found.inner.as_ref()));
    sessions(text, &of(&merged, |found| found.sessions.as_ref()));
    capture(text, &of(&merged, |found| found.capture.as_ref()));
    kernel(text, &of(&merged, |found| found.kernel.as_ref()));
    let family = (
        "modeltap_unseen_bytes_total",
        Kind::Counter,
        "Bytes that sockets moved by ways the kernel is too old to show.",
    );
    text.each(
        family,
        of(&merged, |found| found.unseen_bytes.as_ref()),
        |bytes| Some(*bytes as f64),
    );
    resources::resources(text, &of(&merged, |found| found.resources.as_ref()));
    resources::kills(text, &of(&merged, |found| found.n_oom_kills.as_ref()));
    resources::lives(text, &of(&merged, |found| found.lifecycle.as_ref()));
}

/// What is known of each container.
pub(crate) type Known<'a, T> = Vec<(&'a Labels, &'a T)>;

fn of<'a, T>(
    merged: &'a BTreeMap<Labels, ContainerTotals>,
    part: impl Fn(&'a ContainerTotals) -> Option<&'a T>,
) -> Known<'a, T> {
    merged
        .iter()
        .filter_map(|(labels, container)| Some((labels, part(container)?)))
        .collect()
}

fn inner(text: &mut Text, hops: &Known<'_, InnerTotals>) {
    text.family(
        "modeltap_inner_requests_total",
        Kind::Counter,
        "Requests over UNIX sockets, from a proxy to the server behind it; in no other family.",
    );
    for (labels, inner) in hops {
        by(text, labels, "status_class", CLASSES, inner.by_status_class);
    }
    text.family(
        "modeltap_inner_request_duration_seconds",
        Kind::Histogram,
        "First byte of a request over a UNIX socket read to last byte of the response written.",
    );
    for (labels, inner) in hops {
        time_histogram(text, labels, &inner.duration);
    }
}

fn sessions(text: &mut Text, sessions: &Known<'_, SessionTotals>) {
    let family = (
        "modeltap_websocket_sessions_total",
        Kind::Counter,
        "Upgraded connections that ended.",
    );
    text.each(family, sessions.iter().copied(), |sessions| {
        Some(sessions.duration.count() as f64)
    });
    text.family(
        "modeltap_websocket_session_duration_seconds",
        Kind::Histogram,
        "Handshake answered to the connection's end.",
    );
    for (labels, sessions) in sessions {
        time_histogram(text, labels, &sessions.duration);
    }
    text.family(
        "modeltap_websocket_messages_total",
        Kind::Counter,
        "Messages of ended sessions whose frames could be followed.",
    );
    for (labels, sessions) in sessions {
        let counts = [sessions.n_messages_read, sessions.n_messages_written];
        by(text, labels, "direction", ["read", "written"], counts);
    }
}

fn capture(text: &mut Text, accounts: &Known<'_, CaptureAccount>) {
    text.family(
        "modeltap_service_capture_bytes_total",
        Kind::Counter,
        "Bytes moved on a container's connections, by their fate.",
    );
    for (labels, account) in accounts {
        let fates = [
            "dropped",
            "left_out",
            "lost",
            "parsed",
            "skipped",
            "truncated",
        ];
        let counts = [
            account.bytes_dropped,
            account.bytes_left_out,
            account.bytes_lost,
            account.bytes_parsed,
            account.bytes_skipped,
            account.bytes_truncated,
        ];
        by(text, labels, "fate", fates, counts);
    }
    text.family(
        "modeltap_service_capture_events_total",
        Kind::Counter,
        "Events of a container's connections: placed in the kernel's ring, left out, or lost.",
    );
    for (labels, account) in accounts {
        let fates = ["left_out", "lost", "submitted"];
        let counts = [
            account.events_left_out,
            account.events_lost,
            account.events_submitted,
        ];
        by(text, labels, "fate", fates, counts);
    }
    text.family(
        "modeltap_service_capture_events_lost_total",
        Kind::Counter,
        "Events of a container's connections that were lost in the kernel, by what had no room.",
    );
    for (labels, account) in accounts {
        let n_ring = account
            .events_lost
            .saturating_sub(account.events_lost_map_full);
        let counts = [account.events_lost_map_full, n_ring];
        by(
            text,
            labels,
            "cause",
            ["connections_full", "ring_full"],
            counts,
        );
    }
    let family = (
        "modeltap_service_user_reads_failed_total",
        Kind::Counter,
        "Events whose bytes in the server's memory could not be read.",
    );
    text.each(family, accounts.iter().copied(), |account| {
        Some(account.user_reads_failed as f64)
    });
    let family = (
        "modeltap_service_capture_pending_bytes",
        Kind::Gauge,
        "Bytes on their way from the probes to the parser.",
    );
    text.each(family, accounts.iter().copied(), |account| {
        Some(account.bytes_pending as f64)
    });
}

fn kernel(text: &mut Text, counts: &Known<'_, RequestCounts>) {
    let family = (
        "modeltap_kernel_requests_total",
        Kind::Counter,
        "Requests that the probes counted themselves, whatever was lost behind them.",
    );
    text.each(family, counts.iter().copied(), |counts| {
        Some(counts.n_requests as f64)
    });
    text.family(
        "modeltap_kernel_responses_total",
        Kind::Counter,
        "Responses that the probes counted themselves.",
    );
    for (labels, counts) in counts {
        let [one, two, three, four, five, _] = CLASSES;
        let classes = [one, two, three, four, five];
        by(text, labels, "status_class", classes, counts.n_responses);
    }
}

/// A sample a value of `label`.
fn by<const N: usize>(
    text: &mut Text,
    labels: &Labels,
    label: &'static str,
    names: [&str; N],
    counts: [u64; N],
) {
    for (name, count) in names.into_iter().zip(counts) {
        let mut labels = labels.clone();
        labels.push((label, name.to_owned()));
        text.sample("", &labels, count as f64);
    }
}

fn add(known: &mut ContainerTotals, more: &ContainerTotals) {
    known.n_active += more.n_active;
    merge(&mut known.inner, &more.inner, |known, more| {
        for (count, more) in known.by_status_class.iter_mut().zip(more.by_status_class) {
            *count += more;
        }
        known.duration.merge(&more.duration);
    });
    merge(&mut known.sessions, &more.sessions, |known, more| {
        known.duration.merge(&more.duration);
        known.n_messages_read += more.n_messages_read;
        known.n_messages_written += more.n_messages_written;
    });
    merge(&mut known.capture, &more.capture, CaptureAccount::merge);
    merge(&mut known.kernel, &more.kernel, RequestCounts::merge);
    merge(
        &mut known.unseen_bytes,
        &more.unseen_bytes,
        |known, more| {
            *known += more;
        },
    );
    let add = |known: &mut u64, more: &u64| *known = known.saturating_add(*more);
    merge(&mut known.n_oom_kills, &more.n_oom_kills, add);
    // Two containers of one name do not run at once.
    merge(&mut known.lifecycle, &more.lifecycle, |_, _| {});
    merge(&mut known.resources, &more.resources, |_, _| {});
}

fn merge<T: Clone>(known: &mut Option<T>, more: &Option<T>, add: impl Fn(&mut T, &T)) {
    match (known, more) {
        (Some(known), Some(more)) => add(known, more),
        (known @ None, more) => known.clone_from(more),
        (Some(_), None) => {}
    }
}
