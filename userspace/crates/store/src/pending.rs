//! What waits to be written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use duckdb::arrow::array::RecordBatch;
use modeltap_core::alert::{Alert, Delivery};
use modeltap_core::history;

use crate::records::{self, ResourceRow};
use crate::rows::{Rows, micros};
use crate::schema::{RESOURCE_TIERS, TIERS};
use crate::shared::Counts;

/// Bytes kept while the disk refuses them; the oldest give way. That is three
/// minutes of 500 busy series.
const MAX_PENDING_BYTES: usize = 16 << 20;
/// Bytes kept of what was committed, for a disk that loses it all the same;
/// and batches whose counts are known then.
const MAX_COMMITTED_BYTES: usize = 4 << 20;
const MAX_COMMITTED: usize = 600;

/// Rows of one batch that wait for their transaction.
pub(crate) struct Batch {
    pub(crate) number: u64,
    /// When it was handed over.
    pub(crate) at: Instant,
    pub(crate) counts: Counts,
    /// Rows by table.
    pub(crate) rows: Vec<(&'static str, RecordBatch)>,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) deliveries: Vec<Delivery>,
    n_bytes: usize,
    /// It was counted as written before.
    is_again: bool,
}

impl Batch {
    /// Makes rows of everything in `batch`, and tells what of it fits no
    /// table: a width that no tier has is a mistake of the caller's.
    pub(crate) fn new(number: u64, at: Instant, batch: &history::Batch) -> (Self, Counts) {
        let mut counts = Counts::of(batch);
        let mut misfits = Counts::default();
        let mut rows = Vec::new();
        let mut n_fit = 0;
        // The first table of a width takes what is new.
        for width in [1, 10, 60] {
            let of_width = |wide: Duration| wide == Duration::from_secs(width);
            let mut tier_rows = Rows::default();
            let before = n_fit;
            for rollup in batch.rollups.iter().filter(|r| of_width(r.width)) {
                tier_rows.push_rollup(rollup);
                n_fit += 1;
            }
            let tier = TIERS.iter().find(|tier| tier.width_seconds == width);
            if let Some(tier) = tier.filter(|_| n_fit > before) {
                rows.push((tier.table, tier_rows.finish()));
            }
            let of_tier = batch.resources.iter().filter(|r| of_width(r.width));
            let resources: Vec<ResourceRow<'_>> = of_tier
                .map(|rollup| ResourceRow {
                    start_us: micros(rollup.start),
                    service: &rollup.service,
                    container: &rollup.container,
                    figures: &rollup.figures,
                })
                .collect();
            misfits.resources += resources.len() as u64;
            let tier = RESOURCE_TIERS
                .iter()
                .find(|tier| tier.width_seconds == width);
            if let Some(tier) = tier.filter(|_| !resources.is_empty()) {
                rows.push((tier.table, records::resources(&resources)));
            }
        }
        misfits.rollups = counts.rollups - n_fit;
        misfits.resources = counts.resources - misfits.resources;
        counts.rollups -= misfits.rollups;
        counts.resources -= misfits.resources;
        if !batch.exemplars.is_empty() {
            rows.push(("exemplars", records::exemplars(&batch.exemplars)));
        }
        if !batch.events.is_empty() {
            rows.push(("events", records::events(&batch.events)));
        }
        let of_rows = rows.iter().map(|(_, rows)| rows.get_array_memory_size());
        let n_told = batch.alerts.len() + batch.deliveries.len();
        let n_bytes = of_rows.sum::<usize>() + n_told * 512;
        let waiting = Self {
            number,
            at,
            counts,
            rows,
            alerts: batch.alerts.clone(),
            deliveries: batch.deliveries.clone(),
            n_bytes,
            is_again: false,
        };
        (waiting, misfits)
    }

    /// Gives up figures and single requests, of which there are many, and
    /// keeps what happened; tells what was given up.
    fn thin(&mut self) -> Counts {
        self.rows.retain(|(table, _)| *table == "events");
        let n_told = self.alerts.len() + self.deliveries.len();
        let of_rows = self
            .rows
            .iter()
            .map(|(_, rows)| rows.get_array_memory_size());
        self.n_bytes = of_rows.sum::<usize>() + n_told * 512;
        self.counts.take_figures()
    }
}

/// Batches in the order of their numbers, which begin at one.
#[derive(Default)]
pub(crate) struct Pending {
    batches: VecDeque<Batch>,
    n_bytes: usize,
    /// What was committed last; of the older ones the counts alone.
    committed: VecDeque<Batch>,
    n_committed_bytes: usize,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Number of the newest batch.
    pub(crate) fn last(&self) -> Option<u64> {
        self.batches.back().map(|batch| batch.number)
    }

    /// Rows that wait, and since when the oldest do.
    pub(crate) fn waiting(&self) -> (u64, Option<Instant>) {
        let n_rows = self.batches.iter().map(|batch| batch.counts.total());
        (n_rows.sum(), self.batches.front().map(|batch| batch.at))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Batch> + Clone {
        self.batches.iter()
    }

    /// Rows for one table.
    pub(crate) fn rows_of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a RecordBatch> {
        let rows = self.batches.iter().flat_map(|batch| &batch.rows);
        rows.filter(move |(name, _)| *name == table)
            .map(|(_, rows)| rows)
    }

    /// Takes a batch, and tells what was dropped for it.
    pub(crate) fn push(&mut self, number: u64, at: Instant, batch: &history::Batch) -> Counts {
        let (batch, mut dropped) = Batch::new(number, at, batch);
        if !batch.counts.is_zero() {
            self.n_bytes += batch.n_bytes;
            self.batches.push_back(batch);
        }
        let n_old = self.batches.len().saturating_sub(1);
        for batch in self.batches.iter_mut().take(n_old) {
            if self.n_bytes <= MAX_PENDING_BYTES {
                break;
            }
            self.n_bytes -= batch.n_bytes;
            dropped.add(batch.thin());
            self.n_bytes += batch.n_bytes;
        }
        while self.n_bytes > MAX_PENDING_BYTES
            && self.batches.len() > 1
            && let Some(oldest) = self.batches.pop_front()
        {
            self.n_bytes -= oldest.n_bytes;
            dropped.add(oldest.counts);
        }
        dropped
    }

    /// Lets go of batches up to a number, which are committed, and tells what
    /// is written that was not before.
    pub(crate) fn forget(&mut self, written: u64) -> Counts {
        let mut counts = Counts::default();
        while let Some(mut batch) = self.batches.pop_front_if(|batch| batch.number <= written) {
            self.n_bytes -= batch.n_bytes;
            if !batch.is_again {
                counts.add(batch.counts);
            }
            batch.is_again = true;
            self.n_committed_bytes += batch.n_bytes;
            self.committed.push_back(batch);
        }
        for batch in &mut self.committed {
            if self.n_committed_bytes <= MAX_COMMITTED_BYTES {
                break;
            }
            self.n_committed_bytes -= std::mem::take(&mut batch.n_bytes);
            batch.rows.clear();
            batch.alerts.clear();
            batch.deliveries.clear();
        }
        while self.committed.len() > MAX_COMMITTED {
            self.committed.pop_front();
        }
        counts
    }

    /// Takes back what was committed behind a number, because the disk lost
    /// it: gives the rows that wait to be written again, and those that are
    /// here no longer.
    pub(crate) fn take_back(&mut self, written: u64) -> (Counts, Counts) {
        let (mut again, mut lost) = (Counts::default(), Counts::default());
        while let Some(batch) = self.committed.pop_back_if(|batch| batch.number > written) {
            if batch.n_bytes == 0 {
                lost.add(batch.counts);
                continue;
            }
            again.add(batch.counts);
            self.n_committed_bytes -= batch.n_bytes;
            self.n_bytes += batch.n_bytes;
            self.batches.push_front(batch);
        }
        (again, lost)
    }
}

#[cfg(test)]
mod tests {
    use modeltap_core::time::UnixNs;
    use modeltap_core::timeline::{TimelineEvent, TimelineKind};

    use super::*;
    use crate::records::tests::exemplar;

    fn batch(detail: &str, n_exemplars: usize) -> history::Batch {
        history::Batch {
            exemplars: vec![exemplar(); n_exemplars],
            events: vec![TimelineEvent {
                at: UnixNs(1),
                kind: TimelineKind::DataLost,
                service: None,
                container: None,
                detail: detail.into(),
            }],
            ..history::Batch::default()
        }
    }

    #[test]
    fn what_happened_outlives_the_figures_while_the_disk_refuses() {
        let mut pending = Pending::default();
        let mut dropped = Counts::default();
        let n_batches = 200;
        for number in 1..=n_batches {
            let batch = batch("12 events lost", 1_000);
            dropped.add(pending.push(number, Instant::now(), &batch));
            assert!(pending.n_bytes <= MAX_PENDING_BYTES);
        }
        assert!(dropped.exemplars > 0);
        assert_eq!(dropped.events, 0);
        let left = pending.forget(u64::MAX);
        assert_eq!(left.events, n_batches);
        assert_eq!(left.exemplars + dropped.exemplars, n_batches * 1_000);
        assert_eq!(pending.n_bytes, 0);
    }

    #[test]
    fn rollups_of_an_unknown_width_are_told() {
        let mut pending = Pending::default();
        let rollup = |seconds| modeltap_core::resource::ResourceRollup {
            service: "api".into(),
            container: "api-1".into(),
            start: UnixNs(0),
            width: Duration::from_secs(seconds),
            figures: Default::default(),
        };
        let batch = history::Batch {
            resources: vec![rollup(1), rollup(7), rollup(60)],
            ..history::Batch::default()
        };
        let dropped = pending.push(1, Instant::now(), &batch);
        assert_eq!(dropped.resources, 1);
        assert_eq!(pending.forget(1).resources, 2);
    }

    #[test]
    fn what_a_disk_lost_of_committed_batches_is_written_again_or_told() {
        let mut pending = Pending::default();
        let (n_batches, n_exemplars) = (40, 1_000);
        for number in 1..=n_batches {
            pending.push(number, Instant::now(), &batch("", n_exemplars));
            assert_eq!(pending.forget(number).exemplars, n_exemplars as u64);
            assert!(pending.n_committed_bytes <= MAX_COMMITTED_BYTES);
        }
        assert_eq!(pending.take_back(n_batches), Default::default());
        let (again, lost) = pending.take_back(10);
        assert!(again.events >= 5 && lost.events >= 5, "{again:?} {lost:?}");
        assert_eq!(again.events + lost.events, n_batches - 10);
        assert_eq!(again.exemplars, again.events * n_exemplars as u64);
        let numbers: Vec<u64> = pending.iter().map(|batch| batch.number).collect();
        let first = n_batches - again.events + 1;
        assert_eq!(numbers, (first..=n_batches).collect::<Vec<_>>());
        assert_eq!(pending.waiting().0, again.total());
        // They count as written once.
        assert!(pending.forget(n_batches).is_zero());
        assert!(pending.is_empty());
    }
}
