//! Fails when the probes execute more for a request than the repository says.
//!
//! Counted in a guest, with the sample predictor in place of FastAPI, whose
//! start alone takes as long as the whole check. What is compared is what the
//! kernel says of each program, not the server's own sum: that one moves by
//! some hundredths with who preempts whom.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::guest::{self, Answer, Question};
use crate::demo;
use crate::paths::Paths;

const BASELINE: &str = "xtask/src/bench/baseline.json";
/// What the probes may execute more than the baseline says.
const MAX_GROWTH: f64 = 0.05;
const N_REQUESTS: u64 = 1_000;
/// Programs that run less often serve the time that passes, not requests.
const MIN_RUNS: f64 = 0.5;

/// Measures, and compares with the file or writes it anew.
///
/// # Errors
/// When the guest fails, or a request costs more than it may.
pub fn run(paths: &Paths, daemon: &Path, bless: bool) -> Result<()> {
    let answer = guest::ask(
        paths,
        &Question {
            daemon,
            binaries: &demo::ensure_binaries(paths)?,
            settings: String::new(),
            server: "predictor",
            n_requests: N_REQUESTS,
            times: 1,
            phases: &["watched"],
        },
    )?;
    let executed = executed(&answer);
    println!(
        "the probes execute {executed:.0} instructions a request on Linux {}",
        answer.kernel
    );
    let file = paths.root.join(BASELINE);
    if bless {
        let baseline = json!({ "kernel": answer.kernel, "instructions": executed.round() });
        return fs::write(&file, format!("{baseline:#}\n")).context("write the baseline");
    }
    let text = fs::read_to_string(&file).with_context(|| format!("read {BASELINE}"))?;
    let baseline: Value =
        serde_json::from_str(&text).with_context(|| format!("read {BASELINE}"))?;
    let expected = baseline["instructions"].as_f64();
    judge(executed, expected.context("the baseline has no number")?)
}

/// Of all programs, a request: the server's calls, the client's (which are not
/// watched) and what arrives.
fn executed(answer: &Answer) -> f64 {
    let programs = answer.programs("watched").iter();
    let of_requests = programs.filter(|program| program.n_runs >= MIN_RUNS);
    of_requests.map(|program| program.instructions).sum()
}

fn judge(executed: f64, expected: f64) -> Result<()> {
    // Without bpftool there would be nothing to compare.
    if executed <= 0.0 {
        bail!("the guest told nothing of the programs");
    }
    if executed > expected * (1.0 + MAX_GROWTH) {
        bail!(
            "the probes execute {executed:.0} instructions a request, {:.1} % more than the \
             {expected:.0} of {BASELINE}: make them cheaper, or have the file written anew by \
             `cargo xtask bench check --bless`",
            (executed / expected - 1.0) * 100.0
        );
    }
    if executed < expected * (1.0 - MAX_GROWTH) {
        println!("{BASELINE} says {expected:.0}: `cargo xtask bench check --bless` writes less");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_a_twentieth_fails() {
        for (executed, is_good) in [
            (10_000.0, true),
            (10_499.0, true),
            (10_501.0, false),
            (7_000.0, true),
            (0.0, false),
        ] {
            assert_eq!(judge(executed, 10_000.0).is_ok(), is_good, "{executed}");
        }
    }
}
