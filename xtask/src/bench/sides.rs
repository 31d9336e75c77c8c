//! FastAPI plain, with modeltap, and with what one might use instead.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::daemon::Daemon;
use super::fleet::{Container, Drive, Fleet, Server};
use super::ground::Ground;
use super::table::{Table, median};
use crate::docker::Engine;
use crate::interrupt::Interrupt;
use crate::paths::Paths;

const ROUNDS: usize = 3;
const PLAIN: &str = "plain";
const MODELTAP: &str = "modeltap";
const VARIANTS: [&str; 4] = [
    PLAIN,
    MODELTAP,
    "prometheus-fastapi-instrumentator",
    "OpenTelemetry FastAPI (metrics, traces)",
];
/// As fast as the server goes.
const FAST: Drive = Drive {
    connections: 8,
    seconds: 4.0,
    rate: 0.0,
    n_paths: 0,
    n_idle: 0,
};
/// Where a request does not wait for another.
const EASY: Drive = Drive {
    connections: 8,
    rate: 200.0,
    ..FAST
};
/// Events are in the daemon by then.
const SETTLED: Duration = Duration::from_millis(500);

/// One variant in one round.
#[derive(Clone, Copy, Debug)]
struct Found {
    rate: f64,
    server_us: f64,
    daemon_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Measures all variants in turn, several times.
///
/// # Errors
/// When a part of it fails.
pub fn run(paths: &Paths, ground: &Ground) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let _engine = Engine::ensure(paths)?;
    let fleet = Fleet::prepare(paths, ground)?;
    let plain = fleet.start(PLAIN, Server::Uvicorn(""))?;
    let prometheus = fleet.start("prometheus", Server::Uvicorn("prometheus"))?;
    let opentelemetry = fleet.start("opentelemetry", Server::Uvicorn("opentelemetry"))?;
    let mut found: BTreeMap<&str, Vec<Found>> = BTreeMap::new();
    for round in 1..=ROUNDS {
        println!("round {round} of {ROUNDS}");
        for (index, variant) in VARIANTS.into_iter().enumerate() {
            interrupt.check()?;
            let container = [&plain, &plain, &prometheus, &opentelemetry][index];
            let daemon = match variant {
                MODELTAP => Some(Daemon::start(ground, &[container], &[])?),
                _ => None,
            };
            let measured = measure(&fleet, container, daemon.as_ref())?;
            found.entry(variant).or_default().push(measured);
        }
    }
    tell(&found);
    Ok(())
}

fn measure(fleet: &Fleet, container: &Container, daemon: Option<&Daemon>) -> Result<Found> {
    fleet.drive(
        &[container],
        Drive {
            seconds: 1.0,
            ..FAST
        },
    )?;
    let daemon_us = || daemon.map_or(Ok(0.0), Daemon::cpu_us);
    let (server_before, daemon_before) = (container.cpu_us()?, daemon_us()?);
    let fast = fleet.drive(&[container], FAST)?;
    thread::sleep(SETTLED);
    let server = container.cpu_us()? - server_before;
    let daemon = daemon_us()? - daemon_before;
    let easy = fleet.drive(&[container], EASY)?;
    Ok(Found {
        rate: fast.n_requests / fast.seconds,
        server_us: server / fast.n_requests,
        daemon_us: daemon / fast.n_requests,
        p50_us: easy.p50_us,
        p99_us: easy.p99_us,
    })
}

fn tell(found: &BTreeMap<&str, Vec<Found>>) {
    let plain = &found[PLAIN];
    let mut table = Table::new(&[
        "FastAPI on uvicorn",
        "requests/s",
        "throughput ratio",
        "server, us a request",
        "added",
        "daemon, us a request",
        "p50 added, us",
        "p99 added, us",
    ]);
    for variant in VARIANTS {
        let here = &found[variant];
        let middle = |of: fn(&Found) -> f64| median(here.iter().map(of));
        // Against the plain server of the same round: what else the machine
        // did at that time is in both.
        let against = |of: &dyn Fn(&Found, &Found) -> f64| {
            median(here.iter().zip(plain).map(|(here, plain)| of(here, plain)))
        };
        let mut row = vec![
            variant.to_owned(),
            format!("{:.0}", middle(|found| found.rate)),
            format!("{:.2}", against(&|here, plain| here.rate / plain.rate)),
            format!("{:.1}", middle(|found| found.server_us)),
        ];
        if variant == PLAIN {
            row.extend([
                String::new(),
                String::new(),
                format!("({:.0})", middle(|found| found.p50_us)),
                format!("({:.0})", middle(|found| found.p99_us)),
            ]);
        } else {
            row.extend([
                format!("{:+.1}", against(&|a, b| a.server_us - b.server_us)),
                format!("{:.1}", middle(|found| found.daemon_us)),
                format!("{:+.0}", against(&|a, b| a.p50_us - b.p50_us)),
                format!("{:+.0}", against(&|a, b| a.p99_us - b.p99_us)),
            ]);
        }
        table.row(row);
    }
    println!(
        "\nMedians of {ROUNDS} rounds in turn; {} connections as fast as it goes, \
         then {} requests a second for the times.",
        FAST.connections, EASY.rate
    );
    table.print();
}
