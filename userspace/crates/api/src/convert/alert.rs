//! Alerts, their rules, silences and notifiers, in the wire's words.

use modeltap_api_types as wire;
use modeltap_core::alert::{
    Alert, AlertMetric, AlertRule, Comparison, Condition, Delivery, Severity, Silence,
};
use modeltap_metrics::ServiceSnapshot;

use crate::state::NotifierState;

/// How the worst alert that fires lets a service be, and what is suddenly worse
/// before any rule says so.
pub(crate) fn health(service: &ServiceSnapshot) -> wire::Health {
    match service.worst_firing {
        Some(Severity::Critical) => wire::Health::Critical,
        Some(Severity::Warning) => wire::Health::Warning,
        _ if service.is_suddenly_worse => wire::Health::Warning,
        Some(Severity::Info) | None => wire::Health::Idle,
    }
}

/// One alert.
pub(crate) fn alert(alert: &Alert) -> wire::Alert {
    wire::Alert {
        id: alert.id.to_string(),
        rule: alert.rule.to_string(),
        rule_name: alert.rule_name.clone(),
        service: alert.service.to_string(),
        severity: alert.severity.as_str().to_owned(),
        state: alert.state.as_str().to_owned(),
        value: alert.value,
        threshold: alert.threshold,
        unit: alert.metric.unit().to_owned(),
        summary: alert.summary.clone(),
        since_unix_ms: alert.since.millis(),
        fired_unix_ms: alert.fired.map(|at| at.millis()),
        resolved_unix_ms: alert.resolved.map(|at| at.millis()),
        silenced_by: alert.silenced_by.as_deref().map(str::to_owned),
    }
}

/// One rule.
pub(crate) fn rule(rule: &AlertRule) -> wire::AlertRule {
    wire::AlertRule {
        id: rule.id.to_string(),
        name: rule.name.clone(),
        origin: rule.origin.as_str().to_owned(),
        enabled: rule.enabled,
        service: rule.service.as_deref().map(str::to_owned),
        metric: rule.metric.as_str().to_owned(),
        condition: condition(&rule.condition),
        window_seconds: rule.window.as_secs(),
        for_seconds: rule.hold.as_secs(),
        keep_firing_seconds: rule.keep.as_secs(),
        min_requests: rule.min_requests,
        severity: rule.severity.as_str().to_owned(),
    }
}

fn condition(condition: &Condition) -> wire::Condition {
    match *condition {
        Condition::Threshold {
            comparison: Comparison::Above,
            threshold,
            clear,
        } => wire::Condition::Above { threshold, clear },
        Condition::Threshold {
            comparison: Comparison::Below,
            threshold,
            clear,
        } => wire::Condition::Below { threshold, clear },
        Condition::AgainstPast {
            factor,
            past,
            floor,
        } => wire::Condition::AgainstPast {
            factor,
            past_seconds: past.as_secs(),
            floor,
        },
        Condition::NoTraffic { past } => wire::Condition::NoTraffic {
            past_seconds: past.as_secs(),
        },
        Condition::Anomaly { deviations } => wire::Condition::Anomaly { deviations },
    }
}

/// The figures that a rule may be about.
pub(crate) fn metrics() -> Vec<wire::AlertMetric> {
    let metric = |metric: AlertMetric| wire::AlertMetric {
        name: metric.as_str().to_owned(),
        unit: metric.unit().to_owned(),
        description: metric.description().to_owned(),
    };
    AlertMetric::ALL.into_iter().map(metric).collect()
}

/// One silence.
pub(crate) fn silence(silence: &Silence) -> wire::Silence {
    wire::Silence {
        id: silence.id.to_string(),
        service: silence.service.as_deref().map(str::to_owned),
        rule: silence.rule.as_deref().map(str::to_owned),
        from_unix_ms: silence.from.millis(),
        until_unix_ms: silence.until.millis(),
        comment: silence.comment.clone(),
    }
}

/// One notifier.
pub(crate) fn notifier(notifier: &NotifierState) -> wire::Notifier {
    wire::Notifier {
        name: notifier.name.to_owned(),
        configured: notifier.target.is_some(),
        target: notifier.target.clone(),
        variables: notifier.variables.iter().map(|&v| v.to_owned()).collect(),
        last: notifier.last.as_ref().map(delivery),
    }
}

/// One delivery.
pub(crate) fn delivery(delivery: &Delivery) -> wire::Delivery {
    wire::Delivery {
        at_unix_ms: delivery.at.millis(),
        notifier: delivery.notifier.to_string(),
        alert: delivery.alert.to_string(),
        state: delivery.state.as_str().to_owned(),
        n_attempts: delivery.n_attempts,
        error: delivery.error.clone(),
        will_retry: delivery.will_retry,
    }
}
