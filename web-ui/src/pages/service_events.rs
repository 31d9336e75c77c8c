//! What happened to a service in the range on show.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{Event, Events};

use crate::address;
use crate::browser;
use crate::client::{Polled, parse};
use crate::components::figures::trouble;
use crate::components::marks::shape;
use crate::narrow::Narrow;
use crate::pages::ranged::ranged;
use crate::reactive::{AnyViews, memo, says, when};
use crate::series::Range;
use crate::state::Store;
use crate::timeline::{kind_of, kind_words, particular};
use crate::words::{W, phrases, t};

/// Events asked for, and shown at most.
const LIMIT: usize = 200;
/// Events asked for where one container's are sought among them.
const NARROWED_LIMIT: usize = 2_000;
/// Events shown before one asks for more.
const N_SHOWN: usize = 6;
/// How often they are read anew.
const PERIOD: Duration = Duration::from_secs(3);

/// Reads a service's events; narrowed to a container, its own and those of the
/// whole service.
pub fn service_events(
    store: Store,
    service: &str,
    narrow: &Narrow,
    range: Signal<Range>,
) -> Polled<Events> {
    let service = address::escape(service);
    let container = narrow.container.clone();
    let limit = if container.is_empty() {
        LIMIT
    } else {
        NARROWED_LIMIT
    };
    ranged(
        store,
        range,
        PERIOD,
        move |stretch| {
            let bounds = stretch.bounds();
            vec![format!(
                "/api/v1/events?service={service}&limit={limit}&{bounds}"
            )]
        },
        move |answers| {
            let mut told: Events = parse(&answers[0])?;
            told.events.retain(|event| is_of(event, &container));
            told.events.truncate(LIMIT);
            Ok(told)
        },
    )
}

/// Whether an event is of a container, or of no certain one; any, if the name
/// is empty.
fn is_of(event: &Event, container: &str) -> bool {
    let own = event.container.as_deref();
    container.is_empty() || own.is_none_or(|own| own == container)
}

/// The list of them, the newest first.
#[component]
pub fn EventsPanel(
    /// What is listed.
    title: &'static str,
    /// Of what.
    of: &'static str,
    /// What to say where nothing happened.
    none: &'static str,
    /// The events.
    polled: Polled<Events>,
) -> impl IntoView {
    let all = RwSignal::new(false);
    let events = memo(move || polled.value.with(|e| e.as_ref().map(|e| e.events.clone())));
    let n_events = move || events.with(|e| e.as_ref().map_or(0, Vec::len));
    let rows = move || {
        let n = if all.get() { LIMIT } else { N_SHOWN };
        let events = events.get().unwrap_or_default();
        events.into_iter().take(n).map(row).any_views()
    };
    let said = move || {
        let empty = events.with(|e| e.as_ref().is_some_and(Vec::is_empty));
        empty.then(|| view! { <p class="none">{none}</p> })
    };
    view! {
        <section class="panel" data-testid="events">
            <div class="head"><h2>{title}</h2><span class="unit">{of}</span></div>
            <ol class="events">{rows}</ol>
            {said}
            {when(move || { n_events() > N_SHOWN }, move || view! {
                <button class="more" on:click=move |_| all.update(|a| *a = !*a)>
                    {says(move || {
                        if all.get() {
                            t(W::ShowFewer).to_owned()
                        } else {
                            phrases::show_all(&n_events().to_string())
                        }
                    })}
                </button>
            }.into_any())}
            {trouble(polled)}
        </section>
    }
}

fn row(event: Event) -> impl IntoView {
    let kind = kind_of(&event.kind);
    let words = kind_words(&event.kind);
    let detail = particular(&event);
    let at = event.at_unix_ms as f64;
    view! {
        <li data-testid="event" data-kind=event.kind>
            <time title=browser::date_time(at)>{browser::time_of_day(at)}</time>
            {shape(kind)}
            <span class="words">{words}</span>
            <span class="where clip">{event.container}</span>
            <span class="detail">{detail}</span>
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_keeps_its_own_events_and_those_of_the_whole_service() {
        let event = |container: Option<&str>| Event {
            container: container.map(str::to_owned),
            ..Event::default()
        };
        for (of, narrowed, expected) in [
            (Some("a"), "", true),
            (Some("a"), "a", true),
            (Some("a"), "b", false),
            (None, "b", true),
        ] {
            assert_eq!(is_of(&event(of), narrowed), expected, "{of:?} {narrowed:?}");
        }
    }
}
