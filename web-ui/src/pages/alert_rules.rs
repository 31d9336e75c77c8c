//! Rules: those on from the start, those of labels, those made by hand.

use leptos::prelude::*;
use modeltap_api_types::{AlertRule, AlertRules};

use crate::address;
use crate::alerts::{Draft, rule_words};
use crate::client::{Polled, Write, write};
use crate::components::list::{
    Cell, Row, awaited, button, list, list_panel, none, text, two_lines,
};
use crate::json;
use crate::pages::alerts::severity_mark;
use crate::words::{W, phrases, t};

const HEADS: [W; 6] = [W::On, W::Rule, W::Service, W::Severity, W::From, W::Actions];

/// What the table needs to change a rule.
#[derive(Clone, Copy)]
struct Desk {
    rules: Polled<AlertRules>,
    draft: RwSignal<Option<Draft>>,
    /// Why the last change was refused.
    refused: RwSignal<Option<String>>,
    /// The rule whose deletion waits for a second click.
    sure: RwSignal<Option<String>>,
}

/// The table of rules; `only` narrows it to those about one service.
pub fn rules_panel(
    rules: Polled<AlertRules>,
    draft: RwSignal<Option<Draft>>,
    only: Memo<Option<String>>,
) -> AnyView {
    let desk = Desk {
        rules,
        draft,
        refused: RwSignal::new(None),
        sure: RwSignal::new(None),
    };
    let make = view! {
        <button
            type="button"
            class="primary"
            data-testid="new-rule"
            disabled=move || rules.value.with(Option::is_none)
            on:click=move |_| {
                let metrics = rules.value.with_untracked(|r| r.as_ref().map(|r| r.metrics.clone()));
                draft.set(metrics.map(|metrics| Draft::new(&metrics)));
            }
        >
            {t(W::NewRule)}
        </button>
    };
    let trouble = move || {
        let failed = rules
            .error
            .get()
            .map(|e| phrases::sentence(&phrases::named(t(W::Rules), &e.to_string())));
        desk.refused.get().or(failed)
    };
    list_panel(
        "rules",
        t(W::Rules),
        vec![make.into_any()],
        trouble,
        move || {
            rules.value.with(|known| {
                let Some(known) = known else {
                    return vec![awaited()];
                };
                let is_meant = |rule: &&AlertRule| {
                    only.with(|o| o.is_none() || rule.service.is_none() || rule.service == *o)
                };
                let meant = known.rules.iter().filter(is_meant);
                let rows: Vec<Row> = meant.map(|rule| row(rule, known, desk)).collect();
                if rows.is_empty() {
                    return vec![none(t(W::NoRule))];
                }
                vec![list("rule", &HEADS, rows)]
            })
        },
    )
}

fn row(rule: &AlertRule, known: &AlertRules, desk: Desk) -> Row {
    let name = view! { <b>{rule.name.clone()}</b> }.into_any();
    let each = || t(W::Each).to_owned();
    let service = rule.service.clone().unwrap_or_else(each);
    let origin = match rule.origin.as_str() {
        "default" => t(W::OriginStart),
        "label" => t(W::OriginLabel),
        _ => t(W::OriginHand),
    };
    let cells: Vec<Cell> = vec![
        ("switch-cell", switch(rule, desk)),
        ("words", two_lines(name, rule_words(rule, &known.metrics))),
        ("service", text(service)),
        ("severity", severity_mark(&rule.severity)),
        ("origin", text(origin)),
        ("act", actions(rule, known, desk)),
    ];
    Row {
        class: if rule.enabled { "" } else { "off" },
        name: rule.id.clone(),
        cells,
    }
}

fn switch(rule: &AlertRule, desk: Desk) -> AnyView {
    let turned = AlertRule {
        enabled: !rule.enabled,
        ..rule.clone()
    };
    let is_fixed = rule.origin == "label";
    let turn = move |_| {
        if let Ok(body) = json::write(&turned) {
            change(desk, Write::Put, &turned.id, Some(body));
        }
    };
    view! {
        <button
            type="button"
            role="switch"
            class="switch"
            aria-checked=rule.enabled.to_string()
            aria-label=phrases::is_evaluated(&rule.name)
            disabled=is_fixed
            on:click=turn
        >
            <i aria-hidden="true"></i>
        </button>
    }
    .into_any()
}

fn actions(rule: &AlertRule, known: &AlertRules, desk: Desk) -> AnyView {
    if rule.origin == "label" {
        return view! { <span class="unit">{t(W::ChangeTheLabel)}</span> }.into_any();
    }
    let draft = Draft::of(rule, &known.metrics);
    let edit = button(
        "quiet line",
        t(W::Edit),
        phrases::edit(&rule.name),
        move || {
            desk.draft.set(Some(draft.clone()));
        },
    );
    let id = rule.id.clone();
    let is_sure = desk.sure.with(|sure| sure.as_ref() == Some(&id));
    let label = match (rule.origin.as_str(), is_sure) {
        ("default", false) => t(W::Restore),
        ("default", true) => t(W::RestoreNow),
        (_, false) => t(W::Delete),
        (_, true) => t(W::DeleteNow),
    };
    let class = if is_sure {
        "quiet line crit"
    } else {
        "quiet line"
    };
    let remove = button(class, label, phrases::named(label, &rule.name), move || {
        if desk.sure.with_untracked(|sure| sure.as_ref() == Some(&id)) {
            desk.sure.set(None);
            change(desk, Write::Delete, &id, None);
        } else {
            desk.sure.set(Some(id.clone()));
        }
    });
    vec![edit, remove].into_any()
}

fn change(desk: Desk, method: Write, id: &str, body: Option<String>) {
    let path = format!("/api/v1/alert-rules/{}", address::escape(id));
    leptos::task::spawn_local(async move {
        let answer = write(method, path, body).await;
        let refused = answer.err().map(|e| phrases::not_changed(&e.to_string()));
        desk.refused.try_set(refused);
        desk.rules.again.notify();
    });
}
