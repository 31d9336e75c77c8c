//! How long every request of the range took.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::Heatmap;

use crate::address::{self, Address, Step};
use crate::client::parse;
use crate::components::figures::trouble;
use crate::components::heatmap::HeatmapView;
use crate::components::range::RangeControl;
use crate::heat::{Cell, Heat};
use crate::narrow::Narrow;
use crate::pages::ranged::ranged;
use crate::series::Range;
use crate::state::Store;
use crate::words::{W, t};

const PERIOD: Duration = Duration::from_secs(5);

/// Requests by time and duration.
#[component]
pub fn HeatmapPanel(
    /// The service.
    service: String,
    /// What it is narrowed to.
    narrow: Narrow,
    /// The range.
    control: RangeControl,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let service = address::escape(&service) + &narrow.series_parameters();
    let range = control.range;
    let polled = ranged(
        store,
        range.into(),
        PERIOD,
        move |stretch| {
            let steps = stretch.steps();
            vec![format!(
                "/api/v1/heatmap?service={service}&metric=duration&{steps}"
            )]
        },
        |answers| Ok(Heat::new(parse::<Heatmap>(&answers[0])?)),
    );
    let bounds = Signal::derive(move || {
        let (from, to) = range.get().bounds(store.at_ms.get() as f64);
        (from / 1e3, to / 1e3)
    });
    let address = expect_context::<Address>();
    let on_pick = Callback::new(move |cell: Cell| {
        let step = polled
            .value
            .with_untracked(|h| h.as_ref().map_or(1.0, |h| h.step));
        // A range is ten seconds at least.
        let range = Range {
            span_seconds: step.max(10.0) as u32,
            end_ms: Some((cell.at + step) * 1e3),
        };
        let (span, to) = range.values();
        let picked = Narrow {
            durations: Some(cell.durations),
            ..narrow.clone()
        };
        let query = address.query().with_untracked(|q| picked.in_query(q));
        address.go_to_query(&query.with("range", &span).with("to", &to), Step::Page);
    });
    view! {
        <HeatmapView
            title=t(W::DurationOfEvery)
            heat=polled.value
            failed=Signal::derive(move || polled.error.with(Option::is_some))
            bounds
            on_pick
        />
        {trouble(polled)}
    }
}
