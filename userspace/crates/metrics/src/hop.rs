//! What is kept apart from a service's requests: inner hops and sessions.

use std::time::Duration;

use modeltap_core::histogram::DurationHistogram;
use modeltap_core::record::{RequestRecord, SessionRecord};
use modeltap_core::rollup::Figures;
use modeltap_core::time_buckets::{PART_BOUNDS_NS, SESSION_BOUNDS_NS, TimeBuckets};
use modeltap_core::totals::{InnerTotals, SessionTotals};

use crate::facts::{Facts, measured_duration, nanos};
use crate::live::{InnerSnapshot, SessionSnapshot, status_class};
use crate::slice::{Slice, Times};

/// Requests over UNIX sockets of one service.
#[derive(Debug, Default)]
pub(crate) struct InnerHops {
    open: Figures,
    window: Slice,
    by_status_class: [u64; 6],
}

impl InnerHops {
    /// Counts one request.
    pub(crate) fn record(&mut self, request: &RequestRecord) {
        Facts::of(request).add_request(request, &mut self.open);
        self.by_status_class[status_class(request.status)] += 1;
    }

    /// Closes the second.
    pub(crate) fn close(&mut self, second: u64) {
        if self.open.n_requests > 0 {
            let closed = std::mem::take(&mut self.open);
            self.window.push(second, &closed, &[]);
        }
    }

    /// Lets go of the seconds outside `first..end`.
    pub(crate) fn expire(&mut self, first: u64, end: u64) {
        self.window.expire(first, end, &mut Times::default());
    }

    /// The wall clock was set back: the window has no meaning any longer.
    pub(crate) fn set_back(&mut self) {
        self.window = Slice::default();
    }

    pub(crate) fn snapshot(&self, window: Duration) -> InnerSnapshot {
        InnerSnapshot {
            by_status_class: self.by_status_class,
            window: self.window.figures(window),
        }
    }
}

/// Counts one inner request of a container.
pub(crate) fn count_inner(totals: &mut Option<InnerTotals>, request: &RequestRecord) {
    let totals = totals.get_or_insert_with(|| InnerTotals {
        by_status_class: [0; 6],
        duration: TimeBuckets::new(&PART_BOUNDS_NS),
    });
    totals.by_status_class[status_class(request.status)] += 1;
    if let Some(duration) = measured_duration(request) {
        totals.duration.record(duration);
    }
}

/// Upgraded connections of one service that ended.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    n_sessions: u64,
    durations: DurationHistogram,
    longest: Duration,
    n_messages_read: u64,
    n_messages_written: u64,
    /// Time of the sessions whose messages were followed.
    followed_ns: u64,
    bytes_read: u64,
    bytes_written: u64,
}

impl Sessions {
    /// Counts one session.
    pub(crate) fn record(&mut self, session: &SessionRecord) {
        let duration = session.ended.since(session.started);
        self.n_sessions += 1;
        self.durations.record(duration);
        self.longest = self.longest.max(duration);
        if let Some((read, written)) = messages(session) {
            self.n_messages_read = self.n_messages_read.saturating_add(read);
            self.n_messages_written = self.n_messages_written.saturating_add(written);
            self.followed_ns = self.followed_ns.saturating_add(nanos(duration));
        }
        self.bytes_read = self.bytes_read.saturating_add(session.bytes_read);
        self.bytes_written = self.bytes_written.saturating_add(session.bytes_written);
    }

    fn snapshot(&self, n_active: u64) -> SessionSnapshot {
        let quantile = |q| Some(self.durations.quantile(q)?.min(self.longest));
        let n_messages = self.n_messages_read as f64 + self.n_messages_written as f64;
        SessionSnapshot {
            n_active,
            n_sessions: self.n_sessions,
            duration_p50: quantile(0.5),
            duration_p95: quantile(0.95),
            duration_max: (self.n_sessions > 0).then_some(self.longest),
            n_messages_read: self.n_messages_read,
            n_messages_written: self.n_messages_written,
            message_rate: (self.followed_ns > 0)
                .then(|| n_messages * 1e9 / self.followed_ns as f64),
            bytes_read: self.bytes_read,
            bytes_written: self.bytes_written,
        }
    }
}

/// Sessions as they are shown, with those that are open; `None` where there
/// were none and are none.
pub(crate) fn snapshot_sessions(
    ended: Option<&Sessions>,
    n_active: u64,
) -> Option<SessionSnapshot> {
    match ended {
        Some(ended) => Some(ended.snapshot(n_active)),
        None if n_active > 0 => Some(Sessions::default().snapshot(n_active)),
        None => None,
    }
}

/// Counts one session of a container.
pub(crate) fn count_session(totals: &mut Option<SessionTotals>, session: &SessionRecord) {
    let totals = totals.get_or_insert_with(|| SessionTotals {
        duration: TimeBuckets::new(&SESSION_BOUNDS_NS),
        n_messages_read: 0,
        n_messages_written: 0,
    });
    totals.duration.record(session.ended.since(session.started));
    if let Some((read, written)) = messages(session) {
        totals.n_messages_read = totals.n_messages_read.saturating_add(read);
        totals.n_messages_written = totals.n_messages_written.saturating_add(written);
    }
}

/// Messages read and written, where both could be followed.
fn messages(session: &SessionRecord) -> Option<(u64, u64)> {
    Some((session.n_messages_read?, session.n_messages_written?))
}
