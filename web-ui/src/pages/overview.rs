//! All services in one look, the worst first.

use leptos::prelude::*;
use modeltap_api_types::{DockerState, Health, Service};

use crate::accounting::{is_unseen, unseen_bytes};
use crate::address;
use crate::components::figures::{HealthMark, Kpi, figure, health_class};
use crate::components::sparkline::Sparkline;
use crate::format::{self, Quantity};
use crate::pages::overview_why::TroubleLines;
use crate::pages::service_containers::use_cell;
use crate::reactive::{follows, memo, says, when};
use crate::state::{CaptureSummary, Sort, SortBy, Store, Totals, health_label, matches};
use crate::usage::{cpu, memory};
use crate::words::{W, phrases, t};

/// The overview.
#[component]
pub fn OverviewPage() -> impl IntoView {
    let store = expect_context::<Store>();
    view! {
        <h1 class="sr-only">{t(W::Overview)}</h1>
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
    let totals = memo(move || {
        store.is_loaded().then(|| {
            let mut totals = Totals::default();
            let services = store.settled_services();
            services
                .iter()
                .for_each(|s| totals.add(&s.read_untracked()));
            totals
        })
    });
    let figure = move |of: fn(&Totals) -> Quantity| {
        memo(move || totals.with(|t| t.as_ref().map_or_else(Quantity::unknown, of)))
    };
    let note = move |of: fn(&Totals) -> String| {
        memo(move || totals.with(|t| t.as_ref().map(of).unwrap_or_default()))
    };
    let capture = memo(move || {
        store
            .status
            .with(|s| s.as_ref().map(|s| CaptureSummary::new(&s.capture)))
    });
    let captured =
        memo(move || capture.with(|c| format::percent(c.as_ref().and_then(CaptureSummary::share))));
    let captured_note = memo(move || {
        capture.with(|c| match c {
            None => String::new(),
            Some(c) if c.misses.is_empty() => t(W::NothingMissed).to_owned(),
            Some(c) => c
                .misses
                .iter()
                .map(|(n, word)| phrases::counted(&format::count(*n), t(*word)))
                .collect::<Vec<_>>()
                .join(", "),
        })
    });
    let window = move || phrases::last(&format::span(store.window_seconds.get().into()));
    view! {
        <section class="kpis" aria-label=t(W::AllServices)>
            <Kpi
                label=t(W::Services)
                value=figure(|t| Quantity {
                    value: format::count(t.by_health.iter().sum::<usize>() as u64),
                    unit: "",
                })
                note=note(health_note)
            />
            <Kpi
                label=t(W::RequestsPerSecond)
                value=figure(|t| Quantity { value: format::rate(t.rate), unit: "" })
                note=memo(window)
            />
            <Kpi
                label=t(W::SlowestP95)
                value=figure(|t| format::duration(t.highest_p95.as_ref().map(|(p95, _)| *p95)))
                note=note(|t| t.highest_p95.as_ref().map(|(_, s)| s.clone()).unwrap_or_default())
            />
            <Kpi
                label=t(W::Errors)
                value=figure(|t| format::percent(t.error_rate()))
                note=note(|t| {
                    phrases::of(&format::count(t.n_errors), &format::count(t.n_requests))
                })
            />
            <Kpi
                label=t(W::InFlight)
                value=figure(|t| Quantity { value: format::count(t.n_active), unit: "" })
                note=note(|_| t(W::BeingServed).to_owned())
            />
            <Kpi label=t(W::Captured) value=captured note=captured_note/>
        </section>
    }
}

/// How many are in trouble, or that none is.
fn health_note(totals: &Totals) -> String {
    let [critical, warning, healthy, idle] = totals.by_health;
    let healthy = if critical + warning == 0 { healthy } else { 0 };
    let parts = [
        (critical, Health::Critical),
        (warning, Health::Warning),
        (healthy, Health::Ok),
        (idle, Health::Idle),
    ];
    let parts = parts.into_iter().filter(|(n, _)| *n > 0);
    parts
        .map(|(n, health)| {
            phrases::counted(&n.to_string(), &health_label(health).to_ascii_lowercase())
        })
        .collect::<Vec<_>>()
        .join(" · ")
}

#[component]
fn Skeleton() -> impl IntoView {
    view! {
        <section class="panel skeleton" aria-label=t(W::Loading) aria-busy="true">
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
    let empty = memo(move || {
        let services = store.settled_services();
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
                .all(|s| s.with_untracked(|s| s.last_request_unix_ms.is_none()))
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
                    <h2>{t(W::AskingDocker)}</h2>
                </section>
            }
            .into_any(),
        ),
        Empty::Containers { n_excluded } => {
            let excluded = (n_excluded > 0).then(|| {
                view! {
                    <p class="muted">
                        {phrases::left_out(&n_excluded.to_string())}
                        <code>"modeltap.enable=false"</code>"."
                    </p>
                }
            });
            Some(
                view! {
                    <section class="panel empty" data-testid="empty-no-containers">
                        <h2>{t(W::NoContainers)}</h2>
                        <p>
                            {t(W::StartOne)}
                        </p>
                        <pre><code>"docker run --rm -p 11434:11434 ollama/ollama"</code></pre>
                        {excluded}
                    </section>
                }
                .into_any(),
            )
        }
        Empty::Traffic { n_containers } => Some(
            view! {
                <section class="panel banner info" data-testid="empty-no-traffic">
                    <span class="mark-shape" aria-hidden="true"></span>
                    <p>
                        <b>{t(W::NoRequestsYet)}</b>
                        {phrases::watching(&n_containers.to_string())}
                        {t(W::FirstRequestShows)}
                    </p>
                </section>
            }
            .into_any(),
        ),
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

    let order = memo(move || {
        let (sort, typed) = (sort.get(), typed.get());
        let services = store.settled_services();
        let read = services.iter().map(ReadUntracked::read_untracked);
        let mut services: Vec<_> = read.filter(|s| matches(s, &typed)).collect();
        services.sort_by(|a, b| sort.compare(a, b));
        services.iter().map(|s| s.name.clone()).collect::<Vec<_>>()
    });
    let rows = move || {
        order.with(|names| {
            names
                .iter()
                .filter_map(|name| Some((name.clone(), untrack(|| store.service(name))?)))
                .collect::<Vec<_>>()
        })
    };
    let any = memo(move || !store.services().is_empty());
    let header = move |by: SortBy, label: &'static str, class: &'static str| {
        view! { <SortHeader sort by label class/> }
    };

    view! {
        {when(move || any.get(), move || view! {
            <section class="panel table-panel">
                <div class="head">
                    <h2>{t(W::Services)}</h2>
                    <span class="unit">
                        {says(move || phrases::last(&format::span(store.window_seconds.get().into())))}
                    </span>
                    <span class="grow"></span>
                    <label class="search">
                        <span class="sr-only">{t(W::FilterServices)}</span>
                        <input
                            type="search"
                            placeholder=t(W::FilterServices)
                            autocomplete="off"
                            spellcheck="false"
                            data-testid="filter"
                            prop:value=move || typed.get()
                            on:input=move |event| typed.set(event_target_value(&event))
                        />
                        <kbd aria-hidden="true">"/"</kbd>
                    </label>
                </div>
                <table class="cards services" role="table">
                    <thead role="rowgroup">
                        <tr role="row">
                            {header(SortBy::Health, t(W::Health), "left")}
                            {header(SortBy::Name, t(W::Service), "left")}
                            {header(SortBy::Rate, t(W::RequestsPerSecond), "")}
                            <th role="columnheader" scope="col" class="left spark-cell">{t(W::QuarterHour)}</th>
                            {header(SortBy::P50, t(W::P50), "")}
                            {header(SortBy::P95, t(W::P95), "")}
                            {header(SortBy::P99, t(W::P99), "")}
                            {header(SortBy::ErrorRate, t(W::Errors), "")}
                            {header(SortBy::Active, t(W::Active), "")}
                            {header(SortBy::Cpu, t(W::Cpu), "use")}
                            {header(SortBy::Memory, t(W::Memory), "use")}
                            {header(SortBy::Containers, t(W::Containers), "wide")}
                        </tr>
                    </thead>
                    <tbody role="rowgroup">
                        <For each=rows key=|(name, _)| name.clone() let((name, service))>
                            <ServiceRow name service/>
                        </For>
                    </tbody>
                </table>
                {when(move || order.with(Vec::is_empty), move || view! {
                    <p class="none">
                        {says(move || phrases::no_service_matches(&typed.get()))}
                    </p>
                }.into_any())}
            </section>
        }.into_any())}
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
                    {says(move || if !active() { "" } else if ascending() { "↑" } else { "↓" })}
                </span>
            </button>
        </th>
    }
}

#[component]
fn ServiceRow(name: String, service: ArcRwSignal<Service>) -> impl IntoView {
    let service: RwSignal<Service> = service.into();
    let href = address::service_href(&name);
    let subtitle = memo(move || {
        service.with(|s| {
            let image = s
                .containers
                .first()
                .map(|c| format::image(&c.image).to_owned());
            let parts = [s.project.clone(), image];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
        })
    });
    let health = memo(move || service.with(|s| s.health));
    let sparkline = memo(move || service.with(|s| s.sparkline.clone()));
    let text = move |of: fn(&Service) -> String| memo(move || service.with(of));
    let time = move |of: fn(&Service) -> Option<f64>| {
        memo(move || service.with(|s| format::duration(of(s))))
    };
    let raw = move |of: fn(&Service) -> Option<f64>| {
        move || service.with(|s| of(s).map(|v| v.to_string()).unwrap_or_default())
    };
    let errors = memo(move || service.with(|s| format::percent(s.window.error_rate)));
    let rate = text(|s| {
        if is_unseen(s) {
            format::UNKNOWN.to_owned()
        } else {
            format::rate(s.window.rate)
        }
    });
    let has_unseen = memo(move || service.with(|s| unseen_bytes(s).is_some()));
    let resources = memo(move || service.with(|s| s.resources.clone()));
    let active = text(|s| format::count(s.n_active));
    let containers = text(|s| format::count(s.containers.len() as u64));
    let (p50, p95, p99) = (
        time(|s| s.window.p50),
        time(|s| s.window.p95),
        time(|s| s.window.p99),
    );
    let incomplete = memo(move || service.with(|s| s.window.n_incomplete));
    let n_requests = move || service.with(|s| s.window.n_requests.to_string());
    let testid = format!("service-row-{name}");
    view! {
        <tr
            role="row"
            class=says(move || health_class(health.get()))
            data-testid=testid
            data-health=says(move || health_class(health.get()))
            data-count=n_requests
        >
            <td role="cell" class="left health-cell"><HealthMark health/></td>
            <td role="cell" class="left name-cell">
                <a href=href class="row-link">{name}</a>
                <small>
                    {follows(move || has_unseen.get().then(|| {
                        view! {
                            <span class="warn" data-testid="unseen">{t(W::UnseenAhead)}</span>
                        }
                    }))}
                    {says(move || subtitle.get())}
                </small>
            </td>
            <td
                role="cell"
                data-label=t(W::ReqPerSecond)
                data-testid="requests-rate"
                data-value=raw(|s| Some(s.window.rate))
            >
                {says(move || rate.get())}
            </td>
            <td role="cell" class="spark-cell"><Sparkline values=sparkline/></td>
            <td role="cell" data-label=t(W::P50) data-testid="p50" data-value=raw(|s| s.window.p50)>
                {figure(p50)}
            </td>
            <td role="cell" data-label=t(W::P95) data-testid="p95" data-value=raw(|s| s.window.p95)>
                {figure(p95)}
            </td>
            <td role="cell" data-label=t(W::P99) data-testid="p99" data-value=raw(|s| s.window.p99)>
                {figure(p99)}
                {when(move || { incomplete.get() > 0 }, move || view! {
                    <span
                        class="incomplete"
                        title=says(move || {
                            phrases::window_not_whole(&format::count(incomplete.get()))
                        })
                    >
                        "*"
                    </span>
                }.into_any())}
            </td>
            <td
                role="cell"
                data-label=t(W::Errors)
                class="errors"
                data-testid="error-rate"
                data-value=raw(|s| s.window.error_rate)
            >
                {figure(errors)}
            </td>
            <td role="cell" data-label=t(W::Active)>{says(move || active.get())}</td>
            {use_cell(t(W::Cpu), resources, cpu)}
            {use_cell(t(W::Memory), resources, memory)}
            <td role="cell" data-label=t(W::Containers) class="wide">{says(move || containers.get())}</td>
        </tr>
    }
}
