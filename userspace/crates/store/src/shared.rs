//! What the writer, the readers and the handles share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use duckdb::Connection;

use crate::open::log_of;
use crate::probe::one_line;

/// Connections for readers: as many queries run at once.
const N_READERS: usize = 2;

/// The store's own state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The file.
    pub path: PathBuf,
    /// Size of the file and its log, in bytes.
    pub size_bytes: u64,
    /// Why the last attempt to write failed; `None` while writing works.
    pub error: Option<String>,
    /// What became of an older file that could not be used.
    pub notice: Option<String>,
    /// Rollups written since the start.
    pub rollups_written: u64,
    /// Rollups that could not be queued or written since the start.
    pub rollups_dropped: u64,
    /// Attempts to write that failed since the start.
    pub write_failures: u64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    notice: Option<String>,
    error: Mutex<Option<String>>,
    pub(crate) rollups_written: AtomicU64,
    pub(crate) rollups_dropped: AtomicU64,
    write_failures: AtomicU64,
    /// A place is empty while the database is closed.
    readers: [Mutex<Option<Connection>>; N_READERS],
}

impl Shared {
    pub(crate) fn new(path: PathBuf, notice: Option<String>) -> Self {
        Self {
            path,
            notice,
            error: Mutex::default(),
            rollups_written: AtomicU64::new(0),
            rollups_dropped: AtomicU64::new(0),
            write_failures: AtomicU64::new(0),
            readers: Default::default(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let size = |path| std::fs::metadata(path).map_or(0, |file| file.len());
        Stats {
            path: self.path.clone(),
            size_bytes: size(self.path.clone()) + size(log_of(&self.path)),
            error: lock(&self.error).clone(),
            notice: self.notice.clone(),
            rollups_written: self.rollups_written.load(Ordering::Relaxed),
            rollups_dropped: self.rollups_dropped.load(Ordering::Relaxed),
            write_failures: self.write_failures.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn drop_rollups(&self, n_rollups: u64) {
        self.rollups_dropped.fetch_add(n_rollups, Ordering::Relaxed);
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
        for reader in &self.readers {
            *lock(reader) = Some(connection.try_clone()?);
        }
        Ok(())
    }

    /// Takes the readers' connections away, after the queries that run now:
    /// DuckDB lets go of its file only with the last connection.
    pub(crate) fn close_readers(&self) {
        for reader in &self.readers {
            lock(reader).take();
        }
    }

    /// A reader's place: a free one, or the first that becomes free.
    pub(crate) fn reader(&self) -> MutexGuard<'_, Option<Connection>> {
        let free = self
            .readers
            .iter()
            .find_map(|reader| reader.try_lock().ok());
        free.unwrap_or_else(|| lock(&self.readers[0]))
    }
}

/// A query that panicked leaves a connection that still works.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
