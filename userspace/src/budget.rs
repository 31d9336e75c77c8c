//! What the daemon may cost, and what it leaves out while it costs more.
//!
//! | level | left out | stays exact |
//! |---|---|---|
//! | [`Level::Full`] | nothing | everything |
//! | [`Level::Details`] | slow and failed requests kept apart; of calls behind a message's beginning, all but 64 bytes, and with them streams' intervals | requests, statuses, times |
//! | [`Level::Heads`] | more than 2 KB of what a client sends and 512 bytes of an answer | requests, statuses, times |
//! | [`Level::Counts`] | single requests, routes and times: no events come from the kernel, which counts them as left out | requests and statuses by service, which the kernel counts |
//!
//! Too much for [`WINDOW`] on average is one level up, if it may come from what
//! is captured: finding a hundred containers costs as well, and leaving events
//! out would not make it cheaper. Less than
//! [`ENOUGH`] of the budget for a while is one level down. A level that was
//! left too early waits twice as long the next time.

use std::collections::VecDeque;
use std::time::Duration;

/// Over how many seconds cost is averaged.
const WINDOW: usize = 10;
/// How many seconds are enough to judge by.
const LEAST: usize = 3;
/// Share of the budget below which a level is left.
const ENOUGH: f64 = 0.5;
/// The most that one event costs, in seconds of a core; on most machines it is
/// a tenth of that.
const MOST_AN_EVENT: f64 = 20e-6;
/// Share of the budget that events may cost without being what to leave out.
const FREE: f64 = 0.5;
/// Shortest and longest time, in seconds, for which cost has to be so low.
const PATIENCE: (u32, u32) = (30, 30 * 64);
/// A level that comes back within so many seconds was left too early.
const TOO_EARLY: u32 = 120;
/// Seconds after the start that are not judged: opening history, reading the
/// kernel's types and connections that are there already.
const START: u32 = 5;

/// How much is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Full,
    /// Details.
    Details,
    /// All but heads.
    Heads,
    /// All but counts.
    Counts,
}

impl Level {
    /// Its name in the status and on the line of time.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Details => "details",
            Self::Heads => "heads",
            Self::Counts => "counts",
        }
    }

    /// What it leaves out, in words.
    pub fn left_out(self) -> &'static str {
        match self {
            Self::Full => "nothing is left out",
            Self::Details => "details of single requests and of streams are left out",
            Self::Heads => "all but the heads of messages is left out",
            Self::Counts => "all but the counts of requests and statuses is left out",
        }
    }

    fn more(self) -> Self {
        match self {
            Self::Full => Self::Details,
            Self::Details => Self::Heads,
            Self::Heads | Self::Counts => Self::Counts,
        }
    }

    fn less(self) -> Self {
        match self {
            Self::Full | Self::Details => Self::Full,
            Self::Heads => Self::Details,
            Self::Counts => Self::Heads,
        }
    }
}

/// Decides by what the daemon costs; to be told once a second.
#[derive(Debug)]
pub struct Budget {
    /// Share of one core; infinite if there is no budget.
    max_cores: f64,
    level: Level,
    /// What each second cost, and its events.
    costs: VecDeque<(f64, f64)>,
    n_seconds: u32,
    /// How long it cost little.
    n_low: u32,
    patience: u32,
    /// When a level was left last.
    left_at: Option<u32>,
}

impl Budget {
    /// Of so many cores.
    pub fn new(max_cores: f64) -> Self {
        Self {
            max_cores,
            level: Level::Full,
            costs: VecDeque::with_capacity(WINDOW),
            n_seconds: 0,
            n_low: 0,
            patience: PATIENCE.0,
            left_at: None,
        }
    }

    /// What is left out now.
    #[cfg(test)]
    fn level(&self) -> Level {
        self.level
    }

    /// What the last seconds cost, in cores.
    pub fn cost(&self) -> f64 {
        if self.costs.is_empty() {
            return 0.0;
        }
        self.costs.iter().map(|(cost, _)| cost).sum::<f64>() / self.costs.len() as f64
    }

    /// Whether the events of the last seconds may be what costs too much.
    fn is_of_events(&self) -> bool {
        let n_events = self.costs.iter().map(|(_, n)| n).sum::<f64>() / self.costs.len() as f64;
        n_events * MOST_AN_EVENT > self.max_cores * FREE
    }

    /// Takes what the last second cost, in cores, and how many events it had;
    /// gives the level if it is another from now on.
    pub fn second(&mut self, cost: f64, n_events: f64) -> Option<Level> {
        self.n_seconds = self.n_seconds.saturating_add(1);
        if self.n_seconds <= START {
            return None;
        }
        if self.costs.len() == WINDOW {
            self.costs.pop_front();
        }
        self.costs.push_back((cost, n_events));
        if self.costs.len() < LEAST {
            return None;
        }
        let mean = self.cost();
        if mean > self.max_cores {
            self.n_low = 0;
            return if self.is_of_events() {
                self.change(self.level.more())
            } else {
                None
            };
        }
        self.n_low = if mean < self.max_cores * ENOUGH {
            self.n_low + 1
        } else {
            0
        };
        if self.n_low < self.patience {
            return None;
        }
        self.n_low = 0;
        self.change(self.level.less())
    }

    fn change(&mut self, to: Level) -> Option<Level> {
        if to == self.level {
            return None;
        }
        if to > self.level {
            let is_early = self
                .left_at
                .is_some_and(|left| self.n_seconds - left < TOO_EARLY);
            self.patience = if is_early {
                (self.patience * 2).min(PATIENCE.1)
            } else {
                PATIENCE.0
            };
        } else {
            self.left_at = Some(self.n_seconds);
        }
        self.level = to;
        // What it cost before says nothing of what it costs now.
        self.costs.clear();
        Some(to)
    }
}

/// What the probes cost, from looks of a moment each minute: the kernel
/// measures their time only then, because measuring costs as well.
#[derive(Debug, Default)]
pub struct ProbeCost {
    /// Share of a core in the last look, and events a second meanwhile.
    last: Option<(f64, f64)>,
}

impl ProbeCost {
    /// A look: for so long, the probes ran that long and saw so many events.
    pub fn looked(&mut self, look: Duration, ran: Duration, n_events: u64) {
        let seconds = look.as_secs_f64();
        if seconds > 0.0 {
            self.last = Some((ran.as_secs_f64() / seconds, n_events as f64 / seconds));
        }
    }

    /// Cores that they cost at this many events a second: as in the last
    /// look, or in proportion if there are more now.
    pub fn at(&self, events_per_second: f64) -> f64 {
        match self.last {
            None => 0.0,
            Some((cores, events)) if events >= 1.0 && events_per_second > events => {
                cores * events_per_second / events
            }
            Some((cores, _)) => cores,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events a second that may cost any budget of these tests.
    const MANY: f64 = 1e6;

    /// Levels after each second that changed it.
    fn changes(budget: &mut Budget, costs: impl IntoIterator<Item = f64>) -> Vec<(usize, Level)> {
        let costs = costs.into_iter().enumerate();
        costs
            .filter_map(|(second, cost)| Some((second + 1, budget.second(cost, MANY)?)))
            .collect()
    }

    fn seconds(n: usize, cost: f64) -> impl Iterator<Item = f64> {
        std::iter::repeat_n(cost, n)
    }

    #[test]
    fn too_much_sheds_level_by_level_in_order() {
        let mut budget = Budget::new(0.05);
        let found = changes(&mut budget, seconds(60, 0.06));
        let expected = [(8, Level::Details), (11, Level::Heads), (14, Level::Counts)];
        assert_eq!(found, expected);
        assert_eq!(budget.level(), Level::Counts);
    }

    #[test]
    fn cost_that_does_not_come_from_events_leaves_none_out() {
        let mut budget = Budget::new(0.05);
        // A hundred containers start on a host with little traffic.
        for _ in 0..60 {
            assert_eq!(budget.second(0.5, 1_000.0), None);
        }
        // The same cost with more of it.
        let level = (0..WINDOW).find_map(|_| budget.second(0.5, 10_000.0));
        assert_eq!(level, Some(Level::Details));
    }

    #[test]
    fn start_and_a_short_burst_are_not_judged() {
        let mut budget = Budget::new(0.05);
        let start = seconds(5, 1.0);
        let burst = seconds(10, 0.01).chain(seconds(1, 0.3));
        let calm = start.chain(burst).chain(seconds(20, 0.01));
        assert_eq!(changes(&mut budget, calm), []);
    }

    #[test]
    fn level_is_left_only_after_a_while_of_little_cost() {
        let mut budget = Budget::new(0.05);
        changes(&mut budget, seconds(8, 0.06));
        assert_eq!(budget.level(), Level::Details);
        // In budget, but not so far that it could be more.
        assert_eq!(changes(&mut budget, seconds(600, 0.04)), []);
        // The mean follows within ten seconds.
        let found = changes(&mut budget, seconds(60, 0.01));
        assert_eq!(found, [(35, Level::Full)]);
    }

    #[test]
    fn level_that_was_left_too_early_is_kept_twice_as_long_the_next_time() {
        let mut budget = Budget::new(0.05);
        // Cheap in this level, dear without it: it must not flap.
        let mut kept = Vec::new();
        let mut since = 0;
        for second in 0..20_000 {
            let cost = if budget.level() == Level::Full {
                0.06
            } else {
                0.01
            };
            match budget.second(cost, MANY) {
                Some(Level::Details) => since = second,
                Some(_) => kept.push(second - since),
                None => {}
            }
        }
        assert_eq!(kept[..4], [32, 62, 122, 242]);
        assert!(kept.len() < 20, "{kept:?}");
    }

    #[test]
    fn without_a_budget_nothing_is_left_out() {
        let mut budget = Budget::new(f64::INFINITY);
        assert_eq!(changes(&mut budget, seconds(100, 8.0)), []);
    }

    #[test]
    fn probes_cost_what_they_did_at_the_last_look_and_more_under_more_load() {
        let mut probes = ProbeCost::default();
        assert_eq!(probes.at(1_000.0), 0.0);
        probes.looked(Duration::from_millis(500), Duration::from_millis(5), 500);
        assert_eq!(probes.at(0.0), 0.01);
        assert_eq!(probes.at(1_000.0), 0.01);
        assert!((probes.at(5_000.0) - 0.05).abs() < 1e-9);
        // Other programs' calls alone: no events to measure by.
        probes.looked(Duration::from_millis(500), Duration::from_millis(1), 0);
        assert_eq!(probes.at(5_000.0), 0.002);
    }
}
