//! What holds for any conversation, any split of it and any loss.

use std::collections::HashMap;

use modeltap_core::connection::{CaptureEvent, Direction, Origin};
use modeltap_core::record::{Outcome, RequestRecord};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::Config;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::{Checked, Socket, line, run};

/// A body as one side sends it.
#[derive(Clone, Debug)]
enum Body {
    None,
    Length(usize),
    Chunked(Vec<usize>),
    UntilClose(usize),
}

#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    body: Body,
}

#[derive(Clone, Debug)]
struct Response {
    interim: bool,
    status: u16,
    body: Body,
}

/// Requests and responses in order; each path names its place.
#[derive(Clone, Debug)]
struct Conversation {
    exchanges: Vec<(Request, Response)>,
    filler: &'static str,
}

/// Bodies that mimic framing, so that a parser that looks into them fails.
const MIMICRY: &str = "\r\n0\r\n\r\nHTTP/1.1 500 No\r\n\r\nGET /body HTTP/1.1\r\n\r\n";
/// Bodies that mimic nothing: after a loss, a call that begins like a head can
/// only be taken for one.
const PLAIN: &str = "{\"text\": \"to be or not to be\"},\n";

fn append_body(wire: &mut String, body: &Body, filler: &str) {
    let filler = |n| filler.chars().cycle().take(n).collect::<String>();
    match body {
        Body::None => wire.push_str("\r\n"),
        Body::UntilClose(n) => *wire += &format!("\r\n{}", filler(*n)),
        Body::Length(n) => *wire += &format!("content-length: {n}\r\n\r\n{}", filler(*n)),
        Body::Chunked(sizes) => {
            wire.push_str("Transfer-Encoding: chunked\r\n\r\n");
            for size in sizes {
                *wire += &format!("{size:X};n=v\r\n{}\r\n", filler(*size));
            }
            wire.push_str("0\r\nTrailer: t\r\n\r\n");
        }
    }
}

fn size(body: &Body) -> usize {
    match body {
        Body::None => 0,
        Body::Length(n) | Body::UntilClose(n) => *n,
        Body::Chunked(sizes) => sizes.iter().sum(),
    }
}

impl Conversation {
    fn request_wire(&self, n: usize) -> String {
        let request = &self.exchanges[n].0;
        let mut wire = format!("{} /{n}?q=1 HTTP/1.1\r\nHost: h\r\n", request.method);
        append_body(&mut wire, &request.body, self.filler);
        wire
    }

    fn response_wire(&self, n: usize) -> String {
        let (request, response) = &self.exchanges[n];
        let mut wire = String::new();
        if response.interim {
            wire.push_str("HTTP/1.1 100 Continue\r\n\r\n");
        }
        wire += &format!("HTTP/1.1 {} Reason\r\nServer: s\r\n", response.status);
        match (request.method, response.status) {
            ("HEAD", _) | (_, 304) => wire.push_str("Content-Length: 12\r\n\r\n"),
            (_, 204) => wire.push_str("\r\n"),
            _ => append_body(&mut wire, &response.body, self.filler),
        }
        wire
    }

    fn expected(&self, n: usize) -> String {
        let (request, response) = &self.exchanges[n];
        let written = match (request.method, response.status) {
            ("HEAD", _) | (_, 204 | 304) => 0,
            _ => size(&response.body),
        };
        format!(
            "{} /{n} {} {}>{written} complete",
            request.method,
            response.status,
            size(&request.body)
        )
    }

    fn all_expected(&self) -> Vec<String> {
        (0..self.exchanges.len())
            .map(|n| self.expected(n))
            .collect()
    }
}

fn sizes() -> impl Strategy<Value = Body> {
    prop_oneof![
        (0..200_usize).prop_map(Body::Length),
        prop::collection::vec(1..60_usize, 0..5).prop_map(Body::Chunked),
    ]
}

fn exchange() -> impl Strategy<Value = (Request, Response)> {
    let request = prop_oneof![
        prop::sample::select(vec!["GET", "HEAD", "DELETE", "OPTIONS"]).prop_map(|method| Request {
            method,
            body: Body::None
        }),
        (prop::sample::select(vec!["POST", "PUT", "PATCH"]), sizes())
            .prop_map(|(method, body)| Request { method, body }),
    ];
    let response = (
        any::<bool>(),
        prop::sample::select(vec![200, 201, 204, 304, 400, 404, 422, 500, 503]),
        sizes(),
    )
        .prop_map(|(interim, status, body)| Response {
            interim,
            status,
            body,
        });
    (request, response)
}

fn conversation(filler: &'static str) -> impl Strategy<Value = Conversation> {
    (
        prop::collection::vec(exchange(), 1..6),
        prop::option::of(0..200_usize),
    )
        .prop_map(move |(mut exchanges, close_delimited)| {
            if let (Some(n), Some((_, last))) = (close_delimited, exchanges.last_mut()) {
                last.body = Body::UntilClose(n);
            }
            Conversation { exchanges, filler }
        })
}

/// Cuts `wire` into calls at the places that `cuts` choose.
fn split<'a>(wire: &'a str, cuts: &[Index]) -> Vec<&'a str> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
    places.extend([0, wire.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &wire[pair[0]..pair[1]])
        .collect()
}

fn cuts(most: usize) -> impl Strategy<Value = Vec<Index>> {
    prop_oneof![
        Just(vec![]),
        prop::collection::vec(any::<Index>(), 0..8),
        prop::collection::vec(any::<Index>(), 0..most),
    ]
}

fn end(s: &mut Socket) {
    s.local_finished().peer_finished();
}

/// One exchange after the other, each call told in full; also the number of
/// the exchange that each event belongs to.
fn one_after_the_other(
    conversation: &Conversation,
    request_cuts: &[Index],
    response_cuts: &[Index],
) -> (Socket, Vec<usize>) {
    let mut s = Socket::accepted();
    let mut owners = vec![0];
    for n in 0..conversation.exchanges.len() {
        for piece in split(&conversation.request_wire(n), request_cuts) {
            s.read(piece);
            owners.push(n);
        }
        for piece in split(&conversation.response_wire(n), response_cuts) {
            s.write(piece);
            owners.push(n);
        }
    }
    end(&mut s);
    owners.extend([usize::MAX; 2]);
    (s, owners)
}

/// The instants of each exchange as they truly were.
fn true_timings(s: &Socket, owners: &[usize]) -> HashMap<usize, (MonotonicNs, MonotonicNs)> {
    let mut timings = HashMap::new();
    for (event, &owner) in s.events.iter().zip(owners) {
        let CaptureEvent::Data(data) = event else {
            continue;
        };
        if data.length == 0 {
            continue;
        }
        let timing = timings.entry(owner).or_insert((data.at, data.at));
        timing.1 = data.at;
    }
    timings
}

fn number(record: &RequestRecord) -> Option<usize> {
    record.path.strip_prefix('/')?.parse().ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_and_interleaving_yields_the_same_records(
        conversation in conversation(MIMICRY),
        request_cuts in cuts(300),
        response_cuts in cuts(300),
        mut order in prop::collection::vec(any::<bool>(), 64),
    ) {
        let n = conversation.exchanges.len();
        let requests: Vec<_> = (0..n).map(|n| conversation.request_wire(n)).collect();
        let responses: Vec<_> = (0..n).map(|n| conversation.response_wire(n)).collect();
        let (all_requests, all_responses) = (requests.concat(), responses.concat());
        let reads = split(&all_requests, &request_cuts);
        let writes = split(&all_responses, &response_cuts);
        // What must be read before so much is written: the requests answered.
        let needed = |written: usize| {
            let mut sums = (0, 0);
            for (request, response) in requests.iter().zip(&responses) {
                if written <= sums.0 {
                    break;
                }
                sums = (sums.0 + response.len(), sums.1 + request.len());
            }
            sums.1
        };
        let mut s = Socket::accepted();
        let (mut reads, mut writes) = (reads.into_iter(), writes.into_iter().peekable());
        let (mut n_read, mut n_written) = (0, 0);
        order.push(true);
        let mut order = order.into_iter().cycle();
        loop {
            let may_write =
                writes.peek().is_some_and(|piece| needed(n_written + piece.len()) <= n_read);
            if may_write && order.next() == Some(true) {
                if let Some(piece) = writes.next() {
                    n_written += piece.len();
                    s.write(piece);
                }
            } else if let Some(piece) = reads.next() {
                n_read += piece.len();
                s.read(piece);
            } else if writes.peek().is_none() {
                break;
            }
        }
        end(&mut s);
        let (records, stats) = run(&s.events);
        let lines: Vec<_> = records.iter().map(line).collect();
        prop_assert_eq!(lines, conversation.all_expected());
        prop_assert_eq!(stats.bytes_skipped + stats.bytes_truncated + stats.bytes_gap, 0);
        prop_assert_eq!((stats.n_active, stats.n_connections), (0, 0));
    }

    #[test]
    fn one_removed_event_harms_its_exchange_and_at_most_the_next(
        conversation in conversation(PLAIN),
        request_cuts in cuts(8),
        response_cuts in cuts(8),
        removed in any::<Index>(),
    ) {
        let (mut s, mut owners) = one_after_the_other(&conversation, &request_cuts, &response_cuts);
        let truth = true_timings(&s, &owners);
        let removed = 1 + removed.index(s.events.len() - 3);
        s.events.remove(removed);
        let harmed = owners.remove(removed);
        let (records, _) = run(&s.events);
        for n in 0..conversation.exchanges.len() {
            if n == harmed || n == harmed + 1 {
                continue;
            }
            let of_n: Vec<_> = records.iter().filter(|record| number(record) == Some(n)).collect();
            prop_assert_eq!(of_n.len(), 1, "exchange {}", n);
            prop_assert_eq!(line(of_n[0]), conversation.expected(n));
            let timings = of_n[0].timings;
            prop_assert_eq!((timings.request_start, timings.response_end), (truth[&n].0, Some(truth[&n].1)));
        }
        prop_assert!(records.len() <= conversation.exchanges.len() + 1);
    }

    #[test]
    fn any_losses_never_make_a_wrong_status_or_latency(
        conversation in conversation(PLAIN),
        request_cuts in cuts(8),
        response_cuts in cuts(8),
        kept in prop::collection::vec(prop::bool::weighted(0.7), 40),
    ) {
        let (s, owners) = one_after_the_other(&conversation, &request_cuts, &response_cuts);
        let truth = true_timings(&s, &owners);
        let events: Vec<_> = s
            .events
            .iter()
            .zip(kept.iter().cycle())
            .filter(|(event, kept)| **kept || !matches!(event, CaptureEvent::Data(_)))
            .map(|(event, _)| event.clone())
            .collect();
        let (records, stats) = run(&events);
        prop_assert_eq!(stats.bytes_buffered, 0);
        for record in &records {
            let Some(n) = number(record) else {
                prop_assert!(record.outcome != Outcome::Complete, "{}", line(record));
                continue;
            };
            if record.outcome != Outcome::Complete {
                continue;
            }
            prop_assert_eq!(record.status, Some(conversation.exchanges[n].1.status), "{}", line(record));
            prop_assert_eq!(record.timings.request_start, truth[&n].0, "{}", line(record));
            prop_assert_eq!(record.timings.response_end, Some(truth[&n].1), "{}", line(record));
        }
    }

    #[test]
    fn any_truncation_keeps_the_books_and_invents_nothing(
        conversation in conversation(PLAIN),
        request_cuts in cuts(8),
        response_cuts in cuts(8),
        turn_bytes in 16..400_usize,
        continued_bytes in 0..100_usize,
    ) {
        let (mut s, _) = one_after_the_other(&conversation, &request_cuts, &response_cuts);
        // As the probes capture: the beginning of each turn, then of each call.
        let (mut turn, mut left) = (None, 0);
        for event in &mut s.events {
            if let CaptureEvent::Data(data) = event {
                if turn != Some(data.direction) {
                    (turn, left) = (Some(data.direction), turn_bytes);
                }
                let moved = data.bytes.len();
                data.bytes.truncate(left.max(continued_bytes));
                left = left.saturating_sub(moved);
            }
        }
        let (records, stats) = run(&s.events);
        prop_assert_eq!(stats.bytes_buffered, 0);
        for record in &records {
            if let (Some(n), Some(status)) = (number(record), record.status)
                && record.outcome == Outcome::Complete
            {
                prop_assert_eq!(status, conversation.exchanges[n].1.status, "{}", line(record));
            }
        }
    }

    #[test]
    fn events_in_any_order_keep_the_books(
        conversations in prop::collection::vec((conversation(MIMICRY), cuts(8), any::<bool>()), 1..4),
        swaps in prop::collection::vec((any::<Index>(), any::<Index>()), 0..200),
        timeouts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let mut events = vec![];
        for (n, (conversation, cuts, inherited)) in conversations.iter().enumerate() {
            let (s, _) = one_after_the_other(conversation, cuts, cuts);
            let socket = n as u64 % 2;
            for mut event in s.events {
                match &mut event {
                    CaptureEvent::Opened(opened) => {
                        opened.id.socket = socket;
                        if *inherited {
                            opened.origin = Origin::Inherited;
                        }
                    }
                    CaptureEvent::Data(data) => data.id.socket = socket,
                    CaptureEvent::Arrived(arrived) => arrived.id.socket = socket,
                    CaptureEvent::Drained(drained) => drained.id.socket = socket,
                    CaptureEvent::Closed(closed) => closed.id.socket = socket,
                }
                events.push(event);
            }
        }
        for (a, b) in &swaps {
            let n = events.len();
            events.swap(a.index(n), b.index(n));
        }
        let mut checked = Checked::new(Config { max_connections: 2, ..Config::default() });
        let timeouts: Vec<_> = timeouts.iter().map(|at| at.index(events.len())).collect();
        for (n, event) in events.iter().enumerate() {
            checked.handle(event);
            if timeouts.contains(&n) {
                let now = event.at();
                checked.handle_timeout(MonotonicNs(now.0 + 300_000_000));
            }
        }
        checked.handle_timeout(MonotonicNs(u64::MAX));
        let moved: u64 = events
            .iter()
            .map(|event| match event {
                CaptureEvent::Data(data) => u64::from(data.length),
                _ => 0,
            })
            .sum();
        prop_assert_eq!(checked.table.stats().bytes_observed, moved);
    }

    #[test]
    fn random_bytes_make_no_records(
        calls in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 0..1000_u32),
            0..60,
        ),
        inherited in any::<bool>(),
    ) {
        let origin = if inherited { Origin::Inherited } else { Origin::Accepted };
        let mut s = Socket::open(1, MonotonicNs(1), origin);
        for (is_read, bytes, unseen) in &calls {
            let captured = bytes.len();
            let mut moved = bytes.clone();
            moved.resize(captured + *unseen as usize, 0);
            match is_read {
                true => s.read_captured(&moved, captured),
                false => s.write_captured(&moved, captured),
            };
        }
        s.reset();
        let (records, stats) = run(&s.events);
        prop_assert!(records.is_empty());
        prop_assert_eq!(stats.bytes_skipped + stats.bytes_truncated + stats.bytes_parsed, stats.bytes_observed);
    }

    #[test]
    fn pieces_of_http_in_any_order_never_panic(
        calls in prop::collection::vec(
            (
                any::<bool>(),
                prop::sample::select(vec![
                    "GET /a HTTP/1.1\r\n", "POST /b HTTP/1.1\r\n", "Host: h\r\n", "\r\n", "\r", "\n",
                    "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "hello",
                    "0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 101 S\r\n\r\n",
                    "HTTP/1.1 204 No\r\n\r\n", "Expect: 100-continue\r\n", "HTTP/1.", "G", "ffff\r\n", "\u{e9}",
                ]),
                prop::sample::select(vec![0_u64, 0, 0, 0, 0, 0, 1, 5, 7, 1000, u64::MAX]),
                0..30_usize,
            ),
            0..80,
        ),
        inherited in any::<bool>(),
    ) {
        let origin = if inherited { Origin::Inherited } else { Origin::Accepted };
        let mut s = Socket::open(1, MonotonicNs(1), origin);
        let mut shift = [0_u64; 2];
        for (is_read, text, gap, captured) in &calls {
            match is_read {
                true => s.read_captured(text, *captured),
                false => s.write_captured(text, *captured),
            };
            if let Some(CaptureEvent::Data(data)) = s.events.last_mut() {
                let shift = &mut shift[usize::from(data.direction == Direction::Write)];
                *shift = shift.saturating_add(*gap);
                data.position = data.position.saturating_add(*shift);
            }
        }
        s.reset();
        let (_, stats) = run(&s.events);
        prop_assert_eq!((stats.bytes_buffered, stats.n_active), (0, 0));
    }
}
