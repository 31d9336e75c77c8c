//! Tables, their version, and the connections to them.

use std::path::Path;

use duckdb::{AccessMode, Config, Connection};
use thiserror::Error;

use crate::open::directory_of;

/// A table of rollups of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tier {
    /// The table's name.
    pub(crate) table: &'static str,
    /// Length of its windows, in seconds.
    pub(crate) width_seconds: u64,
}

/// Tiers of rollups from the newest to the oldest. A request is in one row of
/// one tier: what moves to the next is deleted in the same transaction. The
/// first is in the order of time, the others in the order of reading.
pub(crate) const TIERS: [Tier; 4] = [
    Tier {
        table: "rollups_new",
        width_seconds: 1,
    },
    Tier {
        table: "rollups_1s",
        width_seconds: 1,
    },
    Tier {
        table: "rollups_10s",
        width_seconds: 10,
    },
    Tier {
        table: "rollups_60s",
        width_seconds: 60,
    },
];

/// Requests summed up by service, which are in [`TIERS`] too: what is new,
/// closed hours by minutes, and the same by hours.
pub(crate) const SUMS: [Tier; 3] = [
    Tier {
        table: "service_minutes_new",
        width_seconds: 60,
    },
    Tier {
        table: "service_minutes",
        width_seconds: 60,
    },
    Tier {
        table: "service_hours",
        width_seconds: 3_600,
    },
];

/// Tiers of what containers used, as [`TIERS`].
pub(crate) const RESOURCE_TIERS: [Tier; 3] = [
    Tier {
        table: "resources_1s",
        width_seconds: 1,
    },
    Tier {
        table: "resources_10s",
        width_seconds: 10,
    },
    Tier {
        table: "resources_60s",
        width_seconds: 60,
    },
];

/// Tables that batches are appended to.
pub(crate) const APPENDED: [&str; 8] = [
    TIERS[0].table,
    TIERS[2].table,
    TIERS[3].table,
    RESOURCE_TIERS[0].table,
    RESOURCE_TIERS[1].table,
    RESOURCE_TIERS[2].table,
    "exemplars",
    "events",
];

/// The columns of a tier of rollups and of the sums of them, in order.
pub(crate) const COLUMNS: [&str; 28] = [
    "start",
    "service",
    "container",
    "route",
    "method",
    "status",
    "outcome",
    "n_requests",
    "n_errors",
    "n_incomplete",
    "duration_sum_ns",
    "duration_max_ns",
    "request_body_bytes",
    "response_body_bytes",
    "duration",
    "ttfb",
    "felt",
    "queue",
    "read",
    "app",
    "stream",
    "drain",
    "first_chunk",
    "chunk_interval",
    "n_chunks",
    "n_stalls",
    "input_tokens",
    "output_tokens",
];

/// The columns of a tier of resources, in order.
pub(crate) const RESOURCE_COLUMNS: [&str; 24] = [
    "start",
    "service",
    "container",
    "n_seconds",
    "cpu_ns",
    "cpu_limit_cores",
    "n_periods",
    "n_throttled",
    "throttled_ns",
    "memory_sum_bytes",
    "memory_max_bytes",
    "memory_limit_bytes",
    "n_oom_kills",
    "received_bytes",
    "sent_bytes",
    "read_bytes",
    "written_bytes",
    "n_pids_max",
    "pressure_cpu_us",
    "pressure_memory_us",
    "pressure_io_us",
    "gpu_utilization_sum",
    "gpu_memory_max_bytes",
    "gpu_memory_total_bytes",
];

/// The columns of the table of single requests, in order.
pub(crate) const EXEMPLAR_COLUMNS: [&str; 25] = [
    "finished",
    "started",
    "reason",
    "service",
    "container",
    "route",
    "method",
    "status",
    "outcome",
    "completeness",
    "streamed",
    "duration_ns",
    "ttfb_ns",
    "felt_ns",
    "queue_ns",
    "read_ns",
    "app_ns",
    "stream_ns",
    "drain_ns",
    "first_chunk_ns",
    "n_chunks",
    "request_body_bytes",
    "response_body_bytes",
    "peer",
    "local_port",
];

/// The columns of the table of events, in order.
pub(crate) const EVENT_COLUMNS: [&str; 5] = ["happened", "kind", "service", "container", "detail"];

/// Log beyond which DuckDB writes a checkpoint: far below the memory limit,
/// because a log that does not fit cannot be read again at the next start.
const CHECKPOINT_THRESHOLD: &str = "24MiB";

/// Most that a query may put on the disk while it runs.
const MAX_TEMPORARY: &str = "256MiB";

/// Each brings the schema from its index to the next version.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
];

/// The schema version this program writes.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Why a database that opens cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SchemaError {
    /// Written by a later program.
    #[error("its schema has version {0:?}")]
    Newer(u32),
    /// A DuckDB database of somebody else's.
    #[error("it holds other tables")]
    Foreign,
    /// DuckDB refuses.
    #[error(transparent)]
    Database(#[from] duckdb::Error),
}

/// Opens the file, which is made if there is none.
pub(crate) fn connect(
    path: &Path,
    memory_limit_bytes: u64,
    threads: u32,
) -> duckdb::Result<Connection> {
    let config = Config::default()
        .access_mode(AccessMode::ReadWrite)?
        .max_memory(&format!("{}KiB", memory_limit_bytes / 1024))?
        .threads(i64::from(threads.max(1)))?
        .enable_autoload_extension(false)?
        .with("allow_community_extensions", "false")?
        .with("checkpoint_threshold", CHECKPOINT_THRESHOLD)?
        .with("max_temp_directory_size", MAX_TEMPORARY)?;
    let connection = Connection::open_with_flags(path, config)?;
    // Checkpoints are asked for: a database that is closed because its disk
    // failed has to stay as it is there.
    connection.execute_batch("PRAGMA disable_checkpoint_on_shutdown")?;
    if let Some(directory) = directory_of(path).to_str() {
        // Whatever SQL it is given, it reaches no other file and no network.
        // What it may reach has to be said before the rest is forbidden.
        connection.execute_batch(&format!(
            "SET allowed_directories = ['{}']; SET enable_external_access = false; \
             SET lock_configuration = true",
            directory.replace('\'', "''")
        ))?;
    }
    Ok(connection)
}

/// The version of the schema in a database; zero where there is nothing yet.
pub(crate) fn version(connection: &Connection) -> Result<u32, SchemaError> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let ours = count(
        "SELECT count(*) FROM duckdb_tables() \
         WHERE database_name = current_database() AND table_name = 'modeltap_schema'",
    )?;
    if ours == 0 {
        let others =
            count("SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database()")?;
        return if others == 0 {
            Ok(0)
        } else {
            Err(SchemaError::Foreign)
        };
    }
    let version = connection.query_row(
        "SELECT coalesce(max(version), 0) FROM modeltap_schema",
        [],
        |row| row.get(0),
    )?;
    if version > SCHEMA_VERSION {
        Err(SchemaError::Newer(version))
    } else {
        Ok(version)
    }
}

/// Brings the schema to [`SCHEMA_VERSION`], each step whole or not at all.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), SchemaError> {
    let from = version(connection)?;
    for (step, sql) in (0_u32..).zip(MIGRATIONS).skip(from as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.execute(
            "INSERT INTO modeltap_schema VALUES (?, now() AT TIME ZONE 'UTC')",
            [step + 1],
        )?;
        transaction.commit()?;
    }
    if from > 0 && from < SCHEMA_VERSION {
        // The log then holds rows of one schema only.
        connection.execute_batch("CHECKPOINT")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use modeltap_core::measure::Measure;

    use super::*;

    #[test]
    fn tables_have_the_columns_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let check = |table: &str, expected: &[&str]| {
            let names: Vec<String> = connection
                .prepare(
                    "SELECT column_name FROM duckdb_columns() WHERE table_name = ? \
                     ORDER BY column_index",
                )
                .unwrap()
                .query_map([table], |row| row.get(0))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(names, expected, "{table}");
        };
        for tier in TIERS.iter().chain(&SUMS) {
            check(tier.table, &COLUMNS);
        }
        for tier in RESOURCE_TIERS {
            check(tier.table, &RESOURCE_COLUMNS);
        }
        check("exemplars", &EXEMPLAR_COLUMNS);
        check("events", &EVENT_COLUMNS);
    }

    #[test]
    fn columns_of_measures_are_in_their_order() {
        let first = COLUMNS.iter().position(|name| *name == "felt").unwrap();
        let names = Measure::ALL.map(Measure::as_str);
        assert_eq!(COLUMNS[first..first + Measure::COUNT], names);
    }

    #[test]
    fn rows_of_earlier_schemas_are_kept_with_nothing_in_the_new_columns() {
        for from in 1..SCHEMA_VERSION {
            let mut connection = Connection::open_in_memory().unwrap();
            for (step, sql) in (1..=from).zip(MIGRATIONS) {
                connection.execute_batch(sql).unwrap();
                connection
                    .execute("INSERT INTO modeltap_schema VALUES (?, NULL)", [step])
                    .unwrap();
            }
            connection
                .execute_batch(
                    "INSERT INTO rollups_60s BY NAME SELECT make_timestamp(60000000) AS start, \
                     'api' AS service, 'api-1' AS container, '/a' AS route, 'GET' AS method, \
                     200 AS status, 'complete' AS outcome, 7 AS n_requests, 0 AS n_errors, \
                     0 AS n_incomplete, 700 AS duration_sum_ns, 100 AS duration_max_ns, \
                     0 AS request_body_bytes, 0 AS response_body_bytes, \
                     '\\x01\\x07'::BLOB AS duration, '\\x01\\x07'::BLOB AS ttfb",
                )
                .unwrap();
            migrate(&mut connection).unwrap();
            assert_eq!(version(&connection).unwrap(), SCHEMA_VERSION);
            let row: (u64, u64, Option<Vec<u8>>, Option<u64>) = connection
                .query_row(
                    "SELECT width_s, n_requests, felt, n_chunks FROM rollups",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
                )
                .unwrap();
            assert_eq!(row, (60, 7, None, None), "from {from}");
        }
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(version(&connection).unwrap(), 0);
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(version(&connection).unwrap(), SCHEMA_VERSION);
    }

    #[test]
    fn other_schemas_are_told_apart() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE theirs (a INTEGER)")
            .unwrap();
        assert!(matches!(version(&connection), Err(SchemaError::Foreign)));
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection
            .execute_batch("INSERT INTO modeltap_schema VALUES (99, NULL)")
            .unwrap();
        assert!(matches!(
            migrate(&mut connection),
            Err(SchemaError::Newer(99))
        ));
    }
}
