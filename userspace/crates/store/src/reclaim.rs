//! Gives the disk back what was deleted.
//!
//! DuckDB reuses the blocks of deleted rows but never shortens its file, so
//! that the file is copied into a new one, and the new one takes its place:
//!
//! | step | on which thread | a crash then leaves |
//! |---|---|---|
//! | the snapshot's rows are copied | one of its own | the old file; the copy is removed |
//! | meanwhile new rows go to both | the writer's | the old file, with them |
//! | what changes in place is copied, both are compared | the writer's | the old file |
//! | the old file is closed without a log, the copy renamed over it | the writer's | one or the other, both whole |
//!
//! Nothing moves on or is deleted meanwhile, so that new rows are all that
//! differs from the snapshot.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use duckdb::arrow::array::RecordBatch;
use duckdb::{Connection, InterruptHandle};
use thiserror::Error;

use crate::open::log_of;
use crate::pending::Pending;
use crate::schema::{APPENDED, SUMS, SchemaError, TIERS, migrate};

/// The copy's name while it is attached.
const COPY: &str = "fresh";

/// Why a copy was given up; the old file is as it was.
#[derive(Debug, Error)]
pub(crate) enum ReclaimError {
    #[error(transparent)]
    Database(#[from] duckdb::Error),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("cannot replace the history file")]
    Io(#[from] io::Error),
    #[error("the copy differs in the table {0:?}")]
    Differs(String),
    #[error("the copying thread ended in a panic")]
    Broke,
    #[error("the log could not be written back")]
    Log,
}

/// Blocks of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) used_bytes: u64,
    pub(crate) free_bytes: u64,
}

/// Blocks of the open file, as of its last checkpoint.
pub(crate) fn room(connection: &Connection) -> duckdb::Result<Room> {
    let sql = "SELECT used_blocks * block_size, free_blocks * block_size \
               FROM pragma_database_size() WHERE database_name = current_database()";
    connection.query_row(sql, [], |row| {
        Ok(Room {
            used_bytes: row.get(0)?,
            free_bytes: row.get(1)?,
        })
    })
}

/// Where the copy of a database is made.
fn copy_of(path: &Path) -> PathBuf {
    let mut copy = path.as_os_str().to_owned();
    copy.push(".copy");
    copy.into()
}

/// Removes what a copy left that did not come to its end.
pub(crate) fn remove_copy(path: &Path) -> io::Result<()> {
    let copy = copy_of(path);
    for file in [log_of(&copy), copy] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Tables whose rows are only ever added or deleted.
fn is_appended(table: &str) -> bool {
    let mut tiers = TIERS.iter().chain(&SUMS);
    APPENDED.contains(&table) || tiers.any(|tier| tier.table == table)
}

/// A copy under way.
pub(crate) struct Reclaim {
    path: PathBuf,
    /// `None` once it was waited for.
    thread: Option<JoinHandle<duckdb::Result<()>>>,
    interrupt: Arc<InterruptHandle>,
}

impl Reclaim {
    /// Begins a copy of the database at `path`, which `connection` has open.
    pub(crate) fn begin(path: &Path, connection: &Connection) -> Result<Self, ReclaimError> {
        remove_copy(path)?;
        let copy = copy_of(path);
        let name: String =
            connection.query_row("SELECT current_database()", [], |row| row.get(0))?;
        let quoted = copy.to_string_lossy().replace('\'', "''");
        connection.execute_batch(&format!("ATTACH '{quoted}' AS {COPY}"))?;
        let started = Self::start(path, connection, &name);
        if started.is_err() {
            // It may not be attached; what matters is the first failure.
            let _detached = connection.execute_batch(&format!("DETACH {COPY}"));
            let _removed = remove_copy(path);
        }
        started
    }

    fn start(path: &Path, connection: &Connection, name: &str) -> Result<Self, ReclaimError> {
        let mut copier = connection.try_clone()?;
        copier.execute_batch(&format!("USE {COPY}"))?;
        migrate(&mut copier)?;
        let from = format!("\"{}\".main", name.replace('"', "\"\""));
        // The snapshot is that of the first look, here between two writes.
        copier.execute_batch(&format!("BEGIN; SELECT count(*) FROM {from}.runs"))?;
        let interrupt = copier.interrupt_handle();
        let thread = std::thread::Builder::new()
            .name("store-copy".into())
            .spawn(move || {
                let tables = tables(&copier)?;
                for table in tables.iter().filter(|table| is_appended(table)) {
                    copier.execute_batch(&format!(
                        "INSERT INTO {COPY}.{table} SELECT * FROM {from}.{table}"
                    ))?;
                }
                copier.execute_batch("COMMIT")
            })?;
        Ok(Self {
            path: path.to_owned(),
            thread: Some(thread),
            interrupt,
        })
    }

    /// Whether the thread has come to its end.
    pub(crate) fn is_copied(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Adds batches that were written to the old file since the beginning, and
    /// the sums of what in them came late.
    pub(crate) fn append(
        &self,
        connection: &mut Connection,
        pending: &Pending,
        late: Option<&RecordBatch>,
    ) -> duckdb::Result<()> {
        let transaction = connection.transaction()?;
        for table in APPENDED.into_iter().chain([SUMS[0].table]) {
            let late = late.filter(|_| table == SUMS[0].table);
            let mut of_table = pending.rows_of(table).chain(late).peekable();
            if of_table.peek().is_none() {
                continue;
            }
            let mut appender = transaction.appender_to_catalog_and_db(table, COPY, "main")?;
            for rows in of_table {
                appender.append_record_batch(rows.clone())?;
            }
            appender.flush()?;
        }
        transaction.commit()
    }

    /// Makes the copy whole and lets go of it: it may take the old file's
    /// place then. Not before it is copied.
    pub(crate) fn complete(&mut self, connection: &mut Connection) -> Result<(), ReclaimError> {
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| ReclaimError::Broke)??;
        }
        let tables = tables(connection)?;
        let transaction = connection.transaction()?;
        for table in tables.iter().filter(|table| !is_appended(table)) {
            transaction.execute_batch(&format!(
                "DELETE FROM {COPY}.main.{table}; \
                 INSERT INTO {COPY}.main.{table} SELECT * FROM {table}"
            ))?;
        }
        transaction.commit()?;
        for table in tables {
            let count = |table: &str| {
                let sql = format!("SELECT count(*) FROM {table}");
                connection.query_row(&sql, [], |row| row.get::<_, u64>(0))
            };
            if count(&table)? != count(&format!("{COPY}.main.{table}"))? {
                return Err(ReclaimError::Differs(table));
            }
        }
        connection.execute_batch(&format!("CHECKPOINT {COPY}; DETACH {COPY}"))?;
        let copy = copy_of(&self.path);
        if log_of(&copy).exists() {
            return Err(ReclaimError::Log);
        }
        File::open(copy)?.sync_all()?;
        Ok(())
    }

    /// Puts the complete copy in the place of the old file, which nobody has
    /// open any longer.
    pub(crate) fn swap(self) -> Result<(), ReclaimError> {
        // A log would be read into the new file.
        if log_of(&self.path).exists() {
            return Err(ReclaimError::Log);
        }
        fs::rename(copy_of(&self.path), &self.path)?;
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()?;
        Ok(())
    }

    /// Ends a copy that is not wanted any longer.
    pub(crate) fn abandon(mut self, connection: Option<&Connection>) {
        self.interrupt.interrupt();
        if let Some(thread) = self.thread.take() {
            // It was interrupted, or failed on its own.
            let _ended = thread.join();
        }
        if let Some(connection) = connection {
            let _detached = connection.execute_batch(&format!("DETACH {COPY}"));
        }
        let _removed = remove_copy(&self.path);
    }
}

/// Tables of the connection's own database.
fn tables(connection: &Connection) -> duckdb::Result<Vec<String>> {
    let sql = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() \
               AND table_name <> 'modeltap_schema'";
    let mut statement = connection.prepare(sql)?;
    let names = statement.query_map([], |row| row.get(0))?;
    names.collect()
}
