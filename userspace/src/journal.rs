//! What happened to the daemon itself, for the line of time.

use std::time::Duration;

use modeltap_api::state::Spending;
use modeltap_core::accounting::CaptureAccounting;
use modeltap_core::time::UnixNs;
use modeltap_core::timeline::{TimelineEvent, TimelineKind};
use modeltap_store::Stats;

/// Least time between two events about lost data.
const LOSS_INTERVAL: Duration = Duration::from_secs(60);

/// Notices what changed from one look to the next.
#[derive(Debug, Default)]
pub struct Journal {
    events: Vec<TimelineEvent>,
    /// Events lost and dropped that were told of, and when.
    told: (u64, u64),
    told_at: Option<UnixNs>,
    is_noticed: bool,
    is_failing: bool,
    n_rows_dropped: u64,
    /// Rows that the disk had lost at the last look: for good, and for a while.
    disk_lost: (u64, u64),
    /// How much was left out at the last look.
    reduction: u8,
}

impl Journal {
    /// The daemon started.
    pub fn started(&mut self, now: UnixNs) {
        self.note(now, TimelineKind::DaemonStarted, env!("CARGO_PKG_VERSION"));
    }

    /// The daemon was asked to stop.
    pub fn stopped(&mut self, now: UnixNs) {
        self.note(now, TimelineKind::DaemonStopped, "");
    }

    /// Takes what the daemon knows of itself. To be called once a second.
    pub fn look(&mut self, accounting: &CaptureAccounting, store: &Stats, now: UnixNs) {
        let lost = (accounting.events_lost, accounting.events_dropped);
        let may_tell = self
            .told_at
            .is_none_or(|at| now.0.saturating_sub(at.0) >= LOSS_INTERVAL.as_nanos() as u64);
        if lost != self.told && may_tell {
            let detail = format!(
                "{} events lost by the kernel, {} dropped by the daemon",
                lost.0.saturating_sub(self.told.0),
                lost.1.saturating_sub(self.told.1)
            );
            self.note(now, TimelineKind::DataLost, &detail);
            self.told = lost;
            self.told_at = Some(now);
        }
        if let Some(notice) = store.notice.as_ref().filter(|_| !self.is_noticed) {
            self.note(now, TimelineKind::HistoryTrouble, notice);
        }
        self.is_noticed = true;
        let disk_lost = (store.n_lost_by_disk, store.n_written_again);
        if disk_lost != self.disk_lost {
            let detail = format!(
                "the disk lost rows that it had acknowledged: {} are missing, {} were written again",
                disk_lost.0.saturating_sub(self.disk_lost.0),
                disk_lost.1.saturating_sub(self.disk_lost.1)
            );
            self.note(now, TimelineKind::HistoryTrouble, &detail);
            self.disk_lost = disk_lost;
        }
        match (&store.error, self.is_failing) {
            (Some(error), false) => {
                let detail = format!("history cannot be written: {error}");
                self.note(now, TimelineKind::HistoryTrouble, &detail);
                self.n_rows_dropped = store.dropped.total();
            }
            (None, true) => {
                let n_dropped = store.dropped.total() - self.n_rows_dropped;
                let detail = format!("history is written again; {n_dropped} rows are missing");
                self.note(now, TimelineKind::HistoryTrouble, &detail);
            }
            (Some(_), true) | (None, false) => {}
        }
        self.is_failing = store.error.is_some();
    }

    /// Takes what the daemon costs and leaves out. To be called once a second.
    pub fn look_at(&mut self, spending: &Spending, now: UnixNs) {
        if spending.step == self.reduction {
            return;
        }
        self.reduction = spending.step;
        let detail = format!(
            "{}: {:.1} % of a core, {:.1} % allowed",
            spending.left_out,
            spending.cores * 100.0,
            spending.max_cores * 100.0
        );
        self.note(now, TimelineKind::CaptureReduced, &detail);
    }

    /// What was noticed since the last call.
    pub fn take(&mut self) -> Vec<TimelineEvent> {
        std::mem::take(&mut self.events)
    }

    fn note(&mut self, at: UnixNs, kind: TimelineKind, detail: &str) {
        self.events.push(TimelineEvent {
            at,
            kind,
            service: None,
            container: None,
            detail: detail.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use modeltap_store::Counts;

    use super::*;

    fn second(n: u64) -> UnixNs {
        UnixNs(n * 1_000_000_000)
    }

    fn details(journal: &mut Journal) -> Vec<String> {
        journal
            .take()
            .into_iter()
            .map(|event| format!("{} {}", event.kind.as_str(), event.detail))
            .collect()
    }

    #[test]
    fn each_change_of_what_is_left_out_is_told_with_its_cause() {
        let mut journal = Journal::default();
        let level = |step, left_out| Spending {
            max_cores: 0.05,
            cores: 0.0721,
            step,
            left_out,
            ..Spending::default()
        };
        for step in [0, 0, 2, 2, 0] {
            let left_out = if step == 0 { "nothing" } else { "bodies" };
            journal.look_at(&level(step, left_out), second(1));
        }
        let expected = [
            "capture_reduced bodies: 7.2 % of a core, 5.0 % allowed",
            "capture_reduced nothing: 7.2 % of a core, 5.0 % allowed",
        ];
        assert_eq!(details(&mut journal), expected);
    }

    #[test]
    fn losses_are_told_with_their_counts_once_a_minute() {
        let mut journal = Journal::default();
        for n in 0..130 {
            let accounting = CaptureAccounting {
                events_lost: if n >= 5 { n * 10 } else { 0 },
                events_dropped: 2,
                ..CaptureAccounting::default()
            };
            journal.look(&accounting, &Stats::default(), second(n));
        }
        assert_eq!(
            details(&mut journal),
            [
                "data_lost 0 events lost by the kernel, 2 dropped by the daemon",
                "data_lost 600 events lost by the kernel, 0 dropped by the daemon",
                "data_lost 600 events lost by the kernel, 0 dropped by the daemon",
            ]
        );
    }

    #[test]
    fn trouble_with_history_is_told_at_its_beginning_and_end() {
        let mut journal = Journal::default();
        journal.started(second(0));
        let mut store = Stats {
            notice: Some("a file was kept aside".into()),
            ..Stats::default()
        };
        let accounting = CaptureAccounting::default();
        for n in 0..10 {
            store.error = (3..6).contains(&n).then(|| "no space".into());
            store.dropped = Counts {
                rollups: n.min(6) * 7,
                ..Counts::default()
            };
            if n == 5 {
                (store.n_lost_by_disk, store.n_written_again) = (3, 40);
            }
            journal.look(&accounting, &store, second(n));
        }
        journal.stopped(second(11));
        assert_eq!(
            details(&mut journal),
            [
                concat!("daemon_started ", env!("CARGO_PKG_VERSION")),
                "history_trouble a file was kept aside",
                "history_trouble history cannot be written: no space",
                "history_trouble the disk lost rows that it had acknowledged: 3 are missing, \
                 40 were written again",
                "history_trouble history is written again; 21 rows are missing",
                "daemon_stopped ",
            ]
        );
    }
}
