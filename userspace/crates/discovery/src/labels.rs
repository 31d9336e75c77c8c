//! What a container's labels say of it.

use std::collections::HashMap;
use std::time::Duration;

use modeltap_core::container::{Inspect, ServiceName, Slo};

const ENABLE: &str = "modeltap.enable";
const SERVICE: &str = "modeltap.service";
const ROUTES: &str = "modeltap.routes";
const INSPECT: &str = "modeltap.inspect";
const SLO_LATENCY: &str = "modeltap.slo.latency_p95";
const SLO_ERRORS: &str = "modeltap.slo.error_rate";
const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// Longest service or project name kept, in bytes; the rest is cut. An image's
/// author chooses labels too, and names become metric labels.
const MAX_NAME_BYTES: usize = 128;
/// Most route templates read from one label, as many as a service may have.
const MAX_ROUTES: usize = 200;
/// Longest route template; longer ones are left out.
const MAX_ROUTE_BYTES: usize = 512;

/// Longest latency that may be promised; the histograms end there.
const MAX_LATENCY: Duration = Duration::from_secs(3_600);

/// What the labels of one container mean to modeltap.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// `modeltap.enable=false` was not said.
    pub enabled: bool,
    /// `modeltap.service`, else the Compose service, else the container's name.
    pub service: ServiceName,
    /// The Compose project.
    pub project: Option<String>,
    /// Route templates of `modeltap.routes`.
    pub routes: Vec<String>,
    /// What `modeltap.inspect` allows; nothing where a word of it is unknown,
    /// for it is a permission.
    pub inspect: Inspect,
    /// What `modeltap.slo.*` promise; a promise that is not understood is none.
    pub slo: Slo,
    /// What was wrong with a label that is left out for it, in one line each.
    pub mistakes: Vec<String>,
}

impl Labels {
    /// Reads the labels of the container called `name`.
    #[must_use]
    pub fn read(name: &str, labels: &HashMap<String, String>) -> Self {
        let named = |label: &str| labels.get(label).and_then(|value| clean(value));
        let service = named(SERVICE)
            .or_else(|| named(COMPOSE_SERVICE))
            .or_else(|| clean(name))
            .unwrap_or_else(|| String::from("unnamed"));
        let mut mistakes = Vec::new();
        let slo = Slo {
            latency_p95: promise(labels, SLO_LATENCY, latency, &mut mistakes),
            error_rate: promise(labels, SLO_ERRORS, share, &mut mistakes),
        };
        Self {
            enabled: !labels.get(ENABLE).is_some_and(|value| is_no(value)),
            service: ServiceName(service),
            project: named(COMPOSE_PROJECT),
            routes: labels
                .get(ROUTES)
                .map(|value| routes(value))
                .unwrap_or_default(),
            inspect: labels
                .get(INSPECT)
                .and_then(|value| Inspect::parse(value).ok())
                .unwrap_or_default(),
            slo,
            mistakes,
        }
    }
}

fn is_no(value: &str) -> bool {
    ["false", "0", "no", "off"]
        .iter()
        .any(|no| value.trim().eq_ignore_ascii_case(no))
}

/// The name without control characters and surrounding blanks, cut to
/// [`MAX_NAME_BYTES`]; nothing if nothing is left.
fn clean(value: &str) -> Option<String> {
    let mut name: String = value.trim().chars().filter(|c| !c.is_control()).collect();
    while name.len() > MAX_NAME_BYTES {
        name.pop();
    }
    (!name.is_empty()).then_some(name)
}

fn routes(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|route| route.starts_with('/') && route.len() <= MAX_ROUTE_BYTES)
        .filter(|route| !route.chars().any(char::is_control))
        .take(MAX_ROUTES)
        .map(str::to_owned)
        .collect()
}

/// What a label promises, or what is wrong with it.
fn promise<T>(
    labels: &HashMap<String, String>,
    label: &str,
    read: impl Fn(&str) -> Option<T>,
    mistakes: &mut Vec<String>,
) -> Option<T> {
    let value = labels.get(label)?;
    let promise = read(value.trim());
    if promise.is_none() {
        let right = if label == SLO_ERRORS {
            "a share such as 1% or 0.01, more than none and less than all"
        } else {
            "a time such as 300ms or 1.5s, an hour at most"
        };
        let given: String = value.chars().take(40).collect();
        mistakes.push(format!("the label {label} must be {right}: {given:?}"));
    }
    promise
}

/// A time with its unit: `300ms`, `1.5s`, `2m`.
fn latency(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    let latency = Duration::try_from_secs_f64(number(digits)? * unit).ok()?;
    (!latency.is_zero() && latency <= MAX_LATENCY).then_some(latency)
}

/// A share, as `1%` or `0.01`.
fn share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent.trim_end())? / 100.0,
        None => number(text)?,
    };
    (share > 0.0 && share < 1.0).then_some(share)
}

/// Digits and a point: what `f64` reads beside them (`inf`, `1e9`, signs) is
/// no promise.
fn number(text: &str) -> Option<f64> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, labels: &[(&str, &str)]) -> Labels {
        let labels = labels
            .iter()
            .map(|&(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        Labels::read(name, &labels)
    }

    #[track_caller]
    fn check_service(name: &str, labels: &[(&str, &str)], expected: &str) {
        assert_eq!(read(name, labels).service.0, expected);
    }

    #[test]
    fn service_is_the_label_else_compose_else_the_container() {
        let compose = [(COMPOSE_PROJECT, "shop"), (COMPOSE_SERVICE, "ranker")];
        check_service("lonely", &[], "lonely");
        check_service("shop-ranker-1", &compose, "ranker");
        check_service(
            "c",
            &[(SERVICE, "scoring"), compose[0], compose[1]],
            "scoring",
        );
        check_service("c", &[(SERVICE, "  "), compose[1]], "ranker");
        check_service("c", &[(SERVICE, "two\nlines")], "twolines");
        check_service("", &[], "unnamed");
        assert_eq!(read("c", &compose).project.as_deref(), Some("shop"));
        assert_eq!(read("c", &[]).project, None);
    }

    #[test]
    fn long_name_is_cut_at_a_character() {
        let label = "\u{6a21}".repeat(100);
        let name = read("c", &[(SERVICE, &label)]).service.0;
        assert_eq!(name, "\u{6a21}".repeat(MAX_NAME_BYTES / 3));
    }

    #[test]
    fn only_a_plain_no_leaves_a_container_out() {
        for no in ["false", "False", " 0 ", "no", "off"] {
            assert!(!read("c", &[(ENABLE, no)]).enabled, "{no:?}");
        }
        for yes in ["true", "", "1", "falsehood"] {
            assert!(read("c", &[(ENABLE, yes)]).enabled, "{yes:?}");
        }
    }

    #[test]
    fn bodies_are_inspected_only_as_far_as_the_label_says() {
        let inspect = |value: &str| read("c", &[(INSPECT, value)]).inspect;
        let (model, usage) = (true, true);
        assert_eq!(inspect("model,usage"), Inspect { model, usage });
        assert_eq!(inspect("usage").words().collect::<Vec<_>>(), ["usage"]);
        assert!(inspect("model,everything").is_nothing());
        assert!(read("c", &[]).inspect.is_nothing());
    }

    #[test]
    fn promises_are_times_and_shares_and_what_is_wrong_is_said() {
        let slo = |latency: &str, errors: &str| {
            let labels = read("c", &[(SLO_LATENCY, latency), (SLO_ERRORS, errors)]);
            let Slo {
                latency_p95,
                error_rate,
            } = labels.slo;
            (latency_p95, error_rate, labels.mistakes.len())
        };
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(slo("300ms", "1%"), (ms(300), Some(0.01), 0));
        assert_eq!(slo(" 1.5s ", " 0.5 % "), (ms(1_500), Some(0.005), 0));
        assert_eq!(slo("2m", "0.001"), (ms(120_000), Some(0.001), 0));
        for (latency, errors) in [
            ("300", "1.0"),
            ("", ""),
            ("ms", "%"),
            ("-3s", "-1%"),
            ("infs", "inf"),
            ("1e9s", "1e-3"),
            ("2h", "100%"),
            ("0ms", "0%"),
            ("99999999999999999999s", "NaN"),
            ("\u{6a21}", "\u{6a21}%"),
        ] {
            assert_eq!(
                slo(latency, errors),
                (None, None, 2),
                "{latency:?} {errors:?}"
            );
        }
        let labels = read("c", &[(SLO_LATENCY, "fast"), (SERVICE, "api")]);
        assert_eq!(
            labels.mistakes,
            [
                "the label modeltap.slo.latency_p95 must be a time such as 300ms or 1.5s, \
              an hour at most: \"fast\""
            ]
        );
        assert_eq!(labels.service.0, "api", "nothing else is lost");
        assert!(read("c", &[]).mistakes.is_empty());
    }

    #[test]
    fn routes_are_bounded_and_absolute() {
        let listed = read(
            "c",
            &[(ROUTES, "/v2/models/{model}/infer, /items/{id},,nonsense")],
        );
        assert_eq!(listed.routes, ["/v2/models/{model}/infer", "/items/{id}"]);
        let long = format!("/{}", "a".repeat(MAX_ROUTE_BYTES));
        assert!(read("c", &[(ROUTES, &long)]).routes.is_empty());
        let many = vec!["/a"; 1_000].join(",");
        assert_eq!(read("c", &[(ROUTES, &many)]).routes.len(), MAX_ROUTES);
    }
}
