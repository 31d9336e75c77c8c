//! The language of the page: the one chosen, else the browser's.

use leptos::prelude::*;

use crate::browser;
use crate::words::{Lang, speak};

/// Where the choice is remembered; `static/theme.js` reads it before the
/// first paint.
const STORAGE_KEY: &str = "modeltap.language";

/// The language spoken, and the way to another.
#[derive(Clone, Copy)]
pub struct Language(RwSignal<Lang>);

impl Language {
    /// Speaks the remembered language, else the first of the browser's that
    /// is spoken here, else English.
    #[must_use]
    pub fn start() -> Self {
        let chosen = browser::remembered(STORAGE_KEY);
        let lang = chosen
            .into_iter()
            .chain(browser::languages())
            .find_map(|tag| Lang::of_tag(&tag));
        let language = Self(RwSignal::new(lang.unwrap_or_default()));
        language.apply();
        language
    }

    /// Follows the language.
    #[must_use]
    pub fn get(self) -> Lang {
        self.0.get()
    }

    /// The one that the switch leads to.
    #[must_use]
    pub fn other(self) -> Lang {
        match self.0.get_untracked() {
            Lang::English => Lang::Chinese,
            Lang::Chinese => Lang::English,
        }
    }

    /// Speaks the other language from now on, and remembers it.
    pub fn turn(self) {
        let lang = self.other();
        browser::remember(STORAGE_KEY, lang.tag());
        speak(lang);
        self.0.set(lang);
        self.apply();
    }

    fn apply(self) {
        let lang = self.0.get_untracked();
        speak(lang);
        if let Some(root) = document().document_element() {
            // An element takes any attribute with a plain name.
            let _ = root.set_attribute("lang", lang.tag());
        }
    }
}
