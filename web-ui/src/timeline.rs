//! What happened, as marks under the charts and as a list. Pure.

use modeltap_api_types::Event;

use crate::words::{W, phrases, t};

/// Marks nearer to each other than this share of a chart become one.
const NEAR: f64 = 0.015;
/// Marks a chart has at most; the newest stay.
const MAX_MARKS: usize = 60;

/// How a kind of event is told: shape and colour and word, no one of which is
/// needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The kind, as the API has it.
    pub name: &'static str,
    /// Its shape.
    pub shape: &'static str,
    /// The class of its colour.
    pub class: &'static str,
    /// What it is called; `None` for a kind of a newer daemon.
    pub words: Option<W>,
    /// How grave it is: of marks that are one the gravest shows.
    pub rank: u8,
}

const fn kind(
    name: &'static str,
    shape: &'static str,
    class: &'static str,
    words: W,
    rank: u8,
) -> Kind {
    Kind {
        name,
        shape,
        class,
        words: Some(words),
        rank,
    }
}

/// Every kind that this page knows.
pub const KINDS: [Kind; 12] = [
    kind("container_started", "▲", "ok", W::ContainerStarted, 2),
    kind("container_stopped", "■", "warn", W::ContainerStopped, 4),
    kind("image_changed", "◆", "info", W::ImageChanged, 5),
    kind("oom_killed", "✖", "crit", W::OomKilled, 8),
    kind("health_changed", "◐", "info", W::HealthChanged, 3),
    kind("alert_firing", "!", "crit", W::AlertFires, 7),
    kind("alert_resolved", "✓", "ok", W::AlertResolved, 1),
    kind("daemon_started", "▶", "idle", W::DaemonStarted, 1),
    kind("daemon_stopped", "■", "idle", W::DaemonStopped, 2),
    kind("data_lost", "▽", "crit", W::DataLost, 6),
    kind("history_trouble", "▽", "warn", W::HistoryTrouble, 6),
    kind("capture_reduced", "▽", "warn", W::CaptureReduced, 6),
];

/// Kinds that are the daemon's own.
pub const DAEMONS_OWN: [&str; 5] = [
    "daemon_started",
    "daemon_stopped",
    "data_lost",
    "history_trouble",
    "capture_reduced",
];

/// What stands for a kind of a newer daemon.
const OTHER: Kind = Kind {
    name: "",
    shape: "●",
    class: "idle",
    words: None,
    rank: 0,
};

/// How a kind is told.
#[must_use]
pub fn kind_of(name: &str) -> Kind {
    let known = KINDS.into_iter().find(|k| k.name == name);
    known.unwrap_or(OTHER)
}

/// What a kind is called.
#[must_use]
pub fn kind_words(kind: &str) -> String {
    let words = kind_of(kind).words;
    words.map_or_else(|| kind.replace('_', " "), |w| t(w).to_owned())
}

/// What happened, in words: `Container stopped: chat-1, exit code 137`.
#[must_use]
pub fn words(event: &Event) -> String {
    let mut words = kind_words(&event.kind);
    let particulars = [event.container.clone(), particular(event)];
    let particulars: Vec<String> = particulars.into_iter().flatten().collect();
    if !particulars.is_empty() {
        words.push_str(": ");
        words.push_str(&particulars.join(", "));
    }
    words
}

/// The detail as a reader wants it; nothing where there is none.
#[must_use]
pub fn particular(event: &Event) -> Option<String> {
    let detail = event.detail.trim();
    let is_code = !detail.is_empty() && detail.bytes().all(|b| b.is_ascii_digit());
    match event.kind.as_str() {
        _ if detail.is_empty() => None,
        "container_stopped" if is_code => Some(phrases::exit_code(detail)),
        _ => Some(detail.replace(" -> ", " → ")),
    }
}

/// One mark on the axis of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Where, Unix seconds.
    pub at: f64,
    /// The gravest of its kinds.
    pub kind: Kind,
    /// When each of its events was, Unix milliseconds, and what it was, the
    /// oldest first.
    pub events: Vec<(u64, String)>,
}

/// The marks of a chart that is `span_seconds` long.
#[must_use]
pub fn marks(events: &[Event], span_seconds: f64) -> Vec<Mark> {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|e| e.at_unix_ms);
    let mut marks: Vec<Mark> = Vec::new();
    for event in events {
        let at = event.at_unix_ms as f64 / 1e3;
        let kind = kind_of(&event.kind);
        let told = (event.at_unix_ms, words(event));
        match marks.last_mut() {
            Some(last) if at - last.at < NEAR * span_seconds => {
                last.events.push(told);
                if kind.rank > last.kind.rank {
                    last.kind = kind;
                }
            }
            _ => marks.push(Mark {
                at,
                kind,
                events: vec![told],
            }),
        }
    }
    let surplus = marks.len().saturating_sub(MAX_MARKS);
    marks.split_off(surplus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_unix_ms: u64, kind: &str, detail: &str) -> Event {
        Event {
            at_unix_ms,
            kind: kind.into(),
            service: Some("chat".into()),
            container: Some("chat-1".into()),
            detail: detail.into(),
        }
    }

    #[test]
    fn events_are_told_with_container_and_particulars() {
        for (kind, detail, expected) in [
            (
                "container_stopped",
                "137",
                "Container stopped: chat-1, exit code 137",
            ),
            (
                "container_stopped",
                "exit code 1",
                "Container stopped: chat-1, exit code 1",
            ),
            (
                "image_changed",
                "a:1 -> a:2",
                "Image changed: chat-1, a:1 → a:2",
            ),
            ("oom_killed", "", "Killed: out of memory: chat-1"),
            ("gpu_fell_off", "bus", "gpu fell off: chat-1, bus"),
        ] {
            assert_eq!(words(&event(0, kind, detail)), expected);
        }
    }

    #[test]
    fn near_events_are_one_mark_of_the_gravest_kind() {
        let events = [
            event(110_000, "container_started", "a:1"),
            event(100_500, "container_stopped", "137"),
            event(100_000, "oom_killed", ""),
        ];
        let marks = marks(&events, 300.0);
        let told: Vec<_> = marks
            .iter()
            .map(|m| (m.at, m.kind.name, m.events.len()))
            .collect();
        assert_eq!(
            told,
            [(100.0, "oom_killed", 2), (110.0, "container_started", 1),]
        );
    }

    #[test]
    fn marks_are_bounded_and_the_newest_stay() {
        let events: Vec<_> = (0..1_000)
            .map(|i| event(i * 10_000, "container_started", ""))
            .collect();
        let marks = marks(&events, 300.0);
        assert_eq!(marks.len(), MAX_MARKS);
        assert_eq!(marks.last().map(|m| m.at), Some(9_990.0));
    }
}
