//! The dashboard: one page, rendered in the browser, fed by the daemon's
//! public API and nothing else.
//!
//! It knows the shapes of `modeltap-api-types` and no other crate of ours,
//! computes no figure that the daemon did not measure, and asks no other
//! origin for anything. Invariants: what is not known is a dash, never a
//! zero; everything that comes in is bounded; losing the daemon dims the
//! last figures and heals by itself.
#![forbid(unsafe_code)]

mod accounting;
mod alert_preview;
mod alerts;
mod browser;
mod client;
mod components;
mod format;
mod heat;
mod inference;
mod pages;
mod series;
mod state;
mod time_parts;
mod timeline;
mod usage;
mod why;

use leptos::mount::mount_to_body;
use leptos::prelude::*;
use leptos_router::components::{Route, Router, Routes};
use leptos_router::path;

use components::banner::Banners;
use components::header::{Header, Theme};
use components::keys::Keys;
use pages::alerts::AlertsPage;
use pages::not_found::NotFound;
use pages::overview::OverviewPage;
use pages::requests::RequestsPage;
use pages::service::ServicePage;
use pages::system::SystemPage;
use state::{Connection, Store};

fn main() {
    if let Some(boot) = document().get_element_by_id("boot") {
        boot.remove();
    }
    mount_to_body(App);
}

#[component]
fn App() -> impl IntoView {
    let store = Store::new();
    provide_context(store);
    provide_context(Theme::start());
    client::connect_live(store);
    let stale = move || matches!(store.connection.get(), Connection::Lost { .. });
    view! {
        <Router>
            <a class="skip" href="#content">"Skip to the content"</a>
            <Keys/>
            <Header/>
            <main id="content" class:stale=stale>
                <Banners/>
                <Routes fallback=NotFound>
                    <Route path=path!("/") view=OverviewPage/>
                    <Route path=path!("/services/:name") view=ServicePage/>
                    <Route path=path!("/requests") view=RequestsPage/>
                    <Route path=path!("/alerts") view=AlertsPage/>
                    <Route path=path!("/system") view=SystemPage/>
                </Routes>
            </main>
        </Router>
    }
}
