//! All connections, their bounds and their timers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use modeltap_core::accounting::{InProgress, ParserCounts};
use modeltap_core::connection::{CaptureEvent, CgroupId, ConnectionId, ConnectionOpened};
use modeltap_core::record::{Completeness, RequestRecord, SessionRecord};
use modeltap_core::time::MonotonicNs;

use crate::accounts::{AccountId, Accounts, Held};
use crate::connection::Connection;
use crate::detect::Protocol;

/// Connections looked at for the one to evict: a compromise between the oldest
/// of all and the time to find it.
const EVICTION_SAMPLE: usize = 64;

/// Bounds and delays of a [`ConnectionTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most connections followed; beyond, an idle one that was silent for long
    /// is evicted.
    pub max_connections: usize,
    /// Most requests of one connection that wait for their response.
    pub max_pipelined: usize,
    /// Most bytes held for one connection: its partial heads, its open
    /// requests, the rhythm of its stream and what waits to be told. Less is
    /// left for a head in pieces where other things are held.
    pub max_connection_bytes: usize,
    /// Most bytes held for the open requests and partial heads of one cgroup,
    /// so that no container starves another.
    pub max_held_bytes: usize,
    /// Most cgroups without connections whose counts are kept.
    pub max_cgroups: usize,
    /// How long events that the end of a connection overtook are waited for.
    pub linger: Duration,
    /// How long nothing must be written until a response whose end was not
    /// captured is taken for over.
    pub unframed_quiet: Duration,
    /// How long a response without a request waits for the proof that its
    /// request was not lost.
    pub confirm_within: Duration,
    /// How long the record of a response that waits in the socket is kept for
    /// the time it left; a longer drain counts as this long.
    pub drain_within: Duration,
    /// Tell where a call's bytes hold contents, for
    /// [`ConnectionTable::contents`].
    pub tell_contents: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 65_536,
            max_pipelined: 1_024,
            max_connection_bytes: 64 * 1024,
            max_held_bytes: 32 * 1024 * 1024,
            max_cgroups: 4_096,
            linger: Duration::from_millis(250),
            unframed_quiet: Duration::from_secs(10),
            confirm_within: Duration::from_secs(2),
            drain_within: Duration::from_secs(10),
            tell_contents: false,
        }
    }
}

/// What the table saw and holds. Counts named `n_` with a past participle and
/// all bytes but `bytes_buffered` and `bytes_held` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events taken in.
    pub n_events: u64,
    /// Of them: data of connections that are not known.
    pub n_events_unknown_connection: u64,
    /// Bytes moved by the data events taken in, captured or not.
    pub bytes_observed: u64,
    /// Of them: understood as part of a message.
    pub bytes_parsed: u64,
    /// Of them: not part of any message that could be understood.
    pub bytes_skipped: u64,
    /// Of them: needed for framing but not captured.
    pub bytes_truncated: u64,
    /// Of them: in heads that are not whole yet.
    pub bytes_buffered: u64,
    /// Memory held for the connections followed now, themselves not counted.
    pub bytes_held: u64,
    /// Bytes that positions prove were moved but never told.
    pub bytes_gap: u64,
    /// Gaps they lay in.
    pub n_gaps: u64,
    /// Connections followed now.
    pub n_connections: u64,
    /// Connections opened.
    pub n_connections_opened: u64,
    /// Of them: HTTP/1 was seen.
    pub n_connections_http1: u64,
    /// Of them: TLS.
    pub n_connections_tls: u64,
    /// Of them: HTTP/2 with prior knowledge.
    pub n_connections_http2: u64,
    /// Of them: another protocol.
    pub n_connections_unknown: u64,
    /// Connections evicted because there were too many.
    pub n_connections_evicted: u64,
    /// Connections followed no more because of what they asked to be held.
    pub n_given_up: u64,
    /// Requests that are not over now.
    pub n_active: u64,
    /// Requests finished whole.
    pub n_requests_complete: u64,
    /// Requests of which something was lost or truncated.
    pub n_requests_incomplete: u64,
}

impl Stats {
    pub(crate) fn count_protocol(&mut self, protocol: Protocol) {
        *match protocol {
            Protocol::Http1 => &mut self.n_connections_http1,
            Protocol::Tls => &mut self.n_connections_tls,
            Protocol::Http2 => &mut self.n_connections_http2,
            Protocol::Unknown => &mut self.n_connections_unknown,
        } += 1;
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) stats: Stats,
    /// The latest time of any event or timeout.
    pub(crate) now: MonotonicNs,
    records: VecDeque<RequestRecord>,
    sessions: VecDeque<SessionRecord>,
    pub(crate) accounts: Accounts,
    /// Of the last call taken in, where they are told.
    pub(crate) contents: Vec<Range<usize>>,
}

impl Shared {
    pub(crate) fn push_record(&mut self, record: RequestRecord) {
        *match record.completeness {
            Completeness::Whole => &mut self.stats.n_requests_complete,
            Completeness::Truncated | Completeness::Gap => &mut self.stats.n_requests_incomplete,
        } += 1;
        self.records.push_back(record);
    }

    pub(crate) fn push_session(&mut self, session: SessionRecord) {
        self.sessions.push_back(session);
    }

    pub(crate) fn count_gap(&mut self, bytes: u64) {
        self.stats.n_gaps += 1;
        self.stats.bytes_gap = self.stats.bytes_gap.saturating_add(bytes);
    }

    /// Notes that a connection now holds `after` instead of `before`: `false` where its cgroup holds too much.
    pub(crate) fn settle(&mut self, account: AccountId, before: &Held, after: &Held) -> bool {
        let n_active = |held: &Held| held.in_progress.n_requests + held.in_progress.n_inner;
        self.stats.n_active = self.stats.n_active + n_active(after) - n_active(before);
        self.stats.bytes_held = self.stats.bytes_held + after.bytes as u64 - before.bytes as u64;
        let held = &mut self.accounts.of(account).held;
        held.in_progress.add(&after.in_progress);
        held.in_progress.take_away(&before.in_progress);
        held.bytes = held.bytes + after.bytes - before.bytes;
        held.bytes <= self.config.max_held_bytes
    }

    /// The fates of all bytes so far.
    fn fates(&self) -> ParserCounts {
        ParserCounts {
            bytes_observed: self.stats.bytes_observed,
            bytes_parsed: self.stats.bytes_parsed,
            bytes_skipped: self.stats.bytes_skipped,
            bytes_truncated: self.stats.bytes_truncated,
            bytes_buffered: self.stats.bytes_buffered,
        }
    }

    /// Adds to an account what was counted of its connection since `before`.
    fn account(&mut self, account: AccountId, before: &ParserCounts) {
        let now = self.fates();
        let counts = &mut self.accounts.of(account).counts;
        counts.bytes_observed += now.bytes_observed - before.bytes_observed;
        counts.bytes_parsed += now.bytes_parsed - before.bytes_parsed;
        counts.bytes_skipped += now.bytes_skipped - before.bytes_skipped;
        counts.bytes_truncated += now.bytes_truncated - before.bytes_truncated;
        // It falls as well.
        counts.bytes_buffered = counts.bytes_buffered + now.bytes_buffered - before.bytes_buffered;
    }
}

/// Follows connections and yields a record for each request that ends.
///
/// After every call of [`handle`](Self::handle) and
/// [`handle_timeout`](Self::handle_timeout), call
/// [`poll_record`](Self::poll_record) until it returns `None`.
#[derive(Debug)]
pub struct ConnectionTable {
    shared: Shared,
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    /// By the socket's address: at one time it names one connection.
    by_socket: HashMap<u64, usize>,
    /// May hold timers that were replaced, or whose connection is gone.
    timers: BinaryHeap<Reverse<(MonotonicNs, ConnectionId)>>,
    /// Where the next search for a connection to evict begins.
    eviction_hand: usize,
}

impl ConnectionTable {
    /// An empty table.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            shared: Shared {
                config,
                stats: Stats::default(),
                now: MonotonicNs(0),
                records: VecDeque::new(),
                sessions: VecDeque::new(),
                accounts: Accounts::default(),
                contents: Vec::new(),
            },
            slots: Vec::new(),
            free: Vec::new(),
            by_socket: HashMap::new(),
            timers: BinaryHeap::new(),
            eviction_hand: 0,
        }
    }

    /// Takes in one event, in the order of the ring.
    pub fn handle(&mut self, event: &CaptureEvent) {
        self.shared.stats.n_events += 1;
        self.shared.contents.clear();
        self.shared.now = self.shared.now.max(event.at());
        match event {
            CaptureEvent::Opened(opened) => self.open(opened),
            CaptureEvent::Data(data) => {
                let length = u64::from(data.length);
                let before = self.shared.fates();
                self.shared.stats.bytes_observed += length;
                let Some(slot) = self.slot_of(data.id) else {
                    if self.shared.config.tell_contents {
                        self.shared.contents.push(0..data.bytes.len());
                    }
                    self.shared.stats.n_events_unknown_connection += 1;
                    self.shared.stats.bytes_skipped += length;
                    return;
                };
                if let Some(connection) = &mut self.slots[slot] {
                    connection.data(data, &mut self.shared);
                    self.shared.account(connection.account, &before);
                }
                self.schedule(slot);
            }
            CaptureEvent::Arrived(arrived) => {
                if let Some(connection) = self.connection(arrived.id) {
                    connection.arrived(arrived);
                }
            }
            CaptureEvent::Drained(drained) => {
                let Some(slot) = self.slot_of(drained.id) else {
                    return;
                };
                if let Some(connection) = &mut self.slots[slot] {
                    connection.drained(drained, &mut self.shared);
                }
                self.schedule(slot);
            }
            CaptureEvent::Closed(closed) => {
                let Some(slot) = self.slot_of(closed.id) else {
                    return;
                };
                if let Some(connection) = &mut self.slots[slot] {
                    connection.closed(closed, &mut self.shared);
                }
                self.schedule(slot);
            }
        }
    }

    /// Where the captured bytes of the event last taken in hold contents:
    /// bodies, and whatever is no HTTP; all but heads and the framing of
    /// bodies. Ranges ascend. Empty unless [`Config::tell_contents`].
    #[must_use]
    pub fn contents(&self) -> &[Range<usize>] {
        &self.shared.contents
    }

    /// The next finished request, in the order they were known to be over;
    /// those whose response waits in the socket once it left.
    pub fn poll_record(&mut self) -> Option<RequestRecord> {
        self.shared.records.pop_front()
    }

    /// The next upgraded connection that ended; call it as
    /// [`poll_record`](Self::poll_record).
    pub fn poll_session(&mut self) -> Option<SessionRecord> {
        self.shared.sessions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do at
    /// the earliest; it may turn out to be nothing. Changes with every call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MonotonicNs> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Decides what is due at `now`: connections that ended long enough ago,
    /// responses whose end was not seen. A `now` of `u64::MAX` ends all that
    /// waits only for time.
    pub fn handle_timeout(&mut self, now: MonotonicNs) {
        // Not the end of time, which no event could outlast.
        if now.0 != u64::MAX {
            self.shared.now = self.shared.now.max(now);
        }
        while let Some(&Reverse((at, id))) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            let Some(slot) = self.slot_of(id) else {
                continue;
            };
            let Some(connection) = &mut self.slots[slot] else {
                continue;
            };
            if connection.timer != Some(at) {
                continue;
            }
            connection.timer = None;
            let before = self.shared.fates();
            let is_over = connection.expire(now, &mut self.shared);
            self.shared.account(connection.account, &before);
            if is_over {
                self.remove(slot);
            } else {
                self.schedule(slot);
            }
        }
    }

    /// What was seen, and what is held now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats
    }

    /// What is under way now, by cgroup; cgroups with nothing are left out.
    pub fn in_progress(&self) -> impl Iterator<Item = (CgroupId, InProgress)> + '_ {
        self.shared
            .accounts
            .iter()
            .map(|(cgroup, account)| (cgroup, account.held.in_progress))
            .filter(|(_, in_progress)| *in_progress != InProgress::default())
    }

    /// What is under way of one cgroup.
    #[must_use]
    pub fn in_progress_of(&self, cgroup: CgroupId) -> InProgress {
        let account = self.shared.accounts.find(cgroup);
        account.map_or_else(InProgress::default, |account| account.held.in_progress)
    }

    /// Bytes by what was made of them, for each cgroup that had connections.
    /// Their sums are those of [`stats`](Self::stats), but for data of
    /// connections that are not known and for cgroups forgotten.
    pub fn counts(&self) -> impl Iterator<Item = (CgroupId, ParserCounts)> + '_ {
        self.shared
            .accounts
            .iter()
            .map(|(cgroup, account)| (cgroup, account.counts))
    }

    /// Lets or no longer lets bodies of a cgroup's exchanges be looked at: for
    /// the `model` of requests to inference endpoints and the token counts of
    /// their responses, nothing else. No cgroup's are without this call, which
    /// is for those whose owner asked for it. Holds for messages that begin
    /// after it and until [`forget`](Self::forget); of cgroups without
    /// connections, for [`Config::max_cgroups`] at most.
    pub fn inspect(&mut self, cgroup: CgroupId, inspect: bool) {
        let most = self.shared.config.max_cgroups;
        self.shared.accounts.set_inspect(cgroup, inspect, most);
    }

    /// Forgets what was counted of a cgroup that is gone, at once or when its
    /// last connection is. Call it when the container was removed.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.shared.accounts.forget(cgroup);
    }

    fn slot_of(&self, id: ConnectionId) -> Option<usize> {
        let slot = *self.by_socket.get(&id.socket)?;
        (self.slots[slot].as_ref()?.id() == id).then_some(slot)
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slot_of(id)?;
        self.slots[slot].as_deref_mut()
    }

    fn open(&mut self, opened: &ConnectionOpened) {
        if let Some(&slot) = self.by_socket.get(&opened.id.socket) {
            let known = self.slots[slot]
                .as_ref()
                .map(|connection| connection.id().opened);
            if known >= Some(opened.id.opened) {
                return;
            }
            // The address names another socket now: the old one is gone,
            // whether its end was told or not.
            self.remove(slot);
        }
        if self.by_socket.len() >= self.shared.config.max_connections {
            self.evict();
        }
        self.shared.stats.n_connections += 1;
        self.shared.stats.n_connections_opened += 1;
        let account = self.shared.accounts.join(opened.cgroup);
        let connection = Some(Box::new(Connection::new(opened, account)));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = connection;
                slot
            }
            None => {
                self.slots.push(connection);
                self.slots.len() - 1
            }
        };
        self.by_socket.insert(opened.id.socket, slot);
    }

    /// Ends the connection that was silent longest, idle ones first, of the
    /// next few.
    fn evict(&mut self) {
        let n = self.slots.len();
        let sample = (0..n)
            .map(|offset| (self.eviction_hand + offset) % n)
            .filter_map(|slot| Some((slot, self.slots[slot].as_ref()?)))
            .take(EVICTION_SAMPLE);
        let Some((slot, _)) =
            sample.min_by_key(|(_, connection)| (!connection.is_idle(), connection.last_event))
        else {
            return;
        };
        self.eviction_hand = (self.eviction_hand + EVICTION_SAMPLE) % n;
        self.shared.stats.n_connections_evicted += 1;
        self.remove(slot);
    }

    fn remove(&mut self, slot: usize) {
        let Some(connection) = self.slots[slot].take() else {
            return;
        };
        self.by_socket.remove(&connection.id().socket);
        self.free.push(slot);
        self.shared.stats.n_connections -= 1;
        let (account, before) = (connection.account, self.shared.fates());
        connection.finish(&mut self.shared);
        self.shared.account(account, &before);
        let most = self.shared.config.max_cgroups;
        self.shared.accounts.leave(account, most);
    }

    fn schedule(&mut self, slot: usize) {
        let Some(connection) = &mut self.slots[slot] else {
            return;
        };
        let Some(deadline) = connection.deadline(&self.shared.config) else {
            return;
        };
        if connection.timer.is_some_and(|timer| timer <= deadline) {
            return;
        }
        connection.timer = Some(deadline);
        self.timers.push(Reverse((deadline, connection.id())));
        // Timers of connections that are gone stay until they are due.
        if self.timers.len() > 4 * self.shared.config.max_connections.max(EVICTION_SAMPLE) {
            let timers = std::mem::take(&mut self.timers);
            self.timers = timers
                .into_iter()
                .filter(|Reverse((at, id))| {
                    self.slot_of(*id)
                        .and_then(|slot| self.slots[slot].as_ref())
                        .is_some_and(|connection| connection.timer == Some(*at))
                })
                .collect();
        }
    }
}
