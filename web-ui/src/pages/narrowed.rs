//! What a service's page is narrowed to: the ways there, and back.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{QueryResult, StatusCount};

use crate::address::{self, Address, Query};
use crate::browser;
use crate::client::parse;
use crate::components::figures::{Kpi, status_class, status_text};
use crate::format::{self, Quantity};
use crate::narrow::Narrow;
use crate::pages::ranged::ranged;
use crate::pages::service_history::HistorySignals;
use crate::reactive::{AnyViews, memo};
use crate::series::{Range, values};
use crate::state::Store;
use crate::words::{W, phrases, t};

const PERIOD: Duration = Duration::from_secs(10);
/// The figures that are asked for, in one question.
const PERCENTILES: &str = "metric=duration&stat=p50&more=duration.p95,duration.p99";

/// Where the page leads when it is narrowed so.
fn href(narrow: &Narrow, query: &Query) -> String {
    format!("{}{}", browser::path(), narrow.in_query(query).text())
}

/// A link that narrows the page; what it is about stands in it.
pub fn narrow_link(narrow: &Narrow, query: &Query, title: &'static str, of: AnyView) -> AnyView {
    view! { <a class="narrow" href=href(narrow, query) title=title>{of}</a> }.into_any()
}

/// Counts by status; each leads to the requests of its class.
pub fn status_links(narrow: &Narrow, query: &Query, counts: Vec<StatusCount>) -> Vec<AnyView> {
    let chip = |count: StatusCount| {
        let content = view! {
            <i aria-hidden="true"></i>
            {status_text(count.status)}
            <b>{format::count(count.n_requests)}</b>
        };
        let class = format!("chip {}", status_class(count.status));
        match count.status {
            Some(status) => {
                let status = format!("{}xx", status / 100);
                let title = phrases::narrow_to_status(&status);
                let narrow = Narrow {
                    status,
                    ..narrow.clone()
                };
                let href = href(&narrow, query);
                view! { <a class=class href=href title=title>{content}</a> }.into_any()
            }
            None => view! { <span class=class>{content}</span> }.into_any(),
        }
    };
    counts.into_iter().map(chip).collect()
}

/// What the page is narrowed to, each part with the way back; nothing where
/// all is in sight.
pub fn narrowed_to(narrow: &Narrow) -> AnyView {
    if narrow.is_all() {
        return ().into_any();
    }
    let query = expect_context::<Address>().query().get_untracked();
    let without = |part: fn(&mut Narrow)| {
        let mut rest = narrow.clone();
        part(&mut rest);
        href(&rest, &query)
    };
    let took = narrow.durations.map(format::stretch);
    let route = format!("{} {}", narrow.method, narrow.route);
    let parts = [
        (
            W::Route,
            route.trim().to_owned(),
            without(|n| {
                n.route.clear();
                n.method.clear();
            }),
        ),
        (
            W::Container,
            narrow.container.clone(),
            without(|n| n.container.clear()),
        ),
        (
            W::Status,
            narrow.status.clone(),
            without(|n| n.status.clear()),
        ),
        (
            W::Took,
            took.unwrap_or_default(),
            without(|n| n.durations = None),
        ),
    ];
    let chips = parts
        .into_iter()
        .filter(|(_, value, _)| !value.is_empty())
        .map(|(name, value, href)| {
            view! {
                <a class="badge narrowed" href=href data-testid="narrowed">
                    {t(name)}<b>{value}</b><span aria-hidden="true">"×"</span>
                    <span class="sr-only">{t(W::ShowAllAgain)}</span>
                </a>
            }
        })
        .any_views();
    view! {
        <div class="title" role="status">
            <span class="muted">{t(W::NarrowedTo)}</span>
            {chips}
            <a class="link" href=href(&Narrow::default(), &query)>{t(W::ShowAll)}</a>
        </div>
    }
    .into_any()
}

/// The figures of what is in sight, over the whole range.
pub fn narrow_figures(
    store: Store,
    service: &str,
    narrow: &Narrow,
    history: HistorySignals,
    range: Memo<Range>,
) -> AnyView {
    let of = address::escape(service) + &narrow.series_parameters();
    let percentiles = ranged(
        store,
        range.into(),
        PERIOD,
        move |stretch| {
            let bounds = stretch.bounds();
            // One step that is longer than any range: all of it in one.
            vec![format!(
                "/api/v1/query?service={of}&step=365d&{bounds}&{PERCENTILES}"
            )]
        },
        |answers| {
            let answer: QueryResult = parse(&answers[0])?;
            let more = answer.more.into_iter().map(|figure| figure.series);
            let figures = std::iter::once(answer.series).chain(more);
            let value = |series| values(series).into_iter().rev().flatten().next();
            Ok(figures.map(value).collect::<Vec<_>>())
        },
    );
    let percentile = |i: usize| {
        memo(move || {
            let value = percentiles
                .value
                .with(|p| p.as_ref()?.get(i).copied().flatten());
            format::duration(value)
        })
    };
    let sums = memo(move || {
        history.joined.with(|h| {
            let h = h.as_ref()?;
            Some((h.n_requests, h.n_errors()))
        })
    });
    let span = move || f64::from(range.get().span_seconds);
    let known = move |of: fn((u64, u64), f64) -> Quantity| {
        memo(move || {
            sums.get()
                .map_or_else(Quantity::unknown, |sums| of(sums, span()))
        })
    };
    let whole = Signal::stored(t(W::WholeRange).to_owned());
    let stretch = memo(move || phrases::mean_over(&format::span(span())));
    let errors = memo(move || {
        let (all, failed) = sums.get().unwrap_or_default();
        phrases::of(&format::count(failed), &format::count(all))
    });
    view! {
        <section class="kpis" aria-label=t(W::WholeRange)>
            <Kpi
                label=t(W::Requests)
                value=known(|(n, _), _| Quantity::plain(format::count(n)))
                note=whole
            />
            <Kpi
                label=t(W::RequestsPerSecond)
                value=known(|(n, _), span| Quantity::plain(format::rate(n as f64 / span)))
                note=stretch
            />
            <Kpi label=t(W::P50) value=percentile(0) note=whole/>
            <Kpi label=t(W::P95) value=percentile(1) note=whole/>
            <Kpi label=t(W::P99) value=percentile(2) note=whole/>
            <Kpi
                label=t(W::Errors)
                value=known(|(n, failed), _| {
                    format::percent((n > 0).then(|| failed as f64 / n as f64))
                })
                note=errors
            />
        </section>
    }
    .into_any()
}
