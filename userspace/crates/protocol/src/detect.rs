//! What the first bytes of a message tell, without reading all of it.

/// The application protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// TLS: its bytes say nothing.
    Tls,
    /// HTTP/2 with prior knowledge, as gRPC speaks it.
    Http2,
    /// None of these.
    Unknown,
}

/// Whether bytes begin something; more of them may be needed to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// They do.
    Yes,
    /// They may: all of them fit, but they are too few.
    Maybe,
    /// They do not.
    No,
}

/// Longest method token taken for one; the longest registered with IANA is
/// `UPDATEREDIRECTREF` (17).
const MAX_METHOD_BYTES: usize = 32;

/// Methods that may begin a request where the stream has to be found again;
/// RFC 9110 section 9 and RFC 5789.
const KNOWN_METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE",
];

/// The connection preface up to its first line's end, RFC 9113 section 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Names the protocol of a connection whose first bytes are no HTTP/1 request.
pub(crate) fn classify(bytes: &[u8]) -> Protocol {
    // A handshake record: type 22, legacy version 3.x (RFC 8446 section 5.1).
    if bytes.first() == Some(&22) && bytes.get(1).is_none_or(|&major| major == 3) {
        Protocol::Tls
    } else if bytes.starts_with(HTTP2_PREFACE) {
        Protocol::Http2
    } else {
        Protocol::Unknown
    }
}

/// Whether `bytes` begin a request line: any method token, a space, a target.
pub(crate) fn request_start(bytes: &[u8]) -> Match {
    for (n, &byte) in bytes.iter().enumerate().take(MAX_METHOD_BYTES + 1) {
        if byte == b' ' && n > 0 {
            return match bytes.get(n + 1) {
                None => Match::Maybe,
                Some(&first) if first > b' ' && first != 0x7f => Match::Yes,
                Some(_) => Match::No,
            };
        }
        if !is_token(byte) || n == MAX_METHOD_BYTES {
            return Match::No;
        }
    }
    Match::Maybe
}

/// Whether `bytes` begin a request line that may be trusted where anything may
/// stand, such as a body: a known method and a target of a known form.
pub(crate) fn known_request_start(bytes: &[u8]) -> Match {
    let mut answer = Match::No;
    for method in KNOWN_METHODS {
        if bytes.len() <= method.len() {
            if method.starts_with(bytes) {
                answer = Match::Maybe;
            }
            continue;
        }
        if !bytes.starts_with(method) || bytes[method.len()] != b' ' {
            continue;
        }
        return match bytes.get(method.len() + 1) {
            None => Match::Maybe,
            Some(b'/' | b'h' | b'H' | b'*') => Match::Yes,
            Some(first) if method == b"CONNECT" && first.is_ascii_graphic() => Match::Yes,
            Some(_) => Match::No,
        };
    }
    answer
}

/// Whether `bytes` begin a status line, `HTTP/1.x NNN` (RFC 9112 section 4).
pub(crate) fn response_start(bytes: &[u8]) -> Match {
    const VERSION: &[u8] = b"HTTP/1.";
    for (n, &byte) in bytes.iter().enumerate().take(13) {
        let fits = match n {
            0..7 => byte == VERSION[n],
            7 => byte.is_ascii_digit(),
            8 => byte == b' ',
            9 => (b'1'..=b'9').contains(&byte),
            10 | 11 => byte.is_ascii_digit(),
            _ => matches!(byte, b' ' | b'\r' | b'\n'),
        };
        if !fits {
            return Match::No;
        }
    }
    if bytes.len() >= 12 {
        Match::Yes
    } else {
        Match::Maybe
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(start: fn(&[u8]) -> Match, input: &[u8], expected: Match) {
        assert_eq!(start(input), expected, "{}", input.escape_ascii());
    }

    #[test]
    fn request_lines_are_told_from_other_bytes() {
        for (input, expected) in [
            (&b""[..], Match::Maybe),
            (b"G", Match::Maybe),
            (b"GET", Match::Maybe),
            (b"GET ", Match::Maybe),
            (b"GET /", Match::Yes),
            (b"get /", Match::Yes),
            (b"M-SEARCH *", Match::Yes),
            (b" GET /", Match::No),
            (b"GET  /", Match::No),
            (b"GET\r\n", Match::No),
            (b"\x16\x03\x01", Match::No),
            (b"*3\r\n$3\r\n", Match::No),
            (b"{\"a\":1}", Match::No),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Match::No),
        ] {
            check(request_start, input, expected);
        }
    }

    #[test]
    fn only_known_methods_are_trusted_inside_a_stream() {
        for (input, expected) in [
            (&b""[..], Match::Maybe),
            (b"P", Match::Maybe),
            (b"PO", Match::Maybe),
            (b"POST", Match::Maybe),
            (b"POST ", Match::Maybe),
            (b"POST /x", Match::Yes),
            (b"POSTS /x", Match::No),
            (b"POST x", Match::No),
            (b"GET http://h/", Match::Yes),
            (b"OPTIONS *", Match::Yes),
            (b"CONNECT h:443", Match::Yes),
            (b"GGET /", Match::No),
            (b"get /", Match::No),
            (b"hello", Match::No),
        ] {
            check(known_request_start, input, expected);
        }
    }

    #[test]
    fn status_lines_are_told_from_other_bytes() {
        for (input, expected) in [
            (&b""[..], Match::Maybe),
            (b"HTTP/1.1 20", Match::Maybe),
            (b"HTTP/1.1 200", Match::Yes),
            (b"HTTP/1.0 404 Not Found", Match::Yes),
            (b"HTTP/1.1 200\r\n", Match::Yes),
            (b"HTTP/1.1 2000", Match::No),
            (b"HTTP/1.1 099", Match::No),
            (b"HTTP/2 200", Match::No),
            (b"data: HTTP/1.1 200", Match::No),
        ] {
            check(response_start, input, expected);
        }
    }

    #[test]
    fn protocols_are_named_by_their_first_bytes() {
        for (input, expected) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Protocol::Tls),
            (b"\x16", Protocol::Tls),
            (b"\x16\x09", Protocol::Unknown),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2),
            (b"PRI * HTTP/1.1\r\n", Protocol::Unknown),
            (b"*1\r\n$4\r\nPING\r\n", Protocol::Unknown),
            (b"", Protocol::Unknown),
        ] {
            assert_eq!(classify(input), expected, "{}", input.escape_ascii());
        }
    }
}
