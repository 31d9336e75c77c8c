//! The description against the routes, the sources and its snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::*;
use crate::fixture::Fixture;

/// Raised by `MODELTAP_BLESS=1`: what the description is becomes what is
/// expected.
const BLESS: &str = "MODELTAP_BLESS";
/// What browsers open, and is no part of the interface.
const PAGES: &[&str] = &["/api/docs", "/api/docs/", "/api/docs/{*path}"];

#[test]
fn description_is_as_it_was_looked_at() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os(BLESS).is_some() {
        fs::write(&file, text()).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    let differs = text()
        .lines()
        .zip(expected.lines())
        .position(|(new, old)| new != old);
    assert!(
        text() == expected,
        "the description changed at line {differs:?}: look at it, then run with {BLESS}=1"
    );
}

/// Methods by path, as described.
fn described() -> BTreeMap<String, BTreeSet<String>> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &Value| {
        let names = item.as_object().unwrap().keys();
        names.map(|name| name.to_uppercase()).collect()
    };
    paths
        .iter()
        .map(|(path, item)| (path.clone(), methods(item)))
        .collect()
}

#[tokio::test]
async fn every_described_path_takes_the_methods_described() {
    let api = Fixture::new(1);
    for (path, methods) in described() {
        let concrete = path.replace(['{', '}'], "");
        let answer = api.ask("TRACE", &concrete, &[], "").await;
        let allowed = answer.header("allow").split(',');
        let mut allowed: BTreeSet<_> = allowed.map(|name| name.trim().to_owned()).collect();
        allowed.remove("HEAD");
        assert_eq!(allowed, methods, "{path}: {answer:?}");
    }
}

/// Every `.route("PATH", METHODS)` of the sources.
fn registered(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            registered(&path, found);
        } else if !path.ends_with("tests.rs") {
            let source = fs::read_to_string(&path).unwrap();
            for call in source.split(".route(").skip(1) {
                let Some(rest) = call.trim_start().strip_prefix('"') else {
                    continue;
                };
                found.extend(rest.split_once('"').map(|(path, _)| path.to_owned()));
            }
        }
    }
}

#[test]
fn every_registered_path_is_described() {
    let described = described();
    let mut registered_paths = Vec::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    registered(&sources, &mut registered_paths);
    assert!(registered_paths.len() >= described.len());
    for path in registered_paths {
        let is_known = PAGES.contains(&path.as_str())
            || described.contains_key(&path)
            || described.contains_key(&format!("/api/v1{path}"));
        assert!(
            is_known,
            "{path} is registered but not described: give its handler a `#[utoipa::path]` and \
             name it in openapi.rs"
        );
    }
}

#[test]
fn every_operation_is_explained_and_its_errors_are_problems() {
    let document = document();
    // Most readers refuse a field that is there and is nothing.
    assert!(!text().contains(": null"));
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{at}");
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id), "{at} shares its id");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = &parameter["name"];
                assert!(parameter["description"].is_string(), "{at} {name}");
                assert!(parameter["schema"]["type"].is_string(), "{at} {name}");
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status.starts_with(['4', '5']) {
                    let problem = &response["content"]["application/problem+json"];
                    assert!(problem.is_object(), "{at} {status}");
                }
            }
        }
    }
}

#[test]
fn nothing_in_the_text_leads_into_the_sources() {
    for words in ["::", "[`"] {
        let at = text().lines().find(|line| line.contains(words));
        assert_eq!(at, None, "{words}");
    }
    assert_eq!(
        plain("as [`A::b`](crate::A::b), [`c`]; [`"),
        "as `A.b`, `c`; [`"
    );
}

#[tokio::test]
async fn docs_are_served_without_anybody_elses_server() {
    let api = Fixture::new(0);
    let moved = api.get("/api/docs", &[]).await;
    assert_eq!(moved.header("location"), "/api/docs/");
    let index = api.get("/api/docs/", &[]).await;
    assert!(index.header("content-type").starts_with("text/html"));
    let policy = index.header("content-security-policy");
    assert!(policy.contains("script-src 'self'"), "{policy}");
    for file in [
        "swagger-ui.css",
        "index.css",
        "swagger-ui-bundle.js",
        "swagger-ui-standalone-preset.js",
        "swagger-initializer.js",
    ] {
        let answer = api.get(&format!("/api/docs/{file}"), &[]).await;
        assert_eq!(answer.status, 200, "{file}");
        assert!(answer.body.len() > 50, "{file}");
    }
    let start = api.get("/api/docs/swagger-initializer.js", &[]).await;
    assert!(start.text().contains(PATH), "{start:?}");
    assert!(!start.text().contains("http"), "{}", start.text());
    assert_eq!(api.get("/api/docs/none.js", &[]).await.status, 404);

    let described = api.get(PATH, &[]).await;
    assert_eq!(described.text(), text());
}
