//! `.mtap` recordings: what capture reported, to be read again.
//!
//! A file is the magic `MTAP`, a version (`u16`) and frames: length (`u32`) of
//! the rest, kind (`u8`), fields. Integers are little-endian; a text is its
//! length (`u16`) and UTF-8. Fixtures, bug reports and benchmarks share this
//! one format.
//!
//! The writer masks what may be a secret: the values of header fields such as
//! `Authorization` and `Cookie`, and the queries of request lines and URLs.
//! Each byte becomes `x`: lengths and framing stay, so a recording is read
//! exactly as the traffic was. What bodies say is masked by [`mask_contents`]
//! before an event is handed to it: only the parser knows which bytes do.

mod contents;
mod mask;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use thiserror::Error;

pub use self::contents::mask_contents;
use self::mask::Masker;
use crate::connection::{
    Arrived, CaptureEvent, CgroupId, CloseCause, ConnectionClosed, ConnectionId, ConnectionOpened,
    Data, Direction, Drained, Origin, Transport,
};
use crate::container::{Container, ContainerId, Inspect, Lifecycle, ServiceName, Slo};
use crate::time::{MonotonicNs, TimeAnchor, UnixNs};

const MAGIC: &[u8; 4] = b"MTAP";
/// Version of the format that is written, and the only one that is read.
pub const VERSION: u16 = 2;
/// Longest frame; an event carries 16 KB at most.
const MAX_FRAME_BYTES: u32 = 1024 * 1024;

const KIND_ANCHOR: u8 = 1;
const KIND_CONTAINER: u8 = 2;
const KIND_REMOVED: u8 = 3;
const KIND_OPENED: u8 = 4;
const KIND_DATA: u8 = 5;
const KIND_CLOSED: u8 = 6;
const KIND_ARRIVED: u8 = 7;
const KIND_DRAINED: u8 = 8;

/// One thing recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// How monotonic and wall time go together from here on.
    Anchor(TimeAnchor),
    /// A container runs.
    Container(Container),
    /// A container stopped.
    Removed {
        /// Its cgroup.
        cgroup: CgroupId,
        /// Docker's id.
        id: ContainerId,
    },
    /// Capture reported this.
    Event(CaptureEvent),
}

/// A recording that cannot be read on.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Reading failed.
    #[error("cannot read the recording")]
    Io(#[from] io::Error),
    /// It does not begin as a recording does.
    #[error("this is no recording of modeltap's")]
    NotARecording,
    /// Another version wrote it.
    #[error("the recording has format {0:?}, and this version reads {VERSION}")]
    Version(u16),
    /// It ends inside a frame: its writer was stopped. What came before is whole.
    #[error("the recording ends inside a frame")]
    Torn,
    /// A frame has no meaning.
    #[error("the recording is damaged: {0}")]
    Damaged(&'static str),
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    frame: Vec<u8>,
    masker: Masker,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// Writing failed.
    pub fn new(mut output: W) -> io::Result<Self> {
        output.write_all(MAGIC)?;
        output.write_all(&VERSION.to_le_bytes())?;
        Ok(Self {
            output,
            frame: Vec::new(),
            masker: Masker::default(),
        })
    }

    /// Adds an entry. Buffering is the caller's.
    ///
    /// # Errors
    /// Writing failed.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        self.frame.clear();
        self.frame.extend([0; 4]);
        encode(&mut self.frame, entry, &mut self.masker);
        let length = u32::try_from(self.frame.len() - 4).unwrap_or(u32::MAX);
        self.frame[..4].copy_from_slice(&length.to_le_bytes());
        self.output.write_all(&self.frame)
    }

    /// Hands buffered bytes on; fails as writing does.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Reads a recording: an iterator that ends after its first error.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Opens a recording. Buffering is the caller's.
    ///
    /// # Errors
    /// It is none, or another version wrote it.
    pub fn new(mut input: R) -> Result<Self, ReadError> {
        let mut head = [0; 6];
        input
            .read_exact(&mut head)
            .map_err(|_| ReadError::NotARecording)?;
        let [a, b, c, d, low, high] = head;
        if [a, b, c, d] != *MAGIC {
            return Err(ReadError::NotARecording);
        }
        match u16::from_le_bytes([low, high]) {
            VERSION => Ok(Self {
                input,
                ended: false,
            }),
            version => Err(ReadError::Version(version)),
        }
    }

    fn entry(&mut self) -> Result<Option<Entry>, ReadError> {
        let mut length = [0; 4];
        match read_up_to(&mut self.input, &mut length)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(ReadError::Torn),
        }
        let length = u32::from_le_bytes(length);
        if length > MAX_FRAME_BYTES {
            return Err(ReadError::Damaged("a frame is longer than any entry"));
        }
        let mut frame = vec![0; length as usize];
        if read_up_to(&mut self.input, &mut frame)? < frame.len() {
            return Err(ReadError::Torn);
        }
        decode(&mut Fields(&frame)).map(Some)
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.entry().transpose();
        self.ended = !matches!(entry, Some(Ok(_)));
        entry
    }
}

fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn encode(frame: &mut Vec<u8>, entry: &Entry, masker: &mut Masker) {
    match entry {
        Entry::Anchor(anchor) => {
            frame.push(KIND_ANCHOR);
            put_u64(frame, anchor.monotonic.0);
            put_u64(frame, anchor.unix.0);
        }
        Entry::Container(container) => {
            frame.push(KIND_CONTAINER);
            put_u64(frame, container.cgroup.0);
            put_u64(frame, container.pid.into());
            put_text(frame, &container.id.0);
            put_text(frame, &container.name);
            put_text(frame, &container.service.0);
            put_text(frame, container.project.as_deref().unwrap_or(""));
            put_text(frame, &container.image);
            put_text(frame, &container.routes.join(","));
        }
        Entry::Removed { cgroup, id } => {
            frame.push(KIND_REMOVED);
            put_u64(frame, cgroup.0);
            put_text(frame, &id.0);
        }
        Entry::Event(CaptureEvent::Opened(opened)) => {
            frame.push(KIND_OPENED);
            put_connection(frame, opened.id);
            put_u64(frame, opened.cgroup.0);
            put_address(frame, opened.peer);
            put_address(frame, opened.local);
            frame.push(match opened.origin {
                Origin::Accepted => 0,
                Origin::Inherited => 1,
            });
            frame.push(match opened.transport {
                Transport::Tcp => 0,
                Transport::Unix => 1,
            });
        }
        Entry::Event(CaptureEvent::Data(data)) => {
            frame.push(KIND_DATA);
            put_connection(frame, data.id);
            put_u64(frame, data.at.0);
            put_u64(frame, data.position);
            put_u64(frame, data.length.into());
            // No byte arrives in the first nanosecond of a machine.
            put_u64(frame, data.arrived.unwrap_or_default().0);
            frame.push(match (data.direction, data.waits) {
                (Direction::Read, _) => 0,
                (Direction::Write, false) => 1,
                (Direction::Write, true) => 2,
            });
            let start = frame.len();
            frame.extend_from_slice(&data.bytes);
            masker.mask(data, &mut frame[start..]);
        }
        Entry::Event(CaptureEvent::Arrived(Arrived { id, at, position })) => {
            frame.push(KIND_ARRIVED);
            put_connection(frame, *id);
            put_u64(frame, at.0);
            put_u64(frame, *position);
        }
        Entry::Event(CaptureEvent::Drained(Drained { id, at, position })) => {
            frame.push(KIND_DRAINED);
            put_connection(frame, *id);
            put_u64(frame, at.0);
            put_u64(frame, *position);
        }
        Entry::Event(CaptureEvent::Closed(closed)) => {
            if closed.cause != CloseCause::PeerFinished {
                masker.forget(closed.id);
            }
            frame.push(KIND_CLOSED);
            put_connection(frame, closed.id);
            put_u64(frame, closed.at.0);
            put_u64(frame, closed.bytes_read);
            put_u64(frame, closed.bytes_written);
            frame.push(match closed.cause {
                CloseCause::PeerFinished => 0,
                CloseCause::LocalFinished => 1,
                CloseCause::Reset => 2,
            });
        }
    }
}

fn put_u64(frame: &mut Vec<u8>, value: u64) {
    frame.extend(value.to_le_bytes());
}

fn put_text(frame: &mut Vec<u8>, text: &str) {
    // Names and labels are bounded far below where they come from.
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    let length = u16::try_from(text.len()).expect("cut to u16::MAX bytes");
    frame.extend(length.to_le_bytes());
    frame.extend_from_slice(text.as_bytes());
}

fn put_connection(frame: &mut Vec<u8>, id: ConnectionId) {
    put_u64(frame, id.socket);
    put_u64(frame, id.opened.0);
}

fn put_address(frame: &mut Vec<u8>, address: SocketAddr) {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    frame.extend(ip.octets());
    frame.extend(address.port().to_le_bytes());
}

fn decode(fields: &mut Fields<'_>) -> Result<Entry, ReadError> {
    Ok(match fields.u8()? {
        KIND_ANCHOR => Entry::Anchor(TimeAnchor {
            monotonic: MonotonicNs(fields.u64()?),
            unix: UnixNs(fields.u64()?),
        }),
        KIND_CONTAINER => Entry::Container(container(fields)?),
        KIND_REMOVED => Entry::Removed {
            cgroup: CgroupId(fields.u64()?),
            id: ContainerId(fields.text()?),
        },
        KIND_OPENED => Entry::Event(CaptureEvent::Opened(ConnectionOpened {
            id: fields.connection()?,
            cgroup: CgroupId(fields.u64()?),
            peer: fields.address()?,
            local: fields.address()?,
            origin: match fields.u8()? {
                0 => Origin::Accepted,
                1 => Origin::Inherited,
                _ => return Err(ReadError::Damaged("unknown origin of a connection")),
            },
            transport: match fields.u8()? {
                0 => Transport::Tcp,
                1 => Transport::Unix,
                _ => return Err(ReadError::Damaged("unknown transport of a connection")),
            },
        })),
        KIND_ARRIVED => Entry::Event(CaptureEvent::Arrived(Arrived {
            id: fields.connection()?,
            at: MonotonicNs(fields.u64()?),
            position: fields.u64()?,
        })),
        KIND_DRAINED => Entry::Event(CaptureEvent::Drained(Drained {
            id: fields.connection()?,
            at: MonotonicNs(fields.u64()?),
            position: fields.u64()?,
        })),
        KIND_DATA => Entry::Event(CaptureEvent::Data(data(fields)?)),
        KIND_CLOSED => Entry::Event(CaptureEvent::Closed(ConnectionClosed {
            id: fields.connection()?,
            at: MonotonicNs(fields.u64()?),
            bytes_read: fields.u64()?,
            bytes_written: fields.u64()?,
            cause: match fields.u8()? {
                0 => CloseCause::PeerFinished,
                1 => CloseCause::LocalFinished,
                2 => CloseCause::Reset,
                _ => return Err(ReadError::Damaged("unknown cause of a close")),
            },
        })),
        _ => return Err(ReadError::Damaged("unknown kind of entry")),
    })
}

fn container(fields: &mut Fields<'_>) -> Result<Container, ReadError> {
    Ok(Container {
        cgroup: CgroupId(fields.u64()?),
        pid: u32::try_from(fields.u64()?)
            .map_err(|_| ReadError::Damaged("a process id is too large"))?,
        id: ContainerId(fields.text()?),
        name: fields.text()?,
        service: ServiceName(fields.text()?),
        project: Some(fields.text()?).filter(|project| !project.is_empty()),
        image: fields.text()?,
        routes: fields
            .text()?
            .split(',')
            .filter(|route| !route.is_empty())
            .map(str::to_owned)
            .collect(),
        // A recording holds no bodies that could be inspected.
        inspect: Inspect::default(),
        lifecycle: Lifecycle::default(),
        slo: Slo::default(),
    })
}

fn data(fields: &mut Fields<'_>) -> Result<Data, ReadError> {
    let id = fields.connection()?;
    let at = MonotonicNs(fields.u64()?);
    let position = fields.u64()?;
    let length = u32::try_from(fields.u64()?)
        .map_err(|_| ReadError::Damaged("a call moved more than 4 GB"))?;
    let arrived = Some(MonotonicNs(fields.u64()?)).filter(|at| at.0 > 0);
    let (direction, waits) = match fields.u8()? {
        0 => (Direction::Read, false),
        1 => (Direction::Write, false),
        2 => (Direction::Write, true),
        _ => return Err(ReadError::Damaged("unknown direction")),
    };
    let bytes = fields.rest();
    if bytes.len() > length as usize {
        return Err(ReadError::Damaged("more bytes captured than moved"));
    }
    Ok(Data {
        id,
        at,
        direction,
        position,
        length,
        arrived,
        waits,
        bytes: bytes.to_vec(),
    })
}

/// The fields of one frame that are not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self
            .0
            .split_at_checked(n)
            .ok_or(ReadError::Damaged("an entry ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("N bytes were taken"))
    }

    fn u8(&mut self) -> Result<u8, ReadError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, ReadError> {
        let length = u16::from_le_bytes(self.array()?);
        let bytes = self.take(length.into())?;
        String::from_utf8(bytes.to_vec()).map_err(|_| ReadError::Damaged("a text is not UTF-8"))
    }

    fn connection(&mut self) -> Result<ConnectionId, ReadError> {
        Ok(ConnectionId {
            socket: self.u64()?,
            opened: MonotonicNs(self.u64()?),
        })
    }

    fn address(&mut self) -> Result<SocketAddr, ReadError> {
        let ip = Ipv6Addr::from(self.array::<16>()?);
        let port = u16::from_le_bytes(self.array()?);
        Ok(SocketAddr::new(IpAddr::V6(ip).to_canonical(), port))
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let id = ConnectionId {
            socket: u64::MAX,
            opened: MonotonicNs(7),
        };
        vec![
            Entry::Anchor(TimeAnchor {
                monotonic: MonotonicNs(1),
                unix: UnixNs(2),
            }),
            Entry::Container(Container {
                id: ContainerId("ab".repeat(32)),
                name: "web-1".to_owned(),
                service: ServiceName("web".to_owned()),
                project: None,
                image: "web:1".to_owned(),
                cgroup: CgroupId(5),
                pid: 42,
                routes: vec!["/items/{id}".to_owned(), "/v2/{model}".to_owned()],
                inspect: Inspect::default(),
                lifecycle: Lifecycle::default(),
                slo: Slo::default(),
            }),
            Entry::Event(CaptureEvent::Opened(ConnectionOpened {
                id,
                cgroup: CgroupId(5),
                peer: "172.17.0.1:5000".parse().unwrap(),
                local: "[2001:db8::1]:80".parse().unwrap(),
                origin: Origin::Inherited,
                transport: Transport::Unix,
            })),
            Entry::Event(CaptureEvent::Arrived(Arrived {
                id,
                at: MonotonicNs(6),
                position: 9,
            })),
            Entry::Event(CaptureEvent::Drained(Drained {
                id,
                at: MonotonicNs(11),
                position: 103,
            })),
            Entry::Event(CaptureEvent::Data(Data {
                id,
                at: MonotonicNs(8),
                direction: Direction::Write,
                position: 3,
                length: 100,
                arrived: Some(MonotonicNs(4)),
                waits: true,
                bytes: b"HTTP/1.1 200 OK\r\n".to_vec(),
            })),
            Entry::Event(CaptureEvent::Closed(ConnectionClosed {
                id,
                at: MonotonicNs(9),
                cause: CloseCause::Reset,
                bytes_read: 1,
                bytes_written: 2,
            })),
            Entry::Removed {
                cgroup: CgroupId(5),
                id: ContainerId("ab".repeat(32)),
            },
        ]
    }

    fn recorded(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes).unwrap();
        for entry in entries {
            writer.write(entry).unwrap();
        }
        bytes
    }

    #[test]
    fn every_entry_round_trips() {
        let bytes = recorded(&entries());
        let read: Result<Vec<_>, _> = Reader::new(&bytes[..]).unwrap().collect();
        assert_eq!(read.unwrap(), entries());
    }

    #[test]
    fn torn_end_is_told_apart_and_the_rest_is_there() {
        let bytes = recorded(&entries());
        let mut reader = Reader::new(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(
            reader.by_ref().filter(Result::is_ok).count(),
            entries().len() - 1
        );
        let bytes = &bytes[..bytes.len() - 1];
        let last = Reader::new(bytes).unwrap().last().unwrap();
        assert!(matches!(last, Err(ReadError::Torn)));
    }

    #[test]
    fn every_damaged_byte_is_an_error_or_another_entry_never_a_panic() {
        let bytes = recorded(&entries());
        for at in 0..bytes.len() {
            for value in [0, 0xff, bytes[at] ^ 1] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                if let Ok(reader) = Reader::new(&damaged[..]) {
                    assert!(reader.count() <= entries().len() + 1);
                }
            }
        }
    }

    #[test]
    fn foreign_files_and_other_versions_are_refused() {
        assert!(matches!(
            Reader::new(&b"PK\x03\x04.."[..]),
            Err(ReadError::NotARecording)
        ));
        assert!(matches!(
            Reader::new(&b""[..]),
            Err(ReadError::NotARecording)
        ));
        assert!(matches!(
            Reader::new(&b"MTAP\x03\x00"[..]),
            Err(ReadError::Version(3))
        ));
    }
}
