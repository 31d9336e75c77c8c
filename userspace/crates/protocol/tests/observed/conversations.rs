//! Whole conversations: what servers and clients do, and what is told of it.

use std::time::Duration;

use modeltap_core::time::MonotonicNs;

use crate::support::{Socket, check, run};

const GET_A: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_B: &str = "GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_C: &str = "GET /c HTTP/1.1\r\nHost: h\r\n\r\n";
const POST_5: &str = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
const OK_2: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const SSE_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const CHUNKED_HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const MS: Duration = Duration::from_millis(1);

#[test]
fn keep_alive_requests_are_told_in_order() {
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(OK_2)
        .read(POST_5)
        .write(NOT_FOUND)
        .read(GET_B)
        .write(OK_2);
    s.peer_finished().local_finished();
    let (records, stats) = check(
        &s,
        &[
            "GET /a 200 0>2 complete",
            "POST /p 404 5>0 complete",
            "GET /b 200 0>2 complete",
        ],
    );
    let sequences: Vec<_> = records.iter().map(|record| record.sequence).collect();
    assert_eq!(sequences, [0, 1, 2]);
    assert_eq!(
        stats.bytes_skipped + stats.bytes_truncated + stats.bytes_buffered,
        0
    );
    assert_eq!(
        (
            stats.n_requests_complete,
            stats.n_connections,
            stats.n_active
        ),
        (3, 0, 0)
    );
    assert_eq!(stats.n_connections_http1, 1);
}

#[test]
fn timings_are_those_of_the_calls() {
    let mut s = Socket::accepted();
    let opened = s.now;
    let mut instants = vec![];
    let mut step = |s: &mut Socket| {
        instants.push(s.now.since(opened));
        s.wait(MS);
    };
    s.wait(MS);
    s.read(&POST_5[..20]);
    step(&mut s);
    s.read(&POST_5[20..]);
    step(&mut s);
    s.write("HTTP/1.1 100 Continue\r\n\r\n").wait(MS);
    s.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    step(&mut s);
    s.write("ok");
    step(&mut s);
    s.write("ok");
    step(&mut s);
    s.read(GET_A).write(OK_2);
    let (records, _) = check(&s, &["POST /p 200 5>4 complete", "GET /a 200 0>2 complete"]);
    let t = records[0].timings;
    let at = |instant: Option<MonotonicNs>| instant.unwrap().since(opened);
    assert_eq!(t.accepted, Some(opened));
    assert_eq!(
        [
            at(Some(t.request_start)),
            at(t.request_end),
            at(t.response_start),
            at(t.body_start),
            at(t.response_end)
        ],
        instants[..]
    );
    assert_eq!(t.finished, t.response_end.unwrap());
    assert_eq!(
        records[1].timings.accepted, None,
        "only the first request waited since accept"
    );
}

#[test]
fn body_in_the_write_of_the_head_starts_with_it() {
    let mut s = Socket::accepted();
    s.read(GET_A).wait(MS).write(OK_2);
    let (records, _) = check(&s, &["GET /a 200 0>2 complete"]);
    let t = records[0].timings;
    assert_eq!(t.response_start, t.body_start);
    assert_eq!(t.response_start, t.response_end);
    assert_eq!(t.request_end, Some(t.request_start));
}

#[test]
fn body_forms_end_where_rfc_9112_says() {
    for (request, response, expected) in [
        (
            GET_A,
            "HTTP/1.1 204 No Content\r\n\r\n",
            "GET /a 204 0>0 complete",
        ),
        (
            GET_A,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "GET /a 304 0>0 complete",
        ),
        (
            "HEAD /a HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            "HEAD /a 200 0>0 complete",
        ),
        (
            "HEAD /a HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HEAD /a 200 0>0 complete",
        ),
        (
            GET_A,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 3\r\n\r\n\
             5;x=\"y\"\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n",
            "GET /a 200 0>15 complete",
        ),
        (
            GET_A,
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
            "GET /a 200 0>2 complete",
        ),
        (
            GET_A,
            "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
            "GET /a 200 0>2 complete",
        ),
        (
            GET_A,
            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            "GET /a 200 0>2 complete",
        ),
        (
            GET_A,
            "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
            "GET /a 200 0>2 complete",
        ),
        (
            "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            OK_2,
            "POST /a 200 3>2 complete",
        ),
        (
            "\r\n\r\nGET /a HTTP/1.1\n\n",
            OK_2,
            "GET /a 200 0>2 complete",
        ),
        (
            "PURGE /a HTTP/1.1\r\n\r\n",
            OK_2,
            "_OTHER /a 200 0>2 complete",
        ),
        (
            "GET http://h:1/a?q#f HTTP/1.1\r\n\r\n",
            OK_2,
            "GET /a 200 0>2 complete",
        ),
        (
            "GET http://h HTTP/1.1\r\n\r\n",
            OK_2,
            "GET / 200 0>2 complete",
        ),
        (
            "OPTIONS * HTTP/1.1\r\n\r\n",
            OK_2,
            "OPTIONS * 200 0>2 complete",
        ),
        (
            "GET /a?token=secret HTTP/1.0\r\n\r\n",
            OK_2,
            "GET /a 200 0>2 complete",
        ),
        (
            "GET /a HTTP/1.1\r\nBad Header\r\n folded: x\r\n\r\n",
            OK_2,
            "GET /a 200 0>2 complete",
        ),
    ] {
        let mut s = Socket::accepted();
        s.read(request).write(response).read(GET_B).write(NOT_FOUND);
        let (_, stats) = check(&s, &[expected, "GET /b 404 0>0 complete"]);
        assert_eq!(stats.bytes_skipped, 0, "{response}");
    }
}

#[test]
fn targets_that_are_not_text_are_told_as_well_as_can_be() {
    let mut s = Socket::accepted();
    s.read(b"GET /caf\xe9?x HTTP/1.1\r\nHost: h\r\n\r\n")
        .write(OK_2);
    s.read("GET /caf\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n")
        .write(OK_2);
    let long = "\u{e9}".repeat(400);
    s.read(format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .write(OK_2);
    let (records, _) = run(&s.events);
    assert_eq!(records[0].path, "/caf\u{fffd}");
    assert_eq!(records[1].path, "/caf\u{e9}");
    assert_eq!(records[2].path.len(), 511, "cut at a character's boundary");
}

#[test]
fn close_delimited_body_ends_with_the_servers_fin() {
    let mut s = Socket::accepted();
    s.read("GET /a HTTP/1.0\r\n\r\n")
        .write("HTTP/1.0 200 OK\r\n\r\n")
        .wait(MS)
        .write("body");
    let last = s.now;
    s.wait(MS * 9).local_finished().reset();
    let (records, _) = check(&s, &["GET /a 200 0>4 complete"]);
    assert_eq!(records[0].http_minor, 0);
    assert_eq!(records[0].timings.response_end, Some(last));

    let mut s = Socket::accepted();
    s.read(GET_A)
        .write("HTTP/1.1 200 OK\r\n\r\n")
        .write("bo")
        .reset();
    check(&s, &["GET /a 200 0>2 client_aborted"]);
}

#[test]
fn interim_responses_are_not_the_answer() {
    let mut s = Socket::accepted();
    s.read("POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    s.write("HTTP/1.1 100 Continue\r\n\r\n")
        .read("hello")
        .wait(MS);
    s.write("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        .wait(MS)
        .write(OK_2);
    let end = s.now;
    let (records, _) = check(&s, &["POST /p 200 5>2 complete"]);
    assert_eq!(records[0].timings.response_start, Some(end));
}

#[test]
fn expecting_client_may_leave_out_the_body_it_announced() {
    let mut s = Socket::accepted();
    s.read("POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n");
    s.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    s.read(GET_A).write(OK_2);
    check(&s, &["POST /p 401 0>0 complete", "GET /a 200 0>2 complete"]);
}

#[test]
fn pipelined_requests_share_their_reads_time() {
    let mut s = Socket::accepted();
    s.read([GET_A, POST_5, GET_B].concat())
        .wait(MS)
        .write(OK_2)
        .wait(MS);
    s.write([NOT_FOUND, OK_2].concat());
    let (records, _) = check(
        &s,
        &[
            "GET /a 200 0>2 complete",
            "POST /p 404 5>0 complete",
            "GET /b 200 0>2 complete",
        ],
    );
    assert_eq!(
        records[0].timings.request_start,
        records[2].timings.request_start
    );
}

#[test]
fn some_servers_never_answer_the_second_pipelined_request() {
    let mut s = Socket::accepted();
    s.read([GET_A, GET_B].concat());
    s.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    s.local_finished();
    check(&s, &["GET /a 200 0>2 complete", "GET /b - 0>0 unanswered"]);
}

#[test]
fn head_and_body_and_terminator_come_in_any_pieces() {
    // As uvicorn, gunicorn, Python's http.server and Go write.
    let mut s = Socket::accepted();
    s.read(&GET_A[..1]).read(&GET_A[1..]);
    s.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        .write("ok");
    s.read(&GET_B[..24]).read(&GET_B[24..]).write(CHUNKED_HEAD);
    s.write("5\r\n")
        .write("hello")
        .write("\r\n")
        .write("0\r\n")
        .write("\r\n");
    let end = s.now;
    s.read(GET_C)
        .write(CHUNKED_HEAD)
        .write("5\r\nhello\r\n")
        .write("0\r\n\r\n");
    let (records, stats) = check(
        &s,
        &[
            "GET /a 200 0>2 complete",
            "GET /b 200 0>5 complete",
            "GET /c 200 0>5 complete",
        ],
    );
    assert_eq!(records[1].timings.response_end, Some(end));
    assert!(records[1].streamed && !records[0].streamed);
    assert_eq!(stats.bytes_skipped, 0);
}

#[test]
fn event_streams_end_at_their_last_chunk_not_at_their_head() {
    let mut s = Socket::accepted();
    s.read("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        .wait(5 * MS);
    s.write(SSE_HEAD);
    let head = s.now;
    for _ in 0..3 {
        s.wait(MS * 100)
            .write("17\r\ndata: {\"token\": \"x\"}\r\n\r\n");
    }
    s.wait(MS).write("0\r\n\r\n");
    let (records, _) = run(&s.events);
    let record = &records[0];
    assert_eq!(record.timings.response_start, Some(head));
    assert!(record.streamed);
    assert_eq!(record.timings.stream().unwrap().as_millis(), 201);
    assert_eq!(record.timings.time_to_first_byte().unwrap().as_millis(), 5);
}

#[test]
fn content_types_of_streams_are_streamed_without_chunks() {
    for (content_type, streamed) in [
        ("text/event-stream", true),
        ("Text/Event-Stream; charset=utf-8", true),
        ("application/x-ndjson", true),
        ("application/stream+json", true),
        ("application/json", false),
    ] {
        let mut s = Socket::accepted();
        s.read(GET_A).write(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n"
        ));
        s.write("x").local_finished();
        assert_eq!(run(&s.events).0[0].streamed, streamed, "{content_type}");
    }
}

#[test]
fn server_answers_before_it_has_read_the_body() {
    let mut s = Socket::accepted();
    s.read("POST /p HTTP/1.1\r\nContent-Length: 9\r\n\r\n1234");
    s.write("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        .read("56789");
    s.read(GET_A).write(OK_2);
    let (records, _) = check(&s, &["POST /p 413 4>0 complete", "GET /a 200 0>2 complete"]);
    assert_eq!(records[0].timings.request_end, None);
    assert_eq!(
        records[0].timings.time_to_first_byte(),
        Some(Duration::ZERO)
    );

    // It closes with the rest unread, which resets the connection.
    let mut s = Socket::accepted();
    s.read("POST /p HTTP/1.1\r\nContent-Length: 9\r\n\r\n1234");
    s.write("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        .reset();
    check(&s, &["POST /p 413 4>0 complete"]);
}

#[test]
fn answer_without_a_request_has_no_method() {
    // After an idle minute, and after a request.
    let timeout = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    let mut s = Socket::accepted();
    s.wait(MS * 60_000).write(timeout).local_finished();
    let (records, _) = check(&s, &["-  408 0>0 complete"]);
    assert_eq!(records[0].timings.duration(), Duration::ZERO);
    assert_eq!(records[0].timings.accepted, None);

    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(OK_2)
        .wait(MS * 60_000)
        .write(timeout)
        .local_finished();
    check(&s, &["GET /a 200 0>2 complete", "-  408 0>0 complete"]);

    // To half a request.
    let mut s = Socket::accepted();
    s.read(&GET_A[..20]).write(timeout).local_finished();
    let (_, stats) = check(&s, &["-  408 0>0 complete"]);
    assert_eq!(stats.bytes_skipped, 20);
}

#[test]
fn malformed_requests_are_told_by_their_answer() {
    let refusal = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad";
    for garbage in [
        &b"GARBAGE\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /a HTTP/9.9\r\n\r\n",
        b"GET  /a HTTP/1.1\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let mut s = Socket::accepted();
        s.read(garbage).write(refusal).local_finished();
        check(&s, &["-  400 0>3 complete"]);
        let mut s = Socket::accepted();
        s.read(GET_A)
            .write(OK_2)
            .read(garbage)
            .write(refusal)
            .local_finished();
        check(&s, &["GET /a 200 0>2 complete", "-  400 0>3 complete"]);
    }
    // The head is whole but no server can frame it.
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: -1",
        "Content-Length: x",
    ] {
        let mut s = Socket::accepted();
        s.read(format!("POST /p HTTP/1.1\r\n{lengths}\r\n\r\nhello"))
            .read(GET_A);
        s.write(refusal).local_finished();
        check(&s, &["POST /p 400 0>3 complete"]);
    }
}
