//! The receivers behind one door.

use std::time::Duration;

use modeltap_core::time::UnixNs;

use super::email::Mailer;
use super::http::Poster;
use super::message::{Message, Sender};
use super::queue::Reach;
use super::settings::RoutingKey;
use super::{Channel, alertmanager, pagerduty, slack, webhook};

/// Most alerts of one message; more become further messages.
const MAX_ALERTS: usize = 50;

/// Something that takes messages.
#[derive(Debug)]
pub(super) enum Receiver {
    Webhook(Poster),
    Slack(Poster),
    PagerDuty(Poster, RoutingKey),
    Email(Box<Mailer>),
    Alertmanager(Poster, Duration),
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// One line without secrets.
    pub text: String,
    /// How far it reaches; `None` where the next attempt would end the same.
    pub reach: Option<Reach>,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn permanent(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            reach: None,
            retry_after: None,
        }
    }

    pub fn of_message(text: String, retry_after: Option<Duration>) -> Self {
        Self {
            text,
            reach: Some(Reach::Message),
            retry_after,
        }
    }

    pub fn of_receiver(text: String, retry_after: Option<Duration>) -> Self {
        Self {
            text,
            reach: Some(Reach::Receiver),
            retry_after,
        }
    }

    #[cfg(test)]
    pub fn reach_name(&self) -> &'static str {
        match self.reach {
            None => "permanent",
            Some(Reach::Message) => "message",
            Some(Reach::Receiver) => "receiver",
        }
    }
}

impl Receiver {
    pub fn channel(&self) -> Channel {
        match self {
            Self::Webhook(_) => Channel::Webhook,
            Self::Slack(_) => Channel::Slack,
            Self::PagerDuty(..) => Channel::PagerDuty,
            Self::Email(_) => Channel::Email,
            Self::Alertmanager(..) => Channel::Alertmanager,
        }
    }

    pub fn target(&self) -> String {
        match self {
            Self::Webhook(poster)
            | Self::Slack(poster)
            | Self::PagerDuty(poster, _)
            | Self::Alertmanager(poster, _) => poster.target(),
            Self::Email(mailer) => mailer.target(),
        }
    }

    /// Whether it holds open what fires until it is told otherwise.
    pub fn is_stateful(&self) -> bool {
        matches!(self, Self::PagerDuty(..) | Self::Alertmanager(..))
    }

    /// Whether it has to be told again and again of what fires.
    pub fn forgets(&self) -> bool {
        matches!(self, Self::Alertmanager(..))
    }

    /// Most alerts of one message to it.
    pub fn max_alerts(&self) -> usize {
        match self {
            // An event is about one.
            Self::PagerDuty(..) => 1,
            _ => MAX_ALERTS,
        }
    }

    /// Sends `message`, as it is known `at` that time. Those of several
    /// receivers who took it are left out of `message` when it fails.
    ///
    /// # Errors
    /// It was not taken by all.
    pub async fn send(
        &self,
        sender: &Sender,
        message: &mut Message,
        at: UnixNs,
    ) -> Result<(), Failure> {
        match self {
            Self::Webhook(poster) => poster.post(&webhook::body(sender, message), &[]).await,
            Self::Slack(poster) => poster.post(&slack::body(sender, message), &[]).await,
            Self::PagerDuty(poster, key) => {
                for alert in &message.alerts {
                    let event = pagerduty::event(sender, key, alert);
                    poster.post(&event, &[key.reveal()]).await?;
                }
                Ok(())
            }
            Self::Email(mailer) => mailer.send(sender, message).await,
            Self::Alertmanager(poster, lasting) => {
                let alerts = alertmanager::alerts(sender, &message.alerts, at, *lasting);
                poster.post(&alerts, &[]).await
            }
        }
    }
}
