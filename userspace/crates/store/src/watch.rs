//! Ends what takes too long.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use duckdb::Connection;

use crate::query::QueryError;

/// Time between looks at what a question uses.
const LOOK: Duration = Duration::from_millis(20);

/// Does `work` on `connection`, and interrupts it after `limit`.
///
/// # Errors
/// The work's, or that it took too long.
pub(crate) fn within<T>(
    limit: Duration,
    connection: &Connection,
    work: impl FnOnce() -> Result<T, QueryError>,
) -> Result<T, QueryError> {
    let deadline = Instant::now() + limit;
    let is_over = || (Instant::now() >= deadline).then_some(QueryError::TooSlow(limit));
    until(is_over, connection, work)
}

/// Does `work` on `connection`, and interrupts it as soon as `is_over` tells
/// why.
///
/// # Errors
/// The work's, or what `is_over` told.
pub(crate) fn until<T>(
    is_over: impl Fn() -> Option<QueryError> + Send,
    connection: &Connection,
    work: impl FnOnce() -> Result<T, QueryError>,
) -> Result<T, QueryError> {
    let interrupt = connection.interrupt_handle();
    let (working, done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let mut why = None;
            while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(LOOK) {
                why = why.or_else(&is_over);
                if why.is_some() {
                    // Again each time: between two statements it has no effect.
                    interrupt.interrupt();
                }
            }
            why
        });
        let result = work();
        drop(working);
        match (result, watch.join()) {
            (Err(_), Ok(Some(why))) => Err(why),
            (result, _) => result,
        }
    })
}
