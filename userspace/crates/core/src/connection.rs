//! Observed connections and the events that capture reports of them.

use std::net::SocketAddr;

use crate::time::MonotonicNs;

/// Kernel id of a cgroup (its inode number in the v2 hierarchy).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// Names one connection for as long as the machine runs: a socket's address is
/// used again, but never at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Kernel address of the socket.
    pub socket: u64,
    /// When the probes first saw it.
    pub opened: MonotonicNs,
}

/// How a connection became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Seen at its accept: everything it carried is known.
    Accepted,
    /// Older than the probes: what it carried before is unknown.
    Inherited,
}

/// What a connection runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP: requests from outside the server's container, or from beside it.
    Tcp,
    /// A UNIX socket: the inner hop between a proxy and a server behind it.
    Unix,
}

/// Which way bytes moved, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The server read them: requests.
    Read,
    /// The server wrote them: responses.
    Write,
}

/// Why no more bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer finished sending (FIN received); the server may still answer.
    PeerFinished,
    /// The server finished sending (FIN sent).
    LocalFinished,
    /// The socket is gone without a FIN of the server's: reset or timed out.
    Reset,
}

/// A server accepted a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionOpened {
    /// The connection; `id.opened` is the time of the accept.
    pub id: ConnectionId,
    /// The watched cgroup the server runs in or below.
    pub cgroup: CgroupId,
    /// What it runs over.
    pub transport: Transport,
    /// The client's address; IPv4-mapped IPv6 addresses are given as IPv4, and
    /// a UNIX socket's as `0.0.0.0:0`.
    pub peer: SocketAddr,
    /// The server's address, as `peer`.
    pub local: SocketAddr,
    /// How it became known.
    pub origin: Origin,
}

/// Bytes that one system call moved on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The connection.
    pub id: ConnectionId,
    /// Time the call returned.
    pub at: MonotonicNs,
    /// Which way the bytes moved.
    pub direction: Direction,
    /// Bytes moved this way before, since the connection was first seen.
    pub position: u64,
    /// Bytes this call moved; at least `bytes.len()`.
    pub length: u32,
    /// When the first of the bytes arrived at the socket, of bytes the server
    /// read where the kernel tells.
    pub arrived: Option<MonotonicNs>,
    /// Some of what was written so far is still in the socket, of bytes the
    /// server wrote where the kernel tells: a [`Drained`] follows.
    pub waits: bool,
    /// The captured beginning of them.
    pub bytes: Vec<u8>,
}

/// When later bytes of the read that follows arrived: reported before its
/// `Data`, once for each arrival behind the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The connection.
    pub id: ConnectionId,
    /// When they arrived at the socket.
    pub at: MonotonicNs,
    /// Position of the first of them, as in [`Data::position`].
    pub position: u64,
}

/// Everything written so far has left the socket for the network. Reported
/// only where some of it had to wait, for the peer or the network was slow:
/// after a [`Data::waits`], also once the server finished sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The connection.
    pub id: ConnectionId,
    /// When the last of it left.
    pub at: MonotonicNs,
    /// Position behind the last of it, as in [`Data::position`].
    pub position: u64,
}

/// One side finished sending, or the connection is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionClosed {
    /// The connection.
    pub id: ConnectionId,
    /// Time of the state change.
    pub at: MonotonicNs,
    /// What happened.
    pub cause: CloseCause,
    /// Bytes the server read in all.
    pub bytes_read: u64,
    /// Bytes the server wrote in all.
    pub bytes_written: u64,
}

/// What capture reports, in the order of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureEvent {
    /// A server accepted a connection.
    Opened(ConnectionOpened),
    /// Bytes moved.
    Data(Data),
    /// Bytes of the next read arrived at several times.
    Arrived(Arrived),
    /// What was written has left the socket.
    Drained(Drained),
    /// One side finished, or the connection is gone.
    Closed(ConnectionClosed),
}

impl CaptureEvent {
    /// The connection the event belongs to.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        match self {
            Self::Opened(opened) => opened.id,
            Self::Data(data) => data.id,
            Self::Arrived(arrived) => arrived.id,
            Self::Drained(drained) => drained.id,
            Self::Closed(closed) => closed.id,
        }
    }

    /// When it happened.
    #[must_use]
    pub fn at(&self) -> MonotonicNs {
        match self {
            Self::Opened(opened) => opened.id.opened,
            Self::Data(data) => data.at,
            Self::Arrived(arrived) => arrived.at,
            Self::Drained(drained) => drained.at,
            Self::Closed(closed) => closed.at,
        }
    }
}
