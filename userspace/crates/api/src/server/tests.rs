//! Every check a request passes, asked through all of them.

use axum::http::StatusCode;

use crate::fixture::{Answer, Fixture};

#[track_caller]
fn refused(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    let kind = answer.header("content-type");
    assert_eq!(kind, "application/problem+json", "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(words), "no {words:?} in {detail:?}");
    // A refusal is hardened as any answer.
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(
        answer
            .header("content-security-policy")
            .contains("frame-ancestors 'none'")
    );
}

#[tokio::test]
async fn parameters_that_are_not_known_are_refused_with_those_that_are() {
    let api = Fixture::new(1);
    let ask = async |path: &str| api.get(path, &[]).await;
    let answer = ask("/api/v1/requests?sevrice=x").await;
    refused(&answer, 400, "sevrice");
    refused(&answer, 400, "min_duration");
    refused(&ask("/api/v1/query?window=1h").await, 400, "status_class");
    for path in [
        "/status",
        "/services",
        "/services/api",
        "/services/api/routes",
    ] {
        refused(&ask(&format!("/api/v1{path}?x=1")).await, 400, "`x`");
        let answer = ask(&format!("/api/v1{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    refused(&ask("/api/v1/requests?limit=1&limit=2").await, 400, "limit");
    refused(&ask("/api/v1/requests?limit=0").await, 400, "1 to 2000");
    refused(&ask("/api/v1/requests?limit=-1").await, 400, "limit");
    refused(&ask("/api/v1/services/none").await, 404, "none");
    refused(&ask("/api/v1/none").await, 404, "none");
}

#[tokio::test]
async fn methods_that_a_path_does_not_take_are_told_with_those_it_does() {
    let api = Fixture::new(1);
    let answer = api.ask("DELETE", "/api/v1/status", &[], "").await;
    refused(&answer, 405, "DELETE");
    assert_eq!(answer.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn what_is_too_long_is_refused() {
    let api = Fixture::new(1);
    let long = format!("/api/v1/requests?service={}", "x".repeat(9_000));
    refused(&api.get(&long, &[]).await, 414, "8192");
    let long = format!("/api/v1/services/{}", "x".repeat(600));
    refused(&api.get(&long, &[]).await, 400, "512");
    let headers = [
        ("content-length", "70000"),
        ("content-type", "application/json"),
    ];
    let answer = api.ask("POST", "/api/v1/status", &headers, "").await;
    refused(&answer, 413, "65536");
}

#[tokio::test]
async fn writes_come_from_the_page_itself_and_are_json() {
    let api = Fixture::new(1);
    let write = async |headers: &[(&str, &str)], body| {
        api.ask("POST", "/api/v1/status", headers, body).await
    };
    let json = ("content-type", "application/json; charset=utf-8");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let text = ("content-type", "text/plain");
    refused(&write(&[form], "a=1").await, 415, "application/json");
    refused(&write(&[text], "{}").await, 415, "application/json");
    let unsaid = write(&[("content-length", "2")], "{}").await;
    refused(&unsaid, 415, "application/json");
    let foreign = ("origin", "http://attacker.example");
    refused(&write(&[json, foreign], "{}").await, 403, "other origins");
    refused(
        &write(&[json, ("origin", "null")], "{}").await,
        403,
        "other origins",
    );
    let cross = ("sec-fetch-site", "cross-site");
    refused(&write(&[json, cross], "{}").await, 403, "other sites");
    let own = ("origin", "http://127.0.0.1:7979");
    // Past every check: this path takes no writes.
    refused(&write(&[json, own], "{}").await, 405, "POST");
    refused(&write(&[json], "{}").await, 405, "POST");
    // A link from elsewhere may open the page.
    let answer = api.get("/api/v1/status", &[cross]).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn token_is_asked_for_everywhere_but_health() {
    let mut api = Fixture::new(1);
    api.access.token = Some("0123456789abcdef".to_owned());
    for path in [
        "/",
        "/metrics",
        "/api/v1/status",
        "/api/v1/live",
        "/api/v1/none",
    ] {
        let answer = api.get(path, &[]).await;
        refused(&answer, 401, "token");
        let schemes: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
        assert_eq!(schemes.len(), 2, "{answer:?}");
    }
    assert_eq!(api.get("/healthz", &[]).await.status, StatusCode::OK);
    let right = [("authorization", "Bearer 0123456789abcdef")];
    let answer = api.get("/api/v1/status", &right).await;
    assert_eq!(answer.status, StatusCode::OK);
    let wrong = [("authorization", "Bearer 0123456789abcdeg")];
    refused(&api.get("/api/v1/status", &wrong).await, 401, "token");
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let api = Fixture::new(1);
    let host = [("host", "attacker.example")];
    refused(
        &api.get("/api/v1/status", &host).await,
        403,
        "--allowed-hosts",
    );
    for origin in ["http://attacker.example", "null", "http://127.0.0.1:8080"] {
        let answer = api.get("/api/v1/status", &[("origin", origin)]).await;
        refused(&answer, 403, "other origins");
    }
}

#[tokio::test]
async fn answer_that_a_client_has_is_not_sent_again_until_it_changes() {
    let api = Fixture::new(2);
    let path = "/api/v1/requests?limit=1";
    let first = api.get(path, &[]).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "{first:?}");
    assert_eq!(first.header("cache-control"), "private, no-cache");
    let again = api.get(path, &[("if-none-match", &tag)]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert!(again.body.is_empty() && again.header("etag") == tag);
    // What tells of the next page stays with it.
    assert_eq!(again.header("link"), first.header("link"));

    let csv = [("if-none-match", tag.as_str()), ("accept", "text/csv")];
    assert_eq!(api.get(path, &csv).await.status, StatusCode::OK);
    let mut live = api.sources.live.clone();
    live.mark_unchanged();
    api.requests.send(1).await.unwrap();
    live.changed().await.unwrap();
    let changed = api.get(path, &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.header("etag"), tag);

    let metrics = api.get("/metrics", &[]).await;
    assert_eq!(metrics.header("cache-control"), "no-store");
    assert!(
        metrics
            .text()
            .contains("modeltap_api_live_clients_dropped_total 0")
    );
}

#[tokio::test]
async fn long_answers_are_compressed_and_short_ones_are_not() {
    let api = Fixture::new(200);
    let long = "/api/v1/requests?limit=200";
    let plain = api.get(long, &[]).await;
    assert_eq!(plain.header("content-encoding"), "");
    for coding in ["br", "gzip"] {
        let asked = [("accept-encoding", coding)];
        let packed = api.get(long, &asked).await;
        assert_eq!(packed.header("content-encoding"), coding);
        assert_eq!(packed.header("etag"), plain.header("etag"));
        assert!(
            packed.header("vary").contains("accept"),
            "{:?}",
            packed.headers
        );
        assert!(
            packed.body.len() * 5 < plain.body.len(),
            "{coding}: {} of {}",
            packed.body.len(),
            plain.body.len()
        );
        let short = api.get("/api/v1/services/none", &asked).await;
        assert_eq!(short.header("content-encoding"), "", "{short:?}");
    }
}

#[tokio::test]
async fn pages_hold_every_request_once_while_new_ones_come() {
    let api = Fixture::new(25);
    let mut path = "/api/v1/requests?limit=10&service=api".to_owned();
    let mut connections = Vec::new();
    for expected in [10, 10, 5] {
        let answer = api.get(&path, &[]).await;
        let page = answer.json();
        let requests = page["requests"].as_array().unwrap();
        assert_eq!(requests.len(), expected);
        connections.extend(requests.iter().map(|one| one["connection"].clone()));
        match page["next"].as_str() {
            Some(next) => {
                let target = format!("/api/v1/requests?limit=10&service=api&cursor={next}");
                assert_eq!(answer.header("link"), format!("<{target}>; rel=\"next\""));
                path = target;
            }
            None => assert_eq!((expected, answer.header("link")), (5, "")),
        }
        let mut live = api.sources.live.clone();
        live.mark_unchanged();
        api.requests.send(3).await.unwrap();
        live.changed().await.unwrap();
    }
    let n_told = connections.len();
    connections.sort_by_key(ToString::to_string);
    connections.dedup();
    assert_eq!((n_told, connections.len()), (25, 25));
    let stale = api.get("/api/v1/requests?cursor=1-5", &[]).await;
    refused(&stale, 400, "begun anew");
}

#[tokio::test]
async fn requests_come_in_three_forms() {
    let api = Fixture::new(3);
    let ask = async |path, accept| api.get(path, &[("accept", accept)]).await;
    let json = ask("/api/v1/requests", "*/*").await;
    assert_eq!(json.header("content-type"), "application/json");
    let lines = ask("/api/v1/requests", "application/x-ndjson").await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    assert_eq!(lines.text().lines().count(), 3);
    let first: serde_json::Value =
        serde_json::from_str(lines.text().lines().next().unwrap()).unwrap();
    assert_eq!(first, json.json()["requests"][0]);
    let table = ask("/api/v1/requests?format=csv", "application/json").await;
    assert!(table.header("content-type").starts_with("text/csv"));
    assert_eq!(table.text().matches("\r\n").count(), 4);
    assert!(table.text().starts_with("service,container,method,route,"));
    let wrong = ask("/api/v1/requests?format=xml", "*/*").await;
    refused(&wrong, 400, "json, ndjson or csv");
}
