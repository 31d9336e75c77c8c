//! The address bar: which page it names, and what the page is narrowed to.
//!
//! Every state that a link shall bring back lives here. A router of general
//! use is 30 KB of the compressed module; six pages need a match.

use leptos::prelude::*;
use wasm_bindgen::prelude::*;

use crate::browser;

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// All services.
    Overview,
    /// One service, by its name.
    Service(String),
    /// Single requests.
    Requests,
    /// Alerts, rules, silences, notifiers.
    Alerts,
    /// The daemon itself.
    System,
    /// An address that is none.
    Unknown,
}

impl Page {
    /// The page at a path.
    #[must_use]
    pub fn at(path: &str) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        match path.split_once('/') {
            Some(("services", name)) if !name.is_empty() && !name.contains('/') => {
                Self::Service(unescape(name))
            }
            None => match path {
                "" => Self::Overview,
                "requests" => Self::Requests,
                "alerts" => Self::Alerts,
                "system" => Self::System,
                _ => Self::Unknown,
            },
            Some(_) => Self::Unknown,
        }
    }
}

/// Names and values behind the question mark, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `?range=5m&route=%2Fv1`; a name that comes again is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for part in text.trim_start_matches('?').split('&').take(MAX_PARTS) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = unescape(name);
            if !name.is_empty() && query.get(&name).is_empty() {
                query.0.push((name, unescape(&value.replace('+', " "))));
            }
        }
        query
    }

    /// A value; empty where there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The same with one value changed; an empty one is left out.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut parts: Vec<_> = self.0.clone();
        match parts.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => parts.push((name.to_owned(), value.to_owned())),
        }
        parts.retain(|(_, value)| !value.is_empty());
        Self(parts)
    }

    /// As it stands in the address: with its question mark, or empty.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(&escape(name));
            text.push('=');
            text.push_str(&escape(value));
        }
        text
    }
}

/// Most names and values that are read.
const MAX_PARTS: usize = 32;

/// A part of an address, with everything escaped that has a meaning there
/// (RFC 3986 section 2.3).
#[must_use]
pub fn escape(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => {
                let digit = |n: u8| char::from(b"0123456789ABCDEF"[usize::from(n)]);
                escaped.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    escaped
}

/// What was escaped; what is no escape stays as it is.
#[must_use]
pub fn unescape(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The page of a service.
#[must_use]
pub fn service_href(name: &str) -> String {
    format!("/services/{}", escape(name))
}

/// The address bar, followed.
#[derive(Clone, Copy)]
pub struct Address {
    path: RwSignal<String>,
    query: RwSignal<Query>,
}

/// How an address is gone to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To another page, from its top; the back button leads back.
    Page,
    /// Another view of the same page; the back button leads back.
    View,
    /// In place of the address before: a filter that is being typed.
    Replace,
}

impl Address {
    /// Follows the address bar, links and the back button from now on.
    #[must_use]
    pub fn start() -> Self {
        let address = Self {
            path: RwSignal::new(String::new()),
            query: RwSignal::default(),
        };
        address.read();
        // The page's own life is the listeners'.
        let back = Closure::<dyn Fn()>::new(move || address.read());
        browser::listen(&window(), "popstate", back.into_js_value());
        let click = Closure::<dyn Fn(web_sys::MouseEvent)>::new(move |event| {
            address.follow(&event);
        });
        browser::listen(&window(), "click", click.into_js_value());
        address
    }

    fn read(self) {
        let location = window().location();
        let path = location.pathname().unwrap_or_default();
        let query = Query::parse(&location.search().unwrap_or_default());
        // Only what changed is told.
        if self.path.with_untracked(|p| *p != path) {
            self.path.set(path);
        }
        if self.query.with_untracked(|q| *q != query) {
            self.query.set(query);
        }
    }

    /// The page now.
    #[must_use]
    pub fn page(self) -> Memo<Page> {
        Memo::new(move |_| self.path.with(|path| Page::at(path)))
    }

    /// What is behind the question mark now.
    #[must_use]
    pub fn query(self) -> RwSignal<Query> {
        self.query
    }

    /// Goes to an address of this page's origin.
    pub fn go(self, href: &str, step: Step) {
        let Ok(history) = window().history() else {
            return;
        };
        // Fails only for another origin and for hundreds of calls a second.
        let _ = if step == Step::Replace {
            history.replace_state_with_url(&JsValue::NULL, "", Some(href))
        } else {
            history.push_state_with_url(&JsValue::NULL, "", Some(href))
        };
        self.read();
        if step == Step::Page {
            window().scroll_to_with_x_and_y(0.0, 0.0);
        }
    }

    /// Changes one value behind the question mark; an empty one leaves it
    /// out.
    pub fn set(self, name: &str, value: &str, step: Step) {
        let query = self.query.with_untracked(|q| q.with(name, value));
        self.go_to_query(&query, step);
    }

    /// Goes to another view of the same page.
    pub fn go_to_query(self, query: &Query, step: Step) {
        let path = self.path.get_untracked();
        self.go(&format!("{path}{}", query.text()), step);
    }

    /// Goes where a link of ours leads, without loading the page anew.
    fn follow(self, event: &web_sys::MouseEvent) {
        let modified = event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key();
        if event.default_prevented() || event.button() != 0 || modified {
            return;
        }
        let target = event.target().and_then(|t| t.dyn_into().ok());
        let link = target.and_then(|t: web_sys::Element| t.closest("a[href]").ok().flatten());
        let Some(link) = link else { return };
        let href = link.get_attribute("href").unwrap_or_default();
        // A link into this page, or out of it, is the browser's.
        if href.starts_with('/') && !link.has_attribute("rel") && !link.has_attribute("target") {
            event.prevent_default();
            self.go(&href, Step::Page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_their_pages() {
        for (path, expected) in [
            ("/", Page::Overview),
            ("", Page::Overview),
            ("/requests", Page::Requests),
            ("/requests/", Page::Requests),
            ("/alerts", Page::Alerts),
            ("/system", Page::System),
            ("/services/chat", Page::Service("chat".into())),
            ("/services/a%20b%2Fc", Page::Service("a b/c".into())),
            ("/services/%E6%A8%A1", Page::Service("模".into())),
            ("/services/", Page::Unknown),
            ("/services/a/b", Page::Unknown),
            ("/other", Page::Unknown),
        ] {
            assert_eq!(Page::at(path), expected, "{path}");
        }
    }

    #[test]
    fn query_keeps_its_order_and_survives_the_way_through_the_address() {
        let query = Query::parse("?range=5m&route=%2Fv1%2Fa+b&range=9h&=x&flag");
        assert_eq!(query.get("range"), "5m");
        assert_eq!(query.get("route"), "/v1/a b");
        assert_eq!(query.get("flag"), "");
        let changed = query.with("status", "5xx").with("range", "1h");
        let text = changed.text();
        assert_eq!(text, "?range=1h&route=%2Fv1%2Fa%20b&status=5xx");
        assert_eq!(Query::parse(&text), changed);
        assert_eq!(
            changed.with("range", "").with("route", "").text(),
            "?status=5xx"
        );
        assert_eq!(Query::parse("").text(), "");
    }

    #[test]
    fn escapes_are_undone_and_nonsense_stays() {
        for text in ["a b&c=d?e/f#g%+", "模型 😀", "plain-._~", ""] {
            assert_eq!(unescape(&escape(text)), text);
        }
        for (text, expected) in [("%", "%"), ("%2", "%2"), ("%zz", "%zz"), ("%41%", "A%")] {
            assert_eq!(unescape(text), expected);
        }
    }
}
