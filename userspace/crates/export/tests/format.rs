//! The whole text against the grammar of Prometheus' text format 0.0.4, read
//! by a parser that shares nothing with the writer.
#![expect(
    clippy::unwrap_used,
    reason = "the parser fails the test where the text breaks the format"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::accounting::{CaptureAccount, CaptureAccounting, RequestCounts};
use modeltap_core::connection::CgroupId;
use modeltap_core::container::{HealthCheck, Lifecycle};
use modeltap_core::measure::{Measure, TokenSums};
use modeltap_core::record::{Method, Operation, Outcome};
use modeltap_core::resource::{
    BlockReading, CpuReading, GpuReading, MemoryReading, NetworkReading, PressureReading,
    ResourceReading,
};
use modeltap_core::rollup::SeriesKey;
use modeltap_core::time::UnixNs;
use modeltap_core::time_buckets::{PART_BOUNDS_NS, TimeBuckets};
use modeltap_core::totals::{
    ContainerTotals, Counters, InferenceCounters, InferenceTotals, InnerTotals, RouteCounters,
    RouteTotals, SeriesTotals, SessionTotals, Totals,
};
use modeltap_export::{Exposition, HistoryState, Own, render};

/// Names that a container, a label or a path may hold.
const HOSTILE: [&str; 10] = [
    "",
    "plain",
    "a\"b",
    "a\\",
    "\\\"",
    "\\n",
    "\n# TYPE up counter\nup 1\n",
    "x\",le=\"+Inf\"} 9",
    "tab\tcr\rnul\0",
    "ünï\u{202e}\u{1f600}",
];

type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: Vec<(String, Labels, f64)>,
}

/// Reads a text; panics where it breaks the format.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut current = String::new();
    let mut help = None;
    for line in text.strip_suffix('\n').unwrap().split('\n') {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').unwrap();
            assert!(!words.is_empty(), "{name} has no help");
            assert_eq!(help.replace(name.to_owned()), None, "help without a type");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(help.take().as_deref(), Some(name), "type without its help");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let family = Family {
                kind: kind.to_owned(),
                samples: Vec::new(),
            };
            let before = families.insert(name.to_owned(), family);
            assert!(before.is_none(), "{name} is in two pieces");
            name.clone_into(&mut current);
        } else {
            let (name, labels, value) = sample(line);
            let family = families.get_mut(&current).unwrap();
            let suffix = name.strip_prefix(&current);
            let suffixes: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(
                suffix.is_some_and(|suffix| suffixes.contains(&suffix)),
                "{name} stands in {current}"
            );
            let identity = (name.clone(), labels.clone());
            assert!(seen.insert(identity), "{line} appears twice");
            family.samples.push((name, labels, value));
        }
    }
    for (name, family) in &families {
        match family.kind.as_str() {
            "histogram" => check_histograms(name, family),
            "counter" => assert!(name.ends_with("_total"), "{name}"),
            _ => assert!(!name.ends_with("_total"), "{name}"),
        }
    }
    families
}

/// Reads one sample line, by character so that escapes cannot be mistaken.
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert_name(name);
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert_name(label);
            let mut value = String::new();
            let mut characters = after.chars();
            loop {
                match characters.next().unwrap() {
                    '"' => break,
                    '\\' => value.push(match characters.next().unwrap() {
                        '\\' => '\\',
                        '"' => '"',
                        'n' => '\n',
                        other => panic!("no such escape: {other:?} in {line}"),
                    }),
                    other => value.push(other),
                }
            }
            let before = labels.insert(label.to_owned(), value);
            assert!(before.is_none(), "{label} appears twice in {line}");
            rest = characters.as_str();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap();
    }
    let value = rest.strip_prefix(' ').unwrap();
    assert!(
        value.bytes().all(|b| b.is_ascii_digit() || b == b'.'),
        "not a plain number: {line}"
    );
    (name.to_owned(), labels, value.parse().unwrap())
}

fn assert_name(name: &str) {
    assert!(!name.is_empty() && !name.as_bytes()[0].is_ascii_digit());
    assert!(
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
        "not a name: {name:?}"
    );
}

/// Each histogram in one piece: rising bounds, counts that never fall, and
/// `+Inf` equal to `_count`.
fn check_histograms(name: &str, family: &Family) {
    let mut seen = HashSet::new();
    let mut samples = family.samples.iter().peekable();
    while samples.peek().is_some() {
        let (mut bound, mut cumulative) = (f64::NEG_INFINITY, 0.0);
        let mut labels = None;
        while let Some((_, found, count)) =
            samples.next_if(|(found, _, _)| found.ends_with("_bucket"))
        {
            let mut found = found.clone();
            let le: f64 = found.remove("le").unwrap().parse().unwrap();
            assert!(le > bound, "{name}: {le} after {bound}");
            assert!(*count >= cumulative, "{name}: falls at {le}");
            (bound, cumulative) = (le, *count);
            assert_eq!(labels.get_or_insert_with(|| found.clone()), &found);
        }
        let labels = labels.unwrap();
        assert_eq!(bound, f64::INFINITY, "{name} lacks +Inf");
        let (sum, sum_labels, _) = samples.next().unwrap();
        let (count, count_labels, n) = samples.next().unwrap();
        assert_eq!(*sum, format!("{name}_sum"));
        assert_eq!(*count, format!("{name}_count"));
        assert_eq!((sum_labels, count_labels), (&labels, &labels));
        assert_eq!(*n, cumulative, "{name}: +Inf is not the count");
        assert!(seen.insert(labels), "{name}: a histogram in two pieces");
    }
}

fn counters(n_requests: u64) -> Counters {
    let mut counters = Counters {
        n_requests,
        ..Counters::default()
    };
    for nth in 0..n_requests {
        counters.duration.record(Duration::from_millis(3 << nth));
        counters
            .time_to_first_byte
            .record(Duration::from_micros(700 << nth));
        counters.request_body.record(nth);
        counters.response_body.record(40_u64 << (3 * nth));
    }
    counters
}

/// A reading of which everything is told.
fn used() -> ResourceReading {
    ResourceReading {
        cgroup: CgroupId(1),
        at: UnixNs(1),
        cpu: CpuReading {
            limit_cores: Some(0.2),
            ..CpuReading::default()
        },
        memory: MemoryReading::default(),
        network: Some(NetworkReading::default()),
        block: Some(BlockReading::default()),
        n_pids: Some(u64::MAX),
        pids_limit: Some(1),
        pressure: Some(PressureReading::default()),
        gpus: vec![GpuReading::default()],
    }
}

/// Every hostile name with every way to end, in both versions.
fn hostile_totals() -> Totals {
    let mut totals = Totals::default();
    for (at, name) in HOSTILE.into_iter().enumerate() {
        let name: Arc<str> = Arc::from(name);
        let mut times = TimeBuckets::new(&PART_BOUNDS_NS);
        times.record(Duration::from_millis(1));
        totals.containers.push(ContainerTotals {
            service: name.clone(),
            container: name.clone(),
            n_active: at as u64,
            inner: Some(InnerTotals {
                by_status_class: [at as u64; 6],
                duration: times.clone(),
            }),
            sessions: Some(SessionTotals {
                duration: times.clone(),
                n_messages_read: u64::MAX / 4,
                n_messages_written: 0,
            }),
            capture: Some(CaptureAccount::default()),
            kernel: Some(RequestCounts::default()),
            unseen_bytes: Some(0),
            lifecycle: Some(Lifecycle {
                health: Some(HealthCheck::Healthy),
                ..Lifecycle::default()
            }),
            n_oom_kills: Some(at as u64),
            resources: Some(used()),
        });
        let mut by_route = RouteCounters::default();
        for measure in Measure::ALL {
            by_route
                .measure_mut(measure)
                .record(Duration::from_secs(at as u64));
        }
        by_route.streams.n_streams = 1;
        totals.routes.push(RouteTotals {
            service: name.clone(),
            container: name.clone(),
            route: name.clone(),
            counters: by_route,
        });
        for operation in Operation::ALL {
            totals.inference.push(InferenceTotals {
                service: name.clone(),
                container: name.clone(),
                operation,
                model: name.clone(),
                error_type: name.clone(),
                counters: InferenceCounters {
                    duration: times.clone(),
                    first_token: Some(times.clone()),
                    tokens: TokenSums {
                        input: Some(1),
                        output: Some(u64::MAX),
                    },
                },
            });
        }
        for outcome in Outcome::ALL {
            for http_minor in [0, 1] {
                for (method, status) in [
                    (None, Some(200)),
                    (Some(Method::Other), None),
                    (Some(Method::Post), Some(503)),
                ] {
                    totals.series.push(SeriesTotals {
                        key: SeriesKey {
                            service: name.clone(),
                            container: name.clone(),
                            method,
                            route: name.clone(),
                            status,
                            outcome,
                        },
                        http_minor,
                        counters: counters(1 + at as u64),
                    });
                }
            }
        }
    }
    totals
}

fn rendered(totals: &Totals) -> String {
    render(&Exposition {
        totals,
        accounting: &CaptureAccounting {
            events_observed: u64::MAX,
            bytes_parsed: u64::MAX,
            ..CaptureAccounting::default()
        },
        own: Own {
            version: "1.0.0\"\n\\",
            cpu_seconds: 0.5,
            resident_bytes: u64::MAX,
            n_connections: 3,
            n_containers: 4,
            docker_connected: false,
            probes_cores: 0.0,
            reduction: 0,
        },
        history: &HistoryState::default(),
        alerts: &[],
        notifiers: &[],
    })
}

#[test]
fn hostile_names_come_back_as_they_were() {
    let families = parse(&rendered(&hostile_totals()));
    for family in [
        "modeltap_requests_total",
        "http_server_request_duration_seconds",
        "modeltap_response_time_to_first_byte_seconds",
        "http_server_request_body_size_bytes",
        "http_server_response_body_size_bytes",
        "modeltap_request_felt_seconds",
        "modeltap_response_chunk_interval_seconds",
        "modeltap_response_chunks_total",
    ] {
        for label in ["service_name", "container_name", "http_route"] {
            let found: HashSet<&str> = families[family]
                .samples
                .iter()
                .map(|(_, labels, _)| labels[label].as_str())
                .collect();
            assert_eq!(found, HashSet::from(HOSTILE), "{family} {label}");
        }
    }
    for family in [
        "gen_ai_server_request_duration_seconds",
        "gen_ai_server_time_to_first_token_seconds",
        "modeltap_inference_tokens_total",
    ] {
        let found: HashSet<&str> = families[family]
            .samples
            .iter()
            .map(|(_, labels, _)| labels["gen_ai_request_model"].as_str())
            .collect();
        assert_eq!(found, HashSet::from(HOSTILE), "{family}");
    }
    assert!(!families.contains_key("up"));
    let (_, build, _) = &families["modeltap_build_info"].samples[0];
    assert_eq!(build["version"], "1.0.0\"\n\\");
}

#[test]
fn merged_series_keep_every_request() {
    let totals = hostile_totals();
    let expected: u64 = totals.series.iter().map(|s| s.counters.n_requests).sum();
    let families = parse(&rendered(&totals));
    for (family, suffix) in [
        ("modeltap_requests_total", ""),
        ("http_server_request_duration_seconds", "_count"),
        ("modeltap_response_time_to_first_byte_seconds", "_count"),
        ("http_server_request_body_size_bytes", "_count"),
        ("http_server_response_body_size_bytes", "_count"),
    ] {
        let n: f64 = families[family]
            .samples
            .iter()
            .filter(|(name, _, _)| *name == format!("{family}{suffix}"))
            .map(|(_, _, value)| value)
            .sum();
        assert_eq!(n, expected as f64, "{family}");
    }
}

#[test]
fn methods_and_versions_take_their_spelling_from_the_conventions() {
    let families = parse(&rendered(&hostile_totals()));
    let mut values: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (_, labels, _) in &families["http_server_request_duration_seconds"].samples {
        for (label, value) in labels {
            values.entry(label).or_default().insert(value);
        }
    }
    assert_eq!(
        values["http_request_method"],
        HashSet::from(["", "_OTHER", "POST"])
    );
    assert_eq!(
        values["network_protocol_version"],
        HashSet::from(["1.0", "1.1"])
    );
    assert_eq!(
        values["http_response_status_code"],
        HashSet::from(["", "200", "503"])
    );
    assert_eq!(
        values["error_type"],
        HashSet::from(["", "503", "server_aborted", "unanswered"])
    );
}

#[test]
fn order_of_series_does_not_change_the_text() {
    let mut totals = hostile_totals();
    let text = rendered(&totals);
    totals.series.reverse();
    totals.containers.rotate_left(3);
    totals.routes.reverse();
    totals.inference.reverse();
    assert_eq!(rendered(&totals), text);
}

#[test]
fn a_container_told_twice_is_one_sample() {
    let mut totals = hostile_totals();
    totals.containers.extend(totals.containers.clone());
    let families = parse(&rendered(&totals));
    let active = &families["http_server_active_requests"].samples;
    assert_eq!(active.len(), HOSTILE.len());
    let n: f64 = active.iter().map(|(_, _, value)| value).sum();
    assert_eq!(n, 2.0 * 45.0);
}

#[test]
fn without_traffic_every_family_is_still_declared() {
    let idle = parse(&rendered(&Totals::default()));
    let busy = parse(&rendered(&hostile_totals()));
    assert!(idle.keys().eq(busy.keys()));
    assert!(idle["modeltap_requests_total"].samples.is_empty());
}
