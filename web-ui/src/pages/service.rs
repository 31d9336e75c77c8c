//! One service: its charts over a range of time, its routes, its requests.

use std::time::Duration;

use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_params_map, use_query_map};
use modeltap_api_types::{QueryResult, Service};

use crate::browser;
use crate::client::{FetchError, fetch};
use crate::components::chart::{Chart, ChartData, ChartStyle, Line};
use crate::components::figures::{HealthMark, Kpi};
use crate::format::{self, Quantity};
use crate::pages::service_tables::{RequestsPanel, RoutesPanel, TotalsPanel};
use crate::series::{CLASSES, Frame, History, Range};
use crate::state::{Connection, Store};

/// Ranges that are one click away.
const SPANS: [(&str, u32); 5] = [
    ("5 m", 300),
    ("15 m", 900),
    ("1 h", 3_600),
    ("6 h", 21_600),
    ("24 h", 86_400),
];

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

/// The page of the service in the address.
#[component]
pub fn ServicePage() -> impl IntoView {
    let params = use_params_map();
    let name = Memo::new(move |_| params.with(|p| p.get("name").unwrap_or_default()));
    move || view! { <ServiceView name=name.get()/> }
}

/// The range in the address bar, and the ways to change it.
#[derive(Clone, Copy)]
struct RangeControl {
    range: Memo<Range>,
    go: Callback<Range>,
}

fn range_control() -> RangeControl {
    let query = use_query_map();
    let range =
        Memo::new(move |_| query.with(|q| Range::parse(q.get_str("range"), q.get_str("to"))));
    let navigate = use_navigate();
    let go = Callback::new(move |range: Range| {
        let path = window().location().pathname().unwrap_or_default();
        let options = NavigateOptions {
            scroll: false,
            ..NavigateOptions::default()
        };
        navigate(&format!("{path}{}", range.query()), options);
    });
    RangeControl { range, go }
}

#[component]
fn ServiceView(name: String) -> impl IntoView {
    let store = expect_context::<Store>();
    store.watch(Some(name.clone()));
    on_cleanup(move || store.watch(None));

    let control = range_control();
    let range = control.range;
    let is_live = Signal::derive(move || range.with(|r| r.end_ms.is_none()));
    let history = history(store, name.clone(), range);
    let frame = Memo::new(move |_| {
        let known_from = store.status.with(|s| {
            s.as_ref()
                .map_or(f64::INFINITY, |s| s.started_unix_ms as f64)
        });
        let now = store.at_ms.get() as f64;
        history.joined.with(|h| {
            store
                .seconds
                .with(|live| Frame::join(range.get(), now, h.as_ref(), live, known_from))
        })
    });
    let service = {
        let name = name.clone();
        Memo::new(move |_| store.service(&name).map(|s| s.get()))
    };
    let unknown = move || {
        let gone = store.is_loaded() && service.with(Option::is_none);
        gone && history
            .joined
            .with(|h| h.as_ref().is_some_and(|h| h.n_requests == 0))
            || gone
                && history
                    .error
                    .with(|e| matches!(e, Some(FetchError::Refused { status: 404, .. })))
    };
    let unknown = Memo::new(move |_| unknown());
    let title = name.clone();
    let (routes_of, totals_of, requests_of) = (name.clone(), name.clone(), name.clone());
    view! {
        <Show
            when=move || !unknown.get()
            fallback=move || {
                view! { <Unknown name=title.clone()/> }
            }
        >
            <Title name=name.clone() service control/>
            <HistoryError error=history.error/>
            <Figures service/>
            <Charts frame history control/>
            <RoutesPanel service=routes_of.clone() is_live/>
            <RequestsPanel service=requests_of.clone() is_live/>
            <TotalsPanel service=totals_of.clone() is_live/>
        </Show>
    }
}

#[component]
fn Unknown(name: String) -> impl IntoView {
    view! {
        <section class="panel empty" data-testid="unknown-service">
            <h1>{format!("No service is called “{name}”")}</h1>
            <p>
                "No running container belongs to it and history has no request of it in this \
                 range."
            </p>
            <p><a class="link" href="/">"All services"</a></p>
        </section>
    }
}

#[component]
fn Title(name: String, service: Memo<Option<Service>>, control: RangeControl) -> impl IntoView {
    let store = expect_context::<Store>();
    let images = Memo::new(move |_| {
        let mut images = service.with(|s| {
            let containers = s.iter().flat_map(|s| &s.containers);
            containers.map(|c| c.image.clone()).collect::<Vec<_>>()
        });
        images.sort();
        images.dedup();
        images
    });
    let containers = Memo::new(move |_| {
        service.with(|s| {
            let containers = s.iter().flat_map(|s| &s.containers);
            containers
                .map(|c| format!("{} ({})", c.name, c.id))
                .collect::<Vec<_>>()
        })
    });
    let project = Memo::new(move |_| service.with(|s| s.as_ref()?.project.clone()));
    let health = Memo::new(move |_| service.with(|s| s.as_ref().map(|s| s.health)));
    let image_badges = move || {
        let badge = |image: String| {
            let short = format::image(&image).to_owned();
            view! { <span class="badge clip" title=image>{short}</span> }
        };
        images.get().into_iter().take(3).map(badge).collect_view()
    };
    let container_badge = move || {
        let names = containers.get();
        let text = match names.len() {
            0 => "no running container".to_owned(),
            1 => "1 container".to_owned(),
            n => format!("{n} containers"),
        };
        view! { <span class="badge" title=names.join("\n")>{text}</span> }
    };
    view! {
        <div class="title">
            <a class="back" href="/" aria-label="All services">"Services"</a>
            <span class="slash" aria-hidden="true">"/"</span>
            <h1>{name}</h1>
            {move || health.get().map(|h| view! { <HealthMark health=Signal::stored(h)/> })}
            {move || project.get().map(|p| view! { <span class="badge">{p}</span> })}
            {image_badges}
            <Show when=move || store.is_loaded()>{container_badge}</Show>
            <span class="grow"></span>
            <RangePicker control/>
        </div>
    }
}

#[component]
fn RangePicker(control: RangeControl) -> impl IntoView {
    let store = expect_context::<Store>();
    let RangeControl { range, go } = control;
    let spans = SPANS
        .map(|(label, seconds)| {
            let on = move || range.with(|r| r.span_seconds == seconds);
            view! {
                <button
                    class:on=on
                    aria-pressed=move || on().to_string()
                    on:click=move |_| {
                        go.run(Range { span_seconds: seconds, ..range.get_untracked() });
                    }
                >
                    {label}
                </button>
            }
        })
        .into_iter()
        .collect_view();
    let paused = move || range.with(|r| r.end_ms.is_some());
    let turn = move |_| {
        let range = range.get_untracked();
        let end_ms = match range.end_ms {
            Some(_) => None,
            None => Some(match store.at_ms.get_untracked() {
                0 => browser::now_ms(),
                at => at as f64,
            }),
        };
        go.run(Range { end_ms, ..range });
    };
    let stretch = move || {
        range.with(|r| {
            r.end_ms.map(|end| {
                let (from, to) = r.bounds(end);
                format!(
                    "{} to {}",
                    browser::date_time(from),
                    browser::time_of_day(to)
                )
            })
        })
    };
    view! {
        <div class="range">
            <span class="stretch">{stretch}</span>
            <div class="seg" role="group" aria-label="Range of time">{spans}</div>
            <button
                class="live-toggle"
                class:paused=paused
                on:click=turn
                data-testid="live-toggle"
                aria-pressed=move || (!paused()).to_string()
                aria-label=move || {
                    if paused() { "Paused. Follow live" } else { "Live. Pause" }
                }
            >
                <i aria-hidden="true"></i>
                {move || if paused() { "Paused" } else { "Live" }}
            </button>
        </div>
    }
}

#[component]
fn Figures(service: Memo<Option<Service>>) -> impl IntoView {
    let store = expect_context::<Store>();
    let figure = move |of: fn(&Service) -> Quantity| {
        Memo::new(move |_| service.with(|s| s.as_ref().map_or_else(Quantity::unknown, of)))
    };
    let note = move |of: fn(&Service) -> String| {
        Memo::new(move |_| service.with(|s| s.as_ref().map(of).unwrap_or_default()))
    };
    let window =
        Signal::derive(move || format!("last {}", format::span(store.window_seconds.get().into())));
    view! {
        <section class="kpis" aria-label="Figures of the last minute">
            <Kpi
                label="Requests/s"
                value=figure(|s| Quantity { value: format::rate(s.window.rate), unit: "" })
                note=window
            />
            <Kpi
                label="p50"
                value=figure(|s| format::duration(s.window.p50))
                note=note(|s| format!("first byte {}", format::duration(s.window.ttfb_p50).text()))
            />
            <Kpi
                label="p95"
                value=figure(|s| format::duration(s.window.p95))
                note=note(|s| format!("first byte {}", format::duration(s.window.ttfb_p95).text()))
            />
            <Kpi
                label="p99"
                value=figure(|s| format::duration(s.window.p99))
                note=note(|s| format!("longest {}", format::duration(s.window.max).text()))
            />
            <Kpi
                label="Errors"
                value=figure(|s| format::percent(s.window.error_rate))
                note=note(|s| {
                    format!(
                        "{} of {}",
                        format::count(s.window.n_errors),
                        format::count(s.window.n_requests),
                    )
                })
            />
            <Kpi
                label="In flight"
                value=figure(|s| Quantity { value: format::count(s.n_active), unit: "" })
                note=note(|s| {
                    s.last_request_unix_ms.map_or_else(
                        || "no request seen".to_owned(),
                        |at| format!("last {}", browser::time_of_day(at as f64)),
                    )
                })
            />
        </section>
    }
}

#[component]
fn Charts(frame: Memo<Frame>, history: HistorySignals, control: RangeControl) -> impl IntoView {
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

#[component]
fn HistoryError(error: RwSignal<Option<FetchError>>) -> impl IntoView {
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
struct HistorySignals {
    joined: RwSignal<Option<History>>,
    error: RwSignal<Option<FetchError>>,
}

/// Asks for history when the range changes, and again whenever a step of it
/// has passed while live.
fn history(store: Store, service: String, range: Memo<Range>) -> HistorySignals {
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
