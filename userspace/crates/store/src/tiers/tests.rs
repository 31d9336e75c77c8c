//! Rows on their way to the minutes.

use modeltap_core::measure::Measure;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::resource::ResourceFigures;
use modeltap_core::rollup::{Figures, Rollup, SeriesKey};

use super::*;
use crate::merge;
use crate::records::{ResourceRow, resources};
use crate::rows::Rows;
use crate::schema::migrate;

/// A multiple of the longest block.
const EPOCH: u64 = 1_700_006_400;
const HOUR: u64 = 3_600;

fn retention() -> Retention {
    Retention {
        seconds: Duration::from_secs(HOUR),
        ten_seconds: Duration::from_secs(2 * HOUR),
        minutes: Duration::from_secs(12 * HOUR),
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
                figures.duration_max_ns = figures.duration_max_ns.max(duration.as_nanos() as u64);
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
    // A service's hour in one step.
    aging.n_rows = MAX_ROWS;
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
    let piece = Piece {
        service: "api".into(),
        last_service: "api".into(),
        first: 0,
        end: i64::MAX / 4,
    };
    for tier in TIERS {
        let merged = merge::rollups(connection, tier.table, &piece, 1).unwrap();
        merged.values().for_each(|figures| all.merge(figures));
    }
    all
}

#[test]
fn merging_keeps_every_count_and_every_bucket() {
    let (mut connection, all) = filled(3 * HOUR);
    assert_eq!(age(&mut connection, 0), 0, "nothing is old");
    assert!(age(&mut connection, 3 * HOUR) > 0);
    assert_eq!(count(&connection, "rollups_new"), 0);
    assert_eq!(count(&connection, "rollups_1s"), HOUR * 3);
    assert_eq!(count(&connection, "rollups_10s"), 2 * HOUR / 10 * 3);
    assert_eq!(all_of(&connection), all);
    assert_eq!(age(&mut connection, 3 * HOUR), 0, "it is done");
    assert!(age(&mut connection, 8 * HOUR) > 0);
    assert_eq!(count(&connection, "rollups_10s"), 0);
    assert_eq!(count(&connection, "rollups_60s"), 3 * HOUR / 60 * 3);
    assert_eq!(all_of(&connection), all);
}

#[test]
fn what_moved_on_lies_in_the_order_of_reading() {
    let (mut connection, _) = filled(2 * HOUR);
    age(&mut connection, 2 * HOUR);
    for (table, block) in [("rollups_1s", 600), ("rollups_10s", 3_600)] {
        let sql = format!(
            "SELECT count(*), count(*) FILTER (WHERE place < before) FROM (\
             SELECT place, lag(place) OVER (ORDER BY row) AS before FROM (\
             SELECT rowid AS row, (epoch(start)::BIGINT // {block}, service, route, status, \
             start) AS place FROM {table}))"
        );
        let found: (u64, u64) = connection
            .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert!(found.0 > 0 && found.1 == 0, "{table}: {found:?}");
    }
}

#[test]
fn resources_merge_with_the_levels_of_the_latest() {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection).unwrap();
    let seconds: Vec<ResourceFigures> = (0..HOUR)
        .map(|second| ResourceFigures {
            n_seconds: 1,
            cpu_ns: second,
            memory_max_bytes: second % 10,
            memory_limit_bytes: (second % 10 == 9).then_some(second),
            ..ResourceFigures::default()
        })
        .collect();
    let rows: Vec<ResourceRow<'_>> = (0..)
        .zip(&seconds)
        .map(|(second, figures)| ResourceRow {
            start_us: (EPOCH as i64 + second) * US,
            service: "api",
            container: "api-1",
            figures,
        })
        .collect();
    let mut appender = connection.appender("resources_1s").unwrap();
    appender.append_record_batch(resources(&rows)).unwrap();
    drop(appender);
    age(&mut connection, 2 * HOUR);
    let sql = "SELECT count(*), sum(n_seconds)::UBIGINT, sum(cpu_ns)::UBIGINT, \
               min(memory_max_bytes), min(memory_limit_bytes) FROM resources_10s";
    let found: (u64, u64, u64, u64, u64) = connection
        .query_row(sql, [], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        })
        .unwrap();
    let sum = HOUR * (HOUR - 1) / 2;
    assert_eq!(found, (HOUR / 10, HOUR, sum, 9, 9));
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
