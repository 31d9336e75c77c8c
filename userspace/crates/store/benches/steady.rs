//! What a day of steady traffic costs: disk by service and processor time.
//!
//! `cargo bench -p modeltap-store --bench steady -- SERVICES HOURS SECONDS REQUESTS COMMIT`
//!
//! Ten routes a service, each with one to two times that many requests in so
//! many seconds (REQUESTS 1 and SECONDS 10: 0.1 to 0.2 a second), everything
//! measured that can be; one container a service, COMMIT seconds in one
//! transaction. Time is simulated: rows move on as if
//! it had passed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use modeltap_core::history::Batch;
use modeltap_core::measure::Measure;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::resource::{ResourceFigures, ResourceRollup};
use modeltap_core::rollup::{Figures, Rollup, SeriesKey};
use modeltap_core::time::UnixNs;
use modeltap_store::{Store, StoreConfig, Writer};

/// A multiple of six hours.
const EPOCH: u64 = 1_700_006_400;
const ROUTES: usize = 10;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let mut number = |default| {
        arguments
            .next()
            .map_or(default, |word| word.parse().expect("a number"))
    };
    let (n_services, hours) = (number(10), number(24));
    let (every, n_requests, a_commit) = (number(10), number(1), number(1));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("modeltap.duckdb");
    let (writer, reader) = Store::open(StoreConfig::new(&path)).expect("the store opens");
    let services: Vec<Arc<str>> = (0..n_services)
        .map(|n| format!("service-{n:03}").into())
        .collect();
    let routes: Vec<Arc<str>> = (0..ROUTES)
        .map(|n| format!("/v1/route-{n}").into())
        .collect();
    writer.age(UnixNs(EPOCH * 1_000_000_000));
    let began = Instant::now();
    let mut batch = Batch::default();
    for second in 0..hours * 3_600 {
        let start = UnixNs((EPOCH + second) * 1_000_000_000);
        for (s, service) in services.iter().enumerate() {
            let container: Arc<str> = format!("{service}-1").into();
            for (r, route) in routes.iter().enumerate() {
                let seed = (second * n_services + s as u64) * ROUTES as u64 + r as u64;
                if !seed.is_multiple_of(every) {
                    continue;
                }
                batch.rollups.push(Rollup {
                    key: SeriesKey {
                        service: service.clone(),
                        container: container.clone(),
                        method: Some(Method::Post),
                        route: route.clone(),
                        status: Some(200),
                        outcome: Outcome::Complete,
                    },
                    start,
                    width: Duration::from_secs(1),
                    figures: figures(seed, n_requests),
                });
            }
            batch
                .resources
                .push(resources(service, &container, start, second));
        }
        if (second + 1) % a_commit == 0 {
            writer.append(std::mem::take(&mut batch));
            writer.flush();
        }
        if (second + 1) % 600 == 0 {
            writer.age(UnixNs(start.0 + 1_000_000_000));
        }
        if (second + 1) % 10_800 == 0 || second + 1 == hours * 3_600 {
            tell(&writer, &path, n_services, second + 1);
        }
    }
    println!("{:?} of wall time; {:?}", began.elapsed(), reader.stats());
    writer.close();
    drop(reader);
    tell_columns(&path, n_services);
}

/// Which columns take the room. A segment reaches to the next one of its
/// block, or to the block's end.
fn tell_columns(path: &Path, n_services: u64) {
    let connection = duckdb::Connection::open(path).expect("the file opens");
    let tables = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()";
    let mut statement = connection.prepare(tables).expect("a query");
    let names = statement.query_map([], |row| row.get::<_, String>(0));
    let segments: Vec<String> = names
        .expect("tables")
        .flatten()
        .map(|name| {
            format!(
                "SELECT '{name}' AS t, column_name AS c, count, compression, block_id, \
                 block_offset, len(additional_block_ids) AS more \
                 FROM pragma_storage_info('{name}') WHERE block_id >= 0"
            )
        })
        .collect();
    let sql = format!(
        "SELECT t, c, count(*), string_agg(DISTINCT compression, ' '), sum(size)::UBIGINT FROM ( \
         SELECT *, coalesce(lead(block_offset) OVER (PARTITION BY block_id ORDER BY block_offset), \
         262144) - block_offset + more * 262144 AS size FROM ({})) GROUP BY 1, 2 \
         HAVING sum(size) > 100000 ORDER BY 5 DESC LIMIT 40",
        segments.join(" UNION ALL ")
    );
    println!("| table | column | segments | compression | MB a service |\n|---|---|---|---|---|");
    let mut statement = connection.prepare(&sql).expect("a query");
    let mut rows = statement.query([]).expect("an answer");
    while let Some(row) = rows.next().expect("a row") {
        let name = |at| row.get::<_, String>(at).expect("a text");
        let number = |at| row.get::<_, u64>(at).expect("a number");
        println!(
            "| {} | {} | {} | {} | {:.3} |",
            name(0),
            name(1),
            number(2),
            name(3),
            number(4) as f64 / n_services as f64 / 1e6
        );
    }
}

fn tell(writer: &Writer, path: &Path, n_services: u64, seconds: u64) {
    let stats = writer.stats();
    let cpu = thread_cpu("store");
    let size = std::fs::metadata(path).expect("the file").len();
    println!(
        "{} h: {:.2} MB a service (file {:.1} MB, used {:.1} MB), writer {:.2} % of a core, {} rows",
        seconds as f64 / 3_600.0,
        stats.used_bytes as f64 / n_services as f64 / 1e6,
        size as f64 / 1e6,
        stats.used_bytes as f64 / 1e6,
        cpu.as_secs_f64() * 100.0 / seconds as f64,
        stats.written.total(),
    );
}

/// Processor time of the thread of that name.
fn thread_cpu(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let of_task = tasks.flatten().filter_map(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let schedstat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let ns = schedstat.split(' ').next()?.parse().ok()?;
        (comm.trim() == name).then_some(Duration::from_nanos(ns))
    });
    of_task.sum()
}

/// The window of one route: durations of some 50 ms with a long tail.
fn figures(seed: u64, n_requests: u64) -> Figures {
    let mut figures = Figures::default();
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..n_requests + seed % (n_requests + 1) {
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let normal = (0..6).map(|_| uniform()).sum::<f64>() - 3.0;
        let duration = Duration::from_secs_f64(0.05 * (normal * 0.5).exp());
        let ns = duration.as_nanos() as u64;
        figures.n_requests += 1;
        figures.duration_sum_ns += ns;
        figures.duration_max_ns = figures.duration_max_ns.max(ns);
        figures.request_body_bytes += 200 + (uniform() * 100.0) as u64;
        figures.response_body_bytes += 2_000 + (uniform() * 1_000.0) as u64;
        figures.duration.record(duration);
        figures.time_to_first_byte.record(duration.mul_f64(0.9));
        let detail = figures.detail.get_or_insert_default();
        detail.measures[Measure::Felt].record(duration.mul_f64(1.05));
        detail.measures[Measure::Queue].record(duration.mul_f64(0.02));
        detail.measures[Measure::Read].record(Duration::from_micros(20));
        detail.measures[Measure::App].record(duration.mul_f64(0.9));
        detail.measures[Measure::Stream].record(duration.mul_f64(0.1));
        detail.measures[Measure::Drain].record(Duration::ZERO);
    }
    figures
}

fn resources(
    service: &Arc<str>,
    container: &Arc<str>,
    start: UnixNs,
    second: u64,
) -> ResourceRollup {
    let level = 500_000_000 + second * 7_919 % 1_000 * 4_096;
    ResourceRollup {
        service: service.clone(),
        container: container.clone(),
        start,
        width: Duration::from_secs(1),
        figures: ResourceFigures {
            n_seconds: 1,
            cpu_ns: 300_000_000 + second * 104_729 % 100_003 * 1_000,
            cpu_limit_cores: Some(2.0),
            n_periods: Some(10),
            n_throttled: Some(0),
            throttled_ns: Some(0),
            memory_sum_bytes: level,
            memory_max_bytes: level,
            memory_limit_bytes: Some(1 << 30),
            n_oom_kills: Some(0),
            received_bytes: Some(10_000 + second % 1_009),
            sent_bytes: Some(100_000 + second % 10_007),
            read_bytes: Some(0),
            written_bytes: Some(second % 7 * 4_096),
            n_pids_max: Some(40),
            pressure_cpu_us: Some(second % 503),
            ..ResourceFigures::default()
        },
    }
}
