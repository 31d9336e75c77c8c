//! The page in a real Chromium: it shows the numbers of a known load, says
//! when the daemon is gone, and comes back with it.
//!
//! Pictures of it are kept in `target/screenshots/`.

#[path = "browser/alerts.rs"]
mod alerts;
#[path = "browser/crowd.rs"]
mod crowd;
#[path = "browser/looks.rs"]
mod looks;
#[path = "browser/narrowing.rs"]
mod narrowing;
#[path = "browser/session.rs"]
mod session;
#[path = "browser/states.rs"]
mod states;
#[path = "browser/why.rs"]
mod why;

use std::time::Duration;

use modeltap_testbed::clock::{await_some, await_that};
use modeltap_testbed::daemon::{self, Daemon, Start};
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Target};
use modeltap_testbed::truth::{self, Counts};
use serde_json::Value;

use crate::looks::{SIZES, take_pictures, take_pictures_in_chinese};
use crate::session::{Browser, Scheme};

/// Longest time until the page shows something.
const SHOWS_WITHIN: Duration = Duration::from_secs(60);
/// Longest time until the requests that stand for a minute are written.
const KEPT_WITHIN: Duration = Duration::from_secs(100);
/// Longest time until the page has found the daemon again.
const RECONNECTS_WITHIN: Duration = Duration::from_secs(40);

fn url(daemon: &Daemon, path: &str) -> String {
    format!("http://{}{path}", daemon.address())
}

/// The totals that the service's page shows.
fn totals_shown(browser: &Browser) -> Counts {
    let body = "return [...document.querySelectorAll('[data-testid=route-total]')]\
        .map(e => ['route', 'method', 'status', 'count'].map(n => e.getAttribute('data-' + n)))";
    let rows = browser.evaluate(body);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = rows.as_array().into_iter().flatten();
    rows.map(|row| {
        let key = (text(&row[0]), text(&row[1]), text(&row[2]));
        (key, text(&row[3]).parse().unwrap_or_default())
    })
    .collect()
}

/// Whether the table of failed requests shows some, and none that succeeded.
fn shows_failed_alone(browser: &Browser) -> bool {
    let body = "const rows = [...document.querySelectorAll(\
        '[data-testid=failed] [data-testid=request-row]')];\
        return rows.length > 0 && rows.every(r => +r.dataset.status >= 400)";
    browser.evaluate(body) == serde_json::json!(true)
}

/// What the page asked of another origin.
fn foreign_requests(browser: &Browser) -> Value {
    let body = "return performance.getEntriesByType('resource').map(e => e.name)\
        .filter(name => !name.startsWith(location.origin + '/'))";
    browser.evaluate(body)
}

/// A figure as it is shown: `5 %` and `5.00%` are 5.
fn shown(text: &str) -> Option<f64> {
    let digits: String = text
        .trim()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    digits.parse().ok()
}

#[test]
fn page_shows_the_numbers_of_a_known_load_and_survives_its_daemon() {
    let Some(_ground) = ground::take("browser") else {
        return;
    };
    let image = images::servers();
    let command = "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --no-access-log";
    let limits = Spec::new(&image, command).more("--memory 256m --cpus 1.5");
    let container = Container::start("shown", &limits).listening(8000);
    let data = tempfile::tempdir().unwrap();
    let binary = daemon::binary(env!("CARGO_BIN_EXE_modeltap"));
    let daemon = Start::new(&binary, data.path()).ready();
    daemon.await_service(container.name());

    let browser = Browser::start();
    browser.view(SIZES[0].0, SIZES[0].1, Scheme::Dark);
    browser.open(&url(&daemon, "/"));
    let row = format!("[data-testid='service-row-{}']", container.name());
    await_that("the service's row", SHOWS_WITHIN, || browser.shows(&row));
    assert!(browser.shows("[data-testid='capture-badge']"));
    take_pictures(&browser, "no-traffic");

    let rows = load::run(
        Target::inside(&container, 8000),
        load::spread(load::mix(400)),
    );
    daemon.await_requests(container.name(), rows.len());
    let figure = |name: &str| format!("{row} [data-testid='{name}']");
    await_that("a request rate above zero", SHOWS_WITHIN, || {
        let text = browser.text(&figure("requests-rate"));
        text.and_then(|text| shown(&text))
            .is_some_and(|rate| rate > 0.0)
    });
    // One request of twenty is answered with 500.
    await_that("an error rate of 5 %", SHOWS_WITHIN, || {
        let text = browser.text(&figure("error-rate"));
        text.and_then(|text| shown(&text))
            .is_some_and(|rate| (rate - 5.0).abs() < 0.1)
    });
    let p95 = await_some("a 95th percentile", SHOWS_WITHIN, || {
        browser.text(&figure("p95")).and_then(|text| shown(&text))
    });
    assert!(p95 > 0.0);
    for (column, limit) in [("CPU", "of 1.5"), ("Memory", "of 256\u{a0}MiB")] {
        let cell = format!("{row} [data-label='{column}']");
        await_that("use against its limit", SHOWS_WITHIN, || {
            let text = browser.text(&cell);
            text.is_some_and(|text| text.contains(limit))
        });
    }
    let badge = browser.text("[data-testid='capture-badge']").unwrap();
    assert!(badge.contains("100"), "everything was captured: {badge:?}");
    take_pictures(&browser, "overview");
    take_pictures_in_chinese(&browser, "overview");
    narrowing::keys_lead_about(&browser);
    crowd::second_of_a_hundred_services_is_written_in_small_parts(&browser, &url(&daemon, "/"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    states::overview_says_what_is_wrong(&browser, &url(&daemon, "/"));

    browser.open(&url(&daemon, &format!("/services/{}", container.name())));
    let sent = truth::sent(&rows);
    let mut last = Counts::new();
    let equal = || {
        last = totals_shown(&browser);
        last == sent
    };
    await_that("the exact totals of the load", SHOWS_WITHIN, equal);
    assert_eq!(last, sent);
    let requests = format!("{} requests", rows.len());
    await_that("every request in the heatmap", SHOWS_WITHIN, || {
        let text = browser.text("[data-testid='heat-summary']");
        text.is_some_and(|text| text.starts_with(&requests))
    });
    let own = browser.text("[data-testid='container-row']").unwrap();
    assert!(own.contains(container.name()), "{own:?}");
    assert!(own.contains("of 256\u{a0}MiB"), "{own:?}");
    await_that("single requests of the range", KEPT_WITHIN, || {
        shows_failed_alone(&browser) && browser.shows("[data-testid='slowest'] td.time")
    });
    browser.click("[data-testid='failed'] button");
    let detail = "[data-testid='request-detail'][open] h2";
    await_that("a request's details", SHOWS_WITHIN, || {
        browser.shows(detail)
    });
    browser.evaluate("document.querySelector('dialog[open]').close()");
    take_pictures(&browser, "service");
    take_pictures_in_chinese(&browser, "service");
    // The routes' table is of the last minute.
    let more = load::run(
        Target::inside(&container, 8000),
        load::spread(load::mix(100)),
    );
    assert!(!more.is_empty());
    narrowing::page_narrows_and_links_lead_back(&browser, container.name());
    container.restart();
    for kind in ["container_stopped", "container_started"] {
        let told = format!("[data-testid='event'][data-kind='{kind}']");
        await_that("what happened", SHOWS_WITHIN, || browser.shows(&told));
    }
    await_that("a mark on the charts", SHOWS_WITHIN, || {
        browser.shows(".chart .mark b")
    });
    take_pictures(&browser, "restarted");
    browser.open(&url(&daemon, "/requests"));
    await_that("the requests", SHOWS_WITHIN, || {
        browser.shows("[data-testid='request-row']")
    });
    take_pictures(&browser, "requests");
    take_pictures_in_chinese(&browser, "requests");
    narrowing::requests_are_filtered_by_all_that_the_address_says(&browser);
    browser.open(&url(&daemon, "/system"));
    await_that("the system page", SHOWS_WITHIN, || {
        browser.shows("[data-testid='events']")
    });
    // The kernel measures the probes for a moment each minute.
    await_that("what each probe costs", KEPT_WITHIN, || {
        browser.shows("[data-testid='program']")
    });
    take_pictures(&browser, "system");
    take_pictures_in_chinese(&browser, "system");
    assert_eq!(foreign_requests(&browser), serde_json::json!([]));
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // The daemon goes, and comes back at the same address.
    browser.open(&url(&daemon, "/"));
    await_that("the service's row", SHOWS_WITHIN, || browser.shows(&row));
    let gone = "[data-testid='daemon-gone']";
    assert!(!browser.shows(gone));
    let again = daemon.same_again();
    daemon.stop();
    await_that("the page to say so", RECONNECTS_WITHIN, || {
        browser.shows(gone)
    });
    take_pictures(&browser, "daemon-gone");
    let daemon = again.ready();
    await_that("the page to find it again", RECONNECTS_WITHIN, || {
        !browser.shows(gone) && browser.shows(&row)
    });
    drop(browser);
    daemon.stop();
}

#[test]
fn docs_of_the_api_show_every_operation_and_try_one_without_the_internet() {
    let Some(_ground) = ground::take("docs") else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let binary = daemon::binary(env!("CARGO_BIN_EXE_modeltap"));
    let daemon = Start::new(&binary, data.path()).ready();
    let browser = Browser::start();
    browser.view(SIZES[0].0, SIZES[0].1, Scheme::Light);
    browser.open(&url(&daemon, "/api/docs"));
    let n_described = daemon
        .json::<Value>("/api/v1/openapi.json")
        .pointer("/paths")
        .and_then(Value::as_object)
        .map_or(0, |paths| paths.len());
    await_that("every operation", SHOWS_WITHIN, || {
        let n = browser.evaluate("return document.querySelectorAll('.opblock').length");
        n.as_u64() >= Some(n_described as u64)
    });
    browser.screenshot("api-docs", SIZES[0].0, Scheme::Light);
    // A click while the page is still drawing is lost, and a second one on what
    // is being asked would ask again: what the page shows says what is next.
    await_that("the answer", SHOWS_WITHIN, || {
        let shown = browser.evaluate(
            "const operation = document.querySelector('#operations-daemon-status'); \
             if (!operation) return ''; \
             const answer = operation.querySelector('.live-responses-table'); \
             if (answer) return answer.innerText; \
             if (operation.querySelector('.loading-container')) return ''; \
             const next = operation.classList.contains('is-open') \
                 ? 'button.execute' : '.opblock-summary-control'; \
             operation.querySelector(next)?.click(); \
             return ''",
        );
        shown
            .as_str()
            .is_some_and(|text| text.contains("uptime_seconds"))
    });
    // What the policy forbids, Chromium complains of.
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");
    daemon.stop();
}
