//! What is said in each situation, byte by byte. Client and server both take
//! it from here, by the path of the request: neither needs to understand HTTP.

use std::ops::Range;

use modeltap_core::record::Outcome;

/// Bytes of a large body.
const LARGE: usize = 1 << 20;
/// Bytes of one write of a large body.
const LARGE_PIECE: usize = 64 << 10;
/// Events of a stream that is read to its end.
const EVENTS: usize = 8;
/// Most events of a stream whose client leaves: more than it waits for.
const ENDLESS_EVENTS: usize = 400;
/// Statuses that answer plain requests, in turn.
const STATUSES: [(u16, &str); 8] = [
    (200, "OK"),
    (200, "OK"),
    (201, "Created"),
    (400, "Bad Request"),
    (404, "Not Found"),
    (422, "Unprocessable Content"),
    (500, "Internal Server Error"),
    (503, "Service Unavailable"),
];

/// A way in which clients and servers use HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Situation {
    KeepAlive,
    Close,
    Pipelined,
    InPieces,
    ChunkedRequest,
    ChunkedResponse,
    Stream,
    Upload,
    Download,
    Continue,
    NoBody,
    HalfClose,
    LeaveByFin,
    LeaveByReset,
    LeaveStreamByFin,
    LeaveStreamByReset,
    CutOff,
    Unanswered,
}

impl Situation {
    /// Every situation, in the order in which they are shown.
    pub const ALL: [Self; 18] = [
        Self::KeepAlive,
        Self::Close,
        Self::Pipelined,
        Self::InPieces,
        Self::ChunkedRequest,
        Self::ChunkedResponse,
        Self::Stream,
        Self::Upload,
        Self::Download,
        Self::Continue,
        Self::NoBody,
        Self::HalfClose,
        Self::LeaveByFin,
        Self::LeaveByReset,
        Self::LeaveStreamByFin,
        Self::LeaveStreamByReset,
        Self::CutOff,
        Self::Unanswered,
    ];

    /// Its name in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::Close => "close",
            Self::Pipelined => "pipelined",
            Self::InPieces => "in-pieces",
            Self::ChunkedRequest => "chunked-request",
            Self::ChunkedResponse => "chunked-response",
            Self::Stream => "stream",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Continue => "continue",
            Self::NoBody => "no-body",
            Self::HalfClose => "half-close",
            Self::LeaveByFin => "leave-by-fin",
            Self::LeaveByReset => "leave-by-reset",
            Self::LeaveStreamByFin => "leave-stream-by-fin",
            Self::LeaveStreamByReset => "leave-stream-by-reset",
            Self::CutOff => "cut-off",
            Self::Unanswered => "unanswered",
        }
    }

    /// What it is, for the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::KeepAlive => "many requests a connection",
            Self::Close => "a connection a request",
            Self::Pipelined => "four requests at once",
            Self::InPieces => "first byte, then the rest",
            Self::ChunkedRequest => "chunked request",
            Self::ChunkedResponse => "chunked response",
            Self::Stream => "server-sent events",
            Self::Upload => "upload of 1 MiB",
            Self::Download => "download of 1 MiB",
            Self::Continue => "100 Continue before the body",
            Self::NoBody => "HEAD, 204 and 304",
            Self::HalfClose => "half-close, then the answer",
            Self::LeaveByFin => "client closes before the answer",
            Self::LeaveByReset => "client resets before the answer",
            Self::LeaveStreamByFin => "client closes inside a stream",
            Self::LeaveStreamByReset => "client resets inside a stream",
            Self::CutOff => "server ends inside its answer",
            Self::Unanswered => "server ends without an answer",
        }
    }

    /// Its share of all requests, in hundredths.
    pub fn share(self) -> u32 {
        match self {
            Self::KeepAlive => 27,
            Self::Close => 14,
            Self::Pipelined => 14,
            Self::ChunkedRequest | Self::ChunkedResponse | Self::NoBody => 5,
            Self::InPieces | Self::Stream | Self::Continue => 4,
            Self::Upload | Self::Download | Self::HalfClose => 2,
            Self::LeaveByFin | Self::LeaveByReset | Self::CutOff | Self::Unanswered => 2,
            Self::LeaveStreamByFin | Self::LeaveStreamByReset => 2,
        }
    }

    /// Most requests of one connection.
    pub fn per_connection(self) -> u32 {
        match self {
            Self::KeepAlive | Self::Pipelined => 40,
            Self::InPieces
            | Self::ChunkedRequest
            | Self::ChunkedResponse
            | Self::Stream
            | Self::Upload
            | Self::Download
            | Self::Continue
            | Self::NoBody => 5,
            Self::Close
            | Self::HalfClose
            | Self::LeaveByFin
            | Self::LeaveByReset
            | Self::LeaveStreamByFin
            | Self::LeaveStreamByReset
            | Self::CutOff
            | Self::Unanswered => 1,
        }
    }

    /// Requests written before the first answer is read.
    pub fn at_once(self) -> usize {
        if self == Self::Pipelined { 4 } else { 1 }
    }

    /// How such a request ends.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::LeaveByFin
            | Self::LeaveByReset
            | Self::LeaveStreamByFin
            | Self::LeaveStreamByReset => Outcome::ClientAborted,
            Self::CutOff => Outcome::ServerAborted,
            Self::Unanswered => Outcome::Unanswered,
            Self::KeepAlive
            | Self::Close
            | Self::Pipelined
            | Self::InPieces
            | Self::ChunkedRequest
            | Self::ChunkedResponse
            | Self::Stream
            | Self::Upload
            | Self::Download
            | Self::Continue
            | Self::NoBody
            | Self::HalfClose => Outcome::Complete,
        }
    }

    /// Whether the client goes away inside a stream.
    pub fn leaves_stream(self) -> bool {
        matches!(self, Self::LeaveStreamByFin | Self::LeaveStreamByReset)
    }

    /// Whether each piece of the answer is an event of a stream.
    pub fn streams(self) -> bool {
        self == Self::Stream || self.leaves_stream()
    }
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The situation.
    pub situation: Situation,
    /// The request's method.
    pub method: &'static str,
    /// The request's path; no other request of a run has it.
    pub path: String,
    /// The request's head, in the pieces that are written.
    pub head: Vec<Vec<u8>>,
    /// The request's body, likewise.
    pub body: Vec<Vec<u8>>,
    /// Bytes of the body, transfer coding removed.
    pub request_body_bytes: u64,
    /// The status of the answer, if there is one.
    pub status: Option<u16>,
    /// The answer, in the pieces that are written.
    pub answer: Vec<Vec<u8>>,
    /// Bytes of the answer's body, transfer coding removed.
    pub response_body_bytes: u64,
    /// Which pieces of the answer are events that carry content.
    pub events: Range<usize>,
    /// Whether the server closes the connection behind it.
    pub closes: bool,
}

impl Script {
    /// The script of the request `number` of a situation.
    pub fn new(situation: Situation, number: u32) -> Self {
        let mut script = Self {
            situation,
            method: "GET",
            path: format!("/{}/{number}", situation.name()),
            head: Vec::new(),
            body: Vec::new(),
            request_body_bytes: 0,
            status: None,
            answer: Vec::new(),
            response_body_bytes: 0,
            events: 0..0,
            closes: situation.per_connection() == 1,
        };
        script.ask(number);
        script.reply(number);
        script
    }

    /// The script of the request with this head, if it is one of ours.
    pub fn of_head(head: &[u8]) -> Option<Self> {
        let line = head.split(|&byte| byte == b'\r').next()?;
        let target = std::str::from_utf8(line).ok()?.split(' ').nth(1)?;
        let (name, number) = target.strip_prefix('/')?.split_once('/')?;
        let situation = Situation::ALL
            .into_iter()
            .find(|situation| situation.name() == name)?;
        Some(Self::new(situation, number.parse().ok()?))
    }

    /// Bytes of the request's head and of its body as they are sent.
    pub fn request_lengths(&self) -> (usize, usize) {
        let sum = |pieces: &[Vec<u8>]| pieces.iter().map(Vec::len).sum();
        (sum(&self.head), sum(&self.body))
    }

    /// What the server writes as soon as it has read the head: no answer, but
    /// a word to a client that waits for it.
    pub fn interim(&self) -> Option<&'static [u8]> {
        match self.situation {
            Situation::Continue => Some(b"HTTP/1.1 100 Continue\r\n\r\n"),
            // What a reset overtakes would not be read.
            Situation::LeaveByReset => Some(b"HTTP/1.1 102 Processing\r\n\r\n"),
            _ => None,
        }
    }

    fn ask(&mut self, number: u32) {
        let mut fields = String::from("Host: localhost\r\n");
        let small = format!("{{\"features\": [{number}]}}").into_bytes();
        match self.situation {
            Situation::Upload => {
                self.method = "PUT";
                self.body = vec![vec![b'u'; LARGE_PIECE]; LARGE / LARGE_PIECE];
            }
            Situation::Continue => {
                self.method = "POST";
                fields.push_str("Expect: 100-continue\r\n");
                self.body = vec![small];
            }
            Situation::ChunkedRequest => {
                self.method = "POST";
                fields.push_str("Transfer-Encoding: chunked\r\n");
                self.request_body_bytes = small.len() as u64 + 5;
                // Ends in pieces, as some servers and clients write it.
                self.body = vec![
                    chunk(&small),
                    chunk(b"again"),
                    b"0\r\n".into(),
                    b"\r\n".into(),
                ];
            }
            Situation::NoBody if number.is_multiple_of(3) => self.method = "HEAD",
            Situation::NoBody if number % 3 == 1 => self.method = "DELETE",
            _ if number % 2 == 1 => {
                self.method = "POST";
                self.body = vec![small];
            }
            _ => {}
        }
        if self.situation == Situation::Close {
            fields.push_str("Connection: close\r\n");
        }
        if self.situation != Situation::ChunkedRequest && !self.body.is_empty() {
            let (_, length) = self.request_lengths();
            self.request_body_bytes = length as u64;
            fields.push_str(&format!("Content-Length: {length}\r\n"));
        }
        let head = format!("{} {} HTTP/1.1\r\n{fields}\r\n", self.method, self.path).into_bytes();
        self.head = if self.situation == Situation::InPieces {
            // Some runtimes read one byte first, some 24.
            vec![head[..1].into(), head[1..24].into(), head[24..].into()]
        } else {
            vec![head]
        };
    }

    fn reply(&mut self, number: u32) {
        let status_of = |number: u32| STATUSES[number as usize % STATUSES.len()];
        let body = format!("{{\"number\": {number}}}").into_bytes();
        match self.situation {
            Situation::LeaveByFin | Situation::LeaveByReset | Situation::Unanswered => {}
            Situation::CutOff => {
                let (code, reason) = (200, "OK");
                self.answer = vec![head(code, reason, "Content-Length: 1000\r\n"), body.clone()];
                self.finish(code, body.len());
            }
            Situation::NoBody => {
                let (code, reason, fields) = match number % 3 {
                    0 => (200, "OK", "Content-Length: 12345\r\n"),
                    1 => (204, "No Content", ""),
                    _ => (304, "Not Modified", "ETag: \"x\"\r\n"),
                };
                self.answer = vec![head(code, reason, fields)];
                self.finish(code, 0);
            }
            Situation::Stream
            | Situation::LeaveStreamByFin
            | Situation::LeaveStreamByReset
            | Situation::ChunkedResponse => self.reply_in_chunks(&body),
            Situation::Download => {
                let fields = format!("Content-Length: {LARGE}\r\n");
                self.answer = vec![head(200, "OK", &fields)];
                self.answer
                    .extend(vec![vec![b'd'; LARGE_PIECE]; LARGE / LARGE_PIECE]);
                self.finish(200, LARGE);
            }
            Situation::Close if number % 2 == 1 => {
                // Only the end of the connection tells where it ends.
                let (code, reason) = status_of(number / 2);
                self.finish(code, body.len());
                self.answer = vec![head(code, reason, "Connection: close\r\n"), body];
            }
            _ => {
                let (code, reason) = status_of(number);
                let close = if self.closes {
                    "Connection: close\r\n"
                } else {
                    ""
                };
                let fields = format!("Content-Length: {}\r\n{close}", body.len());
                self.finish(code, body.len());
                self.answer = vec![head(code, reason, &fields), body];
                if number.is_multiple_of(3) {
                    self.answer = vec![self.answer.concat()];
                }
            }
        }
    }

    fn reply_in_chunks(&mut self, body: &[u8]) {
        let (kind, pieces) = if self.situation.streams() {
            ("text/event-stream", self.stream())
        } else {
            ("application/json", vec![body.to_vec(), b" ".to_vec()])
        };
        self.finish(200, pieces.iter().map(Vec::len).sum());
        let fields = format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n");
        self.answer = vec![head(200, "OK", &fields)];
        self.answer.extend(pieces.iter().map(|piece| chunk(piece)));
        self.answer.push(b"0\r\n\r\n".to_vec());
    }

    /// A stream as model servers write it: the role, the content, and what
    /// carries none.
    fn stream(&mut self) -> Vec<Vec<u8>> {
        let n = if self.situation.leaves_stream() {
            ENDLESS_EVENTS
        } else {
            EVENTS
        };
        let frame = |delta: &str| {
            format!("data: {{\"choices\": [{{\"index\": 0, \"delta\": {delta}}}]}}\n\n")
                .into_bytes()
        };
        let content = |number: usize| frame(&format!("{{\"content\": \"word {number} \"}}"));
        // Behind the head and the role.
        self.events = 2..2 + n;
        let mut pieces = vec![frame("{\"role\": \"assistant\", \"content\": \"\"}")];
        pieces.extend((0..n).map(content));
        pieces.push(b": keep-alive\n\n".to_vec());
        pieces.push(b"data: [DONE]\n\n".to_vec());
        pieces
    }

    fn finish(&mut self, status: u16, body_bytes: usize) {
        self.status = Some(status);
        self.response_body_bytes = body_bytes as u64;
    }
}

fn head(code: u16, reason: &str, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code} {reason}\r\nServer: verify\r\n{fields}\r\n").into_bytes()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_derive_the_same_script() {
        for situation in Situation::ALL {
            for number in 0..24 {
                let script = Script::new(situation, number);
                assert_eq!(Script::of_head(&script.head.concat()), Some(script));
            }
        }
        assert_eq!(Script::of_head(b"GET /favicon.ico HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn shares_make_a_whole() {
        let sum: u32 = Situation::ALL.map(Situation::share).iter().sum();
        assert_eq!(sum, 100);
    }
}
