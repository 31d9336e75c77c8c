//! What the browser knows: clock, address, storage, timers.

use std::time::Duration;

use leptos::prelude::{set_interval_with_handle, window};
use wasm_bindgen::{JsCast, JsValue};

use crate::format;

/// Milliseconds since the epoch, by the browser's clock.
#[must_use]
pub fn now_ms() -> f64 {
    js_sys::Date::now()
}

/// A time of day in the browser's zone: `14:02:11`.
#[must_use]
pub fn time_of_day(unix_ms: f64) -> String {
    let date = js_sys::Date::new(&JsValue::from_f64(unix_ms));
    format!(
        "{:02}:{:02}:{:02}",
        date.get_hours(),
        date.get_minutes(),
        date.get_seconds()
    )
}

/// A time of day with milliseconds: `14:02:11.042`.
#[must_use]
pub fn time_of_day_ms(unix_ms: f64) -> String {
    format!(
        "{}.{:03}",
        time_of_day(unix_ms),
        unix_ms.rem_euclid(1_000.0) as u32
    )
}

/// A date and time in the browser's zone: `2026-11-23 14:02:11`, in Chinese
/// `2026/11/23 14:02:11`.
#[must_use]
pub fn date_time(unix_ms: f64) -> String {
    let date = js_sys::Date::new(&JsValue::from_f64(unix_ms));
    let (month, day) = (date.get_month() + 1, date.get_date());
    let dash = format::date_mark();
    let date = format!("{}{dash}{month:02}{dash}{day:02}", date.get_full_year());
    format!("{date} {}", time_of_day(unix_ms))
}

/// The label of a time axis, as fine as the distance of its ticks.
#[must_use]
pub fn axis_time(unix_seconds: f64, tick_seconds: f64) -> String {
    let date = js_sys::Date::new(&JsValue::from_f64(unix_seconds * 1e3));
    let (hours, minutes, seconds) = (date.get_hours(), date.get_minutes(), date.get_seconds());
    if tick_seconds < 60.0 {
        format!("{hours:02}:{minutes:02}:{seconds:02}")
    } else if tick_seconds < 86_400.0 {
        format!("{hours:02}:{minutes:02}")
    } else {
        let dash = format::date_mark();
        format!("{:02}{dash}{:02}", date.get_month() + 1, date.get_date())
    }
}

/// The path in the address bar.
#[must_use]
pub fn path() -> String {
    window().location().pathname().unwrap_or_default()
}

/// Whether the page is out of sight.
#[must_use]
pub fn is_hidden() -> bool {
    window().document().is_some_and(|d| d.hidden())
}

/// A remembered choice; `None` where the browser remembers nothing.
#[must_use]
pub fn remembered(key: &str) -> Option<String> {
    window()
        .local_storage()
        .ok()
        .flatten()?
        .get_item(key)
        .ok()
        .flatten()
}

/// The languages that the browser's user wants, the first before others.
#[must_use]
pub fn languages() -> Vec<String> {
    let languages = window().navigator().languages();
    languages.iter().filter_map(|tag| tag.as_string()).collect()
}

/// Whether what is typed goes into a field or a dialog: keys that lead about
/// the page must not be taken from there.
#[must_use]
pub fn is_typing() -> bool {
    let active = leptos::prelude::document().active_element();
    active.is_some_and(|e| {
        matches!(e.tag_name().as_str(), "INPUT" | "SELECT" | "TEXTAREA")
            || e.closest("dialog[open]").ok().flatten().is_some()
    })
}

/// Remembers a choice, if the browser lets us.
pub fn remember(key: &str, value: &str) {
    if let Ok(Some(storage)) = window().local_storage() {
        // Full or forbidden storage costs a preference, nothing else.
        let _ = storage.set_item(key, value);
    }
}

/// Whether the user's system asks for a dark page.
#[must_use]
pub fn prefers_dark() -> bool {
    window()
        .match_media("(prefers-color-scheme: dark)")
        .ok()
        .flatten()
        .is_none_or(|m| m.matches())
}

/// The value of a design token, such as `--s1`.
#[must_use]
pub fn token(name: &str) -> String {
    let root = window().document().and_then(|d| d.document_element());
    root.and_then(|root| window().get_computed_style(&root).ok().flatten())
        .and_then(|style| style.get_property_value(name).ok())
        .map(|value| value.trim().to_owned())
        .unwrap_or_default()
}

/// Calls `tick` every `period` until the current owner is cleaned up.
pub fn every(period: Duration, tick: impl Fn() + 'static) {
    if let Ok(handle) = set_interval_with_handle(tick, period) {
        leptos::prelude::on_cleanup(move || handle.clear());
    }
}

/// Calls `function` with each event of a kind, for as long as the target
/// lives.
pub fn listen(target: &web_sys::EventTarget, event: &str, function: JsValue) {
    // Fails for no kind of event.
    let _ = target.add_event_listener_with_callback(event, function.unchecked_ref());
}

/// Writes a warning to the console.
pub fn warn(message: &str) {
    web_sys::console::warn_1(&JsValue::from_str(message));
}
