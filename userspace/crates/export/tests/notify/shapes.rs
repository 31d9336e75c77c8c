//! What each receiver is sent, held against what its documentation allows.

use modeltap_core::alert::{Alert, AlertState, Severity};
use modeltap_export::notify::{Notifiers, PagerDutySettings, RoutingKey, Settings};
use serde_json::{Value, json};

use crate::sink::Sink;
use crate::support::{alert, deliveries, endpoint, firing, resolved, timing, webhook};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// An alert whose every text comes from somebody with bad intentions.
fn hostile(id: &str, state: AlertState) -> Alert {
    let evil = "<!channel> \"&\r\n\u{202e}|*>`".to_owned() + &"z".repeat(100_000);
    Alert {
        rule: evil.clone().into(),
        rule_name: evil.clone(),
        metric: modeltap_core::alert::AlertMetric::ErrorRate,
        service: evil.clone().into(),
        summary: evil.clone(),
        value: Some(f64::NAN),
        threshold: Some(f64::INFINITY),
        severity: Severity::Warning,
        ..alert(&(id.to_owned() + &evil), "", state)
    }
}

/// What `settings` send of `alerts`, in this order, to `sink`.
async fn sent(mut sink: Sink, settings: Settings, alerts: &[Alert]) -> Vec<Value> {
    let settings = Settings {
        host: "gpu-1".to_owned(),
        public_url: Some(endpoint("https://modeltap.example.org/")),
        timing: timing(),
        ..settings
    };
    let notifiers = Notifiers::start(settings).unwrap();
    notifiers.notify(alerts);
    let rows = deliveries(&notifiers, alerts.len()).await;
    assert!(rows.iter().all(|row| row.error.is_none()), "{rows:?}");
    sink.rest()
        .into_iter()
        .map(|request| request.body)
        .collect()
}

#[tokio::test]
async fn webhook_is_sent_what_alertmanager_would() {
    let sink = Sink::start([]);
    let settings = webhook(&sink);
    let bodies = sent(sink, settings, &[firing("e1"), resolved("e2")]).await;
    let labels = json!({
        "alertname": "Error rate",
        "instance": "gpu-1",
        "rule": "default:error_rate",
        "service": "api",
        "severity": "critical",
    });
    let annotations =
        json!({ "summary": "12 % of requests fail", "threshold": "0.05", "value": "0.12" });
    let one = |status: &str, ends: &str, id: &str| {
        json!({
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": "2026-11-24T03:20:07.000Z",
            "endsAt": ends,
            "generatorURL": "https://modeltap.example.org/services/api",
            "fingerprint": id,
        })
    };
    let expected = json!({
        "version": "4",
        "groupKey": "modeltap:api",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "modeltap",
        "groupLabels": { "service": "api" },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "https://modeltap.example.org",
        "alerts": [
            one("firing", "0001-01-01T00:00:00Z", "e1"),
            one("resolved", "2026-11-24T03:21:40.000Z", "e2"),
        ],
    });
    assert_eq!(bodies, [expected]);
}

#[tokio::test]
async fn hostile_text_stays_inside_its_field_of_a_webhook() {
    let sink = Sink::start([]);
    let settings = webhook(&sink);
    let bodies = sent(sink, settings, &[hostile("e1", AlertState::Firing)]).await;
    let text = bodies[0].to_string();
    assert!(text.len() < 5_000, "{}", text.len());
    assert!(!text.contains("\\r") && !text.contains("\\n") && !text.contains('\u{202e}'));
    assert_eq!(bodies[0]["status"], "firing");
    let annotations = bodies[0]["alerts"][0]["annotations"].as_object().unwrap();
    assert!(annotations.keys().eq(["summary"]), "{annotations:?}");
}

/// The limits of <https://docs.slack.dev/reference/block-kit>.
#[track_caller]
fn check_slack(body: &Value) {
    let keys: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["blocks", "text"]);
    let text = body["text"].as_str().unwrap();
    assert!(!text.is_empty() && text.chars().count() <= 40_000);
    check_markdown(text);
    let blocks = body["blocks"].as_array().unwrap();
    assert!((1..=50).contains(&blocks.len()), "{}", blocks.len());
    for block in blocks {
        let objects = match block["type"].as_str().unwrap() {
            "section" => vec![&block["text"]],
            "context" => {
                let elements = block["elements"].as_array().unwrap();
                assert!((1..=10).contains(&elements.len()));
                elements.iter().collect()
            }
            other => panic!("{other}"),
        };
        for object in objects {
            assert_eq!(object["type"], "mrkdwn");
            assert_eq!(object["verbatim"], true);
            let text = object["text"].as_str().unwrap();
            assert!((1..=3000).contains(&text.chars().count()), "{text}");
            check_markdown(text);
        }
    }
}

/// Only our own dates and links stand between angle brackets.
#[track_caller]
fn check_markdown(text: &str) {
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').unwrap();
        let inside = &rest[start + 1..end];
        let is_ours = inside.starts_with("!date^") || inside.starts_with("https://modeltap.");
        assert!(is_ours && !inside.contains('<'), "{inside:?} of {text}");
        assert_eq!(inside.matches('|').count(), 1, "{inside}");
        rest = &rest[end + 1..];
    }
    assert!(!rest.contains('>'), "{rest}");
    for (at, _) in text.match_indices('&') {
        let is_escape = ["&amp;", "&lt;", "&gt;"]
            .iter()
            .any(|escape| text[at..].starts_with(escape));
        assert!(is_escape, "{}", &text[at..]);
    }
}

#[tokio::test]
async fn slack_message_says_all_and_keeps_to_the_limits() {
    let sink = Sink::start([]);
    let settings = Settings {
        slack: Some(endpoint(&sink.url("/services/T/B/x"))),
        ..Settings::default()
    };
    let mut alerts = vec![
        firing("e0"),
        resolved("e1"),
        hostile("e2", AlertState::Firing),
    ];
    let many = (0..60).map(|n| alert(&format!("m{n}"), "many", AlertState::Firing));
    alerts.extend(many);
    let bodies = sent(sink, settings, &alerts).await;
    // 60 of one service are two messages.
    assert_eq!(bodies.len(), 4);
    for body in &bodies {
        check_slack(body);
    }
    assert_eq!(
        bodies[0]["text"],
        "Firing: api: Error rate: 12 % of requests fail (and 1 more)"
    );
    let first = bodies[0]["blocks"][0]["text"]["text"].as_str().unwrap();
    assert_eq!(
        first,
        ":rotating_light: *Firing* · critical · *api*\nError rate: 12 % of requests fail\n\
         Since <!date^1795490407^{date_short_pretty} {time_secs}|2026-11-24 03:20:07 UTC>"
    );
    let second = bodies[0]["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(
        second.starts_with(":white_check_mark: *Resolved*"),
        "{second}"
    );
    assert!(second.contains(" until <!date^1795490500^"), "{second}");
    let footer = bodies[0]["blocks"][2]["elements"][0]["text"]
        .as_str()
        .unwrap();
    assert_eq!(
        footer,
        "<https://modeltap.example.org/services/api|Open the dashboard> · host gpu-1"
    );
    let blocks = bodies[2]["blocks"].as_array().unwrap();
    let footer = blocks.last().unwrap()["elements"][0]["text"]
        .as_str()
        .unwrap();
    assert!(footer.starts_with("and 40 more · "), "{footer}");
}

/// <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>
#[track_caller]
fn check_event(event: &Value) {
    let is_text = |value: &Value, limit: usize| {
        let text = value.as_str().unwrap();
        assert!((1..=limit).contains(&text.chars().count()), "{text}");
    };
    let allowed = [
        "client",
        "client_url",
        "dedup_key",
        "event_action",
        "images",
        "links",
        "payload",
        "routing_key",
    ];
    for key in event.as_object().unwrap().keys() {
        assert!(allowed.contains(&key.as_str()), "{key}");
    }
    assert_eq!(event["routing_key"], KEY);
    is_text(&event["dedup_key"], 255);
    if event["event_action"] == "resolve" {
        return;
    }
    assert_eq!(event["event_action"], "trigger");
    let payload = &event["payload"];
    let allowed = [
        "class",
        "component",
        "custom_details",
        "group",
        "severity",
        "source",
        "summary",
        "timestamp",
    ];
    for key in payload.as_object().unwrap().keys() {
        assert!(allowed.contains(&key.as_str()), "{key}");
    }
    is_text(&payload["summary"], 1024);
    is_text(&payload["source"], 1024);
    let severity = payload["severity"].as_str().unwrap();
    assert!(["critical", "error", "warning", "info"].contains(&severity));
    assert_eq!(payload["timestamp"], "2026-11-24T03:20:07.000Z");
    for link in event["links"].as_array().unwrap() {
        is_text(&link["href"], 2048);
        is_text(&link["text"], 255);
    }
    assert!(event.to_string().len() < 512 * 1024);
}

#[tokio::test]
async fn pagerduty_gets_an_event_for_each_alert_and_one_incident_for_each_episode() {
    let sink = Sink::start([]);
    let settings = Settings {
        pagerduty: Some(PagerDutySettings {
            routing_key: RoutingKey::parse(KEY).unwrap(),
            url: Some(endpoint(&sink.url("/v2/enqueue"))),
        }),
        ..Settings::default()
    };
    let alerts = [
        firing("e1"),
        firing("e2"),
        hostile("e3", AlertState::Firing),
        hostile("e3", AlertState::Resolved),
        resolved("e1"),
    ];
    let events = sent(sink, settings, &alerts).await;
    assert_eq!(events.len(), 5);
    for event in &events {
        check_event(event);
    }
    let of = |event: &Value| {
        (
            event["event_action"].as_str().unwrap().to_owned(),
            event["dedup_key"].as_str().unwrap().to_owned(),
        )
    };
    let told: Vec<_> = events.iter().map(of).collect();
    let position = |action: &str, key: &str| {
        told.iter()
            .position(|(a, k)| a == action && k == key)
            .unwrap_or_else(|| panic!("{action} {key} in {told:?}"))
    };
    assert!(position("trigger", "e1") < position("resolve", "e1"));
    let long = &told
        .iter()
        .find(|(_, key)| key.starts_with("e3"))
        .unwrap()
        .1;
    assert!(position("trigger", long) < position("resolve", long));
    let first = &events[position("trigger", "e1")];
    assert_eq!(
        first["payload"]["summary"],
        "api: Error rate: 12 % of requests fail"
    );
    assert_eq!(first["payload"]["source"], "gpu-1");
    assert_eq!(first["client_url"], "https://modeltap.example.org");
}

#[tokio::test]
async fn alertmanager_is_sent_labels_times_and_link() {
    let sink = Sink::start([]);
    let settings = Settings {
        alertmanager: Some(endpoint(&sink.url(""))),
        ..Settings::default()
    };
    let bodies = sent(sink, settings, &[firing("e1"), resolved("e2")]).await;
    let alerts = bodies[0].as_array().unwrap();
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[0]["labels"]["alertname"], "Error rate");
    assert_eq!(alerts[0]["annotations"]["value"], "0.12");
    assert_eq!(
        alerts[0]["generatorURL"],
        "https://modeltap.example.org/services/api"
    );
    assert_eq!(alerts[0]["startsAt"], "2026-11-24T03:20:07.000Z");
    assert_eq!(alerts[1]["endsAt"], "2026-11-24T03:21:40.000Z");
}
