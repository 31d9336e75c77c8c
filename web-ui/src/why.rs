//! Why a service is worse than it was, in words. Pure: the clock is an
//! argument, and every word of it is in this file.

use modeltap_api_types::{WhyBeside, WhyCarrier, WhyFinding, WhyPhase};

use crate::format;

/// Share from which on it is said to be all.
const NEARLY_ALL: f64 = 0.9;
/// Seconds that a click on the time shows at the least.
const LEAST_SPAN: f64 = 60.0;

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Words.
    Text(String),
    /// A route, which leads to its requests.
    Route(String),
    /// A container.
    Container(String),
}

/// A finding as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The class of its colour.
    pub class: &'static str,
    /// What, before the time it began.
    pub lead: &'static str,
    /// When it began, and when it was over.
    pub when: String,
    /// The first sentence after that.
    pub pieces: Vec<Piece>,
    /// The second: what happened then; empty where nothing is known.
    pub then: String,
    /// Its figures, one a line: what, before and since.
    pub figures: Vec<(String, String)>,
}

/// Puts a finding in words; `clock` tells a time of day.
#[must_use]
pub fn told(finding: &WhyFinding, clock: impl Fn(f64) -> String) -> Told {
    let since = clock(finding.since_unix_ms as f64);
    let (lead, when) = match finding.until_unix_ms {
        None => (lead(finding, true), format!("since {since}")),
        // A single kill is an instant.
        Some(until) if until <= finding.since_unix_ms => {
            (lead(finding, false), format!("at {since}"))
        }
        Some(until) => (
            lead(finding, false),
            format!("from {since} to {}", clock(until as f64)),
        ),
    };
    let mut pieces = vec![Piece::Text(change(finding))];
    let mut text = |words: String| pieces.push(Piece::Text(words));
    if let Some(phase) = &finding.phase {
        // The phase's share is of the route's growth, where one carries it.
        let of_all = phase.share * finding.route.as_ref().map_or(1.0, |route| route.share);
        text(format!(
            ", {} {}",
            share_of_it(of_all),
            phase_words(&phase.name)
        ));
    }
    if let Some(route) = &finding.route {
        text(match &finding.phase {
            Some(_) => " on ".to_owned(),
            None => format!(", {} on ", share_of_it(route.share)),
        });
        pieces.push(Piece::Route(route.name.clone()));
    }
    if let Some(container) = &finding.container {
        let before = if finding.kind == "starved" {
            " in "
        } else {
            ", in container "
        };
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Container(container.name.clone()));
    }
    pieces.push(Piece::Text(".".to_owned()));
    let then: Vec<String> = finding.beside.iter().map(happened).collect();
    Told {
        class: match finding.kind.as_str() {
            "failing" => "crit",
            _ => "warn",
        },
        lead,
        when,
        pieces,
        then: match then.len() {
            0 => String::new(),
            _ => format!("At that time: {}.", then.join("; ")),
        },
        figures: figures(finding),
    }
}

/// The first sentence after its lead, as plain text.
#[must_use]
pub fn short(told: &Told) -> String {
    let words = |piece: &Piece| match piece {
        Piece::Text(text) | Piece::Route(text) | Piece::Container(text) => text.clone(),
    };
    let words: String = told.pieces.iter().map(words).collect();
    format!("{}: {words}", told.when)
}

/// What a path of the API tells of: a query's metric, else the path's end.
#[must_use]
pub fn data_name(path: &str) -> &str {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let metric = query
        .split('&')
        .find_map(|part| part.strip_prefix("metric="));
    metric.unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path))
}

/// Begin and end of what shows a finding, Unix milliseconds: as long before the
/// change as it lasted.
#[must_use]
pub fn around(finding: &WhyFinding, now_ms: f64) -> (f64, f64) {
    let since = finding.since_unix_ms as f64;
    let until = finding.until_unix_ms.map(|until| until as f64);
    let end = until.map_or(now_ms, |until| until + (until - since) / 2.0);
    let step = f64::from(finding.step_seconds) * 1e3;
    let lasted = (end - since).max(12.0 * step).max(LEAST_SPAN * 1e3);
    (since - lasted, (since + lasted).min(now_ms.max(end)))
}

fn lead(finding: &WhyFinding, goes_on: bool) -> &'static str {
    match (finding.kind.as_str(), finding.figure.as_str(), goes_on) {
        ("slow", _, true) => "Slower",
        ("slow", _, false) => "Was slower",
        ("failing", _, true) => "Failing",
        ("failing", _, false) => "Was failing",
        (_, "throttled_share", _) => "Short of processor",
        (_, "memory_share", _) => "Short of memory",
        (_, "oom_kills", _) => "Out of memory",
        (_, "gpu_utilization", _) => "GPU used to the full",
        (_, _, true) => "Starved",
        (_, _, false) => "Was starved",
    }
}

/// What changed, and how much.
fn change(finding: &WhyFinding) -> String {
    let (before, after) = (finding.before, finding.after);
    let pair = |of: fn(f64) -> String| format!("{} → {}", of(before), of(after));
    let stat = finding.stat.as_deref().unwrap_or_default();
    match finding.figure.as_str() {
        "felt" | "duration" => format!("{stat} {}{}", pair(time), times(before, after)),
        "first_chunk" => format!(
            "{stat} to the first chunk {}{}",
            pair(time),
            times(before, after)
        ),
        "drain" => format!(
            "{stat} until the answer has left {}{}",
            pair(time),
            times(before, after)
        ),
        "error_rate" => format!("errors {}", pair(share)),
        "throttled_share" => format!("{} of its periods throttled", pair(share)),
        "memory_share" => format!("{} of its limit", pair(share)),
        "oom_kills" if after == 1.0 => "1 process killed".to_owned(),
        "oom_kills" => format!("{after:.0} processes killed"),
        _ => pair(share),
    }
}

/// How many times as much, where that says something.
fn times(before: f64, after: f64) -> String {
    let ratio = after / before;
    match ratio {
        ratio if !ratio.is_finite() => String::new(),
        ratio if ratio < 9.95 => format!(" ({ratio:.1}×)"),
        ratio => format!(" ({ratio:.0}×)"),
    }
}

fn share_of_it(of_all: f64) -> String {
    match of_all {
        of_all if of_all >= NEARLY_ALL => "nearly all of it".to_owned(),
        of_all => format!("{:.0}\u{a0}% of it", of_all * 100.0),
    }
}

fn phase_words(name: &str) -> &'static str {
    match name {
        "queue" => "in the queue, before the server reads,",
        "read" => "while the request is read,",
        "app" => "in the application",
        "stream" => "while the answer is written,",
        "drain" => "while the answer leaves the socket,",
        _ => "in one phase",
    }
}

fn happened(beside: &WhyBeside) -> String {
    let pair = |of: fn(f64) -> String| match (beside.before, beside.after) {
        (Some(before), Some(after)) => format!(" ({} → {})", of(before), of(after)),
        _ => String::new(),
    };
    let detail = beside.detail.replace(" -> ", " → ");
    let what = match beside.kind.as_str() {
        "image_changed" => format!("new image ({detail})"),
        "oom_killed" if beside.n > 1 => format!("{} processes killed: out of memory", beside.n),
        "oom_killed" => "a process killed: out of memory".to_owned(),
        "restarted" => "started anew".to_owned(),
        "stopped" if detail.is_empty() => "stopped".to_owned(),
        "stopped" => format!("stopped, exit code {detail}"),
        "throttled" => format!("throttled{}", pair(share)),
        "memory_near_limit" => format!("memory near its limit{}", pair(share)),
        "gpu_full" => format!("GPU full{}", pair(share)),
        "gpu_idle" => format!("GPU idle{}", pair(share)),
        "more_traffic" => format!("more traffic{}", pair(rate)),
        "health_changed" => format!("health check: {detail}"),
        other => other.replace('_', " "),
    };
    let when = match beside.distance_seconds {
        0 => String::new(),
        before if before < 0 => format!(", {} before", ago(before)),
        after => format!(", {} after", ago(after)),
    };
    match &beside.container {
        Some(container) => format!("{container} {what}{when}"),
        None => format!("{what}{when}"),
    }
}

/// The figures behind the sentences.
fn figures(finding: &WhyFinding) -> Vec<(String, String)> {
    let of: fn(f64) -> String = match finding.kind.as_str() {
        "slow" => time,
        _ => share,
    };
    let pair = |before: Option<f64>, after: f64| {
        let before = before.map_or_else(|| "none".to_owned(), of);
        format!("{before} → {}", of(after))
    };
    let mean = if finding.kind == "slow" { ", mean" } else { "" };
    let mut lines = Vec::new();
    if let Some(WhyPhase {
        name,
        share: part,
        before,
        after,
    }) = &finding.phase
    {
        let figures = pair(*before, *after);
        let line = format!("{figures} ({} of the growth)", share(*part));
        lines.push((format!("{name}, mean"), line));
    }
    for carrier in [&finding.route, &finding.container].into_iter().flatten() {
        let WhyCarrier {
            name,
            share: part,
            before,
            after,
        } = carrier;
        let figures = pair(*before, *after);
        let line = format!("{figures} ({} of the growth)", share(*part));
        lines.push((format!("{name}{mean}"), line));
    }
    lines
}

fn time(seconds: f64) -> String {
    format::duration(Some(seconds)).text()
}

fn share(share: f64) -> String {
    format::percent(Some(share)).text()
}

fn rate(rate: f64) -> String {
    format!("{}/s", format::rate(rate))
}

fn ago(seconds: i64) -> String {
    format::span(seconds.unsigned_abs() as f64)
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
