//! Receivers that want to do harm.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use modeltap_export::notify::{
    EmailSettings, Notifiers, PagerDutySettings, RoutingKey, Secret, Settings, SmtpServer, address,
    addresses,
};
use tokio::time::Instant;

use crate::sink::{Reply, Sink};
use crate::support::{deliveries, endpoint, firing, timing, told, webhook};

/// What the kernel's socket buffers may hold beside what was read.
const BUFFERS_BYTES: usize = 32 * 1024 * 1024;

#[tokio::test]
async fn answer_without_an_end_is_left_alone() {
    let sink = Sink::start([Reply::EndlessBody(500), Reply::EndlessBody(200)]);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    let began = Instant::now();
    notifiers.notify(&[firing("e1")]);
    let rows = deliveries(&notifiers, 2).await;
    let error = rows[0].error.as_deref().unwrap();
    assert!(error.starts_with("answered 500: xxx"), "{error}");
    assert!(error.chars().count() <= 220, "{error}");
    // Whether it was taken is told before the body, which nobody needs.
    assert_eq!(rows[1].error, None);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(sink.flooded() < BUFFERS_BYTES, "{}", sink.flooded());
}

#[tokio::test]
async fn head_without_an_end_is_a_failure() {
    let sink = Sink::start([Reply::EndlessHead]);
    let notifiers = Notifiers::start(webhook(&sink)).unwrap();
    notifiers.notify(&[firing("e1")]);
    let rows = deliveries(&notifiers, 2).await;
    assert!(
        rows[0].error.as_deref().unwrap().starts_with("no answer: "),
        "{rows:?}"
    );
    assert_eq!(rows[1].error, None);
    assert!(sink.flooded() < BUFFERS_BYTES, "{}", sink.flooded());
}

#[tokio::test]
async fn redirect_takes_no_secret_to_another_host() {
    let mut other = Sink::start([]);
    let location = format!("Location: {}\r\n", other.url("/stolen")).leak();
    for status in [301, 302, 303, 307, 308] {
        let sink = Sink::start([Reply::Answer(status, location, String::new())]);
        let mut settings = webhook(&sink);
        settings.webhook.as_mut().unwrap().token = Some(Secret::parse("sesame").unwrap());
        let notifiers = Notifiers::start(settings).unwrap();
        notifiers.notify(&[firing("e1")]);
        let rows = deliveries(&notifiers, 1).await;
        let error =
            format!("answered {status}: it redirects, which is not followed; set the final URL");
        assert_eq!(told(&rows), [(1, Some(error.as_str()), false)]);
    }
    assert!(other.rest().is_empty());
}

#[tokio::test]
async fn secrets_that_a_receiver_sends_back_are_not_recorded() {
    let key = "0123456789abcdef0123456789abcdef";
    let echo = format!("no {key}\n at /services/T0/B0/xyz?sesame for topsecret");
    let sink = Sink::start(vec![Reply::Answer(400, "", echo); 3]);
    let mut settings = webhook(&sink);
    let url = endpoint(&sink.url("/services/T0/B0/xyz?sesame"));
    settings.webhook.as_mut().unwrap().url = url.clone();
    settings.webhook.as_mut().unwrap().token = Some(Secret::parse("topsecret").unwrap());
    settings.slack = Some(url.clone());
    settings.pagerduty = Some(PagerDutySettings {
        routing_key: RoutingKey::parse(key).unwrap(),
        url: Some(url),
    });
    let notifiers = Notifiers::start(settings).unwrap();
    notifiers.notify(&[firing("e1")]);
    for row in deliveries(&notifiers, 3).await {
        let error = row.error.unwrap();
        assert!(
            !error.contains("/services") && !error.contains("sesame"),
            "{error}"
        );
        match &*row.notifier {
            "webhook" => assert!(!error.contains("topsecret"), "{error}"),
            "pagerduty" => assert!(!error.contains(key), "{error}"),
            _ => {}
        }
    }
    let shown = format!("{notifiers:?} {:?}", notifiers.list());
    assert!(
        !shown.contains("sesame") && !shown.contains("xyz"),
        "{shown}"
    );
}

/// A mail server that says `lines` one after the other, a command between
/// them, and then never stops.
fn talkative_mail_server(lines: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut writer = stream.try_clone().unwrap();
            let mut commands = BufReader::new(stream).lines();
            for line in lines {
                let _ = writer.write_all(format!("{line}\r\n").as_bytes());
                let _ = commands.next();
            }
            let piece = [b'2'; 16 * 1024];
            // A gigabyte at most, should nobody stop it.
            for _ in 0..65_536 {
                if writer.write_all(&piece).is_err() {
                    break;
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn mail_server_that_never_ends_its_line_is_a_failure() {
    let scripts: [&[&str]; 2] = [&[], &["220 ready", "250 hello"]];
    for script in scripts {
        let server = talkative_mail_server(script);
        let settings = Settings {
            email: Some(EmailSettings {
                server: SmtpServer::parse(&format!("smtp://{server}")).unwrap(),
                from: address("modeltap@example.org").unwrap(),
                to: addresses("a@example.org").unwrap(),
            }),
            timing: timing(),
            ..Settings::default()
        };
        let notifiers = Notifiers::start(settings).unwrap();
        let began = Instant::now();
        let row = notifiers.test("email").await.unwrap();
        let error = row.error.unwrap();
        assert_eq!(error, "no answer: the server says too much");
        // Not the timeout.
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
