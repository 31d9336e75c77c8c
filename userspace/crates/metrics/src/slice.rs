//! A cut of a service's window: one route and method, one container, or its
//! inner hops.

use std::collections::VecDeque;
use std::time::Duration;

use modeltap_core::histogram::DurationHistogram;
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

/// Its merged histograms are sparse: there are hundreds of slices, and each
/// fills some dozens of buckets.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    cells: VecDeque<Cell>,
    merged: Times,
}

/// One second of a slice. Histograms are kept encoded, at about three bytes a
/// bucket instead of sixteen: there are sixty cells a slice.
#[derive(Debug)]
struct Cell {
    second: u64,
    tally: Tally,
    by_status: Box<[(Option<u16>, u64)]>,
    times: [Box<[u8]>; Live::COUNT],
}

/// Counts and sums of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    n_requests: u64,
    n_errors: u64,
    n_incomplete: u64,
    sum_ns: u64,
    max_ns: u64,
    parts: PartSums,
    streams: StreamSums,
    tokens: TokenSums,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.n_requests += other.n_requests;
        self.n_errors += other.n_errors;
        self.n_incomplete += other.n_incomplete;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.parts.merge(&other.parts);
        self.streams.merge(&other.streams);
        self.tokens.merge(&other.tokens);
    }
}

impl From<&Figures> for Tally {
    fn from(figures: &Figures) -> Self {
        let detail = figures.detail.as_deref();
        Self {
            n_requests: figures.n_requests,
            n_errors: figures.n_errors,
            n_incomplete: figures.n_incomplete,
            sum_ns: figures.duration_sum_ns,
            max_ns: figures.duration_max_ns,
            parts: detail.map(|detail| detail.parts).unwrap_or_default(),
            streams: detail.map(|detail| detail.streams).unwrap_or_default(),
            tokens: detail.map(|detail| detail.tokens).unwrap_or_default(),
        }
    }
}

impl Slice {
    /// Adds a second.
    pub(crate) fn push(
        &mut self,
        second: u64,
        figures: &Figures,
        by_status: Vec<(Option<u16>, u64)>,
    ) {
        let times = Live::ALL.map(|time| {
            time.of(figures).map_or_else(Box::default, |histogram| {
                self.merged[time as usize].merge(histogram);
                histogram.encode().into()
            })
        });
        self.cells.push_back(Cell {
            second,
            tally: Tally::from(figures),
            by_status: by_status.into(),
            times,
        });
    }

    /// Lets go of the seconds outside `first..end`, and adds their times to
    /// `gone`.
    pub(crate) fn expire(&mut self, first: u64, end: u64, gone: &mut Times) {
        let is_over = |cell: &Cell| !(first..end).contains(&cell.second);
        while self.cells.front().is_some_and(is_over) {
            let cell = self.cells.pop_front().expect("the front was just seen");
            for (at, bytes) in cell.times.iter().enumerate() {
                if !bytes.is_empty() {
                    let times = decoded(bytes);
                    self.merged[at].subtract(&times);
                    gone[at].merge(&times);
                }
            }
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
        for (merged, bytes) in times.iter_mut().zip(&cell.times) {
            merged.merge(&decoded(bytes));
        }
    }

    /// Figures of the whole window, which is `length` long.
    pub(crate) fn figures(&self, length: Duration) -> WindowFigures {
        figures(&self.tally(), length, |time, q| {
            self.merged[time as usize].quantile(q)
        })
    }

    /// Summed durations, in nanoseconds.
    pub(crate) fn sum_ns(&self) -> u64 {
        self.tally().sum_ns
    }

    /// Requests by status, ascending, those without one first.
    pub(crate) fn by_status(&self) -> Vec<(Option<u16>, u64)> {
        let mut all = Vec::new();
        for &(status, count) in self.cells.iter().flat_map(|cell| &cell.by_status) {
            add_status(&mut all, status, count);
        }
        all.sort_unstable();
        all
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for cell in &self.cells {
            tally.add(&cell.tally);
        }
        tally
    }
}

/// Figures of a window that is `length` long, from its sums and the quantiles
/// of its times.
pub(crate) fn figures(
    tally: &Tally,
    length: Duration,
    quantile: impl Fn(Live, f64) -> Option<Duration>,
) -> WindowFigures {
    let max = (tally.n_requests > 0).then(|| Duration::from_nanos(tally.max_ns));
    // The middle of the last bucket may lie above the longest duration.
    let capped = |time, q| quantile(time, q).map(|at| max.map_or(at, |max| at.min(max)));
    WindowFigures {
        n_requests: tally.n_requests,
        n_errors: tally.n_errors,
        n_incomplete: tally.n_incomplete,
        rate: rate(tally.n_requests, length),
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
        parts: parts(&tally.parts),
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
    let sums = tally.streams;
    (sums.n_streams > 0 || tally.tokens != TokenSums::default()).then(|| StreamWindow {
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
        tokens: tally.tokens,
    })
}

/// Occurrences a second; a window shorter than a second counts as one.
fn rate(n: u64, length: Duration) -> f64 {
    n as f64 / length.as_secs_f64().max(1.0)
}

pub(crate) fn add_status(by_status: &mut Vec<(Option<u16>, u64)>, status: Option<u16>, count: u64) {
    match by_status.iter_mut().find(|(known, _)| *known == status) {
        Some((_, n_requests)) => *n_requests += count,
        None => by_status.push((status, count)),
    }
}

fn decoded(bytes: &[u8]) -> DurationHistogram {
    DurationHistogram::decode(bytes).expect("the bytes were encoded here")
}
