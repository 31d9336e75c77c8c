//! The range of time a page shows; it lives in the address bar.

use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};

use crate::browser;
use crate::series::Range;
use crate::state::Store;

/// Ranges that are one click away.
const SPANS: [(&str, u32); 5] = [
    ("5 m", 300),
    ("15 m", 900),
    ("1 h", 3_600),
    ("6 h", 21_600),
    ("24 h", 86_400),
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
    let query = use_query_map();
    let range =
        Memo::new(move |_| query.with(|q| Range::parse(q.get_str("range"), q.get_str("to"))));
    let navigate = use_navigate();
    let go = Callback::new(move |wanted: Range| {
        // Charts that share a pointer all tell of the same stretch.
        if wanted == range.get_untracked() {
            return;
        }
        let path = window().location().pathname().unwrap_or_default();
        let options = NavigateOptions {
            scroll: false,
            ..NavigateOptions::default()
        };
        navigate(&format!("{path}{}", wanted.query()), options);
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
                    aria-pressed=move || on().to_string()
                    on:click=move |_| {
                        go.run(Range { span_seconds: seconds, ..range.get_untracked() });
                    }
                >
                    {label}
                </button>
            }
        })
        .into_iter()
        .collect_view();
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
                format!(
                    "{} to {}",
                    browser::date_time(from),
                    browser::time_of_day(to)
                )
            })
        })
    };
    view! {
        <div class="range">
            <span class="stretch">{stretch}</span>
            <div class="seg" role="group" aria-label="Range of time">{spans}</div>
            <button
                class="live-toggle"
                class:paused=paused
                on:click=turn
                data-testid="live-toggle"
                aria-pressed=move || (!paused()).to_string()
                aria-label=move || {
                    if paused() { "Paused. Follow live" } else { "Live. Pause" }
                }
            >
                <i aria-hidden="true"></i>
                {move || if paused() { "Paused" } else { "Live" }}
            </button>
        </div>
    }
}
