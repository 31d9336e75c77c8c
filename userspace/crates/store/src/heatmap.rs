//! Durations over time, in rows of equal ratio.

use std::time::Duration;

use modeltap_core::histogram::bucket_bounds_ns;
use modeltap_core::time::UnixNs;

use crate::dense::Dense;
use crate::query::{Query, QueryError, Range, Stat};
use crate::reader::Reader;
use crate::scan::{Filter, Task, summarize, widen};
use crate::schema::TIERS;

/// Cells a heatmap has at most; beyond, an octave has fewer rows.
const MAX_CELLS: u64 = 200_000;
/// log2 of the rows an octave.
const ROWS_SHIFT: u32 = 3;
/// log2 of the unit of the stored buckets, in nanoseconds.
const UNIT_SHIFT: u32 = 9;

/// Requests by step of time and row of duration.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    /// Beginning of the first step.
    pub from: UnixNs,
    /// Length of a step.
    pub step: Duration,
    /// Row `i` lies from `bounds[i]` to before `bounds[i + 1]`: eight rows an
    /// octave (fewer where there would be too many cells), as many octaves as
    /// were used.
    pub bounds: Vec<Duration>,
    /// Counts by step and row; a step without any is empty.
    pub counts: Vec<Vec<u64>>,
    /// Requests in the range.
    pub n_requests: u64,
    /// Of them: something was lost or truncated.
    pub n_incomplete: u64,
}

impl Reader {
    /// How often which durations were seen when: the metric is a duration, the
    /// stat is left aside, and all series are one.
    ///
    /// # Errors
    /// The question is invalid, takes too long, too many others wait, or the
    /// database cannot be read now.
    pub fn heatmap(&self, query: &Query) -> Result<Heatmap, QueryError> {
        let query = Query {
            stat: Stat::Max,
            by: None,
            ..query.clone()
        };
        if !query.metric.is_time() {
            let text = "a heatmap shows durations: duration, ttfb, felt, queue, read, app, \
                        stream, drain, first_chunk or chunk_interval";
            return Err(QueryError::Invalid(text.into()));
        }
        let range = query.range()?;
        self.snapshot(|connection| {
            let filter = Filter::new(&query);
            let range = widen(connection, &filter, &TIERS, range)?;
            let plan = filter.plan(connection, range)?;
            let summary = summarize(connection, &filter, &plan, range)?;
            let index = [("", 0)].into();
            let task = Task {
                connection,
                filter: &filter,
                plan: &plan,
                range,
                index: &index,
            };
            let mut steps = vec![Vec::new(); range.n_steps_usize()];
            task.merge(
                &[query.metric.column()],
                summary.n_rows,
                1,
                |step, _, _, merged| {
                    if let Some(place) = steps.get_mut(step) {
                        *place = rows_of(merged);
                    }
                },
            )?;
            let (bounds, counts) = grid(steps, range);
            Ok(Heatmap {
                from: UnixNs(range.first * 1_000_000_000),
                step: Duration::from_secs(range.step),
                bounds,
                counts,
                n_requests: summary.n_requests(),
                n_incomplete: summary.n_incomplete(),
            })
        })
    }
}

/// Row of a duration, with `1 << shift` rows an octave: each holds whole
/// buckets, for both are log-linear with the same unit.
fn row_of(ns: u64, shift: u32) -> u64 {
    let units = ns >> UNIT_SHIFT;
    let octave = (u64::BITS - units.leading_zeros()).saturating_sub(shift + 1);
    (u64::from(octave) << shift) + (units >> octave)
}

/// The shortest duration of a row, in nanoseconds.
fn low_of(row: u64, shift: u32) -> u64 {
    let octave = (row >> shift).saturating_sub(1);
    (row - (octave << shift)) << octave << UNIT_SHIFT
}

/// Rows in use with their counts, in ascending order.
fn rows_of(merged: &Dense) -> Vec<(u64, u64)> {
    let mut rows: Vec<(u64, u64)> = Vec::new();
    for (bucket, count) in merged.buckets() {
        push(
            &mut rows,
            row_of(bucket_bounds_ns(bucket).0, ROWS_SHIFT),
            count,
        );
    }
    rows
}

fn push(rows: &mut Vec<(u64, u64)>, row: u64, count: u64) {
    match rows.last_mut() {
        Some(last) if last.0 == row => last.1 += count,
        _ => rows.push((row, count)),
    }
}

/// Bounds and counts of every row from the first to the last in use.
fn grid(mut steps: Vec<Vec<(u64, u64)>>, range: Range) -> (Vec<Duration>, Vec<Vec<u64>>) {
    let mut shift = ROWS_SHIFT;
    let (low, high) = loop {
        let used = steps.iter().flatten().map(|(row, _)| *row);
        let Some(high) = used.clone().max() else {
            return (Vec::new(), vec![Vec::new(); steps.len()]);
        };
        let low = used.min().unwrap_or(high);
        if shift == 0 || (high - low + 1) * range.n_steps() <= MAX_CELLS {
            break (low, high);
        }
        for rows in &mut steps {
            let mut wider = Vec::new();
            for &(row, count) in rows.iter() {
                push(&mut wider, row_of(low_of(row, shift), shift - 1), count);
            }
            *rows = wider;
        }
        shift -= 1;
    };
    let bounds = (low..=high + 1).map(|row| Duration::from_nanos(low_of(row, shift)));
    let n_rows = usize::try_from(high - low + 1).expect("rows are bounded");
    let counts = steps.iter().map(|rows| {
        if rows.is_empty() {
            return Vec::new();
        }
        let mut counts = vec![0; n_rows];
        for &(row, count) in rows {
            counts[usize::try_from(row - low).expect("rows are bounded")] += count;
        }
        counts
    });
    (bounds.collect(), counts.collect())
}

#[cfg(test)]
mod tests {
    use modeltap_core::histogram::{MAX_NS, bucket_of};

    use super::*;

    #[test]
    fn every_bucket_lies_in_one_row_and_rows_adjoin() {
        for shift in 0..=ROWS_SHIFT {
            for bucket in 0..=bucket_of(MAX_NS) {
                let (low, high) = bucket_bounds_ns(bucket);
                let row = row_of(low, shift);
                assert_eq!(row, row_of(high - 1, shift), "bucket {bucket}");
                assert!(low_of(row, shift) <= low && high <= low_of(row + 1, shift));
            }
            for row in 0..=row_of(MAX_NS, shift) {
                assert_eq!(row_of(low_of(row, shift), shift), row);
                let ratio = low_of(row + 1, shift) as f64 / low_of(row, shift).max(1) as f64;
                assert!(row < (2 << shift) || ratio <= 1.0 + 1.0 / f64::from(1 << shift));
            }
        }
    }

    #[test]
    fn too_many_cells_make_rows_wider_and_lose_no_count() {
        let range = Range {
            first: 0,
            end: 2_000,
            step: 1,
        };
        let mut merged = Dense::default();
        for bucket in 0..=bucket_of(MAX_NS) {
            merged.add(bucket, 3);
        }
        let (bounds, counts) = grid(vec![rows_of(&merged); 2_000], range);
        assert!(bounds.is_sorted_by(|a, b| a < b));
        assert_eq!(counts[0].len() + 1, bounds.len());
        assert!(counts.iter().map(Vec::len).sum::<usize>() as u64 <= MAX_CELLS);
        let all = 3 * (u64::from(bucket_of(MAX_NS)) + 1);
        assert!(counts.iter().all(|step| step.iter().sum::<u64>() == all));
    }

    #[test]
    fn nothing_is_no_row() {
        let range = Range {
            first: 0,
            end: 2,
            step: 1,
        };
        let (bounds, counts) = grid(vec![Vec::new(); 2], range);
        assert!(bounds.is_empty() && counts == [Vec::<u64>::new(), Vec::new()]);
    }
}
