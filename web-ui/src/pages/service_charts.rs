//! The charts of a service.

use leptos::prelude::*;

use crate::components::chart::{Chart, ChartData, ChartStyle, Line};
use crate::components::range::RangeControl;
use crate::format;
use crate::pages::service_history::HistorySignals;
use crate::reactive::{follows, memo};
use crate::series::{CLASSES, Frame, Measure};
use crate::state::Store;
use crate::time_parts::Part;
use crate::words::{W, phrases, t};

/// Status classes in the order they are stacked, the lowest first; the number
/// is the place in `Second::by_status_class`.
const STACK: [(usize, Line); CLASSES] = [
    (1, line(W::Class2, "--c2")),
    (2, line(W::Class3, "--c3")),
    (0, line(W::Class1, "--c1")),
    (3, line(W::Class4, "--c4")),
    (4, line(W::Class5, "--c5")),
    (5, line(W::NoStatusWord, "--c6")),
];

/// Lines of times, and what they are called.
const DURATIONS: [(Measure, Line); 3] = [
    (Measure::P50, line(W::P50, "--p50")),
    (Measure::P95, line(W::P95, "--p95")),
    (Measure::P99, line(W::P99, "--p99")),
];
const LATENCIES: [(Measure, Line); 4] = [
    (Measure::FeltP95, line(W::FeltP95, "--felt")),
    (Measure::P95, line(W::WorkedP95, "--p95")),
    (Measure::FeltP50, line(W::FeltP50, "--felt-p50")),
    (Measure::P50, line(W::WorkedP50, "--p50")),
];
const STREAMS: [(Measure, Line); 2] = [
    (Measure::FirstChunkP95, line(W::FirstChunkP95, "--p95")),
    (Measure::ChunkIntervalP95, line(W::BetweenChunksP95, "--d")),
];
/// The parts in the order in which they pass, the first one lowest.
const PARTS: [(Measure, Part); 5] = [
    (Measure::Queue, Part::Queue),
    (Measure::Read, Part::Read),
    (Measure::App, Part::App),
    (Measure::Stream, Part::Stream),
    (Measure::Drain, Part::Drain),
];

const fn line(name: W, token: &'static str) -> Line {
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
                t(W::NoHistory)
            } else {
                t(W::LoadingDots)
            })
        } else {
            Some(if is_unseen.get() {
                t(W::BytesMoveUnseenShort)
            } else {
                t(W::NoRequestsInRange)
            })
        }
    });
    // Which classes there are changes rarely; a chart is made anew for it.
    let classes = memo(move || {
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
        view! { <Chart title=t(W::RequestsByStatus) unit=t(W::RequestsPerSecondUnit) style data empty on_zoom/> }
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
    let parts = PARTS.map(|(_, part)| line(part.word(), part.token()));
    let parts_style = times_style(parts.to_vec(), true);
    let parts_data = times(PARTS.map(|(measure, _)| measure).to_vec());
    let errors = ChartStyle {
        lines: vec![Line {
            name: W::ErrorsWord,
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
        <section class="charts" aria-label=t(W::Charts)>
            {by_status}
            {chart(t(W::Duration), t(W::OfRequests), &DURATIONS)}
            <Chart
                title=t(W::ErrorRate)
                unit=t(W::PercentOfRequests)
                style=errors
                data=errors_data
                empty
                on_zoom
            />
            <Chart
                title=t(W::WhereTimeWent)
                unit=t(W::MeanOfRequest)
                style=parts_style
                data=parts_data
                empty
                on_zoom
            />
            {chart(t(W::FeltAndWorked), "", &LATENCIES)}
            {follows(move || has_streams.get().then(|| chart(t(W::Streams), t(W::OfChunks), &STREAMS)))}
        </section>
        <Incomplete history/>
    }
}

#[component]
fn Incomplete(history: HistorySignals) -> impl IntoView {
    let counts = memo(move || {
        history
            .joined
            .with(|h| h.as_ref().map(|h| (h.n_incomplete, h.n_requests)))
    });
    move || {
        counts
            .get()
            .filter(|(incomplete, _)| *incomplete > 0)
            .map(|(incomplete, all)| {
                view! {
                    <p class="footnote warn">
                        {phrases::range_not_whole(&format::count(incomplete), &format::count(all))}
                    </p>
                }
            })
    }
}
