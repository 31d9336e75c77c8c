//! One finished request as a row of a table.

use leptos::prelude::*;
use modeltap_api_types::Request;

use crate::browser;
use crate::components::figures::{outcome_class, quantity, status_class, status_text};
use crate::format;
use crate::state::TimeShares;

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
    let phases = [
        ("queue", "--q"),
        ("read", "--r"),
        ("app", "--a"),
        ("stream", "--st"),
    ];
    let keys = phases.map(|(name, token)| {
        view! {
            <span class="key">
                <i style:background=format!("var({token})")></i>
                <span>{name}</span>
            </span>
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
pub fn request_row(request: Request, shows_service: bool) -> impl IntoView {
    let took = format::duration(Some(request.duration));
    let bar = time_bar(&request);
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
    let peer = format!(
        "{}:{} to {}:{}, request {} of its connection; {} read, {} written",
        request.peer_address,
        request.peer_port,
        request.container,
        request.local_port,
        request.sequence + 1,
        format::bytes(request.request_body_bytes).text(),
        format::bytes(request.response_body_bytes).text(),
    );
    view! {
        <tr
            role="row"
            data-testid="request-row"
            data-route=request.route.clone()
            data-status=request.status.map(|s| s.to_string()).unwrap_or_default()
            data-outcome=request.outcome.clone()
            title=peer
        >
            <td role="cell" data-label="Started" class="when">
                {browser::time_of_day_ms(request.started_unix_ms as f64)}
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
    let shares = TimeShares::new(request);
    let text = |name: &str, seconds: Option<f64>| {
        seconds.map(|s| format!("{name} {}", format::duration(Some(s)).text()))
    };
    let known = [
        text("queue", request.queue),
        text("app", request.ttfb),
        text("stream", request.stream),
        text("in all", Some(request.duration)),
    ];
    let label = known.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let parts = [
        (shares.queue, "--q"),
        (shares.read, "--r"),
        (shares.app, "--a"),
        (shares.stream, "--st"),
        (shares.unknown, "--faint"),
    ];
    let mut at = 0.0;
    let mut stops = Vec::new();
    for (share, token) in parts.into_iter().filter(|(share, _)| *share > 0.0) {
        let end = at + share * 100.0;
        stops.push(format!("var({token}) {at:.2}% {end:.2}%"));
        at = end;
    }
    // One element with hard stops: hundreds of rows come in at once.
    let background = format!("linear-gradient(to right, {})", stops.join(", "));
    view! {
        <span
            class="time-bar"
            role="img"
            aria-label=label.clone()
            title=label
            style:background=background
        ></span>
    }
}
