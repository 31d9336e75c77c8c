//! Keys that lead to a page: `g`, then the page's letter.

use leptos::ev;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

use crate::browser;

/// The pages, and their letters.
const PAGES: [(&str, &str); 4] = [
    ("o", "/"),
    ("r", "/requests"),
    ("a", "/alerts"),
    ("s", "/system"),
];
/// Longest pause between both keys.
const PATIENCE_MS: f64 = 1_500.0;

/// Listens for as long as the page lives.
#[component]
pub fn Keys() -> impl IntoView {
    let navigate = use_navigate();
    let began = StoredValue::new(f64::NEG_INFINITY);
    let handle = window_event_listener(ev::keydown, move |event| {
        let is_typing = document().active_element().is_some_and(|e| {
            matches!(
                e.tag_name().as_str(),
                "INPUT" | "SELECT" | "TEXTAREA" | "DIALOG"
            ) || e.closest("dialog").ok().flatten().is_some()
        });
        if is_typing || event.ctrl_key() || event.meta_key() || event.alt_key() {
            return;
        }
        let now = browser::now_ms();
        let key = event.key();
        if now - began.get_value() < PATIENCE_MS
            && let Some((_, path)) = PAGES.iter().find(|(letter, _)| *letter == key)
        {
            event.prevent_default();
            navigate(path, Default::default());
        }
        began.set_value(if key == "g" { now } else { f64::NEG_INFINITY });
    });
    on_cleanup(move || handle.remove());
}
