//! One finished request as a row of a table.

use leptos::prelude::*;
use modeltap_api_types::Request;

use crate::browser;
use crate::components::bar::{segments_picture, swatch};
use crate::components::figures::{outcome_class, quantity, status_class, status_text};
use crate::format;
use crate::time_parts::{Part, Split};

/// Names a request: its connection and its place on it.
#[must_use]
pub fn request_key(request: &Request) -> (String, u64, u64) {
    (
        request.connection.clone(),
        request.sequence,
        request.ended_monotonic_ns,
    )
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
    view! { <span class="legend">{keys.into_iter().collect_view()}</span> }
}

/// The head of a table of requests.
pub fn request_head(shows_service: bool) -> impl IntoView {
    let columns = [
        ("Started", "left when"),
        ("Service", "left service"),
        ("Route", "left"),
        ("Status", "left status"),
        ("Outcome", "left outcome"),
        ("Took", "num"),
        ("First byte", "num wide"),
        ("Where the time went", "left time"),
    ];
    let columns = columns
        .into_iter()
        .filter(move |(name, _)| shows_service || *name != "Service")
        .map(|(name, class)| view! { <th role="columnheader" scope="col" class=class>{name}</th> });
    view! {
        <thead role="rowgroup">
            <tr role="row">{columns.collect_view()}</tr>
        </thead>
    }
}

/// A row: when, what, how it ended, how long it took and where the time went.
/// Its button puts the request into `opened`.
pub fn request_row(
    request: Request,
    shows_service: bool,
    opened: RwSignal<Option<Request>>,
) -> impl IntoView {
    let started = browser::time_of_day_ms(request.started_unix_ms as f64);
    let took = format::duration(Some(request.duration));
    let bar = time_bar(&request);
    let whole = request.clone();
    let service = shows_service.then(|| {
        let href = browser::service_href(&request.service);
        view! {
            <td role="cell" data-label="Service">
                <a class="link clip" href=href>{request.service.clone()}</a>
            </td>
        }
    });
    let mark = (request.completeness != "whole").then(|| {
        view! { <span class="tag warn" title="Some of its bytes were not seen">
            {request.completeness.clone()}
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
            <td role="cell" data-label="Started" class="when">
                <button
                    class="row-link"
                    aria-haspopup="dialog"
                    aria-label=format!("Details of the request of {started}")
                    data-testid="request-open"
                    on:click=move |_| opened.set(Some(whole.clone()))
                >
                    {started.clone()}
                </button>
            </td>
            {service}
            <td role="cell" data-label="Route" class="route">
                <span class="method">{request.method.clone().unwrap_or_else(|| "?".to_owned())}</span>
                <span class="path">{request.route.clone()}</span>
            </td>
            <td role="cell" data-label="Status">
                <span class=format!("chip {}", status_class(request.status))>
                    <i aria-hidden="true"></i>
                    {status_text(request.status)}
                </span>
            </td>
            <td
                role="cell"
                data-label="Outcome"
                class=format!("outcome {}", outcome_class(&request.outcome))
            >
                {format::outcome(&request.outcome)}
                {request.streamed.then(|| view! { <span class="tag">"stream"</span> })}
                {mark}
            </td>
            <td role="cell" data-label="Took" class="num took">{quantity(took)}</td>
            <td role="cell" data-label="First byte" class="num wide">
                {quantity(format::duration(request.ttfb))}
            </td>
            <td role="cell" data-label="Time" class="time">{bar}</td>
        </tr>
    }
}

/// Where a request's time went, as one bar.
fn time_bar(request: &Request) -> impl IntoView + use<> {
    let split = Split::of_request(request);
    let took = format::duration(Some(request.duration)).text();
    let label = match split.text() {
        parts if parts.is_empty() => format!("took {took}"),
        parts => format!("{parts}; took {took}"),
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
