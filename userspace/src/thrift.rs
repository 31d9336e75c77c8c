//! Watches what the daemon costs, and has less captured while it is too much.

use std::sync::Arc;
use std::time::Duration;

use modeltap_api::state::Spending;
use modeltap_capture::clock;
use modeltap_capture::control::{Control, KernelCounts, Limits};
use modeltap_capture::loader;
use modeltap_core::time::MonotonicNs;
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::budget::{Budget, Level, ProbeCost};
use crate::clerk::Clerk;

const SECOND: Duration = Duration::from_secs(1);
/// How often the probes' time is measured, in seconds, and for how long.
const LOOK_EVERY: u32 = 60;
const LOOK: Duration = Duration::from_millis(500);
/// The second after the start in which it is measured first.
const FIRST_LOOK: u32 = 5;

/// What is captured at a level.
fn limits(level: Level) -> Limits {
    let full = loader::Config::default();
    match level {
        Level::Full => full.limits(),
        Level::Details => Limits::Bytes {
            read_turn: full.read_turn_bytes,
            write_turn: full.write_turn_bytes,
            continued: 64,
        },
        Level::Heads => Limits::Bytes {
            read_turn: 2_048,
            write_turn: 512,
            continued: 64,
        },
        Level::Counts => Limits::Counts,
    }
}

/// One look at what was used so far.
#[derive(Clone, Copy)]
struct Used {
    at: MonotonicNs,
    cpu: Duration,
    n_events: u64,
}

/// Keeps the daemon within its budget.
pub struct Thrift {
    budget: Budget,
    probes: ProbeCost,
    control: Arc<Mutex<Control>>,
    clerk: Arc<Clerk>,
    told: watch::Sender<Spending>,
}

impl Thrift {
    /// With a budget of so many cores; what is spent is told by `told`.
    pub fn new(
        max_cores: f64,
        control: Arc<Mutex<Control>>,
        clerk: Arc<Clerk>,
        told: watch::Sender<Spending>,
    ) -> Self {
        told.send_modify(|spending| {
            spending.max_cores = max_cores;
            spending.level = Level::Full.as_str();
            spending.left_out = Level::Full.left_out();
        });
        Self {
            budget: Budget::new(max_cores),
            probes: ProbeCost::default(),
            control,
            clerk,
            told,
        }
    }

    /// Looks every second, until the task is ended.
    pub async fn run(mut self) {
        let mut seconds: Interval = interval(SECOND);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut second = 0_u32;
        let mut before = self.used().await;
        loop {
            seconds.tick().await;
            second = second.wrapping_add(1);
            if second % LOOK_EVERY == FIRST_LOOK {
                self.measure().await;
            }
            let now = self.used().await;
            let seconds = now.at.since(before.at).as_secs_f64();
            if seconds <= 0.0 {
                continue;
            }
            let own = now.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds;
            let n_events = now.n_events.saturating_sub(before.n_events);
            let n_events = n_events as f64 / seconds;
            let probes = self.probes.at(n_events);
            before = now;
            let changed = self.budget.second(own + probes, n_events);
            if let Some(level) = changed {
                self.change(level).await;
            }
            let cost = self.budget.cost();
            self.told.send_modify(|spending| {
                spending.probes_cores = probes;
                if changed.is_none() {
                    spending.cores = cost;
                }
            });
        }
    }

    async fn change(&self, level: Level) {
        if let Err(error) = self.control.lock().await.limit(limits(level)) {
            tracing::error!(%error, "how much is captured cannot be changed");
            return;
        }
        let cores = self.told.borrow().cores;
        tracing::warn!(
            level = level.as_str(),
            percent_of_a_core = format!("{:.1}", cores * 100.0),
            "to stay within max_cpu, {}",
            level.left_out()
        );
        self.told.send_modify(|spending| {
            spending.level = level.as_str();
            spending.left_out = level.left_out();
            spending.step = level as u8;
            spending.since = Some(clock::anchor().unix);
        });
    }

    async fn used(&self) -> Used {
        let counts: KernelCounts = self.control.lock().await.counts();
        Used {
            at: clock::monotonic(),
            cpu: clock::process_cpu(),
            n_events: counts.events_submitted + counts.events_lost + counts.events_left_out,
        }
    }

    /// Measures how long the probes run, for a moment.
    async fn measure(&mut self) {
        if !self.measuring(true).await {
            return;
        }
        let (before, ran_before) = (self.used().await, self.control.lock().await.run_time());
        sleep(LOOK).await;
        let (now, ran) = (self.used().await, self.control.lock().await.run_time());
        self.measuring(false).await;
        self.probes.looked(
            now.at.since(before.at),
            ran.saturating_sub(ran_before),
            now.n_events.saturating_sub(before.n_events),
        );
    }

    async fn measuring(&self, on: bool) -> bool {
        let clerk = self.clerk.clone();
        spawn_blocking(move || clerk.measure(on))
            .await
            .unwrap_or(false)
    }
}
