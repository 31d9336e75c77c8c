//! A rule against the last day, drawn.

use leptos::prelude::*;
use modeltap_api_types::{RulePreview, ServicePreview};

use crate::alert_preview::{HEIGHT, Picture, WIDTH, by_interest, picture, verdict};
use crate::alerts::figure;
use crate::browser;
use crate::components::figures::quantity;
use crate::components::list::none;
use crate::reactive::AnyViews;
use crate::words::{W, phrases, t};

/// Services that are drawn; the rest are counted.
const DRAWN: usize = 4;
/// Marks of the time axis.
const N_TIMES: u64 = 5;

/// Draws what the rule would have done.
pub fn rule_preview(metric: &str, preview: RulePreview) -> Vec<AnyView> {
    let services = by_interest(preview.services.clone());
    if services.is_empty() {
        return vec![none(t(W::NoServiceInDay))];
    }
    let mut views: Vec<AnyView> = services
        .iter()
        .take(DRAWN)
        .map(|service| drawn(metric, &preview, service))
        .collect();
    if let Some(rest) = services.get(DRAWN..).filter(|rest| !rest.is_empty()) {
        let firing = rest.iter().filter(|s| !s.episodes.is_empty()).count();
        let n = rest.len();
        let words = match firing {
            0 => phrases::more_quiet(&n.to_string()),
            firing => phrases::more_fired(&n.to_string(), &firing.to_string()),
        };
        views.push(none(words));
    }
    views
}

fn drawn(metric: &str, preview: &RulePreview, service: &ServicePreview) -> AnyView {
    let Picture {
        top,
        values,
        thresholds,
        episodes,
    } = picture(preview, service);
    let words = verdict(service);
    let class = if episodes.is_empty() { "muted" } else { "warn" };
    let bands = episodes
        .iter()
        .map(|(x, width)| {
            let (x, width) = (format!("{x:.1}"), format!("{width:.1}"));
            view! { <rect class="episode" x=x width=width y="0" height=HEIGHT></rect> }
        })
        .any_views();
    let n_steps = service.values.len() as u64;
    let span_ms = n_steps * u64::from(preview.step_seconds) * 1_000;
    let times = (0..N_TIMES)
        .map(|i| {
            let at = preview.from_unix_ms + span_ms * i / (N_TIMES - 1);
            view! { <span>{browser::axis_time(at as f64 / 1e3, 600.0)}</span> }
        })
        .any_views();
    let is_known = !values.is_empty();
    let plot = is_known.then(|| {
        view! {
            <div class="tried-plot">
                <svg
                    viewBox=format!("0 0 {WIDTH} {HEIGHT}")
                    preserveAspectRatio="none"
                    role="img"
                    aria-label=phrases::preview(&service.service, &words)
                >
                    {bands}
                    <path class="line" d=values></path>
                    <path class="limit" d=thresholds></path>
                </svg>
                <span class="unit">{quantity(figure(metric, &preview.unit, Some(top)))}</span>
            </div>
            <div class="tried-times unit" aria-hidden="true">{times}</div>
        }
    });
    view! {
        <figure
            class="tried"
            data-testid="tried"
            data-service=service.service.clone()
            data-episodes=episodes.len().to_string()
        >
            <figcaption><b>{service.service.clone()}</b><span class=class>{words.clone()}</span></figcaption>
            {plot}
        </figure>
    }
    .into_any()
}
