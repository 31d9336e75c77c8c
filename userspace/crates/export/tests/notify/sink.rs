//! An HTTP receiver that answers as it is told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest time that something is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a flood sends at most, so that a reader without a bound ends too.
const MAX_FLOOD_BYTES: usize = 256 * 1024 * 1024;

/// What a sink does with one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers this, with these header lines.
    Answer(u16, &'static str, String),
    /// Reads the request and says nothing.
    Hang,
    /// Begins an answer of this status and never ends its body.
    EndlessBody(u16),
    /// Never ends the answer's head.
    EndlessHead,
    /// Closes the connection.
    Close,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Answer(status, "", String::new())
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    /// Method and path.
    pub line: String,
    /// Header lines in lower case.
    pub headers: Vec<String>,
    pub body: Value,
}

/// A receiver; the replies are used up one by one, then it answers 200.
pub struct Sink {
    pub address: SocketAddr,
    requests: mpsc::UnboundedReceiver<Request>,
    flooded: Arc<AtomicUsize>,
}

impl Sink {
    pub fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        let replies: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(replies.into_iter().collect()));
        let flooded = Arc::new(AtomicUsize::new(0));
        let n_flooded = Arc::clone(&flooded);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (sender, replies) = (sender.clone(), Arc::clone(&replies));
                let n_flooded = Arc::clone(&n_flooded);
                thread::spawn(move || serve(stream, &sender, &replies, &n_flooded));
            }
        });
        Self {
            address,
            requests,
            flooded,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request.
    pub async fn next(&mut self) -> Request {
        timeout(PATIENCE, self.requests.recv())
            .await
            .expect("a request in time")
            .expect("the sink runs")
    }

    /// Requests that came and were not looked at.
    pub fn rest(&mut self) -> Vec<Request> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }

    /// Bytes of endless answers that were sent.
    pub fn flooded(&self) -> usize {
        self.flooded.load(Ordering::SeqCst)
    }
}

fn serve(
    mut stream: TcpStream,
    sender: &mpsc::UnboundedSender<Request>,
    replies: &Mutex<VecDeque<Reply>>,
    flooded: &AtomicUsize,
) {
    let Some(request) = read(&stream) else {
        return;
    };
    let reply = replies.lock().unwrap().pop_front();
    let _ = sender.send(request);
    match reply.unwrap_or_else(|| Reply::status(200)) {
        Reply::Answer(status, headers, body) => {
            let head = format!(
                "HTTP/1.1 {status} Said\r\n{headers}Content-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
        // Until the other side has had enough.
        Reply::Hang => drop(stream.read(&mut [0])),
        Reply::EndlessBody(status) => {
            let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: 999999999999\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            flood(&mut stream, &[b'x'; 16 * 1024], flooded);
        }
        Reply::EndlessHead => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            flood(
                &mut stream,
                "X-More: and more\r\n".repeat(1000).as_bytes(),
                flooded,
            );
        }
        Reply::Close => {}
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let headers: Vec<_> = lines[1..].iter().map(|line| line.to_lowercase()).collect();
    let length = headers
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        at: Instant::now(),
        line: lines[0].trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body: serde_json::from_slice(&body).unwrap(),
    })
}

fn flood(stream: &mut TcpStream, piece: &[u8], flooded: &AtomicUsize) {
    while flooded.load(Ordering::SeqCst) < MAX_FLOOD_BYTES && stream.write_all(piece).is_ok() {
        flooded.fetch_add(piece.len(), Ordering::SeqCst);
    }
}
