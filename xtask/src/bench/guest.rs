//! One server in a guest that counts instructions, and what it says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::table::median;
use crate::packages;
use crate::paths::{Paths, lock_cache};
use crate::vm::guest::Guest;
use crate::vm::kernels::{Kernel, Line};
use crate::vm::{self};

/// Debian's stable kernel: it tells of arrival, which costs most.
const KERNEL: Line = Line::V6_12;
const SCRIPT: &str = include_str!("guest.sh");
const DOCKER: &str = include_str!("docker.py");
const APP: &str = include_str!("app.py");
const NGINX: &str = include_str!("nginx.conf");
/// Requests of one `measure` and one `profile` that are not counted.
const N_WARMING: u64 = 50;

/// What a guest is asked for.
pub struct Question<'a> {
    /// Where the daemon is; its library lies beside it.
    pub daemon: &'a Path,
    /// The folder of `load` and `predictor`.
    pub binaries: &'a Path,
    /// Variables that the script reads: paths of servers.
    pub settings: String,
    /// The server's name.
    pub server: &'a str,
    /// Requests a measurement.
    pub n_requests: u64,
    /// Measurements a phase.
    pub times: usize,
    /// Phases, in their order.
    pub phases: &'a [&'a str],
}

/// Instructions a request of everybody, in one measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Executed {
    /// The server's, with the probes of its calls.
    pub server: f64,
    /// The client's, with the probes of its calls and of what arrives.
    pub client: f64,
    /// The daemon's.
    pub daemon: f64,
}

/// One program of the probes, in one phase, a request.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub n_runs: f64,
    pub instructions: f64,
}

/// What a guest said.
pub struct Answer {
    /// Its kernel, as `uname -r` tells it.
    pub kernel: String,
    measurements: Vec<(String, Executed)>,
    programs: BTreeMap<String, Vec<Program>>,
}

impl Answer {
    /// Values of a phase, of the server, the client or the daemon.
    pub fn values(&self, phase: &str, of: impl Fn(&Executed) -> f64) -> Vec<f64> {
        let of_phase = self.measurements.iter().filter(|(name, _)| name == phase);
        of_phase.map(|(_, executed)| of(executed)).collect()
    }

    /// The median of a phase.
    pub fn median(&self, phase: &str, of: impl Fn(&Executed) -> f64) -> f64 {
        median(self.values(phase, of))
    }

    /// Programs that ran in a phase, the dearest first.
    pub fn programs(&self, phase: &str) -> &[Program] {
        self.programs.get(phase).map_or(&[], Vec::as_slice)
    }
}

/// Boots a guest and measures in it.
///
/// # Errors
/// When it cannot be booted, a part of it fails, or the daemon in it missed
/// something.
pub fn ask(paths: &Paths, question: &Question) -> Result<Answer> {
    packages::ensure(&vm::PACKAGES, "emulated guests")?;
    packages::ensure(&["bpftool", "python3"], "the bench")?;
    let kernel = {
        let _lock = lock_cache(&paths.cache, "kernels")?;
        Kernel::get(paths, KERNEL)?
    };
    let share = tempfile::tempdir().context("make the guest's folder")?;
    let share = share.path();
    for (name, text) in [
        ("guest.sh", SCRIPT),
        ("docker.py", DOCKER),
        ("app.py", APP),
        ("nginx.conf", NGINX),
        ("settings", &question.settings),
    ] {
        fs::write(share.join(name), text)?;
    }
    for name in ["load", "predictor"] {
        fs::copy(question.binaries.join(name), share.join(name))?;
    }
    fs::copy(question.daemon, share.join("modeltap"))?;
    for entry in fs::read_dir(paths.native())? {
        let library = entry?.path();
        if let Some(name) = library.file_name() {
            fs::copy(&library, share.join(name))?;
        }
    }
    let command = format!(
        "sh guest.sh {} {} {} {}",
        question.server,
        question.n_requests,
        question.times,
        question.phases.join(" ")
    );
    let guest = Guest::new(&kernel, share)?.counting_instructions();
    let answer = guest.run(&command)?;
    if answer.code != Some(0) {
        let tail: Vec<_> = answer.output.lines().rev().take(15).collect();
        bail!(
            "the guest failed; what it said, last line first:\n{}",
            tail.join("\n")
        );
    }
    let measurements = measurements(&answer.output, question.n_requests)?;
    if question.phases.contains(&"watched") {
        let n_sent = question.n_requests * (question.times as u64 + 1) + N_WARMING;
        nothing_was_missed(&answer.output, n_sent)?;
    }
    let mut programs = BTreeMap::new();
    for phase in question.phases {
        let read = |when| fs::read_to_string(share.join(format!("{phase}-{when}.json")));
        if let (Ok(before), Ok(after)) = (read("before"), read("after")) {
            let ran = ran(&before, &after, question.n_requests)?;
            programs.insert((*phase).to_owned(), ran);
        }
    }
    Ok(Answer {
        kernel: kernel.version.clone(),
        measurements,
        programs,
    })
}

fn measurements(output: &str, n_requests: u64) -> Result<Vec<(String, Executed)>> {
    let mut measurements = Vec::new();
    for line in output.lines() {
        let Some(line) = line.strip_prefix("phase ") else {
            continue;
        };
        let [phase, numbers @ ..] = &line.split(' ').collect::<Vec<_>>()[..] else {
            continue;
        };
        // Microseconds of a clock that counts an instruction a nanosecond.
        let instructions = numbers
            .iter()
            .map(|number| Ok(number.parse::<f64>()? * 1_000.0 / n_requests as f64))
            .collect::<Result<Vec<f64>>>()
            .with_context(|| format!("read the guest's line {line:?}"))?;
        let [server, client, daemon] = instructions[..] else {
            bail!("the guest's line is cut off: {line:?}");
        };
        let executed = Executed {
            server,
            client,
            daemon,
        };
        measurements.push(((*phase).to_owned(), executed));
    }
    Ok(measurements)
}

/// Costs of a daemon that does not see what is sent would be no costs.
fn nothing_was_missed(output: &str, n_sent: u64) -> Result<()> {
    let status = output.lines().find_map(|line| line.strip_prefix("status "));
    let status: Value = serde_json::from_str(status.context("the guest told no status")?)?;
    let capture = &status["capture"];
    let count = |name: &str| capture[name].as_u64();
    if count("requests_complete").is_none_or(|n| n < n_sent)
        || count("events_lost") != Some(0)
        || count("events_dropped") != Some(0)
    {
        bail!("of {n_sent} requests the daemon in the guest saw others: {capture}");
    }
    Ok(())
}

/// What each program did between two listings of bpftool.
fn ran(before: &str, after: &str, n_requests: u64) -> Result<Vec<Program>> {
    let parse = |text: &str| -> Result<BTreeMap<u64, (String, u64, u64)>> {
        let listed: Vec<Value> = serde_json::from_str(text).context("read bpftool's listing")?;
        let programs = listed.iter().filter_map(|program| {
            let name = program["name"].as_str().unwrap_or_default().to_owned();
            let count = |name: &str| program[name].as_u64().unwrap_or(0);
            Some((
                program["id"].as_u64()?,
                (name, count("run_cnt"), count("run_time_ns")),
            ))
        });
        Ok(programs.collect())
    };
    let (before, after) = (parse(before)?, parse(after)?);
    let mut programs: Vec<Program> = after
        .into_iter()
        .filter_map(|(id, (name, n_runs, ns))| {
            let (_, n_runs_before, ns_before) = before.get(&id)?;
            Some(Program {
                name,
                n_runs: n_runs.checked_sub(*n_runs_before)? as f64 / n_requests as f64,
                instructions: ns.checked_sub(*ns_before)? as f64 / n_requests as f64,
            })
        })
        .filter(|program| program.n_runs > 0.0)
        .collect();
    programs.sort_by(|a, b| b.instructions.total_cmp(&a.instructions));
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_guest_become_instructions_a_request() {
        let output = "x\nphase nothing 53500 57000 0\nphase watched 62839 65889 53706\n";
        let found = measurements(output, 2_000).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, "nothing");
        assert_eq!(found[0].1.server, 26_750.0);
        assert_eq!(found[1].1.daemon, 26_853.0);
        for bad in ["phase nothing 1 2\n", "phase nothing 1 2 x\n"] {
            assert!(measurements(bad, 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn daemon_that_missed_requests_is_no_measure() {
        let status = |complete, lost| {
            format!(
                "status {{\"capture\": {{\"requests_complete\": {complete}, \
                 \"events_lost\": {lost}, \"events_dropped\": 0}}}}\n"
            )
        };
        assert!(nothing_was_missed(&status(100, 0), 100).is_ok());
        assert!(nothing_was_missed(&status(99, 0), 100).is_err());
        assert!(nothing_was_missed(&status(100, 1), 100).is_err());
        assert!(nothing_was_missed("", 100).is_err());
    }

    #[test]
    fn programs_are_told_by_what_they_did_in_between() {
        let before = r#"[{"id": 1, "name": "a", "run_cnt": 10, "run_time_ns": 100},
            {"id": 2, "name": "b", "run_cnt": 5, "run_time_ns": 50}, {"id": 3}]"#;
        let after = r#"[{"id": 1, "name": "a", "run_cnt": 12, "run_time_ns": 300},
            {"id": 2, "name": "b", "run_cnt": 7, "run_time_ns": 950}, {"id": 3}]"#;
        let programs = ran(before, after, 2).unwrap();
        let told: Vec<_> = programs
            .iter()
            .map(|program| (program.name.as_str(), program.n_runs, program.instructions))
            .collect();
        assert_eq!(told, [("b", 1.0, 450.0), ("a", 1.0, 100.0)]);
    }
}
