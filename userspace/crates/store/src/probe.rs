//! Opens a database in a process that may die of it.
//!
//! DuckDB aborts on some damaged logs instead of returning an error, and a log
//! larger than the memory limit cannot be read within it. The child opens the
//! file first, with more memory, writes a checkpoint, and says on standard
//! output what it found; where it dies, nothing is lost but the child.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use duckdb::Connection;

use crate::schema::{SchemaError, connect, version};

/// Memory the child may use to read a log again.
const MEMORY_LIMIT_BYTES: u64 = 1 << 30;
/// Rows of each table that are read, the newest: a row group of DuckDB's.
const LOOKED_AT: u32 = 122_880;
/// How often a running child is looked after.
const POLL: Duration = Duration::from_millis(5);
/// Begins the line that says what was found.
const PREFIX: &str = "modeltap-store-probe";

/// How to start the child: a program that calls [`probe_open`] with the path,
/// which is given as the last argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCommand {
    /// The program, as a rule the running one.
    pub program: PathBuf,
    /// Its arguments before the path.
    pub arguments: Vec<OsString>,
    /// Variables set for it.
    pub variables: Vec<(OsString, OsString)>,
    /// How long it may take; reading back a large log takes seconds.
    pub timeout: Duration,
}

/// What opening a file showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It can be used.
    Sound,
    /// Another process has it open.
    Locked { pid: Option<u32> },
    /// A later version of the program wrote it.
    Newer { what: String },
    /// A database of somebody else's.
    Foreign,
    /// It cannot be reached or written; nothing is known of its content.
    Unreachable { reason: String },
    /// It is damaged.
    Damaged { reason: String },
}

/// Opens the database at `path`, and writes to standard output what it found.
/// It is for the child process of [`ProbeCommand`].
///
/// # Errors
/// Standard output cannot be written.
pub fn probe_open(path: &Path) -> io::Result<()> {
    let finding = examine(path);
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "\n{PREFIX} {}", finding.to_line())?;
    stdout.flush()
}

/// Opens the file and looks at it, in this process.
pub(crate) fn examine(path: &Path) -> Finding {
    match open_and_check(path) {
        Ok(()) => Finding::Sound,
        Err(SchemaError::Newer(version)) => Finding::Newer {
            what: format!("schema version {version}"),
        },
        Err(SchemaError::Foreign) => Finding::Foreign,
        Err(SchemaError::Database(error)) => Finding::of_error(&error.to_string()),
    }
}

fn open_and_check(path: &Path) -> Result<(), SchemaError> {
    let connection = connect(path, MEMORY_LIMIT_BYTES, 1)?;
    if version(&connection)? > 0 {
        // Damaged blocks show only when they are read: the newest rows are
        // what a torn write would have hit.
        for table in tables(&connection)? {
            let sql = format!(
                "SELECT max(COLUMNS(*)) FROM {table} \
                 WHERE rowid > (SELECT max(rowid) FROM {table}) - {LOOKED_AT}"
            );
            connection.execute_batch(&sql)?;
        }
    }
    // A full disk is no reason to refuse: reading back the log worked.
    if let Err(error) = connection.execute_batch("CHECKPOINT") {
        let reason = error.to_string();
        if !is_about_the_disk(&reason) {
            return Err(error.into());
        }
    }
    Ok(())
}

fn tables(connection: &Connection) -> duckdb::Result<Vec<String>> {
    let sql = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()";
    let mut statement = connection.prepare(sql)?;
    let names = statement.query_map([], |row| row.get(0))?;
    names.collect()
}

/// Runs the child, and gives what it found.
pub(crate) fn examine_in_child(
    command: &ProbeCommand,
    path: &Path,
    limit: Duration,
) -> io::Result<Finding> {
    let mut child = Command::new(&command.program)
        .args(&command.arguments)
        .arg(path)
        .envs(command.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            let reason = format!("opening it took longer than {limit:?}");
            return Ok(Finding::Damaged { reason });
        }
        std::thread::sleep(POLL);
    };
    let mut output = String::new();
    if let Some(stdout) = child.stdout.take() {
        // One line is far less than a pipe holds, so that the child never
        // waited for a reader.
        stdout.take(1 << 16).read_to_string(&mut output)?;
    }
    let line = output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(PREFIX));
    Ok(line
        .and_then(|line| Finding::of_line(line.trim()))
        .unwrap_or_else(|| Finding::Damaged {
            reason: format!("opening it ended the process ({status})"),
        }))
}

impl Finding {
    /// What an error of DuckDB's says about the file.
    pub(crate) fn of_error(error: &str) -> Self {
        let reason = one_line(error);
        if reason.contains("Could not set lock") || reason.contains("Conflicting lock") {
            return Self::Locked {
                pid: pid_in(&reason),
            };
        }
        // `Trying to read a database file with version number 99, but we can
        // only read versions between 64 and 67`.
        if reason.contains("version number") {
            return Self::Newer {
                what: "a later storage format".into(),
            };
        }
        if is_about_the_disk(&reason) {
            return Self::Unreachable { reason };
        }
        Self::Damaged { reason }
    }

    fn to_line(&self) -> String {
        match self {
            Self::Sound => "sound".into(),
            Self::Locked { pid: Some(pid) } => format!("locked {pid}"),
            Self::Locked { pid: None } => "locked".into(),
            Self::Newer { what } => format!("newer {what}"),
            Self::Foreign => "foreign".into(),
            Self::Unreachable { reason } => format!("unreachable {}", one_line(reason)),
            Self::Damaged { reason } => format!("damaged {}", one_line(reason)),
        }
    }

    fn of_line(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "sound" => Self::Sound,
            "locked" => Self::Locked {
                pid: rest.parse().ok(),
            },
            "newer" => Self::Newer { what: rest.into() },
            "foreign" => Self::Foreign,
            "unreachable" => Self::Unreachable {
                reason: rest.into(),
            },
            "damaged" => Self::Damaged {
                reason: rest.into(),
            },
            _ => return None,
        })
    }
}

/// Whether an error of an open database's says that what is in its file is
/// damaged, and not that memory or the disk ran out.
pub(crate) fn is_about_damage(error: &str) -> bool {
    let signs = [
        "checksum",
        "orrupt",
        "Serialization Error",
        "INTERNAL Error",
        "FATAL Error",
        "malformed",
    ];
    signs.iter().any(|sign| error.contains(sign))
        && !is_about_the_disk(error)
        && !error.contains("Out of Memory")
}

/// Whether an error is about reaching or writing the file, and says nothing of
/// what is in it.
fn is_about_the_disk(error: &str) -> bool {
    let others = ["Permission denied", "File too large", "Too many open files"];
    is_about_room(error) || is_failing(error) || others.iter().any(|cause| error.contains(cause))
}

/// Whether an error says that the disk is full.
pub(crate) fn is_about_room(error: &str) -> bool {
    let causes = ["No space left", "Disk quota exceeded"];
    causes.iter().any(|cause| error.contains(cause))
}

/// Whether an error says that the disk is read-only or fails: what was just
/// written to it may be there or not.
pub(crate) fn is_failing(error: &str) -> bool {
    let causes = [
        "Read-only file system",
        "Input/output error",
        "fsync failed",
    ];
    causes.iter().any(|cause| error.contains(cause))
}

/// `Conflicting lock is held in /usr/bin/modeltap (PID 4242) by user root`.
fn pid_in(error: &str) -> Option<u32> {
    let (_, rest) = error.split_once("(PID ")?;
    rest.split_once(')')?.0.trim().parse().ok()
}

/// Errors of DuckDB's may have a stack trace behind them.
pub(crate) fn one_line(error: &str) -> String {
    let line = error
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    line.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_survive_the_way_between_processes() {
        for finding in [
            Finding::Sound,
            Finding::Locked { pid: Some(42) },
            Finding::Locked { pid: None },
            Finding::Newer {
                what: "schema version 9".into(),
            },
            Finding::Foreign,
            Finding::Unreachable {
                reason: "Permission denied".into(),
            },
            Finding::Damaged {
                reason: "checksum does not match".into(),
            },
        ] {
            assert_eq!(Finding::of_line(&finding.to_line()), Some(finding));
        }
        assert_eq!(Finding::of_line("gibberish"), None);
    }

    #[test]
    fn errors_name_the_holder_of_the_lock() {
        let error = "IO Error: Could not set lock on file \"/x\": Conflicting lock is held in \
                     /usr/bin/modeltap (PID 4242) by user root. See also https://duckdb.org";
        assert_eq!(
            Finding::of_error(error),
            Finding::Locked { pid: Some(4242) }
        );
    }
}
