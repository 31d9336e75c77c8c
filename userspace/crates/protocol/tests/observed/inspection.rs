//! What is read from bodies, and only of containers that were opted in.

use modeltap_core::record::{Inference, Operation};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::Config;

use crate::support::{CGROUP, Checked, Socket};

const BODY: &str = r#"{"messages":[{"content":"\"model\": \"no\""}],"model":"org/m:7b","n":1}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn json(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// What is told of each request's inference, with the cgroup opted in.
fn inspected(s: &Socket) -> Vec<Option<Inference>> {
    let mut checked = Checked::new(Config::default());
    checked.table.inspect(CGROUP, true);
    told(checked, s)
}

fn told(mut checked: Checked, s: &Socket) -> Vec<Option<Inference>> {
    s.events.iter().for_each(|event| checked.handle(event));
    checked.handle_timeout(MonotonicNs(u64::MAX));
    let records = checked.records.into_iter();
    records
        .map(|record| record.inference.map(|inference| *inference))
        .collect()
}

fn chat(model: Option<&str>, tokens: Option<(u64, u64)>) -> Option<Inference> {
    Some(Inference {
        operation: Operation::Chat,
        model: model.map(str::to_owned),
        input_tokens: tokens.map(|(input, _)| input),
        output_tokens: tokens.map(|(_, output)| output),
    })
}

#[test]
fn nothing_is_read_from_bodies_that_nobody_opted_in() {
    let mut s = Socket::accepted();
    s.read(post("/v1/chat/completions", BODY))
        .write(json(USAGE));
    let never = told(Checked::new(Config::default()), &s);
    assert_eq!(never, [chat(None, None)]);
    let mut checked = Checked::new(Config::default());
    checked.table.inspect(CGROUP, true);
    checked.table.inspect(CGROUP, false);
    assert_eq!(told(checked, &s), [chat(None, None)]);
    let mut checked = Checked::new(Config::default());
    checked.table.inspect(CGROUP, true);
    checked.table.forget(CGROUP);
    assert_eq!(told(checked, &s), [chat(None, None)]);
}

#[test]
fn nothing_is_held_of_a_body_whose_connection_ended() {
    let mut s = Socket::accepted();
    s.read("POST /api/chat HTTP/1.1\r\nContent-Length: 90\r\n\r\n{\"model\"")
        .reset();
    let mut checked = Checked::new(Config::default());
    checked.table.inspect(CGROUP, true);
    s.events.iter().for_each(|event| checked.handle(event));
    checked.handle_timeout(MonotonicNs(u64::MAX));
    assert_eq!(checked.table.stats().bytes_held, 0);
}

#[test]
fn model_and_usage_are_read_whatever_cuts_the_bodies() {
    let request = post("/v1/chat/completions", BODY);
    let response = json(USAGE);
    for cut in 1..request.len().min(response.len()) {
        let mut s = Socket::accepted();
        s.read(&request[..cut]).read(&request[cut..]);
        s.write(&response[..cut]).write(&response[cut..]);
        assert_eq!(
            inspected(&s),
            [chat(Some("org/m:7b"), Some((3, 5)))],
            "cut at {cut}"
        );
    }
}

#[test]
fn usage_of_a_stream_is_its_last_frames() {
    let frames = [
        r#"{"choices":[{"delta":{"content":"\"usage\":{\"prompt_tokens\":99}"}}]}"#,
        r#"{"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
        USAGE,
        "[DONE]",
    ];
    let mut s = Socket::accepted();
    s.read(post("/v1/chat/completions", BODY));
    s.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    for frame in frames {
        s.write(format!("data: {frame}\n\n"));
    }
    s.local_finished();
    assert_eq!(inspected(&s), [chat(Some("org/m:7b"), Some((3, 5)))]);
    let mut s = Socket::accepted();
    s.read(post("/api/chat", BODY));
    s.write("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n");
    s.write("{\"message\":{\"content\":\"x\"},\"done\":false}\n");
    s.write("{\"done\":true,\"prompt_eval_count\":3,\"eval_count\":5}\n");
    s.local_finished();
    assert_eq!(inspected(&s), [chat(Some("org/m:7b"), Some((3, 5)))]);
}

#[test]
fn keep_alive_requests_have_each_their_own() {
    let mut s = Socket::accepted();
    s.read(post("/v1/chat/completions", BODY))
        .write(json(USAGE));
    s.read(post("/v1/chat/completions", "{\"messages\":[]}"))
        .write(json("{}"));
    s.read(post("/other", BODY)).write(json(USAGE));
    s.read("POST /v1/chat/completions HTTP/1.1\r\n\r\n")
        .write(json(USAGE));
    let first = chat(Some("org/m:7b"), Some((3, 5)));
    let last = chat(None, Some((3, 5)));
    assert_eq!(inspected(&s), [first, chat(None, None), None, last]);
}

#[test]
fn model_of_the_path_is_not_looked_for_in_the_body() {
    let mut s = Socket::accepted();
    s.read(post("/v2/models/resnet/infer", BODY))
        .write(json("{}"));
    let inference = inspected(&s).remove(0).expect("an inference");
    assert_eq!(inference.model.as_deref(), Some("resnet"));
}

#[test]
fn chunked_and_uncaptured_bodies_tell_what_was_seen_of_them() {
    let mut s = Socket::accepted();
    s.read("POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in BODY.as_bytes().chunks(7) {
        let piece = String::from_utf8_lossy(piece);
        s.read(format!("{:x}\r\n{piece}\r\n", piece.len()));
    }
    s.read("0\r\n\r\n");
    s.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    s.write(format!("{:x}\r\n{USAGE}\r\n0\r\n\r\n", USAGE.len()));
    assert_eq!(inspected(&s), [chat(Some("org/m:7b"), Some((3, 5)))]);

    let request = post("/v1/chat/completions", BODY);
    let mut s = Socket::accepted();
    s.read_captured(&request, request.len() - 40)
        .write_captured(json(USAGE), 60);
    assert_eq!(inspected(&s), [chat(None, None)]);
}

#[test]
fn compressed_responses_are_not_looked_at() {
    let mut s = Socket::accepted();
    s.read(post("/v1/chat/completions", "{}"));
    s.write(json(USAGE).replace("\r\n\r\n", "\r\nContent-Encoding: br\r\n\r\n"));
    assert_eq!(inspected(&s), [chat(None, None)]);
}
