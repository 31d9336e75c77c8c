//! PagerDuty's Events API v2.
//! <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>

use modeltap_core::alert::{Alert, AlertState, Severity};
use serde_json::{Value, json};

use super::message::{Sender, annotations, began, key, rfc3339, rule, service, summary};
use super::settings::RoutingKey;
use super::text::one_line;

/// Longest `dedup_key`, in characters.
const DEDUP_KEY_BYTES: usize = 255;
/// Longest `payload.summary`, in characters.
const SUMMARY_CHARS: usize = 1024;

/// An event: the beginning of an incident, or its end. Both name the episode,
/// so that a retry is no second incident.
pub(super) fn event(sender: &Sender, routing_key: &RoutingKey, alert: &Alert) -> Value {
    let mut event = json!({
        "routing_key": routing_key.reveal(),
        "dedup_key": key(&alert.id, DEDUP_KEY_BYTES),
    });
    if alert.state == AlertState::Resolved {
        event["event_action"] = "resolve".into();
        return event;
    }
    let (service, rule) = (service(alert), rule(alert));
    let text = format!("{service}: {rule}: {}", summary(alert));
    let source = if sender.host.is_empty() {
        service.clone()
    } else {
        one_line(&sender.host, SUMMARY_CHARS)
    };
    event["event_action"] = "trigger".into();
    event["client"] = "modeltap".into();
    event["payload"] = json!({
        "summary": one_line(&text, SUMMARY_CHARS),
        // Required, so never empty.
        "source": if source.is_empty() { "modeltap".to_owned() } else { source },
        "severity": severity(alert.severity),
        "timestamp": rfc3339(began(alert)),
        "component": service,
        "class": rule,
        "custom_details": annotations(alert),
    });
    if let Some(link) = sender.link(&alert.service) {
        event["links"] = json!([{ "href": link, "text": "The service in modeltap" }]);
        event["client_url"] = sender.dashboard().unwrap_or(link).into();
    }
    event
}

/// In the words of PagerDuty's common event format.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
