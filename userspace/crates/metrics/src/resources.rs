//! What a container used in each second, from readings that only say how much
//! it used since its start.
//!
//! A reading is taken about once a second, near its end, but never exactly:
//!
//! | what comes | what is made of it |
//! |---|---|
//! | the first reading of a cgroup | a beginning, no figures |
//! | a reading some milliseconds late | the part of a second; the rest waits for the next |
//! | two in one second | the second one waits for the next |
//! | a few seconds' gap | the same share for each of them |
//! | a longer gap, or a clock set back | a new beginning |
//! | a counter that fell, or was not told before | nothing of it |
//!
//! So sums over time are exact, and no figure is negative or a second's worth
//! of more than a second and a sixteenth.

mod kills;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use modeltap_core::connection::CgroupId;
use modeltap_core::resource::{GpuReading, ResourceFigures, ResourceReading};
use modeltap_core::time::UnixNs;

pub(crate) use kills::Kills;

const NS_PER_SECOND: u64 = 1_000_000_000;
/// Longest time between two readings whose use is spread over it: two missed
/// looks are usual on a busy host, a minute is a host that slept.
const MAX_GAP_SECONDS: u64 = 10;
/// A reading that is late by one part of so many is on time: no timer wakes to
/// the nanosecond, and counts as small as ten periods a second cannot be split.
const LATE_PART: u64 = 16;
/// Seconds over which the share of throttled periods is told.
const THROTTLE_SECONDS: u64 = 60;
/// Seconds without a reading after which the last one is no longer shown.
const FRESH_SECONDS: u64 = 3;

/// What a container, or all containers of a service, used in the newest whole
/// second; `None` where the host does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResourceSnapshot {
    /// Cores used.
    pub cpu_cores: f64,
    /// Cores it may use; `None` if any container has no quota.
    pub cpu_limit_cores: Option<f64>,
    /// Share of the enforcement periods of the last minute that were
    /// throttled, 0 to 1; `None` where there were none.
    pub throttled_share: Option<f64>,
    /// Working set, in bytes.
    pub memory_bytes: u64,
    /// Most it may use, in bytes; `None` if any container has no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Processes killed for want of memory since the daemon watches.
    pub n_oom_kills: Option<u64>,
    /// Bytes received in the second.
    pub received_bytes: Option<u64>,
    /// Bytes sent in the second.
    pub sent_bytes: Option<u64>,
    /// Bytes read from block devices in the second.
    pub read_bytes: Option<u64>,
    /// Bytes written to block devices in the second.
    pub written_bytes: Option<u64>,
    /// Tasks.
    pub n_pids: Option<u64>,
    /// Most tasks it may have; `None` if any container has no limit.
    pub pids_limit: Option<u64>,
    /// Share of the second some task waited for a processor, 0 to 1; of a
    /// service that of its worst container.
    pub pressure_cpu: Option<f64>,
    /// The same for memory.
    pub pressure_memory: Option<f64>,
    /// The same for a disk.
    pub pressure_io: Option<f64>,
    /// GPU utilisation, 0 to 1: the mean of the GPUs it uses.
    pub gpu_utilization: Option<f64>,
    /// GPU memory held, in bytes.
    pub gpu_memory_bytes: Option<u64>,
    /// Memory of the GPUs it uses, in bytes.
    pub gpu_memory_total_bytes: Option<u64>,
}

/// Places in [`Counters`].
const CPU_NS: usize = 0;
const PERIODS: usize = 1;
const THROTTLED: usize = 2;
const THROTTLED_NS: usize = 3;
const RECEIVED: usize = 4;
const SENT: usize = 5;
const READ: usize = 6;
const WRITTEN: usize = 7;
const PRESSURE_CPU: usize = 8;
const PRESSURE_MEMORY: usize = 9;
const PRESSURE_IO: usize = 10;
const N_COUNTERS: usize = 11;

/// Everything that only grows; `None` where it is not told.
type Counters = [Option<u64>; N_COUNTERS];

/// What one cgroup of a container used.
#[derive(Debug)]
pub(crate) struct Meter {
    latest: ResourceReading,
    /// The newest second that is over.
    second: u64,
    /// What came after that second's end, and how much time that is.
    carried: Counters,
    carried_ns: u64,
    /// The newest second's figures.
    figures: Option<ResourceFigures>,
    /// Periods and throttled periods of the last minute, by second.
    throttling: VecDeque<(u64, u64, u64)>,
}

impl Meter {
    /// A meter that begins with a cgroup's first reading.
    pub(crate) fn new(first: ResourceReading) -> Self {
        Self {
            second: second_of(first.at),
            latest: first,
            carried: [None; N_COUNTERS],
            carried_ns: 0,
            figures: None,
            throttling: VecDeque::new(),
        }
    }

    /// The cgroup it reads.
    pub(crate) fn cgroup(&self) -> CgroupId {
        self.latest.cgroup
    }

    /// The newest reading.
    pub(crate) fn latest(&self) -> &ResourceReading {
        &self.latest
    }

    /// The newest second that is over.
    pub(crate) fn second(&self) -> u64 {
        self.second
    }

    /// Whether its newest figures are of the time before the second `open`.
    fn is_fresh(&self, open: u64) -> bool {
        self.second + FRESH_SECONDS >= open
    }

    /// Takes a later reading of the same cgroup and gives the figures of the
    /// seconds that it closes, oldest first. Processes that were killed are
    /// not among them: [`Kills`] counts those.
    pub(crate) fn take(&mut self, reading: ResourceReading) -> Vec<(u64, ResourceFigures)> {
        let second = second_of(reading.at);
        let n_seconds = match second.checked_sub(self.second) {
            // The difference waits: it is to the older reading.
            Some(0) => return Vec::new(),
            Some(n_seconds) if n_seconds <= MAX_GAP_SECONDS => n_seconds,
            _ => {
                *self = Self::new(reading);
                return Vec::new();
            }
        };
        let grown = plus(
            differences(&counters(&self.latest), &counters(&reading)),
            &self.carried,
        );
        let elapsed_ns = reading.at.0.saturating_sub(self.latest.at.0) + self.carried_ns;
        self.carried_ns = 0;
        let due_ns = n_seconds * NS_PER_SECOND;
        let (due, carried) = if elapsed_ns <= due_ns + due_ns / LATE_PART {
            (grown, [None; N_COUNTERS])
        } else {
            self.carried_ns = elapsed_ns - due_ns;
            split(&grown, due_ns, elapsed_ns)
        };
        self.carried = carried;

        let mut closed = Vec::new();
        let mut rest = due;
        for n_left in (1..=n_seconds).rev() {
            let (share, left) = split(&rest, 1, n_left);
            rest = left;
            let at = second - (n_left - 1);
            self.note_throttling(at, &share);
            closed.push((at, figures(&share, &reading)));
        }
        self.figures = closed.last().map(|(_, figures)| figures.clone());
        self.latest = reading;
        self.second = second;
        closed
    }

    fn note_throttling(&mut self, second: u64, share: &Counters) {
        let (Some(n_periods), Some(n_throttled)) = (share[PERIODS], share[THROTTLED]) else {
            return;
        };
        self.throttling.push_back((second, n_periods, n_throttled));
        let first = (second + 1).saturating_sub(THROTTLE_SECONDS);
        self.throttling.retain(|(at, ..)| *at >= first);
    }
}

/// What containers used in the newest second before `open`; nothing where no
/// reading of any of them is so new.
pub(crate) fn snapshot<'a>(
    meters: impl Iterator<Item = &'a Meter> + Clone,
    n_oom_kills: Option<u64>,
    open: u64,
) -> Option<ResourceSnapshot> {
    let fresh = meters.filter(|meter| meter.is_fresh(open));
    let figures = fresh.clone().filter_map(|meter| meter.figures.as_ref());
    figures.clone().next()?;
    let mut sum = ResourceFigures::default();
    for one in figures.clone() {
        sum.merge(one);
    }
    let (n_periods, n_throttled) = fresh
        .clone()
        .flat_map(|meter| &meter.throttling)
        .fold((0, 0), |(periods, throttled), (_, p, t)| {
            (periods + p, throttled + t)
        });
    let pressure = |of: fn(&ResourceFigures) -> Option<u64>| {
        let worst = figures.clone().filter_map(of).max()?;
        Some((worst as f64 / 1e6).min(1.0))
    };
    let readings = fresh
        .filter(|meter| meter.figures.is_some())
        .map(Meter::latest);
    let gpus = by_gpu(readings.clone());
    let utilizations: Vec<f64> = gpus.iter().filter_map(|gpu| gpu.utilization).collect();
    Some(ResourceSnapshot {
        cpu_cores: sum.cpu_ns as f64 / NS_PER_SECOND as f64,
        cpu_limit_cores: all(figures.clone().map(|one| one.cpu_limit_cores)),
        throttled_share: (n_periods > 0).then(|| n_throttled as f64 / n_periods as f64),
        memory_bytes: sum.memory_sum_bytes,
        memory_limit_bytes: all(figures.clone().map(|one| one.memory_limit_bytes)),
        n_oom_kills,
        received_bytes: sum.received_bytes,
        sent_bytes: sum.sent_bytes,
        read_bytes: sum.read_bytes,
        written_bytes: sum.written_bytes,
        n_pids: any(readings.clone().map(|reading| reading.n_pids)),
        pids_limit: all(readings.map(|reading| reading.pids_limit)),
        pressure_cpu: pressure(|one| one.pressure_cpu_us),
        pressure_memory: pressure(|one| one.pressure_memory_us),
        pressure_io: pressure(|one| one.pressure_io_us),
        gpu_utilization: mean(&utilizations),
        gpu_memory_bytes: any(gpus.iter().map(|gpu| gpu.memory_bytes)),
        gpu_memory_total_bytes: any(gpus.iter().map(|gpu| Some(gpu.memory_total_bytes))),
    })
}

/// The second that a reading closes: readings are taken around its end, those
/// of up to half a second later as well.
fn second_of(at: UnixNs) -> u64 {
    (at.0.saturating_add(NS_PER_SECOND / 2) / NS_PER_SECOND).saturating_sub(1)
}

fn counters(reading: &ResourceReading) -> Counters {
    let mut all = [None; N_COUNTERS];
    all[CPU_NS] = Some(reading.cpu.usage_ns);
    all[PERIODS] = reading.cpu.n_periods;
    all[THROTTLED] = reading.cpu.n_throttled;
    all[THROTTLED_NS] = reading.cpu.throttled_ns;
    all[RECEIVED] = reading.network.map(|network| network.received_bytes);
    all[SENT] = reading.network.map(|network| network.sent_bytes);
    all[READ] = reading.block.map(|block| block.read_bytes);
    all[WRITTEN] = reading.block.map(|block| block.written_bytes);
    all[PRESSURE_CPU] = reading.pressure.map(|pressure| pressure.cpu_us);
    all[PRESSURE_MEMORY] = reading.pressure.map(|pressure| pressure.memory_us);
    all[PRESSURE_IO] = reading.pressure.map(|pressure| pressure.io_us);
    all
}

/// What grew. An interface that is gone takes its bytes with it: nothing is
/// known of what was moved meanwhile.
fn differences(before: &Counters, after: &Counters) -> Counters {
    let mut grown = [None; N_COUNTERS];
    for (at, grown) in grown.iter_mut().enumerate() {
        *grown = match (before[at], after[at]) {
            (Some(before), Some(after)) => Some(after.saturating_sub(before)),
            _ => None,
        };
    }
    grown
}

fn plus(mut sum: Counters, more: &Counters) -> Counters {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = match (*sum, *more) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
    }
    sum
}

/// `part` of `whole`, rounded down, and the rest.
fn split(all: &Counters, part: u64, whole: u64) -> (Counters, Counters) {
    let mut share = *all;
    let mut rest = *all;
    for (share, rest) in share.iter_mut().zip(&mut rest) {
        let Some(total) = *share else { continue };
        let taken = u128::from(total) * u128::from(part) / u128::from(whole.max(1));
        let taken = u64::try_from(taken).unwrap_or(total).min(total);
        *share = Some(taken);
        *rest = Some(total - taken);
    }
    (share, rest)
}

/// The figures of one second: what was used in it, and the levels at its end.
fn figures(used: &Counters, reading: &ResourceReading) -> ResourceFigures {
    let gpus = &reading.gpus;
    let utilizations: Vec<f64> = gpus.iter().filter_map(|gpu| gpu.utilization).collect();
    ResourceFigures {
        n_seconds: 1,
        cpu_ns: used[CPU_NS].unwrap_or(0),
        cpu_limit_cores: reading.cpu.limit_cores,
        n_periods: used[PERIODS],
        n_throttled: used[THROTTLED],
        throttled_ns: used[THROTTLED_NS],
        memory_sum_bytes: reading.memory.working_set_bytes,
        memory_max_bytes: reading.memory.working_set_bytes,
        memory_limit_bytes: reading.memory.limit_bytes,
        n_oom_kills: reading.memory.n_oom_kills.map(|_| 0),
        received_bytes: used[RECEIVED],
        sent_bytes: used[SENT],
        read_bytes: used[READ],
        written_bytes: used[WRITTEN],
        n_pids_max: reading.n_pids,
        pressure_cpu_us: used[PRESSURE_CPU],
        pressure_memory_us: used[PRESSURE_MEMORY],
        pressure_io_us: used[PRESSURE_IO],
        gpu_utilization_sum: (!utilizations.is_empty()).then(|| utilizations.iter().sum()),
        gpu_memory_max_bytes: any(gpus.iter().map(|gpu| gpu.memory_bytes)),
        gpu_memory_total_bytes: any(gpus.iter().map(|gpu| Some(gpu.memory_total_bytes))),
    }
}

/// What containers hold of each GPU: one that they share counts once.
fn by_gpu<'a>(readings: impl Iterator<Item = &'a ResourceReading>) -> Vec<GpuReading> {
    let mut all: Vec<GpuReading> = Vec::new();
    for gpu in readings.flat_map(|reading| &reading.gpus) {
        match all.iter_mut().find(|known| known.index == gpu.index) {
            None => all.push(*gpu),
            Some(known) => {
                known.utilization = any_f64(known.utilization, gpu.utilization);
                known.memory_bytes = any([known.memory_bytes, gpu.memory_bytes].into_iter());
            }
        }
    }
    all
}

fn any_f64(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a + b).min(1.0)),
        (a, b) => a.or(b),
    }
}

/// The sum of what is known; nothing where nothing is.
fn any(values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values.flatten().fold(None, |sum: Option<u64>, value| {
        Some(sum.unwrap_or(0).saturating_add(value))
    })
}

/// The sum, where every value is known.
fn all<T: std::iter::Sum>(values: impl Iterator<Item = Option<T>>) -> Option<T> {
    values.sum()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
