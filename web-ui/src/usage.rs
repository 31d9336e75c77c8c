//! What containers use of the host: lines over time, and how near to a limit
//! a figure is. Pure.

use std::collections::VecDeque;

use modeltap_api_types::{QueryResult, Resources};

use crate::format::{self, Quantity};
use crate::series::{Range, values};
use crate::words::{W, phrases, t};

/// Live seconds kept.
const MAX_LIVE: usize = 960;
/// Used to this share of a limit, a figure is told as a warning, and as grave.
const NEAR_LIMIT: (f64, f64) = (0.8, 0.95);

/// A line over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Cores used.
    Cpu,
    /// Cores that may be used.
    CpuLimit,
    /// Working set, the largest of a step.
    Memory,
    /// Memory that may be used.
    MemoryLimit,
    /// Share of the enforcement periods that were throttled.
    Throttled,
    /// Processes killed for want of memory.
    OomKills,
    /// Bytes received a second.
    Received,
    /// Bytes sent a second.
    Sent,
    /// Bytes read from disks a second.
    Read,
    /// Bytes written to disks a second.
    Written,
}

/// Lines there are.
pub const N_USES: usize = 10;

impl Use {
    /// All, in the order in which [`Uses`] has them.
    pub const ALL: [Self; N_USES] = [
        Self::Cpu,
        Self::CpuLimit,
        Self::Memory,
        Self::MemoryLimit,
        Self::Throttled,
        Self::OomKills,
        Self::Received,
        Self::Sent,
        Self::Read,
        Self::Written,
    ];

    /// What history is asked for.
    #[must_use]
    pub fn query(self) -> &'static str {
        match self {
            Self::Cpu => "metric=cpu_cores&stat=avg",
            Self::CpuLimit => "metric=cpu_limit_cores&stat=avg",
            Self::Memory => "metric=memory_bytes&stat=max",
            Self::MemoryLimit => "metric=memory_limit_bytes&stat=avg",
            Self::Throttled => "metric=throttled_share&stat=avg",
            Self::OomKills => "metric=oom_kills&stat=count",
            Self::Received => "metric=network_receive_bytes&stat=rate",
            Self::Sent => "metric=network_send_bytes&stat=rate",
            Self::Read => "metric=block_read_bytes&stat=rate",
            Self::Written => "metric=block_write_bytes&stat=rate",
        }
    }

    fn of(self, now: &Resources) -> Option<f64> {
        let bytes = |n: u64| n as f64;
        match self {
            Self::Cpu => Some(now.cpu_cores),
            Self::CpuLimit => now.cpu_limit_cores,
            Self::Memory => Some(bytes(now.memory_bytes)),
            Self::MemoryLimit => now.memory_limit_bytes.map(bytes),
            Self::Throttled => now.throttled_share,
            Self::OomKills => now.n_oom_kills.map(|n| n as f64),
            Self::Received => now.receive_bytes_per_second,
            Self::Sent => now.send_bytes_per_second,
            Self::Read => now.read_bytes_per_second,
            Self::Written => now.write_bytes_per_second,
        }
    }
}

/// What live messages said since the page was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveUses {
    seconds: VecDeque<(u64, Resources)>,
}

impl LiveUses {
    /// Takes what was told at `at_ms`.
    pub fn push(&mut self, at_ms: u64, now: Resources) {
        if self.seconds.back().is_some_and(|(last, _)| *last >= at_ms) {
            return;
        }
        self.seconds.push_back((at_ms, now));
        if self.seconds.len() > MAX_LIVE {
            self.seconds.pop_front();
        }
    }
}

/// What history said of a range: the lines, all over the same steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UseHistory {
    from_ms: f64,
    step_ms: f64,
    lines: [Vec<Option<f64>>; N_USES],
}

impl UseHistory {
    /// Takes the answers to [`Use::ALL`]'s questions, in this order.
    #[must_use]
    pub fn new(answers: Vec<QueryResult>) -> Self {
        let mut history = Self::default();
        for (line, answer) in history.lines.iter_mut().zip(answers) {
            history.from_ms = answer.from_unix_ms as f64;
            history.step_ms = f64::from(answer.step_seconds.max(1)) * 1e3;
            *line = values(answer.series);
        }
        history
    }
}

/// What the charts of a service's resources show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uses {
    /// Beginning of each step, Unix seconds.
    pub x: Vec<f64>,
    lines: [Vec<Option<f64>>; N_USES],
}

impl Uses {
    /// A line's values.
    #[must_use]
    pub fn values(&self, of: Use) -> &[Option<f64>] {
        &self.lines[of as usize]
    }

    /// Whether a line has a value above zero in sight.
    #[must_use]
    pub fn has(&self, of: Use) -> bool {
        self.values(of).iter().any(|v| v.is_some_and(|v| v > 0.0))
    }

    /// Joins history and live seconds over `range`; what is live is shown
    /// second by second where the range shows single seconds.
    #[must_use]
    pub fn join(range: Range, now_ms: f64, history: Option<&UseHistory>, live: &LiveUses) -> Self {
        let mut uses = Self::default();
        let (from, to) = range.bounds(now_ms);
        let is_live = range.end_ms.is_none() && range.shows_seconds();
        let live_from = live.seconds.front().filter(|_| is_live);
        let live_from = live_from.map_or(f64::INFINITY, |(at, _)| *at as f64);
        if let Some(history) = history {
            let n_steps = history.lines.iter().map(Vec::len).max().unwrap_or(0);
            for i in 0..n_steps {
                let at = history.from_ms + i as f64 * history.step_ms;
                let step: [Option<f64>; N_USES] =
                    std::array::from_fn(|line| history.lines[line].get(i).copied().flatten());
                let end = at + history.step_ms;
                if end > from && at < to && end <= live_from {
                    uses.push(at, step);
                }
            }
        }
        if is_live {
            let mut n_kills = None;
            for (at, now) in &live.seconds {
                let at = *at as f64;
                if at >= from && at <= to {
                    let mut step = Use::ALL.map(|of| of.of(now));
                    // Told since the start: what was added in this second.
                    step[Use::OomKills as usize] = now
                        .n_oom_kills
                        .map(|n| n.saturating_sub(n_kills.unwrap_or(n)) as f64);
                    uses.push(at, step);
                }
                n_kills = now.n_oom_kills;
            }
        }
        uses
    }

    fn push(&mut self, at_ms: f64, step: [Option<f64>; N_USES]) {
        self.x.push(at_ms / 1e3);
        for (line, value) in self.lines.iter_mut().zip(step) {
            line.push(value);
        }
    }
}

/// A figure against its limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Against {
    /// What is used.
    pub used: Quantity,
    /// Of how much: `of 2 cores`, or `no limit`.
    pub limit: String,
    /// The share used, where there is a limit.
    pub share: Option<f64>,
}

impl Against {
    /// How it is coloured.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self.share {
            Some(share) if share >= NEAR_LIMIT.1 => "crit",
            Some(share) if share >= NEAR_LIMIT.0 => "warn",
            _ => "",
        }
    }

    /// The limit, where there is one.
    #[must_use]
    pub fn of_limit(&self) -> Option<String> {
        self.share.map(|_| self.limit.clone())
    }

    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let share = self
            .share
            .map(|share| format!(", {}", format::percent(Some(share)).text()));
        format!(
            "{} {}{}",
            self.used.text(),
            self.limit,
            share.unwrap_or_default()
        )
    }
}

/// CPU: cores against the limit.
#[must_use]
pub fn cpu(now: &Resources) -> Against {
    let limit = now.cpu_limit_cores.filter(|l| *l > 0.0);
    Against {
        used: Quantity {
            value: cores(now.cpu_cores),
            unit: t(W::Cores),
        },
        limit: limit.map_or_else(
            || t(W::NoLimit).to_owned(),
            |l| phrases::of_limit(&cores(l)),
        ),
        share: limit.map(|l| now.cpu_cores / l),
    }
}

/// Memory: the working set against the limit.
#[must_use]
pub fn memory(now: &Resources) -> Against {
    let limit = now.memory_limit_bytes.filter(|l| *l > 0);
    Against {
        used: format::bytes(now.memory_bytes),
        limit: limit.map_or_else(
            || t(W::NoLimit).to_owned(),
            |l| phrases::of_limit(&axis_bytes(l as f64, 0.0)),
        ),
        share: limit.map(|l| now.memory_bytes as f64 / l as f64),
    }
}

/// Cores: `0.03`, `1.25`, `16`.
#[must_use]
pub fn cores(n: f64) -> String {
    let text = format::rate(n);
    match text.strip_suffix(".00").or_else(|| text.strip_suffix(".0")) {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// A tick of an axis of bytes.
#[must_use]
pub fn axis_bytes(n: f64, _: f64) -> String {
    // Ticks are powers of two apart: what has decimals is one half.
    let q = format::bytes(n.max(0.0) as u64);
    let value = q.value.trim_end_matches('0').trim_end_matches('.');
    let value = if q.value.contains('.') {
        value
    } else {
        &q.value
    };
    format!("{value}\u{a0}{}", q.unit)
}

#[cfg(test)]
mod tests {
    use modeltap_api_types::QuerySeries;

    use super::*;

    const LIVE: Range = Range {
        span_seconds: 300,
        end_ms: None,
    };

    fn answer(values: Vec<Option<f64>>) -> QueryResult {
        QueryResult {
            metric: String::new(),
            stat: String::new(),
            unit: String::new(),
            from_unix_ms: 1_000_000,
            step_seconds: 5,
            series: vec![QuerySeries {
                name: String::new(),
                values,
            }],
            n_incomplete: 0,
            n_requests: 0,
            more: Vec::new(),
        }
    }

    fn used(cpu_cores: f64) -> Resources {
        Resources {
            cpu_cores,
            ..Resources::default()
        }
    }

    #[test]
    fn history_is_continued_by_live_seconds_and_nothing_is_told_twice() {
        let history = UseHistory::new(vec![answer(vec![Some(1.0), Some(2.0), Some(3.0)])]);
        let mut live = LiveUses::default();
        for at in [1_008_000, 1_009_000, 1_009_000, 1_010_000] {
            live.push(at, used(at as f64));
        }
        let uses = Uses::join(LIVE, 1_010_000.0, Some(&history), &live);
        assert_eq!(uses.x, [1_000.0, 1_008.0, 1_009.0, 1_010.0]);
        assert_eq!(uses.values(Use::Cpu)[0], Some(1.0));
        assert_eq!(uses.values(Use::Cpu)[1], Some(1_008_000.0));
        assert_eq!(uses.values(Use::CpuLimit), [None; 4]);
        // A longer range has steps alone, a fixed one no live seconds.
        for range in [
            Range {
                span_seconds: 3_600,
                end_ms: None,
            },
            Range {
                span_seconds: 300,
                end_ms: Some(1_020_000.0),
            },
        ] {
            let uses = Uses::join(range, 1_020_000.0, Some(&history), &live);
            assert_eq!(uses.x, [1_000.0, 1_005.0, 1_010.0]);
        }
    }

    #[test]
    fn a_kill_shows_in_the_second_that_added_it() {
        let mut live = LiveUses::default();
        for (second, n) in [(1, 4), (2, 4), (3, 6)] {
            let now = Resources {
                n_oom_kills: Some(n),
                ..Resources::default()
            };
            live.push(second * 1_000, now);
        }
        let uses = Uses::join(LIVE, 3_000.0, None, &live);
        assert_eq!(
            uses.values(Use::OomKills),
            [Some(0.0), Some(0.0), Some(2.0)]
        );
    }

    #[test]
    fn live_seconds_are_bounded() {
        let mut live = LiveUses::default();
        for second in 0..2_000 {
            live.push(second * 1_000, used(0.0));
        }
        assert_eq!(live.seconds.len(), MAX_LIVE);
    }

    #[test]
    fn figures_are_told_against_their_limit() {
        let mut now = Resources {
            cpu_cores: 0.5,
            cpu_limit_cores: Some(2.0),
            memory_bytes: 487 << 20,
            memory_limit_bytes: Some(512 << 20),
            ..Resources::default()
        };
        assert_eq!(cpu(&now).text(), "0.50\u{a0}cores of 2, 25.0\u{a0}%");
        assert_eq!(cpu(&now).class(), "");
        assert_eq!(memory(&now).class(), "crit");
        now.memory_limit_bytes = None;
        assert_eq!(memory(&now).text(), "487\u{a0}MiB no limit");
        assert_eq!(memory(&now).class(), "");
    }

    #[test]
    fn byte_ticks_have_no_idle_decimals() {
        assert_eq!(axis_bytes(0.0, 0.0), "0\u{a0}B");
        assert_eq!(axis_bytes(f64::from(64 << 20), 0.0), "64\u{a0}MiB");
        assert_eq!(axis_bytes(1.5 * f64::from(1 << 30), 0.0), "1.5\u{a0}GiB");
        assert_eq!(axis_bytes(f64::from(100 << 10), 0.0), "100\u{a0}KiB");
    }
}
