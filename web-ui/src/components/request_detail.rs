//! Everything that is known of one request, in a dialog.

use leptos::ev;
use leptos::html;
use leptos::prelude::*;
use modeltap_api_types::Request;

use crate::browser;
use crate::components::accounts::known_count;
use crate::components::bar::segment_bar;
use crate::components::figures::{
    outcome_class, quantity, remark, route_name, status_class, status_text,
};
use crate::components::parts::{Part, live, parts_table};
use crate::format::{self, Quantity};
use crate::time_parts::{self, Split, overlaps};

/// A name and its value.
type Fact = (&'static str, Quantity);

/// Why a wait is not known.
const UNTOLD: &str = "unknown: its arrival was not told";

/// Shows `opened` for as long as it holds a request.
#[component]
pub fn RequestDetail(
    /// The request; emptied when the dialog is closed.
    opened: RwSignal<Option<Request>>,
) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    Effect::new(move |_| {
        let Some(dialog) = dialog.get() else { return };
        if opened.with(Option::is_some) && !dialog.open() {
            // Fails only for a dialog that is no longer part of the page.
            let _ = dialog.show_modal();
        } else if opened.with(Option::is_none) && dialog.open() {
            dialog.close();
        }
    });
    let close = move || opened.set(None);
    // The ground around the sheet is the dialog itself.
    let on_ground = move |event: ev::MouseEvent| {
        if event_target::<web_sys::Element>(&event).tag_name() == "DIALOG" {
            close();
        }
    };
    view! {
        <dialog
            class="detail"
            node_ref=dialog
            aria-labelledby="detail-title"
            data-testid="request-detail"
            on:close=move |_| close()
            on:click=on_ground
        >
            <div class="sheet">
                {live(move || opened.get().map(|request| sheet(request, opened)).into_iter().collect())}
            </div>
        </dialog>
    }
}

fn sheet(request: Request, opened: RwSignal<Option<Request>>) -> AnyView {
    let stream = stream_facts(&request);
    let inference = inference_facts(&request);
    view! {
        <div class="detail-head">
            <h2 id="detail-title">{route_name(request.method.as_deref(), &request.route)}</h2>
            <button class="quiet" autofocus=true on:click=move |_| opened.set(None)>"Close"</button>
        </div>
        <p class="detail-status">
            <span class=format!("chip {}", status_class(request.status))>
                <i aria-hidden="true"></i>
                {match request.status {
                    Some(_) => status_text(request.status),
                    None => "no status".to_owned(),
                }}
            </span>
            <span class=outcome_class(&request.outcome)>{format::outcome(&request.outcome)}</span>
            {(request.transport == "unix").then(|| {
                view! { <span class="tag">"inner hop, UNIX socket"</span> }
            })}
            {(request.completeness != "whole").then(|| {
                view! { <span class="tag warn">{request.completeness.clone()}</span> }
            })}
        </p>
        {(request.completeness != "whole").then(|| {
            remark("warn", "Some of its bytes were not seen; its times may be short.")
        })}
        {time(&request)}
        {section("Stream", stream)}
        {section("Inference", inference)}
        {section("Request", request_facts(&request))}
    }
    .into_any()
}

/// The bar to scale, and its parts as figures.
fn time(request: &Request) -> impl IntoView + use<> {
    let split = Split::of_request(request);
    let overlap = overlaps(request).then(|| {
        let words = "It was answered before it was read whole: its parts overlap, and the bar cuts \
                     short the reading.";
        remark("info", words)
    });
    // What the API tells, not what the bar was cut to.
    let told = [
        request.queue,
        request.read,
        split.seconds(time_parts::Part::App),
        request.stream,
        request.drain,
    ];
    let mut rows: Vec<Part> = time_parts::Part::ALL
        .into_iter()
        .zip(told)
        .map(|(part, told)| Part {
            name: part.name(),
            token: Some(part.token()),
            words: match (part, told) {
                (time_parts::Part::Queue, None) => format!("{}; {UNTOLD}", part.words()),
                _ => part.words().to_owned(),
            },
            meaning: part.definition(),
            values: vec![format::duration(told)],
            ..Part::default()
        })
        .collect();
    let felt = "by the client: arrived to answered";
    let sums = [
        (
            "felt",
            match request.felt {
                Some(_) => felt.to_owned(),
                None => format!("{felt}; {UNTOLD}"),
            },
            "First byte arrived at the socket, to last byte written",
            request.felt,
        ),
        (
            "worked",
            "by the server: first read to answered".to_owned(),
            "First byte read, to last byte written",
            Some(request.duration),
        ),
    ];
    rows.extend(sums.map(|(name, words, meaning, seconds)| Part {
        name,
        words,
        meaning,
        values: vec![format::duration(seconds)],
        is_sum: true,
        ..Part::default()
    }));
    let label = format!("Where its time went: {}", split.text());
    view! {
        <section class="detail-part">
            <h3>"Where its time went"</h3>
            {segment_bar(&split.segments(), label)}
            {parts_table("", &["Part", "Took"], rows)}
            {overlap}
        </section>
    }
}

fn stream_facts(request: &Request) -> Vec<Fact> {
    let Some(format) = &request.stream_format else {
        return Vec::new();
    };
    let mut facts = vec![
        ("Sent as", text(stream_format(format))),
        ("Content chunks", known_count(request.n_chunks)),
        ("Time to first chunk", seconds(request.first_chunk)),
    ];
    if let Some(interval) = &request.chunk_interval {
        facts.extend([
            ("Between chunks, p50", seconds(Some(interval.p50))),
            ("Between chunks, p95", seconds(Some(interval.p95))),
            ("Between chunks, longest", seconds(Some(interval.max))),
        ]);
    }
    if let Some(pace) = request.chunk_pace {
        facts.push(("Chunks/s", text(format::rate(pace))));
    }
    facts.push((
        "Stalls, longer than 1\u{a0}s",
        known_count(request.n_stalls),
    ));
    if let Some(after) = request.after_abort {
        facts.push(("Went on after the client left", seconds(Some(after))));
    }
    facts
}

fn inference_facts(request: &Request) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(operation) = &request.operation {
        facts.push(("Operation", text(format::outcome(operation))));
    }
    if let Some(model) = &request.model {
        facts.push(("Model", text(model.clone())));
    }
    let tokens = [
        ("Tokens in", request.input_tokens),
        ("Tokens out", request.output_tokens),
    ];
    for (name, n) in tokens {
        if n.is_some() {
            facts.push((name, known_count(n)));
        }
    }
    facts
}

fn request_facts(request: &Request) -> Vec<Fact> {
    let mut facts = vec![
        ("Service", text(request.service.clone())),
        ("Container", text(request.container.clone())),
    ];
    if let Some(arrived) = request.arrived_unix_ms {
        facts.push(("Arrived", text(browser::time_of_day_ms(arrived as f64))));
    }
    facts.extend([
        (
            "First byte read",
            text(browser::time_of_day_ms(request.started_unix_ms as f64)),
        ),
        ("Time to first byte", seconds(request.ttfb)),
        ("Body read", format::bytes(request.request_body_bytes)),
        ("Body written", format::bytes(request.response_body_bytes)),
        ("Transport", text(transport(&request.transport))),
    ]);
    if request.transport != "unix" {
        let peer = format::address(&request.peer_address, request.peer_port);
        facts.push(("Client", text(peer)));
        facts.push(("Server's port", text(request.local_port.to_string())));
    }
    let place = format::count(request.sequence.saturating_add(1));
    facts.push(("Place on its connection", text(place)));
    facts
}

fn transport(transport: &str) -> String {
    match transport {
        "unix" => "UNIX socket".to_owned(),
        "" => format::UNKNOWN.to_owned(),
        other => other.to_uppercase(),
    }
}

fn stream_format(format: &str) -> &'static str {
    match format {
        "server_sent_events" => "server-sent events",
        "json_lines" => "lines of JSON",
        _ => "HTTP chunks",
    }
}

fn text(value: impl Into<String>) -> Quantity {
    Quantity::plain(value)
}

fn seconds(seconds: Option<f64>) -> Quantity {
    format::duration(seconds)
}

fn section(title: &'static str, facts: Vec<Fact>) -> impl IntoView {
    let is_empty = facts.is_empty();
    let facts = facts
        .into_iter()
        .map(|(name, value)| view! { <div><dt>{name}</dt><dd>{quantity(value)}</dd></div> })
        .collect_view();
    (!is_empty).then(|| {
        view! {
            <section class="detail-part facts">
                <h3>{title}</h3>
                <dl>{facts}</dl>
            </section>
        }
    })
}
