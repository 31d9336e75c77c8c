//! An address that is none.

use leptos::prelude::*;

/// Says so, and leads back.
#[component]
pub fn NotFound() -> impl IntoView {
    view! {
        <section class="panel empty" data-testid="not-found">
            <h1>"There is no such page"</h1>
            <p><a class="link" href="/">"Back to the overview"</a></p>
        </section>
    }
    .into_any()
}
