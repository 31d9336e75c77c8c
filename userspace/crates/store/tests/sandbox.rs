//! SQL of the user's: what it may, what it may not, and what it costs.

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use modeltap_store::{MAX_SQL_ROWS, QueryError, Reader, SqlValue, Writer};
use support::{open, rollup};

const MS: Duration = Duration::from_millis(1);

fn filled(directory: &Path) -> (Writer, Reader) {
    let (writer, reader) = open(&directory.join("modeltap.duckdb"));
    for second in 0..20 {
        let rollups: Vec<_> = (0..50)
            .map(|n| rollup("api", &format!("/{n}"), 200, second, &[MS * (n + 1); 3]))
            .collect();
        writer.append(rollups);
    }
    writer.flush();
    (writer, reader)
}

#[test]
fn select_over_history_is_answered_with_types() {
    let directory = tempfile::tempdir().unwrap();
    let (_writer, reader) = filled(directory.path());
    let sql = "-- what the page cannot ask\n\
               WITH busy AS (SELECT service, route, sum(n_requests) AS n, max(start) AS last \
               FROM rollups GROUP BY ALL) \
               SELECT service, route, n, last, n / 7.0 AS share, n > 3 AS much, NULL AS nothing, \
               '\\x00\\xff'::BLOB AS bytes, [1, 2] AS list FROM busy ORDER BY route LIMIT 2; ";
    let answer = reader.sql(sql).unwrap();
    let columns: Vec<_> = answer
        .columns
        .iter()
        .map(|(name, kind)| (name.as_str(), kind.as_str()))
        .collect();
    assert_eq!(columns[..2], [("service", "VARCHAR"), ("route", "VARCHAR")]);
    assert_eq!(columns[2..4], [("n", "HUGEINT"), ("last", "TIMESTAMP")]);
    assert_eq!(answer.rows.len(), 2);
    assert_eq!(
        answer.rows[0][1..3],
        [SqlValue::Text("/0".into()), SqlValue::Integer(60)]
    );
    assert_eq!(
        answer.rows[0][3],
        SqlValue::Text("2023-11-14T22:13:19Z".into())
    );
    assert!(matches!(answer.rows[0][4], SqlValue::Float(n) if (n - 60.0 / 7.0).abs() < 1e-9));
    assert_eq!(answer.rows[0][5..7], [SqlValue::Bool(true), SqlValue::Null]);
    assert_eq!(answer.rows[0][7], SqlValue::Text("00ff".into()));
    assert_eq!(answer.rows[0][8], SqlValue::Text("[1, 2]".into()));
    for sql in [
        "FROM requests",
        "SELECT * FROM range(10)",
        "VALUES (1), (2)",
        "SHOW TABLES",
        "DESCRIBE rollups",
        "SUMMARIZE exemplars",
        "SELECT * FROM information_schema.tables",
        "SELECT count(*) OVER () FROM events",
        "SELECT quantile_cont(duration_ns, 0.5) FROM exemplars",
        "SELECT time_bucket(INTERVAL 1 MINUTE, start) t, sum(n_requests) FROM requests GROUP BY t",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 9) FROM r",
        "SELECT unnest([1, 2]), random() FROM resources",
    ] {
        assert!(reader.sql(sql).is_ok(), "{sql}: {:?}", reader.sql(sql));
    }
}

/// Statements that must not be answered.
const HOSTILE: &[&str] = &[
    // To write.
    "INSERT INTO events VALUES (now(), 'x', NULL, NULL, '')",
    "UPDATE events SET detail = ''",
    "DELETE FROM rollups_1s",
    "TRUNCATE rollups_1s",
    "DROP TABLE events",
    "DROP VIEW rollups",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE MACRO m() AS 1",
    "CREATE SEQUENCE s",
    "CREATE TYPE t AS ENUM ('a')",
    "CREATE SECRET s (TYPE s3)",
    "ALTER TABLE events ADD COLUMN x INTEGER",
    "COMMENT ON TABLE events IS 'mine'",
    "WITH d AS (DELETE FROM events RETURNING *) SELECT * FROM d",
    "MERGE INTO events USING (SELECT 1) AS s ON false WHEN NOT MATCHED THEN INSERT DEFAULT VALUES",
    // To reach files and the network.
    "ATTACH '/tmp/x.duckdb'",
    "DETACH modeltap",
    "COPY rollups TO '/tmp/stolen.csv'",
    "COPY (SELECT 1) TO 'stolen.parquet'",
    "COPY events FROM '/etc/passwd'",
    "COPY FROM DATABASE modeltap TO memory",
    "EXPORT DATABASE '/tmp/stolen'",
    "IMPORT DATABASE '/tmp/stolen'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "UPDATE EXTENSIONS",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM READ_CSV_AUTO('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('modeltap.duckdb')",
    "SELECT * FROM \"read_blob\"('/proc/self/environ')",
    "SELECT * FROM main.read_text('/etc/passwd')",
    "SELECT * FROM system.main.read_text('/etc/passwd')",
    "SELECT * FROM read_json('/etc/hosts')",
    "SELECT * FROM read_parquet('x.parquet')",
    "SELECT * FROM parquet_metadata('x.parquet')",
    "SELECT * FROM read_duckdb('modeltap.duckdb')",
    "SELECT * FROM glob('*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "FROM 'modeltap.duckdb'",
    "FROM \"x.csv\"",
    "WITH \"/etc/hosts.csv\" AS (SELECT 1) SELECT * FROM '/etc/hosts.csv'",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM events WHERE EXISTS (FROM read_text('/etc/passwd'))",
    "WITH t AS (FROM read_text('/etc/passwd')) SELECT * FROM t",
    "SELECT 1 UNION ALL SELECT size FROM read_blob('/etc/passwd')",
    "SELECT * FROM range((SELECT count(*) FROM glob('/etc/*')))",
    "SELECT * FROM events, LATERAL (SELECT * FROM read_text(detail))",
    "SELECT 1 ORDER BY (SELECT count(*) FROM glob('*'))",
    "SELECT list_transform([1], x -> (SELECT count(*) FROM glob('*')))",
    "DESCRIBE SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM arrow_scan(1::POINTER, 2::POINTER, 3::POINTER)",
    // To go around the parser.
    "SELECT 1; DROP TABLE events",
    "SELECT 1; SELECT 2",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('events')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE SELECT 1",
    "PIVOT events ON kind",
    "SELECT $1",
    "",
    ";",
    "SELECT",
    "SELECT 1)",
    "SELECT 1) TO 'x'; --",
    "\0",
    // To change or learn of the daemon.
    "SET memory_limit = '100GB'",
    "SET GLOBAL threads = 64",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "SET VARIABLE x = 1",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "USE memory",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_settings",
    "SELECT * FROM duckdb_databases",
    "SELECT * FROM pg_catalog.pg_settings",
    "SELECT * FROM system.information_schema.tables",
    "SELECT * FROM duckdb_temporary_files()",
    "SELECT * FROM force_checkpoint()",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM enable_logging()",
    "SELECT getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    "SELECT getvariable('x')",
    "SELECT nextval('s')",
    "SELECT setseed(0.5)",
    "SELECT sleep_ms(60000)",
    "SELECT main.sleep_ms(60000)",
    "SELECT write_log('x')",
    "SELECT repeat('x', 1000000000)",
    "SELECT x.repeat(100000000) FROM (SELECT 'x' AS x)",
    "SELECT lpad('x', 1000000000, 'y')",
    "SELECT range(1000000000)",
];

#[test]
fn hostile_statements_are_refused_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = filled(directory.path());
    let files = || {
        let entries = fs::read_dir(directory.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        // The log comes and goes with the writer's own checkpoints.
        names.retain(|name| !name.to_string_lossy().ends_with(".wal"));
        names.sort();
        names
    };
    let before = files();
    assert!(HOSTILE.len() >= 40);
    for sql in HOSTILE {
        let began = Instant::now();
        let result = reader.sql(sql);
        assert!(
            matches!(result, Err(QueryError::Invalid(_))),
            "{sql}: {result:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(2), "{sql}");
    }
    let nested = [
        format!("SELECT {}1{}", "(".repeat(8_000), ")".repeat(8_000)),
        format!("SELECT {}1", "- ".repeat(8_000)),
        format!("SELECT {}true", "NOT ".repeat(4_000)),
        format!("SELECT {}1", "1+".repeat(8_000)),
        format!("SELECT {}1{}", "[".repeat(8_000), "]".repeat(8_000)),
        format!("SELECT {}1{}", "(SELECT ".repeat(1_700), ")".repeat(1_700)),
        format!("SELECT '{}'", "x".repeat(20_000)),
    ];
    for sql in nested {
        let begin: String = sql.chars().take(30).collect();
        match reader.sql(&sql) {
            Err(QueryError::Invalid(_)) => {}
            // Parentheses alone leave nothing behind.
            Ok(answer) => assert_eq!(answer.rows.len(), 1, "{begin}"),
            other => panic!("{begin}: {other:?}"),
        }
    }
    assert_eq!(files(), before);
    writer.append(vec![rollup("api", "/after", 200, 30, &[MS])]);
    writer.flush();
    assert_eq!(writer.stats().error, None);
    let answer = reader.sql("SELECT sum(n_requests) FROM rollups").unwrap();
    assert_eq!(answer.rows, [[SqlValue::Integer(20 * 50 * 3 + 1)]]);
}

#[test]
fn runaway_statements_are_stopped_while_writing_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = filled(directory.path());
    let runaway = [
        "SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c \
         WHERE a.range + b.range = c.range + 1",
        "SELECT * FROM range(100000000) a, range(100000000) b ORDER BY a.range * b.range",
        "SELECT list(a.range) FROM range(1000000000) a",
        "SELECT string_agg(a.range, ', ') FROM range(1000000000) a",
        "SELECT count(DISTINCT a.range * b.range) FROM range(1000000) a, range(1000000) b",
        "WITH RECURSIVE r AS (SELECT 'x' AS s UNION ALL SELECT s || s FROM r) \
         SELECT max(length(s)) FROM r",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
    ];
    for (n, sql) in (40..).zip(runaway) {
        let before = resident_mb();
        let began = Instant::now();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| reader.sql(sql));
            writer.append(vec![rollup("api", "/meanwhile", 200, n, &[MS])]);
            let result = asked.join().unwrap();
            assert!(
                matches!(result, Err(QueryError::TooSlow(_) | QueryError::TooLarge)),
                "{sql}: {result:?}"
            );
        });
        assert!(began.elapsed() < Duration::from_secs(7), "{sql}");
        let grown = resident_mb().saturating_sub(before);
        assert!(grown < 400, "{sql}: {grown} MB");
    }
    writer.flush();
    let answer = reader.sql("SELECT sum(n_requests) FROM rollups").unwrap();
    assert_eq!(answer.rows, [[SqlValue::Integer(20 * 50 * 3 + 7)]]);
}

#[test]
fn long_answers_are_cut_and_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let (_writer, reader) = filled(directory.path());
    let answer = reader.sql("SELECT range AS n FROM range(1000000)").unwrap();
    assert_eq!((answer.rows.len(), answer.truncated), (MAX_SQL_ROWS, true));
    assert_eq!(answer.rows[MAX_SQL_ROWS - 1], [SqlValue::Integer(9_999)]);
    let answer = reader.sql("SELECT range AS n FROM range(10000)").unwrap();
    assert_eq!((answer.rows.len(), answer.truncated), (MAX_SQL_ROWS, false));
    let wide = "SELECT string_agg(b.range, ',') FROM range(900) a, range(5000) b GROUP BY a.range";
    let answer = reader.sql(wide).unwrap();
    assert!(
        answer.truncated && answer.rows.len() < 900,
        "{}",
        answer.rows.len()
    );
}

fn resident_mb() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split(' ').nth(1).expect("the resident pages");
    pages.parse::<u64>().expect("a number") * 4096 / 1_000_000
}
