use modeltap_core::resource::{
    BlockReading, CpuReading, MemoryReading, NetworkReading, PressureReading,
};

use super::*;

const EPOCH: u64 = 1_700_000_000;

fn at(seconds: f64) -> UnixNs {
    UnixNs(EPOCH * NS_PER_SECOND + (seconds * 1e9) as u64)
}

/// A container that has used one core since the epoch, as read at `seconds`.
fn reading(seconds: f64) -> ResourceReading {
    let ns = (seconds * 1e9) as u64;
    ResourceReading {
        cgroup: CgroupId(1),
        at: at(seconds),
        cpu: CpuReading {
            usage_ns: ns,
            n_periods: Some(ns / 100_000_000),
            n_throttled: Some(ns / 200_000_000),
            throttled_ns: Some(ns / 10),
            limit_cores: Some(2.0),
            ..CpuReading::default()
        },
        memory: MemoryReading {
            usage_bytes: 900,
            working_set_bytes: 600,
            limit_bytes: Some(1_000),
            n_oom_kills: Some(5),
        },
        network: Some(NetworkReading {
            received_bytes: ns / 1_000_000,
            sent_bytes: ns / 2_000_000,
            n_errors: 0,
        }),
        block: Some(BlockReading::default()),
        n_pids: Some(3),
        pids_limit: None,
        pressure: Some(PressureReading {
            cpu_us: ns / 4_000,
            memory_us: 0,
            io_us: 0,
        }),
        gpus: Vec::new(),
    }
}

/// Seconds, since the epoch, with the milliseconds of processor time told.
fn feed(meter: &mut Meter, times: &[f64]) -> Vec<(u64, u64)> {
    times
        .iter()
        .flat_map(|&time| meter.take(reading(time)))
        .map(|(second, figures)| (second - EPOCH, figures.cpu_ns / 1_000_000))
        .collect()
}

#[track_caller]
fn check(times: &[f64], expected: &[(u64, u64)]) {
    let mut meter = Meter::new(reading(times[0]));
    assert_eq!(feed(&mut meter, &times[1..]), expected);
}

#[test]
fn second_is_the_one_that_the_reading_closes() {
    check(&[0.95, 1.95, 2.95], &[(1, 1_000), (2, 1_000)]);
    check(&[1.0, 2.0], &[(1, 1_000)]);
}

#[test]
fn late_reading_is_no_spike_and_nothing_is_lost() {
    check(
        &[0.95, 2.35, 2.95, 3.95],
        &[(1, 1_000), (2, 1_000), (3, 1_000)],
    );
    // On and on: the sum is that of the counter.
    let mut meter = Meter::new(reading(0.95));
    let mut sum = 0;
    let mut worst = 0;
    for second in 1..200_u32 {
        let late = f64::from(second * 7 % 10) / 20.0;
        for (_, figures) in meter.take(reading(f64::from(second) + 0.95 + late)) {
            sum += figures.cpu_ns;
            worst = worst.max(figures.cpu_ns);
        }
    }
    assert!(worst <= 1_063_000_000, "{worst}");
    let end = f64::from(199_u32 * 7 % 10) / 20.0;
    let used = ((199.0 + end) * 1e9) as u64;
    assert!(sum.abs_diff(used) < 510_000_000, "{sum} of {used}");
}

#[test]
fn two_readings_in_one_second_are_one() {
    check(&[0.95, 1.6, 1.95, 2.2, 2.95], &[(1, 650), (2, 1_000)]);
}

#[test]
fn gap_is_spread_and_a_long_one_is_left_out() {
    check(
        &[0.95, 3.95, 4.95],
        &[(1, 1_000), (2, 1_000), (3, 1_000), (4, 1_000)],
    );
    check(&[0.95, 60.95, 61.95], &[(61, 1_000)]);
}

#[test]
fn clock_that_is_set_is_a_new_beginning() {
    let mut meter = Meter::new(reading(100.95));
    let mut back = reading(101.95);
    back.at = at(50.95);
    assert!(meter.take(back).is_empty());
    let mut next = reading(102.95);
    next.at = at(51.95);
    let told = meter.take(next);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0 - EPOCH, told[0].1.cpu_ns), (51, 1_000_000_000));
}

#[test]
fn counter_that_fell_or_came_anew_says_nothing() {
    let mut meter = Meter::new(reading(100.95));
    let mut fallen = reading(101.95);
    fallen.network = Some(NetworkReading::default());
    fallen.cpu.usage_ns = 0;
    fallen.block = None;
    let told = meter.take(fallen).remove(0).1;
    assert_eq!((told.cpu_ns, told.received_bytes), (0, Some(0)));
    assert_eq!((told.read_bytes, told.n_throttled), (None, Some(5)));
    // The new interface's first bytes are not a second's.
    let mut meter = Meter::new(ResourceReading {
        network: None,
        ..reading(100.95)
    });
    let told = meter.take(reading(101.95)).remove(0).1;
    assert_eq!(told.received_bytes, None);
    let told = meter.take(reading(102.95)).remove(0).1;
    assert_eq!(told.received_bytes, Some(1_000));
}

#[test]
fn figures_of_a_second_have_its_use_and_its_levels() {
    let mut meter = Meter::new(reading(0.95));
    let told = meter.take(reading(1.95)).remove(0).1;
    let expected = ResourceFigures {
        n_seconds: 1,
        cpu_ns: 1_000_000_000,
        cpu_limit_cores: Some(2.0),
        n_periods: Some(10),
        n_throttled: Some(5),
        throttled_ns: Some(100_000_000),
        memory_sum_bytes: 600,
        memory_max_bytes: 600,
        memory_limit_bytes: Some(1_000),
        n_oom_kills: Some(0),
        received_bytes: Some(1_000),
        sent_bytes: Some(500),
        read_bytes: Some(0),
        written_bytes: Some(0),
        n_pids_max: Some(3),
        pressure_cpu_us: Some(250_000),
        pressure_memory_us: Some(0),
        pressure_io_us: Some(0),
        ..ResourceFigures::default()
    };
    assert_eq!(told, expected);
}

fn gpu(index: u32, utilization: f64, memory_bytes: u64) -> GpuReading {
    GpuReading {
        index,
        utilization: Some(utilization),
        memory_bytes: Some(memory_bytes),
        memory_total_bytes: 100,
    }
}

#[test]
fn service_is_the_sum_of_its_containers() {
    let mut first = Meter::new(reading(0.95));
    let second = ResourceReading {
        gpus: vec![gpu(0, 0.5, 10)],
        ..reading(1.95)
    };
    first.take(second);
    let mut other = Meter::new(reading(0.95));
    let mut unlimited = ResourceReading {
        gpus: vec![gpu(0, 0.7, 20), gpu(1, 0.2, 5)],
        ..reading(1.95)
    };
    unlimited.memory.limit_bytes = None;
    unlimited.cpu.n_throttled = Some(0);
    unlimited.pressure = None;
    other.take(unlimited);

    let alone = snapshot([&first].into_iter(), Some(1), EPOCH + 2).unwrap();
    assert_eq!((alone.cpu_cores, alone.cpu_limit_cores), (1.0, Some(2.0)));
    assert_eq!(alone.throttled_share, Some(0.5));
    assert_eq!(
        (alone.memory_bytes, alone.memory_limit_bytes),
        (600, Some(1_000))
    );
    assert_eq!(
        (alone.received_bytes, alone.n_oom_kills),
        (Some(1_000), Some(1))
    );
    assert_eq!(alone.pressure_cpu, Some(0.25));

    let both = snapshot([&first, &other].into_iter(), None, EPOCH + 2).unwrap();
    assert_eq!((both.cpu_cores, both.cpu_limit_cores), (2.0, Some(4.0)));
    assert_eq!(both.throttled_share, Some(0.25));
    assert_eq!((both.memory_bytes, both.memory_limit_bytes), (1_200, None));
    assert_eq!((both.n_pids, both.pids_limit), (Some(6), None));
    assert_eq!(both.pressure_cpu, Some(0.25));
    // They share the first GPU, which cannot be busier than always.
    assert_eq!(both.gpu_utilization, Some((1.0 + 0.2) / 2.0));
    assert_eq!(
        (both.gpu_memory_bytes, both.gpu_memory_total_bytes),
        (Some(35), Some(200))
    );
}

#[test]
fn old_figures_are_not_shown() {
    let mut meter = Meter::new(reading(0.95));
    assert_eq!(snapshot([&meter].into_iter(), None, EPOCH + 1), None);
    meter.take(reading(1.95));
    assert!(snapshot([&meter].into_iter(), None, EPOCH + 4).is_some());
    assert_eq!(snapshot([&meter].into_iter(), None, EPOCH + 5), None);
}

#[test]
fn share_of_throttled_periods_is_of_the_last_minute() {
    let mut meter = Meter::new(reading(0.95));
    for second in 1..=200_u32 {
        let mut now = reading(f64::from(second) + 0.95);
        // Throttled in the last half minute only.
        let n_throttled = u64::from(second.saturating_sub(170)) * 10;
        now.cpu.n_throttled = Some(n_throttled);
        meter.take(now);
    }
    let told = snapshot([&meter].into_iter(), None, EPOCH + 201).unwrap();
    assert_eq!(told.throttled_share, Some(0.5));
    assert_eq!(meter.throttling.len(), 60);
}

#[test]
fn largest_numbers_do_not_break_it() {
    let huge = |time, value| {
        let mut huge = reading(time);
        huge.cpu.usage_ns = value;
        huge.network = Some(NetworkReading {
            received_bytes: value,
            sent_bytes: value,
            n_errors: value,
        });
        huge.memory.working_set_bytes = u64::MAX;
        huge
    };
    let mut meter = Meter::new(huge(0.95, 0));
    let told = meter.take(huge(3.0, u64::MAX));
    let sum = told
        .iter()
        .map(|(_, figures)| u128::from(figures.cpu_ns))
        .sum::<u128>();
    assert!(told.len() == 2 && sum <= u128::from(u64::MAX));
    meter.take(ResourceReading {
        at: UnixNs(u64::MAX),
        ..huge(4.0, u64::MAX)
    });
    meter.take(ResourceReading {
        at: UnixNs(0),
        ..huge(4.0, 1)
    });
    snapshot([&meter, &meter].into_iter(), Some(u64::MAX), u64::MAX);
}
