//! The thread that writes.

mod doubt;
mod room;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use duckdb::arrow::array::RecordBatch;
use duckdb::{Connection, Transaction};
use modeltap_core::history;
use modeltap_core::time::UnixNs;
use thiserror::Error;
use tracing::{error, info, warn};

use crate::alerts::{self, Edit, EditError, Edited};
use crate::open::{self, OpenError};
use crate::pending::Pending;
use crate::probe::{ProbeCommand, one_line};
use crate::reclaim::Reclaim;
use crate::schema::{APPENDED, SUMS, TIERS};
use crate::shared::{Counts, Shared, Stats, lock};
use crate::sums;
use crate::tail::Tail;
use crate::tiers::{Aging, Retention, Step};
use crate::uncut::n_uncut;
use doubt::Sure;

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
    /// With its number and the time it was handed over.
    Batch(u64, Instant, Arc<history::Batch>),
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
    /// `None` only while it is dropped, after the thread.
    tail: Option<Tail>,
    /// Number of the newest batch; held while one is queued, so that they come
    /// in order.
    n_appended: Mutex<u64>,
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
        // Any name will do that no other run has.
        let run = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let run = run.trim_end().to_owned();
        let tail = Tail::start(&config.path, run.clone(), Arc::clone(&shared))?;
        let mut worker = Worker {
            config,
            shared: Arc::clone(&shared),
            connection,
            sure: Some(sure),
            run,
            run_file: None,
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
        if worker.connection.is_some() {
            // What an earlier process left is there for the first question.
            worker.write();
        }
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || worker.run(&messages))?;
        Ok(Self {
            inbox: Some(inbox),
            thread: Some(thread),
            tail: Some(tail),
            n_appended: Mutex::default(),
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
        let (Some(inbox), Some(tail)) = (&self.inbox, &self.tail) else {
            return;
        };
        let (batch, at) = (Arc::new(batch), Instant::now());
        let n_rows = batch.n_rows() as u64;
        let mut number = lock(&self.n_appended);
        *number += 1;
        self.shared.queued(n_rows, at);
        tail.keep(*number, true, Arc::clone(&batch));
        if let Err(
            TrySendError::Full(Message::Batch(_, _, lost))
            | TrySendError::Disconnected(Message::Batch(_, _, lost)),
        ) = inbox.try_send(Message::Batch(*number, at, batch))
        {
            self.shared.unqueued(n_rows);
            self.shared.gave_up(Counts::of(&lost));
        }
    }

    /// Keeps what the batch to come has so far, in case the process is killed
    /// before it is appended; of each kind of row, what is kept next takes its
    /// place. Never waits.
    pub fn keep(&self, so_far: history::Batch) {
        if let Some(tail) = self.tail.as_ref().filter(|_| !so_far.is_empty()) {
            tail.keep(*lock(&self.n_appended) + 1, false, Arc::new(so_far));
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
        self.tail = None;
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

struct Worker {
    config: WorkerConfig,
    shared: Arc<Shared>,
    /// `None` while the database is closed after a failure.
    connection: Option<Connection>,
    /// `None` after a failure that may have left anything in the log.
    sure: Option<Sure>,
    /// This start's name in the table of runs.
    run: String,
    /// The file whose table has it; `None` before the first write.
    run_file: Option<Sure>,
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
            Message::Batch(number, at, batch) => {
                self.shared.gave_up(self.pending.push(number, at, &batch));
                self.shared.unqueued(batch.n_rows() as u64);
                self.shared.pending(self.pending.waiting());
            }
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
        let is_tail_free = self.shared.is_tail_free.load(Ordering::Acquire);
        let is_open = self.connection.is_some() && !self.is_in_doubt();
        if self.pending.is_empty() && is_open && is_tail_free {
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
        if is_closed || self.retry_at.is_some() {
            self.settle()?;
        }
        self.inherit()?;
        let connection = self.connection.as_mut().expect("it was just opened");
        let Some(last) = self.pending.last() else {
            return Ok(());
        };
        let transaction = connection.transaction()?;
        if self.run_file.is_none() {
            let sql = "INSERT INTO runs VALUES (?, now() AT TIME ZONE 'UTC', 0)";
            transaction.execute(sql, [&self.run])?;
        }
        let late = append_rows(&transaction, |table| self.pending.rows_of(table))?;
        for batch in self.pending.iter() {
            alerts::write(&transaction, &batch.alerts, &batch.deliveries)?;
        }
        transaction.execute(
            "UPDATE runs SET last_batch = ? WHERE run = ?",
            duckdb::params![last, self.run],
        )?;
        transaction.commit()?;
        if self.sure.is_none_or(|sure| sure.n_uncut != n_uncut()) {
            return Err(WriteError::Uncut);
        }
        self.written_batch = last;
        self.run_file = self.sure;
        if let Some(reclaim) = &self.reclaim
            && let Err(error) = reclaim.append(connection, &self.pending, late.as_ref())
        {
            self.abandon_reclaim(&error.to_string());
        }
        Ok(())
    }

    fn forget_written(&mut self) {
        self.shared.wrote(self.pending.forget(self.written_batch));
        self.shared.pending(self.pending.waiting());
        let committed = &self.shared.committed;
        committed.store(self.written_batch, Ordering::Release);
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
            // The next start finds them, if the tail could be written.
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

/// Adds rows to the tables; gives the sums of those that came late, which were
/// added too.
pub(crate) fn append_rows<'a, R>(
    transaction: &Transaction<'_>,
    rows_of: impl Fn(&'static str) -> R,
) -> duckdb::Result<Option<RecordBatch>>
where
    R: Iterator<Item = &'a RecordBatch>,
{
    for table in APPENDED {
        let mut of_table = rows_of(table).peekable();
        if of_table.peek().is_none() {
            continue;
        }
        let mut appender = transaction.appender(table)?;
        for rows in of_table {
            appender.append_record_batch(rows.clone())?;
        }
        appender.flush()?;
    }
    let rollups = TIERS.iter().flat_map(|tier| rows_of(tier.table));
    let late = match sums::until(transaction)? {
        Some(until) => sums::of_late(rollups, until)?,
        None => None,
    };
    if let Some(late) = &late {
        sums::append(transaction, SUMS[0].table, late)?;
    }
    Ok(late)
}

fn wall_clock() -> UnixNs {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixNs(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
