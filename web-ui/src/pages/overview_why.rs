//! Why the services in trouble are, in short, above all services.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{Health, Service};

use crate::address;
use crate::components::parts::live;
use crate::pages::service_why::ask_why;
use crate::series::Range;
use crate::state::Store;
use crate::why::{Told, short};
use crate::words::{W, t};

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
    let findings = ask_why(Signal::stored(RANGE), PERIOD, move || {
        // The worst first; those that are asked something before those that
        // are gone.
        let rank = |s: &Service| {
            let is_idle = s.window.n_requests == 0;
            format!("{}{}{}", s.health as u8, u8::from(is_idle), s.name)
        };
        let services = store.services();
        let troubled = services
            .iter()
            .filter_map(|service| service.with_untracked(|s| is_in_trouble(s).then(|| rank(s))));
        let mut troubled: Vec<String> = troubled.collect();
        troubled.sort();
        let name = |rank: &String| rank[2..].to_owned();
        troubled.iter().take(MAX_ASKED).map(name).collect()
    });
    let lines = live(move || {
        findings.with(|found| {
            let mut last = "";
            let mut lines = Vec::new();
            for told in found {
                // The gravest of each.
                if told.service != last {
                    lines.push(line(told));
                }
                last = &told.service;
            }
            lines
        })
    });
    view! {
        <section
            class="panel banner firing warn"
            hidden=move || findings.with(Vec::is_empty)
            aria-label=t(W::Why)
            data-testid="trouble"
        >
            <span class="mark-shape" aria-hidden="true"></span>
            <div class="lines">{lines}</div>
        </section>
    }
}

fn line(told: &Told) -> AnyView {
    // The page shows the range that was asked about by itself.
    let href = address::service_href(&told.service);
    let name = &told.service;
    view! {
        <p data-testid="trouble-line" data-service=name.clone()>
            <a class="service" href=href>{name.clone()}</a>
            <span><b>{told.lead}</b>" "{short(told)}</span>
        </p>
    }
    .into_any()
}
