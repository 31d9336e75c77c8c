//! An address that is none.

use leptos::prelude::*;

use crate::words::{W, t};

/// Says so, and leads back.
#[component]
pub fn NotFound() -> impl IntoView {
    view! {
        <section class="panel empty" data-testid="not-found">
            <h1>{t(W::NoSuchPage)}</h1>
            <p><a class="link" href="/">{t(W::BackToOverview)}</a></p>
        </section>
    }
    .into_any()
}
