//! Marks of what happened, on the axis of time of whatever has one.

use leptos::prelude::*;

use crate::browser;
use crate::reactive::{AnyViews, says};
use crate::timeline::{Kind, Mark};

/// The marks of the page's range, handed down to its charts.
#[derive(Clone, Copy)]
pub struct Marks(pub Memo<Vec<Mark>>);

/// Lies over a drawing and follows its ends, Unix seconds; nothing where the
/// page has no marks. A mark is made once and moved by its parent's two
/// figures alone.
pub fn marks_layer(bounds: Signal<(f64, f64)>) -> Option<AnyView> {
    let marks = use_context::<Marks>()?.0;
    let each = move || marks.get().into_iter().map(mark).any_views();
    let layer = view! {
        <div
            class="marks"
            aria-hidden="true"
            style=says(move || {
                let (from, to) = bounds.get();
                format!("--from:{from};--span:{}", (to - from).max(1.0))
            })
        >
            {each}
        </div>
    };
    Some(layer.into_any())
}

fn mark(mark: Mark) -> impl IntoView {
    let lines: Vec<String> = mark
        .events
        .iter()
        .map(|(at, words)| format!("{} {words}", browser::time_of_day(*at as f64)))
        .collect();
    view! {
        <i
            class=format!("mark {}", mark.kind.class)
            style=format!("--at:{}", mark.at)
            data-kind=mark.kind.name
        >
            <b>{mark.kind.shape}</b>
            <span class="tip">{lines.join("\n")}</span>
        </i>
    }
}

/// A kind's shape in its colour.
pub fn shape(kind: Kind) -> impl IntoView {
    view! { <b class=format!("shape {}", kind.class) aria-hidden="true">{kind.shape}</b> }
}
