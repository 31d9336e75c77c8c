//! Tables that become cards where there is no room, made of plain data.

use leptos::prelude::*;

use crate::components::figures::remark;
use crate::components::parts::live;
use crate::reactive::AnyViews;
use crate::words::{W, t};

/// One cell: how it is laid out, and what is in it. As a card it carries the
/// column's name.
pub type Cell = (&'static str, AnyView);

/// One line.
pub struct Row {
    /// How it is coloured.
    pub class: &'static str,
    /// What it is about, for tests and for scripts.
    pub name: String,
    /// Its cells, one a column.
    pub cells: Vec<Cell>,
}

/// Words as what is in a cell.
pub fn text(words: impl Into<String>) -> AnyView {
    words.into().into_any()
}

/// Two lines: what it is, and more of it in smaller letters.
pub fn two_lines(first: AnyView, second: impl Into<String>) -> AnyView {
    let second: String = second.into();
    view! { <span class="first">{first}</span><small>{second}</small> }.into_any()
}

/// A button; `name` says what it does where the label alone does not.
pub fn button(
    class: &'static str,
    label: &'static str,
    name: String,
    click: impl Fn() + 'static,
) -> AnyView {
    made_button(class, label, name, Box::new(click))
}

/// Not generic: every view is compiled once.
fn made_button(
    class: &'static str,
    label: &'static str,
    name: String,
    click: Box<dyn Fn()>,
) -> AnyView {
    view! {
        <button type="button" class=class title=name.clone() aria-label=name on:click=move |_| click()>
            {label}
        </button>
    }
    .into_any()
}

/// A table; the head of a column of buttons is heard and not seen.
pub fn list(testid: &'static str, heads: &'static [W], rows: Vec<Row>) -> AnyView {
    let columns = heads
        .iter()
        .map(|head| {
            let class = if *head == W::Actions { "sr-only" } else { "" };
            view! {
                <th role="columnheader" scope="col" class="left">
                    <span class=class>{t(*head)}</span>
                </th>
            }
        })
        .any_views();
    let rows = rows
        .into_iter()
        .map(|row| {
            let cells = row.cells.into_iter().zip(heads);
            let cells = cells
                .map(|((class, content), head)| {
                    let label = Some(*head).filter(|head| *head != W::Actions).map(t);
                    view! {
                        <td role="cell" class=class data-label=label>{content}</td>
                    }
                })
                .any_views();
            view! {
                <tr role="row" class=row.class data-testid=testid data-name=row.name>{cells}</tr>
            }
        })
        .any_views();
    view! {
        <table class="cards list" role="table">
            <thead role="rowgroup"><tr role="row">{columns}</tr></thead>
            <tbody role="rowgroup">{rows}</tbody>
        </table>
    }
    .into_any()
}

/// A panel with a title, buttons beside it, what went wrong, and what is in
/// it: made anew when it changes.
pub fn list_panel(
    id: &'static str,
    title: &'static str,
    beside: Vec<AnyView>,
    trouble: impl Fn() -> Option<String> + Send + Sync + 'static,
    content: impl Fn() -> Vec<AnyView> + Send + Sync + 'static,
) -> AnyView {
    let trouble = live(move || trouble().map(|t| remark("crit", t)).into_iter().collect());
    made_panel(id, title, beside, trouble, live(content))
}

/// Not generic: every view is compiled once.
fn made_panel(
    id: &'static str,
    title: &'static str,
    beside: Vec<AnyView>,
    trouble: AnyView,
    content: AnyView,
) -> AnyView {
    view! {
        <section class="panel table-panel" id=id aria-label=title data-testid=id>
            <div class="head wrap"><h2>{title}</h2><span class="grow"></span>{beside}</div>
            <div role="alert">{trouble}</div>
            {content}
        </section>
    }
    .into_any()
}

/// What stands where nothing is, or where nothing is known yet.
pub fn none(words: impl Into<String>) -> AnyView {
    let words: String = words.into();
    view! { <p class="none">{words}</p> }.into_any()
}

/// What stands where the first answer is awaited.
pub fn awaited() -> AnyView {
    view! {
        <div class="skeleton" role="status" aria-busy="true" aria-label=t(W::Loading)><i></i><i></i></div>
    }
    .into_any()
}
