//! What ran, how it went, and the sums.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process;

/// What ran and how it went.
#[derive(Default)]
pub struct Report {
    lines: Vec<Line>,
    n_passed: u64,
    /// Tests and checks that failed.
    pub n_failed: u64,
}

struct Line {
    stage: String,
    verdict: String,
    took: Duration,
}

impl Report {
    /// Runs a stage that is no test; a failure counts as one failed test.
    pub fn stage<T>(&mut self, name: &str, stage: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("== {name}");
        let started = Instant::now();
        let outcome = stage();
        let verdict = match &outcome {
            Ok(_) => "ok".to_owned(),
            Err(error) => {
                eprintln!("{name} failed: {error:#}");
                self.n_failed += 1;
                "FAILED".to_owned()
            }
        };
        self.note(name, verdict, started.elapsed());
        outcome
    }

    /// Runs tests and adds up their results.
    pub fn tests(&mut self, name: &str, command: &mut Command) {
        println!("== {name}");
        let started = Instant::now();
        let (success, output) = process::run_and_keep(command).unwrap_or_else(|error| {
            eprintln!("{error:#}");
            (false, String::new())
        });
        let (n_passed, n_failed) = judge(success, &output);
        if n_passed == 0 {
            eprintln!("{name}: no test passed");
        }
        self.n_passed += n_passed;
        self.n_failed += n_failed;
        let verdict = format!("{n_passed} passed, {n_failed} failed");
        self.note(name, verdict, started.elapsed());
    }

    /// Takes back the failure of a stage whose tests are skipped instead.
    pub fn forgive(&mut self, name: &str) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.stage == name) {
            line.verdict = "not here".to_owned();
            self.n_failed -= 1;
        }
    }

    /// Makes sure that a run which did not reach its end is no success.
    pub fn end_early(&mut self) {
        self.n_failed = self.n_failed.max(1);
    }

    /// Notes that a stage did not run.
    pub fn skip(&mut self, name: &str, reason: &str) {
        println!("== {name}");
        println!("SKIPPED {name}: {reason}");
        self.note(name, format!("SKIPPED: {reason}"), Duration::ZERO);
    }

    fn note(&mut self, stage: &str, verdict: String, took: Duration) {
        self.lines.push(Line {
            stage: stage.to_owned(),
            verdict,
            took,
        });
    }

    /// Prints the summary; its last line is `N passed, N failed`.
    pub fn print(&self) {
        println!("== summary");
        for line in &self.lines {
            println!(
                "{:>7.1} s  {:<32} {}",
                line.took.as_secs_f64(),
                line.stage,
                line.verdict
            );
        }
        println!("{} passed, {} failed", self.n_passed, self.n_failed);
    }
}

/// Counts the tests that passed and failed in a run of `cargo test`.
fn judge(success: bool, output: &str) -> (u64, u64) {
    let (n_passed, n_failed) = tally(output);
    // A test that does not compile, or a process that dies, prints no result;
    // and tests that are all filtered out would pass for ever.
    let is_silent = success && n_passed == 0 || !success && n_failed == 0;
    (n_passed, if is_silent { n_failed.max(1) } else { n_failed })
}

/// Sums the results that test binaries print.
fn tally(output: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for line in output.lines() {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else {
            continue;
        };
        sums.0 += count_before(result, " passed");
        sums.1 += count_before(result, " failed");
    }
    sums
}

fn count_before(text: &str, word: &str) -> u64 {
    text.split(word)
        .next()
        .filter(|before| before.len() < text.len())
        .and_then(|before| before.split(' ').next_back())
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn results_of_all_binaries_are_summed() {
        let output = "running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 11 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s\n\
            a line about 7 passed in passing\n";
        assert_eq!(tally(output), (13, 3));
    }

    #[test]
    fn run_without_results_counts_as_failed() {
        for (success, output, expected) in [
            (false, "", (0, 1)),
            (true, "", (0, 1)),
            (true, "test result: ok. 4 passed; 0 failed", (4, 0)),
            (false, "test result: ok. 4 passed; 0 failed", (4, 1)),
            (false, "test result: FAILED. 4 passed; 2 failed", (4, 2)),
        ] {
            assert_eq!(judge(success, output), expected, "{success} {output}");
        }
    }

    #[test]
    fn failed_stage_counts_as_one_failed_test() {
        let mut report = Report::default();
        let _ = report.stage("some", || -> Result<()> { bail!("no") });
        report.end_early();
        assert_eq!((report.n_passed, report.n_failed), (0, 1));
    }
}
