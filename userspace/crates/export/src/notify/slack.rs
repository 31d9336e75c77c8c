//! Slack's incoming webhooks.
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>

use modeltap_core::alert::{Alert, AlertState, Severity};
use modeltap_core::time::UnixNs;
use serde_json::{Value, json};

use super::message::{Message, Sender, began, readable, rule, service, summary};
use super::text::{one_line, slack};

/// Alerts that are told in full; more than that nobody reads in a chat.
const MAX_TOLD: usize = 10;

/// The body of a POST.
pub(super) fn body(sender: &Sender, message: &Message) -> Value {
    let mut blocks: Vec<Value> = message
        .alerts
        .iter()
        .take(MAX_TOLD)
        .map(|alert| json!({ "type": "section", "text": markdown(&told(alert)) }))
        .collect();
    let mut footer = Vec::new();
    if message.alerts.len() > MAX_TOLD {
        footer.push(format!("and {} more", message.alerts.len() - MAX_TOLD));
    }
    if let Some(link) = sender.link(&message.service) {
        // Escaped, so that no name ends the link.
        footer.push(format!("<{}|Open the dashboard>", slack(&link)));
    }
    if !sender.host.is_empty() {
        footer.push(format!("host {}", slack(&one_line(&sender.host, 120))));
    }
    if !footer.is_empty() {
        let elements = [markdown(&footer.join(" · "))];
        blocks.push(json!({ "type": "context", "elements": elements }));
    }
    json!({
        // Shown in notifications, and where blocks are not.
        "text": slack(&fallback(message)),
        "blocks": blocks,
    })
}

fn told(alert: &Alert) -> String {
    format!(
        "{} *{}* · {} · *{}*\n{}\n{}",
        symbol(alert),
        what(alert),
        alert.severity.as_str(),
        slack(&service(alert)),
        slack(&format!("{}: {}", rule(alert), summary(alert))),
        times(alert),
    )
}

fn what(alert: &Alert) -> &'static str {
    if alert.state == AlertState::Resolved {
        "Resolved"
    } else {
        "Firing"
    }
}

/// A text object whose words are left alone: no name becomes a link.
fn markdown(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn fallback(message: &Message) -> String {
    let lines = message.alerts.iter().take(1).map(|alert| {
        let (service, rule, summary) = (service(alert), rule(alert), summary(alert));
        format!("{}: {service}: {rule}: {summary}", what(alert))
    });
    let mut text: String = lines.collect();
    if message.alerts.len() > 1 {
        text.push_str(&format!(" (and {} more)", message.alerts.len() - 1));
    }
    text
}

fn times(alert: &Alert) -> String {
    let since = format!("Since {}", date(began(alert)));
    match alert.resolved {
        Some(resolved) => format!("{since} until {}", date(resolved)),
        None => since,
    }
}

/// Shown in the reader's own time zone.
fn date(at: UnixNs) -> String {
    format!(
        "<!date^{}^{{date_short_pretty}} {{time_secs}}|{}>",
        at.seconds(),
        readable(at)
    )
}

fn symbol(alert: &Alert) -> &'static str {
    match (alert.state, alert.severity) {
        (AlertState::Resolved, _) => ":white_check_mark:",
        (_, Severity::Critical) => ":rotating_light:",
        (_, Severity::Warning) => ":warning:",
        (_, Severity::Info) => ":information_source:",
    }
}
