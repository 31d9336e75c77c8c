//! Docker's socket behind a relay that can be cut, and held up.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const DOCKER: &str = "/var/run/docker.sock";

/// A relay to a Docker; cut when dropped.
#[derive(Debug)]
pub struct Relay {
    path: PathBuf,
    /// Whether bytes are kept waiting.
    held: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    closing: bool,
    streams: Vec<UnixStream>,
    /// What was asked, each connection's bytes for themselves.
    asked: Vec<Arc<Mutex<Vec<u8>>>>,
}

impl Relay {
    /// Listens at `path`.
    ///
    /// # Panics
    /// If the path is taken.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        Self::start(path, Some(Path::new(DOCKER)))
    }

    /// Listens at `path` for the Docker at another place.
    ///
    /// # Panics
    /// If the path is taken.
    #[must_use]
    pub fn to(docker: &Path, path: &Path) -> Self {
        Self::start(path, Some(docker))
    }

    /// Listens at `path`, takes every connection, and never answers.
    ///
    /// # Panics
    /// If the path is taken.
    #[must_use]
    pub fn hung(path: &Path) -> Self {
        Self::start(path, None)
    }

    /// Keeps everything waiting, connections that are open too, or lets it go
    /// on.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// The first line of every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        for asked in &state.asked {
            let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            let text = String::from_utf8_lossy(&asked);
            let first = text.lines().filter(|line| line.ends_with(" HTTP/1.1"));
            lines.extend(first.map(str::to_owned));
        }
        lines
    }

    fn start(path: &Path, docker: Option<&Path>) -> Self {
        let listener =
            UnixListener::bind(path).unwrap_or_else(|error| panic!("listen at {path:?}: {error}"));
        let state = Arc::new(Mutex::new(State::default()));
        let held = Arc::new(AtomicBool::new(false));
        let (shared, is_held) = (Arc::clone(&state), Arc::clone(&held));
        let docker = docker.map(Path::to_owned);
        let accepting = thread::spawn(move || accept(&listener, &shared, &docker, &is_held));
        Self {
            path: path.to_owned(),
            held,
            state,
            accepting: Some(accepting),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.hold(false);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closing = true;
        for stream in state.streams.drain(..) {
            // The peer may have gone first.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        // Wakes the thread that accepts; it then sees that it shall end.
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(
    listener: &UnixListener,
    state: &Mutex<State>,
    docker: &Option<PathBuf>,
    held: &Arc<AtomicBool>,
) {
    for client in listener.incoming().flatten() {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closing {
            return;
        }
        if let Some(docker) = docker
            && let Ok(docker) = UnixStream::connect(docker)
        {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let pairs = [
                (client.try_clone(), docker.try_clone(), Some(asked.clone())),
                (docker.try_clone(), client.try_clone(), None),
            ];
            state.asked.push(asked);
            for pair in pairs {
                if let (Ok(from), Ok(to), note) = pair {
                    let held = Arc::clone(held);
                    thread::spawn(move || carry(from, to, note.as_deref(), &held));
                }
            }
            state.streams.push(docker);
        }
        state.streams.push(client);
    }
}

/// Moves bytes until either side ends, and then ends both.
fn carry(
    mut from: UnixStream,
    mut to: UnixStream,
    note: Option<&Mutex<Vec<u8>>>,
    held: &AtomicBool,
) {
    let mut buffer = [0; 16_384];
    loop {
        let moved = from.read(&mut buffer).and_then(|n| {
            while held.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
            }
            if let Some(note) = note {
                let mut note = note.lock().unwrap_or_else(PoisonError::into_inner);
                note.extend_from_slice(&buffer[..n]);
            }
            to.write_all(&buffer[..n])?;
            if n == 0 {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(())
            }
        });
        if moved.is_err() {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}
