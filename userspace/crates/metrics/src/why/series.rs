//! What is told of a service, step by step.

use modeltap_core::timeline::TimelineEvent;

use super::finding::Phase;

/// A service over its range and the time before. Steps follow each other
/// without a gap; every list has a place for each.
#[derive(Clone, Debug, Default)]
pub struct ServiceSeries {
    /// Beginning of the first step, in seconds of Unix time.
    pub from: u64,
    /// Length of a step in seconds.
    pub step: u64,
    /// Place of the first step of the range; those before are its past.
    pub first: usize,
    /// Requests that finished.
    pub requests: Vec<f64>,
    /// Of them: failed.
    pub errors: Vec<f64>,
    /// Times of requests, those that say most first.
    pub times: Vec<TimeSeries>,
    /// Share of the processor periods that were throttled, by container.
    pub throttled: Vec<ServicePart>,
    /// Share of the memory limit in use, by container.
    pub memory: Vec<ServicePart>,
    /// GPUs' worth of utilisation: 0 to 1 a GPU.
    pub gpu: Vec<Option<f64>>,
    /// How long its requests took, where the steps are so short that what is
    /// worse is told by counting requests; `None` where each step has a level.
    pub durations: Option<Durations>,
    /// What happened to its containers, in any order.
    pub events: Vec<TimelineEvent>,
}

/// A time of requests, as a quantile of each step.
#[derive(Clone, Debug)]
pub struct TimeSeries {
    /// What is timed.
    pub time: Timed,
    /// Which quantile, 0 to 1.
    pub quantile: f64,
    /// In seconds; `None` where nothing was timed.
    pub values: Vec<Option<f64>>,
}

/// Requests by step and duration.
#[derive(Clone, Debug)]
pub struct Durations {
    /// What is timed.
    pub time: Timed,
    /// Row `i` lies from `bounds[i]` to before `bounds[i + 1]`, in seconds,
    /// ascending.
    pub bounds: Vec<f64>,
    /// Counts by step and row; a step without any may be empty.
    pub counts: Vec<Vec<u64>>,
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// Arrival at the socket to last byte written.
    Felt,
    /// First byte read to last byte written, where arrival is not known.
    Duration,
    /// Request read to first content chunk written.
    FirstChunk,
    /// Last byte written to last byte gone.
    Drain,
}

impl Timed {
    /// The name in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Felt => "felt",
            Self::Duration => "duration",
            Self::FirstChunk => "first_chunk",
            Self::Drain => "drain",
        }
    }
}

/// A figure of a part of the service.
#[derive(Clone, Debug)]
pub struct ServicePart {
    /// The container's name.
    pub name: String,
    /// A value a step.
    pub values: Vec<Option<f64>>,
}

/// What the requests around a change are made of.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Beginning of the first step, in seconds of Unix time.
    pub from: u64,
    /// Length of a step in seconds.
    pub step: u64,
    /// By route.
    pub routes: Vec<RoutePart>,
    /// By container; their phases may be left out.
    pub containers: Vec<RoutePart>,
}

/// One route, or one container.
#[derive(Clone, Debug, Default)]
pub struct RoutePart {
    /// Its name.
    pub name: String,
    /// Requests of each step.
    pub requests: Vec<f64>,
    /// Of them: failed.
    pub errors: Vec<f64>,
    /// Mean time of each step in seconds, of all that is timed.
    pub total: Vec<Option<f64>>,
    /// Mean of each phase, likewise.
    pub phases: Vec<(Phase, Vec<Option<f64>>)>,
}

impl ServiceSeries {
    /// Steps there are.
    #[must_use]
    pub fn n_steps(&self) -> usize {
        self.requests.len()
    }

    /// When a step begins, in seconds of Unix time.
    pub(crate) fn at(&self, step: usize) -> u64 {
        self.from + self.step * step as u64
    }

    /// When all is over, in seconds of Unix time.
    pub(crate) fn end(&self) -> u64 {
        self.at(self.n_steps())
    }

    pub(crate) fn n_containers(&self) -> usize {
        self.throttled.len().max(self.memory.len())
    }
}
