use super::*;

fn window(felt_p95: Option<f64>, p95: Option<f64>) -> WindowFigures {
    WindowFigures {
        n_requests: 10,
        felt_p95,
        p95,
        ..WindowFigures::default()
    }
}

#[test]
fn parts_of_a_window_keep_what_is_not_known_apart_from_zero() {
    let parts = TimeParts {
        n_requests: 4,
        n_queue: 0,
        queue: None,
        read: 0.0,
        app: 0.03,
        stream: 0.01,
        drain: f64::NAN,
    };
    let split = Split::of_window(&parts);
    assert_eq!(split.parts, [None, Some(0.0), Some(0.03), Some(0.01), None]);
    assert_eq!(split.share(Part::Queue), None);
    assert_eq!(split.share(Part::Read), Some(0.0));
    assert_eq!(split.share(Part::App), Some(0.75));
    assert_eq!(split.segments(), [(0.75, "--a"), (0.25, "--st")]);
}

#[test]
fn nothing_has_no_shares() {
    let split = Split::default();
    assert_eq!(split.total(), 0.0);
    assert_eq!(split.share(Part::App), None);
    assert!(split.segments().is_empty());
    assert_eq!(split.text(), "");
}

#[test]
fn waiting_is_said_only_where_clients_feel_far_more_than_the_server_works() {
    #[track_caller]
    fn check(felt: Option<f64>, worked: Option<f64>, expected: &str) {
        let waiting = Waiting::of(&window(felt, worked));
        let name = match waiting {
            Waiting::Nothing => "nothing",
            Waiting::Unknown => "unknown",
            Waiting::Little => "little",
            Waiting::Behind { .. } => "behind",
        };
        assert_eq!(name, expected, "{felt:?} {worked:?}");
    }
    check(None, None, "nothing");
    check(None, Some(0.1), "unknown");
    check(Some(0.1), None, "nothing");
    check(Some(0.11), Some(0.1), "little");
    check(Some(0.16), Some(0.1), "behind");
    // Ten times as much, but of microseconds.
    check(Some(0.0005), Some(0.00005), "little");
    // Felt of fewer requests may lie below.
    check(Some(0.05), Some(0.1), "little");
    assert_eq!(Waiting::of(&WindowFigures::default()), Waiting::Nothing);
}

#[test]
fn sentence_names_the_wait_and_both_latencies() {
    let behind = Waiting::of(&WindowFigures {
        queue_p50: Some(0.2),
        queue_p95: Some(0.4),
        ..window(Some(0.43), Some(0.02))
    });
    let sentence = behind.sentence().unwrap();
    for figure in ["200\u{a0}ms", "400\u{a0}ms", "20.0\u{a0}ms", "430\u{a0}ms"] {
        assert!(sentence.contains(figure), "{figure} in {sentence}");
    }
    let without = Waiting::of(&window(Some(0.43), Some(0.02)));
    assert!(without.sentence().unwrap().contains("about 410\u{a0}ms"));
    assert_eq!(Waiting::Unknown.sentence(), None);
}
