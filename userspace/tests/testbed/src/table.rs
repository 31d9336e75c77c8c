//! The table of a test run: a server a line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const HEAD: &str = "\
| server | load | requests sent | seen | wrong | strictly inside |
|---|---|---:|---:|---:|---:|
";

/// What became of one server's requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The server.
    pub server: String,
    /// How it was driven.
    pub load: String,
    /// Requests sent by the client.
    pub n_sent: u64,
    /// Requests told by the daemon.
    pub n_seen: u64,
    /// Requests told otherwise than they were, or not at all, or too many.
    pub n_wrong: u64,
    /// Requests told to end no later than the client had the last byte; not
    /// measured where single requests are too many to be told.
    pub n_inside: Option<u64>,
}

impl Line {
    fn text(&self) -> String {
        let inside = self
            .n_inside
            .map_or_else(|| "-".to_owned(), |n| n.to_string());
        format!(
            "| {} | {} | {} | {} | {} | {inside} |\n",
            self.server, self.load, self.n_sent, self.n_seen, self.n_wrong
        )
    }
}

/// Adds a line to the table of this run at `file`, and prints it, also where
/// the harness swallows what tests print.
pub fn note(file: &Path, line: Line) {
    static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    // Neither is worth failing a test for.
    let _ = io::stderr().write_all(line.text().as_bytes());
    lines.push(line);
    let mut text = String::from(HEAD);
    for line in &*lines {
        text.push_str(&line.text());
    }
    let _ = fs::write(file, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_grows_by_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("table.md");
        let line = Line {
            server: "a".to_owned(),
            load: "mix".to_owned(),
            n_sent: 3,
            n_seen: 3,
            n_wrong: 0,
            n_inside: Some(2),
        };
        note(&file, line.clone());
        note(
            &file,
            Line {
                n_inside: None,
                ..line
            },
        );
        let text = fs::read_to_string(&file).unwrap();
        let expected = format!("{HEAD}| a | mix | 3 | 3 | 0 | 2 |\n| a | mix | 3 | 3 | 0 | - |\n");
        assert_eq!(text, expected);
    }
}
