//! Email by a real mail server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use modeltap_core::alert::{Alert, AlertState};
use modeltap_export::notify::{
    EmailSettings, Notifiers, Settings, SmtpServer, Timing, address, addresses,
};
use serde_json::Value;

use crate::child::Server;
use crate::{alert, authority, deliveries, n_deliveries};

/// As the server knows it, escaped for a URL.
const LOGIN: &str = "me%40example.org:sesame%2Fopen%3A%25";

struct MailServer {
    server: Server,
    port: u16,
}

impl MailServer {
    /// `kind` is `plain`, `starttls` or `tls`; the certificate is in `folder`.
    fn start(kind: &str, folder: &Path) -> Self {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/notifiers/mail_server.py"
        );
        // The distribution's, for which its packages are.
        let server = Server::start(
            Command::new("/usr/bin/python3")
                .args(["-W", "ignore", script])
                .arg(kind)
                .args([folder.join("server.crt"), folder.join("server.key")]),
        );
        let port = server.line().parse().unwrap();
        Self { server, port }
    }

    fn mail(&self) -> Value {
        serde_json::from_str(&self.server.line()).unwrap()
    }
}

fn notifiers(url: &str, to: &str) -> Notifiers {
    let settings = Settings {
        email: Some(EmailSettings {
            server: SmtpServer::parse(url).unwrap(),
            from: address("modeltap <alerts@example.org>").unwrap(),
            to: addresses(to).unwrap(),
        }),
        host: "gpu-1".to_owned(),
        timing: Timing {
            backoff: Duration::from_millis(20),
            ..Timing::default()
        },
        ..Settings::default()
    };
    Notifiers::start(settings).unwrap()
}

#[tokio::test]
async fn mail_reaches_each_receiver_once_and_reads_as_it_was_written() {
    let server = MailServer::start("plain", Path::new(""));
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let notifiers = notifiers(&url, "a@example.org,On Call <b@example.org>");
    notifiers.notify(&[alert("e1", AlertState::Firing)]);
    notifiers.notify(&[alert("e1", AlertState::Resolved)]);
    let rows = n_deliveries(&notifiers, 2).await;
    assert!(rows.iter().all(|row| row.error.is_none()), "{rows:?}");

    let mails: Vec<_> = (0..4).map(|_| server.mail()).collect();
    assert!(server.server.rest().is_empty());
    for (mail, to) in mails.iter().zip(["a", "b", "a", "b"]) {
        assert_eq!(mail["from"], "alerts@example.org");
        assert_eq!(mail["to"][0], format!("{to}@example.org"));
        let headers = &mail["headers"];
        assert_eq!(headers["From"], "modeltap <alerts@example.org>");
        assert_eq!(headers["To"], "a@example.org, On Call <b@example.org>");
        let body = mail["body"].as_str().unwrap();
        assert!(
            body.contains("12 % of requests fail – больше, чем обычно"),
            "{body}"
        );
    }
    let subjects: Vec<_> = mails
        .iter()
        .map(|mail| &mail["headers"]["Subject"])
        .collect();
    assert_eq!(subjects[0], "[modeltap] Firing: critical: api: Error rate");
    assert_eq!(
        subjects[2],
        "[modeltap] Resolved: critical: api: Error rate"
    );
    assert_eq!(
        mails[0]["headers"]["Message-ID"],
        mails[1]["headers"]["Message-ID"]
    );
}

#[tokio::test]
async fn receiver_without_a_mailbox_costs_the_others_nothing() {
    let server = MailServer::start("plain", Path::new(""));
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let to = "gone@example.org,a@example.org,later@example.org,b@example.org";
    let notifiers = notifiers(&url, to);
    notifiers.notify(&[alert("e1", AlertState::Firing)]);
    let rows = deliveries(&notifiers, |rows| {
        rows.last().is_some_and(|row| !row.will_retry)
    })
    .await;
    let errors: Vec<_> = rows.iter().map(|row| row.error.as_deref()).collect();
    assert_eq!(
        errors,
        [
            Some("answered 450: 4.2.0 greylisted, come back later"),
            None
        ]
    );
    let receivers: Vec<_> = (0..3)
        .map(|_| server.mail()["to"][0].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        receivers,
        ["a@example.org", "later@example.org", "b@example.org"]
    );
    assert!(server.server.rest().is_empty());
}

#[tokio::test]
async fn mailbox_that_is_gone_is_told() {
    let server = MailServer::start("plain", Path::new(""));
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let notifiers = notifiers(&url, "gone@example.org,a@example.org");
    let row = notifiers.test("email").await.unwrap();
    assert_eq!(
        row.error.as_deref(),
        Some("refused for gone@example.org: answered 550: 5.1.1 no such mailbox")
    );
    assert_eq!(server.mail()["to"][0], "a@example.org");
}

#[tokio::test]
async fn hostile_service_adds_no_header_and_no_receiver() {
    let server = MailServer::start("plain", Path::new(""));
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let notifiers = notifiers(&url, "a@example.org");
    let evil = "x\r\nBcc: all@example.org\r\n\r\n.\r\nRCPT TO:<all@example.org>\r\n";
    notifiers.notify(&[Alert {
        service: evil.into(),
        rule_name: evil.to_owned(),
        summary: evil.repeat(100),
        ..alert(evil, AlertState::Firing)
    }]);
    let rows = n_deliveries(&notifiers, 1).await;
    assert_eq!(rows[0].error, None);
    let mail = server.mail();
    assert_eq!(mail["to"].as_array().unwrap().len(), 1);
    assert_eq!(mail["headers"].get("Bcc"), None);
    let body = mail["body"].as_str().unwrap();
    let last = body.lines().rfind(|line| !line.is_empty());
    assert_eq!(last, Some("modeltap on gpu-1"), "{body}");
}

async fn sends_by(kind: &str, url: &str, folder: &Path) {
    let server = MailServer::start(kind, folder);
    let url = url.replace("PORT", &server.port.to_string());
    let notifiers = notifiers(&url, "a@example.org");
    notifiers.notify(&[alert("e1", AlertState::Firing)]);
    let rows = n_deliveries(&notifiers, 1).await;
    assert_eq!(rows[0].error, None);
    let mail = server.mail();
    assert_eq!(mail["tls"], true);
    assert_eq!(mail["login"], "me@example.org");
}

#[tokio::test]
async fn login_and_mail_go_by_starttls() {
    let Some(folder) = authority::trusted("mail::login_and_mail_go_by_starttls") else {
        return;
    };
    let url = format!("smtp://{LOGIN}@localhost:PORT?tls=required");
    sends_by("starttls", &url, &folder).await;
}

#[tokio::test]
async fn login_and_mail_go_by_tls_from_the_first_byte() {
    let Some(folder) = authority::trusted("mail::login_and_mail_go_by_tls_from_the_first_byte")
    else {
        return;
    };
    let url = format!("smtps://{LOGIN}@localhost:PORT");
    sends_by("tls", &url, &folder).await;
}

#[tokio::test]
async fn wrong_password_is_final_and_not_shown() {
    let Some(folder) = authority::trusted("mail::wrong_password_is_final_and_not_shown") else {
        return;
    };
    let server = MailServer::start("tls", &folder);
    let url = format!("smtps://me:guess-who@localhost:{}", server.port);
    let notifiers = notifiers(&url, "a@example.org,b@example.org");
    notifiers.notify(&[alert("e1", AlertState::Firing)]);
    let rows = n_deliveries(&notifiers, 1).await;
    let error = rows[0].error.as_deref().unwrap();
    assert!(error.starts_with("answered 535: "), "{error}");
    assert!(
        !rows[0].will_retry && !error.contains("guess-who"),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_is_said_to_a_server_that_nobody_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    authority::make(folder.path());
    for (kind, url) in [
        ("starttls", "smtp://u:p@localhost:PORT?tls=required"),
        ("tls", "smtps://u:p@localhost:PORT"),
    ] {
        let server = MailServer::start(kind, folder.path());
        let url = url.replace("PORT", &server.port.to_string());
        let row = notifiers(&url, "a@example.org")
            .test("email")
            .await
            .unwrap();
        let error = row.error.unwrap();
        assert!(error.contains("certificate"), "{error}");
        assert!(server.server.rest().is_empty());
    }
}

#[tokio::test]
async fn server_without_starttls_gets_nothing_in_clear() {
    let server = MailServer::start("plain", Path::new(""));
    let url = format!("smtp://u:p@localhost:{}?tls=required", server.port);
    let row = notifiers(&url, "a@example.org")
        .test("email")
        .await
        .unwrap();
    let error = row.error.unwrap();
    assert!(error.contains("offers no STARTTLS"), "{error}");
    assert!(server.server.rest().is_empty());
}
