//! One service: its charts over a range of time, its routes, its requests.

use leptos::prelude::*;
use modeltap_api_types::{Events, Requests, Service};

use crate::accounting::is_unseen;
use crate::address::Address;
use crate::browser;
use crate::client::poll;
use crate::components::alerts::FiringLink;
use crate::components::figures::{HealthMark, Kpi};
use crate::components::marks::Marks;
use crate::components::parts::live;
use crate::components::range::{RangeControl, RangePicker, range_control};
use crate::format::{self, Quantity};
use crate::narrow::Narrow;
use crate::pages::narrowed::{narrow_figures, narrowed_to};
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
use crate::reactive::{AnyViews, follows, memo, when};
use crate::series::{Frame, LiveSeconds, Measure};
use crate::state::Store;
use crate::timeline::marks;
use crate::words::{W, phrases, t};

/// The page of a service, narrowed to what the address bar says.
#[component]
pub fn ServicePage(
    /// The service's name.
    name: String,
) -> impl IntoView {
    let query = expect_context::<Address>().query();
    let narrow = memo(move || query.with(Narrow::of));
    follows(move || service_view(name.clone(), narrow.get()))
}

fn service_view(name: String, narrow: Narrow) -> AnyView {
    let store = expect_context::<Store>();
    store.watch(Some(name.clone()));
    on_cleanup(move || store.watch(None));

    let control = range_control();
    let range = control.range;
    let is_live = Signal::derive(move || range.with(|r| r.end_ms.is_none()));
    let history = history(store, name.clone(), &narrow, range);
    let has_live = narrow.series_parameters().is_empty();
    let frame = memo(move || {
        let known_from = store.status.with(|s| {
            s.as_ref()
                .map_or(f64::INFINITY, |s| s.started_unix_ms as f64)
        });
        let now = store.at_ms.get() as f64;
        history.joined.with(|h| {
            store.seconds.with(|live| {
                // Live seconds are of the whole service.
                let live = if has_live {
                    live
                } else {
                    &LiveSeconds::default()
                };
                Frame::join(range.get(), now, h.as_ref(), live, known_from)
            })
        })
    });
    let service = {
        let name = name.clone();
        memo(move || store.service(&name).map(|s| s.get()))
    };
    let is_known = Signal::derive(move || service.with(Option::is_some));
    let unknown = memo(move || {
        let in_history = history
            .joined
            .with(|h| h.as_ref().is_none_or(|h| h.n_requests > 0));
        store.is_loaded() && !is_known.get() && !in_history
    });
    let has_streams = Signal::from(Memo::new(move |before: Option<&bool>| {
        before == Some(&true) || frame.with(|f| f.has(Measure::FirstChunkP95))
    }));
    let unseen = Signal::from(memo(move || {
        service.with(|s| s.as_ref().is_some_and(is_unseen))
    }));
    let events = service_events(store, &name, &narrow, range.into());
    provide_context(Marks(memo(move || {
        let span = f64::from(range.get().span_seconds);
        let told = |e: &Events| marks(&e.events, span);
        events
            .value
            .with(|e| e.as_ref().map(told).unwrap_or_default())
    })));
    let requests = poll::<Requests>(
        store,
        requests_path(&name, &narrow),
        PERIOD,
        Signal::stored(true),
        is_live,
    );
    // Parts of one type: a tuple of thirteen is code of its own.
    live(move || {
        let name = name.clone();
        if unknown.get() {
            return vec![view! { <Unknown name/> }.into_any()];
        }
        let narrow = narrow.clone();
        let narrowed = narrow.clone();
        let title = view! { <Title name=name.clone() service control/> }.into_any();
        let error = view! { <HistoryError error=history.error/> }.into_any();
        let mut parts = vec![title, narrowed_to(&narrow), error];
        if narrow.is_all() {
            parts.extend([
                view! { <UnseenBanner service/> }.into_any(),
                view! { <WhyLines service=name.clone() control/> }.into_any(),
                view! { <Figures service/> }.into_any(),
                view! { <TimePanels service/> }.into_any(),
            ]);
        } else {
            parts.push(narrow_figures(store, &name, &narrow, history, range));
        }
        parts.extend([
            view! { <Charts frame history control has_streams is_unseen=unseen/> }.into_any(),
            view! { <HeatmapPanel service=name.clone() narrow=narrow.clone() control/> }.into_any(),
            view! { <ResourceCharts name=name.clone() narrow=narrow.clone() service control/> }
                .into_any(),
            view! {
                <EventsPanel
                    title=t(W::WhatHappened)
                    of=t(W::InThisRange)
                    none=t(W::NothingHappened)
                    polled=events
                />
            }
            .into_any(),
            view! { <ContainersPanel service/> }.into_any(),
        ]);
        if narrow.is_all() {
            parts.extend([
                view! { <StreamsPanel service in_history=has_streams/> }.into_any(),
                view! { <SessionsPanel service/> }.into_any(),
            ]);
        }
        parts.extend([
            view! { <RoutesPanel service=name.clone() is_known is_live/> }.into_any(),
            view! { <ExemplarPanels service=name.clone() narrow range=range.into()/> }.into_any(),
        ]);
        if narrowed.is_all() {
            parts.push(view! { <InferencePanel polled=requests/> }.into_any());
        }
        let is_all = narrowed.is_all();
        parts.push(view! { <RequestsPanel polled=requests narrow=narrowed/> }.into_any());
        // What is counted since the start is of the whole service.
        if is_all {
            parts.extend([
                view! { <AccountsPanels service/> }.into_any(),
                view! { <TotalsPanel service=name is_known is_live/> }.into_any(),
            ]);
        }
        parts
    })
}

#[component]
fn Unknown(name: String) -> impl IntoView {
    view! {
        <section class="panel empty" data-testid="unknown-service">
            <h1>{phrases::no_service_called(&name)}</h1>
            <p>
                {t(W::BelongsToNone)}
            </p>
            <p><a class="link" href="/">{t(W::AllServices)}</a></p>
        </section>
    }
}

#[component]
fn Title(name: String, service: Memo<Option<Service>>, control: RangeControl) -> impl IntoView {
    let store = expect_context::<Store>();
    let images = memo(move || {
        let mut images = service.with(|s| {
            let containers = s.iter().flat_map(|s| &s.containers);
            containers.map(|c| c.image.clone()).collect::<Vec<_>>()
        });
        images.sort();
        images.dedup();
        images
    });
    let containers = memo(move || {
        service.with(|s| {
            let containers = s.iter().flat_map(|s| &s.containers);
            containers
                .map(|c| format!("{} ({})", c.name, c.id))
                .collect::<Vec<_>>()
        })
    });
    let project = memo(move || service.with(|s| s.as_ref()?.project.clone()));
    let health = memo(move || service.with(|s| s.as_ref().map(|s| s.health)));
    let image_badges = move || {
        let badge = |image: String| {
            let short = format::image(&image).to_owned();
            view! { <span class="badge clip" title=image>{short}</span> }
        };
        images.get().into_iter().take(3).map(badge).any_views()
    };
    let container_badge = move || {
        let names = containers.get();
        let text = match names.len() {
            0 => t(W::NoRunningContainer).to_owned(),
            1 => t(W::OneContainer).to_owned(),
            n => phrases::containers(&n.to_string()),
        };
        view! { <span class="badge" title=names.join("\n")>{text}</span> }
    };
    view! {
        <div class="title">
            <a class="back" href="/" aria-label=t(W::AllServices)>{t(W::Services)}</a>
            <span class="slash" aria-hidden="true">"/"</span>
            <h1>{name}</h1>
            {follows(move || health.get().map(|h| view! { <HealthMark health=Signal::stored(h)/> }))}
            <FiringLink service/>
            {follows(move || project.get().map(|p| view! { <span class="badge">{p}</span> }))}
            {image_badges}
            {when(move || store.is_loaded(), move || view! {{container_badge}}.into_any())}
            <span class="grow"></span>
            <RangePicker control/>
        </div>
    }
}

#[component]
fn Figures(service: Memo<Option<Service>>) -> impl IntoView {
    let store = expect_context::<Store>();
    let figure = move |of: fn(&Service) -> Quantity| {
        memo(move || service.with(|s| s.as_ref().map_or_else(Quantity::unknown, of)))
    };
    let note = move |of: fn(&Service) -> String| {
        memo(move || service.with(|s| s.as_ref().map(of).unwrap_or_default()))
    };
    let window =
        Signal::derive(move || phrases::last(&format::span(store.window_seconds.get().into())));
    view! {
        <section class="kpis" aria-label=t(W::FiguresLastMinute)>
            <Kpi
                label=t(W::RequestsPerSecond)
                value=figure(rate)
                note=window
            />
            <Kpi
                label=t(W::P50)
                value=figure(|s| format::duration(s.window.p50))
                note=note(|s| phrases::first_byte(&format::duration(s.window.ttfb_p50).text()))
            />
            <Kpi
                label=t(W::P95)
                value=figure(|s| format::duration(s.window.p95))
                note=note(|s| phrases::first_byte(&format::duration(s.window.ttfb_p95).text()))
            />
            <Kpi
                label=t(W::P99)
                value=figure(|s| format::duration(s.window.p99))
                note=note(|s| phrases::longest(&format::duration(s.window.max).text()))
            />
            <Kpi
                label=t(W::Errors)
                value=figure(|s| format::percent(s.window.error_rate))
                note=note(|s| {
                    phrases::of(&format::count(s.window.n_errors), &format::count(s.window.n_requests))
                })
            />
            <Kpi
                label=t(W::InFlight)
                value=figure(active)
                note=note(|s| {
                    s.last_request_unix_ms.map_or_else(
                        || t(W::NoRequestSeen).to_owned(),
                        |at| phrases::last(&browser::time_of_day(at as f64)),
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
