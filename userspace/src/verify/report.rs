//! What a verification found, for people and for programs.

use anyhow::bail;
use modeltap_core::accounting::CaptureAccounting;
use serde::Serialize;

use super::compare::{Comparison, Counts, Tally};

/// What a verification found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Every request, compared.
    pub comparison: Comparison,
    /// Every event and byte, by its fate.
    pub accounting: CaptureAccounting,
    /// What the probes counted in the kernel.
    pub counted: Counts,
    /// What they should have.
    pub to_count: Counts,
}

impl Found {
    /// Whether every request was told as it was and nothing was missed.
    pub fn is_exact(&self) -> bool {
        self.comparison.is_exact() && self.lacks().is_empty()
    }

    /// Whether it is exact, as the end of a command.
    ///
    /// # Errors
    /// It is not.
    pub fn judge(&self) -> anyhow::Result<()> {
        if self.is_exact() {
            return Ok(());
        }
        let total = self.comparison.total();
        let lacks = self.lacks();
        bail!(
            "not exact: {} of {} requests were told as they were{}{}",
            total.n_exact,
            total.n_sent,
            if lacks.is_empty() { "" } else { "; " },
            lacks.join("; ")
        )
    }

    /// A table, the differences, and a last line that says it all.
    pub fn to_text(&self) -> String {
        let comparison = &self.comparison;
        let mut text = row(
            "situation",
            ["sent", "seen", "exact", "inside"].map(str::to_owned),
        );
        let numbers = |tally: Tally| {
            [tally.n_sent, tally.n_seen, tally.n_exact, tally.n_inside].map(|n| n.to_string())
        };
        for (situation, tally) in &comparison.tallies {
            text.push_str(&row(situation.title(), numbers(*tally)));
        }
        let total = comparison.total();
        text.push_str(&row("all", numbers(total)));
        text.push('\n');
        for sentence in &comparison.differences {
            text.push_str(&format!("{sentence}\n"));
        }
        let n_untold = comparison.n_differences - comparison.differences.len() as u64;
        if n_untold > 0 {
            text.push_str(&format!("and {n_untold} more\n"));
        }
        for lack in self.lacks() {
            text.push_str(&format!("{lack}\n"));
        }
        text.push_str(&format!(
            "counted in the kernel: {} of {} reads that began a request, {} of {} responses\n",
            self.counted.n_requests,
            self.to_count.n_requests,
            self.counted.n_responses.iter().sum::<u64>(),
            self.to_count.n_responses.iter().sum::<u64>(),
        ));
        let accounting = &self.accounting;
        if accounting.probe_runs_skipped > 0 {
            text.push_str(&format!(
                "the kernel left out at most {} runs of probes\n",
                accounting.probe_runs_skipped
            ));
        }
        let verdict = if self.is_exact() {
            "exact"
        } else {
            "NOT EXACT"
        };
        text.push_str(&format!(
            "{verdict}: {} of {} requests as they were, {} of {} events captured, {} bytes \
             accounted for; {:.2} % of ends told before the client had the last byte\n",
            total.n_exact,
            total.n_sent,
            accounting.events_captured(),
            accounting.events_observed,
            accounting.bytes_observed,
            100.0 * total.n_inside as f64 / total.n_exact.max(1) as f64,
        ));
        text
    }

    /// The same as one JSON document.
    ///
    /// # Errors
    /// Never, for these types; serde's signature has one.
    pub fn to_json(&self) -> anyhow::Result<String> {
        let comparison = &self.comparison;
        let total = comparison.total();
        let accounting = &self.accounting;
        let document = Document {
            exact: self.is_exact(),
            sent: total.n_sent,
            seen: total.n_seen,
            as_they_were: total.n_exact,
            inside: total.n_inside,
            invented: comparison.n_invented,
            situations: comparison
                .tallies
                .iter()
                .map(|(situation, tally)| Line {
                    situation: situation.name(),
                    title: situation.title(),
                    sent: tally.n_sent,
                    seen: tally.n_seen,
                    as_they_were: tally.n_exact,
                    inside: tally.n_inside,
                })
                .collect(),
            events_observed: accounting.events_observed,
            events_lost: accounting.events_lost,
            events_dropped: accounting.events_dropped,
            events_undecoded: accounting.events_undecoded,
            bytes_observed: accounting.bytes_observed,
            bytes_parsed: accounting.bytes_parsed,
            bytes_skipped: accounting.bytes_skipped,
            bytes_truncated: accounting.bytes_truncated,
            bytes_lost: accounting.bytes_lost,
            bytes_dropped: accounting.bytes_dropped,
            kernel_requests: self.counted.n_requests,
            kernel_requests_expected: self.to_count.n_requests,
            kernel_responses: self.counted.n_responses,
            kernel_responses_expected: self.to_count.n_responses,
            n_differences: comparison.n_differences,
            differences: &comparison.differences,
            lacks: self.lacks(),
        };
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }

    /// What was missed, a sentence each.
    fn lacks(&self) -> Vec<String> {
        let accounting = &self.accounting;
        let mut lacks = Vec::new();
        let mut lack = |n: u64, what: &str| {
            if n > 0 {
                lacks.push(format!("{n} {what}"));
            }
        };
        lack(
            accounting.events_lost,
            "events did not fit the kernel's ring buffer (--ring-bytes makes it larger)",
        );
        lack(
            accounting.events_dropped,
            "events were dropped: this machine is too slow for that load",
        );
        lack(accounting.events_undecoded, "events could not be decoded");
        lack(
            accounting.connections_untracked,
            "connections did not fit the kernel's map",
        );
        lack(accounting.bytes_skipped, "bytes were not understood");
        lack(accounting.bytes_truncated, "bytes were truncated");
        let fates = accounting.bytes_parsed
            + accounting.bytes_skipped
            + accounting.bytes_truncated
            + accounting.bytes_lost
            + accounting.bytes_dropped;
        lack(
            accounting.bytes_observed.abs_diff(fates),
            "bytes have no fate or two",
        );
        let (counted, expected) = (&self.counted, &self.to_count);
        lack(
            counted.n_requests.abs_diff(expected.n_requests),
            "requests were counted too many or too few in the kernel",
        );
        let responses = counted.n_responses.iter().zip(expected.n_responses);
        lack(
            responses.map(|(n, expected)| n.abs_diff(expected)).sum(),
            "responses were counted too many or too few in the kernel",
        );
        lacks
    }
}

fn row(name: &str, numbers: [String; 4]) -> String {
    let [sent, seen, exact, inside] = numbers;
    format!("{name:<34}{sent:>9}{seen:>9}{exact:>9}{inside:>9}\n")
}

#[derive(Serialize)]
struct Document<'a> {
    exact: bool,
    sent: u64,
    seen: u64,
    as_they_were: u64,
    inside: u64,
    invented: u64,
    situations: Vec<Line>,
    events_observed: u64,
    events_lost: u64,
    events_dropped: u64,
    events_undecoded: u64,
    bytes_observed: u64,
    bytes_parsed: u64,
    bytes_skipped: u64,
    bytes_truncated: u64,
    bytes_lost: u64,
    bytes_dropped: u64,
    kernel_requests: u64,
    kernel_requests_expected: u64,
    kernel_responses: [u64; 5],
    kernel_responses_expected: [u64; 5],
    n_differences: u64,
    differences: &'a [String],
    lacks: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    situation: &'static str,
    title: &'static str,
    sent: u64,
    seen: u64,
    as_they_were: u64,
    inside: u64,
}
