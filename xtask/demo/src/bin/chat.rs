//! A model server that answers piece by piece, in the shape of OpenAI's chat
//! completions: `POST /v1/chat/completions` streams server-sent events, or
//! sends one document where `stream` is false. `GET /v1/models` lists models.
//!
//! Options: `--port 8080`, `--first-ms 150` (median time to the first piece),
//! `--interval-ms 25` (median time between pieces).
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use modeltap_demo::arguments::Arguments;
use modeltap_demo::random::Random;
use serde_json::{Value, json};
use tokio::time::sleep;

const MODEL: &str = "demo-chat-1";
const MIN_PIECES: u32 = 20;
const MAX_PIECES: u32 = 60;
const LATENCY_SIGMA: f64 = 0.4;
const WORDS: [&str; 12] = [
    "the", "kernel", "sees", "every", "call", "that", "a", "server", "makes", "and", "when", "it",
];

#[derive(Clone, Copy)]
struct Pace {
    first: Duration,
    interval: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse(std::env::args().skip(1))?;
    let port = arguments.take("port", 8080)?;
    let pace = Pace {
        first: Duration::from_millis(arguments.take("first-ms", 150)?),
        interval: Duration::from_millis(arguments.take("interval-ms", 25)?),
    };
    arguments.finish()?;
    let models = json!({ "object": "list", "data": [{ "id": MODEL, "object": "model", "owned_by": "demo" }] });
    let router = Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/v1/models", get(move || async move { Json(models) }))
        .route("/v1/chat/completions", post(complete))
        .with_state(Arc::new(pace));
    modeltap_demo::serve(port, router).await?;
    Ok(())
}

async fn complete(State(pace): State<Arc<Pace>>, Json(input): Json<Value>) -> Response {
    if !input
        .get("messages")
        .is_some_and(|messages| messages.is_array())
    {
        let detail = json!({ "error": { "message": "messages must be a list", "type": "invalid_request_error" } });
        return (StatusCode::BAD_REQUEST, Json(detail)).into_response();
    }
    let mut random = Random::from_entropy();
    let asked = input
        .get("max_tokens")
        .and_then(Value::as_u64)
        .unwrap_or(u64::MAX);
    let pieces = random
        .between(MIN_PIECES, MAX_PIECES)
        .min(u32::try_from(asked).unwrap_or(u32::MAX));
    if input.get("stream").and_then(Value::as_bool) == Some(true) {
        let usage = input
            .pointer("/stream_options/include_usage")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let frames = Frames::new(*pace, random, pieces, usage);
        let body = stream::unfold(frames, |mut frames| async move {
            let frame = frames.next().await?;
            Some((Ok::<_, Infallible>(Bytes::from(frame)), frames))
        });
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        return (headers, Body::from_stream(body)).into_response();
    }
    let mut wait = random.latency(pace.first, LATENCY_SIGMA);
    for _ in 0..pieces {
        wait += random.latency(pace.interval, LATENCY_SIGMA);
    }
    sleep(wait).await;
    let text: String = (0..pieces).map(word).collect();
    Json(json!({
        "id": "chatcmpl-demo", "object": "chat.completion", "model": MODEL,
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": usage_of(pieces),
    }))
    .into_response()
}

/// The frames of one answer, in order: the role, the pieces, the end, the
/// usage where it was asked for, and `[DONE]`.
struct Frames {
    pace: Pace,
    random: Random,
    pieces: u32,
    steps: std::vec::IntoIter<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Role,
    Piece(u32),
    Stop,
    Usage,
    Done,
}

impl Frames {
    fn new(pace: Pace, random: Random, pieces: u32, usage: bool) -> Self {
        let steps: Vec<_> = [Step::Role]
            .into_iter()
            .chain((0..pieces).map(Step::Piece))
            .chain([Step::Stop])
            .chain(usage.then_some(Step::Usage))
            .chain([Step::Done])
            .collect();
        Self {
            pace,
            random,
            pieces,
            steps: steps.into_iter(),
        }
    }

    async fn next(&mut self) -> Option<String> {
        let step = self.steps.next()?;
        // Servers send the role as soon as they take the request, before the
        // model has produced anything.
        let median = match step {
            Step::Piece(0) => Some(self.pace.first),
            Step::Piece(_) => Some(self.pace.interval),
            Step::Role | Step::Stop | Step::Usage | Step::Done => None,
        };
        if let Some(median) = median {
            sleep(self.random.latency(median, LATENCY_SIGMA)).await;
        }
        Some(frame(step, self.pieces))
    }
}

fn frame(step: Step, pieces: u32) -> String {
    let (delta, finish) = match step {
        Step::Role => (json!({ "role": "assistant", "content": "" }), Value::Null),
        Step::Piece(index) => (json!({ "content": word(index) }), Value::Null),
        Step::Stop => (json!({}), json!("stop")),
        Step::Usage => {
            let chunk = json!({
                "id": "chatcmpl-demo", "object": "chat.completion.chunk", "model": MODEL,
                "choices": [], "usage": usage_of(pieces),
            });
            return format!("data: {chunk}\n\n");
        }
        Step::Done => return "data: [DONE]\n\n".to_owned(),
    };
    let chunk = json!({
        "id": "chatcmpl-demo", "object": "chat.completion.chunk", "model": MODEL,
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    });
    format!("data: {chunk}\n\n")
}

fn usage_of(pieces: u32) -> Value {
    json!({ "prompt_tokens": 9, "completion_tokens": pieces, "total_tokens": pieces.saturating_add(9) })
}

fn word(index: u32) -> String {
    format!("{} ", WORDS[index as usize % WORDS.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stream_begins_with_the_role_and_ends_with_done() {
        let pace = Pace {
            first: Duration::from_millis(150),
            interval: Duration::from_millis(25),
        };
        let mut frames = Frames::new(pace, Random::from_seed(1), 3, true);
        let mut texts = Vec::new();
        while let Some(text) = frames.next().await {
            texts.push(text);
        }
        assert_eq!(texts.len(), 7);
        assert!(texts[0].contains("\"role\":\"assistant\""), "{}", texts[0]);
        assert!(texts[1].contains("\"content\":\"the \""), "{}", texts[1]);
        assert!(
            texts[4].contains("\"finish_reason\":\"stop\""),
            "{}",
            texts[4]
        );
        assert!(texts[5].contains("\"completion_tokens\":3"), "{}", texts[5]);
        assert_eq!(texts[6], "data: [DONE]\n\n");
    }
}
