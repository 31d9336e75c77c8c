//! An HTTP/1.1 client that notes when bytes left and arrived.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::clock::monotonic_ns;

/// Longest wait for the next bytes of an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer taken.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A request as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// A JSON body, for methods that have one.
    pub body: Option<String>,
    /// Whether the server is asked to close the connection.
    pub close: bool,
    /// Whether the body is sent chunked, in two chunks and a write each.
    pub chunked: bool,
}

impl Request {
    /// A GET that leaves the connection open.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            body: None,
            close: false,
            chunked: false,
        }
    }

    /// A POST of JSON that leaves the connection open.
    #[must_use]
    pub fn post(path: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            method: "POST",
            path: path.into(),
            body: Some(body.into()),
            close: false,
            chunked: false,
        }
    }

    /// What is written, a write each.
    fn pieces(&self) -> Vec<Vec<u8>> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: localhost\r\n",
            self.method, self.path
        );
        if self.close {
            text.push_str("Connection: close\r\n");
        }
        let Some(body) = &self.body else {
            return vec![(text + "\r\n").into_bytes()];
        };
        text.push_str("Content-Type: application/json\r\n");
        if !self.chunked {
            text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
            return vec![text.into_bytes()];
        }
        text.push_str("Transfer-Encoding: chunked\r\n\r\n");
        let (first, second) = body.as_bytes().split_at(body.len() / 2);
        let mut pieces = vec![text.into_bytes()];
        for part in [first, second] {
            let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
            chunk.extend_from_slice(part);
            chunk.extend_from_slice(b"\r\n");
            pieces.push(chunk);
        }
        pieces.push(b"0\r\n\r\n".to_vec());
        pieces
    }
}

/// An answer, and when it arrived on CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, transfer coding removed.
    pub body: Vec<u8>,
    /// The read that brought its first byte returned.
    pub first_byte_ns: u64,
    /// The read that brought its last byte returned.
    pub last_byte_ns: u64,
    /// When each chunk of a chunked body had arrived.
    pub chunks_ns: Vec<u64>,
    /// The connection carries no further request.
    pub closes: bool,
}

impl Response {
    /// A header field's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    arrived: Vec<u8>,
    arrived_ns: u64,
    local_port: u16,
}

impl Connection {
    /// Connects, from the network namespace of the calling thread.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let local_port = stream.local_addr()?.port();
        Ok(Self {
            stream,
            arrived: Vec::new(),
            arrived_ns: 0,
            local_port,
        })
    }

    /// Our port.
    #[must_use]
    pub fn local_port(&self) -> u16 {
        self.local_port
    }

    /// Waits no longer than this for bytes of an answer.
    ///
    /// # Errors
    /// As [`TcpStream::set_read_timeout`].
    pub fn wait_at_most(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))
    }

    /// Writes a request; returns the time just before.
    ///
    /// # Errors
    /// As [`Write::write_all`].
    pub fn send(&mut self, request: &Request) -> io::Result<u64> {
        let pieces = request.pieces();
        let sent_ns = monotonic_ns();
        for piece in pieces {
            self.stream.write_all(&piece)?;
        }
        Ok(sent_ns)
    }

    /// Writes several requests at once, without waiting for an answer; returns
    /// the time just before.
    ///
    /// # Errors
    /// As [`Write::write_all`].
    pub fn pipeline<'a>(
        &mut self,
        requests: impl IntoIterator<Item = &'a Request>,
    ) -> io::Result<u64> {
        let pieces = requests.into_iter().flat_map(Request::pieces);
        let bytes: Vec<u8> = pieces.flatten().collect();
        let sent_ns = monotonic_ns();
        self.stream.write_all(&bytes)?;
        Ok(sent_ns)
    }

    /// Reads one answer to its end.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] if the connection ended first,
    /// [`ErrorKind::InvalidData`] if it is not HTTP/1.1.
    pub fn receive(&mut self) -> io::Result<Response> {
        if self.arrived.is_empty() {
            self.more()?;
        }
        let first_byte_ns = self.arrived_ns;
        let mut head = self.head()?;
        while (100..200).contains(&head.status) {
            head = self.head()?;
        }
        let value = |name: &str| {
            head.headers
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.as_str())
        };
        let length = value("content-length").and_then(|length| length.parse().ok());
        let chunked = value("transfer-encoding") == Some("chunked");
        let asks_close = value("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        let empty = head.status == 204 || head.status == 304;
        let mut chunks_ns = Vec::new();
        let (body, delimited) = match length {
            _ if empty => (Vec::new(), true),
            _ if chunked => (self.chunks(&mut chunks_ns)?, true),
            Some(length) => (self.take(length)?, true),
            None => (self.rest()?, false),
        };
        let last_byte_ns = self.arrived_ns;
        let closes = asks_close || !delimited;
        let Head { status, headers } = head;
        Ok(Response {
            status,
            headers,
            body,
            first_byte_ns,
            last_byte_ns,
            chunks_ns,
            closes,
        })
    }

    /// Waits until any byte of an answer is there; returns when it arrived.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] if the connection ended first.
    pub fn first_byte(&mut self) -> io::Result<u64> {
        if self.arrived.is_empty() {
            self.more()?;
        }
        Ok(self.arrived_ns)
    }

    /// Ends our side in good order and reads no more.
    pub fn finish(self) {
        // The server may have closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Waits until the server side of this connection, which is in the network
    /// of process `pid`, has read all that was sent.
    ///
    /// # Panics
    /// If it does not within ten seconds.
    pub fn await_read(&self, pid: u32) {
        let limit = Instant::now() + Duration::from_secs(10);
        let is_read = |table: &&str| {
            let table = std::fs::read_to_string(format!("/proc/{pid}/net/{table}"));
            table.is_ok_and(|table| waits_for_nothing(&table, self.local_port))
        };
        // Closely: the server may answer soon after.
        while !["tcp", "tcp6"].iter().any(is_read) {
            assert!(Instant::now() < limit, "the server does not read");
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// Resets the connection.
    ///
    /// # Panics
    /// If the kernel refuses the option.
    pub fn reset(self) {
        let at_once = linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&self.stream, sockopt::Linger, &at_once).expect("a TCP socket can linger");
    }

    fn head(&mut self) -> io::Result<Head> {
        loop {
            if let Some(end) = find(&self.arrived, b"\r\n\r\n") {
                let bytes: Vec<u8> = self.arrived.drain(..end + 4).collect();
                return Head::parse(&bytes).ok_or_else(|| invalid("response head", &bytes));
            }
            self.more()?;
        }
    }

    fn chunks(&mut self, arrived_ns: &mut Vec<u64>) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(size).ok().map(str::trim);
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.ok_or_else(|| invalid("chunk size", &line))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            arrived_ns.push(self.arrived_ns);
            self.line()?;
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.arrived, b"\r\n") {
                let mut line: Vec<u8> = self.arrived.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            self.more()?;
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.arrived.len() < length {
            self.more()?;
        }
        Ok(self.arrived.drain(..length).collect())
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.more() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.arrived));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 65_536];
        let n = loop {
            match self.stream.read(&mut buffer) {
                // The kernel does not begin a read with a time limit again.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.arrived_ns = monotonic_ns();
        self.arrived.extend_from_slice(&buffer[..n]);
        if self.arrived.len() > MAX_ANSWER_BYTES {
            return Err(invalid("answer of this length", &self.arrived[..64]));
        }
        Ok(())
    }
}

/// Whether the socket whose peer has `port` holds no bytes to be read; by a
/// table of `/proc/net`.
fn waits_for_nothing(table: &str, port: u16) -> bool {
    // Of `include/net/tcp_states.h`: the server may have closed by now.
    const CONNECTED: [&str; 3] = ["01", "04", "05"];
    let port = format!(":{port:04X}");
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().take(5).collect();
        fields.len() == 5
            && fields[2].ends_with(&port)
            && CONNECTED.contains(&fields[3])
            && fields[4].ends_with(":00000000")
    })
}

struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()?
            .strip_prefix("HTTP/1.")?
            .get(2..5)?
            .parse()
            .ok()?;
        let fields = lines.filter_map(|line| line.split_once(':'));
        let headers = fields
            .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
            .collect();
        Some(Self { status, headers })
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn invalid(what: &str, bytes: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(bytes);
    io::Error::new(ErrorKind::InvalidData, format!("no {what}: {text:?}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Serves `parts` as one answer, a write each, and closes.
    fn answer(parts: &'static [&'static str]) -> (Response, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap();
            assert!(request[..n].starts_with(b"GET /x HTTP/1.1\r\n"));
            for part in parts {
                stream.write_all(part.as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(2));
            }
        });
        let mut connection = Connection::open(address).unwrap();
        let sent_ns = connection.send(&Request::get("/x")).unwrap();
        let response = connection.receive().unwrap();
        server.join().unwrap();
        let in_order =
            sent_ns < response.first_byte_ns && response.first_byte_ns <= response.last_byte_ns;
        (response, in_order)
    }

    #[track_caller]
    fn check(parts: &'static [&'static str], status: u16, body: &str, closes: bool) {
        let (response, in_order) = answer(parts);
        assert_eq!(
            (response.status, response.text().as_str(), response.closes),
            (status, body, closes)
        );
        assert!(in_order);
    }

    #[test]
    fn socket_is_read_once_its_queue_is_empty() {
        let table = "\
  sl  local_address rem_address   st tx_queue:rx_queue
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 0
   1: 0100007F:1F40 0100007F:C001 01 00000000:0000003F 0
   2: 0100007F:1F40 0100007F:C002 01 00000000:00000000 0
   3: 0100007F:C003 0100007F:1F40 01 00000000:00000000 0
";
        assert!(!waits_for_nothing(table, 0xC001), "bytes wait");
        assert!(waits_for_nothing(table, 0xC002));
        assert!(!waits_for_nothing(table, 0xC003), "our own side");
    }

    #[test]
    fn chunked_body_is_sent_in_two_chunks_and_an_end() {
        let request = Request {
            chunked: true,
            ..Request::post("/x", "abcde")
        };
        let text = String::from_utf8(request.pieces().concat()).unwrap();
        assert!(
            text.contains("Transfer-Encoding: chunked\r\n\r\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"),
            "{text}"
        );
    }

    #[test]
    fn every_framing_of_an_answer_is_read_to_its_end() {
        check(
            &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "\r\nh", "i"],
            200,
            "hi",
            false,
        );
        check(
            &["HTTP/1.1 404 x\r\ncontent-length: 0\r\nConnection: close\r\n\r\n"],
            404,
            "",
            true,
        );
        check(
            &[
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r",
                "\nab\r\n1;x=y\r\nc\r\n0\r\n",
                "\r\n",
            ],
            200,
            "abc",
            false,
        );
        check(
            &["HTTP/1.1 200 OK\r\n\r\nto the", " end"],
            200,
            "to the end",
            true,
        );
        check(
            &["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 204 x\r\n\r\n"],
            204,
            "",
            false,
        );
    }
}
