//! What was left out on purpose, apart from what was lost.
//!
//! The probes count an event that did not go into the ring, whether there was
//! no room or it was not wanted. It is not wanted from one change of the
//! configuration to another: what was counted between them is left out. A
//! change is not one moment for all processors, so that a few events around it
//! may be told as the other.

use std::collections::HashMap;

use modeltap_core::accounting::LeftOut;

/// Counts when stretches began, and what earlier ones had.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    is_on: bool,
    /// By cgroup; `None` for all that the probes saw.
    entries: HashMap<Option<u64>, Entry>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    began: LeftOut,
    before: LeftOut,
}

impl Ledger {
    /// Events are left out from here on; `counts` is what did not go into the
    /// ring so far, and what began.
    pub(crate) fn begin(&mut self, counts: impl IntoIterator<Item = (Option<u64>, LeftOut)>) {
        if self.is_on {
            return;
        }
        self.is_on = true;
        for (of, began) in counts {
            self.entries.entry(of).or_default().began = began;
        }
    }

    /// They are left out no longer.
    pub(crate) fn end(&mut self, counts: impl IntoIterator<Item = (Option<u64>, LeftOut)>) {
        if !self.is_on {
            return;
        }
        for (of, counted) in counts {
            let before = self.left_out(of, &counted);
            self.entries.entry(of).or_default().before = before;
        }
        self.is_on = false;
    }

    /// What was left out so far, of what is counted now.
    pub(crate) fn left_out(&self, of: Option<u64>, counted: &LeftOut) -> LeftOut {
        let entry = self.entries.get(&of).copied().unwrap_or_default();
        let mut sum = entry.before;
        if self.is_on {
            // A cgroup that came since then began at nothing.
            sum.merge(&counted.since(&entry.began));
        }
        sum
    }

    /// Forgets a cgroup, whose counts begin anew if it comes again.
    pub(crate) fn forget(&mut self, cgroup: u64) {
        self.entries.remove(&Some(cgroup));
    }
}

#[cfg(test)]
mod tests {
    use modeltap_core::accounting::RequestCounts;

    use super::*;

    fn counted(n: u64) -> LeftOut {
        LeftOut {
            n_events: n,
            n_bytes: 100 * n,
            requests: RequestCounts {
                n_requests: n / 2,
                n_responses: [0, n / 2, 0, 0, 0],
            },
        }
    }

    #[track_caller]
    fn check(ledger: &Ledger, of: Option<u64>, now: u64, expected: u64) {
        assert_eq!(ledger.left_out(of, &counted(now)), counted(expected));
    }

    #[test]
    fn only_what_is_counted_between_two_changes_is_left_out() {
        let mut ledger = Ledger::default();
        check(&ledger, None, 10, 0);
        ledger.begin([(None, counted(10)), (Some(1), counted(4))]);
        check(&ledger, None, 10, 0);
        check(&ledger, None, 30, 20);
        // Two steps may have nothing more to leave out.
        ledger.begin([(None, counted(30))]);
        check(&ledger, Some(1), 8, 4);
        check(&ledger, Some(2), 6, 6);
        ledger.end([
            (None, counted(50)),
            (Some(1), counted(8)),
            (Some(2), counted(6)),
        ]);
        check(&ledger, None, 90, 40);
        check(&ledger, Some(1), 20, 4);
        check(&ledger, Some(2), 20, 6);
        check(&ledger, Some(3), 20, 0);
        ledger.end([(None, counted(90))]);
        ledger.begin([(None, counted(90)), (Some(1), counted(20))]);
        check(&ledger, None, 100, 50);
        check(&ledger, Some(1), 22, 6);
        ledger.forget(1);
        check(&ledger, Some(1), 2, 2);
    }
}
