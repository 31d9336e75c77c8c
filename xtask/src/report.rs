//! What ran, how it went, and the sums.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process;

/// Failed tests of a run that are run once more; of more, the code is the cause.
const MAX_AGAIN: usize = 3;

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
    ///
    /// `command` makes the command that runs those of the names that it is
    /// given, or all. A few that fail are run once more, by themselves: on a
    /// machine that others use too, a thousand tests of time, disk and kernel
    /// meet a rare pause. What passes only then is named in the summary.
    pub fn tests(&mut self, name: &str, command: impl Fn(&[&str]) -> Command) {
        self.tests_by(name, |names| {
            process::run_and_keep(&mut command(names)).unwrap_or_else(|error| {
                eprintln!("{error:#}");
                (false, String::new())
            })
        });
    }

    /// `run` tells whether all went well, and what was printed.
    fn tests_by(&mut self, name: &str, run: impl Fn(&[&str]) -> (bool, String)) {
        println!("== {name}");
        let started = Instant::now();
        let (success, output) = run(&[]);
        let (mut n_passed, mut n_failed) = judge(success, &output);
        if n_passed == 0 {
            eprintln!("{name}: no test passed");
        }
        let mut verdict = String::new();
        let failed = names_of_failed(&output);
        if (1..=MAX_AGAIN).contains(&failed.len()) && n_failed == failed.len() as u64 {
            println!("== {name}: once more, {}", failed.join(", "));
            let (success, output) = run(&failed);
            let (n_again, n_failed_again) = judge(success, &output);
            if n_failed_again == 0 && n_again >= n_failed {
                n_passed += n_failed;
                n_failed = 0;
                verdict = format!("; UNSTABLE, passed when run again: {}", failed.join(", "));
            }
        }
        self.n_passed += n_passed;
        self.n_failed += n_failed;
        verdict.insert_str(0, &format!("{n_passed} passed, {n_failed} failed"));
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

/// The tests that failed, in the order in which they ended.
fn names_of_failed(output: &str) -> Vec<&str> {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .collect()
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

    /// Fails at first, and does `then` when the failed test is named.
    fn fails_at_first(then: (bool, &str)) -> impl Fn(&[&str]) -> (bool, String) {
        move |names| {
            let first = "test a::c ... ok\ntest a::b ... FAILED\n\
                         test result: FAILED. 1 passed; 1 failed";
            let (success, output) = if names == ["a::b"] {
                then
            } else {
                (false, first)
            };
            (success, output.to_owned())
        }
    }

    #[test]
    fn test_that_passes_only_when_run_again_is_named() {
        let mut report = Report::default();
        let then = (true, "test result: ok. 1 passed; 0 failed");
        report.tests_by("some", fails_at_first(then));
        assert_eq!((report.n_passed, report.n_failed), (2, 0));
        assert_eq!(
            report.lines[0].verdict,
            "2 passed, 0 failed; UNSTABLE, passed when run again: a::b"
        );
    }

    #[test]
    fn test_that_fails_again_or_does_not_run_again_has_failed() {
        for then in [
            (false, "test result: FAILED. 0 passed; 1 failed"),
            (true, "test result: ok. 0 passed; 0 failed"),
            (false, ""),
        ] {
            let mut report = Report::default();
            report.tests_by("some", fails_at_first(then));
            assert_eq!((report.n_passed, report.n_failed), (1, 1), "{then:?}");
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
