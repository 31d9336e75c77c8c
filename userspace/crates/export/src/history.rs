//! How history is written, and what room it takes.

use std::time::Duration;

use modeltap_core::time::UnixNs;

use crate::NS_PER_SECOND;
use crate::text::{Kind, Text};

/// History's own state.
#[derive(Clone, Debug, Default)]
pub struct HistoryState {
    /// Rows by kind.
    pub rows: Vec<RowCounts>,
    /// Attempts to write that failed.
    pub write_failures: u64,
    /// Size of the file and its log, in bytes.
    pub size_bytes: u64,
    /// Of it: in use.
    pub used_bytes: u64,
    /// Copies into a smaller file.
    pub n_reclaimed: u64,
    /// Everything before this was given up for want of room.
    pub given_up_before: Option<UnixNs>,
    /// Rows that wait to be written, and for how long the oldest have.
    pub n_waiting: u64,
    /// See `n_waiting`.
    pub waiting_for: Duration,
    /// Acknowledged rows that the disk lost for good.
    pub n_lost_by_disk: u64,
    /// Acknowledged rows that the disk lost and that are written again.
    pub n_written_again: u64,
}

/// Rows of one kind since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowCounts {
    /// What they are: `rollups`, `events` and so on.
    pub kind: &'static str,
    /// Written.
    pub written: u64,
    /// Could not be queued or written.
    pub dropped: u64,
}

pub(crate) fn history(text: &mut Text, history: &HistoryState) {
    let mut rows: Vec<&RowCounts> = history.rows.iter().collect();
    rows.sort_by_key(|counts| counts.kind);
    let results = |counts: &RowCounts| [("dropped", counts.dropped), ("written", counts.written)];
    text.family(
        "modeltap_store_rollups_total",
        Kind::Counter,
        "Rollups of history, by result.",
    );
    for counts in rows.iter().filter(|counts| counts.kind == "rollups") {
        for (result, n) in results(counts) {
            text.sample("", &[("result", result.to_owned())], n as f64);
        }
    }
    text.family(
        "modeltap_store_rows_total",
        Kind::Counter,
        "Rows of history of every kind, by result.",
    );
    for counts in &rows {
        for (result, n) in results(counts) {
            let labels = [
                ("kind", counts.kind.to_owned()),
                ("result", result.to_owned()),
            ];
            text.sample("", &labels, n as f64);
        }
    }
    let counters = [
        (
            "modeltap_store_write_failures_total",
            "Attempts to write history that failed; they are made again.",
            history.write_failures,
        ),
        (
            "modeltap_store_reclaims_total",
            "Copies of history into a smaller file.",
            history.n_reclaimed,
        ),
        (
            "modeltap_store_rows_lost_by_disk_total",
            "Rows of history that the disk lost though it had acknowledged them; among those dropped.",
            history.n_lost_by_disk,
        ),
        (
            "modeltap_store_rows_written_again_total",
            "Rows of history that the disk lost likewise, and that were written again.",
            history.n_written_again,
        ),
    ];
    for (name, help, n) in counters {
        text.one(name, Kind::Counter, help, n as f64);
    }
    let gauges = [
        (
            "modeltap_store_size_bytes",
            "Size of history's file and its log.",
            history.size_bytes as f64,
        ),
        (
            "modeltap_store_used_bytes",
            "Part of history's file that is in use; the rest is taken by new rows first.",
            history.used_bytes as f64,
        ),
        (
            "modeltap_store_rows_waiting",
            "Rows of history that wait in memory to be written.",
            history.n_waiting as f64,
        ),
        (
            "modeltap_store_waiting_seconds",
            "For how long the oldest of them have waited.",
            history.waiting_for.as_secs_f64(),
        ),
    ];
    for (name, help, n) in gauges {
        text.one(name, Kind::Gauge, help, n);
    }
    text.family(
        "modeltap_store_given_up_before_timestamp_seconds",
        Kind::Gauge,
        "History before this Unix time was given up for want of room; absent while none was.",
    );
    if let Some(before) = history.given_up_before {
        text.sample("", &[], before.0 as f64 / NS_PER_SECOND);
    }
}
