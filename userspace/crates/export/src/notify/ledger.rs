//! What one receiver was told, so that nothing is told twice, and no end
//! without its beginning; pure.

use std::collections::HashMap;
use std::sync::Arc;

use modeltap_core::alert::{Alert, AlertState, Delivery};

/// Most alerts that fire at a time and are kept in mind; those above are told
/// as well, but not refreshed.
const MAX_ALERTS: usize = 10_000;

/// What is to be done about an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Tell it.
    Tell,
    /// Record that it is not told, and why.
    Withhold(String),
    /// Nothing.
    Nothing,
}

/// An alert that fires.
#[derive(Clone, Debug)]
struct Firing {
    alert: Alert,
    was_told: bool,
    is_silenced: bool,
}

/// What one receiver was told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    firing: HashMap<Arc<str>, Firing>,
}

impl Ledger {
    /// Decides about an alert whose state or silence changed.
    ///
    /// | the alert | and | then |
    /// |---|---|---|
    /// | fires | was told | nothing |
    /// | fires | is silenced | withheld, recorded once |
    /// | fires | neither | told |
    /// | is over | its beginning was withheld | nothing |
    /// | is over | is silenced, and the receiver holds nothing open | withheld |
    /// | is over | else | told |
    pub fn decide(&mut self, alert: &Alert, is_stateful: bool) -> Decision {
        match alert.state {
            AlertState::Pending => Decision::Nothing,
            AlertState::Firing => self.fires(alert),
            AlertState::Resolved => {
                let known = self.firing.remove(&alert.id);
                // Unknown ones may have been told before a restart.
                if known.is_some_and(|known| !known.was_told) {
                    return Decision::Nothing;
                }
                match &alert.silenced_by {
                    Some(silence) if !is_stateful => Decision::Withhold(silenced(silence)),
                    _ => Decision::Tell,
                }
            }
        }
    }

    fn fires(&mut self, alert: &Alert) -> Decision {
        let known = self.firing.get(&alert.id);
        let (was_told, was_silenced) =
            known.map_or((false, false), |known| (known.was_told, known.is_silenced));
        let decision = match &alert.silenced_by {
            Some(_) if was_told || was_silenced => Decision::Nothing,
            Some(silence) => Decision::Withhold(silenced(silence)),
            None if was_told => Decision::Nothing,
            None => Decision::Tell,
        };
        self.keep(alert, was_told || decision == Decision::Tell);
        decision
    }

    /// Takes up an alert that was there before a restart, given the rows of
    /// deliveries to this receiver; returns whether it is to be told.
    ///
    /// | the last row of its state | then |
    /// |---|---|
    /// | was to be tried again | told |
    /// | was taken, or given up | not told |
    /// | was withheld (fires) | told if no silence holds any more |
    /// | none (fires) | told: the receiver is new |
    /// | none (is over) | told if its beginning was |
    pub fn resume(&mut self, alert: &Alert, rows: &[&Delivery]) -> bool {
        let last = |state: AlertState| {
            rows.iter()
                .filter(|row| row.alert == alert.id && row.state == state)
                .max_by_key(|row| row.at)
        };
        let row = last(alert.state);
        match alert.state {
            AlertState::Pending => false,
            AlertState::Firing => {
                let was_told = row.is_some_and(|row| !row.will_retry && !is_withheld(row));
                let is_told = !was_told && alert.silenced_by.is_none();
                self.keep(alert, was_told || is_told);
                is_told
            }
            AlertState::Resolved => match row {
                Some(row) => row.will_retry,
                None => last(AlertState::Firing).is_some_and(|row| !is_withheld(row)),
            },
        }
    }

    /// What fires, was told and is not silenced.
    pub fn told(&self) -> impl Iterator<Item = &Alert> {
        self.firing
            .values()
            .filter(|firing| firing.was_told && !firing.is_silenced)
            .map(|firing| &firing.alert)
    }

    fn keep(&mut self, alert: &Alert, was_told: bool) {
        if self.firing.len() >= MAX_ALERTS && !self.firing.contains_key(&alert.id) {
            return;
        }
        let firing = Firing {
            is_silenced: alert.silenced_by.is_some(),
            alert: alert.clone(),
            was_told,
        };
        self.firing.insert(alert.id.clone(), firing);
    }
}

/// Only what was never attempted was withheld.
fn is_withheld(row: &Delivery) -> bool {
    row.n_attempts == 0 && !row.will_retry
}

fn silenced(silence: &str) -> String {
    format!("silenced by {}", super::text::one_line(silence, 64))
}

#[cfg(test)]
mod tests;
