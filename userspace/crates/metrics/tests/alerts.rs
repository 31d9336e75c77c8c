//! Rules over real aggregated requests: what fires, when, and what does not.

mod support;
#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use modeltap_core::accounting::{CgroupCounts, ParserCounts};
use modeltap_core::alert::{
    Alert, AlertMetric, AlertRule, AlertState, Comparison, Condition, RuleOrigin, Severity, Silence,
};
use modeltap_core::connection::CgroupId;
use modeltap_core::container::{Container, Slo};
use modeltap_core::resource::ResourceFigures;
use modeltap_metrics::CgroupReport;
use modeltap_metrics::alert::default_rules;
use support::{ANCHOR, EPOCH, at, container, request};
use world::World;

fn api() -> Container {
    container("api", "api-1")
}

fn user_rule(metric: AlertMetric, condition: Condition) -> AlertRule {
    AlertRule {
        id: "user".into(),
        name: "Mine".into(),
        origin: RuleOrigin::User,
        enabled: true,
        service: None,
        metric,
        condition,
        window: Duration::from_secs(10),
        hold: Duration::from_secs(5),
        keep: Duration::from_secs(5),
        min_requests: 1,
        severity: Severity::Warning,
    }
}

fn above(threshold: f64, clear: Option<f64>) -> Condition {
    Condition::Threshold {
        comparison: Comparison::Above,
        threshold,
        clear,
    }
}

const ERROR_RATE: &str = "default:error_rate";
const FIRED: AlertState = AlertState::Firing;
const OVER: AlertState = AlertState::Resolved;

fn told(rule: &str, state: AlertState) -> Vec<(String, AlertState)> {
    vec![(rule.to_owned(), state)]
}

#[test]
fn failing_service_is_pending_then_fires_then_is_over_as_one_episode() {
    let (mut world, api) = (World::new(default_rules()), api());
    world.aggregator.upsert_container(&api);
    world.seconds(60, &api, &[(200, 10); 4]);
    assert!(world.active().is_empty());
    // 4 failures of 244 are no 5 %: the fourth second is the first beyond.
    world.seconds(4, &api, &[(500, 10); 4]);
    assert_eq!(world.active()[ERROR_RATE], AlertState::Pending);
    assert!(world.told().is_empty());
    world.seconds(29, &api, &[(500, 10); 4]);
    assert!(world.told().is_empty(), "it holds for 29 s");
    world.seconds(1, &api, &[(500, 10); 4]);
    let fired = world.told.clone();
    assert_eq!(world.told(), told(ERROR_RATE, FIRED));
    assert_eq!(&*fired[0].service, "api");
    assert_eq!(fired[0].severity, Severity::Critical);
    assert_eq!(fired[0].threshold, Some(0.05));
    assert_eq!(fired[0].since, at(64.0));
    assert_eq!(fired[0].fired, Some(at(94.0)));
    // The window is two minutes long; below 2 % for a minute it is over.
    world.seconds(117, &api, &[(200, 10); 4]);
    assert!(world.told().is_empty());
    assert_eq!(world.active()[ERROR_RATE], FIRED);
    world.seconds(65, &api, &[(200, 10); 4]);
    let over = world.told.clone();
    assert_eq!(world.told(), told(ERROR_RATE, OVER));
    assert_eq!(
        (over[0].id.clone(), over[0].since),
        (fired[0].id.clone(), fired[0].since)
    );
    assert!(
        over[0]
            .resolved
            .is_some_and(|resolved| resolved > at(94.0 + 117.0 + 59.0))
    );
    assert!(world.active().is_empty());
    world.seconds(300, &api, &[(200, 10); 4]);
    assert!(world.told().is_empty());
}

#[test]
fn figure_between_threshold_and_clear_keeps_an_alert_as_it_is() {
    let rule = user_rule(AlertMetric::ErrorRate, above(0.5, Some(0.2)));
    let (mut world, api) = (World::new(vec![rule]), api());
    world.aggregator.upsert_container(&api);
    let (all, third, none) = ([(500, 1); 3], [(500, 1), (200, 1), (200, 1)], [(200, 1); 3]);
    world.seconds(60, &api, &third);
    assert!(world.active().is_empty(), "a third is not a half");
    world.seconds(20, &api, &all);
    assert_eq!(world.told(), told("user", FIRED));
    world.seconds(600, &api, &third);
    assert!(world.told().is_empty(), "a third is not back at a fifth");
    world.seconds(20, &api, &none);
    assert_eq!(world.told(), told("user", OVER));
}

#[test]
fn handful_of_requests_raises_nothing() {
    let (mut world, api) = (World::new(default_rules()), api());
    world.aggregator.upsert_container(&api);
    for minute in 0..60 {
        // Six a minute, all failed, all slow.
        for _ in 0..6 {
            world.second(&api, &[(500, 5_000 + minute)], None);
            world.seconds(9, &api, &[]);
        }
    }
    assert!(
        world.told().is_empty(),
        "twelve in the window of two minutes"
    );
}

#[test]
fn service_slower_than_its_own_past_fires_and_another_that_always_was_does_not() {
    let (mut world, api, slow) = (
        World::new(default_rules()),
        api(),
        container("slow", "slow-1"),
    );
    world.aggregator.upsert_container(&api);
    world.aggregator.upsert_container(&slow);
    let both = |world: &mut World, seconds: u64, millis: u64| {
        for _ in 0..seconds {
            let finished = world.second as f64 + 0.2;
            let record = request("/", 200, finished, Duration::from_millis(400));
            world.aggregator.record(record, &slow, ANCHOR);
            world.seconds(1, &api, &[(200, millis)]);
        }
    };
    both(&mut world, 45 * 60, 50);
    assert!(world.told().is_empty());
    both(&mut world, 8 * 60, 130);
    let fired = world.told.clone();
    assert_eq!(world.told(), told("default:latency_p95", FIRED));
    assert_eq!(&*fired[0].service, "api");
    assert!(
        fired[0]
            .value
            .is_some_and(|p95| (0.128..0.132).contains(&p95))
    );
    assert!(
        fired[0]
            .threshold
            .is_some_and(|limit| (0.099..0.101).contains(&limit))
    );
    assert!(fired[0].summary.contains("130 ms"), "{}", fired[0].summary);
    both(&mut world, 11 * 60, 50);
    assert_eq!(world.told(), told("default:latency_p95", OVER));
}

#[test]
fn traffic_that_ceases_is_told_once_and_is_over_with_the_first_request() {
    let (mut world, api) = (World::new(default_rules()), api());
    world.aggregator.upsert_container(&api);
    world.seconds(3_600, &api, &[(200, 10)]);
    world.seconds(299, &api, &[]);
    assert!(world.told().is_empty());
    world.seconds(7, &api, &[]);
    assert_eq!(world.told(), told("default:no_traffic", FIRED));
    world.seconds(600, &api, &[]);
    assert!(world.told().is_empty());
    world.seconds(70, &api, &[(200, 10)]);
    assert_eq!(world.told(), told("default:no_traffic", OVER));
    // Silence for longer than the past is what is usual.
    world.seconds(3_700, &api, &[(200, 10)]);
    world.seconds(3_600 + 400, &api, &[]);
    let states: Vec<_> = world.told().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [FIRED, OVER]);
    world.seconds(3_600, &api, &[]);
    assert!(world.told().is_empty());
}

#[test]
fn service_that_goes_away_has_no_traffic_and_its_other_alerts_are_over_with_the_reason() {
    let (mut world, api) = (World::new(default_rules()), api());
    world.aggregator.upsert_container(&api);
    world.seconds(3_600, &api, &[(200, 10)]);
    world.seconds(60, &api, &[(500, 10); 10]);
    assert_eq!(world.told(), told(ERROR_RATE, FIRED));
    world.aggregator.remove_container(&api.id);
    world.seconds(298, &api, &[]);
    assert!(world.told().is_empty(), "it may come back");
    world.seconds(10, &api, &[]);
    let over = world
        .told
        .iter()
        .find(|alert| *alert.rule == *ERROR_RATE)
        .unwrap()
        .clone();
    assert_eq!(over.state, OVER);
    assert!(
        over.summary.contains("no container for 5 min"),
        "{}",
        over.summary
    );
    let states = world.told();
    assert_eq!(states.len(), 2, "{states:?}");
    assert!(states.contains(&("default:no_traffic".to_owned(), FIRED)));
}

#[test]
fn memory_throttling_and_kills_are_told_from_what_containers_use() {
    let (mut world, api) = (World::new(default_rules()), api());
    world.aggregator.upsert_container(&api);
    let calm = ResourceFigures {
        n_seconds: 1,
        n_periods: Some(10),
        n_throttled: Some(0),
        memory_sum_bytes: 500,
        memory_max_bytes: 500,
        memory_limit_bytes: Some(1_000),
        n_oom_kills: Some(0),
        ..ResourceFigures::default()
    };
    let starved = ResourceFigures {
        n_throttled: Some(5),
        memory_sum_bytes: 950,
        memory_max_bytes: 950,
        ..calm.clone()
    };
    let killed = ResourceFigures {
        n_oom_kills: Some(1),
        ..calm.clone()
    };
    for _ in 0..600 {
        world.second(&api, &[], Some(calm.clone()));
    }
    assert!(world.told().is_empty());
    for _ in 0..600 {
        world.second(&api, &[], Some(starved.clone()));
    }
    let rules: Vec<_> = world.told().into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, ["default:memory", "default:throttled"]);
    for _ in 0..600 {
        world.second(&api, &[], Some(calm.clone()));
    }
    assert!(world.told().iter().all(|(_, state)| *state == OVER));
    world.second(&api, &[], Some(killed));
    assert_eq!(world.told(), told("default:oom_kills", FIRED));
}

#[test]
fn bytes_lost_in_the_kernel_are_told() {
    let (mut world, api) = (World::new(default_rules()), api());
    world.aggregator.upsert_container(&api);
    let report = |submitted: u64, lost: u64| CgroupReport {
        cgroup: api.cgroup,
        kernel: Some(CgroupCounts {
            bytes_submitted: submitted,
            bytes_lost: lost,
            ..CgroupCounts::default()
        }),
        parser: Some(ParserCounts {
            bytes_observed: submitted,
            bytes_parsed: submitted,
            ..ParserCounts::default()
        }),
        unseen_bytes: None,
    };
    for second in 1..=60 {
        world
            .aggregator
            .set_accounts(&[report(second * 1_000, 0)], 0);
        world.second(&api, &[(200, 1)], None);
    }
    assert!(world.told().is_empty());
    world.aggregator.set_accounts(&[report(61_000, 5_000)], 0);
    world.seconds(1, &api, &[(200, 1)]);
    assert_eq!(world.told(), told("default:capture_loss", FIRED));
}

#[test]
fn label_makes_a_rule_that_goes_with_its_container() {
    let (mut world, mut api) = (World::new(default_rules()), api());
    api.slo = Slo {
        latency_p95: Some(Duration::from_millis(300)),
        error_rate: Some(0.01),
    };
    world.aggregator.upsert_container(&api);
    world.seconds(1, &api, &[]);
    let labels = |world: &World| -> Vec<String> {
        let rules = world.engine.rules();
        let of_labels = rules.iter().filter(|rule| rule.origin == RuleOrigin::Label);
        of_labels.map(|rule| rule.id.to_string()).collect()
    };
    assert_eq!(
        labels(&world),
        ["label:api:latency_p95", "label:api:error_rate"]
    );
    world.seconds(100, &api, &[(200, 350)]);
    assert_eq!(world.told(), told("label:api:latency_p95", FIRED));
    // Without the label there is nothing to hold it to.
    api.slo = Slo::default();
    world.aggregator.upsert_container(&api);
    world.seconds(2, &api, &[(200, 350)]);
    assert_eq!(world.told(), told("label:api:latency_p95", OVER));
    assert!(labels(&world).is_empty());
    api.slo.error_rate = Some(0.01);
    world.aggregator.upsert_container(&api);
    world.seconds(2, &api, &[]);
    assert_eq!(labels(&world).len(), 1);
    world.aggregator.remove_container(&api.id);
    world.seconds(200, &api, &[]);
    assert_eq!(labels(&world).len(), 1, "it may come back");
    world.seconds(110, &api, &[]);
    assert!(labels(&world).is_empty());
}

#[test]
fn alert_that_fired_before_a_restart_goes_on_as_the_same_episode() {
    let (mut world, api) = (World::new(default_rules()), api());
    world.aggregator.upsert_container(&api);
    world.seconds(100, &api, &[(500, 10); 4]);
    let before = world.told.pop().unwrap();
    let mut world = World::at(default_rules(), 120);
    world.engine.resume(vec![before.clone()]);
    assert_eq!(world.active()[ERROR_RATE], FIRED, "it is shown at once");
    // The container is found some seconds later; nothing is known meanwhile.
    world.seconds(5, &container("other", "other-1"), &[]);
    world.aggregator.upsert_container(&api);
    world.seconds(100, &api, &[]);
    assert!(world.told().is_empty());
    assert_eq!(world.engine.active()[0].id, before.id);
    world.seconds(100, &api, &[(500, 10); 4]);
    assert!(world.told().is_empty(), "it does not fire twice");
    world.seconds(300, &api, &[(200, 10); 4]);
    let over = world.told.clone();
    assert_eq!(world.told(), told(ERROR_RATE, OVER));
    assert_eq!(
        (over[0].id.clone(), over[0].fired),
        (before.id, before.fired)
    );
}

#[test]
fn alert_of_before_a_restart_is_over_if_it_was_mended_or_is_gone_meanwhile() {
    let (mut world, api) = (World::new(default_rules()), api());
    world.aggregator.upsert_container(&api);
    world.seconds(100, &api, &[(500, 10); 4]);
    let before = world.told.pop().unwrap();
    let mut mended = World::at(default_rules(), 200);
    mended.engine.resume(vec![before.clone()]);
    mended.aggregator.upsert_container(&api);
    mended.seconds(190, &api, &[(200, 10); 4]);
    assert_eq!(mended.told(), told(ERROR_RATE, OVER));
    let of_no_rule = Alert {
        rule: "deleted".into(),
        ..before.clone()
    };
    let mut gone = World::at(default_rules(), 200);
    gone.engine.resume(vec![before, of_no_rule]);
    gone.seconds(1, &container("other", "other-1"), &[]);
    assert_eq!(gone.told(), told("deleted", OVER));
    gone.seconds(289, &container("other", "other-1"), &[]);
    assert!(gone.told().is_empty());
    gone.seconds(20, &container("other", "other-1"), &[]);
    assert_eq!(gone.told(), told(ERROR_RATE, OVER));
    assert!(gone.active().is_empty());
}

#[test]
fn rule_that_changes_goes_on_and_one_that_goes_ends_its_alerts() {
    let rule = user_rule(AlertMetric::ErrorRate, above(0.5, None));
    let (mut world, api) = (World::new(vec![rule.clone()]), api());
    world.aggregator.upsert_container(&api);
    world.seconds(20, &api, &[(500, 1)]);
    assert_eq!(world.told(), told("user", FIRED));
    world.engine.set_rules(vec![AlertRule {
        condition: above(0.6, None),
        severity: Severity::Critical,
        ..rule.clone()
    }]);
    world.seconds(20, &api, &[(500, 1)]);
    assert!(world.told().is_empty());
    assert_eq!(world.engine.active()[0].severity, Severity::Critical);
    world.engine.set_rules(vec![AlertRule {
        enabled: false,
        ..rule.clone()
    }]);
    world.seconds(2, &api, &[(500, 1)]);
    assert!(world.told[0].summary.contains("its rule was changed"));
    assert_eq!(world.told(), told("user", OVER));
    // A pending one that goes is nobody's business.
    world.engine.set_rules(vec![rule]);
    world.seconds(3, &api, &[(500, 1)]);
    assert_eq!(world.active()["user"], AlertState::Pending);
    world.engine.set_rules(Vec::new());
    world.seconds(3, &api, &[(500, 1)]);
    assert!(world.told().is_empty() && world.active().is_empty());
}

#[test]
fn silence_is_marked_when_it_begins_and_when_it_ends() {
    let rule = AlertRule {
        hold: Duration::ZERO,
        ..user_rule(AlertMetric::ErrorRate, above(0.5, None))
    };
    let (mut world, api) = (World::new(vec![rule]), api());
    world.aggregator.upsert_container(&api);
    let silence = Silence {
        id: "s".into(),
        service: Some("api".into()),
        rule: None,
        from: at(0.0),
        until: at(30.0),
        comment: String::new(),
    };
    let other = Silence {
        service: Some("other".into()),
        until: at(1e6),
        ..silence.clone()
    };
    world.engine.set_silences(vec![other, silence]);
    world.seconds(25, &api, &[(500, 1)]);
    let by: Vec<_> = world
        .told
        .drain(..)
        .map(|alert| alert.silenced_by)
        .collect();
    assert_eq!(by, [Some("s".into())]);
    world.seconds(25, &api, &[(500, 1)]);
    let again = world.told.pop().unwrap();
    assert!(world.told.is_empty());
    assert_eq!((again.state, again.silenced_by), (FIRED, None));
}

#[test]
fn too_little_is_not_judged_before_the_whole_window_was_seen() {
    let rule = AlertRule {
        window: Duration::from_secs(60),
        hold: Duration::ZERO,
        ..user_rule(
            AlertMetric::RequestRate,
            Condition::Threshold {
                comparison: Comparison::Below,
                threshold: 1.0,
                clear: Some(2.0),
            },
        )
    };
    let (mut world, api) = (World::new(vec![rule]), api());
    world.aggregator.upsert_container(&api);
    world.seconds(59, &api, &[]);
    assert!(world.told().is_empty());
    world.seconds(1, &api, &[]);
    assert_eq!(world.told(), told("user", FIRED));
    world.seconds(45, &api, &[(200, 1); 2]);
    assert!(world.told().is_empty(), "a rate of 1.5 is not back at 2");
    world.seconds(30, &api, &[(200, 1); 2]);
    assert_eq!(world.told(), told("user", OVER));
}

#[test]
fn nothing_fires_twice_whatever_comes() {
    let rule = user_rule(AlertMetric::ErrorRate, above(0.5, Some(0.3)));
    let (mut world, api) = (World::new(vec![rule]), api());
    world.aggregator.upsert_container(&api);
    // A generator without a seed of chance: the same sequence every run.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        match random % 40 {
            0 => world.aggregator.remove_container(&api.id),
            1 => world.aggregator.upsert_container(&api),
            _ => {}
        }
        let status = if random % 997 < 500 { 500 } else { 200 };
        let n = (random >> 32) % 4;
        let requests = vec![(status, 1); usize::try_from(n).unwrap()];
        world.seconds(1 + random % 7, &api, &requests);
    }
    let mut open: Option<Arc<str>> = None;
    let mut n_episodes = 0;
    for alert in &world.told {
        match alert.state {
            FIRED => {
                assert_eq!(open, None, "{alert:?}");
                open = Some(alert.id.clone());
                n_episodes += 1;
            }
            _ => assert_eq!(open.take().as_ref(), Some(&alert.id)),
        }
    }
    assert!(n_episodes > 100, "{n_episodes}");
}

#[test]
fn clock_set_back_neither_panics_nor_resolves_what_fires() {
    let (mut world, api) = (World::new(default_rules()), api());
    world.aggregator.upsert_container(&api);
    world.seconds(1_000, &api, &[(200, 10)]);
    world.seconds(100, &api, &[(500, 10); 9]);
    assert_eq!(world.told(), told(ERROR_RATE, FIRED));
    world.second -= 500;
    world.seconds(60, &api, &[(500, 10); 9]);
    assert!(world.told().is_empty());
    assert_eq!(world.active()[ERROR_RATE], FIRED);
    world.seconds(300, &api, &[(200, 10); 9]);
    assert_eq!(world.told(), told(ERROR_RATE, OVER));
}

#[test]
fn containers_that_start_again_are_counted_and_the_first_inventory_is_not() {
    let rule = AlertRule {
        hold: Duration::ZERO,
        window: Duration::from_secs(60),
        ..user_rule(AlertMetric::Restarts, above(1.5, None))
    };
    let (mut world, mut api) = (World::new(vec![rule]), api());
    world.aggregator.upsert_container(&api);
    world.seconds(10, &api, &[]);
    assert!(world.active().is_empty());
    for start in [11.2, 22.3] {
        world.seconds(10, &api, &[]);
        world.aggregator.remove_container(&api.id);
        world.seconds(1, &api, &[]);
        api.cgroup = CgroupId(api.cgroup.0 + 1);
        api.lifecycle.started = Some(at(start));
        world.aggregator.upsert_container(&api);
    }
    assert!(world.told().is_empty());
    world.seconds(1, &api, &[]);
    assert_eq!(world.told(), told("user", FIRED));
}

#[test]
fn history_of_before_the_start_is_asked_for_once_and_compared_with() {
    let (mut world, api) = (World::new(default_rules()), api());
    world.aggregator.upsert_container(&api);
    world.seconds(61, &api, &[(200, 130)]);
    let wanted = world.engine.take_wanted();
    let of = |metric| wanted.iter().find(|one| one.metric == metric).unwrap();
    assert_eq!(of(AlertMetric::DurationP95).n_minutes, 24 * 60);
    assert_eq!(of(AlertMetric::RequestRate).n_minutes, 121);
    assert_eq!((wanted.len(), &*wanted[0].service), (2, "api"));
    assert!(world.engine.take_wanted().is_empty());
    let first = EPOCH / 60 - 120;
    let past = vec![Some(0.05); 120];
    world
        .engine
        .prime("api", AlertMetric::DurationP95, first, &past);
    world.seconds(300, &api, &[(200, 130)]);
    assert_eq!(world.told(), told("default:latency_p95", FIRED));
}

#[test]
fn services_that_come_and_go_without_end_keep_no_other_from_being_watched() {
    let rule = user_rule(AlertMetric::ErrorRate, above(0.5, None));
    let mut world = World::new(vec![rule]);
    for number in 0..600 {
        let mut job = container(&format!("job-{number}"), "job");
        job.cgroup = CgroupId(10_000 + number);
        world.aggregator.upsert_container(&job);
        world.second(&job, &[(200, 1)], None);
        world.aggregator.remove_container(&job.id);
    }
    assert!(
        world.engine.stats().n_services <= 201,
        "{:?}",
        world.engine.stats()
    );
    let api = api();
    world.aggregator.upsert_container(&api);
    assert!(world.told().is_empty());
    world.seconds(30, &api, &[(500, 1); 20]);
    assert_eq!(world.told(), told("user", FIRED));
}
