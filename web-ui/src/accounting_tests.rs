use modeltap_api_types::{Inner, WindowFigures};

use super::*;

fn counts(requests: u64, ok: u64, failed: u64) -> RequestCounts {
    RequestCounts {
        requests,
        responses: [0, ok, 0, 0, failed],
    }
}

#[test]
fn sum_that_differs_says_by_how_much() {
    for (observed, parts, expected) in [
        (0, &[0, 0][..], Balance::Even),
        (10, &[6, 4], Balance::Even),
        (10, &[6, 1], Balance::Under(3)),
        (10, &[6, 6], Balance::Over(2)),
        (10, &[u64::MAX, 1], Balance::Over(u64::MAX - 10)),
    ] {
        assert_eq!(Balance::of(observed, parts), expected);
    }
}

#[test]
fn bytes_of_a_service_are_accounted_for_by_fate() {
    let bytes = Bytes::of_service(&ServiceCapture {
        bytes_observed: 100,
        bytes_parsed: 75,
        bytes_lost: 20,
        bytes_pending: 5,
        ..ServiceCapture::default()
    });
    let named: Vec<_> = bytes.fates.iter().map(|(f, n)| (t(f.name), *n)).collect();
    assert_eq!(
        named,
        [
            ("parsed", 75),
            ("skipped", 0),
            ("truncated", 0),
            ("lost", 20),
            ("on their way", 5),
        ]
    );
    assert_eq!(bytes.balance, Balance::Even);
    assert_eq!(
        bytes.segments(),
        [(0.75, "--c2"), (0.2, "--c5"), (0.05, "--c3")]
    );
}

#[test]
fn bytes_that_are_missing_leave_the_bar_open_and_too_many_do_not_overflow_it() {
    let of = |observed, parsed| {
        Bytes::of_host(&CaptureStatus {
            bytes_observed: observed,
            bytes_parsed: parsed,
            ..CaptureStatus::default()
        })
    };
    assert_eq!(of(100, 50).segments(), [(0.5, "--c2")]);
    assert_eq!(of(100, 50).balance, Balance::Under(50));
    assert_eq!(of(50, 100).segments(), [(1.0, "--c2")]);
    assert_eq!(of(50, 100).balance, Balance::Over(50));
    assert!(of(0, 0).segments().is_empty());
}

#[test]
fn counts_are_compared_where_there_are_any() {
    let (kernel, seen) = (counts(10, 8, 2), counts(9, 8, 0));
    let difference = CountsDifference {
        requests: 1,
        responses: [0, 0, 0, 0, 2],
    };
    let rows = compared(Some(&kernel), &seen, Some(&difference));
    let rows: Vec<_> = rows
        .iter()
        .map(|c| (c.name, c.kernel, c.seen, c.difference))
        .collect();
    assert_eq!(
        rows,
        [
            ("requests", Some(10), 9, Some(1)),
            ("2xx", Some(8), 8, Some(0)),
            ("5xx", Some(2), 0, Some(2)),
        ]
    );
    let rows = compared(None, &seen, None);
    assert_eq!(rows[0].kernel, None);
    assert_eq!(rows[0].difference, None);
    assert_eq!(rows.len(), 2);
}

#[test]
fn difference_of_zero_is_exact_and_none_is_unknown() {
    for (difference, expected) in [
        (None, "–"),
        (Some(0), "exact"),
        (Some(1_234), "+1,234"),
        (Some(-2), "\u{2212}2"),
        (Some(i64::MIN), "\u{2212}9,223,372,036,854,775,808"),
    ] {
        assert_eq!(difference_text(difference), expected);
    }
}

#[test]
fn counts_of_the_host_are_unknown_until_a_service_tells() {
    let mut host = HostCounts::default();
    host.add(&Service {
        seen: counts(3, 3, 0),
        inner: Some(Inner {
            n_requests: 7,
            ..Inner::default()
        }),
        ..Service::default()
    });
    assert_eq!((host.kernel, host.seen, host.difference), (None, 3, None));
    host.add(&Service {
        kernel: Some(counts(10, 10, 0)),
        seen: counts(9, 9, 0),
        difference: Some(CountsDifference {
            requests: 1,
            ..CountsDifference::default()
        }),
        unseen_bytes: Some(5),
        ..Service::default()
    });
    assert_eq!((host.kernel, host.difference), (Some(10), Some(1)));
    assert_eq!((host.seen, host.inner, host.unseen_bytes), (9, 7, 5));
    // A service of a recording has no count to be compared with.
    host.add(&Service {
        seen: counts(100, 100, 0),
        ..Service::default()
    });
    assert_eq!((host.kernel, host.seen), (Some(10), 9));
}

#[test]
fn service_whose_bytes_move_unseen_has_no_zeros() {
    let mut service = Service {
        unseen_bytes: Some(4_096),
        ..Service::default()
    };
    assert!(is_unseen(&service));
    assert_eq!(unseen_bytes(&service), Some(4_096));
    service.window = WindowFigures {
        n_requests: 1,
        ..WindowFigures::default()
    };
    assert!(!is_unseen(&service));
    for known in [None, Some(0)] {
        service.unseen_bytes = known;
        assert_eq!(unseen_bytes(&service), None);
    }
    assert!(unseen_sentence(4_096, "6.1").contains("4.00\u{a0}KiB"));
    assert!(!unseen_sentence(1, "").contains("()"));
}

#[test]
fn counts_agree_exactly_or_say_why_not() {
    #[track_caller]
    fn check(differences: [i64; 6], n_active: u64, capture: ServiceCapture, expected: Agreement) {
        let [requests, responses @ ..] = differences;
        let service = Service {
            n_active,
            capture: Some(capture),
            difference: Some(CountsDifference {
                requests,
                responses,
            }),
            ..Service::default()
        };
        assert_eq!(Agreement::of(&service), expected);
    }
    let whole = ServiceCapture::default();
    let pending = ServiceCapture {
        bytes_pending: 1,
        ..whole
    };
    let lossy = ServiceCapture {
        bytes_lost: 1,
        ..pending
    };
    check([0; 6], 0, lossy, Agreement::Exact);
    check([2, 0, 1, 0, 0, 0], 2, whole, Agreement::UnderWay);
    check([9, 0, 0, 0, 0, 0], 2, pending, Agreement::UnderWay);
    check([9, 0, 0, 0, 0, 0], 2, whole, Agreement::Missed);
    check([1, 0, 0, 0, 0, 0], 2, lossy, Agreement::Missed);
    check([0, 0, 0, 0, 0, 1], 0, whole, Agreement::Missed);
    check([1, 0, 0, 0, 0, -1], 9, whole, Agreement::UnderWay);
    check([0, 0, 0, 0, 0, -10], 9, whole, Agreement::Over);
    assert_eq!(Agreement::of(&Service::default()), Agreement::Unknown);
    let unseen = Service {
        unseen_bytes: Some(1),
        difference: Some(CountsDifference::default()),
        ..Service::default()
    };
    assert_eq!(Agreement::of(&unseen), Agreement::Unseen);
    let mut host = HostCounts::default();
    assert_eq!(host.agreement, Agreement::Exact);
    host.add(&unseen);
    host.add(&Service::default());
    assert_eq!(host.agreement, Agreement::Unseen);
}
