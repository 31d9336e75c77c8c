//! How long every request of the range took.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::Heatmap;

use crate::browser;
use crate::client::parse;
use crate::components::figures::trouble;
use crate::components::heatmap::HeatmapView;
use crate::components::range::RangeControl;
use crate::heat::Heat;
use crate::pages::ranged::ranged;
use crate::state::Store;

const PERIOD: Duration = Duration::from_secs(5);

/// Requests by time and duration.
#[component]
pub fn HeatmapPanel(
    /// The service.
    service: String,
    /// The range.
    control: RangeControl,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let service = browser::escape(&service);
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
    view! {
        <HeatmapView
            title="Duration of every request"
            heat=polled.value
            failed=Signal::derive(move || polled.error.with(Option::is_some))
            bounds
        />
        {trouble(polled)}
    }
}
