//! What the overview looks like where something is not as it should be: each
//! state is made by what the page is told, seen, pictured and measured.

use modeltap_testbed::clock::await_that;
use serde_json::json;

use crate::SHOWS_WITHIN;
use crate::looks::look_once;
use crate::session::Browser;

/// Begins a change of what the live connection says: `change` gets a message.
const TOLD: &str = "const Plain = WebSocket; window.WebSocket = class extends Plain { \
    set onmessage(take) { super.onmessage = take && (event => { \
        const message = JSON.parse(event.data); \
        change(message); take({ data: JSON.stringify(message) }); }); } };";

/// No live connection, and every question refused for want of a token.
const REFUSED: &str = "const plain = fetch; \
    window.fetch = (path, init) => String(path).startsWith('/api/') \
        ? Promise.resolve(new Response('{}', { status: 401 })) : plain(path, init); \
    const Plain = WebSocket; window.WebSocket = class extends Plain { \
        constructor() { super('ws://127.0.0.1:9/'); } };";

/// A state: its name, what makes it, and where its words are.
const STATES: [(&str, &str, &str, &str); 3] = [
    (
        "no-containers",
        "const change = message => { if (message.services) { \
            message.services = []; message.names = []; message.status.docker.n_excluded = 2; } };",
        "[data-testid='empty-no-containers']",
        "modeltap.enable=false",
    ),
    (
        "loss",
        "const change = message => { if (message.status) { \
            Object.assign(message.status.capture, \
                { events_lost: 1234, events_dropped: 77, requests_incomplete: 41 }); \
            message.status.capture.events_observed += 1311; \
            Object.assign(message.status.store, { ok: false, error: 'no space left on device' }); \
            message.services.forEach(service => service.window.n_incomplete = 5); } };",
        "[data-testid='capture-badge']",
        "1,234 events lost",
    ),
    (
        "refused",
        "",
        "[data-testid='daemon-gone']",
        "asks for a token",
    ),
];

/// Opens the overview in each state; it is to be opened again afterwards.
pub fn overview_says_what_is_wrong(browser: &Browser, overview: &str) {
    for (name, change, place, words) in STATES {
        let source = match change {
            "" => REFUSED.to_owned(),
            change => format!("{change}{TOLD}"),
        };
        let source = json!({ "source": format!("(() => {{ {source} }})()") });
        let script = browser.devtools("Page.addScriptToEvaluateOnNewDocument", &source);
        browser.open(overview);
        await_that(&format!("{name}: {words:?}"), SHOWS_WITHIN, || {
            browser.text(place).is_some_and(|text| text.contains(words))
        });
        look_once(browser, name);
        browser.devtools("Page.removeScriptToEvaluateOnNewDocument", &script);
    }
    // Chromium complains of the port where nobody listens.
    browser.complaints();
}
