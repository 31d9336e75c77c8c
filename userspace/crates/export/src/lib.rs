//! What leaves the daemon for other systems: Prometheus' text exposition of
//! what was counted, and alerts ([`notify`]).
//!
//! The exposition renders what it is given and knows no clock, socket or
//! database. Names are OpenTelemetry's semantic conventions in Prometheus'
//! spelling; what they do not name begins with `modeltap_`. The notifiers know
//! neither rules nor history: they are handed alerts and tell how each
//! delivery went.
//!
//! Invariants: a family stands in one piece, no set of labels appears twice
//! in it, and the order of everything depends only on names. Every queue is
//! bounded, and no secret is in a message, a log or a `Debug`.
#![forbid(unsafe_code)]

mod alerts;
mod containers;
mod history;
mod notifications;
pub mod notify;
mod resources;
mod routes;
mod text;

use std::collections::BTreeMap;

use modeltap_core::accounting::CaptureAccounting;
use modeltap_core::alert::Alert;
use modeltap_core::record::Method;
use modeltap_core::rollup::SeriesKey;
use modeltap_core::time_buckets::TimeBuckets;
use modeltap_core::totals::{
    Counters, DURATION_BOUNDS_NS, DurationBuckets, SIZE_BOUNDS_BYTES, SizeBuckets, Totals,
    error_type,
};

pub use crate::history::{HistoryState, RowCounts};
use crate::notify::NotifierStats;
use crate::text::{Kind, Text};

const NS_PER_SECOND: f64 = 1e9;

/// Everything that is exposed.
#[derive(Clone, Copy, Debug)]
pub struct Exposition<'a> {
    /// Exact counts since the daemon's start.
    pub totals: &'a Totals,
    /// What was seen and what was missed.
    pub accounting: &'a CaptureAccounting,
    /// The daemon's own state.
    pub own: Own<'a>,
    /// How history is written.
    pub history: &'a HistoryState,
    /// Alerts that fire or may soon.
    pub alerts: &'a [Alert],
    /// What each configured notifier did.
    pub notifiers: &'a [NotifierStats],
}

/// The daemon's own state.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Version of the daemon.
    pub version: &'a str,
    /// Processor time used, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Watched connections open now.
    pub n_connections: u64,
    /// Running containers that are watched.
    pub n_containers: u32,
    /// Whether Docker answers.
    pub docker_connected: bool,
    /// What the probes cost, in cores.
    pub probes_cores: f64,
    /// How much is left out to stay within the budget, 0 (nothing) to 3.
    pub reduction: u8,
}

/// Renders everything.
#[must_use]
pub fn render(exposition: &Exposition<'_>) -> String {
    let mut text = Text::default();
    requests(&mut text, exposition.totals);
    routes::routes(&mut text, exposition.totals);
    routes::inference(&mut text, exposition.totals);
    containers::containers(&mut text, exposition.totals);
    capture(&mut text, exposition.accounting);
    own(&mut text, exposition.own);
    history::history(&mut text, exposition.history);
    alerts::alerts(&mut text, exposition.alerts);
    notifications::notifications(&mut text, exposition.notifiers);
    text.into_string()
}

type Labels = Vec<(&'static str, String)>;

fn requests(text: &mut Text, totals: &Totals) {
    let mut by_outcome: BTreeMap<Labels, u64> = BTreeMap::new();
    let mut durations: BTreeMap<Labels, Counters> = BTreeMap::new();
    let mut others: BTreeMap<Labels, Counters> = BTreeMap::new();
    for series in &totals.series {
        let base = series_labels(&series.key);
        let mut labels = base.clone();
        labels.push(("outcome", series.key.outcome.as_str().to_owned()));
        *by_outcome.entry(labels).or_default() += series.counters.n_requests;

        let mut labels = base.clone();
        labels.push((
            "error_type",
            error_type(series.key.status, series.key.outcome),
        ));
        labels.push((
            "network_protocol_version",
            format!("1.{}", series.http_minor),
        ));
        durations.entry(labels).or_default().merge(&series.counters);
        others.entry(base).or_default().merge(&series.counters);
    }

    text.family(
        "modeltap_requests_total",
        Kind::Counter,
        "Requests that finished, by how they ended.",
    );
    for (labels, n_requests) in &by_outcome {
        text.sample("", labels, *n_requests as f64);
    }
    text.family(
        "http_server_request_duration_seconds",
        Kind::Histogram,
        "First byte of the request read to last byte of the response written; requests whose end was lost have none.",
    );
    for (labels, counters) in &durations {
        duration_histogram(text, labels, &counters.duration);
    }
    text.family(
        "modeltap_response_time_to_first_byte_seconds",
        Kind::Histogram,
        "Last byte of the request read to first byte of the final response written.",
    );
    for (labels, counters) in &others {
        duration_histogram(text, labels, &counters.time_to_first_byte);
    }
    text.family(
        "http_server_request_body_size_bytes",
        Kind::Histogram,
        "Bytes of request bodies, transfer coding removed.",
    );
    for (labels, counters) in &others {
        size_histogram(text, labels, &counters.request_body);
    }
    text.family(
        "http_server_response_body_size_bytes",
        Kind::Histogram,
        "Bytes of response bodies, transfer coding removed.",
    );
    for (labels, counters) in &others {
        size_histogram(text, labels, &counters.response_body);
    }
}

fn capture(text: &mut Text, counts: &CaptureAccounting) {
    let by = |text: &mut Text, label, values: &[(&str, u64)]| {
        for (name, value) in values {
            text.sample("", &[(label, (*name).to_owned())], *value as f64);
        }
    };
    text.family(
        "modeltap_capture_events_total",
        Kind::Counter,
        "Socket events seen on watched connections, by their fate.",
    );
    by(
        text,
        "fate",
        &[
            ("captured", counts.events_captured()),
            ("dropped", counts.events_dropped),
            ("left_out", counts.events_left_out),
            ("lost", counts.events_lost),
            ("undecoded", counts.events_undecoded),
        ],
    );
    text.family(
        "modeltap_capture_bytes_total",
        Kind::Counter,
        "Bytes moved on watched connections, by their fate.",
    );
    by(
        text,
        "fate",
        &[
            ("dropped", counts.bytes_dropped),
            ("left_out", counts.bytes_left_out),
            ("lost", counts.bytes_lost),
            ("parsed", counts.bytes_parsed),
            ("skipped", counts.bytes_skipped),
            ("truncated", counts.bytes_truncated),
        ],
    );
    text.family(
        "modeltap_capture_requests_total",
        Kind::Counter,
        "Requests, by whether everything of them was seen.",
    );
    by(
        text,
        "completeness",
        &[
            ("incomplete", counts.requests_incomplete),
            ("whole", counts.requests_complete),
        ],
    );
    text.family(
        "modeltap_capture_connections_untracked_total",
        Kind::Counter,
        "Connections not tracked because the kernel's map was full.",
    );
    text.sample("", &[], counts.connections_untracked as f64);
    text.family(
        "modeltap_capture_probe_runs_skipped_total",
        Kind::Counter,
        "Runs of probes that the kernel left out, at most.",
    );
    text.sample("", &[], counts.probe_runs_skipped as f64);
}

fn own(text: &mut Text, own: Own<'_>) {
    text.family(
        "modeltap_build_info",
        Kind::Gauge,
        "Always 1; the version is a label.",
    );
    text.sample("", &[("version", own.version.to_owned())], 1.0);
    text.one(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time of the daemon, user and system.",
        own.cpu_seconds,
    );
    let gauges = [
        (
            "modeltap_connections",
            "Watched connections open now.",
            own.n_connections as f64,
        ),
        (
            "modeltap_containers",
            "Running containers that are watched.",
            own.n_containers.into(),
        ),
        (
            "modeltap_docker_connected",
            "Whether Docker answers: 1 or 0.",
            f64::from(u8::from(own.docker_connected)),
        ),
        (
            "modeltap_probes_cpu_ratio",
            "Share of one core that the probes take, as measured for a moment each minute.",
            own.probes_cores,
        ),
        (
            "modeltap_capture_reduction",
            "How much is left out to stay within max_cpu: 0 nothing, 1 details, 2 all but heads, 3 all but counts.",
            own.reduction.into(),
        ),
        (
            "process_resident_memory_bytes",
            "Resident memory of the daemon.",
            own.resident_bytes as f64,
        ),
    ];
    for (name, help, value) in gauges {
        text.one(name, Kind::Gauge, help, value);
    }
}

fn series_labels(key: &SeriesKey) -> Labels {
    vec![
        ("service_name", key.service.to_string()),
        ("container_name", key.container.to_string()),
        (
            "http_request_method",
            key.method.map_or("", Method::as_str).to_owned(),
        ),
        ("http_route", key.route.to_string()),
        (
            "http_response_status_code",
            key.status
                .map_or_else(String::new, |status| status.to_string()),
        ),
    ]
}

fn duration_histogram(text: &mut Text, labels: &Labels, buckets: &DurationBuckets) {
    let bounds = DURATION_BOUNDS_NS.map(|ns| ns as f64 / NS_PER_SECOND);
    text.histogram(
        labels,
        &bounds,
        &buckets.counts,
        buckets.sum_ns as f64 / NS_PER_SECOND,
    );
}

fn time_histogram(text: &mut Text, labels: &Labels, times: &TimeBuckets) {
    let bounds: Vec<f64> = times
        .bounds_ns()
        .iter()
        .map(|&ns| ns as f64 / NS_PER_SECOND)
        .collect();
    let sum = times.sum_ns() as f64 / NS_PER_SECOND;
    text.histogram(labels, &bounds, times.counts(), sum);
}

fn size_histogram(text: &mut Text, labels: &Labels, buckets: &SizeBuckets) {
    let bounds = SIZE_BOUNDS_BYTES.map(|bytes| bytes as f64);
    text.histogram(labels, &bounds, &buckets.counts, buckets.sum_bytes as f64);
}

#[cfg(test)]
mod tests;
