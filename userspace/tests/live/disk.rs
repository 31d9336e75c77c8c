//! A disk that fails beneath the history.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use modeltap_testbed::clock::await_that;
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Target};
use tempfile::TempDir;

use crate::history::remembered;
use crate::start;

/// Longest time until the daemon notices: it writes every second.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// More than the file of the disk may take.
const BALLAST_BYTES: u64 = 80_000_000;

/// A file system in a file that its own place may run out of room for: writing
/// to it fails with EIO then, as on a disk that dies.
struct Disk {
    folder: TempDir,
}

#[track_caller]
fn run(program: &str, options: &[&str], paths: &[&Path]) {
    let output = Command::new(program).args(options).args(paths).output();
    let output = output.unwrap_or_else(|error| panic!("run {program}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {options:?}: {text}");
}

impl Disk {
    #[track_caller]
    fn new(features: &str, options: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let disk = Self { folder };
        let (place, image) = (disk.path("place"), disk.path("place/image"));
        for folder in [&place, &disk.data()] {
            fs::create_dir(folder).expect("a folder can be made");
        }
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=64m", "tmpfs"],
            &[&place],
        );
        let file = File::create(&image).and_then(|file| file.set_len(64 << 20));
        file.expect("the image can be made");
        run("mkfs.ext4", &["-q", "-O", features], &[&image]);
        disk.put_in(&image, options);
        disk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    #[track_caller]
    fn put_in(&self, image: &Path, options: &str) {
        let options = format!("loop{options}");
        run("mount", &["-o", &options], &[image, &self.data()]);
    }

    /// Puts what is on the disk on another, in its place. The same one would
    /// be as it was left while any other process's mounts have it.
    #[track_caller]
    fn replace(&self) {
        run("umount", &[], &[&self.data()]);
        let other = self.path("other");
        let sparse = "--sparse=always";
        run("cp", &[sparse], &[&self.path("place/image"), &other]);
        self.put_in(&other, "");
    }

    /// From now on what is written to new places fails.
    fn fail(&self) {
        let ballast = File::create(self.path("place/ballast")).expect("a file can be made");
        let written = io::copy(&mut io::repeat(0).take(BALLAST_BYTES), &mut &ballast);
        assert!(written.is_err(), "there is room for all of it");
    }

    fn mend(&self) {
        fs::remove_file(self.path("place/ballast")).expect("the ballast can be removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for mount in ["data", "place"] {
            // It may be off already.
            let _off = Command::new("umount")
                .arg("--lazy")
                .arg(self.path(mount))
                .output();
        }
    }
}

/// Sends requests and waits until they are seen; gives how many there are.
fn send(daemon: &Daemon, container: &Container, before: usize) -> usize {
    let target = Target::inside(container, 8000);
    let sent = before + load::run(target, load::spread(load::mix(40))).len();
    daemon.await_requests(container.name(), sent);
    sent
}

/// Waits until history holds that many requests, and no more.
#[track_caller]
fn await_remembered(daemon: &Daemon, container: &Container, n: usize) {
    await_that("all of it to be in history", TOLD_WITHIN, || {
        remembered(daemon, container.name()) >= n as u64
    });
    assert_eq!(remembered(daemon, container.name()), n as u64);
}

#[track_caller]
fn await_trouble(daemon: &Daemon) {
    await_that("the trouble to be told", TOLD_WITHIN, || {
        !daemon.status().store.ok
    });
    let store = daemon.status().store;
    assert!(store.write_failures > 0, "{store:?}");
    let ready = daemon.try_get("/readyz").map(|response| response.status);
    assert_eq!(ready, Some(503));
}

#[test]
fn disk_that_fails_for_a_while_is_written_again_by_itself() {
    let Some(_ground) = ground::take("failing-disk") else {
        return;
    };
    let image = images::servers();
    let container = Container::start("disk", &Spec::new(&image, "/srv/go-server")).listening(8000);
    // Without a journal that could not be written either, it goes on after.
    let disk = Disk::new("^has_journal", "");
    let daemon = start(&disk.data()).ready();
    daemon.await_service(container.name());
    let sent = send(&daemon, &container, 0);
    disk.fail();
    await_trouble(&daemon);
    let sent = send(&daemon, &container, sent);
    disk.mend();
    await_that("history to be written again", TOLD_WITHIN, || {
        daemon.status().store.ok
    });
    let sent = send(&daemon, &container, sent);
    await_remembered(&daemon, &container, sent);
    assert_eq!(daemon.status().store.rows_dropped.total(), 0);
    let events = daemon.get("/api/v1/events");
    assert!(events.contains("history cannot be written"), "{events}");
    assert!(events.contains("0 rows are missing"), "{events}");
    daemon.stop();
}

#[test]
fn disk_that_turns_read_only_inside_a_commit_ends_neither_daemon_nor_history() {
    let Some(_ground) = ground::take("read-only-disk") else {
        return;
    };
    let image = images::servers();
    let container = Container::start("disk", &Spec::new(&image, "/srv/go-server")).listening(8000);
    // The file system gives up inside the `fsync` that ends the commit, so
    // that what was written of it cannot be taken back.
    let disk = Disk::new("has_journal", ",errors=remount-ro,data_err=abort");
    let daemon = start(&disk.data()).ready();
    daemon.await_service(container.name());
    let written = send(&daemon, &container, 0);
    await_remembered(&daemon, &container, written);
    disk.fail();
    await_trouble(&daemon);
    // The live view goes on.
    send(&daemon, &container, written);
    let status = daemon.status();
    assert!(!status.store.ok, "{status:?}");
    daemon.stop();
    disk.replace();
    let daemon = start(&disk.data()).ready();
    assert_eq!(daemon.status().store.notice, None);
    assert_eq!(remembered(&daemon, container.name()), written as u64);
    daemon.stop();
}
