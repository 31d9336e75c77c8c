//! What is found.

use super::series::Timed;

/// A change for the worse, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What changed, when and by how much.
    pub change: Change,
    /// The part of the time that most of the growth lies in.
    pub phase: Option<PhaseGrowth>,
    /// The route that most of it lies in; `None` where there is but one.
    pub route: Option<Carrier>,
    /// The container that most of it lies in; `None` where there is but one.
    pub container: Option<Carrier>,
    /// What happened at that time, what explains most first.
    pub beside: Vec<Beside>,
}

/// A figure that is worse than it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which.
    pub figure: Figure,
    /// Since when, in seconds of Unix time; right to a step or two.
    pub since: u64,
    /// When it was over; `None` while it goes on.
    pub until: Option<u64>,
    /// What was usual before: seconds, a share, or a count.
    pub before: f64,
    /// What is since.
    pub after: f64,
    /// The container whose figure it is, of resources.
    pub container: Option<String>,
    /// Place of the first step that is worse.
    pub start: usize,
    /// Place after the last.
    pub end: usize,
}

/// What is worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// Slower: a quantile (0 to 1) of a time, in seconds.
    Slow(Timed, f64),
    /// Failing: the share of requests that failed.
    Failing,
    /// Starved of something.
    Starved(Resource),
}

/// What may be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The processor: share of the periods throttled.
    Processor,
    /// Memory: share of the limit in use.
    Memory,
    /// Memory: processes killed for want of it.
    MemoryKills,
    /// The GPU: utilisation a GPU.
    Gpu,
}

/// A part of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Arrived, not yet read.
    Queue,
    /// Being read.
    Read,
    /// Read, not yet answered.
    App,
    /// Being answered.
    Stream,
    /// Answered, not yet gone from the socket.
    Drain,
}

impl Phase {
    /// Every phase, in the order of time.
    pub const ALL: [Self; 5] = [
        Self::Queue,
        Self::Read,
        Self::App,
        Self::Stream,
        Self::Drain,
    ];

    /// The name in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Read => "read",
            Self::App => "app",
            Self::Stream => "stream",
            Self::Drain => "drain",
        }
    }
}

/// The phase that grew.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseGrowth {
    /// Which.
    pub phase: Phase,
    /// Its share of the growth (of the route's, where there is one), 0 to 1.
    pub share: f64,
    /// Its mean before, in seconds; `None` where it was not measured.
    pub before: Option<f64>,
    /// Its mean since, in seconds.
    pub after: f64,
}

/// The part of a service that carries a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Carrier {
    /// The route or the container.
    pub name: String,
    /// Its share of the growth, 0 to 1.
    pub share: f64,
    /// Its own mean (seconds, or share of failures) before; `None` where it
    /// had no requests.
    pub before: Option<f64>,
    /// Its own since.
    pub after: f64,
}

/// Something that happened at the same time.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside {
    /// What.
    pub kind: BesideKind,
    /// When, in seconds of Unix time; of several the first.
    pub at: u64,
    /// Seconds from the change to it: negative where it came first.
    pub distance: i64,
    /// The container it happened to.
    pub container: Option<String>,
    /// The particulars: an image, an exit code.
    pub detail: String,
    /// How often.
    pub n: u64,
    /// A figure of it before: a share, or requests a second.
    pub before: Option<f64>,
    /// The figure since.
    pub after: Option<f64>,
}

/// What may happen beside a change, what explains most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BesideKind {
    /// Another image.
    ImageChanged,
    /// Processes killed for want of memory.
    OomKilled,
    /// A container ended and began again, or another began.
    Restarted,
    /// A container ended.
    Stopped,
    /// The processor quota was used up.
    Throttled,
    /// Memory came near its limit.
    MemoryNearLimit,
    /// The GPU is used to the full.
    GpuFull,
    /// The GPU is no longer used.
    GpuIdle,
    /// More requests a second.
    MoreTraffic,
    /// Docker's health check changed.
    HealthChanged,
}

impl BesideKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::ImageChanged,
        Self::OomKilled,
        Self::Restarted,
        Self::Stopped,
        Self::Throttled,
        Self::MemoryNearLimit,
        Self::GpuFull,
        Self::GpuIdle,
        Self::MoreTraffic,
        Self::HealthChanged,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ImageChanged => "image_changed",
            Self::OomKilled => "oom_killed",
            Self::Restarted => "restarted",
            Self::Stopped => "stopped",
            Self::Throttled => "throttled",
            Self::MemoryNearLimit => "memory_near_limit",
            Self::GpuFull => "gpu_full",
            Self::GpuIdle => "gpu_idle",
            Self::MoreTraffic => "more_traffic",
            Self::HealthChanged => "health_changed",
        }
    }
}
