//! Keys that work on every page: `g` and a page's letter, `/`, `t`, `p`, `?`.

use leptos::ev;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use crate::address::{Address, Step};
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
/// What the other keys press or enter, where the page has it.
const TARGETS: [(&str, &str); 3] = [
    ("/", "input[type=search]"),
    ("p", "[data-key=pause]"),
    ("t", "[data-key=range] [aria-pressed=true]"),
];

/// Listens for as long as the page lives.
#[component]
pub fn Keys(
    /// Told to show the list of keys.
    help: Trigger,
) -> impl IntoView {
    let address = expect_context::<Address>();
    let began = StoredValue::new(f64::NEG_INFINITY);
    let handle = window_event_listener(ev::keydown, move |event| {
        let key = event.key();
        if browser::is_typing() {
            if key == "Escape" {
                leave_field();
            }
            return;
        }
        if event.ctrl_key() || event.meta_key() || event.alt_key() {
            return;
        }
        let now = browser::now_ms();
        let page = PAGES.iter().find(|(letter, _)| *letter == key);
        if let Some((_, path)) = page.filter(|_| now - began.get_value() < PATIENCE_MS) {
            event.prevent_default();
            address.go(path, Step::Page);
        } else if key == "?" {
            help.notify();
        } else if let Some((_, target)) = TARGETS.iter().find(|(letter, _)| *letter == key)
            && press(target)
        {
            event.prevent_default();
        }
        began.set_value(if key == "g" { now } else { f64::NEG_INFINITY });
    });
    on_cleanup(move || handle.remove());
}

/// Enters a field, turns a switch, or goes from a chosen button to the next;
/// whether there was one.
fn press(selector: &str) -> bool {
    let found = document().query_selector(selector).ok().flatten();
    let Some(found) = found.and_then(|e| e.dyn_into::<HtmlElement>().ok()) else {
        return false;
    };
    if found.tag_name() == "INPUT" {
        // A box that cannot be focused is no harm.
        let _ = found.focus();
        found.unchecked_ref::<web_sys::HtmlInputElement>().select();
        return true;
    }
    let next = if found.has_attribute("data-key") {
        Some(found)
    } else {
        let parent = found.parent_element();
        let next = found.next_element_sibling();
        let next = next.or_else(|| parent?.first_element_child());
        next.and_then(|e| e.dyn_into().ok())
    };
    if let Some(next) = next {
        // It was pressed by key: the next key goes on from there.
        let _ = next.focus();
        next.click();
    }
    true
}

/// Leaves a field; a dialog closes by itself.
fn leave_field() {
    let active = document().active_element();
    let field = active.and_then(|e| e.dyn_into::<HtmlElement>().ok());
    if let Some(field) = field.filter(|e| e.closest("dialog[open]").ok().flatten().is_none()) {
        // A box that cannot be left is no harm.
        let _ = field.blur();
    }
}
