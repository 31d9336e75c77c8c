//! What a container's labels say of it.

use std::collections::HashMap;

use modeltap_core::container::{Inspect, ServiceName};

const ENABLE: &str = "modeltap.enable";
const SERVICE: &str = "modeltap.service";
const ROUTES: &str = "modeltap.routes";
const INSPECT: &str = "modeltap.inspect";
const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// Longest service or project name kept, in bytes; the rest is cut. An image's
/// author chooses labels too, and names become metric labels.
const MAX_NAME_BYTES: usize = 128;
/// Most route templates read from one label, as many as a service may have.
const MAX_ROUTES: usize = 200;
/// Longest route template; longer ones are left out.
const MAX_ROUTE_BYTES: usize = 512;

/// What the labels of one container mean to modeltap.
#[derive(Clone, Debug, PartialEq, Eq)]
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
