//! One direction of a connection: where the next byte is expected.

/// How an event lies to what was seen before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Bytes between what was seen and the event: their events were lost.
    pub(crate) gap: u64,
    /// Bytes at the event's beginning that were passed already.
    pub(crate) stale: u64,
}

/// Position of the next byte of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stream {
    expected: u64,
}

impl Stream {
    /// Takes in `length` bytes at `position` and says how they lie. Positions
    /// only move forward: what comes late was declared a gap and stays one.
    pub(crate) fn place(&mut self, position: u64, length: u32) -> Placement {
        let end = position.saturating_add(u64::from(length));
        let placement = Placement {
            gap: position.saturating_sub(self.expected),
            stale: self
                .expected
                .saturating_sub(position)
                .min(u64::from(length)),
        };
        self.expected = self.expected.max(end);
        placement
    }

    /// Bytes missing at the end of a stream that is `total` bytes long.
    pub(crate) fn missing_of(&self, total: u64) -> u64 {
        total.saturating_sub(self.expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(events: &[(u64, u32)], expected: &[(u64, u64)]) {
        let mut stream = Stream::default();
        let placed: Vec<_> = events
            .iter()
            .map(|&(position, length)| stream.place(position, length))
            .map(|placement| (placement.gap, placement.stale))
            .collect();
        assert_eq!(placed, expected);
    }

    #[test]
    fn events_are_placed_by_position() {
        // In order.
        check(&[(0, 10), (10, 5)], &[(0, 0), (0, 0)]);
        // One lost.
        check(&[(0, 10), (25, 5), (30, 1)], &[(0, 0), (15, 0), (0, 0)]);
        // Told twice, and overlapping.
        check(&[(0, 10), (0, 10), (5, 10)], &[(0, 0), (0, 10), (0, 5)]);
        // Late: the gap was declared.
        check(&[(10, 10), (0, 10), (20, 1)], &[(10, 0), (0, 10), (0, 0)]);
        // At the end of the numbers.
        check(&[(u64::MAX, 9), (u64::MAX, 9)], &[(u64::MAX, 0), (0, 0)]);
        check(&[(0, 0)], &[(0, 0)]);
    }

    #[test]
    fn bytes_missing_at_the_end_are_those_never_told() {
        let mut stream = Stream::default();
        stream.place(0, 10);
        assert_eq!(stream.missing_of(10), 0);
        assert_eq!(stream.missing_of(25), 15);
        assert_eq!(stream.missing_of(0), 0);
    }
}
