//! Which pending alerts history keeps, so that they go on after a restart.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::alert::{Alert, AlertState};
use modeltap_core::time::UnixNs;

use super::state::since;

/// Pending alerts that are younger are not worth a row: a figure that goes to
/// and fro would write one every second.
const KEPT_AFTER: Duration = Duration::from_secs(10);
/// Rows written a second at most; the others come in the next.
const MAX_A_SECOND: usize = 100;

/// Follows the pending alerts.
#[derive(Debug, Default)]
pub struct PendingRows {
    /// What history has, by id.
    kept: BTreeMap<Arc<str>, Alert>,
}

impl PendingRows {
    /// Takes up what history had at the start, whether it goes on or not.
    pub fn resume(&mut self, pending: Vec<Alert>) {
        let by_id = pending
            .into_iter()
            .map(|alert| (Arc::clone(&alert.id), alert));
        self.kept.extend(by_id);
    }

    /// What is to be written after a second that leaves these alerts `active`:
    /// pending ones, and those that are pending no longer and never fired,
    /// which are `resolved` and leave no row.
    pub fn changes(&mut self, now: UnixNs, active: &[Alert]) -> Vec<Alert> {
        let active: HashMap<&Arc<str>, &Alert> =
            active.iter().map(|alert| (&alert.id, alert)).collect();
        let mut changes = Vec::new();
        self.kept.retain(|id, known| {
            let state = active.get(id).map(|alert| alert.state);
            if state.is_none() {
                let mut over = known.clone();
                over.resolved = Some(now);
                changes.push(over);
            }
            // What fires has the row from now on.
            state == Some(AlertState::Pending)
        });
        let mut fresh: Vec<&Alert> = active
            .into_values()
            .filter(|alert| alert.state == AlertState::Pending)
            .filter(|alert| since(alert.since, now) >= KEPT_AFTER)
            .filter(|alert| {
                // One of before the start has its time moved.
                let known = self.kept.get(&alert.id);
                known.is_none_or(|known| known.since != alert.since)
            })
            .collect();
        fresh.sort_unstable_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        for alert in fresh.into_iter().take(MAX_A_SECOND) {
            self.kept.insert(Arc::clone(&alert.id), alert.clone());
            changes.push(alert.clone());
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use modeltap_core::alert::{AlertMetric, Severity};

    use super::*;

    fn at(second: u64) -> UnixNs {
        UnixNs(second * 1_000_000_000)
    }

    fn alert(id: &str, since: u64, state: AlertState) -> Alert {
        Alert {
            id: id.into(),
            rule: "rule".into(),
            rule_name: "Rule".into(),
            service: "api".into(),
            metric: AlertMetric::ErrorRate,
            severity: Severity::Info,
            state,
            value: None,
            threshold: None,
            summary: String::new(),
            since: at(since),
            fired: None,
            resolved: None,
            silenced_by: None,
        }
    }

    /// Ids, and whether their row goes.
    fn changes(rows: &mut PendingRows, second: u64, active: &[Alert]) -> Vec<(String, bool)> {
        let changes = rows.changes(at(second), active);
        assert!(
            changes
                .iter()
                .all(|alert| alert.state == AlertState::Pending)
        );
        let told = |alert: &Alert| (alert.id.to_string(), alert.resolved.is_some());
        changes.iter().map(told).collect()
    }

    #[test]
    fn pending_alert_is_written_once_it_lasts_and_its_row_goes_if_it_never_fires() {
        let mut rows = PendingRows::default();
        let pending = [alert("a", 100, AlertState::Pending)];
        assert!(changes(&mut rows, 109, &pending).is_empty());
        let written = ("a".to_owned(), false);
        assert_eq!(changes(&mut rows, 110, &pending), [written]);
        assert!(changes(&mut rows, 111, &pending).is_empty());
        assert_eq!(changes(&mut rows, 112, &[]), [("a".to_owned(), true)]);
        assert!(changes(&mut rows, 113, &[]).is_empty());
    }

    #[test]
    fn row_of_what_fires_is_left_to_it() {
        let mut rows = PendingRows::default();
        changes(&mut rows, 110, &[alert("a", 100, AlertState::Pending)]);
        let firing = [alert("a", 100, AlertState::Firing)];
        assert!(changes(&mut rows, 111, &firing).is_empty());
        assert!(changes(&mut rows, 112, &[]).is_empty());
    }

    #[test]
    fn rows_of_before_the_start_go_with_what_does_not_go_on() {
        let mut rows = PendingRows::default();
        let pending = |id| alert(id, 50, AlertState::Pending);
        rows.resume(vec![pending("stays"), pending("gone")]);
        let active = [alert("stays", 80, AlertState::Pending)];
        let moved = ("stays".to_owned(), false);
        assert_eq!(
            changes(&mut rows, 100, &active),
            [("gone".to_owned(), true), moved]
        );
        assert!(changes(&mut rows, 101, &active).is_empty());
    }

    #[test]
    fn flood_is_written_over_some_seconds() {
        let mut rows = PendingRows::default();
        let ids = (0..250).map(|n| format!("{n:03}"));
        let all: Vec<Alert> = ids.map(|id| alert(&id, 0, AlertState::Pending)).collect();
        let n = [20, 21, 22, 23].map(|second| changes(&mut rows, second, &all).len());
        assert_eq!(n, [100, 100, 50, 0]);
    }
}
