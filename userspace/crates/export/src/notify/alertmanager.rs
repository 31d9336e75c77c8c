//! Alertmanager's API v2: `POST /api/v2/alerts`.
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>
//!
//! It knows an alert by its labels, and takes it for resolved once `endsAt` is
//! past: what fires is told again before that.

use std::time::Duration;

use modeltap_core::alert::{Alert, AlertState};
use modeltap_core::time::UnixNs;
use serde_json::{Value, json};

use super::message::{Sender, annotations, began, rfc3339};

/// As many tellings may fail before what fires is taken for resolved; as
/// Prometheus does.
const TELLINGS: u32 = 4;

/// Where alerts are sent to, behind the base address.
pub(super) const PATH: &str = "/api/v2/alerts";

/// How long an alert lasts that is told every `refresh`.
pub(super) fn lasting(refresh: Duration) -> Duration {
    refresh.saturating_mul(TELLINGS)
}

/// The body of a POST.
pub(super) fn alerts(sender: &Sender, alerts: &[Alert], now: UnixNs, lasting: Duration) -> Value {
    let lasting = u64::try_from(lasting.as_nanos()).unwrap_or(u64::MAX);
    let one = |alert: &Alert| {
        let starts = began(alert);
        let ends = match (alert.state, alert.resolved) {
            // It refuses an end before the beginning.
            (AlertState::Resolved, Some(resolved)) => resolved.max(starts),
            (AlertState::Resolved, None) => now.max(starts),
            _ => UnixNs(now.max(starts).0.saturating_add(lasting)),
        };
        let mut body = json!({
            "labels": sender.labels(alert),
            "annotations": annotations(alert),
            "startsAt": rfc3339(starts),
            "endsAt": rfc3339(ends),
        });
        if let Some(link) = sender.link(&alert.service) {
            body["generatorURL"] = link.into();
        }
        body
    };
    alerts.iter().map(one).collect()
}
