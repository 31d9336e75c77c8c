//! A disk that is full while history is written.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use modeltap_api_types::QueryResult;
use modeltap_testbed::clock::await_that;
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::good::GoodClient;
use modeltap_testbed::load::Target;
use modeltap_testbed::{ground, images};
use tempfile::TempDir;

use super::{size, table};
use crate::start;

/// Longest time until a full disk is told, and until it is forgotten: history
/// is written every second and tried again as often.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

/// A small disk of its own, in memory.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "mount a tmpfs"
        );
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves no room.
    fn fill(&self) {
        let ballast = File::create(self.path().join("ballast"));
        let mut ballast = ballast.expect("there is room for a name");
        while ballast.write_all(&[0; 4_096]).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.path().join("ballast")).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
    }
}

fn remembered(daemon: &Daemon, service: &str) -> u64 {
    let status = daemon.status();
    let from = status.started_unix_ms - 10_000;
    let to = status.started_unix_ms + (status.uptime_seconds * 1e3) as u64 + 10_000;
    let path = format!(
        "/api/v1/query?metric=requests&stat=count&service={service}&from={from}&to={to}&step=10"
    );
    let result: QueryResult = daemon.json(&path);
    let values = result.series.iter().flat_map(|series| &series.values);
    values.flatten().sum::<f64>().round() as u64
}

#[test]
fn full_disk_is_told_and_costs_no_live_figure_and_no_history() {
    let Some(_ground) = ground::take("full-disk") else {
        return;
    };
    let lasts = size(Duration::from_secs(60), Duration::from_secs(3));
    let image = images::servers();
    let container =
        Container::start("full-disk", &Spec::new(&image, "/srv/go-server")).listening(8000);
    let target = Target::inside(&container, 8000);
    let disk = Disk::mount();
    let daemon = start(&disk.path().join("data")).ready();
    daemon.await_service(container.name());
    let good = GoodClient::start(target, Duration::from_millis(50));
    await_that("history to begin", TOLD_WITHIN, || {
        daemon.status().store.rollups_written > 0
    });
    let full = Instant::now();
    disk.fill();
    await_that("the full disk to be told", TOLD_WITHIN, || {
        !daemon.status().store.ok
    });
    let told_after = full.elapsed();
    thread::sleep(lasts);
    let error = daemon.status().store.error.expect("it says why");
    disk.empty();
    let emptied = Instant::now();
    await_that("history to go on", TOLD_WITHIN, || daemon.status().store.ok);
    let went_on_after = emptied.elapsed();
    let mut truth = good.finish();
    truth.round(target);
    truth.check(&daemon, container.name());
    await_that("all of it to be history", TOLD_WITHIN, || {
        remembered(&daemon, container.name()) == truth.rows.len() as u64
    });
    let store = daemon.status().store;
    assert_eq!(store.rows_dropped.total(), 0, "{store:?}");
    table::note(
        "disk full",
        &format!(
            "for {} s under load",
            lasts.as_secs() + told_after.as_secs()
        ),
        &format!(
            "told after {2:.1} s; {0} of {0} requests told live and in history, which went on {1:.1} s \
             after there was room; \"{error}\"",
            truth.rows.len(),
            went_on_after.as_secs_f64(),
            told_after.as_secs_f64()
        ),
    );
    daemon.stop();
}
