//! One finished request as a row of a table.

use leptos::prelude::*;
use modeltap_api_types::Request;

use crate::address;
use crate::browser;
use crate::components::bar::{segments_picture, swatch};
use crate::components::figures::{outcome_class, quantity, status_class, status_text};
use crate::format;
use crate::reactive::AnyViews;
use crate::time_parts::{Part, Split};
use crate::words::{W, phrases, t};

/// Names a request: its connection and its place on it; those kept in history
/// have neither, and are told apart by when they began and how long they took.
#[must_use]
pub fn request_key(request: &Request) -> (String, [u64; 4]) {
    let numbers = [
        request.sequence,
        request.ended_monotonic_ns,
        request.started_unix_ms,
        request.duration.to_bits(),
    ];
    (request.connection.clone(), numbers)
}

/// The colours of the time bar.
#[component]
pub fn TimeLegend() -> impl IntoView {
    let keys = Part::ALL.map(|part| {
        let title = format!("{}. {}", part.words(), part.definition());
        view! {
            <span class="key" title=title>{swatch(part.token())}<span>{part.name()}</span></span>
        }
    });
    view! { <span class="legend">{keys.into_iter().any_views()}</span> }
}

/// The head of a table of requests.
pub fn request_head(shows_service: bool) -> impl IntoView {
    let columns = [
        (t(W::Started), "left when"),
        (t(W::Service), "left service"),
        (t(W::Route), "left"),
        (t(W::Status), "left status"),
        (t(W::Outcome), "left outcome"),
        (t(W::Took), "num"),
        (t(W::FirstByte), "num wide"),
        (t(W::WhereTimeWent), "left time"),
    ];
    let columns = columns
        .into_iter()
        .filter(move |(_, class)| shows_service || *class != "left service")
        .map(|(name, class)| view! { <th role="columnheader" scope="col" class=class>{name}</th> });
    view! {
        <thead role="rowgroup">
            <tr role="row">{columns.any_views()}</tr>
        </thead>
    }
}

/// The rows of a table of requests; those that stay are kept.
pub fn request_rows(
    requests: impl Fn() -> Vec<Request> + Send + Sync + 'static,
    shows_service: bool,
    opened: RwSignal<Option<Request>>,
) -> AnyView {
    let requests = Signal::derive(requests);
    rows(requests, shows_service, opened)
}

/// Not generic: a list of rows is compiled for each.
fn rows(
    requests: Signal<Vec<Request>>,
    shows_service: bool,
    opened: RwSignal<Option<Request>>,
) -> AnyView {
    view! {
        <For each=move || requests.get() key=request_key let(request)>
            {request_row(request, shows_service, opened).into_any()}
        </For>
    }
    .into_any()
}

/// A row: when, what, how it ended, how long it took and where the time went.
/// Its button puts the request into `opened`.
fn request_row(
    request: Request,
    shows_service: bool,
    opened: RwSignal<Option<Request>>,
) -> impl IntoView {
    let started = browser::time_of_day_ms(request.started_unix_ms as f64);
    let took = format::duration(Some(request.duration));
    let bar = time_bar(&request);
    let whole = request.clone();
    let service = shows_service.then(|| {
        let href = address::service_href(&request.service);
        view! {
            <td role="cell" data-label=t(W::Service)>
                <a class="link clip" href=href>{request.service.clone()}</a>
            </td>
        }
    });
    let mark = (request.completeness != "whole").then(|| {
        view! { <span class="tag warn" title=t(W::BytesUnseen)>
            {format::completeness(&request.completeness)}
        </span> }
    });
    view! {
        <tr
            role="row"
            data-testid="request-row"
            data-route=request.route.clone()
            data-status=request.status.map(|s| s.to_string()).unwrap_or_default()
            data-outcome=request.outcome.clone()
        >
            <td role="cell" data-label=t(W::Started) class="when">
                <button
                    class="row-link"
                    aria-haspopup="dialog"
                    aria-label=phrases::details_of(&started)
                    data-testid="request-open"
                    on:click=move |_| opened.set(Some(whole.clone()))
                >
                    {started.clone()}
                </button>
            </td>
            {service}
            <td role="cell" data-label=t(W::Route) class="route">
                <span class="method">{request.method.clone().unwrap_or_else(|| "?".to_owned())}</span>
                <span class="path">{request.route.clone()}</span>
            </td>
            <td role="cell" data-label=t(W::Status)>
                <span class=format!("chip {}", status_class(request.status))>
                    <i aria-hidden="true"></i>
                    {status_text(request.status)}
                </span>
            </td>
            <td
                role="cell"
                data-label=t(W::Outcome)
                class=format!("outcome {}", outcome_class(&request.outcome))
            >
                {format::outcome(&request.outcome)}
                {request.streamed.then(|| view! { <span class="tag">{t(W::StreamWord)}</span> })}
                {mark}
            </td>
            <td role="cell" data-label=t(W::Took) class="num took">{quantity(took)}</td>
            <td role="cell" data-label=t(W::FirstByte) class="num wide">
                {quantity(format::duration(request.ttfb))}
            </td>
            <td role="cell" data-label=t(W::TimeWord) class="time">{bar}</td>
        </tr>
    }
}

/// Where a request's time went, as one bar.
fn time_bar(request: &Request) -> impl IntoView + use<> {
    let split = Split::of_request(request);
    let took = format::duration(Some(request.duration)).text();
    let label = match split.text() {
        parts if parts.is_empty() => phrases::took(&took),
        parts => phrases::took_parts(&parts, &took),
    };
    view! {
        <span
            class="time-bar"
            role="img"
            aria-label=label.clone()
            title=label
            style:background-image=segments_picture(&split.segments())
        ></span>
    }
}
