//! Connections for readers, and who waits for one.

use std::ops::Deref;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use duckdb::Connection;

use crate::query::QueryError;

/// Longest a question waits for a connection.
const WAIT: Duration = Duration::from_secs(2);

/// A few connections, lent one at a time. Who finds none waits for a bounded
/// time in a bounded queue, and is then told to come again.
#[derive(Debug)]
pub(crate) struct Pool {
    size: usize,
    max_waiting: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Connection>,
    n_lent: usize,
    n_waiting: usize,
    is_open: bool,
}

/// A connection that goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    /// `None` only while it is dropped.
    connection: Option<Connection>,
}

impl Pool {
    pub(crate) fn new(size: usize, max_waiting: usize) -> Self {
        Self {
            size,
            max_waiting,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Fills the pool with clones of `connection`.
    pub(crate) fn open(&self, connection: &Connection) -> duckdb::Result<()> {
        let clones = (0..self.size).map(|_| connection.try_clone());
        let clones = clones.collect::<duckdb::Result<Vec<_>>>()?;
        let mut state = self.lock();
        state.idle = clones;
        state.is_open = true;
        self.changed.notify_all();
        Ok(())
    }

    /// Takes the connections away, after the questions that are answered now.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_open = false;
        state.idle.clear();
        self.changed.notify_all();
        while state.n_lent > 0 {
            state = self.wait(state, WAIT);
        }
    }

    /// Lends a connection, as soon as one is free.
    ///
    /// # Errors
    /// The database is closed, too many wait already, or none became free in
    /// time.
    pub(crate) fn take(&self) -> Result<Lease<'_>, QueryError> {
        let deadline = Instant::now() + WAIT;
        let mut state = self.lock();
        if state.is_open && state.idle.is_empty() && state.n_waiting >= self.max_waiting {
            return Err(QueryError::Busy);
        }
        loop {
            if !state.is_open {
                return Err(QueryError::Unavailable);
            }
            if let Some(connection) = state.idle.pop() {
                state.n_lent += 1;
                return Ok(Lease {
                    pool: self,
                    connection: Some(connection),
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(QueryError::Busy);
            }
            state.n_waiting += 1;
            state = self.wait(state, left);
            state.n_waiting -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is lent until the drop")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let connection = self.connection.take();
        let mut state = self.pool.lock();
        state.n_lent -= 1;
        // A database that was closed and opened meanwhile has its own; this
        // one ends before whoever waits to close learns of it.
        if state.is_open && state.idle.len() + state.n_lent < self.pool.size {
            state.idle.extend(connection);
        } else {
            drop(connection);
        }
        self.pool.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn pool(size: usize, max_waiting: usize) -> Pool {
        let pool = Pool::new(size, max_waiting);
        pool.open(&Connection::open_in_memory().unwrap()).unwrap();
        pool
    }

    #[test]
    fn who_finds_none_free_waits_for_the_next() {
        let pool = pool(1, 4);
        let lent = pool.take().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.take().map(|_| ()));
            while pool.lock().n_waiting == 0 {
                thread::yield_now();
            }
            drop(lent);
            assert!(waiting.join().unwrap().is_ok());
        });
    }

    #[test]
    fn more_than_may_wait_are_told_at_once() {
        let pool = pool(1, 0);
        let lent = pool.take().unwrap();
        let began = Instant::now();
        assert!(matches!(pool.take(), Err(QueryError::Busy)));
        assert!(began.elapsed() < WAIT / 2);
        drop(lent);
        assert!(pool.take().is_ok());
    }

    #[test]
    fn who_waits_too_long_is_told() {
        let pool = pool(1, 4);
        let _lent = pool.take().unwrap();
        assert!(matches!(pool.take(), Err(QueryError::Busy)));
    }

    #[test]
    fn closing_waits_for_what_is_lent_and_ends_the_waiting() {
        let pool = pool(1, 4);
        let lent = pool.take().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.take().map(|_| ()));
            let closing = scope.spawn(|| pool.close());
            assert!(matches!(
                waiting.join().unwrap(),
                Err(QueryError::Unavailable)
            ));
            assert!(!closing.is_finished());
            drop(lent);
            closing.join().unwrap();
        });
        assert!(matches!(pool.take(), Err(QueryError::Unavailable)));
        pool.open(&Connection::open_in_memory().unwrap()).unwrap();
        assert!(pool.take().is_ok());
    }
}
