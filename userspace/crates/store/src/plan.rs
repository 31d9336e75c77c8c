//! Which tables say what is asked of a range.
//!
//! | part of the range | read from |
//! |---|---|
//! | before `summed.until`, whole hours | `service_hours`, `service_minutes_new` |
//! | before `summed.until`, whole minutes | `service_minutes`, `service_minutes_new` |
//! | everything else | the tiers |
//!
//! Sums answer only what names no route and no method, and only where no step
//! begins or ends within one of their windows.

use duckdb::Connection;

use crate::query::{QueryError, Range};
use crate::schema::{SUMS, TIERS, Tier};
use crate::sums;

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

/// Tables with the stretch of time that each is read for: every request of
/// the range is in one of them once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) parts: Vec<Part>,
}

/// Rows of a table from one second to before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) table: &'static str,
    pub(crate) first: u64,
    pub(crate) end: u64,
}

impl Plan {
    /// Reads only these tiers.
    pub(crate) fn of_tiers(tiers: &[Tier], range: Range) -> Self {
        let mut plan = Self { parts: Vec::new() };
        plan.add_tiers(tiers, range.first, range.end);
        plan
    }

    /// Reads sums where there are any.
    pub(crate) fn with_sums(connection: &Connection, range: Range) -> Result<Self, QueryError> {
        let until = sums::until(connection)?.and_then(|us| u64::try_from(us / 1_000_000).ok());
        Ok(Self::until(range, until.unwrap_or(0)))
    }

    fn until(range: Range, until: u64) -> Self {
        let is_whole = |window: u64| range.step.is_multiple_of(window) || range.n_steps() == 1;
        let first = range.first.next_multiple_of(MINUTE);
        let end = range.end.min(until) / MINUTE * MINUTE;
        if !is_whole(MINUTE) || first >= end {
            return Self::of_tiers(&TIERS, range);
        }
        let [new, minutes, hours] = SUMS.map(|tier| tier.table);
        let mut plan = Self { parts: Vec::new() };
        plan.add_tiers(&TIERS, range.first, first);
        let first_hour = first.next_multiple_of(HOUR);
        let end_hour = end / HOUR * HOUR;
        if is_whole(HOUR) && first_hour < end_hour {
            plan.add(minutes, first, first_hour);
            plan.add(hours, first_hour, end_hour);
            plan.add(minutes, end_hour, end);
        } else {
            plan.add(minutes, first, end);
        }
        plan.add(new, first, end);
        plan.add_tiers(&TIERS, end, range.end);
        plan
    }

    fn add(&mut self, table: &'static str, first: u64, end: u64) {
        if first < end {
            self.parts.push(Part { table, first, end });
        }
    }

    /// The oldest first.
    fn add_tiers(&mut self, tiers: &[Tier], first: u64, end: u64) {
        for tier in tiers.iter().rev() {
            self.add(tier.table, first, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts other than the tiers, and the stretches that the tiers are for.
    #[track_caller]
    fn check(range: (u64, u64, u64), until: u64, sums: &[(&str, u64, u64)], tiers: &[(u64, u64)]) {
        let (first, end, step) = range;
        let plan = Plan::until(Range { first, end, step }, until);
        let is_tier = |part: &&Part| TIERS.iter().any(|tier| tier.table == part.table);
        let parts = plan.parts.iter();
        let of_tiers: Vec<_> = parts.clone().filter(is_tier).collect();
        let of_sums: Vec<_> = parts
            .filter(|part| !is_tier(part))
            .map(|part| (part.table, part.first, part.end))
            .collect();
        assert_eq!(of_sums, sums);
        let mut expected = Vec::new();
        for &(first, end) in tiers {
            expected.extend(TIERS.iter().rev().map(|tier| Part {
                table: tier.table,
                first,
                end,
            }));
        }
        assert_eq!(of_tiers, expected.iter().collect::<Vec<_>>());
    }

    #[test]
    fn sums_are_read_where_no_step_ends_within_a_window() {
        let new = "service_minutes_new";
        let minutes = "service_minutes";
        // Nothing is summed up yet, or nothing of the range.
        check((0, 7_200, 60), 0, &[], &[(0, 7_200)]);
        check((7_200, 14_400, 60), 3_600, &[], &[(7_200, 14_400)]);
        // Steps of 15 s.
        check((0, 7_200, 15), 7_200, &[], &[(0, 7_200)]);
        check(
            (0, 7_200, 60),
            7_140,
            &[(minutes, 0, 7_140), (new, 0, 7_140)],
            &[(7_140, 7_200)],
        );
        check(
            (0, 7_200, 3_600),
            7_140,
            &[
                ("service_hours", 0, 3_600),
                (minutes, 3_600, 7_140),
                (new, 0, 7_140),
            ],
            &[(7_140, 7_200)],
        );
        // One step, from and to any second.
        check(
            (3_501, 10_932, 7_431),
            100_000,
            &[
                (minutes, 3_540, 3_600),
                ("service_hours", 3_600, 10_800),
                (minutes, 10_800, 10_920),
                (new, 3_540, 10_920),
            ],
            &[(3_501, 3_540), (10_920, 10_932)],
        );
        check((61, 119, 58), 100_000, &[], &[(61, 119)]);
    }
}
