//! A cut of a service's window: one route and method, one container, or its
//! inner hops.

use std::collections::VecDeque;
use std::time::Duration;

use modeltap_core::histogram::{DurationHistogram, push_varint, take_varint};
use modeltap_core::measure::{Measure, PartSums, StreamSums, TokenSums};
use modeltap_core::rollup::Figures;

use crate::live::{StreamWindow, TimeParts, WindowFigures};

/// Times that the live view has percentiles of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    Duration,
    TimeToFirstByte,
    Felt,
    Queue,
    FirstChunk,
    ChunkInterval,
}

impl Live {
    pub(crate) const COUNT: usize = 6;
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Duration,
        Self::TimeToFirstByte,
        Self::Felt,
        Self::Queue,
        Self::FirstChunk,
        Self::ChunkInterval,
    ];

    /// The times of a window; `None` where there are none.
    pub(crate) fn of(self, figures: &Figures) -> Option<&DurationHistogram> {
        let histogram = match self {
            Self::Duration => &figures.duration,
            Self::TimeToFirstByte => &figures.time_to_first_byte,
            Self::Felt => figures.measure(Measure::Felt)?,
            Self::Queue => figures.measure(Measure::Queue)?,
            Self::FirstChunk => figures.measure(Measure::FirstChunk)?,
            Self::ChunkInterval => figures.measure(Measure::ChunkInterval)?,
        };
        Some(histogram).filter(|histogram| !histogram.is_empty())
    }
}

/// A histogram of each of them; empty ones take no room of their own.
pub(crate) type Times = [DurationHistogram; Live::COUNT];

/// Requests by status; `None` without one.
type ByStatus = Vec<(Option<u16>, u64)>;

/// What a slice gathered in its window, and each of its seconds to take out
/// again. Its merged histograms are sparse: there are hundreds of slices, and
/// each fills some dozens of buckets.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    cells: VecDeque<Cell>,
    tally: Tally,
    by_status: ByStatus,
    merged: Times,
}

/// One second of a slice: sixty a slice, so that all but the time and the
/// longest duration, which cannot be taken out of a maximum, is kept encoded
/// in a hundred bytes.
#[derive(Debug)]
struct Cell {
    second: u64,
    max_ns: u64,
    bytes: Box<[u8]>,
}

impl Slice {
    /// Adds a second.
    pub(crate) fn push(
        &mut self,
        second: u64,
        figures: &Figures,
        by_status: &[(Option<u16>, u64)],
    ) {
        let tally = Tally::from(figures);
        self.tally.add(&tally);
        let mut bytes = Vec::with_capacity(128);
        for sum in tally.sums {
            push_varint(&mut bytes, sum);
        }
        push_varint(&mut bytes, by_status.len() as u64);
        for &(status, count) in by_status {
            add_status(&mut self.by_status, status, count);
            push_varint(&mut bytes, status.map_or(0, |status| u64::from(status) + 1));
            push_varint(&mut bytes, count);
        }
        for time in Live::ALL {
            let Some(histogram) = time.of(figures) else {
                push_varint(&mut bytes, 0);
                continue;
            };
            self.merged[time as usize].merge(histogram);
            let encoded = histogram.encode();
            push_varint(&mut bytes, encoded.len() as u64);
            bytes.extend_from_slice(&encoded);
        }
        self.cells.push_back(Cell {
            second,
            max_ns: tally.max_ns,
            bytes: bytes.into(),
        });
    }

    /// Lets go of the seconds outside `first..end`, and adds their times to
    /// `gone`.
    pub(crate) fn expire(&mut self, first: u64, end: u64, gone: &mut Times) {
        let is_over = |cell: &Cell| !(first..end).contains(&cell.second);
        let n_before = self.cells.len();
        while self.cells.front().is_some_and(is_over) {
            let cell = self.cells.pop_front().expect("the front was just seen");
            let (sums, by_status, times) = cell.decoded();
            self.tally.take_out(&sums);
            for (status, count) in by_status {
                let known = self
                    .by_status
                    .iter_mut()
                    .find(|(known, _)| *known == status);
                if let Some((_, n_requests)) = known {
                    *n_requests -= count;
                }
            }
            for (at, times) in times.iter().enumerate() {
                self.merged[at].subtract(times);
                gone[at].merge(times);
            }
        }
        if self.cells.len() < n_before {
            self.by_status.retain(|(_, count)| *count > 0);
            self.tally.max_ns = self.cells.iter().map(|cell| cell.max_ns).max().unwrap_or(0);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Adds the times of its newest second to `times`, if it is `second`.
    pub(crate) fn newest_into(&self, second: u64, times: &mut Times) {
        let Some(cell) = self.cells.back().filter(|cell| cell.second == second) else {
            return;
        };
        let (_, _, found) = cell.decoded();
        for (merged, found) in times.iter_mut().zip(&found) {
            merged.merge(found);
        }
    }

    /// Figures of the whole window, which is `length` long.
    pub(crate) fn figures(&self, length: Duration) -> WindowFigures {
        figures(&self.tally, length, |time, q| {
            self.merged[time as usize].quantile(q)
        })
    }

    /// Summed durations, in nanoseconds.
    pub(crate) fn sum_ns(&self) -> u64 {
        self.tally.sums[SUM_NS]
    }

    /// Requests by status, ascending, those without one first.
    pub(crate) fn by_status(&self) -> ByStatus {
        let mut all = self.by_status.clone();
        all.sort_unstable();
        all
    }
}

impl Cell {
    fn decoded(&self) -> ([u64; N_SUMS], ByStatus, Times) {
        let mut bytes = &*self.bytes;
        let mut next = || take_varint(&mut bytes).expect("the bytes were encoded here");
        let sums = std::array::from_fn(|_| next());
        let by_status = (0..next())
            .map(|_| (next().checked_sub(1).map(|status| status as u16), next()))
            .collect();
        let times = std::array::from_fn(|_| {
            let length = take_varint(&mut bytes).expect("the bytes were encoded here");
            let (encoded, rest) = bytes.split_at(length as usize);
            bytes = rest;
            DurationHistogram::decode(encoded).expect("the bytes were encoded here")
        });
        (sums, by_status, times)
    }
}

/// Places in [`Tally::sums`]; parts begin at `PARTS`, streams at `STREAMS`.
const N_REQUESTS: usize = 0;
const N_ERRORS: usize = 1;
const N_INCOMPLETE: usize = 2;
const SUM_NS: usize = 3;
const PARTS: usize = 4;
const STREAMS: usize = 11;
/// For input and output: seconds in which tokens were told, and their sum.
const TOKENS: usize = 18;
const N_SUMS: usize = 22;

/// Counts and sums of one or more seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    sums: [u64; N_SUMS],
    max_ns: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum = sum.saturating_add(more);
        }
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    fn take_out(&mut self, sums: &[u64; N_SUMS]) {
        for (sum, gone) in self.sums.iter_mut().zip(sums) {
            *sum = sum.saturating_sub(*gone);
        }
    }

    fn parts(&self) -> PartSums {
        let sum = |at: usize| self.sums[PARTS + at];
        PartSums {
            n_requests: sum(0),
            n_queue: sum(1),
            queue_ns: sum(2),
            read_ns: sum(3),
            app_ns: sum(4),
            stream_ns: sum(5),
            drain_ns: sum(6),
        }
    }

    fn streams(&self) -> StreamSums {
        let sum = |at: usize| self.sums[STREAMS + at];
        StreamSums {
            n_streams: sum(0),
            n_aborted: sum(1),
            n_chunks: sum(2),
            n_intervals: sum(3),
            n_stalls: sum(4),
            intervals_ns: sum(5),
            after_abort_ns: sum(6),
        }
    }

    fn tokens(&self) -> TokenSums {
        let told = |at: usize| {
            let is_told = self.sums[TOKENS + at] > 0;
            is_told.then_some(self.sums[TOKENS + at + 1])
        };
        TokenSums {
            input: told(0),
            output: told(2),
        }
    }
}

impl From<&Figures> for Tally {
    fn from(figures: &Figures) -> Self {
        let mut sums = [0; N_SUMS];
        sums[N_REQUESTS] = figures.n_requests;
        sums[N_ERRORS] = figures.n_errors;
        sums[N_INCOMPLETE] = figures.n_incomplete;
        sums[SUM_NS] = figures.duration_sum_ns;
        if let Some(detail) = figures.detail.as_deref() {
            let PartSums {
                n_requests,
                n_queue,
                queue_ns,
                read_ns,
                app_ns,
                stream_ns,
                drain_ns,
            } = detail.parts;
            sums[PARTS..STREAMS].copy_from_slice(&[
                n_requests, n_queue, queue_ns, read_ns, app_ns, stream_ns, drain_ns,
            ]);
            let StreamSums {
                n_streams,
                n_aborted,
                n_chunks,
                n_intervals,
                n_stalls,
                intervals_ns,
                after_abort_ns,
            } = detail.streams;
            sums[STREAMS..TOKENS].copy_from_slice(&[
                n_streams,
                n_aborted,
                n_chunks,
                n_intervals,
                n_stalls,
                intervals_ns,
                after_abort_ns,
            ]);
            for (at, told) in [(0, detail.tokens.input), (2, detail.tokens.output)] {
                sums[TOKENS + at] = u64::from(told.is_some());
                sums[TOKENS + at + 1] = told.unwrap_or_default();
            }
        }
        Self {
            sums,
            max_ns: figures.duration_max_ns,
        }
    }
}

/// Figures of a window that is `length` long, from its sums and the quantiles
/// of its times.
pub(crate) fn figures(
    tally: &Tally,
    length: Duration,
    quantile: impl Fn(Live, f64) -> Option<Duration>,
) -> WindowFigures {
    let [n_requests, n_errors, n_incomplete, ..] = tally.sums;
    let max = (n_requests > 0).then(|| Duration::from_nanos(tally.max_ns));
    // The middle of the last bucket may lie above the longest duration.
    let capped = |time, q| quantile(time, q).map(|at| max.map_or(at, |max| at.min(max)));
    WindowFigures {
        n_requests,
        n_errors,
        n_incomplete,
        rate: rate(n_requests, length),
        p50: capped(Live::Duration, 0.5),
        p95: capped(Live::Duration, 0.95),
        p99: capped(Live::Duration, 0.99),
        max,
        ttfb_p50: capped(Live::TimeToFirstByte, 0.5),
        ttfb_p95: capped(Live::TimeToFirstByte, 0.95),
        felt_p50: quantile(Live::Felt, 0.5),
        felt_p95: quantile(Live::Felt, 0.95),
        queue_p50: quantile(Live::Queue, 0.5),
        queue_p95: quantile(Live::Queue, 0.95),
        parts: parts(&tally.parts()),
        streams: streams(tally, length, quantile),
    }
}

fn parts(sums: &PartSums) -> Option<TimeParts> {
    let mean = |sum_ns: u64, n: u64| {
        sum_ns
            .checked_div(n)
            .map_or(Duration::ZERO, Duration::from_nanos)
    };
    (sums.n_requests > 0).then(|| TimeParts {
        n_requests: sums.n_requests,
        n_queue: sums.n_queue,
        queue: (sums.n_queue > 0).then(|| mean(sums.queue_ns, sums.n_queue)),
        read: mean(sums.read_ns, sums.n_requests),
        app: mean(sums.app_ns, sums.n_requests),
        stream: mean(sums.stream_ns, sums.n_requests),
        drain: mean(sums.drain_ns, sums.n_requests),
    })
}

fn streams(
    tally: &Tally,
    length: Duration,
    quantile: impl Fn(Live, f64) -> Option<Duration>,
) -> Option<StreamWindow> {
    let (sums, tokens) = (tally.streams(), tally.tokens());
    (sums.n_streams > 0 || tokens != TokenSums::default()).then(|| StreamWindow {
        n_streams: sums.n_streams,
        n_aborted: sums.n_aborted,
        n_chunks: sums.n_chunks,
        n_stalls: sums.n_stalls,
        chunk_rate: rate(sums.n_chunks, length),
        chunk_pace: (sums.intervals_ns > 0)
            .then(|| sums.n_intervals as f64 * 1e9 / sums.intervals_ns as f64),
        first_chunk_p50: quantile(Live::FirstChunk, 0.5),
        first_chunk_p95: quantile(Live::FirstChunk, 0.95),
        chunk_interval_p50: quantile(Live::ChunkInterval, 0.5),
        chunk_interval_p95: quantile(Live::ChunkInterval, 0.95),
        chunk_interval_p99: quantile(Live::ChunkInterval, 0.99),
        after_abort: Duration::from_nanos(sums.after_abort_ns),
        tokens,
    })
}

/// Occurrences a second; a window shorter than a second counts as one.
fn rate(n: u64, length: Duration) -> f64 {
    n as f64 / length.as_secs_f64().max(1.0)
}

pub(crate) fn add_status(by_status: &mut ByStatus, status: Option<u16>, count: u64) {
    match by_status.iter_mut().find(|(known, _)| *known == status) {
        Some((_, n_requests)) => *n_requests += count,
        None => by_status.push((status, count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures_of(second: u64) -> Figures {
        let mut figures = Figures {
            n_requests: second,
            n_errors: second % 2,
            duration_sum_ns: u64::MAX / 1_000 + second,
            duration_max_ns: 1_000_000 - second,
            ..Figures::default()
        };
        for time in 0..second {
            figures.duration.record(Duration::from_millis(time * time));
        }
        let detail = figures.detail.get_or_insert_default();
        detail.measures[Measure::Queue].record(Duration::from_micros(second));
        detail.parts.n_requests = second;
        detail.parts.drain_ns = second * 3;
        detail.streams.n_streams = 1;
        detail.streams.after_abort_ns = second << 40;
        detail.tokens.input = second.is_multiple_of(3).then_some(second);
        figures
    }

    #[test]
    fn what_left_a_slice_leaves_no_trace() {
        let window = Duration::from_secs(60);
        let statuses = |second: u64| [(Some(200 + second as u16), second), (None, 1)];
        let mut slid = Slice::default();
        for second in 1..=20 {
            slid.push(second, &figures_of(second), &statuses(second));
        }
        let mut gone = Times::default();
        slid.expire(11, 21, &mut gone);
        let mut fresh = Slice::default();
        for second in 11..=20 {
            fresh.push(second, &figures_of(second), &statuses(second));
        }
        assert_eq!(slid.figures(window), fresh.figures(window));
        assert_eq!(slid.by_status(), fresh.by_status());
        assert_eq!(slid.sum_ns(), fresh.sum_ns());
        assert_eq!(slid.merged, fresh.merged);
        assert_eq!(gone[Live::Queue as usize].count(), 10);
        let (mut newest, mut expected) = (Times::default(), Times::default());
        slid.newest_into(20, &mut newest);
        expected[Live::Queue as usize].record(Duration::from_micros(20));
        expected[Live::Duration as usize].merge(&figures_of(20).duration);
        assert_eq!(newest, expected);
        slid.expire(100, 101, &mut Times::default());
        assert!(slid.is_empty() && slid.by_status().is_empty());
        assert_eq!(slid.figures(window), Slice::default().figures(window));
    }
}
