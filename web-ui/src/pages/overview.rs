//! All services in one look, the worst first.

use leptos::ev;
use leptos::html;
use leptos::prelude::*;
use modeltap_api_types::{DockerState, Service};
use wasm_bindgen::JsCast;

use crate::accounting::{is_unseen, unseen_bytes};
use crate::browser;
use crate::components::figures::{HealthMark, Kpi, health_class, quantity};
use crate::components::sparkline::Sparkline;
use crate::format::{self, Quantity};
use crate::pages::overview_why::TroubleLines;
use crate::pages::service_containers::use_cell;
use crate::state::{CaptureSummary, Sort, SortBy, Store, Totals, matches};
use crate::usage::{cpu, memory};

/// The overview.
#[component]
pub fn OverviewPage() -> impl IntoView {
    let store = expect_context::<Store>();
    view! {
        <h1 class="sr-only">"Overview"</h1>
        <Kpis/>
        <Show when=move || store.is_loaded() fallback=Skeleton>
            <EmptyState/>
            <TroubleLines/>
            <ServiceTable/>
        </Show>
    }
    .into_any()
}

#[component]
fn Kpis() -> impl IntoView {
    let store = expect_context::<Store>();
    let totals = Memo::new(move |_| {
        store.is_loaded().then(|| {
            let mut totals = Totals::default();
            store.services().iter().for_each(|s| totals.add(&s.read()));
            totals
        })
    });
    let figure = move |of: fn(&Totals) -> Quantity| {
        Memo::new(move |_| totals.with(|t| t.as_ref().map_or_else(Quantity::unknown, of)))
    };
    let note = move |of: fn(&Totals) -> String| {
        Memo::new(move |_| totals.with(|t| t.as_ref().map(of).unwrap_or_default()))
    };
    let capture = Memo::new(move |_| {
        store
            .status
            .with(|s| s.as_ref().map(|s| CaptureSummary::new(&s.capture)))
    });
    let captured = Memo::new(move |_| {
        capture.with(|c| format::percent(c.as_ref().and_then(CaptureSummary::share)))
    });
    let captured_note = Memo::new(move |_| {
        capture.with(|c| match c {
            None => String::new(),
            Some(c) if c.misses.is_empty() => "nothing missed".to_owned(),
            Some(c) => c
                .misses
                .iter()
                .map(|(n, word)| format!("{} {word}", format::count(*n)))
                .collect::<Vec<_>>()
                .join(", "),
        })
    });
    let window = move || format!("last {}", format::span(store.window_seconds.get().into()));
    view! {
        <section class="kpis" aria-label="All services">
            <Kpi
                label="Services"
                value=figure(|t| Quantity {
                    value: format::count(t.by_health.iter().sum::<usize>() as u64),
                    unit: "",
                })
                note=note(health_note)
            />
            <Kpi
                label="Requests/s"
                value=figure(|t| Quantity { value: format::rate(t.rate), unit: "" })
                note=Memo::new(move |_| window())
            />
            <Kpi
                label="p95, slowest service"
                value=figure(|t| format::duration(t.highest_p95.as_ref().map(|(p95, _)| *p95)))
                note=note(|t| t.highest_p95.as_ref().map(|(_, s)| s.clone()).unwrap_or_default())
            />
            <Kpi
                label="Errors"
                value=figure(|t| format::percent(t.error_rate()))
                note=note(|t| {
                    format!("{} of {}", format::count(t.n_errors), format::count(t.n_requests))
                })
            />
            <Kpi
                label="In flight"
                value=figure(|t| Quantity { value: format::count(t.n_active), unit: "" })
                note=note(|_| "requests being served".to_owned())
            />
            <Kpi label="Captured" value=captured note=captured_note/>
        </section>
    }
}

/// How many are in trouble, or that none is.
fn health_note(totals: &Totals) -> String {
    let [critical, warning, healthy, idle] = totals.by_health;
    let healthy = if critical + warning == 0 { healthy } else { 0 };
    let parts = [
        (critical, "critical"),
        (warning, "warning"),
        (healthy, "healthy"),
        (idle, "idle"),
    ];
    let parts = parts.into_iter().filter(|(n, _)| *n > 0);
    parts
        .map(|(n, word)| format!("{n} {word}"))
        .collect::<Vec<_>>()
        .join(" · ")
}

#[component]
fn Skeleton() -> impl IntoView {
    view! {
        <section class="panel skeleton" aria-label="Loading" aria-busy="true">
            <i></i><i></i><i></i><i></i><i></i>
        </section>
    }
}

/// What to say where there is nothing to see yet.
#[component]
fn EmptyState() -> impl IntoView {
    #[derive(Clone, Copy, PartialEq)]
    enum Empty {
        No,
        Containers { n_excluded: u32 },
        Looking,
        Traffic { n_containers: u32 },
    }
    let store = expect_context::<Store>();
    let empty = Memo::new(move |_| {
        let services = store.services();
        store.status.with(|status| {
            let Some(docker) = status.as_ref().map(|s| &s.docker) else {
                return Empty::No;
            };
            if services.is_empty() {
                match docker.state {
                    DockerState::Connected => Empty::Containers {
                        n_excluded: docker.n_excluded,
                    },
                    DockerState::Connecting => Empty::Looking,
                    DockerState::Unreachable => Empty::No,
                }
            } else if services
                .iter()
                .all(|s| s.with(|s| s.last_request_unix_ms.is_none()))
            {
                Empty::Traffic {
                    n_containers: docker.n_containers,
                }
            } else {
                Empty::No
            }
        })
    });
    move || match empty.get() {
        Empty::No => None,
        Empty::Looking => Some(
            view! {
                <section class="panel empty">
                    <h2>"Asking Docker for its containers…"</h2>
                </section>
            }
            .into_any(),
        ),
        Empty::Containers { n_excluded } => {
            let excluded = (n_excluded > 0).then(|| {
                view! {
                    <p class="muted">
                        {format!("{n_excluded} running left out by the label ")}
                        <code>"modeltap.enable=false"</code>"."
                    </p>
                }
            });
            Some(
                view! {
                    <section class="panel empty" data-testid="empty-no-containers">
                        <h2>"No containers are running"</h2>
                        <p>
                            "Start a model server in Docker and it appears here by itself. \
                             Nothing needs to be changed in it."
                        </p>
                        <pre><code>"docker run --rm -p 11434:11434 ollama/ollama"</code></pre>
                        {excluded}
                    </section>
                }
                .into_any(),
            )
        }
        Empty::Traffic { n_containers } => {
            let s = if n_containers == 1 { "" } else { "s" };
            Some(
                view! {
                    <section class="panel banner info" data-testid="empty-no-traffic">
                        <span class="mark-shape" aria-hidden="true"></span>
                        <p>
                            <b>"No requests yet. "</b>
                            {format!("Watching {n_containers} container{s}. ")}
                            "The first HTTP request that one of them answers shows up here \
                             within a second."
                        </p>
                    </section>
                }
                .into_any(),
            )
        }
    }
}

#[component]
fn ServiceTable() -> impl IntoView {
    let store = expect_context::<Store>();
    let typed = RwSignal::new(String::new());
    let sort = RwSignal::new(Sort {
        by: SortBy::Health,
        reversed: false,
    });
    let filter_box = NodeRef::<html::Input>::new();
    focus_on_slash(filter_box);

    let order = Memo::new(move |_| {
        let (sort, typed) = (sort.get(), typed.get());
        let mut services: Vec<Service> = store
            .services()
            .iter()
            .map(|s| s.get())
            .filter(|s| matches(s, &typed))
            .collect();
        services.sort_by(|a, b| sort.compare(a, b));
        services.into_iter().map(|s| s.name).collect::<Vec<_>>()
    });
    let rows = move || {
        order.with(|names| {
            names
                .iter()
                .filter_map(|name| Some((name.clone(), untrack(|| store.service(name))?)))
                .collect::<Vec<_>>()
        })
    };
    let any = Memo::new(move |_| !store.services().is_empty());
    let header = move |by: SortBy, label: &'static str, class: &'static str| {
        view! { <SortHeader sort by label class/> }
    };

    view! {
        <Show when=move || any.get()>
            <section class="panel table-panel">
                <div class="head">
                    <h2>"Services"</h2>
                    <span class="unit">
                        {move || format!("last {}", format::span(store.window_seconds.get().into()))}
                    </span>
                    <span class="grow"></span>
                    <label class="search">
                        <span class="sr-only">"Filter services"</span>
                        <input
                            type="search"
                            placeholder="Filter services"
                            autocomplete="off"
                            spellcheck="false"
                            data-testid="filter"
                            node_ref=filter_box
                            prop:value=move || typed.get()
                            on:input=move |event| typed.set(event_target_value(&event))
                        />
                        <kbd aria-hidden="true">"/"</kbd>
                    </label>
                </div>
                <table class="cards services" role="table">
                    <thead role="rowgroup">
                        <tr role="row">
                            {header(SortBy::Health, "Health", "left")}
                            {header(SortBy::Name, "Service", "left")}
                            {header(SortBy::Rate, "Requests/s", "")}
                            <th role="columnheader" scope="col" class="left spark-cell">"15 min"</th>
                            {header(SortBy::P50, "p50", "")}
                            {header(SortBy::P95, "p95", "")}
                            {header(SortBy::P99, "p99", "")}
                            {header(SortBy::ErrorRate, "Errors", "")}
                            {header(SortBy::Active, "Active", "")}
                            {header(SortBy::Cpu, "CPU", "use")}
                            {header(SortBy::Memory, "Memory", "use")}
                            {header(SortBy::Containers, "Containers", "wide")}
                        </tr>
                    </thead>
                    <tbody role="rowgroup">
                        <For each=rows key=|(name, _)| name.clone() let((name, service))>
                            <ServiceRow name service/>
                        </For>
                    </tbody>
                </table>
                <Show when=move || order.with(Vec::is_empty)>
                    <p class="none">
                        {move || format!("No service matches “{}”.", typed.get())}
                    </p>
                </Show>
            </section>
        </Show>
    }
}

#[component]
fn SortHeader(
    sort: RwSignal<Sort>,
    by: SortBy,
    label: &'static str,
    class: &'static str,
) -> impl IntoView {
    let active = move || sort.with(|s| s.by == by);
    // Figures and health come largest and worst first, names from A.
    let ascending = move || sort.with(|s| s.reversed) != (by == SortBy::Name);
    let direction = move || match (active(), ascending()) {
        (false, _) => "none",
        (true, true) => "ascending",
        (true, false) => "descending",
    };
    let turn = move |_| {
        sort.update(|s| {
            *s = Sort {
                by,
                reversed: s.by == by && !s.reversed,
            }
        });
    };
    view! {
        <th role="columnheader" scope="col" class=class aria-sort=direction>
            <button on:click=turn class:on=active>
                {label}
                <span class="arrow" aria-hidden="true">
                    {move || if !active() { "" } else if ascending() { "↑" } else { "↓" }}
                </span>
            </button>
        </th>
    }
}

#[component]
fn ServiceRow(name: String, service: ArcRwSignal<Service>) -> impl IntoView {
    let service: RwSignal<Service> = service.into();
    let href = browser::service_href(&name);
    let subtitle = Memo::new(move |_| {
        service.with(|s| {
            let image = s
                .containers
                .first()
                .map(|c| format::image(&c.image).to_owned());
            let parts = [s.project.clone(), image];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
        })
    });
    let health = Memo::new(move |_| service.with(|s| s.health));
    let sparkline = Memo::new(move |_| service.with(|s| s.sparkline.clone()));
    let text = move |of: fn(&Service) -> String| Memo::new(move |_| service.with(of));
    let time = move |of: fn(&Service) -> Option<f64>| {
        Memo::new(move |_| service.with(|s| format::duration(of(s))))
    };
    let raw = move |of: fn(&Service) -> Option<f64>| {
        move || service.with(|s| of(s).map(|v| v.to_string()).unwrap_or_default())
    };
    let errors = Memo::new(move |_| service.with(|s| format::percent(s.window.error_rate)));
    let rate = text(|s| {
        if is_unseen(s) {
            format::UNKNOWN.to_owned()
        } else {
            format::rate(s.window.rate)
        }
    });
    let has_unseen = Memo::new(move |_| service.with(|s| unseen_bytes(s).is_some()));
    let resources = Memo::new(move |_| service.with(|s| s.resources.clone()));
    let active = text(|s| format::count(s.n_active));
    let containers = text(|s| format::count(s.containers.len() as u64));
    let (p50, p95, p99) = (
        time(|s| s.window.p50),
        time(|s| s.window.p95),
        time(|s| s.window.p99),
    );
    let incomplete = Memo::new(move |_| service.with(|s| s.window.n_incomplete));
    let n_requests = move || service.with(|s| s.window.n_requests.to_string());
    let testid = format!("service-row-{name}");
    view! {
        <tr
            role="row"
            class=move || health_class(health.get())
            data-testid=testid
            data-health=move || health_class(health.get())
            data-count=n_requests
        >
            <td role="cell" class="left health-cell"><HealthMark health/></td>
            <td role="cell" class="left name-cell">
                <a href=href class="row-link">{name}</a>
                <small>
                    {move || has_unseen.get().then(|| {
                        view! {
                            <span class="warn" data-testid="unseen">"bytes move unseen · "</span>
                        }
                    })}
                    {move || subtitle.get()}
                </small>
            </td>
            <td
                role="cell"
                data-label="Req/s"
                data-testid="requests-rate"
                data-value=raw(|s| Some(s.window.rate))
            >
                {move || rate.get()}
            </td>
            <td role="cell" class="spark-cell"><Sparkline values=sparkline/></td>
            <td role="cell" data-label="p50" data-testid="p50" data-value=raw(|s| s.window.p50)>
                {move || quantity(p50.get())}
            </td>
            <td role="cell" data-label="p95" data-testid="p95" data-value=raw(|s| s.window.p95)>
                {move || quantity(p95.get())}
            </td>
            <td role="cell" data-label="p99" data-testid="p99" data-value=raw(|s| s.window.p99)>
                {move || quantity(p99.get())}
                <Show when=move || { incomplete.get() > 0 }>
                    <span
                        class="incomplete"
                        title=move || {
                            format!(
                                "{} requests of the window were not seen whole; their durations \
                                 may be short",
                                format::count(incomplete.get()),
                            )
                        }
                    >
                        "*"
                    </span>
                </Show>
            </td>
            <td
                role="cell"
                data-label="Errors"
                class="errors"
                data-testid="error-rate"
                data-value=raw(|s| s.window.error_rate)
            >
                {move || quantity(errors.get())}
            </td>
            <td role="cell" data-label="Active">{move || active.get()}</td>
            {move || use_cell("CPU", resources.get().as_ref(), cpu)}
            {move || use_cell("Memory", resources.get().as_ref(), memory)}
            <td role="cell" data-label="Containers" class="wide">{move || containers.get()}</td>
        </tr>
    }
}

fn focus_on_slash(input: NodeRef<html::Input>) {
    let handle = window_event_listener(ev::keydown, move |event| {
        let typing = document()
            .active_element()
            .is_some_and(|e| matches!(e.tag_name().as_str(), "INPUT" | "SELECT" | "TEXTAREA"));
        let Some(input) = input.get_untracked() else {
            return;
        };
        if event.key() == "/" && !typing && !event.ctrl_key() && !event.meta_key() {
            event.prevent_default();
            // A box that cannot be focused is no harm.
            let _ = input.focus();
            input.select();
        } else if event.key() == "Escape" && typing {
            let _ = input.unchecked_ref::<web_sys::HtmlElement>().blur();
        }
    });
    on_cleanup(move || handle.remove());
}
