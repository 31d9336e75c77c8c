//! A real language model: llama.cpp's own server, streaming from a small model
//! that a package brings.

use std::thread;
use std::time::Duration;

use modeltap_testbed::client::{Connection, Request};
use modeltap_testbed::clock::await_that;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Ending, Leave, Planned, Reuse, Row, Target};

use crate::servers::judge;
use crate::watch;

const CHAT: &str = "/v1/chat/completions";
/// Tokens of a stream that is read to its end.
const N_TOKENS: u32 = 8;

fn chat(stream: bool, n_tokens: u32) -> Planned {
    let body = format!(
        "{{\"stream\": {stream}, \"max_tokens\": {n_tokens}, \"seed\": 1, \"ignore_eos\": true, \
         \"messages\": [{{\"role\": \"user\", \"content\": \"Count.\"}}]}}"
    );
    Planned {
        request: Request::post(CHAT, body),
        route: CHAT,
    }
}

/// What costs the model nothing.
fn cheap(index: usize) -> Planned {
    let (request, route) = match index % 10 {
        0..=4 => (
            Request::post("/tokenize", format!("{{\"content\": \"word {index}\"}}")),
            "/tokenize",
        ),
        5 => (
            Request {
                chunked: true,
                ..Request::post("/tokenize", "{\"content\": \"in chunks\"}")
            },
            "/tokenize",
        ),
        6 | 7 => (Request::get("/v1/models"), "/v1/models"),
        8 => (Request::get("/missing"), "/missing"),
        _ => (Request::post(CHAT, "{\"messages\": 1}"), CHAT),
    };
    Planned { request, route }
}

/// Sends requests whose client leaves: before the answer, and inside a stream.
fn abandon(container: &Container, n: usize) -> Vec<Row> {
    let target = Target::inside(container, 8000);
    let pid = container.pid();
    let mut rows = Vec::new();
    for leave in Leave::BOTH.into_iter().cycle().take(n) {
        for stream in [false, true] {
            let planned = chat(stream, 40);
            let mut connection = target.connect();
            let sent_ns = connection.send(&planned.request).expect("it listens");
            connection.await_read(pid);
            if stream {
                connection.first_byte().expect("the stream begins");
                thread::sleep(Duration::from_millis(150));
            }
            rows.push(Row::left(connection, leave, &planned, sent_ns));
        }
    }
    rows
}

/// Waits until the model is loaded: the server listens before.
fn await_model(container: &Container) {
    let target = Target::inside(container, 8000);
    await_that("the model to be loaded", Duration::from_secs(60), || {
        let mut connection: Connection = target.connect();
        let health = Request {
            close: true,
            ..Request::get("/health")
        };
        let answer = connection.send(&health).and_then(|_| connection.receive());
        answer.is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn language_model_that_streams_is_exact() {
    let Some(_ground) = ground::take("llama") else {
        return;
    };
    let image = images::language_model();
    let spec = Spec::new(&image, "python3 llama_server.py");
    let container = Container::start("llama", &spec).listening(8000);
    await_model(&container);
    let watch = watch();
    watch.daemon.await_service(container.name());

    let cheap: Vec<_> = (0..960).map(cheap).collect();
    let mut plans = load::spread(cheap);
    // This server ends the connection after a stream, and does not say so.
    let streams = vec![chat(true, N_TOKENS); 8];
    plans.push((Reuse::Close, streams.clone()));
    plans.push((Reuse::Close, streams));
    plans.push((Reuse::KeepAlive, vec![chat(false, 4); 8]));
    let mut rows = load::run(Target::inside(&container, 8000), plans);
    rows.extend(abandon(&container, 8));
    judge("llama-server", &watch, &container, &rows);

    let records = watch.daemon.requests(container.name());
    let streamed = records
        .iter()
        .filter(|record| record.route == CHAT && record.streamed && record.outcome == "complete");
    assert_eq!(streamed.count(), 16, "every stream is told as one");
    let n_left = rows.iter().filter(|row| row.ending == Ending::Left).count();
    assert_eq!(n_left, 16);
    watch.daemon.stop();
}
