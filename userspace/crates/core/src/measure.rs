//! What is measured of a request beside its duration and time to first byte.

use std::ops::{Index, IndexMut};

use crate::histogram::DurationHistogram;

/// A time that has a histogram of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// First byte of the request arrived at the socket to last byte of the
    /// response written: what the client felt.
    Felt,
    /// Arrival (else, of a connection's first request: accept) to first byte
    /// of the request read.
    Queue,
    /// First byte of the request read to its last.
    Read,
    /// Request read to first byte of the response's body written.
    App,
    /// First byte of the response's body written to its last.
    Stream,
    /// Last byte of the response written to its last byte gone from the
    /// socket.
    Drain,
    /// Last byte of the request read to first content chunk written.
    FirstChunk,
    /// One content chunk written to the next.
    ChunkInterval,
}

impl Measure {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// Every measure, in the order of their indices.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Felt,
        Self::Queue,
        Self::Read,
        Self::App,
        Self::Stream,
        Self::Drain,
        Self::FirstChunk,
        Self::ChunkInterval,
    ];

    /// The name in queries and columns.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Felt => "felt",
            Self::Queue => "queue",
            Self::Read => "read",
            Self::App => "app",
            Self::Stream => "stream",
            Self::Drain => "drain",
            Self::FirstChunk => "first_chunk",
            Self::ChunkInterval => "chunk_interval",
        }
    }

    /// The measure of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|measure| measure.as_str() == name)
    }
}

/// A histogram for each measure; an empty one takes no room of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measures([DurationHistogram; Measure::COUNT]);

impl Measures {
    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (histogram, more) in self.0.iter_mut().zip(&other.0) {
            histogram.merge(more);
        }
    }
}

impl Index<Measure> for Measures {
    type Output = DurationHistogram;

    fn index(&self, measure: Measure) -> &DurationHistogram {
        &self.0[measure as usize]
    }
}

impl IndexMut<Measure> for Measures {
    fn index_mut(&mut self, measure: Measure) -> &mut DurationHistogram {
        &mut self.0[measure as usize]
    }
}

/// Sums of the parts of time, over the requests whose parts add up to their
/// duration: those that were read to their end before they were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartSums {
    /// Requests summed up here.
    pub n_requests: u64,
    /// Of them: those whose queue is known.
    pub n_queue: u64,
    /// [`Measure::Queue`] of those, in nanoseconds.
    pub queue_ns: u64,
    /// [`Measure::Read`], in nanoseconds.
    pub read_ns: u64,
    /// [`Measure::App`], in nanoseconds.
    pub app_ns: u64,
    /// [`Measure::Stream`], in nanoseconds.
    pub stream_ns: u64,
    /// [`Measure::Drain`], in nanoseconds.
    pub drain_ns: u64,
}

impl PartSums {
    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.n_requests += other.n_requests;
        self.n_queue += other.n_queue;
        self.queue_ns = self.queue_ns.saturating_add(other.queue_ns);
        self.read_ns = self.read_ns.saturating_add(other.read_ns);
        self.app_ns = self.app_ns.saturating_add(other.app_ns);
        self.stream_ns = self.stream_ns.saturating_add(other.stream_ns);
        self.drain_ns = self.drain_ns.saturating_add(other.drain_ns);
    }
}

/// Counts and sums of responses that streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSums {
    /// Responses.
    pub n_streams: u64,
    /// Of them: the client went away first.
    pub n_aborted: u64,
    /// Content chunks.
    pub n_chunks: u64,
    /// Intervals between content chunks.
    pub n_intervals: u64,
    /// Of them: longer than a stall.
    pub n_stalls: u64,
    /// Sum of the intervals, in nanoseconds.
    pub intervals_ns: u64,
    /// Time written on after the client had gone, in nanoseconds.
    pub after_abort_ns: u64,
}

impl StreamSums {
    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.n_streams += other.n_streams;
        self.n_aborted += other.n_aborted;
        self.n_chunks = self.n_chunks.saturating_add(other.n_chunks);
        self.n_intervals = self.n_intervals.saturating_add(other.n_intervals);
        self.n_stalls = self.n_stalls.saturating_add(other.n_stalls);
        self.intervals_ns = self.intervals_ns.saturating_add(other.intervals_ns);
        self.after_abort_ns = self.after_abort_ns.saturating_add(other.after_abort_ns);
    }
}

/// Tokens that usage frames told of; `None` where none did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenSums {
    /// Tokens of prompts.
    pub input: Option<u64>,
    /// Tokens generated.
    pub output: Option<u64>,
}

impl TokenSums {
    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.input = sum(self.input, other.input);
        self.output = sum(self.output, other.output);
    }
}

fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_follow_the_order_and_names_come_back() {
        for (at, measure) in Measure::ALL.into_iter().enumerate() {
            assert_eq!(measure as usize, at);
            assert_eq!(Measure::parse(measure.as_str()), Some(measure));
        }
        assert_eq!(Measure::parse("duration"), None);
    }

    #[test]
    fn tokens_are_unknown_until_one_is_told() {
        let mut sums = TokenSums::default();
        sums.merge(&TokenSums::default());
        assert_eq!(sums.input, None);
        let told = TokenSums {
            input: Some(0),
            output: Some(u64::MAX),
        };
        sums.merge(&told);
        sums.merge(&told);
        assert_eq!((sums.input, sums.output), (Some(0), Some(u64::MAX)));
    }
}
