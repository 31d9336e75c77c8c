//! The requests that stand for a range: the slowest and those that failed.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{Exemplars, Request};

use crate::address;
use crate::client::{Polled, parse};
use crate::components::figures::trouble;
use crate::components::request_detail::RequestDetail;
use crate::components::request_row::{request_head, request_rows};
use crate::narrow::Narrow;
use crate::pages::ranged::ranged;
use crate::reactive::{memo, says, when};
use crate::series::Range;
use crate::state::Store;
use crate::words::{W, t};

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
    /// What it is narrowed to.
    narrow: Narrow,
    /// The range.
    range: Signal<Range>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let opened = RwSignal::new(None);
    let read = |reason: &'static str| {
        let service = address::escape(&service) + &narrow.exemplar_parameters();
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
        t(W::SlowestRequests),
        t(W::KeptOfMinute),
        "slowest",
        t(W::NoneKept),
        read("slow"),
        (opened, narrow.clone()),
    );
    let failed = table(
        t(W::FailedRequests),
        t(W::NewestFirst),
        "failed",
        t(W::NoneFailedKept),
        read("failed"),
        (opened, narrow.clone()),
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
    (opened, narrow): (RwSignal<Option<Request>>, Narrow),
) -> AnyView {
    let all = RwSignal::new(false);
    let requests = memo(move || {
        polled.value.with(|e| {
            let exemplars = e.as_ref()?.exemplars.iter();
            let requests = exemplars.map(|e| &e.request).filter(|r| narrow.has(r));
            Some(requests.cloned().collect::<Vec<_>>())
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
                    {request_rows(shown, false, opened)}
                </tbody>
            </table>
            {said}
            {when(move || { n_requests() > N_SHOWN }, move || view! {
                <button class="more" on:click=move |_| all.update(|a| *a = !*a)>
                    {says(move || if all.get() { t(W::ShowFewer) } else { t(W::ShowMore) })}
                </button>
            }.into_any())}
            {trouble(polled)}
        </section>
    }
    .into_any()
}
