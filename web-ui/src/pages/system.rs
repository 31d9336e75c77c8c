//! What modeltap sees, misses and costs.

use leptos::prelude::*;
use modeltap_api_types::{CaptureStatus, DockerState, Status};

use crate::browser;
use crate::components::figures::quantity;
use crate::format::{self, Quantity};
use crate::state::Store;

/// The daemon's own state.
#[component]
pub fn SystemPage() -> impl IntoView {
    let store = expect_context::<Store>();
    let status = move || store.status.get();
    view! {
        <h1 class="sr-only">"System"</h1>
        {move || match status() {
            None => {
                view! {
                    <section class="panel skeleton" aria-label="Loading" aria-busy="true">
                        <i></i><i></i><i></i>
                    </section>
                }
                .into_any()
            }
            Some(status) => system(status).into_any(),
        }}
    }
}

fn system(status: Status) -> impl IntoView {
    view! {
        <div class="system">
            {daemon(&status)}
            {probes(&status)}
            {docker(&status)}
            {store_panel(&status)}
            {accounting(status.capture)}
        </div>
    }
}

fn text(value: impl Into<String>) -> AnyView {
    value.into().into_any()
}

fn figure(q: Quantity) -> AnyView {
    quantity(q).into_any()
}

/// A state as a mark and a word.
fn state(class: &'static str, word: &'static str) -> AnyView {
    view! {
        <span class=format!("health {class}")>
            <span class="mark-shape" aria-hidden="true"></span>
            <span>{word}</span>
        </span>
    }
    .into_any()
}

fn facts(title: &'static str, facts: Vec<(&'static str, AnyView)>) -> impl IntoView {
    let facts = facts
        .into_iter()
        .map(|(name, value)| view! { <div><dt>{name}</dt><dd>{value}</dd></div> })
        .collect_view();
    view! {
        <section class="panel facts">
            <div class="head"><h2>{title}</h2></div>
            <dl>{facts}</dl>
        </section>
    }
}

fn daemon(status: &Status) -> impl IntoView + use<> {
    let cpu = format::percent(Some(status.process.cpu_cores));
    facts(
        "Daemon",
        vec![
            ("Version", text(status.version.clone())),
            ("Kernel", text(status.kernel.clone())),
            (
                "Started",
                text(browser::date_time(status.started_unix_ms as f64)),
            ),
            ("Up for", text(format::span(status.uptime_seconds))),
            ("CPU, of one core", figure(cpu)),
            ("Memory", figure(format::bytes(status.process.memory_bytes))),
        ],
    )
}

fn probes(status: &Status) -> impl IntoView + use<> {
    let attached = if status.probes.attached {
        state("ok", "Attached")
    } else {
        state("warn", "Not attached")
    };
    facts(
        "Probes",
        vec![
            ("State", attached),
            (
                "Programs",
                text(format::count(status.probes.n_programs.into())),
            ),
            (
                "Connections open",
                text(format::count(status.probes.n_connections)),
            ),
            (
                "Connections untracked",
                text(format::count(status.capture.connections_untracked)),
            ),
            (
                "Requests seen whole",
                text(format::count(status.capture.requests_complete)),
            ),
            (
                "Requests incomplete",
                text(format::count(status.capture.requests_incomplete)),
            ),
        ],
    )
}

fn docker(status: &Status) -> impl IntoView + use<> {
    let docker = &status.docker;
    let mark = match docker.state {
        DockerState::Connecting => state("idle", "Connecting"),
        DockerState::Connected => state("ok", "Connected"),
        DockerState::Unreachable => state("crit", "Unreachable"),
    };
    let mut list = vec![
        ("State", mark),
        (
            "Containers watched",
            text(format::count(docker.n_containers.into())),
        ),
        (
            "Left out by a label",
            text(format::count(docker.n_excluded.into())),
        ),
    ];
    if let Some(reason) = &docker.reason {
        list.push(("Reason", text(reason.clone())));
    }
    facts("Docker", list)
}

fn store_panel(status: &Status) -> impl IntoView + use<> {
    let store = &status.store;
    let mark = if store.ok {
        state("ok", "Writing")
    } else {
        state("crit", "Failing")
    };
    let mut list = vec![
        ("State", mark),
        (
            "File",
            view! { <code>{store.path.clone()}</code> }.into_any(),
        ),
        ("Size", figure(format::bytes(store.size_bytes))),
        (
            "Rollups written",
            text(format::count(store.rollups_written)),
        ),
        (
            "Rollups dropped",
            text(format::count(store.rollups_dropped)),
        ),
    ];
    if let Some(error) = &store.error {
        list.push(("Error", text(error.clone())));
    }
    if let Some(notice) = &store.notice {
        list.push(("Notice", text(notice.clone())));
    }
    facts("History", list)
}

/// A line of the accounting: its word, its events, its bytes, what it means.
struct Line {
    name: &'static str,
    events: Option<u64>,
    bytes: Option<u64>,
    meaning: &'static str,
    /// How bad it is if it is not zero.
    severity: &'static str,
}

/// Whether a sum comes out, and what is missing or too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Balance {
    Even,
    Under(u64),
    Over(u64),
}

fn balance(observed: u64, parts: &[u64]) -> Balance {
    let sum = parts.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
    match observed.checked_sub(sum) {
        Some(0) => Balance::Even,
        Some(missing) => Balance::Under(missing),
        None => Balance::Over(sum - observed),
    }
}

fn accounting(c: CaptureStatus) -> impl IntoView {
    let line = |name, events, bytes, meaning, severity| Line {
        name,
        events,
        bytes,
        meaning,
        severity,
    };
    let lines = [
        line(
            "Parsed",
            Some(c.events_captured),
            Some(c.bytes_parsed),
            "understood as part of a message",
            "",
        ),
        line(
            "Skipped",
            None,
            Some(c.bytes_skipped),
            "part of no HTTP message",
            "",
        ),
        line(
            "Truncated",
            None,
            Some(c.bytes_truncated),
            "needed, but captured short",
            "warn",
        ),
        line(
            "Lost",
            Some(c.events_lost),
            Some(c.bytes_lost),
            "the kernel's ring was full",
            "crit",
        ),
        line(
            "Dropped",
            Some(c.events_dropped),
            Some(c.bytes_dropped),
            "a queue of the daemon was full",
            "crit",
        ),
        line(
            "Undecoded",
            Some(c.events_undecoded),
            None,
            "the probe's record made no sense",
            "crit",
        ),
    ];
    let events = balance(
        c.events_observed,
        &[
            c.events_captured,
            c.events_lost,
            c.events_dropped,
            c.events_undecoded,
        ],
    );
    let bytes = balance(
        c.bytes_observed,
        &[
            c.bytes_parsed,
            c.bytes_skipped,
            c.bytes_truncated,
            c.bytes_lost,
            c.bytes_dropped,
        ],
    );
    let cell = |n: Option<u64>, bytes: bool| match n {
        None => text(""),
        Some(n) if bytes => view! {
            <span title=format::bytes(n).text()>{format::count(n)}</span>
        }
        .into_any(),
        Some(n) => text(format::count(n)),
    };
    let rows = lines
        .into_iter()
        .map(|l| {
            let some = l.events.unwrap_or(0) > 0 || l.bytes.unwrap_or(0) > 0;
            let class = if some { l.severity } else { "" };
            view! {
                <tr role="row" class=class data-testid="accounting-row" data-name=l.name>
                    <th role="rowheader" scope="row" class="left">{l.name}</th>
                    <td role="cell">{cell(l.events, false)}</td>
                    <td role="cell">{cell(l.bytes, true)}</td>
                    <td role="cell" class="left muted meaning">{l.meaning}</td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <section class="panel table-panel accounting">
            <div class="head">
                <h2>"Capture accounting"</h2>
                <span class="unit">"since the daemon's start"</span>
            </div>
            <table role="table">
                <thead role="rowgroup">
                    <tr role="row">
                        <th role="columnheader" scope="col" class="left">"Fate"</th>
                        <th role="columnheader" scope="col">"Events"</th>
                        <th role="columnheader" scope="col">"Bytes"</th>
                        <th role="columnheader" scope="col" class="left meaning">"Meaning"</th>
                    </tr>
                </thead>
                <tbody role="rowgroup">{rows}</tbody>
                <tfoot role="rowgroup">
                    <tr role="row">
                        <th role="rowheader" scope="row" class="left">"Observed"</th>
                        <td role="cell">{format::count(c.events_observed)}</td>
                        <td role="cell">{cell(Some(c.bytes_observed), true)}</td>
                        <td role="cell" class="left meaning muted">"moved on watched connections"</td>
                    </tr>
                </tfoot>
            </table>
            <p class="verdict" data-testid="accounting-verdict">
                {verdict("Events", events)}
                {verdict("Bytes", bytes)}
            </p>
        </section>
    }
}

fn verdict(what: &'static str, balance: Balance) -> impl IntoView {
    let (class, words) = match balance {
        Balance::Even => ("ok", format!("{what} add up exactly.")),
        Balance::Under(n) => (
            "idle",
            format!(
                "{what}: {} observed but not accounted for yet.",
                format::count(n)
            ),
        ),
        Balance::Over(n) => (
            "crit",
            format!("{what} do not add up: {} too many.", format::count(n)),
        ),
    };
    view! {
        <span class=format!("health {class}")>
            <span class="mark-shape" aria-hidden="true"></span>
            <span>{words}</span>
        </span>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_that_differs_says_by_how_much() {
        for (observed, parts, expected) in [
            (0, &[0, 0][..], Balance::Even),
            (10, &[6, 4], Balance::Even),
            (10, &[6, 1], Balance::Under(3)),
            (10, &[6, 6], Balance::Over(2)),
            (10, &[u64::MAX, 1], Balance::Over(u64::MAX - 10)),
        ] {
            assert_eq!(balance(observed, parts), expected);
        }
    }
}
