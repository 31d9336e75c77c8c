//! A client that asks a server all the time beside a fault, and whose every
//! request must be told as it was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::load::{self, Row, Target};
use crate::truth::{self, Counts};

/// Requests of one round: twenty of each kind of connection.
const ROUND: usize = 80;

/// Longest time until the last of a client's requests shows.
const SHOWS_WITHIN: Duration = Duration::from_secs(30);
/// Long enough for a request too many to show as well.
const SETTLE: Duration = Duration::from_millis(600);

/// What a good client was answered.
#[derive(Debug, Default)]
pub struct Truth {
    /// Every request.
    pub rows: Vec<Row>,
    /// Where the last round begins; nothing else was under way beside it.
    last: usize,
}

impl Truth {
    /// Sends a round, beside nothing else of this client.
    pub fn round(&mut self, target: Target) {
        self.last = self.rows.len();
        self.rows
            .extend(load::run(target, load::spread(load::mix(ROUND))));
    }

    /// Asserts that the daemon tells as many of each of this client's routes,
    /// methods and statuses in `service`, where others may ask for other
    /// things, and the times of the last round as they were.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn check(&self, daemon: &Daemon, service: &str) {
        let sent = truth::sent(&self.rows);
        let told = || {
            let service = daemon.service(service);
            let mut told = service.map_or_else(Counts::new, |service| truth::totals(&service));
            told.retain(|key, _| sent.contains_key(key));
            told
        };
        let begun = Instant::now();
        while told() != sent && begun.elapsed() < SHOWS_WITHIN {
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(SETTLE);
        assert_eq!(told(), sent, "capture: {:?}", daemon.status().capture);
        self.check_times(daemon, service);
    }

    /// Asserts that the last round's times are told as they were.
    ///
    /// # Panics
    /// If they are not.
    #[track_caller]
    pub fn check_times(&self, daemon: &Daemon, service: &str) {
        let last = &self.rows[self.last..];
        let ports: BTreeSet<u16> = last.iter().map(|row| row.local_port).collect();
        let begun = last.iter().map(|row| row.sent_ns).min();
        let begun = begun.expect("the last round has requests");
        let mut records = daemon.requests(service);
        records.retain(|record| {
            record.started_monotonic_ns >= begun && ports.contains(&record.peer_port)
        });
        truth::check_times(&truth::join(last, &records));
    }
}

/// A client at work.
#[derive(Debug)]
pub struct GoodClient {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: JoinHandle<Truth>,
}

impl GoodClient {
    /// Asks from now on, with `pause` between rounds of 80 requests.
    #[must_use]
    pub fn start(target: Target, pause: Duration) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let (shall_end, counted) = (Arc::clone(&ends), Arc::clone(&asked));
        let thread = thread::spawn(move || {
            let mut truth = Truth::default();
            while !shall_end.load(Ordering::Relaxed) {
                truth.round(target);
                counted.store(truth.rows.len() as u64, Ordering::Relaxed);
                thread::sleep(pause);
            }
            truth
        });
        Self {
            ends,
            asked,
            thread,
        }
    }

    /// Requests that were answered so far, those of the round under way not
    /// counted.
    #[must_use]
    pub fn n_asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Ends after the round under way.
    ///
    /// # Panics
    /// If a request was not answered.
    #[must_use]
    pub fn finish(self) -> Truth {
        self.ends.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(truth) => truth,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
