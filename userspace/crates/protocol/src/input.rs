//! The bytes of one system call, and when they arrived.

use modeltap_core::connection::{Arrived, Data};
use modeltap_core::time::MonotonicNs;

/// Most arrivals kept of one read, as many as the probes keep of a socket.
const MAX_ARRIVALS: usize = 16;

/// When a message's first byte moved and, of a request's, arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) at: MonotonicNs,
    pub(crate) arrived: Option<MonotonicNs>,
}

/// The bytes of one system call, as far as they were not passed yet.
pub(crate) struct Input<'a> {
    /// When the call returned.
    pub(crate) at: MonotonicNs,
    /// The captured bytes left.
    pub(crate) bytes: &'a [u8],
    /// Bytes behind them that were moved but not captured.
    pub(crate) unseen: u64,
    /// Nothing was passed: a message may begin here.
    pub(crate) fresh: bool,
    /// Where the next byte lies in the stream.
    pub(crate) position: u64,
    arrivals: Option<&'a Arrivals>,
}

impl<'a> Input<'a> {
    /// A call of which `stale` bytes at the beginning were passed already;
    /// `arrivals` of the bytes of a read.
    pub(crate) fn new(data: &'a Data, stale: u64, arrivals: Option<&'a Arrivals>) -> Self {
        let length = u64::from(data.length);
        let captured = &data.bytes[..data.bytes.len().min(data.length as usize)];
        let unseen = length - captured.len() as u64;
        let seen_stale = stale.min(captured.len() as u64);
        Self {
            at: data.at,
            bytes: &captured[seen_stale as usize..],
            unseen: unseen - (stale - seen_stale).min(unseen),
            fresh: stale == 0,
            position: data.position.saturating_add(stale),
            arrivals,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.unseen == 0
    }

    /// When the next byte moved and arrived.
    pub(crate) fn beginning(&self) -> Beginning {
        Beginning {
            at: self.at,
            arrived: self
                .arrivals
                .and_then(|arrivals| arrivals.of(self.position)),
        }
    }

    pub(crate) fn pass(&mut self, n: usize) {
        self.bytes = &self.bytes[n..];
        self.fresh = false;
        self.position = self.position.saturating_add(n as u64);
    }

    /// Passes `n` of the unseen bytes, once the seen ones are passed.
    pub(crate) fn pass_unseen(&mut self, n: u64) {
        self.unseen -= n;
        self.fresh = false;
        self.position = self.position.saturating_add(n);
    }

    /// Passes everything: captured and unseen bytes.
    pub(crate) fn pass_all(&mut self) -> (u64, u64) {
        let all = (self.bytes.len() as u64, self.unseen);
        self.pass(self.bytes.len());
        self.pass_unseen(self.unseen);
        all
    }
}

/// When the bytes of the next read arrived, by their positions.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Where the read begins, and when its first byte arrived.
    first: (u64, Option<MonotonicNs>),
    /// Later ones, in ascending order of their positions.
    later: Vec<(u64, Option<MonotonicNs>)>,
}

impl Arrivals {
    /// Takes in an arrival behind the first of the read that follows.
    pub(crate) fn note(&mut self, arrived: &Arrived) {
        if self
            .later
            .last()
            .is_some_and(|(last, _)| *last >= arrived.position)
        {
            return;
        }
        match self.later.len() {
            0..MAX_ARRIVALS => self.later.push((arrived.position, Some(arrived.at))),
            // From here on it is not known.
            MAX_ARRIVALS => self.later.push((arrived.position, None)),
            _ => {}
        }
    }

    /// A read begins.
    pub(crate) fn begin(&mut self, data: &Data) {
        self.first = (data.position, data.arrived);
    }

    /// All before `position` was read.
    pub(crate) fn forget_before(&mut self, position: u64) {
        self.first = (position, None);
        if self.later.first().is_some_and(|(at, _)| *at < position) {
            self.later.retain(|(at, _)| *at >= position);
            self.later.shrink_to_fit();
        }
    }

    /// Bytes it takes in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.later.capacity() * size_of::<(u64, Option<MonotonicNs>)>()
    }

    /// When the byte at `position` arrived.
    fn of(&self, position: u64) -> Option<MonotonicNs> {
        let mut latest = self.first;
        for &arrival in &self.later {
            // An event that was lost leaves those of its read behind.
            if arrival.0 > latest.0 && arrival.0 <= position {
                latest = arrival;
            }
        }
        latest.1.filter(|_| latest.0 <= position)
    }
}

#[cfg(test)]
mod tests {
    use modeltap_core::connection::{ConnectionId, Direction};

    use super::*;

    const ID: ConnectionId = ConnectionId {
        socket: 1,
        opened: MonotonicNs(1),
    };

    fn read(position: u64, arrived: Option<u64>) -> Data {
        Data {
            id: ID,
            at: MonotonicNs(9),
            direction: Direction::Read,
            position,
            length: 1,
            arrived: arrived.map(MonotonicNs),
            waits: false,
            bytes: vec![],
        }
    }

    fn arrivals(later: &[(u64, u64)]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for &(position, at) in later {
            arrivals.note(&Arrived {
                id: ID,
                at: MonotonicNs(at),
                position,
            });
        }
        arrivals
    }

    #[test]
    fn byte_arrived_with_the_last_arrival_before_it() {
        let mut arrivals = arrivals(&[(10, 5), (20, 7), (20, 8), (15, 9)]);
        arrivals.begin(&read(4, Some(3)));
        let of = |position| arrivals.of(position).map(|at| at.0);
        assert_eq!([4, 9, 10, 19, 20, 99].map(of), [3, 3, 5, 5, 7, 7].map(Some));
        assert_eq!(of(3), None);
    }

    #[test]
    fn arrivals_of_a_lost_read_are_not_the_next_ones() {
        let mut arrivals = arrivals(&[(10, 5), (30, 7)]);
        arrivals.begin(&read(20, None));
        assert_eq!(arrivals.of(20), None);
        assert_eq!(arrivals.of(30), Some(MonotonicNs(7)));
        arrivals.forget_before(31);
        assert!(arrivals.later.is_empty());
    }

    #[test]
    fn more_arrivals_than_are_kept_leave_the_rest_unknown() {
        let many: Vec<_> = (1..100).map(|n| (n * 10, n)).collect();
        let mut arrivals = arrivals(&many);
        arrivals.begin(&read(0, Some(0)));
        assert_eq!(arrivals.of(160), Some(MonotonicNs(16)));
        assert_eq!(arrivals.of(170), None);
        assert_eq!(arrivals.of(990), None);
        assert_eq!(arrivals.later.len(), MAX_ARRIVALS + 1);
    }
}
