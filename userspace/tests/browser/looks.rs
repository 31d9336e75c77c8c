//! Pictures of a page in every size, theme and language, each measured: it
//! fits, and axe finds nothing that WCAG 2.2 AA forbids.

use std::fs;

use modeltap_testbed::clock::await_that;
use modeltap_testbed::images;
use serde_json::{Value, json};

use crate::SHOWS_WITHIN;
use crate::session::{Browser, Scheme};

/// Widths and heights of the pictures: a desk and a telephone.
pub const SIZES: [(u32, u32); 2] = [(1440, 900), (390, 844)];
/// Widths that must be fitted too, between and beyond.
const OTHER_WIDTHS: [u32; 4] = [768, 1100, 1280, 2560];
/// Where `cargo xtask test` puts axe-core.
const AXE: &str = "axe-core-4.14.1/axe.min.js";
/// The rules of axe that are asked: WCAG 2.2 AA and what it builds on, and
/// what axe itself recommends.
const RULES: &str = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']";

/// A language of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    English,
    Chinese,
}

impl Language {
    fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-TW",
        }
    }
}

/// Turns the page's switch until it speaks `language`; what it shows stays.
#[track_caller]
pub fn speak(browser: &Browser, language: Language) {
    let speaks = || browser.evaluate("return document.documentElement.lang") == language.tag();
    if !speaks() {
        browser.evaluate("document.querySelector('[data-testid=language]').click()");
        await_that("the other language", SHOWS_WITHIN, speaks);
    }
}

/// Takes pictures of the page as it is, and checks each.
#[track_caller]
pub fn take_pictures(browser: &Browser, name: &str) {
    measure(browser, name, [Scheme::Dark, Scheme::Light]);
}

/// Looks at the page as it is in one theme of each size, in which the colours
/// of a state are nearest to their ground.
#[track_caller]
pub fn look_once(browser: &Browser, name: &str) {
    for ((width, height), scheme) in SIZES.into_iter().zip([Scheme::Dark, Scheme::Light]) {
        browser.view(width, height, scheme);
        settle(browser);
        browser.screenshot(name, width, scheme);
        fits(browser, name, width);
        is_accessible(browser, name);
    }
    browser.view(SIZES[0].0, SIZES[0].1, Scheme::Dark);
}

/// Takes a picture of each size in each theme. axe looks at one theme of each
/// size, `schemes` in the order of the sizes: the other language has the
/// others, so that every two of size, theme and language meet.
#[track_caller]
fn measure(browser: &Browser, name: &str, schemes: [Scheme; 2]) {
    for ((width, height), looked_at) in SIZES.into_iter().zip(schemes) {
        for scheme in [Scheme::Dark, Scheme::Light] {
            browser.view(width, height, scheme);
            settle(browser);
            browser.screenshot(name, width, scheme);
            fits(browser, name, width);
            if scheme == looked_at {
                is_accessible(browser, name);
            }
        }
    }
    for width in OTHER_WIDTHS {
        browser.view(width, 900, Scheme::Dark);
        settle(browser);
        fits(browser, name, width);
    }
    browser.view(SIZES[0].0, SIZES[0].1, Scheme::Dark);
}

/// The same in Chinese, with nothing of a page's own words left in English.
#[track_caller]
pub fn take_pictures_in_chinese(browser: &Browser, name: &str) {
    speak(browser, Language::Chinese);
    let heads = browser.evaluate(
        "return [...document.querySelectorAll('h2, h3, th, nav a, label > span, dt')]\
         .map(e => e.textContent.trim())\
         .filter(text => /[a-z]{4}/i.test(text) && !/[\\u4e00-\\u9fff]/.test(text))",
    );
    // Names that are the same in every language.
    let kept = ["UNIX socket", "io_uring", "Docker"];
    let left: Vec<&str> = heads
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|text| !kept.contains(text))
        .collect();
    assert!(left.is_empty(), "{name}: in English still: {left:?}");
    measure(
        browser,
        &format!("{name}-zh"),
        [Scheme::Light, Scheme::Dark],
    );
    speak(browser, Language::English);
}

/// Waits until the page has drawn itself for a new size: two frames.
fn settle(browser: &Browser) {
    browser.evaluate_later(
        "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60)))",
    );
}

#[track_caller]
fn fits(browser: &Browser, name: &str, width: u32) {
    let wide = browser.evaluate("return document.documentElement.scrollWidth");
    assert!(
        wide.as_u64() <= Some(u64::from(width)),
        "{name} at {width}: {wide} wide"
    );
}

#[track_caller]
fn is_accessible(browser: &Browser, name: &str) {
    if browser.evaluate("return typeof axe") == "undefined" {
        let path = images::cache().join(AXE);
        let axe = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("read {path:?}: {error}; `cargo xtask test` puts it"));
        browser.evaluate(&axe);
    }
    let violations = browser.evaluate_later(&format!(
        "axe.run(document, {{ runOnly: {RULES}, resultTypes: ['violations'] }}).then(\
           r => done(r.violations.map(v => [v.id, v.nodes.map(n => [n.target, n.failureSummary])])),\
           e => done(String(e)))"
    ));
    assert_eq!(violations, json!([]), "{name}");
}
