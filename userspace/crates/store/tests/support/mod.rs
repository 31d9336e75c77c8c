//! Rollups for tests.
#![allow(dead_code, reason = "every test uses a part of it")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::record::{Method, Outcome};
use modeltap_core::rollup::{Figures, Rollup, SeriesKey};
use modeltap_core::time::UnixNs;
use modeltap_store::{Metric, Query, Reader, Retention, Stat, Store, StoreConfig, Writer};

/// 2023-11-14T22:10:00Z: a whole minute.
pub const EPOCH: u64 = 1_700_000_000 - 1_700_000_000 % 60;

pub fn at(second: u64) -> UnixNs {
    UnixNs((EPOCH + second) * 1_000_000_000)
}

pub fn rollup(
    service: &str,
    route: &str,
    status: u16,
    second: u64,
    durations: &[Duration],
) -> Rollup {
    let mut figures = Figures::default();
    for &duration in durations {
        let ns = duration.as_nanos() as u64;
        figures.n_requests += 1;
        figures.n_errors += u64::from(status >= 500);
        figures.duration_sum_ns += ns;
        figures.duration_max_ns = figures.duration_max_ns.max(ns);
        figures.response_body_bytes += 100;
        figures.duration.record(duration);
        figures.time_to_first_byte.record(duration / 2);
    }
    Rollup {
        key: SeriesKey {
            service: Arc::from(service),
            container: Arc::from(format!("{service}-1")),
            method: Some(Method::Post),
            route: Arc::from(route),
            status: Some(status),
            outcome: Outcome::Complete,
        },
        start: at(second),
        width: Duration::from_secs(1),
        figures,
    }
}

/// Keeps everything: the rollups of these tests are years old.
pub fn config(path: &Path) -> StoreConfig {
    let ages = Duration::from_secs(100 * 366 * 86_400);
    let retention = Retention {
        seconds: ages,
        ten_seconds: ages,
        minutes: ages,
    };
    StoreConfig {
        retention,
        ..StoreConfig::new(path)
    }
}

pub fn open(path: &Path) -> (Writer, Reader) {
    Store::open(config(path)).expect("the store opens")
}

pub fn query(metric: Metric, stat: Stat, seconds: std::ops::Range<u64>, step: u64) -> Query {
    Query {
        metric,
        stat,
        service: None,
        container: None,
        route: None,
        method: None,
        status_class: None,
        by: None,
        from: at(seconds.start),
        to: at(seconds.end),
        step: Duration::from_secs(step),
    }
}

/// Requests in the first day after the epoch.
pub fn n_requests(reader: &Reader) -> u64 {
    let all = query(Metric::Requests, Stat::Count, 0..86_400, 3_600);
    reader.query(&all).expect("a valid query").n_requests
}

/// Says where what is summed up by service differs from its rows, in a file
/// that nobody has open.
#[track_caller]
pub fn sums_agree(path: &Path) {
    let connection = duckdb::Connection::open(path).expect("the file opens");
    let n_differing = |sql: &str| -> u64 {
        let sql = format!("SELECT count(*) FROM ({sql})");
        connection
            .query_row(&sql, [], |row| row.get(0))
            .expect("a query")
    };
    let figures = "sum(n_requests) AS n, sum(n_errors) AS e, sum(n_incomplete) AS i, \
                   sum(duration_sum_ns) AS d, max(duration_max_ns) AS m, sum(n_chunks) AS c";
    let key = |width: &str| {
        format!(
            "time_bucket(INTERVAL '{width}', start) AS start, service, container, \
             status // 100 AS class, outcome"
        )
    };
    let minute = key("1 minute");
    let hour = key("1 hour");
    let minutes = "(FROM service_minutes UNION ALL FROM service_minutes_new)";
    let of_rows = format!(
        "SELECT {minute}, {figures} FROM rollups WHERE start < (SELECT until FROM summed) \
         GROUP BY ALL"
    );
    let of_sums = format!("SELECT {minute}, {figures} FROM {minutes} GROUP BY ALL");
    let of_minutes = format!("SELECT {hour}, {figures} FROM service_minutes GROUP BY ALL");
    let of_hours = format!("SELECT {hour}, {figures} FROM service_hours GROUP BY ALL");
    for (one, other) in [
        (&of_rows, &of_sums),
        (&of_sums, &of_rows),
        (&of_minutes, &of_hours),
        (&of_hours, &of_minutes),
    ] {
        let differing = n_differing(&format!("({one}) EXCEPT ({other})"));
        assert_eq!(differing, 0, "{one} is not {other}");
    }
}
