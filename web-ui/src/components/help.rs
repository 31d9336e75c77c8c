//! The list of keys, opened by `?`.

use leptos::html;
use leptos::prelude::*;

use crate::components::list::button;
use crate::reactive::AnyViews;
use crate::words::{W, t};

/// Keys, one after the other, and what they do.
const KEYS: [(&[&str], W); 9] = [
    (&["/"], W::KeySearch),
    (&["g", "o"], W::KeyOverview),
    (&["g", "r"], W::Requests),
    (&["g", "a"], W::Alerts),
    (&["g", "s"], W::System),
    (&["t"], W::KeyRange),
    (&["p"], W::KeyPause),
    (&["Esc"], W::KeyEscape),
    (&["?"], W::KeyHelp),
];

/// A dialog that is shown when `opened` is told.
#[component]
pub fn Help(
    /// Told by the key, and by the button in the header.
    opened: Trigger,
) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    Effect::new(move |before: Option<()>| {
        opened.track();
        if let Some(dialog) = dialog.get_untracked()
            && before.is_some()
            && !dialog.open()
        {
            // Fails only for a dialog that is no longer part of the page.
            let _ = dialog.show_modal();
        }
    });
    let close = move || {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    let rows = KEYS
        .into_iter()
        .map(|(keys, does)| {
            let keys = keys.iter().map(|key| view! { <kbd>{*key}</kbd> });
            view! { <div><dt>{keys.any_views()}</dt><dd>{t(does)}</dd></div> }
        })
        .any_views();
    view! {
        <dialog class="help" node_ref=dialog aria-labelledby="help-title" data-testid="help">
            <div class="detail-head">
                <h2 id="help-title">{t(W::Shortcuts)}</h2>
                {button("quiet", t(W::Close), t(W::Close).to_owned(), close)}
            </div>
            <dl>{rows}</dl>
        </dialog>
    }
    .into_any()
}
