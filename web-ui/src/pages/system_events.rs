//! What happened to the daemon itself.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{Event, Events};

use crate::client::parse;
use crate::pages::ranged::ranged;
use crate::pages::service_events::EventsPanel;
use crate::series::Range;
use crate::state::Store;
use crate::timeline::DAEMONS_OWN;
use crate::words::{W, t};

/// Events of a kind asked for.
const LIMIT: usize = 50;
const PERIOD: Duration = Duration::from_secs(10);

/// Starts, stops, losses and trouble with history of the last day.
#[component]
pub fn DaemonEvents() -> impl IntoView {
    let store = expect_context::<Store>();
    let day = Range {
        span_seconds: 86_400,
        end_ms: None,
    };
    let polled = ranged(
        store,
        Signal::stored(day),
        PERIOD,
        |stretch| {
            let bounds = stretch.bounds();
            let path = |kind| format!("/api/v1/events?kind={kind}&limit={LIMIT}&{bounds}");
            DAEMONS_OWN.into_iter().map(path).collect()
        },
        |answers| {
            let mut events: Vec<Event> = Vec::new();
            for answer in answers {
                events.extend(parse::<Events>(&answer)?.events);
            }
            events.sort_by_key(|e| std::cmp::Reverse(e.at_unix_ms));
            Ok(Events { events })
        },
    );
    view! {
        <EventsPanel
            title=t(W::WhatHappenedToUs)
            of=t(W::LastDay)
            none=t(W::NothingWrittenDown)
            polled
        />
    }
}
