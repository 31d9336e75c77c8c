//! What was seen and missed, service by service.

use leptos::prelude::*;
use modeltap_api_types::Service;

use crate::accounting::{Agreement, Bytes, HostCounts};
use crate::address;
use crate::components::accounts::{difference, known_count};
use crate::components::bar::segment_bar;
use crate::components::figures::{quantity, remark};
use crate::components::parts::live;
use crate::format::{self, Quantity};
use crate::reactive::AnyViews;
use crate::state::Store;
use crate::words::{W, phrases, t};

/// The columns behind the service's name, and what they mean.
const COLUMNS: [(W, W); 8] = [
    (W::Kernel, W::KernelMeans),
    (W::Parsed, W::ParserMeans),
    (W::Difference, W::DifferenceMeans),
    (W::InnerHops, W::InnerMeans),
    (W::Bytes, W::MovedMeans),
    (W::TheirFate, W::TheirFateMeans),
    (W::Lost, W::LostBytesMeans),
    (W::Unseen, W::UnseenMeans),
];
/// The column with the bar.
const FATE: usize = 5;

/// A line of each service, and their sum.
#[component]
pub fn ServiceAccounts() -> impl IntoView {
    let store = expect_context::<Store>();
    live(move || {
        let services = store.settled_services();
        if services.is_empty() {
            return Vec::new();
        }
        let mut sum = HostCounts::default();
        services.iter().for_each(|s| sum.add(&s.read_untracked()));
        let rows = services
            .iter()
            .map(|s| line(&s.read_untracked()))
            .any_views();
        let heads = COLUMNS.into_iter().enumerate();
        let heads = heads
            .map(|(i, (name, meaning))| {
                let class = if i == FATE { "left" } else { "" };
                view! {
                    <th role="columnheader" scope="col" class=class title=t(meaning)>{t(name)}</th>
                }
            })
            .any_views();
        let service =
            view! { <th role="columnheader" scope="col" class="left">{t(W::Service)}</th> };
        let panel = view! {
            <section class="panel table-panel" data-testid="service-accounts">
                <div class="head">
                    <h2>{t(W::ByService)}</h2>
                    <span class="unit">{t(W::SinceDaemonStart)}</span>
                </div>
                <table class="cards accounts" role="table">
                    <thead role="rowgroup"><tr role="row">{service}{heads}</tr></thead>
                    <tbody role="rowgroup">{rows}</tbody>
                </table>
                {sum_remarks(&sum)}
            </section>
        };
        vec![panel.into_any()]
    })
}

fn line(service: &Service) -> impl IntoView + use<> {
    let bytes = service.capture.as_ref().map(Bytes::of_service);
    let lost = service.capture.map(|c| c.bytes_lost);
    let sized = |n: Option<u64>| n.map_or_else(Quantity::unknown, format::bytes);
    let severity = |n: Option<u64>| if n.is_some_and(|n| n > 0) { "warn" } else { "" };
    let told = service.difference.map(|d| d.requests);
    let (class, difference) = difference(told, Agreement::of(service));
    let bar = bytes.as_ref().map(|b| segment_bar(&b.segments(), b.text()));
    let cells = [
        ("", known_count(service.kernel.map(|k| k.requests))),
        ("", known_count(Some(service.seen.requests))),
        (class, Quantity::plain(difference)),
        (
            "",
            known_count(Some(service.inner.map_or(0, |i| i.n_requests))),
        ),
        ("", sized(bytes.as_ref().map(|b| b.observed))),
        ("", Quantity::plain("")),
        (severity(lost), sized(lost)),
        (severity(service.unseen_bytes), sized(service.unseen_bytes)),
    ];
    let mut bar = bar;
    let cells = COLUMNS
        .into_iter()
        .zip(cells)
        .enumerate()
        .map(|(i, ((name, _), (class, value)))| {
            let bar = if i == FATE { bar.take() } else { None };
            let cell = if i == FATE { "left bar-cell" } else { "" };
            view! {
                <td role="cell" data-label=t(name) class=cell>
                    <span class=class>{quantity(value)}</span>
                    {bar}
                </td>
            }
        })
        .any_views();
    let href = address::service_href(&service.name);
    view! {
        <tr role="row" data-testid="service-account" data-name=service.name.clone()>
            <td role="cell" class="left name">
                <a class="link" href=href>{service.name.clone()}</a>
            </td>
            {cells}
        </tr>
    }
}

/// The sum of all services in a sentence, and what its difference means.
fn sum_remarks(sum: &HostCounts) -> impl IntoView + use<> {
    let (class, meaning) = sum.agreement.words();
    let seen = format::count(sum.seen);
    let counts = match sum.kernel {
        Some(kernel) => phrases::in_all_both(&format::count(kernel), &seen),
        None => phrases::in_all_seen(&seen),
    };
    let inner =
        (sum.inner > 0).then(|| remark("idle", phrases::inner_beside(&format::count(sum.inner))));
    let unseen = (sum.unseen_bytes > 0).then(|| {
        let bytes = format::bytes(sum.unseen_bytes).text();
        remark("warn", phrases::unseen_in_all(&bytes))
    });
    view! {
        <div class="verdict" data-testid="service-accounts-verdict">
            {remark(class, counts + meaning)}
            {inner}
            {unseen}
        </div>
    }
}
