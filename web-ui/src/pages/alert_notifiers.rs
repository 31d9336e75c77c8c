//! Who is told of alerts, and whether it arrived.

use std::collections::HashMap;

use leptos::prelude::*;
use modeltap_api_types::{Alerts, Delivery, Notifier, Notifiers};

use crate::address;
use crate::browser;
use crate::client::{Polled, Write, parse, write};
use crate::components::list::{Row, awaited, list, list_panel, none, text, two_lines};
use crate::format;
use crate::state::Store;
use crate::words::{W, phrases, t};

const NOTIFIERS: [W; 4] = [W::Notifier, W::State, W::LastDelivery, W::Actions];
const DELIVERIES: [W; 5] = [W::At, W::Notifier, W::Of, W::Attempts, W::Result];

/// Deliveries shown, of those that the daemon tells.
const SHOWN: usize = 25;

/// How a test went, or that it is under way.
type Tests = RwSignal<HashMap<String, Option<Result<(), String>>>>;

/// The notifiers, and what they delivered.
pub fn notifiers_panels(notifiers: Polled<Notifiers>, history: Polled<Alerts>) -> AnyView {
    let store = expect_context::<Store>();
    let tests: Tests = RwSignal::default();
    let trouble = move || {
        notifiers
            .error
            .get()
            .map(|e| phrases::sentence(&phrases::named(t(W::Notifiers), &e.to_string())))
    };
    let known = list_panel(
        "notifiers",
        t(W::Notifiers),
        Vec::new(),
        trouble,
        move || {
            notifiers.value.with(|known| {
                let Some(known) = known else {
                    return vec![awaited()];
                };
                let rows = known.notifiers.iter();
                let rows = rows.map(|n| row(n, tests, notifiers)).collect();
                vec![list("notifier", &NOTIFIERS, rows)]
            })
        },
    );
    let log = list_panel(
        "deliveries",
        t(W::Deliveries),
        Vec::new(),
        || None,
        move || {
            notifiers.value.with(|known| {
                let Some(known) = known else {
                    return vec![awaited()];
                };
                if known.deliveries.is_empty() {
                    return vec![none(t(W::NothingSent))];
                }
                let rows = known.deliveries.iter().take(SHOWN);
                let rows = rows
                    .map(|d| delivery(d, &subject(store, history, d)))
                    .collect();
                vec![list("delivery", &DELIVERIES, rows)]
            })
        },
    );
    vec![known, log].into_any()
}

/// What a delivery was about, where the alert is still known.
fn subject(store: Store, history: Polled<Alerts>, delivery: &Delivery) -> String {
    if delivery.alert == "test" {
        return t(W::ATest).to_owned();
    }
    let named = |alerts: &[modeltap_api_types::Alert]| {
        let alert = alerts.iter().find(|a| a.id == delivery.alert)?;
        Some(phrases::of_service(&alert.rule_name, &alert.service))
    };
    let active = store.alerts.with(|alerts| named(alerts));
    let past = || history.value.with(|h| named(&h.as_ref()?.history));
    active
        .or_else(past)
        .unwrap_or_else(|| delivery.alert.clone())
}

fn result(delivery: &Delivery) -> (&'static str, String) {
    match &delivery.error {
        None => ("ok", t(W::Taken).to_owned()),
        Some(why) if delivery.will_retry => ("warn", phrases::retried(why)),
        Some(why) => ("crit", phrases::failed(why)),
    }
}

fn mark(class: &str, word: String) -> AnyView {
    view! {
        <span class=format!("health {class}")>
            <span class="mark-shape" aria-hidden="true"></span>
            <span>{word}</span>
        </span>
    }
    .into_any()
}

fn row(notifier: &Notifier, tests: Tests, notifiers: Polled<Notifiers>) -> Row {
    let state = if notifier.configured {
        let target = notifier.target.clone().unwrap_or_default();
        two_lines(mark("ok", t(W::Configured).to_owned()), target)
    } else {
        let variables = notifier.variables.join(", ");
        let words = phrases::set_variables(&variables);
        two_lines(mark("idle", t(W::NotConfigured).to_owned()), words)
    };
    let last = match &notifier.last {
        Some(last) => {
            let (class, words) = result(last);
            let at = browser::date_time(last.at_unix_ms as f64);
            two_lines(mark(class, words), at)
        }
        None => text(format::UNKNOWN),
    };
    Row {
        class: if notifier.configured { "" } else { "off" },
        name: notifier.name.clone(),
        cells: vec![
            (
                "service",
                view! { <b>{notifier.name.clone()}</b> }.into_any(),
            ),
            ("half", state),
            ("half", last),
            ("act", test(notifier, tests, notifiers)),
        ],
    }
}

fn test(notifier: &Notifier, tests: Tests, notifiers: Polled<Notifiers>) -> AnyView {
    if !notifier.configured {
        return ().into_any();
    }
    let name = notifier.name.clone();
    let state = tests.with(|tests| tests.get(&name).cloned());
    let is_busy = matches!(state, Some(None));
    let told = match state {
        Some(Some(Ok(()))) => mark("ok", t(W::Taken).to_owned()),
        Some(Some(Err(why))) => mark("crit", why),
        _ => ().into_any(),
    };
    let label = if is_busy {
        t(W::Testing)
    } else {
        t(W::SendTest)
    };
    let send = move |_| {
        let name = name.clone();
        tests.update(|tests| {
            tests.insert(name.clone(), None);
        });
        leptos::task::spawn_local(async move {
            let path = format!("/api/v1/notifiers/{}/test", address::escape(&name));
            let answer = write(Write::Post, path, None).await;
            let told = match answer.and_then(|text| parse::<Delivery>(&text)) {
                Ok(delivery) => delivery.error.map_or(Ok(()), Err),
                Err(error) => Err(error.to_string()),
            };
            tests.try_update(|tests| tests.insert(name, Some(told)));
            notifiers.again.notify();
        });
    };
    view! {
        <span role="status" data-testid="test-result">{told}</span>
        <button type="button" class="quiet line" disabled=is_busy on:click=send>{label}</button>
    }
    .into_any()
}

fn delivery(delivery: &Delivery, subject: &str) -> Row {
    let (class, words) = result(delivery);
    let of = phrases::about_state(subject, format::alert_state(&delivery.state));
    Row {
        class: "",
        name: delivery.alert.clone(),
        cells: vec![
            ("when", text(browser::date_time(delivery.at_unix_ms as f64))),
            ("service", text(delivery.notifier.clone())),
            ("half", text(of)),
            ("num", text(format::count(delivery.n_attempts.into()))),
            ("half", mark(class, words)),
        ],
    }
}
