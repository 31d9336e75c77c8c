//! What containers use of the host and how their lives go, under cAdvisor's
//! names where it has one.

use modeltap_core::container::{HealthCheck, Lifecycle};
use modeltap_core::resource::{GpuReading, ResourceReading};

use crate::Labels;
use crate::containers::Known;
use crate::text::{Kind, Text};

/// A family with a sample a container of which the host tells it.
type Family = (
    &'static str,
    Kind,
    &'static str,
    fn(&ResourceReading) -> Option<f64>,
);

const FAMILIES: [Family; 20] = [
    (
        "container_cpu_usage_seconds_total",
        Kind::Counter,
        "Processor time used.",
        |used| ns(Some(used.cpu.usage_ns)),
    ),
    (
        "container_cpu_user_seconds_total",
        Kind::Counter,
        "Processor time used in user mode.",
        |used| ns(used.cpu.user_ns),
    ),
    (
        "container_cpu_system_seconds_total",
        Kind::Counter,
        "Processor time used in the kernel.",
        |used| ns(used.cpu.system_ns),
    ),
    (
        "container_cpu_cfs_periods_total",
        Kind::Counter,
        "Enforcement periods that passed while it ran under a quota.",
        |used| number(used.cpu.n_periods),
    ),
    (
        "container_cpu_cfs_throttled_periods_total",
        Kind::Counter,
        "Enforcement periods in which it was throttled.",
        |used| number(used.cpu.n_throttled),
    ),
    (
        "container_cpu_cfs_throttled_seconds_total",
        Kind::Counter,
        "Time it was throttled.",
        |used| ns(used.cpu.throttled_ns),
    ),
    (
        "container_spec_cpu_limit_cores",
        Kind::Gauge,
        "Cores it may use; absent without a quota.",
        |used| used.cpu.limit_cores,
    ),
    (
        "container_memory_usage_bytes",
        Kind::Gauge,
        "Memory charged to it, page cache included.",
        |used| number(Some(used.memory.usage_bytes)),
    ),
    (
        "container_memory_working_set_bytes",
        Kind::Gauge,
        "Memory usage without inactive page cache.",
        |used| number(Some(used.memory.working_set_bytes)),
    ),
    (
        "container_spec_memory_limit_bytes",
        Kind::Gauge,
        "Most memory it may use; absent without a limit.",
        |used| number(used.memory.limit_bytes),
    ),
    (
        "container_network_receive_bytes_total",
        Kind::Counter,
        "Bytes received, without loopback; absent on the host's network.",
        |used| number(used.network.map(|network| network.received_bytes)),
    ),
    (
        "container_network_transmit_bytes_total",
        Kind::Counter,
        "Bytes sent, without loopback; absent on the host's network.",
        |used| number(used.network.map(|network| network.sent_bytes)),
    ),
    (
        "modeltap_container_network_errors_total",
        Kind::Counter,
        "Packets dropped or broken, both ways.",
        |used| number(used.network.map(|network| network.n_errors)),
    ),
    (
        "container_fs_reads_bytes_total",
        Kind::Counter,
        "Bytes read from block devices.",
        |used| number(used.block.map(|block| block.read_bytes)),
    ),
    (
        "container_fs_writes_bytes_total",
        Kind::Counter,
        "Bytes written to block devices.",
        |used| number(used.block.map(|block| block.written_bytes)),
    ),
    (
        "container_pids",
        Kind::Gauge,
        "Processes and threads.",
        |used| number(used.n_pids),
    ),
    (
        "container_pids_limit",
        Kind::Gauge,
        "Most processes and threads it may have; absent without a limit.",
        |used| number(used.pids_limit),
    ),
    (
        "container_pressure_cpu_waiting_seconds_total",
        Kind::Counter,
        "Time in which some task waited for a processor.",
        |used| us(used.pressure.map(|pressure| pressure.cpu_us)),
    ),
    (
        "container_pressure_memory_waiting_seconds_total",
        Kind::Counter,
        "Time in which some task waited for memory.",
        |used| us(used.pressure.map(|pressure| pressure.memory_us)),
    ),
    (
        "container_pressure_io_waiting_seconds_total",
        Kind::Counter,
        "Time in which some task waited for a disk.",
        |used| us(used.pressure.map(|pressure| pressure.io_us)),
    ),
];

/// A family with a sample a GPU that a container's processes use.
type GpuFamily = (&'static str, &'static str, fn(&GpuReading) -> Option<f64>);

const GPU_FAMILIES: [GpuFamily; 3] = [
    (
        "hw_gpu_utilization_ratio",
        "Share of time that a container's processes kept a GPU busy.",
        |gpu| gpu.utilization,
    ),
    (
        "hw_gpu_memory_usage_bytes",
        "Memory of a GPU that a container's processes hold.",
        |gpu| number(gpu.memory_bytes),
    ),
    (
        "hw_gpu_memory_limit_bytes",
        "Memory of a GPU that a container's processes use.",
        |gpu| number(Some(gpu.memory_total_bytes)),
    ),
];

pub(crate) fn resources(text: &mut Text, readings: &Known<'_, ResourceReading>) {
    for (name, kind, help, value) in FAMILIES {
        text.each((name, kind, help), readings.iter().copied(), value);
    }
    for (name, help, value) in GPU_FAMILIES {
        text.family(name, Kind::Gauge, help);
        for (labels, reading) in readings {
            for gpu in &reading.gpus {
                if let Some(value) = value(gpu) {
                    let labels = with(labels, "hw_id", &gpu.index.to_string());
                    text.sample("", &labels, value);
                }
            }
        }
    }
}

pub(crate) fn kills(text: &mut Text, kills: &Known<'_, u64>) {
    let family = (
        "container_oom_events_total",
        Kind::Counter,
        "Processes killed for want of memory since the daemon watches.",
    );
    text.each(family, kills.iter().copied(), |n_kills| {
        Some(*n_kills as f64)
    });
}

pub(crate) fn lives(text: &mut Text, lives: &Known<'_, Lifecycle>) {
    let family = (
        "container_start_time_seconds",
        Kind::Gauge,
        "When it started, since the Unix epoch.",
    );
    text.each(family, lives.iter().copied(), |life| {
        ns(life.started.map(|started| started.0))
    });
    let family = (
        "modeltap_container_restarts_total",
        Kind::Counter,
        "Restarts by Docker's restart policy.",
    );
    text.each(family, lives.iter().copied(), |life| {
        Some(life.n_restarts as f64)
    });
    text.family(
        "modeltap_container_health_status",
        Kind::Gauge,
        "What Docker's health check says: 1 for the status that it has; absent without one.",
    );
    for (labels, life) in lives {
        let Some(health) = life.health else { continue };
        for status in [
            HealthCheck::Healthy,
            HealthCheck::Starting,
            HealthCheck::Unhealthy,
        ] {
            let labels = with(labels, "status", status.as_str());
            text.sample("", &labels, f64::from(u8::from(status == health)));
        }
    }
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.push((name, value.to_owned()));
    labels
}

fn number(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn ns(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64 / 1e9)
}

fn us(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use modeltap_core::connection::CgroupId;
    use modeltap_core::resource::{
        BlockReading, CpuReading, MemoryReading, NetworkReading, PressureReading,
    };
    use modeltap_core::time::UnixNs;

    use super::*;

    fn labels() -> Labels {
        vec![
            ("service_name", "svc".to_owned()),
            ("container_name", "svc-1".to_owned()),
        ]
    }

    fn used() -> ResourceReading {
        ResourceReading {
            cgroup: CgroupId(1),
            at: UnixNs(1),
            cpu: CpuReading {
                usage_ns: 1_500_000_000,
                user_ns: Some(1_000_000_000),
                system_ns: Some(500_000_000),
                n_periods: Some(20),
                n_throttled: Some(7),
                throttled_ns: Some(250_000_000),
                limit_cores: Some(0.2),
            },
            memory: MemoryReading {
                usage_bytes: 900,
                working_set_bytes: 600,
                limit_bytes: Some(1_000),
                n_oom_kills: Some(9),
            },
            network: Some(NetworkReading {
                received_bytes: 11,
                sent_bytes: 12,
                n_errors: 13,
            }),
            block: Some(BlockReading {
                read_bytes: 14,
                written_bytes: 15,
            }),
            n_pids: Some(3),
            pids_limit: Some(512),
            pressure: Some(PressureReading {
                cpu_us: 1_000_000,
                memory_us: 2_000_000,
                io_us: 500_000,
            }),
            gpus: vec![GpuReading {
                index: 1,
                utilization: Some(0.5),
                memory_bytes: Some(10),
                memory_total_bytes: 100,
            }],
        }
    }

    fn render(used: &ResourceReading, life: &Lifecycle) -> String {
        let labels = labels();
        let mut text = Text::default();
        resources(&mut text, &vec![(&labels, used)]);
        kills(&mut text, &vec![(&labels, &2)]);
        lives(&mut text, &vec![(&labels, life)]);
        text.into_string()
    }

    #[test]
    fn golden_lines_of_everything_that_is_used() {
        let life = Lifecycle {
            started: Some(UnixNs(1_700_000_000_500_000_000)),
            n_restarts: 4,
            health: Some(HealthCheck::Unhealthy),
        };
        let text = render(&used(), &life);
        let lines: HashSet<&str> = text.lines().collect();
        let of = "service_name=\"svc\",container_name=\"svc-1\"";
        for (name, value) in [
            ("container_cpu_usage_seconds_total", "1.5"),
            ("container_cpu_user_seconds_total", "1"),
            ("container_cpu_system_seconds_total", "0.5"),
            ("container_cpu_cfs_periods_total", "20"),
            ("container_cpu_cfs_throttled_periods_total", "7"),
            ("container_cpu_cfs_throttled_seconds_total", "0.25"),
            ("container_spec_cpu_limit_cores", "0.2"),
            ("container_memory_usage_bytes", "900"),
            ("container_memory_working_set_bytes", "600"),
            ("container_spec_memory_limit_bytes", "1000"),
            ("container_oom_events_total", "2"),
            ("container_network_receive_bytes_total", "11"),
            ("container_network_transmit_bytes_total", "12"),
            ("modeltap_container_network_errors_total", "13"),
            ("container_fs_reads_bytes_total", "14"),
            ("container_fs_writes_bytes_total", "15"),
            ("container_pids", "3"),
            ("container_pids_limit", "512"),
            ("container_pressure_cpu_waiting_seconds_total", "1"),
            ("container_pressure_memory_waiting_seconds_total", "2"),
            ("container_pressure_io_waiting_seconds_total", "0.5"),
            ("container_start_time_seconds", "1700000000.5"),
            ("modeltap_container_restarts_total", "4"),
        ] {
            let line = format!("{name}{{{of}}} {value}");
            assert!(
                lines.contains(line.as_str()),
                "{line} is missing in\n{text}"
            );
        }
        for line in [
            format!("hw_gpu_utilization_ratio{{{of},hw_id=\"1\"}} 0.5"),
            format!("hw_gpu_memory_usage_bytes{{{of},hw_id=\"1\"}} 10"),
            format!("hw_gpu_memory_limit_bytes{{{of},hw_id=\"1\"}} 100"),
            format!("modeltap_container_health_status{{{of},status=\"unhealthy\"}} 1"),
            format!("modeltap_container_health_status{{{of},status=\"healthy\"}} 0"),
        ] {
            assert!(
                lines.contains(line.as_str()),
                "{line} is missing in\n{text}"
            );
        }
    }

    #[test]
    fn what_the_host_does_not_tell_takes_no_line() {
        let bare = ResourceReading {
            cpu: CpuReading::default(),
            memory: MemoryReading::default(),
            network: None,
            block: None,
            n_pids: None,
            pids_limit: None,
            pressure: None,
            gpus: Vec::new(),
            ..used()
        };
        let text = render(&bare, &Lifecycle::default());
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let names: Vec<&str> = samples
            .iter()
            .filter_map(|line| line.split('{').next())
            .collect();
        let expected = [
            "container_cpu_usage_seconds_total",
            "container_memory_usage_bytes",
            "container_memory_working_set_bytes",
            "container_oom_events_total",
            "modeltap_container_restarts_total",
        ];
        assert_eq!(names, expected);
    }
}
