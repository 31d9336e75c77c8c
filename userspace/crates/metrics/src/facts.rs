//! What one request adds to the figures beside its duration.

use std::time::Duration;

use modeltap_core::histogram::{DurationHistogram, bucket_bounds_ns};
use modeltap_core::measure::{Measure, PartSums, StreamSums, TokenSums};
use modeltap_core::record::{Completeness, Outcome, RequestRecord, StreamFigures, Timings};
use modeltap_core::rollup::Figures;
use modeltap_core::totals::RouteCounters;

/// The measures, parts, chunks and tokens of one request.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// By measure; chunk intervals are many, and stand apart.
    times: [Option<Duration>; Measure::COUNT],
    intervals: Option<&'a DurationHistogram>,
    parts: PartSums,
    streams: StreamSums,
    tokens: TokenSums,
}

impl<'a> Facts<'a> {
    pub(crate) fn of(request: &'a RequestRecord) -> Self {
        let tokens = request.inference.as_deref();
        let mut facts = Self {
            times: [None; Measure::COUNT],
            intervals: None,
            parts: PartSums::default(),
            streams: StreamSums::default(),
            tokens: TokenSums {
                input: tokens.and_then(|inference| inference.input_tokens),
                output: tokens.and_then(|inference| inference.output_tokens),
            },
        };
        // Where the end was missed, no time is right.
        if request.outcome != Outcome::Lost {
            let timings = &request.timings;
            facts.times[Measure::Felt as usize] = timings.felt();
            facts.times[Measure::Queue as usize] = timings.queue();
            facts.times[Measure::Read as usize] = timings.read();
            facts.times[Measure::App as usize] = timings.app();
            facts.times[Measure::Stream as usize] = timings.stream();
            facts.times[Measure::Drain as usize] = timings.drain();
            facts.parts = parts(timings).unwrap_or_default();
        }
        if let Some(stream) = request.stream.as_deref() {
            facts.streamed(request, stream);
        }
        facts
    }

    /// Last byte of the request read to first content chunk written, where
    /// everything between was seen.
    pub(crate) fn first_chunk(&self) -> Option<Duration> {
        self.times[Measure::FirstChunk as usize]
    }

    /// A time of the request; chunk intervals are many, and none of them.
    pub(crate) fn time(&self, measure: Measure) -> Option<Duration> {
        self.times[measure as usize]
    }

    pub(crate) fn tokens(&self) -> TokenSums {
        self.tokens
    }

    /// Adds the request, and these facts of it, to a window.
    pub(crate) fn add_request(&self, request: &RequestRecord, window: &mut Figures) {
        window.n_requests += 1;
        window.n_errors += u64::from(request.is_error());
        window.n_incomplete += u64::from(is_incomplete(request));
        window.request_body_bytes = window
            .request_body_bytes
            .saturating_add(request.request_body_bytes);
        window.response_body_bytes = window
            .response_body_bytes
            .saturating_add(request.response_body_bytes);
        if let Some(duration) = measured_duration(request) {
            let ns = nanos(duration);
            window.duration_sum_ns = window.duration_sum_ns.saturating_add(ns);
            window.duration_max_ns = window.duration_max_ns.max(ns);
            window.duration.record(duration);
        }
        if let Some(ttfb) = measured_ttfb(request) {
            window.time_to_first_byte.record(ttfb);
        }
        let detail = window.detail.get_or_insert_default();
        for measure in Measure::ALL {
            if let Some(time) = self.times[measure as usize] {
                detail.measures[measure].record(time);
            }
        }
        if let Some(intervals) = self.intervals {
            detail.measures[Measure::ChunkInterval].merge(intervals);
        }
        detail.parts.merge(&self.parts);
        detail.streams.merge(&self.streams);
        detail.tokens.merge(&self.tokens);
    }

    /// Counts them since the start.
    pub(crate) fn count(&self, counters: &mut RouteCounters) {
        for measure in Measure::ALL {
            if let Some(time) = self.times[measure as usize] {
                counters.measure_mut(measure).record(time);
            }
        }
        if let Some(intervals) = self.intervals {
            let sum = Duration::from_nanos(self.streams.intervals_ns);
            counters
                .measure_mut(Measure::ChunkInterval)
                .record_all(intervals, sum);
        }
        counters.streams.merge(&self.streams);
    }

    fn streamed(&mut self, request: &'a RequestRecord, stream: &'a StreamFigures) {
        self.streams = StreamSums {
            n_streams: 1,
            n_aborted: u64::from(request.outcome == Outcome::ClientAborted),
            n_chunks: stream.n_chunks,
            n_intervals: stream.intervals.count(),
            n_stalls: stream.n_stalls,
            intervals_ns: intervals_ns(stream),
            after_abort_ns: stream.after_abort.map_or(0, nanos),
        };
        // What may be wrong because something was missed is not told here: a
        // first chunk behind others, an interval in which one lies.
        if let (Some(first), Some(read)) = (stream.first_chunk, request.timings.request_end) {
            self.times[Measure::FirstChunk as usize] = Some(first.since(read));
        }
        self.intervals = Some(&stream.intervals).filter(|intervals| !intervals.is_empty());
    }
}

/// The parts of a request's time, if they add up to its duration: not where it
/// was answered before it was read, for then they overlap.
fn parts(timings: &Timings) -> Option<PartSums> {
    timings.response_end?;
    let (read, app) = (timings.read()?, timings.app()?);
    let stream = timings.stream().unwrap_or_default();
    if read + app + stream != timings.duration() {
        return None;
    }
    let queue = timings.queue();
    Some(PartSums {
        n_requests: 1,
        n_queue: u64::from(queue.is_some()),
        queue_ns: queue.map_or(0, nanos),
        read_ns: nanos(read),
        app_ns: nanos(app),
        stream_ns: nanos(stream),
        drain_ns: timings.drain().map_or(0, nanos),
    })
}

/// The duration of a request whose end was seen: a missed one would be short.
pub(crate) fn measured_duration(request: &RequestRecord) -> Option<Duration> {
    (request.outcome != Outcome::Lost).then(|| request.timings.duration())
}

/// The time to the first byte, as [`measured_duration`].
pub(crate) fn measured_ttfb(request: &RequestRecord) -> Option<Duration> {
    measured_duration(request)?;
    request.timings.time_to_first_byte()
}

fn is_incomplete(request: &RequestRecord) -> bool {
    request.completeness != Completeness::Whole || request.outcome == Outcome::Lost
}

/// Sum of the intervals: exact where every chunk was seen, else right to 0.4 %.
fn intervals_ns(stream: &StreamFigures) -> u64 {
    match (stream.completeness, stream.first_chunk, stream.last_chunk) {
        (Completeness::Whole, Some(first), Some(last)) => nanos(last.since(first)),
        _ => stream.intervals.buckets().fold(0, |sum, (bucket, count)| {
            let (low, high) = bucket_bounds_ns(bucket);
            count
                .saturating_mul(low + (high - low) / 2)
                .saturating_add(sum)
        }),
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
