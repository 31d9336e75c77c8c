//! What containers use, and how their lives go.

use modeltap_api_types as wire;
use modeltap_core::container::{HealthCheck, Lifecycle};
use modeltap_metrics::ResourceSnapshot;

pub(super) fn resources(used: &ResourceSnapshot) -> wire::Resources {
    // The figures are those of one second.
    let rate = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    wire::Resources {
        cpu_cores: used.cpu_cores,
        cpu_limit_cores: used.cpu_limit_cores,
        throttled_share: used.throttled_share,
        memory_bytes: used.memory_bytes,
        memory_limit_bytes: used.memory_limit_bytes,
        n_oom_kills: used.n_oom_kills,
        receive_bytes_per_second: rate(used.received_bytes),
        send_bytes_per_second: rate(used.sent_bytes),
        read_bytes_per_second: rate(used.read_bytes),
        write_bytes_per_second: rate(used.written_bytes),
        n_pids: used.n_pids,
        pids_limit: used.pids_limit,
        pressure_cpu: used.pressure_cpu,
        pressure_memory: used.pressure_memory,
        pressure_io: used.pressure_io,
        gpu_utilization: used.gpu_utilization,
        gpu_memory_bytes: used.gpu_memory_bytes,
        gpu_memory_total_bytes: used.gpu_memory_total_bytes,
    }
}

pub(super) fn lifecycle(life: &Lifecycle) -> wire::Lifecycle {
    wire::Lifecycle {
        started_unix_ms: life.started.map(|at| at.millis()),
        n_restarts: life.n_restarts,
        health: life.health.map(HealthCheck::as_str).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use modeltap_core::time::UnixNs;

    use super::*;

    #[test]
    fn every_figure_has_its_own_place_and_what_is_not_told_is_null() {
        let used = ResourceSnapshot {
            cpu_cores: 0.5,
            cpu_limit_cores: Some(2.0),
            throttled_share: Some(0.1),
            memory_bytes: 1,
            memory_limit_bytes: Some(2),
            n_oom_kills: Some(3),
            received_bytes: Some(4),
            sent_bytes: Some(5),
            read_bytes: Some(6),
            written_bytes: Some(7),
            n_pids: Some(8),
            pids_limit: Some(9),
            pressure_cpu: Some(0.2),
            pressure_memory: Some(0.3),
            pressure_io: Some(0.4),
            gpu_utilization: Some(0.6),
            gpu_memory_bytes: Some(10),
            gpu_memory_total_bytes: Some(11),
        };
        let expected = wire::Resources {
            cpu_cores: 0.5,
            cpu_limit_cores: Some(2.0),
            throttled_share: Some(0.1),
            memory_bytes: 1,
            memory_limit_bytes: Some(2),
            n_oom_kills: Some(3),
            receive_bytes_per_second: Some(4.0),
            send_bytes_per_second: Some(5.0),
            read_bytes_per_second: Some(6.0),
            write_bytes_per_second: Some(7.0),
            n_pids: Some(8),
            pids_limit: Some(9),
            pressure_cpu: Some(0.2),
            pressure_memory: Some(0.3),
            pressure_io: Some(0.4),
            gpu_utilization: Some(0.6),
            gpu_memory_bytes: Some(10),
            gpu_memory_total_bytes: Some(11),
        };
        assert_eq!(resources(&used), expected);
        let nothing = ResourceSnapshot::default();
        assert_eq!(resources(&nothing), wire::Resources::default());
    }

    #[test]
    fn life_is_told_in_milliseconds_and_in_dockers_words() {
        let life = Lifecycle {
            started: Some(UnixNs(1_500_000_000)),
            n_restarts: 2,
            health: Some(HealthCheck::Unhealthy),
        };
        let expected = wire::Lifecycle {
            started_unix_ms: Some(1_500),
            n_restarts: 2,
            health: Some("unhealthy".to_owned()),
        };
        assert_eq!(lifecycle(&life), expected);
        assert_eq!(lifecycle(&Lifecycle::default()), wire::Lifecycle::default());
    }
}
