//! Rules, silences, alerts and deliveries come back as they were given.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use modeltap_core::alert::{
    Alert, AlertMetric, AlertRule, AlertState, Comparison, Condition, Delivery, RuleOrigin,
    Severity, Silence,
};
use modeltap_core::history::Batch;
use modeltap_core::time::UnixNs;
use modeltap_store::{AlertQuery, Edit, EditError, Edited, Reader, Store, StoreConfig, Writer};

fn at(second: u64) -> UnixNs {
    UnixNs((1_700_000_000 + second) * 1_000_000_000)
}

fn open(path: &Path) -> (Writer, Reader) {
    Store::open(StoreConfig::new(path)).expect("the store opens")
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn rule(id: &str, condition: Condition) -> AlertRule {
    AlertRule {
        id: id.into(),
        name: "It's \"slow\"; DROP TABLE alerts".into(),
        origin: RuleOrigin::User,
        enabled: false,
        service: Some("api".into()),
        metric: AlertMetric::ChunkIntervalP95,
        condition,
        window: seconds(60),
        hold: seconds(61),
        keep: seconds(62),
        min_requests: 63,
        severity: Severity::Info,
    }
}

fn alert(id: &str, since: u64, state: AlertState) -> Alert {
    Alert {
        id: id.into(),
        rule: "default:error_rate".into(),
        rule_name: "Requests fail".into(),
        metric: AlertMetric::ErrorRate,
        service: "api".into(),
        severity: Severity::Critical,
        state,
        value: Some(0.5),
        threshold: None,
        summary: "api: all is lost".into(),
        since: at(since),
        fired: Some(at(since + 30)),
        resolved: (state == AlertState::Resolved).then(|| at(since + 90)),
        silenced_by: Some("s".into()),
    }
}

#[track_caller]
fn edit(writer: &Writer, edit: Edit) {
    let (sender, done) = mpsc::channel();
    writer.edit(edit, told(sender));
    assert_eq!(done.recv(), Ok(Ok(())));
}

/// Tells how an edit went.
fn told(sender: mpsc::Sender<Result<(), EditError>>) -> Edited {
    Box::new(move |result| sender.send(result).expect("the test waits"))
}

fn ids(alerts: &[Alert]) -> Vec<&str> {
    alerts.iter().map(|alert| &*alert.id).collect()
}

#[test]
fn rules_of_every_condition_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.duckdb");
    let (writer, reader) = open(&path);
    let above = |comparison, clear| Condition::Threshold {
        comparison,
        threshold: 0.3,
        clear,
    };
    let mut rules = vec![
        rule("a", above(Comparison::Above, Some(0.1))),
        rule("b", above(Comparison::Below, None)),
        rule(
            "c",
            Condition::AgainstPast {
                factor: 1.5,
                past: seconds(7_200),
                floor: 0.25,
            },
        ),
        rule("d", Condition::NoTraffic { past: seconds(600) }),
        rule("e", Condition::Anomaly { deviations: 6.5 }),
    ];
    rules[4].service = None;
    for rule in &rules {
        edit(&writer, Edit::SaveRule(rule.clone()));
    }
    rules[1].name = "another".into();
    edit(&writer, Edit::SaveRule(rules[1].clone()));
    edit(&writer, Edit::DeleteRule("a".into()));
    edit(&writer, Edit::DeleteRule("never there".into()));
    assert_eq!(reader.alert_rules().unwrap(), rules[1..]);
    writer.close();
    drop(reader);
    let (_writer, reader) = open(&path);
    assert_eq!(reader.alert_rules().unwrap(), rules[1..]);
}

#[test]
fn silences_are_given_until_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&folder.path().join("history.duckdb"));
    let silence = |id: &str, service: Option<&str>, until| Silence {
        id: id.into(),
        service: service.map(Into::into),
        rule: None,
        from: at(0),
        until: at(until),
        comment: "deploying".into(),
    };
    let (long, short) = (silence("a", None, 100), silence("b", Some("api"), 50));
    edit(&writer, Edit::SaveSilence(long.clone()));
    edit(&writer, Edit::SaveSilence(short.clone()));
    assert_eq!(reader.silences(at(49)).unwrap(), [short, long.clone()]);
    assert_eq!(reader.silences(at(50)).unwrap(), [long]);
    edit(&writer, Edit::DeleteSilence("a".into()));
    assert!(reader.silences(at(50)).unwrap().is_empty());
}

#[test]
fn alert_is_one_row_that_changes_and_is_found_by_what_is_known_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&folder.path().join("history.duckdb"));
    let batch = |alerts: Vec<Alert>| Batch {
        alerts,
        ..Batch::default()
    };
    writer.append(batch(vec![alert("a", 10, AlertState::Firing)]));
    writer.append(batch(vec![
        alert("b", 200, AlertState::Firing),
        alert("a", 10, AlertState::Resolved),
    ]));
    writer.flush();
    let all = reader.alerts(&AlertQuery::default()).unwrap();
    assert_eq!(
        all,
        [
            alert("b", 200, AlertState::Firing),
            alert("a", 10, AlertState::Resolved)
        ]
    );
    let find = |query: AlertQuery| -> Vec<String> {
        let found = reader.alerts(&query).unwrap();
        ids(&found).into_iter().map(str::to_owned).collect()
    };
    let any = AlertQuery::default;
    assert_eq!(find(AlertQuery { limit: 1, ..any() }), ["b"]);
    assert_eq!(
        find(AlertQuery {
            to: at(200),
            ..any()
        }),
        ["a"]
    );
    assert_eq!(
        find(AlertQuery {
            from: at(100),
            ..any()
        }),
        ["b", "a"]
    );
    assert_eq!(
        find(AlertQuery {
            from: at(101),
            ..any()
        }),
        ["b"]
    );
    let state = Some(AlertState::Resolved);
    assert_eq!(find(AlertQuery { state, ..any() }), ["a"]);
    let service = Some("api' OR 1 = 1 --".to_owned());
    assert!(find(AlertQuery { service, ..any() }).is_empty());
    let rule = Some("default:error_rate".to_owned());
    assert_eq!(find(AlertQuery { rule, ..any() }).len(), 2);
}

#[test]
fn pending_alert_is_a_row_until_it_fires_or_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&folder.path().join("history.duckdb"));
    let pending = |id, resolved| Alert {
        fired: None,
        resolved,
        ..alert(id, 10, AlertState::Pending)
    };
    let rows = |alerts: Vec<Alert>| {
        writer.append(Batch {
            alerts,
            ..Batch::default()
        });
        writer.flush();
        reader.alerts(&AlertQuery::default()).unwrap()
    };
    let both = vec![pending("a", None), pending("b", None)];
    assert_eq!(rows(both.clone()), both);
    let fires = alert("a", 10, AlertState::Firing);
    let left = rows(vec![fires.clone(), pending("b", Some(at(15)))]);
    assert_eq!(left, [fires]);
}

#[test]
fn alerts_and_deliveries_of_long_ago_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&folder.path().join("history.duckdb"));
    let day = 86_400;
    let delivery = |second: u64, error: Option<&str>| Delivery {
        at: UnixNs(at(second).0 + 1_000),
        notifier: "webhook".into(),
        alert: "a".into(),
        state: AlertState::Firing,
        n_attempts: 3,
        error: error.map(str::to_owned),
        will_retry: error.is_some(),
    };
    for (second, id) in [(0, "old"), (1, "fires"), (91 * day, "new")] {
        let state = if id == "fires" {
            AlertState::Firing
        } else {
            AlertState::Resolved
        };
        writer.append(Batch {
            alerts: vec![alert(id, second, state)],
            deliveries: vec![
                delivery(second, Some("no route")),
                delivery(second + 5, None),
            ],
            ..Batch::default()
        });
        writer.flush();
    }
    let left = reader.alerts(&AlertQuery::default()).unwrap();
    assert_eq!(ids(&left), ["new", "fires"], "what fires is never old");
    assert_eq!(
        reader.deliveries(10).unwrap(),
        [
            delivery(91 * day + 5, None),
            delivery(91 * day, Some("no route"))
        ]
    );
    assert_eq!(reader.deliveries(1).unwrap().len(), 1);
}

#[test]
fn edit_that_cannot_be_kept_is_told_and_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&folder.path().join("history.duckdb"));
    let (sender, done) = mpsc::channel();
    let mut n_busy = 0;
    // The first blocks the thread until all others found the queue full.
    let (go, wait) = mpsc::channel::<()>();
    let first = sender.clone();
    writer.edit(
        Edit::DeleteRule("a".into()),
        Box::new(move |result| {
            let _gone = wait.recv();
            first.send(result).unwrap();
        }),
    );
    for n in 0..200 {
        let sender = sender.clone();
        let rule = rule(&format!("{n:03}"), Condition::Anomaly { deviations: 6.0 });
        writer.edit(
            Edit::SaveRule(rule),
            Box::new(move |result| sender.send(result).unwrap()),
        );
    }
    drop(sender);
    drop(go);
    let results: Vec<_> = done.iter().collect();
    for result in &results {
        n_busy += usize::from(*result == Err(EditError::Busy));
    }
    assert_eq!(results.len(), 201);
    assert!(n_busy > 0);
    let kept = reader.alert_rules().unwrap().len();
    assert_eq!(kept, 200 - n_busy);
}
