//! A day of steady traffic, as the tiers would hold it.

use std::path::PathBuf;
use std::time::Duration;

use duckdb::{Connection, params};
use modeltap_core::record::{Method, Outcome};
use modeltap_core::rollup::{Figures, Rollup, SeriesKey};
use modeltap_core::time::UnixNs;
use modeltap_store::{SCHEMA_VERSION, Store, StoreConfig};

/// 2023-11-14T00:00:00Z.
pub const EPOCH: u64 = 1_699_920_000;
pub const DAY: u64 = 86_400;
pub const N_SERVICES: u32 = 100;
const N_ROUTES: u32 = 10;
/// Windows of a second at the end of the day, as by default.
const SECONDS: u64 = 6 * 3_600;
/// Different histograms to draw from.
const POOL: u32 = 4_096;

/// The database, made unless it is there.
pub fn database() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = directory.join(format!("day-{SCHEMA_VERSION}.duckdb"));
    if path.exists() {
        return path;
    }
    let making = directory.join("making.duckdb");
    for left in [making.clone(), making.with_extension("duckdb.wal")] {
        // Of a run that was cut off; mostly there is nothing.
        let _absent = std::fs::remove_file(left);
    }
    let (writer, reader) = Store::open(StoreConfig::new(&making)).expect("a new database");
    writer.close();
    drop(reader);
    let connection = Connection::open(&making).expect("the database opens");
    fill(&connection).expect("rows are written");
    drop(connection);
    // Sums and order are the writer's.
    let (writer, reader) = Store::open(StoreConfig::new(&making)).expect("the database opens");
    writer.age(UnixNs((EPOCH + DAY) * 1_000_000_000));
    writer.close();
    drop(reader);
    std::fs::rename(&making, &path).expect("the database is kept");
    path
}

/// Every route has a request in every other second: a row each in windows of
/// one second, rows of five requests in windows of ten.
fn fill(connection: &Connection) -> duckdb::Result<()> {
    connection.execute_batch(
        "SET memory_limit = '1GB'; SET preserve_insertion_order = true;
         CREATE TEMP TABLE pool (id INTEGER, n INTEGER, sum UBIGINT, max UBIGINT, h BLOB)",
    )?;
    let mut draw = Draw(7);
    {
        let mut pool = connection.appender("pool")?;
        for n in [1_u64, 5] {
            for id in 0..POOL {
                let figures = draw.figures(n);
                let (sum, max) = (figures.duration_sum_ns, figures.duration_max_ns);
                pool.append_row(params![id, n, sum, max, figures.duration.encode()])?;
            }
        }
    }
    let parts = [
        ("rollups_10s", 0, DAY - SECONDS, 10, 5, 1),
        ("rollups_1s", DAY - SECONDS, DAY, 1, 1, 2),
    ];
    for (table, first, end, width, n, every) in parts {
        for chunk in (first..end).step_by(600) {
            let sql = format!(
                "INSERT INTO {table} BY NAME SELECT make_timestamp(({EPOCH} + t) * 1000000) AS start,
                 printf('service-%03d', s) AS service, printf('service-%03d-1', s) AS container,
                 '/route/' || r AS route, 'POST' AS method,
                 CASE WHEN k % 100 = 0 THEN 500 ELSE 200 END AS status, 'complete' AS outcome,
                 n AS n_requests, CASE WHEN k % 100 = 0 THEN n ELSE 0 END AS n_errors,
                 0 AS n_incomplete, sum AS duration_sum_ns, max AS duration_max_ns,
                 100 AS request_body_bytes, 100 AS response_body_bytes, h AS duration, h AS ttfb,
                 h AS felt FROM (SELECT t, s, r, hash(t, s, r) AS k
                   FROM range({chunk}, {}, {width}) a(t), range({N_SERVICES}) b(s),
                   range({N_ROUTES}) c(r) WHERE (t + s + r) % {every} = 0)
                 JOIN pool ON id = (k % {POOL})::INTEGER AND n = {n} ORDER BY s, r, t",
                chunk + 600
            );
            connection.execute_batch(&sql)?;
        }
    }
    connection.execute_batch("CHECKPOINT")
}

/// What a second brings after the day.
pub fn second(second: u64) -> Vec<Rollup> {
    let mut draw = Draw(second);
    let series = (0..N_SERVICES).flat_map(|service| (0..N_ROUTES).map(move |n| (service, n)));
    let busy = series.filter(|(service, n)| (second + u64::from(service + n)).is_multiple_of(2));
    busy.map(|(service, n)| Rollup {
        key: SeriesKey {
            service: format!("service-{service:03}").into(),
            container: format!("service-{service:03}-1").into(),
            method: Some(Method::Post),
            route: format!("/route/{n}").into(),
            status: Some(200),
            outcome: Outcome::Complete,
        },
        start: UnixNs((EPOCH + DAY + second) * 1_000_000_000),
        width: Duration::from_secs(1),
        figures: draw.figures(1),
    })
    .collect()
}

/// Durations around 60 ms, with a long tail.
struct Draw(u64);

impl Draw {
    fn figures(&mut self, n: u64) -> Figures {
        let mut figures = Figures::default();
        for _ in 0..n {
            let normal = (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0;
            let duration = Duration::from_secs_f64(0.06 * (0.5 * normal).exp());
            let ns = duration.as_nanos() as u64;
            figures.n_requests += 1;
            figures.duration_sum_ns += ns;
            figures.duration_max_ns = figures.duration_max_ns.max(ns);
            figures.duration.record(duration);
            figures.time_to_first_byte.record(duration);
        }
        figures
    }

    fn uniform(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
