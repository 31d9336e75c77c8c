//! What the probes add to a server, in instructions.

use anyhow::Result;

use super::ground::Ground;
use super::guest::{self, Answer, Question};
use super::table::{Table, percent, spread};
use crate::paths::Paths;

const PHASES: [&str; 4] = ["nothing", "other", "watched", "nothing"];
const TIMES: usize = 3;
/// Programs that are told apart.
const N_PROGRAMS: usize = 8;

/// A server and what may be added to it.
struct Case {
    server: &'static str,
    title: &'static str,
    n_requests: u64,
    goal_other: Option<f64>,
    goal_watched: f64,
}

const CASES: [Case; 2] = [
    Case {
        server: "uvicorn",
        title: "FastAPI on uvicorn (uvloop, httptools)",
        n_requests: 1_000,
        goal_other: None,
        goal_watched: 0.015,
    },
    Case {
        server: "nginx",
        title: "nginx `return 200`",
        n_requests: 2_000,
        goal_other: Some(0.07),
        goal_watched: 0.25,
    },
];

/// Measures each server in a guest of its own.
///
/// # Errors
/// When a guest fails.
pub fn run(paths: &Paths, ground: &Ground) -> Result<()> {
    let mut table = Table::new(&[
        "server",
        "modeltap",
        "instructions a request",
        "added",
        "goal",
        "spread",
        "added in the client",
        "daemon",
    ]);
    let mut programs = Table::new(&[
        "server",
        "modeltap",
        "program",
        "runs a request",
        "instructions a run",
        "instructions a request",
    ]);
    let mut kernel = String::new();
    for case in &CASES {
        println!("counting instructions of {} in a guest", case.server);
        let answer = guest::ask(
            paths,
            &Question {
                daemon: &ground.daemon,
                binaries: &ground.binaries,
                settings: format!(
                    "NGINX={}\nPYTHON={}\n",
                    ground.nginx.display(),
                    ground.python.display()
                ),
                server: case.server,
                n_requests: case.n_requests,
                times: TIMES,
                phases: &PHASES,
            },
        )?;
        tell(case, &answer, &mut table);
        tell_programs(case, &answer, &mut programs);
        kernel.clone_from(&answer.kernel);
    }
    println!("\nLinux {kernel}, one processor, one connection, medians of {TIMES}.");
    table.print();
    programs.print();
    Ok(())
}

fn tell(case: &Case, answer: &Answer, table: &mut Table) {
    let plain = answer.median("nothing", |executed| executed.server);
    let client = answer.median("nothing", |executed| executed.client);
    for (phase, title, goal) in [
        ("nothing", "not there", None),
        ("other", "watches another", case.goal_other),
        ("watched", "watches it", Some(case.goal_watched)),
    ] {
        let values = answer.values(phase, |executed| executed.server);
        let here = answer.median(phase, |executed| executed.server);
        let mut row = vec![
            case.title.to_owned(),
            title.to_owned(),
            format!("{here:.0}"),
            String::new(),
            goal.map(|goal| format!("at most {}", percent(goal)))
                .unwrap_or_default(),
            format!("{:.2} %", spread(&values) * 100.0),
        ];
        if phase != "nothing" {
            let there = answer.median(phase, |executed| executed.client);
            let daemon = answer.median(phase, |executed| executed.daemon);
            row[3] = format!("{:.0} = {}", here - plain, percent(here / plain - 1.0));
            row.push(format!("{:.0}", there - client));
            row.push(format!("{daemon:.0}"));
        }
        table.row(row);
    }
}

fn tell_programs(case: &Case, answer: &Answer, table: &mut Table) {
    for (phase, title) in [("other", "watches another"), ("watched", "watches it")] {
        for program in answer.programs(phase).iter().take(N_PROGRAMS) {
            table.row(vec![
                case.server.to_owned(),
                title.to_owned(),
                format!("`{}`", program.name),
                format!("{:.2}", program.n_runs),
                format!("{:.0}", program.instructions / program.n_runs),
                format!("{:.0}", program.instructions),
            ]);
        }
    }
}
