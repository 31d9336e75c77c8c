//! The notifiers that run.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use modeltap_core::alert::{Alert, AlertState, Delivery, Severity};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::email::Mailer;
use super::http::Poster;
use super::message::{Message, Sender};
use super::receiver::{Failure, Receiver};
use super::records::{Outcome, Records, now};
use super::settings::{Settings, Timing};
use super::worker::Worker;
use super::{Channel, NotifierState, NotifierStats, alertmanager};

/// Names the alert of a test.
const TEST: &str = "test";

/// The notifiers that run. Clones are the same notifiers.
///
/// No method but [`Self::test`] and [`Self::stop`] waits for anything: they
/// may be called from the task that counts.
#[derive(Clone)]
pub struct Notifiers {
    inner: Arc<Inner>,
}

struct Inner {
    workers: Vec<Arc<Worker>>,
    records: Arc<Mutex<Records>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
    timing: Timing,
}

/// Notifiers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// No HTTP client can be built.
    #[error("cannot prepare the notifiers' HTTP client")]
    Client(#[source] reqwest::Error),
    /// TLS to the mail server cannot be prepared.
    #[error("cannot prepare the connection to the mail server")]
    Mail(#[source] lettre::transport::smtp::Error),
}

/// No test was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    /// There is no notifier of this name.
    #[error("there is no such notifier")]
    Unknown,
    /// Its variables are not set.
    #[error("the notifier is not configured")]
    NotConfigured,
    /// The one before is not over.
    #[error("a test of this notifier is already under way")]
    Busy,
    /// The daemon ends.
    #[error("the daemon is stopping")]
    Stopping,
}

impl Notifiers {
    /// Starts a task for each notifier that `settings` configure; must be
    /// called inside a tokio runtime. Nothing is sent yet.
    ///
    /// # Errors
    /// TLS cannot be set up (the host's trusted certificates are unreadable).
    pub fn start(settings: Settings) -> Result<Self, NotifyError> {
        let timing = settings.timing;
        let sender = Arc::new(Sender {
            host: settings.host.clone(),
            public_url: settings.public_url.clone(),
        });
        let records = Arc::default();
        let workers: Vec<_> = receivers(settings)?
            .into_iter()
            .map(|receiver| {
                Arc::new(Worker::new(
                    receiver,
                    Arc::clone(&sender),
                    Arc::clone(&records),
                    timing,
                ))
            })
            .collect();
        let stop = watch::Sender::new(false);
        let tasks = workers
            .iter()
            .map(|worker| tokio::spawn(Arc::clone(worker).run(stop.subscribe())))
            .collect();
        let inner = Inner {
            workers,
            records,
            tasks: Mutex::new(tasks),
            stop,
            timing,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Takes the alerts whose state or silence changed in this second, and
    /// queues what is to be sent: firing and resolved, not pending, grouped
    /// by service where the receiver has groups.
    ///
    /// Never waits. An alert that was told as firing before is not told again,
    /// so repeats cost nothing. A silenced one (`silenced_by`) is recorded as
    /// not sent; once its silence ends and it is still firing, handing it in
    /// again sends it. That it is over is told only where that it began was
    /// told; a silence does not keep PagerDuty and Alertmanager from closing
    /// what they hold open.
    pub fn notify(&self, changed: &[Alert]) {
        for worker in &self.inner.workers {
            worker.notify(changed);
            if self.is_stopping() {
                // No task is left to send it.
                worker.end();
            }
        }
    }

    /// Takes up again after a restart; to be called once, before
    /// [`Self::notify`].
    ///
    /// `alerts` are those that fire still, and those that were over within the
    /// last hour. They were told before the restart, so they are not told
    /// again, unless their last row in `deliveries` says that it was to be
    /// tried again, or (firing ones) a notifier has no row of them.
    pub fn resume(&self, alerts: &[Alert], deliveries: &[Delivery]) {
        for worker in &self.inner.workers {
            let name = worker.receiver.channel().as_str();
            let rows: Vec<_> = deliveries
                .iter()
                .filter(|row| &*row.notifier == name)
                .collect();
            worker.resume(alerts, &rows);
        }
    }

    /// Takes what was recorded since the last call, oldest first: a row for
    /// each alert, state, notifier and attempt. To be called every second and
    /// once after [`Self::stop`]; at most 10,000 rows wait, the oldest go.
    #[must_use]
    pub fn take_deliveries(&self) -> Vec<Delivery> {
        self.records().take()
    }

    /// Every notifier, configured or not, in the order of
    /// [`Channel::ALL`](super::Channel::ALL).
    #[must_use]
    pub fn list(&self) -> Vec<NotifierState> {
        let records = self.records();
        Channel::ALL
            .into_iter()
            .map(|channel| NotifierState {
                channel,
                target: self.worker(channel).map(|worker| worker.receiver.target()),
                last: records.last(channel),
            })
            .collect()
    }

    /// Counts of each configured notifier, for /metrics.
    #[must_use]
    pub fn stats(&self) -> Vec<NotifierStats> {
        self.inner
            .workers
            .iter()
            .map(|worker| {
                let n_queued = worker.n_queued();
                self.records().stats(worker.receiver.channel(), n_queued)
            })
            .collect()
    }

    /// Sends a test by the notifier of this name, once, and tells how it
    /// went: `error` is `None` if it was taken. Takes twice
    /// [`Timing::answer`](super::Timing::answer) at most. The row (`alert` is
    /// `test`) is among the deliveries too.
    ///
    /// # Errors
    /// Nothing was sent.
    pub async fn test(&self, name: &str) -> Result<Delivery, TestError> {
        let channel = Channel::parse(name).ok_or(TestError::Unknown)?;
        let worker = self.worker(channel).ok_or(TestError::NotConfigured)?;
        if self.is_stopping() {
            return Err(TestError::Stopping);
        }
        let _busy = Busy::new(&worker.is_tested).ok_or(TestError::Busy)?;
        let alert = test_alert();
        let mut message = Message {
            service: alert.service.clone(),
            alerts: vec![alert],
            told: Vec::new(),
        };
        if channel == Channel::PagerDuty {
            // Nobody has to close the incident of a test.
            let mut over = message.alerts[0].clone();
            (over.state, over.resolved) = (AlertState::Resolved, Some(over.since));
            message.alerts.push(over);
        }
        let sending = worker.receiver.send(&worker.sender, &mut message, now());
        let error = match timeout(self.inner.timing.answer * 2, sending).await {
            Ok(Ok(())) => None,
            Ok(Err(Failure { text, .. })) => Some(text),
            Err(_) => Some(format!(
                "no answer within {:?}",
                self.inner.timing.answer * 2
            )),
        };
        let outcome = if error.is_none() {
            Outcome::Delivered
        } else {
            Outcome::Failed
        };
        let row = worker.record(&message.alerts[..1], 1, outcome, error);
        row.ok_or(TestError::Stopping)
    }

    /// Ends every task: what is due is sent, for
    /// [`Timing::stop`](super::Timing::stop) at most, the rest is recorded as
    /// not sent, to be tried again ([`Self::resume`]).
    pub async fn stop(&self) {
        self.inner.stop.send_replace(true);
        let tasks = {
            let mut tasks = self
                .inner
                .tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        let end = Instant::now() + self.inner.timing.stop;
        for mut task in tasks {
            if timeout_at(end, &mut task).await.is_err() {
                task.abort();
                // Cancelled: what it had under way is in its queue still.
                let _ = task.await;
            }
        }
        for worker in &self.inner.workers {
            worker.end();
        }
    }

    fn worker(&self, channel: Channel) -> Option<&Arc<Worker>> {
        self.inner
            .workers
            .iter()
            .find(|worker| worker.receiver.channel() == channel)
    }

    fn is_stopping(&self) -> bool {
        *self.inner.stop.borrow()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.inner
            .records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Notifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels = self.inner.workers.iter().map(|w| w.receiver.channel());
        f.debug_list().entries(channels).finish()
    }
}

/// Holds a flag up while it lives.
struct Busy<'a>(&'a AtomicBool);

impl<'a> Busy<'a> {
    fn new(flag: &'a AtomicBool) -> Option<Self> {
        let was_busy = flag.swap(true, Ordering::AcqRel);
        (!was_busy).then_some(Self(flag))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn receivers(settings: Settings) -> Result<Vec<Receiver>, NotifyError> {
    let timing = settings.timing;
    let poster =
        |endpoint, token| Poster::new(endpoint, token, timing).map_err(NotifyError::Client);
    let mut receivers = Vec::new();
    if let Some(webhook) = settings.webhook {
        receivers.push(Receiver::Webhook(poster(webhook.url, webhook.token)?));
    }
    if let Some(url) = settings.slack {
        receivers.push(Receiver::Slack(poster(url, None)?));
    }
    if let Some(pagerduty) = settings.pagerduty {
        let poster = poster(pagerduty.endpoint(), None)?;
        receivers.push(Receiver::PagerDuty(poster, pagerduty.routing_key));
    }
    if let Some(email) = settings.email {
        let mailer = Mailer::new(email, timing).map_err(NotifyError::Mail)?;
        receivers.push(Receiver::Email(Box::new(mailer)));
    }
    if let Some(base) = settings.alertmanager {
        let poster = poster(base.join(alertmanager::PATH), None)?;
        let lasting = alertmanager::lasting(timing.refresh);
        receivers.push(Receiver::Alertmanager(poster, lasting));
    }
    Ok(receivers)
}

fn test_alert() -> Alert {
    let at = now();
    Alert {
        id: TEST.into(),
        rule: TEST.into(),
        rule_name: "Test".to_owned(),
        metric: modeltap_core::alert::AlertMetric::ErrorRate,
        service: "modeltap".into(),
        severity: Severity::Info,
        state: AlertState::Firing,
        value: None,
        threshold: None,
        summary: "This is a test of modeltap's notifications; nothing is wrong.".to_owned(),
        since: at,
        fired: Some(at),
        resolved: None,
        silenced_by: None,
    }
}
