//! Why the services in trouble are, in short, above all services.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{Health, Service, Why, WhyFinding};

use crate::browser;
use crate::client::parse;
use crate::components::parts::live;
use crate::pages::ranged::ranged;
use crate::series::Range;
use crate::state::Store;
use crate::why::{short, told};

/// Services that are asked about, whatever is wrong with how many.
const MAX_ASKED: usize = 5;
/// How often, and over which range.
const PERIOD: Duration = Duration::from_secs(15);
const RANGE: Range = Range {
    span_seconds: Range::DEFAULT_SECONDS,
    end_ms: None,
};

/// Whether a service is one to ask about.
fn is_in_trouble(service: &Service) -> bool {
    matches!(service.health, Health::Critical | Health::Warning) || service.n_firing > 0
}

/// A line for each service in trouble of which something is known.
#[component]
pub fn TroubleLines() -> impl IntoView {
    let store = expect_context::<Store>();
    let polled = ranged::<Vec<Why>>(
        store,
        Signal::stored(RANGE),
        PERIOD,
        move |stretch| {
            let mut troubled: Vec<Service> = (store.services().iter())
                .map(|service| service.get_untracked())
                .filter(is_in_trouble)
                .collect();
            // Those that are asked something come before those that are gone.
            let rank = |s: &Service| (s.health, s.window.n_requests == 0);
            troubled.sort_by(|a, b| (rank(a), &a.name).cmp(&(rank(b), &b.name)));
            let bounds = stretch.bounds();
            let path = |service: Service| {
                let name = browser::escape(&service.name);
                format!("/api/v1/services/{name}/why?{bounds}")
            };
            troubled.into_iter().take(MAX_ASKED).map(path).collect()
        },
        |answers| answers.iter().map(|answer| parse(answer)).collect(),
    );
    let known = Memo::new(move |_| {
        let first = |why: &Why| Some((why.service.clone(), why.findings.first()?.clone()));
        polled.value.with(|told| {
            let told = told.iter().flatten();
            told.filter_map(first).collect::<Vec<_>>()
        })
    });
    let lines = live(move || {
        let line = |(service, finding)| line(service, &finding);
        known.get().into_iter().map(line).collect()
    });
    view! {
        <section
            class="panel banner firing warn"
            hidden=move || known.with(Vec::is_empty)
            aria-label="Why"
            data-testid="trouble"
        >
            <span class="mark-shape" aria-hidden="true"></span>
            <div class="lines">{lines}</div>
        </section>
    }
}

fn line(service: String, finding: &WhyFinding) -> AnyView {
    let told = told(finding, browser::time_of_day);
    let href = format!("{}{}", browser::service_href(&service), RANGE.query());
    let name = service.clone();
    view! {
        <p data-testid="trouble-line" data-service=name>
            <a class="service" href=href>{service}</a>
            <span><b>{told.lead}</b>" "{short(&told)}</span>
        </p>
    }
    .into_any()
}
