//! Why the service is worse than it was, above everything else of it.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::Why;

use crate::address::{Query, escape};
use crate::browser;
use crate::client::{FetchError, parse};
use crate::components::parts::live;
use crate::components::range::RangeControl;
use crate::pages::ranged::{Stretch, ranged};
use crate::reactive::{memo, says};
use crate::series::Range;
use crate::state::Store;
use crate::why::{Piece, Told, around, data_name, told};
use crate::words::{Cause, W, phrases, t};

/// How often it is asked anew.
const PERIOD: Duration = Duration::from_secs(5);
/// Findings of a service that are shown.
const MAX_SHOWN: usize = 3;
/// A time further back than this is told with its date, in milliseconds.
const DAY_MS: f64 = 86_400e3;

/// Asks why `services` are worse than they were, one after the other.
pub fn ask_why(
    range: Signal<Range>,
    period: Duration,
    services: impl Fn() -> Vec<String> + 'static,
) -> Memo<Vec<Told>> {
    let path = |service: &String, stretch: &Stretch| {
        let name = escape(service);
        format!("/api/v1/services/{name}/why?{}", stretch.bounds())
    };
    let polled = ranged(
        expect_context::<Store>(),
        range,
        period,
        move |stretch| services().iter().map(|s| path(s, stretch)).collect(),
        read,
    );
    memo(move || polled.value.get().unwrap_or_default())
}

fn read(answers: Vec<String>) -> Result<Vec<Told>, FetchError> {
    let mut findings = Vec::new();
    for answer in answers {
        let why: Why = parse(&answer)?;
        for finding in why.findings.iter().take(MAX_SHOWN) {
            findings.push(told(&why.service, finding, clock));
        }
    }
    Ok(findings)
}

fn clock(ms: f64) -> String {
    if browser::now_ms() - ms > DAY_MS {
        browser::date_time(ms)
    } else {
        browser::time_of_day(ms)
    }
}

/// A banner for each finding; nothing where there is none.
#[component]
pub fn WhyLines(
    /// The service.
    service: String,
    /// The page's range, which a click on a time changes.
    control: RangeControl,
) -> impl IntoView {
    let findings = ask_why(control.range.into(), PERIOD, move || vec![service.clone()]);
    let kinds = memo(move || {
        findings.with(|found| {
            let kinds: Vec<&str> = found.iter().map(|told| told.kind.as_str()).collect();
            kinds.join(" ")
        })
    });
    // Figures change with every answer; what is open stays open, and what has
    // the focus keeps it, until another kind comes or goes.
    live(move || {
        let kinds = kinds.get();
        let line = |kind: &str| line(kind.to_owned(), findings, control);
        kinds.split_whitespace().map(line).collect()
    })
}

fn line(kind: String, findings: Memo<Vec<Told>>, control: RangeControl) -> AnyView {
    let store = expect_context::<Store>();
    let of_kind = kind.clone();
    let place =
        memo(move || findings.with(|found| found.iter().position(|told| told.kind == of_kind)));
    let says_of = move |of: fn(&Told) -> String| {
        says(move || {
            let place = place.get().unwrap_or(usize::MAX);
            findings.with(|found| found.get(place).map(of).unwrap_or_default())
        })
    };
    let views_of = move |of: fn(&Told) -> Vec<AnyView>| {
        live(move || {
            let place = place.get().unwrap_or(usize::MAX);
            findings.with(|found| found.get(place).map(of).unwrap_or_default())
        })
    };
    let show = move |_| {
        let now_ms = store.daemon_now_ms(browser::now_ms());
        let place = place.get_untracked().unwrap_or(usize::MAX);
        let told = |told: &Told| around(told, now_ms);
        if let Some(bounds) = findings.with_untracked(|found| found.get(place).map(told)) {
            control.on_zoom().run(bounds);
        }
    };
    view! {
        <section
            class=says_of(|told| format!("panel banner why {}", told.class))
            aria-label=says_of(|told| phrases::named(t(W::Why), told.lead))
            data-testid="why"
            data-kind=kind
        >
            <span class="mark-shape" aria-hidden="true"></span>
            <div class="words">
                <p>
                    <b>{says_of(|told| told.lead.to_owned())}</b>
                    " "
                    <button class="when" on:click=show title=t(Cause::ShowAround)>
                        {says_of(|told| told.when.clone())}
                    </button>
                    {t(Cause::Colon)}
                    {views_of(sentence)}
                    " "
                    <span class="then">{says_of(|told| told.then.clone())}</span>
                </p>
                <details>
                    <summary>{t(Cause::Evidence)}</summary>
                    <dl>{views_of(evidence)}</dl>
                </details>
            </div>
        </section>
    }
    .into_any()
}

fn sentence(told: &Told) -> Vec<AnyView> {
    let piece = |(piece, text): &(Piece, String)| match piece {
        Piece::Text => text.clone().into_any(),
        Piece::Container => view! { <code>{text.clone()}</code> }.into_any(),
        Piece::Route => {
            let query = Query::default().with("service", &told.service);
            let href = format!("/requests{}", query.with("route", text).text());
            view! { <a class="link" href=href data-testid="why-route">{text.clone()}</a> }
                .into_any()
        }
    };
    told.pieces.iter().map(piece).collect()
}

fn evidence(told: &Told) -> Vec<AnyView> {
    let line = |what: &str, shown: AnyView| {
        view! { <dt>{what.to_owned()}</dt><dd>{shown}</dd> }.into_any()
    };
    let figure = |(what, text): &(String, String)| line(what, text.clone().into_any());
    let mut lines: Vec<AnyView> = told.figures.iter().map(figure).collect();
    let path = |path: &String| {
        let name = format!("{} ", data_name(path));
        let href = path.clone();
        view! { <a class="link" href=href target="_blank">{name}</a> }.into_any()
    };
    let paths: Vec<AnyView> = told.evidence.iter().map(path).collect();
    lines.push(line(t(Cause::AsData), paths.into_any()));
    lines
}
