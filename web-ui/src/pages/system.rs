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
use crate::pages::system_programs::ProgramCosts;
use crate::reactive::{AnyViews, follows};
use crate::state::Store;
use crate::words::{W, phrases, t};

/// The daemon's own state.
#[component]
pub fn SystemPage() -> impl IntoView {
    let store = expect_context::<Store>();
    let status = move || store.status.get();
    view! {
        <h1 class="sr-only">{t(W::System)}</h1>
        {follows(move || match status() {
            None => {
                view! {
                    <section class="panel skeleton" aria-label=t(W::Loading) aria-busy="true">
                        <i></i><i></i><i></i>
                    </section>
                }
                .into_any()
            }
            Some(status) => system(status).into_any(),
        })}
        <ProgramCosts/>
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
            {host(&status)}
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
        .any_views();
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
    let mut list =
        vec![
        (t(W::Version), text(status.version.clone())),
        (
            t(W::Api),
            view! { <a class="link" href="/api/docs/" rel="external">{t(W::InteractiveDocs)}</a> }
                .into_any(),
        ),
        (
            t(W::Started),
            text(browser::date_time(status.started_unix_ms as f64)),
        ),
        (t(W::UpFor), text(format::span(status.uptime_seconds))),
        (t(W::CpuOfOneCore), figure(cpu)),
        (t(W::Memory), figure(format::bytes(status.process.memory_bytes))),
    ];
    if let Some(budget) = &status.budget {
        let cost = figure(format::percent(Some(budget.cores)));
        list.push((t(W::CpuWithProbes), cost));
        if let Some(most) = budget.max_cores {
            list.push((t(W::CpuAtMost), figure(format::percent(Some(most)))));
        }
        if budget.level != "full" {
            let left_out = phrases::over_budget(&budget.left_out);
            list.push((t(W::CaptureHead), text(left_out)));
        }
    }
    if let Some(confinement) = &status.confinement {
        let left = confinement.capabilities.join(" ");
        let left = if left.is_empty() {
            t(W::NoneHead)
        } else {
            &left
        };
        list.push((t(W::PrivilegesLeft), text(left.to_owned())));
        list.extend(confinement.lacking.iter().map(|lack| {
            let lacking = phrases::not_by(&lack.what, &lack.because);
            (t(W::Confined), text(lacking))
        }));
    }
    facts(t(W::Daemon), list)
}

fn probes(status: &Status) -> impl IntoView + use<> {
    let attached = if status.probes.attached {
        state("ok", t(W::Attached))
    } else {
        state("warn", t(W::NotAttached))
    };
    let mut list = vec![
        (t(W::State), attached),
        (
            t(W::Programs),
            text(format::count(status.probes.n_programs.into())),
        ),
        (
            t(W::ConnectionsOpen),
            text(format::count(status.probes.n_connections)),
        ),
        (
            t(W::ConnectionsUntrackedHead),
            text(format::count(status.capture.connections_untracked)),
        ),
        (
            t(W::RequestsWhole),
            text(format::count(status.capture.requests_complete)),
        ),
        (
            t(W::RequestsIncomplete),
            text(format::count(status.capture.requests_incomplete)),
        ),
    ];
    // Zero but where the kernel leaves runs of probes out, and says so.
    let n_skipped = status.capture.probe_runs_skipped;
    if n_skipped > 0 {
        list.push((t(W::ProbeRunsSkipped), text(format::count(n_skipped))));
    }
    // Each in words that a newcomer knows, with what the kernel lacks.
    list.extend(status.probes.untold.iter().map(|untold| {
        let what = match untold.what.as_str() {
            "arrival" => t(W::ArrivalOfRequests),
            "drain" => t(W::SlowClients),
            _ => t(W::IoUring),
        };
        (what, text(phrases::not_told(&untold.because)))
    }));
    facts(t(W::Probes), list)
}

/// The host and its Docker.
fn host(status: &Status) -> impl IntoView + use<> {
    let (host, docker) = (&status.host, &status.docker);
    let known = |value: &str| {
        let value = if value.is_empty() {
            format::UNKNOWN
        } else {
            value
        };
        text(value.to_owned())
    };
    let kernel = format!("{} {}", status.kernel, host.architecture);
    let cpus = phrases::cores(&host.n_cpus.to_string());
    let mark = match docker.state {
        DockerState::Connecting => state("idle", t(W::Connecting)),
        DockerState::Connected => state("ok", t(W::Connected)),
        DockerState::Unreachable => state("crit", t(W::Unreachable)),
    };
    let mut list = vec![
        (t(W::System), known(&host.system)),
        (t(W::Kernel), known(kernel.trim())),
        (t(W::Cpu), text(cpus)),
        (t(W::Memory), figure(format::bytes(host.memory_bytes))),
        (t(W::ControlGroups), known(&host.cgroups)),
        (t(W::Docker), mark),
        (
            t(W::DockerVersion),
            known(docker.version.as_deref().unwrap_or_default()),
        ),
        (
            t(W::ContainersWatched),
            text(format::count(docker.n_containers.into())),
        ),
        (
            t(W::LeftOutByLabel),
            text(format::count(docker.n_excluded.into())),
        ),
    ];
    if let Some(reason) = &docker.reason {
        list.push((t(W::Reason), text(reason.clone())));
    }
    facts(t(W::HostHead), list)
}

fn store_panel(status: &Status) -> impl IntoView + use<> {
    let store = &status.store;
    let mark = if store.ok {
        state("ok", t(W::Writing))
    } else {
        state("crit", t(W::Failing))
    };
    let mut list = vec![
        (t(W::State), mark),
        (
            t(W::File),
            view! { <code>{store.path.clone()}</code> }.into_any(),
        ),
        (t(W::Size), figure(format::bytes(store.size_bytes))),
        (t(W::InUse), figure(format::bytes(store.used_bytes))),
        (
            t(W::RollupsWritten),
            text(format::count(store.rollups_written)),
        ),
        (
            t(W::RowsDropped),
            text(format::count(store.rows_dropped.total())),
        ),
        (
            t(W::WritesFailed),
            text(format::count(store.write_failures)),
        ),
    ];
    if let Some(error) = &store.error {
        list.push((t(W::Error), text(error.clone())));
    }
    let lost = store.rows_dropped.total();
    let lost = (lost > 0).then(|| {
        let words = phrases::rollups_missing(&format::count(lost));
        remark("warn", words)
    });
    let notice = store.notice.clone().map(|notice| remark("info", notice));
    facts_with(
        t(W::HistoryStore),
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
    let (undecoded, left_out) = (c.events_undecoded, c.events_left_out);
    let rows = vec![
        line(
            t(W::Parsed),
            Some(kept),
            Some(c.bytes_parsed),
            t(W::ParsedMeans),
            "",
        ),
        line(
            t(W::Skipped),
            None,
            Some(c.bytes_skipped),
            t(W::SkippedMeans),
            "",
        ),
        line(
            t(W::Truncated),
            None,
            Some(c.bytes_truncated),
            t(W::TruncatedMeans),
            "warn",
        ),
        line(
            t(W::Lost),
            Some(lost),
            Some(c.bytes_lost),
            t(W::LostMeans),
            "crit",
        ),
        line(
            t(W::Dropped),
            Some(dropped),
            Some(c.bytes_dropped),
            t(W::DroppedMeans),
            "crit",
        ),
        line(
            t(W::Undecoded),
            Some(undecoded),
            None,
            t(W::UndecodedMeans),
            "crit",
        ),
        Part {
            is_sum: true,
            ..line(
                t(W::Observed),
                Some(c.events_observed),
                Some(c.bytes_observed),
                t(W::ObservedMeans),
                "",
            )
        },
    ];
    let events = Balance::of(
        c.events_observed,
        &[kept, lost, dropped, undecoded, left_out],
    );
    let by_fate = Bytes::of_host(&c);
    view! {
        <section class="panel accounting">
            <div class="head">
                <h2>{t(W::CaptureAccounting)}</h2>
                <span class="unit">{t(W::SinceDaemonStart)}</span>
            </div>
            {segment_bar(&by_fate.segments(), phrases::bytes_fates(&by_fate.text()))}
            {parts_table("", &[t(W::Fate), t(W::Events), t(W::Bytes)], rows)}
            <div class="verdict" data-testid="accounting-verdict">
                {verdict(t(W::Events), events)}
                {verdict(t(W::Bytes), by_fate.balance)}
            </div>
        </section>
    }
}
