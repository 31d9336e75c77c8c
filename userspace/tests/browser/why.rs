//! A real service is made slow in one route: the API and the page say since
//! when, where and in which part of the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modeltap_api_types::{QueryResult, Why, WhyFinding};
use modeltap_testbed::client::Request;
use modeltap_testbed::clock::{await_some, await_that};
use modeltap_testbed::daemon::{self, Daemon, Start};
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::Target;
use serde_json::json;

use crate::looks::{take_pictures, take_pictures_in_chinese};
use crate::session::Browser;
use crate::{SHOWS_WITHIN, url};

/// Seconds with traffic that a change is compared with.
const PAST_SECONDS: usize = 14;
/// Longest time until they are there: on a busy host some seconds have none.
const PAST_WITHIN: Duration = Duration::from_secs(100);
/// Longest time until the change is told.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// What the slow route takes before and since, in milliseconds: what a busy
/// host adds to either is little against the first and nothing against the
/// second.
const BEFORE_MS: u64 = 50;
const SINCE_MS: u64 = 900;
/// The end of the load.
const OVER: u64 = u64::MAX;

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}

/// Clients of two routes, until the figure says that it is over.
fn load(container: &Container, slow_ms: &Arc<AtomicU64>) {
    for client in 0..10 {
        let (target, slow_ms) = (Target::inside(container, 8000), Arc::clone(slow_ms));
        thread::spawn(move || {
            let mut connection = target.connect();
            loop {
                let ms = slow_ms.load(Ordering::Relaxed);
                if ms == OVER {
                    return;
                }
                let path = if client < 6 {
                    format!("/slow?ms={ms}")
                } else {
                    format!("/items/{client}")
                };
                let sent = connection.send(&Request::get(path));
                if sent.and_then(|_| connection.receive()).is_err() {
                    connection = target.connect();
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
    }
}

/// Seconds in which history has requests of a service.
fn seconds_kept(daemon: &Daemon, service: &str) -> usize {
    let now = now_ms();
    let (from, to) = (now - 120_000, now);
    let path = format!("/api/v1/query?stat=count&service={service}&from={from}&to={to}&step=1");
    let told: QueryResult = daemon.json(&path);
    let values = told.series.iter().flat_map(|series| &series.values);
    values.flatten().filter(|n| **n >= 20.0).count()
}

fn why(daemon: &Daemon, service: &str) -> Vec<WhyFinding> {
    let to = now_ms();
    let from = to - 10_000;
    let told: Why = daemon.json(&format!(
        "/api/v1/services/{service}/why?from={from}&to={to}"
    ));
    told.findings
}

#[test]
fn slow_route_is_laid_to_its_route_and_phase_by_the_api_and_on_the_page() {
    let Some(_ground) = ground::take("browser") else {
        return;
    };
    let image = images::servers();
    let command = "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --no-access-log";
    let container = Container::start("slows", &Spec::new(&image, command)).listening(8000);
    let data = tempfile::tempdir().unwrap();
    let binary = daemon::binary(env!("CARGO_BIN_EXE_modeltap"));
    let daemon = Start::new(&binary, data.path()).ready();
    daemon.await_service(container.name());
    let slow_ms = Arc::new(AtomicU64::new(BEFORE_MS));
    load(&container, &slow_ms);
    let browser = Browser::start();
    browser.open(&url(
        &daemon,
        &format!("/services/{}?range=10s", container.name()),
    ));
    await_that("a past to compare with", PAST_WITHIN, || {
        seconds_kept(&daemon, container.name()) >= PAST_SECONDS
    });
    assert_eq!(why(&daemon, container.name()), [], "nothing changed");
    assert!(!browser.shows("[data-testid='why']"));

    slow_ms.store(SINCE_MS, Ordering::Relaxed);
    let slowed_ms = now_ms();
    let found = await_some("the finding", TOLD_WITHIN, || {
        let found = why(&daemon, container.name());
        found.into_iter().find(|found| found.kind == "slow")
    });
    assert!(
        found.since_unix_ms.abs_diff(slowed_ms) <= 3_000,
        "{slowed_ms}: {found:#?}"
    );
    let named = (
        found.route.as_ref().map(|route| route.name.as_str()),
        found.phase.as_ref().map(|phase| phase.name.as_str()),
        found.container.as_ref(),
    );
    assert_eq!(named, (Some("/slow"), Some("app"), None), "{found:#?}");
    assert!(found.after > 0.5, "{found:#?}");
    for path in &found.evidence {
        assert!(!daemon.get(path).is_empty(), "{path}");
    }

    let line = "[data-testid='why'][data-kind='slow']";
    let is_told = || {
        let text = browser.text(line).unwrap_or_default();
        text.contains("Slower since ") && text.contains("in the application on /slow")
    };
    await_that("the line on the page", SHOWS_WITHIN, is_told);
    take_pictures(&browser, "why");
    take_pictures_in_chinese(&browser, "why");
    // In another language all is made anew, and asked for again.
    await_that("the line in English again", SHOWS_WITHIN, is_told);
    let href = "return document.querySelector(\"[data-testid='why-route']\").search";
    let narrowed = format!("?service={}&route=%2Fslow", container.name());
    assert_eq!(browser.evaluate(href), json!(narrowed));
    browser.click(&format!("{line} button.when"));
    await_that("the time around it", SHOWS_WITHIN, || {
        let search = browser.evaluate("return location.search");
        search
            .as_str()
            .is_some_and(|search| search.contains("&to="))
    });
    assert_eq!(browser.complaints(), Vec::<String>::new());
    slow_ms.store(OVER, Ordering::Relaxed);
    drop(browser);
    daemon.stop();
}
