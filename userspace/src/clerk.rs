//! A process that looks at others' processes for the daemon.
//!
//! The kernel tells which network a process is in, and which sockets it holds,
//! only to one that may trace it, and to none that Landlock confines. So the
//! daemon keeps no such right: this one does, whose only input are the
//! daemon's questions, a line each, and whose only output are numbers. It ends
//! when its input does.
//!
//! | question | answer |
//! |---|---|
//! | `network PID` | the inode number of its network namespace, or nothing |
//! | `sockets PID LIMIT` | descriptors looked at, then the sockets' inode numbers |
//! | `measure on`, `measure off` | 1 if the kernel measures BPF programs from now on, or does not any more |

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, iter};

use anyhow::Context;
use modeltap_capture::control::measure_run_time;
use modeltap_capture::memory;
use modeltap_discovery::look::{Direct, Look, Sockets};

use crate::confine;

/// The command that makes a process a clerk.
const COMMAND: &str = "clerk";
/// Longest question or answer, in bytes: as many sockets as are ever asked for.
const MAX_LINE_BYTES: u64 = 8 << 20;

/// The daemon's side.
#[derive(Debug)]
pub struct Clerk {
    process: Mutex<Child>,
    /// `None` once it ended.
    lines: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
}

impl Clerk {
    /// Starts the process, which has the privileges of this one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start() -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot find the running program")?;
        // Settings are secrets; only where libraries are is of use.
        let libraries = env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path));
        let mut child = Command::new(program)
            .arg(COMMAND)
            .env_clear()
            .envs(libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal's interrupt is for the daemon, which asks until its end.
            .process_group(0)
            .spawn()
            .context("cannot start the clerk")?;
        let lines = child.stdin.take().zip(child.stdout.take());
        let lines = lines.map(|(questions, answers)| (questions, BufReader::new(answers)));
        Ok(Self {
            process: Mutex::new(child),
            lines: Mutex::new(lines),
        })
    }

    fn ask(&self, question: &str) -> Vec<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((questions, answers)) = &mut *lines else {
            return Vec::new();
        };
        match exchange(questions, answers, question) {
            Ok(numbers) => numbers,
            Err(error) => {
                tracing::error!(%error, "the clerk ended: new containers' networks stay unknown");
                *lines = None;
                Vec::new()
            }
        }
    }
}

impl Clerk {
    /// Has the kernel measure how long BPF programs run, or not any more;
    /// whether that could be done.
    pub fn measure(&self, on: bool) -> bool {
        let question = if on { "measure on\n" } else { "measure off\n" };
        self.ask(question) == [1]
    }
}

impl Look for Clerk {
    fn network(&self, pid: u32) -> Option<u64> {
        self.ask(&format!("network {pid}\n")).first().copied()
    }

    fn sockets(&self, pid: u32, limit: usize) -> Sockets {
        let answer = self.ask(&format!("sockets {pid} {limit}\n"));
        let Some((n_descriptors, inodes)) = answer.split_first() else {
            return Sockets::default();
        };
        Sockets {
            inodes: inodes.to_vec(),
            n_descriptors: usize::try_from(*n_descriptors).unwrap_or(limit),
        }
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        let lines = self.lines.get_mut();
        *lines.unwrap_or_else(PoisonError::into_inner) = None;
        let process = self.process.get_mut();
        // Its input ended, and so does it.
        let _ = process.unwrap_or_else(PoisonError::into_inner).wait();
    }
}

fn exchange(
    mut questions: impl Write,
    answers: impl BufRead,
    question: &str,
) -> io::Result<Vec<u64>> {
    questions.write_all(question.as_bytes())?;
    let mut answer = String::new();
    answers.take(MAX_LINE_BYTES).read_line(&mut answer)?;
    if !answer.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let numbers = answer.split_ascii_whitespace().map(str::parse);
    numbers
        .collect::<Result<_, _>>()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The clerk's own side: answers until the questions end.
///
/// # Errors
/// It cannot be confined, or nobody takes its answers.
pub fn serve() -> anyhow::Result<()> {
    memory::release();
    confine::confine_clerk()?;
    answer_all(io::stdin().lock(), io::stdout().lock(), &Direct::default())
        .context("the clerk's pipe broke")
}

fn answer_all(
    mut questions: impl BufRead,
    mut answers: impl Write,
    look: &dyn Look,
) -> io::Result<()> {
    let mut question = String::new();
    // The kernel measures as long as this is open.
    let mut measuring: Option<OwnedFd> = None;
    loop {
        question.clear();
        let n_bytes = (&mut questions)
            .take(MAX_LINE_BYTES)
            .read_line(&mut question)?;
        if n_bytes == 0 {
            return Ok(());
        }
        let mut line = String::new();
        let numbers = match question.trim() {
            "measure on" => {
                measuring = measure_run_time().ok();
                vec![u64::from(measuring.is_some())]
            }
            "measure off" => {
                drop(measuring.take());
                vec![1]
            }
            question => answer(question, look),
        };
        for number in numbers {
            let _ = write!(line, "{number} ");
        }
        line.push('\n');
        answers.write_all(line.as_bytes())?;
        answers.flush()?;
    }
}

fn answer(question: &str, look: &dyn Look) -> Vec<u64> {
    let words: Vec<&str> = question.split_ascii_whitespace().collect();
    match words[..] {
        ["network", pid] => pid
            .parse()
            .ok()
            .and_then(|pid| look.network(pid))
            .into_iter()
            .collect(),
        ["sockets", pid, limit] => {
            let (Ok(pid), Ok(limit)) = (pid.parse(), limit.parse()) else {
                return Vec::new();
            };
            let sockets = look.sockets(pid, limit);
            iter::once(sockets.n_descriptors as u64)
                .chain(sockets.inodes)
                .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Known;

    impl Look for Known {
        fn network(&self, pid: u32) -> Option<u64> {
            (pid == 7).then_some(4_026_531_833)
        }

        fn sockets(&self, pid: u32, limit: usize) -> Sockets {
            Sockets {
                inodes: vec![11, 12],
                n_descriptors: if pid == 7 { limit } else { 0 },
            }
        }
    }

    #[test]
    fn questions_are_answered_by_numbers_and_nonsense_by_none() {
        let questions =
            "measure off\nnetwork 7\nnetwork 8\nsockets 7 5\nsockets x 5\nrm -rf /\n\nnetwork\n";
        let mut answers = Vec::new();
        answer_all(questions.as_bytes(), &mut answers, &Known).unwrap();
        let expected = "1 \n4026531833 \n\n5 11 12 \n\n\n\n\n";
        assert_eq!(String::from_utf8(answers).unwrap(), expected);
    }

    #[test]
    fn answer_that_is_cut_off_is_an_error() {
        for (answer, expected) in [
            ("5 11 12 \n", Some(vec![5, 11, 12])),
            ("\n", Some(vec![])),
            ("", None),
            ("5 1", None),
            ("5 x\n", None),
        ] {
            let found = exchange(io::sink(), answer.as_bytes(), "network 7\n");
            assert_eq!(found.ok(), expected, "{answer:?}");
        }
    }
}
