//! What a service's page is narrowed to: a route, a container, a class of
//! status, a stretch of durations. It lives in the address bar. Pure.

use modeltap_api_types::Request;

use crate::address::{Query, escape};
use crate::json;

/// What is left in sight; empty for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Narrow {
    /// Route template.
    pub route: String,
    /// Method of the route.
    pub method: String,
    /// Container's name.
    pub container: String,
    /// Class of status, as `5xx`.
    pub status: String,
    /// Shortest and longest duration in seconds: a cell of the heatmap.
    pub durations: Option<(f64, f64)>,
}

impl Narrow {
    /// Reads it from the address bar; what is no class and no stretch is
    /// none.
    #[must_use]
    pub fn of(query: &Query) -> Self {
        let value = |name| query.get(name).to_owned();
        let status = value("status");
        let is_class = |s: &String| matches!(s.as_bytes(), [b'1'..=b'5', b'x', b'x']);
        Self {
            route: value("route"),
            method: value("method"),
            container: value("container"),
            status: Some(status).filter(is_class).unwrap_or_default(),
            durations: stretch(query.get("took")),
        }
    }

    /// The address of the same page with this instead.
    #[must_use]
    pub fn in_query(&self, query: &Query) -> Query {
        let took = self.durations.map(stretch_text);
        query
            .with("route", &self.route)
            .with("method", &self.method)
            .with("container", &self.container)
            .with("status", &self.status)
            .with("took", &took.unwrap_or_default())
    }

    /// Whether all is in sight.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// What the API is asked for besides: of series and heatmaps.
    #[must_use]
    pub fn series_parameters(&self) -> String {
        let parts = [
            ("route", &self.route),
            ("method", &self.method),
            ("container", &self.container),
            ("status_class", &self.status),
        ];
        parameters(parts)
    }

    /// The same of a container's use of the host, which has no routes.
    #[must_use]
    pub fn container_parameter(&self) -> String {
        parameters([("container", &self.container)])
    }

    /// The same of requests that stand for a range.
    #[must_use]
    pub fn exemplar_parameters(&self) -> String {
        parameters([("route", &self.route), ("container", &self.container)])
    }

    /// The same of single requests.
    #[must_use]
    pub fn request_parameters(&self) -> String {
        let parts = [
            ("route", &self.route),
            ("container", &self.container),
            ("status", &self.status),
        ];
        parameters(parts)
    }

    /// Whether a request is in sight.
    #[must_use]
    pub fn has(&self, request: &Request) -> bool {
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let class = request.status.map(|s| format!("{}xx", s / 100));
        is(&self.route, &request.route)
            && is(&self.method, request.method.as_deref().unwrap_or_default())
            && is(&self.container, &request.container)
            && is(&self.status, class.as_deref().unwrap_or_default())
            && self
                .durations
                .is_none_or(|(from, to)| (from..to).contains(&request.duration))
    }
}

/// A stretch of durations in seconds, as the address bar has it: `0.1-0.25`,
/// or `0.3-` without an end; what is none is none.
#[must_use]
pub fn stretch(text: &str) -> Option<(f64, f64)> {
    let (from, to) = text.split_once('-')?;
    let from = json::float(from)?;
    let to = match to {
        "" => f64::INFINITY,
        to => json::float(to)?,
    };
    (from >= 0.0 && from < to).then_some((from, to))
}

/// A stretch as the address bar has it.
#[must_use]
pub fn stretch_text((from, to): (f64, f64)) -> String {
    if to.is_infinite() {
        format!("{from}-")
    } else {
        format!("{from}-{to}")
    }
}

/// Names and values as further parameters of the API; empty ones are left
/// out.
#[must_use]
pub fn parameters<'a>(parts: impl IntoIterator<Item = (&'a str, &'a String)>) -> String {
    let mut text = String::new();
    for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
        text.push('&');
        text.push_str(name);
        text.push('=');
        text.push_str(&escape(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(text: &str) -> Narrow {
        Narrow::of(&Query::parse(text))
    }

    #[test]
    fn address_round_trips_and_nonsense_is_all() {
        let text = "?range=5m&route=%2Fv1&method=POST&container=a-1&status=5xx&took=0.1-0.25";
        let found = narrow(text);
        assert_eq!(found.durations, Some((0.1, 0.25)));
        assert_eq!(found.in_query(&Query::parse(text)).text(), text);
        let all = Narrow::default().in_query(&Query::parse(text));
        assert_eq!(all.text(), "?range=5m");
        let text = "?took=0.3-";
        let open = narrow(text);
        assert_eq!(open.durations, Some((0.3, f64::INFINITY)));
        assert_eq!(open.in_query(&Query::default()).text(), text);
        for text in [
            "",
            "?status=6xx",
            "?status=500",
            "?took=2-1",
            "?took=-1-2",
            "?took=x",
        ] {
            assert!(narrow(text).is_all(), "{text}");
        }
    }

    #[test]
    fn each_question_of_the_api_gets_what_it_knows() {
        let found = narrow("?route=%2Fa&method=GET&container=c&status=4xx&took=1-2");
        assert_eq!(
            found.series_parameters(),
            "&route=%2Fa&method=GET&container=c&status_class=4xx"
        );
        assert_eq!(found.container_parameter(), "&container=c");
        assert_eq!(found.exemplar_parameters(), "&route=%2Fa&container=c");
        assert_eq!(
            found.request_parameters(),
            "&route=%2Fa&container=c&status=4xx"
        );
        assert_eq!(Narrow::default().series_parameters(), "");
    }

    #[test]
    fn a_request_is_in_sight_by_every_part() {
        let request = Request {
            route: "/a".into(),
            method: Some("GET".into()),
            container: "c".into(),
            status: Some(404),
            duration: 1.5,
            ..Request::default()
        };
        for (text, expected) in [
            ("", true),
            ("?route=/a&method=GET&container=c&status=4xx&took=1-2", true),
            ("?route=/b", false),
            ("?method=POST", false),
            ("?container=d", false),
            ("?status=5xx", false),
            ("?took=0-1.5", false),
            ("?took=1.5-2", true),
        ] {
            assert_eq!(narrow(text).has(&request), expected, "{text}");
        }
    }
}
