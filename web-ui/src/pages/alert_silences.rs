//! Silences: alerts that are shown but not sent for some time.

use leptos::html;
use leptos::prelude::*;
use modeltap_api_types::{AlertRules, Silence, Silences};

use crate::address;
use crate::browser;
use crate::client::{Polled, Write, write};
use crate::components::list::{Row, awaited, button, list, list_panel, none, text, two_lines};
use crate::components::parts::live;
use crate::format;
use crate::json;
use crate::reactive::memo;
use crate::state::Store;
use crate::words::{W, phrases, t};

const HEADS: [W; 5] = [W::Service, W::Rule, W::Until, W::Left, W::Actions];
/// How long, in seconds.
const LENGTHS: [(W, u64); 6] = [
    (W::HalfHour, 1_800),
    (W::OneHour, 3_600),
    (W::FourHours, 14_400),
    (W::OneDay, 86_400),
    (W::SevenDays, 604_800),
    (W::ThirtyDays, 2_592_000),
];
const USUAL_LENGTH: &str = "3600";

/// What is typed for a new silence.
#[derive(Clone, Copy)]
pub struct SilenceForm {
    service: RwSignal<String>,
    rule: RwSignal<String>,
    seconds: RwSignal<String>,
    comment: RwSignal<String>,
    error: RwSignal<Option<String>>,
    first: NodeRef<html::Select>,
}

impl SilenceForm {
    /// An empty form.
    pub fn new() -> Self {
        Self {
            service: RwSignal::default(),
            rule: RwSignal::default(),
            seconds: RwSignal::new(USUAL_LENGTH.to_owned()),
            comment: RwSignal::default(),
            error: RwSignal::new(None),
            first: NodeRef::new(),
        }
    }

    /// Fills it in for an alert, and leads to it.
    pub fn begin(&self, service: &str, rule: &str) {
        self.service.set(service.to_owned());
        self.rule.set(rule.to_owned());
        if let Some(first) = self.first.get_untracked() {
            first.scroll_into_view();
            // A box that cannot be focused is no harm.
            let _ = first.focus();
        }
    }
}

/// The silences that hold, and the form for another.
pub fn silences_panel(
    store: Store,
    silences: Polled<Silences>,
    rules: Polled<AlertRules>,
    form: SilenceForm,
) -> AnyView {
    let trouble = move || {
        let failed = silences
            .error
            .get()
            .map(|e| phrases::sentence(&phrases::named(t(W::Silences), &e.to_string())));
        form.error.get().or(failed)
    };
    let content = move || {
        let shown = silences.value.with(|known| {
            let Some(known) = known else {
                return awaited();
            };
            if known.silences.is_empty() {
                return none(t(W::NothingSilenced));
            }
            let now = store.at_ms.get_untracked();
            let rows = known.silences.iter();
            let rows = rows.map(|s| row(s, now, silences, rules, form)).collect();
            list("silence", &HEADS, rows)
        });
        vec![shown]
    };
    let make = make_form(store, silences, rules, form);
    list_panel("silences", t(W::Silences), vec![make], trouble, content)
}

fn row(
    silence: &Silence,
    now_ms: u64,
    silences: Polled<Silences>,
    rules: Polled<AlertRules>,
    form: SilenceForm,
) -> Row {
    let id = silence.id.clone();
    let all = |given: &Option<String>| given.clone().unwrap_or_else(|| t(W::AllWord).to_owned());
    let rule = silence.rule.as_ref().map(|id| rule_name(rules, id));
    let left = silence.until_unix_ms.saturating_sub(now_ms) as f64 / 1e3;
    let end = button(
        "quiet line",
        t(W::End),
        t(W::EndSilence).to_owned(),
        move || {
            let path = format!("/api/v1/silences/{}", address::escape(&id));
            change(Write::Delete, path, None, silences, form);
        },
    );
    Row {
        class: "",
        name: silence.id.clone(),
        cells: vec![
            ("service", text(all(&silence.service))),
            (
                "words",
                two_lines(text(all(&rule)), silence.comment.clone()),
            ),
            (
                "when",
                text(browser::date_time(silence.until_unix_ms as f64)),
            ),
            ("num", text(format::span(left))),
            ("act", end),
        ],
    }
}

fn rule_name(rules: Polled<AlertRules>, id: &str) -> String {
    rules.value.with(|known| {
        let mut all = known.iter().flat_map(|k| &k.rules);
        let found = all.find(|r| r.id == id);
        found.map_or_else(|| id.to_owned(), |r| r.name.clone())
    })
}

fn change(
    method: Write,
    path: String,
    body: Option<String>,
    silences: Polled<Silences>,
    form: SilenceForm,
) {
    leptos::task::spawn_local(async move {
        let answer = write(method, path, body).await;
        if answer.is_ok() {
            form.comment.try_set(String::new());
        }
        form.error
            .try_set(answer.err().map(|e| phrases::sentence(&e.to_string())));
        silences.again.notify();
    });
}

fn make_form(
    store: Store,
    silences: Polled<Silences>,
    rules: Polled<AlertRules>,
    form: SilenceForm,
) -> AnyView {
    let services = memo(move || {
        let names = store.services().into_iter();
        names
            .map(|s| s.with(|s| (s.name.clone(), s.name.clone())))
            .collect::<Vec<_>>()
    });
    let known = memo(move || {
        rules.value.with(|known| {
            let all = known.iter().flat_map(|k| &k.rules);
            all.map(|r| (r.id.clone(), r.name.clone()))
                .collect::<Vec<_>>()
        })
    });
    let make = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        let given =
            |signal: RwSignal<String>| Some(signal.get_untracked()).filter(|s| !s.is_empty());
        let seconds: u64 = form.seconds.get_untracked().parse().unwrap_or(3_600);
        let now = store.daemon_now_ms(browser::now_ms());
        let silence = Silence {
            service: given(form.service),
            rule: given(form.rule),
            until_unix_ms: now as u64 + seconds * 1_000,
            comment: form.comment.get_untracked(),
            ..Silence::default()
        };
        if let Ok(body) = json::write(&silence) {
            let path = "/api/v1/silences".to_owned();
            change(Write::Post, path, Some(body), silences, form);
        }
    };
    let lengths = LENGTHS.map(|(label, seconds)| (seconds.to_string(), t(label).to_owned()));
    let lengths = Signal::stored(Vec::from(lengths));
    view! {
        <form class="filters" on:submit=make aria-label=t(W::NewSilence) data-testid="silence-form">
            <label>
                <span>{t(W::Service)}</span>
                <select
                    node_ref=form.first
                    data-testid="silence-service"
                    on:change=move |event| form.service.set(event_target_value(&event))
                >
                    {options(t(W::All), services.into(), form.service)}
                </select>
            </label>
            <label>
                <span>{t(W::Rule)}</span>
                <select
                    data-testid="silence-rule"
                    on:change=move |event| form.rule.set(event_target_value(&event))
                >
                    {options(t(W::All), known.into(), form.rule)}
                </select>
            </label>
            <label>
                <span>{t(W::For)}</span>
                <select
                    data-testid="silence-length"
                    on:change=move |event| form.seconds.set(event_target_value(&event))
                >
                    {options("", lengths, form.seconds)}
                </select>
            </label>
            <label class="text">
                <span>{t(W::Why)}</span>
                <input
                    type="text"
                    maxlength="200"
                    autocomplete="off"
                    data-testid="silence-comment"
                    prop:value=move || form.comment.get()
                    on:input=move |event| form.comment.set(event_target_value(&event))
                />
            </label>
            <button type="submit" class="primary">{t(W::Silence)}</button>
        </form>
    }
    .into_any()
}

/// Options, the first of them for none if `first` names it.
fn options(
    first: &'static str,
    options: Signal<Vec<(String, String)>>,
    chosen: RwSignal<String>,
) -> AnyView {
    live(move || {
        let chosen = chosen.get();
        let first = (!first.is_empty()).then(|| (String::new(), first.to_owned()));
        let all = first.into_iter().chain(options.get());
        all.map(|(value, label)| {
            let is_chosen = value == chosen;
            view! { <option value=value prop:selected=is_chosen>{label}</option> }.into_any()
        })
        .collect()
    })
}
