//! What is refused before anything is changed, and rules tried on history.

use std::time::Duration;

use modeltap_core::record::{Method, Outcome};
use modeltap_core::rollup::{Figures, Rollup, SeriesKey};
use modeltap_metrics::alert::default_rules;
use modeltap_store::{Store, StoreConfig};

use super::*;
use crate::fixture::Fixture;

const JSON: (&str, &str) = ("content-type", "application/json");

fn rule() -> wire::AlertRule {
    convert::rule(&default_rules()[0])
}

fn body(rule: &wire::AlertRule) -> String {
    serde_json::to_string(rule).unwrap()
}

#[tokio::test]
async fn page_of_another_origin_changes_nothing() {
    let api = Fixture::new(1);
    let rule = wire::AlertRule {
        id: String::new(),
        ..rule()
    };
    let foreign = ("origin", "http://attacker.example");
    for (method, path, body) in [
        ("POST", "/api/v1/alert-rules", body(&rule)),
        ("PUT", "/api/v1/alert-rules/default:error_rate", body(&rule)),
        (
            "DELETE",
            "/api/v1/alert-rules/default:error_rate",
            String::new(),
        ),
        (
            "POST",
            "/api/v1/silences",
            "{\"until_unix_ms\":1}".to_owned(),
        ),
        ("POST", "/api/v1/notifiers/webhook/test", String::new()),
    ] {
        let answer = api.ask(method, path, &[JSON, foreign], &body).await;
        assert_eq!(answer.status, 403, "{method} {path}");
        // A form cannot say that it sends JSON.
        let form = ("content-type", "text/plain");
        let answer = api.ask(method, path, &[form], "{}").await;
        assert_eq!(answer.status, 415, "{method} {path}");
    }
}

#[tokio::test]
async fn wrong_rules_are_refused_with_a_problem_that_names_the_field() {
    let api = Fixture::new(1);
    let check = async |body: &str, expected: &str| {
        let answer = api.ask("POST", "/api/v1/alert-rules", &[JSON], body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{detail}");
    };
    check("{}", "missing field `name`").await;
    check("not JSON", "the body is not understood").await;
    check("{\"nmae\":1}", "unknown field `nmae`").await;
    let with_id = rule();
    check(&body(&with_id), "id must be left out").await;
    let no_condition = body(&wire::AlertRule {
        id: String::new(),
        ..rule()
    })
    .replace("\"above\"", "\"around\"");
    check(&no_condition, "unknown variant `around`").await;
    let path = "/api/v1/alert-rules/other";
    let answer = api.ask("PUT", path, &[JSON], &body(&rule())).await;
    assert_eq!(answer.status, 400, "the ids differ");
    for path in [
        "/api/v1/alerts?state=burning",
        "/api/v1/alerts?limit=0",
        "/api/v1/alerts?limit=1001",
        "/api/v1/alerts?from=yesterday",
        "/api/v1/alerts?of=api",
    ] {
        assert_eq!(api.get(path, &[]).await.status, 400, "{path}");
    }
    let answer = api.get("/api/v1/alerts?state=firing&limit=1000", &[]).await;
    assert_eq!(answer.json()["active"], serde_json::json!([]));
}

/// A minute of a service: 60 requests of 50 ms, some of them failed.
fn minute(at: u64, n_errors: u64) -> Rollup {
    let mut figures = Figures {
        n_requests: 60,
        n_errors,
        ..Figures::default()
    };
    for _ in 0..60 {
        figures.duration.record(Duration::from_millis(50));
    }
    Rollup {
        key: SeriesKey {
            service: "api".into(),
            container: "api-1".into(),
            method: Some(Method::Get),
            route: "/".into(),
            status: Some(200),
            outcome: Outcome::Complete,
        },
        start: from_millis(at * 60_000),
        width: Duration::from_secs(60),
        figures,
    }
}

#[test]
fn rule_is_tried_on_the_last_day_as_it_would_have_been_live() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.duckdb");
    let (writer, reader) = Store::open(StoreConfig::new(path)).unwrap();
    let now = now();
    let end = now.seconds() / 120 * 2;
    let first = end - 1_440;
    // An hour of failures, six hours ago; no request in one, two hours ago.
    let failing = end - 360..end - 300;
    let silent = end - 120..end - 60;
    let seen = (first..end).filter(|at| !silent.contains(at));
    let rollups: Vec<_> = seen
        .map(|at| minute(at, if failing.contains(&at) { 6 } else { 0 }))
        .collect();
    writer.append(rollups);
    writer.flush();
    let tried = |rule: &modeltap_core::alert::AlertRule| {
        history::preview(&reader, rule, "api", now).unwrap()
    };
    let rules = default_rules();
    let errors = tried(&rules[0]);
    let (from, n_steps, step) = history::preview_range(&rules[0], now);
    assert_eq!((from, n_steps, step), (first * 60, 720, 120));
    assert_eq!(errors.values.len(), 720);
    assert_eq!(errors.values[0], Some(0.0));
    assert_eq!(errors.done.thresholds, vec![Some(0.05); 720]);
    let [(began, ended)] = errors.done.episodes[..] else {
        panic!("{:?}", errors.done.episodes);
    };
    let minutes = (began.seconds() / 60 - first, ended.seconds() / 60 - first);
    // It is seen at the end of a step, and is over with the step that is back
    // for a minute.
    assert!((1_082..=1_084).contains(&minutes.0), "{minutes:?}");
    assert!((1_142..=1_146).contains(&minutes.1), "{minutes:?}");
    let traffic = tried(&rules[2]);
    assert_eq!(
        traffic.done.episodes.len(),
        1,
        "{:?}",
        traffic.done.episodes
    );
    let slow = tried(&rules[1]);
    assert!(slow.done.episodes.is_empty());
    assert!(slow.values[0].is_some_and(|p95| (0.0495..0.0505).contains(&p95)));
    let missing = history::preview(&reader, &rules[0], "nobody", now).unwrap();
    assert_eq!(missing.values, vec![None; 720]);
}
