//! Clients of the sample servers: steady traffic whose rate swells and sinks,
//! with some malformed requests and some clients that leave in mid-answer.
//!
//! Options: `--predictor ADDRESS`, `--chat ADDRESS` (each may be left out),
//! `--predictor-rate 20` and `--chat-rate 2` (requests a second on average),
//! `--seconds 0` (zero: until SIGINT or SIGTERM).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::f64::consts::TAU;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use modeltap_demo::arguments::Arguments;
use modeltap_demo::client::{ClientError, Connection};
use modeltap_demo::random::Random;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

/// Connections to each server, hence the most requests under way.
const CLIENTS: u32 = 8;
/// The rate swells and sinks once in this time.
const SWELL: Duration = Duration::from_secs(60);
/// Requests over one connection before a client opens another.
const REQUESTS_PER_CONNECTION: u32 = 50;

/// Counts what happened, by kind and outcome.
type Tally = Arc<Mutex<BTreeMap<String, u64>>>;

#[derive(Clone, Copy)]
enum Kind {
    Predictor,
    Chat,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse(std::env::args().skip(1))?;
    let predictor: String = arguments.take("predictor", String::new())?;
    let chat: String = arguments.take("chat", String::new())?;
    let predictor_rate: f64 = arguments.take("predictor-rate", 20.0)?;
    let chat_rate: f64 = arguments.take("chat-rate", 2.0)?;
    let seconds: u64 = arguments.take("seconds", 0)?;
    arguments.finish()?;

    let tally = Tally::default();
    let targets = [
        (Kind::Predictor, predictor, predictor_rate),
        (Kind::Chat, chat, chat_rate),
    ];
    for (kind, server, rate) in targets {
        if server.is_empty() || rate <= 0.0 {
            continue;
        }
        let server: SocketAddr = server.parse()?;
        let period = Duration::try_from_secs_f64(f64::from(CLIENTS) / rate)?;
        for index in 0..CLIENTS {
            tokio::spawn(client(kind, server, period, index, Arc::clone(&tally)));
        }
    }

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = sleep(Duration::from_secs(seconds)), if seconds > 0 => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    for (what, count) in tally.iter() {
        println!("{count:>8} {what}");
    }
    Ok(())
}

/// Sends a request every `period` on average, one at a time.
async fn client(kind: Kind, server: SocketAddr, period: Duration, index: u32, tally: Tally) {
    let started = Instant::now();
    let mut random = Random::from_entropy();
    // Clients start spread over one period, not all in the same instant.
    let mut due = started + period.mul_f64(f64::from(index) / f64::from(CLIENTS));
    let mut connection = None;
    let mut left = 0;
    loop {
        sleep_until(due).await;
        let phase = started.elapsed().as_secs_f64() / SWELL.as_secs_f64() * TAU;
        let rate = 1.0 + 0.5 * phase.sin();
        due = Instant::now().max(due + period.mul_f64((0.5 + random.unit()) / rate));

        if left == 0 || connection.is_none() {
            connection = Connection::open(server).await.ok();
            left = REQUESTS_PER_CONNECTION;
        }
        let outcome = match connection.as_mut() {
            None => Err("no connection".into()),
            Some(open) => match kind {
                Kind::Predictor => predictor(open, &mut random).await,
                Kind::Chat => chat(open, &mut random).await,
            },
        };
        left -= 1;
        let what = match outcome {
            Ok(Some(answered)) => answered,
            Ok(None) => {
                connection = None;
                "chat aborted by the client".to_owned()
            }
            Err(_) => {
                connection = None;
                // A server that is gone is asked again once a second.
                due = due.max(Instant::now() + Duration::from_secs(1));
                "failed".to_owned()
            }
        };
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        *tally.entry(what).or_default() += 1;
    }
}

async fn predictor(
    connection: &mut Connection,
    random: &mut Random,
) -> Result<Option<String>, ClientError> {
    let draw = random.unit();
    let status = if draw < 0.05 {
        connection
            .exchange(Method::GET, "/health", String::new())
            .await?
    } else if draw < 0.25 {
        // Three in a hundred ask for an item that does not exist.
        let path = format!("/items/{}", random.between(0, 1_030));
        connection
            .exchange(Method::GET, &path, String::new())
            .await?
    } else {
        let body = if random.chance(0.03) {
            json!({ "features": "none" })
        } else {
            json!({ "features": [random.unit(), random.unit(), random.unit()] })
        };
        connection
            .exchange(Method::POST, "/predict", body.to_string())
            .await?
    };
    Ok(Some(format!("predictor {status}")))
}

/// Asks for an answer; `None` where it left in the middle of it.
async fn chat(
    connection: &mut Connection,
    random: &mut Random,
) -> Result<Option<String>, ClientError> {
    let draw = random.unit();
    if draw < 0.05 {
        let status = connection
            .exchange(Method::GET, "/v1/models", String::new())
            .await?;
        return Ok(Some(format!("chat {status}")));
    }
    let streams = draw < 0.85;
    let body = json!({
        "model": "demo-chat-1", "stream": streams,
        "messages": [{ "role": "user", "content": "What does the kernel see?" }],
    });
    let path = "/v1/chat/completions";
    if !streams {
        let status = connection
            .exchange(Method::POST, path, body.to_string())
            .await?;
        return Ok(Some(format!("chat {status}")));
    }
    let response = connection
        .send(Method::POST, path, body.to_string())
        .await?;
    let status = response.status().as_u16();
    let patience = if random.chance(0.08) {
        random.between(2, 15)
    } else {
        u32::MAX
    };
    let mut body = response.into_body();
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        frame?;
        frames += 1;
        if frames >= patience {
            return Ok(None);
        }
    }
    Ok(Some(format!("chat {status} streamed")))
}
