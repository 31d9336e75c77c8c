//! The notifiers that run.

use modeltap_core::alert::{Alert, Delivery};

use super::{NotifierState, NotifierStats, Settings};

/// The notifiers that run. Clones are the same notifiers.
///
/// No method but [`Self::test`] and [`Self::stop`] waits for anything: they
/// may be called from the task that counts.
#[derive(Clone, Debug)]
pub struct Notifiers {}

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
        let _ = settings;
        Ok(Self {})
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
        let _ = changed;
    }

    /// Takes up again after a restart; to be called once, before
    /// [`Self::notify`].
    ///
    /// `alerts` are those that fire still, and those that were over within the
    /// last hour. They were told before the restart, so they are not told
    /// again, unless their last row in `deliveries` says that it was to be
    /// tried again, or (firing ones) a notifier has no row of them.
    pub fn resume(&self, alerts: &[Alert], deliveries: &[Delivery]) {
        let _ = (alerts, deliveries);
    }

    /// Takes what was recorded since the last call, oldest first: a row for
    /// each alert, state, notifier and attempt. To be called every second and
    /// once after [`Self::stop`]; at most 10,000 rows wait, the oldest go.
    #[must_use]
    pub fn take_deliveries(&self) -> Vec<Delivery> {
        Vec::new()
    }

    /// Every notifier, configured or not, in the order of
    /// [`Channel::ALL`](super::Channel::ALL).
    #[must_use]
    pub fn list(&self) -> Vec<NotifierState> {
        Vec::new()
    }

    /// Counts of each configured notifier, for /metrics.
    #[must_use]
    pub fn stats(&self) -> Vec<NotifierStats> {
        Vec::new()
    }

    /// Sends a test by the notifier of this name, once, and tells how it
    /// went: `error` is `None` if it was taken. Takes
    /// [`Timing::answer`](super::Timing::answer) at most. The row (`alert` is
    /// `test`) is among the deliveries too.
    ///
    /// # Errors
    /// Nothing was sent.
    pub async fn test(&self, name: &str) -> Result<Delivery, TestError> {
        let _ = name;
        Err(TestError::NotConfigured)
    }

    /// Ends every task: what is due is sent, for
    /// [`Timing::stop`](super::Timing::stop) at most, the rest is recorded as
    /// not sent, to be tried again ([`Self::resume`]).
    pub async fn stop(&self) {}
}
