//! Older rollups: merged into wider windows, and in the end deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use duckdb::{Connection, Row};
use modeltap_core::histogram::DurationHistogram;
use modeltap_core::measure::{Measure, TokenSums};
use modeltap_core::rollup::{Detail, Figures};
use modeltap_core::time::UnixNs;

use crate::rows::{RowKey, Rows, micros};
use crate::schema::{COLUMNS, TIERS, Tier};

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

impl Retention {
    fn of_tier(self, index: usize) -> Duration {
        [NEW, self.seconds, self.ten_seconds, self.minutes][index]
    }
}

/// How long rollups stay in the order in which they came.
const NEW: Duration = Duration::from_secs(600);

/// Microseconds in a second.
const US: i64 = 1_000_000;
/// Seconds of a tier merged in one step: at first, at least and at most. All
/// are multiples of the widest window.
const FIRST_SPAN_SECONDS: i64 = 60;
const MAX_SPAN_SECONDS: i64 = 3_600;
/// A step that took longer is followed by a smaller one.
const STEP_LIMIT: Duration = Duration::from_millis(50);

/// Does the work of age in small steps.
#[derive(Debug)]
pub(crate) struct Aging {
    retention: Retention,
    span_seconds: i64,
}

/// Whether there is more to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was done; the next step may find more.
    Worked,
    /// Nothing is old enough.
    Idle,
}

impl Aging {
    pub(crate) fn new(retention: Retention) -> Self {
        Self {
            retention,
            span_seconds: FIRST_SPAN_SECONDS,
        }
    }

    /// Does one step, in one transaction: merges the oldest rollups of a tier
    /// into the next, or deletes what is too old for the last.
    pub(crate) fn step(
        &mut self,
        connection: &mut Connection,
        now: UnixNs,
    ) -> duckdb::Result<Step> {
        for (index, tier) in TIERS.iter().enumerate() {
            let age = i64::try_from(self.retention.of_tier(index).as_micros()).unwrap_or(i64::MAX);
            let cutoff = micros(now).saturating_sub(age);
            let done = match TIERS.get(index + 1) {
                Some(next) => self.merge_oldest(connection, *tier, *next, cutoff)?,
                None => delete_oldest(connection, *tier, cutoff)?,
            };
            if done == Step::Worked {
                return Ok(Step::Worked);
            }
        }
        Ok(Step::Idle)
    }

    /// Adapts the next step to what the last one took.
    pub(crate) fn took(&mut self, elapsed: Duration) {
        if elapsed > STEP_LIMIT {
            self.span_seconds = (self.span_seconds / 2).max(FIRST_SPAN_SECONDS);
        } else if elapsed < STEP_LIMIT / 4 {
            self.span_seconds = (self.span_seconds * 2).min(MAX_SPAN_SECONDS);
        }
        self.span_seconds -= self.span_seconds % FIRST_SPAN_SECONDS;
    }

    fn merge_oldest(
        &self,
        connection: &mut Connection,
        tier: Tier,
        next: Tier,
        cutoff: i64,
    ) -> duckdb::Result<Step> {
        let Some(oldest) = oldest(connection, tier)? else {
            return Ok(Step::Idle);
        };
        let width = i64::try_from(next.width_seconds).expect("widths are small") * US;
        // Whole windows of the next tier only: none of them is made twice.
        let first = oldest - oldest.rem_euclid(width);
        let last = cutoff - cutoff.rem_euclid(width);
        let end = last.min(first.saturating_add(self.span_seconds * US));
        if end <= first {
            return Ok(Step::Idle);
        }
        let transaction = connection.transaction()?;
        let merged = merge(&transaction, tier, width, first, end)?;
        let mut rows = Rows::default();
        for (key, figures) in &merged {
            rows.push_row(key, figures);
        }
        {
            let mut appender = transaction.appender(next.table)?;
            appender.append_record_batch(rows.finish())?;
            appender.flush()?;
        }
        delete(&transaction, tier, end)?;
        transaction.commit()?;
        Ok(Step::Worked)
    }
}

fn oldest(connection: &Connection, tier: Tier) -> duckdb::Result<Option<i64>> {
    let sql = format!("SELECT epoch_us(min(start)) FROM {}", tier.table);
    connection.query_row(&sql, [], |row| row.get(0))
}

fn delete(connection: &Connection, tier: Tier, before: i64) -> duckdb::Result<usize> {
    let sql = format!("DELETE FROM {} WHERE start < make_timestamp(?)", tier.table);
    connection.execute(&sql, [before])
}

fn delete_oldest(connection: &mut Connection, tier: Tier, cutoff: i64) -> duckdb::Result<Step> {
    match oldest(connection, tier)? {
        Some(oldest) if oldest < cutoff => {
            // An hour at a time bounds the step after a long pause.
            let end = cutoff.min(oldest.saturating_add(MAX_SPAN_SECONDS * US));
            delete(connection, tier, end)?;
            Ok(Step::Worked)
        }
        _ => Ok(Step::Idle),
    }
}

/// Merges what a tier has from `first` to before `end` into windows of
/// `width`, in the order in which it is read again: by service and route.
fn merge(
    connection: &Connection,
    tier: Tier,
    width: i64,
    first: i64,
    end: i64,
) -> duckdb::Result<BTreeMap<RowKey, Figures>> {
    let sql = format!(
        "SELECT epoch_us(start), {} FROM {} \
         WHERE start >= make_timestamp(?) AND start < make_timestamp(?)",
        COLUMNS[1..].join(", "),
        tier.table
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([first, end])?;
    let mut merged = BTreeMap::new();
    let mut names = Names::default();
    while let Some(row) = rows.next()? {
        let start: i64 = row.get(0)?;
        let mut text = |column: usize| -> duckdb::Result<Arc<str>> {
            Ok(names.share(&row.get::<_, String>(column)?))
        };
        let key = RowKey {
            service: text(1)?,
            container: text(2)?,
            route: text(3)?,
            method: match row.get::<_, Option<String>>(4)? {
                Some(_) => Some(text(4)?),
                None => None,
            },
            status: row.get(5)?,
            outcome: text(6)?,
            start_us: start - start.rem_euclid(width),
        };
        let figures = Figures {
            n_requests: row.get(7)?,
            n_errors: row.get(8)?,
            n_incomplete: row.get(9)?,
            duration_sum_ns: row.get(10)?,
            duration_max_ns: row.get(11)?,
            request_body_bytes: row.get(12)?,
            response_body_bytes: row.get(13)?,
            duration: histogram(row, 14)?.unwrap_or_default(),
            time_to_first_byte: histogram(row, 15)?.unwrap_or_default(),
            detail: detail(row)?,
        };
        merged
            .entry(key)
            .or_insert_with(Figures::default)
            .merge(&figures);
    }
    Ok(merged)
}

fn histogram(row: &Row<'_>, column: usize) -> duckdb::Result<Option<DurationHistogram>> {
    let Some(bytes) = row.get::<_, Option<Vec<u8>>>(column)? else {
        return Ok(None);
    };
    let decoded = DurationHistogram::decode(&bytes).map_err(|error| {
        let kind = duckdb::types::Type::Blob;
        duckdb::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })?;
    Ok(Some(decoded))
}

/// What is kept beside durations; `None` in a row that has nothing of it.
fn detail(row: &Row<'_>) -> duckdb::Result<Option<Box<Detail>>> {
    let mut detail = Detail::default();
    for (column, measure) in (16..).zip(Measure::ALL) {
        if let Some(times) = histogram(row, column)? {
            detail.measures[measure] = times;
        }
    }
    let count = |column: usize| row.get::<_, Option<u64>>(column);
    detail.streams.n_chunks = count(24)?.unwrap_or_default();
    detail.streams.n_stalls = count(25)?.unwrap_or_default();
    detail.tokens = TokenSums {
        input: count(26)?,
        output: count(27)?,
    };
    Ok((detail != Detail::default()).then(|| Box::new(detail)))
}

/// Spells each name once.
#[derive(Default)]
struct Names(std::collections::HashSet<Arc<str>>);

impl Names {
    fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use modeltap_core::record::{Method, Outcome};
    use modeltap_core::rollup::{Rollup, SeriesKey};

    use super::*;
    use crate::schema::migrate;

    const EPOCH: u64 = 1_700_000_040;
    const HOUR: u64 = 3_600;

    fn retention() -> Retention {
        Retention {
            seconds: Duration::from_secs(HOUR),
            ten_seconds: Duration::from_secs(2 * HOUR),
            minutes: Duration::from_secs(4 * HOUR),
        }
    }

    fn filled(seconds: u64) -> (Connection, Figures) {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let mut all = Figures::default();
        let mut rows = Rows::default();
        for second in 0..seconds {
            for (route, status) in [("/a", Some(200)), ("/a", Some(500)), ("/b", None)] {
                let mut figures = Figures {
                    n_requests: 2,
                    n_errors: 1,
                    ..Figures::default()
                };
                for n in 1..3 {
                    let duration = Duration::from_micros((second * 7_919 + n) % 60_000_017);
                    figures.duration.record(duration);
                    figures.duration_sum_ns += duration.as_nanos() as u64;
                    figures.duration_max_ns =
                        figures.duration_max_ns.max(duration.as_nanos() as u64);
                    // Rows with and without each of the later columns.
                    if route == "/a" {
                        let detail = figures.detail.get_or_insert_default();
                        detail.measures[Measure::Felt].record(duration * 2);
                        detail.measures[Measure::ChunkInterval].record(duration / 3);
                        detail.streams.n_chunks += second % 3;
                        detail.streams.n_stalls += second % 2;
                        detail.tokens.output = (second % 5 == 0).then_some(second);
                    }
                }
                all.merge(&figures);
                rows.push_rollup(&Rollup {
                    key: SeriesKey {
                        service: "api".into(),
                        container: "api-1".into(),
                        method: status.map(|_| Method::Get),
                        route: route.into(),
                        status,
                        outcome: Outcome::Complete,
                    },
                    start: UnixNs((EPOCH + second) * 1_000_000_000),
                    width: Duration::from_secs(1),
                    figures,
                });
            }
        }
        let mut appender = connection.appender("rollups_new").unwrap();
        appender.append_record_batch(rows.finish()).unwrap();
        appender.flush().unwrap();
        drop(appender);
        (connection, all)
    }

    fn age(connection: &mut Connection, after: u64) -> u32 {
        let mut aging = Aging::new(retention());
        let now = UnixNs((EPOCH + after) * 1_000_000_000);
        let mut n_steps = 0;
        while aging.step(connection, now).unwrap() == Step::Worked {
            aging.took(Duration::ZERO);
            n_steps += 1;
            assert!(n_steps < 1_000, "aging comes to an end");
        }
        n_steps
    }

    fn count(connection: &Connection, table: &str) -> u64 {
        connection
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap()
    }

    fn all_of(connection: &Connection) -> Figures {
        let mut all = Figures::default();
        for tier in TIERS {
            for figures in merge(connection, tier, 1, 0, i64::MAX / 4)
                .unwrap()
                .values()
            {
                all.merge(figures);
            }
        }
        all
    }

    #[test]
    fn merging_keeps_every_count_and_every_bucket() {
        let (mut connection, all) = filled(3 * HOUR);
        assert_eq!(age(&mut connection, 0), 0, "nothing is old");
        assert!(age(&mut connection, 3 * HOUR) > 0);
        assert_eq!(count(&connection, "rollups_new"), NEW.as_secs() * 3);
        assert_eq!(count(&connection, "rollups_1s"), (HOUR - NEW.as_secs()) * 3);
        assert_eq!(count(&connection, "rollups_10s"), HOUR / 10 * 3);
        assert_eq!(count(&connection, "rollups_60s"), HOUR / 60 * 3);
        assert_eq!(all_of(&connection), all);
        assert_eq!(age(&mut connection, 3 * HOUR), 0, "it is done");
    }

    #[test]
    fn windows_of_the_next_tier_are_whole_whenever_the_step_comes() {
        let (mut connection, all) = filled(HOUR);
        for after in (HOUR..2 * HOUR + 30).step_by(17) {
            age(&mut connection, after);
            let sql = "SELECT count(*) FROM (SELECT start, route, status FROM rollups_10s \
                       GROUP BY ALL HAVING count(*) > 1)";
            let twice: u64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
            assert_eq!(twice, 0, "after {after}");
        }
        assert_eq!(count(&connection, "rollups_10s"), HOUR / 10 * 3);
        assert_eq!(all_of(&connection), all);
    }

    #[test]
    fn the_oldest_are_deleted_after_a_long_pause() {
        let (mut connection, _) = filled(HOUR);
        age(&mut connection, 30 * HOUR);
        assert!(TIERS.iter().all(|tier| count(&connection, tier.table) == 0));
    }
}
