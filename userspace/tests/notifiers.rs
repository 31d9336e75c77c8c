//! Notifiers against real servers on this host: Debian's aiosmtpd and
//! Alertmanager, which `cargo xtask test` installs; and the daemon's own
//! part in them.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests"
)]

#[path = "notifiers/alertmanager.rs"]
mod alertmanager;
#[path = "notifiers/authority.rs"]
mod authority;
#[path = "notifiers/child.rs"]
mod child;
#[path = "notifiers/daemon.rs"]
mod daemon;
#[path = "notifiers/hook.rs"]
mod hook;
#[path = "notifiers/mail.rs"]
mod mail;
#[expect(dead_code, reason = "not everything of it is used here")]
#[path = "../crates/export/tests/notify/sink.rs"]
mod sink;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modeltap_core::alert::{Alert, AlertMetric, AlertState, Delivery, Severity};
use modeltap_core::time::UnixNs;
use modeltap_export::notify::Notifiers;
use tokio::time::{Instant, sleep};

/// Longest time that something is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// An alert that fires since a minute, or is over now.
fn alert(id: &str, state: AlertState) -> Alert {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = UnixNs(u64::try_from(now.as_nanos()).unwrap());
    let since = UnixNs(now.0 - 60_000_000_000);
    Alert {
        id: id.into(),
        rule: "default:error_rate".into(),
        rule_name: "Error rate".to_owned(),
        service: "api".into(),
        metric: AlertMetric::ErrorRate,
        severity: Severity::Critical,
        state,
        value: Some(0.12),
        threshold: Some(0.05),
        summary: "12 % of requests fail – больше, чем обычно".to_owned(),
        since,
        fired: Some(since),
        resolved: (state == AlertState::Resolved).then_some(now),
        silenced_by: None,
    }
}

/// Waits until the rows are as `is_over` wants them.
async fn deliveries(notifiers: &Notifiers, is_over: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
    let end = Instant::now() + PATIENCE;
    let mut rows = Vec::new();
    while !is_over(&rows) {
        assert!(Instant::now() < end, "rows in time: {rows:?}");
        rows.extend(notifiers.take_deliveries());
        sleep(Duration::from_millis(5)).await;
    }
    rows
}

/// Waits until there are `n` rows, and no more.
async fn n_deliveries(notifiers: &Notifiers, n: usize) -> Vec<Delivery> {
    let rows = deliveries(notifiers, |rows| rows.len() >= n).await;
    assert_eq!(rows.len(), n, "{rows:?}");
    rows
}
