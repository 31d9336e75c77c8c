//! A day of 100 services with 10 routes each, asked while it is written on.
//!
//! `cargo bench -p modeltap-store --bench day -- SECONDS`
//!
//! Each question is asked for so many seconds (10), one after the other, its
//! range ending with what was written last; the table tells the times that
//! half and 95 of 100 repetitions took at most, and the processor time of half
//! of them, which other work on the machine does not lengthen. The database is made once, in
//! `target/`, and takes some 1.5 GB there. Goals: 60 ms for a service's
//! percentiles by minute, 100 ms for the overview.

mod made;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use modeltap_core::measure::Measure;
use modeltap_core::time::UnixNs;
use modeltap_store::{GroupBy, Metric, Query, Reader, Stat, Store, StoreConfig};

use crate::made::{DAY, EPOCH, N_SERVICES};

/// Seconds between two times that the store is told the time.
const TELL_EVERY: u64 = 10;
/// Seconds that are there before the first question: what is not in order yet.
const AHEAD: u64 = 540;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let seconds = arguments.next();
    let seconds = seconds.map_or(10, |word| word.parse().expect("a number of seconds"));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path().join("modeltap.duckdb");
    std::fs::copy(made::database(), &path).expect("the database is copied");
    let (writer, reader) = Store::open(StoreConfig::new(path)).expect("the database opens");
    for second in 0..AHEAD {
        writer.append(made::second(second));
        writer.flush();
    }
    writer.age(at(DAY + AHEAD));
    let is_over = AtomicBool::new(false);
    let written = AtomicU64::new(DAY + AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = Instant::now();
            for second in AHEAD.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                writer.append(made::second(second));
                written.store(DAY + second + 1, Ordering::Relaxed);
                if second % TELL_EVERY == 0 {
                    writer.age(at(DAY + second));
                }
                // The daemon keeps what a second has so far.
                for _ in 0..4 {
                    next += Duration::from_millis(250);
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    writer.keep(made::second(second + 1).into());
                }
            }
        });
        let (began, before) = (Instant::now(), ["store", "tail"].map(cpu_of));
        measure(&reader, &written, Duration::from_secs(seconds));
        let share = |(name, before): (&str, Duration)| {
            let used = (cpu_of(name) - before).as_secs_f64() / began.elapsed().as_secs_f64();
            println!("the thread {name:?} took {:.2} % of a core", used * 100.0);
        };
        ["store", "tail"].into_iter().zip(before).for_each(share);
        is_over.store(true, Ordering::Relaxed);
    });
    writer.close();
}

fn at(second: u64) -> UnixNs {
    UnixNs((EPOCH + second) * 1_000_000_000)
}

/// A question about the last `seconds`.
fn query(metric: Metric, stat: Stat, seconds: u64, step: u64, now: u64) -> Query {
    Query {
        metric,
        stat,
        service: Some("service-042".into()),
        container: None,
        route: None,
        method: None,
        status_class: None,
        by: None,
        from: at(now - seconds),
        to: at(now),
        step: Duration::from_secs(step),
    }
}

const P50: Stat = Stat::Quantile(0.5);
const P95: Stat = Stat::Quantile(0.95);
const P99: Stat = Stat::Quantile(0.99);

fn measure(reader: &Reader, written: &AtomicU64, limit: Duration) {
    let now = || written.load(Ordering::Relaxed);
    let ask = |query: &Query, more: &[(Metric, Stat)]| {
        reader.figures(query, more).expect("an answer");
    };
    println!("| question | p50 ms | p95 ms | p50 of processor ms | asked |\n|---|---|---|---|---|");
    let told = |name: &str, ask: &dyn Fn()| tell(name, limit, ask);
    told("p50, p95, p99 by minute, 24 h", &|| {
        let query = query(Metric::Duration, P50, DAY, 60, now());
        let more = [(Metric::Duration, P95), (Metric::Duration, P99)];
        let answers = reader.figures(&query, &more).expect("an answer");
        assert!(answers.iter().all(|answer| answer.n_steps >= 1_440));
    });
    told("p95 by minute, 24 h", &|| {
        ask(&query(Metric::Duration, P95, DAY, 60, now()), &[]);
    });
    told("rate by minute and status, 24 h", &|| {
        let query = Query {
            by: Some(GroupBy::StatusClass),
            ..query(Metric::Requests, Stat::Rate, DAY, 60, now())
        };
        ask(&query, &[]);
    });
    told("p95 by route, 24 h", &|| {
        let query = Query {
            by: Some(GroupBy::Route),
            ..query(Metric::Duration, P95, DAY, 600, now())
        };
        ask(&query, &[]);
    });
    for (range, seconds, step) in [("1 h", 3_600, 20), ("24 h", DAY, 600)] {
        told(&format!("heatmap, {range}"), &|| {
            let query = query(Metric::Duration, P95, seconds, step, now());
            reader.heatmap(&query).expect("an answer");
        });
        told(&format!("page of a service, {range}"), &|| {
            page(reader, seconds, step, now());
        });
        told(&format!("overview, {range}"), &|| {
            let services = reader.overview(at(now() - seconds), at(now()));
            assert_eq!(services.expect("an answer").len(), N_SERVICES as usize);
        });
    }
}

/// What the page asks of history for its charts.
fn page(reader: &Reader, seconds: u64, step: u64, now: u64) {
    let by_class = Query {
        by: Some(GroupBy::StatusClass),
        ..query(Metric::Requests, Stat::Count, seconds, step, now)
    };
    reader.query(&by_class).expect("an answer");
    let errors = query(Metric::Errors, Stat::Count, seconds, step, now);
    let of = Metric::Measure;
    let lines = [
        (Metric::Duration, P50),
        (Metric::Duration, P95),
        (Metric::Duration, P99),
        (of(Measure::Felt), P50),
        (of(Measure::Felt), P95),
        (of(Measure::Queue), Stat::Avg),
        (of(Measure::Read), Stat::Avg),
        (of(Measure::App), Stat::Avg),
        (of(Measure::Stream), Stat::Avg),
        (of(Measure::Drain), Stat::Avg),
        (of(Measure::FirstChunk), P95),
        (of(Measure::ChunkInterval), P95),
    ];
    reader.figures(&errors, &lines).expect("an answer");
}

/// Asks again and again, and tells how long it took.
fn tell(name: &str, limit: Duration, ask: &dyn Fn()) {
    let (mut times, mut cpu) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while began.elapsed() < limit || times.len() < 20 {
        let (asked, used) = (Instant::now(), thread_cpu());
        ask();
        times.push(asked.elapsed());
        cpu.push(thread_cpu() - used);
    }
    let at = |times: &mut Vec<Duration>, share: usize| {
        times.sort_unstable();
        times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3
    };
    println!(
        "| {name} | {:.1} | {:.1} | {:.1} | {} |",
        at(&mut times, 50),
        at(&mut times, 95),
        at(&mut cpu, 50),
        times.len()
    );
}

/// Processor time of the threads of that name.
fn cpu_of(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task")
        .expect("Linux")
        .flatten();
    let of_name = tasks.filter(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    });
    let told =
        of_name.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    told.map(|told| ran(&told)).sum()
}

/// Processor time of this thread.
fn thread_cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    ran(&told)
}

/// The time on a processor that a schedstat tells.
fn ran(told: &str) -> Duration {
    let ns = told.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.expect("a number"))
}
