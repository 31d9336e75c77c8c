//! A range of history as one file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use duckdb::types::Value;
use duckdb::{Connection, params_from_iter};
use modeltap_core::time::UnixNs;

use crate::query::QueryError;
use crate::reader::Reader;
use crate::rows::micros;
use crate::watch;

/// Longest an export may take to be written: an answer's head comes within 30 s.
const TIME_LIMIT: Duration = Duration::from_secs(25);
/// Largest export, in bytes.
const MAX_BYTES: u64 = 1 << 30;
/// Rows a group of a Parquet file: few, because a group is held in memory.
const ROW_GROUP: u32 = 10_240;
/// How the names of files being written begin.
const PREFIX: &str = ".modeltap-export-";

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportTable {
    /// Requests by series and window.
    Rollups,
    /// What containers used.
    Resources,
    /// Single requests.
    Exemplars,
    /// What happened.
    Events,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Apache Parquet, compressed by Zstandard; rollups with their histograms.
    Parquet,
    /// Comma-separated values with a header; without histograms.
    Csv,
    /// A JSON object a line; without histograms.
    Ndjson,
}

/// A range to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportQuery {
    /// What.
    pub table: ExportTable,
    /// How.
    pub format: ExportFormat,
    /// Only this service.
    pub service: Option<String>,
    /// At or after.
    pub from: UnixNs,
    /// Before.
    pub to: UnixNs,
}

/// An export that was written. Its file has no name any more: it is gone when
/// this is dropped, whatever becomes of the process.
#[derive(Debug)]
pub struct Export {
    /// The file, at its beginning.
    pub file: File,
    /// Its size.
    pub n_bytes: u64,
}

impl ExportTable {
    /// Every table.
    pub const ALL: [Self; 4] = [
        Self::Rollups,
        Self::Resources,
        Self::Exemplars,
        Self::Events,
    ];

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rollups => "rollups",
            Self::Resources => "resources",
            Self::Exemplars => "exemplars",
            Self::Events => "events",
        }
    }

    /// The table of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.as_str() == name)
    }

    /// The column of time, and the view or table to read.
    fn source(self, format: ExportFormat) -> (&'static str, &'static str) {
        match (self, format) {
            (Self::Rollups, ExportFormat::Parquet) => ("start", "rollups"),
            (Self::Rollups, _) => ("start", "requests"),
            (Self::Resources, _) => ("start", "resources"),
            (Self::Exemplars, _) => ("finished", "exemplars"),
            (Self::Events, _) => ("happened", "events"),
        }
    }
}

impl ExportFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Parquet, Self::Csv, Self::Ndjson];

    /// The name, which is the file's extension too.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    fn options(self) -> String {
        match self {
            Self::Parquet => {
                format!("FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}")
            }
            Self::Csv => "FORMAT csv, HEADER".into(),
            Self::Ndjson => "FORMAT json".into(),
        }
    }
}

impl Reader {
    /// Writes a range of history to a file beside the database.
    ///
    /// # Errors
    /// The range is empty, it takes too long or too much room, another export
    /// is written, or the database cannot be read now.
    pub fn export(&self, query: &ExportQuery) -> Result<Export, QueryError> {
        if query.from >= query.to {
            return Err(QueryError::Invalid("from lies at or after to".into()));
        }
        let connection = self.shared.exports.take()?;
        let directory = self.shared.directory();
        let temporary = Temporary::new(&directory);
        let began = Instant::now();
        let is_over = || {
            let size = fs::metadata(&temporary.0).map_or(0, |file| file.len());
            if began.elapsed() > TIME_LIMIT {
                Some(QueryError::TooSlow(TIME_LIMIT))
            } else if size > MAX_BYTES {
                Some(QueryError::TooLarge)
            } else {
                None
            }
        };
        watch::until(is_over, &connection, || {
            write(&connection, query, &temporary.0)
        })?;
        let opened = File::open(&temporary.0).and_then(|file| {
            let n_bytes = file.metadata()?.len();
            Ok(Export { file, n_bytes })
        });
        opened.map_err(|error| QueryError::Database(Box::new(error)))
    }
}

fn write(connection: &Connection, query: &ExportQuery, path: &Path) -> Result<(), QueryError> {
    let (time, source) = query.table.source(query.format);
    let mut values = vec![
        Value::BigInt(micros(query.from)),
        Value::BigInt(micros(query.to)),
    ];
    let mut conditions = format!("{time} >= make_timestamp($1) AND {time} < make_timestamp($2)");
    if let Some(service) = &query.service {
        values.push(Value::Text(service.clone()));
        conditions.push_str(" AND service = $3");
    }
    let path = path.to_str().ok_or_else(|| {
        QueryError::Invalid("the data directory's name is no UTF-8: it cannot export".into())
    })?;
    // Text has no type that says UTC: it is written out.
    let columns = match (query.format, query.table) {
        (ExportFormat::Parquet, ExportTable::Exemplars) => {
            "* REPLACE (timezone('UTC', finished) AS finished, timezone('UTC', started) AS started)"
                .to_owned()
        }
        (ExportFormat::Parquet, _) => format!("* REPLACE (timezone('UTC', {time}) AS {time})"),
        (_, ExportTable::Exemplars) => format!(
            "* REPLACE ({} AS finished, {} AS started)",
            rfc_3339("finished"),
            rfc_3339("started")
        ),
        _ => format!("* REPLACE ({} AS {time})", rfc_3339(time)),
    };
    let sql = format!(
        "COPY (SELECT {columns} FROM {source} WHERE {conditions}) TO '{}' \
         ({}, USE_TMP_FILE false)",
        path.replace('\'', "''"),
        query.format.options(),
    );
    connection.execute(&sql, params_from_iter(values))?;
    Ok(())
}

fn rfc_3339(column: &str) -> String {
    format!("strftime({column}, '%Y-%m-%dT%H:%M:%S.%fZ')")
}

/// A file that is removed when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(directory: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{n}", std::process::id());
        Self(directory.join(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Where nothing was written there is nothing to remove.
        let _absent = fs::remove_file(&self.0);
    }
}

/// Removes what an earlier process did not live to remove.
pub(crate) fn remove_leftovers(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            // What cannot be removed now is tried at the next start.
            let _kept = fs::remove_file(entry.path());
        }
    }
}
