//! What follows an upgrade: another protocol, until the connection's end.

use modeltap_core::connection::Direction;
use modeltap_core::record::{Completeness, SessionRecord};
use modeltap_core::time::MonotonicNs;

use super::Connection;
use crate::detect::{Match, known_request_start};
use crate::exchange::worse;
use crate::http1::ResponseHead;
use crate::input::Input;
use crate::table::Shared;
use crate::watch::Tunnel;
use crate::websocket::Frames;

/// An upgraded connection.
#[derive(Debug)]
pub(super) struct Session {
    path: String,
    started: MonotonicNs,
}

impl Session {
    /// Bytes it takes in memory.
    pub(super) fn footprint(&self) -> usize {
        self.path.len()
    }
}

impl Connection {
    /// The client asked for a WebSocket, and may be heard to use it before the
    /// server is heard to agree: events of two directions may change places.
    pub(super) fn expect_upgrade(&mut self) {
        self.read_watch.tunnel = Some(Tunnel::new(Some(Frames::new(Direction::Read))));
    }

    /// Takes in a call that came before the server agreed to the upgrade.
    pub(super) fn read_early(&mut self, input: &Input<'_>) {
        if let Some(tunnel) = &mut self.read_watch.tunnel
            && self.session.is_none()
            && self.reading.is_none()
            && known_request_start(input.bytes) == Match::No
        {
            tunnel.pass(input.bytes, input.unseen);
        }
    }

    /// The oldest request was answered with another protocol, which begins
    /// behind the head just met.
    pub(super) fn begin_session(
        &mut self,
        head: &ResponseHead,
        at: MonotonicNs,
        shared: &mut Shared,
    ) {
        let path = self
            .exchanges
            .front()
            .map(|exchange| exchange.path.clone())
            .unwrap_or_default();
        self.session = Some(Box::new(Session { path, started: at }));
        let tunnel = self
            .read_watch
            .tunnel
            .get_or_insert_with(|| Tunnel::new(Some(Frames::new(Direction::Read))));
        if !head.is_websocket {
            tunnel.frames = None;
        }
        let frames = head.is_websocket.then(|| Frames::new(Direction::Write));
        self.write_watch.tunnel = Some(Tunnel::new(frames));
        self.requests.make_tunnel(shared);
        self.responses.make_tunnel(shared);
        self.reading = None;
    }

    /// The oldest request was answered in HTTP.
    pub(super) fn refuse_upgrade(&mut self) {
        if self.session.is_none() {
            self.read_watch.tunnel = None;
        }
    }

    /// Tells of the session, if there was one, at the connection's end.
    pub(super) fn end_session(&mut self, missing_written: u64, shared: &mut Shared) {
        let Some(session) = self.session.take() else {
            return;
        };
        let (Some(read), Some(mut written)) = (
            self.read_watch.tunnel.take(),
            self.write_watch.tunnel.take(),
        ) else {
            return;
        };
        if missing_written > 0 {
            written.lose(missing_written);
        }
        let end = [self.local_finished, self.reset];
        let end = end.into_iter().flatten().min();
        let mut completeness = worse(read.completeness, written.completeness);
        if end.is_none() {
            completeness = Completeness::Gap;
        }
        shared.push_session(SessionRecord {
            connection: self.opened.id,
            cgroup: self.opened.cgroup,
            path: session.path,
            started: session.started,
            ended: end.unwrap_or(self.last_event).max(session.started),
            n_messages_read: read.n_messages(),
            n_messages_written: written.n_messages(),
            bytes_read: read.bytes,
            bytes_written: written.bytes,
            completeness,
        });
    }
}
