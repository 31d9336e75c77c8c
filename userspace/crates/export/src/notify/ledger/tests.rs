use modeltap_core::alert::Severity;
use modeltap_core::time::UnixNs;

use super::*;

fn alert(state: AlertState, silence: Option<&str>) -> Alert {
    Alert {
        id: "episode".into(),
        rule: "default:error_rate".into(),
        rule_name: "Error rate".to_owned(),
        metric: modeltap_core::alert::AlertMetric::ErrorRate,
        service: "api".into(),
        severity: Severity::Critical,
        state,
        value: Some(0.12),
        threshold: Some(0.05),
        summary: "12 % of requests fail".to_owned(),
        since: UnixNs(1),
        fired: Some(UnixNs(2)),
        resolved: (state == AlertState::Resolved).then_some(UnixNs(3)),
        silenced_by: silence.map(Into::into),
    }
}

/// Hands in each state with its silence, and names what is decided.
#[track_caller]
fn check(is_stateful: bool, steps: &[(AlertState, Option<&str>, &str)]) {
    let mut ledger = Ledger::default();
    for (state, silence, expected) in steps {
        let decision = ledger.decide(&alert(*state, *silence), is_stateful);
        let name = match decision {
            Decision::Tell => "tell",
            Decision::Withhold(_) => "withhold",
            Decision::Nothing => "nothing",
        };
        assert_eq!(name, *expected, "{state:?} {silence:?} of {steps:?}");
    }
}

#[test]
fn beginning_and_end_are_told_once_and_pending_never() {
    use AlertState::{Firing, Pending, Resolved};
    for is_stateful in [false, true] {
        check(
            is_stateful,
            &[
                (Pending, None, "nothing"),
                (Firing, None, "tell"),
                (Firing, None, "nothing"),
                (Resolved, None, "tell"),
            ],
        );
    }
}

#[test]
fn silenced_alert_is_recorded_once_and_its_end_is_not_told() {
    use AlertState::{Firing, Resolved};
    for is_stateful in [false, true] {
        check(
            is_stateful,
            &[
                (Firing, Some("s1"), "withhold"),
                (Firing, Some("s1"), "nothing"),
                (Resolved, None, "nothing"),
            ],
        );
    }
}

#[test]
fn alert_that_outlasts_its_silence_is_told() {
    use AlertState::{Firing, Resolved};
    check(
        false,
        &[
            (Firing, Some("s1"), "withhold"),
            (Firing, None, "tell"),
            (Resolved, None, "tell"),
        ],
    );
}

#[test]
fn silence_after_the_beginning_mutes_people_but_closes_incidents() {
    use AlertState::{Firing, Resolved};
    for (is_stateful, end) in [(false, "withhold"), (true, "tell")] {
        check(
            is_stateful,
            &[
                (Firing, None, "tell"),
                (Firing, Some("s1"), "nothing"),
                (Resolved, Some("s1"), end),
            ],
        );
    }
}

#[test]
fn what_is_silenced_is_not_refreshed() {
    let mut ledger = Ledger::default();
    for (silence, expected) in [(None, 1), (Some("s1"), 0), (None, 1)] {
        ledger.decide(&alert(AlertState::Firing, silence), true);
        assert_eq!(ledger.told().count(), expected, "{silence:?}");
    }
    ledger.decide(&alert(AlertState::Resolved, None), true);
    assert_eq!(ledger.told().count(), 0);
}

#[test]
fn many_alerts_are_told_but_not_all_kept() {
    let mut ledger = Ledger::default();
    for n in 0..=MAX_ALERTS {
        let alert = Alert {
            id: n.to_string().into(),
            ..alert(AlertState::Firing, None)
        };
        assert_eq!(ledger.decide(&alert, true), Decision::Tell);
    }
    assert_eq!(ledger.told().count(), MAX_ALERTS);
}

fn row(state: AlertState, n_attempts: u32, error: Option<&str>, will_retry: bool) -> Delivery {
    Delivery {
        at: UnixNs(5),
        notifier: "webhook".into(),
        alert: "episode".into(),
        state,
        n_attempts,
        error: error.map(str::to_owned),
        will_retry,
    }
}

#[test]
fn after_a_restart_only_what_was_not_told_is_told() {
    use AlertState::{Firing, Resolved};
    let failed = |state| row(state, 3, Some("answered 500"), true);
    let given_up = |state| row(state, 65, Some("answered 500"), false);
    let withheld = row(Firing, 0, Some("silenced by s1"), false);
    let never_sent = row(Firing, 0, Some("the daemon ended"), true);
    for (state, rows, expected) in [
        (Firing, vec![], true),
        (Firing, vec![row(Firing, 1, None, false)], false),
        (Firing, vec![failed(Firing)], true),
        (Firing, vec![given_up(Firing)], false),
        (Firing, vec![withheld.clone()], true),
        (Firing, vec![never_sent], true),
        (Resolved, vec![], false),
        (Resolved, vec![row(Firing, 1, None, false)], true),
        (Resolved, vec![withheld], false),
        (
            Resolved,
            vec![row(Firing, 1, None, false), row(Resolved, 1, None, false)],
            false,
        ),
        (
            Resolved,
            vec![row(Firing, 1, None, false), failed(Resolved)],
            true,
        ),
    ] {
        let rows: Vec<_> = rows.iter().collect();
        let is_told = Ledger::default().resume(&alert(state, None), &rows);
        assert_eq!(is_told, expected, "{state:?} {rows:?}");
    }
}

#[test]
fn alert_told_before_a_restart_is_not_told_again_and_is_refreshed() {
    let mut ledger = Ledger::default();
    let told = row(AlertState::Firing, 1, None, false);
    assert!(!ledger.resume(&alert(AlertState::Firing, None), &[&told]));
    assert_eq!(ledger.told().count(), 1);
    let decision = ledger.decide(&alert(AlertState::Firing, None), true);
    assert_eq!(decision, Decision::Nothing);
}
