//! Alerts as Prometheus itself exposes those of its rules.

use std::collections::BTreeSet;

use modeltap_core::alert::Alert;

use crate::Labels;
use crate::text::{Kind, Text};

pub(crate) fn alerts(text: &mut Text, alerts: &[Alert]) {
    text.family(
        "ALERTS",
        Kind::Gauge,
        "Alerts that are pending or firing: always 1.",
    );
    // Two rules of one name may hold on one service.
    let named: BTreeSet<Labels> = alerts.iter().map(labels).collect();
    for labels in &named {
        text.sample("", labels, 1.0);
    }
}

fn labels(alert: &Alert) -> Labels {
    vec![
        ("alertname", alert.rule_name.clone()),
        ("alertstate", alert.state.as_str().to_owned()),
        ("service_name", alert.service.to_string()),
        ("severity", alert.severity.as_str().to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use modeltap_core::alert::{AlertMetric, AlertState, Severity};
    use modeltap_core::time::UnixNs;

    use super::*;

    #[test]
    fn alerts_are_told_as_prometheus_tells_them_and_each_set_of_labels_once() {
        let firing = Alert {
            id: "1".into(),
            rule: "default:error_rate".into(),
            rule_name: "Requests \"fail\"".to_owned(),
            service: "api".into(),
            metric: AlertMetric::ErrorRate,
            severity: Severity::Critical,
            state: AlertState::Firing,
            value: Some(0.5),
            threshold: Some(0.05),
            summary: String::new(),
            since: UnixNs(1),
            fired: Some(UnixNs(1)),
            resolved: None,
            silenced_by: None,
        };
        let pending = Alert {
            state: AlertState::Pending,
            ..firing.clone()
        };
        let mut text = Text::default();
        alerts(&mut text, &[firing.clone(), pending, firing]);
        let text = text.into_string();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let line = |state: &str| {
            format!(
                "ALERTS{{alertname=\"Requests \\\"fail\\\"\",alertstate=\"{state}\",\
                 service_name=\"api\",severity=\"critical\"}} 1"
            )
        };
        assert_eq!(lines, [line("firing"), line("pending")]);
    }
}
