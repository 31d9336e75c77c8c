//! A live tail of single requests.

use std::collections::{HashSet, VecDeque};

use leptos::prelude::*;
use modeltap_api_types::{LiveCommand, Request, RequestSelection, Requests};

use crate::address::{Address, Query, Step};
use crate::client::{FetchError, fetch};
use crate::components::request_detail::RequestDetail;
use crate::components::request_row::{TimeLegend, request_head, request_key, request_rows};
use crate::format;
use crate::narrow;
use crate::reactive::{AnyViews, effect, follows, memo, says, when};
use crate::state::{Connection, MAX_REQUESTS, Store};
use crate::words::{W, phrases, t};

/// The filter for requests that were never answered.
const NO_STATUS: &str = "none";
/// Durations to choose from, in seconds.
const TOOK: [(f64, f64); 6] = [
    (0.01, f64::INFINITY),
    (0.1, f64::INFINITY),
    (0.3, f64::INFINITY),
    (1.0, f64::INFINITY),
    (3.0, f64::INFINITY),
    (10.0, f64::INFINITY),
];

/// What the tail is narrowed to; lives in the address bar.
#[derive(Clone, Debug, Default, PartialEq)]
struct Filter {
    service: String,
    /// Class of status as `5xx`, `none`, or empty for all.
    status: String,
    outcome: String,
    route: String,
    /// Shortest duration, and where all shorter ones begin if there is an
    /// end, in seconds.
    took: Option<(f64, f64)>,
}

impl Filter {
    fn of(query: &Query) -> Self {
        let value = |name| query.get(name).to_owned();
        Self {
            service: value("service"),
            status: value("status"),
            outcome: value("outcome"),
            route: value("route"),
            took: narrow::stretch(query.get("took")),
        }
    }

    /// The part that the daemon is asked for: of many requests those that
    /// are wanted shall be held, and not the last few.
    fn selection(&self) -> RequestSelection {
        let some = |value: &String| Some(value.clone()).filter(|v| !v.is_empty());
        let from = self.took.map(|(from, _)| from.to_string());
        RequestSelection {
            service: some(&self.service),
            status: some(&self.status).filter(|status| status != NO_STATUS),
            outcome: some(&self.outcome),
            min_duration: from,
            ..RequestSelection::default()
        }
    }

    fn matches(&self, request: &Request) -> bool {
        let status = request
            .status
            .map_or_else(|| NO_STATUS.to_owned(), |s| format!("{}xx", s / 100));
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let contains = |wanted: &str, found: &str| {
            found
                .to_ascii_lowercase()
                .contains(&wanted.to_ascii_lowercase())
        };
        is(&self.service, &request.service)
            && is(&self.status, &status)
            && is(&self.outcome, &request.outcome)
            && contains(&self.route, &request.route)
            && self
                .took
                .is_none_or(|(from, to)| (from..to).contains(&request.duration))
    }
}

/// The same selection as parameters of the API.
fn parameters(selection: &RequestSelection) -> String {
    let parts = [
        ("service", &selection.service),
        ("status", &selection.status),
        ("outcome", &selection.outcome),
        ("min_duration", &selection.min_duration),
    ];
    let parts = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)));
    narrow::parameters(parts)
}

/// The live tail.
#[component]
pub fn RequestsPage() -> impl IntoView {
    let store = expect_context::<Store>();
    let query = expect_context::<Address>().query();
    let filter = memo(move || query.with(Filter::of));
    let paused = RwSignal::new(false);
    let opened = RwSignal::new(None);
    let (rows, error) = tail(store, filter, paused);

    let shown = memo(move || {
        let filter = filter.get();
        rows.with(|rows| {
            rows.iter()
                .filter(|r| filter.matches(r))
                .cloned()
                .collect::<Vec<_>>()
        })
    });
    let waiting = move || store.inbox.with(VecDeque::len);
    let counted = move || {
        let (shown, held) = (shown.with(Vec::len), rows.with(VecDeque::len));
        let mut counted = if shown == held {
            phrases::shown_requests(&shown.to_string())
        } else {
            phrases::shown_of(&shown.to_string(), &held.to_string())
        };
        if paused.get() {
            let n = waiting();
            let words = if n >= MAX_REQUESTS {
                phrases::many_waiting
            } else {
                phrases::waiting_requests
            };
            counted.push_str(&words(&n.to_string()));
        }
        counted
    };
    let none = move || {
        if store.connection.get() != Connection::Open {
            t(W::WaitingForDaemon)
        } else if filter.with(|f| *f == Filter::default()) {
            t(W::AppearAsTheyFinish)
        } else {
            t(W::NoneMatches)
        }
    };
    view! {
        <h1 class="sr-only">{t(W::Requests)}</h1>
        <Filters filter paused/>
        <section class="panel table-panel">
            <div class="head wrap">
                <h2>{t(W::LiveRequests)}</h2>
                <span class="unit" data-testid="requests-count">{counted}</span>
                <span class="grow"></span>
                <TimeLegend/>
            </div>
            {follows(move || error.get().map(|e| {
                view! { <p class="none">{phrases::not_available(&e.to_string())}</p> }
            }))}
            <table class="cards requests" role="table">
                {request_head(true)}
                <tbody role="rowgroup">
                    {request_rows(move || shown.get(), true, opened)}
                </tbody>
            </table>
            {when(move || shown.with(Vec::is_empty), move || view! {
                <p class="none">{none}</p>
            }.into_any())}
        </section>
        <RequestDetail opened/>
    }
    .into_any()
}

/// The newest requests: those before the page was opened, then what comes in.
fn tail(
    store: Store,
    filter: Memo<Filter>,
    paused: RwSignal<bool>,
) -> (RwSignal<VecDeque<Request>>, RwSignal<Option<FetchError>>) {
    let rows = RwSignal::new(VecDeque::<Request>::new());
    let error = RwSignal::new(None);
    let selection = memo(move || filter.with(Filter::selection));
    let is_open = memo(move || store.connection.get() == Connection::Open);

    effect(move || {
        let command = LiveCommand::SubscribeRequests(selection.get());
        store.subscription.set(Some(command));
    });
    // Another selection, or a daemon that came back: what went by meanwhile
    // is asked for, and merged by name.
    effect(move || {
        let asked = selection.get();
        if !is_open.get() {
            return;
        }
        let wanted = filter.get_untracked();
        rows.update(|rows| rows.retain(|r| wanted.matches(r)));
        leptos::task::spawn_local(async move {
            let path = format!("/api/v1/requests?limit=200{}", parameters(&asked));
            let answer = fetch::<Requests>(&path).await;
            // The page may have gone, or been narrowed to something else.
            if selection.try_get_untracked().as_ref() != Some(&asked) {
                return;
            }
            match answer {
                Ok(earlier) => {
                    error.try_set(None);
                    rows.try_update(|rows| merge(rows, earlier.requests));
                }
                Err(e) => {
                    error.try_set(Some(e));
                }
            }
        });
    });
    effect(move || {
        if paused.get() || store.inbox.with(VecDeque::is_empty) {
            return;
        }
        let arrived = store.inbox.try_update(std::mem::take).unwrap_or_default();
        rows.update(|rows| merge(rows, arrived.into()));
    });
    on_cleanup(move || {
        store.subscription.set(None);
        store.inbox.update(VecDeque::clear);
    });
    (rows, error)
}

/// Puts requests together, newest first, each once, no more than fit.
fn merge(rows: &mut VecDeque<Request>, arrived: Vec<Request>) {
    let mut seen: HashSet<_> = rows.iter().map(request_key).collect();
    let mut all: Vec<Request> = arrived
        .into_iter()
        .filter(|r| seen.insert(request_key(r)))
        .collect();
    all.extend(rows.drain(..));
    all.sort_by_key(|r| std::cmp::Reverse(r.ended_monotonic_ns));
    all.truncate(MAX_REQUESTS);
    *rows = all.into();
}

#[component]
fn Filters(filter: Memo<Filter>, paused: RwSignal<bool>) -> impl IntoView {
    let store = expect_context::<Store>();
    let address = expect_context::<Address>();
    let change = move |name: &'static str| {
        move |event: web_sys::Event| {
            address.set(name, &event_target_value(&event), Step::Replace);
        }
    };
    let services = memo(move || {
        let mut names: Vec<String> = store
            .services()
            .iter()
            .map(|s| s.with(|s| s.name.clone()))
            .collect();
        let chosen = filter.with(|f| f.service.clone());
        if !chosen.is_empty() && !names.contains(&chosen) {
            names.push(chosen);
        }
        names
    });
    let option = |value: &str, label: String, chosen: String| {
        view! { <option value=value.to_owned() selected=value == chosen>{label}</option> }
    };
    let service_options = move || {
        let chosen = filter.with(|f| f.service.clone());
        let names = services.get().into_iter();
        names
            .map(|name| option(&name, name.clone(), chosen.clone()))
            .any_views()
    };
    let status_options = move || {
        let chosen = filter.with(|f| f.status.clone());
        ["2xx", "3xx", "4xx", "5xx", NO_STATUS]
            .map(|s| {
                let label = if s == NO_STATUS { t(W::NoStatus) } else { s };
                option(s, label.to_owned(), chosen.clone())
            })
            .into_iter()
            .any_views()
    };
    let took_options = move || {
        let chosen = filter.with(|f| f.took);
        // A link may hold another stretch: a cell of a heatmap.
        let other = chosen.filter(|chosen| !TOOK.contains(chosen));
        let all = TOOK.into_iter().chain(other);
        all.map(|took| {
            let is_chosen = chosen == Some(took);
            let value = narrow::stretch_text(took);
            view! { <option value=value selected=is_chosen>{format::stretch(took)}</option> }
        })
        .any_views()
    };
    let outcome_options = move || {
        let chosen = filter.with(|f| f.outcome.clone());
        [
            "complete",
            "client_aborted",
            "server_aborted",
            "unanswered",
            "lost",
        ]
        .map(|o| option(o, format::outcome(o), chosen.clone()))
        .into_iter()
        .any_views()
    };
    view! {
        <form class="filters" role="search" on:submit=|event| event.prevent_default()>
            <label>
                <span>{t(W::Service)}</span>
                <select on:change=change("service") data-testid="filter-service">
                    <option value="">{t(W::All)}</option>
                    {service_options}
                </select>
            </label>
            <label>
                <span>{t(W::Status)}</span>
                <select on:change=change("status") data-testid="filter-status">
                    <option value="">{t(W::All)}</option>
                    {status_options}
                </select>
            </label>
            <label>
                <span>{t(W::Took)}</span>
                <select on:change=change("took") data-testid="filter-took">
                    <option value="">{t(W::All)}</option>
                    {took_options}
                </select>
            </label>
            <label>
                <span>{t(W::Outcome)}</span>
                <select on:change=change("outcome") data-testid="filter-outcome">
                    <option value="">{t(W::All)}</option>
                    {outcome_options}
                </select>
            </label>
            <label class="text">
                <span>{t(W::Route)}</span>
                <input
                    type="search"
                    placeholder=t(W::Contains)
                    autocomplete="off"
                    spellcheck="false"
                    maxlength="200"
                    data-testid="filter-route"
                    prop:value=move || filter.with(|f| f.route.clone())
                    on:input=change("route")
                />
            </label>
            <span class="grow"></span>
            <button
                type="button"
                class="live-toggle"
                class:paused=move || paused.get()
                data-testid="live-toggle"
                data-key="pause"
                aria-pressed=says(move || (!paused.get()).to_string())
                aria-label=says(move || {
                    if paused.get() { t(W::PausedFollow) } else { t(W::LivePause) }
                })
                on:click=move |_| paused.update(|p| *p = !*p)
            >
                <i aria-hidden="true"></i>
                {says(move || if paused.get() { t(W::Paused) } else { t(W::Live) })}
            </button>
        </form>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(connection: &str, sequence: u64, ended_monotonic_ns: u64) -> Request {
        Request {
            service: "chat".into(),
            container: "chat-1".into(),
            method: Some("POST".into()),
            route: "/v1/Chat".into(),
            status: Some(404),
            outcome: "complete".into(),
            completeness: "whole".into(),
            streamed: false,
            peer_address: "::1".into(),
            peer_port: 1,
            local_port: 80,
            connection: connection.into(),
            sequence,
            started_unix_ms: 0,
            started_monotonic_ns: 0,
            ended_monotonic_ns,
            duration: 0.1,
            ttfb: None,
            queue: None,
            stream: None,
            request_body_bytes: 0,
            response_body_bytes: 0,
            ..Request::default()
        }
    }

    #[test]
    fn merged_rows_are_newest_first_each_once_and_bounded() {
        let mut rows = VecDeque::from([request("a", 1, 20), request("a", 0, 10)]);
        merge(
            &mut rows,
            vec![
                request("b", 0, 30),
                request("a", 1, 20),
                request("c", 0, 15),
            ],
        );
        let ends: Vec<u64> = rows.iter().map(|r| r.ended_monotonic_ns).collect();
        assert_eq!(ends, [30, 20, 15, 10]);
        merge(
            &mut rows,
            (0..2_000).map(|i| request("d", i, 100 + i)).collect(),
        );
        assert_eq!(rows.len(), MAX_REQUESTS);
        assert_eq!(rows[0].ended_monotonic_ns, 2_099);
    }

    #[test]
    fn filter_narrows_by_every_field() {
        let r = request("a", 0, 0);
        for (query, expected) in [
            ("", true),
            (
                "?service=chat&status=4xx&outcome=complete&route=v1/ch&took=0.1-0.2",
                true,
            ),
            ("?service=cha", false),
            ("?status=5xx", false),
            ("?status=none", false),
            ("?outcome=lost", false),
            ("?route=embed", false),
            ("?took=0.3-", false),
            ("?took=0.1-", true),
            ("?took=0-0.1", false),
        ] {
            let f = Filter::of(&Query::parse(query));
            assert_eq!(f.matches(&r), expected, "{f:?}");
        }
    }
    #[test]
    fn daemon_is_asked_for_what_it_can_choose_and_the_page_chooses_the_rest() {
        for (query, expected) in [
            ("", ""),
            ("?route=v1&status=none", ""),
            (
                "?service=a%20b&status=5xx&outcome=lost&took=0.3-1",
                "&service=a%20b&status=5xx&outcome=lost&min_duration=0.3",
            ),
        ] {
            let selection = Filter::of(&Query::parse(query)).selection();
            assert_eq!(parameters(&selection), expected, "{query}");
        }
    }
}
