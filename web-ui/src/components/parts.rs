//! Small tables: a sum and its parts, a comparison, a handful of figures.
//!
//! All are made of plain data and one shape of element each: leptos compiles
//! every shape anew, and a page made of many is a page of many kilobytes.

use std::sync::Arc;

use leptos::prelude::*;

use crate::components::bar::swatch;
use crate::components::figures::quantity;
use crate::format::Quantity;
use crate::reactive::AnyViews;

/// A line of a small table.
#[derive(Default)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// The token of its colour, where it has one.
    pub token: Option<&'static str>,
    /// What the name means, in plain words.
    pub words: String,
    /// The same exactly.
    pub meaning: &'static str,
    /// Its figures.
    pub values: Vec<Quantity>,
    /// A bar, where one goes with it.
    pub bar: Option<AnyView>,
    /// How its last figure is coloured.
    pub class: &'static str,
    /// Whether it is a sum of the others.
    pub is_sum: bool,
}

/// A small table; `heads` name its columns, the name's first.
pub fn parts_table(class: &'static str, heads: &[&'static str], parts: Vec<Part>) -> AnyView {
    let heads = heads
        .iter()
        .enumerate()
        .map(|(i, head)| {
            let class = if i == 0 { "left" } else { "" };
            if head.is_empty() {
                view! { <td></td> }.into_any()
            } else {
                view! { <th scope="col" class=class>{*head}</th> }.into_any()
            }
        })
        .any_views();
    let rows = parts.into_iter().map(row).any_views();
    view! {
        <table class=format!("parts {class}")>
            <thead><tr>{heads}</tr></thead>
            <tbody>{rows}</tbody>
        </table>
    }
    .into_any()
}

fn row(part: Part) -> impl IntoView {
    let n_values = part.values.len();
    let values = part
        .values
        .into_iter()
        .enumerate()
        .map(|(i, value)| {
            let class = if i + 1 == n_values { part.class } else { "" };
            view! { <td class=class>{quantity(value)}</td> }
        })
        .any_views();
    let bar = part
        .bar
        .map(|bar| view! { <td class="bar-cell">{bar}</td> });
    view! {
        <tr
            title=part.meaning
            class=if part.is_sum { "sum" } else { "" }
            data-testid="part"
            data-name=part.name
        >
            <th scope="row" class="left">
                {part.token.map(swatch)}
                <span class="name">{part.name}</span>
                <small>{part.words}</small>
            </th>
            {values}
            {bar}
        </tr>
    }
}

/// A smaller figure, several of which share a panel.
pub struct Tile {
    /// Its name.
    pub label: &'static str,
    /// What the name means.
    pub meaning: &'static str,
    /// The figure.
    pub value: Quantity,
    /// The remark.
    pub note: String,
}

/// Figures side by side.
pub fn tiles(tiles: Vec<Tile>) -> AnyView {
    let tiles = tiles
        .into_iter()
        .map(|tile| {
            view! {
                <div class="tile" title=tile.meaning>
                    <span class="label">{tile.label}</span>
                    <b class="figure">{quantity(tile.value)}</b>
                    <span class="note">{tile.note}</span>
                </div>
            }
        })
        .any_views();
    view! { <div class="tiles">{tiles}</div> }.into_any()
}

/// A panel with a title, what it is of, and what is in it.
pub fn panel(
    title: &'static str,
    of: String,
    testid: &'static str,
    content: Vec<AnyView>,
) -> AnyView {
    view! {
        <section class="panel" data-testid=testid>
            <div class="head">
                <h2>{title}</h2>
                <span class="unit">{of}</span>
            </div>
            {content}
        </section>
    }
    .into_any()
}

/// Panels side by side where there is room.
pub fn pair(panels: [AnyView; 2]) -> AnyView {
    view! { <div class="pair">{Vec::from(panels)}</div> }.into_any()
}

/// What is made anew whenever something that it read has changed; nodes that
/// stay alike stay where they are.
pub fn live(make: impl Fn() -> Vec<AnyView> + Send + Sync + 'static) -> AnyView {
    let make: Arc<dyn Fn() -> Vec<AnyView> + Send + Sync> = Arc::new(make);
    reactive(make)
}

/// Not generic: what leptos makes of a closure is compiled for each.
fn reactive(make: Arc<dyn Fn() -> Vec<AnyView> + Send + Sync>) -> AnyView {
    (move || make()).into_any()
}
