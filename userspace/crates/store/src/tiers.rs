//! Older rows: merged into wider windows, and in the end deleted.
//!
//! Rows move on in whole blocks of time, one service after another, so that
//! the wider tiers lie in the order in which they are read: by block, service,
//! route and time.

use std::time::Duration;

use duckdb::{Connection, params};
use modeltap_core::time::UnixNs;

use crate::merge::{self, IN_PIECE, Piece};
use crate::rows::micros;
use crate::schema::{COLUMNS, RESOURCE_TIERS, SUMS, TIERS};
use crate::sums::{self, Summing};

/// How long rollups are kept, by the length of their windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Windows of one second; then they are merged to ten.
    pub seconds: Duration,
    /// Windows of ten seconds, from the request on; then merged to sixty.
    pub ten_seconds: Duration,
    /// Windows of a minute, from the request on; then deleted.
    pub minutes: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            seconds: Duration::from_secs(6 * 3_600),
            ten_seconds: Duration::from_secs(48 * 3_600),
            minutes: Duration::from_secs(30 * 24 * 3_600),
        }
    }
}

/// Microseconds in a second.
const US: i64 = 1_000_000;
/// What is kept if there is room for it in any width.
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// How long the narrow windows are kept where room is short.
const LEAST_SECONDS: Duration = Duration::from_secs(600);
const LEAST_TEN_SECONDS: Duration = Duration::from_secs(3_600);
/// Rows merged in one step: at first, at least and at most.
const FIRST_ROWS: i64 = 5_000;
const MIN_ROWS: i64 = 1_000;
const MAX_ROWS: i64 = 40_000;
/// Rows brought into order in one step. Each step reads all rows of its block,
/// which lie in the order of time, so that few large ones cost least: a third
/// of a second each.
const SORTED_ROWS: i64 = 60_000;
/// A step that took longer is followed by a smaller one.
const STEP_LIMIT: Duration = Duration::from_millis(50);
/// Time deleted in one step.
const DELETED_SECONDS: i64 = 3_600;

/// Ways that rows move on, and tables that they are deleted from.
const N_MOVES: usize = 6;
const N_ENDS: usize = 4;

/// How rows of one table move on.
#[derive(Clone, Copy, Debug)]
struct Move {
    from: &'static str,
    to: &'static str,
    kind: Kind,
    /// Length of the windows in `to`, in seconds.
    width_seconds: i64,
    /// Length of the time whose rows lie sorted in `to`; a multiple of the
    /// widest window.
    block_seconds: i64,
    age: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Rollups that keep their width and only come into order.
    Sorted,
    Rollups,
    Resources,
    /// Sums of minutes, which come into order and are added up to hours.
    Sums,
}

impl Kind {
    /// Whether a step takes several services at once, and of each the whole
    /// block.
    fn takes_services(self) -> bool {
        matches!(self, Self::Sorted | Self::Sums)
    }
}

/// How rows of one table come to their end.
#[derive(Clone, Copy, Debug)]
struct End {
    table: &'static str,
    /// The column of their time.
    time: &'static str,
    age: Duration,
}

impl Retention {
    /// Has figures merged earlier; false where they are as early as may be.
    fn shorten(&mut self) -> bool {
        let before = *self;
        let shorter = |age: Duration, least: Duration| (age / 2).max(least).min(age);
        self.seconds = shorter(self.seconds, LEAST_SECONDS);
        self.ten_seconds = shorter(self.ten_seconds, LEAST_TEN_SECONDS);
        *self != before
    }

    fn moves(self) -> [Move; N_MOVES] {
        let of = |from, to, kind, width_seconds, block_seconds, age| Move {
            from,
            to,
            kind,
            width_seconds,
            block_seconds,
            age,
        };
        let [new, seconds, tens, minutes] = TIERS.map(|tier| tier.table);
        let [own_seconds, own_tens, own_minutes] = RESOURCE_TIERS.map(|tier| tier.table);
        let [new_sums, sums, _] = SUMS.map(|tier| tier.table);
        [
            of(new_sums, sums, Kind::Sums, 60, 3_600, Duration::ZERO),
            of(new, seconds, Kind::Sorted, 1, 600, Duration::ZERO),
            of(seconds, tens, Kind::Rollups, 10, 3_600, self.seconds),
            of(tens, minutes, Kind::Rollups, 60, 21_600, self.ten_seconds),
            of(
                own_seconds,
                own_tens,
                Kind::Resources,
                10,
                3_600,
                self.seconds,
            ),
            of(
                own_tens,
                own_minutes,
                Kind::Resources,
                60,
                21_600,
                self.ten_seconds,
            ),
        ]
    }

    fn ends(self) -> [End; N_ENDS] {
        let of = |table, time, age| End { table, time, age };
        [
            of(TIERS[3].table, "start", self.minutes),
            of(RESOURCE_TIERS[2].table, "start", self.minutes),
            of("events", "happened", self.minutes),
            of("exemplars", "finished", self.ten_seconds),
        ]
    }
}

/// Does the work of age in small steps.
#[derive(Debug)]
pub(crate) struct Aging {
    retention: Retention,
    n_rows: i64,
    summing: Summing,
    /// Whether the last step was one whose size does not follow `n_rows`.
    is_fixed: bool,
    /// When there may be something to sum up.
    sums_due: i64,
    /// When there may be something to do for each move and then each end, in
    /// microseconds: looking for the oldest row of a large table costs
    /// milliseconds.
    due: [i64; N_MOVES + N_ENDS],
}

/// Whether there is more to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was done; the next step may find more.
    Worked,
    /// Nothing is old enough.
    Idle,
}

/// What was given up for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// Everything before this time.
    Before(UnixNs),
    /// Narrow windows: figures are merged earlier from now on.
    Width,
    /// Nothing yet: the next would be of the last day, and the room of rows
    /// that are gone already is not free before the file is copied.
    Holes,
    /// There is nothing.
    Nothing,
}

impl Aging {
    pub(crate) fn new(retention: Retention) -> Self {
        Self {
            retention,
            n_rows: FIRST_ROWS,
            summing: Summing::new(),
            is_fixed: false,
            sums_due: i64::MIN,
            due: [i64::MIN; N_MOVES + N_ENDS],
        }
    }

    /// Does one step, in one transaction: sums up what is over, merges some of
    /// the oldest rows of a tier into the next, or deletes what is too old for
    /// the last.
    pub(crate) fn step(
        &mut self,
        connection: &mut Connection,
        now: UnixNs,
    ) -> duckdb::Result<Step> {
        let now = micros(now);
        if now >= self.sums_due {
            let due = self.summing.step(connection, now)?;
            self.is_fixed = true;
            self.sums_due = due.unwrap_or(now);
            if due.is_none() {
                self.due[0] = i64::MIN;
                return Ok(Step::Worked);
            }
        }
        let moves = self.retention.moves();
        for (index, step) in moves.into_iter().enumerate() {
            if now < self.due[index] {
                continue;
            }
            let due = self.advance(connection, step, now)?;
            self.is_fixed = step.kind == Kind::Sorted;
            self.due[index] = due.unwrap_or(now);
            if due.is_none() {
                // What came into the next table may be old itself.
                self.due[index + 1..].fill(i64::MIN);
                return Ok(Step::Worked);
            }
        }
        for (index, end) in (moves.len()..).zip(self.retention.ends()) {
            if now < self.due[index] {
                continue;
            }
            let due = delete_oldest(connection, end, now)?;
            self.due[index] = due.unwrap_or(now);
            if due.is_none() {
                return Ok(Step::Worked);
            }
        }
        Ok(Step::Idle)
    }

    /// Forgets when tables are worth a look: the clock was set.
    pub(crate) fn look_everywhere(&mut self) {
        self.sums_due = i64::MIN;
        self.due.fill(i64::MIN);
    }

    /// Whether every table was looked at since rows or retention changed.
    pub(crate) fn is_settled(&self) -> bool {
        self.due.iter().all(|due| *due > i64::MIN)
    }

    /// Adapts the next step to what the last one took.
    pub(crate) fn took(&mut self, elapsed: Duration) {
        if self.is_fixed {
            return;
        }
        if elapsed > STEP_LIMIT {
            self.n_rows = (self.n_rows / 2).max(MIN_ROWS);
        } else if elapsed < STEP_LIMIT / 4 {
            self.n_rows = (self.n_rows * 2).min(MAX_ROWS);
        }
    }

    /// Gives up the oldest hour of everything, because there is no room for it;
    /// where that would be of the last day, figures are merged earlier first,
    /// and then the file is to be copied, unless it `has_no_holes`.
    pub(crate) fn give_up(
        &mut self,
        connection: &mut Connection,
        now: UnixNs,
        has_no_holes: bool,
    ) -> duckdb::Result<GivenUp> {
        let tables = TIERS
            .iter()
            .chain(&SUMS)
            .chain(&RESOURCE_TIERS)
            .map(|tier| (tier.table, "start"));
        let tables: Vec<_> = tables
            .chain([("exemplars", "finished"), ("events", "happened")])
            .collect();
        let mut first = i64::MAX;
        for (table, time) in &tables {
            first = first.min(oldest(connection, table, time)?.unwrap_or(i64::MAX));
        }
        if first == i64::MAX {
            return Ok(GivenUp::Nothing);
        }
        let hour = DELETED_SECONDS * US;
        let until = first - first.rem_euclid(hour) + hour;
        let is_of_last_day = until > micros(now).saturating_sub(age_us(DAY));
        if is_of_last_day && self.retention.shorten() {
            self.due.fill(i64::MIN);
            return Ok(GivenUp::Width);
        }
        // Blocks of a row group are free when all its 122,880 rows are gone,
        // which may be those of many hours.
        if is_of_last_day && !has_no_holes {
            return Ok(GivenUp::Holes);
        }
        let transaction = connection.transaction()?;
        // Sums are by whole hours, and so are these.
        for (table, time) in &tables {
            delete(&transaction, table, time, until)?;
        }
        transaction.commit()?;
        self.due.fill(i64::MIN);
        let until = u64::try_from(until).unwrap_or_default();
        Ok(GivenUp::Before(UnixNs(until.saturating_mul(1_000))))
    }

    /// Moves a piece; where there is none yet, tells when to look again.
    fn advance(
        &self,
        connection: &mut Connection,
        step: Move,
        now: i64,
    ) -> duckdb::Result<Option<i64>> {
        let block = step.block_seconds * US;
        let Some(oldest) = oldest(connection, step.from, "start")? else {
            return Ok(Some(now + 10 * US));
        };
        let first = oldest - oldest.rem_euclid(block);
        // Blocks are whole: none of their windows is made twice.
        let due = first.saturating_add(block).saturating_add(age_us(step.age));
        if due > now {
            return Ok(Some(due));
        }
        let Some(piece) = self.piece(connection, step, first, first + block)? else {
            return Ok(None);
        };
        let transaction = connection.transaction()?;
        let width = step.width_seconds * US;
        let of_piece = params![piece.service, piece.last_service, piece.first, piece.end];
        let rows = match step.kind {
            Kind::Sorted => {
                let columns = COLUMNS.join(", ");
                let sql = format!(
                    "INSERT INTO {} SELECT {columns} FROM {} WHERE {IN_PIECE} \
                     ORDER BY service, route, container, method, status, outcome, start",
                    step.to, step.from
                );
                transaction.execute(&sql, of_piece)?;
                None
            }
            Kind::Rollups => {
                let merged = merge::rollups(&transaction, step.from, &piece, width)?;
                Some(merge::rows_of(&merged))
            }
            Kind::Resources => Some(merge::resources(&transaction, step.from, &piece, width)?),
            Kind::Sums => {
                let minutes = merge::rollups(&transaction, step.from, &piece, width)?;
                let hours = merge::rows_of(&sums::hours_of(&minutes));
                sums::append(&transaction, SUMS[2].table, &hours)?;
                Some(merge::rows_of(&minutes))
            }
        };
        if let Some(rows) = rows {
            sums::append(&transaction, step.to, &rows)?;
        }
        let sql = format!("DELETE FROM {} WHERE {IN_PIECE}", step.from);
        transaction.execute(&sql, of_piece)?;
        transaction.commit()?;
        Ok(None)
    }

    /// The next piece of a block: of its first service as much as a step takes.
    fn piece(
        &self,
        connection: &Connection,
        step: Move,
        first: i64,
        end: i64,
    ) -> duckdb::Result<Option<Piece>> {
        let sql = format!(
            "SELECT service, epoch_us(min(start)), count(*) FROM {} \
             WHERE start >= make_timestamp(?) AND start < make_timestamp(?) \
             GROUP BY service ORDER BY service",
            step.from
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([first, end])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let service: String = row.get(0)?;
        let (mut oldest, mut count): (i64, i64) = (row.get(1)?, row.get(2)?);
        let mut last_service = service.clone();
        let most = match step.kind {
            Kind::Sorted => SORTED_ROWS,
            Kind::Rollups | Kind::Resources | Kind::Sums => self.n_rows,
        };
        while step.kind.takes_services()
            && let Some(row) = rows.next()?
        {
            let more: i64 = row.get(2)?;
            if count + more > most {
                break;
            }
            count += more;
            oldest = oldest.min(row.get(1)?);
            last_service = row.get(0)?;
        }
        let width = step.width_seconds * US;
        let first = oldest - oldest.rem_euclid(width);
        let whole = end - first;
        let span = if count > most {
            // Even traffic is a guess; a step that takes too long is followed
            // by a smaller one.
            let span = whole / US * most / count * US;
            (span - span.rem_euclid(width)).max(width)
        } else {
            whole
        };
        Ok(Some(Piece {
            service,
            last_service,
            first,
            end: first + span.min(whole),
        }))
    }
}

fn age_us(age: Duration) -> i64 {
    i64::try_from(age.as_micros()).unwrap_or(i64::MAX)
}

fn oldest(connection: &Connection, table: &str, time: &str) -> duckdb::Result<Option<i64>> {
    let sql = format!("SELECT epoch_us(min({time})) FROM {table}");
    connection.query_row(&sql, [], |row| row.get(0))
}

/// Deletes an hour that is too old; where there is none, tells when to look
/// again.
fn delete_oldest(connection: &mut Connection, end: End, now: i64) -> duckdb::Result<Option<i64>> {
    let Some(oldest) = oldest(connection, end.table, end.time)? else {
        return Ok(Some(now + DELETED_SECONDS * US));
    };
    let hour = DELETED_SECONDS * US;
    let until = oldest - oldest.rem_euclid(hour) + hour;
    let due = until.saturating_add(age_us(end.age));
    if due > now {
        return Ok(Some(due));
    }
    let transaction = connection.transaction()?;
    delete(&transaction, end.table, end.time, until)?;
    if end.table == TIERS[3].table {
        // Sums go with the last of their rows: what is as old and lies in a
        // narrower tier, because it came late, goes too.
        for tier in TIERS.iter().chain(&SUMS) {
            delete(&transaction, tier.table, end.time, until)?;
        }
    }
    transaction.commit()?;
    Ok(None)
}

fn delete(connection: &Connection, table: &str, time: &str, before: i64) -> duckdb::Result<usize> {
    let sql = format!("DELETE FROM {table} WHERE {time} < make_timestamp(?)");
    connection.execute(&sql, [before])
}

#[cfg(test)]
mod tests;
