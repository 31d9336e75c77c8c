//! The containers of a service: their requests, what they use, how they are.

use leptos::prelude::*;
use modeltap_api_types::{Resources, Service, ServiceContainer};

use crate::components::figures::{quantity, share_bar};
use crate::components::parts::live;
use crate::format::{self, Quantity};
use crate::state::Store;
use crate::usage::{Against, cpu, memory};

const HEADS: [(&str, &str); 9] = [
    ("Container", "left"),
    ("Requests/s", ""),
    ("p95", ""),
    ("Errors", ""),
    ("CPU", "use"),
    ("Memory", "use"),
    ("Restarts", ""),
    ("Health", "left"),
    ("Up for", ""),
];

/// A line each.
#[component]
pub fn ContainersPanel(
    /// The service.
    service: Memo<Option<Service>>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    live(move || {
        let at_ms = store.at_ms.get();
        let containers = service.with(|s| s.as_ref().map(|s| s.containers.clone()));
        let containers = containers.unwrap_or_default();
        let none = containers
            .is_empty()
            .then(|| view! { <p class="none">"None is running."</p> });
        let head = |(name, class)| {
            view! { <th role="columnheader" scope="col" class=class>{name}</th> }
        };
        let rows: Vec<_> = containers.into_iter().map(|c| row(c, at_ms)).collect();
        let panel = view! {
            <section class="panel table-panel" data-testid="containers">
                <div class="head">
                    <h2>"Containers"</h2>
                    <span class="unit">"now, against their limits"</span>
                </div>
                <table class="cards containers" role="table">
                    <thead role="rowgroup">
                        <tr role="row">{HEADS.map(head).into_iter().collect_view()}</tr>
                    </thead>
                    <tbody role="rowgroup">{rows}</tbody>
                </table>
                {none}
            </section>
        };
        vec![panel.into_any()]
    })
}

fn row(container: ServiceContainer, at_ms: u64) -> AnyView {
    let window = container.window;
    let life = &container.lifecycle;
    let up = life.started_unix_ms.map_or_else(Quantity::unknown, |at| {
        Quantity::plain(format::span(at_ms.saturating_sub(at) as f64 / 1e3))
    });
    let (class, health) = match life.health.as_deref() {
        None => ("idle", "no check"),
        Some("healthy") => ("ok", "healthy"),
        Some("unhealthy") => ("crit", "unhealthy"),
        Some(_) => ("warn", "starting"),
    };
    let kills = container
        .resources
        .as_ref()
        .and_then(|r| r.n_oom_kills)
        .filter(|n| *n > 0)
        .map(|n| {
            let times = if n == 1 {
                String::new()
            } else {
                format!(" {n}×")
            };
            view! { <span class="tag crit">{format!("out of memory{times}")}</span> }
        });
    let figures = [
        ("Req/s", Quantity::plain(format::rate(window.rate))),
        ("p95", format::duration(window.p95)),
        ("Errors", format::percent(window.error_rate)),
    ];
    let figures = figures.map(|(name, value)| {
        view! { <td role="cell" data-label=name>{quantity(value)}</td> }
    });
    let restarts = if life.n_restarts > 0 { "warn" } else { "" };
    view! {
        <tr role="row" data-testid="container-row" data-container=container.name.clone()>
            <td role="cell" class="left route">
                <span class="path">{container.name.clone()}</span>{kills}
                <small title=container.image.clone()>
                    {format!("{} · {}", container.id, format::image(&container.image))}
                </small>
            </td>
            {figures.into_iter().collect_view()}
            {use_cell("CPU", container.resources.as_ref(), cpu)}
            {use_cell("Memory", container.resources.as_ref(), memory)}
            <td role="cell" data-label="Restarts" class=restarts>{format::count(life.n_restarts)}</td>
            <td role="cell" data-label="Health" class="left">
                <span class=format!("health {class}")>
                    <span class="mark-shape" aria-hidden="true"></span>
                    <span>{health}</span>
                </span>
            </td>
            <td role="cell" data-label="Up for">{quantity(up)}</td>
        </tr>
    }
    .into_any()
}

/// What is used, without what the column's name or the limit says already.
fn used(against: &Against) -> Quantity {
    let limit = against.of_limit().unwrap_or_default();
    let mut used = against.used.clone();
    if used.unit == "cores" || limit.ends_with(used.unit) {
        used.unit = "";
    }
    used
}

/// A figure against its limit, with a bar where there is one.
pub fn use_cell(
    name: &'static str,
    resources: Option<&Resources>,
    of: fn(&Resources) -> Against,
) -> AnyView {
    let against = resources.map(of);
    let class = against.as_ref().map_or("", Against::class);
    let content = match against {
        None => quantity(Quantity::unknown()).into_any(),
        Some(against) => {
            let title = against.text();
            view! {
                <span class="against" title=title>
                    {quantity(used(&against))}
                    <small>{against.of_limit()}</small>
                    {against.share.map(share_bar)}
                </span>
            }
            .into_any()
        }
    };
    view! { <td role="cell" data-label=name class=format!("use {class}")>{content}</td> }.into_any()
}
