//! Rules and silences as they come, read into types that have only valid
//! values. Every error names the field and what it may be.

use std::time::Duration;

use modeltap_api_types as wire;
use modeltap_core::alert::{
    AlertMetric, AlertRule, Comparison, Condition, RuleOrigin, Severity, Silence,
};
use modeltap_core::time::UnixNs;

use crate::error::ApiError;
use crate::query::from_millis;

/// Longest name of a rule or service and longest comment, in characters.
const MAX_TEXT: usize = 200;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// Longest silence.
const MAX_SILENCE_DAYS: u64 = 366;

/// Reads a rule; its id and origin are the daemon's to give.
pub fn rule(given: wire::AlertRule) -> Result<AlertRule, ApiError> {
    let metric = AlertMetric::parse(&given.metric).ok_or_else(|| {
        let names = AlertMetric::ALL.map(AlertMetric::as_str).join(", ");
        bad("metric", &given.metric, &format!("one of {names}"))
    })?;
    let severity = Severity::parse(&given.severity)
        .ok_or_else(|| bad("severity", &given.severity, "info, warning or critical"))?;
    let window = whole("window_seconds", given.window_seconds, 1, HOUR)?;
    Ok(AlertRule {
        id: given.id.as_str().into(),
        name: text("name", &given.name, 1)?,
        origin: RuleOrigin::User,
        enabled: given.enabled,
        service: service(given.service)?,
        metric,
        condition: condition(metric, window, &given.condition)?,
        window: Duration::from_secs(window),
        hold: seconds("for_seconds", given.for_seconds, 0, DAY)?,
        keep: seconds("keep_firing_seconds", given.keep_firing_seconds, 0, DAY)?,
        min_requests: whole("min_requests", given.min_requests, 0, 1_000_000)?,
        severity,
    })
}

fn condition(
    metric: AlertMetric,
    window: u64,
    given: &wire::Condition,
) -> Result<Condition, ApiError> {
    Ok(match *given {
        wire::Condition::Above { threshold, clear } => {
            threshold_of(metric, Comparison::Above, threshold, clear)?
        }
        wire::Condition::Below { threshold, clear } => {
            threshold_of(metric, Comparison::Below, threshold, clear)?
        }
        wire::Condition::AgainstPast {
            factor,
            past_seconds,
            floor,
        } => Condition::AgainstPast {
            factor: number("condition.factor", factor, 1.01, 1_000.0)?,
            past: past(past_seconds, HOUR)?,
            floor: number("condition.floor", floor, 0.0, highest(metric))?,
        },
        wire::Condition::NoTraffic { past_seconds } => {
            if metric != AlertMetric::RequestRate {
                return Err(bad(
                    "metric",
                    metric.as_str(),
                    "request_rate where the condition is no_traffic",
                ));
            }
            Condition::NoTraffic {
                past: past(past_seconds, window.max(300))?,
            }
        }
        wire::Condition::Anomaly { deviations } => Condition::Anomaly {
            deviations: number("condition.deviations", deviations, 2.0, 100.0)?,
        },
    })
}

fn threshold_of(
    metric: AlertMetric,
    comparison: Comparison,
    threshold: f64,
    clear: Option<f64>,
) -> Result<Condition, ApiError> {
    let highest = highest(metric);
    let threshold = number("condition.threshold", threshold, 0.0, highest)?;
    let clear = clear
        .map(|clear| match comparison {
            Comparison::Above => number("condition.clear", clear, 0.0, threshold),
            Comparison::Below => number("condition.clear", clear, threshold, highest),
        })
        .transpose()?;
    Ok(Condition::Threshold {
        comparison,
        threshold,
        clear,
    })
}

/// The highest value of a metric that makes sense to compare with.
fn highest(metric: AlertMetric) -> f64 {
    match metric.unit() {
        _ if metric.is_share() => 1.0,
        "s" => 4_000.0,
        "By" => 1e15,
        _ => 1e9,
    }
}

fn past(given: u64, least: u64) -> Result<Duration, ApiError> {
    seconds("condition.past_seconds", given, least, 7 * DAY)
}

/// Reads a silence that begins now unless it says otherwise.
pub fn silence(given: wire::Silence, now: UnixNs) -> Result<Silence, ApiError> {
    let from = match given.from_unix_ms {
        0 => now,
        millis => from_millis(millis),
    };
    let until = from_millis(given.until_unix_ms);
    let longest = from_millis(now.millis().saturating_add(MAX_SILENCE_DAYS * DAY * 1_000));
    if until <= from.max(now) || until > longest {
        return Err(ApiError::BadRequest(format!(
            "until_unix_ms must be after from_unix_ms and now, and within {MAX_SILENCE_DAYS} days: {}",
            given.until_unix_ms
        )));
    }
    let rule = given.rule.map(|rule| text("rule", &rule, 1)).transpose()?;
    Ok(Silence {
        id: "".into(),
        service: service(given.service)?,
        rule: rule.map(Into::into),
        from,
        until,
        comment: text("comment", &given.comment, 0)?,
    })
}

fn service(given: Option<String>) -> Result<Option<std::sync::Arc<str>>, ApiError> {
    let text = given
        .map(|service| text("service", &service, 1))
        .transpose()?;
    Ok(text.map(Into::into))
}

fn text(field: &str, given: &str, least: usize) -> Result<String, ApiError> {
    let text = given.trim();
    let length = text.chars().count();
    if length < least || length > MAX_TEXT || text.chars().any(char::is_control) {
        let right = format!("{least} to {MAX_TEXT} characters without line breaks");
        return Err(bad(field, given, &right));
    }
    Ok(text.to_owned())
}

fn seconds(field: &str, given: u64, least: u64, most: u64) -> Result<Duration, ApiError> {
    whole(field, given, least, most).map(Duration::from_secs)
}

fn whole(field: &str, given: u64, least: u64, most: u64) -> Result<u64, ApiError> {
    if (least..=most).contains(&given) {
        Ok(given)
    } else {
        Err(bad(
            field,
            &given.to_string(),
            &format!("{least} to {most}"),
        ))
    }
}

fn number(field: &str, given: f64, least: f64, most: f64) -> Result<f64, ApiError> {
    if given.is_finite() && (least..=most).contains(&given) {
        Ok(given)
    } else {
        Err(bad(
            field,
            &given.to_string(),
            &format!("{least} to {most}"),
        ))
    }
}

fn bad(field: &str, given: &str, right: &str) -> ApiError {
    let given: String = given.chars().take(80).collect();
    ApiError::BadRequest(format!("{field} must be {right}: {given:?}"))
}

#[cfg(test)]
mod tests {
    use modeltap_metrics::alert::default_rules;

    use super::*;
    use crate::convert::alert;

    fn given() -> wire::AlertRule {
        wire::AlertRule {
            name: "Slow".to_owned(),
            metric: "duration_p95".to_owned(),
            condition: wire::Condition::Above {
                threshold: 0.3,
                clear: Some(0.2),
            },
            window_seconds: 60,
            min_requests: 1,
            severity: "warning".to_owned(),
            ..wire::AlertRule::default()
        }
    }

    #[track_caller]
    fn refused(change: impl Fn(&mut wire::AlertRule), expected: &str) {
        let mut wrong = given();
        change(&mut wrong);
        let error = rule(wrong).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn every_default_rule_is_valid_and_comes_back_from_the_wire() {
        for known in default_rules() {
            let read = rule(alert::rule(&known)).unwrap();
            let expected = AlertRule {
                origin: RuleOrigin::User,
                ..known
            };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_its_field_and_range() {
        refused(|rule| rule.name = " ".into(), "name must be 1 to 200");
        refused(|rule| rule.name = "a\nb".into(), "without line breaks");
        refused(
            |rule| rule.metric = "latency".into(),
            "metric must be one of request_rate",
        );
        refused(
            |rule| rule.severity = "bad".into(),
            "severity must be info, warning or critical",
        );
        refused(
            |rule| rule.window_seconds = 0,
            "window_seconds must be 1 to 3600: \"0\"",
        );
        refused(
            |rule| rule.window_seconds = 3_601,
            "window_seconds must be 1 to 3600",
        );
        refused(
            |rule| rule.for_seconds = 86_401,
            "for_seconds must be 0 to 86400",
        );
        refused(
            |rule| rule.keep_firing_seconds = u64::MAX,
            "keep_firing_seconds",
        );
        refused(
            |rule| rule.min_requests = 2_000_000,
            "min_requests must be 0 to 1000000",
        );
        refused(
            |rule| rule.service = Some(String::new()),
            "service must be 1 to 200",
        );
        let above = |threshold, clear| wire::Condition::Above { threshold, clear };
        let below = |threshold, clear| wire::Condition::Below { threshold, clear };
        refused(
            |rule| rule.condition = above(f64::NAN, None),
            "condition.threshold must be 0 to 4000",
        );
        refused(
            |rule| rule.condition = above(-1.0, None),
            "condition.threshold",
        );
        refused(
            |rule| rule.condition = above(0.3, Some(0.4)),
            "condition.clear must be 0 to 0.3",
        );
        refused(
            |rule| rule.condition = below(0.3, Some(0.2)),
            "condition.clear must be 0.3 to 4000",
        );
        refused(
            |rule| {
                rule.metric = "error_rate".into();
                rule.condition = above(5.0, None);
            },
            "condition.threshold must be 0 to 1: \"5\"",
        );
        refused(
            |rule| {
                rule.condition = wire::Condition::AgainstPast {
                    factor: 1.0,
                    past_seconds: 3_600,
                    floor: 0.0,
                };
            },
            "condition.factor must be 1.01 to 1000",
        );
        refused(
            |rule| {
                rule.condition = wire::Condition::AgainstPast {
                    factor: 2.0,
                    past_seconds: 8 * 86_400,
                    floor: 0.0,
                };
            },
            "condition.past_seconds must be 3600 to 604800",
        );
        refused(
            |rule| {
                rule.condition = wire::Condition::NoTraffic {
                    past_seconds: 3_600,
                }
            },
            "metric must be request_rate where",
        );
        refused(
            |rule| rule.condition = wire::Condition::Anomaly { deviations: 1.0 },
            "condition.deviations must be 2 to 100",
        );
    }

    #[test]
    fn silence_begins_now_and_ends_within_a_year() {
        let now = UnixNs(1_700_000_000_000_000_000);
        let until = |millis| wire::Silence {
            until_unix_ms: millis,
            comment: " deploying ".to_owned(),
            ..wire::Silence::default()
        };
        let read = silence(until(now.millis() + 1), now).unwrap();
        assert_eq!((read.from, &*read.comment), (now, "deploying"));
        let error = silence(until(now.millis()), now).unwrap_err().to_string();
        assert!(error.contains("until_unix_ms must be after"), "{error}");
        assert!(silence(until(now.millis() + 400 * DAY * 1_000), now).is_err());
        assert!(silence(until(u64::MAX), now).is_err());
    }
}
