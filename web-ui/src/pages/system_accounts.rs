//! What was seen and missed, service by service.

use leptos::prelude::*;
use modeltap_api_types::Service;

use crate::accounting::{Agreement, Bytes, HostCounts};
use crate::browser;
use crate::components::accounts::{difference, known_count};
use crate::components::bar::segment_bar;
use crate::components::figures::{quantity, remark};
use crate::components::parts::live;
use crate::format::{self, Quantity};
use crate::state::Store;

/// The columns behind the service's name, and what they mean.
const COLUMNS: [(&str, &str); 8] = [
    ("Kernel", "Requests counted by the probes themselves"),
    ("Parsed", "Requests seen by the parser"),
    ("Difference", "The first less the second"),
    (
        "Inner hops",
        "Requests over UNIX sockets inside containers, counted in no other figure",
    ),
    ("Bytes", "Moved on watched connections"),
    ("Their fate", "Parsed, skipped, truncated, lost, dropped"),
    ("Lost", "Bytes in events the kernel had no room for"),
    (
        "Unseen",
        "Bytes moved by io_uring in ways this kernel does not show",
    ),
];
/// The column with the bar.
const FATE: usize = 5;

/// A line of each service, and their sum.
#[component]
pub fn ServiceAccounts() -> impl IntoView {
    let store = expect_context::<Store>();
    live(move || {
        let services = store.services();
        if services.is_empty() {
            return Vec::new();
        }
        let mut sum = HostCounts::default();
        services.iter().for_each(|s| sum.add(&s.read()));
        let rows = services.iter().map(|s| line(&s.read())).collect_view();
        let heads = [("Service", "")].into_iter().chain(COLUMNS).enumerate();
        let heads = heads
            .map(|(i, (name, meaning))| {
                let class = if i == 0 || i == FATE + 1 { "left" } else { "" };
                view! {
                    <th role="columnheader" scope="col" class=class title=meaning>{name}</th>
                }
            })
            .collect_view();
        let panel = view! {
            <section class="panel table-panel" data-testid="service-accounts">
                <div class="head">
                    <h2>"Requests and bytes by service"</h2>
                    <span class="unit">"since the daemon's start"</span>
                </div>
                <table class="cards accounts" role="table">
                    <thead role="rowgroup"><tr role="row">{heads}</tr></thead>
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
                <td role="cell" data-label=name class=cell>
                    <span class=class>{quantity(value)}</span>
                    {bar}
                </td>
            }
        })
        .collect_view();
    let href = browser::service_href(&service.name);
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
    let counts = match sum.kernel {
        Some(kernel) => format!(
            "Requests in all: {} in the kernel, {} parsed. ",
            format::count(kernel),
            format::count(sum.seen)
        ),
        None => format!("Requests in all: {} parsed. ", format::count(sum.seen)),
    };
    let inner = (sum.inner > 0).then(|| {
        let words = format!(
            "Beside them {} inner hops over UNIX sockets, counted in no other figure.",
            format::count(sum.inner)
        );
        remark("idle", words)
    });
    let unseen = (sum.unseen_bytes > 0).then(|| {
        let words = format!(
            "{} moved by io_uring in ways this kernel is too old to show.",
            format::bytes(sum.unseen_bytes).text()
        );
        remark("warn", words)
    });
    view! {
        <div class="verdict" data-testid="service-accounts-verdict">
            {remark(class, counts + meaning)}
            {inner}
            {unseen}
        </div>
    }
}
