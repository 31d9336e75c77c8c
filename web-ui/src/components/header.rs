//! The bar on every page: where one is, what was captured, how it looks.

use leptos::prelude::*;
use wasm_bindgen::prelude::*;

use crate::address::{Address, Page};
use crate::browser;
use crate::components::alerts::AlertCount;
use crate::components::figures::quantity;
use crate::format;
use crate::reactive::{AnyViews, follows, memo, says};
use crate::spoken::Language;
use crate::state::{CaptureSummary, Connection, Store, Trust};
use crate::words::{W, phrases, t};

/// Where the choice is remembered; `static/theme.js` reads it before the
/// first paint.
const STORAGE_KEY: &str = "modeltap.theme";

/// Dark, light, or what the system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThemeChoice {
    /// What the system says.
    System,
    /// Dark.
    Dark,
    /// Light.
    Light,
}

impl ThemeChoice {
    /// As it is remembered.
    fn tag(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }

    fn name(self) -> &'static str {
        t(match self {
            Self::System => W::ThemeSystem,
            Self::Dark => W::ThemeDark,
            Self::Light => W::ThemeLight,
        })
    }

    fn next(self) -> Self {
        match self {
            Self::System => Self::Dark,
            Self::Dark => Self::Light,
            Self::Light => Self::System,
        }
    }
}

/// The theme, for what cannot follow a style sheet.
#[derive(Clone, Copy)]
pub struct Theme {
    choice: RwSignal<ThemeChoice>,
    /// `dark` or `light`.
    pub resolved: Memo<&'static str>,
}

impl Theme {
    /// Reads the remembered choice and follows the system from now on.
    #[must_use]
    pub fn start() -> Self {
        let choice = RwSignal::new(match browser::remembered(STORAGE_KEY).as_deref() {
            Some("dark") => ThemeChoice::Dark,
            Some("light") => ThemeChoice::Light,
            _ => ThemeChoice::System,
        });
        let system_dark = RwSignal::new(browser::prefers_dark());
        if let Ok(Some(query)) = window().match_media("(prefers-color-scheme: dark)") {
            let changed =
                Closure::<dyn Fn()>::new(move || system_dark.set(browser::prefers_dark()));
            // The page's own life is the listener's.
            let _ = query.add_event_listener_with_callback(
                "change",
                changed.into_js_value().unchecked_ref(),
            );
        }
        let resolved = memo(move || match choice.get() {
            ThemeChoice::Dark => "dark",
            ThemeChoice::Light => "light",
            ThemeChoice::System if system_dark.get() => "dark",
            ThemeChoice::System => "light",
        });
        Effect::new_isomorphic(move |_| {
            let name = resolved.get();
            if let Some(root) = document().document_element() {
                // An element takes any attribute with a plain name.
                let _ = root.set_attribute("data-theme", name);
            }
        });
        Self { choice, resolved }
    }

    fn turn(self) {
        self.choice.update(|choice| *choice = choice.next());
        browser::remember(STORAGE_KEY, self.choice.get_untracked().tag());
    }
}

/// The pages that have a place in the bar.
const PAGES: [(Page, &str, W); 4] = [
    (Page::Overview, "/", W::Overview),
    (Page::Requests, "/requests", W::Requests),
    (Page::Alerts, "/alerts", W::Alerts),
    (Page::System, "/system", W::System),
];

/// The bar on every page.
#[component]
pub fn Header(
    /// Told to show the list of keys.
    help: Trigger,
) -> impl IntoView {
    let language = expect_context::<Language>();
    let other = language.other();
    let theme = expect_context::<Theme>();
    let page = expect_context::<Address>().page();
    let choice = move || theme.choice.get();
    view! {
        <header class="top">
            <a class="brand" href="/" aria-label=t(W::BrandName)>
                <svg viewBox="0 0 20 20" aria-hidden="true">
                    <rect class="brand-ground" width="20" height="20" rx="6"></rect>
                    <path class="brand-line" d="M3.5 11.5h3l2-6 3.2 9 1.9-5h2.9"></path>
                </svg>
                <span>"modeltap"</span>
            </a>
            <nav aria-label=t(W::Pages)>
                {PAGES.map(|(of, href, name)| {
                    let count = (of == Page::Alerts).then(|| view! { <AlertCount/> });
                    let is_here = move || page.with(|page| *page == of).then_some("page");
                    view! { <a href=href aria-current=is_here>{t(name)}{count}</a> }
                }).into_iter().any_views()}
            </nav>
            <span class="grow"></span>
            <CaptureBadge/>
            <ConnectionState/>
            <button
                class="icon keys"
                on:click=move |_| help.notify()
                title=t(W::Shortcuts)
                aria-label=t(W::Shortcuts)
            >
                "?"
            </button>
            <button
                class="icon language"
                lang=other.tag()
                on:click=move |_| language.turn()
                title=other.name()
                aria-label=phrases::language_switch(other.short(), other.name())
                data-testid="language"
            >
                {other.short()}
            </button>
            <button
                class="icon"
                on:click=move |_| theme.turn()
                title=says(move || phrases::theme(choice().name()))
                aria-label=says(move || {
                    phrases::theme_switch(choice().name(), choice().next().name())
                })
            >
                {follows(move || theme_icon(choice()))}
            </button>
        </header>
    }
}

fn theme_icon(choice: ThemeChoice) -> impl IntoView {
    let path = match choice {
        ThemeChoice::System => "M3 4h14v9H3zM7 16.5h6M10 13v3.5",
        ThemeChoice::Dark => "M16.5 11.8A6.8 6.8 0 0 1 8.2 3.5a6.8 6.8 0 1 0 8.3 8.3z",
        ThemeChoice::Light => {
            "M10 6.6a3.4 3.4 0 1 0 0 6.8 3.4 3.4 0 0 0 0-6.8zM10 2v1.6M10 16.4V18M2 10h1.6M16.4 10H18\
             M4.3 4.3l1.2 1.2M14.5 14.5l1.2 1.2M15.7 4.3l-1.2 1.2M5.5 14.5l-1.2 1.2"
        }
    };
    view! { <svg viewBox="0 0 20 20" aria-hidden="true"><path d=path></path></svg> }
}

/// How much of what moved was captured, and what was not.
#[component]
fn CaptureBadge() -> impl IntoView {
    let store = expect_context::<Store>();
    let summary = memo(move || {
        store
            .status
            .with(|s| s.as_ref().map(|s| CaptureSummary::new(&s.capture)))
    });
    let trust = move || match summary.with(|s| s.as_ref().map(|s| s.trust)) {
        None => "unknown",
        Some(Trust::Whole) => "ok",
        Some(Trust::Partial) => "warn",
        Some(Trust::Lossy) => "crit",
    };
    let share =
        move || summary.with(|s| format::percent(s.as_ref().and_then(CaptureSummary::share)));
    let counts_only = move || {
        store.status.with(|status| {
            let budget = status.as_ref()?.budget.as_ref()?;
            let since = budget.since_unix_ms.filter(|_| budget.level == "counts")?;
            Some(phrases::counts_only(&browser::time_of_day(since as f64)))
        })
    };
    let detail = move || {
        summary.with(|s| match s {
            None => String::new(),
            Some(s) if s.events_observed == 0 => t(W::NoEventsYet).to_owned(),
            Some(s) => {
                // What was missed comes first: a narrow page cuts the end.
                let misses = s
                    .misses
                    .iter()
                    .map(|(n, w)| phrases::counted(&format::count(*n), t(*w)));
                let all = (s.events_kept, s.events_observed);
                let all = phrases::of_events(&format::count(all.0), &format::count(all.1));
                let pieces = counts_only().into_iter().chain(misses).chain([all]);
                pieces.collect::<Vec<_>>().join(" · ")
            }
        })
    };
    let number = move |of: fn(&CaptureSummary) -> u64| {
        summary.with(|s| s.as_ref().map(|s| of(s).to_string()))
    };
    view! {
        <a
            class=says(move || format!("badge capture {}", trust()))
            href="/system"
            data-testid="capture-badge"
            data-state=trust
            data-captured=move || number(|s| s.events_kept)
            data-observed=move || number(|s| s.events_observed)
            title=says(move || phrases::captured(&detail()))
        >
            <span class="mark-shape" aria-hidden="true"></span>
            <b>{follows(move || quantity(share()))}</b>
            <span>{t(W::CapturedWord)}</span>
            <span class="detail">{detail}</span>
        </a>
    }
}

/// Whether the page is live.
#[component]
fn ConnectionState() -> impl IntoView {
    let store = expect_context::<Store>();
    let state = move || match store.connection.get() {
        Connection::Connecting => ("connecting", t(W::Connecting)),
        Connection::Open => ("live", t(W::Live)),
        Connection::Lost { .. } => ("lost", t(W::Reconnecting)),
    };
    view! {
        <span
            class=says(move || format!("connection {}", state().0))
            role="status"
            data-testid="connection"
            data-state=says(move || state().0)
            title=says(move || phrases::connection(state().1))
        >
            <i aria-hidden="true"></i>
            <span>{says(move || state().1)}</span>
        </span>
    }
}
