//! A rule against the last day: the picture, and what it says in words.

use std::fmt::Write;

use modeltap_api_types::{RulePreview, ServicePreview};

use crate::format;
use crate::words::{W, phrases, t};

/// The box it is drawn in; stretched to the size it is given.
pub const WIDTH: f64 = 1_000.0;
/// Height of that box.
pub const HEIGHT: f64 = 120.0;

/// A picture of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// The value at the top.
    pub top: f64,
    /// The figure, as a path with gaps where nothing was seen.
    pub values: String,
    /// What it was compared with, the same way.
    pub thresholds: String,
    /// Left end and width of each time that it would have fired.
    pub episodes: Vec<(f64, f64)>,
}

/// Draws one service of a preview.
#[must_use]
pub fn picture(preview: &RulePreview, service: &ServicePreview) -> Picture {
    let n_steps = service.values.len().max(service.thresholds.len()).max(1);
    let known = |values: &[Option<f64>]| {
        let known = values.iter().flatten().copied();
        known.filter(|v| v.is_finite()).fold(0.0, f64::max)
    };
    let highest = known(&service.values).max(known(&service.thresholds));
    let top = if highest > 0.0 { highest * 1.1 } else { 1.0 };
    let span_ms = n_steps as f64 * f64::from(preview.step_seconds) * 1e3;
    let x = |at_ms: u64| {
        let after = at_ms.saturating_sub(preview.from_unix_ms) as f64;
        (after / span_ms.max(1.0) * WIDTH).clamp(0.0, WIDTH)
    };
    let episodes = service.episodes.iter().map(|[begin, end]| {
        let left = x(*begin);
        // The shortest is still to be seen.
        (left.min(WIDTH - 3.0), (x(*end) - left).max(3.0))
    });
    Picture {
        top,
        values: path(&service.values, n_steps, top),
        thresholds: path(&service.thresholds, n_steps, top),
        episodes: episodes.collect(),
    }
}

/// A value is level over its step, so that a lonely one is seen as well.
fn path(values: &[Option<f64>], n_steps: usize, top: f64) -> String {
    let width = WIDTH / n_steps as f64;
    let mut path = String::new();
    let mut before = None;
    for (i, value) in values.iter().enumerate() {
        let Some(value) = value.filter(|v| v.is_finite()) else {
            before = None;
            continue;
        };
        let y = HEIGHT * (1.0 - (value / top).clamp(0.0, 1.0));
        let x = i as f64 * width;
        // Writing to a string does not fail.
        let _ = match before {
            None => write!(path, "M{x:.1} {y:.1}h{width:.2}"),
            Some(same) if same == value => write!(path, "H{:.1}", x + width),
            Some(_) => write!(path, "L{:.1} {y:.1}", x + width),
        };
        before = Some(value);
    }
    path
}

/// How often a rule would have fired on a service, and for how long.
#[must_use]
pub fn verdict(service: &ServicePreview) -> String {
    let lasted: u64 = service
        .episodes
        .iter()
        .map(|[begin, end]| end.saturating_sub(*begin))
        .sum();
    let lasted = format::span(lasted as f64 / 1e3);
    match service.episodes.len() {
        _ if service.values.iter().all(Option::is_none) => t(W::HistoryTellsNothing).to_owned(),
        0 => t(W::WouldNotHaveFired).to_owned(),
        1 => phrases::fired_once(&lasted),
        n => phrases::fired_times(&n.to_string(), &lasted),
    }
}

/// The services with most to see first: episodes, then figures, then names.
#[must_use]
pub fn by_interest(mut services: Vec<ServicePreview>) -> Vec<ServicePreview> {
    services.sort_by_cached_key(|s| {
        let is_empty = s.values.iter().all(Option::is_none);
        (
            std::cmp::Reverse(s.episodes.len()),
            is_empty,
            s.service.clone(),
        )
    });
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview() -> RulePreview {
        RulePreview {
            services: Vec::new(),
            unit: "s".into(),
            from_unix_ms: 1_000_000,
            step_seconds: 60,
        }
    }

    fn service(values: Vec<Option<f64>>, episodes: Vec<[u64; 2]>) -> ServicePreview {
        ServicePreview {
            service: "chat".into(),
            thresholds: vec![Some(5.0); values.len()],
            values,
            episodes,
        }
    }

    #[test]
    fn gap_breaks_the_line_and_a_lonely_value_is_seen() {
        let drawn = picture(
            &preview(),
            &service(vec![Some(10.0), None, Some(0.0), Some(0.0)], Vec::new()),
        );
        assert_eq!(drawn.top, 11.0);
        assert_eq!(drawn.values, "M0.0 10.9h250.00M500.0 120.0h250.00H1000.0");
        assert_eq!(drawn.thresholds.matches('M').count(), 1);
    }

    #[test]
    fn episodes_lie_where_they_were_and_the_shortest_is_seen() {
        let minutes = |n: u64| 1_000_000 + n * 60_000;
        let drawn = picture(
            &preview(),
            &service(
                vec![Some(1.0); 10],
                vec![
                    [minutes(1), minutes(3)],
                    [minutes(10), minutes(10)],
                    [0, minutes(1)],
                ],
            ),
        );
        assert_eq!(drawn.episodes, [(100.0, 200.0), (997.0, 3.0), (0.0, 100.0)]);
    }

    #[test]
    fn nothing_seen_is_not_the_same_as_never_fired() {
        assert_eq!(
            verdict(&service(vec![Some(1.0)], Vec::new())),
            "would not have fired"
        );
        assert!(verdict(&service(vec![None], Vec::new())).starts_with("history tells nothing"));
        let twice = service(vec![Some(9.0)], vec![[0, 60_000], [90_000, 120_000]]);
        assert_eq!(
            verdict(&twice),
            "would have fired 2 times, for 1\u{a0}min 30\u{a0}s in all"
        );
    }

    #[test]
    fn services_that_would_have_fired_come_first() {
        let named = |name: &str, mut service: ServicePreview| {
            service.service = name.into();
            service
        };
        let sorted = by_interest(vec![
            named("a", service(vec![None], Vec::new())),
            named("b", service(vec![Some(1.0)], Vec::new())),
            named("c", service(vec![Some(9.0)], vec![[0, 1]])),
        ]);
        let names: Vec<_> = sorted.iter().map(|s| s.service.as_str()).collect();
        assert_eq!(names, ["c", "b", "a"]);
        let empty = picture(&preview(), &ServicePreview::default());
        assert_eq!((empty.top, empty.values.as_str()), (1.0, ""));
    }
}
