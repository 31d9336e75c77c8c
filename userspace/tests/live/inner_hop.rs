//! A server on a UNIX socket behind a relay in the same container: both hops
//! are seen and told apart, and no ended connection is kept.

use std::collections::HashSet;
use std::time::Duration;

use modeltap_core::connection::{CaptureEvent, CloseCause, ConnectionId, Transport};
use modeltap_testbed::clock::await_that;
use modeltap_testbed::docker::Container;
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Reuse, Target};

use crate::calls::odd_server;
use crate::tap::Tap;

/// Ends are told at once, or by the next look of the daemon's for those that
/// it missed; then the probes forget the connection.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(6);

/// The connections over UNIX sockets, and which of them ended how.
fn unix_connections(events: &[CaptureEvent]) -> (HashSet<ConnectionId>, Vec<CloseCause>) {
    let opened = events.iter().filter_map(|event| match event {
        CaptureEvent::Opened(opened) if opened.transport == Transport::Unix => {
            assert_eq!(opened.peer, "0.0.0.0:0".parse().expect("an address"));
            Some(opened.id)
        }
        _ => None,
    });
    let opened: HashSet<_> = opened.collect();
    let ended = events.iter().filter_map(|event| match event {
        CaptureEvent::Closed(closed) if opened.contains(&closed.id) => Some(closed.cause),
        _ => None,
    });
    let ended = ended.collect();
    (opened, ended)
}

/// Sends requests through the relay and returns what the probes told.
#[track_caller]
fn check(container: &Container, n_keep_alive: usize, n_close: usize) {
    let mut tap = Tap::draining(container);
    let plans = vec![
        (Reuse::KeepAlive, load::mix(n_keep_alive)),
        (Reuse::Close, load::mix(n_close)),
    ];
    let rows = load::run(Target::inside(container, 8000), plans);
    await_that("every connection to be forgotten", FORGOTTEN_WITHIN, || {
        tap.n_tracked() == 0
    });
    let events = tap.events();
    let (opened, ended) = unix_connections(&events);
    // `/fail` closes too.
    assert_eq!(opened.len(), n_close + n_keep_alive / 20);
    let n_gone = ended
        .iter()
        .filter(|cause| **cause != CloseCause::PeerFinished);
    assert_eq!(n_gone.count(), opened.len(), "{ended:?}");

    // Both hops' bytes are told, each request is counted once.
    let bytes_of = |over: Transport| -> u64 {
        let moved = events.iter().filter_map(|event| match event {
            CaptureEvent::Data(data) if opened.contains(&data.id) == (over == Transport::Unix) => {
                Some(u64::from(data.length))
            }
            _ => None,
        });
        moved.sum()
    };
    assert_eq!(bytes_of(Transport::Unix), bytes_of(Transport::Tcp));
    assert!(bytes_of(Transport::Unix) > 0);
    let counts = tap.of_container();
    let n_answered: u64 = counts.n_responses.iter().sum();
    let n_sent = rows.len() as u64;
    assert_eq!((counts.n_requests, n_answered), (n_sent, n_sent));
}

#[test]
fn unix_hop_is_told_apart_and_forgotten_however_its_server_holds_it() {
    let Some(_ground) = ground::take("unix-hop") else {
        return;
    };
    let image = images::servers();
    for owner in ["thread", "fork", "dup", "dup2", "pass"] {
        let arguments = format!("--behind /tmp/socket --owner {owner} --read recvmsg");
        check(&odd_server(&image, "unix-hop", &arguments), 40, 40);
    }
}

#[test]
fn unix_hop_whose_process_is_killed_is_found_and_forgotten() {
    let Some(_ground) = ground::take("unix-killed") else {
        return;
    };
    let image = images::servers();
    let arguments = "--behind /tmp/socket --owner fork";
    let container = odd_server(&image, "unix-killed", arguments);
    let mut tap = Tap::draining(&container);
    let target = Target::inside(&container, 8000);
    let mut open: Vec<_> = (0..5).map(|_| target.connect()).collect();
    for connection in &mut open {
        let planned = &load::mix(9)[8];
        load::exchange(connection, planned).expect("the server answers");
    }
    let mut told = Vec::new();
    await_that("every hop to be told", FORGOTTEN_WITHIN, || {
        told.extend(tap.events());
        unix_connections(&told).0.len() == 5
    });
    let (opened, ended) = unix_connections(&told);
    assert_eq!(ended, []);
    // All but the first process, whose end would end the container. Those that
    // serve a connection came last, and go before their relay does.
    let kill_children = "import contextlib, os, signal\n\
        for p in sorted(map(int, filter(str.isdigit, os.listdir('/proc'))), reverse=True):\n\
        \x20   with contextlib.suppress(ProcessLookupError):\n\
        \x20       if p not in (1, os.getpid()): os.kill(p, signal.SIGKILL)";
    container.execute(&["python3", "-c", kill_children]);
    await_that("every connection to be forgotten", FORGOTTEN_WITHIN, || {
        tap.n_tracked() == 0
    });
    let ended = tap.events().into_iter().filter_map(|event| match event {
        CaptureEvent::Closed(closed) if opened.contains(&closed.id) => Some(closed),
        _ => None,
    });
    let gone = ended.filter(|closed| closed.cause == CloseCause::LocalFinished);
    assert_eq!(gone.count(), 5);
}
