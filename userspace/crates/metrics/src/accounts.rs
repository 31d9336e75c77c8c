//! Events and bytes by watched cgroup, merged from the kernel's counts and the
//! parser's, and summed up by the container that the cgroup was of.
//!
//! The kernel's counts and the parser's are read one after the other while
//! both grow. What the probes submitted and the parser has not seen is
//! *pending*; only as much of it as the daemon is known to have dropped, and
//! that two reports in a row agree on, is *dropped*.

use std::collections::{BTreeMap, HashMap};

use modeltap_core::accounting::{CaptureAccount, CgroupCounts, ParserCounts, RequestCounts};
use modeltap_core::connection::CgroupId;

/// Ended cgroups of one container's name that are kept apart; older ones are
/// summed up, and what is told of them later is left out. A container that
/// restarts without end has no more than these.
const MAX_ENDED: usize = 8;

/// Everything that is counted of one cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupReport {
    /// The cgroup.
    pub cgroup: CgroupId,
    /// What the probes counted; `None` where they do not count by cgroup.
    pub kernel: Option<CgroupCounts>,
    /// What the parser made of its bytes; `None` where it had none yet, or
    /// knows the cgroup no longer.
    pub parser: Option<ParserCounts>,
    /// Bytes moved by ways the kernel is too old to show; `None` where that
    /// is not known.
    pub unseen_bytes: Option<u64>,
}

/// Joins what the kernel, the parser and the look for unseen bytes counted, by
/// cgroup. Each may be empty, and each may know cgroups that others do not.
#[must_use]
pub fn reports(
    kernel: impl IntoIterator<Item = (CgroupId, CgroupCounts)>,
    parser: impl IntoIterator<Item = (CgroupId, ParserCounts)>,
    unseen: impl IntoIterator<Item = (CgroupId, u64)>,
) -> Vec<CgroupReport> {
    let mut all: BTreeMap<CgroupId, CgroupReport> = BTreeMap::new();
    for (cgroup, counts) in kernel {
        entry(&mut all, cgroup).kernel = Some(counts);
    }
    for (cgroup, counts) in parser {
        entry(&mut all, cgroup).parser = Some(counts);
    }
    for (cgroup, bytes) in unseen {
        entry(&mut all, cgroup).unseen_bytes = Some(bytes);
    }
    all.into_values().collect()
}

fn entry(all: &mut BTreeMap<CgroupId, CgroupReport>, cgroup: CgroupId) -> &mut CgroupReport {
    all.entry(cgroup).or_insert(CgroupReport {
        cgroup,
        kernel: None,
        parser: None,
        unseen_bytes: None,
    })
}

/// What is told of a container, or of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) capture: Option<CaptureAccount>,
    pub(crate) kernel: Option<RequestCounts>,
    /// Of them, those of events that were left out.
    pub(crate) left_out: RequestCounts,
    pub(crate) unseen_bytes: Option<u64>,
}

impl Account {
    /// Adds everything of `other`; what neither knows stays unknown.
    pub(crate) fn merge(&mut self, other: &Self) {
        if let Some(more) = &other.capture {
            self.capture.get_or_insert_default().merge(more);
        }
        if let Some(more) = &other.kernel {
            self.kernel.get_or_insert_default().merge(more);
        }
        self.left_out.merge(&other.left_out);
        if let Some(more) = other.unseen_bytes {
            let bytes = self.unseen_bytes.get_or_insert_default();
            *bytes = bytes.saturating_add(more);
        }
    }
}

/// A container's name within its service, as numbers.
pub(crate) type Place = (u32, u32);

/// The accounts of every container that was not forgotten.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    cgroups: HashMap<CgroupId, Ledger>,
    /// Of cgroups that ended and are told of no longer.
    closed: HashMap<Place, Account>,
    n_opened: u64,
}

#[derive(Debug)]
struct Ledger {
    place: Place,
    /// Its place in the order in which cgroups came.
    number: u64,
    /// What each told last; counts that begin again are added to `before`.
    kernel: Told<CgroupCounts>,
    parser: Told<ParserCounts>,
    unseen_bytes: Option<u64>,
    /// Submitted and not parsed, at the last report.
    behind: u64,
    dropped: u64,
}

/// Counts that only grow, until who counts them begins again.
#[derive(Debug)]
struct Told<T> {
    before: Option<T>,
    latest: Option<T>,
}

impl<T: Counts> Told<T> {
    fn new() -> Self {
        Self {
            before: None,
            latest: None,
        }
    }

    fn take(&mut self, counts: T) {
        if self.latest.is_some_and(|latest| latest.is_beyond(&counts)) {
            self.before = self.sum();
        }
        self.latest = Some(counts);
    }

    fn sum(&self) -> Option<T> {
        match (self.before, self.latest) {
            (Some(before), Some(latest)) => Some(before.plus(&latest)),
            (before, latest) => before.or(latest),
        }
    }
}

trait Counts: Copy {
    /// Whether these cannot have grown to `later`.
    fn is_beyond(&self, later: &Self) -> bool;
    fn plus(&self, other: &Self) -> Self;
}

impl Counts for CgroupCounts {
    fn is_beyond(&self, later: &Self) -> bool {
        // Where all events are left out, only their number grows.
        self.events_submitted > later.events_submitted
            || self.left_out.n_events > later.left_out.n_events
    }

    fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        sum.events_submitted += other.events_submitted;
        sum.events_lost += other.events_lost;
        sum.events_lost_map_full += other.events_lost_map_full;
        sum.user_reads_failed += other.user_reads_failed;
        sum.bytes_submitted += other.bytes_submitted;
        sum.bytes_lost += other.bytes_lost;
        sum.n_requests += other.n_requests;
        for (count, more) in sum.n_responses.iter_mut().zip(other.n_responses) {
            *count += more;
        }
        sum.left_out.merge(&other.left_out);
        sum
    }
}

impl Counts for ParserCounts {
    fn is_beyond(&self, later: &Self) -> bool {
        self.bytes_observed > later.bytes_observed
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            bytes_observed: self.bytes_observed + other.bytes_observed,
            bytes_parsed: self.bytes_parsed + other.bytes_parsed,
            bytes_skipped: self.bytes_skipped + other.bytes_skipped,
            bytes_truncated: self.bytes_truncated + other.bytes_truncated,
            bytes_buffered: self.bytes_buffered + other.bytes_buffered,
        }
    }
}

impl Accounts {
    /// A cgroup is the container's at `place` from now on.
    pub(crate) fn open(&mut self, cgroup: CgroupId, place: Place) {
        if self
            .cgroups
            .get(&cgroup)
            .is_some_and(|known| known.place == place)
        {
            return;
        }
        self.n_opened += 1;
        let fresh = Ledger {
            place,
            number: self.n_opened,
            kernel: Told::new(),
            parser: Told::new(),
            unseen_bytes: None,
            behind: 0,
            dropped: 0,
        };
        if let Some(old) = self.cgroups.insert(cgroup, fresh) {
            self.closed
                .entry(old.place)
                .or_default()
                .merge(&old.account());
        }
        self.close_old(place);
    }

    /// Takes what was counted; `bytes_dropped` is what the daemon's queues
    /// dropped in all, of every container. Cgroups that were never opened are
    /// nobody's.
    pub(crate) fn report(&mut self, reports: &[CgroupReport], bytes_dropped: u64) {
        for report in reports {
            if let Some(ledger) = self.cgroups.get_mut(&report.cgroup) {
                ledger.take(*report, bytes_dropped);
            }
        }
    }

    /// The account of each container.
    pub(crate) fn by_place(&self) -> HashMap<Place, Account> {
        let mut accounts = self.closed.clone();
        for ledger in self.cgroups.values() {
            accounts
                .entry(ledger.place)
                .or_default()
                .merge(&ledger.account());
        }
        accounts
    }

    /// Forgets containers.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(Place) -> bool) {
        self.cgroups.retain(|_, ledger| !is_gone(ledger.place));
        self.closed.retain(|place, _| !is_gone(*place));
    }

    fn close_old(&mut self, place: Place) {
        let of_place = self.cgroups.iter().filter(|(_, l)| l.place == place);
        let mut numbers: Vec<_> = of_place.map(|(id, ledger)| (ledger.number, *id)).collect();
        if numbers.len() <= MAX_ENDED {
            return;
        }
        numbers.sort_unstable();
        if let Some(old) = self.cgroups.remove(&numbers[0].1) {
            self.closed.entry(place).or_default().merge(&old.account());
        }
    }
}

impl Ledger {
    fn take(&mut self, report: CgroupReport, bytes_dropped: u64) {
        if let Some(kernel) = report.kernel {
            self.kernel.take(kernel);
        }
        if let Some(parser) = report.parser {
            self.parser.take(parser);
        }
        self.unseen_bytes = report.unseen_bytes.or(self.unseen_bytes);
        let submitted = self.kernel.sum().map_or(0, |kernel| kernel.bytes_submitted);
        let parsed = self.parser.sum().map_or(0, |parser| parser.bytes_observed);
        let behind = submitted.saturating_sub(parsed);
        let settled = behind.min(self.behind).min(bytes_dropped);
        self.dropped = self.dropped.max(settled).min(behind);
        self.behind = behind;
    }

    fn account(&self) -> Account {
        let (kernel, parser) = (self.kernel.sum(), self.parser.sum());
        let is_told = kernel.is_some() || parser.is_some();
        let (counts, parser) = (kernel.unwrap_or_default(), parser.unwrap_or_default());
        Account {
            capture: is_told.then(|| CaptureAccount {
                events_submitted: counts.events_submitted,
                events_lost: counts.events_lost,
                events_lost_map_full: counts.events_lost_map_full,
                user_reads_failed: counts.user_reads_failed,
                // The parser may have been asked after the kernel.
                bytes_observed: counts.bytes_submitted.max(parser.bytes_observed)
                    + counts.bytes_lost
                    + counts.left_out.n_bytes,
                bytes_parsed: parser.bytes_parsed + parser.bytes_buffered,
                bytes_skipped: parser.bytes_skipped,
                bytes_truncated: parser.bytes_truncated,
                bytes_lost: counts.bytes_lost,
                bytes_dropped: self.dropped,
                events_left_out: counts.left_out.n_events,
                bytes_left_out: counts.left_out.n_bytes,
                bytes_pending: self.behind - self.dropped,
            }),
            kernel: kernel.map(|kernel| RequestCounts {
                n_requests: kernel.n_requests,
                n_responses: kernel.n_responses,
            }),
            left_out: counts.left_out.requests,
            unseen_bytes: self.unseen_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: CgroupId = CgroupId(1);
    const B: CgroupId = CgroupId(2);
    const PLACE: Place = (0, 0);

    fn report(cgroup: CgroupId, submitted: u64, lost: u64, parsed: u64) -> CgroupReport {
        CgroupReport {
            cgroup,
            kernel: Some(CgroupCounts {
                events_submitted: submitted / 10,
                events_lost: lost / 10,
                bytes_submitted: submitted,
                bytes_lost: lost,
                n_requests: submitted / 100,
                ..CgroupCounts::default()
            }),
            parser: Some(ParserCounts {
                bytes_observed: parsed,
                bytes_parsed: parsed - parsed / 4 - parsed / 8,
                bytes_skipped: parsed / 8,
                bytes_truncated: parsed / 8,
                bytes_buffered: parsed / 4 - parsed / 8,
            }),
            unseen_bytes: None,
        }
    }

    #[track_caller]
    fn check(accounts: &Accounts, expected: [u64; 5]) {
        let account = accounts.by_place()[&PLACE].capture.unwrap();
        let CaptureAccount {
            bytes_observed: observed,
            bytes_lost: lost,
            bytes_dropped: dropped,
            bytes_pending: pending,
            ..
        } = account;
        let parsed = account.bytes_parsed + account.bytes_skipped + account.bytes_truncated;
        assert_eq!(observed, parsed + lost + dropped + pending, "{account:?}");
        assert_eq!([observed, parsed, lost, dropped, pending], expected);
    }

    #[test]
    fn every_byte_has_one_fate_at_any_moment() {
        let mut accounts = Accounts::default();
        accounts.open(A, PLACE);
        assert_eq!(accounts.by_place()[&PLACE], Account::default());
        accounts.report(&[report(A, 1_000, 50, 400)], 0);
        check(&accounts, [1_050, 400, 50, 0, 600]);
        accounts.report(&[report(A, 1_000, 50, 1_000)], 0);
        check(&accounts, [1_050, 1_000, 50, 0, 0]);
        // The parser was asked a moment after the kernel.
        accounts.report(&[report(A, 1_000, 50, 1_200)], 0);
        check(&accounts, [1_250, 1_200, 50, 0, 0]);
    }

    #[test]
    fn bytes_behind_are_dropped_only_as_far_as_the_daemon_dropped_any() {
        let mut accounts = Accounts::default();
        accounts.open(A, PLACE);
        accounts.report(&[report(A, 1_000, 0, 400)], 250);
        check(&accounts, [1_000, 400, 0, 0, 600]);
        accounts.report(&[report(A, 2_000, 0, 1_400)], 250);
        check(&accounts, [2_000, 1_400, 0, 250, 350]);
        accounts.report(&[report(A, 2_000, 0, 1_750)], 250);
        check(&accounts, [2_000, 1_750, 0, 250, 0]);
    }

    #[test]
    fn counts_that_begin_again_are_added_to_those_before() {
        let mut accounts = Accounts::default();
        accounts.open(A, PLACE);
        accounts.report(&[report(A, 1_000, 100, 1_000)], 0);
        accounts.report(&[report(A, 200, 0, 200)], 0);
        check(&accounts, [1_300, 1_200, 100, 0, 0]);
        let kernel = accounts.by_place()[&PLACE].kernel.unwrap();
        assert_eq!(kernel.n_requests, 12);
        // Only the probes' begin again, and then fall silent.
        let mut late = report(A, 50, 0, 250);
        accounts.report(&[late], 0);
        check(&accounts, [1_350, 1_250, 100, 0, 0]);
        late.kernel = None;
        accounts.report(&[late], 0);
        check(&accounts, [1_350, 1_250, 100, 0, 0]);
    }

    #[test]
    fn what_ended_stays_summed_up_and_late_counts_still_reach_it() {
        let mut accounts = Accounts::default();
        accounts.open(A, PLACE);
        accounts.report(&[report(A, 1_000, 0, 900)], 0);
        accounts.open(B, PLACE);
        accounts.report(&[report(A, 1_000, 0, 1_000), report(B, 300, 0, 300)], 0);
        check(&accounts, [1_300, 1_300, 0, 0, 0]);
        // The kernel tells of it no longer.
        accounts.report(&[report(B, 400, 0, 400)], 0);
        check(&accounts, [1_400, 1_400, 0, 0, 0]);
        accounts.forget(|place| place == PLACE);
        assert!(accounts.by_place().is_empty());
    }

    #[test]
    fn a_container_that_restarts_without_end_takes_bounded_room() {
        let mut accounts = Accounts::default();
        for id in 10..1_010 {
            accounts.open(CgroupId(id), PLACE);
            accounts.report(&[report(CgroupId(id), 100, 0, 100)], 0);
        }
        accounts.report(&[report(CgroupId(10), 100, 0, 100)], 0);
        check(&accounts, [100_000, 100_000, 0, 0, 0]);
        assert_eq!(accounts.cgroups.len(), MAX_ENDED);
    }

    #[test]
    fn nobodys_cgroup_is_left_out_and_unknown_stays_unknown() {
        let mut accounts = Accounts::default();
        accounts.open(A, PLACE);
        let all = reports(
            [(B, CgroupCounts::default())],
            [(A, report(A, 0, 0, 80).parser.unwrap())],
            [(A, 7)],
        );
        assert_eq!(all.len(), 2);
        accounts.report(&all, 0);
        let account = accounts.by_place()[&PLACE];
        assert_eq!((account.kernel, account.unseen_bytes), (None, Some(7)));
        check(&accounts, [80, 80, 0, 0, 0]);
        assert_eq!(accounts.by_place().len(), 1);
    }
}
