//! What real servers were seen to do with their sockets, one test a habit.

use std::time::Duration;

use modeltap_core::connection::{CaptureEvent, Origin, Transport};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::Config;

use crate::support::{CGROUP, Checked, Socket, check, line, run};

const MS: Duration = Duration::from_millis(1);
const GET_A: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_B: &str = "GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
const POST_5: &str = "POST /p HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
const OK_2: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OK_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
const CHUNKED_HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn first_reads_of_1_and_24_bytes_begin_the_request() {
    for first in [1, 24] {
        let mut s = Socket::accepted();
        s.read(&GET_A[..first]);
        let start = s.now;
        s.wait(MS).read(&GET_A[first..]);
        let end = s.now;
        s.write(OK_2);
        // Go reads the next request's first byte in the background.
        s.read(&GET_B[..first]).wait(MS).read(&GET_B[first..]);
        s.write(OK_2);
        let (records, _) = check(&s, &["GET /a 200 0>2 complete", "GET /b 200 0>2 complete"]);
        assert_eq!(records[0].timings.request_start, start);
        assert_eq!(records[0].timings.request_end, Some(end));
        assert!(records[1].timings.read().is_some_and(|read| read >= MS));
    }
}

#[test]
fn last_chunk_is_a_write_of_five_bytes_or_of_three_and_two() {
    for pieces in [
        &["0\r\n\r\n"][..],
        &["0\r\n", "\r\n"],
        &["0", "\r", "\n", "\r\n"],
    ] {
        let mut s = Socket::accepted();
        s.read(GET_A).write(CHUNKED_HEAD).write("2\r\nok\r\n");
        for piece in pieces {
            s.wait(MS).write(piece);
        }
        let end = s.now;
        let (records, _) = check(&s, &["GET /a 200 0>2 complete"]);
        assert_eq!(records[0].timings.response_end, Some(end));
    }
}

#[test]
fn continue_is_a_write_of_its_own_and_no_answer() {
    let mut s = Socket::accepted();
    s.read("POST /p HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    s.write("HTTP/1.1 100 Continue\r\n\r\n")
        .wait(20 * MS)
        .read("hello");
    s.wait(5 * MS).write(OK_HEAD).write("ok");
    let (records, _) = check(&s, &["POST /p 200 5>2 complete"]);
    let timings = records[0].timings;
    assert_eq!(timings.time_to_first_byte().unwrap().as_millis(), 5);
    assert_eq!(timings.read().unwrap().as_millis(), 20);
}

#[test]
fn pipelined_answer_has_no_read_before_it_and_may_never_come() {
    let mut s = Socket::accepted();
    s.read(format!("{GET_A}{GET_B}")).write(OK_2).write(OK_2);
    check(&s, &["GET /a 200 0>2 complete", "GET /b 200 0>2 complete"]);
    let mut s = Socket::accepted();
    s.read(format!("{GET_A}{GET_B}"))
        .write(OK_2)
        .local_finished();
    check(&s, &["GET /a 200 0>2 complete", "GET /b - 0>0 unanswered"]);
    let mut s = Socket::accepted();
    s.read(format!("{GET_A}{GET_B}"))
        .write(OK_2)
        .peer_finished()
        .reset();
    check(
        &s,
        &["GET /a 200 0>2 complete", "GET /b - 0>0 client_aborted"],
    );
}

#[test]
fn server_that_was_killed_at_its_work_may_still_write_500() {
    // A worker's timeout, told on the request's own connection.
    let mut s = Socket::accepted();
    s.read(GET_A).wait(30_000 * MS);
    s.write("HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    s.local_finished();
    let (records, _) = check(&s, &["GET /a 500 0>0 complete"]);
    assert!(records[0].is_error());
    // And on one that has not asked.
    let mut s = Socket::accepted();
    s.write("HTTP/1.1 500 Internal Server Error\r\n\r\n")
        .local_finished();
    check(&s, &["-  500 0>0 complete"]);
}

#[test]
fn half_closed_client_may_get_no_answer() {
    let mut s = Socket::accepted();
    s.read(GET_A).peer_finished().wait(MS).local_finished();
    check(&s, &["GET /a - 0>0 client_aborted"]);
}

#[test]
fn answer_written_into_a_closed_connection_is_the_clients_abort() {
    // The first write still succeeds, the second fails.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .peer_finished()
        .wait(MS)
        .write(OK_HEAD)
        .reset();
    check(&s, &["GET /a 200 0>0 client_aborted"]);
}

#[test]
fn head_flushed_early_is_not_the_first_token() {
    let mut s = Socket::accepted();
    s.read("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    s.wait(3 * MS);
    s.write(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    s.wait(60 * MS);
    let events = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n\
                  data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    s.write(format!("{:x}\r\n{events}\r\n", events.len()))
        .write("0\r\n\r\n");
    let (records, _) = run(&s.events);
    let timings = records[0].timings;
    assert_eq!(timings.time_to_first_byte().unwrap().as_millis(), 3);
    let stream = records[0].stream.as_ref().unwrap();
    let first = stream
        .first_chunk
        .unwrap()
        .since(timings.request_end.unwrap());
    assert_eq!((first.as_millis(), stream.n_chunks), (63, 1));
}

#[test]
fn large_files_are_sent_without_being_captured() {
    let large = vec![b'x'; 3_000_000];
    let mut s = Socket::accepted();
    s.read(GET_A).write(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        large.len()
    ));
    for part in large.chunks(65_536) {
        s.wait(MS).write_captured(part, 0);
    }
    s.read("POST /up HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n");
    for part in large.chunks(100_000) {
        s.wait(MS).read_captured(part, 1_024);
    }
    s.write(OK_2);
    let (records, stats) = check(
        &s,
        &[
            "GET /a 200 0>3000000 complete",
            "POST /up 200 3000000>2 complete",
        ],
    );
    assert!(records[0].timings.stream().unwrap() >= 45 * MS);
    assert!(records[1].timings.read().unwrap() >= 30 * MS);
    assert_eq!((stats.bytes_truncated, stats.bytes_skipped), (0, 0));
}

#[test]
fn every_ending_in_every_phase_has_its_outcome_and_invents_no_status() {
    type Phase = (&'static str, fn(&mut Socket), [&'static str; 4]);
    const NONE: &str = "";
    // Endings: a reset; a FIN and a reset; the client's FIN, then the server's;
    // the server's alone.
    let phases: [Phase; 12] = [
        ("accepted", |_| {}, [NONE; 4]),
        (
            "half a head",
            |s| {
                s.read(&GET_A[..9]);
            },
            [NONE; 4],
        ),
        (
            "a head, its body to come",
            |s| {
                s.read(POST_5);
            },
            [
                "POST /p - 0>0 client_aborted",
                "",
                "",
                "POST /p - 0>0 unanswered",
            ],
        ),
        (
            "half an upload",
            |s| {
                s.read(POST_5).read("he");
            },
            [
                "POST /p - 2>0 client_aborted",
                "",
                "",
                "POST /p - 2>0 unanswered",
            ],
        ),
        (
            "a request",
            |s| {
                s.read(GET_A);
            },
            [
                "GET /a - 0>0 client_aborted",
                "",
                "",
                "GET /a - 0>0 unanswered",
            ],
        ),
        (
            "an interim response",
            |s| {
                s.read(POST_5).write("HTTP/1.1 100 Continue\r\n\r\n");
            },
            [
                "POST /p - 0>0 client_aborted",
                "",
                "",
                "POST /p - 0>0 unanswered",
            ],
        ),
        (
            "half a response's head",
            |s| {
                s.read(GET_A).write(&OK_HEAD[..20]);
            },
            [
                "GET /a - 0>0 client_aborted",
                "",
                "",
                "GET /a - 0>0 server_aborted",
            ],
        ),
        (
            "a response's head",
            |s| {
                s.read(GET_A).write(OK_HEAD);
            },
            [
                "GET /a 200 0>0 client_aborted",
                "",
                "",
                "GET /a 200 0>0 server_aborted",
            ],
        ),
        (
            "half a response",
            |s| {
                s.read(GET_A).write(OK_HEAD).write("o");
            },
            [
                "GET /a 200 0>1 client_aborted",
                "",
                "",
                "GET /a 200 0>1 server_aborted",
            ],
        ),
        (
            "a chunk",
            |s| {
                s.read(GET_A).write(CHUNKED_HEAD).write("2\r\nok\r\n0\r\n");
            },
            [
                "GET /a 200 0>2 client_aborted",
                "",
                "",
                "GET /a 200 0>2 server_aborted",
            ],
        ),
        (
            "a body until the end",
            |s| {
                s.read(GET_A).write("HTTP/1.0 200 OK\r\n\r\nok");
            },
            [
                "GET /a 200 0>2 client_aborted",
                "",
                "GET /a 200 0>2 complete",
                "GET /a 200 0>2 complete",
            ],
        ),
        (
            "a response",
            |s| {
                s.read(GET_A).write(OK_2);
            },
            ["GET /a 200 0>2 complete", "", "", "GET /a 200 0>2 complete"],
        ),
    ];
    let endings: [fn(&mut Socket); 4] = [
        |s| {
            s.reset();
        },
        |s| {
            s.peer_finished().reset();
        },
        |s| {
            s.peer_finished().local_finished();
        },
        |s| {
            s.local_finished();
        },
    ];
    for (phase, begin, expected) in phases {
        for (n, end) in endings.into_iter().enumerate() {
            for n_before in 0..2 {
                let mut s = Socket::accepted();
                let mut lines = Vec::new();
                for _ in 0..n_before {
                    s.read(GET_B).write(OK_2);
                    lines.push("GET /b 200 0>2 complete".to_owned());
                }
                begin(&mut s);
                end(&mut s);
                // As with a reset, where nothing else is said.
                let last = match expected[n] {
                    "" => expected[0],
                    last => last,
                };
                if !last.is_empty() {
                    lines.push(last.to_owned());
                }
                let told: Vec<_> = run(&s.events).0.iter().map(line).collect();
                assert_eq!(told, lines, "{phase}, ending {n}, after {n_before}");
            }
        }
    }
}

#[test]
fn reset_between_keep_alive_requests_ends_none() {
    let mut s = Socket::accepted();
    s.read(GET_A).write(OK_2).wait(MS).read(GET_B).write(OK_2);
    s.wait(5_000 * MS).reset();
    check(&s, &["GET /a 200 0>2 complete", "GET /b 200 0>2 complete"]);
}

#[test]
fn socket_used_again_at_once_shares_nothing() {
    let mut checked = Checked::new(Config::default());
    let mut at = MonotonicNs(1_000_000);
    for _ in 0..100 {
        // The end of the one before is told late, or not at all.
        let mut s = Socket::open(1, at, Origin::Accepted);
        s.read(GET_A).write(OK_2).read(&GET_B[..10]);
        s.events.iter().for_each(|event| checked.handle(event));
        at = s.now.after(Duration::from_micros(1));
    }
    checked.handle_timeout(MonotonicNs(u64::MAX));
    let (records, stats) = (&checked.records, checked.table.stats());
    assert_eq!(records.len(), 100);
    for record in records {
        assert_eq!(line(record), "GET /a 200 0>2 complete");
        assert_eq!(record.timings.accepted, Some(record.connection.opened));
    }
    assert_eq!((stats.n_gaps, stats.n_connections_opened), (0, 100));
}

#[test]
fn inner_hop_under_way_is_no_request_of_the_service() {
    let mut s = Socket::accepted();
    s.read(GET_A);
    if let Some(CaptureEvent::Opened(opened)) = s.events.first_mut() {
        opened.transport = Transport::Unix;
    }
    let mut checked = Checked::new(Config::default());
    s.events.iter().for_each(|event| checked.handle(event));
    let under_way = checked.table.in_progress_of(CGROUP);
    assert_eq!((under_way.n_requests, under_way.n_inner), (0, 1));
}

#[test]
fn inner_hop_is_told_as_one() {
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(OK_2)
        .read("GET /ws HTTP/1.1\r\n\r\n")
        .reset();
    if let Some(CaptureEvent::Opened(opened)) = s.events.first_mut() {
        opened.transport = Transport::Unix;
    }
    let (records, _) = run(&s.events);
    assert_eq!(records.len(), 2);
    assert!(
        records
            .iter()
            .all(|record| record.transport == Transport::Unix)
    );
}
