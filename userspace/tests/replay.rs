//! A recording, replayed: the same requests as when it was made, without root,
//! kernel or Docker.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use modeltap_api_types::{Requests, Services};
use modeltap_testbed::daemon::{Daemon, Start};

/// Raised by `MODELTAP_BLESS=1`: what the replay shows becomes what is expected.
const BLESS: &str = "MODELTAP_BLESS";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
}

fn replay(recording: &Path) -> Daemon {
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    Start::replay(
        Path::new(env!("CARGO_BIN_EXE_modeltap")),
        recording,
        data.path(),
    )
    .ready()
}

/// One line a request, oldest first, with everything that does not depend on
/// the machine that replays.
fn told(daemon: &Daemon) -> String {
    let answer: Requests = daemon.json("/api/v1/requests?limit=2000");
    let mut requests = answer.requests;
    requests.reverse();
    let mut lines = String::new();
    for request in requests {
        let ms = |seconds: f64| format!("{:.3}", seconds * 1e3);
        let optional = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), ms);
        let line = [
            request.service,
            request.method.unwrap_or_else(|| "-".to_owned()),
            request.route,
            request
                .status
                .map_or_else(|| "-".to_owned(), |status| status.to_string()),
            request.outcome,
            request.completeness,
            format!("duration={}ms", ms(request.duration)),
            format!("ttfb={}ms", optional(request.ttfb)),
            format!("stream={}ms", optional(request.stream)),
            format!("queue={}ms", optional(request.queue)),
            format!("first_chunk={}ms", optional(request.first_chunk)),
            format!(
                "chunks={}",
                request
                    .n_chunks
                    .map_or_else(|| "-".to_owned(), |n| n.to_string())
            ),
            format!("in={}B", request.request_body_bytes),
            format!("out={}B", request.response_body_bytes),
        ];
        lines += &line.join(" ");
        lines.push('\n');
    }
    lines
}

#[test]
fn recording_replays_as_the_requests_it_was_made_of() {
    let recording = folder().join("model-servers.mtap");
    let daemon = replay(&recording);
    let told = told(&daemon);

    let expected_file = folder().join("model-servers.txt");
    if std::env::var_os(BLESS).is_some() {
        fs::write(&expected_file, &told).unwrap();
    }
    let expected = fs::read_to_string(&expected_file).unwrap();
    assert_eq!(told, expected);

    // The totals of the services are the same requests.
    let mut by_service: BTreeMap<String, u64> = BTreeMap::new();
    for line in told.lines() {
        let service = line.split(' ').next().unwrap();
        *by_service.entry(service.to_owned()).or_default() += 1;
    }
    let services: Services = daemon.json("/api/v1/services");
    let totals: BTreeMap<String, u64> = services
        .services
        .iter()
        .map(|service| (service.name.clone(), daemon.n_requests(&service.name)))
        .collect();
    assert_eq!(totals, by_service);

    let status = daemon.status();
    let capture = status.capture;
    assert!(capture.bytes_observed > 0, "{capture:?}");
    assert_eq!(
        capture.bytes_observed,
        capture.bytes_parsed + capture.bytes_skipped + capture.bytes_truncated,
        "{capture:?}"
    );
    // Every byte is some service's, and every request seen is counted.
    let mut observed = 0;
    for account in &status.services {
        let of = account.capture.expect("the service had traffic");
        let fates = [
            of.bytes_parsed,
            of.bytes_skipped,
            of.bytes_truncated,
            of.bytes_lost,
            of.bytes_dropped,
            of.bytes_pending,
        ];
        assert_eq!(of.bytes_observed, fates.iter().sum::<u64>(), "{account:?}");
        assert_eq!(account.seen.requests, by_service[&account.service]);
        assert_eq!(account.kernel, None, "no probe counted");
        observed += of.bytes_observed;
    }
    assert_eq!(observed, capture.bytes_observed);
    daemon.stop();
}

#[test]
fn recording_that_ends_inside_an_entry_is_shown_up_to_there() {
    let whole = fs::read(folder().join("model-servers.mtap")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let torn = scratch.path().join("torn.mtap");
    fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
    let daemon = replay(&torn);
    let n_shown = told(&daemon).lines().count();
    let expected = fs::read_to_string(folder().join("model-servers.txt")).unwrap();
    let n_whole = expected.lines().count();
    assert!(0 < n_shown && n_shown < n_whole, "{n_shown} of {n_whole}");
    assert!(
        daemon.log().contains("ends inside an entry"),
        "{}",
        daemon.log()
    );
    daemon.stop();
}

#[test]
fn file_that_is_no_recording_is_refused_in_one_line() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("empty", &b""[..]),
        ("text", b"this is no recording"),
        ("later", b"MTAP\xff\xff"),
    ] {
        let file = scratch.path().join(name);
        fs::write(&file, content).unwrap();
        let failure = Start::replay(
            Path::new(env!("CARGO_BIN_EXE_modeltap")),
            &file,
            scratch.path(),
        )
        .fails();
        assert_eq!(failure.status.code(), Some(1), "{name}: {failure:?}");
        assert_eq!(failure.stderr.lines().count(), 1, "{name}: {failure:?}");
        assert!(failure.stderr.contains(name), "{name}: {failure:?}");
    }
}
