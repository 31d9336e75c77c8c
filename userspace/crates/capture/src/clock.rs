//! The two clocks, read together, and the processor time of this process.

use std::time::Duration;

use modeltap_core::time::{MonotonicNs, TimeAnchor, UnixNs};

/// CLOCK_MONOTONIC, the clock of the probes' timestamps.
#[must_use]
pub fn monotonic() -> MonotonicNs {
    MonotonicNs(read(libc::CLOCK_MONOTONIC))
}

/// Processor time this process has used, all threads together.
#[must_use]
pub fn process_cpu() -> Duration {
    Duration::from_nanos(read(libc::CLOCK_PROCESS_CPUTIME_ID))
}

/// One instant on both clocks.
#[must_use]
pub fn anchor() -> TimeAnchor {
    TimeAnchor {
        monotonic: monotonic(),
        unix: UnixNs(read(libc::CLOCK_REALTIME)),
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is writable and every clock asked for exists on Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchor_is_now_on_both_clocks() {
        let (before, anchor, after) = (monotonic(), anchor(), monotonic());
        assert!(before <= anchor.monotonic && anchor.monotonic <= after);
        assert!(anchor.unix.seconds() > 1_700_000_000);
    }
}
