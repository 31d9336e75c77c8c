//! From a path to a database that can be used, without harm to what is there.
//!
//! | what is there | what happens |
//! |---|---|
//! | nothing | a new database |
//! | a database of this or an earlier version | it is opened, and migrated |
//! | another process holds it | an error naming the process; untouched |
//! | empty, damaged | moved aside as `<name>.damaged-<time>`; a new database |
//! | a later version | moved aside as `<name>.later-<time>`; a new database |
//! | no DuckDB file, somebody else's tables | moved aside as `<name>.foreign-<time>`; a new database |
//! | a damaged log | the log is moved aside; the database is kept if it opens without |

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use duckdb::Connection;
use jiff::Timestamp;
use thiserror::Error;

use crate::probe::{Finding, ProbeCommand, examine_in_child, is_about_room, is_failing, one_line};
use crate::reclaim::remove_copy;
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

impl OpenError {
    /// Whether the disk is full, read-only or failing, which passes.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unwritable { source, .. } => {
                let text = source.to_string();
                is_about_room(&text) || is_failing(&text)
            }
            Self::Refused { reason, .. } => is_about_room(reason) || is_failing(reason),
            Self::Locked { .. } | Self::Probe { .. } => false,
        }
    }

    /// The message with what the system said.
    pub(crate) fn in_one_line(&self) -> String {
        match self {
            Self::Unwritable { path, source } => format!("cannot write {path:?}: {source}"),
            other => other.to_string(),
        }
    }
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
    remove_copy(path).map_err(|source| OpenError::Unwritable {
        path: path.into(),
        source,
    })?;
    let mut notice = None;
    match examine_file(path)? {
        Content::Absent => {
            // A log without its database would be read into the new one.
            let log = log_of(path);
            if log.exists() {
                let aside = Aside::of(path, "damaged").take_log()?;
                notice = Some(format!("a log without its database was kept as {aside:?}"));
            }
        }
        Content::Empty => notice = Some(replace(path, Why::Damaged("it is empty"))?),
        Content::Other => notice = Some(replace(path, Why::Foreign("it is no DuckDB file"))?),
        Content::DuckDb => {
            if let Some(probe) = probe {
                notice = make_usable(path, probe)?;
            }
        }
    }
    let finding = match connect_and_migrate(path, memory_limit_bytes, threads) {
        Ok(connection) => return Ok(Opened { connection, notice }),
        Err(finding) => finding,
    };
    // What a child found sound fails only for what happened since.
    let Some(why) = Why::of(&finding).filter(|_| probe.is_none()) else {
        return Err(finding_error(path, finding));
    };
    let notice = replace(path, why)?;
    let connection = connect_and_migrate(path, memory_limit_bytes, threads)
        .map_err(|finding| finding_error(path, finding))?;
    Ok(Opened {
        connection,
        notice: Some(notice),
    })
}

/// Where DuckDB keeps the log of a database.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    let mut log = OsString::from(path);
    log.push(".wal");
    log.into()
}

/// The directory of a database, as an absolute path where there is one.
pub(crate) fn directory_of(path: &Path) -> PathBuf {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    directory
        .canonicalize()
        .unwrap_or_else(|_| directory.into())
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
    let began = Instant::now();
    let examine = || {
        // One limit for all tries; a second one has to be given a chance.
        let left = probe.timeout.saturating_sub(began.elapsed());
        let limit = left.max(probe.timeout / 4);
        examine_in_child(probe, path, limit).map_err(|source| OpenError::Probe {
            program: probe.program.clone(),
            source,
        })
    };
    let finding = examine()?;
    if finding == Finding::Sound {
        return Ok(None);
    }
    if let Finding::Damaged { reason } = &finding
        && log_of(path).exists()
    {
        let aside = Aside::of(path, "damaged").take_log()?;
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
    match Why::of(&finding) {
        Some(why) => replace(path, why).map(Some),
        None => Err(finding_error(path, finding)),
    }
}

/// Why a file makes way for a new one, with the particulars.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why<'a> {
    Damaged(&'a str),
    Later(&'a str),
    Foreign(&'a str),
}

impl<'a> Why<'a> {
    /// `None` where the file stays.
    fn of(finding: &'a Finding) -> Option<Self> {
        match finding {
            Finding::Damaged { reason } => Some(Self::Damaged(reason)),
            Finding::Newer { what } => Some(Self::Later(what)),
            Finding::Foreign => Some(Self::Foreign("it holds somebody else's tables")),
            Finding::Sound | Finding::Locked { .. } | Finding::Unreachable { .. } => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Damaged(_) => "damaged",
            Self::Later(_) => "later",
            Self::Foreign(_) => "foreign",
        }
    }
}

/// Moves the database and its log aside, so that a new one can be begun; gives
/// the sentence that says so.
pub(crate) fn replace(path: &Path, why: Why<'_>) -> Result<String, OpenError> {
    let aside = Aside::of(path, why.word());
    if log_of(path).exists() {
        aside.take_log()?;
    }
    let name = aside.take_file()?;
    let what = match why {
        Why::Damaged(reason) => format!("could not be read ({})", one_line(reason)),
        Why::Later(what) => format!("was written by a later version of modeltap ({what})"),
        Why::Foreign(what) => format!("is not modeltap's ({what})"),
    };
    Ok(format!(
        "the history file {what} and was kept as {name:?}; a new one was begun"
    ))
}

/// Where a database and its log are moved: `<database>.<word>-<time>`, and the
/// same with `.wal`, so that DuckDB finds them together.
struct Aside<'a> {
    path: &'a Path,
    target: PathBuf,
}

impl<'a> Aside<'a> {
    fn of(path: &'a Path, word: &str) -> Self {
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut target = path.with_file_name(format!("{name}.{word}-{stamp}"));
        let mut attempt = 1_u32;
        while target.exists() || log_of(&target).exists() {
            attempt += 1;
            target = path.with_file_name(format!("{name}.{word}-{stamp}-{attempt}"));
        }
        Self { path, target }
    }

    fn take_file(&self) -> Result<String, OpenError> {
        self.take(self.path, &self.target)
    }

    fn take_log(&self) -> Result<String, OpenError> {
        self.take(&log_of(self.path), &log_of(&self.target))
    }

    fn take(&self, from: &Path, to: &Path) -> Result<String, OpenError> {
        fs::rename(from, to).map_err(|source| OpenError::Unwritable {
            path: from.into(),
            source,
        })?;
        let name = to.file_name().unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    }
}

enum Content {
    Absent,
    Empty,
    DuckDb,
    Other,
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
        Ok(Content::Other)
    }
}

/// Tries what DuckDB will do, because the system's own error is clearer.
pub(crate) fn check_writable(path: &Path) -> Result<(), OpenError> {
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
        Finding::Newer { what } => OpenError::Refused {
            path,
            reason: format!("a later version of modeltap wrote it: {what}"),
        },
        Finding::Foreign => OpenError::Refused {
            path,
            reason: "it holds somebody else's tables".into(),
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
