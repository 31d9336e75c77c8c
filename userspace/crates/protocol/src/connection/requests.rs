//! The direction that the server reads.

use modeltap_core::connection::{Data, Origin};
use modeltap_core::record::{Completeness, Method};
use modeltap_core::time::MonotonicNs;

use super::Connection;
use crate::body::Progress;
use crate::detect::{Match, Protocol, known_request_start};
use crate::exchange::Exchange;
use crate::genai;
use crate::http1::{Framing, RequestHead};
use crate::input::{Beginning, Input};
use crate::inspect::Document;
use crate::message::{GapEffect, Item};
use crate::table::Shared;

impl Connection {
    pub(super) fn read_data(&mut self, data: &Data, shared: &mut Shared) {
        let placement = self.read.place(data.position, data.length);
        if placement.gap > 0 {
            self.read_gap(placement.gap, shared);
        } else if placement.stale == 0 {
            self.confirm_pairing(shared);
        }
        shared.stats.bytes_skipped += placement.stale;
        self.read_watch.begin_call(data.at);
        let mut arrivals = std::mem::take(&mut self.arrivals);
        arrivals.begin(data);
        let mut input = Input::new(data, placement.stale, Some(&arrivals));
        self.read_early(&input);
        if std::mem::take(&mut self.body_optional) && known_request_start(input.bytes) == Match::Yes
        {
            self.requests.expect_head();
            self.reading = None;
        }
        while let Some(item) = self
            .requests
            .advance(&mut input, shared, true, &mut self.read_watch)
        {
            match item {
                Item::Head {
                    head,
                    started,
                    follows_in_call,
                } => {
                    self.pipelined |= follows_in_call && !self.exchanges.is_empty();
                    self.request_head(head, started, data.at, shared);
                }
                Item::Body { data: n, progress } => {
                    self.take_model();
                    if let Some(exchange) = self.exchange_being_read() {
                        exchange.count_request_body(n);
                        match progress {
                            Progress::More => {}
                            Progress::End => exchange.request_end = Some(data.at),
                            Progress::Broken => exchange.degrade(Completeness::Truncated),
                        }
                    }
                    if progress == Progress::End {
                        self.read_watch.look_away();
                        self.reading = None;
                    }
                }
                Item::Superseded => {
                    self.end_unframed_request();
                    self.reading = None;
                }
                Item::Garbage(protocol) => {
                    if self.protocol.is_none() {
                        self.set_protocol(protocol, shared);
                        self.requests.make_opaque(shared);
                    }
                }
                Item::Missed => self.missed_requests = Some(Completeness::Truncated),
            }
        }
        self.last_read = data.at;
        arrivals.forget_before(data.position.saturating_add(data.length.into()));
        self.arrivals = arrivals;
    }

    fn request_head(
        &mut self,
        head: RequestHead,
        started: Beginning,
        at: MonotonicNs,
        shared: &mut Shared,
    ) {
        self.set_protocol(Protocol::Http1, shared);
        self.read_watch.document = None;
        let follows_missed = self.missed_requests.take().is_some();
        if self.exchanges.len() >= shared.config.max_pipelined {
            self.give_up(shared);
            return;
        }
        let mut exchange = Exchange::new(self.next_sequence, started.at);
        exchange.arrived = started.arrived;
        let seen_from_accept = self.opened.origin == Origin::Accepted && !self.read_gap_seen;
        exchange.accepted =
            (self.next_sequence == 0 && seen_from_accept).then_some(self.opened.id.opened);
        exchange.method = Some(head.method);
        if head.method == Method::Post {
            exchange.inference = genai::endpoint(&head.path).map(Box::new);
        }
        exchange.path = head.path;
        exchange.minor = head.minor;
        exchange.follows_missed = follows_missed;
        exchange.expects_continue = head.expects_continue;
        if head.wants_websocket {
            self.expect_upgrade();
        }
        self.reading = Some(self.next_sequence);
        match head.framing {
            Framing::Empty => {
                exchange.request_end = Some(at);
                self.reading = None;
            }
            Framing::Body(body) => {
                self.requests.begin_body(body);
                self.inspect_request(&exchange, shared);
            }
            // No server agrees with another on where such a message ends.
            Framing::Tunnel | Framing::Invalid => self.requests.make_opaque(shared),
            Framing::Cut => {
                exchange.degrade(Completeness::Truncated);
                self.requests.begin_cut();
            }
        }
        if self.answered_head.take() == Some(started.at) {
            self.reading = None;
        } else if self.is_too_large(exchange.footprint(), shared) {
            self.give_up(shared);
        } else {
            self.push_exchange(exchange);
        }
    }

    /// Looks for the model's name in the request's body, where that is allowed
    /// and the path did not tell it.
    fn inspect_request(&mut self, exchange: &Exchange, shared: &mut Shared) {
        let inference = exchange.inference.as_ref();
        if inference.is_some_and(|inference| inference.model.is_none())
            && shared.accounts.of(self.account).inspect
        {
            self.read_watch.document = Some(Box::new(Document::request()));
        }
    }

    /// Takes the model's name once it was met.
    fn take_model(&mut self) {
        let Some(document) = &mut self.read_watch.document else {
            return;
        };
        let Some(model) = document.take_model() else {
            return;
        };
        self.read_watch.document = None;
        let n_bytes = model.len();
        if let Some(exchange) = self.exchange_being_read()
            && let Some(inference) = &mut exchange.inference
        {
            inference.model = Some(model);
            self.exchanges_bytes += n_bytes;
        }
    }

    fn exchange_being_read(&mut self) -> Option<&mut Exchange> {
        let sequence = self.reading?;
        self.exchanges
            .iter_mut()
            .rev()
            .find(|exchange| exchange.sequence == sequence)
    }

    /// The request whose end was not seen ended with the last read.
    fn end_unframed_request(&mut self) {
        let last_read = self.last_read;
        if let Some(exchange) = self.exchange_being_read()
            && exchange.completeness == Completeness::Truncated
        {
            exchange.request_end.get_or_insert(last_read);
        }
    }

    pub(super) fn read_gap(&mut self, gap: u64, shared: &mut Shared) {
        shared.count_gap(gap);
        self.read_gap_seen = true;
        self.refute_pairing(shared);
        let mut missed = true;
        match self.requests.gap(gap, shared, &mut self.read_watch) {
            GapEffect::Harmless => missed = false,
            GapEffect::Within(n) => {
                missed = false;
                if let Some(exchange) = self.exchange_being_read() {
                    exchange.count_request_body(n);
                    exchange.degrade(Completeness::Gap);
                }
            }
            GapEffect::Ended(n) => {
                missed = false;
                if let Some(exchange) = self.exchange_being_read() {
                    exchange.count_request_body(n);
                    exchange.degrade(Completeness::Gap);
                }
                self.reading = None;
            }
            GapEffect::Broken => {
                if let Some(exchange) = self.exchange_being_read() {
                    exchange.degrade(Completeness::Gap);
                }
                self.reading = None;
            }
            GapEffect::Cut(Some(head)) => {
                let started = self.requests.head_started();
                self.request_head(head, started, started.at, shared);
                if let Some(exchange) = self.exchange_being_read() {
                    exchange.degrade(Completeness::Gap);
                }
                self.reading = None;
                self.requests.seek(shared);
            }
            GapEffect::Cut(None) | GapEffect::Between => {}
        }
        if missed {
            self.missed_requests = Some(Completeness::Gap);
        }
    }
}
