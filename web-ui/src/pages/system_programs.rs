//! What the programs in the kernel cost.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{ProgramStatus, Status};

use crate::client::poll;
use crate::components::figures::{quantity, trouble};
use crate::components::list::{Row, awaited, list, none, text};
use crate::components::parts::live;
use crate::format;
use crate::state::Store;
use crate::words::{W, t};

const PERIOD: Duration = Duration::from_secs(15);
const HEADS: &[W] = &[W::Program, W::RunsMeasured, W::NsEach, W::ShareOfTime];

/// Runs of each program and what one took; nothing where none is attached.
#[component]
pub fn ProgramCosts() -> impl IntoView {
    let store = expect_context::<Store>();
    let always = Signal::stored(true);
    let polled = poll::<Status>(store, "/api/v1/status".to_owned(), PERIOD, always, always);
    live(move || {
        let status = polled.value.get();
        if status.as_ref().is_some_and(|s| !s.probes.attached) {
            return Vec::new();
        }
        let content = match status.map(|s| s.probes.programs) {
            None => awaited(),
            Some(programs) if programs.is_empty() => none(t(W::NotMeasuredYet)),
            Some(programs) => list("program", HEADS, rows(&programs)),
        };
        let panel = view! {
            <section class="panel table-panel" data-testid="programs">
                <div class="head">
                    <h2>{t(W::ProgramCosts)}</h2>
                    <span class="unit">{t(W::ProgramMeasured)}</span>
                </div>
                {content}
                {trouble(polled)}
            </section>
        };
        vec![panel.into_any()]
    })
}

fn rows(programs: &[ProgramStatus]) -> Vec<Row> {
    let all: f64 = programs.iter().map(|p| p.run_seconds).sum();
    let row = |program: &ProgramStatus| {
        let each_ns = program.run_seconds * 1e9 / program.n_runs.max(1) as f64;
        let share = (all > 0.0).then(|| program.run_seconds / all);
        Row {
            class: "",
            name: program.name.clone(),
            cells: vec![
                ("", text(program.name.clone())),
                ("", text(format::count(program.n_runs))),
                ("", text(format::count(each_ns as u64))),
                ("", quantity(format::percent(share)).into_any()),
            ],
        }
    };
    programs.iter().map(row).collect()
}
