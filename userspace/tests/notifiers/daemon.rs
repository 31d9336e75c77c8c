//! The daemon's own part: it checks what it is given before it does anything
//! else, and shows nothing of it.

use std::process::Command;

use modeltap_testbed::daemon::{Start, binary};
use modeltap_testbed::ground;

fn start(data: &std::path::Path) -> Start {
    Start::new(&binary(env!("CARGO_BIN_EXE_modeltap")), data)
}

#[test]
fn value_without_meaning_ends_the_start_and_is_not_shown() {
    let data = tempfile::tempdir().unwrap();
    for (name, value, expected) in [
        (
            "MODELTAP_SLACK_WEBHOOK_URL",
            "hooks.slack.com/sesame",
            "MODELTAP_SLACK_WEBHOOK_URL is no URL",
        ),
        (
            "MODELTAP_SMTP_URL",
            "smtps://sesame@mail.example.org",
            "MODELTAP_SMTP_URL has a user without a password",
        ),
        (
            "MODELTAP_PAGERDUTY_ROUTING_KEY_FILE",
            "/no/such/file",
            "cannot read MODELTAP_PAGERDUTY_ROUTING_KEY_FILE",
        ),
    ] {
        let failure = start(data.path()).env(name, value).fails();
        assert_eq!(failure.status.code(), Some(1), "{failure:?}");
        assert!(failure.stderr.contains(expected), "{failure:?}");
        assert!(!failure.stderr.contains("sesame"), "{failure:?}");
        assert_eq!(failure.stderr.lines().count(), 1, "{failure:?}");
    }
}

#[test]
fn configuration_shows_the_hosts_of_notifiers_only() {
    let output = Command::new(binary(env!("CARGO_BIN_EXE_modeltap")))
        .arg("config")
        .env(
            "MODELTAP_SLACK_WEBHOOK_URL",
            "https://hooks.slack.com/services/sesame",
        )
        .env("MODELTAP_PUBLIC_URL", "https://modeltap.example.org")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("\n# notifier slack: hooks.slack.com\n"),
        "{text}"
    );
    assert!(
        text.contains("public_url = \"https://modeltap.example.org\""),
        "{text}"
    );
    assert!(!text.contains("sesame"), "{text}");
}

#[test]
fn configured_notifiers_are_counted_from_the_start() {
    let Some(_ground) = ground::take("notifiers") else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let daemon = start(data.path())
        .env("MODELTAP_WEBHOOK_URL", "http://127.0.0.1:9/")
        .ready();
    let metrics = daemon.get("/metrics");
    for line in [
        "modeltap_notifications_total{notifier=\"webhook\",outcome=\"delivered\"} 0\n",
        "modeltap_notifications_queued{notifier=\"webhook\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("notifier=\"slack\""), "{metrics}");
    assert!(!daemon.log().contains("has no meaning"), "{}", daemon.log());
}
