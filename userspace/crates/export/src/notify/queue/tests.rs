use super::*;

const PATIENCE: Patience = Patience {
    backoff: Duration::from_secs(1),
    cap: Duration::from_secs(60),
    give_up: Duration::from_secs(3600),
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn queue(messages: &[(&str, u32)]) -> Queue<u32> {
    let mut queue = Queue::new(PATIENCE);
    for (lane, message) in messages {
        assert!(queue.push(seconds(0), (*lane).into(), *message).is_none());
    }
    queue
}

#[track_caller]
fn send(queue: &mut Queue<u32>, now: Duration) -> (Ticket, u32) {
    match queue.next(now) {
        Next::Send(ticket, item) => (ticket, item.message),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn waits_until(queue: &mut Queue<u32>, now: Duration, expected: Duration) {
    match queue.next(now) {
        Next::At(at) => assert_eq!(at, expected),
        other => panic!("{other:?}"),
    }
}

fn failed(reach: Reach, retry_after: Option<u64>, message: u32) -> Failed<'static, u32> {
    Failed {
        reach,
        retry_after: retry_after.map(Duration::from_secs),
        error: "answered 500",
        jitter: 0.0,
        message,
    }
}

/// Fails every attempt as soon as it may be made; returns when each was.
fn attempts_until_given_up(reach: Reach) -> Vec<u64> {
    let mut queue = queue(&[("a", 1)]);
    let (mut now, mut attempts) = (seconds(0), Vec::new());
    loop {
        match queue.next(now) {
            Next::Send(ticket, item) => {
                attempts.push(now.as_secs());
                assert_eq!(item.n_attempts as usize, attempts.len() - 1);
                if !queue.failed(ticket, now, failed(reach, None, 1)) {
                    assert!(matches!(queue.next(now), Next::Nothing));
                    return attempts;
                }
            }
            Next::At(at) => now = at,
            Next::Nothing => panic!("gone without a word"),
        }
    }
}

#[test]
fn waits_double_up_to_the_cap_and_end_within_the_hour() {
    for reach in [Reach::Message, Reach::Receiver] {
        let attempts = attempts_until_given_up(reach);
        assert_eq!(attempts[..8], [0, 1, 3, 7, 15, 31, 63, 123], "{reach:?}");
        assert_eq!(attempts[8] - attempts[7], 60);
        assert_eq!(attempts.len(), 65, "{reach:?}");
        assert!(*attempts.last().unwrap() < 3600);
    }
}

#[test]
fn jitter_takes_at_most_half_of_a_wait_away() {
    for (jitter, expected) in [(0.0, 4_000), (0.5, 3_000), (1.0, 2_000)] {
        assert_eq!(
            PATIENCE.wait(3, None, jitter),
            Duration::from_millis(expected)
        );
    }
    assert_eq!(PATIENCE.wait(u32::MAX, None, 0.0), seconds(60));
}

#[test]
fn end_of_an_alert_waits_for_its_undelivered_beginning() {
    let mut queue = queue(&[("a", 1), ("a", 2), ("b", 3)]);
    let (first, message) = send(&mut queue, seconds(0));
    assert_eq!(message, 1);
    assert!(queue.failed(first, seconds(0), failed(Reach::Message, None, 1)));
    // Another lane goes on; the end of the first does not overtake.
    let (other, message) = send(&mut queue, seconds(0));
    assert_eq!(message, 3);
    queue.over(other, Taken::Yes);
    waits_until(&mut queue, seconds(0), seconds(1));
    let (first, message) = send(&mut queue, seconds(1));
    assert_eq!(message, 1);
    queue.over(first, Taken::Yes);
    assert_eq!(send(&mut queue, seconds(1)).1, 2);
}

#[test]
fn receiver_that_is_down_is_asked_by_one_message_at_a_time() {
    let mut queue = queue(&[("a", 1), ("b", 2), ("c", 3)]);
    let (ticket, _) = send(&mut queue, seconds(0));
    assert!(queue.failed(ticket, seconds(0), failed(Reach::Receiver, None, 1)));
    waits_until(&mut queue, seconds(0), seconds(1));
    let (ticket, message) = send(&mut queue, seconds(1));
    assert!(queue.failed(ticket, seconds(1), failed(Reach::Receiver, None, message)));
    waits_until(&mut queue, seconds(1), seconds(3));
    let (ticket, _) = send(&mut queue, seconds(3));
    queue.over(ticket, Taken::Yes);
    // It answers again: the rest follows at once.
    for _ in 0..2 {
        let (ticket, _) = send(&mut queue, seconds(3));
        queue.over(ticket, Taken::Yes);
    }
    assert!(matches!(queue.next(seconds(3)), Next::Nothing));
}

#[test]
fn retry_after_is_honoured_for_every_message() {
    let mut queue = queue(&[("a", 1), ("b", 2)]);
    let (ticket, _) = send(&mut queue, seconds(0));
    assert!(queue.failed(ticket, seconds(0), failed(Reach::Receiver, Some(90), 1)));
    waits_until(&mut queue, seconds(89), seconds(90));
    assert_eq!(send(&mut queue, seconds(90)).1, 1);
}

#[test]
fn receiver_that_wants_a_day_gets_nothing_for_an_hour() {
    let mut queue = queue(&[("a", 1), ("b", 2)]);
    let (ticket, _) = send(&mut queue, seconds(0));
    let day = failed(Reach::Receiver, Some(86_400), 1);
    assert!(!queue.failed(ticket, seconds(0), day));
    waits_until(&mut queue, seconds(10), seconds(3600));
    let expired = queue.expired(seconds(3600));
    assert_eq!(expired.len(), 1);
    assert_eq!((expired[0].message, expired[0].n_attempts), (2, 0));
    assert_eq!(expired[0].error.as_deref(), Some("answered 500"));
    let _ = queue.push(seconds(3600), "a".into(), 3);
    assert_eq!(send(&mut queue, seconds(3600)).1, 3);
}

#[test]
fn full_queue_drops_the_oldest_that_is_not_under_way() {
    let mut queue = queue(&[]);
    for n in 0..1000 {
        assert!(queue.push(seconds(0), "a".into(), n).is_none());
    }
    let (ticket, message) = send(&mut queue, seconds(0));
    assert_eq!(message, 0);
    let dropped = queue.push(seconds(0), "a".into(), 1000).unwrap();
    assert_eq!(dropped.message, 1);
    queue.over(ticket, Taken::Yes);
    assert_eq!(queue.items().count(), 999);
    assert_eq!(queue.drain().len(), 999);
    assert!(matches!(queue.next(seconds(0)), Next::Nothing));
}

#[test]
fn message_under_way_is_still_there_when_the_daemon_ends() {
    let mut queue = queue(&[("a", 1)]);
    let _ = send(&mut queue, seconds(0));
    assert!(queue.expired(seconds(9999)).is_empty());
    assert_eq!(queue.drain()[0].message, 1);
}
