//! Children of the tests, which may die.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use modeltap_store::ProbeCommand;

/// Names what a child of the tests is to do.
pub const TASK: &str = "MODELTAP_STORE_TEST_TASK";

/// Has this test program open the file first.
pub fn probe() -> ProbeCommand {
    ProbeCommand {
        program: std::env::current_exe().expect("a running program has a path"),
        arguments: ["--exact", "child", "--nocapture"].map(Into::into).to_vec(),
        variables: vec![(TASK.into(), "probe".into())],
        timeout: Duration::from_secs(30),
    }
}

/// A child of the tests and the lines it writes.
pub struct TestChild {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl TestChild {
    pub fn start(task: &str, path: &Path) -> Self {
        let program = std::env::current_exe().expect("a running program has a path");
        Self::spawn(Command::new(program), task, path)
    }

    /// Starts it by a command that takes its arguments.
    pub fn spawn(mut command: Command, task: &str, path: &Path) -> Self {
        let mut child = command
            .args(["--exact", "child", "--nocapture"])
            .arg(path)
            .env(TASK, task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let stdout = child.stdout.take().expect("its output is piped");
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    /// What follows the next line that begins with `word`.
    pub fn wait_for(&mut self, word: &str) -> String {
        for line in self.lines.by_ref() {
            if let Some(rest) = line.expect("text").strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
        panic!("the child ended without saying {word:?}");
    }

    /// As `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

/// Files in the database's folder with `word` in their names.
pub fn beside(path: &Path, word: &str) -> Vec<PathBuf> {
    let directory = path.parent().expect("a file is in a directory");
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("the directory is readable")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(word))
        .collect();
    found.sort();
    found
}
