//! The tables of a service: routes, requests, totals.

use std::cmp::Ordering;
use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{Request, Requests, Route, RouteTotal, Routes, Service};

use crate::browser;
use crate::client::{Polled, poll};
use crate::components::figures::{
    quantity, route_name, share_bar, status_class, status_counts, status_text, trouble,
};
use crate::components::request_detail::RequestDetail;
use crate::components::request_row::{TimeLegend, request_head, request_key, request_row};
use crate::format;
use crate::state::Store;

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
    let path = format!("/api/v1/services/{}/routes", browser::escape(&service));
    let polled = poll::<Routes>(store, path, PERIOD, is_known, is_live);
    let rows = move || {
        let routes = polled.value.with(|r| r.as_ref().map(|r| r.routes.clone()));
        routes
            .unwrap_or_default()
            .into_iter()
            .map(route_row)
            .collect_view()
    };
    let is_empty = move || {
        let none = |r: &Option<Routes>| r.as_ref().is_some_and(|r| r.routes.is_empty());
        let gone = store.is_loaded() && !is_known.get();
        gone || polled.value.with(none)
    };
    let window = move || {
        let seconds = polled.value.with(|r| r.as_ref().map(|r| r.window_seconds));
        seconds.map(|s| format!("last {}", format::span(s.into())))
    };
    view! {
        <section class="panel table-panel">
            <div class="head">
                <h2>"Routes"</h2>
                <span class="unit">{window}</span>
            </div>
            <table class="cards" role="table">
                <thead role="rowgroup">
                    <tr role="row">
                        <th role="columnheader" scope="col" class="left">"Route"</th>
                        <th role="columnheader" scope="col">"Requests/s"</th>
                        <th role="columnheader" scope="col">"p50"</th>
                        <th role="columnheader" scope="col">"p95"</th>
                        <th role="columnheader" scope="col">"p99"</th>
                        <th role="columnheader" scope="col">"Errors"</th>
                        <th role="columnheader" scope="col" class="left">"Statuses"</th>
                        <th role="columnheader" scope="col">"Share of time"</th>
                    </tr>
                </thead>
                <tbody role="rowgroup">{rows}</tbody>
            </table>
            <Show when=is_empty>
                <p class="none">"No requests in the window."</p>
            </Show>
            {trouble(polled)}
        </section>
    }
}

fn route_row(route: Route) -> impl IntoView {
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
            data-testid="route-row"
            data-route=route.route.clone()
            data-method=route.method.clone().unwrap_or_default()
            data-count=window.n_requests.to_string()
        >
            <td role="cell" class="left route">
                {route_name(route.method.as_deref(), &route.route)}
            </td>
            <td role="cell" data-label="Req/s">{format::rate(window.rate)}</td>
            <td role="cell" data-label="p50">{quantity(format::duration(window.p50))}</td>
            <td role="cell" data-label="p95">{quantity(format::duration(window.p95))}</td>
            <td role="cell" data-label="p99">{quantity(format::duration(window.p99))}</td>
            <td role="cell" data-label="Errors" class=error_class>
                {quantity(format::percent(window.error_rate))}
            </td>
            <td role="cell" data-label="Statuses" class="left chips">
                {status_counts(route.by_status)}
            </td>
            <td role="cell" data-label="Share of time" class="share">
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
pub fn requests_path(service: &str) -> String {
    format!(
        "/api/v1/requests?service={}&limit={N_REQUESTS}",
        browser::escape(service)
    )
}

/// Single requests: the newest, the slowest, the failed.
#[component]
pub fn RequestsPanel(
    /// The requests.
    polled: Polled<Requests>,
) -> impl IntoView {
    let opened = RwSignal::new(None);
    let pick = RwSignal::new(Pick::Recent);
    let all = RwSignal::new(false);
    let n_looked_at = move || {
        polled
            .value
            .with(|r| r.as_ref().map_or(0, |r| r.requests.len()))
    };
    let picked = Memo::new(move |_| {
        let requests = polled
            .value
            .with(|r| r.as_ref().map(|r| r.requests.clone()));
        pick.get().apply(requests.unwrap_or_default())
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
                aria-pressed=move || on().to_string()
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
                Pick::Failed => "None of them failed.",
                _ => "No requests yet.",
            })
    };
    view! {
        <section class="panel table-panel">
            <div class="head wrap">
                <h2>"Requests"</h2>
                <span class="unit">
                    {move || format!("of the last {}", format::count(n_looked_at() as u64))}
                </span>
                <TimeLegend/>
                <span class="grow"></span>
                <div class="seg small" role="group" aria-label="Which requests">
                    {tab(Pick::Recent, "Recent")}
                    {tab(Pick::Slowest, "Slowest")}
                    {tab(Pick::Failed, "Failed")}
                </div>
            </div>
            <table class="cards requests" role="table">
                {request_head(false)}
                <tbody role="rowgroup">
                    <For each=shown key=request_key let(request)>
                        {request_row(request, false, opened)}
                    </For>
                </tbody>
            </table>
            <Show when=move || picked.with(Vec::is_empty)>
                <p class="none">{none}</p>
            </Show>
            <Show when=move || { picked.with(Vec::len) > N_SHOWN }>
                <button class="more" on:click=move |_| all.update(|a| *a = !*a)>
                    {move || if all.get() { "Show fewer" } else { "Show more" }}
                </button>
            </Show>
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
    let path = format!("/api/v1/services/{}", browser::escape(&service));
    let polled = poll::<Service>(store, path, PERIOD, is_known, is_live);
    let routes = Memo::new(move |_| {
        let totals = polled.value.with(|s| s.as_ref().map(|s| s.totals.clone()));
        by_route(totals.unwrap_or_default())
    });
    let since = move || {
        store.status.with(|s| {
            s.as_ref()
                .map(|s| format!("since {}", browser::date_time(s.started_unix_ms as f64)))
        })
    };
    let is_empty = move || {
        let gone = store.is_loaded() && !is_known.get();
        (gone || polled.value.with(Option::is_some)) && routes.with(Vec::is_empty)
    };
    view! {
        <section class="panel table-panel">
            <div class="head">
                <h2>"Exact counts since the daemon's start"</h2>
                <span class="unit">{since}</span>
            </div>
            <table class="cards totals" role="table">
                <thead role="rowgroup">
                    <tr role="row">
                        <th role="columnheader" scope="col" class="left">"Route"</th>
                        <th role="columnheader" scope="col">"Requests"</th>
                        <th role="columnheader" scope="col" class="left">"By status and outcome"</th>
                    </tr>
                </thead>
                <tbody role="rowgroup">
                    {move || routes.get().into_iter().map(totals_row).collect_view()}
                </tbody>
            </table>
            <Show when=is_empty>
                <p class="none">"No requests since the start."</p>
            </Show>
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
        .collect_view();
    view! {
        <tr role="row">
            <td role="cell" class="left route">{name}</td>
            <td role="cell" data-label="Requests">{format::count(sum)}</td>
            <td role="cell" data-label="By status" class="left chips">{chips}</td>
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
