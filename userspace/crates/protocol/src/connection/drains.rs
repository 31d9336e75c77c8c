//! Responses that wait in the socket, for the client or the network is slow.
//!
//! Their records wait too, until it is told when the last byte left. Only
//! those whose write said so wait; all others are told at once.

use std::collections::VecDeque;

use modeltap_core::connection::Drained;
use modeltap_core::record::{Completeness, Outcome, RequestRecord, StreamFigures};
use modeltap_core::time::MonotonicNs;

use super::Connection;
use crate::exchange::Exchange;
use crate::stream_figures::histogram_bytes;
use crate::table::{Config, Shared};

/// Most records of one connection that wait; beyond, the oldest is told as if
/// it had been waited for long enough.
const MAX_WAITING: usize = 16;

/// A record whose response has not left the socket.
#[derive(Debug)]
struct Waiting {
    record: RequestRecord,
    /// Position behind the response's last byte.
    end: u64,
    /// When it was known to have left, by a write that left nothing behind it:
    /// the event that tells when is late or lost.
    missed: Option<MonotonicNs>,
}

impl Waiting {
    /// When it is waited for no longer.
    fn deadline(&self, config: &Config) -> MonotonicNs {
        match self.missed {
            Some(at) => at.after(config.linger),
            None => self.record.timings.finished.after(config.drain_within),
        }
    }

    /// Tells the record, whose response was in the socket until `at` at least
    /// where nothing else is known.
    fn give_up(mut self, at: MonotonicNs, shared: &mut Shared) {
        if self.missed.is_none() {
            push_drained(self.record, at, shared);
            return;
        }
        self.record.completeness = Completeness::Gap;
        shared.push_record(self.record);
    }
}

/// The records of one connection that wait for their drain, oldest first.
#[derive(Debug, Default)]
pub(super) struct Drains {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// The last drain told: up to where, and when.
    last: Option<(u64, MonotonicNs)>,
}

impl Drains {
    /// Bytes that the records take.
    pub(super) fn held_bytes(&self) -> usize {
        let spare = self.waiting.capacity() - self.waiting.len();
        self.waiting_bytes + spare * size_of::<Waiting>()
    }

    /// When the oldest record is waited for no longer.
    pub(super) fn deadline(&self, config: &Config) -> Option<MonotonicNs> {
        Some(self.waiting.front()?.deadline(config))
    }

    /// When what lies before `position` left the socket, where that was told.
    fn of(&self, position: u64) -> Option<MonotonicNs> {
        self.last
            .filter(|(end, _)| *end >= position)
            .map(|(_, at)| at)
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.waiting_bytes -= footprint(&waiting.record);
        Some(waiting)
    }
}

fn footprint(record: &RequestRecord) -> usize {
    let stream = record.stream.as_ref().map_or(0, |stream| {
        size_of::<StreamFigures>() + histogram_bytes(&stream.intervals)
    });
    size_of::<Waiting>() + record.path.len() + stream
}

fn push_drained(mut record: RequestRecord, at: MonotonicNs, shared: &mut Shared) {
    let end = record.timings.response_end.unwrap_or_default();
    record.timings.drained = Some(at.max(end));
    shared.push_record(record);
}

impl Connection {
    /// Tells of an exchange that is over, at once or when its response has
    /// left the socket.
    pub(super) fn tell(
        &mut self,
        exchange: Exchange,
        outcome: Outcome,
        finished: MonotonicNs,
        shared: &mut Shared,
    ) {
        let waits_for = exchange.waits_for.filter(|_| outcome == Outcome::Complete);
        let record = exchange.into_record(&self.opened, outcome, finished);
        let Some(end) = waits_for else {
            shared.push_record(record);
            return;
        };
        if let Some(at) = self.drains.of(end) {
            push_drained(record, at, shared);
            return;
        }
        if self.drains.waiting.len() >= MAX_WAITING
            && let Some(oldest) = self.drains.pop()
        {
            oldest.give_up(self.last_event, shared);
        }
        self.drains.waiting_bytes += footprint(&record);
        self.drains.waiting.push_back(Waiting {
            record,
            end,
            missed: None,
        });
    }

    /// Takes in that what was written has left the socket.
    pub(crate) fn drained(&mut self, drained: &Drained, shared: &mut Shared) {
        self.last_event = self.last_event.max(drained.at);
        if self
            .drains
            .last
            .is_some_and(|(end, _)| end > drained.position)
        {
            return;
        }
        self.drains.last = Some((drained.position, drained.at));
        while let Some(oldest) = self.drains.waiting.front()
            && oldest.end <= drained.position
            && let Some(oldest) = self.drains.pop()
        {
            push_drained(oldest.record, drained.at, shared);
        }
        self.settle(shared);
    }

    /// Nothing waits in the socket at `at`: what lies before `position` has left
    /// it. The event that tells when may have been overtaken.
    pub(super) fn miss_drains(&mut self, position: u64, at: MonotonicNs) {
        for waiting in &mut self.drains.waiting {
            if waiting.end <= position {
                waiting.missed.get_or_insert(at);
            }
        }
    }

    /// Whether a response that is over but for the connection's end, or a
    /// record, waits for its drain.
    pub(super) fn waits_for_drain(&self) -> bool {
        let ends_now = self.exchanges.front().and_then(|front| front.waits_for);
        !self.drains.waiting.is_empty()
            || (self.responses.ends_with_connection()
                && ends_now.is_some_and(|end| self.drains.of(end).is_none()))
    }

    /// Tells the records that waited too long.
    pub(super) fn expire_drains(&mut self, now: MonotonicNs, shared: &mut Shared) {
        while let Some(due) = self.drains.deadline(&shared.config)
            && due <= now
            && let Some(oldest) = self.drains.pop()
        {
            oldest.give_up(due, shared);
        }
    }

    /// Tells all records that wait: what they wait for was still in the socket
    /// when the last was heard of it.
    pub(super) fn end_drains(&mut self, shared: &mut Shared) {
        while let Some(oldest) = self.drains.pop() {
            oldest.give_up(self.last_event, shared);
        }
    }
}
