//! What the writer, the readers and the handles share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use duckdb::Connection;
use modeltap_core::history::Batch;
use modeltap_core::time::UnixNs;

use crate::open::{directory_of, log_of};
use crate::pool::Pool;
use crate::probe::one_line;

/// Queries that run at once: one that is slow leaves others for the page.
const N_READERS: usize = 4;
/// Queries that may wait: as many as a few open pages ask at once.
const MAX_WAITING: usize = 32;

/// Rows by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rollups of requests.
    pub rollups: u64,
    /// Rollups of resources.
    pub resources: u64,
    /// Single requests.
    pub exemplars: u64,
    /// Events.
    pub events: u64,
    /// Changes of alerts.
    pub alerts: u64,
    /// Deliveries of alerts.
    pub deliveries: u64,
}

impl Counts {
    pub(crate) fn of(batch: &Batch) -> Self {
        Self {
            rollups: batch.rollups.len() as u64,
            resources: batch.resources.len() as u64,
            exemplars: batch.exemplars.len() as u64,
            events: batch.events.len() as u64,
            alerts: batch.alerts.len() as u64,
            deliveries: batch.deliveries.len() as u64,
        }
    }

    /// Rows of each kind, by its name.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, u64); 6] {
        [
            ("rollups", self.rollups),
            ("resources", self.resources),
            ("exemplars", self.exemplars),
            ("events", self.events),
            ("alerts", self.alerts),
            ("deliveries", self.deliveries),
        ]
    }

    /// Rows of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_kind().into_iter().map(|(_, n)| n).sum()
    }

    pub(crate) fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.rollups += more.rollups;
        self.resources += more.resources;
        self.exemplars += more.exemplars;
        self.events += more.events;
        self.alerts += more.alerts;
        self.deliveries += more.deliveries;
    }

    /// Takes out what is figures and not news.
    pub(crate) fn take_figures(&mut self) -> Self {
        Self {
            rollups: std::mem::take(&mut self.rollups),
            resources: std::mem::take(&mut self.resources),
            exemplars: std::mem::take(&mut self.exemplars),
            ..Self::default()
        }
    }
}

/// The store's own state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The file.
    pub path: PathBuf,
    /// Size of the file and its log, in bytes.
    pub size_bytes: u64,
    /// Of it: in use; the rest is taken by new rows first. As of the last look.
    pub used_bytes: u64,
    /// Everything before this was given up because there was no room for it.
    pub given_up_before: Option<UnixNs>,
    /// Copies into a smaller file since the start.
    pub n_reclaimed: u64,
    /// Why the last attempt to write failed; `None` while writing works.
    pub error: Option<String>,
    /// What became of an older file that could not be used.
    pub notice: Option<String>,
    /// Rows written since the start.
    pub written: Counts,
    /// Rows that could not be queued or written since the start.
    pub dropped: Counts,
    /// Attempts to write that failed since the start.
    pub write_failures: u64,
    /// Rows that wait to be written now, and for how long the oldest have.
    pub n_waiting: u64,
    /// See `n_waiting`; zero where nothing waits.
    pub waiting_for: Duration,
    /// Rows that the disk lost though it had acknowledged them, and that were
    /// gone here too; they are among those dropped.
    pub n_lost_by_disk: u64,
    /// Rows that the disk lost likewise, and that are written again.
    pub n_written_again: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    written: Counts,
    dropped: Counts,
    n_lost_by_disk: u64,
    n_written_again: u64,
}

/// Rows on their way into the file, and since when the oldest are.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    n_queued: u64,
    queued_at: Option<Instant>,
    n_pending: u64,
    pending_at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    notice: Mutex<Option<String>>,
    error: Mutex<Option<String>>,
    counts: Mutex<Moved>,
    waiting: Mutex<Waiting>,
    write_failures: AtomicU64,
    /// Number of the last batch that is committed.
    pub(crate) committed: AtomicU64,
    /// Whether what an earlier process left in the tail is in the database.
    pub(crate) is_tail_free: AtomicBool,
    pub(crate) readers: Pool,
    /// For SQL of the user's and for exports: one of each at a time.
    pub(crate) sandbox: Pool,
    pub(crate) exports: Pool,
    pub(crate) used_bytes: AtomicU64,
    pub(crate) n_reclaimed: AtomicU64,
    pub(crate) given_up_before: Mutex<Option<UnixNs>>,
}

impl Shared {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            notice: Mutex::default(),
            error: Mutex::default(),
            counts: Mutex::default(),
            waiting: Mutex::default(),
            write_failures: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            is_tail_free: AtomicBool::new(false),
            readers: Pool::new(N_READERS, MAX_WAITING),
            sandbox: Pool::new(1, 2),
            exports: Pool::new(1, 1),
            used_bytes: AtomicU64::new(0),
            n_reclaimed: AtomicU64::new(0),
            given_up_before: Mutex::default(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let size = |path| std::fs::metadata(path).map_or(0, |file| file.len());
        let counts = *lock(&self.counts);
        let waiting = *lock(&self.waiting);
        let oldest = waiting.pending_at.or(waiting.queued_at);
        Stats {
            path: self.path.clone(),
            size_bytes: size(self.path.clone()) + size(log_of(&self.path)),
            used_bytes: self.used_bytes.load(Ordering::Relaxed),
            given_up_before: *lock(&self.given_up_before),
            n_reclaimed: self.n_reclaimed.load(Ordering::Relaxed),
            error: lock(&self.error).clone(),
            notice: lock(&self.notice).clone(),
            written: counts.written,
            dropped: counts.dropped,
            write_failures: self.write_failures.load(Ordering::Relaxed),
            n_waiting: waiting.n_queued + waiting.n_pending,
            waiting_for: oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed()),
            n_lost_by_disk: counts.n_lost_by_disk,
            n_written_again: counts.n_written_again,
        }
    }

    /// Notes rows that were handed over.
    pub(crate) fn queued(&self, n_rows: u64, at: Instant) {
        let mut waiting = lock(&self.waiting);
        waiting.n_queued += n_rows;
        waiting.queued_at.get_or_insert(at);
    }

    /// Notes rows that the writing thread has taken, or that found no room.
    pub(crate) fn unqueued(&self, n_rows: u64) {
        let mut waiting = lock(&self.waiting);
        waiting.n_queued -= n_rows;
        if waiting.n_queued == 0 {
            waiting.queued_at = None;
        }
    }

    /// Notes what the writing thread has, since when.
    pub(crate) fn pending(&self, (n_rows, oldest): (u64, Option<Instant>)) {
        let mut waiting = lock(&self.waiting);
        waiting.n_pending = n_rows;
        waiting.pending_at = oldest;
    }

    /// Counts what the disk lost of what it had acknowledged.
    pub(crate) fn took_back(&self, again: Counts, lost: Counts) {
        let mut counts = lock(&self.counts);
        counts.dropped.add(lost);
        counts.n_lost_by_disk += lost.total();
        counts.n_written_again += again.total();
    }

    /// Where the database is, and files beside it.
    pub(crate) fn directory(&self) -> PathBuf {
        directory_of(&self.path)
    }

    /// Counts what was given up.
    pub(crate) fn gave_up(&self, counts: Counts) {
        lock(&self.counts).dropped.add(counts);
    }

    /// Counts what is in the file.
    pub(crate) fn wrote(&self, counts: Counts) {
        lock(&self.counts).written.add(counts);
    }

    /// Notes what became of an older file.
    pub(crate) fn notice(&self, notice: Option<String>) {
        if notice.is_some() {
            *lock(&self.notice) = notice;
        }
    }

    /// Notes that writing failed; true if it worked before.
    pub(crate) fn failed(&self, error: &str) -> bool {
        self.write_failures.fetch_add(1, Ordering::Relaxed);
        lock(&self.error).replace(one_line(error)).is_none()
    }

    /// Notes that writing works; true if it failed before.
    pub(crate) fn worked(&self) -> bool {
        lock(&self.error).take().is_some()
    }

    /// Gives the readers connections of their own.
    pub(crate) fn open_readers(&self, connection: &Connection) -> duckdb::Result<()> {
        for pool in [&self.readers, &self.sandbox, &self.exports] {
            pool.open(connection)?;
        }
        Ok(())
    }

    /// Takes the readers' connections away, after the queries that run now:
    /// DuckDB lets go of its file only with the last connection.
    pub(crate) fn close_readers(&self) {
        for pool in [&self.readers, &self.sandbox, &self.exports] {
            pool.close();
        }
    }
}

/// A query that panicked leaves a connection that still works.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
