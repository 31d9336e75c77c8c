use super::*;

fn metrics() -> Vec<AlertMetric> {
    let metric = |name: &str, unit: &str, description: &str| AlertMetric {
        name: name.into(),
        unit: unit.into(),
        description: description.into(),
    };
    vec![
        metric("request_rate", "1/s", "requests a second"),
        metric("error_rate", "1", "share of requests that failed"),
        metric("duration_p95", "s", "95th percentile of durations"),
        metric("memory_bytes", "By", "working set of its containers"),
        metric("cpu_share", "1", "share of the processor quota used"),
        metric("oom_kills", "1", "processes killed for want of memory"),
    ]
}

fn rule(metric: &str, condition: Condition) -> AlertRule {
    AlertRule {
        name: "A name".into(),
        enabled: true,
        metric: metric.into(),
        condition,
        window_seconds: 120,
        for_seconds: 30,
        keep_firing_seconds: 60,
        min_requests: 20,
        severity: "critical".into(),
        ..AlertRule::default()
    }
}

fn rules() -> Vec<AlertRule> {
    let above = |threshold, clear| Condition::Above { threshold, clear };
    vec![
        rule("error_rate", above(0.05, Some(0.02))),
        rule("error_rate", above(0.07, None)),
        rule("duration_p95", above(0.3, Some(0.25))),
        rule("memory_bytes", above(3.0 * MIB, None)),
        rule("oom_kills", above(0.0, None)),
        rule(
            "request_rate",
            Condition::Below {
                threshold: 0.5,
                clear: Some(1.0),
            },
        ),
        rule(
            "duration_p95",
            Condition::AgainstPast {
                factor: 2.5,
                past_seconds: 86_400,
                floor: 0.02,
            },
        ),
        rule(
            "request_rate",
            Condition::NoTraffic {
                past_seconds: 3_600,
            },
        ),
        rule("duration_p95", Condition::Anomaly { deviations: 8.0 }),
    ]
}

#[test]
fn rule_comes_back_from_the_form_as_it_was() {
    let metrics = metrics();
    for mut known in rules() {
        for service in [None, Some("chat".to_owned())] {
            known.service = service;
            let draft = Draft::of(&known, &metrics);
            assert_eq!(draft.rule(&metrics).as_ref(), Ok(&known));
        }
    }
}

#[test]
fn new_rule_needs_nothing_but_a_name() {
    let metrics = metrics();
    let mut draft = Draft::new(&metrics);
    let error = draft.rule(&metrics).unwrap_err();
    assert_eq!(error.field, Some(Field::Name));
    draft.set(Field::Threshold, "much".into());
    let error = draft.rule(&metrics).unwrap_err();
    assert_eq!(error.field, Some(Field::Threshold), "the name waits");
    draft.set(Field::Threshold, "500".into());
    draft.set(Field::Name, " Slow ".into());
    let made = draft.rule(&metrics).unwrap();
    assert_eq!(made.name, "Slow");
    assert_eq!(
        made.condition,
        Condition::Above {
            threshold: 0.5,
            clear: None
        }
    );
}

#[track_caller]
fn refused(field: Field, typed: &str, expected: Field, text: &str) {
    let metrics = metrics();
    let mut draft = Draft::of(&rules()[0], &metrics);
    draft.set(field, typed.into());
    let error = draft.rule(&metrics).unwrap_err();
    assert_eq!((error.field, error.text.as_str()), (Some(expected), text));
}

#[test]
fn field_that_cannot_be_read_is_named_with_what_would_be_right() {
    use Field::{Clear, Hold, MinRequests, Name, Threshold, Window};
    refused(Name, "  ", Name, "must not be empty");
    refused(Threshold, "much", Threshold, "must be a number");
    refused(Threshold, "nan", Threshold, "must be a number");
    refused(Threshold, "-1", Threshold, "must be 0 to 100");
    refused(Threshold, "101", Threshold, "must be 0 to 100");
    refused(Threshold, "1", Clear, "must be the limit or below");
    refused(Field::Kind, "below", Clear, "must be the limit or above");
    refused(MinRequests, "1.5", MinRequests, "must be a whole number");
    let time = "must be a time, such as 30s, 5m or 2h";
    refused(Window, "", Window, time);
    refused(Hold, "5 parsec", Hold, time);
}

#[test]
fn quota_can_be_overrun_but_no_other_share() {
    let metrics = metrics();
    let mut draft = Draft::of(&rules()[1], &metrics);
    draft.set(Field::Threshold, "120".into());
    assert!(draft.rule(&metrics).is_err());
    draft.set(Field::Metric, "cpu_share".into());
    assert!(draft.rule(&metrics).is_ok());
}

#[test]
fn condition_without_a_figure_of_its_own_brings_the_only_one_that_fits() {
    let mut draft = Draft::of(&rules()[0], &metrics());
    draft.set(Field::Kind, "no_traffic".into());
    assert_eq!(draft.value(Field::Metric), "request_rate");
    assert!(draft.fields().contains(&Field::Past));
    assert!(!draft.fields().contains(&Field::Threshold));
    assert!(draft.rule(&metrics()).is_ok());
}

#[test]
fn problem_of_the_daemon_finds_its_field() {
    for (detail, field, text) in [
        (
            "name must be 1 to 200 characters without line breaks: \"\"",
            Some(Field::Name),
            "must be 1 to 200 characters without line breaks",
        ),
        (
            "condition.factor must be 1.01 to 1000: \"0\"",
            Some(Field::Factor),
            "must be 1.01 to 1000",
        ),
        (
            "window_seconds must be 1 to 3600: \"0\"",
            Some(Field::Window),
            "must be 1\u{a0}s to 1\u{a0}h",
        ),
        (
            "metric must be request_rate where the condition is no_traffic: \"error_rate\"",
            Some(Field::Metric),
            "must be request_rate where the condition is no_traffic",
        ),
        (
            "the rule could not be kept: disk full",
            None,
            "the rule could not be kept: disk full",
        ),
        ("moon must be full", None, "moon must be full"),
    ] {
        let error = FieldError::of_detail(detail);
        assert_eq!(
            (error.field, error.text.as_str()),
            (field, text),
            "{detail}"
        );
    }
}

#[test]
fn fields_are_named_in_the_order_they_are_counted() {
    for (i, (field, _, _)) in FIELDS.into_iter().enumerate() {
        assert_eq!(field as usize, i);
    }
}

#[test]
fn lengths_of_time_are_read_as_people_write_them() {
    for (text, seconds) in [
        ("90", Some(90)),
        (" 90 s ", Some(90)),
        ("5m", Some(300)),
        ("1h 30m", Some(5_400)),
        ("7d", Some(604_800)),
        ("0s", Some(0)),
        ("", None),
        ("m", None),
        ("-5m", None),
        ("1.5h", None),
        ("5 parsec", None),
        ("99999999999999999999s", None),
        ("9999999999999999999d", None),
    ] {
        assert_eq!(parse_span(text), seconds, "{text:?}");
    }
    for seconds in [0, 1, 59, 60, 90, 300, 3_600, 5_400, 86_400, 604_800] {
        assert_eq!(parse_span(&typed_span(seconds)), Some(seconds));
    }
    assert_eq!(typed_span(5_400), "90m");
}

#[test]
fn rules_read_as_sentences() {
    let metrics = metrics();
    let words: Vec<_> = rules().iter().map(|r| rule_words(r, &metrics)).collect();
    let words: Vec<_> = words.iter().map(|w| w.replace('\u{a0}', " ")).collect();
    assert_eq!(
        words[0],
        "share of requests that failed above 5.0 % over 2 min, for 30 s"
    );
    assert_eq!(
        words[6],
        "95th percentile of durations over 2 min more than 2.5 times its median of 1 d and above \
         20.0 ms, for 30 s"
    );
    assert_eq!(
        words[7],
        "no request for 2 min, where there were some in the 1 h before, for 30 s"
    );
    assert!(words[8].contains("further than 8 deviations"));
}

#[test]
fn figures_have_the_unit_of_their_metric() {
    let text = |metric, unit, value| figure(metric, unit, value).text().replace('\u{a0}', " ");
    assert_eq!(text("duration_p95", "s", Some(0.0423)), "42.3 ms");
    assert_eq!(text("error_rate", "1", Some(0.123)), "12.3 %");
    assert_eq!(text("memory_share", "1", Some(0.9)), "90.0 %");
    assert_eq!(text("oom_kills", "1", Some(2.0)), "2");
    assert_eq!(text("request_rate", "1/s", Some(3.5)), "3.50 /s");
    assert_eq!(text("memory_bytes", "By", Some(3.0 * MIB)), "3.00 MiB");
    assert_eq!(text("error_rate", "1", None), "–");
    assert_eq!(text("error_rate", "1", Some(f64::NAN)), "–");
}

#[test]
fn sentence_does_not_name_the_service_twice() {
    let alert = |service: &str, summary: &str| Alert {
        service: service.into(),
        summary: summary.into(),
        ..Alert::default()
    };
    assert_eq!(sentence(&alert("chat", "chat: too slow")), "too slow");
    assert_eq!(sentence(&alert("chat", "chatter: slow")), "chatter: slow");
    assert_eq!(sentence(&alert("chat", "too slow")), "too slow");
}
