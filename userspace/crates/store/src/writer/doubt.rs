//! What a failure leaves unsure, and how the file is trusted again.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use duckdb::OptionalExt;
use tracing::{error, warn};

use super::{Worker, WriteError};
use crate::open::{self, Why};
use crate::probe::{is_about_damage, is_about_room, is_failing};
use crate::tail;
use crate::uncut::n_uncut;

/// Failures in a row after which a damaged file makes way for a new one.
const MAX_DAMAGED: u32 = 3;

/// What has to be as it was when the database was opened, or nothing may be
/// written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sure {
    /// Device and number of the file at the database's path: another is there
    /// once a disk was taken off or put on.
    file: Option<(u64, u64)>,
    pub(super) n_uncut: u64,
}

impl Sure {
    pub(super) fn of(path: &Path) -> Self {
        let file = std::fs::metadata(path).ok();
        Self {
            file: file.map(|file| (file.dev(), file.ino())),
            n_uncut: n_uncut(),
        }
    }
}

impl Worker {
    /// Does what a failure asks for: a damaged file makes way for a new one, if
    /// it stays damaged.
    pub(super) fn mend(&mut self, error: &str) {
        self.doubt(error);
        if !is_about_damage(error) {
            return;
        }
        self.n_damaged += 1;
        if self.n_damaged < MAX_DAMAGED {
            return;
        }
        self.n_damaged = 0;
        self.close("it is damaged");
        match open::replace(&self.config.path, Why::Damaged(error)) {
            Ok(notice) => {
                error!(notice, "the history file is damaged");
                self.shared.notice(Some(notice));
                // The new file knows nothing of this start.
                self.run_file = None;
                self.retry_at = Some(Instant::now());
            }
            Err(error) => error!(%error, "a damaged history file cannot be moved"),
        }
    }

    /// Notes what a failure leaves unsure. DuckDB may refuse everything until
    /// it is opened again; and where the disk fails, its log may hold a part
    /// of the transaction, or all of it.
    pub(super) fn doubt(&mut self, error: &str) {
        if is_failing(error) {
            self.sure = None;
        }
        let is_broken = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.execute_batch("SELECT 1").is_err());
        if is_broken {
            self.close("the database broke");
        }
    }

    /// Whether the open database has to be opened again before it is written.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.connection.is_some() && self.sure != Some(Sure::of(&self.config.path))
    }

    pub(super) fn close(&mut self, why: &str) {
        if self.reclaim.is_some() {
            self.abandon_reclaim(why);
        }
        self.shared.close_readers();
        self.connection = None;
    }

    /// Opens the database again, as carefully as at the start.
    pub(super) fn reopen(&mut self) -> Result<(), WriteError> {
        let config = &self.config;
        if std::fs::metadata(&config.path).is_ok_and(|file| file.len() == 0) {
            // A full disk left it where a new file was to begin.
            let _gone = std::fs::remove_file(&config.path);
        }
        // As it is before: what fails meanwhile leaves it in doubt.
        let n_uncut = n_uncut();
        let opened = open::open(
            &config.path,
            config.memory_limit_bytes,
            config.threads,
            config.probe.as_ref(),
        )?;
        self.shared.notice(opened.notice);
        self.shared.open_readers(&opened.connection)?;
        self.connection = Some(opened.connection);
        self.sure = Some(Sure {
            n_uncut,
            ..Sure::of(&self.config.path)
        });
        Ok(())
    }

    /// Learns from the file what of this start is in it: the commit that failed
    /// may have been made all the same, and one that was acknowledged may be
    /// gone, where a disk lost what it was told to keep. What is still here of
    /// that is written again.
    pub(super) fn settle(&mut self) -> Result<(), WriteError> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        let sql = "SELECT last_batch FROM runs WHERE run = ?";
        let last = connection.query_row(sql, [&self.run], |row| row.get(0));
        let last: Option<u64> = last.optional()?;
        let now = Sure::of(&self.config.path);
        let before = self.run_file.take();
        self.run_file = last.and(Some(now));
        // Of another file it is no loss that it has nothing of this start.
        let is_same = before.is_some_and(|before| before.file == now.file);
        let last = last.or(is_same.then_some(0)).unwrap_or(self.written_batch);
        if last < self.written_batch {
            let (again, lost) = self.pending.take_back(last);
            let n_batches = self.written_batch - last;
            warn!(
                n_batches,
                n_rows = again.total(),
                n_rows_gone = lost.total(),
                "the disk lost what it had acknowledged; what is known of it is written again"
            );
            self.shared.took_back(again, lost);
        }
        self.written_batch = last;
        self.forget_written();
        Ok(())
    }

    /// Brings what an earlier process left in the tail into the database, once.
    pub(super) fn inherit(&mut self) -> Result<(), WriteError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        if self.shared.is_tail_free.load(Ordering::Acquire) {
            return Ok(());
        }
        match tail::inherit(&self.config.path, connection) {
            Ok(0) => {}
            Ok(n_batches) => {
                error!(n_batches, "the disk lost what it had acknowledged");
                let told = format!(
                    "the disk lost {n_batches} seconds of history that it had acknowledged to the \
                     last process"
                );
                let before = self.shared.stats().notice;
                let told = before.into_iter().chain([told]).collect::<Vec<_>>();
                self.shared.notice(Some(told.join("; ")));
            }
            Err(error) => {
                let text = error.to_string();
                if is_about_room(&text) || is_failing(&text) {
                    return Err(error.into());
                }
                // Another attempt would end the same.
                warn!(error = %error, "what the last process had not committed is left out");
            }
        }
        self.shared.is_tail_free.store(true, Ordering::Release);
        Ok(())
    }
}
