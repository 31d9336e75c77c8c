//! What waits to be sent to one receiver; pure: time is an argument, counted
//! from any moment.
//!
//! | the queue holds | and | is sent next |
//! |---|---|---|
//! | messages of one lane | the first of them is due | that first one: a lane keeps its order |
//! | messages of several lanes | the receiver answered | the oldest first one that is due |
//! | anything | the receiver as a whole failed | nothing before its hold is over |

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Most messages that wait for one receiver; what the receivers of hooks take
/// in a quarter of an hour, at a message a second.
const MAX_MESSAGES: usize = 1000;

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// After the first failure.
    pub backoff: Duration,
    /// At most.
    pub cap: Duration,
    /// From a message's arrival until it is given up.
    pub give_up: Duration,
}

impl Patience {
    /// Wait after the failure number `n` (from 1); `jitter`, 0 to 1, takes up
    /// to half of it away, so that daemons that failed together do not come
    /// back together.
    fn wait(self, n: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let doubled = self
            .backoff
            .saturating_mul(2_u32.saturating_pow(n.saturating_sub(1)))
            .min(self.cap);
        let wait = doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
        wait.max(retry_after.unwrap_or_default())
    }
}

/// A message that waits, or is under way.
#[derive(Clone, Debug)]
pub(super) struct Item<M> {
    /// Messages of one lane are sent in order.
    pub lane: Arc<str>,
    /// What to send.
    pub message: M,
    /// Attempts made.
    pub n_attempts: u32,
    /// Why the last one failed.
    pub error: Option<String>,
    arrived: Duration,
    due: Duration,
}

/// Names a message in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What to do now.
#[derive(Debug)]
pub(super) enum Next<M> {
    /// Send this; then say how it went.
    Send(Ticket, Item<M>),
    /// Nothing before this time, unless something is pushed.
    At(Duration),
    /// Nothing waits.
    Nothing,
}

/// How far a failure reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The receiver does not take this message now.
    Message,
    /// The receiver takes nothing now: it is down, or asks to be left alone.
    Receiver,
}

/// What waits to be sent to one receiver.
#[derive(Debug)]
pub(super) struct Queue<M> {
    patience: Patience,
    items: BTreeMap<Ticket, Item<M>>,
    next_ticket: u64,
    under_way: Option<Ticket>,
    held_until: Duration,
    /// Failures of the receiver in a row, and what the last one was.
    n_failures: u32,
    last_error: Option<String>,
}

impl<M: Clone> Queue<M> {
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            items: BTreeMap::new(),
            next_ticket: 0,
            under_way: None,
            held_until: Duration::ZERO,
            n_failures: 0,
            last_error: None,
        }
    }

    /// Adds a message. In a full queue the oldest gives way, and is returned:
    /// what happens now matters more.
    #[must_use]
    pub fn push(&mut self, now: Duration, lane: Arc<str>, message: M) -> Option<Item<M>> {
        let dropped = if self.items.len() >= MAX_MESSAGES {
            let oldest = self
                .items
                .keys()
                .copied()
                .find(|ticket| Some(*ticket) != self.under_way);
            oldest.and_then(|ticket| self.items.remove(&ticket))
        } else {
            None
        };
        let item = Item {
            lane,
            message,
            n_attempts: 0,
            error: None,
            arrived: now,
            due: now,
        };
        self.items.insert(Ticket(self.next_ticket), item);
        self.next_ticket += 1;
        dropped
    }

    /// Tells what to do; a message under way stays in the queue until
    /// [`Self::over`] or [`Self::failed`] takes it out.
    pub fn next(&mut self, now: Duration) -> Next<M> {
        let mut lanes = HashSet::new();
        let mut earliest = None;
        for (ticket, item) in &self.items {
            if !lanes.insert(&item.lane) {
                continue;
            }
            let due = item.due.max(self.held_until);
            if due <= now {
                let found = (*ticket, item.clone());
                self.under_way = Some(found.0);
                return Next::Send(found.0, found.1);
            }
            earliest = Some(earliest.map_or(due, |other: Duration| other.min(due)));
        }
        // A message that will not be sent again is given up on time.
        let first_end = self.items.values().map(|item| self.end(item)).min();
        match (earliest, first_end) {
            (Some(due), Some(end)) => Next::At(due.min(end)),
            _ => Next::Nothing,
        }
    }

    /// Takes out what has been waiting for too long.
    pub fn expired(&mut self, now: Duration) -> Vec<Item<M>> {
        let over: Vec<_> = self
            .items
            .iter()
            .filter(|(ticket, item)| Some(**ticket) != self.under_way && self.end(item) <= now)
            .map(|(ticket, _)| *ticket)
            .collect();
        over.into_iter()
            .filter_map(|ticket| self.items.remove(&ticket))
            .map(|mut item| {
                item.error = item.error.or_else(|| self.last_error.clone());
                item
            })
            .collect()
    }

    /// A message was taken, or is given up for another reason than time.
    pub fn over(&mut self, ticket: Ticket, was_taken: Taken) {
        self.items.remove(&ticket);
        self.under_way = None;
        if was_taken == Taken::Yes {
            self.receiver_answers();
        }
    }

    /// An attempt failed that may go well later. Returns whether there will be
    /// another; if not, the message is gone.
    pub fn failed(&mut self, ticket: Ticket, now: Duration, failure: Failed<'_, M>) -> bool {
        self.under_way = None;
        let wait = match failure.reach {
            Reach::Receiver => self.hold(now, failure.retry_after, failure.error, failure.jitter),
            Reach::Message => Duration::ZERO,
        };
        let Some(item) = self.items.get_mut(&ticket) else {
            return false;
        };
        item.n_attempts += 1;
        item.error = Some(failure.error.to_owned());
        item.message = failure.message;
        let own = self
            .patience
            .wait(item.n_attempts, failure.retry_after, failure.jitter);
        item.due = now.saturating_add(if failure.reach == Reach::Receiver {
            wait
        } else {
            own
        });
        let end = item.arrived.saturating_add(self.patience.give_up);
        if item.due >= end {
            self.items.remove(&ticket);
            return false;
        }
        true
    }

    /// The receiver as a whole failed: nothing is sent to it for some time,
    /// which is returned.
    pub fn hold(
        &mut self,
        now: Duration,
        retry_after: Option<Duration>,
        error: &str,
        jitter: f64,
    ) -> Duration {
        self.n_failures = self.n_failures.saturating_add(1);
        self.last_error = Some(error.to_owned());
        // One that asks for a day gets no more messages of this hour, and the
        // next hour's are tried.
        let retry_after = retry_after.map(|asked| asked.min(self.patience.give_up));
        let wait = self.patience.wait(self.n_failures, retry_after, jitter);
        self.held_until = now.saturating_add(wait);
        wait
    }

    /// The receiver took something.
    pub fn receiver_answers(&mut self) {
        self.n_failures = 0;
        self.last_error = None;
        self.held_until = Duration::ZERO;
    }

    /// Until when nothing may be sent.
    pub fn held_until(&self) -> Duration {
        self.held_until
    }

    /// Every message that waits or is under way, oldest first.
    pub fn items(&self) -> impl Iterator<Item = &Item<M>> {
        self.items.values()
    }

    /// Empties the queue.
    pub fn drain(&mut self) -> Vec<Item<M>> {
        self.under_way = None;
        std::mem::take(&mut self.items).into_values().collect()
    }

    fn end(&self, item: &Item<M>) -> Duration {
        item.arrived.saturating_add(self.patience.give_up)
    }
}

/// Whether the receiver took a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It did.
    Yes,
    /// It refused.
    No,
}

/// An attempt that failed and may go well later.
#[derive(Debug)]
pub(super) struct Failed<'a, M> {
    /// How far it reaches.
    pub reach: Reach,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Why.
    pub error: &'a str,
    /// 0 to 1.
    pub jitter: f64,
    /// What is left to be sent.
    pub message: M,
}

#[cfg(test)]
mod tests;
