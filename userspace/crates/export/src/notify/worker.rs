//! One notifier: its queue, and the task that empties it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use modeltap_core::alert::{Alert, Delivery};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::ledger::{Decision, Ledger};
use super::message::{Message, Sender};
use super::queue::{Failed, Item, Next, Patience, Queue, Taken, Ticket};
use super::receiver::{Failure, Receiver};
use super::records::{Outcome, Records, now};
use super::settings::Timing;

/// Why a message was not sent by a daemon that ended.
pub(super) const ENDED: &str = "the daemon ended before it was sent";
const QUEUE_FULL: &str = "too many messages wait: the oldest gave way";

/// One notifier.
#[derive(Debug)]
pub(super) struct Worker {
    pub receiver: Receiver,
    pub sender: Arc<Sender>,
    /// Whether a test is under way.
    pub is_tested: AtomicBool,
    records: Arc<Mutex<Records>>,
    state: Mutex<State>,
    wake: Notify,
    timing: Timing,
    origin: Instant,
}

#[derive(Debug)]
struct State {
    queue: Queue<Message>,
    ledger: Ledger,
    /// Failed tellings in a row of what fires still.
    n_refreshes_failed: u32,
}

impl Worker {
    pub fn new(
        receiver: Receiver,
        sender: Arc<Sender>,
        records: Arc<Mutex<Records>>,
        timing: Timing,
    ) -> Self {
        Self {
            receiver,
            sender,
            is_tested: AtomicBool::new(false),
            records,
            state: Mutex::new(State {
                queue: Queue::new(Patience {
                    backoff: timing.backoff,
                    cap: timing.backoff_cap,
                    give_up: timing.give_up,
                }),
                ledger: Ledger::default(),
                n_refreshes_failed: 0,
            }),
            wake: Notify::new(),
            timing,
            origin: Instant::now(),
        }
    }

    /// Queues what is to be told of `changed`.
    pub fn notify(&self, changed: &[Alert]) {
        let is_stateful = self.receiver.is_stateful();
        let mut told = Vec::new();
        let mut state = self.state();
        for alert in changed {
            match state.ledger.decide(alert, is_stateful) {
                Decision::Tell => told.push(alert.clone()),
                Decision::Withhold(why) => {
                    self.record(std::slice::from_ref(alert), 0, Outcome::Silenced, Some(why));
                }
                Decision::Nothing => {}
            }
        }
        self.push(&mut state, told);
    }

    /// Takes up again after a restart; `rows` are those of this notifier.
    pub fn resume(&self, alerts: &[Alert], rows: &[&Delivery]) {
        let mut told = Vec::new();
        let mut state = self.state();
        for alert in alerts {
            if state.ledger.resume(alert, rows) {
                told.push(alert.clone());
            }
        }
        self.push(&mut state, told);
    }

    /// Alerts that wait or are under way.
    pub fn n_queued(&self) -> u64 {
        let n_queued = self
            .state()
            .queue
            .items()
            .map(|item| item.message.alerts.len())
            .sum::<usize>();
        u64::try_from(n_queued).unwrap_or(u64::MAX)
    }

    /// Sends until `stop` says so, and then what is due.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut refreshed = Duration::ZERO;
        loop {
            self.give_up();
            let is_stopping = *stop.borrow();
            if self.receiver.forgets() && !is_stopping && self.elapsed() >= refreshed {
                refreshed = self.refresh().await;
            }
            let next = self.state().queue.next(self.elapsed());
            let until = match next {
                Next::Send(ticket, item) => {
                    self.attempt(ticket, item).await;
                    continue;
                }
                _ if is_stopping => return,
                Next::At(until) => Some(until),
                Next::Nothing => None,
            };
            let refresh = self.receiver.forgets().then_some(refreshed);
            let until = until.into_iter().chain(refresh).min();
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.reached(until) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Records everything that was not sent.
    pub fn end(&self) {
        for item in self.state().queue.drain() {
            let error = item.error.map_or_else(
                || ENDED.to_owned(),
                |error| format!("{ENDED}; before: {error}"),
            );
            self.record(
                &item.message.alerts,
                item.n_attempts,
                Outcome::Left,
                Some(error),
            );
        }
    }

    /// Records how it went with each of `alerts`; returns the last row.
    pub fn record(
        &self,
        alerts: &[Alert],
        n_attempts: u32,
        outcome: Outcome,
        error: Option<String>,
    ) -> Option<Delivery> {
        let channel = self.receiver.channel();
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = alerts
            .iter()
            .map(|alert| records.add(channel, alert, n_attempts, outcome, error.clone()));
        rows.last()
    }

    fn push(&self, state: &mut State, alerts: Vec<Alert>) {
        if alerts.is_empty() {
            return;
        }
        let now = self.elapsed();
        for (lane, message) in group(alerts, self.receiver.max_alerts()) {
            if let Some(item) = state.queue.push(now, lane, message) {
                self.record(
                    &item.message.alerts,
                    item.n_attempts,
                    Outcome::Dropped,
                    Some(QUEUE_FULL.to_owned()),
                );
            }
        }
        self.wake.notify_one();
    }

    async fn attempt(&self, ticket: Ticket, item: Item<Message>) {
        let mut message = item.message;
        let result = self.receiver.send(&self.sender, &mut message, now()).await;
        let n_attempts = item.n_attempts + 1;
        let alerts = message.alerts.clone();
        let (outcome, error) = match result {
            Ok(()) => {
                self.state().queue.over(ticket, Taken::Yes);
                (Outcome::Delivered, None)
            }
            Err(Failure {
                reach: Some(reach),
                retry_after,
                text,
            }) => {
                let failed = Failed {
                    reach,
                    retry_after,
                    error: &text,
                    jitter: jitter(),
                    message,
                };
                let will_retry = self.state().queue.failed(ticket, self.elapsed(), failed);
                let outcome = if will_retry {
                    Outcome::Retried
                } else {
                    Outcome::Failed
                };
                (outcome, Some(text))
            }
            Err(refused) => {
                self.state().queue.over(ticket, Taken::No);
                (Outcome::Failed, Some(refused.text))
            }
        };
        self.log(n_attempts, outcome, error.as_deref());
        self.record(&alerts, n_attempts, outcome, error);
    }

    fn give_up(&self) {
        let expired = self.state().queue.expired(self.elapsed());
        for item in expired {
            let error = item.error.unwrap_or_default();
            self.log(item.n_attempts, Outcome::Failed, Some(&error));
            self.record(
                &item.message.alerts,
                item.n_attempts,
                Outcome::Failed,
                Some(error),
            );
        }
    }

    /// Tells again what fires; returns when to do it next. A row is recorded
    /// where it begins to fail, and where it goes well again.
    async fn refresh(&self) -> Duration {
        let (alerts, held_until) = {
            let state = self.state();
            // Those that wait are told soon.
            let waiting: HashSet<_> = state
                .queue
                .items()
                .flat_map(|item| item.message.alerts.iter().map(|alert| alert.id.clone()))
                .collect();
            let told = state.ledger.told();
            let alerts: Vec<_> = told
                .filter(|alert| !waiting.contains(&alert.id))
                .cloned()
                .collect();
            (alerts, state.queue.held_until())
        };
        if held_until > self.elapsed() {
            return held_until;
        }
        let mut refused = None;
        for (_, mut message) in group(alerts.clone(), self.receiver.max_alerts()) {
            let Err(failure) = self.receiver.send(&self.sender, &mut message, now()).await else {
                continue;
            };
            let is_down = failure.reach.is_some();
            if is_down {
                let now = self.elapsed();
                let (after, error) = (failure.retry_after, failure.text.as_str());
                let _ = self.state().queue.hold(now, after, error, jitter());
            }
            refused = Some((message.alerts, failure.text));
            if is_down {
                break;
            }
        }
        let n_failed = {
            let mut state = self.state();
            let next = match &refused {
                Some(_) => state.n_refreshes_failed.saturating_add(1),
                None => 0,
            };
            std::mem::replace(&mut state.n_refreshes_failed, next)
        };
        match refused {
            Some((alerts, error)) if n_failed == 0 => {
                self.log(1, Outcome::Retried, Some(&error));
                self.record(&alerts, 1, Outcome::Retried, Some(error));
            }
            None if n_failed > 0 => {
                self.record(
                    &alerts,
                    n_failed.saturating_add(1),
                    Outcome::Delivered,
                    None,
                );
            }
            _ => {}
        }
        let held_until = self.state().queue.held_until();
        if held_until > self.elapsed() {
            return held_until;
        }
        self.elapsed().saturating_add(self.timing.refresh)
    }

    fn log(&self, n_attempts: u32, outcome: Outcome, error: Option<&str>) {
        let notifier = self.receiver.channel().as_str();
        let error = error.unwrap_or_default();
        match outcome {
            // An hour of a receiver that is down is one line, not seventy.
            Outcome::Retried if n_attempts == 1 => {
                tracing::warn!(notifier, error, "an alert is not delivered yet");
            }
            Outcome::Failed => {
                tracing::error!(notifier, n_attempts, error, "an alert was not delivered");
            }
            _ => tracing::debug!(notifier, n_attempts, error, ?outcome, "an alert was sent"),
        }
    }

    async fn reached(&self, until: Option<Duration>) {
        match until {
            Some(until) => sleep_until(self.origin + until).await,
            None => std::future::pending().await,
        }
    }

    fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages of at most `max_alerts`, each of one service, and their lanes.
fn group(alerts: Vec<Alert>, max_alerts: usize) -> Vec<(Arc<str>, Message)> {
    let mut messages: Vec<(Arc<str>, Message)> = Vec::new();
    for alert in alerts {
        let open = messages.iter_mut().rev().find(|(_, message)| {
            message.service == alert.service && message.alerts.len() < max_alerts
        });
        if let Some((_, message)) = open {
            message.alerts.push(alert);
            continue;
        }
        // Alone, an alert waits for none but itself.
        let lane = if max_alerts == 1 {
            alert.id.clone()
        } else {
            alert.service.clone()
        };
        let message = Message {
            service: alert.service.clone(),
            alerts: vec![alert],
            told: Vec::new(),
        };
        messages.push((lane, message));
    }
    messages
}

/// A number between 0 and 1, another each time.
fn jitter() -> f64 {
    // Its keys are random; no more is needed here.
    let random = RandomState::new().hash_one(0_u8);
    (random >> 11) as f64 / (1_u64 << 53) as f64
}
