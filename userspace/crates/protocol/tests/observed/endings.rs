//! How conversations end, what overtakes what, and what is bounded.

use std::time::Duration;

use modeltap_core::connection::CaptureEvent;
use modeltap_protocol::{Config, MAX_HEAD_BYTES};

use crate::support::{CGROUP, Checked, Socket, check, line, run};

const GET_A: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_B: &str = "GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_C: &str = "GET /c HTTP/1.1\r\nHost: h\r\n\r\n";
const OK_2: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const SSE_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const CHUNKED_HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const MS: Duration = Duration::from_millis(1);

#[test]
fn client_that_leaves_makes_no_status() {
    // A reset while the handler works: asynchronous servers never write.
    let mut s = Socket::accepted();
    s.read(GET_A).wait(MS).reset();
    let end = s.now;
    let (records, _) = check(&s, &["GET /a - 0>0 client_aborted"]);
    assert_eq!(records[0].timings.finished, end);
    assert_eq!(records[0].timings.response_start, None);
    assert_eq!(records[0].timings.duration(), MS + Duration::from_micros(1));

    // A FIN: the server notices and closes.
    let mut s = Socket::accepted();
    s.read(GET_A).peer_finished().wait(MS).local_finished();
    check(&s, &["GET /a - 0>0 client_aborted"]);

    // The head could still be written, the body no more.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .peer_finished()
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        .reset();
    check(&s, &["GET /a 200 0>0 client_aborted"]);

    // All of it could be written by one call, inside which the reset came.
    let mut s = Socket::accepted();
    s.read(GET_A).peer_finished().reset().write(OK_2);
    check(&s, &["GET /a 200 0>2 client_aborted"]);

    // The same, told of when the call returned but written when it was sent.
    let mut s = Socket::accepted();
    s.read(GET_A).peer_finished().wait(MS).write(OK_2);
    s.wait(MS).reset();
    let told_last = s.events.len() - 1;
    s.events.swap(told_last - 1, told_last);
    check(&s, &["GET /a 200 0>2 client_aborted"]);

    // A client that had it all before the call returned, and reset then.
    let mut s = Socket::accepted();
    s.read(GET_A).wait(MS).write(OK_2);
    s.wait(MS).reset();
    let told_last = s.events.len() - 1;
    s.events.swap(told_last - 1, told_last);
    check(&s, &["GET /a 200 0>2 complete"]);

    // In the middle of a stream.
    let mut s = Socket::accepted();
    s.read(GET_A).write(SSE_HEAD).write("5\r\nhello\r\n");
    let last = s.now;
    s.wait(MS).reset();
    let (records, _) = check(&s, &["GET /a 200 0>5 client_aborted"]);
    assert_eq!(records[0].timings.response_end, Some(last));

    // In the middle of an upload.
    let mut s = Socket::accepted();
    s.read("POST /p HTTP/1.1\r\nContent-Length: 9\r\n\r\n1234")
        .reset();
    let (records, _) = check(&s, &["POST /p - 4>0 client_aborted"]);
    assert_eq!(records[0].timings.request_end, None);

    // In the middle of a head there is no request yet.
    let mut s = Socket::accepted();
    s.read(&GET_A[..20]).reset();
    check(&s, &[]);
}

#[test]
fn half_closed_client_still_gets_its_answer() {
    let mut s = Socket::accepted();
    s.read(GET_A)
        .peer_finished()
        .wait(MS * 5_000)
        .write(OK_2)
        .local_finished();
    check(&s, &["GET /a 200 0>2 complete"]);
    let mut s = Socket::accepted();
    s.read(GET_A).peer_finished().write(OK_2).reset();
    check(&s, &["GET /a 200 0>2 complete"]);
}

#[test]
fn resets_between_requests_mean_nothing() {
    let mut s = Socket::accepted();
    s.read(GET_A).write(OK_2).reset();
    let (_, stats) = check(&s, &["GET /a 200 0>2 complete"]);
    assert_eq!(stats.bytes_gap, 0);
    check(Socket::accepted().reset(), &[]);
    check(Socket::accepted().peer_finished().local_finished(), &[]);
}

#[test]
fn server_that_ends_the_connection_is_named() {
    let mut s = Socket::accepted();
    s.read(GET_A).wait(MS).local_finished();
    check(&s, &["GET /a - 0>0 unanswered"]);
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123");
    s.local_finished().peer_finished();
    check(&s, &["GET /a 200 0>3 server_aborted"]);
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(CHUNKED_HEAD)
        .write("5\r\nhello\r\n")
        .local_finished()
        .reset();
    check(&s, &["GET /a 200 0>5 server_aborted"]);
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write("HTTP/1.1 200 OK\r\nConte")
        .local_finished();
    check(&s, &["GET /a - 0>0 server_aborted"]);
}

#[test]
fn events_that_overtake_a_write_change_nothing() {
    // The next request, read by another thread.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(OK_2)
        .read(GET_B)
        .overtaken()
        .write(NOT_FOUND);
    let expected = ["GET /a 200 0>2 complete", "GET /b 404 0>0 complete"];
    check(&s, &expected);
    // The client's end.
    s.reset().overtaken();
    check(&s, &expected);
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(OK_2)
        .peer_finished()
        .overtaken()
        .local_finished();
    check(&s, &expected[..1]);
}

#[test]
fn ended_connection_waits_for_late_writes_only_so_long() {
    let mut s = Socket::accepted();
    s.read(GET_A).reset();
    let end = s.now;
    let mut checked = Checked::new(Config::default());
    s.events.iter().for_each(|event| checked.handle(event));
    assert_eq!(checked.table.in_progress_of(CGROUP).n_requests, 1);
    assert_eq!(checked.table.poll_timeout(), Some(end.after(MS * 250)));
    checked.handle_timeout(end.after(MS * 249));
    assert!(checked.records.is_empty());
    checked.handle_timeout(end.after(MS * 250));
    assert_eq!(line(&checked.records[0]), "GET /a - 0>0 client_aborted");
    assert_eq!(checked.records[0].timings.finished, end);
    assert_eq!(
        (
            checked.table.in_progress_of(CGROUP).n_requests,
            checked.table.poll_timeout()
        ),
        (0, None)
    );
}

#[test]
fn upgraded_connections_are_tunnels() {
    let upgrade = "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut s = Socket::accepted();
    s.read(upgrade)
        .write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    s.read(b"\x81\x85abcd\x00\x01")
        .write("HTTP/1.1 200 OK\r\n\r\n")
        .read(GET_A)
        .reset();
    let (_, stats) = check(&s, &["GET /ws 101 0>0 complete"]);
    assert_eq!(stats.bytes_skipped, 0);
    let mut s = Socket::accepted();
    s.read("CONNECT h:443 HTTP/1.1\r\n\r\n")
        .write("HTTP/1.1 200 OK\r\n\r\n")
        .write("x")
        .reset();
    check(&s, &["CONNECT h:443 200 0>0 complete"]);
    let mut s = Socket::accepted();
    s.read("CONNECT h:443 HTTP/1.1\r\n\r\n")
        .write(NOT_FOUND)
        .read(GET_A)
        .write(OK_2);
    check(
        &s,
        &["CONNECT h:443 404 0>0 complete", "GET /a 200 0>2 complete"],
    );
}

#[test]
fn other_protocols_are_counted_and_told_nothing_of() {
    let tls = |s: modeltap_protocol::Stats| s.n_connections_tls;
    let http2 = |s: modeltap_protocol::Stats| s.n_connections_http2;
    let unknown = |s: modeltap_protocol::Stats| s.n_connections_unknown;
    type Count = fn(modeltap_protocol::Stats) -> u64;
    for (request, response, count) in [
        (
            &b"\x16\x03\x01\x02\x00\x01"[..],
            &b"\x16\x03\x03\x00\x7a"[..],
            tls as Count,
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0",
            b"\0\0\x12\x04",
            http2,
        ),
        (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n", unknown),
        (b"GET key\r\n", b"$-1\r\n", unknown),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", b"S", unknown),
    ] {
        let mut s = Socket::accepted();
        s.read(request)
            .write(response)
            .read(GET_A)
            .write(OK_2)
            .reset();
        let (_, stats) = check(&s, &[]);
        assert_eq!(count(stats), 1, "{}", request.escape_ascii());
        assert_eq!(stats.bytes_skipped, stats.bytes_observed);
        // The same one byte at a time.
        let mut s = Socket::accepted();
        for byte in request {
            s.read([*byte]);
        }
        s.write(response).reset();
        assert_eq!(
            count(check(&s, &[]).1),
            1,
            "{} in pieces",
            request.escape_ascii()
        );
    }
    // A server that speaks first.
    let mut s = Socket::accepted();
    s.write("220 mail ESMTP\r\n")
        .read("EHLO x\r\n")
        .write("250 ok\r\n");
    assert_eq!(check(&s, &[]).1.n_connections_unknown, 1);
}

#[test]
fn inherited_connections_are_followed_from_their_next_request() {
    // Idle when met.
    let mut s = Socket::inherited();
    s.read(GET_A).write(OK_2);
    let (records, _) = check(&s, &["GET /a 200 0>2 complete"]);
    assert_eq!(records[0].timings.accepted, None);
    // In the middle of an upload.
    let mut s = Socket::inherited();
    s.read("rest of a body")
        .write(OK_2)
        .read(GET_A)
        .write(NOT_FOUND);
    let (_, stats) = check(&s, &["GET /a 404 0>0 complete"]);
    assert_eq!(stats.bytes_skipped, 14 + OK_2.len() as u64);
    // In the middle of a response; the request in pieces.
    let mut s = Socket::inherited();
    s.write("rest of a body")
        .read(&GET_A[..4])
        .read(&GET_A[4..9])
        .read(&GET_A[9..])
        .write(OK_2);
    check(&s, &["GET /a 200 0>2 complete"]);
    // What merely looks like a request.
    let mut s = Socket::inherited();
    s.read("GET /")
        .read(" lost")
        .read("G")
        .read(GET_A)
        .write(OK_2);
    check(&s, &["GET /a 200 0>2 complete"]);
    // Another protocol.
    let mut s = Socket::inherited();
    s.read("*1\r\n$4\r\nPING\r\n").write("+PONG\r\n").reset();
    check(&s, &[]);
}

#[test]
fn large_bodies_are_counted_beyond_what_was_captured() {
    let body = vec![b'x'; 1_000_000];
    let mut s = Socket::accepted();
    let head = "POST /up HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n";
    s.read_captured([head.as_bytes(), &body[..200_000]].concat(), 16_384);
    s.read_captured(&body[200_000..], 256);
    s.write_captured(
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
            &body[..],
        ]
        .concat(),
        4_096,
    );
    s.read(GET_A).write(OK_2);
    let (_, stats) = check(
        &s,
        &[
            "POST /up 200 1000000>1000000 complete",
            "GET /a 200 0>2 complete",
        ],
    );
    assert_eq!((stats.bytes_skipped, stats.bytes_truncated), (0, 0));
}

#[test]
fn chunk_larger_than_what_was_captured_is_passed_over() {
    let mut s = Socket::accepted();
    let data = "x".repeat(100_000);
    s.read(GET_A)
        .write_captured(format!("{CHUNKED_HEAD}186a0\r\n{data}\r\n"), 4_096);
    s.write("0\r\n\r\n").read(GET_B).write(OK_2);
    check(
        &s,
        &["GET /a 200 0>100000 complete", "GET /b 200 0>2 complete"],
    );
    // The last chunk in the same write, unseen, is all that fits.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write_captured(format!("{CHUNKED_HEAD}186a0\r\n{data}\r\n0\r\n\r\n"), 4_096);
    s.read(GET_B).write(OK_2);
    let (_, stats) = check(
        &s,
        &["GET /a 200 0>100000 complete", "GET /b 200 0>2 complete"],
    );
    assert_eq!(stats.bytes_truncated, 5);
}

#[test]
fn chunk_sizes_that_were_not_captured_leave_count_status_and_time_right() {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4_096));
    // Ended by the next response.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write_captured([CHUNKED_HEAD, &chunk, &chunk, &chunk].concat(), 4_096);
    s.wait(MS).write_captured(format!("{chunk}0\r\n\r\n"), 256);
    let end = s.now;
    s.wait(MS).read(GET_B).write(NOT_FOUND);
    let (records, _) = run(&s.events);
    let outcome = |record: &_| {
        line(record)
            .split_whitespace()
            .skip(4)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(records.len(), 2);
    assert_eq!(
        (records[0].status, outcome(&records[0])),
        (Some(200), "complete truncated".into())
    );
    assert_eq!(records[0].timings.response_end, Some(end));
    assert_eq!(line(&records[1]), "GET /b 404 0>0 complete");
    // Ended by its last chunk.
    for last in [
        &["0\r\n\r\n"][..],
        &["0\r\n", "\r\n"],
        &["3\r\nabc\r\n0\r\n\r\n"],
    ] {
        let mut s = Socket::accepted();
        s.read(GET_A)
            .write_captured([CHUNKED_HEAD, &chunk, &chunk].concat(), 4_096);
        for piece in last {
            s.write(piece);
        }
        let mut checked = Checked::new(Config::default());
        s.events.iter().for_each(|event| checked.handle(event));
        assert_eq!(checked.records.len(), 1, "{last:?}");
        assert_eq!(outcome(&checked.records[0]), "complete truncated");
    }
    // Ended by silence.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write_captured([CHUNKED_HEAD, &chunk, &chunk].concat(), 4_096);
    let mut checked = Checked::new(Config::default());
    s.events.iter().for_each(|event| checked.handle(event));
    checked.handle_timeout(s.now.after(MS * 9_999));
    assert!(checked.records.is_empty());
    checked.handle_timeout(s.now.after(MS * 10_000));
    assert_eq!(outcome(&checked.records[0]), "complete truncated");
    assert_eq!(checked.records[0].timings.response_end, Some(s.now));
    // Ended by the connection.
    s.peer_finished().local_finished();
    assert_eq!(outcome(&run(&s.events).0[0]), "complete truncated");
}

#[test]
fn chunked_upload_that_was_not_captured_ends_with_its_last_read() {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4_096));
    let mut s = Socket::accepted();
    s.read_captured(
        format!("POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"),
        999,
    );
    s.wait(MS)
        .read_captured([&chunk[..], &chunk, "0\r\n\r\n"].concat(), 256);
    let end = s.now;
    s.wait(MS).write(OK_2).read(GET_A).write(NOT_FOUND);
    let (records, _) = run(&s.events);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].status, Some(200));
    assert_eq!(records[0].completeness.as_str(), "truncated");
    assert_eq!(records[0].timings.request_end, Some(end));
    assert_eq!(line(&records[1]), "GET /a 404 0>0 complete");
}

#[test]
fn heads_beyond_what_was_captured_keep_their_first_line() {
    let long = "x".repeat(60_000);
    let request = format!("GET /long?q={long} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut s = Socket::accepted();
    s.read_captured(&request, 16_384)
        .write(OK_2)
        .read(GET_A)
        .write(NOT_FOUND);
    check(
        &s,
        &[
            "GET /long 200 0>2 complete truncated",
            "GET /a 404 0>0 complete",
        ],
    );
    // In several reads.
    let request = format!("GET /long HTTP/1.1\r\nCookie: {long}\r\nHost: h\r\n\r\n");
    let mut s = Socket::accepted();
    s.read(&request[..8_192]).read(&request[8_192..16_384]);
    s.read_captured(&request[16_384..40_000], 256)
        .read_captured(&request[40_000..], 256);
    let end = s.now;
    s.wait(MS).write(OK_2).read(GET_A).write(NOT_FOUND);
    let (records, _) = check(
        &s,
        &[
            "GET /long 200 0>2 complete truncated",
            "GET /a 404 0>0 complete",
        ],
    );
    assert_eq!(records[0].timings.request_end, Some(end));
    // A response's.
    let response = format!("HTTP/1.1 200 OK\r\nSet-Cookie: {long}\r\nContent-Length: 2\r\n\r\nok");
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write_captured(&response, 4_096)
        .read(GET_B)
        .write(NOT_FOUND);
    let (records, _) = run(&s.events);
    assert_eq!(records.len(), 2);
    assert_eq!(
        (records[0].status, records[0].completeness.as_str()),
        (Some(200), "truncated")
    );
    assert_eq!(line(&records[1]), "GET /b 404 0>0 complete");
}

#[test]
fn heads_of_64_kilobytes_are_read_whole_where_captured() {
    for size in [MAX_HEAD_BYTES - 200, MAX_HEAD_BYTES * 2] {
        let request = format!("GET /long HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(size));
        let mut s = Socket::accepted();
        for piece in request.as_bytes().chunks(4_096) {
            s.read(piece);
        }
        s.write(OK_2).read(GET_A).write(NOT_FOUND);
        let first = match size < MAX_HEAD_BYTES {
            true => "GET /long 200 0>2 complete",
            false => "GET /long 200 0>2 complete truncated",
        };
        let (_, stats) = check(&s, &[first, "GET /a 404 0>0 complete"]);
        assert_eq!(stats.bytes_buffered, 0);
    }
    let many: String = (0..2_000).map(|n| format!("h{n}: v\r\n")).collect();
    let mut s = Socket::accepted();
    s.read(format!("GET /many HTTP/1.1\r\n{many}\r\n"))
        .write(OK_2);
    check(&s, &["GET /many 200 0>2 complete"]);
}

#[test]
fn address_used_again_is_another_connection() {
    let mut first = Socket::accepted();
    first
        .read(GET_A)
        .write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        .reset();
    let mut second = Socket::open(1, first.now.after(MS), first.origin());
    second.read(GET_B).write(OK_2);
    let mut late = first.clone();
    late.write("late");
    let mut events = [first.events.clone(), second.events.clone()].concat();
    events.push(late.events.last().unwrap().clone());
    let (records, stats) = run(&events);
    let lines: Vec<_> = records.iter().map(line).collect();
    assert_eq!(
        lines,
        ["GET /a 200 0>0 client_aborted", "GET /b 200 0>2 complete"]
    );
    assert_eq!(
        (stats.n_events_unknown_connection, stats.bytes_skipped),
        (1, 4)
    );
    // The end of the first was lost.
    let events = [&first.events[..3], &second.events].concat();
    let lines: Vec<_> = run(&events).0.iter().map(line).collect();
    assert_eq!(
        lines,
        ["GET /a 200 0>0 lost gap", "GET /b 200 0>2 complete"]
    );
}

#[test]
fn junk_after_a_response_is_passed_over() {
    // A body with an answer to HEAD, and more than Content-Length says.
    let mut s = Socket::accepted();
    s.read("HEAD /a HTTP/1.1\r\n\r\n")
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    s.read(GET_B)
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay")
        .read(GET_C)
        .write(OK_2);
    let (_, stats) = check(
        &s,
        &[
            "HEAD /a 200 0>0 complete",
            "GET /b 200 0>2 complete",
            "GET /c 200 0>2 complete",
        ],
    );
    assert_eq!(stats.bytes_skipped, 4);
}

#[test]
fn empty_calls_and_unknown_connections_are_harmless() {
    let mut s = Socket::accepted();
    s.read("")
        .write("")
        .read(GET_A)
        .read("")
        .write(OK_2)
        .write("");
    check(&s, &["GET /a 200 0>2 complete"]);
    let (records, stats) = run(&s.events[1..]);
    assert!(records.is_empty());
    assert_eq!(stats.bytes_skipped, stats.bytes_observed);
}

#[test]
fn opened_twice_is_opened_once() {
    let mut s = Socket::accepted();
    s.read(GET_A);
    s.events.push(s.events[0].clone());
    s.write(OK_2);
    let (_, stats) = check(&s, &["GET /a 200 0>2 complete"]);
    assert_eq!(stats.n_connections_opened, 1);
    assert!(matches!(s.events[0], CaptureEvent::Opened(_)));
}
