//! Alerts in Debian's Alertmanager, read back by its own API, and its own
//! webhook beside ours.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use modeltap_core::alert::{Alert, AlertState};
use modeltap_export::notify::{Endpoint, Notifiers, Settings, Timing, WebhookSettings};
use modeltap_testbed::client::{Connection, Request};
use modeltap_testbed::clock::await_that;
use modeltap_testbed::images::cache;
use serde_json::Value;

use crate::{PATIENCE, alert, deliveries, n_deliveries, sink};

/// Debian's Alertmanager looks for its templates where an installed one has
/// them; only its own process sees them there.
const IN_ITS_OWN_MOUNTS: &str = "mount --bind \"$0/usr/share\" /usr/share && \
     exec \"$0/usr/bin/prometheus-alertmanager\" \"$@\"";

/// A running Alertmanager on loopback.
struct Alertmanager {
    child: Child,
    address: SocketAddr,
}

impl Alertmanager {
    /// Starts with nothing known; what it is told, it tells `receiver`.
    fn start(folder: &Path, address: SocketAddr, receiver: &str) -> Self {
        let configuration = folder.join("alertmanager.yml");
        let text = format!(
            "route:\n  receiver: test\n  group_wait: 0s\n  group_interval: 1s\n\
             receivers:\n- name: test\n  webhook_configs:\n  - url: {receiver}\n"
        );
        fs::write(&configuration, text).unwrap();
        let storage = tempfile::tempdir_in(folder).unwrap().keep();
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", IN_ITS_OWN_MOUNTS])
            .arg(unpacked())
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.path={}", storage.display()))
            .arg(format!("--web.listen-address={address}"))
            // Alone: it must not look for others.
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let alertmanager = Self { child, address };
        await_that("the Alertmanager to be ready", PATIENCE, || {
            alertmanager.get("/-/ready").is_some()
        });
        alertmanager
    }

    /// The body of an answer of 200.
    fn get(&self, path: &str) -> Option<String> {
        let mut connection = Connection::open(self.address).ok()?;
        let request = Request {
            close: true,
            ..Request::get(path)
        };
        connection.send(&request).ok()?;
        let answer = connection.receive().ok()?;
        (answer.status == 200).then(|| answer.text())
    }

    /// What it knows to fire.
    fn alerts(&self) -> Vec<Value> {
        let text = self.get("/api/v2/alerts").unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `cargo xtask test` unpacks it.
fn unpacked() -> PathBuf {
    let folder = cache().join("receivers");
    assert!(
        folder.is_dir(),
        "`cargo xtask test` unpacks an Alertmanager to {folder:?}"
    );
    folder
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn notifiers(address: SocketAddr, webhook: Option<&sink::Sink>) -> Notifiers {
    let endpoint = |url: &str| Endpoint::parse(url).unwrap();
    Notifiers::start(Settings {
        alertmanager: Some(endpoint(&format!("http://{address}"))),
        webhook: webhook.map(|sink| WebhookSettings {
            url: endpoint(&sink.url("/ours")),
            token: None,
        }),
        host: "gpu-1".to_owned(),
        public_url: Some(endpoint("https://modeltap.example.org")),
        timing: Timing {
            refresh: Duration::from_secs(1),
            backoff: Duration::from_millis(100),
            ..Timing::default()
        },
        ..Settings::default()
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alert_fires_in_alertmanager_until_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink::Sink::start([]);
    let alertmanager = Alertmanager::start(folder.path(), free_address(), &sink.url("/"));
    let notifiers = notifiers(alertmanager.address, None);

    let fires = alert("e1", AlertState::Firing);
    let other = Alert {
        service: "x\"}\r\n{\u{202e}".into(),
        value: None,
        ..alert("e2", AlertState::Firing)
    };
    notifiers.notify(&[fires.clone(), other]);
    let rows = n_deliveries(&notifiers, 2).await;
    assert!(rows.iter().all(|row| row.error.is_none()), "{rows:?}");

    let alerts = alertmanager.alerts();
    assert_eq!(alerts.len(), 2, "{alerts:?}");
    let ours = alerts
        .iter()
        .find(|alert| alert["labels"]["service"] == "api")
        .unwrap();
    assert_eq!(ours["status"]["state"], "active");
    assert_eq!(
        ours["labels"],
        serde_json::json!({
            "alertname": "Error rate",
            "instance": "gpu-1",
            "rule": "default:error_rate",
            "service": "api",
            "severity": "critical",
        })
    );
    assert_eq!(ours["annotations"]["value"], "0.12");
    assert_eq!(ours["annotations"]["summary"], fires.summary.as_str());
    assert_eq!(
        ours["generatorURL"],
        "https://modeltap.example.org/services/api"
    );
    let ends = |alert: &Value| alert["endsAt"].as_str().unwrap().to_owned();
    let first = ends(ours);
    // It is told again, so it lasts.
    await_that("another telling", PATIENCE, || {
        let alerts = alertmanager.alerts();
        alerts.len() == 2 && alerts.iter().all(|alert| ends(alert) > first)
    });

    notifiers.notify(&[Alert {
        state: AlertState::Resolved,
        resolved: alert("", AlertState::Resolved).resolved,
        ..fires
    }]);
    let rows = n_deliveries(&notifiers, 1).await;
    assert_eq!(rows[0].error, None);
    await_that("one alert to be over, the other not", PATIENCE, || {
        let alerts = alertmanager.alerts();
        alerts.len() == 1 && alerts[0]["labels"]["service"] != "api"
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alertmanager_that_lost_everything_knows_again_what_fires() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let alertmanager = Alertmanager::start(folder.path(), address, "http://127.0.0.1:1/");
    let notifiers = notifiers(address, None);
    notifiers.notify(&[alert("e1", AlertState::Firing)]);
    assert_eq!(n_deliveries(&notifiers, 1).await[0].error, None);
    drop(alertmanager);

    // While it is away, another begins.
    let rows = deliveries(&notifiers, |rows| rows.len() == 1).await;
    let error = rows[0].error.as_deref().unwrap();
    assert!(error.starts_with("no connection: "), "{error}");
    let second = Alert {
        service: "second".into(),
        ..alert("e2", AlertState::Firing)
    };
    notifiers.notify(&[second]);

    let alertmanager = Alertmanager::start(folder.path(), address, "http://127.0.0.1:1/");
    await_that("both to be known", PATIENCE, || {
        alertmanager.alerts().len() == 2
    });
    let rows = deliveries(&notifiers, |rows| {
        ["e1", "e2"].iter().all(|id| {
            let taken = rows.iter().rfind(|row| &*row.alert == *id);
            taken.is_some_and(|row| row.error.is_none())
        })
    })
    .await;
    assert!(rows.iter().all(|row| row.will_retry == row.error.is_some()));
}

/// Every key of `value`, with those it stands below.
fn keys(value: &Value, above: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{above}.{key}");
                keys(value, &path, all);
                all.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, above, all)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_webhook_is_the_one_that_alertmanager_sends() {
    let folder = tempfile::tempdir().unwrap();
    let mut theirs = sink::Sink::start([]);
    let mut ours = sink::Sink::start([]);
    let alertmanager = Alertmanager::start(folder.path(), free_address(), &theirs.url("/theirs"));
    let notifiers = notifiers(alertmanager.address, Some(&ours));
    notifiers.notify(&[alert("e1", AlertState::Firing)]);
    let _ = n_deliveries(&notifiers, 2).await;

    let (ours, theirs) = (ours.next().await.body, theirs.next().await.body);
    let key_set = |body: &Value| {
        let mut all = BTreeSet::new();
        keys(body, "", &mut all);
        // Theirs groups all alerts, ours by service.
        all.remove(".groupLabels.service");
        all
    };
    assert_eq!(key_set(&ours), key_set(&theirs));
    for key in [
        "version",
        "status",
        "truncatedAlerts",
        "commonLabels",
        "commonAnnotations",
    ] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    let (our, their) = (&ours["alerts"][0], &theirs["alerts"][0]);
    for key in ["status", "labels", "annotations", "endsAt", "generatorURL"] {
        assert_eq!(our[key], their[key], "{key}");
    }
    // Go leaves out the zeros at the end of a second's fraction.
    let starts = |alert: &Value| {
        let text = alert["startsAt"].as_str().unwrap();
        text.trim_end_matches(['Z', '0', '.']).to_owned()
    };
    assert_eq!(starts(our), starts(their));
    // The end is told by the same hook.
    notifiers.notify(&[alert("e1", AlertState::Resolved)]);
    let _ = n_deliveries(&notifiers, 2).await;
    await_that("the end", PATIENCE, || alertmanager.alerts().is_empty());
}
