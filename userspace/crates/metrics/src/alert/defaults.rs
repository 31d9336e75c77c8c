//! The rules that are on from the start, and those of labels.

use std::sync::Arc;
use std::time::Duration;

use modeltap_core::alert::{AlertMetric, AlertRule, Comparison, Condition, RuleOrigin, Severity};
use modeltap_core::container::Slo;

/// Requests without which no share or percentile of a default rule is one.
const MIN_REQUESTS: u64 = 20;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The rules that are on from the start, about every service.
///
/// They are few and slow rather than loud: each waits until its figure is no
/// accident, and none judges a service by a handful of requests.
#[must_use]
pub fn default_rules() -> Vec<AlertRule> {
    let rule = |id: &str, name: &str, metric, condition, severity| AlertRule {
        id: format!("default:{id}").into(),
        name: name.to_owned(),
        origin: RuleOrigin::Default,
        enabled: true,
        service: None,
        metric,
        condition,
        window: seconds(300),
        hold: Duration::ZERO,
        keep: seconds(60),
        min_requests: MIN_REQUESTS,
        severity,
    };
    vec![
        AlertRule {
            window: seconds(120),
            hold: seconds(30),
            ..rule(
                "error_rate",
                "Requests fail",
                AlertMetric::ErrorRate,
                above(0.05, Some(0.02)),
                Severity::Critical,
            )
        },
        AlertRule {
            hold: seconds(120),
            keep: seconds(300),
            // Five in a hundred of them lie beyond the percentile.
            min_requests: 100,
            ..rule(
                "latency_p95",
                "Slower than usual",
                AlertMetric::DurationP95,
                Condition::AgainstPast {
                    factor: 2.0,
                    past: seconds(24 * 60 * 60),
                    floor: 0.02,
                },
                Severity::Warning,
            )
        },
        rule(
            "no_traffic",
            "No traffic",
            AlertMetric::RequestRate,
            Condition::NoTraffic {
                past: seconds(60 * 60),
            },
            Severity::Warning,
        ),
        AlertRule {
            window: seconds(60),
            hold: seconds(60),
            keep: seconds(120),
            ..rule(
                "memory",
                "Memory near its limit",
                AlertMetric::MemoryShare,
                above(0.9, Some(0.85)),
                Severity::Warning,
            )
        },
        AlertRule {
            hold: seconds(120),
            keep: seconds(120),
            ..rule(
                "throttled",
                "Processor throttled",
                AlertMetric::ThrottledShare,
                above(0.25, Some(0.15)),
                Severity::Warning,
            )
        },
        rule(
            "oom_kills",
            "Killed for want of memory",
            AlertMetric::OomKills,
            above(0.0, None),
            Severity::Critical,
        ),
        rule(
            "capture_loss",
            "Requests not seen",
            AlertMetric::CaptureLossShare,
            above(0.01, Some(0.001)),
            Severity::Warning,
        ),
    ]
}

/// The default rule of that id, as it is from the start.
#[must_use]
pub fn default_rule(id: &str) -> Option<AlertRule> {
    default_rules().into_iter().find(|rule| *rule.id == *id)
}

/// The rules that a service's labels ask for.
#[must_use]
pub fn slo_rules(service: &Arc<str>, slo: &Slo) -> Vec<AlertRule> {
    let rule = |id: &str, name: &str, metric, threshold: f64| AlertRule {
        id: format!("label:{service}:{id}").into(),
        name: name.to_owned(),
        origin: RuleOrigin::Label,
        enabled: true,
        service: Some(Arc::clone(service)),
        metric,
        condition: above(threshold, Some(threshold * 0.9)),
        window: seconds(120),
        hold: seconds(60),
        keep: seconds(60),
        min_requests: MIN_REQUESTS,
        severity: Severity::Critical,
    };
    let latency = slo.latency_p95.map(|limit| {
        let name = "Slower than promised";
        let limit = limit.as_secs_f64();
        rule("latency_p95", name, AlertMetric::DurationP95, limit)
    });
    let errors = slo.error_rate.map(|limit| {
        let name = "Fails more than promised";
        rule("error_rate", name, AlertMetric::ErrorRate, limit)
    });
    latency.into_iter().chain(errors).collect()
}

fn above(threshold: f64, clear: Option<f64>) -> Condition {
    Condition::Threshold {
        comparison: Comparison::Above,
        threshold,
        clear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_rules_have_names_of_their_own_and_come_back_by_them() {
        let rules = default_rules();
        for rule in &rules {
            assert_eq!(default_rule(&rule.id).as_ref(), Some(rule));
        }
        assert_eq!(default_rule("default:none"), None);
    }

    #[test]
    fn labels_make_the_rules_they_name_and_no_others() {
        let slo = Slo {
            latency_p95: Some(Duration::from_millis(300)),
            error_rate: None,
        };
        let rules = slo_rules(&"api".into(), &slo);
        assert_eq!(rules.len(), 1);
        assert_eq!(&*rules[0].id, "label:api:latency_p95");
        assert_eq!(rules[0].condition, above(0.3, Some(0.27)));
        assert!(slo_rules(&"api".into(), &Slo::default()).is_empty());
    }
}
