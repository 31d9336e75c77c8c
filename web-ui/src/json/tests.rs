use modeltap_api_types::{
    Alert, AlertRule, Condition, Live, LiveCommand, LiveSelection, QueryFigure, QueryResult,
    QuerySeries, Request, RequestSelection, Requests, Second, Service, ServiceContainer, Silence,
    Status,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

fn live() -> Live {
    Live {
        status: Status {
            kernel: "6.18 \"quoted\" \\ \n\u{1}\u{7f} 模型 😀".into(),
            ..Status::default()
        },
        services: vec![Service {
            name: "chat".into(),
            project: Some("demo".into()),
            sparkline: vec![0.0, 1.5, 1e-9, 3e30],
            containers: vec![ServiceContainer::default(), ServiceContainer::default()],
            last_request_unix_ms: Some(u64::MAX),
            ..Service::default()
        }],
        names: vec!["chat".into(), String::new()],
        seconds: vec![Second {
            service: "chat".into(),
            at_unix_ms: 1,
            figures: Default::default(),
            by_status_class: [1, 2, 3, 4, 5, 6],
        }],
        alerts: vec![Alert::default()],
        at_unix_ms: 1_700_000_000_123,
        window_seconds: 60,
    }
}

/// What serde_json writes is read as it was.
#[track_caller]
fn check<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(read::<T>(&text).as_ref(), Ok(value), "{text}");
    let spaced = serde_json::to_string_pretty(value).unwrap();
    assert_eq!(read::<T>(&spaced).as_ref(), Ok(value), "{spaced}");
}

#[test]
fn every_shape_reads_as_it_was_written() {
    check(&live());
    check(&Requests {
        requests: vec![Request {
            status: Some(404),
            duration: 0.1 + 0.2,
            ..Request::default()
        }],
        next: None,
    });
    check(&QueryResult {
        metric: "duration".into(),
        stat: "p95".into(),
        unit: "s".into(),
        from_unix_ms: 0,
        step_seconds: 5,
        series: vec![QuerySeries {
            name: "2xx".into(),
            values: vec![Some(1.0), None, Some(-2.5e-7)],
        }],
        n_incomplete: 0,
        n_requests: 1,
        more: vec![QueryFigure {
            metric: "app".into(),
            stat: "avg".into(),
            unit: "s".into(),
            series: Vec::new(),
        }],
    });
    for condition in [
        Condition::Above {
            threshold: 0.5,
            clear: None,
        },
        Condition::NoTraffic {
            past_seconds: 3_600,
        },
        Condition::AgainstPast {
            factor: 2.0,
            past_seconds: 86_400,
            floor: 0.25,
        },
    ] {
        check(&AlertRule {
            condition,
            ..AlertRule::default()
        });
    }
}

#[test]
fn what_is_sent_is_what_serde_json_writes() {
    #[track_caller]
    fn same<T: Serialize>(value: &T) {
        assert_eq!(write(value).unwrap(), serde_json::to_string(value).unwrap());
    }
    for condition in [
        Condition::Below {
            threshold: 0.25,
            clear: Some(1e-3),
        },
        Condition::Anomaly { deviations: 8.5 },
    ] {
        same(&AlertRule {
            name: "quo\"ted \\ \u{1} 模型".into(),
            service: None,
            condition,
            enabled: true,
            ..AlertRule::default()
        });
    }
    same(&Silence {
        until_unix_ms: u64::MAX,
        comment: "being mended".into(),
        ..Silence::default()
    });
    same(&LiveCommand::UnsubscribeRequests);
    same(&LiveCommand::SubscribeRequests(RequestSelection {
        service: Some("chat".into()),
        ..RequestSelection::default()
    }));
    same(&LiveCommand::Subscribe(LiveSelection {
        services: Some(vec!["a".into(), "b".into()]),
        alerts: false,
    }));
    same(&Vec::<String>::new());
    assert_eq!(write(&f64::NAN).unwrap(), "null");
    assert!(write(&(1, 2)).is_err());
}

#[test]
fn numbers_are_read_as_exactly_as_the_standard_library_reads_them() {
    for text in [
        "0",
        "-0",
        "1",
        "0.1",
        "-2.5",
        "123456789.123456",
        "0.000000123456789",
        "1e3",
        "1E-7",
        "1.7976931348623157e308",
        "5e-324",
        "0.30000000000000004",
        "999999999999999",
        "9007199254740993",
        "12345678901234567890",
    ] {
        let expected: f64 = text.parse().unwrap();
        assert_eq!(
            float(text).map(f64::to_bits),
            Some(expected.to_bits()),
            "{text}"
        );
    }
    for text in ["", "-", ".", "x", "1x", "inf", "nan", "1e999"] {
        assert_eq!(float(text), None, "{text}");
    }
}

#[test]
fn escapes_mean_what_the_rfc_says() {
    for (text, expected) in [
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u00e9\u6a21""#, "é模"),
        (r#""a\ud83d\ude00b""#, "a😀b"),
        ("\"模型 é\"", "模型 é"),
        (r#""""#, ""),
    ] {
        assert_eq!(read::<String>(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn nonsense_is_an_error() {
    for text in [
        "",
        "nul",
        "{",
        "[1",
        "[1,]x",
        "\"a",
        r#""\u12"#,
        r#""\ud83d""#,
        r#""\ud83dx""#,
        r#""\x""#,
        "\"\n\"",
        "1 2",
        "{}]",
        "\"\\",
    ] {
        assert!(read::<String>(text).is_err(), "{text}");
        assert!(read::<Live>(text).is_err(), "{text}");
        assert!(read::<Vec<f64>>(text).is_err(), "{text}");
    }
    assert!(read::<u8>("256").is_err());
    assert!(read::<u64>("-1").is_err());
    assert!(read::<f64>("+1").is_err());
    assert!(read::<[u64; 2]>("[1]").is_err());
    assert!(read::<[u64; 2]>("[1,2,3]").is_err());
    let missing = read::<Live>("{}").unwrap_err();
    assert_eq!(missing.to_string(), "a field is not there");
}

#[test]
fn deep_nesting_and_unknown_fields_are_harmless() {
    let deep = "[".repeat(100_000);
    assert!(read::<Live>(&format!("{{\"x\":{deep}")).is_err());
    let known = format!(
        "{{\"x\":{{\"y\":[1,\"]\",null,true,{}{}]}},\"type\":\"\",\"title\":\"\",\"status\":4,\
         \"detail\":\"d\"}}",
        "[".repeat(1_000),
        "]".repeat(1_000),
    );
    let problem = read::<modeltap_api_types::Problem>(&known).unwrap();
    assert_eq!((problem.status, problem.detail.as_str()), (4, "d"));
}

#[test]
fn any_cut_or_changed_byte_is_survived() {
    let text = serde_json::to_string(&live()).unwrap();
    for (at, _) in text.char_indices() {
        assert!(read::<Live>(&text[..at]).is_err(), "cut at {at}");
        for change in ["\"", "{", "]", "\\", "0", ","] {
            let mut changed = text[..at].to_owned();
            changed.push_str(change);
            changed.push_str(&text[at..]);
            // Whether it still reads does not matter: it must return.
            let _ = read::<Live>(&changed);
        }
    }
}
