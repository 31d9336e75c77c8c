//! Events lost, by rate and size of the ring.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::daemon::Daemon;
use super::fleet::{Drive, Fleet, Server};
use super::ground::Ground;
use super::table::{Table, percent};
use crate::docker::Engine;
use crate::interrupt::Interrupt;
use crate::paths::Paths;

const RINGS: [u32; 4] = [64 << 10, 256 << 10, 1 << 20, 8 << 20];
/// Requests a second; zero is as fast as it goes.
const RATES: [f64; 4] = [1_000.0, 10_000.0, 20_000.0, 0.0];
const DRIVE: Drive = Drive {
    connections: 64,
    seconds: 5.0,
    rate: 0.0,
    n_paths: 0,
    n_idle: 0,
};
const SETTLED: Duration = Duration::from_secs(1);

/// Measures each pair.
///
/// # Errors
/// When a part of it fails.
pub fn run(paths: &Paths, ground: &Ground) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let _engine = Engine::ensure(paths)?;
    let fleet = Fleet::prepare(paths, ground)?;
    let nginx = fleet.start("nginx", Server::Nginx)?;
    let mut table = Table::new(&[
        "ring",
        "requests/s",
        "events/s",
        "events lost",
        "share",
        "requests sent",
        "requests seen whole",
    ]);
    for ring in RINGS {
        let size = ring.to_string();
        let daemon = Daemon::start(ground, &[&nginx], &["--ring-bytes", &size])?;
        for rate in RATES {
            interrupt.check()?;
            println!("a ring of {} KB, {rate} requests/s", ring >> 10);
            let before = daemon.seen()?;
            let sent = fleet.drive(&[&nginx], Drive { rate, ..DRIVE })?;
            thread::sleep(SETTLED);
            let after = daemon.seen()?;
            let events = (after.events_observed - before.events_observed) as f64;
            let lost = (after.events_lost - before.events_lost) as f64;
            table.row(vec![
                format!("{} KB", ring >> 10),
                format!("{:.0}", sent.n_requests / sent.seconds),
                format!("{:.0}", events / sent.seconds),
                format!("{lost:.0}"),
                percent(lost / events.max(1.0)),
                format!("{:.0}", sent.n_requests),
                (after.requests - before.requests).to_string(),
            ]);
        }
    }
    table.print();
    Ok(())
}
