//! Pending alerts and restarts, over a real history and a clock of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use modeltap_core::alert::{AlertMetric, Comparison, Condition, Severity};
use modeltap_core::connection::CgroupId;
use modeltap_core::container::{Container, ContainerId, Inspect, Lifecycle, ServiceName, Slo};
use modeltap_core::record::{Method, Outcome};
use modeltap_core::rollup::{Figures, Rollup, SeriesKey};
use modeltap_metrics::{Aggregator, Config};
use modeltap_store::{Store, StoreConfig};
use tokio::runtime::Runtime;

use super::*;

const HOLD: u64 = 300;
const NS: u64 = 1_000_000_000;

/// Half of the requests of ten seconds fail, for five minutes.
fn rule() -> AlertRule {
    AlertRule {
        id: "mine".into(),
        name: "Fails".to_owned(),
        origin: RuleOrigin::User,
        enabled: true,
        service: Some("api".into()),
        metric: AlertMetric::ErrorRate,
        condition: Condition::Threshold {
            comparison: Comparison::Above,
            threshold: 0.5,
            clear: None,
        },
        window: Duration::from_secs(10),
        hold: Duration::from_secs(HOLD),
        keep: Duration::ZERO,
        min_requests: 1,
        severity: Severity::Critical,
    }
}

/// A daemon without a kernel, that runs until it is dropped: what reads the
/// past has ended when the file is let go of.
struct Run {
    alerts: Alerts,
    runtime: Runtime,
    writer: Writer,
    reader: Reader,
    live: LiveSnapshot,
    now: UnixNs,
}

impl Run {
    fn begin(path: &Path, now: UnixNs) -> Self {
        let (writer, reader) = Store::open(StoreConfig::new(path)).unwrap();
        let mut aggregator = Aggregator::new(Config::default());
        aggregator.upsert_container(&container());
        aggregator.tick(now);
        Self {
            alerts: Alerts::load(reader.clone(), None, now),
            runtime: Runtime::new().unwrap(),
            live: aggregator.snapshot(),
            writer,
            reader,
            now,
        }
    }

    /// Seconds with a request each; the alerts that were told.
    fn seconds(&mut self, n: u64, status: u16) -> Vec<Alert> {
        let _here = self.runtime.enter();
        let mut told = Vec::new();
        for _ in 0..n {
            let rollup = request(self.now, status);
            self.now.0 += NS;
            let mut batch = Batch::from(vec![rollup]);
            self.alerts
                .evaluate(self.now, &mut batch, &mut self.live, None);
            let of_rule = batch.alerts.iter().filter(|alert| alert.fired.is_some());
            told.extend(of_rule.filter(|alert| &*alert.rule == "mine").cloned());
            self.writer.append(batch);
            if self.now.seconds().is_multiple_of(20) {
                self.writer.flush();
            }
        }
        self.writer.flush();
        told
    }

    /// Alerts of the rule that are shown.
    fn active(&self) -> Vec<Alert> {
        let mut active = self.alerts.active();
        active.retain(|alert| &*alert.rule == "mine");
        active
    }

    /// Rows of the rule in history.
    fn rows(&self) -> Vec<Alert> {
        let of_rule = AlertQuery {
            rule: Some("mine".to_owned()),
            ..AlertQuery::default()
        };
        self.reader.alerts(&of_rule).unwrap()
    }
}

fn container() -> Container {
    Container {
        id: ContainerId("a".into()),
        name: "api-1".into(),
        service: ServiceName("api".into()),
        project: None,
        image: "api:1".into(),
        cgroup: CgroupId(7),
        pid: 1,
        routes: Vec::new(),
        inspect: Inspect::default(),
        lifecycle: Lifecycle::default(),
        slo: Slo::default(),
    }
}

fn request(start: UnixNs, status: u16) -> Rollup {
    Rollup {
        key: SeriesKey {
            service: "api".into(),
            container: "api-1".into(),
            method: Some(Method::Get),
            route: "/".into(),
            status: Some(status),
            outcome: Outcome::Complete,
        },
        start,
        width: Duration::from_secs(1),
        figures: Figures {
            n_requests: 1,
            n_errors: u64::from(status >= 500),
            ..Figures::default()
        },
    }
}

/// History with the rule, and a time of this hour.
fn history(folder: &Path) -> (PathBuf, UnixNs) {
    let path = folder.join("history.duckdb");
    let (writer, _reader) = Store::open(StoreConfig::new(&path)).unwrap();
    let (sender, kept) = channel();
    let told = move |result| sender.send(result).unwrap();
    writer.edit(Edit::SaveRule(rule()), Box::new(told));
    assert_eq!(kept.recv(), Ok(Ok(())));
    let now = modeltap_capture::clock::anchor().unix.seconds() - 1_800;
    (path, UnixNs(now * NS))
}

#[test]
fn alert_that_was_pending_for_four_of_five_minutes_fires_a_minute_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (path, now) = history(folder.path());
    let mut first = Run::begin(&path, now);
    assert!(first.seconds(240, 500).is_empty());
    let [pending] = &first.rows()[..] else {
        panic!("it has a row: {:?}", first.rows());
    };
    let (id, stopped) = (Arc::clone(&pending.id), first.now);
    assert_eq!((pending.state, pending.fired), (AlertState::Pending, None));
    drop(first);

    // It is away for twenty seconds, which do not count.
    let mut second = Run::begin(&path, UnixNs(stopped.0 + 20 * NS));
    let shown = second.active();
    assert_eq!((&shown[0].id, shown[0].state), (&id, AlertState::Pending));
    assert!(second.seconds(30, 500).is_empty());
    // A second absence adds up with the first.
    let stopped = second.now;
    drop(second);
    let mut third = Run::begin(&path, UnixNs(stopped.0 + 60 * NS));
    assert!(third.seconds(29, 500).is_empty());
    let fired = third.seconds(3, 500);
    assert_eq!(fired.len(), 1, "{fired:?}");
    assert_eq!(fired[0].id, id, "it is the same episode");
    let held = fired[0].fired.unwrap().0 - fired[0].since.0;
    assert_eq!(held / NS, HOLD);
    assert_eq!(third.rows().len(), 1);
    assert_eq!(third.rows()[0].state, AlertState::Firing);
}

#[test]
fn what_was_mended_while_the_daemon_was_away_does_not_fire_and_leaves_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let (path, now) = history(folder.path());
    let mut first = Run::begin(&path, now);
    first.seconds(290, 500);
    assert_eq!(first.rows().len(), 1);
    let stopped = first.now;
    drop(first);
    let mut second = Run::begin(&path, stopped);
    assert!(second.seconds(30, 200).is_empty());
    assert!(second.rows().is_empty(), "{:?}", second.rows());
    assert!(second.seconds(HOLD - 10, 500).is_empty(), "it begins anew");
}

#[test]
fn what_was_pending_before_a_long_absence_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, now) = history(folder.path());
    let mut first = Run::begin(&path, UnixNs(now.0 - 7_200 * NS));
    first.seconds(290, 500);
    assert_eq!(first.rows().len(), 1);
    drop(first);
    let mut second = Run::begin(&path, now);
    assert!(second.active().is_empty());
    assert!(second.seconds(20, 500).is_empty());
    let rows = second.rows();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(rows[0].since >= now);
}
