//! Streamed responses, upgraded connections and inference of a service.

use leptos::prelude::*;
use modeltap_api_types::{Requests, Service, Sessions, StreamFigures};

use crate::client::Polled;
use crate::components::accounts::known_count;
use crate::components::figures::{quantity, route_name};
use crate::components::parts::{Tile, live, panel, tiles};
use crate::format::{self, Quantity};
use crate::inference::{Inference, gather};
use crate::reactive::AnyViews;
use crate::state::Store;
use crate::words::{W, phrases, t};

/// Streams, while there are any in the window or in sight of the charts: a
/// quiet minute does not move the page.
#[component]
pub fn StreamsPanel(
    /// The service.
    service: Memo<Option<Service>>,
    /// Whether the charts show streams.
    in_history: Signal<bool>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    live(move || {
        let streams = service.with(|s| s.as_ref().and_then(|s| s.window.streams));
        if streams.is_none() && !in_history.get() {
            return Vec::new();
        }
        let last = phrases::last(&format::span(store.window_seconds.get().into()));
        let content = vec![tiles(stream_tiles(streams.as_ref()))];
        vec![panel(t(W::Streams), last, "streams", content)]
    })
}

fn stream_tiles(streams: Option<&StreamFigures>) -> Vec<Tile> {
    let counted = |of: fn(&StreamFigures) -> u64| known_count(streams.map(of));
    let time = |of: fn(&StreamFigures) -> Option<f64>| format::duration(streams.and_then(of));
    let mut list = vec![
        Tile {
            label: t(W::Streams),
            meaning: t(W::StreamsMeans),
            value: counted(|s| s.n_streams),
            note: phrases::content_chunks(&counted(|s| s.n_chunks).text()),
        },
        Tile {
            label: t(W::FirstChunkP50),
            meaning: t(W::FirstChunkMeans),
            value: time(|s| s.first_chunk_p50),
            note: phrases::p95(&time(|s| s.first_chunk_p95).text()),
        },
        Tile {
            label: t(W::BetweenP50),
            meaning: t(W::BetweenMeans),
            value: time(|s| s.chunk_interval_p50),
            note: phrases::p95_p99(
                &time(|s| s.chunk_interval_p95).text(),
                &time(|s| s.chunk_interval_p99).text(),
            ),
        },
        Tile {
            label: t(W::ChunksPerSecond),
            meaning: t(W::ChunkRateMeans),
            value: streams.map_or_else(Quantity::unknown, |s| {
                Quantity::plain(format::rate(s.chunk_rate))
            }),
            note: streams
                .and_then(|s| s.chunk_pace)
                .map(|pace| phrases::one_stream(&format::rate(pace)))
                .unwrap_or_default(),
        },
        Tile {
            label: t(W::Stalls),
            meaning: t(W::StallsMeans),
            value: counted(|s| s.n_stalls),
            note: t(W::PausesOver).to_owned(),
        },
        Tile {
            label: t(W::LeftByClient),
            meaning: t(W::LeftMeans),
            value: counted(|s| s.n_aborted),
            note: streams.map(aborted_note).unwrap_or_default(),
        },
    ];
    let output = streams.and_then(|s| s.output_tokens);
    let input = streams.and_then(|s| s.input_tokens);
    if output.is_some() || input.is_some() {
        list.push(Tile {
            label: t(W::TokensOut),
            meaning: t(W::TokensOutMeans),
            value: known_count(output),
            note: phrases::prompts(&known_count(input).text()),
        });
    }
    list
}

fn aborted_note(s: &StreamFigures) -> String {
    if s.n_aborted == 0 {
        t(W::AllStayed).to_owned()
    } else if s.after_abort > 0.0 {
        let after = format::duration(Some(s.after_abort)).text();
        phrases::went_on(&after)
    } else {
        t(W::StoppedAtOnce).to_owned()
    }
}

/// Upgraded connections, where there were any.
#[component]
pub fn SessionsPanel(
    /// The service.
    service: Memo<Option<Service>>,
) -> impl IntoView {
    live(move || {
        let sessions = service.with(|s| s.as_ref().and_then(|s| s.sessions));
        let any = |s: &Sessions| s.n_sessions > 0 || s.n_active.is_some_and(|n| n > 0);
        let panels = sessions.filter(any).map(|sessions| {
            panel(
                t(W::Sessions),
                t(W::SinceDaemonStart).to_owned(),
                "sessions",
                vec![tiles(session_tiles(&sessions))],
            )
        });
        panels.into_iter().collect()
    })
}

fn session_tiles(s: &Sessions) -> Vec<Tile> {
    let text = |seconds| format::duration(seconds).text();
    vec![
        Tile {
            label: t(W::OpenNow),
            meaning: "",
            value: known_count(s.n_active),
            note: if s.n_active.is_some() {
                String::new()
            } else {
                t(W::NotKnown).to_owned()
            },
        },
        Tile {
            label: t(W::Ended),
            meaning: "",
            value: known_count(Some(s.n_sessions)),
            note: t(W::ApartFromRequests).to_owned(),
        },
        Tile {
            label: t(W::DurationP50),
            meaning: t(W::SessionMeans),
            value: format::duration(s.duration_p50),
            note: phrases::p95_longest(&text(s.duration_p95), &text(s.duration_max)),
        },
        Tile {
            label: t(W::MessagesIn),
            meaning: t(W::MessagesInMeans),
            value: known_count(Some(s.messages_read)),
            note: format::bytes(s.bytes_read).text(),
        },
        Tile {
            label: t(W::MessagesOut),
            meaning: t(W::MessagesOutMeans),
            value: known_count(Some(s.messages_written)),
            note: format::bytes(s.bytes_written).text(),
        },
        Tile {
            label: t(W::MessagesPerSecond),
            meaning: t(W::MessageRateMeans),
            value: s.message_rate.map_or_else(Quantity::unknown, |rate| {
                Quantity::plain(format::rate(rate))
            }),
            note: t(W::OfOneSession).to_owned(),
        },
    ]
}

/// What models were asked, where the endpoints are of inference.
#[component]
pub fn InferencePanel(
    /// Recent requests.
    polled: Polled<Requests>,
) -> impl IntoView {
    live(move || {
        let (rows, n_requests) = polled.value.with(|requests| {
            let requests = requests.as_ref().map_or(&[][..], |r| &r.requests);
            (gather(requests), requests.len() as u64)
        });
        let has_tokens = rows
            .iter()
            .any(|r| r.input_tokens.is_some() || r.output_tokens.is_some());
        let heads = [
            t(W::Route),
            t(W::Operation),
            t(W::Model),
            t(W::Requests),
            t(W::TokensIn),
            t(W::TokensOut),
        ];
        let n_columns = if has_tokens { 6 } else { 4 };
        let heads = heads.into_iter().take(n_columns).enumerate();
        let heads = heads
            .map(|(i, head)| {
                let class = if i < 3 { "left" } else { "" };
                view! { <th role="columnheader" scope="col" class=class>{head}</th> }
            })
            .any_views();
        if rows.is_empty() {
            return Vec::new();
        }
        let rows = rows.into_iter().map(|row| inference_row(row, n_columns));
        let panel = view! {
            <section class="panel table-panel" data-testid="inference">
                <div class="head">
                    <h2>{t(W::Inference)}</h2>
                    <span class="unit">
                        {phrases::of_last_requests(&format::count(n_requests))}
                    </span>
                </div>
                <table class="cards" role="table">
                    <thead role="rowgroup"><tr role="row">{heads}</tr></thead>
                    <tbody role="rowgroup">{rows.any_views()}</tbody>
                </table>
            </section>
        };
        vec![panel.into_any()]
    })
}

fn inference_row(row: Inference, n_columns: usize) -> impl IntoView {
    let unknown = || format::UNKNOWN.to_owned();
    let operation = row.operation.as_deref().map(format::outcome);
    let cells = [
        (
            t(W::Operation),
            "left",
            Quantity::plain(operation.unwrap_or_else(unknown)),
        ),
        (
            t(W::Model),
            "left",
            Quantity::plain(row.model.unwrap_or_else(unknown)),
        ),
        (t(W::Requests), "", known_count(Some(row.n_requests))),
        (t(W::TokensIn), "", known_count(row.input_tokens)),
        (t(W::TokensOut), "", known_count(row.output_tokens)),
    ];
    let cells = cells
        .into_iter()
        .take(n_columns - 1)
        .map(|(label, class, value)| {
            view! { <td role="cell" data-label=label class=class>{quantity(value)}</td> }
        })
        .any_views();
    view! {
        <tr role="row" data-testid="inference-row">
            <td role="cell" class="left route">{route_name(row.method.as_deref(), &row.route)}</td>
            {cells}
        </tr>
    }
}
