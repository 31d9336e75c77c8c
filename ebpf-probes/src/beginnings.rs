//! Counts requests and responses by how they begin, so that their numbers are
//! right whatever becomes of the events.
//!
//! A request is a read that begins with a known method, a space and a target
//! of a known form; its first bytes may come in several reads. A final
//! response is a write that begins with `HTTP/1.x NNN` where NNN is 101 or not
//! interim; these bytes too may come in several writes. Not counted:
//!
//! - requests that are read in one call behind another (pipelined);
//! - responses that are written in one call behind another;
//! - whatever follows an upgrade (101);
//! - UNIX sockets: they carry requests that were counted before.
//!
//! What is read while a response is awaited is a body, whatever it looks like.
//! But a response may have been written that was not seen yet: a write is seen
//! when it returns, and by then another thread may have read the next request,
//! which the client sent when it had the response. The kernel's own count of
//! bytes written tells.

use modeltap_abi::config::{
    CONNECTION_UNIX, CONNECTION_UPGRADED, CgroupCounters, TrackedConnection,
};
use modeltap_abi::event::DIRECTION_READ;

use crate::emit::{self, Counts};
use crate::kernel::Socket;
use crate::maps::DataEvent;

/// Methods with the space behind them, the first byte in the lowest; the same
/// as the parser's where it has to find a request again (RFC 9110 section 9,
/// RFC 5789).
const METHODS: [(u64, u32); 9] = [
    method(b"GET "),
    method(b"POST "),
    method(b"PUT "),
    method(b"HEAD "),
    method(b"DELETE "),
    method(b"PATCH "),
    method(b"OPTIONS "),
    (CONNECT, 8),
    method(b"TRACE "),
];
const CONNECT: u64 = method(b"CONNECT ").0;
/// Longest of them: its target begins behind as many bytes.
const LONGEST_METHOD: u32 = 8;
/// `HTTP/1.`, the first byte in the lowest.
const VERSION: u64 = u64::from_le_bytes(*b"HTTP/1.\0");
const VERSION_LENGTH: u16 = 7;
/// `HTTP/1.x NNN`.
const STATUS_LINE: u32 = 12;
/// `101 Switching Protocols`.
const SWITCHING_PROTOCOLS: u16 = 101;

const fn method(text: &[u8]) -> (u64, u32) {
    let mut word = 0;
    let mut n = 0;
    while n < text.len() {
        word |= (text[n] as u64) << (8 * n);
        n += 1;
    }
    (word, text.len() as u32)
}

/// Counts the request or the response that a call's bytes begin. Their number
/// is already in the connection's positions.
#[inline(always)]
pub fn count(
    socket: Socket,
    connection: &mut TrackedConnection,
    event: &DataEvent,
    direction: u16,
    captured: u32,
    counts: Counts,
) {
    if connection.flags & (CONNECTION_UNIX | CONNECTION_UPGRADED) != 0 {
        return;
    }
    if direction == DIRECTION_READ {
        if !begins_request(connection, event, captured) {
            return;
        }
        let write_seq = socket.write_seq();
        if may_be_request(connection, write_seq) {
            connection.request_seq = write_seq;
            if let Some(counts) = counts {
                // SAFETY: only the address of a field of the value is made.
                emit::add(unsafe { &raw mut (*counts).requests }, 1);
            }
        }
    } else if let Some(status) = begins_response(connection, event, captured) {
        if status < 200 && status != SWITCHING_PROTOCOLS {
            return;
        }
        if status == SWITCHING_PROTOCOLS {
            connection.flags |= CONNECTION_UPGRADED;
        }
        connection.response_seq = connection
            .write_seq
            .wrapping_add(event.data.position as u32)
            .wrapping_add(1);
        if let Some(counts) = counts {
            emit::add(class_of(counts, status), 1);
        }
    }
}

/// Whether no response is awaited, or one may have been written unseen.
/// `write_seq` stands behind the last byte written, seen or not.
#[inline(always)]
fn may_be_request(connection: &TrackedConnection, write_seq: u32) -> bool {
    let is_awaited = connection.response_seq.wrapping_sub(connection.request_seq) as i32 <= 0;
    let seen = connection
        .write_seq
        .wrapping_add(connection.bytes_written as u32);
    !is_awaited || write_seq != seen
}

/// Whether a request line's beginning is whole with this read.
#[inline(always)]
fn begins_request(connection: &mut TrackedConnection, event: &DataEvent, captured: u32) -> bool {
    let before = u32::from(connection.request_matched);
    connection.request_matched = 0;
    if captured == 0 {
        return false;
    }
    // An empty line before a request is to be ignored (RFC 9112 section 2.2).
    let skipped = if before == 0 && captured > 2 && event.bytes[..2] == *b"\r\n" {
        2
    } else {
        0
    };
    let (prefix, length) = if before == 0 {
        (word(event, skipped), captured - skipped)
    } else {
        let held = before.min(LONGEST_METHOD - 1);
        let prefix = connection.request_prefix & below(held) | word(event, 0) << (8 * (held & 7));
        (prefix, held + captured)
    };
    let mut may_follow = false;
    for (method, method_length) in METHODS {
        if length >= method_length {
            if (prefix ^ method) & below(method_length) == 0 {
                // Where the target begins in this read; in pieces, the method
                // alone must do.
                return before != 0
                    || length <= method_length
                    || method == CONNECT
                    || is_target(event.bytes[(method_length + skipped) as usize]);
            }
        } else if (prefix ^ method) & below(length) == 0 {
            may_follow = true;
        }
    }
    if may_follow {
        connection.request_prefix = prefix;
        connection.request_matched = length as u16;
    }
    false
}

/// The status of a response whose `HTTP/1.x NNN` is whole with this write.
#[inline(always)]
fn begins_response(
    connection: &mut TrackedConnection,
    event: &DataEvent,
    captured: u32,
) -> Option<u16> {
    let mut matched = connection.response_matched;
    let mut status = connection.response_status;
    connection.response_matched = 0;
    // Most writes are bodies, and most others have it whole.
    if matched == 0 && captured >= 8 && word(event, 0) & below(7) != VERSION {
        return None;
    }
    for n in 0..STATUS_LINE {
        if n >= captured {
            break;
        }
        let byte = event.bytes[n as usize];
        let digit = u16::from(byte.wrapping_sub(b'0'));
        let fits = if matched < VERSION_LENGTH {
            u64::from(byte) == VERSION >> (8 * u32::from(matched)) & 0xff
        } else if matched == 8 {
            byte == b' '
        } else if matched == 9 {
            matches!(digit, 1..=9)
        } else {
            digit <= 9
        };
        if !fits {
            return None;
        }
        if matched > 8 {
            status = status * 10 + digit;
        } else {
            status = 0;
        }
        matched += 1;
        if u32::from(matched) == STATUS_LINE {
            return Some(status);
        }
    }
    connection.response_matched = matched;
    connection.response_status = status;
    None
}

/// Eight captured bytes from `at` on, the first in the lowest; what lies behind
/// the captured ones means nothing.
#[inline(always)]
fn word(event: &DataEvent, at: u32) -> u64 {
    let from = |at: usize| {
        let bytes: &[u8; 8] = event.bytes[at..].first_chunk().unwrap_or(&[0; 8]);
        u64::from_le_bytes(*bytes)
    };
    if at == 0 { from(0) } else { from(2) }
}

/// A mask of the first `n` bytes, up to all eight.
#[inline(always)]
const fn below(n: u32) -> u64 {
    if n >= 8 { u64::MAX } else { (1 << (8 * n)) - 1 }
}

/// What may follow a method other than CONNECT: a path, `http` or an asterisk.
#[inline(always)]
fn is_target(byte: u8) -> bool {
    matches!(byte, b'/' | b'*' | b'h' | b'H')
}

/// Where responses of a status are counted.
#[inline(always)]
fn class_of(counts: *mut CgroupCounters, status: u16) -> *mut u64 {
    // SAFETY: only addresses of elements of the map's value are made.
    unsafe {
        match status {
            ..200 => &raw mut (*counts).responses[0],
            200..300 => &raw mut (*counts).responses[1],
            300..400 => &raw mut (*counts).responses[2],
            400..500 => &raw mut (*counts).responses[3],
            _ => &raw mut (*counts).responses[4],
        }
    }
}
