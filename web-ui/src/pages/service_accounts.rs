//! What was seen of one service, what was missed, and what moves unseen.

use leptos::prelude::*;
use modeltap_api_types::{Inner, Service};

use crate::accounting::{Agreement, Bytes, compared, unseen_bytes, unseen_sentence};
use crate::components::accounts::{bytes_account, counts_table};
use crate::components::figures::remark;
use crate::components::parts::{Tile, live, pair, panel, tiles};
use crate::format::{self, Quantity};
use crate::state::Store;
use crate::words::{W, phrases, t};

/// Says that a service's bytes move where nobody sees them.
#[component]
pub fn UnseenBanner(
    /// The service.
    service: Memo<Option<Service>>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    live(move || {
        let Some(bytes) = service.with(|s| s.as_ref().and_then(unseen_bytes)) else {
            return Vec::new();
        };
        let status = store.status.read();
        let kernel = status.as_ref().map_or("", |s| &s.kernel);
        let banner = view! {
            <div class="panel banner warn" role="status" data-testid="unseen-bytes">
                <span class="mark-shape" aria-hidden="true"></span>
                <p><b>{t(W::BytesMoveUnseen)}</b>{unseen_sentence(bytes, kernel)}</p>
            </div>
        };
        vec![banner.into_any()]
    })
}

/// Bytes by fate, the kernel's own counts beside the parser's, inner hops.
#[component]
pub fn AccountsPanels(
    /// The service.
    service: Memo<Option<Service>>,
) -> impl IntoView {
    let since = || t(W::SinceDaemonStart).to_owned();
    live(move || {
        service.with(|service| {
            let Some(service) = service else {
                return Vec::new();
            };
            let bytes = match &service.capture {
                Some(capture) => bytes_account(&Bytes::of_service(capture)),
                None => vec![remark("idle", t(W::NothingToldOfBytes))],
            };
            let rows = compared(
                service.kernel.as_ref(),
                &service.seen,
                service.difference.as_ref(),
            );
            let mut counts = counts_table(&rows, Agreement::of(service));
            counts.extend(service.inner.as_ref().map(inner_hops));
            vec![pair([
                panel(t(W::Bytes), since(), "bytes", bytes),
                panel(t(W::CountedTwice), since(), "counts", counts),
            ])]
        })
    })
}

/// Requests from a proxy to the server behind it, over a UNIX socket: the same
/// requests a second time.
fn inner_hops(inner: &Inner) -> AnyView {
    let figures = vec![
        Tile {
            label: t(W::Requests),
            meaning: "",
            value: Quantity::plain(format::count(inner.n_requests)),
            note: classes_note(inner),
        },
        Tile {
            label: t(W::DurationP50),
            meaning: "",
            value: format::duration(inner.window.p50),
            note: phrases::p95(&format::duration(inner.window.p95).text()),
        },
    ];
    view! {
        <div class="inner" data-testid="inner-hops">
            <h3>{t(W::InnerHops)}</h3>
            <p class="muted">
                {t(W::InnerHopsMeans)}
            </p>
            {tiles(figures)}
        </div>
    }
    .into_any()
}

fn classes_note(inner: &Inner) -> String {
    let without = t(W::WithoutStatus);
    let names = ["1xx", "2xx", "3xx", "4xx", "5xx", without];
    let parts = names.into_iter().zip(inner.by_status_class);
    let parts = parts.filter(|(_, n)| *n > 0);
    parts
        .map(|(name, n)| phrases::counted(&format::count(n), name))
        .collect::<Vec<_>>()
        .join(" · ")
}
