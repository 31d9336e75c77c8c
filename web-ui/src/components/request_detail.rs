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
use crate::reactive::{AnyViews, effect};
use crate::time_parts::{self, Split, overlaps};
use crate::words::{W, phrases, t};

/// A name and its value.
type Fact = (&'static str, Quantity);

/// Shows `opened` for as long as it holds a request.
#[component]
pub fn RequestDetail(
    /// The request; emptied when the dialog is closed.
    opened: RwSignal<Option<Request>>,
) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    effect(move || {
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
            <button class="quiet" autofocus=true on:click=move |_| opened.set(None)>{t(W::Close)}</button>
        </div>
        <p class="detail-status">
            <span class=format!("chip {}", status_class(request.status))>
                <i aria-hidden="true"></i>
                {match request.status {
                    Some(_) => status_text(request.status),
                    None => t(W::NoStatusWord).to_owned(),
                }}
            </span>
            <span class=outcome_class(&request.outcome)>{format::outcome(&request.outcome)}</span>
            {(request.transport == "unix").then(|| {
                view! { <span class="tag">{t(W::InnerHopTag)}</span> }
            })}
            {(request.completeness != "whole").then(|| {
                view! { <span class="tag warn">{format::completeness(&request.completeness)}</span> }
            })}
        </p>
        {(request.completeness != "whole").then(|| {
            remark("warn", t(W::TimesShort))
        })}
        {time(&request)}
        {section(t(W::Stream), stream)}
        {section(t(W::Inference), inference)}
        {section(t(W::Request), request_facts(&request))}
    }
    .into_any()
}

/// The bar to scale, and its parts as figures.
fn time(request: &Request) -> impl IntoView + use<> {
    let split = Split::of_request(request);
    let overlap = overlaps(request).then(|| {
        let words = t(W::Overlaps);
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
                (time_parts::Part::Queue, None) => phrases::and_then(part.words(), t(W::Untold)),
                _ => part.words().to_owned(),
            },
            meaning: part.definition(),
            values: vec![format::duration(told)],
            ..Part::default()
        })
        .collect();
    let felt = t(W::FeltMeans);
    let sums = [
        (
            t(W::FeltWord),
            match request.felt {
                Some(_) => felt.to_owned(),
                None => phrases::and_then(felt, t(W::Untold)),
            },
            t(W::FeltDefinition),
            request.felt,
        ),
        (
            t(W::WorkedWord),
            t(W::WorkedMeans).to_owned(),
            t(W::WorkedDefinition),
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
    let label = phrases::where_its_time_went(&split.text());
    view! {
        <section class="detail-part">
            <h3>{t(W::WhereItsTimeWent)}</h3>
            {segment_bar(&split.segments(), label)}
            {parts_table("", &[t(W::Part), t(W::Took)], rows)}
            {overlap}
        </section>
    }
}

fn stream_facts(request: &Request) -> Vec<Fact> {
    let Some(format) = &request.stream_format else {
        return Vec::new();
    };
    let mut facts = vec![
        (t(W::SentAs), text(stream_format(format))),
        (t(W::ContentChunks), known_count(request.n_chunks)),
        (t(W::TimeToFirstChunk), seconds(request.first_chunk)),
    ];
    if let Some(interval) = &request.chunk_interval {
        facts.extend([
            (t(W::BetweenP50), seconds(Some(interval.p50))),
            (t(W::BetweenP95), seconds(Some(interval.p95))),
            (t(W::BetweenLongest), seconds(Some(interval.max))),
        ]);
    }
    if let Some(pace) = request.chunk_pace {
        facts.push((t(W::ChunksPerSecond), text(format::rate(pace))));
    }
    facts.push((t(W::StallsLonger), known_count(request.n_stalls)));
    if let Some(after) = request.after_abort {
        facts.push((t(W::WentOnAfter), seconds(Some(after))));
    }
    facts
}

fn inference_facts(request: &Request) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(operation) = &request.operation {
        facts.push((t(W::Operation), text(format::outcome(operation))));
    }
    if let Some(model) = &request.model {
        facts.push((t(W::Model), text(model.clone())));
    }
    let tokens = [
        (t(W::TokensIn), request.input_tokens),
        (t(W::TokensOut), request.output_tokens),
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
        (t(W::Service), text(request.service.clone())),
        (t(W::Container), text(request.container.clone())),
    ];
    if let Some(arrived) = request.arrived_unix_ms {
        facts.push((t(W::Arrived), text(browser::time_of_day_ms(arrived as f64))));
    }
    facts.extend([
        (
            t(W::FirstByteRead),
            text(browser::time_of_day_ms(request.started_unix_ms as f64)),
        ),
        (t(W::TimeToFirstByte), seconds(request.ttfb)),
        (t(W::BodyRead), format::bytes(request.request_body_bytes)),
        (
            t(W::BodyWritten),
            format::bytes(request.response_body_bytes),
        ),
        (t(W::Transport), text(transport(&request.transport))),
    ]);
    if request.transport != "unix" {
        let peer = format::address(&request.peer_address, request.peer_port);
        facts.push((t(W::Client), text(peer)));
        facts.push((t(W::ServersPort), text(request.local_port.to_string())));
    }
    let place = format::count(request.sequence.saturating_add(1));
    facts.push((t(W::PlaceOnConnection), text(place)));
    facts
}

fn transport(transport: &str) -> String {
    match transport {
        "unix" => t(W::UnixSocket).to_owned(),
        "" => format::UNKNOWN.to_owned(),
        other => other.to_ascii_uppercase(),
    }
}

fn stream_format(format: &str) -> &'static str {
    match format {
        "server_sent_events" => t(W::ServerSentEvents),
        "json_lines" => t(W::JsonLines),
        _ => t(W::HttpChunks),
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
        .any_views();
    (!is_empty).then(|| {
        view! {
            <section class="detail-part facts">
                <h3>{title}</h3>
                <dl>{facts}</dl>
            </section>
        }
    })
}
