//! What holds for any conversation, however it was cut, captured or lost, and
//! for any events at all.

mod found;
mod model;
mod streams;

use modeltap_core::accounting::{InProgress, ParserCounts};
use modeltap_core::connection::{
    Arrived, CaptureEvent, CgroupId, CloseCause, ConnectionClosed, ConnectionId, ConnectionOpened,
    Data, Direction, Drained, Origin,
};
use modeltap_core::record::{Completeness, Method, Outcome, RequestRecord, StreamFigures};
use modeltap_core::recording::mask_contents;
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::{Config, ConnectionTable, Stats};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::{Index, select};

use crate::model::{Conversation, Exchange, Framing, conversations, opened, path};

/// Statuses of which each exchange has its own, so that none is mistaken.
const FIRST_STATUS: u16 = 400;
/// Exchanges without a loss, behind those with some.
const N_AFTER: u16 = 4;
/// Longer than any body that a conversation announces.
const LONGER_THAN_ANY: usize = 1_000;

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[track_caller]
fn assert_invariants(table: &ConnectionTable, config: &Config) {
    let stats = table.stats();
    assert_eq!(
        stats.bytes_observed,
        stats.bytes_parsed + stats.bytes_skipped + stats.bytes_truncated + stats.bytes_buffered,
        "{stats:?}"
    );
    assert!(stats.n_connections <= config.max_connections as u64);
    assert!(stats.n_active <= stats.n_connections * config.max_pipelined as u64);
    assert!(stats.bytes_buffered <= config.max_held_bytes as u64);
    let mut under_way = InProgress::default();
    table
        .in_progress()
        .for_each(|(_, more)| under_way.add(&more));
    assert_eq!(stats.n_active, under_way.n_requests + under_way.n_inner);
    let mut sum = ParserCounts::default();
    for (_, counts) in table.counts() {
        let fates = counts.bytes_parsed + counts.bytes_skipped + counts.bytes_truncated;
        assert_eq!(counts.bytes_observed, fates + counts.bytes_buffered);
        sum.bytes_observed += counts.bytes_observed;
        sum.bytes_buffered += counts.bytes_buffered;
    }
    assert!(sum.bytes_observed <= stats.bytes_observed);
    assert_eq!(sum.bytes_buffered, stats.bytes_buffered);
}

#[track_caller]
fn assert_in_order(record: &RequestRecord) {
    let timings = &record.timings;
    assert!(timings.arrived <= Some(timings.request_start));
    assert!(timings.drained.is_none() || timings.drained >= timings.response_end);
    let response = [
        timings.accepted,
        Some(timings.request_start),
        timings.response_start,
        timings.body_start,
        timings.response_end,
        Some(timings.finished),
    ];
    let request = [
        Some(timings.request_start),
        timings.request_end,
        Some(timings.finished),
    ];
    assert!(response.iter().flatten().is_sorted(), "{record:?}");
    assert!(request.iter().flatten().is_sorted(), "{record:?}");
}

#[track_caller]
fn assert_coherent(stream: &StreamFigures) {
    assert!(stream.first_chunk <= stream.last_chunk, "{stream:?}");
    assert_eq!(stream.last_chunk.is_some(), stream.n_chunks > 0);
    let n_intervals = stream.n_chunks.saturating_sub(1);
    assert!(stream.intervals.count() <= n_intervals, "{stream:?}");
    if stream.completeness == Completeness::Whole {
        assert_eq!(stream.first_chunk.is_some(), stream.n_chunks > 0);
        assert_eq!(stream.intervals.count(), n_intervals);
    }
    assert!(stream.n_stalls <= stream.intervals.count());
}

/// Takes in all events and ends all that waits for time.
#[track_caller]
fn run(events: &[CaptureEvent]) -> (Vec<RequestRecord>, Stats) {
    let config = Config::default();
    let mut table = ConnectionTable::new(config.clone());
    for event in events {
        table.handle(event);
        assert_invariants(&table, &config);
    }
    table.handle_timeout(MonotonicNs(u64::MAX));
    assert_invariants(&table, &config);
    let stats = table.stats();
    let held = (stats.n_connections, stats.n_active, stats.bytes_buffered);
    assert_eq!(held, (0, 0, 0));
    let mut records: Vec<_> = std::iter::from_fn(|| table.poll_record()).collect();
    for record in &mut records {
        // The rhythm of streams has tests of its own.
        if let Some(stream) = record.stream.take() {
            assert_coherent(&stream);
            assert!(record.streamed);
        }
    }
    assert_eq!(
        stats.n_requests_complete + stats.n_requests_incomplete,
        records.len() as u64
    );
    (records, stats)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn conversation_cut_anywhere_yields_the_same_records(conversation in conversations()) {
        let played = conversation.play();
        let (records, stats) = run(&played.events());
        assert_eq!(records, played.expected());
        assert_eq!(stats.bytes_parsed, played.n_bytes());
        assert_eq!((stats.n_gaps, stats.n_connections_http1), (0, 1));
    }

    #[test]
    fn conversation_whose_contents_are_masked_yields_the_same_records(
        conversation in conversations(),
    ) {
        let played = conversation.play();
        let config = Config { tell_contents: true, ..Config::default() };
        let mut table = ConnectionTable::new(config);
        let mut n_contents = 0;
        let masked: Vec<_> = played.events().into_iter().map(|mut event| {
            table.handle(&event);
            if let CaptureEvent::Data(data) = &mut event {
                mask_contents(&mut data.bytes, table.contents());
                n_contents += table.contents().iter().map(ExactSizeIterator::len).sum::<usize>();
            }
            event
        }).collect();
        let (records, _) = run(&masked);
        assert_eq!(records, played.expected());
        let bodies = |record: &RequestRecord| record.request_body_bytes + record.response_body_bytes;
        assert_eq!(n_contents as u64, records.iter().map(bodies).sum::<u64>());
    }

    #[test]
    fn bodies_captured_in_part_are_told_whole(
        conversation in conversations(),
        captured in vec(any::<Index>(), 1..20),
    ) {
        let played = conversation.play();
        let mut captured = captured.iter().cycle();
        let events = played.events_captured(|tail| {
            captured.next().expect("a cycle").index(tail + 1)
        });
        let (records, stats) = run(&events);
        assert_eq!(records, played.expected());
        assert_eq!(stats.bytes_parsed, played.n_bytes());
    }

    #[test]
    fn one_lost_event_invents_nothing_and_is_overcome(
        conversation in conversations(),
        lost in any::<Index>(),
    ) {
        check_losses(conversation, Client::Waits, &[lost]);
    }

    #[test]
    fn many_lost_events_invent_nothing_and_are_overcome(
        conversation in conversations(),
        lost in vec(any::<Index>(), 1..8),
    ) {
        check_losses(conversation, Client::Waits, &lost);
    }

    #[test]
    fn lost_events_of_pipelined_requests_are_overcome(
        conversation in conversations(),
        lost in vec(any::<Index>(), 1..4),
    ) {
        check_losses(conversation, Client::Pipelines, &lost);
    }

    #[test]
    fn instants_told_in_any_order_make_no_negative_duration(
        conversation in conversations(),
        times in vec(0..3_000_000_u64, 1..60),
    ) {
        let mut events = conversation.play().events();
        for (event, at) in events.iter_mut().zip(times.iter().cycle()) {
            match event {
                CaptureEvent::Opened(_) => {}
                CaptureEvent::Data(data) => data.at = MonotonicNs(*at),
                CaptureEvent::Arrived(arrived) => arrived.at = MonotonicNs(*at),
                CaptureEvent::Drained(drained) => drained.at = MonotonicNs(*at),
                CaptureEvent::Closed(closed) => closed.at = MonotonicNs(*at),
            }
        }
        let (records, _) = run(&events);
        assert_eq!(records.len(), conversation.exchanges.len());
        records.iter().for_each(assert_in_order);
    }

    #[test]
    fn any_events_are_accounted_and_bounded(inputs in vec(inputs(), 0..80)) {
        check_any(&inputs);
    }
}

/// When a client sends its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// Once it was answered, as nearly all do.
    Waits,
    /// Perhaps before. Then a lost request cannot be told from one that was
    /// not sent, and a later response may be taken for an earlier one's.
    Pipelines,
}

#[track_caller]
fn check_losses(conversation: Conversation, client: Client, lost: &[Index]) {
    // The opening and the end are told, as is what follows.
    let n_before = with_statuses(conversation.clone(), client)
        .play()
        .events()
        .len()
        - 2;
    let lost = lost.iter().map(|lost| 1 + lost.index(n_before)).collect();
    check_losses_at(conversation, client, lost);
}

/// Loses the events of these numbers (the opening is the first, from zero) of
/// a conversation that goes on after it: the last of what follows must be told
/// exactly, and nothing of it all may be made up.
#[track_caller]
fn check_losses_at(conversation: Conversation, client: Client, mut lost: Vec<usize>) {
    let mut conversation = with_statuses(conversation, client);
    let n_exchanges = conversation.exchanges.len();
    // Where the request was lost, an answer to HEAD seems to have a body: what
    // follows is taken for it, for as long as it was announced to be.
    conversation
        .exchanges
        .push(Exchange::get(290, LONGER_THAN_ANY));
    for n in 1..N_AFTER {
        conversation.exchanges.push(Exchange::get(290 + n, 5));
    }
    let played = conversation.play();
    let mut events = played.events();
    lost.sort_unstable();
    lost.dedup();
    for &event in lost.iter().rev() {
        events.remove(event);
    }

    let (records, stats) = run(&events);
    assert!(stats.n_gaps > 0);
    let expected = played.expected();
    let mut requested = Vec::new();
    let mut statuses = Vec::new();
    for record in &records {
        assert_in_order(record);
        if let Some(status) = record.status {
            let written = expected.iter().find(|one| one.status == Some(status));
            assert!(written.is_some(), "status {status} was not written");
            statuses.push(status);
        }
        let Some(method) = record.method else {
            assert!(client == Client::Pipelines || record.outcome == Outcome::Lost);
            continue;
        };
        let request = expected.iter().find(|one| one.path == record.path);
        let request = request.unwrap_or_else(|| panic!("{:?} was not asked for", record.path));
        assert_eq!(method, request.method.expect("every request has one"));
        requested.push(&record.path);
        if client == Client::Pipelines {
            continue;
        }
        if record.outcome == Outcome::Complete {
            assert_eq!(record.status, request.status, "{record:?}");
        }
        if (record.outcome, record.completeness) == (Outcome::Complete, Completeness::Whole) {
            assert_eq!(record.response_body_bytes, request.response_body_bytes);
            // A server may answer before it has read all: then no end is told.
            match record.timings.request_end {
                Some(_) => assert_eq!(record.request_body_bytes, request.request_body_bytes),
                None => assert!(record.request_body_bytes <= request.request_body_bytes),
            }
        }
    }
    let n_told = (requested.len(), statuses.len());
    requested.sort_unstable();
    requested.dedup();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!((requested.len(), statuses.len()), n_told, "told twice");

    let last = path(n_exchanges + usize::from(N_AFTER) - 1);
    let mut last_told = records.into_iter().filter(|record| record.path == last);
    let mut last_told = last_told.next().expect("the last request is told");
    let last_expected = expected.last().expect("some were added");
    // How many came before is what was lost.
    last_told.sequence = last_expected.sequence;
    assert_eq!(&last_told, last_expected);
}

/// The conversation such that a loss leaves its exchanges to be told apart.
fn with_statuses(mut conversation: Conversation, client: Client) -> Conversation {
    // Bodies that look like messages may be taken for some then.
    conversation.hostile = false;
    for (n, exchange) in conversation.exchanges.iter_mut().enumerate() {
        exchange.waits |= client == Client::Waits;
        if client == Client::Pipelines && exchange.method == Method::Head {
            // Taken for another request's, its answer has a body that is none.
            exchange.method = Method::Get;
        }
        exchange.status = FIRST_STATUS + n as u16;
        if matches!(exchange.response, Framing::UntilClose(_)) {
            exchange.response = Framing::Length(9);
        }
    }
    conversation
}

#[derive(Clone, Debug)]
enum Input {
    Event(CaptureEvent),
    Timeout(MonotonicNs),
    Forget(CgroupId),
    Inspect(CgroupId, bool),
}

fn ids() -> impl Strategy<Value = ConnectionId> {
    (0..5_u64, 0..3_u64).prop_map(|(socket, opened)| ConnectionId {
        socket,
        opened: MonotonicNs(opened),
    })
}

fn times() -> impl Strategy<Value = MonotonicNs> {
    prop_oneof![
        6 => 0..20_000_000_000_u64,
        1 => any::<u64>(),
    ]
    .prop_map(MonotonicNs)
}

/// Small ones, so that events meet; and the last ones there are.
fn positions() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..200_u64,
        1 => any::<u64>(),
        1 => u64::MAX - 20..=u64::MAX,
    ]
}

fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&[u8]> = vec![
        b"GET /a HTTP/1.1\r\n\r\n",
        b"POST /b HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
        b"POST /c HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nContent-Length: 20\r\n\r\n",
        b"{\"model\": \"name\", \"x\": 1}",
        b"{\"prompt_eval_count\": 3}\n",
        b"POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT h:1 HTTP/1.1\r\n\r\n",
        b"HEAD /e HTTP/1.0\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 50\r\n\r\n",
        b"data: {\"choices\": [{\"delta\": {\"content\": \"x\"}}]}\n\n",
        b"data: x\n\n",
        b"{\"response\": \"x\"}\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"\x81\x82abcd\x00\x01",
        b"\x81\x02ok",
        b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 5, 6\r\n\r\n",
        b"5\r\nhello\r\n",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"\r\n",
        b"GET /",
        b"HTTP/1.",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    prop_oneof![
        8 => select(known).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..60),
        1 => Just(vec![b'A'; 3_000]),
    ]
}

fn data() -> impl Strategy<Value = CaptureEvent> {
    (
        ids(),
        times(),
        select(vec![Direction::Read, Direction::Write]),
        positions(),
        vec(fragments(), 0..4),
        prop_oneof![4 => Just(0_u32), 2 => 0..40_u32, 1 => any::<u32>()],
        prop_oneof![4 => Just(None), 1 => any::<Index>().prop_map(Some)],
        proptest::option::of(times()),
        any::<bool>(),
    )
        .prop_map(
            |(id, at, direction, position, fragments, unseen, cut, arrived, waits)| {
                let mut bytes = fragments.concat();
                if let Some(cut) = cut {
                    bytes.truncate(cut.index(bytes.len() + 1));
                }
                let length = u32::try_from(bytes.len()).expect("fragments are short");
                CaptureEvent::Data(Data {
                    id,
                    at,
                    direction,
                    position,
                    length: length.saturating_add(unseen),
                    arrived,
                    waits,
                    bytes,
                })
            },
        )
}

fn inputs() -> impl Strategy<Value = Input> {
    let origins = select(vec![Origin::Accepted, Origin::Inherited]);
    let causes = select(vec![
        CloseCause::PeerFinished,
        CloseCause::LocalFinished,
        CloseCause::Reset,
    ]);
    prop_oneof![
        3 => (ids(), origins, 1..4_u64).prop_map(|(id, origin, cgroup)| {
            let cgroup = CgroupId(cgroup);
            Input::Event(CaptureEvent::Opened(ConnectionOpened { cgroup, ..opened(id, origin) }))
        }),
        1 => (1..4_u64).prop_map(|cgroup| Input::Forget(CgroupId(cgroup))),
        1 => (1..4_u64, any::<bool>())
            .prop_map(|(cgroup, inspect)| Input::Inspect(CgroupId(cgroup), inspect)),
        12 => data().prop_map(Input::Event),
        1 => (ids(), times(), causes, positions(), positions()).prop_map(
            |(id, at, cause, bytes_read, bytes_written)| {
                Input::Event(CaptureEvent::Closed(ConnectionClosed {
                    id,
                    at,
                    cause,
                    bytes_read,
                    bytes_written,
                }))
            }
        ),
        2 => (ids(), times(), positions(), any::<bool>()).prop_map(|(id, at, position, read)| {
            Input::Event(match read {
                true => CaptureEvent::Arrived(Arrived { id, at, position }),
                false => CaptureEvent::Drained(Drained { id, at, position }),
            })
        }),
        1 => times().prop_map(Input::Timeout),
    ]
}

/// Takes in any events, ends every connection, and checks after each.
#[track_caller]
fn check_any(inputs: &[Input]) {
    let config = Config {
        max_connections: 3,
        max_pipelined: 4,
        max_held_bytes: 4_000,
        max_cgroups: 1,
        ..Config::default()
    };
    let mut table = ConnectionTable::new(config.clone());
    let mut records = Vec::new();
    for input in inputs {
        match input {
            Input::Event(event) => table.handle(event),
            Input::Timeout(now) => table.handle_timeout(*now),
            Input::Forget(cgroup) => table.forget(*cgroup),
            Input::Inspect(cgroup, inspect) => table.inspect(*cgroup, *inspect),
        }
        assert_invariants(&table, &config);
        records.extend(std::iter::from_fn(|| table.poll_record()));
        while table.poll_session().is_some() {}
    }
    // Everything ends.
    for socket in 0..5 {
        for opened in 0..3 {
            let opened = MonotonicNs(opened);
            table.handle(&CaptureEvent::Closed(ConnectionClosed {
                id: ConnectionId { socket, opened },
                at: MonotonicNs(1),
                cause: CloseCause::Reset,
                bytes_read: 0,
                bytes_written: 0,
            }));
        }
    }
    table.handle_timeout(MonotonicNs(u64::MAX));
    assert_invariants(&table, &config);
    records.extend(std::iter::from_fn(|| table.poll_record()));
    let stats = table.stats();
    let held = (stats.n_connections, stats.n_active, stats.bytes_buffered);
    assert_eq!(held, (0, 0, 0));
    assert_eq!(
        stats.n_requests_complete + stats.n_requests_incomplete,
        records.len() as u64
    );
    for record in &records {
        assert_in_order(record);
        if let Some(stream) = &record.stream {
            assert_coherent(stream);
        }
        assert!(
            record
                .status
                .is_none_or(|status| (100..1_000).contains(&status))
        );
    }
}
