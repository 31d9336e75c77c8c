//! A finding in plain English.

use std::time::Duration;

use super::finding::{Beside, BesideKind, Carrier, Figure, Finding, Phase, Resource};
use super::series::Timed;

/// Share from which on it is said to be all.
const NEARLY_ALL: f64 = 0.9;

/// One or two sentences without the time of day, which a reader's clock
/// tells: `Slower for 12 min: p95 felt from 20 ms to 300 ms, ...`.
#[must_use]
pub fn summary(finding: &Finding, now: u64) -> String {
    let change = &finding.change;
    let (before, after) = (change.before, change.after);
    let end = change.until.unwrap_or(now).max(change.since);
    let lasted = span(end - change.since);
    let verb = match change.until {
        None => format!("for {lasted}"),
        // A single kill is an instant.
        Some(over) if over == change.since => format!("{} ago", span(now.max(over) - over)),
        Some(over) => format!("for {lasted}, until {} ago", span(now.max(over) - over)),
    };
    let mut text = match change.figure {
        Figure::Slow(time, quantile) => format!(
            "Slower {verb}: {} {} to {} ({} times)",
            named(time, quantile),
            seconds(before),
            seconds(after),
            times(after / before),
        ),
        Figure::Failing => format!(
            "Failing {verb}: {} of requests to {}",
            share(before),
            share(after)
        ),
        Figure::Starved(Resource::Processor) => format!(
            "Short of processor {verb}: throttled in {} of its periods, {} before",
            share(after),
            share(before)
        ),
        Figure::Starved(Resource::Memory) => format!(
            "Short of memory {verb}: {} of its limit, {} before",
            share(after),
            share(before)
        ),
        Figure::Starved(Resource::MemoryKills) => {
            format!(
                "Out of memory {verb}: {} killed",
                counted(after, "process", "processes")
            )
        }
        Figure::Starved(Resource::Gpu) => format!(
            "GPU used to the full {verb}: {}, {} before",
            share(after),
            share(before)
        ),
    };
    // How much of the growth is said once.
    let route = finding.route.as_ref().map(|route| (route, "route"));
    let container = finding.container.as_ref().map(|of| (of, "container"));
    let mut is_first = true;
    if let Some(grown) = &finding.phase {
        // The phase's share is of the route's growth, where one carries it.
        let of_all = grown.share * route.map_or(1.0, |(route, _)| route.share);
        text.push_str(&format!("; {} {}", part(of_all), phase(grown.phase)));
        is_first = false;
    }
    for (carrier, what) in [route, container].into_iter().flatten() {
        let of_all = if is_first && !matches!(change.figure, Figure::Starved(_)) {
            format!("; {} ", part(carrier.share))
        } else {
            ", ".to_owned()
        };
        text.push_str(&of_all);
        text.push_str(&carried(carrier, what, change.figure));
        is_first = false;
    }
    text.push('.');
    let said: Vec<String> = finding.beside.iter().map(happened).collect();
    if !said.is_empty() {
        text.push_str(&format!(" At that time: {}.", said.join("; ")));
    }
    text
}

fn named(time: Timed, quantile: f64) -> String {
    let q = (quantile * 100.0).round();
    match time {
        Timed::Felt | Timed::Duration => format!("p{q} from"),
        Timed::FirstChunk => format!("p{q} to the first chunk from"),
        Timed::Drain => format!("p{q} until the answer is gone from"),
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Queue => "in the queue, before the server reads",
        Phase::Read => "while the request is read",
        Phase::App => "in the application, before it answers",
        Phase::Stream => "while the answer is written",
        Phase::Drain => "while the answer leaves the socket",
    }
}

/// How much of the growth.
fn part(of_all: f64) -> String {
    match of_all {
        of_all if of_all >= NEARLY_ALL => "nearly all of it".to_owned(),
        of_all => format!("{} of it", share(of_all)),
    }
}

fn carried(carrier: &Carrier, what: &str, figure: Figure) -> String {
    let figures = match (figure, carrier.before) {
        (Figure::Failing, Some(before)) => {
            format!(" ({} to {})", share(before), share(carrier.after))
        }
        (Figure::Slow(..), Some(before)) => {
            format!(" (mean {} to {})", seconds(before), seconds(carrier.after))
        }
        (Figure::Starved(_), _) => String::new(),
        (_, None) => " (new)".to_owned(),
    };
    format!("on {what} {}{figures}", carrier.name)
}

fn happened(beside: &Beside) -> String {
    let figures = |of: fn(f64) -> String| match (beside.before, beside.after) {
        (Some(before), Some(after)) => format!("{} to {}", of(before), of(after)),
        _ => String::new(),
    };
    let what = match beside.kind {
        BesideKind::ImageChanged => format!("image changed ({})", beside.detail),
        BesideKind::OomKilled => format!(
            "{} killed for want of memory",
            counted(beside.n as f64, "process", "processes")
        ),
        BesideKind::Restarted => "restarted".to_owned(),
        BesideKind::Stopped => format!("stopped (exit code {})", beside.detail),
        BesideKind::Throttled => format!("throttled ({} of periods)", figures(share)),
        BesideKind::MemoryNearLimit => format!("memory near its limit ({})", figures(share)),
        BesideKind::GpuFull => format!("GPU used to the full ({})", figures(share)),
        BesideKind::GpuIdle => format!("GPU idle ({})", figures(share)),
        BesideKind::MoreTraffic => format!("more traffic ({}/s)", figures(rate)),
        BesideKind::HealthChanged => format!("health check: {}", beside.detail),
    };
    let when = match beside.distance {
        0 => String::new(),
        before if before < 0 => format!(" {} before", span(before.unsigned_abs())),
        after => format!(" {} after", span(after.unsigned_abs())),
    };
    match &beside.container {
        Some(container) => format!("{container} {what}{when}"),
        None => format!("{what}{when}"),
    }
}

fn counted(n: f64, one: &str, many: &str) -> String {
    format!("{n:.0} {}", if n == 1.0 { one } else { many })
}

fn seconds(seconds: f64) -> String {
    let time = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    match time.as_secs_f64() {
        s if s >= 10.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.1} s"),
        s if s >= 0.01 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.1} ms", s * 1e3),
    }
}

fn share(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 1.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

fn rate(rate: f64) -> String {
    if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.0}")
    }
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.1}")
    } else {
        format!("{ratio:.0}")
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 2 * 3_600 => format!("{} min", s / 60),
        s if s < 48 * 3_600 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}
