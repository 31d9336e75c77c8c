//! What a recording must not hold: secrets in heads, masked so that every
//! length and all framing stay.

use std::collections::HashMap;

use crate::connection::{ConnectionId, Data, Direction};
use crate::record::Method;

/// Header fields whose values are masked, in lower case.
const SECRET_FIELDS: [&[u8]; 6] = [
    b"authorization",
    b"proxy-authorization",
    b"cookie",
    b"set-cookie",
    b"x-api-key",
    b"api-key",
];
/// Header fields whose values are URLs, of which the query is masked.
const URL_FIELDS: [&[u8]; 4] = [b"referer", b"location", b"content-location", b"refresh"];
/// Bytes kept of an unfinished line: enough to know what it is.
const MAX_KEPT_BYTES: usize = 256;
/// Unfinished lines kept; beyond, all are forgotten.
const MAX_OPEN_LINES: usize = 65_536;

/// Masks the heads of many connections, also where calls cut their lines.
#[derive(Debug, Default)]
pub(super) struct Masker {
    open: HashMap<(ConnectionId, Direction), OpenLine>,
}

/// A line that the last call left unfinished.
#[derive(Debug)]
struct OpenLine {
    beginning: Vec<u8>,
    /// Where its next byte is.
    position: u64,
    /// Some of it was not captured: it may have ended.
    is_cut: bool,
}

impl Masker {
    /// Masks `bytes`, the captured ones of `data`.
    ///
    /// Bodies are not masked: which of their bytes are framing is not known
    /// here, and of most only the beginning is captured.
    pub(super) fn mask(&mut self, data: &Data, bytes: &mut [u8]) {
        let key = (data.id, data.direction);
        let mut open = self
            .open
            .remove(&key)
            .filter(|open| open.position == data.position && !(open.is_cut && begins_head(bytes)));
        let mut last = Vec::new();
        for line in bytes.split_mut(|byte| *byte == b'\n') {
            let before = open.take().map_or_else(Vec::new, |open| open.beginning);
            let from = match before.is_empty() {
                true => mask_from(line),
                false => mask_from(&[&before, &*line].concat()),
            };
            last = unfinished(&before, line, from.is_some());
            let end = line.len() - usize::from(line.last() == Some(&b'\r'));
            if let Some(from) = from {
                let to = version_start(&line[..end]).unwrap_or(end);
                if let Some(secret) = line.get_mut(from.saturating_sub(before.len())..to) {
                    secret.fill(b'x');
                }
            }
        }
        if !last.is_empty() {
            if self.open.len() >= MAX_OPEN_LINES {
                self.open.clear();
            }
            self.open.insert(
                key,
                OpenLine {
                    beginning: last,
                    position: data.position.saturating_add(data.length.into()),
                    is_cut: data.length as usize > data.bytes.len(),
                },
            );
        }
    }

    /// Forgets a connection.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        if !self.open.is_empty() {
            self.open.remove(&(id, Direction::Read));
            self.open.remove(&(id, Direction::Write));
        }
    }
}

/// What to know of a line, should it go on with the next call: nothing where
/// it cannot hold a secret.
fn unfinished(before: &[u8], line: &[u8], is_secret: bool) -> Vec<u8> {
    let mut whole = before.to_vec();
    whole.extend_from_slice(&line[..line.len().min(MAX_KEPT_BYTES)]);
    whole.truncate(MAX_KEPT_BYTES);
    match (is_secret, is_request_line(&whole)) {
        // However long it is: it has come to its secret.
        (true, true) => b"GET /?".to_vec(),
        (true, false) => b"cookie:".to_vec(),
        (false, _) if may_become_secret(&whole) => whole,
        (false, _) => Vec::new(),
    }
}

/// Where the secret part of a line begins, if it has one. It ends with the
/// line, or before the version of a request line.
fn mask_from(line: &[u8]) -> Option<usize> {
    if is_request_line(line) {
        return Some(line.iter().position(|byte| *byte == b'?')? + 1);
    }
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii().to_ascii_lowercase();
    if SECRET_FIELDS.contains(&name.as_slice()) {
        return Some(colon + 1);
    }
    if URL_FIELDS.contains(&name.as_slice()) {
        return Some(colon + 1 + line[colon..].iter().position(|byte| *byte == b'?')?);
    }
    None
}

/// A line that begins with a method, or ends with a version: behind a body,
/// a request line begins anywhere.
fn is_request_line(line: &[u8]) -> bool {
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_method = word.len() < line.len()
        && std::str::from_utf8(word).is_ok_and(|word| Method::parse(word) != Method::Other);
    is_method || version_start(line).is_some()
}

fn version_start(line: &[u8]) -> Option<usize> {
    line.windows(8).rposition(|window| window == b" HTTP/1.")
}

fn begins_head(bytes: &[u8]) -> bool {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    line.starts_with(b"HTTP/1.") || is_request_line(line)
}

/// Whether an unfinished line may turn out to hold a secret.
fn may_become_secret(line: &[u8]) -> bool {
    if is_request_line(line) {
        return true;
    }
    let lower = line.to_ascii_lowercase();
    let field = lower.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_whole = field.len() < lower.len();
    let fields = SECRET_FIELDS.iter().chain(&URL_FIELDS);
    let may_be_field = |known: &&[u8]| match is_whole {
        true => **known == *field,
        false => known.starts_with(field),
    };
    let may_be_method = Method::ALL
        .iter()
        .any(|method| method.as_str().as_bytes().starts_with(line));
    fields.into_iter().any(may_be_field) || may_be_method
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MonotonicNs;

    /// Masks calls that follow one another; `|` in both texts parts them.
    #[track_caller]
    fn check(given: &str, expected: &str) {
        let mut masker = Masker::default();
        let mut position = 0;
        let masked: Vec<_> = given
            .split('|')
            .map(|call| masked(&mut masker, call, call.len(), &mut position))
            .collect();
        assert_eq!(masked.join("|"), expected);
    }

    fn masked(masker: &mut Masker, call: &str, moved: usize, position: &mut u64) -> String {
        let data = Data {
            id: ConnectionId {
                socket: 1,
                opened: MonotonicNs(1),
            },
            at: MonotonicNs(1),
            direction: Direction::Read,
            position: *position,
            length: u32::try_from(moved).unwrap(),
            arrived: None,
            waits: false,
            bytes: call.as_bytes().to_vec(),
        };
        *position += moved as u64;
        let mut bytes = data.bytes.clone();
        masker.mask(&data, &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn secrets_are_masked_and_framing_stays() {
        for (given, expected) in [
            (
                "GET /a?key=1 HTTP/1.1\r\nAuthorization: Bearer k\r\nHost: h\r\n\r\n",
                "GET /a?xxxxx HTTP/1.1\r\nAuthorization:xxxxxxxxx\r\nHost: h\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\n",
                "HTTP/1.1 200 OK\r\nSet-Cookie:xxxx\r\n",
            ),
            ("GET /a HTTP/1.1\nCOOKIE:a", "GET /a HTTP/1.1\nCOOKIE:x"),
            (
                "Location: /a?b=c\r\nReferer: /d\r\n",
                "Location: /a?xxx\r\nReferer: /d\r\n",
            ),
            (
                "Content-Length: 5\r\n\r\nwhy?",
                "Content-Length: 5\r\n\r\nwhy?",
            ),
            ("\r\n", "\r\n"),
            ("", ""),
        ] {
            check(given, expected);
        }
    }

    #[test]
    fn every_request_line_of_a_call_is_masked() {
        check(
            "GET /a?b HTTP/1.1\r\n\r\nGET /c?d HTTP/1.1\r\n\r\n",
            "GET /a?x HTTP/1.1\r\n\r\nGET /c?x HTTP/1.1\r\n\r\n",
        );
        check(
            "helloGET /c?d HTTP/1.1\r\n\r\n",
            "helloGET /c?x HTTP/1.1\r\n\r\n",
        );
    }

    #[test]
    fn secrets_behind_long_paths_are_masked() {
        let path = "a".repeat(2 * MAX_KEPT_BYTES);
        check(
            &format!("GET /{path}?b|c=d HTTP/1.1\r\n"),
            &format!("GET /{path}?x|xxx HTTP/1.1\r\n"),
        );
    }

    #[test]
    fn secrets_cut_by_calls_are_masked() {
        for (given, expected) in [
            (
                "Authorization: Be|arer k\r\nHost: h",
                "Authorization:xxx|xxxxxx\r\nHost: h",
            ),
            ("Cook|ie: a|b|c\r\nd", "Cook|ie:xx|x|x\r\nd"),
            ("GET /a?b|c HTTP/1.1\r\n", "GET /a?x|x HTTP/1.1\r\n"),
            (
                "GE|T /a|?b=c| HTTP/1.1\r\nHost: h",
                "GE|T /a|?xxx| HTTP/1.1\r\nHost: h",
            ),
            ("{\"cookie\": 1|2}", "{\"cookie\": 1|2}"),
        ] {
            check(given, expected);
        }
    }

    #[test]
    fn head_behind_a_line_that_was_not_captured_whole_stays() {
        let mut masker = Masker::default();
        let mut position = 0;
        let first = masked(&mut masker, "GET /a?secret", 99, &mut position);
        assert_eq!(first, "GET /a?xxxxxx");
        let next = masked(&mut masker, "GET /b HTTP/1.1\r\n", 17, &mut position);
        assert_eq!(next, "GET /b HTTP/1.1\r\n");
        // The rest of the value goes on being one.
        let first = masked(&mut masker, "Cookie: a", 99, &mut position);
        assert_eq!(first, "Cookie:xx");
        assert_eq!(masked(&mut masker, "bc\r\n", 4, &mut position), "xx\r\n");
        // After a loss nothing is known.
        masked(&mut masker, "Cookie: a", 9, &mut position);
        position += 1;
        assert_eq!(masked(&mut masker, "bc\r\n", 4, &mut position), "bc\r\n");
    }

    #[test]
    fn closed_connections_are_forgotten() {
        let mut masker = Masker::default();
        masked(&mut masker, "Cookie: a", 9, &mut 0);
        assert_eq!(masker.open.len(), 1);
        masker.forget(ConnectionId {
            socket: 1,
            opened: MonotonicNs(1),
        });
        assert!(masker.open.is_empty());
    }
}
