//! A real service that fails: who is told, when, and what outlives the daemon.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use modeltap_api_types::{
    Alert, AlertRule, AlertRules, Alerts, Condition, Health, Live, LiveMessage, RulePreview,
    Silence, Silences,
};
use modeltap_testbed::client::{Connection, Request, Response};
use modeltap_testbed::clock::{await_some, await_that};
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::Target;

use crate::start;

const ERROR_RATE: &str = "default:error_rate";
/// A second for its figures, and a second for the look.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
pub(crate) const JSON: &str = "JSON of the interface";

/// Sends a request that changes something.
pub(crate) fn send(
    daemon: &Daemon,
    method: &'static str,
    path: &str,
    body: Option<String>,
) -> Response {
    let mut connection = Connection::open(daemon.address()).expect("the daemon listens");
    let request = Request {
        method,
        body,
        close: true,
        ..Request::get(path)
    };
    connection.send(&request).expect("the daemon reads");
    connection.receive().expect("the daemon answers")
}

pub(crate) fn alerts(daemon: &Daemon, parameters: &str) -> Alerts {
    daemon.json(&format!("/api/v1/alerts{parameters}"))
}

/// The alert of a service and rule that is in a state.
pub(crate) fn active(daemon: &Daemon, service: &str, rule: &str, state: &str) -> Option<Alert> {
    let found = alerts(daemon, &format!("?service={service}&rule={rule}"));
    found.active.into_iter().find(|alert| alert.state == state)
}

/// Sends requests, some a second, until it is dropped.
struct Load {
    path: Arc<Mutex<Option<(&'static str, u32)>>>,
}

impl Load {
    fn on(container: &Container) -> Self {
        let path: Arc<Mutex<Option<(&'static str, u32)>>> = Arc::default();
        let (shared, target) = (Arc::downgrade(&path), Target::inside(container, 8000));
        thread::spawn(move || {
            while let Some(path) = shared.upgrade() {
                let now = *path.lock().expect("no other thread panics");
                drop(path);
                let Some((path, a_second)) = now else {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                };
                let mut connection = target.connect();
                let request = Request {
                    close: true,
                    ..Request::get(path)
                };
                if connection.send(&request).is_ok() {
                    // The answer's status is what the daemon is asked for.
                    let _answer = connection.receive();
                }
                thread::sleep(Duration::from_secs(1) / a_second);
            }
        });
        Self { path }
    }

    fn send(&self, path: &'static str, a_second: u32) {
        *self.path.lock().expect("no other thread panics") = Some((path, a_second));
    }

    fn rest(&self) {
        *self.path.lock().expect("no other thread panics") = None;
    }
}

/// A webhook's receiver, which keeps what it was sent.
fn receiver() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound listener");
    let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&bodies);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = Vec::new();
            let mut buffer = [0; 4_096];
            while !is_whole(&bytes) {
                match stream.read(&mut buffer) {
                    Ok(n @ 1..) => bytes.extend_from_slice(&buffer[..n]),
                    Ok(0) | Err(_) => break,
                }
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            if stream.write_all(answer).is_ok() {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                kept.lock().expect("no other thread panics").push(text);
            }
        }
    });
    (address, bodies)
}

/// Whether a request with a Content-Length is there to its end.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or(0)
}

/// A client of the live view.
struct Socket(TcpStream);

impl Socket {
    fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).expect("the daemon listens");
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).expect("a duration");
        let head = format!(
            "GET /api/v1/live HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("the daemon reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.extend(read(&mut stream, 1));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
        Self(stream)
    }

    /// The next snapshot or update (RFC 6455 section 5.2).
    fn next(&mut self) -> Live {
        loop {
            let [first, second] = read(&mut self.0, 2)[..] else {
                panic!("two bytes were read");
            };
            let length = match second & 0x7f {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let length = read(&mut self.0, length)
                .into_iter()
                .fold(None, |sum, byte| {
                    Some(sum.unwrap_or(0) << 8 | usize::from(byte))
                })
                .unwrap_or(usize::from(second & 0x7f));
            let payload = read(&mut self.0, length);
            if first & 0x0f != 1 {
                continue;
            }
            match serde_json::from_slice(&payload).expect(JSON) {
                LiveMessage::Snapshot(live) | LiveMessage::Update(live) => return live,
                _ => {}
            }
        }
    }
}

fn read(stream: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).expect("the daemon writes");
    bytes
}

fn rule(service: &str) -> AlertRule {
    AlertRule {
        name: "Fails at once".to_owned(),
        enabled: true,
        service: Some(service.to_owned()),
        metric: "error_rate".to_owned(),
        condition: Condition::Above {
            threshold: 0.5,
            clear: None,
        },
        window_seconds: 5,
        keep_firing_seconds: 2,
        min_requests: 5,
        severity: "info".to_owned(),
        ..AlertRule::default()
    }
}

#[test]
fn service_that_fails_is_told_of_at_once_and_once_and_outlives_a_crash() {
    let Some(_ground) = ground::take("alerts") else {
        return;
    };
    let image = images::servers();
    let spec = Spec::new(&image, "/srv/go-server")
        .label("modeltap.slo.latency_p95=300ms")
        .label("modeltap.slo.error_rate=a lot");
    let container = Container::start("alerts", &spec).listening(8000);
    let name = container.name();
    let load = Load::on(&container);
    // Another promises more than it keeps.
    let spec = Spec::new(&image, "/srv/go-server").label("modeltap.slo.latency_p95=50ms");
    let late = Container::start("alerts-late", &spec).listening(8000);
    let label_rule = format!("label:{}:latency_p95", late.name());
    let load_of_late = Load::on(&late);
    let (webhook, sent) = receiver();
    let sent_of = |rule: &str| {
        let bodies = sent.lock().expect("no other thread panics");
        let told = |state: &str| {
            let of = |body: &&String| [name, rule, state].iter().all(|word| body.contains(word));
            bodies.iter().filter(of).count()
        };
        (told("firing"), told("resolved"))
    };
    let data = tempfile::tempdir().unwrap();
    let daemon = start(data.path())
        .env("MODELTAP_WEBHOOK_URL", &format!("http://{webhook}/hook"))
        .ready();
    daemon.await_service(name);
    daemon.await_service(late.name());
    load_of_late.send("/slow?ms=80", 4);

    // The label that is right makes a rule, the other a line in the log.
    let rules: AlertRules = daemon.json("/api/v1/alert-rules");
    let of_label = |id: &str| {
        rules
            .rules
            .iter()
            .any(|rule| rule.id == format!("label:{name}:{id}"))
    };
    assert!(
        of_label("latency_p95") && !of_label("error_rate"),
        "{rules:?}"
    );
    assert!(
        daemon
            .log()
            .contains("modeltap.slo.error_rate must be a share")
    );

    // A rule is made, and a wrong one refused by its field.
    let body = serde_json::to_string(&rule(name)).expect(JSON);
    let made = send(&daemon, "POST", "/api/v1/alert-rules", Some(body.clone()));
    assert_eq!(made.status, 201, "{made:?}");
    let made: AlertRule = serde_json::from_str(&made.text()).expect(JSON);
    assert_eq!((&*made.origin, made.id.is_empty()), ("user", false));
    let wrong = body.replace("\"window_seconds\":5", "\"window_seconds\":0");
    let refused = send(&daemon, "POST", "/api/v1/alert-rules", Some(wrong));
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("window_seconds must be 1 to 3600"));

    // The default rule's alert of this service is shown but not sent.
    let silence = Silence {
        service: Some(name.to_owned()),
        rule: Some(ERROR_RATE.to_owned()),
        until_unix_ms: daemon.status().started_unix_ms + 3_600_000,
        ..Silence::default()
    };
    let silence = serde_json::to_string(&silence).expect(JSON);
    let silence = send(&daemon, "POST", "/api/v1/silences", Some(silence));
    assert_eq!(silence.status, 201, "{silence:?}");
    let silence: Silence = serde_json::from_str(&silence.text()).expect(JSON);

    // Ten failures, as fast as they come: the live socket shows them.
    let mut socket = Socket::open(daemon.address());
    load.send("/fail", 100);
    let began = Instant::now();
    let fired = loop {
        let live = socket.next();
        if let Some(alert) = live.alerts.into_iter().find(|alert| alert.rule == made.id) {
            break alert;
        }
        assert!(began.elapsed() < 2 * SHOWN_WITHIN, "nothing is shown");
    };
    // The condition holds with the fifth failure, 50 ms after the first.
    let shown = began.elapsed();
    println!("shown {} ms after the first failure", shown.as_millis());
    assert!(shown < SHOWN_WITHIN, "{shown:?}");
    assert_eq!(
        (&*fired.state, &*fired.unit, fired.value),
        ("firing", "1", Some(1.0))
    );
    load.send("/fail", 10);
    await_that("the webhook", Duration::from_secs(10), || {
        sent_of(&made.id).0 == 1
    });

    // The default rule waits for half a minute.
    let pending = await_some(
        "the default rule to be pending",
        Duration::from_secs(10),
        || active(&daemon, name, ERROR_RATE, "pending"),
    );
    let fired = await_some("it to fire", Duration::from_secs(40), || {
        active(&daemon, name, ERROR_RATE, "firing")
    });
    assert_eq!(fired.id, pending.id);
    let waited = fired.fired_unix_ms.expect("it fires") - fired.since_unix_ms;
    assert!((30_000..32_000).contains(&waited), "{waited} ms");
    assert_eq!((&*fired.service, &*fired.severity), (name, "critical"));
    assert_eq!(fired.silenced_by.as_deref(), Some(&*silence.id));
    let sample = daemon.metrics().into_iter().find(|sample| {
        sample.name == "ALERTS"
            && sample.label("alertname") == fired.rule_name
            && sample.label("service_name") == name
    });
    assert_eq!(sample.expect("ALERTS").label("alertstate"), "firing");
    let service = daemon.service(name).expect("it runs");
    assert_eq!((service.n_firing, service.health), (1, Health::Critical));
    assert_eq!(sent_of(ERROR_RATE), (0, 0), "it is silenced");
    let path = format!("/api/v1/silences/{}", silence.id);
    assert_eq!(send(&daemon, "DELETE", &path, None).status, 204);
    await_that("it to be sent", Duration::from_secs(10), || {
        sent_of(ERROR_RATE).0 == 1
    });
    assert!(
        daemon
            .json::<Silences>("/api/v1/silences")
            .silences
            .is_empty()
    );

    // What history has of it shows in a preview of the rule by the minute.
    let preview = AlertRule {
        window_seconds: 60,
        ..rule(name)
    };
    let preview = serde_json::to_string(&preview).expect(JSON);
    await_that("the preview to show it", Duration::from_secs(90), || {
        let tried = send(
            &daemon,
            "POST",
            "/api/v1/alert-rules/preview",
            Some(preview.clone()),
        );
        assert_eq!(tried.status, 200, "{tried:?}");
        let tried: RulePreview = serde_json::from_str(&tried.text()).expect(JSON);
        let values = &tried.services[0].values;
        values.len() == 1_440 && values.last() == Some(&Some(1.0))
    });

    // A crash: the same episode goes on, and nobody is told again. Another
    // has held for half of its minute by now.
    thread::sleep(Duration::from_secs(2));
    let held = alerts(&daemon, &format!("?rule={label_rule}")).active;
    let held = held.first().expect("it is pending or fires").clone();
    let again = daemon.same_again();
    daemon.kill();
    let daemon = again.ready();
    let resumed = active(&daemon, name, ERROR_RATE, "firing").expect("it fires still");
    assert_eq!(
        (&resumed.id, resumed.fired_unix_ms),
        (&fired.id, fired.fired_unix_ms)
    );
    let rules: AlertRules = daemon.json("/api/v1/alert-rules");
    assert!(
        rules.rules.iter().any(|rule| rule.id == made.id),
        "the rule is kept"
    );

    // A rule that is deleted ends its alert; a default one comes back.
    let path = format!("/api/v1/alert-rules/{}", made.id);
    assert_eq!(send(&daemon, "DELETE", &path, None).status, 204);
    await_that("its alert to be over", Duration::from_secs(5), || {
        active(&daemon, name, &made.id, "firing").is_none()
    });
    assert_eq!(send(&daemon, "DELETE", &path, None).status, 404);
    let path = format!("/api/v1/alert-rules/{ERROR_RATE}");
    let default = rules.rules.into_iter().find(|rule| rule.id == ERROR_RATE);
    let changed = AlertRule {
        keep_firing_seconds: 5,
        ..default.clone().expect("it is on from the start")
    };
    let changed = serde_json::to_string(&changed).expect(JSON);
    assert_eq!(send(&daemon, "PUT", &path, Some(changed)).status, 200);

    // Mended: two minutes of the window, and five seconds.
    load.rest();
    load.send("/items/1", 50);
    let label_fired = await_some("the label's rule to fire", Duration::from_secs(70), || {
        active(&daemon, late.name(), &label_rule, "firing")
    });
    assert_eq!(label_fired.id, held.id, "the crash did not begin it anew");
    load_of_late.send("/items/1", 200);
    await_that("it to be over", Duration::from_secs(160), || {
        active(&daemon, name, ERROR_RATE, "firing").is_none()
    });
    let over = await_some("it to be in history", Duration::from_secs(10), || {
        let history = alerts(&daemon, "?state=resolved&limit=50").history;
        history.into_iter().find(|alert| alert.id == fired.id)
    });
    assert!(over.resolved_unix_ms > over.fired_unix_ms);
    await_that(
        "the label's alert to be over",
        Duration::from_secs(60),
        || {
            let over = alerts(&daemon, &format!("?state=resolved&rule={label_rule}")).history;
            over.iter().any(|alert| alert.id == held.id)
        },
    );
    await_that("the webhook", Duration::from_secs(10), || {
        sent_of(ERROR_RATE).1 == 1
    });
    assert_eq!(
        sent_of(ERROR_RATE),
        (1, 1),
        "told once that it began and once that it is over"
    );
    assert_eq!(send(&daemon, "DELETE", &path, None).status, 204);
    let rules: AlertRules = daemon.json("/api/v1/alert-rules");
    let back = rules.rules.into_iter().find(|rule| rule.id == ERROR_RATE);
    assert_eq!(back, default);
    daemon.stop();
}
