//! What containers use and what happens to them, against Docker, the kernel
//! and loads of known size.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use modeltap_api_types::ServiceContainer;
use modeltap_testbed::clock::{await_some, await_that};
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::{Container, Spec, docker};
use modeltap_testbed::ground;
use modeltap_testbed::images;

use crate::watch;

/// Longest time until a figure shows: two looks and a busy host.
const SHOWS_WITHIN: Duration = Duration::from_secs(10);
/// Longest time until `docker stats` says the same.
const ALIKE_WITHIN: Duration = Duration::from_secs(40);
const MIB: u64 = 1 << 20;

fn python<'a>(image: &'a str, code: &str) -> Spec<'a> {
    Spec {
        command: ["python3", "-c", code].map(str::to_owned).to_vec(),
        ..Spec::new(image, "")
    }
}

pub(crate) fn shell<'a>(image: &'a str, script: &str) -> Spec<'a> {
    Spec {
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        ..Spec::new(image, "")
    }
}

/// What the daemon shows of a container that is a service of its own.
pub(crate) fn shown(daemon: &Daemon, container: &Container) -> Option<ServiceContainer> {
    daemon.service(container.name())?.containers.pop()
}

#[track_caller]
fn await_shown<T>(
    daemon: &Daemon,
    container: &Container,
    what: &str,
    find: impl Fn(&ServiceContainer) -> Option<T>,
) -> T {
    let what = format!("{what} of {}", container.name());
    await_some(&what, SHOWS_WITHIN, || find(&shown(daemon, container)?))
}

/// The sample of a container; nothing where there is none.
pub(crate) fn metric(daemon: &Daemon, name: &str, container: &Container) -> Option<f64> {
    let samples = daemon.metrics().into_iter();
    let mut found = samples
        .filter(|sample| sample.name == name && sample.label("container_name") == container.name());
    let value = found.next()?.value;
    assert_eq!(found.next(), None, "{name} has two samples");
    Some(value)
}

/// A figure of `docker stats`, by its column.
fn docker_stats(container: &Container, column: &str) -> String {
    let format = format!("{{{{.{column}}}}}");
    docker(&["stats", "--no-stream", "--format", &format, container.id()])
}

/// Bytes of `61.3MiB / 256MiB`.
fn memory_bytes(text: &str) -> f64 {
    let used = text.split(' ').next().expect("there is a first word");
    let digits = used.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &used[digits.len()..] {
        "B" => 1.0,
        "KiB" => 1_024.0,
        "MiB" => MIB as f64,
        "GiB" => 1_024.0 * MIB as f64,
        other => panic!("unit {other:?}"),
    };
    digits.parse::<f64>().expect("a number") * unit
}

#[test]
fn processor_and_memory_are_those_of_docker_stats() {
    let Some(_ground) = ground::take("docker-stats") else {
        return;
    };
    let image = images::servers();
    // Memory of its own, page cache of both kinds, and a steady load.
    let code = "keep = bytearray(b'x') * (64 << 20)\n\
                open('/tmp/f', 'wb').write(bytes(32 << 20))\n\
                open('/tmp/f', 'rb').read()\n\
                print('ready', flush=True)\n\
                while True: pass";
    let spec = python(&image, code).more("--cpus 0.3 --memory 256m");
    let container = Container::start("stats", &spec);
    let watch = watch();
    await_that("the load", SHOWS_WITHIN, || {
        container.logs().contains("ready")
    });
    await_shown(&watch.daemon, &container, "figures", |found| {
        found.resources.clone()
    });
    // Docker measures over some second, and each figure over another, so that
    // on a busy host only some of them are alike.
    let figures = || {
        await_shown(&watch.daemon, &container, "figures", |found| {
            found.resources.clone()
        })
    };
    let lies_between = |value: f64, before: f64, after: f64, tolerance: f64| {
        (before.min(after) * (1.0 - tolerance)..=before.max(after) * (1.0 + tolerance))
            .contains(&value)
    };
    let compared = || {
        let before = figures();
        let format = "{{.CPUPerc}} {{.MemUsage}}";
        let stats = docker(&["stats", "--no-stream", "--format", format, container.id()]);
        let after = figures();
        let (cores, memory) = stats.split_once("% ").expect("a share and a size");
        let cores: f64 = cores.parse::<f64>().expect("a share") / 100.0;
        (before, cores, memory_bytes(memory), after)
    };
    let (used, theirs) = await_some("the same as docker stats", ALIKE_WITHIN, || {
        let (before, cores, memory, after) = compared();
        eprintln!(
            "cores: {} {cores} {}; memory: {} {memory} {}",
            before.cpu_cores, after.cpu_cores, before.memory_bytes, after.memory_bytes
        );
        let bytes = |n: u64| n as f64;
        let is_alike = lies_between(cores, before.cpu_cores, after.cpu_cores, 0.15)
            && lies_between(
                memory,
                bytes(before.memory_bytes),
                bytes(after.memory_bytes),
                0.02,
            );
        is_alike.then_some((after, memory))
    });
    assert!(theirs > 64.0 * MIB as f64);
    assert_eq!(used.memory_limit_bytes, Some(256 * MIB));
    assert_eq!(used.cpu_limit_cores, Some(0.3));
    let pids: u64 = docker_stats(&container, "PIDs").parse().expect("a number");
    assert_eq!(used.n_pids, Some(pids));
    assert_eq!(used.n_oom_kills, Some(0));
    watch.daemon.stop();
}

#[test]
fn quota_throttles_and_shows() {
    let Some(_ground) = ground::take("throttled") else {
        return;
    };
    let image = images::servers();
    let spec = shell(&image, "while true; do :; done").more("--cpus 0.2");
    let container = Container::start("throttled", &spec);
    let watch = watch();
    let used = await_shown(&watch.daemon, &container, "throttling", |found| {
        found
            .resources
            .clone()
            .filter(|used| used.throttled_share > Some(0.5))
    });
    eprintln!(
        "throttled: {:?} at {} cores",
        used.throttled_share, used.cpu_cores
    );
    assert!((0.15..=0.25).contains(&used.cpu_cores), "{used:?}");
    assert_eq!(used.cpu_limit_cores, Some(0.2));
    let value = |name| metric(&watch.daemon, name, &container).expect("it is exported");
    assert_eq!(value("container_spec_cpu_limit_cores"), 0.2);
    assert!(value("container_cpu_cfs_throttled_periods_total") > 5.0);
    assert!(value("container_cpu_cfs_throttled_seconds_total") > 0.5);
    watch.daemon.stop();
}

#[test]
fn known_transfer_is_received_within_its_headers_and_loopback_is_not() {
    let Some(_ground) = ground::take("transfer") else {
        return;
    };
    const PAYLOAD: usize = 20 << 20;
    let image = images::servers();
    // What it gets it sends on to itself over loopback, then a known answer.
    let code = "import socket, threading\n\
                inner = socket.create_server(('127.0.0.1', 9001))\n\
                def swallow():\n    c = inner.accept()[0]\n    while c.recv(1 << 16): pass\n\
                threading.Thread(target=swallow, daemon=True).start()\n\
                onward = socket.create_connection(('127.0.0.1', 9001))\n\
                outer = socket.create_server(('0.0.0.0', 9000))\n\
                c = outer.accept()[0]\n\
                while True:\n    data = c.recv(1 << 16)\n    if not data: break\n    onward.sendall(data)\n\
                c.sendall(bytes(5 << 20))\n\
                c.close()\n\
                import time; time.sleep(600)";
    let spec = python(&image, code).network("bridge");
    let container = Container::start("transfer", &spec).listening(9000);
    let watch = watch();
    await_shown(&watch.daemon, &container, "figures", |found| {
        found.resources.clone()
    });
    let moved = || {
        let value = |name| metric(&watch.daemon, name, &container).expect("it has a network");
        [
            value("container_network_receive_bytes_total") as u64,
            value("container_network_transmit_bytes_total") as u64,
        ]
    };
    let before = moved();
    let traffic_before = traffic(container.pid());
    let address = docker(&[
        "inspect",
        "--format",
        "{{.NetworkSettings.IPAddress}}",
        container.id(),
    ]);
    let mut connection = TcpStream::connect((address.as_str(), 9000)).expect("it accepts");
    connection.write_all(&vec![7; PAYLOAD]).expect("it reads");
    connection
        .shutdown(std::net::Shutdown::Write)
        .expect("it is open");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("it answers");
    assert_eq!(answer.len(), 5 << 20);
    await_that("the transfer to show", SHOWS_WITHIN, || {
        moved()[0] >= before[0] + PAYLOAD as u64
            && moved() == traffic(container.pid()).map(|(bytes, _)| bytes)
    });
    let after = traffic(container.pid());
    let payloads = [PAYLOAD as u64, 5 << 20];
    for at in 0..2 {
        let got = after[at].0 - before[at];
        // Ethernet, IP and TCP with options have 66 to 94 bytes a packet; a
        // busy host sends some packets again.
        let headers = 94 * (after[at].1 - traffic_before[at].1);
        let again = payloads[at] / 20;
        eprintln!(
            "moved {got} for {}, headers at most {headers}",
            payloads[at]
        );
        let expected = payloads[at]..=payloads[at] + headers + again;
        assert!(expected.contains(&got), "{got}, not in {expected:?}");
    }
    watch.daemon.stop();
}

/// Bytes and packets received, and sent, by everything but loopback.
fn traffic(pid: u32) -> [(u64, u64); 2] {
    let table = fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("it runs");
    let mut sum = [(0, 0); 2];
    for line in table.lines().filter(|line| !line.trim().starts_with("lo:")) {
        let Some((_, figures)) = line.split_once(':') else {
            continue;
        };
        let figures: Vec<u64> = figures
            .split_whitespace()
            .map(|figure| figure.parse().expect("a number"))
            .collect();
        for (sum, at) in sum.iter_mut().zip([0, 8]) {
            sum.0 += figures[at];
            sum.1 += figures[at + 1];
        }
    }
    sum
}

#[test]
fn host_network_is_nobodys_own() {
    let Some(_ground) = ground::take("host-network") else {
        return;
    };
    let image = images::servers();
    let spec = Spec::new(&image, "sleep 60").network("host");
    let container = Container::start("hostnet", &spec);
    let watch = watch();
    let used = await_shown(&watch.daemon, &container, "figures", |found| {
        found.resources.clone()
    });
    assert_eq!(used.receive_bytes_per_second, None);
    assert_eq!(used.send_bytes_per_second, None);
    assert!(used.memory_bytes > 0);
    watch.daemon.stop();
}

#[test]
fn direct_writes_and_reads_are_counted_to_the_byte() {
    let Some(_ground) = ground::take("block") else {
        return;
    };
    let image = images::servers();
    // Since Linux 6.10 v1 accounts a device only once a limit is set on it.
    let root = docker(&["info", "--format", "{{.DockerRootDir}}"]);
    let mut device = output("findmnt", &["-nvT", &root, "-o", "SOURCE"]);
    if !device.starts_with("/dev/") {
        eprintln!("skipped: {root} is on {device}, which is no block device");
        return;
    }
    let disk = output("lsblk", &["-ndo", "PKNAME", &device]);
    if !disk.is_empty() {
        device = format!("/dev/{disk}");
    }
    let limit = format!("--device-write-bps {device}:10gb --volume /data");
    let spec = Spec::new(&image, "sleep 60").more(&limit);
    let container = Container::start("block", &spec);
    let watch = watch();
    await_shown(&watch.daemon, &container, "figures", |found| {
        found.resources.clone()
    });
    let moved = |name| metric(&watch.daemon, name, &container).unwrap_or(0.0) as u64;
    let written = || moved("container_fs_writes_bytes_total");
    let before = written();
    container.execute(&[
        "dd",
        "if=/dev/zero",
        "of=/data/f",
        "bs=1M",
        "count=16",
        "oflag=direct",
    ]);
    await_that("the writes to show", SHOWS_WITHIN, || {
        written() >= before + 16 * MIB
    });
    let read = || moved("container_fs_reads_bytes_total");
    let before_reading = read();
    container.execute(&["dd", "if=/data/f", "of=/dev/null", "bs=1M", "iflag=direct"]);
    await_that("the reads to show", SHOWS_WITHIN, || {
        read() >= before_reading + 16 * MIB
    });
    let metadata = MIB;
    eprintln!(
        "wrote {}, read {}",
        written() - before,
        read() - before_reading
    );
    assert!(written() - before <= 16 * MIB + metadata);
    assert!(read() - before_reading <= 16 * MIB + metadata);
    watch.daemon.stop();
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("run {program}: {error}"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn killed_container_and_killed_child_count_once_each() {
    let Some(_ground) = ground::take("killed") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    // The kill takes the container's first process: its counter goes with it.
    let spec = Spec::new(&image, "tail /dev/zero").more("--memory 24m --memory-swap 24m");
    let died = Container::start("died", &spec);
    // And here a child's; the container goes on.
    let script = "sleep 3; tail /dev/zero & wait; sleep 60";
    let spec = shell(&image, script).more("--memory 24m --memory-swap 24m");
    let went_on = Container::start("went-on", &spec);
    let kills =
        |container: &Container| metric(&watch.daemon, "container_oom_events_total", container);
    for container in [&died, &went_on] {
        await_that("the kill to be counted", Duration::from_secs(20), || {
            kills(container) >= Some(1.0)
        });
    }
    // Long enough for whoever tells second.
    thread::sleep(Duration::from_secs(3));
    assert_eq!((kills(&died), kills(&went_on)), (Some(1.0), Some(1.0)));
    let used = await_shown(&watch.daemon, &went_on, "figures", |found| {
        found.resources.clone()
    });
    assert_eq!(used.n_oom_kills, Some(1));
    let status = docker(&["inspect", "--format", "{{.State.ExitCode}}", died.id()]);
    assert_eq!(status, "137");
    watch.daemon.stop();
}
