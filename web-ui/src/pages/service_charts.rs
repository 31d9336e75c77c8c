//! The charts of a service.

use leptos::prelude::*;

use crate::components::chart::{Chart, ChartData, ChartStyle, Line};
use crate::components::range::RangeControl;
use crate::format;
use crate::pages::service_history::HistorySignals;
use crate::series::{CLASSES, Frame, Measure};
use crate::state::Store;
use crate::time_parts::Part;

/// Status classes in the order they are stacked, the lowest first; the number
/// is the place in `Second::by_status_class`.
const STACK: [(usize, Line); CLASSES] = [
    (1, line("2xx", "--c2")),
    (2, line("3xx", "--c3")),
    (0, line("1xx", "--c1")),
    (3, line("4xx", "--c4")),
    (4, line("5xx", "--c5")),
    (5, line("no status", "--c6")),
];

/// Lines of times, and what they are called.
const DURATIONS: [(Measure, Line); 3] = [
    (Measure::P50, line("p50", "--p50")),
    (Measure::P95, line("p95", "--p95")),
    (Measure::P99, line("p99", "--p99")),
];
const LATENCIES: [(Measure, Line); 4] = [
    (Measure::FeltP95, line("felt p95", "--felt")),
    (Measure::P95, line("worked p95", "--p95")),
    (Measure::FeltP50, line("felt p50", "--felt-p50")),
    (Measure::P50, line("worked p50", "--p50")),
];
const STREAMS: [(Measure, Line); 2] = [
    (Measure::FirstChunkP95, line("first chunk p95", "--p95")),
    (Measure::ChunkIntervalP95, line("between chunks p95", "--d")),
];
/// The parts in the order in which they pass, the first one lowest.
const PARTS: [(Measure, Part); 5] = [
    (Measure::Queue, Part::Queue),
    (Measure::Read, Part::Read),
    (Measure::App, Part::App),
    (Measure::Stream, Part::Stream),
    (Measure::Drain, Part::Drain),
];

const fn line(name: &'static str, token: &'static str) -> Line {
    Line { name, token }
}

/// How times are drawn.
fn times_style(lines: Vec<Line>, stacked: bool) -> ChartStyle {
    ChartStyle {
        lines,
        stacked,
        n_limits: 0,
        is_binary: false,
        value: |v| format::duration(Some(v)).text(),
        tick: format::axis_duration,
        least_top: 0.001,
        most_top: f64::INFINITY,
    }
}

/// Requests by status, durations, errors, where the time went and what clients
/// felt over time; streams where there are any.
#[component]
pub fn Charts(
    /// What is drawn.
    frame: Memo<Frame>,
    /// Where it comes from.
    history: HistorySignals,
    /// Its range.
    control: RangeControl,
    /// Whether any stream is in sight.
    has_streams: Signal<bool>,
    /// Whether requests may be missing although nothing is seen of them.
    is_unseen: Signal<bool>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let range = control.range;
    let bounds = move || {
        let (from, to) = range.get().bounds(store.at_ms.get() as f64);
        (from / 1e3, to / 1e3)
    };
    let on_zoom = control.on_zoom();
    let empty = Signal::derive(move || {
        if !frame.with(Frame::is_empty) {
            None
        } else if history.joined.with(Option::is_none) {
            Some(if history.error.with(Option::is_some) {
                "No history"
            } else {
                "Loading…"
            })
        } else {
            Some(if is_unseen.get() {
                "Its bytes move unseen"
            } else {
                "No requests in this range"
            })
        }
    });
    // Which classes there are changes rarely; a chart is made anew for it.
    let classes = Memo::new(move |_| {
        frame.with(|f| {
            let always = |class: usize| matches!(class, 1 | 3 | 4);
            let shown = STACK
                .iter()
                .filter(|(class, _)| always(*class) || f.has_class(*class));
            shown.map(|(class, _)| *class).collect::<Vec<_>>()
        })
    });
    let by_status = move || {
        let shown = classes.get();
        let lines = STACK.iter().filter(|(class, _)| shown.contains(class));
        let style = ChartStyle {
            lines: lines.map(|(_, line)| *line).collect(),
            stacked: true,
            n_limits: 0,
            is_binary: false,
            value: format::rate,
            tick: format::axis_number,
            least_top: 1.0,
            most_top: f64::INFINITY,
        };
        let data = Signal::derive(move || {
            frame.with(|f| ChartData {
                x: f.x.clone(),
                lines: STACK
                    .iter()
                    .filter(|(class, _)| shown.contains(class))
                    .map(|(class, _)| {
                        if is_unseen.get() {
                            vec![None; f.x.len()]
                        } else {
                            f.rates[*class].clone()
                        }
                    })
                    .collect(),
                bounds: bounds(),
            })
        });
        view! { <Chart title="Requests by status" unit="requests/s" style data empty on_zoom/> }
    };
    let times = move |measures: Vec<Measure>| {
        Signal::derive(move || {
            frame.with(|f| ChartData {
                x: f.x.clone(),
                lines: measures.iter().map(|m| f.values(*m).to_vec()).collect(),
                bounds: bounds(),
            })
        })
    };
    let chart = move |title: &'static str, unit: &'static str, of: &[(Measure, Line)]| {
        let style = times_style(of.iter().map(|(_, line)| *line).collect(), false);
        let data = times(of.iter().map(|(measure, _)| *measure).collect());
        view! { <Chart title unit style data empty on_zoom/> }
    };
    let parts = PARTS.map(|(_, part)| line(part.name(), part.token()));
    let parts_style = times_style(parts.to_vec(), true);
    let parts_data = times(PARTS.map(|(measure, _)| measure).to_vec());
    let errors = ChartStyle {
        lines: vec![Line {
            name: "errors",
            token: "--c5",
        }],
        stacked: true,
        n_limits: 0,
        is_binary: false,
        value: |v| format::percent(Some(v / 100.0)).text(),
        tick: |v, step| format!("{}\u{a0}%", format::axis_number(v, step)),
        least_top: 1.0,
        most_top: 100.0,
    };
    let errors_data = Signal::derive(move || {
        frame.with(|f| ChartData {
            x: f.x.clone(),
            lines: vec![f.error_rate.iter().map(|v| v.map(|v| v * 100.0)).collect()],
            bounds: bounds(),
        })
    });
    view! {
        <section class="charts" aria-label="Charts">
            {by_status}
            {chart("Duration", "of requests", &DURATIONS)}
            <Chart
                title="Error rate"
                unit="% of requests"
                style=errors
                data=errors_data
                empty
                on_zoom
            />
            <Chart
                title="Where the time went"
                unit="mean of a request"
                style=parts_style
                data=parts_data
                empty
                on_zoom
            />
            {chart("Felt by clients, worked by the server", "", &LATENCIES)}
            {move || has_streams.get().then(|| chart("Streams", "of chunks", &STREAMS))}
        </section>
        <Incomplete history/>
    }
}

#[component]
fn Incomplete(history: HistorySignals) -> impl IntoView {
    let counts = Memo::new(move |_| {
        history
            .joined
            .with(|h| h.as_ref().map(|h| (h.n_incomplete, h.n_requests)))
    });
    move || {
        counts.get().filter(|(incomplete, _)| *incomplete > 0).map(|(incomplete, all)| {
            view! {
                <p class="footnote warn">
                    {format!(
                        "{} of {} requests in this range were not seen whole; their durations may \
                         be short.",
                        format::count(incomplete),
                        format::count(all),
                    )}
                </p>
            }
        })
    }
}
