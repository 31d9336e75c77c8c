//! The clock that the kernel's probes read.

use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds on CLOCK_MONOTONIC, the clock of `bpf_ktime_get_ns`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has CLOCK_MONOTONIC");
    u64::try_from(Duration::from(now).as_nanos()).expect("585 years fit")
}

/// Asks `attempt` until it gives a value, every 20 ms.
///
/// # Panics
/// When `limit` is over, with `what` was awaited.
#[track_caller]
pub fn await_some<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks `condition` until it holds, every 20 ms.
///
/// # Panics
/// When `limit` is over, with `what` was awaited.
#[track_caller]
pub fn await_that(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    await_some(what, limit, || condition().then_some(()));
}
