//! As many requests as a server takes, or as many a second as are asked for,
//! with little work in between: what `cargo xtask bench` drives servers with.
//!
//! Options: `--targets ADDRESS,ADDRESS`, `--connections 1` (in all),
//! `--requests 1000`, `--seconds 0` (zero: until all requests are answered),
//! `--rate 0` (requests a second; zero: each connection sends once it is
//! answered), `--path /items/1`, `--paths 0` (so many paths, numbered from
//! one behind `--path`), `--idle 0` (connections that are opened and say
//! nothing). Prints one line of JSON. With `--rate` a request's time counts
//! from when it was due, so that waiting for a slow server is not left out.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use modeltap_demo::arguments::Arguments;
use rustix::event::{Timespec, epoll};
use serde_json::json;

/// Longest wait for any answer.
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_ANSWER_BYTES: usize = 64 << 10;
const MAX_REQUESTS: u64 = 20_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse(std::env::args().skip(1))?;
    let targets: String = arguments.take("targets", String::new())?;
    let n_connections: usize = arguments.take("connections", 1)?;
    let n_requests: u64 = arguments.take("requests", 1_000)?;
    let seconds: f64 = arguments.take("seconds", 0.0)?;
    let rate: f64 = arguments.take("rate", 0.0)?;
    let path: String = arguments.take("path", "/items/1".to_owned())?;
    let n_paths: u64 = arguments.take("paths", 0)?;
    let n_idle: usize = arguments.take("idle", 0)?;
    arguments.finish()?;

    let targets: Vec<SocketAddr> = targets
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let timed = seconds > 0.0;
    let open = |index: usize| TcpStream::connect(targets[index % targets.len()]);
    let _idle = (0..n_idle).map(open).collect::<io::Result<Vec<_>>>()?;
    let mut load = Load {
        connections: Vec::new(),
        free: VecDeque::new(),
        ready: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        path,
        n_paths,
        n_sent: 0,
        n_requests: if timed { MAX_REQUESTS } else { n_requests },
        times_us: Vec::new(),
    };
    for index in 0..n_connections.max(1) {
        load.take_in(open(index)?)?;
    }
    let began = Instant::now();
    let end = timed.then(|| began + Duration::from_secs_f64(seconds));
    load.run(began, end, rate)?;
    let took = began.elapsed().as_secs_f64();

    let times = &mut load.times_us;
    times.sort_unstable();
    let quantile = |q: f64| {
        let last = times.len().saturating_sub(1);
        times.get((last as f64 * q) as usize).copied().unwrap_or(0)
    };
    let result = json!({
        "requests": times.len(),
        "seconds": took,
        "p50_us": quantile(0.5),
        "p99_us": quantile(0.99),
        "max_us": quantile(1.0),
    });
    println!("{result}");
    Ok(())
}

struct Connection {
    stream: TcpStream,
    /// When the request under way was due.
    since: Instant,
    answer: Vec<u8>,
}

struct Load {
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    ready: std::os::fd::OwnedFd,
    path: String,
    n_paths: u64,
    n_sent: u64,
    n_requests: u64,
    times_us: Vec<u32>,
}

impl Load {
    fn take_in(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let index = self.connections.len();
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.ready, &stream, data, epoll::EventFlags::IN)?;
        self.connections.push(Connection {
            stream,
            since: Instant::now(),
            answer: Vec::new(),
        });
        self.free.push_back(index);
        Ok(())
    }

    fn run(&mut self, began: Instant, end: Option<Instant>, rate: f64) -> Result<(), io::Error> {
        let mut events = Vec::with_capacity(256);
        let mut heard = began;
        loop {
            let now = Instant::now();
            let over = end.is_some_and(|end| now >= end) || self.n_sent >= self.n_requests;
            let mut wait = PATIENCE;
            while !over && self.n_sent < self.n_requests {
                let due = if rate > 0.0 {
                    began + Duration::from_secs_f64(self.n_sent as f64 / rate)
                } else {
                    now
                };
                if due > now {
                    wait = due - now;
                    break;
                }
                let Some(index) = self.free.pop_front() else {
                    break;
                };
                self.send(index, due)?;
            }
            if over && self.free.len() == self.connections.len() {
                return Ok(());
            }
            let timeout = Timespec {
                tv_sec: wait.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: wait.subsec_nanos().into(),
            };
            events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.ready, buffer, Some(&timeout))?;
            if events.is_empty() && self.free.len() < self.connections.len() {
                if heard.elapsed() > PATIENCE {
                    return Err(ErrorKind::TimedOut.into());
                }
            } else {
                heard = Instant::now();
            }
            for event in &events {
                let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                if self.read(index)? {
                    self.free.push_back(index);
                }
            }
        }
    }

    fn send(&mut self, index: usize, due: Instant) -> io::Result<()> {
        let path = &self.path;
        let number = match self.n_paths {
            0 => String::new(),
            n_paths => (self.n_sent % n_paths + 1).to_string(),
        };
        let request = format!("GET {path}{number} HTTP/1.1\r\nHost: bench\r\n\r\n");
        let connection = &mut self.connections[index];
        connection.since = due;
        connection.stream.write_all(request.as_bytes())?;
        self.n_sent += 1;
        Ok(())
    }

    /// Takes what came; says whether the answer is whole.
    fn read(&mut self, index: usize) -> io::Result<bool> {
        let mut buffer = [0; 4_096];
        let Some(connection) = self.connections.get_mut(index) else {
            return Ok(false);
        };
        let n = match connection.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        connection.answer.extend_from_slice(&buffer[..n]);
        let Some(length) = answer_bytes(&connection.answer)? else {
            return Ok(false);
        };
        if connection.answer.len() < length {
            return Ok(false);
        }
        connection.answer.clear();
        let us = connection.since.elapsed().as_micros();
        self.times_us.push(u32::try_from(us).unwrap_or(u32::MAX));
        Ok(true)
    }
}

/// Bytes of the whole answer, once its head is there. Servers of the bench
/// tell the length of what they say.
fn answer_bytes(answer: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = &answer[..end];
    let length = head.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse::<usize>().ok())?
    });
    let is_good = head.starts_with(b"HTTP/1.1 200") || head.starts_with(b"HTTP/1.1 404");
    match length {
        Some(length) if length <= MAX_ANSWER_BYTES && is_good => Ok(Some(end + 4 + length)),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_whole_once_its_body_is() {
        let head = b"HTTP/1.1 200 OK\r\nserver: x\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(answer_bytes(&head[..20]).unwrap(), None);
        assert_eq!(answer_bytes(head).unwrap(), Some(head.len() + 3));
        for bad in [
            &b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(answer_bytes(bad).is_err());
        }
    }
}
