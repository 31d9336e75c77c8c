//! The direction that the server writes.

use std::time::Duration;

use modeltap_core::connection::{Data, Origin};
use modeltap_core::record::{Completeness, Outcome, StreamFormat};
use modeltap_core::time::MonotonicNs;

use super::Connection;
use crate::body::Progress;
use crate::detect::{Match, Protocol};
use crate::exchange::Exchange;
use crate::http1::{Framing, Head, ResponseHead};
use crate::input::Input;
use crate::inspect::Document;
use crate::message::{GapEffect, Item};
use crate::stream_figures::StreamTracker;
use crate::table::Shared;

/// Longest gap that may be taken for a lost interim response alone.
const MAX_INTERIM_BYTES: u64 = 512;

/// Responses were lost: how many is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct MissedResponses {
    /// Bytes that were lost.
    bytes: u64,
    /// The oldest exchange's response must have been among them.
    oldest_answered: bool,
}

impl Connection {
    pub(super) fn write_data(&mut self, data: &Data, shared: &mut Shared) {
        let placement = self.written.place(data.position, data.length);
        if placement.gap > 0 {
            self.write_gap(placement.gap, data.at, shared);
        }
        shared.stats.bytes_skipped += placement.stale;
        self.write_waits = data.waits;
        self.write_watch.begin_call(data.at);
        if !data.waits {
            self.miss_drains(data.position, data.at);
        }
        let mut input = Input::new(data, placement.stale, None);
        if self.may_lack_body() && ResponseHead::surely_starts(input.bytes) != Match::No {
            self.finish_oldest(Outcome::Complete, data.at, shared);
            self.responses.expect_head();
        }
        loop {
            let may_begin = self.response_may_begin();
            let watch = &mut self.write_watch;
            let Some(item) = self.responses.advance(&mut input, shared, may_begin, watch) else {
                break;
            };
            match item {
                Item::Head { head, started, .. } => {
                    self.wrote_until = input.position;
                    self.response_head(head, started.at, data.at, shared);
                }
                Item::Body { data: n, progress } => {
                    self.wrote_until = input.position;
                    self.response_body(n, progress, data.at, shared);
                }
                Item::Superseded => {
                    let at = self
                        .exchanges
                        .front()
                        .and_then(|exchange| exchange.last_write);
                    self.finish_oldest(Outcome::Complete, at.unwrap_or(data.at), shared);
                }
                Item::Garbage(_) if self.protocol.is_none() => {
                    // The server speaks first, and not HTTP.
                    self.set_protocol(Protocol::Unknown, shared);
                    self.requests.make_opaque(shared);
                    self.responses.make_opaque(shared);
                }
                Item::Garbage(_) if self.requests.is_opaque() => self.responses.make_opaque(shared),
                // What was taken for a body was not one, as with a response to
                // HEAD whose request was lost: later heads were among it.
                Item::Garbage(_) if self.last_was_unrequested || !self.exchanges.is_empty() => {
                    self.miss_responses(0, true);
                }
                Item::Garbage(_) => {}
                Item::Missed => self.miss_responses(0, !self.exchanges.is_empty()),
            }
        }
    }

    /// Whether the response may be one to HEAD: its request is not known,
    /// nothing of the body it announced was written, and the next request came.
    fn may_lack_body(&self) -> bool {
        self.answering
            && (self.exchanges.len() > 1 || self.requests.is_inside_head())
            && self.exchanges[0].is_unrequested()
            && self.exchanges[0].body_start.is_none()
    }

    /// Whether a status line at the beginning of a write, where none is
    /// expected, begins a response.
    fn response_may_begin(&self) -> bool {
        if self.responses.is_unframed() {
            // The body before it may well contain one; a response to a
            // request that was not read cannot follow.
            return self.exchanges.len() >= 2;
        }
        // The response to a request older than the probes is nobody's.
        self.opened.origin == Origin::Accepted || self.next_sequence > 0
    }

    fn response_head(
        &mut self,
        head: ResponseHead,
        started: MonotonicNs,
        at: MonotonicNs,
        shared: &mut Shared,
    ) {
        self.set_protocol(Protocol::Http1, shared);
        if head.is_interim() {
            if let Some(exchange) = self.exchanges.front_mut() {
                exchange.interim_seen = true;
            }
            if head.is_cut() {
                // The final one may have begun in the bytes behind it.
                self.miss_responses(0, !self.exchanges.is_empty());
            }
            return;
        }
        if let Some(missed) = self.missed_responses.take()
            && !self.pair_after_missed(missed, started, at, shared)
        {
            self.responses.seek(shared);
            // Until one begins a call, others pass unseen.
            self.miss_responses(0, false);
            return;
        }
        if self.exchanges.is_empty() {
            self.answer_head_being_read();
            let mut exchange = Exchange::new(self.next_sequence, started);
            exchange.minor = head.minor;
            if let Some(missed) = self.missed_requests {
                exchange.degrade(missed);
                exchange.follows_missed = true;
            }
            if self.lost_pipelined {
                exchange.degrade(Completeness::Gap);
            }
            self.push_exchange(exchange);
        }
        let request_is_unframed = self.requests.is_unframed();
        let reading = self.reading;
        let last_read = self.last_read;
        let exchange = self
            .exchanges
            .front_mut()
            .expect("one was pushed if there was none");
        if reading == Some(exchange.sequence) {
            if request_is_unframed && exchange.completeness == Completeness::Truncated {
                exchange.request_end.get_or_insert(last_read);
            }
            self.body_optional = exchange.expects_continue
                && !exchange.interim_seen
                && exchange.request_body_bytes == 0;
        }
        exchange.status = Some(head.status);
        exchange.response_start = Some(started);
        exchange.last_write = Some(at);
        exchange.waits_for = self.write_waits.then_some(self.wrote_until);
        exchange.streamed = head.is_streamed();
        let framing = head.framing(exchange.method);
        if matches!(framing, Framing::Invalid | Framing::Cut) {
            exchange.degrade(Completeness::Truncated);
        }
        self.answering = true;
        if framing != Framing::Tunnel {
            self.refuse_upgrade();
        }
        match framing {
            Framing::Empty => self.finish_oldest(Outcome::Complete, at, shared),
            Framing::Body(body) => {
                self.responses.begin_body(body);
                if let Some(format) = head.stream_format() {
                    let mut tracker = Box::new(StreamTracker::new(format));
                    tracker.begin_call(at);
                    self.write_watch.stream = Some(tracker);
                }
                self.inspect_response(&head, shared);
            }
            Framing::Tunnel => {
                self.begin_session(&head, at, shared);
                self.finish_oldest(Outcome::Complete, at, shared);
            }
            Framing::Invalid => self.responses.begin_unframed(),
            Framing::Cut => self.responses.begin_cut(),
        }
    }

    /// Looks for what the response tells of tokens, where that is allowed.
    fn inspect_response(&mut self, head: &ResponseHead, shared: &mut Shared) {
        let exchange = self.exchanges.front();
        let is_inference = exchange.is_some_and(|exchange| exchange.inference.is_some());
        if !is_inference || head.is_encoded || !shared.accounts.of(self.account).inspect {
            return;
        }
        match (head.stream_format(), &mut self.write_watch.stream) {
            (Some(StreamFormat::ServerSentEvents | StreamFormat::JsonLines), Some(stream)) => {
                stream.want_usage();
            }
            _ => self.write_watch.document = Some(Box::new(Document::response())),
        }
    }

    /// Adds to an exchange that is over what its response told of tokens.
    pub(super) fn take_usage(&mut self, exchange: &mut Exchange) {
        let stream = self.write_watch.stream.as_ref();
        let document = self.write_watch.document.take();
        let usage = stream
            .and_then(|stream| stream.usage())
            .or(document.map(|document| document.usage()));
        if let (Some(usage), Some(inference)) = (usage, &mut exchange.inference) {
            usage.apply(inference);
        }
    }

    /// Adds to an exchange that is over the rhythm of its response.
    pub(super) fn take_stream(&mut self, exchange: &mut Exchange, outcome: Outcome) {
        let Some(mut tracker) = self.write_watch.stream.take() else {
            return;
        };
        if outcome == Outcome::Complete {
            tracker.end();
        }
        let mut figures = tracker.into_figures();
        if outcome == Outcome::ClientAborted {
            figures.after_abort = Some(self.written_after_abort(exchange.last_write));
        }
        if outcome == Outcome::Lost || exchange.completeness == Completeness::Gap {
            figures.completeness = Completeness::Gap;
        }
        exchange.stream = Some(Box::new(figures));
    }

    /// How long the server wrote after the client had left.
    fn written_after_abort(&self, last_write: Option<MonotonicNs>) -> Duration {
        let left = [self.peer_finished, self.reset];
        match (last_write, left.into_iter().flatten().min()) {
            (Some(last_write), Some(left)) => last_write.since(left),
            _ => Duration::ZERO,
        }
    }

    fn response_body(&mut self, n: u64, progress: Progress, at: MonotonicNs, shared: &mut Shared) {
        let Some(exchange) = self.exchanges.front_mut() else {
            return;
        };
        exchange.last_write = Some(at);
        exchange.waits_for = self.write_waits.then_some(self.wrote_until);
        if n > 0 {
            exchange.body_start.get_or_insert(at);
            exchange.count_response_body(n);
        }
        match progress {
            Progress::More => {}
            Progress::End => self.finish_oldest(Outcome::Complete, at, shared),
            Progress::Broken => exchange.degrade(Completeness::Truncated),
        }
    }

    fn write_gap(&mut self, gap: u64, at: MonotonicNs, shared: &mut Shared) {
        shared.count_gap(gap);
        if self.may_lack_body() {
            // Where there was no body, other responses were lost.
            self.lose_oldest(at, shared);
            self.responses.expect_head();
        }
        match self.responses.gap(gap, shared, &mut self.write_watch) {
            GapEffect::Harmless => {}
            GapEffect::Within(n) => {
                if let Some(exchange) = self.exchanges.front_mut() {
                    exchange.count_response_body(n);
                    exchange.degrade(Completeness::Gap);
                }
            }
            GapEffect::Ended(n) => {
                if let Some(exchange) = self.exchanges.front_mut() {
                    exchange.count_response_body(n);
                }
                self.lose_oldest(at, shared);
            }
            GapEffect::Broken => {
                self.lose_oldest(at, shared);
                self.miss_responses(gap, false);
            }
            GapEffect::Cut(head) => {
                if let (Some(head), Some(exchange)) = (head, self.exchanges.front_mut())
                    && !head.is_interim()
                {
                    exchange.status = Some(head.status);
                    exchange.response_start = Some(self.responses.head_started().at);
                    exchange.last_write = exchange.response_start;
                }
                self.lose_oldest(at, shared);
                self.miss_responses(gap, false);
            }
            GapEffect::Between => self.miss_responses(gap, !self.exchanges.is_empty()),
        }
    }

    /// No request waits for the response that begins: if one is being read,
    /// it is that one's.
    fn answer_head_being_read(&mut self) {
        if self.requests.is_inside_head() {
            self.answered_head = Some(self.requests.head_started().at);
        }
    }

    fn miss_responses(&mut self, bytes: u64, oldest_answered: bool) {
        let before = self.missed_responses;
        self.missed_responses = Some(MissedResponses {
            bytes: before
                .map_or(0, |missed| missed.bytes)
                .saturating_add(bytes),
            oldest_answered: oldest_answered || before.is_some_and(|missed| missed.oldest_answered),
        });
    }

    /// Finds the request that a response answers after others were missed:
    /// `false` where that cannot be told and the response is passed over.
    fn pair_after_missed(
        &mut self,
        missed: MissedResponses,
        started: MonotonicNs,
        at: MonotonicNs,
        shared: &mut Shared,
    ) -> bool {
        let waits_again = self.lost_pipelined && self.exchanges.len() == 1;
        if self.pipelined && !waits_again {
            // Any of them may be meant, and all of them are told as lost.
            self.lost_pipelined = true;
            self.lose_all(at, shared);
            self.answer_head_being_read();
            return false;
        }
        if self.missed_requests.is_some()
            || self.requests.is_inside_head()
            || self.requests.is_unframed()
        {
            // A later request was or may have been read, and this answers it.
            self.lose_all(at, shared);
        }
        // A client that does not pipeline asks again only once it was
        // answered: all but the last request are.
        let was_open_then = self.exchanges.len() == 1 && missed.oldest_answered;
        while self.exchanges.len() > 1 {
            self.lose_oldest(at, shared);
        }
        let follows_missed = self
            .exchanges
            .front()
            .is_some_and(|front| front.follows_missed);
        if was_open_then && !follows_missed && missed.bytes > MAX_INTERIM_BYTES {
            // More than an interim response was lost: its own was among it.
            self.lose_oldest(at, shared);
        }
        if let Some(exchange) = self.exchanges.front_mut() {
            if was_open_then && !exchange.follows_missed {
                exchange.degrade(Completeness::Gap);
            }
            exchange.tentative = true;
        } else {
            self.answer_head_being_read();
            let mut exchange = Exchange::new(self.next_sequence, started);
            exchange.degrade(Completeness::Gap);
            self.push_exchange(exchange);
        }
        true
    }
}
