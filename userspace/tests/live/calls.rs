//! Every call that moves bytes, and every way a connection changes hands: the
//! counts are the client's, and no byte is missing.

use modeltap_testbed::client::Request;
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Planned, Reuse, Target};
use modeltap_testbed::truth;

use crate::watch;

const PORT: u16 = 8000;

/// Runs `userspace/tests/servers/odd_server.py` with these arguments.
#[track_caller]
pub fn odd_server(image: &str, name: &str, arguments: &str) -> Container {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/odd_server.py");
    let spec = Spec::new(image, &format!("python3 /odd_server.py {arguments}"))
        .more(&format!("--volume {script}:/odd_server.py:ro"));
    Container::start(name, &spec).listening(PORT)
}

/// Requests whose bodies a server may throw away unread, and get the same
/// answer.
fn bodiless(n: usize) -> Vec<Planned> {
    let is_refused = |planned: &Planned| {
        let body = planned.request.body.as_deref();
        body.is_some_and(|body| body.contains("no number"))
    };
    let mut plan = load::mix(n);
    plan.retain(|planned| !is_refused(planned));
    plan
}

#[track_caller]
fn check(daemon: &Daemon, image: &str, arguments: &str, plan: Vec<Planned>) {
    let name = format!("odd{}", arguments.replace("--", "").replace(' ', "-"));
    let container = odd_server(image, &name, arguments);
    daemon.await_service(container.name());
    let plans = vec![(Reuse::KeepAlive, plan.clone()), (Reuse::Close, plan)];
    let rows = load::run(Target::inside(&container, PORT), plans);
    daemon.await_requests(container.name(), rows.len());
    let service = daemon.service(container.name()).expect("it has requests");
    assert_eq!(truth::totals(&service), truth::sent(&rows), "{arguments}");
    let records = daemon.requests(container.name());
    for (row, record) in truth::join(&rows, &records) {
        assert_eq!(record.completeness, "whole", "{arguments}: {record:?}");
        assert_eq!(
            record.response_body_bytes, row.body_bytes,
            "{arguments}: {record:?}"
        );
    }
}

/// Checks each row of arguments with one daemon, which must miss nothing.
#[track_caller]
fn check_all(test: &str, rows: &[(&str, Vec<Planned>)]) {
    let Some(_ground) = ground::take(test) else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    for (arguments, plan) in rows {
        check(&watch.daemon, &image, arguments, plan.clone());
    }
    let capture = watch.daemon.status().capture;
    assert_eq!(
        (capture.events_lost, capture.requests_incomplete),
        (0, 0),
        "{capture:?}"
    );
    watch.daemon.stop();
}

#[test]
fn bytes_are_seen_whichever_call_reads_them() {
    let reads = [
        "readv",
        "preadv2",
        "recvmsg",
        "recvmmsg",
        "peek",
        "peek-many",
        "byte",
    ];
    let arguments: Vec<_> = reads.iter().map(|read| format!("--read {read}")).collect();
    let rows = arguments.iter().map(|row| (row.as_str(), load::mix(40)));
    check_all("reads", &rows.collect::<Vec<_>>());
}

#[test]
fn bytes_that_never_are_in_the_servers_memory_are_counted() {
    check_all(
        "elsewhere",
        &[
            ("--read splice", bodiless(40)),
            ("--read trunc", bodiless(40)),
            ("--write splice", load::mix(40)),
            ("--write sendfile", load::mix(40)),
        ],
    );
}

#[test]
fn bytes_are_seen_whichever_call_writes_them() {
    let writes = ["writev", "pwritev2", "sendmsg", "sendmmsg", "byte"];
    let arguments: Vec<_> = writes.iter().map(|w| format!("--write {w}")).collect();
    let rows = arguments.iter().map(|row| (row.as_str(), load::mix(40)));
    check_all("writes", &rows.collect::<Vec<_>>());
}

#[test]
fn connection_is_followed_whoever_serves_it_by_whichever_descriptor() {
    let owners = ["same", "thread", "fork", "dup", "dup2", "pass"];
    let arguments: Vec<_> = owners.iter().map(|o| format!("--owner {o}")).collect();
    // A server that does all itself serves one connection after the other.
    let plan = |owner: &str| match owner {
        "--owner same" => vec![
            Planned {
                request: Request {
                    close: true,
                    ..Request::get("/items/7")
                },
                route: "/items/{id}",
            };
            20
        ],
        _ => load::mix(40),
    };
    let rows = arguments.iter().map(|row| (row.as_str(), plan(row)));
    check_all("owners", &rows.collect::<Vec<_>>());
}
