//! What containers use, from the readings to history, live view and totals.

mod support;

use std::time::Duration;

use modeltap_core::container::Container;
use modeltap_core::resource::{CpuReading, MemoryReading, ResourceReading, ResourceRollup};
use modeltap_core::timeline::{TimelineEvent, TimelineKind};
use modeltap_metrics::{Aggregator, Config};

use support::{ANCHOR, at, container, request};

/// A container that uses half a core and was killed in `n_kills` times.
fn reading(of: &Container, seconds: f64, n_kills: u64) -> ResourceReading {
    ResourceReading {
        cgroup: of.cgroup,
        at: at(seconds),
        cpu: CpuReading {
            usage_ns: (seconds * 5e8) as u64,
            ..CpuReading::default()
        },
        memory: MemoryReading {
            working_set_bytes: 100,
            n_oom_kills: Some(n_kills),
            ..MemoryReading::default()
        },
        network: None,
        block: None,
        n_pids: Some(1),
        pids_limit: None,
        pressure: None,
        gpus: Vec::new(),
    }
}

fn watching(containers: &[&Container]) -> Aggregator {
    let mut aggregator = Aggregator::new(Config::default());
    aggregator.tick(at(0.0));
    for container in containers {
        aggregator.upsert_container(container);
    }
    aggregator
}

/// Seconds and containers of rollups.
fn keys(rollups: &[ResourceRollup]) -> Vec<(u64, String)> {
    rollups
        .iter()
        .map(|rollup| {
            assert_eq!(rollup.width, Duration::from_secs(1));
            (
                rollup.start.seconds() - support::EPOCH,
                rollup.container.to_string(),
            )
        })
        .collect()
}

fn killed(of: &Container, seconds: f64) -> TimelineEvent {
    TimelineEvent {
        at: at(seconds),
        kind: TimelineKind::OomKilled,
        service: Some(of.service.0.as_str().into()),
        container: Some(of.name.as_str().into()),
        detail: String::new(),
    }
}

#[test]
fn each_second_of_a_container_is_rolled_up_once_and_shown() {
    let (a, b) = (container("shop", "shop-1"), container("shop", "shop-2"));
    let stranger = container("other", "other-3");
    let mut aggregator = watching(&[&a, &b]);
    let mut rollups = Vec::new();
    for second in 1..=3_u32 {
        let time = f64::from(second) - 0.05;
        let readings = [&a, &b, &stranger].map(|of| reading(of, time, 0));
        assert!(aggregator.set_resources(readings.into()).is_empty());
        let taken = Duration::from_millis(1);
        aggregator.record(request("/p", 200, time, taken), &a, ANCHOR);
        aggregator.tick(at(f64::from(second)));
        rollups.extend(aggregator.take_resources(at(f64::from(second))));
    }
    let names = |second| [(second, "shop-1".to_owned()), (second, "shop-2".to_owned())];
    assert_eq!(keys(&rollups), [names(1), names(2)].concat());
    assert_eq!(rollups[0].figures.cpu_ns, 500_000_000);

    let live = aggregator.snapshot();
    let service = live.service("shop").unwrap();
    assert_eq!(service.window.n_requests, 3);
    assert_eq!(service.resources.unwrap().cpu_cores, 1.0);
    assert_eq!(service.by_container[1].resources.unwrap().cpu_cores, 0.5);
    let totals = aggregator.totals();
    let used = totals.containers.iter().map(|of| of.resources.as_ref());
    let used: Vec<u64> = used.flatten().map(|used| used.cpu.usage_ns).collect();
    assert_eq!(used, [1_475_000_000; 2]);
}

#[test]
fn container_that_ended_is_neither_shown_nor_told() {
    let a = container("shop", "shop-1");
    let mut aggregator = watching(&[&a]);
    aggregator.set_resources(vec![reading(&a, 0.95, 0)]);
    aggregator.set_resources(vec![reading(&a, 1.95, 0)]);
    aggregator.remove_container(&a.id);
    aggregator.set_resources(vec![reading(&a, 2.95, 0)]);
    let rollups = aggregator.take_resources(at(3.0));
    assert_eq!(keys(&rollups), [(1, "shop-1".to_owned())]);
    let resources = aggregator
        .totals()
        .containers
        .into_iter()
        .find_map(|of| of.resources);
    assert_eq!(resources, None);
}

#[test]
fn restart_begins_anew_without_a_spike_and_without_a_second_twice() {
    let a = container("shop", "shop-1");
    let mut aggregator = watching(&[&a]);
    aggregator.set_resources(vec![reading(&a, 5.95, 3)]);
    aggregator.set_resources(vec![reading(&a, 6.95, 3)]);
    let mut restarted = a.clone();
    restarted.cgroup.0 += 1;
    aggregator.remove_container(&a.id);
    aggregator.upsert_container(&restarted);
    let mut fresh = reading(&restarted, 7.4, 0);
    fresh.cpu.usage_ns = 10;
    assert!(aggregator.set_resources(vec![fresh]).is_empty());
    let mut fresh = reading(&restarted, 7.95, 0);
    fresh.cpu.usage_ns = 20;
    aggregator.set_resources(vec![fresh]);
    let rollups = aggregator.take_resources(at(8.0));
    assert_eq!(
        keys(&rollups),
        [(6, "shop-1".to_owned()), (7, "shop-1".to_owned())]
    );
    assert_eq!(rollups[1].figures.cpu_ns, 10);
}

#[test]
fn kill_is_told_once_whoever_tells_it_first() {
    let a = container("shop", "shop-1");
    let mut aggregator = watching(&[&a]);
    // Before the daemon: nobody's news.
    assert!(
        aggregator
            .set_resources(vec![reading(&a, 0.95, 7)])
            .is_empty()
    );
    assert!(aggregator.happened(&killed(&a, 1.2)));
    assert!(
        aggregator
            .set_resources(vec![reading(&a, 1.95, 8)])
            .is_empty()
    );
    let told = aggregator.set_resources(vec![reading(&a, 2.95, 10)]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].detail, "2 processes");
    assert_eq!(
        (told[0].at, told[0].kind),
        (at(2.95), TimelineKind::OomKilled)
    );
    assert_eq!(told[0].container.as_deref(), Some("shop-1"));
    assert!(!aggregator.happened(&killed(&a, 2.5)));

    let rollups = aggregator.take_resources(at(3.0));
    let kills: Vec<_> = rollups
        .iter()
        .map(|rollup| rollup.figures.n_oom_kills)
        .collect();
    assert_eq!(kills, [Some(1), Some(2)]);
    let live = aggregator.snapshot();
    let service = live.service("shop").unwrap();
    assert_eq!(service.resources.unwrap().n_oom_kills, Some(3));
    assert_eq!(aggregator.totals().containers[0].n_oom_kills, Some(3));
}

#[test]
fn container_that_dies_of_it_leaves_its_kill_behind() {
    let a = container("shop", "shop-1");
    let mut aggregator = watching(&[&a]);
    aggregator.set_resources(vec![reading(&a, 0.95, 0)]);
    aggregator.set_resources(vec![reading(&a, 1.95, 0)]);
    assert_eq!(aggregator.take_resources(at(2.0)).len(), 1);
    // Docker tells of the kill when the container is gone.
    aggregator.remove_container(&a.id);
    assert!(aggregator.happened(&killed(&a, 2.4)));
    aggregator.tick(at(3.0));
    let rollups = aggregator.take_resources(at(3.0));
    assert_eq!(keys(&rollups), [(3, "shop-1".to_owned())]);
    assert_eq!(rollups[0].figures.n_oom_kills, Some(1));
    assert_eq!(rollups[0].figures.n_seconds, 0);
    assert!(aggregator.take_resources(at(4.0)).is_empty());
    let totals = aggregator.totals();
    assert_eq!(totals.containers[0].n_oom_kills, Some(1));
    // An hour later it is forgotten.
    for second in [3_600.0, 3_700.0, 3_800.0] {
        aggregator.tick(at(second));
    }
    assert!(aggregator.totals().containers.is_empty());
}

#[test]
fn other_happenings_are_always_news() {
    let a = container("shop", "shop-1");
    let mut aggregator = watching(&[]);
    for kind in TimelineKind::ALL {
        let event = TimelineEvent {
            kind,
            ..killed(&a, 1.0)
        };
        assert!(aggregator.happened(&event), "{kind:?}");
    }
}
