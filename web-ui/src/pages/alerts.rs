//! What fires, what was, and who is told by which rule.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{Alert, AlertRules, Alerts, Notifiers, Silences};

use crate::address::{self, Address};
use crate::alerts::{Draft, figure, sentence, severity_class};
use crate::browser;
use crate::client::poll;
use crate::components::figures::quantity;
use crate::components::list::{
    Cell, Row, awaited, button, list, list_panel, none, text, two_lines,
};
use crate::components::parts::live;
use crate::components::rule_form::RuleForm;
use crate::format;
use crate::pages::alert_notifiers::notifiers_panels;
use crate::pages::alert_rules::rules_panel;
use crate::pages::alert_silences::{SilenceForm, silences_panel};
use crate::reactive::memo;
use crate::state::Store;
use crate::words::{W, phrases, t};

/// How often is asked for what the live connection does not tell.
const PERIOD: Duration = Duration::from_secs(10);

const ACTIVE: [W; 7] = [
    W::Severity,
    W::Service,
    W::Alert,
    W::Since,
    W::Value,
    W::Limit,
    W::Actions,
];
const HISTORY: [W; 6] = [
    W::Severity,
    W::Service,
    W::Alert,
    W::Fired,
    W::Lasted,
    W::AtTheEnd,
];

/// Alerts, rules, silences and notifiers.
#[component]
pub fn AlertsPage() -> impl IntoView {
    let store = expect_context::<Store>();
    let always = Signal::stored(true);
    let path = |name: &str| format!("/api/v1/{name}");
    let rules = poll::<AlertRules>(store, path("alert-rules"), PERIOD, always, always);
    let history = path("alerts?state=resolved&limit=100");
    let history = poll::<Alerts>(store, history, PERIOD, always, always);
    let silences = poll::<Silences>(store, path("silences"), PERIOD, always, always);
    let notifiers = poll::<Notifiers>(store, path("notifiers"), PERIOD, always, always);

    // An alert that came or went is in the history and may have been sent.
    let ids = memo(move || {
        let ids = |alerts: &Vec<Alert>| alerts.iter().map(|a| a.id.clone()).collect::<Vec<_>>();
        store.alerts.with(ids)
    });
    Effect::new(move |before: Option<()>| {
        ids.track();
        if before.is_some() {
            history.again.notify();
            notifiers.again.notify();
        }
    });

    let query = expect_context::<Address>().query();
    let only = memo(move || {
        let only = query.with(|q| q.get("service").to_owned());
        Some(only).filter(|service| !service.is_empty())
    });
    let is_meant = move |service: &str| only.with(|o| o.as_ref().is_none_or(|o| o == service));
    let metric_of = move |rule: &str| {
        rules.value.with(|r| {
            let mut all = r.iter().flat_map(|r| &r.rules);
            let found = all.find(|r| r.id == rule);
            found.map(|r| r.metric.clone()).unwrap_or_default()
        })
    };
    let draft = RwSignal::new(None::<Draft>);
    let silence = SilenceForm::new();

    let narrowed = live(move || {
        let chip = only.get().map(|service| {
            view! {
                <div class="title">
                    <span class="muted">{t(W::OnlyAlertsOf)}</span>
                    <a class="link" href=address::service_href(&service)>{service.clone()}</a>
                    <a class="badge" href="/alerts">{t(W::ShowAll)}</a>
                </div>
            }
            .into_any()
        });
        chip.into_iter().collect()
    });
    let active = list_panel(
        "active",
        t(W::FiringAndPending),
        vec![live(move || vec![counted(store)])],
        || None,
        move || {
            if !store.is_loaded() {
                return vec![awaited()];
            }
            let rows: Vec<Row> = store.alerts.with(|alerts| {
                let meant = alerts.iter().filter(|a| is_meant(&a.service));
                meant
                    .map(|a| active_row(a, &metric_of(&a.rule), silence))
                    .collect()
            });
            if rows.is_empty() {
                return vec![all_quiet()];
            }
            vec![list("alert", &ACTIVE, rows)]
        },
    );
    let past = list_panel(
        "history",
        t(W::History),
        vec![view! { <span class="unit">{t(W::LastHundred)}</span> }.into_any()],
        move || {
            history
                .error
                .get()
                .map(|e| phrases::sentence(&phrases::named(t(W::History), &e.to_string())))
        },
        move || {
            history.value.with(|h| {
                let Some(alerts) = h else {
                    return vec![awaited()];
                };
                let meant = alerts.history.iter().filter(|a| is_meant(&a.service));
                let rows: Vec<Row> = meant.map(|a| past_row(a, &metric_of(&a.rule))).collect();
                if rows.is_empty() {
                    return vec![none(t(W::NoAlertOver))];
                }
                vec![list("past-alert", &HISTORY, rows)]
            })
        },
    );
    view! {
        <h1 class="sr-only">{t(W::Alerts)}</h1>
        {narrowed}
        {active}
        {past}
        {rules_panel(rules, draft, only)}
        {silences_panel(store, silences, rules, silence)}
        {notifiers_panels(notifiers, history)}
        <RuleForm opened=draft rules/>
    }
    .into_any()
}

/// How many there are of each kind.
fn counted(store: Store) -> AnyView {
    let words = store.alerts.with(|alerts| {
        let silenced = alerts.iter().filter(|a| a.silenced_by.is_some()).count();
        let firing = alerts.iter().filter(|a| a.state == "firing").count();
        let pending = alerts.len() - firing;
        let parts = [
            (firing, t(W::FiringWord)),
            (pending, t(W::PendingWord)),
            (silenced, t(W::SilencedWord)),
        ];
        let parts = parts.into_iter().filter(|(n, _)| *n > 0);
        parts
            .map(|(n, word)| phrases::counted(&n.to_string(), word))
            .collect::<Vec<_>>()
            .join(" · ")
    });
    view! { <span class="unit" data-testid="alerts-counted">{words}</span> }.into_any()
}

fn all_quiet() -> AnyView {
    view! {
        <p class="none ok quiet-line" data-testid="all-quiet">
            <span class="mark-shape" aria-hidden="true"></span>
            {t(W::AllQuiet)}
        </p>
    }
    .into_any()
}

/// The severity as a shape, a colour and a word.
pub(crate) fn severity_mark(severity: &str) -> AnyView {
    let word = format::severity(severity).to_owned();
    view! {
        <span class=format!("health {}", severity_class(severity))>
            <span class="mark-shape" aria-hidden="true"></span>
            <span>{word}</span>
        </span>
    }
    .into_any()
}

fn service_link(service: &str) -> AnyView {
    view! { <a class="link" href=address::service_href(service)>{service.to_owned()}</a> }
        .into_any()
}

fn head_cells(alert: &Alert) -> [Cell; 3] {
    let mut tags = vec![text(alert.rule_name.clone())];
    let tag = |class: &'static str, word: &'static str| {
        view! { <span class=class>{word}</span> }.into_any()
    };
    if alert.state == "pending" {
        tags.push(tag("tag", t(W::PendingWord)));
    }
    if alert.silenced_by.is_some() {
        tags.push(tag("tag", t(W::SilencedWord)));
    }
    let name = view! { <b>{tags}</b> }.into_any();
    [
        ("severity", severity_mark(&alert.severity)),
        ("service", service_link(&alert.service)),
        ("words", two_lines(name, sentence(alert))),
    ]
}

fn active_row(alert: &Alert, metric: &str, silence: SilenceForm) -> Row {
    let value = |value| quantity(figure(metric, &alert.unit, value)).into_any();
    let since = alert.fired_unix_ms.unwrap_or(alert.since_unix_ms);
    let (service, rule) = (alert.service.clone(), alert.rule.clone());
    let quiet = button(
        "quiet line",
        t(W::Silence),
        phrases::silence(&alert.rule_name, &alert.service),
        move || silence.begin(&service, &rule),
    );
    let [severity, name, words] = head_cells(alert);
    Row {
        class: severity_class(&alert.severity),
        name: format!("{}/{}", alert.service, alert.rule),
        cells: vec![
            severity,
            name,
            words,
            ("when", text(browser::date_time(since as f64))),
            ("num", value(alert.value)),
            ("num", value(alert.threshold)),
            ("act", quiet),
        ],
    }
}

fn past_row(alert: &Alert, metric: &str) -> Row {
    let fired = alert.fired_unix_ms.unwrap_or(alert.since_unix_ms);
    let ended = alert.resolved_unix_ms.unwrap_or(fired);
    let lasted = format::span(ended.saturating_sub(fired) as f64 / 1e3);
    let value = figure(metric, &alert.unit, alert.value);
    let [severity, name, words] = head_cells(alert);
    Row {
        class: "",
        name: format!("{}/{}", alert.service, alert.rule),
        cells: vec![
            severity,
            name,
            words,
            ("when", text(browser::date_time(fired as f64))),
            ("num", text(lasted)),
            ("num", quantity(value).into_any()),
        ],
    }
}
