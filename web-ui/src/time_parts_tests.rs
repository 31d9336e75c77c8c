use super::*;

fn request(duration: f64) -> Request {
    Request {
        duration,
        ..Request::default()
    }
}

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
fn parts_of_a_request_make_up_its_duration() {
    let whole = Request {
        queue: Some(0.5),
        read: Some(0.1),
        app: Some(0.2),
        stream: Some(0.7),
        drain: Some(0.25),
        ..request(1.0)
    };
    let split = Split::of_request(&whole);
    let expected = [0.5, 0.1, 0.2, 0.7, 0.25];
    for (part, expected) in split.parts.iter().zip(expected) {
        assert!((part.unwrap() - expected).abs() < 1e-9, "{split:?}");
    }
    assert!((split.total() - 1.75).abs() < 1e-9);
    assert!(!overlaps(&whole));
    assert_eq!(
        Split::of_request(&Request {
            read: None,
            app: None,
            ttfb: Some(0.2),
            ..whole
        })
        .parts,
        split.parts
    );
}

#[test]
fn request_answered_before_it_was_read_is_cut_to_its_duration() {
    let early = Request {
        read: Some(0.9),
        app: Some(0.0),
        stream: Some(0.95),
        ..request(1.0)
    };
    assert!(overlaps(&early));
    let split = Split::of_request(&early);
    assert!((split.total() - 1.0).abs() < 1e-9);
    assert_eq!(split.seconds(Part::Stream), Some(0.95));
}

#[test]
fn request_of_which_nothing_is_known_is_unknown_not_read() {
    let split = Split::of_request(&request(1.0));
    assert_eq!(split.parts, [None; N_PARTS]);
    assert_eq!(split.segments(), [(1.0, "--faint")]);
    let nonsense = Request {
        ttfb: Some(f64::NAN),
        queue: Some(-1.0),
        ..request(f64::INFINITY)
    };
    assert!(Split::of_request(&nonsense).segments().is_empty());
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
