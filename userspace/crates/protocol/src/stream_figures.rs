//! The rhythm of a response that streams: when its pieces were written.

use std::time::Duration;

use modeltap_core::histogram::{DurationHistogram, bucket_of};
use modeltap_core::record::{Completeness, StreamFigures, StreamFormat};
use modeltap_core::time::MonotonicNs;

use crate::exchange::worse;
use crate::genai::Frame;
use crate::inspect::Usage;
use crate::sse::{Events, Lines, Open, Piece};

/// An interval longer than this is a stall.
const STALL: Duration = Duration::from_secs(1);
/// Most buckets of a stream's intervals, 16 octaves of them; beyond, an
/// interval counts with the nearest that has a count.
const MAX_BUCKETS: usize = 2_048;

/// Takes the bytes of a body, transfer coding removed, as they are written.
#[derive(Clone, Debug)]
pub(crate) struct StreamTracker {
    tally: Tally,
    framing: Framing,
    /// When the last byte of the piece that is open was written.
    piece_at: MonotonicNs,
    /// The next bytes are the first of a call or a chunk.
    begins_call: bool,
}

/// Where pieces are counted.
#[derive(Clone, Debug)]
struct Tally {
    figures: StreamFigures,
    /// When the call being taken in returned.
    at: MonotonicNs,
    /// Pieces may have been missed since the last one counted.
    missed: bool,
}

#[derive(Clone, Debug)]
enum Framing {
    Events(Events, Frame),
    Lines(Lines, Frame),
    /// A chunk is a piece: whether the open one has bytes.
    Chunks(bool),
}

impl StreamTracker {
    pub(crate) fn new(format: StreamFormat) -> Self {
        Self {
            tally: Tally {
                figures: StreamFigures {
                    format,
                    n_chunks: 0,
                    first_chunk: None,
                    last_chunk: None,
                    intervals: DurationHistogram::default(),
                    longest_interval: Duration::ZERO,
                    n_stalls: 0,
                    after_abort: None,
                    completeness: Completeness::Whole,
                },
                at: MonotonicNs(0),
                missed: false,
            },
            framing: match format {
                StreamFormat::ServerSentEvents => {
                    Framing::Events(Events::default(), Frame::default())
                }
                StreamFormat::JsonLines => Framing::Lines(Lines::default(), Frame::default()),
                StreamFormat::Chunks => Framing::Chunks(false),
            },
            piece_at: MonotonicNs(0),
            begins_call: false,
        }
    }

    /// Wants to know what the stream tells of tokens.
    pub(crate) fn want_usage(&mut self) {
        match &mut self.framing {
            Framing::Events(_, frame) | Framing::Lines(_, frame) => frame.want_usage(),
            Framing::Chunks(_) => {}
        }
    }

    /// What the stream told of tokens, where that was wanted.
    pub(crate) fn usage(&self) -> Option<Usage> {
        match &self.framing {
            Framing::Events(_, frame) | Framing::Lines(_, frame) => frame.usage(),
            Framing::Chunks(_) => None,
        }
    }

    /// The bytes of a call follow, which returned at `at`.
    pub(crate) fn begin_call(&mut self, at: MonotonicNs) {
        self.tally.at = at;
        self.begins_call = true;
    }

    /// Takes in bytes of the body.
    pub(crate) fn seen(&mut self, bytes: &[u8]) {
        let begins_call = std::mem::take(&mut self.begins_call);
        let tally = &mut self.tally;
        match &mut self.framing {
            Framing::Events(events, frame) => {
                events.read(bytes, begins_call, |piece| tally.piece(frame, piece));
            }
            Framing::Lines(lines, frame) => {
                lines.read(bytes, begins_call, |piece| tally.piece(frame, piece));
            }
            Framing::Chunks(has_bytes) => *has_bytes |= !bytes.is_empty(),
        }
        self.piece_at = self.tally.at;
    }

    /// Bytes of the body were written but not captured.
    pub(crate) fn unseen(&mut self) {
        if let Framing::Chunks(has_bytes) = &mut self.framing {
            *has_bytes = true;
            return;
        }
        self.miss(Completeness::Truncated);
    }

    /// Bytes of the body are in events that were lost, or can no longer be
    /// told from its transfer coding: `to` says which.
    pub(crate) fn miss(&mut self, to: Completeness) {
        self.begins_call = false;
        let tally = &mut self.tally;
        match &mut self.framing {
            Framing::Events(events, frame) => {
                let mut open = Open::Nothing;
                if to == Completeness::Truncated && events.is_inside() && frame.is_surely_content()
                {
                    tally.content();
                    open = frame.open();
                }
                frame.restart();
                events.lose(open);
            }
            Framing::Lines(lines, frame) => {
                if to == Completeness::Truncated && lines.is_inside() && frame.is_surely_content() {
                    tally.content();
                }
                frame.restart();
                lines.lose();
            }
            Framing::Chunks(has_bytes) => *has_bytes = false,
        }
        tally.missed = true;
        tally.figures.completeness = worse(tally.figures.completeness, to);
    }

    /// A chunk of the transfer coding is over.
    pub(crate) fn chunk_ended(&mut self) {
        self.begins_call = true;
        if let Framing::Chunks(has_bytes) = &mut self.framing
            && std::mem::take(has_bytes)
        {
            self.tally.content();
        }
    }

    /// Bytes it takes in memory.
    pub(crate) fn footprint(&self) -> usize {
        size_of::<Self>() + histogram_bytes(&self.tally.figures.intervals)
    }

    /// The body ended as it should. Few servers leave out the empty line
    /// behind the last event, and fewer clients mind.
    pub(crate) fn end(&mut self) {
        let is_content = match &self.framing {
            Framing::Events(events, frame) => events.is_inside() && frame.is_content(),
            Framing::Lines(lines, frame) => lines.is_inside() && frame.is_content(),
            Framing::Chunks(_) => false,
        };
        if is_content {
            self.tally.at = self.piece_at;
            self.tally.content();
        }
    }

    /// What it came to.
    pub(crate) fn into_figures(self) -> StreamFigures {
        self.tally.figures
    }
}

/// Bytes that a histogram takes, at most.
pub(crate) fn histogram_bytes(histogram: &DurationHistogram) -> usize {
    histogram.buckets().len().next_power_of_two() * size_of::<(u16, u64)>()
}

impl Tally {
    fn piece(&mut self, frame: &mut Frame, piece: Piece<'_>) {
        match piece {
            Piece::Data(bytes) => frame.take(bytes),
            Piece::End => {
                if frame.is_content() {
                    self.content();
                }
                frame.restart();
            }
        }
    }

    fn content(&mut self) {
        let figures = &mut self.figures;
        figures.n_chunks += 1;
        let missed = std::mem::take(&mut self.missed);
        if figures.n_chunks == 1 && !missed {
            figures.first_chunk = Some(self.at);
        }
        if let Some(last) = figures.last_chunk.filter(|_| !missed) {
            let interval = self.at.since(last);
            record(&mut figures.intervals, interval);
            figures.longest_interval = figures.longest_interval.max(interval);
            figures.n_stalls += u64::from(interval > STALL);
        }
        figures.last_chunk = figures.last_chunk.max(Some(self.at));
    }
}

fn record(intervals: &mut DurationHistogram, interval: Duration) {
    if intervals.buckets().len() < MAX_BUCKETS {
        intervals.record(interval);
        return;
    }
    let bucket = bucket_of(u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX));
    let nearest = intervals
        .buckets()
        .map(|(other, _)| other)
        .min_by_key(|other| other.abs_diff(bucket));
    intervals.add(nearest.unwrap_or(bucket), 1);
}
