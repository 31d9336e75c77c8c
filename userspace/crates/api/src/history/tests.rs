//! The past, asked for through every check, over a real database.

use std::sync::Arc;
use std::time::Duration;

use modeltap_core::exemplar::{Exemplar, ExemplarReason};
use modeltap_core::history::Batch;
use modeltap_core::record::{Completeness, Method, Outcome};
use modeltap_core::resource::{ResourceFigures, ResourceRollup};
use modeltap_core::rollup::{Figures, Rollup, SeriesKey};
use modeltap_core::timeline::TimelineEvent;
use modeltap_store::{Retention, Store, StoreConfig, Writer};

use super::*;
use crate::fixture::{Answer, Fixture};

/// 2023-11-14T22:13:00Z.
const EPOCH_MS: u64 = 1_699_999_980_000;
const RANGE: &str = "from=2023-11-14T22:13:00Z&to=2023-11-14T22:14:00Z";

struct Past {
    api: Fixture,
    // Dropped before its directory.
    _writer: Writer,
    directory: tempfile::TempDir,
}

fn at(second: u64) -> UnixNs {
    UnixNs((EPOCH_MS + second * 1_000) * 1_000_000)
}

fn past() -> Past {
    let directory = tempfile::tempdir().unwrap();
    let for_ever = Duration::from_secs(100 * 366 * 86_400);
    let config = StoreConfig {
        retention: Retention {
            seconds: for_ever,
            ten_seconds: for_ever,
            minutes: for_ever,
        },
        ..StoreConfig::new(directory.path().join("modeltap.duckdb"))
    };
    let (writer, reader) = Store::open(config).unwrap();
    let mut figures = Figures::default();
    for ms in [10, 20, 30] {
        figures.n_requests += 1;
        figures.duration.record(Duration::from_millis(ms));
    }
    writer.append(Batch {
        rollups: vec![Rollup {
            key: SeriesKey {
                service: "=api".into(),
                container: "api-1".into(),
                method: Some(Method::Get),
                route: "/a".into(),
                status: Some(200),
                outcome: Outcome::Complete,
            },
            start: at(5),
            width: Duration::from_secs(1),
            figures,
        }],
        resources: vec![ResourceRollup {
            service: "=api".into(),
            container: "api-1".into(),
            start: at(5),
            width: Duration::from_secs(1),
            figures: ResourceFigures {
                n_seconds: 1,
                cpu_ns: 500_000_000,
                ..ResourceFigures::default()
            },
        }],
        exemplars: vec![Exemplar {
            reason: ExemplarReason::Slow,
            service: "=api".into(),
            container: "api-1".into(),
            route: "/a".into(),
            method: Some(Method::Get),
            status: Some(200),
            outcome: Outcome::Complete,
            completeness: Completeness::Whole,
            streamed: false,
            started: at(4),
            finished: at(5),
            duration: Some(Duration::from_millis(30)),
            time_to_first_byte: None,
            felt: None,
            queue: None,
            read: None,
            app: None,
            stream: None,
            drain: None,
            first_chunk: None,
            n_chunks: None,
            request_body_bytes: 1,
            response_body_bytes: 2,
            peer: "127.0.0.1:4711".parse().unwrap(),
            local_port: 80,
        }],
        events: vec![TimelineEvent {
            at: at(7),
            kind: TimelineKind::OomKilled,
            service: Some(Arc::from("=api")),
            container: None,
            detail: "one, \"two\"".into(),
        }],
        ..Batch::default()
    });
    writer.flush();
    let mut api = Fixture::new(0);
    api.sources.history = Some(reader);
    Past {
        api,
        _writer: writer,
        directory,
    }
}

impl Past {
    async fn get(&self, path: &str) -> Answer {
        let answer = self.api.get(&format!("/api/v1/{path}"), &[]).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer
    }

    async fn sql(&self, sql: &str) -> Answer {
        let body = serde_json::json!({ "sql": sql }).to_string();
        let headers = [("content-type", "application/json")];
        self.api.ask("POST", "/api/v1/sql", &headers, &body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn series_and_heatmaps_come_in_three_forms() {
    let past = past();
    let query = format!("query?metric=requests&stat=count&step=30s&{RANGE}");
    let json = past.get(&query).await.json();
    assert_eq!(json["series"][0]["values"], serde_json::json!([3.0, 0.0]));
    let lines = past.get(&format!("{query}&format=ndjson&by=service")).await;
    assert_eq!(
        lines.text().lines().next().unwrap(),
        format!(r#"{{"at_unix_ms":{EPOCH_MS},"series":"=api","value":3.0}}"#)
    );
    let table = past.get(&format!("{query}&format=csv&by=service")).await;
    assert_eq!(
        table.text(),
        "at,series,value\r\n2023-11-14T22:13:00Z,\"'=api\",3\r\n2023-11-14T22:13:30Z,\"'=api\",0\r\n"
    );
    let map = past.get(&format!("heatmap?step=60s&{RANGE}")).await.json();
    assert_eq!(map["metric"], "duration");
    assert_eq!(map["n_requests"], 3);
    let counts = map["counts"][0].as_array().unwrap();
    assert_eq!(counts.len() + 1, map["bounds"].as_array().unwrap().len());
    let accept = [("accept", "text/csv")];
    let path = format!("/api/v1/heatmap?step=60s&{RANGE}");
    let table = past.api.get(&path, &accept).await;
    assert_eq!(table.text().lines().count(), 1 + 3, "{}", table.text());
    let cores = format!("query?metric=cpu_cores&step=60s&{RANGE}");
    let cores = past.get(&cores).await.json();
    assert_eq!(
        (&cores["stat"], &cores["unit"]),
        (&"avg".into(), &"1".into())
    );
    assert_eq!(cores["series"][0]["values"], serde_json::json!([0.5]));
}

#[tokio::test(flavor = "multi_thread")]
async fn further_figures_come_with_the_first_and_are_what_they_are_alone() {
    let past = past();
    let query = format!("query?metric=requests&stat=count&step=60s&{RANGE}");
    let more = "more=duration.p50,duration.p99,errors.rate,ttfb.avg";
    let json = past.get(&format!("{query}&{more}")).await.json();
    assert_eq!(json["series"][0]["values"], serde_json::json!([3.0]));
    let figures = json["more"].as_array().unwrap();
    assert_eq!(figures.len(), 4);
    for figure in figures {
        let (metric, stat) = (&figure["metric"], &figure["stat"]);
        let (metric, stat) = (metric.as_str().unwrap(), stat.as_str().unwrap());
        let alone = format!("query?metric={metric}&stat={stat}&step=60s&{RANGE}");
        let alone = past.get(&alone).await.json();
        for part in ["metric", "stat", "unit", "series"] {
            assert_eq!(figure[part], alone[part], "{metric} {stat}");
        }
        assert_eq!(alone["more"], serde_json::json!([]));
    }
    let lines = past.get(&format!("{query}&{more}&format=ndjson")).await;
    let stats: Vec<String> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["stat"].to_string())
        .collect();
    assert_eq!(stats[..3], ["\"count\"", "\"p50\"", "\"p99\""]);
    let table = past.get(&format!("{query}&{more}&format=csv")).await;
    assert!(
        table.text().starts_with(
            "at,series,value,metric,stat\r\n2023-11-14T22:13:00Z,,3,requests,count\r\n"
        ),
        "{}",
        table.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exemplars_and_events_come_in_three_forms() {
    let past = past();
    let json = past
        .get(&format!("exemplars?{RANGE}&reason=slow"))
        .await
        .json();
    let request = &json["exemplars"][0]["request"];
    assert_eq!(
        (&request["duration"], &request["peer_port"]),
        (&0.03.into(), &4711.into())
    );
    let table = past.get(&format!("exemplars?{RANGE}&format=csv")).await;
    let row = table.text().lines().nth(1).unwrap();
    assert!(
        row.starts_with("2023-11-14T22:13:04Z,slow,\"'=api\","),
        "{row}"
    );
    let lines = past.get(&format!("exemplars?{RANGE}&format=ndjson")).await;
    assert_eq!(lines.text().lines().count(), 1);
    let json = past
        .get(&format!("events?{RANGE}&service=%3Dapi"))
        .await
        .json();
    assert_eq!(json["events"][0]["kind"], "oom_killed");
    let table = past.get(&format!("events?{RANGE}&format=csv")).await;
    assert_eq!(
        table.text().lines().nth(1).unwrap(),
        "2023-11-14T22:13:07Z,oom_killed,\"'=api\",,\"one, \"\"two\"\"\""
    );
    let none = past
        .get(&format!("events?{RANGE}&kind=data_lost"))
        .await
        .json();
    assert_eq!(none["events"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_is_answered_or_refused_with_the_reason() {
    let past = past();
    let answer = past
        .sql("SELECT service, sum(n_requests) AS n FROM requests GROUP BY ALL")
        .await;
    let json = answer.json();
    assert_eq!(
        json["columns"][1],
        serde_json::json!({ "name": "n", "type": "HUGEINT" })
    );
    assert_eq!(json["rows"], serde_json::json!([["=api", 3]]));
    assert_eq!(json["truncated"], false);
    for (sql, words) in [
        ("DROP TABLE events", "SELECT"),
        ("SELECT * FROM read_text('/etc/passwd')", "read_text"),
        ("SELECT nonsense FROM events", "nonsense"),
    ] {
        let answer = past.sql(sql).await;
        assert_eq!(answer.status, 400, "{sql}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{detail}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = past
        .api
        .ask("POST", "/api/v1/sql", &form, "sql=SELECT+1")
        .await;
    assert_eq!(answer.status, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn export_is_streamed_and_leaves_nothing_behind() {
    let past = past();
    let parquet = past.get(&format!("export?{RANGE}")).await;
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
    assert_eq!(
        parquet.header("content-length"),
        parquet.body.len().to_string()
    );
    assert_eq!(
        parquet.header("content-disposition"),
        "attachment; filename=\"modeltap-rollups.parquet\""
    );
    let lines = past
        .get(&format!("export?{RANGE}&table=events&format=ndjson"))
        .await;
    assert_eq!(lines.json()["happened"], "2023-11-14T22:13:07.000000Z");
    let csv = past
        .get(&format!(
            "export?{RANGE}&table=resources&format=csv&service=none"
        ))
        .await;
    assert_eq!(csv.text().lines().count(), 1, "the header alone");
    let names = std::fs::read_dir(past.directory.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = names.filter(|name| name.contains("export")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_make_no_sense_are_refused_with_what_would() {
    let past = past();
    for (path, words) in [
        ("query?metric=latency", "cpu_cores"),
        ("query?metric=cpu_cores&stat=p95", "avg or max"),
        ("query?metric=oom_kills&stat=avg", "rate or count"),
        ("query?metric=memory_bytes&route=/a", "container"),
        ("query?more=duration", "duration.p50"),
        ("query?more=duration.p50,", "duration.p50"),
        ("query?more=duration.rate", "p50 to p999"),
        ("query?more=latency.p50", "cpu_cores"),
        ("query?more=memory_bytes.max", "of requests"),
        ("query?metric=memory_bytes&more=duration.p50", "of requests"),
        ("query?format=xml", "csv"),
        ("heatmap?metric=requests", "duration"),
        ("heatmap?stat=p95", "status_class"),
        ("exemplars?reason=odd", "slow or failed"),
        ("exemplars?limit=0", "1 to 2000"),
        ("events?kind=birthday", "oom_killed"),
        ("events?from=5&to=4", "before"),
        ("export?table=passwords", "rollups"),
        ("export?format=xlsx", "parquet"),
    ] {
        let answer = past.api.get(&format!("/api/v1/{path}"), &[]).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{path}: {detail}");
    }
}

#[tokio::test]
async fn history_that_is_not_there_is_told() {
    let api = Fixture::new(0);
    for path in ["query", "heatmap", "exemplars", "events", "export"] {
        let answer = api.get(&format!("/api/v1/{path}"), &[]).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("replay"));
    }
}
