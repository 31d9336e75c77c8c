//! The charts of a service, and the history they are drawn from.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::QueryResult;

use crate::browser;
use crate::client::{FetchError, fetch};
use crate::components::chart::{Chart, ChartData, ChartStyle, Line};
use crate::components::range::RangeControl;
use crate::format;
use crate::series::{CLASSES, Frame, History, Range};
use crate::state::{Connection, Store};

/// Status classes in the order they are stacked, the lowest first; the number
/// is the place in `Second::by_status_class`.
const STACK: [(usize, Line); CLASSES] = [
    (
        1,
        Line {
            name: "2xx",
            token: "--c2",
        },
    ),
    (
        2,
        Line {
            name: "3xx",
            token: "--c3",
        },
    ),
    (
        0,
        Line {
            name: "1xx",
            token: "--c1",
        },
    ),
    (
        3,
        Line {
            name: "4xx",
            token: "--c4",
        },
    ),
    (
        4,
        Line {
            name: "5xx",
            token: "--c5",
        },
    ),
    (
        5,
        Line {
            name: "no status",
            token: "--c6",
        },
    ),
];

/// Requests by status, durations and errors over time.
#[component]
pub fn Charts(
    /// What is drawn.
    frame: Memo<Frame>,
    /// Where it comes from.
    history: HistorySignals,
    /// Its range.
    control: RangeControl,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let range = control.range;
    let bounds = move || {
        let (from, to) = range.get().bounds(store.at_ms.get() as f64);
        (from / 1e3, to / 1e3)
    };
    let on_zoom = Callback::new(move |(from, to): (f64, f64)| {
        let span_seconds = ((to - from).round() as u32).max(10);
        control.go.run(Range {
            span_seconds,
            end_ms: Some((to * 1e3).round()),
        });
    });
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
            Some("No requests in this range")
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
                    .map(|(class, _)| f.rates[*class].clone())
                    .collect(),
                bounds: bounds(),
            })
        });
        view! { <Chart title="Requests by status" unit="requests/s" style data empty on_zoom/> }
    };
    let latency = ChartStyle {
        lines: vec![
            Line {
                name: "p50",
                token: "--p50",
            },
            Line {
                name: "p95",
                token: "--p95",
            },
            Line {
                name: "p99",
                token: "--p99",
            },
        ],
        stacked: false,
        value: |v| format::duration(Some(v)).text(),
        tick: format::axis_duration,
        least_top: 0.001,
        most_top: f64::INFINITY,
    };
    let latency_data = Signal::derive(move || {
        frame.with(|f| ChartData {
            x: f.x.clone(),
            lines: f.percentiles.to_vec(),
            bounds: bounds(),
        })
    });
    let errors = ChartStyle {
        lines: vec![Line {
            name: "errors",
            token: "--c5",
        }],
        stacked: true,
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
            <Chart title="Duration" unit="of requests" style=latency data=latency_data empty on_zoom/>
            <Chart
                title="Error rate"
                unit="% of requests"
                style=errors
                data=errors_data
                empty
                on_zoom
            />
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

/// Says why there is no history.
#[component]
pub fn HistoryError(
    /// Why.
    error: RwSignal<Option<FetchError>>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    move || {
        // Without the daemon there is a banner already.
        let error = error
            .get()
            .filter(|_| store.connection.get() == Connection::Open);
        error.map(|error| {
            view! {
                <div class="panel banner warn" role="alert" data-testid="history-error">
                    <span class="mark-shape" aria-hidden="true"></span>
                    <p><b>"History could not be read. "</b>{error.to_string()}"."</p>
                </div>
            }
        })
    }
}

/// History and the reason why there is none.
#[derive(Clone, Copy)]
pub struct HistorySignals {
    /// History, once it was read.
    pub joined: RwSignal<Option<History>>,
    /// Why the newest attempt failed.
    pub error: RwSignal<Option<FetchError>>,
}

/// Asks for history when the range changes, and again whenever a step of it
/// has passed while live.
#[must_use]
pub fn history(store: Store, service: String, range: Memo<Range>) -> HistorySignals {
    let signals = HistorySignals {
        joined: RwSignal::new(None),
        error: RwSignal::new(None),
    };
    let newest = StoredValue::new(0u32);
    let asked_ms = StoredValue::new(f64::NEG_INFINITY);
    let ask = move || {
        let range = range.get_untracked();
        let turn = newest.get_value() + 1;
        newest.set_value(turn);
        asked_ms.set_value(browser::now_ms());
        let now_ms = store.daemon_now_ms(browser::now_ms());
        let service = service.clone();
        leptos::task::spawn_local(async move {
            let answer = fetch_history(&service, range, now_ms).await;
            // An answer to an earlier question must not replace a later one's.
            if newest.try_get_value() != Some(turn) {
                return;
            }
            match answer {
                Ok(history) => {
                    signals.joined.try_set(Some(history));
                    signals.error.try_set(None);
                }
                Err(error) => {
                    signals.error.try_set(Some(error));
                }
            }
        });
    };
    let is_open = Memo::new(move |_| store.connection.get() == Connection::Open);
    Effect::new({
        let ask = ask.clone();
        move |_| {
            range.track();
            // After a pause of the daemon the live seconds have a gap.
            is_open.track();
            ask();
        }
    });
    browser::every(Duration::from_secs(1), move || {
        let range = range.get_untracked();
        let period_ms = f64::from(range.step_seconds().clamp(10, 60)) * 1e3;
        let due = browser::now_ms() - asked_ms.get_value() >= period_ms;
        if due && range.end_ms.is_none() && is_open.get_untracked() && !browser::is_hidden() {
            ask();
        }
    });
    signals
}

async fn fetch_history(service: &str, range: Range, now_ms: f64) -> Result<History, FetchError> {
    let step = range.step_seconds();
    let step_ms = f64::from(step) * 1e3;
    let (from, to) = range.bounds(now_ms);
    let from = (from / step_ms).floor() * step_ms;
    let to = (to / step_ms).ceil() * step_ms;
    let query = |what: &str| {
        format!(
            "/api/v1/query?service={}&from={from:.0}&to={to:.0}&step={step}s&{what}",
            browser::escape(service)
        )
    };
    let ask = async |what: &str| fetch::<QueryResult>(&query(what)).await;
    // One after the other: a page must not take a daemon's threads at once.
    let requests = ask("metric=requests&stat=count&by=status_class").await?;
    let errors = ask("metric=errors&stat=count").await?;
    let p50 = ask("metric=duration&stat=p50").await?;
    let p95 = ask("metric=duration&stat=p95").await?;
    let p99 = ask("metric=duration&stat=p99").await?;
    Ok(History::new(
        requests,
        errors,
        [p50, p95, p99],
        now_ms.min(to),
    ))
}
