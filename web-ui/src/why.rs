//! Why a service is worse than it was, in words. Pure: the clock is an
//! argument.

use modeltap_api_types::{WhyBeside, WhyFinding};

use crate::format;
use crate::time_parts::Part;
use crate::words::{Cause, Lang, Text, W, phrases, t};

/// Share from which on it is said to be all.
const NEARLY_ALL: f64 = 0.9;
/// Seconds that a click on the time shows at the least.
const LEAST_SPAN: f64 = 60.0;

/// What a piece of a sentence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Words.
    Text,
    /// A route, which leads to its requests.
    Route,
    /// A container.
    Container,
}

/// A finding as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Whose.
    pub service: String,
    /// Its kind: one of each is told of a service.
    pub kind: String,
    /// The class of its colour.
    pub class: &'static str,
    /// What, before the time it began.
    pub lead: &'static str,
    /// When it began, and when it was over.
    pub when: String,
    /// The first sentence after that.
    pub pieces: Vec<(Piece, String)>,
    /// The second: what happened then; empty where nothing is known.
    pub then: String,
    /// Its figures, one a line: what, before and since.
    pub figures: Vec<(String, String)>,
    /// Where the API has them as data.
    pub evidence: Vec<String>,
    /// When it began, and when it was over, in Unix milliseconds.
    pub lasted: (f64, Option<f64>),
    /// Length in seconds of the steps that it was found in.
    pub step_seconds: u32,
}

/// Stand in a sentence for names, until it is cut in pieces.
const ROUTE: &str = "\u{1}";
const CONTAINER: &str = "\u{2}";

/// Puts a finding in words; `clock` tells a time of day.
#[must_use]
pub fn told(service: &str, finding: &WhyFinding, clock: fn(f64) -> String) -> Told {
    let since_ms = finding.since_unix_ms as f64;
    let until_ms = finding.until_unix_ms.map(|until| until as f64);
    let since = clock(since_ms);
    let when = match until_ms {
        None => phrases::since_then(&since),
        // A single kill is an instant.
        Some(until) if until <= since_ms => phrases::at(&since),
        Some(until) => phrases::from_to(&since, &clock(until)),
    };
    let mut then = String::new();
    for beside in &finding.beside {
        let words = happened(beside);
        then = if then.is_empty() {
            words
        } else {
            phrases::and_then(&then, &words)
        };
    }
    if !then.is_empty() {
        then = phrases::at_that_time(&then);
    }
    Told {
        service: service.to_owned(),
        kind: finding.kind.clone(),
        evidence: finding.evidence.clone(),
        lasted: (since_ms, until_ms),
        step_seconds: finding.step_seconds,
        class: match finding.kind.as_str() {
            "failing" => "crit",
            _ => "warn",
        },
        lead: t(lead(finding)),
        when,
        pieces: pieces(&sentence(finding), finding),
        then,
        figures: figures(finding),
    }
}

/// What changed, how much, and what carries it.
fn sentence(finding: &WhyFinding) -> String {
    let mut text = change(finding);
    let route = finding.route.as_ref();
    // A phase's share is of the route's growth, where one carries it.
    let of_route = route.map_or(1.0, |route| route.share);
    text.push_str(&match (&finding.phase, route) {
        (Some(phase), route) => {
            let of_all = share_of_it(phase.share * of_route);
            let name = t(phase_words(&phase.name));
            match route {
                Some(_) => phrases::spent_on(&of_all, name, ROUTE),
                None => phrases::spent_in(&of_all, name),
            }
        }
        (None, Some(_)) => phrases::from_route(&share_of_it(of_route), ROUTE),
        (None, None) => String::new(),
    });
    if finding.container.is_some() {
        text.push_str(&if finding.kind == "starved" {
            phrases::in_starved(CONTAINER)
        } else {
            phrases::in_container(CONTAINER)
        });
    }
    phrases::sentence(&text)
}

/// The sentence with the names where they stand.
fn pieces(sentence: &str, finding: &WhyFinding) -> Vec<(Piece, String)> {
    let mut pieces = Vec::new();
    for part in sentence.split_inclusive(is_mark) {
        let words = part.trim_end_matches(is_mark);
        pieces.push((Piece::Text, words.to_owned()));
        let (piece, carrier) = if part.ends_with(ROUTE) {
            (Piece::Route, &finding.route)
        } else {
            (Piece::Container, &finding.container)
        };
        if let Some(carrier) = carrier
            && words != part
        {
            pieces.push((piece, carrier.name.clone()));
        }
    }
    pieces
}

fn is_mark(c: char) -> bool {
    c == '\u{1}' || c == '\u{2}'
}

/// The first sentence after its lead, as plain text.
#[must_use]
pub fn short(told: &Told) -> String {
    let words: String = told.pieces.iter().map(|(_, text)| text.as_str()).collect();
    phrases::named(&told.when, &words)
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

/// Begin and end of what shows a finding, Unix seconds: as long before the
/// change as it lasted.
#[must_use]
pub fn around(told: &Told, now_ms: f64) -> (f64, f64) {
    let (since, until) = told.lasted;
    let end = until.map_or(now_ms, |until| until + (until - since) / 2.0);
    let step = f64::from(told.step_seconds) * 1e3;
    let lasted = (end - since).max(12.0 * step).max(LEAST_SPAN * 1e3);
    let to = (since + lasted).min(now_ms.max(end));
    ((since - lasted) / 1e3, to / 1e3)
}

/// What is wrong, before the time it began.
fn lead(finding: &WhyFinding) -> Cause {
    let goes_on = finding.until_unix_ms.is_none();
    match (finding.kind.as_str(), finding.figure.as_str(), goes_on) {
        ("slow", _, true) => Cause::Slower,
        ("slow", _, false) => Cause::WasSlower,
        ("failing", _, true) => Cause::Failing,
        ("failing", _, false) => Cause::WasFailing,
        (_, "throttled_share", _) => Cause::ShortOfProcessor,
        (_, "memory_share", _) => Cause::ShortOfMemory,
        (_, "oom_kills", _) => Cause::OutOfMemory,
        (_, "gpu_utilization", _) => Cause::GpuUsedUp,
        (_, _, true) => Cause::Starved,
        (_, _, false) => Cause::WasStarved,
    }
}

/// What changed, and how much.
fn change(finding: &WhyFinding) -> String {
    let (before, after) = (finding.before, finding.after);
    let stat = finding.stat.as_deref().unwrap_or_default();
    let figure = finding.figure.as_str();
    match figure {
        "felt" | "duration" | "first_chunk" | "drain" => {
            let times = times(grown(time, before, after), after / before);
            match figure {
                "first_chunk" => phrases::to_first_chunk(stat, &times),
                "drain" => phrases::until_left(stat, &times),
                _ => phrases::counted(stat, &times),
            }
        }
        "oom_kills" if after == 1.0 => t(Cause::OneKilled).to_owned(),
        "oom_kills" => phrases::processes_killed(&format::count(after as u64)),
        _ => {
            let grown = grown(share, before, after);
            match figure {
                "error_rate" => phrases::errors(&grown),
                "throttled_share" => phrases::periods_throttled(&grown),
                "memory_share" => phrases::of_its_limit(&grown),
                _ => grown,
            }
        }
    }
}

/// A figure before and since.
fn grown(of: fn(f64) -> String, before: f64, after: f64) -> String {
    arrow(&of(before), &of(after))
}

fn arrow(before: &str, after: &str) -> String {
    [before, after].join(" → ")
}

/// How many times as much, where that says something.
fn times(grown: String, ratio: f64) -> String {
    if !ratio.is_finite() {
        return grown;
    }
    let decimals = usize::from(ratio < 9.95);
    phrases::bracketed(&grown, &format!("{ratio:.decimals$}×"))
}

fn share_of_it(of_all: f64) -> String {
    if of_all >= NEARLY_ALL {
        return t(Cause::NearlyAll).to_owned();
    }
    phrases::part_of_it(&format!("{:.0}\u{a0}%", of_all * 100.0))
}

fn phase_words(name: &str) -> Cause {
    match name {
        "queue" => Cause::InQueue,
        "read" => Cause::InRead,
        "app" => Cause::InApp,
        "stream" => Cause::InStream,
        "drain" => Cause::InDrain,
        _ => Cause::InSomePhase,
    }
}

fn happened(beside: &WhyBeside) -> String {
    let detail = beside.detail.replace(" -> ", " → ");
    let mut of: fn(f64) -> String = share;
    let what = match beside.kind.as_str() {
        "image_changed" => phrases::bracketed(t(Cause::NewImage), &detail),
        "oom_killed" if beside.n > 1 => phrases::killed_oom(&beside.n.to_string()),
        "oom_killed" => t(Cause::OneKilledOom).to_owned(),
        "restarted" => t(Cause::StartedAnew).to_owned(),
        "stopped" if detail.is_empty() => t(Cause::Stopped).to_owned(),
        "stopped" => phrases::about_state(t(Cause::Stopped), &phrases::exit_code(&detail)),
        "throttled" => t(Cause::Throttled).to_owned(),
        "memory_near_limit" => t(Cause::MemoryNearLimit).to_owned(),
        "gpu_full" => t(Cause::GpuFull).to_owned(),
        "gpu_idle" => t(Cause::GpuIdle).to_owned(),
        "more_traffic" => {
            of = rate;
            t(Cause::MoreTraffic).to_owned()
        }
        "health_changed" => phrases::named(t(Cause::HealthCheck), &detail),
        other => other.replace('_', " "),
    };
    let mut words = match (beside.before, beside.after) {
        (Some(before), Some(after)) => phrases::bracketed(&what, &grown(of, before, after)),
        _ => what,
    };
    if let Some(container) = &beside.container {
        words = phrases::counted(container, &words);
    }
    let ago = format::span(beside.distance_seconds.unsigned_abs() as f64);
    match beside.distance_seconds {
        0 => words,
        before if before < 0 => phrases::about_state(&words, &phrases::before(&ago)),
        _ => phrases::about_state(&words, &phrases::after(&ago)),
    }
}

/// The figures behind the sentences.
fn figures(finding: &WhyFinding) -> Vec<(String, String)> {
    let is_slow = finding.kind == "slow";
    let of: fn(f64) -> String = if is_slow { time } else { share };
    let line = |name: &str, part: f64, before: Option<f64>, after: f64| {
        let before = before.map_or_else(|| t(W::NoneWord).to_owned(), of);
        let growth = phrases::of_growth(&share(part));
        let figures = phrases::bracketed(&arrow(&before, &of(after)), &growth);
        let name = if is_slow {
            phrases::mean_named(name)
        } else {
            name.to_owned()
        };
        (name, figures)
    };
    let phase = finding.phase.iter().map(|phase| {
        let part = Part::ALL
            .into_iter()
            .find(|part| part.word().in_lang(Lang::English) == phase.name);
        let name = part.map_or(phase.name.as_str(), |part| part.name());
        line(name, phase.share, phase.before, phase.after)
    });
    let carriers = [&finding.route, &finding.container].into_iter().flatten();
    let carriers = carriers.map(|c| line(&c.name, c.share, c.before, c.after));
    phase.chain(carriers).collect()
}

fn time(seconds: f64) -> String {
    format::duration(Some(seconds)).text()
}

fn share(share: f64) -> String {
    format::percent(Some(share)).text()
}

fn rate(rate: f64) -> String {
    phrases::per_second(&format::rate(rate))
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
