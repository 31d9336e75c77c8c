//! What changes by itself, of one type each.
//!
//! Leptos compiles a memo, an effect or a part of a view anew for every
//! function it is made of: some kilobytes each, hundreds of times. Here the
//! function is boxed first, and what is made of it is compiled once a type.

use std::sync::Arc;

use leptos::prelude::*;

/// A figure that is computed when what it reads changes, and told when it
/// differs.
pub fn memo<T: PartialEq + Send + Sync + 'static>(
    of: impl Fn() -> T + Send + Sync + 'static,
) -> Memo<T> {
    boxed_memo(Box::new(of))
}

fn boxed_memo<T: PartialEq + Send + Sync + 'static>(
    of: Box<dyn Fn() -> T + Send + Sync>,
) -> Memo<T> {
    Memo::new(move |_| of())
}

/// Does something at once, and whenever what it read changes.
pub fn effect(act: impl Fn() + 'static) {
    boxed_effect(Box::new(act));
}

fn boxed_effect(act: Box<dyn Fn()>) {
    Effect::new(move |_| act());
}

/// Words that follow what they read: an attribute, or a text between tags.
pub fn says<S: Into<String>>(words: impl Fn() -> S + Send + Sync + 'static) -> Signal<String> {
    boxed_words(Box::new(move || words().into()))
}

fn boxed_words(words: Box<dyn Fn() -> String + Send + Sync>) -> Signal<String> {
    Signal::derive(words)
}

/// A part of a page that is made anew whenever something that it read has
/// changed.
pub fn follows<V: IntoAny>(make: impl Fn() -> V + Send + Sync + 'static) -> AnyView {
    boxed_view(Arc::new(move || make().into_any()))
}

fn boxed_view(make: Arc<dyn Fn() -> AnyView + Send + Sync>) -> AnyView {
    (move || make()).into_any()
}

/// A part of a page that is there while a condition holds; made once each
/// time.
pub fn when(
    holds: impl Fn() -> bool + Send + Sync + 'static,
    make: impl Fn() -> AnyView + Send + Sync + 'static,
) -> AnyView {
    let holds = memo(holds);
    follows(move || holds.get().then(&make))
}

/// Views of one shape as parts of any shape.
pub trait AnyViews {
    /// Each of them, without its type.
    fn any_views(self) -> Vec<AnyView>;
}

impl<I: IntoIterator<Item = V>, V: IntoAny> AnyViews for I {
    fn any_views(self) -> Vec<AnyView> {
        self.into_iter().map(IntoAny::into_any).collect()
    }
}
