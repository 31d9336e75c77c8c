//! What the notifiers did.

use crate::notify::NotifierStats;
use crate::text::{Kind, Text};

pub(crate) fn notifications(text: &mut Text, notifiers: &[NotifierStats]) {
    let mut notifiers: Vec<_> = notifiers.iter().collect();
    notifiers.sort_by_key(|stats| stats.channel.as_str());
    text.family(
        "modeltap_notifications_total",
        Kind::Counter,
        "Alerts handed to a notifier, one for each state, by outcome; those retried are counted again by how they end.",
    );
    for stats in &notifiers {
        for (outcome, n) in [
            ("delivered", stats.delivered),
            ("dropped", stats.dropped),
            ("failed", stats.failed),
            ("retried", stats.retried),
            ("silenced", stats.silenced),
        ] {
            let labels = [notifier(stats), ("outcome", outcome.to_owned())];
            text.sample("", &labels, n as f64);
        }
    }
    text.family(
        "modeltap_notifications_queued",
        Kind::Gauge,
        "Alerts that wait to be sent.",
    );
    for stats in &notifiers {
        text.sample("", &[notifier(stats)], stats.n_queued as f64);
    }
}

fn notifier(stats: &NotifierStats) -> (&'static str, String) {
    ("notifier", stats.channel.as_str().to_owned())
}
