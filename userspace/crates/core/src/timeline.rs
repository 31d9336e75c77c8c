//! What happened, for the line of time under the charts.

use std::sync::Arc;

use crate::time::UnixNs;

/// Something that happened at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEvent {
    /// When, wall time.
    pub at: UnixNs,
    /// What.
    pub kind: TimelineKind,
    /// The service it happened to; `None` for the daemon's own.
    pub service: Option<Arc<str>>,
    /// The container it happened to, by name.
    pub container: Option<Arc<str>>,
    /// The particulars in a few words: an image, an exit code, a count. At most
    /// [`MAX_DETAIL_BYTES`].
    pub detail: String,
}

/// Longest `detail`, in bytes.
pub const MAX_DETAIL_BYTES: usize = 500;

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimelineKind {
    /// A container started; `detail` is its image.
    ContainerStarted,
    /// A container ended; `detail` is its exit code.
    ContainerStopped,
    /// A service's container started with another image than before; `detail`
    /// is both, `old -> new`.
    ImageChanged,
    /// The kernel killed a process of a container for want of memory.
    OomKilled,
    /// Docker's health check changed; `detail` is what it says.
    HealthChanged,
    /// An alert began to fire; `detail` is its summary.
    AlertFiring,
    /// An alert ceased to fire.
    AlertResolved,
    /// The daemon started; `detail` is its version.
    DaemonStarted,
    /// The daemon was asked to stop.
    DaemonStopped,
    /// Events were lost or dropped; `detail` says how many.
    DataLost,
    /// History could not be read or written; `detail` says what became of it.
    HistoryTrouble,
    /// The daemon leaves something out, or nothing more, to stay within what
    /// it may cost; `detail` says what and why.
    CaptureReduced,
}

impl TimelineKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::ContainerStarted,
        Self::ContainerStopped,
        Self::ImageChanged,
        Self::OomKilled,
        Self::HealthChanged,
        Self::AlertFiring,
        Self::AlertResolved,
        Self::DaemonStarted,
        Self::DaemonStopped,
        Self::DataLost,
        Self::HistoryTrouble,
        Self::CaptureReduced,
    ];

    /// The name, as history and the API have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContainerStarted => "container_started",
            Self::ContainerStopped => "container_stopped",
            Self::ImageChanged => "image_changed",
            Self::OomKilled => "oom_killed",
            Self::HealthChanged => "health_changed",
            Self::AlertFiring => "alert_firing",
            Self::AlertResolved => "alert_resolved",
            Self::DaemonStarted => "daemon_started",
            Self::DaemonStopped => "daemon_stopped",
            Self::DataLost => "data_lost",
            Self::HistoryTrouble => "history_trouble",
            Self::CaptureReduced => "capture_reduced",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kinds_come_back() {
        for kind in TimelineKind::ALL {
            assert_eq!(TimelineKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(TimelineKind::parse("birthday"), None);
    }
}
