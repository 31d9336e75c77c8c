//! The API as strangers use it: by its own description, and against it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Target};
use modeltap_testbed::tools;

use crate::watch;

/// Inputs that are made for each operation, beside those its ranges ask for.
const EXAMPLES: &str = "50";
/// Longest time for all of them.
const SECONDS: &str = "90";
/// Checks that are left out: which values go with each other (a count has no
/// percentile) is more than a description can say.
const LEFT_OUT: &str = "positive_data_acceptance";

#[test]
fn every_answer_is_as_the_description_says() {
    let Some(_ground) = ground::take("openapi") else {
        return;
    };
    let image = images::servers();
    let container =
        Container::start("openapi", &Spec::new(&image, "/srv/go-server")).listening(8000);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let rows = load::run(
        Target::inside(&container, 8000),
        load::spread(load::mix(80)),
    );
    watch.daemon.await_requests(container.name(), rows.len());

    // Names of what there is, so that not every answer is that there is none.
    let scratch = tempfile::tempdir().unwrap();
    let settings = scratch.path().join("schemathesis.toml");
    let name = container.name();
    fs::write(
        &settings,
        format!("[parameters]\n\"path.service\" = {name:?}\n"),
    )
    .unwrap();
    let address = format!("http://{}", watch.daemon.address());
    let mut command = Command::new("timeout");
    command
        .arg(SECONDS)
        .arg(tools::python("schemathesis"))
        .arg("--config-file")
        .arg(&settings)
        .args(["run", &format!("{address}/api/v1/openapi.json")])
        .args(["--url", &address, "--max-examples", EXAMPLES])
        .args(["--phases", "examples,coverage,fuzzing", "--seed", "4"])
        .args(["--exclude-checks", LEFT_OUT])
        .args([
            "--request-timeout",
            "10",
            "--no-shrink",
            "--warnings",
            "off",
        ])
        .arg("--continue-on-failure")
        .current_dir(scratch.path());
    let output = command.output().expect("schemathesis can be started");
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{complaint}");
    // It must have looked.
    let counted = told.lines().find_map(|line| {
        let (n, _) = line.trim().split_once(" generated")?;
        n.replace(',', "").parse::<u64>().ok()
    });
    println!("{counted:?} inputs");
    assert!(counted.is_some_and(|n| n > 300), "{told}");
    assert!(watch.daemon.status().store.ok, "and it goes on");

    // A range that is over may be kept; one that moves is asked for again.
    let kept = |range: &str| {
        let path = format!("/api/v1/query?{range}");
        let answer = watch.daemon.try_get(&path).expect("it answers");
        assert_eq!(answer.status, 200, "{path}");
        answer
            .header("cache-control")
            .unwrap_or_default()
            .to_owned()
    };
    let over = "from=2020-01-01T00:00:00Z&to=2020-01-01T01:00:00Z";
    assert_eq!(kept(over), "private, max-age=600, immutable");
    assert_eq!(kept(""), "private, no-cache");
    watch.daemon.stop();
}

#[test]
fn endless_heads_and_idle_connections_do_not_keep_the_page_out() {
    let Some(_ground) = ground::take("slow-heads") else {
        return;
    };
    let watch = watch();
    let address = watch.daemon.address();
    let mut slow = Vec::new();
    let mut longest = Duration::ZERO;
    for n in 0..400 {
        let mut stream = TcpStream::connect(address).expect("it listens");
        if n % 2 == 0 {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ");
        }
        slow.push(stream);
        if n % 50 == 49 {
            let asked = Instant::now();
            let status = watch.daemon.status();
            longest = longest.max(asked.elapsed());
            assert!(status.api.n_connections <= 256, "{:?}", status.api);
        }
    }
    let api = watch.daemon.status().api;
    assert!(api.connections_evicted >= 144, "{api:?}");
    assert_eq!(api.connections_refused, 0, "{api:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    // The oldest went, and the others go by themselves.
    slow[0]
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    assert!(matches!(slow[0].read(&mut [0]), Ok(0) | Err(_)));
    drop(slow);
    let left = Instant::now();
    while watch.daemon.status().api.n_connections > 1 {
        assert!(left.elapsed() < Duration::from_secs(5), "they stay");
        thread::sleep(Duration::from_millis(50));
    }
    println!("longest answer beside them: {longest:?}");
    watch.daemon.stop();
}
