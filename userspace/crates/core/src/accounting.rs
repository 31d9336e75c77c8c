//! What was seen and what was missed: every byte has one fate.

use std::time::Duration;

/// Events and bytes by their fate. All counts grow from the daemon's start.
///
/// Invariant: `bytes_observed = bytes_parsed + bytes_skipped +
/// bytes_truncated + bytes_lost + bytes_dropped + bytes_left_out`, once the
/// queues are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureAccounting {
    /// Socket events the probes saw on watched connections.
    pub events_observed: u64,
    /// Of them: the kernel's ring buffer was full.
    pub events_lost: u64,
    /// Of them: a queue of the daemon's was full.
    pub events_dropped: u64,
    /// Of them: could not be decoded.
    pub events_undecoded: u64,
    /// Of them: left out to stay within the budget, all but their counts.
    pub events_left_out: u64,
    /// Bytes that watched connections moved.
    pub bytes_observed: u64,
    /// Understood as part of a message (body bytes whose length was known
    /// count here, captured or not).
    pub bytes_parsed: u64,
    /// Not part of any message that could be understood.
    pub bytes_skipped: u64,
    /// Needed for framing but not captured.
    pub bytes_truncated: u64,
    /// In events that the ring had no room for.
    pub bytes_lost: u64,
    /// In events that a queue of the daemon's had no room for, or that could
    /// not be decoded.
    pub bytes_dropped: u64,
    /// In events that were left out to stay within the budget.
    pub bytes_left_out: u64,
    /// Connections not tracked because the kernel's map was full.
    pub connections_untracked: u64,
    /// Runs of probes that the kernel left out, at most: each may be a call
    /// whose bytes were not seen.
    pub probe_runs_skipped: u64,
    /// Requests finished whole.
    pub requests_complete: u64,
    /// Requests of which something was lost or truncated.
    pub requests_incomplete: u64,
}

/// What a program in the kernel cost while the kernel measured it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramCost {
    /// Its name.
    pub name: String,
    /// Runs that were measured.
    pub n_runs: u64,
    /// Time that these took.
    pub run_time: Duration,
}

/// What is under way now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InProgress {
    /// Requests that are not over.
    pub n_requests: u64,
    /// The same over UNIX sockets: inner hops, of which each is a part of
    /// another request.
    pub n_inner: u64,
    /// Upgraded connections.
    pub n_sessions: u64,
}

impl InProgress {
    /// Adds everything of `other`.
    pub fn add(&mut self, other: &Self) {
        self.n_requests += other.n_requests;
        self.n_inner += other.n_inner;
        self.n_sessions += other.n_sessions;
    }

    /// Takes away what `other` has, which was added before.
    pub fn take_away(&mut self, other: &Self) {
        self.n_requests -= other.n_requests;
        self.n_inner -= other.n_inner;
        self.n_sessions -= other.n_sessions;
    }
}

impl CaptureAccounting {
    /// Events that reached the parser, of `events_observed`.
    #[must_use]
    pub fn events_captured(&self) -> u64 {
        self.events_observed
            .saturating_sub(self.events_lost)
            .saturating_sub(self.events_dropped)
            .saturating_sub(self.events_undecoded)
            .saturating_sub(self.events_left_out)
    }
}

/// What the probes themselves counted of one watched cgroup, in the kernel:
/// right whatever the ring or the daemon lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupCounts {
    /// Events placed in the ring.
    pub events_submitted: u64,
    /// Events that were not, for either cause: the ring had no room, or the
    /// map of connections.
    pub events_lost: u64,
    /// Of them: the map of connections had no room.
    pub events_lost_map_full: u64,
    /// Bytes moved by the data events submitted.
    pub bytes_submitted: u64,
    /// Bytes moved by the data events lost.
    pub bytes_lost: u64,
    /// Events whose bytes in the server's memory could not be read; they are
    /// told all the same, with nothing captured.
    pub user_reads_failed: u64,
    /// Reads over TCP that began a request. One that is read in the same call
    /// behind another (pipelined) is not among them.
    pub n_requests: u64,
    /// Writes over TCP that began a final response, by status class `1xx` (101
    /// alone) to `5xx`. One that is written in the same call behind another is
    /// not among them.
    pub n_responses: [u64; 5],
    /// What was left out on purpose. Its requests are among those above, its
    /// events and bytes are no other's.
    pub left_out: LeftOut,
}

/// What the probes saw while they were told to hand over nothing but counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Events.
    pub n_events: u64,
    /// Bytes that these moved.
    pub n_bytes: u64,
    /// Requests and responses that began in them.
    pub requests: RequestCounts,
}

impl LeftOut {
    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.n_events += other.n_events;
        self.n_bytes += other.n_bytes;
        self.requests.merge(&other.requests);
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            n_events: self.n_events.saturating_sub(earlier.n_events),
            n_bytes: self.n_bytes.saturating_sub(earlier.n_bytes),
            requests: self.requests.since(&earlier.requests),
        }
    }
}

/// Bytes of one watched cgroup by what the parser made of them.
///
/// Invariant: `bytes_observed = bytes_parsed + bytes_skipped +
/// bytes_truncated + bytes_buffered`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParserCounts {
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
}

/// Events and bytes of one container or service by their fate, merged from
/// what the probes and the parser counted.
///
/// Invariant: `bytes_observed = bytes_parsed + bytes_skipped +
/// bytes_truncated + bytes_lost + bytes_dropped + bytes_left_out +
/// bytes_pending`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureAccount {
    /// Events placed in the ring.
    pub events_submitted: u64,
    /// Events that were not, for either cause: the ring had no room, or the
    /// map of connections.
    pub events_lost: u64,
    /// Of them: the map of connections had no room.
    pub events_lost_map_full: u64,
    /// Events whose bytes in the server's memory could not be read.
    pub user_reads_failed: u64,
    /// Bytes moved.
    pub bytes_observed: u64,
    /// Understood as part of a message, or waiting for the rest of a head.
    pub bytes_parsed: u64,
    /// Not part of any message that could be understood.
    pub bytes_skipped: u64,
    /// Needed for framing but not captured.
    pub bytes_truncated: u64,
    /// In events that the ring had no room for.
    pub bytes_lost: u64,
    /// In events that never reached the parser.
    pub bytes_dropped: u64,
    /// Events left out to stay within the budget.
    pub events_left_out: u64,
    /// Bytes in them.
    pub bytes_left_out: u64,
    /// In events on their way to the parser.
    pub bytes_pending: u64,
}

impl CaptureAccount {
    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.events_submitted += other.events_submitted;
        self.events_lost += other.events_lost;
        self.events_lost_map_full += other.events_lost_map_full;
        self.user_reads_failed += other.user_reads_failed;
        self.bytes_observed += other.bytes_observed;
        self.bytes_parsed += other.bytes_parsed;
        self.bytes_skipped += other.bytes_skipped;
        self.bytes_truncated += other.bytes_truncated;
        self.bytes_lost += other.bytes_lost;
        self.bytes_dropped += other.bytes_dropped;
        self.events_left_out += other.events_left_out;
        self.bytes_left_out += other.bytes_left_out;
        self.bytes_pending += other.bytes_pending;
    }
}

/// Requests and responses that began, by whoever counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Requests.
    pub n_requests: u64,
    /// Final responses by status class, `1xx` (101 alone) to `5xx`.
    pub n_responses: [u64; 5],
}

impl RequestCounts {
    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.n_requests += other.n_requests;
        for (count, more) in self.n_responses.iter_mut().zip(other.n_responses) {
            *count += more;
        }
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut less = *self;
        less.n_requests = less.n_requests.saturating_sub(earlier.n_requests);
        for (count, before) in less.n_responses.iter_mut().zip(earlier.n_responses) {
            *count = count.saturating_sub(before);
        }
        less
    }
}
