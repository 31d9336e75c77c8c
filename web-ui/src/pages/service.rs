//! One service: its charts over a range of time, its routes, its requests.

use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use modeltap_api_types::{Events, Requests, Service};

use crate::accounting::is_unseen;
use crate::browser;
use crate::client::poll;
use crate::components::alerts::FiringLink;
use crate::components::figures::{HealthMark, Kpi};
use crate::components::marks::Marks;
use crate::components::range::{RangeControl, RangePicker, range_control};
use crate::format::{self, Quantity};
use crate::pages::service_accounts::{AccountsPanels, UnseenBanner};
use crate::pages::service_charts::Charts;
use crate::pages::service_containers::ContainersPanel;
use crate::pages::service_events::{EventsPanel, service_events};
use crate::pages::service_exemplars::ExemplarPanels;
use crate::pages::service_heatmap::HeatmapPanel;
use crate::pages::service_history::{HistoryError, history};
use crate::pages::service_resources::ResourceCharts;
use crate::pages::service_streams::{InferencePanel, SessionsPanel, StreamsPanel};
use crate::pages::service_tables::{
    PERIOD, RequestsPanel, RoutesPanel, TotalsPanel, requests_path,
};
use crate::pages::service_time::TimePanels;
use crate::pages::service_why::WhyLines;
use crate::series::{Frame, Measure};
use crate::state::Store;
use crate::timeline::marks;

/// The page of the service in the address.
#[component]
pub fn ServicePage() -> impl IntoView {
    let params = use_params_map();
    let name = Memo::new(move |_| params.with(|p| p.get("name").unwrap_or_default()));
    (move || view! { <ServiceView name=name.get()/> }).into_any()
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
    let is_known = Signal::derive(move || service.with(Option::is_some));
    let unknown = Memo::new(move |_| {
        let in_history = history
            .joined
            .with(|h| h.as_ref().is_none_or(|h| h.n_requests > 0));
        store.is_loaded() && !is_known.get() && !in_history
    });
    let has_streams = Signal::from(Memo::new(move |before: Option<&bool>| {
        before == Some(&true) || frame.with(|f| f.has(Measure::FirstChunkP95))
    }));
    let unseen = Signal::from(Memo::new(move |_| {
        service.with(|s| s.as_ref().is_some_and(is_unseen))
    }));
    let events = service_events(store, &name, range.into());
    provide_context(Marks(Memo::new(move |_| {
        let span = f64::from(range.get().span_seconds);
        let told = |e: &Events| marks(&e.events, span);
        events
            .value
            .with(|e| e.as_ref().map(told).unwrap_or_default())
    })));
    let requests = poll::<Requests>(
        store,
        requests_path(&name),
        PERIOD,
        Signal::stored(true),
        is_live,
    );
    // Parts of one type: a tuple of thirteen is code of its own.
    move || -> Vec<AnyView> {
        let name = name.clone();
        if unknown.get() {
            return vec![view! { <Unknown name/> }.into_any()];
        }
        let service_name = name.clone();
        vec![
            view! { <Title name=name.clone() service control/> }.into_any(),
            view! { <HistoryError error=history.error/> }.into_any(),
            view! { <UnseenBanner service/> }.into_any(),
            view! { <WhyLines service=name.clone() control/> }.into_any(),
            view! { <Figures service/> }.into_any(),
            view! { <TimePanels service/> }.into_any(),
            view! { <Charts frame history control has_streams is_unseen=unseen/> }.into_any(),
            view! { <HeatmapPanel service=name.clone() control/> }.into_any(),
            view! { <ResourceCharts name=name.clone() service control/> }.into_any(),
            view! {
                <EventsPanel
                    title="What happened"
                    of="in this range"
                    none="No start, stop, kill, new image or alert in this range."
                    polled=events
                />
            }
            .into_any(),
            view! { <ContainersPanel service/> }.into_any(),
            view! { <StreamsPanel service in_history=has_streams/> }.into_any(),
            view! { <SessionsPanel service/> }.into_any(),
            view! { <RoutesPanel service=service_name is_known is_live/> }.into_any(),
            view! { <ExemplarPanels service=name.clone() range=range.into()/> }.into_any(),
            view! { <InferencePanel polled=requests/> }.into_any(),
            view! { <RequestsPanel polled=requests/> }.into_any(),
            view! { <AccountsPanels service/> }.into_any(),
            view! { <TotalsPanel service=name is_known is_live/> }.into_any(),
        ]
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
            <FiringLink service/>
            {move || project.get().map(|p| view! { <span class="badge">{p}</span> })}
            {image_badges}
            <Show when=move || store.is_loaded()>{container_badge}</Show>
            <span class="grow"></span>
            <RangePicker control/>
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
                value=figure(rate)
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
                value=figure(active)
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

/// Requests a second; not zero where they move unseen.
fn rate(service: &Service) -> Quantity {
    if is_unseen(service) {
        return Quantity::unknown();
    }
    Quantity {
        value: format::rate(service.window.rate),
        unit: "",
    }
}

/// Requests in progress; not zero where they move unseen.
fn active(service: &Service) -> Quantity {
    if is_unseen(service) {
        return Quantity::unknown();
    }
    Quantity {
        value: format::count(service.n_active),
        unit: "",
    }
}
