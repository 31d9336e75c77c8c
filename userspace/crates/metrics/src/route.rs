//! The routes of one service: a bounded book of names.

use std::collections::HashMap;
use std::sync::Arc;

use crate::template::{OTHER, matches, write_template};

/// Longest route template taken from a label.
const MAX_LABEL_BYTES: usize = 256;

/// Place of a route in its service's book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteIndex(u16);

impl RouteIndex {
    /// The route `_other`.
    pub(crate) const OTHER: Self = Self(0);
}

/// Whether an answer shows that its path is one of the server's own.
///
/// A scanner gets the same few answers for any path it tries; were each to
/// make a route, the real ones would find the book full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Only a route that exists is answered like this.
    Real,
    /// A server or a proxy answers so whatever the path is.
    None,
}

impl Proof {
    /// What a status proves. Redirections, refusals and gateway errors are
    /// given without a look at the path; 500 needs code that ran for it.
    pub(crate) fn of(status: Option<u16>) -> Self {
        match status {
            None => Self::None,
            Some(304) => Self::Real,
            Some(300..=399) => Self::None,
            Some(400 | 401 | 403 | 404 | 405 | 410 | 414 | 421 | 426 | 429 | 431) => Self::None,
            Some(501..=505) => Self::None,
            Some(_) => Self::Real,
        }
    }
}

/// Names at most `max_routes` routes of a service; the rest are `_other`.
///
/// Of them at most `max_unproven` are known only from answers that prove
/// nothing (see [`Proof`]), and such a route gives its place up when a real
/// one needs it; what was counted under its name stays.
#[derive(Debug)]
pub(crate) struct RouteBook {
    max_routes: usize,
    max_unproven: usize,
    /// Templates from labels, the most literal first.
    labels: Vec<Arc<str>>,
    names: Vec<Arc<str>>,
    index: HashMap<Arc<str>, RouteIndex>,
    unproven: Vec<RouteIndex>,
    /// Routes that gave their place up; they take their old index again.
    retired: Vec<RouteIndex>,
    template: String,
}

impl RouteBook {
    pub(crate) fn new(max_routes: usize, max_unproven: usize) -> Self {
        Self {
            // A retired route keeps its index, so that there may be up to
            // `max_unproven` more of them.
            max_routes: max_routes.min(usize::from(u16::MAX / 2)),
            max_unproven: max_unproven.min(usize::from(u16::MAX / 4)),
            labels: Vec::new(),
            names: vec![OTHER.into()],
            index: HashMap::new(),
            unproven: Vec::new(),
            retired: Vec::new(),
            template: String::with_capacity(64),
        }
    }

    /// Takes the templates that labels name, in place of those before.
    pub(crate) fn set_labels<'a>(&mut self, templates: impl IntoIterator<Item = &'a str>) {
        self.labels.clear();
        for template in templates {
            let template = template.trim();
            let is_usable = template.starts_with('/') && template.len() <= MAX_LABEL_BYTES;
            if is_usable && !self.labels.iter().any(|label| **label == *template) {
                self.labels.push(template.into());
            }
        }
        self.labels
            .sort_by_key(|label| std::cmp::Reverse(literal_bytes(label)));
        self.labels.truncate(self.max_routes);
    }

    /// The route of a path that was answered with `proof`.
    pub(crate) fn resolve(&mut self, path: &str, proof: Proof) -> RouteIndex {
        if let Some(label) = self.labels.iter().find(|label| matches(label, path)) {
            let label = Arc::clone(label);
            // A label is its own proof.
            return self.place(&label, Proof::Real);
        }
        let mut template = std::mem::take(&mut self.template);
        write_template(path, &mut template);
        let route = self.place(&template, proof);
        self.template = template;
        route
    }

    pub(crate) fn name(&self, route: RouteIndex) -> &Arc<str> {
        &self.names[usize::from(route.0)]
    }

    fn place(&mut self, template: &str, proof: Proof) -> RouteIndex {
        if let Some(&route) = self.index.get(template) {
            if proof == Proof::Real
                && let Some(at) = self.unproven.iter().position(|&unproven| unproven == route)
            {
                self.unproven.swap_remove(at);
            }
            return route;
        }
        if template == OTHER {
            return RouteIndex::OTHER;
        }
        match proof {
            Proof::None if self.unproven.len() >= self.max_unproven => return RouteIndex::OTHER,
            Proof::None | Proof::Real if self.index.len() < self.max_routes => {}
            Proof::None => return RouteIndex::OTHER,
            Proof::Real => match self.unproven.pop() {
                Some(retired) => {
                    self.index.remove(&self.names[usize::from(retired.0)]);
                    self.retired.push(retired);
                }
                None => return RouteIndex::OTHER,
            },
        }
        let route = self.retired_or_new(template);
        self.index.insert(Arc::clone(self.name(route)), route);
        if proof == Proof::None {
            self.unproven.push(route);
        }
        route
    }

    fn retired_or_new(&mut self, template: &str) -> RouteIndex {
        let retired = self
            .retired
            .iter()
            .position(|&route| **self.name(route) == *template);
        if let Some(at) = retired {
            return self.retired.swap_remove(at);
        }
        let next = u16::try_from(self.names.len()).expect("`new` bounds routes, retired or not");
        self.names.push(template.into());
        RouteIndex(next)
    }
}

fn literal_bytes(template: &str) -> usize {
    let mut depth = 0_usize;
    let mut literal = 0;
    for byte in template.bytes() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => literal += 1,
            _ => {}
        }
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> RouteBook {
        RouteBook::new(200, 20)
    }

    fn name(book: &mut RouteBook, path: &str, status: u16) -> String {
        let route = book.resolve(path, Proof::of(Some(status)));
        book.name(route).to_string()
    }

    #[test]
    fn fastapi_paths_show_under_their_templates() {
        let mut book = book();
        for (path, status, expected) in [
            ("/items/17", 200, "/items/{id}"),
            ("/predict", 200, "/predict"),
            ("/predict", 422, "/predict"),
            ("/predict", 500, "/predict"),
            ("/missing", 404, "/missing"),
        ] {
            assert_eq!(name(&mut book, path, status), expected);
        }
    }

    #[test]
    fn a_label_wins_over_the_guess_and_the_literal_over_the_capture() {
        let mut book = book();
        book.set_labels([
            " /users/{name} ",
            "/users/me",
            "no-slash",
            "/v2/models/{m}/infer",
        ]);
        assert_eq!(name(&mut book, "/users/ann", 200), "/users/{name}");
        assert_eq!(name(&mut book, "/users/me", 404), "/users/me");
        assert_eq!(
            name(&mut book, "/v2/models/x/infer", 200),
            "/v2/models/{m}/infer"
        );
        assert_eq!(
            name(&mut book, "/users/17/cards/3", 200),
            "/users/{id}/cards/{id}"
        );
    }

    #[test]
    fn a_hundred_thousand_paths_make_two_hundred_routes() {
        let mut book = book();
        let mut longest = 0;
        for n in 0..100_000_u32 {
            let path: String = std::iter::once('/')
                .chain(n.to_string().chars().map(letter))
                .collect();
            longest = longest.max(book.resolve(&path, Proof::Real).0);
        }
        assert_eq!(longest, 200);
        assert_eq!(book.names.len(), 201);
        assert_eq!(name(&mut book, "/late", 200), OTHER);
    }

    #[test]
    fn a_scanner_takes_twenty_places_and_real_routes_still_find_room() {
        let mut book = book();
        for n in 0..1_000_u32 {
            let path: String = "/scan"
                .chars()
                .chain(n.to_string().chars().map(letter))
                .collect();
            book.resolve(&path, Proof::None);
        }
        assert_eq!(book.index.len(), 20);
        for n in 0..300_u32 {
            let path: String = "/real"
                .chars()
                .chain(n.to_string().chars().map(letter))
                .collect();
            book.resolve(&path, Proof::Real);
        }
        assert_eq!(
            book.index.len(),
            200,
            "unproven routes gave their places up"
        );
        assert!(book.index.keys().all(|route| route.starts_with("/real")));
        assert!(book.names.len() <= 1 + 200 + 20);
    }

    #[test]
    fn a_route_first_seen_missing_is_real_once_it_answers() {
        let mut book = book();
        assert_eq!(name(&mut book, "/soon", 404), "/soon");
        assert_eq!(book.unproven.len(), 1);
        assert_eq!(name(&mut book, "/soon", 200), "/soon");
        assert_eq!(book.unproven.len(), 0);
    }

    #[test]
    fn a_retired_route_that_answers_after_all_is_the_same_route() {
        let mut book = RouteBook::new(3, 2);
        let missing = book.resolve("/a", Proof::None);
        book.resolve("/b", Proof::None);
        book.resolve("/real", Proof::Real);
        book.resolve("/other", Proof::Real);
        assert_eq!(
            book.resolve("/b", Proof::Real),
            RouteIndex(2),
            "retired, then back"
        );
        assert_eq!(
            book.resolve("/a", Proof::Real),
            RouteIndex::OTHER,
            "no place is left"
        );
        assert_ne!(missing, RouteIndex::OTHER);
    }

    fn letter(digit: char) -> char {
        char::from(b'a' + digit as u8 - b'0')
    }
}
