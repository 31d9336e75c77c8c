//! Links and keys: a click narrows the page, the address bar holds it, and
//! both the address and the back button bring it back.

use modeltap_testbed::clock::await_that;

use crate::SHOWS_WITHIN;
use crate::looks::take_pictures;
use crate::session::Browser;

fn address(browser: &Browser) -> String {
    let address = browser.evaluate("return location.pathname + location.search");
    address.as_str().unwrap_or_default().to_owned()
}

/// The parts that the page says it is narrowed to.
fn narrowed(browser: &Browser) -> Vec<String> {
    let parts = browser.evaluate(
        "return [...document.querySelectorAll('[data-testid=narrowed] b')].map(e => e.innerText)",
    );
    let parts = parts.as_array().cloned().unwrap_or_default();
    parts
        .iter()
        .filter_map(|part| part.as_str().map(str::to_owned))
        .collect()
}

/// On the overview: keys to search, to help, to the pages, and back.
pub fn keys_lead_about(browser: &Browser) {
    browser.press(&["/"]);
    let focused = || browser.evaluate("return document.activeElement.tagName");
    assert_eq!(focused(), "INPUT");
    // What is typed in a box leads nowhere.
    browser.press(&["?"]);
    assert!(!browser.shows("[data-testid='help'][open]"));
    browser.press(&["Escape"]);
    assert_eq!(focused(), "BODY");
    browser.press(&["?"]);
    await_that("the list of keys", SHOWS_WITHIN, || {
        browser.shows("[data-testid='help'][open] kbd")
    });
    take_pictures(browser, "keys");
    browser.click("[data-testid='help'] button");
    for (key, path) in [("r", "/requests"), ("s", "/system"), ("o", "/")] {
        browser.press(&["g", key]);
        assert_eq!(address(browser), path);
    }
}

/// On a service's page, and left there.
pub fn page_narrows_and_links_lead_back(browser: &Browser, container: &str) {
    let whole = address(browser);
    let wide = browser.text("[data-testid='heat-summary']");
    // The table is made anew with every answer: the link that is there now is
    // the one to click.
    let failed = "document.querySelector(\"[data-testid='route-row'] .chips a.s5xx\")?.click()";
    await_that("what it is narrowed to", SHOWS_WITHIN, || {
        narrowed(browser).last().is_some_and(|last| last == "5xx") || {
            browser.evaluate(failed);
            false
        }
    });
    browser.click("[data-testid='container-row'] a.narrow");
    let all = || narrowed(browser);
    await_that("the container too", SHOWS_WITHIN, || {
        all().len() == 3 && all()[1] == container
    });
    await_that("fewer requests in the heatmap", SHOWS_WITHIN, || {
        let text = browser.text("[data-testid='heat-summary']");
        text.as_ref().is_some_and(|t| t.contains("requests")) && text != wide
    });
    let only_errors = "const rows = [...document.querySelectorAll('[data-testid=request-row]')];\
        return rows.length > 0 && rows.every(r => r.dataset.status >= 500)";
    await_that("requests that failed alone", SHOWS_WITHIN, || {
        browser.evaluate(only_errors) == true
    });
    take_pictures(browser, "narrowed");

    // A link is the whole state: opened anew, the same is shown.
    let link = address(browser);
    let shown = all();
    browser.open(&format!("http://{}{link}", host(browser)));
    await_that("the same view", SHOWS_WITHIN, || {
        all() == shown && browser.evaluate(only_errors) == true
    });

    // A cell of the heatmap narrows to its time and durations; its middle is
    // clicked on, since events tell whole pixels.
    let cell = "const area = document.querySelector('.heat-area');\
        const box = area.getBoundingClientRect();\
        const canvas = area.querySelector('canvas');\
        const at = canvas.getBoundingClientRect();\
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;\
        const line = 4 * canvas.width;\
        for (let i = 3; i < data.length; i += 4) if (data[i - line] && data[i] && data[i + line]) {\
          const n = (i - 3) / 4, x = n % canvas.width, y = Math.floor(n / canvas.width);\
          const options = { bubbles: true,\
            clientX: at.left + (x + 0.5) * at.width / canvas.width,\
            clientY: box.top + (y + 0.5) * box.height / canvas.height };\
          area.dispatchEvent(new PointerEvent('pointermove', options));\
          area.dispatchEvent(new MouseEvent('click', options));\
          return true;\
        }\
        return false";
    await_that("a cell to click on", SHOWS_WITHIN, || {
        address(browser).contains("took=") || {
            browser.evaluate(cell);
            false
        }
    });
    assert!(address(browser).contains("&to="), "{}", address(browser));
    browser.evaluate("history.back()");
    await_that("the view before", SHOWS_WITHIN, || {
        address(browser) == link && all() == shown
    });

    // The key `t` goes to the next range, and keeps what is narrowed to.
    browser.press(&["t"]);
    await_that("the next range", SHOWS_WITHIN, || {
        address(browser).contains("range=15m") && all() == shown
    });
    browser.click("[data-testid='narrowed'] ~ a.link");
    await_that("everything again", SHOWS_WITHIN, || all().is_empty());
    browser.open(&format!("http://{}{whole}", host(browser)));
    await_that("the page as it was", SHOWS_WITHIN, || {
        browser.shows("[data-testid='route-total']")
    });
}

/// On the page of requests: what is chosen stands in the address, and only
/// such requests are shown; an address shows what it says.
pub fn requests_are_filtered_by_all_that_the_address_says(browser: &Browser) {
    let rows = "const rows = [...document.querySelectorAll('[data-testid=request-row]')];\
        const took = r => { const text = r.querySelector('.took').innerText;\
          return parseFloat(text) * ({ s: 1, ms: 1e-3 }[text.match(/[^\\d.\\s]+/)[0]] ?? 1e-6) };";
    let shows = |of_all: &str| {
        browser.evaluate(&format!(
            "{rows} return rows.length > 0 && rows.every({of_all})"
        )) == true
    };
    // How long they take is the machine's: half of those shown take as long as
    // the one in the middle.
    browser.open(&format!("http://{}/requests", host(browser)));
    await_that("requests", SHOWS_WITHIN, || shows("r => took(r) > 0"));
    let middle = browser.evaluate(&format!(
        "{rows} return rows.map(took).sort((a, b) => a - b)[rows.length >> 1].toFixed(6)"
    ));
    let middle = middle.as_str().expect("a text").to_owned();
    browser.open(&format!("http://{}/requests?took={middle}-", host(browser)));
    await_that(
        "requests that took as long as the one in the middle, or longer",
        SHOWS_WITHIN,
        || shows(&format!("r => took(r) >= {middle} - 1e-9")),
    );
    browser.choose("[data-testid='filter-took']", "");
    browser.choose("[data-testid='filter-status']", "5xx");
    await_that("requests that failed alone", SHOWS_WITHIN, || {
        address(browser) == "/requests?status=5xx" && shows("r => +r.dataset.status >= 500")
    });
    browser.choose("[data-testid='filter-took']", "10-");
    await_that("that none took so long", SHOWS_WITHIN, || {
        let none = browser.text("p.none").unwrap_or_default();
        none.starts_with("None ") && !browser.shows("[data-testid='request-row']")
    });
    let link = format!(
        "http://{}/requests?status=2xx&outcome=complete&route=items&took=0-5",
        host(browser)
    );
    browser.open(&link);
    await_that("what the link says", SHOWS_WITHIN, || {
        shows(
            "r => r.dataset.status < 300 && r.dataset.outcome === 'complete'\
             && r.dataset.route.includes('items')",
        )
    });
    let chosen = browser.evaluate(
        "return ['status', 'outcome', 'took'].map(n => document.querySelector(\
           `[data-testid=filter-${n}]`).value).join()",
    );
    assert_eq!(chosen, "2xx,complete,0-5");
}

fn host(browser: &Browser) -> String {
    let host = browser.evaluate("return location.host");
    host.as_str().unwrap_or_default().to_owned()
}
