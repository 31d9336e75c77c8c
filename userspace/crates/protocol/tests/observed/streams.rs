//! Responses that stream, and the endpoints that models are asked at.

use std::time::Duration;

use modeltap_core::connection::CaptureEvent;
use modeltap_core::record::{Completeness, Operation, Outcome, StreamFigures, StreamFormat};
use modeltap_core::recording::mask_contents;
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::{Config, ConnectionTable};

use crate::support::{Socket, run};

const MS: Duration = Duration::from_millis(1);
const CHAT: &str = "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
const SSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                   Transfer-Encoding: chunked\r\n\r\n";
const ROLE: &str =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

#[track_caller]
fn figures(s: &Socket) -> StreamFigures {
    let record = run(&s.events).0.pop().expect("a record");
    *record.stream.expect("it streams")
}

#[test]
fn first_content_chunk_is_neither_head_nor_role_nor_comment() {
    let mut s = Socket::accepted();
    s.read(CHAT);
    let asked = s.now;
    s.wait(3 * MS).write(SSE);
    s.wait(5 * MS).write(chunk(ROLE));
    s.wait(5 * MS).write(chunk(": keep-alive\n\n"));
    s.wait(40 * MS).write(chunk(TOKEN));
    let first = s.now;
    for _ in 0..4 {
        s.wait(20 * MS).write(chunk(TOKEN));
    }
    let last = s.now;
    for frame in [FINISH, USAGE, DONE] {
        s.wait(7 * MS).write(chunk(frame));
    }
    s.write("0\r\n\r\n");
    let told = figures(&s);
    assert_eq!(told.format, StreamFormat::ServerSentEvents);
    assert_eq!((told.n_chunks, told.n_stalls), (5, 0));
    assert_eq!(
        (told.first_chunk, told.last_chunk),
        (Some(first), Some(last))
    );
    assert_eq!(first.since(asked).as_millis(), 53);
    assert_eq!(told.intervals.count(), 4);
    let median = told.intervals.quantile(0.5).unwrap();
    assert!(median.abs_diff(20 * MS) < MS, "{median:?}");
    assert_eq!(
        (told.after_abort, told.completeness),
        (None, Completeness::Whole)
    );
}

#[test]
fn role_and_token_in_one_chunk_are_a_token() {
    let mut s = Socket::accepted();
    s.read(CHAT).write(SSE).wait(60 * MS);
    s.write(chunk(&format!("{ROLE}{TOKEN}")));
    let first = s.now;
    s.write("0\r\n\r\n");
    let told = figures(&s);
    assert_eq!((told.n_chunks, told.first_chunk), (1, Some(first)));
}

#[test]
fn events_of_one_write_are_apart_by_nothing() {
    let mut s = Socket::accepted();
    s.read(CHAT).write(SSE);
    s.write(format!("{}{}", chunk(TOKEN), chunk(TOKEN)));
    s.wait(2000 * MS);
    s.write(chunk(TOKEN)).write("0\r\n\r\n");
    let told = figures(&s);
    assert_eq!((told.n_chunks, told.intervals.count()), (3, 2));
    assert_eq!(told.n_stalls, 1);
    assert!(told.longest_interval >= 2000 * MS);
    assert!(told.intervals.quantile(0.5).unwrap() < MS);
}

#[test]
fn event_is_written_once_its_empty_line_is() {
    let mut s = Socket::accepted();
    s.read(CHAT)
        .write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    s.write(&TOKEN[..TOKEN.len() - 1]).wait(10 * MS).write("\n");
    let first = s.now;
    s.wait(10 * MS).write(&TOKEN[..TOKEN.len() - 1]);
    // A last event without one counts where it ended.
    let last = s.now;
    s.wait(10 * MS).local_finished();
    let told = figures(&s);
    assert_eq!(
        (told.first_chunk, told.last_chunk),
        (Some(first), Some(last))
    );
}

#[test]
fn lines_of_json_are_chunks_whatever_cuts_them() {
    let line =
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"x\"},\"done\":false}\n";
    let end =
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true}\n";
    let mut s = Socket::accepted();
    s.read("POST /api/chat HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}");
    s.write("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n");
    for _ in 0..3 {
        s.wait(10 * MS).write(&line[..9]).write(&line[9..]);
    }
    s.write(end).local_finished();
    let told = figures(&s);
    assert_eq!((told.format, told.n_chunks), (StreamFormat::JsonLines, 3));
    assert_eq!(told.completeness, Completeness::Whole);
}

#[test]
fn chunks_of_another_type_are_pieces_captured_or_not() {
    let mut s = Socket::accepted();
    s.read(CHAT)
        .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        s.wait(10 * MS)
            .write_captured(chunk(&"x".repeat(5_000)), 1_024);
    }
    s.write("0\r\n\r\n");
    let told = figures(&s);
    assert_eq!((told.format, told.n_chunks), (StreamFormat::Chunks, 3));
    assert_eq!(
        (told.intervals.count(), told.completeness),
        (2, Completeness::Whole)
    );
}

#[test]
fn large_events_count_but_what_they_may_hide_is_not_invented() {
    let large = TOKEN.replace("\"x\"", &format!("\"{}\"", "x".repeat(5_000)));
    let mut s = Socket::accepted();
    s.read(CHAT).write(SSE);
    s.wait(10 * MS).write_captured(chunk(&large), 1_024);
    let first = s.now;
    s.wait(10 * MS).write_captured(chunk(&large), 1_024);
    s.wait(10 * MS).write(chunk(TOKEN));
    s.wait(10 * MS).write(chunk(TOKEN)).write("0\r\n\r\n");
    let told = figures(&s);
    assert_eq!((told.n_chunks, told.first_chunk), (4, Some(first)));
    assert_eq!(told.intervals.count(), 1);
    assert_eq!(told.completeness, Completeness::Truncated);
    // The request's own figures need none of it.
    assert_eq!(run(&s.events).0[0].completeness, Completeness::Whole);
}

#[test]
fn first_chunk_is_not_known_behind_bytes_that_were_not() {
    let mut s = Socket::accepted();
    s.read(CHAT).write(SSE);
    s.write(chunk(TOKEN)).lost();
    s.write(chunk(TOKEN)).write(chunk(TOKEN)).write("0\r\n\r\n");
    let told = run(&s.events).0.pop().unwrap();
    assert_eq!(told.stream.map_or(0, |stream| stream.n_chunks), 0);
    let mut s = Socket::accepted();
    s.read(CHAT)
        .write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    s.write(TOKEN).lost();
    s.write(TOKEN).write(TOKEN).local_finished();
    let told = figures(&s);
    assert_eq!((told.n_chunks, told.first_chunk), (2, None));
    assert_eq!(
        (told.intervals.count(), told.completeness),
        (1, Completeness::Gap)
    );
}

#[test]
fn server_that_writes_on_after_its_client_left_is_told() {
    let mut s = Socket::accepted();
    s.read(CHAT).write(SSE).write(chunk(TOKEN));
    s.wait(MS).peer_finished();
    let left = s.now;
    s.wait(30 * MS).write(chunk(TOKEN));
    let last = s.now;
    s.reset();
    let record = run(&s.events).0.pop().unwrap();
    assert_eq!(
        (record.outcome, record.status),
        (Outcome::ClientAborted, Some(200))
    );
    let told = record.stream.unwrap();
    assert_eq!(told.after_abort, Some(last.since(left)));
    assert_eq!(told.n_chunks, 2);
    // One that stops at once.
    let mut s = Socket::accepted();
    s.read(CHAT).write(SSE).write(chunk(TOKEN)).reset();
    assert_eq!(figures(&s).after_abort, Some(Duration::ZERO));
    // A client that only finished sending did not leave.
    let mut s = Socket::accepted();
    s.read(CHAT).peer_finished().write(SSE);
    s.write(chunk(TOKEN)).write("0\r\n\r\n");
    assert_eq!(figures(&s).after_abort, None);
}

#[test]
fn compressed_streams_have_the_rhythm_of_their_chunks() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n";
    let mut s = Socket::accepted();
    s.read(CHAT)
        .write(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    s.write(chunk("\x1f\x08\n\n")).write("0\r\n\r\n");
    let told = figures(&s);
    assert_eq!((told.format, told.n_chunks), (StreamFormat::Chunks, 1));
    let mut s = Socket::accepted();
    s.read(CHAT)
        .write(format!("{head}\r\n"))
        .write("\x1f\n\n")
        .local_finished();
    assert_eq!(run(&s.events).0[0].stream, None);
}

#[test]
fn responses_that_do_not_stream_have_no_rhythm() {
    let mut s = Socket::accepted();
    s.read(CHAT)
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    s.read("HEAD /a HTTP/1.1\r\n\r\n").write(SSE);
    let (records, _) = run(&s.events);
    assert!(records.iter().all(|record| record.stream.is_none()));
}

#[test]
fn intervals_of_a_hostile_stream_take_bounded_memory() {
    let mut s = Socket::accepted();
    s.read(CHAT).write(SSE);
    for n in 0..40_000_u64 {
        // Intervals of every size there is.
        s.wait(Duration::from_nanos(500 * n + (1 << (n % 40))));
        s.write(chunk("data: x\n\n"));
    }
    s.write("0\r\n\r\n");
    let told = figures(&s);
    assert_eq!((told.n_chunks, told.intervals.count()), (40_000, 39_999));
    assert!(told.intervals.buckets().len() <= 2_048);
}

#[test]
fn inference_is_told_by_path_and_method() {
    let mut s = Socket::accepted();
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    s.read("POST /openai/v1/embeddings?x=1 HTTP/1.1\r\n\r\n")
        .write(ok);
    s.read("POST /v2/models/resnet/infer HTTP/1.1\r\n\r\n")
        .write(ok);
    s.read("GET /v1/chat/completions HTTP/1.1\r\n\r\n")
        .write(ok);
    let (records, _) = run(&s.events);
    let told = |n: usize| {
        let inference = records[n].inference.as_ref()?;
        Some((inference.operation, inference.model.as_deref()))
    };
    assert_eq!(told(0), Some((Operation::Embeddings, None)));
    assert_eq!(told(1), Some((Operation::Predict, Some("resnet"))));
    assert_eq!(told(2), None);
}

#[test]
fn tentative_pairing_keeps_the_stream_with_its_response() {
    let mut s = Socket::accepted();
    s.read(CHAT)
        .write(SSE)
        .write(chunk(TOKEN))
        .write("0\r\n\r\n");
    s.read("GET /b HTTP/1.1\r\n\r\n").lost();
    s.write(SSE).lost();
    s.read("GET /c HTTP/1.1\r\n\r\n")
        .write(SSE)
        .write(chunk(TOKEN));
    s.write("0\r\n\r\n")
        .wait(MonotonicNs(5_000_000_000).since(MonotonicNs(0)));
    let (records, _) = run(&s.events);
    for record in records.iter().filter(|record| record.status.is_some()) {
        assert_eq!(record.stream.as_ref().unwrap().n_chunks, 1, "{record:?}");
    }
}

#[test]
fn masked_stream_keeps_its_rhythm() {
    let mut s = Socket::accepted();
    s.read(CHAT).wait(3 * MS).write(SSE);
    for frame in [ROLE, TOKEN, TOKEN, FINISH, USAGE, DONE] {
        s.wait(5 * MS).write(chunk(frame));
    }
    s.write("0\r\n\r\n");
    let told = figures(&s);
    assert_eq!(told.n_chunks, 2);
    let mut table = ConnectionTable::new(Config {
        tell_contents: true,
        ..Config::default()
    });
    for event in &mut s.events {
        table.handle(event);
        if let CaptureEvent::Data(data) = event {
            mask_contents(&mut data.bytes, table.contents());
        }
    }
    assert_eq!(figures(&s), told);
}
