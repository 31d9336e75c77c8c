//! What the network stack tells: when requests arrived, and when responses
//! left the socket.

use std::time::Duration;

use modeltap_core::time::MonotonicNs;
use modeltap_protocol::Config;

use crate::support::{Checked, Socket, check, run};

const MS: Duration = Duration::from_millis(1);
const GET_A: &str = "GET /a HTTP/1.1\r\n\r\n";
const GET_B: &str = "GET /b HTTP/1.1\r\n\r\n";
const OK_2: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn request_waited_in_the_socket_from_its_arrival() {
    let mut s = Socket::accepted();
    let arrived = s.now;
    s.wait(20 * MS).read(GET_A).arrived_at(arrived).write(OK_2);
    let later = s.wait(MS).now;
    s.wait(5 * MS).read(GET_B).arrived_at(later).write(OK_2);
    s.read(GET_A).write(OK_2);
    let (records, _) = run(&s.events);
    let queued = |n: usize| records[n].timings.queue().map(|queue| queue.as_millis());
    assert_eq!([0, 1, 2].map(queued), [Some(20), Some(5), None]);
    let felt = |n: usize| records[n].timings.felt().map(|felt| felt.as_millis());
    assert_eq!([0, 1, 2].map(felt), [Some(20), Some(5), None]);
}

#[test]
fn request_in_the_backlog_arrives_before_its_accept() {
    let mut s = Socket::accepted();
    let arrived = MonotonicNs(s.now.0 - 500_000);
    s.read(GET_A).arrived_at(arrived).write(OK_2);
    let (records, _) = run(&s.events);
    assert_eq!(records[0].timings.arrived, Some(arrived));
    assert_eq!(records[0].timings.accepted, Some(s.id.opened));
}

#[test]
fn pipelined_requests_of_one_read_arrived_at_their_own_times() {
    let mut s = Socket::accepted();
    let first = s.now;
    // The second request's first byte arrives with the end of the first's.
    let second = s.wait(MS).now;
    s.arrives(GET_A.len() as u64 - 2);
    let third = s.wait(MS).now;
    s.arrives((GET_A.len() + GET_B.len()) as u64);
    s.wait(MS)
        .read(format!("{GET_A}{GET_B}{GET_A}"))
        .arrived_at(first);
    s.write(OK_2).write(OK_2).write(OK_2);
    let (records, _) = run(&s.events);
    let arrived: Vec<_> = records.iter().map(|r| r.timings.arrived).collect();
    assert_eq!(arrived, [Some(first), Some(second), Some(third)]);
}

#[test]
fn head_in_pieces_arrives_with_its_first_byte() {
    let mut s = Socket::accepted();
    let first = s.now;
    s.wait(MS).read(&GET_A[..1]).arrived_at(first);
    let rest = s.now;
    s.wait(MS).read(&GET_A[1..]).arrived_at(rest).write(OK_2);
    let (records, _) = run(&s.events);
    assert_eq!(records[0].timings.arrived, Some(first));
}

#[test]
fn arrivals_without_their_read_are_no_later_requests() {
    let mut s = Socket::accepted();
    s.arrives(3).read(GET_A).lost().read(GET_B).write(OK_2);
    let (records, _) = run(&s.events);
    assert_eq!(records.last().unwrap().timings.arrived, None);
}

#[test]
fn response_to_a_slow_client_is_told_once_it_left_the_socket() {
    let mut s = Socket::accepted();
    s.read(GET_A).write(OK_2).waiting();
    let written = s.now;
    s.wait(30 * MS).drained();
    let drained = s.now;
    let mut checked = Checked::new(Config::default());
    for event in &s.events {
        assert_eq!(checked.records.len(), 0);
        checked.handle(event);
    }
    let timings = checked.records[0].timings;
    assert_eq!(timings.response_end, Some(written));
    assert_eq!(timings.finished, written);
    assert_eq!(timings.drained, Some(drained));
    assert_eq!(timings.drain().unwrap().as_millis(), 30);
}

#[test]
fn response_that_leaves_at_once_is_told_at_once() {
    let mut s = Socket::accepted();
    s.read(GET_A).write(OK_2);
    let mut checked = Checked::new(Config::default());
    s.events.iter().for_each(|event| checked.handle(event));
    assert_eq!(checked.records[0].timings.drain(), Some(Duration::ZERO));
}

#[test]
fn only_the_last_write_of_a_response_makes_it_wait() {
    let mut s = Socket::accepted();
    s.read(GET_A)
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    s.waiting().write("ok");
    let mut checked = Checked::new(Config::default());
    s.events.iter().for_each(|event| checked.handle(event));
    assert_eq!(checked.records.len(), 1);
}

#[test]
fn keep_alive_responses_that_wait_leave_one_after_the_other() {
    let mut s = Socket::accepted();
    s.read(GET_A).write(OK_2).waiting();
    s.drained();
    let first = s.now;
    // The second is written before the drain of the first is told.
    s.events.pop();
    let event = s.clone().drained().events.pop().unwrap();
    s.read(GET_B).write(OK_2).waiting();
    s.events.push(event);
    s.wait(MS).drained();
    let (records, _) = check(&s, &["GET /a 200 0>2 complete", "GET /b 200 0>2 complete"]);
    assert!(records[0].timings.drained.unwrap() > first);
    assert!(records[0].timings.drained < records[1].timings.drained);
}

#[test]
fn drain_is_waited_for_beyond_the_servers_fin_but_not_for_ever() {
    let drain_within = Config::default().drain_within;
    for until_close in [false, true] {
        let mut s = Socket::accepted();
        s.read(GET_A);
        s.write(match until_close {
            true => "HTTP/1.1 200 OK\r\n\r\nok",
            false => OK_2,
        });
        s.waiting().local_finished();
        let finished = s.now;
        let mut drained = s.clone();
        drained.wait(500 * MS).drained();
        let (records, _) = check(&drained, &["GET /a 200 0>2 complete"]);
        assert_eq!(records[0].timings.drained, Some(drained.now));

        let mut checked = Checked::new(Config::default());
        s.events.iter().for_each(|event| checked.handle(event));
        checked.handle_timeout(finished.after(drain_within / 2));
        assert_eq!(checked.records.len(), 0, "{until_close}");
        checked.handle_timeout(finished.after(drain_within));
        assert_eq!(checked.records.len(), 1, "{until_close}");
        assert_eq!(checked.table.poll_timeout(), None);
    }
}

#[test]
fn drain_that_takes_too_long_counts_as_long_as_it_was_waited_for() {
    let drain_within = Config::default().drain_within;
    let mut s = Socket::accepted();
    s.read(GET_A).write(OK_2).waiting();
    let mut checked = Checked::new(Config::default());
    s.events.iter().for_each(|event| checked.handle(event));
    let due = checked.table.poll_timeout().unwrap();
    assert_eq!(due, s.now.after(drain_within));
    checked.handle_timeout(due);
    assert_eq!(checked.records[0].timings.drain(), Some(drain_within));
}

#[test]
fn lost_drain_is_no_long_one() {
    let mut s = Socket::accepted();
    s.read(GET_A).write(OK_2).waiting().drained().lost();
    s.read(GET_B).write(OK_2);
    let expected = ["GET /b 200 0>2 complete", "GET /a 200 0>2 complete gap"];
    let (records, _) = check(&s, &expected);
    assert_eq!(records[1].timings.drained, None);
}

#[test]
fn drain_told_late_is_still_known() {
    let mut s = Socket::accepted();
    s.read(GET_A).write(OK_2).waiting().drained();
    let drained = s.now;
    let late = s.events.pop().expect("the drain");
    s.read(GET_B).write(OK_2);
    s.events.push(late);
    let (records, _) = check(&s, &["GET /b 200 0>2 complete", "GET /a 200 0>2 complete"]);
    assert_eq!(records[1].timings.drained, Some(drained));
}

#[test]
fn reset_ends_the_wait_for_a_drain() {
    let mut s = Socket::accepted();
    s.read(GET_A).write(OK_2).waiting().wait(3 * MS).reset();
    let mut checked = Checked::new(Config::default());
    s.events.iter().for_each(|event| checked.handle(event));
    checked.handle_timeout(s.now.after(Config::default().linger));
    assert_eq!(checked.records.len(), 1);
    let drain = checked.records[0].timings.drain();
    assert_eq!(drain.unwrap().as_millis(), 3);
}

#[test]
fn more_records_than_may_wait_are_told_early() {
    let mut s = Socket::accepted();
    for _ in 0..40 {
        s.read(GET_A).write(OK_2).waiting();
    }
    let mut checked = Checked::new(Config::default());
    s.events.iter().for_each(|event| checked.handle(event));
    assert_eq!(checked.records.len(), 40 - 16);
    let (records, _) = run(&s.drained().events);
    assert_eq!(records.len(), 40);
}
