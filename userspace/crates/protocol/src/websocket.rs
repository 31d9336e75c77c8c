//! Messages of a WebSocket, counted by the headers of their frames (RFC 6455
//! section 5.2).
//!
//! Payloads are passed over by their lengths and never looked at. Where a
//! header was not captured, or is none, the count is lost for good.

use modeltap_core::connection::Direction;

/// FIN: the message's last frame.
const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
/// Opcodes from here on are control frames: close, ping, pong.
const CONTROL: u8 = 0x08;
/// The last opcode there is, pong.
const LAST_CONTROL: u8 = 0x0a;
const CONTINUATION: u8 = 0x00;
const LAST_DATA: u8 = 0x02;
const MASKED: u8 = 0x80;
/// Longest payload of a control frame, and of a frame with a short length.
const MAX_SHORT: u8 = 125;
const MASK_BYTES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of a header were seen.
    Header(usize),
    /// So many bytes of a payload are left; it may end a message.
    Payload { left: u64, ends_message: bool },
    /// Where the next header stands is not known.
    Lost,
}

/// Counts the messages of one direction.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    direction: Direction,
    state: State,
    header: [u8; 10],
    /// A message was begun and is not over.
    in_message: bool,
    n_messages: u64,
}

impl Frames {
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            direction,
            state: State::Header(0),
            header: [0; 10],
            in_message: false,
            n_messages: 0,
        }
    }

    /// Messages that are over; `None` where they could not be followed.
    pub(crate) fn n_messages(&self) -> Option<u64> {
        (self.state != State::Lost).then_some(self.n_messages)
    }

    /// Passes over bytes that were seen.
    pub(crate) fn seen(&mut self, bytes: &[u8]) {
        let mut at = 0;
        loop {
            match self.state {
                State::Lost => return,
                State::Payload { left, .. } => {
                    let taken = left.min((bytes.len() - at) as u64);
                    at += taken as usize;
                    self.pass(taken);
                    if taken < left {
                        return;
                    }
                }
                State::Header(n) => {
                    let Some(&byte) = bytes.get(at) else {
                        return;
                    };
                    at += 1;
                    // The mask's own bytes mean nothing.
                    if let Some(place) = self.header.get_mut(n) {
                        *place = byte;
                    }
                    self.state = State::Header(n + 1);
                    self.end_header(n + 1);
                }
            }
        }
    }

    /// Passes over `n` bytes that were not.
    pub(crate) fn unseen(&mut self, n: u64) {
        match self.state {
            State::Payload { left, .. } if n <= left => self.pass(n),
            _ if n > 0 => self.state = State::Lost,
            _ => {}
        }
    }

    /// Passes over `n` bytes of the payload, which has as many.
    fn pass(&mut self, n: u64) {
        if let State::Payload { left, ends_message } = self.state {
            self.state = match left - n {
                0 => {
                    self.n_messages += u64::from(ends_message);
                    State::Header(0)
                }
                left => State::Payload { left, ends_message },
            };
        }
    }

    /// Goes on to the payload where the header is whole after `n` bytes.
    fn end_header(&mut self, n: usize) {
        if n < 2 {
            return;
        }
        let [first, second, ..] = self.header;
        if n == 2 && !self.is_plausible(first, second) {
            self.state = State::Lost;
            return;
        }
        let length_bytes = match second & !MASKED {
            0..=MAX_SHORT => 0,
            126 => 2,
            _ => 8,
        };
        let mask_bytes = match second & MASKED {
            0 => 0,
            _ => MASK_BYTES,
        };
        if n < 2 + length_bytes + mask_bytes {
            return;
        }
        let mut left = u64::from(second & !MASKED);
        if length_bytes > 0 {
            let digits = &self.header[2..2 + length_bytes];
            left = digits
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        }
        // The highest bit must be zero.
        if left > u64::MAX >> 1 {
            self.state = State::Lost;
            return;
        }
        let opcode = first & OPCODE;
        let ends_message = first & FIN != 0 && opcode < CONTROL;
        if opcode < CONTROL {
            self.in_message = !ends_message;
        }
        self.state = State::Payload { left, ends_message };
        self.pass(0);
    }

    /// Whether two bytes begin a frame here: else what was taken for one
    /// before was none.
    fn is_plausible(&self, first: u8, second: u8) -> bool {
        let is_masked = second & MASKED != 0;
        if is_masked != (self.direction == Direction::Read) {
            return false;
        }
        match first & OPCODE {
            CONTINUATION => self.in_message,
            1..=LAST_DATA => !self.in_message,
            CONTROL..=LAST_CONTROL => first & FIN != 0 && second & !MASKED <= MAX_SHORT,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, length: usize, mask: bool) -> Vec<u8> {
        let masked = u8::from(mask) << 7;
        let mut bytes = vec![first];
        match length {
            0..=125 => bytes.push(masked | length as u8),
            126..=0xffff => {
                bytes.push(masked | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if mask {
            bytes.extend([0x81, 0x05, 0xff, 0x00]);
        }
        bytes.resize(bytes.len() + length, 0x81);
        bytes
    }

    #[track_caller]
    fn check(frames: &[(u8, usize)], expected: Option<u64>) {
        for direction in [Direction::Read, Direction::Write] {
            let is_masked = direction == Direction::Read;
            let wire: Vec<_> = frames
                .iter()
                .flat_map(|&(first, length)| frame(first, length, is_masked))
                .collect();
            let mut by_byte = Frames::new(direction);
            for byte in &wire {
                by_byte.seen(std::slice::from_ref(byte));
            }
            assert_eq!(by_byte.n_messages(), expected);
            for cut in 0..wire.len().min(400) {
                let mut frames = Frames::new(direction);
                frames.seen(&wire[..cut]);
                frames.seen(&wire[cut..]);
                assert_eq!(frames.n_messages(), expected, "cut at {cut}");
            }
        }
    }

    #[test]
    fn messages_are_data_frames_up_to_the_last_of_each() {
        check(&[], Some(0));
        check(&[(0x81, 5), (0x82, 0), (0x81, 125)], Some(3));
        check(&[(0x81, 126), (0x82, 65_535), (0xc1, 65_536)], Some(3));
        // In three frames, with a ping between them, and a close behind.
        check(
            &[(0x01, 5), (0x89, 3), (0x00, 9), (0x80, 0), (0x88, 2)],
            Some(1),
        );
        check(&[(0x8a, 0), (0x89, 125)], Some(0));
        // Not over.
        check(&[(0x81, 1), (0x02, 200)], Some(1));
    }

    #[test]
    fn what_is_no_frame_loses_the_count() {
        check(&[(0x81, 1), (0x83, 1)], None);
        check(&[(0x81, 1), (0x80, 1)], None);
        check(&[(0x01, 1), (0x81, 1)], None);
        check(&[(0x09, 1)], None);
        check(&[(0x89, 126)], None);
        let mut unmasked = Frames::new(Direction::Read);
        unmasked.seen(&frame(0x81, 5, false));
        assert_eq!(unmasked.n_messages(), None);
        let mut endless = Frames::new(Direction::Write);
        endless.seen(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(endless.n_messages(), None);
    }

    #[test]
    fn only_headers_must_be_seen() {
        let mut frames = Frames::new(Direction::Write);
        let wire = frame(0x82, 70_000, false);
        frames.seen(&wire[..1_000]);
        frames.unseen(wire.len() as u64 - 1_000);
        frames.unseen(0);
        assert_eq!(frames.n_messages(), Some(1));
        frames.seen(&wire[..10]);
        frames.unseen(69_999);
        assert_eq!(frames.n_messages(), Some(1));
        frames.unseen(2);
        assert_eq!(frames.n_messages(), None);
        frames.seen(&wire);
        assert_eq!(frames.n_messages(), None);
    }
}
