//! Why the service is worse than it was, above everything else of it.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{Why, WhyFinding};

use crate::browser;
use crate::client::parse;
use crate::components::parts::live;
use crate::components::range::RangeControl;
use crate::pages::ranged::ranged;
use crate::series::Range;
use crate::state::Store;
use crate::why::{Piece, Told, around, data_name, told};

/// How often it is asked anew.
const PERIOD: Duration = Duration::from_secs(5);
/// Findings shown.
const MAX_SHOWN: usize = 3;
/// A time further back than this is told with its date, in milliseconds.
const DAY_MS: f64 = 86_400e3;

/// A banner for each finding; nothing where there is none.
#[component]
pub fn WhyLines(
    /// The service.
    service: String,
    /// The page's range, which a click on a time changes.
    control: RangeControl,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let name = browser::escape(&service);
    let polled = ranged::<Why>(
        store,
        control.range.into(),
        PERIOD,
        move |stretch| {
            let bounds = stretch.bounds();
            vec![format!("/api/v1/services/{name}/why?{bounds}")]
        },
        |answers| parse(&answers[0]),
    );
    let findings = Memo::new(move |_| {
        let found = |why: &Why| why.findings.iter().take(MAX_SHOWN).cloned().collect();
        polled
            .value
            .with(|why| why.as_ref().map(found).unwrap_or_default())
    });
    let kinds = move || -> Vec<String> {
        let kind = |finding: &WhyFinding| finding.kind.clone();
        findings.with(|found: &Vec<WhyFinding>| found.iter().map(kind).collect())
    };
    // Figures change with every answer; what is open stays open, and what has
    // the focus keeps it.
    view! {
        <For each=kinds key=String::clone let(kind)>
            {
                let of_kind = kind.clone();
                let finding = Memo::new(move |_| {
                    let is_it = |finding: &&WhyFinding| finding.kind == of_kind;
                    findings.with(|found| found.iter().find(is_it).cloned())
                });
                line(kind, finding, service.clone(), control)
            }
        </For>
    }
}

fn line(
    kind: String,
    finding: Memo<Option<WhyFinding>>,
    service: String,
    control: RangeControl,
) -> AnyView {
    let store = expect_context::<Store>();
    let words = Memo::new(move |_| {
        let now_ms = browser::now_ms();
        let clock = |ms: f64| {
            if now_ms - ms > DAY_MS {
                browser::date_time(ms)
            } else {
                browser::time_of_day(ms)
            }
        };
        finding.with(|finding| Some(told(finding.as_ref()?, clock)))
    });
    let word = move |of: fn(&Told) -> String| {
        move || words.with(|words| words.as_ref().map(of).unwrap_or_default())
    };
    let pieces = move || -> Vec<AnyView> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone().into_any(),
            Piece::Container(name) => view! { <code>{name.clone()}</code> }.into_any(),
            Piece::Route(route) => {
                let (service, named) = (browser::escape(&service), browser::escape(route));
                let href = format!("/requests?service={service}&route={named}");
                let route = route.clone();
                view! { <a class="link" href=href data-testid="why-route">{route}</a> }.into_any()
            }
        };
        words.with(|words| {
            words
                .iter()
                .flat_map(|told| &told.pieces)
                .map(piece)
                .collect()
        })
    };
    let show = move |_| {
        let now_ms = store.daemon_now_ms(browser::now_ms());
        if let Some((from, to)) = finding.with(|finding| Some(around(finding.as_ref()?, now_ms))) {
            control.go.run(Range {
                span_seconds: (((to - from) / 1e3).round() as u32).max(10),
                end_ms: Some(to.round()),
            });
        }
    };
    let figures = move || -> Vec<AnyView> {
        let figure = |(what, figures): &(String, String)| {
            view! { <dt>{what.clone()}</dt><dd>{figures.clone()}</dd> }.into_any()
        };
        words.with(|words| {
            words
                .iter()
                .flat_map(|told| &told.figures)
                .map(figure)
                .collect()
        })
    };
    let paths = move || -> Vec<AnyView> {
        let path = |path: &String| {
            let name = data_name(path).to_owned();
            let href = path.clone();
            view! { <a class="link" href=href target="_blank" rel="noopener">{name}</a>" " }
                .into_any()
        };
        finding.with(|finding| finding.iter().flat_map(|f| &f.evidence).map(path).collect())
    };
    let class = move || {
        let class = words.with(|words| words.as_ref().map_or("warn", |told| told.class));
        format!("panel banner why {class}")
    };
    view! {
        <section class=class aria-label="Why" data-testid="why" data-kind=kind>
            <span class="mark-shape" aria-hidden="true"></span>
            <div class="words">
                <p>
                    <b>{word(|told| told.lead.to_owned())}</b>
                    " "
                    <button class="when" on:click=show title="Show the time around it">
                        {word(|told| told.when.clone())}
                    </button>
                    ": "
                    {live(pieces)}
                    " "
                    <span class="then">{word(|told| told.then.clone())}</span>
                </p>
                <details>
                    <summary>"Evidence"</summary>
                    <dl>{live(figures)}<dt>"As data"</dt><dd>{live(paths)}</dd></dl>
                </details>
            </div>
        </section>
    }
    .into_any()
}
