//! The page's alerts: a rule made by its form, tried on the past before it is
//! saved, fires on every page in time, is silenced, and is deleted.

use std::net::TcpListener;

use modeltap_api_types::{AlertRules, Alerts, Silences};
use modeltap_testbed::clock::{await_some, await_that};
use modeltap_testbed::daemon::{self, Start};
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Target};
use serde_json::{Value, json};

use crate::looks::{take_pictures, take_pictures_in_chinese};
use crate::session::Browser;
use crate::{SHOWS_WITHIN, url};

/// Longest time from firing until every page says so: two seconds are
/// promised, and a host that builds meanwhile may take its time.
const TOLD_WITHIN_MS: f64 = 5_000.0;
/// Notes when the banner appears first: the driver would see it later.
const WATCH_BANNER: &str = "window.bannerAt = 0; new MutationObserver(() => {\
    if (!window.bannerAt && document.querySelector('[data-testid=alert-line]'))\
      window.bannerAt = Date.now();\
  }).observe(document.body, { childList: true, subtree: true })";

/// Types into the field of a form, as a person would.
fn fill(browser: &Browser, selector: &str, value: &str) {
    let (selector, value) = (json!(selector), json!(value));
    let body = format!(
        "const e = document.querySelector({selector}); e.value = {value};\
         for (const name of ['input', 'change'])\
           e.dispatchEvent(new Event(name, {{ bubbles: true }}));"
    );
    browser.evaluate(&body);
}

/// What the page asked of any server but the daemon.
fn foreign_requests(browser: &Browser) -> Value {
    browser.evaluate(
        "return performance.getEntriesByType('resource').map(e => e.name)\
         .filter(name => new URL(name).host !== location.host)",
    )
}

#[test]
fn rule_made_on_the_page_fires_on_every_page_and_is_deleted() {
    let Some(_ground) = ground::take("browser") else {
        return;
    };
    let image = images::servers();
    let command = "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --no-access-log";
    let container = Container::start("fails", &Spec::new(&image, command)).listening(8000);
    let data = tempfile::tempdir().unwrap();
    // A receiver that is not there: its refusal must be seen.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!("http://{}/hook", nobody.local_addr().unwrap());
    drop(nobody);
    let binary = daemon::binary(env!("CARGO_BIN_EXE_modeltap"));
    let daemon = Start::new(&binary, data.path())
        .env("MODELTAP_WEBHOOK_URL", &hook)
        .ready();
    daemon.await_service(container.name());
    // One request of twenty is answered with 500.
    let rows = load::run(
        Target::inside(&container, 8000),
        load::spread(load::mix(400)),
    );
    daemon.await_requests(container.name(), rows.len());

    let browser = Browser::start();
    browser.open(&url(&daemon, "/"));
    await_that("the overview", SHOWS_WITHIN, || {
        browser.shows("[data-testid='capture-badge']")
    });
    assert!(!browser.shows("[data-testid='alert-banner']"));
    browser.press(&["g", "a"]);
    let has_rules = || browser.shows("[data-testid='rule'][data-name='default:error_rate']");
    await_that("the rules, by the keys g and a", SHOWS_WITHIN, has_rules);
    await_that("that nothing fires", SHOWS_WITHIN, || {
        browser.shows("[data-testid='all-quiet']")
    });
    take_pictures(&browser, "alerts-quiet");

    // What is wrong is said at its field, before anything is sent.
    browser.click("[data-testid='new-rule']");
    await_that("the form", SHOWS_WITHIN, || browser.shows("#rule-name"));
    fill(&browser, "#rule-service", container.name());
    fill(&browser, "#rule-metric", "error_rate");
    fill(&browser, "#rule-threshold", "200");
    let told = |field: &str| {
        let error = format!("[data-field='{field}'] [data-testid='field-error']");
        browser.text(&error).unwrap_or_default()
    };
    await_that("the limit's error", SHOWS_WITHIN, || {
        told("threshold") == "must be 0 to 100"
    });
    browser.click("[data-testid='save-rule']");
    fill(&browser, "#rule-threshold", "1");
    await_that("the name's error", SHOWS_WITHIN, || {
        told("name") == "must not be empty"
    });
    fill(&browser, "#rule-name", "One of a hundred");
    // This one only the daemon finds wrong; its problem document says where.
    fill(&browser, "#rule-window_seconds", "2h");
    await_that("the window's error", SHOWS_WITHIN, || {
        told("window_seconds").contains("must be 1")
    });
    fill(&browser, "#rule-window_seconds", "2m");
    fill(&browser, "#rule-for_seconds", "0s");
    let tried = format!("[data-testid='tried'][data-service='{}']", container.name());
    await_that("what it would have done", SHOWS_WITHIN, || {
        browser.shows(&tried)
    });
    take_pictures(&browser, "alerts-form");
    browser.click("[data-testid='save-rule']");
    let rule = await_some("the rule", SHOWS_WITHIN, || {
        let known: AlertRules = daemon.json("/api/v1/alert-rules");
        known
            .rules
            .into_iter()
            .find(|r| r.name == "One of a hundred")
    });
    assert_eq!(rule.service.as_deref(), Some(container.name()));

    browser.evaluate(WATCH_BANNER);
    // Its window begins with it.
    let _rows = load::run(
        Target::inside(&container, 8000),
        load::spread(load::mix(400)),
    );

    // It fires, and the page that is open says so in time.
    let fired_ms = await_some("the alert", SHOWS_WITHIN, || {
        let alerts: Alerts = daemon.json("/api/v1/alerts");
        let mut active = alerts.active.into_iter();
        active
            .find(|a| a.rule == rule.id && a.state == "firing")?
            .fired_unix_ms
    });
    let banner = format!("[data-testid='alert-line'][data-rule='{}']", rule.id);
    await_that("the banner", SHOWS_WITHIN, || browser.shows(&banner));
    let told_ms = browser.evaluate("return window.bannerAt").as_f64();
    let after_ms = told_ms.expect("the banner was seen") - fired_ms as f64;
    assert!(
        after_ms < TOLD_WITHIN_MS,
        "the banner came {after_ms} ms later"
    );
    let alert = format!("[data-name='{}/{}']", container.name(), rule.id);
    // It may have fired before the last of the requests was counted.
    await_that("one of twenty failed", SHOWS_WITHIN, || {
        browser.text(&alert).is_some_and(|row| row.contains("5.0%"))
    });
    let counted = browser
        .evaluate("return document.querySelector('[data-testid=alert-banner]').dataset.count");
    assert_eq!(counted, json!("1"));
    // Nobody takes it, and the log of deliveries says so.
    await_that("the delivery", SHOWS_WITHIN, || {
        let delivery = browser.text("[data-testid='delivery']");
        delivery.is_some_and(|text| text.contains("One of a hundred"))
    });
    take_pictures(&browser, "alerts");
    take_pictures_in_chinese(&browser, "alerts");

    // Once silenced it is still shown, but no longer loud.
    fill(
        &browser,
        "[data-testid='silence-service']",
        container.name(),
    );
    fill(&browser, "[data-testid='silence-comment']", "being mended");
    browser.click("[data-testid='silence-form'] button");
    await_that("the silence", SHOWS_WITHIN, || {
        let silences: Silences = daemon.json("/api/v1/silences");
        silences
            .silences
            .iter()
            .any(|s| s.comment == "being mended")
            && browser.shows("[data-testid='silence']")
    });
    await_that("a quiet page", SHOWS_WITHIN, || {
        !browser.shows("[data-testid='alert-banner']") && browser.shows(&alert)
    });
    browser.click("[data-testid='silence'] button");
    await_that("the banner again", SHOWS_WITHIN, || browser.shows(&banner));

    // The service's own page leads to it.
    browser.open(&url(&daemon, &format!("/services/{}", container.name())));
    await_that("the service's alerts", SHOWS_WITHIN, || {
        browser.shows("[data-testid='firing-link']") && browser.shows(&banner)
    });
    browser.click("[data-testid='firing-link']");

    // Deleted, it is over.
    let delete = format!("[data-testid='rule'][data-name='{}'] .act", rule.id);
    await_that("the rule's row", SHOWS_WITHIN, || browser.shows(&delete));
    let second = format!("{delete} button:last-child");
    browser.click(&second);
    await_that("to be asked again", SHOWS_WITHIN, || {
        browser.text(&second).as_deref() == Some("Delete now")
    });
    browser.click(&second);
    await_that("no rule and no banner", SHOWS_WITHIN, || {
        !browser.shows(&delete) && !browser.shows("[data-testid='alert-banner']")
    });
    let past = "[data-testid='past-alert']";
    await_that("the alert in the history", SHOWS_WITHIN, || {
        let text = browser.text(past);
        text.is_some_and(|text| text.contains("One of a hundred"))
    });
    assert_eq!(foreign_requests(&browser), json!([]));
    // The preview of the window that is too long was refused, as it should.
    let complaints = browser.complaints();
    let refused = |line: &&String| line.contains("preview") && line.contains("400");
    assert!(
        complaints.iter().all(|line| refused(&line)),
        "{complaints:?}"
    );
    drop(browser);
    daemon.stop();
}
