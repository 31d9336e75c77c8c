//! The room that rows take: the oldest make way, and the file gets smaller.

use std::sync::atomic::Ordering;
use std::time::Instant;

use modeltap_core::time::UnixNs;
use modeltap_core::timeline::{TimelineEvent, TimelineKind};
use tracing::{error, info, warn};

use super::{RECLAIM_LOOK, RECLAIM_PAUSE, Worker};
use crate::reclaim::{Reclaim, ReclaimError, room};
use crate::records;
use crate::shared::{Counts, lock};
use crate::sums;
use crate::tiers::{GivenUp, Step};

/// Share of the file that has to be free for a copy: one part in so many.
const FREE_SHARE: u64 = 3;

impl Worker {
    /// Gives up the oldest hour if there is too much, or begins a copy if too
    /// much of the file is free.
    pub(super) fn look_at_room(&mut self, now: UnixNs) {
        self.room_at = Instant::now() + self.config.room_interval;
        if let Err(error) = self.try_look_at_room(now) {
            warn!(error = %error, "cannot make room for history");
            self.mend(&error.to_string());
        }
    }

    fn try_look_at_room(&mut self, now: UnixNs) -> Result<(), ReclaimError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        // Blocks are free only from the next checkpoint on.
        connection.execute_batch("CHECKPOINT")?;
        let found = room(connection)?;
        let used = &self.shared.used_bytes;
        used.store(found.used_bytes, Ordering::Relaxed);
        if found.used_bytes > self.config.max_bytes {
            let hour = now.seconds() / 3_600;
            let has_no_holes = self.filled == Some(hour);
            match self.aging.give_up(connection, now, has_no_holes)? {
                GivenUp::Before(before) => {
                    // Only a checkpoint tells what it brought.
                    connection.execute_batch("CHECKPOINT")?;
                    used.store(room(connection)?.used_bytes, Ordering::Relaxed);
                    self.room_at = Instant::now();
                    self.filled = None;
                    self.tell_given_up(before, now);
                }
                GivenUp::Holes => {
                    self.filled = Some(hour);
                    self.begin_reclaim()?;
                    self.room_at = Instant::now();
                }
                GivenUp::Width | GivenUp::Nothing => {}
            }
            return Ok(());
        }
        let file_bytes = found.used_bytes + found.free_bytes;
        if found.free_bytes >= self.config.min_reclaim_bytes
            && found.free_bytes >= file_bytes / FREE_SHARE
        {
            self.begin_reclaim()?;
        }
        Ok(())
    }

    fn begin_reclaim(&mut self) -> Result<(), ReclaimError> {
        if let Some(connection) = &self.connection {
            self.reclaim = Some(Reclaim::begin(&self.config.path, connection)?);
            self.aging_at = Instant::now() + RECLAIM_LOOK;
        }
        Ok(())
    }

    /// Says that something was given up, on the line of time once a day.
    fn tell_given_up(&mut self, before: UnixNs, now: UnixNs) {
        let told = lock(&self.shared.given_up_before).replace(before);
        let day = |at: UnixNs| at.seconds() / 86_400;
        if told.is_some_and(|told| day(told) == day(before)) {
            return;
        }
        let max = self.config.max_bytes;
        warn!(max_bytes = max, "the oldest history is given up");
        let events = [TimelineEvent {
            at: now,
            kind: TimelineKind::HistoryTrouble,
            service: None,
            container: None,
            detail: format!(
                "history takes more than its {max} bytes: everything older than {} hours was \
                 given up",
                now.seconds().saturating_sub(before.seconds()) / 3_600
            ),
        }];
        // It is of no batch: those have the numbers of whoever appends.
        let rows = records::events(&events);
        let Some(connection) = &mut self.connection else {
            return;
        };
        let told = connection.transaction().and_then(|transaction| {
            sums::append(&transaction, "events", &rows)?;
            transaction.commit()
        });
        let counts = Counts {
            events: 1,
            ..Counts::default()
        };
        match told {
            Ok(()) => self.shared.wrote(counts),
            Err(error) => {
                warn!(error = %error, "cannot tell on the line of time what was given up");
                self.shared.gave_up(counts);
                self.mend(&error.to_string());
            }
        }
    }

    /// Has a copy that is whole take the file's place.
    pub(super) fn finish_reclaim(&mut self) {
        let Some(mut reclaim) = self.reclaim.take_if(|reclaim| reclaim.is_copied()) else {
            return;
        };
        let Some(connection) = &mut self.connection else {
            reclaim.abandon(None);
            return;
        };
        if let Err(error) = reclaim.complete(connection) {
            self.reclaim = Some(reclaim);
            self.abandon_reclaim(&error.to_string());
            return;
        }
        // DuckDB lets go of its file with the last connection only.
        self.shared.close_readers();
        let checkpoint = connection.execute_batch("CHECKPOINT");
        self.connection = None;
        let swapped = match checkpoint {
            Ok(()) => reclaim.swap(),
            Err(error) => Err(error.into()),
        };
        match swapped {
            Ok(()) => {
                self.shared.n_reclaimed.fetch_add(1, Ordering::Relaxed);
                info!("the history file was copied into a smaller one");
            }
            Err(error) => {
                self.room_at = Instant::now() + RECLAIM_PAUSE;
                warn!(error = %error, "the history file cannot be made smaller");
            }
        }
        // The next write would open it too, but questions may come first.
        if let Err(error) = self.reopen() {
            error!(error = %error, "cannot open history after a copy");
            self.shared.failed(&error.to_string());
            self.retry_at = Some(Instant::now());
        }
    }

    pub(super) fn abandon_reclaim(&mut self, reason: &str) {
        if let Some(reclaim) = self.reclaim.take() {
            warn!(reason, "a copy of the history file was given up");
            reclaim.abandon(self.connection.as_ref());
            self.room_at = Instant::now() + RECLAIM_PAUSE;
        }
    }

    /// Does all the work of age and size, as if it were `now`.
    pub(super) fn age_fully(&mut self, now: UnixNs) {
        self.told_now = Some(now);
        self.aging.look_everywhere();
        while let Some(connection) = &mut self.connection {
            let began = Instant::now();
            match self.aging.step(connection, now) {
                Ok(Step::Worked) => self.aging.took(began.elapsed()),
                Ok(Step::Idle) => {
                    self.look_at_room(now);
                    let has_more = self.room_at <= Instant::now();
                    while self.reclaim.is_some() {
                        self.finish_reclaim();
                        std::thread::sleep(RECLAIM_LOOK / 10);
                    }
                    if !has_more && self.aging.is_settled() {
                        return;
                    }
                }
                Err(error) => {
                    warn!(error = %error, "cannot merge older history");
                    return;
                }
            }
        }
    }
}
