//! The newest seconds, kept where a kill of the process does not reach them.
//!
//! The database commits whole seconds, and a commit may have to wait for a
//! checkpoint, for what ages, or for the disk. Meanwhile a thread of its own
//! hands the system the same rows, and those of the second that is not over, as
//! plain bytes: what was written to a file is there after `kill -9`, without
//! waiting for any disk. The next start brings into the database what it lacks.
//! A power cut may take them; the database itself is safe from that.
//!
//! | what comes | what is written |
//! |---|---|
//! | a whole batch | all that is not committed, into the other of two files; then this one is emptied |
//! | what a batch has so far | behind it; of each table the latest holds |
//! | the end | nothing, and the files go, if all is committed |
//!
//! A batch counts only if the database's `last_batch` of the same run is
//! before it, so nothing is there twice.

mod frames;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;
use std::time::Instant;

use duckdb::{Connection, OptionalExt, params};
use modeltap_core::history;
use tracing::{debug, info};

use crate::pending::Batch;
use crate::shared::Shared;
use crate::writer::append_rows;
use frames::{Frame, Tables};

/// Bytes that may wait for their commit; the oldest give way.
const MAX_BYTES: usize = 16 << 20;
/// Bytes behind which a file is begun anew though nothing was committed.
const MAX_FILE_BYTES: usize = 2 * MAX_BYTES;
/// What may wait for the thread: two seconds.
const QUEUE: usize = 8;

/// The two files beside a database.
fn files_of(path: &Path) -> [PathBuf; 2] {
    ["tail-a", "tail-b"].map(|end| {
        let mut file = path.as_os_str().to_owned();
        file.push(".");
        file.push(end);
        file.into()
    })
}

struct Told {
    number: u64,
    is_whole: bool,
    batch: Arc<history::Batch>,
}

/// The door to the thread that keeps the newest seconds.
#[derive(Debug)]
pub(crate) struct Tail {
    /// `None` only while it is dropped.
    inbox: Option<SyncSender<Told>>,
    thread: Option<JoinHandle<()>>,
}

impl Tail {
    pub(crate) fn start(path: &Path, run: String, shared: Arc<Shared>) -> io::Result<Self> {
        let (inbox, messages) = mpsc::sync_channel(QUEUE);
        let mut keeper = Keeper::new(path, run, shared);
        let thread = std::thread::Builder::new()
            .name("tail".into())
            .spawn(move || {
                while let Ok(told) = messages.recv() {
                    keeper.keep(&told);
                }
                keeper.end();
            })?;
        Ok(Self {
            inbox: Some(inbox),
            thread: Some(thread),
        })
    }

    /// Keeps a batch until it is committed. Never waits: where the thread lags
    /// behind, the commit alone has to keep it.
    pub(crate) fn keep(&self, number: u64, is_whole: bool, batch: Arc<history::Batch>) {
        let told = Told {
            number,
            is_whole,
            batch,
        };
        if let Some(inbox) = &self.inbox {
            let _full = inbox.try_send(told);
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

struct Keeper {
    files: [PathBuf; 2],
    current: usize,
    /// `None` before the first, and after one that could not be written.
    file: Option<File>,
    n_written: usize,
    run: String,
    /// Batches that are not committed, by number.
    whole: VecDeque<(u64, Vec<u8>)>,
    /// Bytes of them.
    n_bytes: usize,
    /// What the next batch has so far, by table.
    open: BTreeMap<&'static str, Vec<u8>>,
    shared: Arc<Shared>,
}

impl Keeper {
    fn new(path: &Path, run: String, shared: Arc<Shared>) -> Self {
        Self {
            files: files_of(path),
            current: 0,
            file: None,
            n_written: 0,
            run,
            whole: VecDeque::new(),
            n_bytes: 0,
            open: BTreeMap::new(),
            shared,
        }
    }

    fn keep(&mut self, told: &Told) {
        let written = match self.take(told) {
            // Until the files' content is in the database they are not ours.
            _ if !self.shared.is_tail_free.load(Ordering::Acquire) => return,
            Some(frames) if self.file.is_some() && self.n_written < MAX_FILE_BYTES => {
                frames.iter().try_for_each(|frame| self.write(frame))
            }
            Some(_) | None => self.begin_anew(),
        };
        if let Err(error) = written {
            // The commit fails as well, and tells of it.
            debug!(%error, "cannot keep the newest second");
            self.file = None;
        }
    }

    fn end(&mut self) {
        self.forget_committed();
        if self.whole.is_empty() && self.shared.is_tail_free.load(Ordering::Acquire) {
            remove(&self.files);
        }
    }

    /// Takes what came; gives what is to be written behind the rest, or
    /// nothing where what was written before is committed.
    fn take(&mut self, told: &Told) -> Option<Vec<Vec<u8>>> {
        let frame = |tables| Frame {
            run: self.run.clone(),
            number: told.number,
            is_whole: told.is_whole,
            tables,
        };
        let (batch, _misfits) = Batch::new(told.number, Instant::now(), &told.batch);
        if !told.is_whole {
            let rows = batch.rows.into_iter();
            let frames: Vec<_> = rows
                .map(|(table, rows)| (table, frame(vec![(table, rows)]).encode()))
                .collect();
            self.open.extend(frames.iter().cloned());
            return Some(frames.into_iter().map(|(_, frame)| frame).collect());
        }
        let frame = frame(batch.rows).encode();
        let has_committed = self.forget_committed();
        self.open.clear();
        self.n_bytes += frame.len();
        self.whole.push_back((told.number, frame.clone()));
        while self.n_bytes > MAX_BYTES
            && let Some((_, oldest)) = self.whole.pop_front()
        {
            self.n_bytes -= oldest.len();
        }
        (!has_committed).then(|| vec![frame])
    }

    fn forget_committed(&mut self) -> bool {
        let committed = self.shared.committed.load(Ordering::Acquire);
        let before = self.whole.len();
        while let Some((_, frame)) = self.whole.pop_front_if(|(number, _)| *number <= committed) {
            self.n_bytes -= frame.len();
        }
        self.whole.len() < before
    }

    /// Writes all that is not committed into the other file, and then empties
    /// this one: at any moment one of them has it.
    fn begin_anew(&mut self) -> io::Result<()> {
        let other = 1 - self.current;
        self.n_written = 0;
        let before = self.file.replace(File::create(&self.files[other])?);
        let whole = self.whole.iter().map(|(_, frame)| frame);
        let all: Vec<u8> = whole.chain(self.open.values()).flatten().copied().collect();
        self.write(&all)?;
        match before {
            Some(before) => before.set_len(0)?,
            // Whatever a failure left there is old by now.
            None => remove(&self.files[self.current..=self.current]),
        }
        self.current = other;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            self.n_written += bytes.len();
        }
        Ok(())
    }
}

fn remove(files: &[PathBuf]) {
    for file in files {
        // What stays is passed over at the next start: it is committed.
        let _absent = fs::remove_file(file);
    }
}

/// What one run left.
#[derive(Default)]
struct Left {
    whole: BTreeMap<u64, Tables>,
    open: BTreeMap<(u64, &'static str), Tables>,
}

/// Brings what an earlier process left into its database, each run's in one
/// transaction, and removes the files. Gives how many batches are neither there
/// nor here: the disk had acknowledged them.
pub(crate) fn inherit(path: &Path, connection: &mut Connection) -> duckdb::Result<u64> {
    let files = files_of(path);
    let mut runs: BTreeMap<String, Left> = BTreeMap::new();
    for file in &files {
        let bytes = fs::read(file).unwrap_or_default();
        for frame in Frame::decode_all(&bytes) {
            let left = runs.entry(frame.run).or_default();
            if frame.is_whole {
                left.whole.insert(frame.number, frame.tables);
            } else if let Some((table, _)) = frame.tables.first() {
                left.open.insert((frame.number, table), frame.tables);
            }
        }
    }
    let mut n_missing = 0;
    for (run, left) in runs {
        n_missing += take_over(connection, &run, left)?;
    }
    remove(&files);
    Ok(n_missing)
}

fn take_over(connection: &mut Connection, run: &str, left: Left) -> duckdb::Result<u64> {
    let transaction = connection.transaction()?;
    let sql = "SELECT last_batch FROM runs WHERE run = ?";
    let known = transaction.query_row(sql, [run], |row| row.get(0));
    let known: Option<u64> = known.optional()?;
    let is_lacking = |number: u64| number > known.unwrap_or(0);
    let Left { whole, open } = left;
    let open = open
        .into_iter()
        .filter(|((number, _), _)| !whole.contains_key(number))
        .map(|((number, _), tables)| (number, tables))
        .collect::<Vec<_>>();
    let lacking = whole.into_iter().chain(open);
    let lacking: Vec<_> = lacking.filter(|(number, _)| is_lacking(*number)).collect();
    let numbers = || lacking.iter().map(|(number, _)| *number);
    let (Some(first), Some(last)) = (numbers().min(), numbers().max()) else {
        return Ok(0);
    };
    // The tail begins where the database ended when it was last written.
    let n_missing = known.map_or(0, |known| first - known - 1);
    let rows: Tables = lacking.into_iter().flat_map(|(_, tables)| tables).collect();
    append_rows(&transaction, |table| {
        let of_table = rows.iter().filter(move |(name, _)| *name == table);
        of_table.map(|(_, rows)| rows)
    })?;
    match known {
        Some(_) => transaction.execute(
            "UPDATE runs SET last_batch = ? WHERE run = ?",
            params![last, run],
        )?,
        None => transaction.execute(
            "INSERT INTO runs VALUES (?, now() AT TIME ZONE 'UTC', ?)",
            params![run, last],
        )?,
    };
    transaction.commit()?;
    let n_rows: usize = rows.iter().map(|(_, rows)| rows.num_rows()).sum();
    info!(
        n_rows,
        "history has what the last process had not committed"
    );
    Ok(n_missing)
}

#[cfg(test)]
mod tests {
    use modeltap_core::time::UnixNs;
    use modeltap_core::timeline::{TimelineEvent, TimelineKind};

    use super::*;
    use crate::schema::migrate;

    fn batch(n_events: u64) -> Arc<history::Batch> {
        let event = |n| TimelineEvent {
            at: UnixNs(n * 1_000),
            kind: TimelineKind::DataLost,
            service: None,
            container: None,
            detail: String::new(),
        };
        Arc::new(history::Batch {
            events: (0..n_events).map(event).collect(),
            ..history::Batch::default()
        })
    }

    struct Place {
        folder: tempfile::TempDir,
        shared: Arc<Shared>,
        connection: Connection,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let shared = Arc::new(Shared::new(folder.path().join("db")));
            shared.is_tail_free.store(true, Ordering::Release);
            let mut connection = Connection::open_in_memory().unwrap();
            migrate(&mut connection).unwrap();
            Self {
                folder,
                shared,
                connection,
            }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("db")
        }

        fn start(&self, run: &str) -> Tail {
            Tail::start(&self.path(), run.into(), Arc::clone(&self.shared)).unwrap()
        }

        /// Events in the database after a start that finds what is there.
        fn n_inherited(&mut self) -> u64 {
            assert_eq!(inherit(&self.path(), &mut self.connection), Ok(0));
            let sql = "SELECT count(*) FROM events";
            self.connection
                .query_row(sql, [], |row| row.get(0))
                .unwrap()
        }
    }

    #[test]
    fn what_was_not_committed_is_inherited_once() {
        let mut place = Place::new();
        let tail = place.start("a");
        tail.keep(1, false, batch(1));
        tail.keep(1, true, batch(10));
        tail.keep(2, true, batch(20));
        tail.keep(3, false, batch(3));
        tail.keep(3, false, batch(4));
        // Ends as if the disk had refused the commits.
        drop(tail);
        let files = files_of(&place.path()).map(|file| fs::read(file).unwrap_or_default());
        assert_eq!(place.n_inherited(), 34);
        // A kill between the commit and the files' end.
        for (file, bytes) in files_of(&place.path()).iter().zip(files) {
            fs::write(file, bytes).unwrap();
        }
        assert_eq!(place.n_inherited(), 34);
        let runs = "SELECT run, last_batch FROM runs";
        let row = place
            .connection
            .query_row(runs, [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(row, Ok(("a".to_owned(), 3)));
        assert!(!files_of(&place.path()).iter().any(|file| file.exists()));
    }

    #[test]
    fn what_is_committed_is_not_kept() {
        let mut place = Place::new();
        place
            .connection
            .execute("INSERT INTO runs VALUES ('a', now(), 2)", [])
            .unwrap();
        let tail = place.start("a");
        for number in 1..=3 {
            tail.keep(number, true, batch(10));
        }
        place.shared.committed.store(2, Ordering::Release);
        drop(tail);
        assert_eq!(place.n_inherited(), 10);
        let tail = place.start("b");
        tail.keep(1, true, batch(10));
        place.shared.committed.store(1, Ordering::Release);
        drop(tail);
        assert!(!files_of(&place.path()).iter().any(|file| file.exists()));
    }

    #[test]
    fn batches_that_are_neither_in_the_database_nor_here_are_told() {
        let mut place = Place::new();
        // The disk went back to the fourth batch after it had taken the ninth.
        place
            .connection
            .execute("INSERT INTO runs VALUES ('a', now(), 4)", [])
            .unwrap();
        place.shared.committed.store(9, Ordering::Release);
        let tail = place.start("a");
        tail.keep(9, true, batch(10));
        tail.keep(10, true, batch(10));
        drop(tail);
        let path = place.path();
        assert_eq!(inherit(&path, &mut place.connection), Ok(5));
        assert_eq!(place.n_inherited(), 10);
    }

    #[test]
    fn files_stay_as_they_are_until_they_were_inherited() {
        let mut place = Place::new();
        let tail = place.start("a");
        tail.keep(1, true, batch(10));
        drop(tail);
        place.shared.is_tail_free.store(false, Ordering::Release);
        let tail = place.start("b");
        tail.keep(1, true, batch(1));
        drop(tail);
        assert_eq!(place.n_inherited(), 10);
    }

    #[test]
    fn files_are_begun_anew_while_nothing_is_committed() {
        let mut place = Place::new();
        let shared = Arc::clone(&place.shared);
        let mut keeper = Keeper::new(&place.path(), "a".into(), shared);
        let large = Arc::new(history::Batch {
            exemplars: vec![crate::records::tests::exemplar(); 4_000],
            ..history::Batch::default()
        });
        let n_batches = 60;
        for number in 1..=n_batches {
            keeper.keep(&Told {
                number,
                is_whole: true,
                batch: Arc::clone(&large),
            });
            let sizes =
                files_of(&place.path()).map(|file| fs::metadata(file).map_or(0, |f| f.len()));
            let size = sizes.iter().sum::<u64>() as usize;
            assert!(size < MAX_FILE_BYTES + MAX_BYTES, "{size}");
            assert!(keeper.n_bytes <= MAX_BYTES);
        }
        let n_kept = keeper.whole.len() as u64;
        assert!(n_kept > 1 && n_kept < n_batches, "{n_kept}");
        keeper.end();
        assert_eq!(place.n_inherited(), 0);
        let sql = "SELECT count(*) FROM exemplars";
        let row = place.connection.query_row(sql, [], |row| row.get(0));
        let n_inherited: u64 = row.unwrap();
        // Those that were behind the oldest when the file was begun anew, too.
        assert!(n_inherited >= n_kept * 4_000, "{n_inherited} of {n_kept}");
    }
}
