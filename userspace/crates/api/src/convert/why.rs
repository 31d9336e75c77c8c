//! Findings on the wire.

use modeltap_api_types as wire;
use modeltap_metrics::why::{Beside, Carrier, Change, Figure, Finding, Phase, Resource, summary};

/// A finding about `service`; `now` is where its figures end, in seconds of
/// Unix time, and `step` the length of the steps compared.
pub fn finding(service: &str, step: u64, now: u64, finding: Finding) -> wire::WhyFinding {
    let summary = summary(&finding, now);
    let evidence = evidence(service, step, now, &finding);
    let Finding {
        change,
        phase,
        route,
        container,
        beside,
    } = finding;
    let (kind, figure, stat) = names(change.figure);
    wire::WhyFinding {
        kind: kind.to_owned(),
        figure: figure.to_owned(),
        stat: stat.map(str::to_owned),
        since_unix_ms: change.since * 1_000,
        until_unix_ms: change.until.map(|until| until * 1_000),
        step_seconds: u32::try_from(step).unwrap_or(u32::MAX),
        before: change.before,
        after: change.after,
        phase: phase.map(|grown| wire::WhyPhase {
            name: grown.phase.as_str().to_owned(),
            share: grown.share,
            before: grown.before,
            after: grown.after,
        }),
        route: route.map(carrier),
        container: container.map(carrier),
        beside: beside.into_iter().map(happened).collect(),
        summary,
        evidence,
    }
}

fn names(figure: Figure) -> (&'static str, &'static str, Option<&'static str>) {
    match figure {
        Figure::Slow(time, q) if q <= 0.5 => ("slow", time.as_str(), Some("p50")),
        Figure::Slow(time, _) => ("slow", time.as_str(), Some("p95")),
        Figure::Failing => ("failing", "error_rate", None),
        Figure::Starved(resource) => {
            let name = match resource {
                Resource::Processor => "throttled_share",
                Resource::Memory => "memory_share",
                Resource::MemoryKills => "oom_kills",
                Resource::Gpu => "gpu_utilization",
            };
            ("starved", name, None)
        }
    }
}

fn carrier(carrier: Carrier) -> wire::WhyCarrier {
    wire::WhyCarrier {
        name: carrier.name,
        share: carrier.share,
        before: carrier.before,
        after: carrier.after,
    }
}

fn happened(beside: Beside) -> wire::WhyBeside {
    wire::WhyBeside {
        kind: beside.kind.as_str().to_owned(),
        at_unix_ms: beside.at * 1_000,
        distance_seconds: beside.distance,
        container: beside.container,
        detail: beside.detail,
        n: beside.n,
        before: beside.before,
        after: beside.after,
    }
}

/// Paths that show a finding, narrowed to what carries it, from as long before
/// the change as it lasted.
fn evidence(service: &str, step: u64, now: u64, finding: &Finding) -> Vec<String> {
    let Change {
        figure,
        since,
        until,
        ..
    } = finding.change;
    let end = until.unwrap_or(now).max(since + step);
    let around = (end - since).max(10 * step);
    let times = |from: u64, to: u64| format!("from={}&to={}", from * 1_000, to * 1_000);
    let whole = times(since.saturating_sub(around), end);
    let of = |name: &str, value: Option<&str>| {
        value.map_or_else(String::new, |value| format!("&{name}={}", encoded(value)))
    };
    let service = of("service", Some(service));
    let route = of("route", finding.route.as_ref().map(|of| of.name.as_str()));
    let container = finding.container.as_ref().map(|of| of.name.as_str());
    let container = of("container", container);
    let (metric, narrowed) = match figure {
        Figure::Slow(time, _) => (time.as_str(), format!("{route}{container}")),
        Figure::Failing => ("errors", format!("{route}{container}")),
        Figure::Starved(Resource::Processor) => ("throttled_share", container.clone()),
        Figure::Starved(Resource::Memory) => ("memory_bytes", container.clone()),
        Figure::Starved(Resource::MemoryKills) => ("oom_kills", container.clone()),
        Figure::Starved(Resource::Gpu) => ("gpu_utilization", container.clone()),
    };
    let phase = |phase: Phase| {
        let mean = format!("metric={}&stat=avg", phase.as_str());
        format!("/api/v1/query?{mean}{service}{narrowed}&step={step}s&{whole}")
    };
    let mut paths = vec![format!(
        "/api/v1/query?metric={metric}{service}{narrowed}&step={step}s&{whole}"
    )];
    paths.extend(finding.phase.as_ref().map(|grown| phase(grown.phase)));
    let reason = match figure {
        Figure::Slow(..) => Some("slow"),
        Figure::Failing => Some("failed"),
        Figure::Starved(_) => None,
    };
    paths.extend(reason.map(|reason| {
        let since = times(since, end);
        format!("/api/v1/exemplars?reason={reason}{service}{route}{container}&{since}")
    }));
    if !finding.beside.is_empty() || figure == Figure::Starved(Resource::MemoryKills) {
        paths.push(format!("/api/v1/events?{whole}{service}"));
    }
    paths
}

/// As a value of a query string (RFC 3986 section 2.3).
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
