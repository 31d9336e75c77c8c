//! Heads of HTTP/1 messages, and what they say of the body behind them.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};
use modeltap_core::record::{MAX_PATH_BYTES, Method, StreamFormat};

use crate::body::Body;
use crate::detect::{self, Match};

/// Longest head that is buffered where it comes in pieces. RFC 9110 section
/// 2.3 sets no limit; servers refuse heads beyond 8 to 64 KB.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Most header fields of a message; servers refuse more than about 100.
pub const MAX_HEADERS: usize = 128;

/// Most header fields where there were more than [`MAX_HEADERS`]: as many as
/// fit a head of short ones, so that an odd message is still framed.
const MAX_HEADERS_EVER: usize = MAX_HEAD_BYTES / 16;

/// What an attempt to read a head came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed<H> {
    /// A head, and its length in bytes.
    Complete(H, usize),
    /// It goes on.
    Partial,
    /// It is none.
    Invalid,
}

/// A head of either direction.
pub(crate) trait Head: Sized {
    /// Whether `bytes` begin one, at a message boundary.
    fn starts(bytes: &[u8]) -> Match;
    /// Whether `bytes` begin one, where anything else may stand.
    fn surely_starts(bytes: &[u8]) -> Match;
    /// Whether a call that begins with `bytes` ends a message whose end is not
    /// known.
    fn supersedes(bytes: &[u8]) -> bool;
    /// Reads one.
    fn parse(bytes: &[u8]) -> Parsed<Self>;
    /// What can be told of one of which only the beginning is known.
    fn salvage(bytes: &[u8]) -> Option<Self>;
}

/// What is known of the body's length once the head was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    Empty,
    /// There is one.
    Body(Body),
    /// The bytes behind it are another protocol's.
    Tunnel,
    /// Its length is contradictory or was not understood.
    Invalid,
    /// The head's end was not seen.
    Cut,
}

/// A request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    /// Without query and fragment; at most `MAX_PATH_BYTES` long.
    pub(crate) path: String,
    pub(crate) minor: u8,
    /// The client waits for an interim response before it sends the body.
    pub(crate) expects_continue: bool,
    /// The client asks for a WebSocket (RFC 6455 section 4.1).
    pub(crate) wants_websocket: bool,
    pub(crate) framing: Framing,
}

/// A response's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) minor: u8,
    /// By content type: a stream of events or lines.
    event_stream: Option<StreamFormat>,
    /// The body's bytes are compressed.
    pub(crate) is_encoded: bool,
    /// The server agrees to a WebSocket.
    pub(crate) is_websocket: bool,
    length: DeclaredLength,
}

/// What the header fields say of a body's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeclaredLength {
    Nothing,
    Bytes(u64),
    Chunked,
    /// A transfer coding that does not end in chunked.
    OtherCoding,
    Invalid,
    /// The head's end was not seen.
    Cut,
}

impl Head for RequestHead {
    fn starts(bytes: &[u8]) -> Match {
        detect::request_start(bytes)
    }

    fn surely_starts(bytes: &[u8]) -> Match {
        detect::known_request_start(bytes)
    }

    fn supersedes(bytes: &[u8]) -> bool {
        detect::known_request_start(bytes) == Match::Yes
    }

    fn parse(bytes: &[u8]) -> Parsed<Self> {
        match parse_request(bytes, path_of) {
            // A target in another charset: everything else is well-formed.
            Parsed::Invalid if !first_line(bytes).0.is_ascii() => parse_lossy_request(bytes),
            parsed => parsed,
        }
    }

    fn salvage(bytes: &[u8]) -> Option<Self> {
        let (line, line_is_whole) = first_line(bytes);
        let mut words = line.splitn(2, |&byte| byte == b' ');
        let method = std::str::from_utf8(words.next()?).ok()?;
        let rest = words.next()?;
        let (target, minor) = if line_is_whole {
            let version = rest.len().checked_sub(b" HTTP/1.x".len())?;
            let minor = match &rest[version..] {
                b" HTTP/1.1" => 1,
                b" HTTP/1.0" => 0,
                _ => return None,
            };
            (&rest[..version], minor)
        } else {
            // The path is known only if what ends it was seen.
            let end = rest.iter().position(|byte| b"? #".contains(byte));
            let end = end.or((rest.len() > MAX_PATH_BYTES * 4).then_some(rest.len()))?;
            (&rest[..end], 1)
        };
        Some(Self {
            method: Method::parse(method),
            path: path_of(&String::from_utf8_lossy(target)),
            minor,
            expects_continue: false,
            wants_websocket: false,
            framing: Framing::Cut,
        })
    }
}

fn parse_request(bytes: &[u8], path: impl Fn(&str) -> String) -> Parsed<RequestHead> {
    let mut config = ParserConfig::default();
    config.ignore_invalid_headers_in_requests(true);
    with_headers(|headers| {
        let mut request = httparse::Request::new(&mut []);
        let status = config.parse_request_with_uninit_headers(&mut request, bytes, headers)?;
        let Status::Complete(length) = status else {
            return Ok(Parsed::Partial);
        };
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Ok(Parsed::Invalid);
        };
        let framing = match declared_length(request.headers) {
            DeclaredLength::Nothing | DeclaredLength::Bytes(0) => Framing::Empty,
            DeclaredLength::Bytes(length) => Framing::Body(Body::Length(length)),
            DeclaredLength::Chunked => Framing::Body(Body::CHUNKED),
            // RFC 9112 section 6.3: such a request's length is not known.
            DeclaredLength::OtherCoding | DeclaredLength::Invalid => Framing::Invalid,
            DeclaredLength::Cut => Framing::Cut,
        };
        let expects_continue = request.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case("expect")
                && header.value.eq_ignore_ascii_case(b"100-continue")
        });
        let (method, path) = (Method::parse(method), path(target));
        Ok(Parsed::Complete(
            RequestHead {
                method,
                path,
                minor,
                expects_continue,
                wants_websocket: upgrades_to_websocket(request.headers),
                framing,
            },
            length,
        ))
    })
}

/// Reads a request whose target is not UTF-8, which `httparse` refuses.
fn parse_lossy_request(bytes: &[u8]) -> Parsed<RequestHead> {
    let line = first_line(bytes).0;
    let mut copy = bytes.to_vec();
    for byte in &mut copy[..line.len()] {
        if !byte.is_ascii() {
            *byte = b'_';
        }
    }
    let target = line.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    parse_request(&copy, |_| path_of(&String::from_utf8_lossy(target)))
}

impl ResponseHead {
    /// How the body is delimited in an answer to `method` (RFC 9112 section
    /// 6.3); `None` for a response without a request.
    pub(crate) fn framing(&self, method: Option<Method>) -> Framing {
        match (method, self.status) {
            (_, 101) | (Some(Method::Connect), 200..=299) => Framing::Tunnel,
            (Some(Method::Head), _) | (_, 100..=199 | 204 | 304) => Framing::Empty,
            _ => match self.length {
                DeclaredLength::Bytes(0) => Framing::Empty,
                DeclaredLength::Bytes(length) => Framing::Body(Body::Length(length)),
                DeclaredLength::Chunked => Framing::Body(Body::CHUNKED),
                DeclaredLength::Nothing | DeclaredLength::OtherCoding => {
                    Framing::Body(Body::UntilClose)
                }
                DeclaredLength::Invalid => Framing::Invalid,
                DeclaredLength::Cut => Framing::Cut,
            },
        }
    }

    /// Whether it is an interim one, which does not answer the request; 101
    /// does, with another protocol (RFC 9110 section 15.2).
    pub(crate) fn is_interim(&self) -> bool {
        (100..=199).contains(&self.status) && self.status != 101
    }

    /// Whether the head's end was not seen.
    pub(crate) fn is_cut(&self) -> bool {
        self.length == DeclaredLength::Cut
    }

    /// Whether the body is sent piece by piece.
    pub(crate) fn is_streamed(&self) -> bool {
        self.event_stream.is_some() || self.length == DeclaredLength::Chunked
    }

    /// How the body is cut into pieces, where it is.
    pub(crate) fn stream_format(&self) -> Option<StreamFormat> {
        let chunks = (self.length == DeclaredLength::Chunked).then_some(StreamFormat::Chunks);
        // The events of a compressed stream cannot be read.
        let events = self.event_stream.filter(|_| !self.is_encoded);
        events.or(chunks)
    }
}

impl Head for ResponseHead {
    fn starts(bytes: &[u8]) -> Match {
        detect::response_start(bytes)
    }

    fn surely_starts(bytes: &[u8]) -> Match {
        detect::response_start(bytes)
    }

    /// It is asked only once the next request was read: what is written then
    /// belongs to its response but for races, so that few bytes will do.
    fn supersedes(bytes: &[u8]) -> bool {
        !bytes.is_empty() && detect::response_start(bytes) != Match::No
    }

    fn parse(bytes: &[u8]) -> Parsed<Self> {
        let mut config = ParserConfig::default();
        config
            .ignore_invalid_headers_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true);
        with_headers(|headers| {
            let mut response = httparse::Response::new(&mut []);
            let status =
                config.parse_response_with_uninit_headers(&mut response, bytes, headers)?;
            let Status::Complete(length) = status else {
                return Ok(Parsed::Partial);
            };
            let (Some(status), Some(minor)) = (response.code, response.version) else {
                return Ok(Parsed::Invalid);
            };
            let header = |name: &str| {
                let mut headers = response.headers.iter();
                headers
                    .find(|header| header.name.eq_ignore_ascii_case(name))
                    .map(|header| header.value)
            };
            let event_stream = header("content-type").and_then(event_stream);
            let is_encoded = header("content-encoding")
                .is_some_and(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity"));
            let declared = declared_length(response.headers);
            Ok(Parsed::Complete(
                Self {
                    status,
                    minor,
                    event_stream,
                    is_encoded,
                    is_websocket: status == 101 && upgrades_to_websocket(response.headers),
                    length: declared,
                },
                length,
            ))
        })
    }

    fn salvage(bytes: &[u8]) -> Option<Self> {
        if detect::response_start(bytes) != Match::Yes {
            return None;
        }
        let status = bytes[9..12]
            .iter()
            .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        let minor = u8::from(bytes[7] != b'0');
        Some(Self {
            status,
            minor,
            event_stream: None,
            is_encoded: false,
            is_websocket: false,
            length: DeclaredLength::Cut,
        })
    }
}

fn upgrades_to_websocket(headers: &[Header<'_>]) -> bool {
    headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("upgrade")
            && header.value.trim_ascii().eq_ignore_ascii_case(b"websocket")
    })
}

/// Runs `attempt` with room for header fields: on the stack, as every head but
/// the oddest fits; else once more with as many as a head is likely to hold.
fn with_headers<'b, H>(
    attempt: impl Fn(&mut [MaybeUninit<Header<'b>>]) -> Result<Parsed<H>, httparse::Error>,
) -> Parsed<H> {
    match attempt(&mut [const { MaybeUninit::uninit() }; MAX_HEADERS]) {
        Err(httparse::Error::TooManyHeaders) => {
            let mut headers = vec![MaybeUninit::uninit(); MAX_HEADERS_EVER];
            attempt(&mut headers).unwrap_or(Parsed::Invalid)
        }
        parsed => parsed.unwrap_or(Parsed::Invalid),
    }
}

/// RFC 9112 section 6.3: Transfer-Encoding overrides Content-Length; several
/// lengths are one only if they agree.
fn declared_length(headers: &[Header<'_>]) -> DeclaredLength {
    let mut length = None;
    let mut coding: Option<&[u8]> = None;
    for header in headers {
        match header.name.len() {
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                for value in header.value.split(|&byte| byte == b',') {
                    let Some(value) = parse_length(value.trim_ascii()) else {
                        length = Some(DeclaredLength::Invalid);
                        continue;
                    };
                    let declared = DeclaredLength::Bytes(value);
                    length = match length {
                        None => Some(declared),
                        Some(before) if before == declared => Some(before),
                        Some(_) => Some(DeclaredLength::Invalid),
                    };
                }
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                coding = header.value.rsplit(|&byte| byte == b',').next();
            }
            _ => {}
        }
    }
    match coding {
        Some(last) if last.trim_ascii().eq_ignore_ascii_case(b"chunked") => DeclaredLength::Chunked,
        Some(_) => DeclaredLength::OtherCoding,
        None => length.unwrap_or(DeclaredLength::Nothing),
    }
}

/// Digits alone make a length: neither signs nor spaces (RFC 9110 section 8.6).
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn event_stream(content_type: &[u8]) -> Option<StreamFormat> {
    let mut parts = content_type.split(|&byte| byte == b';');
    let media_type = parts.next()?.trim_ascii();
    let is = |name: &[u8]| media_type.eq_ignore_ascii_case(name);
    if is(b"text/event-stream") {
        return Some(StreamFormat::ServerSentEvents);
    }
    let lines = [
        &b"application/x-ndjson"[..],
        b"application/ndjson",
        b"application/jsonl",
        b"application/x-jsonlines",
        b"application/stream+json",
    ];
    lines
        .iter()
        .any(|name| is(name))
        .then_some(StreamFormat::JsonLines)
}

/// The path of a request target in any of its forms (RFC 9112 section 3.2),
/// without query and fragment.
fn path_of(target: &str) -> String {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let path = match target.split_once("://") {
        // absolute-form: an authority and a path, which may be missing.
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    path[..path.floor_char_boundary(MAX_PATH_BYTES)].to_owned()
}

/// The first line without its end, and whether its end was seen.
fn first_line(bytes: &[u8]) -> (&[u8], bool) {
    match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (bytes[..end].trim_ascii_end(), true),
        None => (bytes, false),
    }
}

/// End of the first head in `bytes`: behind its first empty line. Lines before
/// `from` were searched already.
pub(crate) fn find_head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(offset) = bytes.get(at..)?.iter().position(|&byte| byte == b'\n') {
        at += offset + 1;
        match bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_length(fields: &str, expected: DeclaredLength) {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let Parsed::Complete(head, _) = ResponseHead::parse(head.as_bytes()) else {
            panic!("no head: {fields:?}");
        };
        assert_eq!(head.length, expected, "{fields:?}");
    }

    #[test]
    fn lengths_are_declared_as_rfc_9112_says() {
        for (fields, expected) in [
            ("", DeclaredLength::Nothing),
            ("Content-Length: 7\r\n", DeclaredLength::Bytes(7)),
            (
                "content-length:7\r\nCONTENT-LENGTH: 7 \r\n",
                DeclaredLength::Bytes(7),
            ),
            ("Content-Length: 7, 7\r\n", DeclaredLength::Bytes(7)),
            ("Content-Length: 7, 8\r\n", DeclaredLength::Invalid),
            ("Content-Length: +7\r\n", DeclaredLength::Invalid),
            ("Content-Length: \r\n", DeclaredLength::Invalid),
            (
                "Content-Length: 7\r\nContent-Length: x\r\n",
                DeclaredLength::Invalid,
            ),
            (
                "Content-Length: x\r\nContent-Length: 7\r\n",
                DeclaredLength::Invalid,
            ),
            (
                "Content-Length: 18446744073709551615\r\n",
                DeclaredLength::Bytes(u64::MAX),
            ),
            (
                "Content-Length: 18446744073709551616\r\n",
                DeclaredLength::Invalid,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
                DeclaredLength::Chunked,
            ),
            (
                "Transfer-Encoding: gzip, CHUNKED\r\n",
                DeclaredLength::Chunked,
            ),
            (
                "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
                DeclaredLength::Chunked,
            ),
            (
                "Transfer-Encoding: chunked, gzip\r\n",
                DeclaredLength::OtherCoding,
            ),
        ] {
            check_length(fields, expected);
        }
    }

    #[test]
    fn paths_are_taken_from_every_form_of_target() {
        for (target, expected) in [
            ("/a/b?c#d", "/a/b"),
            ("/a#b?c", "/a"),
            ("/", "/"),
            ("/a?u=http://h/b", "/a"),
            ("/http://h/b", "/http://h/b"),
            ("http://user@h:1/a?b", "/a"),
            ("http://h?b", "/"),
            ("h:443", "h:443"),
            ("*", "*"),
        ] {
            assert_eq!(path_of(target), expected, "{target:?}");
        }
    }

    #[track_caller]
    fn check_salvage(bytes: &[u8], expected: Option<(Method, &str)>) {
        let head = RequestHead::salvage(bytes);
        let known = head.as_ref().map(|head| (head.method, head.path.as_str()));
        assert_eq!(known, expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn beginnings_of_requests_tell_a_path_only_if_they_hold_all_of_it() {
        check_salvage(b"GET /a HTTP/1.1\r\nHost: ", Some((Method::Get, "/a")));
        check_salvage(b"GET /a?b HTTP/1.0\n", Some((Method::Get, "/a")));
        check_salvage(b"PUT /a?bc", Some((Method::Put, "/a")));
        check_salvage(b"GET /a ", Some((Method::Get, "/a")));
        check_salvage(b"GET /a", None);
        check_salvage(b"GET /a HTTP/2.0\r\n", None);
        check_salvage(b"GET", None);
        check_salvage(b"", None);
        let long = format!("GET /{}", "a".repeat(3_000));
        check_salvage(
            long.as_bytes(),
            Some((Method::Get, &long[4..4 + MAX_PATH_BYTES])),
        );
    }

    #[test]
    fn end_of_a_head_is_found_across_pieces() {
        for (bytes, expected) in [
            (&b"a\r\n\r\nb"[..], Some(5)),
            (b"a\n\nb", Some(3)),
            (b"a\n\r\n", Some(4)),
            (b"a\r\n\r", None),
            (b"a\r\nb\r\n", None),
            (b"", None),
        ] {
            assert_eq!(
                find_head_end(bytes, 0),
                expected,
                "{}",
                bytes.escape_ascii()
            );
            if let Some(end) = expected {
                // As where all but the last byte had come before.
                assert_eq!(
                    find_head_end(&bytes[..end], (end - 1).saturating_sub(3)),
                    expected
                );
            }
        }
    }
}
