//! Upgraded connections: the handshake is a request, what follows a session.

use std::time::Duration;

use modeltap_core::record::{Completeness, SessionRecord};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::Config;

use crate::support::{CGROUP, Checked, Socket, check};

const MS: Duration = Duration::from_millis(1);
const UPGRADE: &str =
    "GET /ws?token=x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n";
/// A masked text frame of two bytes.
const FROM_CLIENT: &[u8] = b"\x81\x82abcd\x00\x01";
/// A text frame of two bytes.
const FROM_SERVER: &[u8] = b"\x81\x02ok";

#[track_caller]
fn sessions(s: &Socket) -> Vec<SessionRecord> {
    let mut checked = Checked::new(Config::default());
    for event in &s.events {
        checked.handle(event);
    }
    checked.handle_timeout(MonotonicNs(u64::MAX));
    checked.sessions
}

#[track_caller]
fn session(s: &Socket) -> SessionRecord {
    let mut sessions = sessions(s);
    assert_eq!(sessions.len(), 1);
    sessions.remove(0)
}

fn counts(session: &SessionRecord) -> (Option<u64>, Option<u64>, u64, u64) {
    (
        session.n_messages_read,
        session.n_messages_written,
        session.bytes_read,
        session.bytes_written,
    )
}

#[test]
fn websocket_is_a_request_and_a_session() {
    let mut s = Socket::accepted();
    s.read(UPGRADE).wait(3 * MS).write(AGREED);
    let started = s.now;
    for _ in 0..3 {
        s.wait(10 * MS).read(FROM_CLIENT);
        // Two messages in one write, and one in pieces.
        s.write([FROM_SERVER, FROM_SERVER].concat());
        s.write(&FROM_SERVER[..1]).write(&FROM_SERVER[1..]);
    }
    // Ping, pong and close are none.
    s.write(b"\x89\x00")
        .read(b"\x8a\x80abcd")
        .read(b"\x88\x80abcd");
    s.wait(MS).local_finished();
    let ended = s.now;
    let (records, stats) = check(&s, &["GET /ws 101 0>0 complete"]);
    assert_eq!(records[0].timings.duration().as_millis(), 3);
    assert_eq!((stats.bytes_skipped, stats.n_active), (0, 0));
    let session = session(&s);
    assert_eq!(
        (session.path.as_str(), session.started, session.ended),
        ("/ws", started, ended)
    );
    assert_eq!(counts(&session), (Some(3), Some(9), 3 * 8 + 12, 9 * 4 + 2));
    assert_eq!(session.completeness, Completeness::Whole);
}

#[test]
fn session_is_told_at_the_connections_end_and_not_before() {
    let mut s = Socket::accepted();
    s.read(UPGRADE).write(AGREED).read(FROM_CLIENT);
    let mut checked = Checked::new(Config::default());
    s.events.iter().for_each(|event| checked.handle(event));
    checked.handle_timeout(s.now.after(Duration::from_secs(3_600)));
    assert_eq!((checked.records.len(), checked.sessions.len()), (1, 0));
    let under_way = |checked: &Checked| {
        let found = checked.table.in_progress_of(CGROUP);
        (found.n_requests, found.n_inner, found.n_sessions)
    };
    assert_eq!(under_way(&checked), (0, 0, 1));
    let seen = s.events.len();
    s.wait(Duration::from_secs(3_600)).reset();
    s.events[seen..]
        .iter()
        .for_each(|event| checked.handle(event));
    checked.handle_timeout(s.now.after(Config::default().linger));
    assert_eq!(checked.sessions.len(), 1);
    assert_eq!(under_way(&checked), (0, 0, 0));
    assert_eq!(checked.table.stats().n_connections, 0);
}

#[test]
fn first_frame_may_come_with_the_handshakes_answer() {
    let mut s = Socket::accepted();
    s.read(UPGRADE);
    s.write([AGREED.as_bytes(), FROM_SERVER].concat()).reset();
    assert_eq!(counts(&session(&s)), (Some(0), Some(1), 0, 4));
}

#[test]
fn first_message_told_before_the_answer_counts() {
    let mut s = Socket::accepted();
    s.read(UPGRADE).write(AGREED).read(FROM_CLIENT).overtaken();
    s.read(FROM_CLIENT).reset();
    check(&s, &["GET /ws 101 0>0 complete"]);
    assert_eq!(counts(&session(&s)), (Some(2), Some(0), 16, 0));
}

#[test]
fn refused_upgrade_makes_no_session() {
    let mut s = Socket::accepted();
    s.read(UPGRADE)
        .write("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    s.read("GET /a HTTP/1.1\r\n\r\n");
    s.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .reset();
    check(&s, &["GET /ws 403 0>0 complete", "GET /a 200 0>2 complete"]);
    assert_eq!(sessions(&s), []);
}

#[test]
fn large_messages_are_counted_by_their_headers_alone() {
    let mut frame = b"\x82\x7f\0\0\0\0\0\x01\x11\x70".to_vec();
    frame.resize(10 + 70_000, b'x');
    let mut s = Socket::accepted();
    s.read(UPGRADE).write(AGREED);
    s.write_captured(&frame, 1_024)
        .write_captured(&frame, 1_024)
        .reset();
    let session = session(&s);
    assert_eq!(counts(&session), (Some(0), Some(2), 0, 2 * 70_010));
    assert_eq!(session.completeness, Completeness::Whole);
}

#[test]
fn header_that_was_not_seen_leaves_the_count_open() {
    let many = FROM_SERVER.repeat(100);
    let mut s = Socket::accepted();
    s.read(UPGRADE).write(AGREED).read(FROM_CLIENT);
    s.write_captured(&many, 30).write(FROM_SERVER).reset();
    let truncated = session(&s);
    assert_eq!(counts(&truncated), (Some(1), None, 8, 404));
    assert_eq!(truncated.completeness, Completeness::Truncated);

    let mut s = Socket::accepted();
    s.read(UPGRADE).write(AGREED);
    s.read(FROM_CLIENT)
        .lost()
        .read(FROM_CLIENT)
        .write(FROM_SERVER)
        .lost()
        .reset();
    let lost = session(&s);
    assert_eq!(counts(&lost), (None, None, 16, 4));
    assert_eq!(lost.completeness, Completeness::Gap);
}

#[test]
fn tunnels_of_other_protocols_have_no_messages() {
    let mut s = Socket::accepted();
    s.read("CONNECT h:443 HTTP/1.1\r\n\r\n")
        .write("HTTP/1.1 200 OK\r\n\r\n");
    s.read("abc").write("de").local_finished();
    let tunnel = session(&s);
    assert_eq!(counts(&tunnel), (None, None, 3, 2));
    assert_eq!(
        (tunnel.path.as_str(), tunnel.completeness),
        ("h:443", Completeness::Whole)
    );
    let mut s = Socket::accepted();
    s.read("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n");
    s.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\nPRI")
        .reset();
    assert_eq!(counts(&session(&s)), (None, None, 0, 3));
}

#[test]
fn evicted_session_is_told_as_far_as_it_was_seen() {
    let mut s = Socket::accepted();
    s.read(UPGRADE).write(AGREED).read(FROM_CLIENT);
    let last = s.now;
    let config = Config {
        max_connections: 1,
        ..Config::default()
    };
    let mut checked = Checked::new(config);
    s.events.iter().for_each(|event| checked.handle(event));
    let other = Socket::open(2, last, modeltap_core::connection::Origin::Accepted);
    checked.handle(&other.events[0]);
    let session = &checked.sessions[0];
    assert_eq!(
        (session.ended, session.completeness),
        (last, Completeness::Gap)
    );
}
