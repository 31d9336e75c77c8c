//! Where a message's body ends: RFC 9112 sections 6 and 7.
//!
//! A body is counted, never kept. Three kinds of bytes pass through it: seen
//! ones, unseen ones (moved but not captured; always the tail of one call) and
//! lost ones (a gap). Inside data of known length all three count alike;
//! where the next byte is framing, only seen bytes lead on.

use modeltap_core::record::Completeness;

use crate::watch::Watch;

/// Longest chunk-size line with its extensions; RFC 9112 section 7.1.1 asks
/// for a limit.
const MAX_SIZE_LINE_BYTES: u32 = 4 * 1024;
/// Longest trailer section, as a head.
const MAX_TRAILER_BYTES: u32 = 64 * 1024;
/// Hexadecimal digits of a chunk size that fits 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;
/// CRLF after a chunk's data.
const DATA_END_BYTES: u64 = 2;
/// `0\r\n\r\n`: no chunk with data is as short, so that this many bytes left
/// of a call after a whole chunk are the end of the body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How far a body came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More is to come.
    More,
    /// Its last byte was passed.
    End,
    /// What follows cannot be told: framing was not seen or is malformed.
    Broken,
}

/// What became of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes that were understood, from the beginning.
    pub(crate) consumed: u64,
    /// Of the next ones: framing that was inferred but not seen.
    pub(crate) inferred: u64,
    /// Of `consumed`: body bytes, without transfer coding.
    pub(crate) data: u64,
    /// How far the body came.
    pub(crate) progress: Progress,
}

/// A body being read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Content-Length: so many bytes are left.
    Length(u64),
    /// All bytes until the server finishes sending.
    UntilClose,
    /// Transfer-Encoding: chunked.
    Chunked(Chunk),
}

/// Place in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// Behind them, in extensions, until the line's end.
    Extension { size: u64, line_bytes: u32 },
    /// In data: so many bytes are left.
    Data(u64),
    /// In the CRLF after data: so many bytes are left.
    DataEnd(u64),
    /// In the trailer section, so far into a line and into all of it.
    Trailer { line_bytes: u32, all_bytes: u32 },
}

impl Body {
    /// A chunked body before its first byte.
    pub(crate) const CHUNKED: Self = Self::Chunked(Chunk::Size { size: 0, digits: 0 });

    /// Passes over seen bytes.
    pub(crate) fn consume(&mut self, bytes: &[u8], watch: &mut Watch) -> Step {
        match self {
            Self::Length(_) | Self::UntilClose => {
                let step = self.count(bytes.len() as u64);
                watch.seen(&bytes[..step.data as usize]);
                step
            }
            Self::Chunked(chunk) => consume_chunked(chunk, bytes, watch),
        }
    }

    /// Passes over the unseen tail of a call, `n` bytes.
    pub(crate) fn consume_unseen(&mut self, n: u64, watch: &mut Watch) -> Step {
        let was_in_chunk = self.is_in_chunk();
        let mut step = self.count(n);
        if step.data > 0 {
            watch.unseen();
        }
        if was_in_chunk && !self.is_in_chunk() {
            watch.chunk_ended();
        }
        let rest = n - step.consumed;
        let Self::Chunked(chunk) = self else {
            return step;
        };
        if step.progress == Progress::More && rest > 0 {
            // Exactly the end is left of the call: nothing else is as short.
            let ends = match *chunk {
                Chunk::Size { digits: 0, .. } => rest == LAST_CHUNK.len() as u64,
                Chunk::Trailer {
                    line_bytes: 0,
                    all_bytes: 0,
                } => rest == 2,
                _ => false,
            };
            (step.progress, step.inferred) = if ends {
                (Progress::End, rest)
            } else {
                (Progress::Broken, 0)
            };
        }
        step
    }

    fn is_in_chunk(&self) -> bool {
        matches!(self, Self::Chunked(Chunk::Data(_)))
    }

    /// Passes over `n` lost bytes: `End` where the body ended just there,
    /// `Broken` where it ended, or may have ended, before.
    pub(crate) fn consume_lost(&mut self, n: u64, watch: &mut Watch) -> Step {
        let mut step = self.count(n);
        watch.miss(Completeness::Gap);
        if step.consumed < n {
            step.progress = Progress::Broken;
        }
        step
    }

    /// Passes over bytes by their number alone, as far as no framing is met.
    fn count(&mut self, n: u64) -> Step {
        let (consumed, data, progress) = match self {
            Self::UntilClose => (n, n, Progress::More),
            Self::Length(left) => {
                let taken = n.min(*left);
                *left -= taken;
                (
                    taken,
                    taken,
                    if *left == 0 {
                        Progress::End
                    } else {
                        Progress::More
                    },
                )
            }
            Self::Chunked(chunk) => {
                let mut data = 0;
                let mut rest = n;
                if let Chunk::Data(left) = *chunk {
                    data = rest.min(left);
                    rest -= data;
                    *chunk = match left - data {
                        0 => Chunk::DataEnd(DATA_END_BYTES),
                        left => Chunk::Data(left),
                    };
                }
                if let Chunk::DataEnd(left) = *chunk {
                    let taken = rest.min(left);
                    rest -= taken;
                    *chunk = match left - taken {
                        0 => Chunk::Size { size: 0, digits: 0 },
                        left => Chunk::DataEnd(left),
                    };
                }
                (n - rest, data, Progress::More)
            }
        };
        Step {
            consumed,
            inferred: 0,
            data,
            progress,
        }
    }
}

fn consume_chunked(chunk: &mut Chunk, bytes: &[u8], watch: &mut Watch) -> Step {
    let mut at = 0;
    let mut data = 0;
    let progress = loop {
        if let Chunk::Data(left) = *chunk {
            let taken = left.min((bytes.len() - at) as u64);
            watch.seen(&bytes[at..at + taken as usize]);
            data += taken;
            at += taken as usize;
            *chunk = match left - taken {
                0 => {
                    watch.chunk_ended();
                    Chunk::DataEnd(DATA_END_BYTES)
                }
                left => Chunk::Data(left),
            };
        }
        let Some(&byte) = bytes.get(at) else {
            break Progress::More;
        };
        let Some(next) = chunk.step(byte) else {
            break Progress::Broken;
        };
        at += 1;
        match next {
            Some(next) => *chunk = next,
            None => break Progress::End,
        }
    };
    Step {
        consumed: at as u64,
        inferred: 0,
        data,
        progress,
    }
}

impl Chunk {
    /// Passes over one byte of framing: `None` where it is malformed,
    /// `Some(None)` where it ends the body. A bare LF ends a line too, as
    /// RFC 9112 section 2.2 lets a recipient have it.
    fn step(self, byte: u8) -> Option<Option<Self>> {
        let next = match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return None;
                }
                let digit = char::from(byte).to_digit(16).expect("a hexadecimal digit");
                Self::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (Self::Size { digits: 0, .. }, _) => return None,
            (Self::Size { size, .. } | Self::Extension { size, .. }, b'\n') => match size {
                0 => Self::Trailer {
                    line_bytes: 0,
                    all_bytes: 0,
                },
                size => Self::Data(size),
            },
            (Self::Size { size, .. }, b';' | b' ' | b'\t' | b'\r') => Self::Extension {
                size,
                line_bytes: 1,
            },
            (Self::Size { .. }, _) => return None,
            (
                Self::Extension {
                    line_bytes: MAX_SIZE_LINE_BYTES,
                    ..
                },
                _,
            ) => return None,
            (Self::Extension { size, line_bytes }, _) => Self::Extension {
                size,
                line_bytes: line_bytes + 1,
            },
            (Self::DataEnd(DATA_END_BYTES), b'\r') => Self::DataEnd(1),
            (Self::DataEnd(_), b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::DataEnd(_), _) => return None,
            (Self::Trailer { line_bytes: 0, .. }, b'\n') => return Some(None),
            (
                Self::Trailer {
                    all_bytes: MAX_TRAILER_BYTES,
                    ..
                },
                _,
            ) => return None,
            (Self::Trailer { all_bytes, .. }, b'\n') => Self::Trailer {
                line_bytes: 0,
                all_bytes: all_bytes + 1,
            },
            (
                Self::Trailer {
                    line_bytes,
                    all_bytes,
                },
                b'\r',
            ) => Self::Trailer {
                line_bytes,
                all_bytes: all_bytes + 1,
            },
            (
                Self::Trailer {
                    line_bytes,
                    all_bytes,
                },
                _,
            ) => Self::Trailer {
                line_bytes: line_bytes + 1,
                all_bytes: all_bytes + 1,
            },
            (Self::Data(left), _) => Self::Data(left),
        };
        Some(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `wire` whole and byte by byte; both must come to the same.
    #[track_caller]
    fn check(body: Body, wire: &[u8], consumed: u64, data: u64, progress: Progress) {
        let step = body.clone().consume(wire, &mut Watch::default());
        assert_eq!(
            (step.consumed, step.data, step.progress),
            (consumed, data, progress)
        );
        let (mut single, mut sum) = (body, (0, 0, Progress::More));
        for byte in wire {
            let step = single.consume(std::slice::from_ref(byte), &mut Watch::default());
            sum = (sum.0 + step.consumed, sum.1 + step.data, step.progress);
            if step.progress != Progress::More {
                break;
            }
        }
        assert_eq!(sum, (consumed, data, progress), "byte by byte");
    }

    #[test]
    fn length_counts_down() {
        check(Body::Length(5), b"hello", 5, 5, Progress::End);
        check(Body::Length(5), b"hel", 3, 3, Progress::More);
        check(Body::Length(2), b"hello", 2, 2, Progress::End);
    }

    #[test]
    fn close_delimited_body_has_no_end() {
        check(Body::UntilClose, b"anything", 8, 8, Progress::More);
    }

    #[test]
    fn chunked_bodies_end_at_their_last_chunk() {
        for (wire, consumed, data, progress) in [
            (&b"0\r\n\r\n"[..], 5, 0, Progress::End),
            (b"5\r\nhello\r\n0\r\n\r\n", 15, 5, Progress::End),
            (b"5\r\nhello\r\n0\r\n\r\nHTTP", 15, 5, Progress::End),
            (
                b"a;name=\"v\"\r\n0123456789\r\n00\r\nT: x\r\nU: y\r\n\r\n",
                42,
                10,
                Progress::End,
            ),
            (b"5 \r\nhello\r\n", 11, 5, Progress::More),
            (b"5\nhello\n0\n\n", 11, 5, Progress::End),
            (b"A\r\n0123456789\r\n", 15, 10, Progress::More),
            (b"5\r\nhelloX", 8, 5, Progress::Broken),
            (b"x", 0, 0, Progress::Broken),
            (b"\r\n", 0, 0, Progress::Broken),
            (b"5x", 1, 0, Progress::Broken),
            (b"ffffffffffffffff\r\nab", 20, 2, Progress::More),
            (b"00000000000000001\r\n", 16, 0, Progress::Broken),
        ] {
            check(Body::CHUNKED, wire, consumed, data, progress);
        }
    }

    #[test]
    fn endless_lines_are_broken_off() {
        let mut wire = b"5;".to_vec();
        wire.resize(MAX_SIZE_LINE_BYTES as usize + 10, b'x');
        assert_eq!(
            Body::CHUNKED
                .clone()
                .consume(&wire, &mut Watch::default())
                .progress,
            Progress::Broken
        );
        let mut wire = b"0\r\n".to_vec();
        wire.resize(MAX_TRAILER_BYTES as usize + 10, b'x');
        assert_eq!(
            Body::CHUNKED
                .clone()
                .consume(&wire, &mut Watch::default())
                .progress,
            Progress::Broken
        );
    }

    #[track_caller]
    fn check_unseen(seen: &[u8], unseen: u64, expected: (u64, u64, u64, Progress)) -> Body {
        let mut body = Body::CHUNKED;
        assert_eq!(
            body.consume(seen, &mut Watch::default()).progress,
            Progress::More
        );
        let step = body.consume_unseen(unseen, &mut Watch::default());
        assert_eq!(
            (step.consumed, step.inferred, step.data, step.progress),
            expected
        );
        body
    }

    #[test]
    fn unseen_bytes_of_a_chunk_are_counted_exactly() {
        check_unseen(b"a\r\n01", 8, (8, 0, 8, Progress::More));
        check_unseen(b"a\r\n01", 9, (9, 0, 8, Progress::More));
        let body = check_unseen(b"a\r\n01", 10, (10, 0, 8, Progress::More));
        assert_eq!(body, Body::CHUNKED);
        // The last chunk is all that fits.
        check_unseen(b"a\r\n01", 15, (10, 5, 8, Progress::End));
        check_unseen(b"0\r\n", 2, (0, 2, 0, Progress::End));
        // Another chunk may begin.
        check_unseen(b"a\r\n01", 14, (10, 0, 8, Progress::Broken));
        check_unseen(b"a\r\n01", 16, (10, 0, 8, Progress::Broken));
        check_unseen(b"a", 2, (0, 0, 0, Progress::Broken));
    }

    #[test]
    fn lost_bytes_are_passed_where_no_framing_was_among_them() {
        let mut body = Body::Length(10);
        assert_eq!(
            body.consume_lost(4, &mut Watch::default()).progress,
            Progress::More
        );
        assert_eq!(
            body.consume_lost(6, &mut Watch::default()).progress,
            Progress::End
        );
        assert_eq!(
            Body::Length(10)
                .clone()
                .consume_lost(11, &mut Watch::default())
                .progress,
            Progress::Broken
        );
        let mut body = Body::CHUNKED;
        body.consume(b"a\r\n", &mut Watch::default());
        assert_eq!(
            body.consume_lost(12, &mut Watch::default()).progress,
            Progress::More
        );
        assert_eq!(body, Body::CHUNKED);
        // What looks like the last chunk's length may be anything when lost.
        assert_eq!(
            body.consume_lost(5, &mut Watch::default()).progress,
            Progress::Broken
        );
    }
}
