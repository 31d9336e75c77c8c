//! A live client of the daemon: a WebSocket that is read, or not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use modeltap_api_types::{Live, LiveMessage};

/// Longest wait for a message: one comes every second.
const PATIENCE: Duration = Duration::from_secs(10);
/// Opcodes of RFC 6455 section 5.2.
const TEXT: u8 = 0x1;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// Longest message taken.
const MAX_BYTES: u64 = 64 << 20;

/// A connection to `/api/v1/live`.
#[derive(Debug)]
pub struct LiveClient {
    stream: TcpStream,
}

impl LiveClient {
    /// Connects, and reads the answer's head.
    ///
    /// # Errors
    /// As of the connection; [`io::ErrorKind::ConnectionRefused`] if the
    /// answer is not that the protocol changes.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET /api/v1/live HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if head.starts_with(b"HTTP/1.1 101 ") {
            Ok(Self { stream })
        } else {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    /// The next state that is told.
    ///
    /// # Panics
    /// If none comes, or it is not what the interface promises.
    #[track_caller]
    pub fn next_state(&mut self) -> Live {
        loop {
            let (opcode, text) = self
                .frame()
                .unwrap_or_else(|error| panic!("wait for a live message: {error}"));
            if opcode == PING {
                // Masked with zeros; what it carries is of no interest.
                let pong = self.stream.write_all(&[0x80 | PONG, 0x80, 0, 0, 0, 0]);
                pong.unwrap_or_else(|error| panic!("answer a ping: {error}"));
            }
            if opcode != TEXT {
                continue;
            }
            match serde_json::from_slice(&text) {
                Ok(LiveMessage::Snapshot(live) | LiveMessage::Update(live)) => return live,
                Ok(_) => {}
                Err(error) => panic!("a live message: {error}"),
            }
        }
    }

    /// Reads a frame: its opcode and what it carries.
    fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        assert!(length <= MAX_BYTES, "a message of {length} bytes");
        let mut text = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut text)?;
        Ok((head[0] & 0xf, text))
    }
}
