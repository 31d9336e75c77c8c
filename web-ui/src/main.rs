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
mod address;
mod alert_preview;
mod alerts;
mod browser;
mod client;
mod components;
mod format;
mod heat;
mod inference;
mod json;
mod narrow;
mod pages;
mod reactive;
mod series;
mod spoken;
mod state;
mod time_parts;
mod timeline;
mod usage;
mod why;
mod words;

use leptos::either::Either;
use leptos::mount::mount_to_body;
use leptos::prelude::*;

use address::{Address, Page};
use components::banner::Banners;
use components::header::{Header, Theme};
use components::help::Help;
use components::keys::Keys;
use pages::alerts::AlertsPage;
use pages::not_found::NotFound;
use pages::overview::OverviewPage;
use pages::requests::RequestsPage;
use pages::service::ServicePage;
use pages::system::SystemPage;
use spoken::Language;
use state::{Connection, Store};
use words::{Lang, W, t};

fn main() {
    if let Some(boot) = document().get_element_by_id("boot") {
        boot.remove();
    }
    mount_to_body(App);
}

#[component]
fn App() -> impl IntoView {
    let store = Store::new();
    let language = Language::start();
    provide_context(store);
    provide_context(language);
    provide_context(Theme::start());
    provide_context(Address::start());
    client::connect_live(store);
    // All that is shown is made anew in another language; what the daemon
    // said stays.
    move || match language.get() {
        Lang::English => Either::Left(view! { <Shell/> }),
        Lang::Chinese => Either::Right(view! { <Shell/> }),
    }
}

/// What stands around every page, and the page.
#[component]
fn Shell() -> impl IntoView {
    let store = expect_context::<Store>();
    let stale = move || matches!(store.connection.get(), Connection::Lost { .. });
    let page = expect_context::<Address>().page();
    let page = move || match page.get() {
        Page::Overview => view! { <OverviewPage/> }.into_any(),
        Page::Service(name) => view! { <ServicePage name/> }.into_any(),
        Page::Requests => view! { <RequestsPage/> }.into_any(),
        Page::Alerts => view! { <AlertsPage/> }.into_any(),
        Page::System => view! { <SystemPage/> }.into_any(),
        Page::Unknown => view! { <NotFound/> }.into_any(),
    };
    let help = Trigger::new();
    view! {
        <a class="skip" href="#content">{t(W::SkipToContent)}</a>
        <Keys help/>
        <Header help/>
        <main id="content" tabindex="-1" class:stale=stale>
            <Banners/>
            {page}
        </main>
        <Help opened=help/>
    }
    .into_any()
}
