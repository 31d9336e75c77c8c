//! A hundred services that all change each second: what one frame of the
//! overview has to do. Work is counted and not time, which a busy machine
//! stretches.

use modeltap_testbed::clock::await_that;
use serde_json::{Value, json};

use crate::SHOWS_WITHIN;
use crate::session::Browser;

/// Services shown.
const N_SERVICES: u64 = 100;
/// Rows that one frame may write; `state::MOST_A_FRAME` of the page.
const MOST_A_FRAME: u64 = 8;

/// Makes of each live message one about a hundred services, none as it was.
const CROWD: &str = "(() => {
    let one, turn = 0;
    const crowd = text => {
        const message = JSON.parse(text);
        if (!message.services) return text;
        one = one ?? message.services[0];
        if (!one) return text;
        turn += 1;
        message.services = Array.from({ length: 100 }, (_, i) => {
            const service = structuredClone(one);
            service.name = 'crowd-' + String(i).padStart(3, '0');
            // Nobody is in trouble: the daemon would be asked why.
            service.health = 'ok';
            service.n_firing = 0;
            service.window.rate = (turn * 7 + i) % 50 + 0.5;
            service.window.p95 = ((turn + i) % 40 + 1) / 100;
            service.n_active = (turn + i) % 9;
            service.sparkline = Array.from({ length: 90 }, (_, k) => (k * i + turn) % 30);
            return service;
        });
        message.names = message.services.map(service => service.name);
        return JSON.stringify(message);
    };
    const Plain = WebSocket;
    window.WebSocket = class extends Plain {
        set onmessage(take) {
            super.onmessage = take && (event => take({ data: crowd(event.data) }));
        }
    };
})()";

/// Watches the table for three seconds: rows written in each frame that wrote
/// any, how many rows in all, and elements that came or went.
const WATCH: &str = "const frames = [], rows = new Set(); let now = new Set(), n_elements = 0;
    const elements = nodes => [...nodes].filter(node => node.nodeType === 1).length;
    const observer = new MutationObserver(records => records.forEach(record => {
        const at = record.target.nodeType === 1 ? record.target : record.target.parentElement;
        const row = at?.closest('tr');
        if (row) { now.add(row); rows.add(row.dataset.testid); }
        n_elements += elements(record.addedNodes) + elements(record.removedNodes);
    }));
    observer.observe(document.querySelector('table.services tbody'),
        { subtree: true, childList: true, characterData: true, attributes: true });
    const begin = performance.now();
    const tick = () => {
        if (now.size) frames.push(now.size);
        now = new Set();
        if (performance.now() - begin < 3000) requestAnimationFrame(tick);
        else { observer.disconnect(); done({ frames, rows: rows.size, n_elements }); }
    };
    requestAnimationFrame(tick)";

/// Opens the overview as if a hundred services were there; the page is to be
/// opened again afterwards.
pub fn second_of_a_hundred_services_is_written_in_small_parts(browser: &Browser, overview: &str) {
    let source = json!({ "source": CROWD });
    let script = browser.devtools("Page.addScriptToEvaluateOnNewDocument", &source);
    browser.open(overview);
    await_that("a hundred rows", SHOWS_WITHIN, || {
        let n = browser.evaluate("return document.querySelectorAll('.services tbody tr').length");
        n == N_SERVICES
    });
    // The first message is shown at once; what follows comes in parts.
    let mut seen = Value::Null;
    await_that("every row written", SHOWS_WITHIN, || {
        seen = browser.evaluate_later(WATCH);
        seen["rows"] == N_SERVICES
    });
    let frames = seen["frames"].as_array().into_iter().flatten();
    let most = frames.filter_map(Value::as_u64).max();
    assert!(most <= Some(MOST_A_FRAME), "rows written a frame: {seen}");
    assert_eq!(seen["n_elements"], 0, "made anew: {seen}");
    browser.devtools("Page.removeScriptToEvaluateOnNewDocument", &script);
}
