//! The range of time a page shows; it lives in the address bar.

use leptos::prelude::*;

use crate::address::{Address, Step};
use crate::browser;
use crate::reactive::{AnyViews, memo, says};
use crate::series::Range;
use crate::state::Store;
use crate::words::{W, phrases, t};

/// Ranges that are one click away.
const SPANS: [(W, u32); 5] = [
    (W::Span5m, 300),
    (W::Span15m, 900),
    (W::Span1h, 3_600),
    (W::Span6h, 21_600),
    (W::Span24h, 86_400),
];

/// The range in the address bar, and the ways to change it.
#[derive(Clone, Copy)]
pub struct RangeControl {
    /// The range now.
    pub range: Memo<Range>,
    /// Goes to another.
    pub go: Callback<Range>,
}

impl RangeControl {
    /// What a chart calls with both ends, Unix seconds, when a stretch of it
    /// was marked.
    #[must_use]
    pub fn on_zoom(self) -> Callback<(f64, f64)> {
        Callback::new(move |(from, to): (f64, f64)| {
            let span_seconds = ((to - from).round() as u32).max(10);
            self.go.run(Range {
                span_seconds,
                end_ms: Some((to * 1e3).round()),
            });
        })
    }
}

/// Reads the range from the address bar.
#[must_use]
pub fn range_control() -> RangeControl {
    let address = expect_context::<Address>();
    let query = address.query();
    let range = memo(move || query.with(|q| Range::parse(q.get("range"), q.get("to"))));
    let go = Callback::new(move |wanted: Range| {
        // Charts that share a pointer all tell of the same stretch.
        if wanted == range.get_untracked() {
            return;
        }
        let (span, to) = wanted.values();
        let query = query.with_untracked(|q| q.with("range", &span).with("to", &to));
        address.go_to_query(&query, Step::View);
    });
    RangeControl { range, go }
}

/// Ranges to choose from, and whether the page follows the clock.
#[component]
pub fn RangePicker(
    /// The range.
    control: RangeControl,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let RangeControl { range, go } = control;
    let spans = SPANS
        .map(|(label, seconds)| {
            let on = move || range.with(|r| r.span_seconds == seconds);
            view! {
                <button
                    class:on=on
                    aria-pressed=says(move || on().to_string())
                    on:click=move |_| {
                        go.run(Range { span_seconds: seconds, ..range.get_untracked() });
                    }
                >
                    {t(label)}
                </button>
            }
        })
        .into_iter()
        .any_views();
    let paused = move || range.with(|r| r.end_ms.is_some());
    let turn = move |_| {
        let range = range.get_untracked();
        let end_ms = match range.end_ms {
            Some(_) => None,
            None => Some(match store.at_ms.get_untracked() {
                0 => browser::now_ms(),
                at => at as f64,
            }),
        };
        go.run(Range { end_ms, ..range });
    };
    let stretch = move || {
        range.with(|r| {
            r.end_ms.map(|end| {
                let (from, to) = r.bounds(end);
                phrases::range(&browser::date_time(from), &browser::time_of_day(to))
            })
        })
    };
    view! {
        <div class="range">
            <span class="stretch">{stretch}</span>
            <div class="seg" data-key="range" role="group" aria-label=t(W::RangeOfTime)>{spans}</div>
            <button
                class="live-toggle"
                class:paused=paused
                on:click=turn
                data-testid="live-toggle"
                data-key="pause"
                aria-pressed=says(move || (!paused()).to_string())
                aria-label=says(move || {
                    if paused() { t(W::PausedFollow) } else { t(W::LivePause) }
                })
            >
                <i aria-hidden="true"></i>
                {says(move || if paused() { t(W::Paused) } else { t(W::Live) })}
            </button>
        </div>
    }
}
