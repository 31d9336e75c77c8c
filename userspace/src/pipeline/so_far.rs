//! What there is of a second and a minute that are not over.

use std::time::Duration;

use modeltap_core::history::Batch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Counter;

/// How often history is told what a second has so far: a kill of the daemon
/// takes what came since.
const KEEP_INTERVAL: Duration = Duration::from_millis(250);

/// Ticks each time that what there is so far is to be kept.
pub fn keep_interval() -> Interval {
    let mut ticks = interval(KEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Counter {
    /// What the next batch has so far of its second.
    pub fn second_so_far(&self) -> Batch {
        Batch {
            rollups: self.aggregator.rollups_so_far(),
            events: self.events.clone(),
            ..Batch::default()
        }
    }

    /// The single requests that the minute has so far. There are more of them
    /// than of anything else in a second, so they are kept once a second.
    pub fn minute_so_far(&self) -> Batch {
        Batch {
            exemplars: self.aggregator.exemplars_so_far(),
            ..Batch::default()
        }
    }
}
