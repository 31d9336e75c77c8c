//! What the daemon may do once its probes are attached, and what it never
//! tells, asks or keeps.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use modeltap_testbed::clock::await_that;
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Target};
use modeltap_testbed::relay::Relay;
use modeltap_testbed::{ground, namespace};

use crate::{start, watch};

const GO: &str = "/srv/go-server";
/// `CAP_DAC_READ_SEARCH` and `CAP_SYS_PTRACE`, and `CAP_SYS_ADMIN` to measure
/// the probes, by `linux/capability.h`.
const CLERKS: u64 = 1 << 2 | 1 << 19 | 1 << 21;
/// Longest time until a process has ended whose parent did.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// The fields of a `/proc/.../status`.
fn fields(status: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(status).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Checks every thread of a process; gives how many it has. `may` is what it
/// may be left with.
#[track_caller]
fn check_threads(pid: u32, may: u64) -> usize {
    let mut n_threads = 0;
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    for task in tasks.flatten() {
        let status = fields(&task.path().join("status"));
        let Some(name) = status.get("Name") else {
            // It ended meanwhile.
            continue;
        };
        n_threads += 1;
        for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
            let left = u64::from_str_radix(&status[set], 16).expect("a mask");
            assert_eq!(left & !may, 0, "{set} of {name}: {left:x}");
        }
        assert_eq!(status["NoNewPrivs"], "1", "{name}");
        assert_eq!(status["Seccomp"], "2", "{name}");
    }
    n_threads
}

/// Processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    let is_child = |child: &u32| {
        let status = fields(Path::new(&format!("/proc/{child}/status")));
        status.get("PPid") == Some(&pid.to_string())
    };
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(is_child)
        .collect()
}

/// Has a container that starts now counted exactly, with what it uses.
#[track_caller]
fn check_watches(daemon: &Daemon, name: &str) {
    let image = images::servers();
    let container = Container::start(name, &Spec::new(&image, GO)).listening(8000);
    daemon.await_service(container.name());
    let sent = load::run(
        Target::inside(&container, 8000),
        load::spread(load::mix(80)),
    );
    daemon.await_requests(container.name(), sent.len());
    let figures = format!("network figures of {}", container.name());
    await_that(&figures, Duration::from_secs(10), || {
        daemon.metrics().iter().any(|sample| {
            sample.name.starts_with("container_network_")
                && sample.label("container_name") == container.name()
        })
    });
}

#[test]
fn no_thread_keeps_a_privilege_and_what_starts_later_is_watched() {
    let Some(_ground) = ground::take("confinement") else {
        return;
    };
    let watch = watch();
    check_watches(&watch.daemon, "confined");
    let pid = watch.daemon.pid();
    let n_threads = check_threads(pid, 0);
    // The main one, two that serve, one that writes history, others that wait.
    assert!(n_threads > 4, "{n_threads}");

    let confinement = watch.daemon.status().confinement.expect("no replay");
    assert_eq!(confinement.capabilities, [] as [&str; 0]);
    assert_eq!(confinement.lacking, []);

    let clerks = children(pid);
    assert_eq!(clerks.len(), 1, "one process looks at others: {clerks:?}");
    assert_eq!(check_threads(clerks[0], CLERKS), 1);
    let gone = || !Path::new(&format!("/proc/{}", clerks[0])).exists();
    watch.daemon.kill();
    await_that("the clerk to end with the daemon", ENDS_WITHIN, gone);
}

#[test]
fn another_user_with_the_documented_capabilities_watches_as_well() {
    let Some(_ground) = ground::take("another-user") else {
        return;
    };
    const NOBODY: u32 = 65_534;
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    std::os::unix::fs::chown(data.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    let docker = fs::metadata("/var/run/docker.sock").expect("Docker runs");
    let capabilities = "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search";
    let daemon = start(data.path())
        .by(&format!(
            "setpriv --reuid {NOBODY} --regid {NOBODY} --groups {} \
             --inh-caps {capabilities} --ambient-caps {capabilities}",
            docker.gid()
        ))
        .ready();
    check_watches(&daemon, "by-nobody");
    let status = fields(Path::new(&format!("/proc/{}/status", daemon.pid())));
    assert!(status["Uid"].starts_with("65534\t"), "{status:?}");
    assert_eq!(status["CapPrm"], "0000000000000000");
    assert_eq!(status["CapEff"], "0000000000000000");
    daemon.stop();
}

#[test]
fn docker_is_only_read() {
    let Some(_ground) = ground::take("docker-read") else {
        return;
    };
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let socket = data.path().join("docker.sock");
    let relay = Relay::open(&socket);
    let daemon = start(&data.path().join("data"))
        .env("DOCKER_HOST", &format!("unix://{}", socket.display()))
        .ready();
    check_watches(&daemon, "only-read");
    daemon.stop();
    let requests = relay.requests();
    let asked = |path: &str| requests.iter().any(|line| line.contains(path));
    assert!(asked("/events?") && asked("/containers/"), "{requests:?}");
    for request in &requests {
        assert!(request.starts_with("GET "), "{request}");
    }
}

/// Secrets that a client and a container have, and a word that is none: it
/// shows that what is searched would be found.
const SECRETS: [&str; 5] = [
    "canary-authorization-7c1e",
    "canary-cookie-7c1e",
    "canary-body-7c1e",
    "canary-query-7c1e",
    "canary-environment-7c1e",
];
const KNOWN: &str = "known-path-7c1e";

#[track_caller]
fn check_silent(place: &str, text: &[u8]) {
    for secret in SECRETS {
        let found = text.windows(secret.len()).any(|at| at == secret.as_bytes());
        assert!(!found, "{secret} is in {place}");
    }
}

fn send_secrets(container: &Container) {
    let [authorization, cookie, body, query, _] = SECRETS;
    let body = format!("{{\"x\": 1, \"prompt\": \"{body}\"}}");
    let mut text = String::new();
    for path in [format!("/{KNOWN}"), "/predict".into(), "/fail".into()] {
        text.push_str(&format!(
            "POST {path}?key={query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {authorization}\r\n\
             Cookie: session={cookie}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
    let text = text.replacen("Host", "Connection: keep-alive\r\nHost", 1);
    namespace::run(Some(container.pid()), || {
        let mut stream = TcpStream::connect("127.0.0.1:8000").expect("the server listens");
        stream.write_all(text.as_bytes()).expect("it reads");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("it is open");
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).expect("it answers");
    });
}

#[test]
fn secrets_are_in_no_file_no_answer_and_no_log() {
    let Some(_ground) = ground::take("secrets") else {
        return;
    };
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let image = images::servers();
    let spec = Spec::new(&image, GO).more(&format!("--env KEY={}", SECRETS[4]));
    let container = Container::start("secrets", &spec).listening(8000);
    let daemon = start(data.path())
        .arg("--log=trace")
        .arg("--inspect=model,usage")
        .ready();
    daemon.await_service(container.name());
    let before = daemon.status().store.rollups_written;
    send_secrets(&container);
    daemon.await_requests(container.name(), 3);
    await_that("history to be written", Duration::from_secs(90), || {
        daemon.status().store.rollups_written > before + 2
    });
    let now = daemon.status().started_unix_ms + 3_600_000;
    let range = format!("from={}&to={now}", now - 7_200_000);
    let mut answers = String::new();
    for path in [
        "/api/v1/requests?limit=100".into(),
        "/api/v1/status".into(),
        "/api/v1/services".into(),
        format!("/api/v1/services/{}", container.name()),
        format!("/api/v1/services/{}/routes", container.name()),
        "/metrics".into(),
        format!("/api/v1/exemplars?{range}"),
        format!("/api/v1/events?{range}"),
        format!("/api/v1/export?table=rollups&format=ndjson&{range}"),
        format!("/api/v1/export?table=exemplars&format=ndjson&{range}"),
    ] {
        let answer = daemon.get(&path);
        check_silent(&path, answer.as_bytes());
        answers.push_str(&answer);
    }
    assert!(
        answers.contains(KNOWN),
        "the answers are about the requests"
    );
    let files = |when: &str| {
        let mut found = false;
        for entry in fs::read_dir(data.path()).expect("it is there").flatten() {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            check_silent(&format!("{:?} {when}", entry.file_name()), &bytes);
            found |= bytes.windows(KNOWN.len()).any(|at| at == KNOWN.as_bytes());
        }
        found
    };
    assert!(files("while it runs"), "the files are about the requests");
    let log = daemon.log();
    check_silent("the log", log.as_bytes());
    assert!(log.contains("TRACE"), "the log tells everything");
    daemon.stop();
    files("after its end");
}
