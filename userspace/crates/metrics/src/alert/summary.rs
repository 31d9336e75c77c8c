//! One sentence for people.

use std::time::Duration;

use modeltap_core::alert::{AlertMetric, AlertRule, Comparison, Condition};

/// Says what a rule found of a service.
pub(crate) fn summary(
    service: &str,
    rule: &AlertRule,
    value: Option<f64>,
    threshold: Option<f64>,
    over_because: Option<&str>,
) -> String {
    let metric = rule.metric;
    let figure =
        |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), |v| text(metric, v));
    let what = metric.description();
    let window = time(rule.window);
    let (is, limit) = (figure(value), figure(threshold));
    let mut sentence = match rule.condition {
        Condition::Threshold {
            comparison: Comparison::Above,
            ..
        } => format!("{service}: {what} is {is} over {window}, the limit is {limit}"),
        Condition::Threshold {
            comparison: Comparison::Below,
            ..
        } => format!("{service}: {what} is {is} over {window}, at least {limit} is expected"),
        Condition::AgainstPast { factor, past, .. } => format!(
            "{service}: {what} is {is} over {window}, {factor} times its median of {} is {limit}",
            time(past)
        ),
        Condition::NoTraffic { .. } => {
            format!("{service}: no request for {window}, where there were some every minute")
        }
        Condition::Anomaly { .. } => format!(
            "{service}: {what} is {is} over {window}, at this time of day it keeps to {limit}"
        ),
    };
    if let Some(reason) = over_because {
        sentence.push_str("; over, for ");
        sentence.push_str(reason);
    }
    sentence
}

fn text(metric: AlertMetric, value: f64) -> String {
    const MIB: f64 = 1_048_576.0;
    match metric.unit() {
        "s" if value < 1.0 => format!("{} ms", rounded(value * 1e3)),
        "s" => format!("{} s", rounded(value)),
        "1/s" => format!("{}/s", rounded(value)),
        "By" if value < 1024.0 * MIB => format!("{} MiB", rounded(value / MIB)),
        "By" => format!("{} GiB", rounded(value / MIB / 1024.0)),
        _ if metric.is_share() || metric == AlertMetric::CpuShare => {
            format!("{} %", rounded(value * 100.0))
        }
        _ => rounded(value),
    }
}

/// Three significant digits, or all before the point.
fn rounded(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        s if s.is_multiple_of(3_600) => format!("{} h", s / 3_600),
        s if s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::defaults::default_rules;

    #[test]
    fn every_default_rule_says_what_is_wrong_in_units_of_people() {
        let sentences: Vec<String> = default_rules()
            .iter()
            .map(|rule| summary("api", rule, Some(0.123), Some(0.05), None))
            .collect();
        assert_eq!(
            sentences[0],
            "api: share of requests that failed is 12.3 % over 2 min, the limit is 5 %"
        );
        assert!(sentences[1].contains("is 123 ms over 5 min, 2 times its median of 24 h is 50 ms"));
        assert!(
            sentences
                .iter()
                .all(|sentence| sentence.starts_with("api: "))
        );
        assert_eq!(text(AlertMetric::MemoryBytes, 3.5e9), "3.26 GiB");
        assert_eq!(text(AlertMetric::RequestRate, 1234.5), "1234/s");
        assert_eq!(text(AlertMetric::OomKills, 1.0), "1");
    }
}
