//! Tells people of alerts: by webhook, Slack, PagerDuty, email and
//! Alertmanager.
//!
//! Each configured notifier has a bounded queue and a task of its own, so that
//! one receiver that hangs delays no other. Order is kept for each alert: that
//! it is over is never told before that it began.
//!
//! | the receiver | then |
//! |---|---|
//! | takes it (2xx; 250) | delivered |
//! | cannot be reached, takes too long, answers 408, 425, 429, 5xx (4yz by SMTP) | tried again, after a time that doubles up to [`Timing::backoff_cap`]; `Retry-After` is honoured |
//! | answers anything else | given up: the same message would be refused again |
//! | fails for [`Timing::give_up`] | given up |
//!
//! What an alert's text says may come from a container's labels: it is hostile
//! here, and bounded, stripped of control characters and escaped as each
//! receiver needs it. URLs of receivers are secrets; only their host is told.

mod alertmanager;
mod email;
mod http;
mod ledger;
mod message;
mod notifiers;
mod pagerduty;
mod queue;
mod receiver;
mod records;
mod settings;
mod slack;
mod text;
mod webhook;
mod worker;

use std::fmt;

use modeltap_core::alert::Delivery;

pub use self::notifiers::{Notifiers, NotifyError, TestError};
pub use self::settings::{
    EmailSettings, Endpoint, PagerDutySettings, RoutingKey, Secret, SettingError, Settings,
    SmtpServer, Timing, WebhookSettings, address, addresses,
};

/// A way to tell somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// JSON by POST to any address.
    Webhook,
    /// A Slack incoming webhook.
    Slack,
    /// PagerDuty's Events API v2.
    PagerDuty,
    /// Email by SMTP.
    Email,
    /// Prometheus' Alertmanager, API v2.
    Alertmanager,
}

impl Channel {
    /// All of them, in the order they are listed.
    pub const ALL: [Self; 5] = [
        Self::Webhook,
        Self::Slack,
        Self::PagerDuty,
        Self::Email,
        Self::Alertmanager,
    ];

    /// Its name in deliveries, metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::PagerDuty => "pagerduty",
            Self::Email => "email",
            Self::Alertmanager => "alertmanager",
        }
    }

    /// The variables that configure it; each may end in `_FILE` and then
    /// names a file that holds the value.
    #[must_use]
    pub const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Webhook => &["MODELTAP_WEBHOOK_URL", "MODELTAP_WEBHOOK_TOKEN"],
            Self::Slack => &["MODELTAP_SLACK_WEBHOOK_URL"],
            Self::PagerDuty => &["MODELTAP_PAGERDUTY_ROUTING_KEY", "MODELTAP_PAGERDUTY_URL"],
            Self::Email => &[
                "MODELTAP_SMTP_URL",
                "MODELTAP_EMAIL_FROM",
                "MODELTAP_EMAIL_TO",
            ],
            Self::Alertmanager => &["MODELTAP_ALERTMANAGER_URL"],
        }
    }

    /// The channel of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|channel| channel.as_str() == name)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of one way to tell somebody.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifierState {
    /// Which.
    pub channel: Channel,
    /// The host it sends to, without secrets; `None` where it is not
    /// configured.
    pub target: Option<String>,
    /// The last delivery since the start.
    pub last: Option<Delivery>,
}

/// What one notifier did since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifierStats {
    /// Which.
    pub channel: Channel,
    /// Alerts told, one for each state.
    pub delivered: u64,
    /// Attempts that failed and are made again, counted by alert.
    pub retried: u64,
    /// Alerts given up.
    pub failed: u64,
    /// Alerts that found the queue full.
    pub dropped: u64,
    /// Alerts that a silence kept from being sent.
    pub silenced: u64,
    /// Alerts that wait to be sent.
    pub n_queued: u64,
}
