//! `modeltap verify`: exact on this host, beside whatever else runs, and told
//! as not exact where something is missed; nothing is left behind.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use modeltap_testbed::clock::{await_some, await_that};
use modeltap_testbed::daemon;
use modeltap_testbed::ground;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::watch;

/// Where the v2 hierarchy is, on hybrid hosts and on others.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

fn verify(arguments: &[&str]) -> Child {
    Command::new(daemon::binary(env!("CARGO_BIN_EXE_modeltap")))
        .arg("verify")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started")
}

fn cgroup_of(verify: &Child) -> Option<PathBuf> {
    let name = format!("modeltap-verify-{}", verify.id());
    HIERARCHIES
        .iter()
        .map(|hierarchy| Path::new(hierarchy).join(&name))
        .find(|directory| directory.exists())
}

/// The server of a run, once it is in its cgroup.
fn server_of(verify: &Child) -> i32 {
    await_some("the server in its cgroup", Duration::from_secs(20), || {
        let members = fs::read_to_string(cgroup_of(verify)?.join("cgroup.procs")).ok()?;
        members.lines().next()?.parse().ok()
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn exact(output: &Output) -> Value {
    let said = || format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}", said());
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said()));
    assert_eq!(document["exact"], true, "{document}");
    document
}

#[test]
fn verify_is_exact_beside_a_daemon_and_another_verify() {
    let Some(_ground) = ground::take("verify") else {
        return;
    };
    let watch = watch();
    let runs = [(); 2].map(|()| verify(&["--json", "--requests", "1000"]));
    let names: Vec<_> = runs.iter().map(Child::id).collect();
    for run in runs {
        let document = exact(&run.wait_with_output().expect("the run can be waited for"));
        for count in ["sent", "seen", "as_they_were"] {
            assert_eq!(document[count], document["sent"], "{document}");
        }
        assert!(document["sent"].as_u64() >= Some(950), "{document}");
        let situations = document["situations"].as_array().expect("a list");
        assert!(situations.len() >= 18, "{document}");
        assert!(
            situations.iter().all(|one| one["sent"].as_u64() >= Some(4)),
            "{document}"
        );
        println!(
            "verify: {} of {} inside",
            document["inside"], document["sent"]
        );
    }
    for hierarchy in HIERARCHIES {
        for name in &names {
            let left = Path::new(hierarchy).join(format!("modeltap-verify-{name}"));
            assert!(!left.exists(), "{left:?} is left behind");
        }
    }
    let metrics = watch.daemon.get("/metrics");
    assert!(!metrics.contains("keep-alive"), "{metrics}");
    watch.daemon.stop();
}

#[test]
fn verify_shows_a_table_and_one_last_line() {
    let Some(_ground) = ground::take("verify-table") else {
        return;
    };
    let run = verify(&["--requests", "200"]);
    let output = run.wait_with_output().expect("the run can be waited for");
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("situation"), "{said}");
    assert!(
        lines.last().is_some_and(|line| line.starts_with("exact: ")),
        "{said}"
    );
}

/// The probes' own counts are right whatever the ring lost.
#[test]
fn verify_with_too_small_a_ring_fails_and_says_what_is_missing() {
    let Some(_ground) = ground::take("verify-ring") else {
        return;
    };
    let run = verify(&["--json", "--requests", "4000", "--ring-bytes", "65536"]);
    let output = run.wait_with_output().expect("the run can be waited for");
    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{error}");
    assert!(
        error.contains("did not fit the kernel's ring buffer"),
        "{error}"
    );
    let document: Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(document["exact"], false, "{said}");
    assert!(document["events_lost"].as_u64() > Some(0), "{said}");
    for count in ["kernel_requests", "kernel_responses"] {
        let expected = &document[format!("{count}_expected")];
        assert_eq!(&document[count], expected, "{said}");
    }
}

#[test]
fn verify_that_is_interrupted_or_killed_leaves_nothing_behind() {
    let Some(_ground) = ground::take("verify-interrupt") else {
        return;
    };
    let gone = |pid: i32| !Path::new(&format!("/proc/{pid}")).exists();
    let mut run = verify(&["--requests", "1000000"]);
    let server = server_of(&run);
    kill(Pid::from_raw(run.id() as i32), Signal::SIGINT).expect("it runs");
    let status = await_some("the end", Duration::from_secs(10), || {
        run.try_wait().expect("the run can be waited for")
    });
    assert_eq!((status.code(), status.signal()), (Some(1), None));
    assert_eq!(cgroup_of(&run), None);
    assert!(gone(server));

    let mut run = verify(&["--requests", "1000000"]);
    let server = server_of(&run);
    run.kill().expect("it runs");
    run.wait().expect("the run can be waited for");
    await_that("the server to end", Duration::from_secs(10), || {
        gone(server)
    });
    let left = cgroup_of(&run).expect("nobody is there to remove it");
    let next = verify(&["--json", "--requests", "100"]);
    exact(&next.wait_with_output().expect("the run can be waited for"));
    assert!(!left.exists(), "the next run removes it");
}
