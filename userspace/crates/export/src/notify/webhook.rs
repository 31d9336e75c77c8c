//! JSON for any receiver: the webhook of Prometheus' Alertmanager, version 4,
//! which many programs already take.
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>

use modeltap_core::alert::{Alert, AlertState};
use serde_json::{Map, Value, json};

use super::message::{Message, Sender, annotations, began, key, rfc3339};
use super::text::one_line;

/// How Go writes "never", and so Alertmanager.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Longest fingerprint, in bytes.
const FINGERPRINT_BYTES: usize = 128;

/// The body of a POST.
pub(super) fn body(sender: &Sender, message: &Message) -> Value {
    let is_firing = message
        .alerts
        .iter()
        .any(|alert| alert.state == AlertState::Firing);
    let service = one_line(&message.service, 120);
    let labels: Vec<_> = message
        .alerts
        .iter()
        .map(|alert| sender.labels(alert))
        .collect();
    let annotated: Vec<_> = message.alerts.iter().map(annotations).collect();
    json!({
        "version": "4",
        "groupKey": format!("modeltap:{service}"),
        "truncatedAlerts": 0,
        "status": if is_firing { "firing" } else { "resolved" },
        "receiver": "modeltap",
        "groupLabels": { "service": service },
        "commonLabels": common(&labels),
        "commonAnnotations": common(&annotated),
        "externalURL": sender.dashboard().unwrap_or_default(),
        "alerts": message
            .alerts
            .iter()
            .zip(labels)
            .zip(annotated)
            .map(|((alert, labels), annotations)| one(sender, alert, labels, annotations))
            .collect::<Vec<_>>(),
    })
}

fn one(
    sender: &Sender,
    alert: &Alert,
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
) -> Value {
    json!({
        "status": alert.state.as_str(),
        "labels": labels,
        "annotations": annotations,
        "startsAt": rfc3339(began(alert)),
        "endsAt": alert.resolved.map_or_else(|| NEVER.to_owned(), rfc3339),
        "generatorURL": sender.link(&alert.service).unwrap_or_default(),
        // An episode's own: the same for its beginning and its end, and for
        // no other.
        "fingerprint": key(&alert.id, FINGERPRINT_BYTES),
    })
}

/// What all maps have in common.
fn common(maps: &[Map<String, Value>]) -> Map<String, Value> {
    let mut common = maps.first().cloned().unwrap_or_default();
    common.retain(|name, value| maps.iter().all(|map| map.get(name) == Some(value)));
    common
}
