//! From a path to a database that can be used, without harm to what is there.
//!
//! | what is there | what happens |
//! |---|---|
//! | nothing | a new database |
//! | a database of this or an earlier version | it is opened, and migrated |
//! | no DuckDB file, somebody else's tables, a later version | an error; untouched |
//! | another process holds it | an error naming the process; untouched |
//! | empty, damaged | moved aside under a name with the time; a new database |
//! | a damaged log | the log is moved aside; the database is kept if it opens without |

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use duckdb::Connection;
use jiff::Timestamp;
use thiserror::Error;

use crate::probe::{Finding, ProbeCommand, examine_in_child, one_line};
use crate::schema::{SchemaError, connect, migrate};

/// Where DuckDB's files have their name, and the name.
const MAGIC_AT: usize = 8;
const MAGIC: &[u8] = b"DUCK";

/// Why history cannot be opened. Nothing on the disk was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory or the file cannot be written.
    #[error("cannot write {path:?} (choose another place with --data-dir)")]
    Unwritable {
        /// The directory or the file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the file open.
    #[error("{} has {path:?} open (stop it, or choose another place with --data-dir)", holder(.pid))]
    Locked {
        /// The file.
        path: PathBuf,
        /// Who holds it, if that is known.
        pid: Option<u32>,
    },
    /// The file is something else, and somebody else's.
    #[error(
        "{path:?} is not a database of modeltap's: {what} (move it away, or choose another place with --data-dir)"
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// A later version wrote the file.
    #[error(
        "{path:?} was written by a later version of modeltap: {what} (use that version, or move the file away)"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What is later in it.
        what: String,
    },
    /// DuckDB refuses for another reason.
    #[error("cannot open {path:?}: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What DuckDB said, in one line.
        reason: String,
    },
    /// The process that is to open the file first cannot be started.
    #[error("cannot start {program:?} to examine the history file")]
    Probe {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or("another process".into(), |pid| {
        format!("another process (PID {pid})")
    })
}

/// A database that is open, and what became of an older file.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) notice: Option<String>,
}

/// Opens the database at `path`.
pub(crate) fn open(
    path: &Path,
    memory_limit_bytes: u64,
    threads: u32,
    probe: Option<&ProbeCommand>,
) -> Result<Opened, OpenError> {
    check_writable(path)?;
    let mut notice = None;
    match examine_file(path)? {
        Content::Absent => {
            // A log without its database would be read into the new one.
            let log = log_of(path);
            if log.exists() {
                let aside = set_aside(&log, path, "wal")?;
                notice = Some(format!("a log without its database was kept as {aside:?}"));
            }
        }
        Content::Empty => notice = Some(replace(path, "it is empty")?),
        Content::DuckDb => {
            if let Some(probe) = probe {
                notice = make_usable(path, probe)?;
            }
        }
    }
    match connect_and_migrate(path, memory_limit_bytes, threads) {
        Ok(connection) => Ok(Opened { connection, notice }),
        // What a child found sound fails only for what happened since.
        Err(Finding::Damaged { reason }) if probe.is_none() => {
            let notice = replace(path, &reason)?;
            let connection = connect_and_migrate(path, memory_limit_bytes, threads)
                .map_err(|finding| finding_error(path, finding))?;
            Ok(Opened {
                connection,
                notice: Some(notice),
            })
        }
        Err(finding) => Err(finding_error(path, finding)),
    }
}

/// Where DuckDB keeps the log of a database.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    let mut log = OsString::from(path);
    log.push(".wal");
    log.into()
}

fn connect_and_migrate(
    path: &Path,
    memory_limit_bytes: u64,
    threads: u32,
) -> Result<Connection, Finding> {
    let opened = connect(path, memory_limit_bytes, threads).map_err(SchemaError::from);
    let migrated = opened.and_then(|mut connection| migrate(&mut connection).map(|()| connection));
    migrated.map_err(|error| match error {
        SchemaError::Newer(version) => Finding::Newer {
            what: format!("schema version {version}"),
        },
        SchemaError::Foreign => Finding::Foreign,
        SchemaError::Database(error) => Finding::of_error(&error.to_string()),
    })
}

/// Has a child open the file until it can, moving aside what it cannot read.
fn make_usable(path: &Path, probe: &ProbeCommand) -> Result<Option<String>, OpenError> {
    let examine = || {
        examine_in_child(probe, path).map_err(|source| OpenError::Probe {
            program: probe.program.clone(),
            source,
        })
    };
    let reason = match examine()? {
        Finding::Sound => return Ok(None),
        Finding::Damaged { reason } => reason,
        other => return Err(finding_error(path, other)),
    };
    let log = log_of(path);
    if log.exists() {
        let aside = set_aside(&log, path, "wal")?;
        match examine()? {
            Finding::Sound => {
                return Ok(Some(format!(
                    "the log of the history file could not be read ({reason}) and was kept as \
                     {aside:?}; what it held since the last checkpoint is missing"
                )));
            }
            Finding::Damaged { .. } => {}
            other => return Err(finding_error(path, other)),
        }
    }
    replace(path, &reason).map(Some)
}

/// Moves the database and its log aside, so that a new one can be begun.
fn replace(path: &Path, reason: &str) -> Result<String, OpenError> {
    let log = log_of(path);
    if log.exists() {
        set_aside(&log, path, "wal")?;
    }
    let aside = set_aside(path, path, "")?;
    Ok(format!(
        "the history file could not be read ({}) and was kept as {aside:?}; a new one was begun",
        one_line(reason)
    ))
}

/// Renames a file to `<database>.damaged-<time>`, with an extension if there
/// is one; gives its new name.
fn set_aside(file: &Path, database: &Path, extension: &str) -> Result<String, OpenError> {
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let name = database
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let extension = if extension.is_empty() {
        String::new()
    } else {
        format!(".{extension}")
    };
    let unwritable = |source| OpenError::Unwritable {
        path: file.into(),
        source,
    };
    for attempt in 1..100_u32 {
        let attempt = if attempt == 1 {
            String::new()
        } else {
            format!("-{attempt}")
        };
        let aside = format!("{name}.damaged-{stamp}{attempt}{extension}");
        let target = database.with_file_name(&aside);
        if !target.exists() {
            fs::rename(file, &target).map_err(unwritable)?;
            return Ok(aside);
        }
    }
    Err(unwritable(io::ErrorKind::AlreadyExists.into()))
}

enum Content {
    Absent,
    Empty,
    DuckDb,
}

fn examine_file(path: &Path) -> Result<Content, OpenError> {
    let unreadable = |source| OpenError::Unwritable {
        path: path.into(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Absent),
        Err(error) => return Err(unreadable(error)),
    };
    let mut head = Vec::new();
    file.take((MAGIC_AT + MAGIC.len()) as u64)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    if head.is_empty() {
        Ok(Content::Empty)
    } else if head.get(MAGIC_AT..) == Some(MAGIC) {
        Ok(Content::DuckDb)
    } else {
        let what = "it is no DuckDB file".into();
        Err(OpenError::NotADatabase {
            path: path.into(),
            what,
        })
    }
}

/// Tries what DuckDB will do, because the system's own error is clearer.
fn check_writable(path: &Path) -> Result<(), OpenError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory).map_err(|source| OpenError::Unwritable {
        path: directory.into(),
        source,
    })?;
    if path.exists() {
        let opened = OpenOptions::new().read(true).append(true).open(path);
        opened.map_err(|source| OpenError::Unwritable {
            path: path.into(),
            source,
        })?;
    }
    let trial = directory.join(format!(".modeltap-trial-{}", std::process::id()));
    File::create(&trial)
        .and_then(|_| fs::remove_file(&trial))
        .map_err(|source| OpenError::Unwritable {
            path: directory.into(),
            source,
        })
}

fn finding_error(path: &Path, finding: Finding) -> OpenError {
    let path = path.to_path_buf();
    match finding {
        Finding::Locked { pid } => OpenError::Locked { path, pid },
        Finding::Newer { what } => OpenError::Newer { path, what },
        Finding::Foreign => OpenError::NotADatabase {
            path,
            what: "it holds somebody else's tables".into(),
        },
        Finding::Unreachable { reason } | Finding::Damaged { reason } => {
            OpenError::Refused { path, reason }
        }
        Finding::Sound => OpenError::Refused {
            path,
            reason: "it changed meanwhile".into(),
        },
    }
}
