//! What is handed to history, in one piece and for one transaction.

use crate::alert::{Alert, Delivery};
use crate::exemplar::Exemplar;
use crate::resource::ResourceRollup;
use crate::rollup::Rollup;
use crate::timeline::TimelineEvent;

/// Everything that a second brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Requests, by series.
    pub rollups: Vec<Rollup>,
    /// Resources, by container.
    pub resources: Vec<ResourceRollup>,
    /// Single requests.
    pub exemplars: Vec<Exemplar>,
    /// What happened.
    pub events: Vec<TimelineEvent>,
    /// Alerts that changed; a later one of the same id takes the place of an
    /// earlier one. Of one that is pending and resolved, nothing is kept.
    pub alerts: Vec<Alert>,
    /// Attempts to tell somebody of them.
    pub deliveries: Vec<Delivery>,
}

impl Batch {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n_rows() == 0
    }

    /// Rows of all kinds.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.rollups.len()
            + self.resources.len()
            + self.exemplars.len()
            + self.events.len()
            + self.alerts.len()
            + self.deliveries.len()
    }
}

impl From<Vec<Rollup>> for Batch {
    fn from(rollups: Vec<Rollup>) -> Self {
        Self {
            rollups,
            ..Self::default()
        }
    }
}
