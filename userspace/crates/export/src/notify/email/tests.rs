use modeltap_core::alert::Severity;
use modeltap_core::time::UnixNs;

use super::*;
use crate::notify::settings::{SmtpServer, address, addresses};

fn alert(id: &str, state: AlertState) -> Alert {
    Alert {
        id: id.into(),
        rule: "default:error_rate".into(),
        rule_name: "Error rate".to_owned(),
        metric: modeltap_core::alert::AlertMetric::ErrorRate,
        service: "api".into(),
        severity: Severity::Critical,
        state,
        value: Some(0.12),
        threshold: Some(0.05),
        summary: "12 % of requests fail".to_owned(),
        since: UnixNs(1_795_490_400_000_000_000),
        fired: Some(UnixNs(1_795_490_407_000_000_000)),
        resolved: (state == AlertState::Resolved).then_some(UnixNs(1_795_490_500_000_000_000)),
        silenced_by: None,
    }
}

fn mail(alerts: Vec<Alert>) -> String {
    let settings = EmailSettings {
        server: SmtpServer::parse("smtp://localhost").unwrap(),
        from: address("modeltap <alerts@example.org>").unwrap(),
        to: addresses("a@example.org, b@example.org").unwrap(),
    };
    let mailer = Mailer::new(settings, Timing::default()).unwrap();
    let sender = Sender {
        host: "gpu-1".to_owned(),
        public_url: None,
    };
    let message = Message {
        service: alerts[0].service.clone(),
        alerts,
        told: Vec::new(),
    };
    let mail = mailer.compose(&sender, &message).unwrap();
    String::from_utf8(mail.formatted()).unwrap()
}

#[track_caller]
fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let (head, _) = mail.split_once("\r\n\r\n").unwrap();
    head.split("\r\n")
        .find_map(|line| line.strip_prefix(&format!("{name}: ")))
        .unwrap_or_else(|| panic!("no {name} in {head}"))
}

#[test]
fn mail_says_what_fires_where_and_since_when() {
    let mail = mail(vec![alert("e1", AlertState::Firing)]);
    assert_eq!(
        header(&mail, "Subject"),
        "[modeltap] Firing: critical: api: Error rate"
    );
    assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&mail, "To"), "a@example.org, b@example.org");
    let (_, body) = mail.split_once("\r\n\r\n").unwrap();
    for line in [
        "FIRING  critical  api\r\n12 % of requests fail\r\n",
        "  Since:     2026-11-24 03:20:07 UTC\r\n",
        "  Value:     0.12\r\n  Threshold: 0.05\r\n",
        "modeltap on gpu-1",
    ] {
        assert!(body.contains(line), "{line:?} in {body}");
    }
}

#[test]
fn end_stands_in_the_thread_of_its_beginning() {
    let first = mail(vec![alert("e1", AlertState::Firing)]);
    let last = mail(vec![alert("e1", AlertState::Resolved)]);
    assert_eq!(header(&last, "In-Reply-To"), header(&first, "Message-ID"));
    assert_ne!(header(&last, "Message-ID"), header(&first, "Message-ID"));
    assert!(last.contains("  Until:     2026-11-24 03:21:40 UTC"));
    let other = mail(vec![alert("e2", AlertState::Firing)]);
    assert_ne!(header(&other, "Message-ID"), header(&first, "Message-ID"));
    let again = mail(vec![alert("e1", AlertState::Firing)]);
    assert_eq!(header(&again, "Message-ID"), header(&first, "Message-ID"));
}

#[test]
fn group_is_counted_in_the_subject() {
    let mail = mail(vec![
        alert("e1", AlertState::Firing),
        alert("e2", AlertState::Firing),
        alert("e3", AlertState::Resolved),
    ]);
    assert_eq!(
        header(&mail, "Subject"),
        "[modeltap] api: 2 firing, 1 resolved"
    );
}

#[test]
fn hostile_names_add_no_header_and_no_line() {
    let hostile = Alert {
        service: "api\r\nBcc: all@example.org\r\n\r\nbody".into(),
        rule_name: "x\nX-Evil: 1".to_owned(),
        metric: modeltap_core::alert::AlertMetric::ErrorRate,
        summary: format!(
            "a\r\n.\r\nMAIL FROM:<b@example.org>\u{202e}{}",
            "z".repeat(10_000)
        ),
        id: "e\r\nX-Evil: 2".into(),
        ..alert("e1", AlertState::Firing)
    };
    let mail = mail(vec![hostile]);
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    let names: Vec<_> = head
        .split("\r\n")
        .filter(|line| !line.starts_with([' ', '\t']))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert!(
        !names.contains(&"Bcc") && !names.contains(&"X-Evil"),
        "{head}"
    );
    assert!(!body.contains("\r\n.\r\n"), "{body}");
    assert!(body.len() < 3000, "{}", body.len());
}
