//! The tables of a service: routes, requests, totals.

use std::cmp::Ordering;
use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{Request, Requests, Route, RouteTotal, Routes, Service};

use crate::address::{self, Address, Query};
use crate::browser;
use crate::client::{Polled, poll};
use crate::components::figures::{
    quantity, route_name, share_bar, status_class, status_text, trouble,
};
use crate::components::request_detail::RequestDetail;
use crate::components::request_row::{TimeLegend, request_head, request_rows};
use crate::format;
use crate::narrow::Narrow;
use crate::pages::narrowed::{narrow_link, status_links};
use crate::reactive::{AnyViews, follows, memo, says, when};
use crate::state::Store;
use crate::words::{W, phrases, t};

/// Requests looked at for the slowest and the failed.
const N_REQUESTS: usize = 200;
/// Requests shown before one asks for more.
const N_SHOWN: usize = 12;
/// How often tables are read anew.
pub const PERIOD: Duration = Duration::from_secs(2);

/// Routes over the window, those that took the most time first.
#[component]
pub fn RoutesPanel(
    /// The service.
    service: String,
    /// Whether the daemon knows it now.
    is_known: Signal<bool>,
    /// Whether the page follows the clock.
    is_live: Signal<bool>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let path = format!("/api/v1/services/{}/routes", address::escape(&service));
    let polled = poll::<Routes>(store, path, PERIOD, is_known, is_live);
    let query = expect_context::<Address>().query();
    let rows = move || {
        let routes = polled.value.with(|r| r.as_ref().map(|r| r.routes.clone()));
        routes
            .unwrap_or_default()
            .into_iter()
            .map(|route| route_row(route, &query.read()))
            .any_views()
    };
    let is_empty = move || {
        let none = |r: &Option<Routes>| r.as_ref().is_some_and(|r| r.routes.is_empty());
        let gone = store.is_loaded() && !is_known.get();
        gone || polled.value.with(none)
    };
    let window = move || {
        let seconds = polled.value.with(|r| r.as_ref().map(|r| r.window_seconds));
        seconds.map(|s| phrases::last(&format::span(s.into())))
    };
    view! {
        <section class="panel table-panel">
            <div class="head">
                <h2>{t(W::Routes)}</h2>
                <span class="unit">{window}</span>
            </div>
            <table class="cards" role="table">
                <thead role="rowgroup">
                    <tr role="row">
                        <th role="columnheader" scope="col" class="left">{t(W::Route)}</th>
                        <th role="columnheader" scope="col">{t(W::RequestsPerSecond)}</th>
                        <th role="columnheader" scope="col">{t(W::P50)}</th>
                        <th role="columnheader" scope="col">{t(W::P95)}</th>
                        <th role="columnheader" scope="col">{t(W::P99)}</th>
                        <th role="columnheader" scope="col">{t(W::Errors)}</th>
                        <th role="columnheader" scope="col" class="left">{t(W::Statuses)}</th>
                        <th role="columnheader" scope="col">{t(W::ShareOfTime)}</th>
                    </tr>
                </thead>
                <tbody role="rowgroup">{rows}</tbody>
            </table>
            {when(is_empty, move || view! {
                <p class="none">{t(W::NoRequestsInWindow)}</p>
            }.into_any())}
            {trouble(polled)}
        </section>
    }
}

fn route_row(route: Route, query: &Query) -> impl IntoView + use<> {
    let now = Narrow::of(query);
    let method = route.method.clone().unwrap_or_default();
    let is_here = now.route == route.route && now.method == method;
    let narrow = Narrow {
        route: route.route.clone(),
        method,
        ..now
    };
    let name = narrow_link(
        &narrow,
        query,
        t(W::NarrowToRoute),
        route_name(route.method.as_deref(), &route.route).into_any(),
    );
    let statuses = status_links(&narrow, query, route.by_status);
    let window = route.window;
    let share = Some(route.time_share);
    let error_class = match window.error_rate {
        Some(rate) if rate >= 0.05 => "crit",
        Some(rate) if rate >= 0.01 => "warn",
        _ => "",
    };
    view! {
        <tr
            role="row"
            class=if is_here { "here" } else { "" }
            data-testid="route-row"
            data-route=route.route.clone()
            data-method=route.method.clone().unwrap_or_default()
            data-count=window.n_requests.to_string()
        >
            <td role="cell" class="left route">
                {name}
            </td>
            <td role="cell" data-label=t(W::ReqPerSecond)>{format::rate(window.rate)}</td>
            <td role="cell" data-label=t(W::P50)>{quantity(format::duration(window.p50))}</td>
            <td role="cell" data-label=t(W::P95)>{quantity(format::duration(window.p95))}</td>
            <td role="cell" data-label=t(W::P99)>{quantity(format::duration(window.p99))}</td>
            <td role="cell" data-label=t(W::Errors) class=error_class>
                {quantity(format::percent(window.error_rate))}
            </td>
            <td role="cell" data-label=t(W::Statuses) class="left chips">
                {statuses}
            </td>
            <td role="cell" data-label=t(W::ShareOfTime) class="share">
                {quantity(format::percent(share))}{share_bar(route.time_share)}
            </td>
        </tr>
    }
}

/// Which of the recent requests are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    Recent,
    Slowest,
    Failed,
}

impl Pick {
    fn apply(self, mut requests: Vec<Request>) -> Vec<Request> {
        match self {
            Self::Recent => {}
            Self::Slowest => requests.sort_by(|a, b| {
                b.duration
                    .partial_cmp(&a.duration)
                    .unwrap_or(Ordering::Equal)
            }),
            Self::Failed => {
                requests.retain(|r| r.status.is_none_or(|s| s >= 400) || r.outcome != "complete")
            }
        }
        requests
    }
}

/// Where the requests of a service are asked for.
#[must_use]
pub fn requests_path(service: &str, narrow: &Narrow) -> String {
    format!(
        "/api/v1/requests?service={}{}&limit={N_REQUESTS}",
        address::escape(service),
        narrow.request_parameters()
    )
}

/// Single requests: the newest, the slowest, the failed.
#[component]
pub fn RequestsPanel(
    /// The requests.
    polled: Polled<Requests>,
    /// What they are narrowed to.
    narrow: Narrow,
) -> impl IntoView {
    let opened = RwSignal::new(None);
    let pick = RwSignal::new(Pick::Recent);
    let all = RwSignal::new(false);
    let n_looked_at = move || {
        polled
            .value
            .with(|r| r.as_ref().map_or(0, |r| r.requests.len()))
    };
    let picked = memo(move || {
        let mut requests = polled
            .value
            .with(|r| r.as_ref().map(|r| r.requests.clone()))
            .unwrap_or_default();
        requests.retain(|r| narrow.has(r));
        pick.get().apply(requests)
    });
    let shown = move || {
        let n = if all.get() { 50 } else { N_SHOWN };
        picked.with(|p| p.iter().take(n).cloned().collect::<Vec<_>>())
    };
    let tab = move |this: Pick, label: &'static str| {
        let on = move || pick.get() == this;
        view! {
            <button
                class:on=on
                aria-pressed=says(move || on().to_string())
                on:click=move |_| pick.set(this)
            >
                {label}
            </button>
        }
    };
    let none = move || {
        polled
            .value
            .with(Option::is_some)
            .then(|| match pick.get() {
                Pick::Failed => t(W::NoneFailed),
                _ => t(W::NoRequestsYetDot),
            })
    };
    view! {
        <section class="panel table-panel">
            <div class="head wrap">
                <h2>{t(W::Requests)}</h2>
                <span class="unit">
                    {says(move || phrases::of_last(&format::count(n_looked_at() as u64)))}
                </span>
                <TimeLegend/>
                <span class="grow"></span>
                <div class="seg small" role="group" aria-label=t(W::WhichRequests)>
                    {tab(Pick::Recent, t(W::Recent))}
                    {tab(Pick::Slowest, t(W::Slowest))}
                    {tab(Pick::Failed, t(W::Failed))}
                </div>
            </div>
            <table class="cards requests" role="table">
                {request_head(false)}
                <tbody role="rowgroup">
                    {request_rows(shown, false, opened)}
                </tbody>
            </table>
            {when(move || picked.with(Vec::is_empty), move || view! {
                <p class="none">{none}</p>
            }.into_any())}
            {when(move || { picked.with(Vec::len) > N_SHOWN }, move || view! {
                <button class="more" on:click=move |_| all.update(|a| *a = !*a)>
                    {says(move || if all.get() { t(W::ShowFewer) } else { t(W::ShowMore) })}
                </button>
            }.into_any())}
            {trouble(polled)}
            <RequestDetail opened/>
        </section>
    }
}

/// Exact counts since the daemon's start.
#[component]
pub fn TotalsPanel(
    /// The service.
    service: String,
    /// Whether the daemon knows it now.
    is_known: Signal<bool>,
    /// Whether the page follows the clock.
    is_live: Signal<bool>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let path = format!("/api/v1/services/{}", address::escape(&service));
    let polled = poll::<Service>(store, path, PERIOD, is_known, is_live);
    let routes = memo(move || {
        let totals = polled.value.with(|s| s.as_ref().map(|s| s.totals.clone()));
        by_route(totals.unwrap_or_default())
    });
    let since = move || {
        store.status.with(|s| {
            s.as_ref()
                .map(|s| phrases::since(&browser::date_time(s.started_unix_ms as f64)))
        })
    };
    let is_empty = move || {
        let gone = store.is_loaded() && !is_known.get();
        (gone || polled.value.with(Option::is_some)) && routes.with(Vec::is_empty)
    };
    view! {
        <section class="panel table-panel">
            <div class="head">
                <h2>{t(W::ExactCounts)}</h2>
                <span class="unit">{since}</span>
            </div>
            <table class="cards totals" role="table">
                <thead role="rowgroup">
                    <tr role="row">
                        <th role="columnheader" scope="col" class="left">{t(W::Route)}</th>
                        <th role="columnheader" scope="col">{t(W::Requests)}</th>
                        <th role="columnheader" scope="col" class="left">{t(W::ByStatusAndOutcome)}</th>
                    </tr>
                </thead>
                <tbody role="rowgroup">
                    {follows(move || routes.get().into_iter().map(totals_row).any_views())}
                </tbody>
            </table>
            {when(is_empty, move || view! {
                <p class="none">{t(W::NoRequestsSinceStart)}</p>
            }.into_any())}
            {trouble(polled)}
        </section>
    }
}

/// The totals of each route and method, in the order they came.
fn by_route(totals: Vec<RouteTotal>) -> Vec<Vec<RouteTotal>> {
    let mut totals = totals;
    totals.sort_by(|a, b| {
        // Those without a status come last.
        let rank = |t: &RouteTotal| (t.status.is_none(), t.status);
        (&a.route, &a.method, rank(a), &a.outcome).cmp(&(&b.route, &b.method, rank(b), &b.outcome))
    });
    totals
        .chunk_by(|a, b| a.route == b.route && a.method == b.method)
        .map(<[RouteTotal]>::to_vec)
        .collect()
}

fn totals_row(totals: Vec<RouteTotal>) -> impl IntoView {
    let sum = totals.iter().map(|t| t.n_requests).sum();
    let name = totals
        .first()
        .map(|t| route_name(t.method.as_deref(), &t.route));
    let chips = totals
        .into_iter()
        .map(|t| {
            let outcome =
                (t.outcome != "complete").then(|| view! { <em>{format::outcome(&t.outcome)}</em> });
            view! {
                <span
                    class=format!("chip {}", status_class(t.status))
                    data-testid="route-total"
                    data-route=t.route
                    data-method=t.method.unwrap_or_default()
                    data-status=t.status.map(|s| s.to_string()).unwrap_or_default()
                    data-outcome=t.outcome
                    data-count=t.n_requests.to_string()
                >
                    <i aria-hidden="true"></i>
                    {status_text(t.status)}
                    {outcome}
                    <b>{format::count(t.n_requests)}</b>
                </span>
            }
        })
        .any_views();
    view! {
        <tr role="row">
            <td role="cell" class="left route">{name}</td>
            <td role="cell" data-label=t(W::Requests)>{format::count(sum)}</td>
            <td role="cell" data-label=t(W::ByStatus) class="left chips">{chips}</td>
        </tr>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(route: &str, method: &str, status: Option<u16>, n_requests: u64) -> RouteTotal {
        RouteTotal {
            route: route.into(),
            method: Some(method.into()),
            status,
            outcome: "complete".into(),
            n_requests,
        }
    }

    #[test]
    fn totals_are_gathered_by_route_and_method() {
        let groups = by_route(vec![
            total("/b", "GET", Some(200), 1),
            total("/a", "POST", Some(500), 2),
            total("/b", "GET", Some(404), 3),
            total("/a", "GET", None, 4),
        ]);
        let counts: Vec<Vec<u64>> = groups
            .iter()
            .map(|g| g.iter().map(|t| t.n_requests).collect())
            .collect();
        assert_eq!(counts, [vec![4], vec![2], vec![1, 3]]);
        assert!(by_route(Vec::new()).is_empty());
    }
}
