//! Lost events: what may still be told, and what must not be invented.

use std::time::Duration;

use modeltap_core::record::{Completeness, Outcome};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::Config;

use crate::support::{Checked, Socket, check, line, run};

const GET_A: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_B: &str = "GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
const GET_C: &str = "GET /c HTTP/1.1\r\nHost: h\r\n\r\n";
const OK_2: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const CHUNKED_HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn lost_response_loses_its_own_request_only() {
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(OK_2)
        .lost()
        .read(GET_B)
        .write(NOT_FOUND)
        .read(GET_C)
        .write(OK_2);
    let (_, stats) = check(
        &s,
        &[
            "GET /a - 0>0 lost gap",
            "GET /b 404 0>0 complete",
            "GET /c 200 0>2 complete",
        ],
    );
    assert_eq!((stats.bytes_gap, stats.n_gaps), (OK_2.len() as u64, 1));
}

#[test]
fn lost_request_leaves_its_status_without_a_latency() {
    let mut s = Socket::accepted();
    s.read(GET_A)
        .lost()
        .write(NOT_FOUND)
        .read(GET_B)
        .write(OK_2);
    check(&s, &["-  404 0>0 lost gap", "GET /b 200 0>2 complete"]);
    // Nothing follows but the end, whose totals tell.
    let mut s = Socket::accepted();
    s.read(GET_A).lost().write(NOT_FOUND).local_finished();
    check(&s, &["-  404 0>0 lost gap"]);
    // Nothing follows at all.
    let mut s = Socket::accepted();
    s.read(GET_A).lost().write(NOT_FOUND);
    let mut checked = Checked::new(Config::default());
    s.events.iter().for_each(|event| checked.handle(event));
    checked.handle_timeout(s.now.after(Duration::from_millis(1_999)));
    assert!(checked.records.is_empty());
    checked.handle_timeout(s.now.after(Duration::from_millis(2_000)));
    assert_eq!(line(&checked.records[0]), "-  404 0>0 lost gap");
}

#[test]
fn lost_request_and_response_leave_no_trace_but_the_gap() {
    let mut s = Socket::accepted();
    s.read(GET_A)
        .lost()
        .write(NOT_FOUND)
        .lost()
        .read(GET_B)
        .write(OK_2);
    let (records, stats) = check(&s, &["GET /b 200 0>2 complete"]);
    assert_eq!(stats.bytes_gap, (GET_A.len() + NOT_FOUND.len()) as u64);
    assert_eq!(records[0].timings.accepted, None, "it was not the first");
}

#[test]
fn response_after_a_burst_of_losses_is_never_given_to_an_older_request() {
    // The response to a, the request b: its response must not answer a.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(OK_2)
        .lost()
        .read(GET_B)
        .lost()
        .write(NOT_FOUND)
        .read(GET_C)
        .write(OK_2);
    check(
        &s,
        &[
            "GET /a - 0>0 lost gap",
            "-  404 0>0 lost gap",
            "GET /c 200 0>2 complete",
        ],
    );
}

#[test]
fn gap_inside_a_body_of_known_length_is_passed_over() {
    let mut s = Socket::accepted();
    s.read("POST /p HTTP/1.1\r\nContent-Length: 9\r\n\r\n123")
        .read("456")
        .lost()
        .read("789");
    s.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123")
        .write("456")
        .lost()
        .write("789");
    let end = s.now;
    s.read(GET_A).write(OK_2);
    let (records, _) = check(
        &s,
        &["POST /p 200 9>9 complete gap", "GET /a 200 0>2 complete"],
    );
    assert_eq!(records[0].timings.response_end, Some(end));
    // Inside a chunk, with its end.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(CHUNKED_HEAD)
        .write("5\r\nhe")
        .write("llo\r\n")
        .lost()
        .write("0\r\n\r\n");
    check(&s, &["GET /a 200 0>5 complete gap"]);
}

#[test]
fn gap_that_swallows_the_end_of_a_response_loses_it() {
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    let last = s.now;
    s.write("cd").lost().read(GET_B).write(OK_2);
    let (records, _) = check(&s, &["GET /a 200 0>4 lost gap", "GET /b 200 0>2 complete"]);
    assert_eq!(records[0].timings.response_end, Some(last));
    // Told by the totals at the end.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        .write("cd")
        .lost();
    s.local_finished();
    check(&s, &["GET /a 200 0>2 lost gap"]);
    // A whole chunk: more than it may have been lost.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(CHUNKED_HEAD)
        .write("5\r\nhello\r\n")
        .lost()
        .write("5\r\nhello\r\n");
    s.write("0\r\n\r\n").read(GET_B).write(OK_2);
    check(&s, &["GET /a 200 0>0 lost gap", "GET /b 200 0>2 complete"]);
}

#[test]
fn gap_that_swallows_the_end_of_a_request_leaves_its_answer() {
    let mut s = Socket::accepted();
    s.read("POST /p HTTP/1.1\r\nContent-Length: 6\r\n\r\n123")
        .read("456")
        .lost()
        .write(OK_2);
    s.read(GET_A).write(NOT_FOUND);
    let (records, _) = check(
        &s,
        &["POST /p 200 3>2 complete gap", "GET /a 404 0>0 complete"],
    );
    assert_eq!(records[0].timings.request_end, None);
    // A head's middle.
    let mut s = Socket::accepted();
    s.read(&GET_A[..20])
        .read(&GET_A[20..25])
        .lost()
        .read(&GET_A[25..])
        .write(OK_2);
    s.read(GET_B).write(NOT_FOUND);
    check(
        &s,
        &["GET /a 200 0>2 complete gap", "GET /b 404 0>0 complete"],
    );
    // A response head's middle.
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(&OK_2[..20])
        .write(&OK_2[20..25])
        .lost()
        .write(&OK_2[25..]);
    s.read(GET_B).write(NOT_FOUND);
    check(&s, &["GET /a 200 0>0 lost gap", "GET /b 404 0>0 complete"]);
}

#[test]
fn lost_interim_response_is_told_from_a_lost_answer() {
    let mut s = Socket::accepted();
    s.read("POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    s.write("HTTP/1.1 100 Continue\r\n\r\n")
        .lost()
        .read("ab")
        .write(OK_2);
    check(&s, &["POST /p 200 2>2 complete gap"]);
}

#[test]
fn pipelined_responses_are_not_guessed_at_after_a_loss() {
    let mut s = Socket::accepted();
    s.read([GET_A, GET_B].concat())
        .write(OK_2)
        .lost()
        .write(NOT_FOUND)
        .read(GET_C)
        .write(OK_2);
    check(
        &s,
        &[
            "GET /a - 0>0 lost gap",
            "GET /b - 0>0 lost gap",
            "GET /c 200 0>2 complete",
        ],
    );
    // Nor do those that follow become responses without a request.
    let mut s = Socket::accepted();
    s.read([GET_A, GET_B, GET_C].concat())
        .write(OK_2)
        .lost()
        .write(OK_2)
        .write(NOT_FOUND)
        .local_finished();
    let (records, _) = run(&s.events);
    assert!(records.iter().all(|record| record.outcome == Outcome::Lost));
}

#[test]
fn first_event_lost_is_found_again_at_the_next_request() {
    let mut s = Socket::accepted();
    s.read(GET_A)
        .lost()
        .read(GET_B)
        .write(OK_2)
        .read(GET_C)
        .write(NOT_FOUND);
    check(&s, &["GET /b 200 0>2 complete", "GET /c 404 0>0 complete"]);
}

#[test]
fn late_events_of_a_declared_gap_are_skipped() {
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write(OK_2)
        .read(GET_B)
        .write(NOT_FOUND)
        .write("x");
    let n = s.events.len();
    s.events.swap(n - 2, n - 1);
    let (_, stats) = check(&s, &["GET /a 200 0>2 complete"]);
    assert_eq!(stats.bytes_gap, NOT_FOUND.len() as u64);
    assert_eq!(stats.bytes_skipped, NOT_FOUND.len() as u64 + 1);
}

#[test]
fn events_told_twice_count_once() {
    let mut s = Socket::accepted();
    s.read(GET_A).write(OK_2);
    for n in (1..=2).rev() {
        let again = s.events[n].clone();
        s.events.insert(n + 1, again);
    }
    let (_, stats) = check(&s, &["GET /a 200 0>2 complete"]);
    assert_eq!(stats.bytes_skipped, (GET_A.len() + OK_2.len()) as u64);
}

#[test]
fn evicted_connections_tell_what_was_open_as_lost() {
    let config = Config {
        max_connections: 2,
        ..Config::default()
    };
    let mut checked = Checked::new(config);
    let mut sockets: Vec<_> = (1..=3)
        .map(|n| {
            Socket::open(
                n,
                MonotonicNs(n * 1_000),
                modeltap_core::connection::Origin::Accepted,
            )
        })
        .collect();
    sockets[0].read(GET_A);
    sockets[1].read(GET_B).write(OK_2);
    for event in sockets.iter().flat_map(|socket| &socket.events) {
        checked.handle(event);
    }
    let stats = checked.table.stats();
    assert_eq!((stats.n_connections, stats.n_connections_evicted), (2, 1));
    assert_eq!(checked.records.len(), 1, "the idle one went");
    let fourth = Socket::open(
        4,
        MonotonicNs(4_000),
        modeltap_core::connection::Origin::Accepted,
    );
    let mut third = sockets[2].clone();
    third.wait(Duration::from_secs(1)).read(GET_C);
    checked.handle(&third.events[1]);
    checked.handle(&fourth.events[0]);
    assert_eq!(line(&checked.records[1]), "GET /a - 0>0 lost gap");
}

#[test]
fn connection_that_asks_for_too_much_is_given_up() {
    let config = Config {
        max_pipelined: 3,
        ..Config::default()
    };
    let mut checked = Checked::new(config);
    let mut s = Socket::accepted();
    s.read(GET_A.repeat(9)).write(OK_2.repeat(9));
    s.events.iter().for_each(|event| checked.handle(event));
    let stats = checked.table.stats();
    assert_eq!(
        (stats.n_given_up, stats.n_active, checked.records.len()),
        (1, 0, 3)
    );
    assert!(
        checked
            .records
            .iter()
            .all(|record| line(record) == "GET /a - 0>0 lost truncated")
    );

    let config = Config {
        max_held_bytes: 10_000,
        ..Config::default()
    };
    let mut checked = Checked::new(config);
    let mut s = Socket::accepted();
    s.read(format!("GET /a HTTP/1.1\r\nCookie: {}", "x".repeat(10_000)))
        .write(OK_2);
    s.events.iter().for_each(|event| checked.handle(event));
    let stats = checked.table.stats();
    assert_eq!((stats.n_given_up, stats.bytes_buffered), (1, 0));
}

#[test]
fn half_a_head_lost_never_shifts_the_responses() {
    for lost in 0..6 {
        let mut s = Socket::accepted();
        for n in 0..3 {
            let request = format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n");
            s.read(&request[..10]);
            if lost == 2 * n {
                s.lost();
            }
            s.read(&request[10..]);
            if lost == 2 * n + 1 {
                s.lost();
            }
            s.write(format!("HTTP/1.1 20{n} OK\r\nContent-Length: 0\r\n\r\n"));
        }
        s.local_finished();
        let expected: Vec<_> = (0..3)
            .map(|n| match n == lost / 2 {
                true => format!("-  20{n} 0>0 lost gap"),
                false => format!("GET /{n} 20{n} 0>0 complete"),
            })
            .collect();
        check(&s, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn head_whose_beginning_was_lost_is_not_taken_for_a_body_and_forgotten() {
    // The request to HEAD was lost, so that its answer seems to have a body;
    // the next head is eaten as one, and the one after must not answer c.
    let mut s = Socket::accepted();
    s.read("HEAD /a HTTP/1.1\r\n\r\n").lost();
    s.write("HTTP/1.1 400 Bad\r\nContent-Length: 12\r\n\r\n");
    s.read(&GET_C[..9]).read(&GET_C[9..]).lost();
    s.write(&OK_2[..1]).lost().write(&OK_2[1..]);
    s.read(&GET_B[..9])
        .lost()
        .read(&GET_B[9..])
        .write(NOT_FOUND)
        .local_finished();
    let (records, _) = run(&s.events);
    assert!(
        records.iter().all(|record| record.outcome == Outcome::Lost),
        "{records:?}"
    );
    assert!(
        records
            .iter()
            .all(|record| record.path != "/c" || record.status.is_none())
    );
}

#[test]
fn request_lost_among_pipelined_ones_does_not_shift_the_rest_for_ever() {
    let head = "HEAD /h HTTP/1.1\r\n\r\n";
    let none = "HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n";
    let mut s = Socket::accepted();
    s.read([GET_A, GET_A].concat())
        .read(head)
        .lost()
        .read([GET_A, head].concat());
    s.write(OK_2)
        .write(OK_2)
        .write(none)
        .write(OK_2)
        .write(none);
    for _ in 0..3 {
        s.read(GET_C).write(NOT_FOUND);
    }
    s.local_finished();
    let (records, _) = run(&s.events);
    let last = records.iter().rfind(|record| record.path == "/c");
    assert_eq!(last.map(line).as_deref(), Some("GET /c 404 0>0 complete"));
    for record in records
        .iter()
        .filter(|record| record.outcome == Outcome::Complete)
    {
        assert!(
            record.path != "/c" || record.status == Some(404),
            "{record:?}"
        );
    }
}

#[test]
fn upload_whose_end_was_lost_is_marked_though_its_answer_was_seen() {
    let mut s = Socket::accepted();
    s.read("POST /u HTTP/1.1\r\nContent-Length: 30\r\n\r\n0123456789");
    s.read("0123456789").lost();
    s.read("0123456789").lost();
    s.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    // With the next request's head among what was lost.
    s.read("GET /a HTTP/1.1\r\n\r\n").lost();
    s.write("HTTP/1.1 204 No Content\r\n\r\n");
    s.read("GET /b HTTP/1.1\r\n\r\n");
    s.write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let records = run(&s.events).0;
    let upload = &records[0];
    assert_eq!((upload.path.as_str(), upload.status), ("/u", Some(200)));
    assert_eq!(upload.outcome, Outcome::Complete);
    assert_eq!(upload.completeness, Completeness::Gap);
    let last = records.last().unwrap();
    assert_eq!(
        (last.path.as_str(), last.status, last.completeness),
        ("/b", Some(404), Completeness::Whole)
    );
}

#[test]
fn answer_inside_an_upload_that_goes_on_is_whole() {
    let mut s = Socket::accepted();
    s.read("POST /u HTTP/1.1\r\nContent-Length: 30\r\n\r\n0123456789");
    s.write("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    s.read("0123456789");
    s.read("0123456789");
    let records = run(&s.events).0;
    assert_eq!(records.len(), 1);
    assert_eq!(
        (
            records[0].status,
            records[0].outcome,
            records[0].completeness
        ),
        (Some(413), Outcome::Complete, Completeness::Whole)
    );
}
