//! Where the time of a service's requests went, and what clients felt of it.

use leptos::prelude::*;
use modeltap_api_types::{Service, WindowFigures};

use crate::components::bar::segment_bar;
use crate::components::figures::remark;
use crate::components::parts::{Part, live, pair, panel, parts_table};
use crate::format::{self, Quantity};
use crate::state::Store;
use crate::time_parts::{self, Split, Waiting};

/// Both panels, side by side where there is room.
#[component]
pub fn TimePanels(
    /// The service.
    service: Memo<Option<Service>>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    live(move || {
        let window = service.with(|s| s.as_ref().map(|s| s.window).unwrap_or_default());
        let attached = store
            .status
            .with(|s| s.as_ref().is_none_or(|s| s.probes.attached));
        // Why something about arrivals is not known.
        let unknown = if attached {
            "unknown: this kernel does not tell"
        } else {
            "unknown: the recording does not tell"
        };
        let last = format!("last {}", format::span(store.window_seconds.get().into()));
        let latency = latency(&window, unknown);
        vec![pair([
            parts_panel(&window, unknown),
            panel(
                "Felt by clients, worked by the server",
                last,
                "latency",
                latency,
            ),
        ])]
    })
}

fn parts_panel(window: &WindowFigures, unknown: &'static str) -> AnyView {
    let split = window.parts.as_ref().map(Split::of_window);
    let mut rows: Vec<Part> = time_parts::Part::ALL
        .into_iter()
        .map(|part| {
            let seconds = split.and_then(|s| s.seconds(part));
            let share = split.and_then(|s| s.share(part));
            let mut words = part.words().to_owned();
            if split.is_some() && seconds.is_none() {
                words = format!("{words}; {unknown}");
            }
            Part {
                name: part.name(),
                token: Some(part.token()),
                words,
                meaning: part.definition(),
                values: vec![format::duration(seconds), format::percent(share)],
                ..Part::default()
            }
        })
        .collect();
    rows.push(Part {
        name: "in all",
        words: "arrived to taken by the client".to_owned(),
        values: vec![
            format::duration(split.map(|s| s.total())),
            Quantity::plain(""),
        ],
        is_sum: true,
        ..Part::default()
    });
    let partly = window
        .parts
        .filter(|p| p.n_queue > 0 && p.n_queue < p.n_requests);
    let partly = partly.map(|p| {
        let words = format!(
            "How long it waited is known of {} of them; queue is the mean of these.",
            format::count(p.n_queue)
        );
        remark("idle", words)
    });
    let of = window.parts.map_or_else(
        || "no request in the last minute".to_owned(),
        |p| format!("mean of {} requests", format::count(p.n_requests)),
    );
    let split = split.unwrap_or_default();
    let label = format!("Where the time went, mean of a request: {}", split.text());
    let mut content = vec![
        segment_bar(&split.segments(), label),
        parts_table("", &["Part", "Mean", "Share"], rows),
    ];
    content.extend(partly);
    panel("Where the time went", of, "time-parts", content)
}

fn latency(window: &WindowFigures, unknown: &'static str) -> Vec<AnyView> {
    // Its name, what it means, its colour, its p50 and p95, and whether it
    // depends on when requests arrived.
    let compared = [
        (
            "felt",
            "by clients: arrived to answered",
            "First byte of the request arrived at the socket, to last byte of the response \
             written.",
            "--felt",
            (window.felt_p50, window.felt_p95),
            true,
        ),
        (
            "worked",
            "by the server: first read to answered",
            "First byte of the request read, to last byte of the response written: all that a \
             server's own figures can tell.",
            "--p95",
            (window.p50, window.p95),
            false,
        ),
        (
            "waited",
            "before the server read it",
            "First byte of the request arrived at the socket, to first byte read.",
            "--q",
            (window.queue_p50, window.queue_p95),
            true,
        ),
    ];
    let longest = compared.iter().filter_map(|c| c.4.1).fold(0.0, f64::max);
    let rows = compared
        .into_iter()
        .map(|(name, words, meaning, token, (p50, p95), needs_arrival)| {
            let share = p95.filter(|_| longest > 0.0).map(|v| (v / longest, token));
            let segments: Vec<_> = share.into_iter().collect();
            let p95 = format::duration(p95);
            let is_unknown = needs_arrival && window.n_requests > 0 && p50.is_none();
            Part {
                name,
                words: if is_unknown {
                    format!("{words}; {unknown}")
                } else {
                    words.to_owned()
                },
                meaning,
                bar: Some(segment_bar(
                    &segments,
                    format!("{name}, p95: {}", p95.text()),
                )),
                values: vec![format::duration(p50), p95],
                ..Part::default()
            }
        })
        .collect();
    let waiting = Waiting::of(window);
    let class = if matches!(waiting, Waiting::Behind { .. }) {
        "warn"
    } else {
        "ok"
    };
    let mut content = vec![parts_table("latency", &["Latency", "p50", "p95", ""], rows)];
    content.extend(waiting.sentence().map(|words| remark(class, words)));
    content
}
