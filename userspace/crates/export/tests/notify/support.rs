//! Alerts, settings and what is waited for.

use std::time::Duration;

use modeltap_core::alert::{Alert, AlertState, Delivery, Severity};
use modeltap_core::time::UnixNs;
use modeltap_export::notify::{Endpoint, Notifiers, Settings, Timing, WebhookSettings};
use tokio::time::{Instant, sleep};

use crate::sink::Sink;

/// Beginning of every alert here: 2026-11-24T03:20:00Z.
pub const SINCE: UnixNs = UnixNs(1_795_490_400_000_000_000);

/// As in the product, but a thousand times as fast, where a test waits for it.
pub fn timing() -> Timing {
    Timing {
        backoff: Duration::from_millis(10),
        backoff_cap: Duration::from_millis(50),
        ..Timing::default()
    }
}

pub fn alert(id: &str, service: &str, state: AlertState) -> Alert {
    Alert {
        id: id.into(),
        rule: "default:error_rate".into(),
        rule_name: "Error rate".to_owned(),
        metric: modeltap_core::alert::AlertMetric::ErrorRate,
        service: service.into(),
        severity: Severity::Critical,
        state,
        value: Some(0.12),
        threshold: Some(0.05),
        summary: "12 % of requests fail".to_owned(),
        since: SINCE,
        fired: Some(UnixNs(SINCE.0 + 7_000_000_000)),
        resolved: (state == AlertState::Resolved).then_some(UnixNs(SINCE.0 + 100_000_000_000)),
        silenced_by: None,
    }
}

pub fn firing(id: &str) -> Alert {
    alert(id, "api", AlertState::Firing)
}

pub fn resolved(id: &str) -> Alert {
    alert(id, "api", AlertState::Resolved)
}

pub fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(url).unwrap()
}

/// A webhook to `sink` alone.
pub fn webhook(sink: &Sink) -> Settings {
    Settings {
        webhook: Some(WebhookSettings {
            url: endpoint(&sink.url("/hook")),
            token: None,
        }),
        timing: timing(),
        ..Settings::default()
    }
}

/// Waits until `n` rows were recorded, and no more.
pub async fn deliveries(notifiers: &Notifiers, n: usize) -> Vec<Delivery> {
    let rows = deliveries_until(notifiers, |rows| rows.len() >= n).await;
    assert_eq!(rows.len(), n, "{rows:?}");
    rows
}

/// Waits until the rows, one at least, are as `is_over` wants them.
pub async fn deliveries_until(
    notifiers: &Notifiers,
    is_over: impl Fn(&[Delivery]) -> bool,
) -> Vec<Delivery> {
    let end = Instant::now() + Duration::from_secs(20);
    let mut rows = Vec::new();
    while rows.is_empty() || !is_over(&rows) {
        assert!(Instant::now() < end, "rows in time: {rows:?}");
        rows.extend(notifiers.take_deliveries());
        // Rows come from real sockets: no clock to turn.
        sleep(Duration::from_millis(2)).await;
    }
    rows
}

/// Attempts, error and whether there will be another, of each row.
pub fn told(rows: &[Delivery]) -> Vec<(u32, Option<&str>, bool)> {
    rows.iter()
        .map(|row| (row.n_attempts, row.error.as_deref(), row.will_retry))
        .collect()
}
