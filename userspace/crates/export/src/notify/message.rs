//! What is told, apart from the form that each receiver wants.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use modeltap_core::alert::Alert;
use modeltap_core::time::UnixNs;

use super::settings::Endpoint;
use super::text::{one_line, segment};

/// Longest name of a service or rule that is told, in characters.
const NAME_CHARS: usize = 120;
/// Longest sentence that is told, in characters.
const SUMMARY_CHARS: usize = 500;

/// The alerts of one service that are told together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    /// The service, as it is: a key, never shown.
    pub service: Arc<str>,
    /// At least one.
    pub alerts: Vec<Alert>,
    /// Those of several addresses that need not be asked again, counted from
    /// the first.
    pub told: Vec<usize>,
}

/// What all messages of this daemon share.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    /// This host's name; empty where it is not known.
    pub host: String,
    /// Where people reach the dashboard.
    pub public_url: Option<Endpoint>,
}

impl Sender {
    /// A page of the dashboard.
    pub fn link(&self, service: &str) -> Option<String> {
        let base = self.public_url.as_ref()?.url().as_str();
        Some(format!(
            "{}/services/{}",
            base.trim_end_matches('/'),
            segment(&one_line(service, NAME_CHARS))
        ))
    }

    /// The dashboard.
    pub fn dashboard(&self) -> Option<String> {
        let base = self.public_url.as_ref()?.url().as_str();
        Some(base.trim_end_matches('/').to_owned())
    }

    /// What tells alerts apart, as Prometheus has it: the same labels are the
    /// same alert, whenever it fires again.
    pub fn labels(&self, alert: &Alert) -> serde_json::Map<String, serde_json::Value> {
        let mut labels = serde_json::Map::new();
        let mut set = |name: &str, value: String| {
            // An empty label is none, says Alertmanager.
            if !value.is_empty() {
                labels.insert(name.to_owned(), value.into());
            }
        };
        set("alertname", rule(alert));
        set("instance", one_line(&self.host, NAME_CHARS));
        set("rule", one_line(&alert.rule, NAME_CHARS));
        set("service", service(alert));
        set("severity", alert.severity.as_str().to_owned());
        labels
    }
}

/// What is said of an alert, as Prometheus' annotations: texts by name.
pub(super) fn annotations(alert: &Alert) -> serde_json::Map<String, serde_json::Value> {
    let mut annotations = serde_json::Map::new();
    annotations.insert("summary".to_owned(), summary(alert).into());
    for (name, figure) in [("value", alert.value), ("threshold", alert.threshold)] {
        if let Some(figure) = figure.filter(|figure| figure.is_finite()) {
            annotations.insert(name.to_owned(), figure.to_string().into());
        }
    }
    annotations
}

/// The service's name, safe to show.
pub(super) fn service(alert: &Alert) -> String {
    one_line(&alert.service, NAME_CHARS)
}

/// The rule's name, safe to show.
pub(super) fn rule(alert: &Alert) -> String {
    one_line(&alert.rule_name, NAME_CHARS)
}

/// The sentence for people, safe to show.
pub(super) fn summary(alert: &Alert) -> String {
    one_line(&alert.summary, SUMMARY_CHARS)
}

/// When people would say it began.
pub(super) fn began(alert: &Alert) -> UnixNs {
    alert.fired.unwrap_or(alert.since)
}

/// RFC 3339, UTC, to the millisecond.
pub(super) fn rfc3339(at: UnixNs) -> String {
    format!("{:.3}", timestamp(at))
}

/// For people: `2026-11-24 03:10:07 UTC`.
pub(super) fn readable(at: UnixNs) -> String {
    timestamp(at).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn timestamp(at: UnixNs) -> Timestamp {
    i64::try_from(at.millis())
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::MAX)
}

/// A name for an episode of at most `max_bytes` ASCII characters, the same
/// whenever it is asked for; the id itself where that is one.
pub(super) fn key(id: &str, max_bytes: usize) -> String {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain && id.len() <= max_bytes && !id.is_empty() {
        return id.to_owned();
    }
    let kept: String = id
        .chars()
        .filter(char::is_ascii_graphic)
        .take(max_bytes.saturating_sub(17))
        .collect();
    format!("{kept}-{:016x}", digest(id))
}

/// A number for `text`, the same in every run.
pub(super) fn digest(text: &str) -> u64 {
    // `DefaultHasher::new` has no random keys.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339_to_the_millisecond() {
        let at = UnixNs(1_795_490_407_123_456_789);
        assert_eq!(rfc3339(at), "2026-11-24T03:20:07.123Z");
        assert_eq!(readable(at), "2026-11-24 03:20:07 UTC");
        assert_eq!(rfc3339(UnixNs(0)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn key_of_a_long_or_hostile_id_is_bounded_and_its_own() {
        assert_eq!(key("0192f", 255), "0192f");
        let (a, b) = ("x".repeat(300), "x".repeat(301));
        assert_eq!(key(&a, 255).len(), 255);
        assert_ne!(key(&a, 255), key(&b, 255));
        assert_eq!(key(&a, 255), key(&a, 255));
        assert!(
            key("a b\r\nc", 255)
                .bytes()
                .all(|byte| byte.is_ascii_graphic())
        );
    }
}
