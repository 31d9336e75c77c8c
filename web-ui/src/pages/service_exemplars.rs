//! The requests that stand for a range: the slowest and those that failed.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{Exemplars, Request};

use crate::browser;
use crate::client::{Polled, parse};
use crate::components::figures::trouble;
use crate::components::request_detail::RequestDetail;
use crate::components::request_row::{request_head, request_key, request_row};
use crate::pages::ranged::ranged;
use crate::series::Range;
use crate::state::Store;

/// Requests asked for.
const LIMIT: usize = 50;
/// Requests shown before one asks for more.
const N_SHOWN: usize = 8;
const PERIOD: Duration = Duration::from_secs(10);

/// Both tables, side by side where there is room.
#[component]
pub fn ExemplarPanels(
    /// The service.
    service: String,
    /// The range.
    range: Signal<Range>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let opened = RwSignal::new(None);
    let read = |reason: &'static str| {
        let service = browser::escape(&service);
        ranged(
            store,
            range,
            PERIOD,
            move |stretch| {
                let bounds = stretch.bounds();
                let of = format!("service={service}&reason={reason}&limit={LIMIT}");
                vec![format!("/api/v1/exemplars?{of}&{bounds}")]
            },
            |answers| parse(&answers[0]),
        )
    };
    let slow = table(
        "Slowest requests",
        "kept of each minute",
        "slowest",
        "None was kept in this range. A minute's are written when it is over.",
        read("slow"),
        opened,
    );
    let failed = table(
        "Failed requests",
        "newest first",
        "failed",
        "None that failed was kept in this range.",
        read("failed"),
        opened,
    );
    view! {
        <div class="pair">{slow}{failed}</div>
        <RequestDetail opened/>
    }
}

fn table(
    title: &'static str,
    of: &'static str,
    testid: &'static str,
    none: &'static str,
    polled: Polled<Exemplars>,
    opened: RwSignal<Option<Request>>,
) -> AnyView {
    let all = RwSignal::new(false);
    let requests = Memo::new(move |_| {
        polled.value.with(|e| {
            let exemplars = e.as_ref()?.exemplars.iter();
            Some(exemplars.map(|e| e.request.clone()).collect::<Vec<_>>())
        })
    });
    let n_requests = move || requests.with(|r| r.as_ref().map_or(0, Vec::len));
    let shown = move || {
        let n = if all.get() { LIMIT } else { N_SHOWN };
        let requests = requests.get().unwrap_or_default();
        requests.into_iter().take(n).collect::<Vec<_>>()
    };
    let said = move || {
        let empty = requests.with(|r| r.as_ref().is_some_and(Vec::is_empty));
        empty.then(|| view! { <p class="none">{none}</p> })
    };
    view! {
        <section class="panel table-panel" data-testid=testid>
            <div class="head"><h2>{title}</h2><span class="unit">{of}</span></div>
            <table class="cards requests half" role="table">
                {request_head(false)}
                <tbody role="rowgroup">
                    <For each=shown key=request_key let(request)>
                        {request_row(request, false, opened)}
                    </For>
                </tbody>
            </table>
            {said}
            <Show when=move || { n_requests() > N_SHOWN }>
                <button class="more" on:click=move |_| all.update(|a| *a = !*a)>
                    {move || if all.get() { "Show fewer" } else { "Show more" }}
                </button>
            </Show>
            {trouble(polled)}
        </section>
    }
    .into_any()
}
