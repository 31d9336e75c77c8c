//! What was recorded of all notifiers.

use std::collections::{HashMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use modeltap_core::alert::{Alert, Delivery};
use modeltap_core::time::UnixNs;

use super::{Channel, NotifierStats};

/// Most rows that wait to be taken.
const MAX_ROWS: usize = 10_000;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    /// There will be another attempt.
    Retried,
    /// There will be none.
    Failed,
    /// There was no room.
    Dropped,
    /// A silence kept it.
    Silenced,
    /// The daemon ended before; nothing is counted.
    Left,
}

/// What was recorded.
#[derive(Debug, Default)]
pub(super) struct Records {
    rows: VecDeque<Delivery>,
    of: HashMap<Channel, Of>,
}

#[derive(Debug, Default)]
struct Of {
    last: Option<Delivery>,
    delivered: u64,
    retried: u64,
    failed: u64,
    dropped: u64,
    silenced: u64,
}

impl Records {
    /// Records how it went with `alert`, and returns the row.
    pub fn add(
        &mut self,
        channel: Channel,
        alert: &Alert,
        n_attempts: u32,
        outcome: Outcome,
        error: Option<String>,
    ) -> Delivery {
        let row = Delivery {
            at: now(),
            notifier: channel.as_str().into(),
            alert: alert.id.clone(),
            state: alert.state,
            n_attempts,
            error,
            will_retry: matches!(outcome, Outcome::Retried | Outcome::Left),
        };
        let of = self.of.entry(channel).or_default();
        match outcome {
            Outcome::Delivered => of.delivered += 1,
            Outcome::Retried => of.retried += 1,
            Outcome::Failed => of.failed += 1,
            Outcome::Dropped => of.dropped += 1,
            Outcome::Silenced => of.silenced += 1,
            Outcome::Left => {}
        }
        of.last = Some(row.clone());
        if self.rows.len() >= MAX_ROWS {
            self.rows.pop_front();
        }
        self.rows.push_back(row.clone());
        row
    }

    pub fn take(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.rows).into()
    }

    pub fn last(&self, channel: Channel) -> Option<Delivery> {
        self.of.get(&channel)?.last.clone()
    }

    pub fn stats(&self, channel: Channel, n_queued: u64) -> NotifierStats {
        let zero = Of::default();
        let of = self.of.get(&channel).unwrap_or(&zero);
        NotifierStats {
            channel,
            delivered: of.delivered,
            retried: of.retried,
            failed: of.failed,
            dropped: of.dropped,
            silenced: of.silenced,
            n_queued,
        }
    }
}

/// The wall clock.
pub(super) fn now() -> UnixNs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixNs(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
