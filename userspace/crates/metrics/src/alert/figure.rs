//! Figures that rules are about, from counts, levels and times.

use modeltap_core::alert::AlertMetric;
use modeltap_core::resource::ResourceFigures;
use modeltap_core::rollup::Rollup;

use super::window::{Count, Counted, Level, Sums};
use crate::slice::Live;

/// The times a figure is a quantile of, and which; `None` where it is none.
pub(crate) fn quantile_of(metric: AlertMetric) -> Option<(Live, f64)> {
    Some(match metric {
        AlertMetric::DurationP50 => (Live::Duration, 0.5),
        AlertMetric::DurationP95 => (Live::Duration, 0.95),
        AlertMetric::DurationP99 => (Live::Duration, 0.99),
        AlertMetric::TtfbP95 => (Live::TimeToFirstByte, 0.95),
        AlertMetric::FeltP95 => (Live::Felt, 0.95),
        AlertMetric::QueueP95 => (Live::Queue, 0.95),
        AlertMetric::FirstChunkP95 => (Live::FirstChunk, 0.95),
        AlertMetric::ChunkIntervalP95 => (Live::ChunkInterval, 0.95),
        _ => return None,
    })
}

/// A figure that is no quantile, over `seconds`; `None` where it is not known,
/// or of fewer than `min_requests`.
pub(crate) fn plain(
    metric: AlertMetric,
    counted: &impl Counted,
    seconds: u64,
    min_requests: u64,
) -> Option<f64> {
    let count = |count| counted.count(count);
    let share =
        |part: u64, all: u64, least: u64| (all >= least.max(1)).then(|| part as f64 / all as f64);
    match metric {
        AlertMetric::RequestRate => {
            (seconds > 0).then(|| count(Count::Requests) as f64 / seconds as f64)
        }
        AlertMetric::ErrorRate => share(count(Count::Errors), count(Count::Requests), min_requests),
        AlertMetric::StreamAbortRate => {
            share(count(Count::Aborted), count(Count::Streams), min_requests)
        }
        AlertMetric::CaptureLossShare => {
            share(count(Count::BytesLost), count(Count::BytesObserved), 1)
        }
        AlertMetric::OomKills => {
            let n_kills = count(Count::OomKills);
            (n_kills > 0 || count(Count::OomTold) > 0).then_some(n_kills as f64)
        }
        AlertMetric::Restarts => (seconds > 0).then(|| count(Count::Starts) as f64),
        AlertMetric::ActiveRequests => counted.level(Level::Active),
        AlertMetric::CpuCores => counted.level(Level::CpuCores),
        AlertMetric::CpuShare => counted.level(Level::CpuShare),
        AlertMetric::ThrottledShare => counted.level(Level::Throttled),
        AlertMetric::MemoryBytes => counted.level(Level::MemoryBytes),
        AlertMetric::MemoryShare => counted.level(Level::MemoryShare),
        AlertMetric::GpuUtilization => counted.level(Level::GpuUtilization),
        AlertMetric::GpuMemoryShare => counted.level(Level::GpuMemory),
        AlertMetric::DurationP50
        | AlertMetric::DurationP95
        | AlertMetric::DurationP99
        | AlertMetric::TtfbP95
        | AlertMetric::FeltP95
        | AlertMetric::QueueP95
        | AlertMetric::FirstChunkP95
        | AlertMetric::ChunkIntervalP95 => None,
    }
}

/// Adds a second's requests.
pub(crate) fn add_requests(sums: &mut Sums, rollups: &[Rollup]) {
    for rollup in rollups {
        let figures = &rollup.figures;
        sums.add(Count::Requests, figures.n_requests);
        sums.add(Count::Errors, figures.n_errors);
        if let Some(detail) = figures.detail.as_deref() {
            sums.add(Count::Streams, detail.streams.n_streams);
            sums.add(Count::Aborted, detail.streams.n_aborted);
        }
    }
}

/// Adds a second's use of the host by each of the service's containers. A
/// share is that of the container nearest to its limit: the others do not
/// make it better.
pub(crate) fn add_resources<'a>(
    sums: &mut Sums,
    containers: impl Iterator<Item = &'a ResourceFigures>,
) {
    let mut cores = None;
    let mut memory = None;
    let (mut cpu_share, mut throttled, mut memory_share) = (None, None, None);
    let (mut gpu, mut gpu_memory) = (None, None);
    for used in containers {
        let seconds = used.n_seconds.max(1) as f64;
        let used_cores = used.cpu_ns as f64 / 1e9 / seconds;
        add(&mut cores, used_cores);
        add(&mut memory, used.memory_sum_bytes as f64 / seconds);
        worst(
            &mut cpu_share,
            used.cpu_limit_cores.and_then(|of| ratio(used_cores, of)),
        );
        let n_periods = used.n_periods.map(|n| n as f64);
        worst(
            &mut throttled,
            n_periods.and_then(|all| ratio(used.n_throttled? as f64, all)),
        );
        let limit = used.memory_limit_bytes.map(|limit| limit as f64);
        worst(
            &mut memory_share,
            limit.and_then(|limit| ratio(used.memory_max_bytes as f64, limit)),
        );
        worst(&mut gpu, used.gpu_utilization_sum.map(|sum| sum / seconds));
        let gpu_total = used.gpu_memory_total_bytes.map(|total| total as f64);
        worst(
            &mut gpu_memory,
            gpu_total.and_then(|total| ratio(used.gpu_memory_max_bytes? as f64, total)),
        );
        if let Some(n_kills) = used.n_oom_kills {
            sums.add(Count::OomTold, 1);
            sums.add(Count::OomKills, n_kills);
        }
    }
    for (level, value) in [
        (Level::CpuCores, cores),
        (Level::MemoryBytes, memory),
        (Level::CpuShare, cpu_share),
        (Level::Throttled, throttled),
        (Level::MemoryShare, memory_share),
        (Level::GpuUtilization, gpu),
        (Level::GpuMemory, gpu_memory),
    ] {
        sums.read(level, value);
    }
}

fn add(sum: &mut Option<f64>, more: f64) {
    *sum = Some(sum.unwrap_or(0.0) + more);
}

fn worst(known: &mut Option<f64>, other: Option<f64>) {
    *known = match (*known, other) {
        (Some(a), Some(b)) => Some(f64::max(a, b)),
        (a, b) => a.or(b),
    };
}

fn ratio(part: f64, all: f64) -> Option<f64> {
    (all > 0.0).then(|| part / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_a_service_is_that_of_its_container_nearest_to_the_limit() {
        let half = ResourceFigures {
            n_seconds: 1,
            cpu_ns: 500_000_000,
            cpu_limit_cores: Some(1.0),
            n_periods: Some(10),
            n_throttled: Some(1),
            memory_sum_bytes: 50,
            memory_max_bytes: 50,
            memory_limit_bytes: Some(100),
            n_oom_kills: Some(0),
            ..ResourceFigures::default()
        };
        let unlimited = ResourceFigures {
            n_seconds: 1,
            cpu_ns: 3_000_000_000,
            memory_sum_bytes: 950,
            memory_max_bytes: 950,
            ..ResourceFigures::default()
        };
        let mut sums = Sums::default();
        add_resources(&mut sums, [&half, &unlimited].into_iter());
        let figure = |metric| plain(metric, &sums, 1, 1);
        assert_eq!(figure(AlertMetric::CpuCores), Some(3.5));
        assert_eq!(figure(AlertMetric::CpuShare), Some(0.5));
        assert_eq!(figure(AlertMetric::ThrottledShare), Some(0.1));
        assert_eq!(figure(AlertMetric::MemoryBytes), Some(1_000.0));
        assert_eq!(figure(AlertMetric::MemoryShare), Some(0.5));
        assert_eq!(figure(AlertMetric::OomKills), Some(0.0));
        assert_eq!(figure(AlertMetric::GpuUtilization), None);
        assert_eq!(figure(AlertMetric::ErrorRate), None, "of no request");
    }

    #[test]
    fn share_of_too_few_requests_is_not_known() {
        let mut sums = Sums::default();
        sums.add(Count::Requests, 19);
        sums.add(Count::Errors, 19);
        assert_eq!(plain(AlertMetric::ErrorRate, &sums, 60, 20), None);
        assert_eq!(plain(AlertMetric::ErrorRate, &sums, 60, 19), Some(1.0));
        assert_eq!(plain(AlertMetric::OomKills, &sums, 60, 1), None);
    }
}
