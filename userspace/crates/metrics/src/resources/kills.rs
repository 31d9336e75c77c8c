//! Processes killed for want of memory, which two tell of: the cgroup's
//! counter, exact but gone with the container, and Docker's event, which also
//! comes when the container dies of it.

use modeltap_core::time::UnixNs;

/// How far apart the two tell of one kill: the counter is read once a second.
const PAIR_WITHIN_NS: u64 = 5_000_000_000;

/// What was told of one container since the daemon watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kills {
    /// `None` while nobody told anything.
    total: Option<u64>,
    /// Kills that only one told of so far.
    by_counter: Unpaired,
    by_docker: Unpaired,
    /// Not yet in any rollup.
    pending: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unpaired {
    n_kills: u64,
    newest: UnixNs,
}

impl Unpaired {
    fn add(&mut self, n_kills: u64, at: UnixNs) {
        self.expire(at);
        self.n_kills = self.n_kills.saturating_add(n_kills);
        self.newest = self.newest.max(at);
    }

    /// Takes out as many of `n_kills` as there are.
    fn pair(&mut self, n_kills: u64, at: UnixNs) -> u64 {
        self.expire(at);
        let n_paired = self.n_kills.min(n_kills);
        self.n_kills -= n_paired;
        n_paired
    }

    fn expire(&mut self, now: UnixNs) {
        if self.newest.0.abs_diff(now.0) > PAIR_WITHIN_NS {
            *self = Self {
                n_kills: 0,
                newest: now,
            };
        }
    }
}

impl Kills {
    /// Kills since the daemon watches.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }

    /// The counter can be read and grew by `n_kills`; gives how many of them
    /// are news.
    pub(crate) fn counted(&mut self, n_kills: u64, at: UnixNs) -> u64 {
        let n_news = n_kills - self.by_docker.pair(n_kills, at);
        self.by_counter.add(n_news, at);
        self.add(n_news)
    }

    /// Docker tells of a kill; gives whether it is news.
    pub(crate) fn told(&mut self, at: UnixNs) -> bool {
        let is_news = self.by_counter.pair(1, at) == 0;
        if is_news {
            self.by_docker.add(1, at);
            self.add(1);
        }
        is_news
    }

    /// Whether [`Self::take_pending`] has something.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending > 0
    }

    /// Kills that are in no rollup yet, for the one that has them.
    pub(crate) fn take_pending(&mut self) -> u64 {
        std::mem::take(&mut self.pending)
    }

    fn add(&mut self, n_kills: u64) -> u64 {
        self.total = Some(self.total.unwrap_or(0).saturating_add(n_kills));
        self.pending = self.pending.saturating_add(n_kills);
        n_kills
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> UnixNs {
        UnixNs(1_700_000_000_000_000_000 + (seconds * 1e9) as u64)
    }

    #[test]
    fn kill_that_both_tell_of_counts_once_in_either_order() {
        let mut kills = Kills::default();
        assert_eq!(kills.total(), None);
        assert_eq!(kills.counted(0, at(0.0)), 0);
        assert_eq!(kills.total(), Some(0));
        assert!(kills.told(at(1.2)));
        assert_eq!(kills.counted(1, at(1.9)), 0);
        assert_eq!(kills.counted(1, at(2.9)), 1);
        assert!(!kills.told(at(2.5)));
        assert_eq!(kills.total(), Some(2));
        assert_eq!((kills.take_pending(), kills.take_pending()), (2, 0));
    }

    #[test]
    fn counter_tells_how_many_where_docker_tells_less() {
        let mut kills = Kills::default();
        assert!(kills.told(at(1.0)));
        assert_eq!(kills.counted(3, at(1.5)), 2);
        // Docker's events of these come late, one by one.
        assert!(!kills.told(at(1.6)) && !kills.told(at(1.7)));
        assert!(kills.told(at(1.8)));
        assert_eq!(kills.total(), Some(4));
    }

    #[test]
    fn kill_every_second_is_told_every_second() {
        let mut kills = Kills::default();
        for second in 0..20 {
            let time = f64::from(second);
            assert!(kills.told(at(time + 0.3)));
            assert_eq!(kills.counted(1, at(time + 0.95)), 0);
        }
        assert_eq!(kills.total(), Some(20));
    }

    #[test]
    fn tellings_far_apart_are_two_kills() {
        let mut kills = Kills::default();
        assert!(kills.told(at(1.0)));
        assert_eq!(kills.counted(1, at(9.0)), 1);
        assert!(kills.told(at(20.0)));
        assert_eq!(kills.total(), Some(3));
    }
}
