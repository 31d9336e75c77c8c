//! The form that makes or changes a rule, with what the rule would have done.

use std::time::Duration;

use leptos::html;
use leptos::prelude::*;
use modeltap_api_types::{AlertMetric, AlertRule, AlertRules, RulePreview};

use crate::address;
use crate::alerts::{Draft, Field, FieldError, KINDS, typed_unit, unit_of};
use crate::client::{FetchError, Polled, Write, parse, write};
use crate::components::figures::remark;
use crate::components::list::{button, none};
use crate::components::parts::live;
use crate::components::rule_preview::rule_preview;
use crate::json;
use crate::reactive::{effect, follows, memo, says};
use crate::state::Store;
use crate::words::{W, phrases, t};

/// Pause after the last key before the rule is tried.
const SETTLED: Duration = Duration::from_millis(400);
const SEVERITIES: [(&str, W); 3] = [
    ("info", W::Info),
    ("warning", W::Warning),
    ("critical", W::Critical),
];

/// What one form holds while it is open.
#[derive(Clone, Copy)]
struct Form {
    draft: RwSignal<Draft>,
    metrics: StoredValue<Vec<AlertMetric>>,
    /// What the daemon refused.
    refused: RwSignal<Option<FieldError>>,
    /// Whether saving was tried, so that what is still empty is told.
    was_tried: RwSignal<bool>,
    is_busy: RwSignal<bool>,
    /// What the rule would have done; `None` while it is asked.
    preview: RwSignal<Option<Result<(String, RulePreview), String>>>,
}

impl Form {
    fn rule(&self) -> Result<AlertRule, FieldError> {
        self.draft
            .with(|draft| self.metrics.with_value(|metrics| draft.rule(metrics)))
    }

    /// What is wrong now.
    fn error(&self) -> Option<FieldError> {
        let typed = self.rule().err();
        let is_early = |e: &FieldError| e.field == Some(Field::Name) && !self.was_tried.get();
        typed
            .filter(|e| !is_early(e))
            .or_else(|| self.refused.get())
    }

    fn set(&self, field: Field, value: String) {
        self.refused.set(None);
        self.draft.update(|draft| draft.set(field, value));
    }
}

/// A dialog that is open for as long as `opened` holds a rule.
#[component]
pub fn RuleForm(
    /// The rule to begin with; emptied when the dialog is closed.
    opened: RwSignal<Option<Draft>>,
    /// The rules, asked for again when one was saved.
    rules: Polled<AlertRules>,
) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    effect(move || {
        let Some(dialog) = dialog.get() else { return };
        if opened.with(Option::is_some) && !dialog.open() {
            // Fails only for a dialog that is no longer part of the page.
            let _ = dialog.show_modal();
        } else if opened.with(Option::is_none) && dialog.open() {
            dialog.close();
        }
    });
    let sheet = live(move || {
        let draft = opened.get();
        draft
            .map(|draft| sheet(draft, opened, rules))
            .into_iter()
            .collect()
    });
    view! {
        <dialog
            class="detail rule-form"
            node_ref=dialog
            aria-labelledby="rule-title"
            data-testid="rule-form"
            on:close=move |_| opened.set(None)
        >
            <div class="sheet">{sheet}</div>
        </dialog>
    }
    .into_any()
}

fn sheet(draft: Draft, opened: RwSignal<Option<Draft>>, rules: Polled<AlertRules>) -> AnyView {
    let metrics = rules.value.with_untracked(|r| {
        let metrics = r.as_ref().map(|r| r.metrics.clone());
        metrics.unwrap_or_default()
    });
    let title = if draft.id.is_empty() {
        t(W::NewRule)
    } else {
        t(W::ChangeRule)
    };
    let form = Form {
        draft: RwSignal::new(draft),
        metrics: StoredValue::new(metrics),
        refused: RwSignal::new(None),
        was_tried: RwSignal::new(false),
        is_busy: RwSignal::new(false),
        preview: RwSignal::new(None),
    };
    try_while_typed(form);
    let own = memo(move || form.draft.with(Draft::fields));
    let common = [
        input(form, Field::Name),
        select(form, Field::Service, services(form)),
        select(form, Field::Metric, metric_options(form)),
        select(form, Field::Kind, plain_options(&KINDS)),
    ];
    let whole = live(move || {
        let whole = form.error().filter(|e| e.field.is_none());
        whole.map(|e| remark("crit", e.text)).into_iter().collect()
    });
    let save = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        save(form, opened, rules);
    };
    view! {
        <form class="rule" on:submit=save novalidate=true>
            <div class="detail-head">
                <h2 id="rule-title">{title}</h2>
                {button("quiet", t(W::Close), t(W::CloseUnsaved).to_owned(), move || opened.set(None))}
            </div>
            <div class="rule-fields">
                {Vec::from(common)}
                {live(move || own.get().into_iter().map(|f| input(form, f)).collect())}
                {select(form, Field::Severity, plain_options(&SEVERITIES))}
            </div>
            <div role="alert">{whole}</div>
            <div class="rule-save">
                <button type="submit" class="primary" data-testid="save-rule" disabled=move || form.is_busy.get()>
                    {t(W::Save)}
                </button>
                <span class="muted">{t(W::SpansAreTyped)}</span>
            </div>
            <section class="inner" aria-label=t(W::RuleAgainstDay) data-testid="preview">
                <div class="head wrap">
                    <h3>{t(W::AgainstDay)}</h3>
                    <span class="legend">
                        <span class="key"><i class="key-line"></i>{t(W::FigureWord)}</span>
                        <span class="key"><i class="key-limit"></i>{t(W::LimitWord)}</span>
                        <span class="key"><i class="key-episode"></i>{t(W::WouldHaveFired)}</span>
                    </span>
                </div>
                {live(move || preview_of(form))}
            </section>
        </form>
    }
    .into_any()
}

fn preview_of(form: Form) -> Vec<AnyView> {
    form.preview.with(|preview| match preview {
        None if form.rule().is_err() => vec![none(t(W::ShownOnceComplete))],
        None => vec![none(t(W::TryingIt))],
        Some(Err(why)) => vec![none(phrases::not_tried(why))],
        Some(Ok((metric, preview))) => rule_preview(metric, preview.clone()),
    })
}

type Options = Signal<Vec<(String, String)>>;

fn plain_options(options: &[(&str, W)]) -> Options {
    let owned = options.iter().map(|(v, l)| ((*v).into(), t(*l).into()));
    Signal::stored(owned.collect())
}

fn metric_options(form: Form) -> Options {
    let metrics = form.metrics.get_value();
    let options = metrics.into_iter().map(|m| {
        let mut label = m.description;
        if let Some(first) = label.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        (m.name, label)
    });
    Signal::stored(options.collect())
}

fn services(form: Form) -> Options {
    let store = expect_context::<Store>();
    let chosen = form
        .draft
        .with_untracked(|d| d.value(Field::Service).to_owned());
    let each = (String::new(), t(W::EachServiceAlone).to_owned());
    let mut names: Vec<String> = store
        .services()
        .iter()
        .map(|s| s.with_untracked(|s| s.name.clone()))
        .collect();
    if !chosen.is_empty() && !names.contains(&chosen) {
        names.push(chosen);
    }
    let names = names.into_iter().map(|name| (name.clone(), name));
    Signal::stored([each].into_iter().chain(names).collect())
}

fn labelled(form: Form, field: Field, id: String, control: AnyView) -> AnyView {
    let error = move || form.error().filter(|e| e.field == Some(field));
    let unit = move || {
        if !field.is_figure() {
            return "";
        }
        form.draft.with(|draft| {
            let metric = draft.value(Field::Metric);
            form.metrics
                .with_value(|metrics| typed_unit(metric, unit_of(metric, metrics)).1)
        })
    };
    let error_id = format!("{id}-error");
    view! {
        <div class="field" data-field=field.name()>
            <label for=id>{field.label()}<span class="unit">{unit}</span></label>
            {control}
            <p class="crit" id=error_id role="alert" data-testid="field-error">
                {follows(move || error().map(|e| e.text))}
            </p>
        </div>
    }
    .into_any()
}

fn input(form: Form, field: Field) -> AnyView {
    let id = format!("rule-{}", field.name());
    let is_wrong = move || form.error().is_some_and(|e| e.field == Some(field));
    let mode = if field.is_figure() { "decimal" } else { "text" };
    let control = view! {
        <input
            id=id.clone()
            type="text"
            inputmode=mode
            maxlength="200"
            autocomplete="off"
            spellcheck="false"
            autofocus=field == Field::Name
            placeholder=if field == Field::Clear { t(W::TheLimit) } else { "" }
            aria-invalid=says(move || is_wrong().to_string())
            aria-describedby=format!("{id}-error")
            prop:value=move || form.draft.with(|d| d.value(field).to_owned())
            on:input=move |event| form.set(field, event_target_value(&event))
        />
    };
    labelled(form, field, id, control.into_any())
}

fn select(form: Form, field: Field, options: Options) -> AnyView {
    let id = format!("rule-{}", field.name());
    let chosen = memo(move || form.draft.with(|d| d.value(field).to_owned()));
    let option = move |(value, label): (String, String)| {
        let is_chosen = {
            let value = value.clone();
            move || chosen.with(|chosen| *chosen == value)
        };
        view! { <option value=value prop:selected=is_chosen>{label}</option> }.into_any()
    };
    let control = view! {
        <select
            id=id.clone()
            aria-describedby=format!("{id}-error")
            on:change=move |event| form.set(field, event_target_value(&event))
        >
            {options.get_untracked().into_iter().map(option).collect::<Vec<_>>()}
        </select>
    };
    labelled(form, field, id, control.into_any())
}

/// Asks what the rule would have done, once it is complete and no key was
/// pressed for a moment; only the newest answer counts.
fn try_while_typed(form: Form) {
    let newest = StoredValue::new(0_u32);
    let body = memo(move || {
        // A name changes nothing of it, and is typed last by some.
        let mut draft = form.draft.get();
        if draft.value(Field::Name).trim().is_empty() {
            draft.set(Field::Name, "new".to_owned());
        }
        let rule = form
            .metrics
            .with_value(|metrics| draft.rule(metrics))
            .ok()?;
        let rule = AlertRule {
            name: "tried".to_owned(),
            enabled: true,
            ..rule
        };
        let body = json::write(&rule).ok()?;
        Some((rule.metric, body))
    });
    effect(move || {
        let number = newest.get_value().wrapping_add(1);
        newest.set_value(number);
        let Some((metric, body)) = body.get() else {
            form.preview.set(None);
            return;
        };
        set_timeout(
            move || {
                if newest.try_get_value() != Some(number) {
                    return;
                }
                leptos::task::spawn_local(async move {
                    let path = "/api/v1/alert-rules/preview".to_owned();
                    let answer = write(Write::Post, path, Some(body)).await;
                    if newest.try_get_value() != Some(number) {
                        return;
                    }
                    let answer = answer.and_then(|text| parse(&text));
                    let shown = match answer {
                        Ok(preview) => Ok((metric, preview)),
                        Err(error) => {
                            if let FetchError::Refused {
                                status: 400,
                                detail,
                            } = &error
                            {
                                form.refused.try_set(Some(FieldError::of_detail(detail)));
                            }
                            Err(error.to_string())
                        }
                    };
                    form.preview.try_set(Some(shown));
                });
            },
            SETTLED,
        );
    });
}

fn save(form: Form, opened: RwSignal<Option<Draft>>, rules: Polled<AlertRules>) {
    form.was_tried.set(true);
    let Ok(rule) = form.rule() else { return };
    let Ok(body) = json::write(&rule) else {
        return;
    };
    let id = form.draft.with_untracked(|d| d.id.clone());
    let (method, path) = if id.is_empty() {
        (Write::Post, "/api/v1/alert-rules".to_owned())
    } else {
        (
            Write::Put,
            format!("/api/v1/alert-rules/{}", address::escape(&id)),
        )
    };
    form.is_busy.set(true);
    leptos::task::spawn_local(async move {
        let answer = write(method, path, Some(body)).await;
        form.is_busy.try_set(false);
        match answer {
            Ok(_) => {
                opened.try_set(None);
                rules.again.notify();
            }
            Err(FetchError::Refused { detail, .. }) => {
                form.refused.try_set(Some(FieldError::of_detail(&detail)));
            }
            Err(error) => {
                let text = error.to_string();
                form.refused.try_set(Some(FieldError { field: None, text }));
            }
        }
    });
}
