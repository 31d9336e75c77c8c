//! History in DuckDB: one thread writes, readers answer questions.
//!
//! It does not know how requests are counted, nor who asks. What it is given
//! never waits for the disk: a bounded queue stands between, and what does not
//! fit is counted.
//!
//! Invariants:
//! - A row is in the file once: batches carry a number, the last one
//!   written is in the same transaction, and what moves to a wider tier leaves
//!   its old one in the same transaction.
//! - What is summed up by service says the same as the rows it is summed up
//!   from, in every state that is committed.
//! - Percentiles are those of merged histograms, over any range and series.
//! - A file that cannot be used is never deleted or overwritten: it is moved
//!   aside under a name with the time, and a new one is begun.
//! - While the disk refuses, writing is tried again every second, and resumes
//!   by itself. What a disk lost though it had acknowledged it is written
//!   again, or told. A log of which it is not known what it holds is never written
//!   to: the database is opened anew first, as after a crash.
//! - What was handed over is in a file at once, if not in the database yet:
//!   ending the process by force takes nothing of it.
#![forbid(unsafe_code)]

mod alerts;
mod dense;
mod export;
mod figures;
mod heatmap;
mod kept;
mod merge;
mod open;
mod pending;
mod plan;
mod pool;
mod probe;
mod query;
mod reader;
mod reclaim;
mod records;
mod resources;
mod rows;
mod sandbox;
mod scan;
mod schema;
mod shared;
mod sums;
mod tail;
mod tiers;
mod uncut;
mod watch;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use alerts::{AlertQuery, Edit, EditError, Edited, MAX_ALERTS};
pub use export::{Export, ExportFormat, ExportQuery, ExportTable};
pub use figures::FigureQuery;
pub use heatmap::Heatmap;
pub use kept::{EventQuery, ExemplarQuery, MAX_KEPT};
pub use open::OpenError;
pub use probe::{ProbeCommand, probe_open};
pub use query::{
    GroupBy, MAX_SERIES, MAX_STEPS, Metric, Query, QueryError, QueryResult, QuerySeries,
    ServiceOverview, Stat, Unit,
};
pub use reader::{MAX_FIGURES, Reader};
pub use resources::ResourceMetric;
pub use sandbox::{MAX_SQL_BYTES, MAX_SQL_ROWS, SqlAnswer, SqlValue};
pub use schema::SCHEMA_VERSION;
pub use shared::{Counts, Stats};
pub use tiers::Retention;
pub use uncut::takes_over_cut;
pub use writer::Writer;

use crate::shared::Shared;
use crate::writer::WorkerConfig;

/// How history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The database file; its directory is made if there is none.
    pub path: PathBuf,
    /// Memory DuckDB may use, for reading and writing together.
    pub memory_limit_bytes: u64,
    /// Threads DuckDB may use.
    pub threads: u32,
    /// Batches of rollups that may wait for the writing thread.
    pub queue: usize,
    /// How long rollups are kept.
    pub retention: Retention,
    /// Most room rows may take on the disk; beyond it the oldest are given up,
    /// those of the last day only when there is no other way. The file may be
    /// half as large again before it is copied into a smaller one.
    pub max_bytes: u64,
    /// Least free room in the file that is worth a copy.
    pub min_reclaim_bytes: u64,
    /// Time between two looks at the room that rows take.
    pub room_interval: Duration,
    /// How to open a file in a child process first; `None` opens it in this
    /// process at once, which a badly damaged file can end.
    pub probe: Option<ProbeCommand>,
}

impl StoreConfig {
    /// The defaults for a database at `path`, without a child process.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            memory_limit_bytes: 64 << 20,
            threads: 1,
            queue: 64,
            retention: Retention::default(),
            max_bytes: 5_000_000_000,
            min_reclaim_bytes: 64 << 20,
            room_interval: Duration::from_secs(60),
            probe: None,
        }
    }
}

/// History.
#[derive(Debug)]
pub struct Store;

impl Store {
    /// Opens the database, or begins a new one, and starts the writing thread.
    /// Blocks while a log is read back.
    ///
    /// # Errors
    /// The place cannot be written, or another process has the file; nothing
    /// was changed then. A disk that is full, read-only or failing is no
    /// error: writing begins when it lets it.
    pub fn open(config: StoreConfig) -> Result<(Writer, Reader), OpenError> {
        let StoreConfig {
            path,
            memory_limit_bytes,
            threads,
            queue,
            retention,
            max_bytes,
            min_reclaim_bytes,
            room_interval,
            probe,
        } = config;
        let refused = |reason: String| OpenError::Refused {
            path: path.clone(),
            reason,
        };
        let shared = Arc::new(Shared::new(path.clone()));
        export::remove_leftovers(&shared.directory());
        let connection = match open::open(&path, memory_limit_bytes, threads, probe.as_ref()) {
            Ok(opened) => {
                shared.notice(opened.notice);
                shared
                    .open_readers(&opened.connection)
                    .map_err(|error| refused(error.to_string()))?;
                Some(opened.connection)
            }
            // It may end without anybody's doing, and what is live goes on.
            Err(error) if error.may_pass() => {
                shared.failed(&error.in_one_line());
                None
            }
            Err(error) => return Err(error),
        };
        let worker = WorkerConfig {
            path: path.clone(),
            memory_limit_bytes,
            threads,
            queue,
            retention,
            max_bytes,
            min_reclaim_bytes,
            room_interval,
            probe,
        };
        let writer = Writer::start(connection, worker, Arc::clone(&shared))
            .map_err(|error| refused(error.to_string()))?;
        Ok((writer, Reader { shared }))
    }
}
