//! The containers of a service: their requests, what they use, how they are.

use leptos::prelude::*;
use modeltap_api_types::{Resources, Service, ServiceContainer};

use crate::address::{Address, Query};
use crate::components::figures::{figure, quantity, width};
use crate::components::parts::live;
use crate::format::{self, Quantity};
use crate::narrow::Narrow;
use crate::pages::narrowed::narrow_link;
use crate::reactive::{AnyViews, memo, says};
use crate::state::Store;
use crate::usage::{Against, cpu, memory};
use crate::words::{W, phrases, t};

const HEADS: [(W, &str); 9] = [
    (W::Container, "left"),
    (W::RequestsPerSecond, ""),
    (W::P95, ""),
    (W::Errors, ""),
    (W::Cpu, "use"),
    (W::Memory, "use"),
    (W::Restarts, ""),
    (W::Health, "left"),
    (W::UpFor, ""),
];

/// A line each.
#[component]
pub fn ContainersPanel(
    /// The service.
    service: Memo<Option<Service>>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let query = expect_context::<Address>().query();
    live(move || {
        let at_ms = store.at_ms.get();
        let containers = service.with(|s| s.as_ref().map(|s| s.containers.clone()));
        let containers = containers.unwrap_or_default();
        let none = containers
            .is_empty()
            .then(|| view! { <p class="none">{t(W::NoneRunning)}</p> });
        let head = |(name, class)| {
            view! { <th role="columnheader" scope="col" class=class>{t(name)}</th> }
        };
        let rows: Vec<_> = containers
            .into_iter()
            .map(|c| row(c, at_ms, &query.read()))
            .collect();
        let panel = view! {
            <section class="panel table-panel" data-testid="containers">
                <div class="head">
                    <h2>{t(W::Containers)}</h2>
                    <span class="unit">{t(W::NowAgainstLimits)}</span>
                </div>
                <table class="cards containers" role="table">
                    <thead role="rowgroup">
                        <tr role="row">{HEADS.map(head).into_iter().any_views()}</tr>
                    </thead>
                    <tbody role="rowgroup">{rows}</tbody>
                </table>
                {none}
            </section>
        };
        vec![panel.into_any()]
    })
}

fn row(container: ServiceContainer, at_ms: u64, query: &Query) -> AnyView {
    let now = Narrow::of(query);
    let row_class = if now.container == container.name {
        "here"
    } else {
        ""
    };
    let narrow = Narrow {
        container: container.name.clone(),
        ..now
    };
    let name = view! { <span class="path">{container.name.clone()}</span> }.into_any();
    let name = narrow_link(&narrow, query, t(W::NarrowToContainer), name);
    let resources = container.resources.clone();
    let resources = memo(move || resources.clone());
    let window = container.window;
    let life = &container.lifecycle;
    let up = life.started_unix_ms.map_or_else(Quantity::unknown, |at| {
        Quantity::plain(format::span(at_ms.saturating_sub(at) as f64 / 1e3))
    });
    let (class, health) = match life.health.as_deref() {
        None => ("idle", t(W::NoCheck)),
        Some("healthy") => ("ok", t(W::HealthyWord)),
        Some("unhealthy") => ("crit", t(W::UnhealthyWord)),
        Some(_) => ("warn", t(W::StartingWord)),
    };
    let kills = container
        .resources
        .as_ref()
        .and_then(|r| r.n_oom_kills)
        .filter(|n| *n > 0)
        .map(|n| {
            let words = match n {
                1 => t(W::OutOfMemory).to_owned(),
                n => phrases::times_killed(&n.to_string()),
            };
            view! { <span class="tag crit">{words}</span> }
        });
    let figures = [
        (
            t(W::ReqPerSecond),
            Quantity::plain(format::rate(window.rate)),
        ),
        (t(W::P95), format::duration(window.p95)),
        (t(W::Errors), format::percent(window.error_rate)),
    ];
    let figures = figures.map(|(name, value)| {
        view! { <td role="cell" data-label=name>{quantity(value)}</td> }
    });
    let restarts = if life.n_restarts > 0 { "warn" } else { "" };
    view! {
        <tr role="row" class=row_class data-testid="container-row" data-container=container.name.clone()>
            <td role="cell" class="left route">
                {name}{kills}
                <small title=container.image.clone()>
                    {format!("{} · {}", container.id, format::image(&container.image))}
                </small>
            </td>
            {figures.into_iter().any_views()}
            {use_cell(t(W::Cpu), resources, cpu)}
            {use_cell(t(W::Memory), resources, memory)}
            <td role="cell" data-label=t(W::Restarts) class=restarts>{format::count(life.n_restarts)}</td>
            <td role="cell" data-label=t(W::Health) class="left">
                <span class=format!("health {class}")>
                    <span class="mark-shape" aria-hidden="true"></span>
                    <span>{health}</span>
                </span>
            </td>
            <td role="cell" data-label=t(W::UpFor)>{quantity(up)}</td>
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

/// A figure against its limit, with a bar where there is one; it changes where
/// it stands.
pub fn use_cell(
    name: &'static str,
    resources: Memo<Option<Resources>>,
    of: fn(&Resources) -> Against,
) -> AnyView {
    let part = move |part: fn(Against) -> String| {
        says(move || {
            let against = resources.with(|r| r.as_ref().map(of));
            against.map(part).unwrap_or_default()
        })
    };
    let quantity = memo(move || {
        resources.with(|r| r.as_ref().map_or_else(Quantity::unknown, |r| used(&of(r))))
    });
    let class = part(|against| against.class().to_owned());
    let width = part(|against| against.share.map(width).unwrap_or_default());
    view! {
        <td role="cell" data-label=name class=says(move || format!("use {}", class.get()))>
            <span class="against" title=part(|against| against.text())>
                {figure(quantity)}
                <small>{part(|against| against.of_limit().unwrap_or_default())}</small>
                <span class="bar" aria-hidden="true"><i style:width=width></i></span>
            </span>
        </td>
    }
    .into_any()
}
