//! One connection: its two streams, its exchanges in order, and its end.
//!
//! Responses answer requests first come, first served. What the server wrote
//! always follows what it had read, but the *next* request, or the
//! connection's end, may be told before the event of the write it follows.

mod drains;
mod requests;
mod responses;
mod sessions;

use std::collections::VecDeque;

use modeltap_core::accounting::InProgress;
use modeltap_core::connection::{
    Arrived, CloseCause, ConnectionClosed, ConnectionId, ConnectionOpened, Data, Direction, Origin,
    Transport,
};
use modeltap_core::record::{Completeness, Outcome};
use modeltap_core::time::MonotonicNs;

use self::drains::Drains;
use self::responses::MissedResponses;
use self::sessions::Session;
use crate::accounts::{AccountId, Held};
use crate::detect::Protocol;
use crate::exchange::Exchange;
use crate::http1::{RequestHead, ResponseHead};
use crate::input::Arrivals;
use crate::message::Messages;
use crate::stream::Stream;
use crate::table::{Config, Shared};
use crate::watch::Watch;

/// Most responses without a request that wait for the proof that no request
/// was lost.
const MAX_UNCONFIRMED: usize = 16;

/// Room kept and made for open exchanges, beyond those there are.
const SPARE_EXCHANGES: usize = 4;

/// A connection that the server accepted.
#[derive(Debug)]
pub(crate) struct Connection {
    opened: ConnectionOpened,
    /// Of its cgroup.
    pub(crate) account: AccountId,
    read: Stream,
    written: Stream,
    requests: Messages<RequestHead>,
    responses: Messages<ResponseHead>,
    protocol: Option<Protocol>,

    /// Requests without a whole response, oldest first.
    exchanges: VecDeque<Exchange>,
    /// What they take in memory.
    exchanges_bytes: usize,
    next_sequence: u64,
    /// The exchange whose request is being read.
    reading: Option<u64>,
    /// The oldest exchange's final response has begun.
    answering: bool,
    last_read: MonotonicNs,
    arrivals: Arrivals,
    /// The write being taken in left bytes in the socket.
    write_waits: bool,
    /// Position up to which it was taken in.
    wrote_until: u64,
    drains: Drains,
    /// Looks at the bodies of requests and of responses.
    read_watch: Watch,
    write_watch: Watch,
    /// What followed an upgrade.
    session: Option<Box<Session>>,
    /// The last exchange to end had no request: where its response ended was
    /// told by its head alone.
    last_was_unrequested: bool,
    /// Requests came before the responses to earlier ones.
    pipelined: bool,
    /// The client may leave out the body it announced: it waited for leave
    /// and got the final response (RFC 9110 section 10.1.1).
    body_optional: bool,
    /// When the head began that was answered before it was read to its end: the
    /// server did not wait for the rest, or the rest was lost.
    answered_head: Option<MonotonicNs>,
    /// Requests may have been missed since the last one.
    missed_requests: Option<Completeness>,
    read_gap_seen: bool,
    missed_responses: Option<MissedResponses>,
    /// Pipelined requests were told as lost, and their responses may follow.
    lost_pipelined: bool,
    /// Responses without a request, until it is known that none was lost.
    unconfirmed: VecDeque<(Exchange, MonotonicNs)>,

    peer_finished: Option<MonotonicNs>,
    local_finished: Option<MonotonicNs>,
    reset: Option<MonotonicNs>,
    total_read: u64,
    total_written: u64,
    /// When late events are waited for no longer.
    linger_until: Option<MonotonicNs>,

    /// What `Shared` was last told of this connection.
    settled: Held,
    /// The timer that the table runs for this connection.
    pub(crate) timer: Option<MonotonicNs>,
    pub(crate) last_event: MonotonicNs,
}

impl Connection {
    pub(crate) fn new(opened: &ConnectionOpened, account: AccountId) -> Self {
        let (requests, responses) = match opened.origin {
            Origin::Accepted => (Messages::from_beginning(), Messages::from_beginning()),
            Origin::Inherited => (Messages::from_middle(), Messages::from_middle()),
        };
        Self {
            opened: opened.clone(),
            account,
            read: Stream::default(),
            written: Stream::default(),
            requests,
            responses,
            protocol: None,
            exchanges: VecDeque::new(),
            exchanges_bytes: 0,
            next_sequence: 0,
            reading: None,
            answering: false,
            last_read: MonotonicNs(0),
            arrivals: Arrivals::default(),
            write_waits: false,
            wrote_until: 0,
            drains: Drains::default(),
            read_watch: Watch::default(),
            write_watch: Watch::default(),
            session: None,
            last_was_unrequested: false,
            pipelined: false,
            body_optional: false,
            answered_head: None,
            missed_requests: None,
            read_gap_seen: false,
            missed_responses: None,
            lost_pipelined: false,
            unconfirmed: VecDeque::new(),
            peer_finished: None,
            local_finished: None,
            reset: None,
            total_read: 0,
            total_written: 0,
            linger_until: None,
            settled: Held::default(),
            timer: None,
            last_event: opened.id.opened,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.opened.id
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.exchanges.is_empty() && self.session.is_none()
    }

    /// Takes in the bytes of one call.
    pub(crate) fn data(&mut self, data: &Data, shared: &mut Shared) {
        self.last_event = self.last_event.max(data.at);
        if data.length == 0 {
            return;
        }
        // What else is held leaves so much for a head in pieces.
        let most = shared.config.max_connection_bytes;
        let heads = self.requests.held_bytes() + self.responses.held_bytes();
        let room = most.saturating_sub(self.settled.bytes.saturating_sub(heads));
        self.requests
            .make_room(room.saturating_sub(self.responses.held_bytes()));
        self.responses
            .make_room(room.saturating_sub(self.requests.held_bytes()));
        if shared.config.tell_contents {
            self.watch(data.direction).begin_recorded(&data.bytes);
        }
        match data.direction {
            Direction::Read => self.read_data(data, shared),
            Direction::Write => self.write_data(data, shared),
        }
        if shared.config.tell_contents {
            shared.contents = self.watch(data.direction).end_recorded();
        }
        self.settle(shared);
    }

    fn watch(&mut self, direction: Direction) -> &mut Watch {
        match direction {
            Direction::Read => &mut self.read_watch,
            Direction::Write => &mut self.write_watch,
        }
    }

    /// Takes in when later bytes of the next read arrived.
    pub(crate) fn arrived(&mut self, arrived: &Arrived) {
        self.arrivals.note(arrived);
    }

    fn push_exchange(&mut self, exchange: Exchange) {
        self.next_sequence += 1;
        self.exchanges_bytes += exchange.footprint();
        if self.exchanges.len() == self.exchanges.capacity() {
            // Not by doubling: all of it counts as held.
            self.exchanges.reserve_exact(SPARE_EXCHANGES);
        }
        self.exchanges.push_back(exchange);
    }

    /// The oldest exchange is over.
    fn finish_oldest(&mut self, outcome: Outcome, finished: MonotonicNs, shared: &mut Shared) {
        let Some(mut exchange) = self.exchanges.pop_front() else {
            return;
        };
        let outcome = if outcome == Outcome::Complete && self.client_was_gone(finished) {
            Outcome::ClientAborted
        } else {
            outcome
        };
        self.exchanges_bytes -= exchange.footprint();
        if self.exchanges.is_empty() {
            self.exchanges.shrink_to(SPARE_EXCHANGES);
        }
        self.answering = false;
        self.take_usage(&mut exchange);
        self.take_stream(&mut exchange, outcome);
        self.last_was_unrequested = exchange.is_unrequested();
        if self.reading == Some(exchange.sequence) && self.requests.is_unframed() {
            self.requests.seek(shared);
            self.reading = None;
        }
        if exchange.is_unrequested() && outcome == Outcome::Complete {
            if !exchange.follows_missed && exchange.completeness != Completeness::Gap {
                if self.unconfirmed.len() >= MAX_UNCONFIRMED {
                    self.confirm_pairing(shared);
                }
                self.unconfirmed.push_back((exchange, finished));
                return;
            }
            // Its request was missed, and with it when it began.
            self.tell(exchange, Outcome::Lost, finished, shared);
            return;
        }
        exchange.answered_early = self.reading == Some(exchange.sequence);
        if (exchange.tentative || exchange.answered_early) && outcome == Outcome::Complete {
            if self.unconfirmed.len() >= MAX_UNCONFIRMED {
                self.refute_pairing(shared);
            }
            self.unconfirmed.push_back((exchange, finished));
            return;
        }
        self.tell(exchange, outcome, finished, shared);
    }

    /// Whether the client had closed when the last bytes of a response were
    /// written. A FIN alone may be half a close; the answer to the bytes, a
    /// reset, tells. It comes after they were sent, but before the call returns
    /// and is told of. The kernel takes the write all the same, so that a
    /// response written by one call is as whole as if someone had read it.
    fn client_was_gone(&self, last_write: MonotonicNs) -> bool {
        let had_finished = self.peer_finished.is_some_and(|at| at <= last_write);
        had_finished && self.reset.is_some()
    }

    fn lose_oldest(&mut self, at: MonotonicNs, shared: &mut Shared) {
        if let Some(exchange) = self.exchanges.front_mut() {
            exchange.degrade(Completeness::Gap);
            self.finish_oldest(Outcome::Lost, at, shared);
        }
    }

    fn lose_all(&mut self, at: MonotonicNs, shared: &mut Shared) {
        while !self.exchanges.is_empty() {
            self.lose_oldest(at, shared);
        }
    }

    /// No request was lost before what waits for this proof: responses without
    /// a request were written of the server's own accord, and those found
    /// after a gap answer the request they were paired with.
    fn confirm_pairing(&mut self, shared: &mut Shared) {
        if let Some(front) = self.exchanges.front_mut() {
            front.tentative = false;
        }
        while let Some((exchange, finished)) = self.unconfirmed.pop_front() {
            self.tell(exchange, Outcome::Complete, finished, shared);
        }
    }

    /// A request was lost: what waits for the contrary may be the response to
    /// that one.
    fn refute_pairing(&mut self, shared: &mut Shared) {
        while let Some((mut response, finished)) = self.unconfirmed.pop_front() {
            if response.tentative {
                let request = response.split_request(self.next_sequence);
                self.next_sequence += 1;
                self.tell(request, Outcome::Lost, finished, shared);
            }
            response.degrade(Completeness::Gap);
            // Of its own request only the rest of the body is missing.
            let outcome = if response.answered_early {
                Outcome::Complete
            } else {
                Outcome::Lost
            };
            self.tell(response, outcome, finished, shared);
        }
        let at = self.last_event;
        if let Some(front) = self.exchanges.front_mut()
            && front.is_unrequested()
        {
            front.degrade(Completeness::Gap);
        }
        if let Some(front) = self.exchanges.front_mut()
            && std::mem::take(&mut front.tentative)
            && self.answering
        {
            self.exchanges_bytes -= front.footprint();
            let request = front.split_request(self.next_sequence);
            self.exchanges_bytes += front.footprint();
            self.next_sequence += 1;
            if self.reading == Some(request.sequence) {
                self.reading = None;
            }
            self.tell(request, Outcome::Lost, at, shared);
        }
    }

    /// The proof did not come in time. A response found after a gap, or inside
    /// a body, is taken for its request's: nothing speaks against it. One without a request is
    /// not taken for the server's own.
    fn expire_unconfirmed(&mut self, shared: &mut Shared) {
        while let Some((mut exchange, finished)) = self.unconfirmed.pop_front() {
            let outcome = if exchange.tentative || exchange.answered_early {
                Outcome::Complete
            } else {
                exchange.degrade(Completeness::Gap);
                Outcome::Lost
            };
            self.tell(exchange, outcome, finished, shared);
        }
    }

    /// Takes in that a side finished. Events of earlier writes may follow.
    pub(crate) fn closed(&mut self, closed: &ConnectionClosed, shared: &mut Shared) {
        self.last_event = self.last_event.max(closed.at);
        self.total_read = self.total_read.max(closed.bytes_read);
        self.total_written = self.total_written.max(closed.bytes_written);
        match closed.cause {
            // The server may still answer, however long it takes.
            CloseCause::PeerFinished => _ = self.peer_finished.get_or_insert(closed.at),
            CloseCause::LocalFinished => _ = self.local_finished.get_or_insert(closed.at),
            CloseCause::Reset => _ = self.reset.get_or_insert(closed.at),
        }
        if closed.cause != CloseCause::PeerFinished {
            let until = shared.now.max(closed.at).after(shared.config.linger);
            self.linger_until.get_or_insert(until);
        }
    }

    /// When something is to be decided without an event.
    pub(crate) fn deadline(&self, config: &Config) -> Option<MonotonicNs> {
        if self.linger_until.is_some() {
            return self.ends_at(config);
        }
        let quiet = (self.answering && self.responses.is_unframed())
            .then(|| self.exchanges.front()?.last_write)
            .flatten()
            .map(|last_write| last_write.after(config.unframed_quiet));
        let unconfirmed = self
            .unconfirmed
            .front()
            .map(|(_, finished)| finished.after(config.confirm_within));
        [quiet, unconfirmed, self.drains.deadline(config)]
            .into_iter()
            .flatten()
            .min()
    }

    /// When nothing more is waited for, once the server has finished: bytes
    /// may leave the socket for long after that.
    fn ends_at(&self, config: &Config) -> Option<MonotonicNs> {
        let until = self.linger_until?;
        match self.local_finished {
            Some(finished) if self.reset.is_none() && self.waits_for_drain() => {
                Some(until.max(finished.after(config.drain_within)))
            }
            _ => Some(until),
        }
    }

    /// Decides what is due: `true` once the connection is over.
    pub(crate) fn expire(&mut self, now: MonotonicNs, shared: &mut Shared) -> bool {
        if let Some(until) = self.ends_at(&shared.config) {
            return until <= now;
        }
        self.expire_drains(now, shared);
        if self.answering
            && self.responses.is_unframed()
            && let Some(last_write) = self.exchanges.front().and_then(|front| front.last_write)
            && last_write.after(shared.config.unframed_quiet) <= now
        {
            self.finish_oldest(Outcome::Complete, last_write, shared);
            self.responses.seek(shared);
        }
        if let Some((_, finished)) = self.unconfirmed.front()
            && finished.after(shared.config.confirm_within) <= now
        {
            self.expire_unconfirmed(shared);
        }
        self.settle(shared);
        false
    }

    /// Finishes what is open, once no event can come any more.
    pub(crate) fn finish(mut self, shared: &mut Shared) {
        let missing_read = self.read.missing_of(self.total_read);
        if missing_read > 0 {
            self.read_gap(missing_read, shared);
        }
        let missing_written = self.written.missing_of(self.total_written);
        if missing_written > 0 {
            shared.count_gap(missing_written);
        }
        let end = [self.local_finished, self.reset]
            .into_iter()
            .flatten()
            .min();
        match end {
            Some(at) if missing_written == 0 && self.missed_responses.is_none() => {
                while !self.exchanges.is_empty() {
                    self.finish_oldest(self.outcome_at_end(), at, shared);
                }
            }
            // Evicted, or its end, or the last responses, were lost.
            end => self.lose_all(end.unwrap_or(self.last_event), shared),
        }
        self.confirm_pairing(shared);
        self.end_drains(shared);
        self.end_session(missing_written, shared);
        self.requests.discard_head(shared);
        self.responses.discard_head(shared);
        // All else goes with it.
        shared.settle(self.account, &self.settled, &Held::default());
    }

    /// What the connection's end makes of the oldest exchange.
    fn outcome_at_end(&self) -> Outcome {
        if self.answering && self.responses.ends_with_connection() && self.local_finished.is_some()
        {
            return Outcome::Complete;
        }
        let client_first = match self.local_finished {
            None => true,
            Some(local) => [self.peer_finished, self.reset]
                .iter()
                .flatten()
                .any(|&at| at <= local),
        };
        if client_first {
            Outcome::ClientAborted
        } else if self.answering || self.responses.is_inside_head() {
            Outcome::ServerAborted
        } else {
            Outcome::Unanswered
        }
    }

    /// The connection asks for more than it may hold: it is followed no more.
    fn give_up(&mut self, shared: &mut Shared) {
        shared.stats.n_given_up += 1;
        let at = self.last_event;
        while let Some(exchange) = self.exchanges.front_mut() {
            exchange.degrade(Completeness::Truncated);
            self.finish_oldest(Outcome::Lost, at, shared);
        }
        self.end_drains(shared);
        self.read_watch.look_away();
        self.write_watch.look_away();
        self.requests.make_opaque(shared);
        self.responses.make_opaque(shared);
    }

    fn set_protocol(&mut self, protocol: Protocol, shared: &mut Shared) {
        if self.protocol.is_none() {
            self.protocol = Some(protocol);
            shared.stats.count_protocol(protocol);
        }
    }

    /// Tells `Shared` what this connection holds now. Where that is too much,
    /// for itself or its cgroup, the connection is given up.
    fn settle(&mut self, shared: &mut Shared) {
        let most = shared.config.max_connection_bytes;
        let mut held = self.held();
        if held.bytes > most {
            // First what only waits to be told.
            self.end_drains(shared);
            self.expire_unconfirmed(shared);
            held = self.held();
        }
        if held == self.settled {
            return;
        }
        let fits = shared.settle(self.account, &self.settled, &held);
        self.settled = held;
        if held.bytes > most || (!fits && held.bytes > 0) {
            self.give_up(shared);
            let held = self.held();
            shared.settle(self.account, &self.settled, &held);
            self.settled = held;
        }
    }

    /// Whether the connection would hold too much with `more` bytes.
    fn is_too_large(&self, more: usize, shared: &Shared) -> bool {
        self.held().bytes + more > shared.config.max_connection_bytes
    }

    /// What is under way, and bytes held for it, for heads, streams and all
    /// that waits.
    fn held(&self) -> Held {
        let heads = self.requests.held_bytes() + self.responses.held_bytes();
        let watches = self.read_watch.held_bytes() + self.write_watch.held_bytes();
        let session = self
            .session
            .as_ref()
            .map_or(0, |session| session.footprint());
        let unconfirmed = self.unconfirmed.iter();
        let unconfirmed: usize = unconfirmed.map(|(exchange, _)| exchange.footprint()).sum();
        let spare = (self.exchanges.capacity() - self.exchanges.len()) * size_of::<Exchange>();
        let waiting = unconfirmed + self.drains.held_bytes() + self.arrivals.held_bytes();
        let bytes = heads + watches + session + waiting + self.exchanges_bytes + spare;
        let n_exchanges = self.exchanges.len() as u64;
        let (n_requests, n_inner) = match self.opened.transport {
            Transport::Tcp => (n_exchanges, 0),
            Transport::Unix => (0, n_exchanges),
        };
        Held {
            in_progress: InProgress {
                n_requests,
                n_inner,
                n_sessions: u64::from(self.session.is_some()),
            },
            bytes,
        }
    }
}
