//! Figures, health marks and statuses as they look everywhere.

use leptos::prelude::*;
use modeltap_api_types::Health;

use crate::client::Polled;
use crate::format::Quantity;
use crate::reactive::{AnyViews, says};
use crate::state::health_label;
use crate::words::{W, phrases, t};

/// A number with its unit set smaller.
pub fn quantity(q: Quantity) -> impl IntoView {
    let unit = (!q.unit.is_empty()).then(|| view! { <span class="unit">{q.unit}</span> });
    view! { <span class="quantity">{q.value}{unit}</span> }
}

/// A number that changes where it stands: nothing of the page is made anew.
pub fn figure(of: Memo<Quantity>) -> AnyView {
    let unit = says(move || of.with(|q| q.unit));
    view! {
        <span class="quantity">
            {says(move || of.with(|q| q.value.clone()))}<span class="unit">{unit}</span>
        </span>
    }
    .into_any()
}

/// The class that colours by health.
#[must_use]
pub fn health_class(health: Health) -> &'static str {
    match health {
        Health::Critical => "crit",
        Health::Warning => "warn",
        Health::Ok => "ok",
        Health::Idle => "idle",
    }
}

/// Health as a shape, a colour and a word: no one of them is needed.
#[component]
pub fn HealthMark(
    /// The health.
    #[prop(into)]
    health: Signal<Health>,
) -> impl IntoView {
    view! {
        <span class=says(move || format!("health {}", health_class(health.get())))>
            <span class="mark-shape" aria-hidden="true"></span>
            <span>{says(move || health_label(health.get()))}</span>
        </span>
    }
}

/// The class that colours by status.
#[must_use]
pub fn status_class(status: Option<u16>) -> &'static str {
    match status {
        Some(100..=199) => "s1xx",
        Some(200..=299) => "s2xx",
        Some(300..=399) => "s3xx",
        Some(400..=499) => "s4xx",
        Some(_) => "s5xx",
        None => "snone",
    }
}

/// A status as text.
#[must_use]
pub fn status_text(status: Option<u16>) -> String {
    status.map_or_else(|| t(W::NoneWord).to_owned(), |s| s.to_string())
}

/// A method and a route; a long route breaks after its slashes.
pub fn route_name(method: Option<&str>, route: &str) -> impl IntoView + use<> {
    let parts = route
        .split_inclusive('/')
        .map(|part| view! { {part.to_owned()}<wbr/> });
    view! {
        <span class="method">{method.unwrap_or("?").to_owned()}</span>
        <span class="path">{parts.any_views()}</span>
    }
}

/// A share as a bar of fixed width.
pub fn share_bar(share: f64) -> impl IntoView {
    view! { <span class="bar" aria-hidden="true"><i style:width=width(share)></i></span> }
}

/// A share as a width.
#[must_use]
pub fn width(share: f64) -> String {
    format!("{:.1}%", share.clamp(0.0, 1.0) * 100.0)
}

/// One large figure with its name above and a remark below.
#[component]
pub fn Kpi(
    /// Its name.
    label: &'static str,
    /// The figure.
    value: Memo<Quantity>,
    /// The remark.
    #[prop(into)]
    note: Signal<String>,
) -> impl IntoView {
    view! {
        <div class="panel kpi">
            <span class="label">{label}</span>
            <b class="figure">{figure(value)}</b>
            <span class="note" title=says(move || note.get())>{says(move || note.get())}</span>
        </div>
    }
}

/// A shape, a colour and a sentence.
pub fn remark(class: &'static str, words: impl Into<String>) -> AnyView {
    let words: String = words.into();
    view! {
        <p class=format!("remark {class}")>
            <span class="mark-shape" aria-hidden="true"></span>
            <span>{words}</span>
        </p>
    }
    .into_any()
}

/// How well or badly a request ended, for its colour.
#[must_use]
pub fn outcome_class(outcome: &str) -> &'static str {
    match outcome {
        "complete" => "muted",
        "client_aborted" => "warn",
        _ => "crit",
    }
}

/// Says why there is nothing to show yet.
pub fn trouble<T: Send + Sync + 'static>(polled: Polled<T>) -> AnyView {
    let words = move || {
        let error = polled
            .error
            .get()
            .filter(|_| polled.value.with(Option::is_none));
        error
            .map(|error| view! { <p class="none">{phrases::not_available(&error.to_string())}</p> })
    };
    words.into_any()
}
