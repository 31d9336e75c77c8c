//! Where the time of requests went, the rhythm of streams, and inference.

use std::collections::BTreeMap;

use modeltap_core::measure::{Measure, StreamSums};
use modeltap_core::time_buckets::TimeBuckets;
use modeltap_core::totals::{InferenceCounters, RouteCounters, Totals};

use crate::text::{Kind, Text};
use crate::{Labels, NS_PER_SECOND, time_histogram};

/// Families of the measures, in the order of their names' parts.
const MEASURES: [(Measure, &str, &str); Measure::COUNT] = [
    (
        Measure::Felt,
        "modeltap_request_felt_seconds",
        "First byte of the request arrived at the socket to last byte of the response written.",
    ),
    (
        Measure::Queue,
        "modeltap_request_queue_seconds",
        "First byte of the request arrived at the socket (where that is not known: connection accepted, first request only) to first byte read.",
    ),
    (
        Measure::Read,
        "modeltap_request_read_seconds",
        "First byte of the request read to its last.",
    ),
    (
        Measure::App,
        "modeltap_request_app_seconds",
        "Last byte of the request read to first byte of the response's body written.",
    ),
    (
        Measure::Stream,
        "modeltap_response_stream_seconds",
        "First byte of the response's body written to its last.",
    ),
    (
        Measure::Drain,
        "modeltap_response_drain_seconds",
        "Last byte of the response written to its last byte gone from the socket.",
    ),
    (
        Measure::FirstChunk,
        "modeltap_response_time_to_first_chunk_seconds",
        "Last byte of the request read to first content chunk of a streamed response written.",
    ),
    (
        Measure::ChunkInterval,
        "modeltap_response_chunk_interval_seconds",
        "One content chunk of a streamed response written to the next.",
    ),
];

/// Everything counted by route and container, whatever the status.
pub(crate) fn routes(text: &mut Text, totals: &Totals) {
    let mut merged: BTreeMap<Labels, RouteCounters> = BTreeMap::new();
    for route in &totals.routes {
        let labels = vec![
            ("service_name", route.service.to_string()),
            ("container_name", route.container.to_string()),
            ("http_route", route.route.to_string()),
        ];
        merged.entry(labels).or_default().merge(&route.counters);
    }
    for (measure, name, help) in MEASURES {
        text.family(name, Kind::Histogram, help);
        for (labels, counters) in &merged {
            if let Some(times) = counters.measure(measure) {
                time_histogram(text, labels, times);
            }
        }
    }
    type Count = fn(&StreamSums) -> f64;
    let counts: [(&str, &str, Count); 5] = [
        (
            "modeltap_response_streams_total",
            "Responses that were sent piece by piece and ended.",
            |sums| sums.n_streams as f64,
        ),
        (
            "modeltap_response_streams_aborted_total",
            "Of them: the client went away first.",
            |sums| sums.n_aborted as f64,
        ),
        (
            "modeltap_response_chunks_total",
            "Content chunks of streamed responses.",
            |sums| sums.n_chunks as f64,
        ),
        (
            "modeltap_response_stalls_total",
            "Intervals between content chunks that were longer than a second.",
            |sums| sums.n_stalls as f64,
        ),
        (
            "modeltap_response_after_abort_seconds_total",
            "Time that servers went on writing after the client had gone.",
            |sums| sums.after_abort_ns as f64 / NS_PER_SECOND,
        ),
    ];
    for (name, help, count) in counts {
        text.family(name, Kind::Counter, help);
        for (labels, counters) in &merged {
            if counters.streams.n_streams > 0 {
                text.sample("", labels, count(&counters.streams));
            }
        }
    }
}

/// Requests to inference endpoints, in the words of the semantic conventions.
pub(crate) fn inference(text: &mut Text, totals: &Totals) {
    // By labels without and with the error.
    let mut first_tokens: BTreeMap<Labels, TimeBuckets> = BTreeMap::new();
    let mut tokens: BTreeMap<Labels, u64> = BTreeMap::new();
    let mut durations: BTreeMap<Labels, TimeBuckets> = BTreeMap::new();
    for one in &totals.inference {
        let labels = vec![
            ("service_name", one.service.to_string()),
            ("container_name", one.container.to_string()),
            ("gen_ai_operation_name", one.operation.as_str().to_owned()),
            ("gen_ai_request_model", one.model.to_string()),
        ];
        let InferenceCounters {
            duration,
            first_token,
            tokens: told,
        } = &one.counters;
        if let Some(times) = first_token {
            add(&mut first_tokens, labels.clone(), times);
        }
        for (kind, count) in [("input", told.input), ("output", told.output)] {
            if let Some(count) = count {
                let mut labels = labels.clone();
                labels.push(("gen_ai_token_type", kind.to_owned()));
                let sum = tokens.entry(labels).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        let mut labels = labels;
        labels.push(("error_type", one.error_type.to_string()));
        add(&mut durations, labels, duration);
    }
    text.family(
        "gen_ai_server_request_duration_seconds",
        Kind::Histogram,
        "First byte of a request to an inference endpoint read to last byte of the response written.",
    );
    for (labels, times) in &durations {
        time_histogram(text, labels, times);
    }
    text.family(
        "gen_ai_server_time_to_first_token_seconds",
        Kind::Histogram,
        "Last byte of the request read to first content chunk written, of successful streams of models that generate.",
    );
    for (labels, times) in &first_tokens {
        time_histogram(text, labels, times);
    }
    text.family(
        "modeltap_inference_tokens_total",
        Kind::Counter,
        "Tokens, of requests whose usage was told.",
    );
    for (labels, count) in &tokens {
        text.sample("", labels, *count as f64);
    }
}

fn add(merged: &mut BTreeMap<Labels, TimeBuckets>, labels: Labels, times: &TimeBuckets) {
    merged
        .entry(labels)
        .and_modify(|known| known.merge(times))
        .or_insert_with(|| times.clone());
}
