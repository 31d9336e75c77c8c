//! The known load, and what its sender saw of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use modeltap_capture::clock;
use rustix::net::sockopt::set_socket_linger;

use super::script::{Script, Situation};

/// Connections that are used at the same time.
const N_WORKERS: usize = 4;
/// Longest wait for bytes of an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between the pieces of a head that is sent in pieces.
const PAUSE: Duration = Duration::from_millis(1);
/// Pieces of a stream after which its client leaves: the head, the role and
/// two events.
const ENOUGH: usize = 4;

/// One request as its sender saw it. Times are on CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was said.
    pub script: Script,
    /// Our port.
    pub port: u16,
    /// Just before its first byte was written.
    pub sent_ns: u64,
    /// The read that brought the last byte of the answer returned, or we left.
    pub ended_ns: u64,
}

/// Requests of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    situation: Situation,
    first: u32,
    n: u32,
}

/// How many requests each situation gets of `n_requests`; at least one burst.
pub fn plan(n_requests: u32) -> impl Iterator<Item = (Situation, u32)> {
    Situation::ALL.into_iter().map(move |situation| {
        let n = u64::from(n_requests) * u64::from(situation.share()) / 100;
        let n = u32::try_from(n).unwrap_or(u32::MAX).max(4);
        // Whole bursts only.
        (situation, n - n % situation.at_once() as u32)
    })
}

/// Sends the whole plan and returns what came, in no order.
///
/// # Errors
/// The server said something else than its script, or nothing.
pub fn run(address: SocketAddr, n_requests: u32) -> anyhow::Result<Vec<Row>> {
    let turns: Vec<Turn> = plan(n_requests).flat_map(|(s, n)| turns(s, n)).collect();
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    let work = || -> anyhow::Result<()> {
        while let Some(turn) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
            let seen = converse(address, *turn)
                .with_context(|| format!("the verification's own client failed at {turn:?}"))?;
            if let Ok(mut rows) = rows.lock() {
                rows.extend(seen);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers = [(); N_WORKERS].map(|()| scope.spawn(work));
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    Ok(rows.into_inner().unwrap_or_default())
}

/// Splits the requests of a situation over connections.
fn turns(situation: Situation, n: u32) -> impl Iterator<Item = Turn> {
    let each = situation.per_connection();
    (0..n).step_by(each as usize).map(move |first| Turn {
        situation,
        first,
        n: each.min(n - first),
    })
}

fn converse(address: SocketAddr, turn: Turn) -> io::Result<Vec<Row>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let port = stream.local_addr()?.port();
    let scripts: Vec<_> = (turn.first..turn.first + turn.n)
        .map(|number| Script::new(turn.situation, number))
        .collect();
    let mut rows = Vec::with_capacity(scripts.len());
    for burst in scripts.chunks(turn.situation.at_once()) {
        let sent_ns = clock::monotonic().0;
        send(&mut stream, burst)?;
        for script in burst {
            let ended_ns = receive(&mut stream, script)?;
            rows.push(Row {
                script: script.clone(),
                port,
                sent_ns,
                ended_ns,
            });
        }
    }
    match turn.situation {
        Situation::LeaveByReset | Situation::LeaveStreamByReset => {
            set_socket_linger(&stream, Some(Duration::ZERO))?;
        }
        // A close with unread bytes would be a reset.
        Situation::LeaveStreamByFin => stream.shutdown(Shutdown::Both)?,
        _ => {}
    }
    Ok(rows)
}

fn send(stream: &mut TcpStream, burst: &[Script]) -> io::Result<()> {
    if burst.len() > 1 {
        let whole = burst
            .iter()
            .flat_map(|script| script.head.iter().chain(&script.body))
            .flatten()
            .copied();
        return stream.write_all(&whole.collect::<Vec<u8>>());
    }
    for script in burst {
        for (index, piece) in script.head.iter().enumerate() {
            if index > 0 {
                thread::sleep(PAUSE);
            }
            stream.write_all(piece)?;
        }
        if let Some(interim) = script.interim() {
            let mut bytes = vec![0; interim.len()];
            stream.read_exact(&mut bytes)?;
            expect(&bytes, interim)?;
        }
        script
            .body
            .iter()
            .try_for_each(|piece| stream.write_all(piece))?;
        if script.situation == Situation::HalfClose {
            stream.shutdown(Shutdown::Write)?;
        }
    }
    Ok(())
}

/// Reads the answer, to where the client stays; returns when that was.
fn receive(stream: &mut TcpStream, script: &Script) -> io::Result<u64> {
    let expected = script.answer.concat();
    let length = match script.situation {
        Situation::LeaveByFin | Situation::LeaveByReset => return Ok(clock::monotonic().0),
        Situation::LeaveStreamByFin | Situation::LeaveStreamByReset => {
            script.answer[..ENOUGH].iter().map(Vec::len).sum()
        }
        _ => expected.len(),
    };
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    let mut ended_ns = clock::monotonic().0;
    expect(&bytes, &expected[..length])?;
    if script.closes && !script.situation.leaves_stream() {
        if stream.read(&mut [0])? > 0 {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "more than the answer",
            ));
        }
        if expected.is_empty() {
            ended_ns = clock::monotonic().0;
        }
    }
    Ok(ended_ns)
}

fn expect(bytes: &[u8], expected: &[u8]) -> io::Result<()> {
    if bytes == expected {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    Err(io::Error::new(ErrorKind::InvalidData, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_has_every_situation_and_about_as_many_as_asked() {
        for n_requests in [100, 1_000, 12_345] {
            let n: u32 = plan(n_requests).map(|(_, n)| n).sum();
            assert!(n.abs_diff(n_requests) <= 60, "{n} of {n_requests}");
            assert!(plan(n_requests).all(|(_, n)| n >= 4));
        }
    }

    #[test]
    fn turns_hold_every_request_once() {
        for situation in Situation::ALL {
            let numbers: Vec<u32> = turns(situation, 44)
                .flat_map(|turn| turn.first..turn.first + turn.n)
                .collect();
            assert_eq!(numbers, (0..44).collect::<Vec<_>>());
        }
    }
}
