//! The thread that writes.

mod room;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use duckdb::{Connection, OptionalExt};
use modeltap_core::history;
use modeltap_core::time::UnixNs;
use thiserror::Error;
use tracing::{error, info, warn};

use crate::alerts::{self, Edit, EditError, Edited};
use crate::open::{self, OpenError, Why};
use crate::pending::Pending;
use crate::probe::{ProbeCommand, is_about_damage, is_failing, one_line};
use crate::reclaim::Reclaim;
use crate::schema::{APPENDED, SUMS};
use crate::shared::{Counts, Shared, Stats};
use crate::sums;
use crate::tiers::{Aging, Retention, Step};
use crate::uncut::n_uncut;

/// Time between attempts while writing fails.
const RETRY: Duration = Duration::from_secs(1);
/// Time between looks for what has aged, while there is nothing to do.
const AGING: Duration = Duration::from_secs(10);
/// Rest between two steps of aging, in lengths of the step, so that a backlog
/// takes a twentieth of a core; and at least.
const AGING_REST: u32 = 20;
const MIN_AGING_REST: Duration = Duration::from_millis(20);
/// Time between looks at a copy under way, and after one that failed.
const RECLAIM_LOOK: Duration = Duration::from_millis(100);
const RECLAIM_PAUSE: Duration = Duration::from_secs(600);
/// Failures in a row after which a damaged file makes way for a new one.
const MAX_DAMAGED: u32 = 3;
/// Longest a stop waits for what is queued.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What the thread needs to know.
#[derive(Clone, Debug)]
pub(crate) struct WorkerConfig {
    pub(crate) path: PathBuf,
    pub(crate) memory_limit_bytes: u64,
    pub(crate) threads: u32,
    pub(crate) queue: usize,
    pub(crate) retention: Retention,
    pub(crate) max_bytes: u64,
    pub(crate) min_reclaim_bytes: u64,
    pub(crate) room_interval: Duration,
    pub(crate) probe: Option<ProbeCommand>,
}

enum Message {
    Batch(Box<history::Batch>),
    Edit(Box<Edit>, Edited),
    Flush(SyncSender<()>),
    /// Does all the work of age, as if it were that time.
    Age(UnixNs, SyncSender<()>),
}

/// The door to the writing thread. When the last one is dropped the thread
/// writes what is queued, a checkpoint, and ends.
#[derive(Debug)]
pub struct Writer {
    /// `None` only while it is dropped.
    inbox: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Writer {
    pub(crate) fn start(
        connection: Option<Connection>,
        config: WorkerConfig,
        shared: Arc<Shared>,
    ) -> std::io::Result<Self> {
        let (inbox, messages) = mpsc::sync_channel(config.queue.max(1));
        let aging = Aging::new(config.retention);
        let retry_at = connection.is_none().then(Instant::now);
        let sure = Sure::of(&config.path);
        let mut worker = Worker {
            config,
            shared: Arc::clone(&shared),
            connection,
            sure: Some(sure),
            run: None,
            written_batch: 0,
            pending: Pending::default(),
            retry_at,
            n_damaged: 0,
            aging,
            aging_at: Instant::now(),
            room_at: Instant::now(),
            filled: None,
            told_now: None,
            reclaim: None,
        };
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || worker.run(&messages))?;
        Ok(Self {
            inbox: Some(inbox),
            thread: Some(thread),
            shared,
        })
    }

    /// Hands what a second brought to the writing thread and never waits:
    /// where its queue is full it is dropped and counted.
    pub fn append(&self, batch: impl Into<history::Batch>) {
        let batch = batch.into();
        if batch.is_empty() {
            return;
        }
        let Some(inbox) = &self.inbox else { return };
        if let Err(
            TrySendError::Full(Message::Batch(lost))
            | TrySendError::Disconnected(Message::Batch(lost)),
        ) = inbox.try_send(Message::Batch(Box::new(batch)))
        {
            self.shared.gave_up(Counts::of(&lost));
        }
    }

    /// Hands a change of rules or silences to the writing thread, which calls
    /// `done` once it is committed or refused: nothing of it is tried again.
    /// Never waits.
    pub fn edit(&self, edit: Edit, done: Edited) {
        let message = Message::Edit(Box::new(edit), done);
        let sent = match &self.inbox {
            Some(inbox) => inbox.try_send(message),
            None => Err(TrySendError::Disconnected(message)),
        };
        if let Err(
            TrySendError::Full(Message::Edit(_, done))
            | TrySendError::Disconnected(Message::Edit(_, done)),
        ) = sent
        {
            done(Err(EditError::Busy));
        }
    }

    /// Waits until everything appended before was written or failed to be.
    /// Blocks; not for the live path.
    pub fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if let Some(inbox) = &self.inbox
            && inbox.send(Message::Flush(done)).is_ok()
        {
            // An error means that the thread ended, and with it the wait.
            let _ended = wait.recv();
        }
    }

    /// Does all the work of age and size at once, as if it were `now`, and
    /// waits for it: benchmarks and tests have no weeks to wait. From then on
    /// it is `now` until the next call.
    #[doc(hidden)]
    pub fn age(&self, now: UnixNs) {
        let (done, wait) = mpsc::sync_channel(1);
        if let Some(inbox) = &self.inbox
            && inbox.send(Message::Age(now, done)).is_ok()
        {
            let _ended = wait.recv();
        }
    }

    /// The store's own state.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Writes what is queued and ends the thread; for at most some seconds.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the store's thread ended in a panic");
        }
    }
}

/// Why a batch is not in the file yet.
#[derive(Debug, Error)]
enum WriteError {
    #[error(transparent)]
    Database(#[from] duckdb::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the log could not be cut after a failed commit")]
    Uncut,
}

/// What has to be as it was when the database was opened, or nothing may be
/// written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sure {
    /// Device and number of the file at the database's path: another is there
    /// once a disk was taken off or put on.
    file: Option<(u64, u64)>,
    n_uncut: u64,
}

impl Sure {
    fn of(path: &Path) -> Self {
        let file = std::fs::metadata(path).ok();
        Self {
            file: file.map(|file| (file.dev(), file.ino())),
            n_uncut: n_uncut(),
        }
    }
}

struct Worker {
    config: WorkerConfig,
    shared: Arc<Shared>,
    /// `None` while the database is closed after a failure.
    connection: Option<Connection>,
    /// `None` after a failure that may have left anything in the log.
    sure: Option<Sure>,
    /// This start's name in the table of runs, once it is there.
    run: Option<String>,
    written_batch: u64,
    pending: Pending,
    retry_at: Option<Instant>,
    /// Failures in a row that say that the file is damaged.
    n_damaged: u32,
    aging: Aging,
    aging_at: Instant,
    /// When the size is looked at next.
    room_at: Instant,
    /// The hour in which the file was last copied for want of room.
    filled: Option<u64>,
    /// The time that takes the wall clock's place.
    told_now: Option<UnixNs>,
    reclaim: Option<Reclaim>,
}

impl Worker {
    fn run(&mut self, messages: &Receiver<Message>) {
        loop {
            let now = Instant::now();
            let wake = self.retry_at.unwrap_or(self.aging_at);
            let mut flushes = Vec::new();
            match messages.recv_timeout(wake.saturating_duration_since(now)) {
                Ok(message) => {
                    self.take(message, &mut flushes);
                    // What came meanwhile goes into the same transaction.
                    while let Ok(message) = messages.try_recv() {
                        self.take(message, &mut flushes);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let is_due = self.retry_at.is_none_or(|at| at <= Instant::now());
            if is_due || !flushes.is_empty() {
                self.write();
            }
            for done in flushes {
                // Whoever asked may have gone.
                let _gone = done.send(());
            }
            if self.retry_at.is_none() && self.aging_at <= Instant::now() {
                self.age();
            }
        }
        self.stop();
    }

    fn take(&mut self, message: Message, flushes: &mut Vec<SyncSender<()>>) {
        match message {
            Message::Batch(batch) => self.shared.gave_up(self.pending.push(*batch)),
            Message::Edit(edit, done) => done(self.edit(&edit)),
            Message::Flush(done) => flushes.push(done),
            Message::Age(now, done) => {
                self.write();
                self.age_fully(now);
                let _gone = done.send(());
            }
        }
    }

    fn edit(&mut self, edit: &Edit) -> Result<(), EditError> {
        let is_in_doubt = self.is_in_doubt();
        let Some(connection) = self.connection.as_mut().filter(|_| !is_in_doubt) else {
            let error = self.shared.stats().error;
            return Err(EditError::Refused(
                error.unwrap_or_else(|| "it is closed".into()),
            ));
        };
        alerts::edit(connection, edit).map_err(|error| {
            let error = one_line(&error.to_string());
            self.doubt(&error);
            EditError::Refused(error)
        })
    }

    /// Writes everything that waits, in one transaction.
    fn write(&mut self) {
        if self.pending.is_empty() && self.connection.is_some() && !self.is_in_doubt() {
            self.retry_at = None;
            return;
        }
        match self.try_write() {
            Ok(()) => {
                self.forget_written();
                self.retry_at = None;
                if self.shared.worked() {
                    info!("history is written again");
                }
            }
            Err(error) => {
                let error = match error {
                    WriteError::Open(error) => error.in_one_line(),
                    error => error.to_string(),
                };
                if self.reclaim.is_some() {
                    self.abandon_reclaim("history cannot be written");
                }
                if self.shared.failed(&error) {
                    warn!(error, "cannot write history; it is tried again");
                }
                self.retry_at = Some(Instant::now() + RETRY);
                self.mend(&error);
            }
        }
    }

    fn try_write(&mut self) -> Result<(), WriteError> {
        if self.is_in_doubt() {
            // What is committed can be read until it can be written again.
            open::check_writable(&self.config.path)?;
            self.close("the disk failed");
        }
        let is_closed = self.connection.is_none();
        if is_closed {
            self.reopen()?;
        }
        let connection = self.connection.as_mut().expect("it was just opened");
        if (is_closed || self.retry_at.is_some())
            && let Some(run) = &self.run
        {
            // The commit that failed may have been made all the same.
            let sql = "SELECT last_batch FROM runs WHERE run = ?";
            match connection
                .query_row(sql, [run], |row| row.get(0))
                .optional()?
            {
                Some(last) => self.written_batch = last,
                None => self.run = None,
            }
            self.forget_written();
        }
        let connection = self.connection.as_mut().expect("it was just opened");
        let Some(last) = self.pending.last() else {
            return Ok(());
        };
        if self.run.is_none() {
            let sql = "INSERT INTO runs VALUES (uuid()::VARCHAR, now() AT TIME ZONE 'UTC', 0) \
                       RETURNING run";
            self.run = Some(connection.query_row(sql, [], |row| row.get(0))?);
        }
        let transaction = connection.transaction()?;
        for table in APPENDED {
            let mut of_table = self.pending.rows_of(table).peekable();
            if of_table.peek().is_none() {
                continue;
            }
            let mut appender = transaction.appender(table)?;
            for rows in of_table {
                appender.append_record_batch(rows.clone())?;
            }
            appender.flush()?;
        }
        let late = match sums::until(&transaction)? {
            Some(until) => sums::of_late(self.pending.rollups(), until)?,
            None => None,
        };
        if let Some(late) = &late {
            sums::append(&transaction, SUMS[0].table, late)?;
        }
        for batch in self.pending.iter() {
            alerts::write(&transaction, &batch.alerts, &batch.deliveries)?;
        }
        transaction.execute(
            "UPDATE runs SET last_batch = ? WHERE run = ?",
            duckdb::params![last, self.run.as_deref()],
        )?;
        transaction.commit()?;
        if self.sure.is_none_or(|sure| sure.n_uncut != n_uncut()) {
            return Err(WriteError::Uncut);
        }
        self.written_batch = last;
        if let Some(reclaim) = &self.reclaim
            && let Err(error) = reclaim.append(connection, &self.pending, late.as_ref())
        {
            self.abandon_reclaim(&error.to_string());
        }
        Ok(())
    }

    fn forget_written(&mut self) {
        self.shared.wrote(self.pending.forget(self.written_batch));
    }

    fn age(&mut self) {
        if self.is_in_doubt() {
            self.retry_at = Some(Instant::now());
            return;
        }
        if self.reclaim.is_some() {
            self.finish_reclaim();
            self.aging_at = Instant::now() + RECLAIM_LOOK;
            return;
        }
        let Some(connection) = &mut self.connection else {
            return;
        };
        let began = Instant::now();
        let now = self.told_now.unwrap_or_else(wall_clock);
        match self.aging.step(connection, now) {
            Ok(step) => {
                self.n_damaged = 0;
                let elapsed = began.elapsed();
                self.aging.took(elapsed);
                let rest = match step {
                    Step::Worked => (elapsed * AGING_REST).max(MIN_AGING_REST),
                    Step::Idle => AGING.min(self.config.room_interval),
                };
                self.aging_at = Instant::now() + rest;
                if self.room_at <= Instant::now() {
                    self.look_at_room(now);
                }
            }
            Err(error) => {
                if self.shared.failed(&error.to_string()) {
                    warn!(error = %error, "cannot merge older history; it is tried again");
                }
                self.aging_at = Instant::now() + RETRY;
                self.mend(&error.to_string());
            }
        }
    }

    /// Does what a failure asks for: a damaged file makes way for a new one, if
    /// it stays damaged.
    fn mend(&mut self, error: &str) {
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
                self.run = None;
                self.retry_at = Some(Instant::now());
            }
            Err(error) => error!(%error, "a damaged history file cannot be moved"),
        }
    }

    /// Notes what a failure leaves unsure. DuckDB may refuse everything until
    /// it is opened again; and where the disk fails, its log may hold a part
    /// of the transaction, or all of it.
    fn doubt(&mut self, error: &str) {
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
    fn is_in_doubt(&self) -> bool {
        self.connection.is_some() && self.sure != Some(Sure::of(&self.config.path))
    }

    fn close(&mut self, why: &str) {
        if self.reclaim.is_some() {
            self.abandon_reclaim(why);
        }
        self.shared.close_readers();
        self.connection = None;
    }

    /// Opens the database again, as carefully as at the start.
    fn reopen(&mut self) -> Result<(), WriteError> {
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

    fn stop(&mut self) {
        let deadline = Instant::now() + STOP_LIMIT;
        self.write();
        while self.retry_at.is_some() && Instant::now() < deadline {
            std::thread::sleep(RETRY / 4);
            self.write();
        }
        let lost = self.pending.forget(u64::MAX);
        if !lost.is_zero() {
            self.shared.gave_up(lost);
            error!(
                n_rows = lost.total(),
                "history could not be written before the end"
            );
        }
        if let Some(reclaim) = self.reclaim.take() {
            reclaim.abandon(self.connection.as_ref());
        }
        let is_in_doubt = self.is_in_doubt();
        if let Some(connection) = self.connection.take()
            && !is_in_doubt
            && let Err(error) = connection.execute_batch("CHECKPOINT")
        {
            // The log has it all the same.
            info!(error = %error, "no checkpoint at the end");
        }
    }
}

fn wall_clock() -> UnixNs {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixNs(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
