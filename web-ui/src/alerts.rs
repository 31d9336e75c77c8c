//! Alerts and their rules, apart from how they look: words for a rule, the
//! form that makes one, and what an error of the daemon says of a field.

use modeltap_api_types::{Alert, AlertMetric, AlertRule, Condition};

use crate::format::{self, Quantity};
use crate::json;
use crate::words::{W, phrases, t};

/// Alerts held, whatever the daemon sends.
pub const MAX_ALERTS: usize = 1_000;
const MIB: f64 = 1_048_576.0;

/// Whether an alert is to be looked at now.
#[must_use]
pub fn is_loud(alert: &Alert) -> bool {
    alert.state == "firing" && alert.silenced_by.is_none()
}

/// The class that colours a severity.
#[must_use]
pub fn severity_class(severity: &str) -> &'static str {
    match severity {
        "critical" => "crit",
        "warning" => "warn",
        _ => "info",
    }
}

/// What an alert says, without the service's name: that stands beside it.
#[must_use]
pub fn sentence(alert: &Alert) -> &str {
    let rest = alert.summary.strip_prefix(&alert.service);
    rest.and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(&alert.summary)
}

/// Whether a figure of unit 1 is shown as a percentage.
fn is_percentage(metric: &str) -> bool {
    metric.ends_with("_share")
        || matches!(
            metric,
            "error_rate" | "stream_abort_rate" | "gpu_utilization"
        )
}

/// A rule's figure in its unit.
#[must_use]
pub fn figure(metric: &str, unit: &str, value: Option<f64>) -> Quantity {
    let Some(value) = value.filter(|v| v.is_finite()) else {
        return Quantity::unknown();
    };
    match unit {
        "s" => format::duration(Some(value)),
        "1/s" => Quantity {
            value: format::rate(value),
            unit: "/s",
        },
        "By" => format::bytes(value.max(0.0) as u64),
        _ if is_percentage(metric) => format::percent(Some(value)),
        _ => Quantity::plain(plain(value)),
    }
}

/// A number with no more digits than it needs.
fn plain(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How a figure of a metric is typed: how many of it make one of the wire's
/// unit, and its name.
#[must_use]
pub fn typed_unit(metric: &str, unit: &str) -> (f64, &'static str) {
    match unit {
        "s" => (1_000.0, "ms"),
        "1/s" => (1.0, "/s"),
        "By" => (1.0 / MIB, "MiB"),
        _ if is_percentage(metric) => (100.0, "%"),
        _ => (1.0, ""),
    }
}

/// A length of time as it is typed: `90s`, `5m`, `1h 30m`; a bare number is
/// seconds.
#[must_use]
pub fn parse_span(text: &str) -> Option<u64> {
    let mut seconds = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit());
        let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let length = match unit {
            "" | "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        seconds = seconds.checked_add(number.checked_mul(length)?)?;
        rest = after.trim_start();
    }
    Some(seconds)
}

/// A length of time in its largest unit that divides it: `5m`, `90s`.
#[must_use]
pub fn typed_span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units
        .into_iter()
        .find(|(length, _)| seconds >= *length && seconds.is_multiple_of(*length));
    unit.map_or_else(
        || format!("{seconds}s"),
        |(length, name)| format!("{}{name}", seconds / length),
    )
}

/// What a rule watches, as one sentence.
#[must_use]
pub fn rule_words(rule: &AlertRule, metrics: &[AlertMetric]) -> String {
    let metric = metrics.iter().find(|m| m.name == rule.metric);
    let what = metric.map_or(rule.metric.as_str(), |m| m.description.as_str());
    let unit = metric.map_or("1", |m| m.unit.as_str());
    let value = |value| figure(&rule.metric, unit, Some(value)).text();
    let span = |seconds: u64| format::span(seconds as f64);
    let window = span(rule.window_seconds);
    let mut words = match rule.condition {
        Condition::Above { threshold, .. } => phrases::above(what, &value(threshold), &window),
        Condition::Below { threshold, .. } => phrases::below(what, &value(threshold), &window),
        Condition::AgainstPast {
            factor,
            past_seconds,
            floor,
        } => {
            let past = span(past_seconds);
            let mut words = phrases::against_past(what, &window, &plain(factor), &past);
            if floor > 0.0 {
                words.push_str(&phrases::and_above(&value(floor)));
            }
            words
        }
        Condition::NoTraffic { past_seconds } => phrases::gone(&window, &span(past_seconds)),
        Condition::Anomaly { deviations } => phrases::anomaly(what, &window, &plain(deviations)),
    };
    if rule.for_seconds > 0 {
        words.push_str(&phrases::held_for(&span(rule.for_seconds)));
    }
    words
}

/// A field of the form of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// What people call it.
    Name,
    /// The service; empty for each on its own.
    Service,
    /// The figure.
    Metric,
    /// The kind of condition.
    Kind,
    /// The value that is too much.
    Threshold,
    /// The value at which it is over.
    Clear,
    /// How many times the past.
    Factor,
    /// The past compared with.
    Past,
    /// Figures below are never too much.
    Floor,
    /// How many deviations.
    Deviations,
    /// The time the figure covers.
    Window,
    /// How long the condition has to hold.
    Hold,
    /// How long the figure has to be back.
    Keep,
    /// Requests the window must have.
    MinRequests,
    /// How bad it is.
    Severity,
}

/// Every field, in the order of `Field`: its name in the API and on the page.
const FIELDS: [(Field, &str, W); 15] = [
    (Field::Name, "name", W::Name),
    (Field::Service, "service", W::Service),
    (Field::Metric, "metric", W::Figure),
    (Field::Kind, "type", W::FiresWhen),
    (Field::Threshold, "threshold", W::Limit),
    (Field::Clear, "clear", W::OverAgainAt),
    (Field::Factor, "factor", W::TimesMedian),
    (Field::Past, "past_seconds", W::PastCompared),
    (Field::Floor, "floor", W::ButNeverBelow),
    (Field::Deviations, "deviations", W::Deviations),
    (Field::Window, "window_seconds", W::MeasuredOver),
    (Field::Hold, "for_seconds", W::FiresAfter),
    (Field::Keep, "keep_firing_seconds", W::OverAfter),
    (Field::MinRequests, "min_requests", W::RequestsAtLeast),
    (Field::Severity, "severity", W::Severity),
];

/// The kinds of conditions, and what they are called.
pub const KINDS: [(&str, W); 5] = [
    ("above", W::AboveLimit),
    ("below", W::BelowLimit),
    ("against_past", W::MoreThanPast),
    ("no_traffic", W::NoTraffic),
    ("anomaly", W::Unusual),
];

impl Field {
    /// Its name in the API, below the condition where it is the condition's.
    #[must_use]
    pub fn name(self) -> &'static str {
        FIELDS[self as usize].1
    }

    /// Its name on the page.
    #[must_use]
    pub fn label(self) -> &'static str {
        t(FIELDS[self as usize].2)
    }

    /// Whether it is a length of time.
    #[must_use]
    pub fn is_span(self) -> bool {
        matches!(self, Self::Past | Self::Window | Self::Hold | Self::Keep)
    }

    /// Whether it is in the metric's unit.
    #[must_use]
    pub fn is_figure(self) -> bool {
        matches!(self, Self::Threshold | Self::Clear | Self::Floor)
    }
}

/// What is wrong with the form, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field; `None` for all of it.
    pub field: Option<Field>,
    /// What would be right.
    pub text: String,
}

impl FieldError {
    fn of(field: Field, text: impl Into<String>) -> Self {
        Self {
            field: Some(field),
            text: text.into(),
        }
    }

    /// Reads a problem document's detail: `condition.factor must be 1.01 to
    /// 1000: "0"` is about one field, and what was given stands in it already.
    #[must_use]
    pub fn of_detail(detail: &str) -> Self {
        let parts = detail.split_once(" must be ");
        let found = parts.and_then(|(name, right)| {
            let name = name.strip_prefix("condition.").unwrap_or(name);
            let field = FIELDS.iter().find(|f| f.1 == name)?.0;
            let right = right.rsplit_once(": ").map_or(right, |(right, _)| right);
            let span = |text: &str| text.parse().ok().map(|s: u64| format::span(s as f64));
            let right = right
                .split_once(" to ")
                .filter(|_| field.is_span())
                .and_then(|(least, most)| Some(phrases::range(&span(least)?, &span(most)?)))
                .unwrap_or_else(|| right.to_owned());
            Some(Self::of(field, phrases::must_be(&right)))
        });
        found.unwrap_or_else(|| Self {
            field: None,
            text: detail.to_owned(),
        })
    }
}

/// A rule as it is typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The rule that is changed; empty for a new one.
    pub id: String,
    /// Whether it is evaluated.
    pub enabled: bool,
    values: [String; FIELDS.len()],
}

impl Draft {
    /// A new rule, with what is right for most.
    #[must_use]
    pub fn new(metrics: &[AlertMetric]) -> Self {
        let rule = AlertRule {
            enabled: true,
            metric: "duration_p95".to_owned(),
            condition: Condition::Above {
                threshold: 0.5,
                clear: None,
            },
            window_seconds: 120,
            for_seconds: 60,
            keep_firing_seconds: 60,
            min_requests: 20,
            severity: "warning".to_owned(),
            ..AlertRule::default()
        };
        Self::of(&rule, metrics)
    }

    /// A rule that there is.
    #[must_use]
    pub fn of(rule: &AlertRule, metrics: &[AlertMetric]) -> Self {
        let unit = unit_of(&rule.metric, metrics);
        let (per, _) = typed_unit(&rule.metric, unit);
        let figure = |value: f64| plain(value * per);
        let mut draft = Self {
            id: rule.id.clone(),
            enabled: rule.enabled,
            values: Default::default(),
        };
        let mut set = |field: Field, value: String| draft.values[field as usize] = value;
        set(Field::Name, rule.name.clone());
        set(Field::Service, rule.service.clone().unwrap_or_default());
        set(Field::Metric, rule.metric.clone());
        set(Field::Window, typed_span(rule.window_seconds));
        set(Field::Hold, typed_span(rule.for_seconds));
        set(Field::Keep, typed_span(rule.keep_firing_seconds));
        set(Field::MinRequests, rule.min_requests.to_string());
        set(Field::Severity, rule.severity.clone());
        // What another kind of condition begins with.
        set(Field::Factor, "2".to_owned());
        set(Field::Past, "24h".to_owned());
        set(Field::Deviations, "8".to_owned());
        let kind = match rule.condition {
            Condition::Above { threshold, clear } | Condition::Below { threshold, clear } => {
                set(Field::Threshold, figure(threshold));
                set(Field::Clear, clear.map(figure).unwrap_or_default());
                if matches!(rule.condition, Condition::Above { .. }) {
                    "above"
                } else {
                    "below"
                }
            }
            Condition::AgainstPast {
                factor,
                past_seconds,
                floor,
            } => {
                set(Field::Factor, plain(factor));
                set(Field::Past, typed_span(past_seconds));
                set(Field::Floor, figure(floor));
                "against_past"
            }
            Condition::NoTraffic { past_seconds } => {
                set(Field::Past, typed_span(past_seconds));
                "no_traffic"
            }
            Condition::Anomaly { deviations } => {
                set(Field::Deviations, plain(deviations));
                "anomaly"
            }
        };
        set(Field::Kind, kind.to_owned());
        draft
    }

    /// What is typed in a field.
    #[must_use]
    pub fn value(&self, field: Field) -> &str {
        &self.values[field as usize]
    }

    /// Types into a field.
    pub fn set(&mut self, field: Field, value: String) {
        self.values[field as usize] = value;
        if field == Field::Kind && self.value(Field::Kind) == "no_traffic" {
            // The only figure that can be gone.
            self.set(Field::Metric, "request_rate".to_owned());
        }
    }

    /// The fields that the kind of condition has, after name and service.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        let own: &[Field] = match self.value(Field::Kind) {
            "against_past" => &[Field::Factor, Field::Past, Field::Floor],
            "no_traffic" => &[Field::Past],
            "anomaly" => &[Field::Deviations],
            _ => &[Field::Threshold, Field::Clear],
        };
        let timing = [Field::Window, Field::Hold, Field::Keep, Field::MinRequests];
        own.iter().copied().chain(timing).collect()
    }

    /// The rule, if what is typed makes one. What the daemon alone can judge
    /// it judges.
    ///
    /// # Errors
    /// The first field that cannot be read, or contradicts another.
    pub fn rule(&self, metrics: &[AlertMetric]) -> Result<AlertRule, FieldError> {
        let metric = self.value(Field::Metric);
        let (per, name) = typed_unit(metric, unit_of(metric, metrics));
        let number = |field: Field| {
            let typed = self.value(field).trim().replace(',', ".");
            let number = json::float(&typed);
            number.ok_or_else(|| FieldError::of(field, t(W::MustBeNumber)))
        };
        let figure = |field: Field| {
            let typed = number(field)?;
            // A quota can be overrun for a moment; no other share can.
            if typed < 0.0 || (name == "%" && metric != "cpu_share" && typed > 100.0) {
                let right = if name == "%" {
                    W::MustBePercent
                } else {
                    W::MustBePositive
                };
                return Err(FieldError::of(field, t(right)));
            }
            Ok(typed / per)
        };
        let optional = |field: Field| {
            let is_empty = self.value(field).trim().is_empty();
            (!is_empty).then(|| figure(field)).transpose()
        };
        let span = |field: Field| {
            let typed = parse_span(self.value(field));
            typed.ok_or_else(|| FieldError::of(field, t(W::MustBeSpan)))
        };
        let condition = match self.value(Field::Kind) {
            "against_past" => Condition::AgainstPast {
                factor: number(Field::Factor)?,
                past_seconds: span(Field::Past)?,
                floor: optional(Field::Floor)?.unwrap_or(0.0),
            },
            "no_traffic" => Condition::NoTraffic {
                past_seconds: span(Field::Past)?,
            },
            "anomaly" => Condition::Anomaly {
                deviations: number(Field::Deviations)?,
            },
            kind => {
                let threshold = figure(Field::Threshold)?;
                let clear = optional(Field::Clear)?;
                if kind == "below" {
                    if clear.is_some_and(|clear| clear < threshold) {
                        let text = t(W::MustBeAbove);
                        return Err(FieldError::of(Field::Clear, text));
                    }
                    Condition::Below { threshold, clear }
                } else {
                    if clear.is_some_and(|clear| clear > threshold) {
                        let text = t(W::MustBeBelow);
                        return Err(FieldError::of(Field::Clear, text));
                    }
                    Condition::Above { threshold, clear }
                }
            }
        };
        let min_requests = self.value(Field::MinRequests).trim().parse();
        let service = self.value(Field::Service).trim();
        let rule = AlertRule {
            id: String::new(),
            name: self.value(Field::Name).trim().to_owned(),
            origin: String::new(),
            enabled: self.enabled,
            service: (!service.is_empty()).then(|| service.to_owned()),
            metric: metric.to_owned(),
            condition,
            window_seconds: span(Field::Window)?,
            for_seconds: span(Field::Hold)?,
            keep_firing_seconds: span(Field::Keep)?,
            min_requests: min_requests
                .map_err(|_| FieldError::of(Field::MinRequests, t(W::MustBeWhole)))?,
            severity: self.value(Field::Severity).to_owned(),
        };
        // The name comes last: while it is still to be typed, what is wrong
        // with the rest is told.
        if rule.name.is_empty() {
            return Err(FieldError::of(Field::Name, t(W::MustNotBeEmpty)));
        }
        Ok(rule)
    }
}

/// The unit of a metric.
#[must_use]
pub fn unit_of<'a>(metric: &str, metrics: &'a [AlertMetric]) -> &'a str {
    let metric = metrics.iter().find(|m| m.name == metric);
    metric.map_or("1", |m| m.unit.as_str())
}

#[cfg(test)]
#[path = "alerts_tests.rs"]
mod tests;
