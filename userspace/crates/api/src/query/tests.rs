//! What parameters are read as, and what is refused.

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;

#[test]
fn query_without_parameters_is_the_request_rate_of_the_last_hour() {
    let query = QueryParameters::default().parse(NOW_MS).unwrap();
    assert_eq!((query.metric, query.stat), (Metric::Requests, Stat::Rate));
    assert_eq!(query.to.millis() - query.from.millis(), DEFAULT_RANGE_MS);
    assert_eq!(query.step, Duration::from_secs(15));
}

#[test]
fn times_are_milliseconds_or_rfc_3339() {
    assert_eq!(time("from", "1700000000000").unwrap(), NOW_MS);
    assert_eq!(time("from", "2023-11-14T22:13:20Z").unwrap(), NOW_MS);
    for wrong in [
        "yesterday",
        "",
        "-1",
        "+1",
        "1969-12-31T23:59:59Z",
        "7258118400001",
        "2200-01-01T00:00:01Z",
        "99999999999999999999",
    ] {
        assert!(time("from", wrong).is_err(), "{wrong}");
    }
}

#[test]
fn durations_take_units() {
    for (text, millis) in [
        ("10", 10_000),
        ("10s", 10_000),
        ("300ms", 300),
        ("1m", 60_000),
    ] {
        assert_eq!(
            duration("step", text).unwrap(),
            Duration::from_millis(millis),
            "{text}"
        );
    }
    for text in [
        "",
        "s",
        "-1s",
        "1 fortnight",
        "1e400",
        "NaN",
        "inf",
        "+1",
        "1e3",
        "1.2.3",
        "367d",
    ] {
        assert!(duration("step", text).is_err(), "{text}");
    }
}

#[test]
fn too_many_steps_are_refused_with_the_step_that_would_do() {
    let parameters = QueryParameters {
        from: Some("0".to_owned()),
        step: Some("1s".to_owned()),
        ..QueryParameters::default()
    };
    let error = parameters.parse(86_400_000).unwrap_err().to_string();
    assert!(error.contains("at least 44s"), "{error}");
}

#[test]
fn every_metric_is_asked_for_by_its_name() {
    let parse = |metric: &str, stat: Option<&str>| {
        QueryParameters {
            metric: Some(metric.to_owned()),
            stat: stat.map(str::to_owned),
            ..QueryParameters::default()
        }
        .parse(NOW_MS)
    };
    let names = METRICS.replace(" or", ",");
    for name in names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let query = parse(name, None).unwrap();
        let (right, wrong) = if query.metric.is_count() {
            ("count", "p95")
        } else {
            ("p999", "rate")
        };
        assert!(parse(name, Some(right)).is_ok(), "{name} {right}");
        assert!(parse(name, Some(wrong)).is_err(), "{name} {wrong}");
    }
    for measure in Measure::ALL {
        assert!(METRICS.contains(measure.as_str()), "{measure:?}");
    }
    let error = parse("latency", None).unwrap_err().to_string();
    assert!(error.contains("felt"), "{error}");
}

#[test]
fn inner_hops_are_given_only_if_asked_for() {
    let parse = |transport: Option<&str>| {
        RequestParameters {
            transport: transport.map(str::to_owned),
            ..RequestParameters::default()
        }
        .parse(0)
    };
    assert_eq!(parse(None).unwrap().transport, Transport::Tcp);
    assert_eq!(parse(Some("unix")).unwrap().transport, Transport::Unix);
    assert!(parse(Some("udp")).is_err());
}

#[test]
fn cursor_of_an_earlier_run_is_refused() {
    assert_eq!(cursor("7-40", 7).unwrap(), 40);
    let error = cursor("6-40", 7).unwrap_err().to_string();
    assert!(error.contains("begun anew"), "{error}");
    for wrong in ["", "40", "7-", "-40", "7-x", "7-18446744073709551616"] {
        assert!(cursor(wrong, 7).is_err(), "{wrong}");
    }
}

#[test]
fn unknown_values_name_what_is_right() {
    let parameters = QueryParameters {
        stat: Some("p42".to_owned()),
        ..QueryParameters::default()
    };
    let error = parameters.parse(NOW_MS).unwrap_err().to_string();
    assert!(error.contains("p999") && error.contains("p42"), "{error}");
    assert_eq!(status_filter("4xx").unwrap(), StatusFilter::Class(4));
    assert_eq!(status_filter("404").unwrap(), StatusFilter::Exactly(404));
    assert!(status_filter("9xx").is_err());
}
