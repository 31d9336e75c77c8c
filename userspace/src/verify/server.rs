//! The server that is observed: a process of its own, in a cgroup of its own.
//! It notes the time around each of its calls, so that what the probes say of
//! it can be held against what it knows itself.

use std::io::{self, BufRead, BufWriter, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use modeltap_capture::clock;

use super::script::{Script, Situation};

/// Between the pieces of an answer that streams.
const PACE: Duration = Duration::from_millis(1);
/// Longest wait for a client that says nothing.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait for connections that are not over when the run ends.
const ENDING: Duration = Duration::from_secs(5);
/// Longest head; those of the scripts have some hundred bytes.
const MAX_HEAD_BYTES: usize = 8 << 10;

/// Just before a call and just after it, on CLOCK_MONOTONIC: the probes' time
/// of its return lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Before, in nanoseconds.
    pub from: u64,
    /// After, in nanoseconds.
    pub to: u64,
}

impl Span {
    fn of<T>(call: impl FnOnce() -> T) -> (Self, T) {
        let from = clock::monotonic().0;
        let value = call();
        let to = clock::monotonic().0;
        (Self { from, to }, value)
    }

    /// Whether an instant lies in it.
    pub fn holds(self, at: u64) -> bool {
        (self.from..=self.to).contains(&at)
    }
}

/// What the server did for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The client's port.
    pub port: u16,
    /// The request's path.
    pub path: String,
    /// The read that brought its first byte.
    pub first_read: Span,
    /// The read that brought its last byte.
    pub last_read: Span,
    /// The write that began the answer, if one succeeded.
    pub first_write: Option<Span>,
    /// The last write of the answer that succeeded.
    pub last_write: Option<Span>,
    /// Events with content that were written.
    pub n_events: u64,
    /// The write of the first of them.
    pub first_event: Option<Span>,
    /// The write of the last of them.
    pub last_event: Option<Span>,
    /// The close, where this was the connection's last request.
    pub close: Option<Span>,
}

impl Note {
    fn to_line(&self) -> String {
        let span = |span: Option<Span>| span.map_or((0, 0), |span| (span.from, span.to));
        let spans = [
            Some(self.first_read),
            Some(self.last_read),
            self.first_write,
            self.last_write,
            self.first_event,
            self.last_event,
            self.close,
        ];
        let mut line = format!("{} {} {}", self.port, self.path, self.n_events);
        for (from, to) in spans.map(span) {
            line.push_str(&format!(" {from} {to}"));
        }
        line
    }
}

impl FromStr for Note {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [port, path, numbers @ ..] = fields.as_slice() else {
            bail!("the server's note is cut off: {line:?}");
        };
        let numbers = numbers
            .iter()
            .map(|number| number.parse())
            .collect::<Result<Vec<u64>, _>>()
            .with_context(|| format!("the server's note is no note: {line:?}"))?;
        let [n_events, spans @ ..] = numbers.as_slice() else {
            bail!("the server's note is cut off: {line:?}");
        };
        let spans: Vec<_> = spans
            .chunks_exact(2)
            .map(|pair| {
                (pair[1] > 0).then_some(Span {
                    from: pair[0],
                    to: pair[1],
                })
            })
            .collect();
        let [
            Some(first_read),
            Some(last_read),
            first_write,
            last_write,
            first_event,
            last_event,
            close,
        ] = spans[..]
        else {
            bail!("the server's note is cut off: {line:?}");
        };
        Ok(Self {
            port: port.parse()?,
            path: (*path).to_owned(),
            first_read,
            last_read,
            first_write,
            last_write,
            n_events: *n_events,
            first_event,
            last_event,
            close,
        })
    }
}

/// Serves until standard input ends, then prints a note a line.
///
/// The parent first moves this process into its cgroup, then sends a line, then
/// reads the port from standard output.
///
/// # Errors
/// No port could be had, or the parent is gone.
pub fn serve() -> anyhow::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if line.is_empty() {
        return Ok(());
    }
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    println!("{}", listener.local_addr()?.port());
    let shared = Arc::new(Shared::default());
    let accepting = Arc::clone(&shared);
    thread::spawn(move || accept(&listener, &accepting));

    // Ends with the parent too, whatever became of that.
    io::stdin().lock().read_to_string(&mut line)?;
    let limit = Instant::now() + ENDING;
    while shared.n_open.load(Ordering::Acquire) > 0 && Instant::now() < limit {
        thread::sleep(Duration::from_millis(1));
    }
    let notes = shared.notes.lock().unwrap_or_else(PoisonError::into_inner);
    let mut output = BufWriter::new(io::stdout().lock());
    for note in &*notes {
        writeln!(output, "{}", note.to_line())?;
    }
    output.flush()?;
    Ok(())
}

#[derive(Debug, Default)]
struct Shared {
    n_open: AtomicUsize,
    notes: Mutex<Vec<Note>>,
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        shared.n_open.fetch_add(1, Ordering::AcqRel);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A connection that breaks is what some situations are about.
            let notes = converse(stream).unwrap_or_default();
            let mut all = shared.notes.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(notes);
            drop(all);
            shared.n_open.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

fn converse(stream: TcpStream) -> io::Result<Vec<Note>> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let port = stream.peer_addr()?.port();
    let mut connection = Connection {
        stream,
        buffer: Vec::new(),
        read: Span { from: 0, to: 0 },
    };
    let mut notes = Vec::new();
    while let Ok(Some((script, mut note))) = connection.request(port) {
        let goes_on = connection.answer(&script, &mut note);
        notes.push(note);
        if !goes_on {
            break;
        }
    }
    let (close, ()) = Span::of(|| drop(connection));
    if let Some(last) = notes.last_mut() {
        last.close = Some(close);
    }
    Ok(notes)
}

struct Connection {
    stream: TcpStream,
    /// What was read and is not used; all of it is of the last read.
    buffer: Vec<u8>,
    /// The last read that brought something.
    read: Span,
}

impl Connection {
    /// Reads a request to its end; nothing if the client is gone.
    fn request(&mut self, port: u16) -> io::Result<Option<(Script, Note)>> {
        if self.buffer.is_empty() && !self.more()? {
            return Ok(None);
        }
        let first_read = self.read;
        let end = loop {
            let end = self.buffer.windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            if self.buffer.len() > MAX_HEAD_BYTES || !self.more()? {
                return Err(ErrorKind::InvalidData.into());
            }
        };
        let script = Script::of_head(&self.buffer[..end]).ok_or(ErrorKind::InvalidData)?;
        if let Some(interim) = script.interim() {
            self.stream.write_all(interim)?;
        }
        let (head, body) = script.request_lengths();
        while self.buffer.len() < head + body {
            if !self.more()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        self.buffer.drain(..head + body);
        let note = Note {
            port,
            path: script.path.clone(),
            first_read,
            last_read: self.read,
            first_write: None,
            last_write: None,
            n_events: 0,
            first_event: None,
            last_event: None,
            close: None,
        };
        Ok(Some((script, note)))
    }

    /// Answers by the script; says whether the connection goes on.
    fn answer(&mut self, script: &Script, note: &mut Note) -> bool {
        if matches!(
            script.situation,
            Situation::LeaveByFin | Situation::LeaveByReset
        ) {
            // As an event loop does: it learns of the end and never writes.
            let _ = self.more();
            return false;
        }
        for (index, piece) in script.answer.iter().enumerate() {
            if script.events.contains(&index) {
                thread::sleep(PACE);
            }
            if self.put(piece, note).is_err() {
                return false;
            }
            if script.events.contains(&index) {
                note.n_events += 1;
                note.first_event = note.first_event.or(note.last_write);
                note.last_event = note.last_write;
            }
        }
        !script.closes
    }

    /// Writes a piece and notes each write that succeeded.
    fn put(&mut self, mut piece: &[u8], note: &mut Note) -> io::Result<()> {
        while !piece.is_empty() {
            let (span, n) = Span::of(|| self.stream.write(piece));
            let n = n?;
            if n == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            note.first_write.get_or_insert(span);
            note.last_write = Some(span);
            piece = &piece[n..];
        }
        Ok(())
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 64 << 10];
        let (span, n) = Span::of(|| self.stream.read(&mut bytes));
        let n = n?;
        if n > 0 {
            self.read = span;
            self.buffer.extend_from_slice(&bytes[..n]);
        }
        Ok(n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_survives_its_line() {
        let span = |from| Span { from, to: from + 1 };
        let note = Note {
            port: 40_000,
            path: "/stream/1".to_owned(),
            first_read: span(10),
            last_read: span(20),
            first_write: None,
            last_write: Some(span(30)),
            n_events: 3,
            first_event: Some(span(25)),
            last_event: Some(span(30)),
            close: Some(span(40)),
        };
        assert_eq!(note.to_line().parse::<Note>().unwrap(), note);
        for broken in [
            "",
            "1 /x",
            "1 /x 0 1 2",
            "1 /x 0 1 2 x 4 0 0 0 0 0 0 0 0 0 0",
        ] {
            assert!(broken.parse::<Note>().is_err(), "{broken}");
        }
    }
}
