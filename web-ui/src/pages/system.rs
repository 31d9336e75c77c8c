//! What modeltap sees, misses and costs.

use leptos::prelude::*;
use modeltap_api_types::{CaptureStatus, DockerState, Status};

use crate::accounting::{Balance, Bytes};
use crate::browser;
use crate::components::accounts::verdict;
use crate::components::bar::segment_bar;
use crate::components::figures::{quantity, remark};
use crate::components::parts::{Part, parts_table};
use crate::format::{self, Quantity};
use crate::pages::system_accounts::ServiceAccounts;
use crate::pages::system_events::DaemonEvents;
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
        <DaemonEvents/>
        <ServiceAccounts/>
    }
    .into_any()
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

fn facts(title: &'static str, facts: Vec<(&'static str, AnyView)>) -> AnyView {
    facts_with(title, facts, Vec::new())
}

/// Facts, and sentences under them.
fn facts_with(
    title: &'static str,
    facts: Vec<(&'static str, AnyView)>,
    remarks: Vec<AnyView>,
) -> AnyView {
    let facts = facts
        .into_iter()
        .map(|(name, value)| view! { <div><dt>{name}</dt><dd>{value}</dd></div> })
        .collect_view();
    view! {
        <section class="panel facts">
            <div class="head"><h2>{title}</h2></div>
            <dl>{facts}</dl>
            {remarks}
        </section>
    }
    .into_any()
}

fn daemon(status: &Status) -> impl IntoView + use<> {
    let cpu = format::percent(Some(status.process.cpu_cores));
    let mut list = vec![
        ("Version", text(status.version.clone())),
        (
            "API",
            view! { <a class="link" href="/api/docs/" rel="external">"Interactive documents"</a> }
                .into_any(),
        ),
        ("Kernel", text(status.kernel.clone())),
        (
            "Started",
            text(browser::date_time(status.started_unix_ms as f64)),
        ),
        ("Up for", text(format::span(status.uptime_seconds))),
        ("CPU, of one core", figure(cpu)),
        ("Memory", figure(format::bytes(status.process.memory_bytes))),
    ];
    if let Some(budget) = &status.budget {
        let cost = figure(format::percent(Some(budget.cores)));
        list.push(("CPU, with the probes", cost));
        if let Some(most) = budget.max_cores {
            list.push(("CPU, at most", figure(format::percent(Some(most)))));
        }
        if budget.level != "full" {
            let left_out = format!("over its budget: {}", budget.left_out);
            list.push(("Capture", text(left_out)));
        }
    }
    if let Some(confinement) = &status.confinement {
        let left = confinement.capabilities.join(" ");
        let left = if left.is_empty() { "None" } else { &left };
        list.push(("Privileges left", text(left.to_owned())));
        list.extend(confinement.lacking.iter().map(|lack| {
            let lacking = format!("not by {}: {}", lack.what, lack.because);
            ("Confined", text(lacking))
        }));
    }
    facts("Daemon", list)
}

fn probes(status: &Status) -> impl IntoView + use<> {
    let attached = if status.probes.attached {
        state("ok", "Attached")
    } else {
        state("warn", "Not attached")
    };
    let mut list = vec![
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
    ];
    // Each in words that a newcomer knows, with what the kernel lacks.
    list.extend(status.probes.untold.iter().map(|untold| {
        let what = match untold.what.as_str() {
            "arrival" => "Arrival of requests",
            "drain" => "Slow clients",
            _ => "io_uring",
        };
        (what, text(format!("not told: {}", untold.because)))
    }));
    facts("Probes", list)
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
        ("In use", figure(format::bytes(store.used_bytes))),
        (
            "Rollups written",
            text(format::count(store.rollups_written)),
        ),
        (
            "Rows dropped",
            text(format::count(store.rows_dropped.total())),
        ),
        (
            "Writes that failed",
            text(format::count(store.write_failures)),
        ),
    ];
    if let Some(error) = &store.error {
        list.push(("Error", text(error.clone())));
    }
    let lost = store.rows_dropped.total();
    let lost = (lost > 0).then(|| {
        let words = format!(
            "{} rows are missing from history: they could not be queued or written.",
            format::count(lost)
        );
        remark("warn", words)
    });
    let notice = store.notice.clone().map(|notice| remark("info", notice));
    facts_with(
        "History",
        list,
        [lost, notice].into_iter().flatten().collect(),
    )
}

fn accounting(c: CaptureStatus) -> impl IntoView {
    let line = |name, events: Option<u64>, bytes: Option<u64>, meaning: &str, severity| Part {
        name,
        words: meaning.to_owned(),
        values: [events, bytes]
            .map(|n| Quantity::plain(n.map(format::count).unwrap_or_default()))
            .into(),
        // How bad it is if it is not zero.
        class: if events.max(bytes) > Some(0) {
            severity
        } else {
            ""
        },
        ..Part::default()
    };
    let (kept, lost, dropped) = (c.events_captured, c.events_lost, c.events_dropped);
    let undecoded = c.events_undecoded;
    let rows = vec![
        line(
            "Parsed",
            Some(kept),
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
            Some(lost),
            Some(c.bytes_lost),
            "the kernel's ring was full",
            "crit",
        ),
        line(
            "Dropped",
            Some(dropped),
            Some(c.bytes_dropped),
            "a queue of the daemon was full",
            "crit",
        ),
        line(
            "Undecoded",
            Some(undecoded),
            None,
            "the probe's record made no sense",
            "crit",
        ),
        Part {
            is_sum: true,
            ..line(
                "Observed",
                Some(c.events_observed),
                Some(c.bytes_observed),
                "moved on watched connections",
                "",
            )
        },
    ];
    let events = Balance::of(c.events_observed, &[kept, lost, dropped, undecoded]);
    let by_fate = Bytes::of_host(&c);
    view! {
        <section class="panel accounting">
            <div class="head">
                <h2>"Capture accounting"</h2>
                <span class="unit">"since the daemon's start"</span>
            </div>
            {segment_bar(&by_fate.segments(), format!("Bytes: {}", by_fate.text()))}
            {parts_table("", &["Fate", "Events", "Bytes"], rows)}
            <div class="verdict" data-testid="accounting-verdict">
                {verdict("Events", events)}
                {verdict("Bytes", by_fate.balance)}
            </div>
        </section>
    }
}
