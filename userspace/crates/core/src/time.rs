//! The kernel's monotonic clock, and its one translation to wall time.

use std::time::Duration;

/// Nanoseconds on CLOCK_MONOTONIC, the clock of `bpf_ktime_get_ns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicNs(pub u64);

impl MonotonicNs {
    /// Time from `earlier` to `self`; zero where `earlier` is later, because
    /// events of two processors may be told in the other order.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time `duration` after `self`.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNs(pub u64);

impl UnixNs {
    /// Milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

/// One instant read on both clocks: the only way from monotonic to wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeAnchor {
    /// The instant on the monotonic clock.
    pub monotonic: MonotonicNs,
    /// The same instant on the wall clock.
    pub unix: UnixNs,
}

impl TimeAnchor {
    /// Wall time of an instant on the monotonic clock.
    #[must_use]
    pub fn unix(self, at: MonotonicNs) -> UnixNs {
        if at >= self.monotonic {
            UnixNs(self.unix.0.saturating_add(at.0 - self.monotonic.0))
        } else {
            UnixNs(self.unix.0.saturating_sub(self.monotonic.0 - at.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchor_translates_before_and_after_itself() {
        let anchor = TimeAnchor {
            monotonic: MonotonicNs(1_000),
            unix: UnixNs(50_000),
        };
        assert_eq!(anchor.unix(MonotonicNs(1_500)), UnixNs(50_500));
        assert_eq!(anchor.unix(MonotonicNs(400)), UnixNs(49_400));
    }

    #[test]
    fn events_told_out_of_order_are_no_time_apart() {
        assert_eq!(MonotonicNs(5).since(MonotonicNs(9)), Duration::ZERO);
    }
}
