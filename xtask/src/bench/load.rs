//! What the daemon itself takes, by rate, containers, connections and paths.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::daemon::Daemon;
use super::fleet::{Container, Drive, Fleet, Server};
use super::ground::Ground;
use super::table::Table;
use crate::docker::Engine;
use crate::interrupt::Interrupt;
use crate::paths::Paths;

const SECONDS: f64 = 10.0;
/// Before it is measured: caches, and series of the requests' routes.
const WARMING_SECONDS: f64 = 2.0;
/// The daemon has read everything by then.
const SETTLED: Duration = Duration::from_secs(1);
const STEADY: Drive = Drive {
    connections: 32,
    seconds: SECONDS,
    rate: 1_000.0,
    n_paths: 0,
    n_idle: 0,
};

struct Case {
    title: &'static str,
    /// Nothing is sent where there is none.
    drive: Option<Drive>,
}

/// Measured with each number of containers.
const CASES: [Case; 4] = [
    Case {
        title: "idle",
        drive: None,
    },
    Case {
        title: "1,000/s",
        drive: Some(STEADY),
    },
    Case {
        title: "10,000/s",
        drive: Some(Drive {
            rate: 10_000.0,
            ..STEADY
        }),
    },
    Case {
        title: "as fast as it goes",
        drive: Some(Drive {
            rate: 0.0,
            ..STEADY
        }),
    },
];
/// Measured with one container beside these.
const SPECIAL_CASES: [Case; 2] = [
    Case {
        title: "1,000/s beside 10,000 open connections",
        drive: Some(Drive {
            n_idle: 10_000,
            ..STEADY
        }),
    },
    Case {
        title: "10,000/s over 10,000 paths",
        drive: Some(Drive {
            rate: 10_000.0,
            n_paths: 10_000,
            ..STEADY
        }),
    },
];

/// Measures one case after the other, with each number of containers.
///
/// # Errors
/// When a part of it fails.
pub fn run(paths: &Paths, ground: &Ground, fleets: &[usize]) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let _engine = Engine::ensure(paths)?;
    let fleet = Fleet::prepare(paths, ground)?;
    let mut table = Table::new(&[
        "containers",
        "load",
        "requests/s",
        "daemon, cores",
        "daemon, us a request",
        "servers, us a request",
        "own memory, MB",
        "peak, MB",
        "events lost",
    ]);
    let mut containers = vec![fleet.start("nginx", Server::Nginx)?];
    for &n in fleets {
        while containers.len() < n {
            interrupt.check()?;
            let name = format!("{}", containers.len());
            containers.push(fleet.start(&name, Server::Predictor)?);
        }
        let daemon = Daemon::start(ground, &containers.iter().collect::<Vec<_>>(), &[])?;
        let special = if n == 1 { &SPECIAL_CASES[..] } else { &[] };
        for case in CASES.iter().chain(special) {
            interrupt.check()?;
            println!("{n} containers, {}", case.title);
            table.row(measure(&fleet, &containers, &daemon, case)?);
        }
    }
    println!("\n{SECONDS} s each; memory grows with what was seen before.");
    table.print();
    Ok(())
}

fn measure(
    fleet: &Fleet,
    containers: &[Container],
    daemon: &Daemon,
    case: &Case,
) -> Result<Vec<String>> {
    let all: Vec<_> = containers.iter().collect();
    let connections = |drive: Drive| Drive {
        connections: drive.connections.max(all.len()),
        ..drive
    };
    if let Some(drive) = case.drive {
        let warming = Drive {
            seconds: WARMING_SECONDS,
            n_idle: 0,
            ..connections(drive)
        };
        fleet.drive(&all, warming)?;
        thread::sleep(SETTLED);
    }
    let servers_us = || all.iter().map(|each| each.cpu_us()).sum::<Result<f64>>();
    let (before, cpu_before) = (daemon.seen()?, daemon.cpu_us()?);
    let servers_before = servers_us()?;
    let sent = match case.drive {
        Some(drive) => Some(fleet.drive(&all, connections(drive))?),
        None => {
            thread::sleep(Duration::from_secs_f64(SECONDS));
            None
        }
    };
    let servers = servers_us()? - servers_before;
    // Up to the end of the load: what is read later is of the same requests,
    // and is some milliseconds' worth.
    let cpu = daemon.cpu_us()? - cpu_before;
    thread::sleep(SETTLED);
    let seen = daemon.seen()?;
    let (own, peak) = daemon.memory_mb()?;
    let seconds = sent.map_or(SECONDS, |sent| sent.seconds);
    let mut row = vec![
        all.len().to_string(),
        case.title.to_owned(),
        String::new(),
        format!("{:.3}", cpu / 1e6 / seconds),
        String::new(),
        String::new(),
        format!("{own:.0}"),
        format!("{peak:.0}"),
        (seen.events_lost - before.events_lost).to_string(),
    ];
    if let Some(sent) = sent {
        row[2] = format!("{:.0}", sent.n_requests / sent.seconds);
        row[4] = format!("{:.2}", cpu / sent.n_requests);
        row[5] = format!("{:.2}", servers / sent.n_requests);
    }
    Ok(row)
}
