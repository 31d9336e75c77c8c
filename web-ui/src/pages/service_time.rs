//! Where the time of a service's requests went, and what clients felt of it.

use leptos::prelude::*;
use modeltap_api_types::{Service, WindowFigures};

use crate::components::bar::segment_bar;
use crate::components::figures::remark;
use crate::components::parts::{Part, live, pair, panel, parts_table};
use crate::format::{self, Quantity};
use crate::state::Store;
use crate::time_parts::{self, Split, Waiting};
use crate::words::{W, phrases, t};

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
            t(W::KernelTellsNot)
        } else {
            t(W::RecordingTellsNot)
        };
        let last = phrases::last(&format::span(store.window_seconds.get().into()));
        let latency = latency(&window, unknown);
        vec![pair([
            parts_panel(&window, unknown),
            panel(t(W::FeltAndWorked), last, "latency", latency),
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
                words = phrases::and_then(&words, unknown);
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
        name: t(W::InAll),
        words: t(W::ArrivedToTaken).to_owned(),
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
        let words = phrases::queue_known_of(&format::count(p.n_queue));
        remark("idle", words)
    });
    let of = window.parts.map_or_else(
        || t(W::NoRequestLastMinute).to_owned(),
        |p| phrases::mean_of(&format::count(p.n_requests)),
    );
    let split = split.unwrap_or_default();
    let label = phrases::where_the_time_went(&split.text());
    let mut content = vec![
        segment_bar(&split.segments(), label),
        parts_table("", &[t(W::Part), t(W::Mean), t(W::Share)], rows),
    ];
    content.extend(partly);
    panel(t(W::WhereTimeWent), of, "time-parts", content)
}

fn latency(window: &WindowFigures, unknown: &'static str) -> Vec<AnyView> {
    // Its name, what it means, its colour, its p50 and p95, and whether it
    // depends on when requests arrived.
    let compared = [
        (
            t(W::FeltWord),
            t(W::ByClients),
            t(W::FeltLong),
            "--felt",
            (window.felt_p50, window.felt_p95),
            true,
        ),
        (
            t(W::WorkedWord),
            t(W::WorkedMeans),
            t(W::WorkedLong),
            "--p95",
            (window.p50, window.p95),
            false,
        ),
        (
            t(W::WaitedWord),
            t(W::BeforeRead),
            t(W::WaitedLong),
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
                    phrases::and_then(words, unknown)
                } else {
                    words.to_owned()
                },
                meaning,
                bar: Some(segment_bar(&segments, phrases::bar_p95(name, &p95.text()))),
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
    let mut content = vec![parts_table(
        "latency",
        &[t(W::Latency), t(W::P50), t(W::P95), ""],
        rows,
    )];
    content.extend(waiting.sentence().map(|words| remark(class, words)));
    content
}
