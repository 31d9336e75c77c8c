//! Where the time went, and what is kept apart from the requests.

mod support;

use std::time::Duration;

use modeltap_core::accounting::{CgroupCounts, InProgress, LeftOut, ParserCounts, RequestCounts};
use modeltap_core::connection::Transport;
use modeltap_core::histogram::DurationHistogram;
use modeltap_core::measure::Measure;
use modeltap_core::record::{
    Completeness, Inference, Operation, Outcome, RequestRecord, SessionRecord, StreamFigures,
    StreamFormat,
};
use modeltap_core::time::MonotonicNs;
use modeltap_core::totals::InferenceTotals;
use modeltap_metrics::{Aggregator, Config, ServiceSnapshot, reports};
use support::{ANCHOR, at, container, request};

const MS: u64 = 1_000_000;

/// A request that arrived at `from` ms; then its queue, read, app, stream and
/// drain, in ms.
fn staged(path: &str, from: u64, parts: [u64; 5]) -> RequestRecord {
    let mut record = request(path, 200, 0.0, Duration::ZERO);
    let mut at = from;
    let mut next = |part: u64| {
        at += part;
        MonotonicNs(at * MS)
    };
    let timings = &mut record.timings;
    timings.arrived = Some(next(0));
    timings.request_start = next(parts[0]);
    timings.request_end = Some(next(parts[1]));
    timings.body_start = Some(next(parts[2]));
    timings.response_start = timings.body_start;
    timings.response_end = Some(next(parts[3]));
    timings.finished = next(0);
    timings.drained = Some(next(parts[4]));
    record
}

/// A response of server-sent events: its first chunk after `first` ms, then
/// one after each of `intervals` ms.
fn streamed(first: u64, intervals: &[u64]) -> RequestRecord {
    let mut record = staged("/v1/chat/completions", 0, [0, 0, first, 0, 0]);
    let mut at = first;
    let mut figures = StreamFigures {
        format: StreamFormat::ServerSentEvents,
        n_chunks: 1 + intervals.len() as u64,
        first_chunk: Some(MonotonicNs(at * MS)),
        last_chunk: None,
        intervals: DurationHistogram::default(),
        longest_interval: Duration::ZERO,
        n_stalls: intervals.iter().filter(|ms| **ms > 1_000).count() as u64,
        after_abort: None,
        completeness: Completeness::Whole,
    };
    for ms in intervals {
        at += ms;
        figures.intervals.record(Duration::from_millis(*ms));
    }
    figures.last_chunk = Some(MonotonicNs(at * MS));
    record.timings.response_end = figures.last_chunk;
    record.timings.finished = MonotonicNs(at * MS);
    record.timings.drained = None;
    record.streamed = true;
    record.stream = Some(Box::new(figures));
    record.inference = Some(Box::new(Inference {
        operation: Operation::Chat,
        model: None,
        input_tokens: None,
        output_tokens: None,
    }));
    record
}

fn counted(records: impl IntoIterator<Item = RequestRecord>) -> Aggregator {
    let mut aggregator = Aggregator::new(Config::default());
    let api = container("api", "api-1");
    aggregator.set_containers(std::slice::from_ref(&api));
    aggregator.tick(at(0.0));
    for record in records {
        aggregator.record(record, &api, ANCHOR);
    }
    aggregator.tick(at(1.0));
    aggregator
}

fn api(aggregator: &Aggregator) -> ServiceSnapshot {
    let snapshot = aggregator.snapshot();
    snapshot.service("api").expect("a known service").clone()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// So many requests under way.
fn under_way(n_requests: u64) -> InProgress {
    InProgress {
        n_requests,
        ..InProgress::default()
    }
}

#[test]
fn parts_add_up_to_what_was_felt() {
    let aggregator = counted([
        staged("/a", 0, [40, 1, 10, 5, 7]),
        staged("/a", 50, [60, 3, 30, 15, 1]),
    ]);
    let window = api(&aggregator).window;
    let parts = window.parts.unwrap();
    assert_eq!((parts.n_requests, parts.n_queue), (2, 2));
    assert_eq!(parts.queue, Some(ms(50)));
    assert_eq!((parts.read, parts.app), (ms(2), ms(20)));
    assert_eq!((parts.stream, parts.drain), (ms(10), ms(4)));
    // Mean of 56 and 108 ms felt.
    let sum = parts.queue.unwrap() + parts.read + parts.app + parts.stream;
    assert_eq!(sum, ms(82));
    let near = |at: Option<Duration>, ms: f64| {
        let found = at.unwrap().as_secs_f64() * 1_000.0;
        assert!((found - ms).abs() <= ms / 128.0, "{found} is not {ms}");
    };
    near(window.felt_p50, 56.0);
    near(window.felt_p95, 108.0);
    near(window.queue_p95, 60.0);
    // By route and by container the same, for there is one of each.
    let service = api(&aggregator);
    assert_eq!(service.routes[0].window, window);
    assert_eq!(service.by_container[0].window, window);
    assert_eq!(service.second.unwrap().figures.parts, window.parts);
}

#[test]
fn containers_of_a_service_are_told_apart() {
    let mut aggregator = counted([staged("/a", 0, [9, 1, 1, 1, 0])]);
    let (one, two) = (container("api", "api-1"), container("api", "api-2"));
    aggregator.set_containers(&[two.clone(), one]);
    for _ in 0..3 {
        aggregator.record(staged("/a", 1_100, [0, 1, 1, 4, 0]), &two, ANCHOR);
    }
    aggregator.tick(at(2.0));
    let service = api(&aggregator);
    assert_eq!(service.window.n_requests, 4);
    assert_eq!(service.containers[0].name, "api-1");
    let parts = service.by_container.clone().into_iter();
    let parts: Vec<_> = parts.map(|found| found.window.parts.unwrap()).collect();
    assert_eq!((parts[0].n_requests, parts[0].queue), (1, Some(ms(9))));
    assert_eq!((parts[1].n_requests, parts[1].stream), (3, ms(4)));
}

#[test]
fn answer_before_the_request_was_read_is_left_out_of_the_parts() {
    let mut early = staged("/upload", 0, [1, 0, 2, 3, 0]);
    early.timings.request_end = Some(MonotonicNs(5 * MS));
    let mut unread = early.clone();
    unread.timings.request_end = None;
    let aggregator = counted([early, unread, staged("/a", 0, [1, 1, 1, 1, 0])]);
    let window = api(&aggregator).window;
    assert_eq!(window.n_requests, 3);
    assert_eq!(window.parts.unwrap().n_requests, 1);
}

#[test]
fn response_without_a_body_is_all_the_servers_work() {
    let mut record = staged("/a", 0, [0, 0, 8, 0, 0]);
    record.timings.body_start = None;
    let parts = api(&counted([record])).window.parts.unwrap();
    assert_eq!((parts.app, parts.stream), (ms(8), ms(0)));
}

#[test]
fn unknown_arrival_leaves_felt_unknown_and_the_other_parts_known() {
    let mut record = staged("/a", 0, [0, 1, 8, 1, 0]);
    record.timings.arrived = None;
    let window = api(&counted([record])).window;
    assert_eq!((window.felt_p50, window.queue_p50), (None, None));
    let parts = window.parts.unwrap();
    assert_eq!((parts.n_requests, parts.n_queue, parts.queue), (1, 0, None));
    assert_eq!(parts.app, ms(8));
}

#[test]
fn request_whose_end_was_lost_has_no_time() {
    let mut lost = staged("/a", 0, [500, 500, 500, 500, 500]);
    lost.outcome = Outcome::Lost;
    lost.completeness = Completeness::Gap;
    let aggregator = counted([lost, staged("/a", 0, [1, 1, 1, 1, 1])]);
    let window = api(&aggregator).window;
    assert_eq!((window.n_requests, window.n_incomplete), (2, 1));
    assert_eq!(window.max, Some(ms(3)));
    assert_eq!(window.parts.unwrap().n_requests, 1);
    let totals = aggregator.totals();
    let durations = totals.series.iter().map(|s| s.counters.duration.count());
    assert_eq!(durations.sum::<u64>(), 1);
    assert_eq!(
        totals.routes[0]
            .counters
            .measure(Measure::Felt)
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn inner_hops_are_in_no_figure_of_the_service() {
    let outer = staged("/a", 0, [1, 1, 10, 1, 0]);
    let mut inner = staged("/a", 2, [1, 1, 6, 1, 0]);
    inner.transport = Transport::Unix;
    let mut refused = inner.clone();
    refused.status = Some(502);
    let alone = counted([outer.clone()]);
    let mut both = counted([inner.clone(), outer, refused, inner]);
    let (expected, found) = (api(&alone), api(&both));
    assert_eq!(found.window, expected.window);
    assert_eq!(found.routes, expected.routes);
    assert_eq!(found.totals, expected.totals);
    assert_eq!(found.second, expected.second);
    assert_eq!(found.by_container, expected.by_container);
    assert_eq!(found.last_request, expected.last_request);
    assert_eq!(both.stats().n_requests, 1);
    assert_eq!(both.totals().series, alone.totals().series);
    assert_eq!(both.totals().routes, alone.totals().routes);
    assert_eq!(both.recent().count(), 1);

    let hops = found.inner.unwrap();
    assert_eq!(hops.by_status_class, [0, 2, 0, 0, 1, 0]);
    assert_eq!((hops.window.n_requests, hops.window.n_errors), (3, 1));
    assert_eq!(hops.window.parts.unwrap().app, ms(6));
    assert_eq!(expected.inner, None);
    let totals = both.totals();
    let counted = totals.containers[0].inner.as_ref().unwrap();
    assert_eq!(counted.by_status_class, hops.by_status_class);
    assert_eq!(counted.duration.count(), 3);
    assert_eq!(both.recent_inner().count(), 3);
    assert_eq!(found.seen, expected.seen);

    both.tick(at(90.0));
    let later = api(&both).inner.unwrap();
    assert_eq!(later.window.n_requests, 0, "the window slides");
    assert_eq!(later.by_status_class, hops.by_status_class);
}

#[test]
fn sessions_leave_the_requests_alone() {
    let handshake = staged("/ws", 0, [1, 1, 10, 1, 0]);
    let mut aggregator = counted([handshake.clone()]);
    let before = api(&aggregator);
    let web = container("api", "api-1");
    for (seconds, messages) in [(10, Some(30)), (90, None), (20, Some(60))] {
        let session = SessionRecord {
            connection: handshake.connection,
            cgroup: web.cgroup,
            path: "/ws".into(),
            started: MonotonicNs(0),
            ended: MonotonicNs(seconds * 1_000 * MS),
            n_messages_read: messages,
            n_messages_written: messages.map(|n| n * 2),
            bytes_read: 1_000,
            bytes_written: 2_000,
            completeness: Completeness::Whole,
        };
        aggregator.record_session(&session, &web, ANCHOR);
    }
    let mut after = api(&aggregator);
    let sessions = after.sessions.take().unwrap();
    assert_eq!(after, before);
    assert_eq!(aggregator.tick(at(2.0)), [], "no rollup");
    assert_eq!(sessions.n_sessions, 3);
    assert_eq!(sessions.duration_max, Some(Duration::from_secs(90)));
    assert_eq!(sessions.n_messages_read, 90);
    assert_eq!(sessions.n_messages_written, 180);
    // 270 messages in the 30 s of those that were followed.
    assert_eq!(sessions.message_rate, Some(9.0));
    assert_eq!(
        (sessions.bytes_read, sessions.bytes_written),
        (3_000, 6_000)
    );
    let totals = aggregator.totals();
    let counted = totals.containers[0].sessions.as_ref().unwrap();
    assert_eq!(counted.duration.count(), 3);
    assert_eq!(totals.series.len(), 1);
}

#[test]
fn rhythm_of_streams_is_merged_exactly() {
    let intervals = [20, 20, 30, 40, 1_200];
    let aggregator = counted([streamed(100, &intervals), streamed(300, &[20; 10])]);
    let service = api(&aggregator);
    let streams = service.window.streams.unwrap();
    assert_eq!((streams.n_streams, streams.n_chunks), (2, 17));
    assert_eq!((streams.n_stalls, streams.n_aborted), (1, 0));
    // 15 intervals in 1,310 + 200 ms.
    assert_eq!(streams.chunk_pace, Some(15.0 / 1.51));
    assert_eq!(streams.chunk_rate, 17.0);
    let mut all = DurationHistogram::default();
    for interval in intervals.into_iter().chain([20; 10]) {
        all.record(ms(interval));
    }
    assert_eq!(streams.chunk_interval_p50, all.quantile(0.5));
    assert_eq!(streams.chunk_interval_p99, all.quantile(0.99));
    let first = streams.first_chunk_p50.unwrap().as_secs_f64();
    assert!((first - 0.1).abs() < 0.001, "{first}");
    let totals = aggregator.totals();
    let counters = &totals.routes[0].counters;
    let counted = counters.measure(Measure::ChunkInterval).unwrap();
    assert_eq!((counted.count(), counted.sum_ns()), (15, 1_510 * MS));
    assert_eq!(counters.streams.n_chunks, 17);
}

#[test]
fn stream_of_which_something_was_missed_tells_what_is_right_of_it() {
    // Its last chunk came 5 s later, and how many came between is not known.
    let mut gap = streamed(100, &[20]);
    let figures = gap.stream.as_mut().unwrap();
    (figures.n_chunks, figures.completeness) = (3, Completeness::Gap);
    figures.last_chunk.as_mut().unwrap().0 += 5_000 * MS;
    gap.completeness = Completeness::Gap;
    let mut gone = streamed(100, &[20]);
    gone.outcome = Outcome::ClientAborted;
    gone.stream.as_mut().unwrap().after_abort = Some(ms(700));
    let streams = api(&counted([gap, gone])).window.streams.unwrap();
    assert_eq!((streams.n_streams, streams.n_chunks), (2, 5));
    assert_eq!(streams.n_stalls, 0);
    assert!(streams.chunk_interval_p99.unwrap() < ms(21));
    let pace = streams.chunk_pace.unwrap();
    assert!((pace - 50.0).abs() < 0.5, "{pace}");
    assert_eq!((streams.n_aborted, streams.after_abort), (1, ms(700)));
}

fn first_tokens(totals: &[InferenceTotals]) -> u64 {
    let buckets = totals
        .iter()
        .filter_map(|t| t.counters.first_token.as_ref());
    buckets.map(|buckets| buckets.count()).sum()
}

#[test]
fn first_token_is_said_only_where_it_is_one() {
    let generated = streamed(100, &[20]);
    let mut chunked = generated.clone();
    chunked.stream.as_mut().unwrap().format = StreamFormat::Chunks;
    let mut failed = generated.clone();
    failed.status = Some(500);
    let mut embedded = generated.clone();
    embedded.inference.as_mut().unwrap().operation = Operation::Embeddings;
    let mut other = generated.clone();
    other.inference = None;
    let aggregator = counted([generated, chunked, failed, embedded, other]);
    let totals = aggregator.totals().inference;
    assert_eq!(first_tokens(&totals), 1);
    let durations = totals.iter().map(|t| t.counters.duration.count());
    assert_eq!(durations.sum::<u64>(), 4);
    assert!(totals.iter().all(|t| &*t.model == "_unknown"));
    let errors = totals.iter().filter(|t| &*t.error_type == "500");
    assert_eq!(errors.count(), 1);
    let tokens = totals.iter().map(|t| t.counters.tokens.output);
    assert!(tokens.flatten().next().is_none(), "no usage was seen");
}

#[test]
fn names_of_models_are_bounded_and_tokens_add_up() {
    let mut records = Vec::new();
    for n in 0..1_000_u64 {
        let mut record = streamed(1, &[]);
        // Statuses of its own for each, as a hostile server may send.
        record.status = Some(if n % 2 == 0 {
            200
        } else {
            500 + (n % 400) as u16
        });
        let inference = record.inference.as_mut().unwrap();
        inference.model = Some(format!("m{n}\n{}", "x".repeat(500)));
        inference.input_tokens = Some(3);
        inference.output_tokens = (n % 2 == 0).then_some(5);
        records.push(record);
    }
    let aggregator = counted(records);
    let totals = aggregator.totals().inference;
    let mut names: Vec<_> = totals.iter().map(|t| t.model.to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 51, "and _other");
    assert!(
        names
            .iter()
            .all(|name| name.len() <= 128 && !name.contains('\n'))
    );
    assert!(totals.len() <= 258, "{}", totals.len());
    let sum = |of: fn(&InferenceTotals) -> Option<u64>| totals.iter().filter_map(of).sum::<u64>();
    assert_eq!(sum(|t| t.counters.tokens.input), 3_000);
    assert_eq!(sum(|t| t.counters.tokens.output), 2_500);
    assert_eq!(sum(|t| Some(t.counters.duration.count())), 1_000);
}

#[test]
fn account_of_a_service_outlives_its_containers_with_their_counts() {
    let mut aggregator = counted([staged("/a", 0, [1, 1, 1, 1, 0])]);
    let old = container("api", "api-1");
    let mut new = old.clone();
    new.id.0.push('x');
    new.cgroup.0 += 100;
    let kernel = |bytes_submitted, n_requests| CgroupCounts {
        events_submitted: bytes_submitted / 10,
        bytes_submitted,
        bytes_lost: 5,
        events_lost: 1,
        n_requests,
        ..CgroupCounts::default()
    };
    let parser = |bytes_parsed| ParserCounts {
        bytes_observed: bytes_parsed,
        bytes_parsed,
        ..ParserCounts::default()
    };
    let told = reports(
        [(old.cgroup, kernel(100, 2))],
        [(old.cgroup, parser(100))],
        [],
    );
    aggregator.set_accounts(&told, 0);
    aggregator.set_in_progress([(old.cgroup, under_way(1))]);
    let service = api(&aggregator);
    assert_eq!(service.kernel.unwrap().n_requests, 2);
    assert_eq!(service.seen.n_requests, 2, "with the one in progress");
    assert_eq!(service.seen.n_responses, [0, 1, 0, 0, 0]);
    assert_eq!(service.unseen_bytes, None);

    aggregator.set_containers(std::slice::from_ref(&new));
    let told = reports(
        [(new.cgroup, kernel(50, 1)), (old.cgroup, kernel(110, 2))],
        [(new.cgroup, parser(50)), (old.cgroup, parser(110))],
        [(new.cgroup, 12)],
    );
    aggregator.set_accounts(&told, 0);
    let service = api(&aggregator);
    let capture = service.capture.unwrap();
    assert_eq!((capture.bytes_observed, capture.bytes_parsed), (170, 160));
    assert_eq!((capture.bytes_lost, capture.events_lost), (10, 2));
    assert_eq!(service.kernel.unwrap().n_requests, 3);
    assert_eq!(service.unseen_bytes, Some(12));
    assert_eq!(service.by_container[0].unseen_bytes, Some(12));

    aggregator.set_containers(&[]);
    aggregator.tick(at(1_000.0));
    let containers = aggregator.totals().containers;
    assert_eq!(containers[0].capture, service.capture);
    aggregator.tick(at(10_000.0));
    assert!(aggregator.totals().containers.is_empty());
}

#[test]
fn requests_that_only_the_kernel_counted_are_requests_of_the_service() {
    let mut aggregator = counted([staged("/a", 0, [1, 1, 1, 1, 0])]);
    let api_1 = container("api", "api-1");
    let n_before = api(&aggregator).window.n_requests;
    let report = |n_requests, n_failed, n_events| {
        let requests = RequestCounts {
            n_requests,
            n_responses: [0, n_requests - n_failed, 0, 0, n_failed],
        };
        let kernel = CgroupCounts {
            events_submitted: 4,
            n_requests: n_requests + 1,
            n_responses: requests.n_responses,
            left_out: LeftOut {
                n_events,
                n_bytes: 100 * n_events,
                requests,
            },
            ..CgroupCounts::default()
        };
        reports([(api_1.cgroup, kernel)], [], [])
    };
    for _ in 0..2 {
        // What is told twice counts once.
        aggregator.set_accounts(&report(40, 4, 80), 0);
    }
    let rollups = aggregator.tick(at(5.0));
    let of_counts = rollups.iter().find(|rollup| rollup.key.status.is_none());
    let of_counts = of_counts.expect("a series of their own");
    assert_eq!(&*of_counts.key.route, modeltap_metrics::OTHER_ROUTE);
    let figures = &of_counts.figures;
    assert_eq!((figures.n_requests, figures.n_errors), (40, 4));
    assert!(figures.duration.is_empty() && figures.detail.is_none());

    aggregator.set_accounts(&report(50, 4, 100), 0);
    aggregator.tick(at(6.0));
    let service = api(&aggregator);
    assert_eq!(service.window.n_requests, n_before + 50);
    assert_eq!(service.left_out.n_requests, 50);
    let total: u64 = service.totals.iter().map(|total| total.n_requests).sum();
    assert_eq!(total, 51);
    let capture = service.capture.unwrap();
    assert_eq!((capture.events_left_out, capture.events_lost), (100, 0));
    assert_eq!((capture.bytes_left_out, capture.bytes_lost), (10_000, 0));
    assert_eq!(capture.bytes_observed, 10_000);
    let series = aggregator.totals().series;
    let exported: u64 = series.iter().map(|of| of.counters.n_requests).sum();
    assert_eq!(exported, 51);
}

#[test]
fn routes_beyond_the_limit_share_the_histograms_of_other() {
    let mut aggregator = Aggregator::new(Config {
        max_measured_routes: 3,
        ..Config::default()
    });
    let (one, two) = (container("api", "api-1"), container("web", "web-1"));
    aggregator.set_containers(&[one.clone(), two.clone()]);
    aggregator.tick(at(0.0));
    let shown = |aggregator: &Aggregator| {
        let routes = aggregator.totals().routes.into_iter().map(|route| {
            let felt = route.counters.measure(Measure::Felt).unwrap().count();
            (route.container.to_string(), route.route.to_string(), felt)
        });
        let mut routes: Vec<_> = routes.collect();
        routes.sort();
        routes
    };
    let row = |container: &str, route: &str, n| (container.to_owned(), route.to_owned(), n);
    for path in ["/a", "/b", "/c", "/d", "/e", "/a"] {
        aggregator.record(staged(path, 0, [1; 5]), &one, ANCHOR);
    }
    aggregator.record(staged("/a", 0, [1; 5]), &two, ANCHOR);
    let expected = [
        row("api-1", "/a", 2),
        row("api-1", "/b", 1),
        row("api-1", "/c", 1),
        row("api-1", "_other", 2),
        row("web-1", "_other", 1),
    ];
    assert_eq!(shown(&aggregator), expected);
    // Its place is free when a container is forgotten.
    aggregator.tick(at(1.0));
    aggregator.set_containers(std::slice::from_ref(&two));
    aggregator.tick(at(10_000.0));
    aggregator.record(staged("/new", 0, [1; 5]), &two, ANCHOR);
    let expected = [row("web-1", "/new", 1), row("web-1", "_other", 1)];
    assert_eq!(shown(&aggregator), expected);
}

#[test]
fn counts_beside_the_series_go_with_their_container() {
    let mut aggregator = counted([streamed(1, &[2])]);
    assert_eq!(aggregator.totals().routes.len(), 1);
    assert_eq!(aggregator.totals().inference.len(), 1);
    let two = container("api", "api-2");
    aggregator.set_containers(std::slice::from_ref(&two));
    aggregator.tick(at(10_000.0));
    let totals = aggregator.totals();
    assert!(totals.routes.is_empty() && totals.inference.is_empty());
    aggregator.record(streamed(1, &[2]), &two, ANCHOR);
    let totals = aggregator.totals();
    assert_eq!(&*totals.routes[0].container, "api-2");
    assert_eq!(totals.routes[0].counters.streams.n_streams, 1);
}
