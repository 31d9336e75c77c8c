//! Bytes of the ring into events of the daemon's own types.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use modeltap_abi::event as abi;
use modeltap_core::connection::{
    Arrived, CaptureEvent, CgroupId, CloseCause, ConnectionClosed, ConnectionId, ConnectionOpened,
    Data, Direction, Drained, Origin, Transport,
};
use modeltap_core::time::MonotonicNs;
use thiserror::Error;
use zerocopy::FromBytes;

/// An item of the ring that is not an event of ours.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than its kind needs.
    #[error("event ends early: {len} bytes")]
    Short {
        /// Its length in bytes.
        len: usize,
    },
    /// No event has this kind.
    #[error("unknown kind of event: {0:?}")]
    Kind(u32),
    /// A field holds a value that has no meaning.
    #[error("unknown value of {field}: {value:?}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
}

/// Reads one item of the ring.
///
/// # Errors
/// [`DecodeError`]: the probes and the daemon disagree.
pub fn decode(item: &[u8]) -> Result<CaptureEvent, DecodeError> {
    let header: abi::EventHeader = prefix(item)?.0;
    match header.kind {
        abi::KIND_CONNECTION_OPENED => opened(item).map(CaptureEvent::Opened),
        abi::KIND_DATA => data(item).map(CaptureEvent::Data),
        abi::KIND_CONNECTION_CLOSED => closed(item).map(CaptureEvent::Closed),
        abi::KIND_ARRIVED => moment(item)
            .map(|(id, at, position)| CaptureEvent::Arrived(Arrived { id, at, position })),
        abi::KIND_DRAINED => moment(item)
            .map(|(id, at, position)| CaptureEvent::Drained(Drained { id, at, position })),
        kind => Err(DecodeError::Kind(kind)),
    }
}

fn opened(item: &[u8]) -> Result<ConnectionOpened, DecodeError> {
    let (event, _): (abi::ConnectionOpened, _) = prefix(item)?;
    Ok(ConnectionOpened {
        id: connection(&event.header),
        cgroup: CgroupId(event.cgroup_id),
        peer: address(event.family, event.peer_address, event.peer_port)?,
        local: address(event.family, event.local_address, event.local_port)?,
        origin: match event.origin {
            abi::ORIGIN_ACCEPTED => Origin::Accepted,
            abi::ORIGIN_INHERITED => Origin::Inherited,
            other => return Err(unknown("origin", other.into())),
        },
        transport: if event.family == abi::FAMILY_UNIX {
            Transport::Unix
        } else {
            Transport::Tcp
        },
    })
}

fn data(item: &[u8]) -> Result<Data, DecodeError> {
    let (event, rest): (abi::Data, _) = prefix(item)?;
    let captured = event.captured.min(event.length) as usize;
    let bytes = rest
        .get(..captured)
        .ok_or(DecodeError::Short { len: item.len() })?;
    Ok(Data {
        id: connection(&event.header),
        at: MonotonicNs(event.header.timestamp_ns),
        direction: match event.direction {
            abi::DIRECTION_READ => Direction::Read,
            abi::DIRECTION_WRITE => Direction::Write,
            other => return Err(unknown("direction", other.into())),
        },
        position: event.position,
        length: event.length,
        arrived: (event.arrived_ns != 0).then_some(MonotonicNs(event.arrived_ns)),
        waits: event.waits != 0,
        bytes: bytes.to_vec(),
    })
}

fn moment(item: &[u8]) -> Result<(ConnectionId, MonotonicNs, u64), DecodeError> {
    let (event, _): (abi::Moment, _) = prefix(item)?;
    let at = MonotonicNs(event.header.timestamp_ns);
    Ok((connection(&event.header), at, event.position))
}

fn closed(item: &[u8]) -> Result<ConnectionClosed, DecodeError> {
    let (event, _): (abi::ConnectionClosed, _) = prefix(item)?;
    Ok(ConnectionClosed {
        id: connection(&event.header),
        at: MonotonicNs(event.header.timestamp_ns),
        cause: match event.cause {
            abi::CAUSE_PEER_FINISHED => CloseCause::PeerFinished,
            abi::CAUSE_LOCAL_FINISHED => CloseCause::LocalFinished,
            abi::CAUSE_RESET => CloseCause::Reset,
            other => return Err(unknown("cause", other)),
        },
        bytes_read: event.bytes_read,
        bytes_written: event.bytes_written,
    })
}

fn prefix<T: FromBytes>(item: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    T::read_from_prefix(item).map_err(|_| DecodeError::Short { len: item.len() })
}

fn connection(header: &abi::EventHeader) -> ConnectionId {
    ConnectionId {
        socket: header.socket,
        opened: MonotonicNs(header.opened_ns),
    }
}

fn address(family: u16, bytes: [u8; 16], port: u16) -> Result<SocketAddr, DecodeError> {
    let ip = match family {
        abi::FAMILY_UNIX => return Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
        abi::FAMILY_IPV4 => {
            let [a, b, c, d, ..] = bytes;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        abi::FAMILY_IPV6 => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
        other => return Err(unknown("family", other.into())),
    };
    Ok(SocketAddr::new(ip, port))
}

fn unknown(field: &'static str, value: u32) -> DecodeError {
    DecodeError::Value { field, value }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    fn header(kind: u32) -> abi::EventHeader {
        abi::EventHeader {
            kind,
            tgid: 7,
            timestamp_ns: 20,
            socket: 3,
            opened_ns: 10,
        }
    }

    fn data_item(length: u32, captured: u32, bytes: &[u8]) -> Vec<u8> {
        let event = abi::Data {
            header: header(abi::KIND_DATA),
            position: 100,
            arrived_ns: 15,
            length,
            captured,
            direction: abi::DIRECTION_READ,
            waits: 1,
            reserved: [0; 2],
        };
        [event.as_bytes(), bytes].concat()
    }

    #[test]
    fn data_keeps_position_length_and_the_captured_bytes() {
        let event = decode(&data_item(500, 3, b"GET")).unwrap();
        let CaptureEvent::Data(data) = event else {
            panic!("not data: {event:?}")
        };
        assert_eq!(
            (data.position, data.length, &data.bytes[..]),
            (100, 500, &b"GET"[..])
        );
        assert_eq!(data.at, MonotonicNs(20));
        assert_eq!(data.arrived, Some(MonotonicNs(15)));
        assert_eq!(
            data.id,
            ConnectionId {
                socket: 3,
                opened: MonotonicNs(10)
            }
        );
    }

    #[test]
    fn moments_keep_their_time_and_position() {
        let item = |kind| abi::Moment {
            header: header(kind),
            position: 77,
        };
        let id = ConnectionId {
            socket: 3,
            opened: MonotonicNs(10),
        };
        let (at, position) = (MonotonicNs(20), 77);
        assert_eq!(
            decode(item(abi::KIND_ARRIVED).as_bytes()),
            Ok(CaptureEvent::Arrived(Arrived { id, at, position }))
        );
        assert_eq!(
            decode(item(abi::KIND_DRAINED).as_bytes()),
            Ok(CaptureEvent::Drained(Drained { id, at, position }))
        );
    }

    #[test]
    fn captured_beyond_the_item_is_an_error_not_a_panic() {
        assert!(matches!(
            decode(&data_item(500, 400, b"GET")),
            Err(DecodeError::Short { .. })
        ));
    }

    #[test]
    fn every_cut_of_an_item_is_an_error() {
        let item = data_item(3, 3, b"GET");
        for len in 0..item.len() {
            assert!(decode(&item[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn unknown_kind_is_an_error() {
        assert_eq!(decode(header(99).as_bytes()), Err(DecodeError::Kind(99)));
    }

    #[track_caller]
    fn opened_item(family: u16, peer_address: [u8; 16], peer_port: u16) -> ConnectionOpened {
        let event = abi::ConnectionOpened {
            header: header(abi::KIND_CONNECTION_OPENED),
            cgroup_id: 42,
            peer_address,
            local_address: [0; 16],
            peer_port,
            local_port: 80,
            family,
            origin: abi::ORIGIN_ACCEPTED,
        };
        match decode(event.as_bytes()) {
            Ok(CaptureEvent::Opened(opened)) => opened,
            other => panic!("not opened: {other:?}"),
        }
    }

    #[test]
    fn mapped_addresses_are_told_as_ipv4() {
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 172, 17, 0, 1]);
        let opened = opened_item(abi::FAMILY_IPV6, mapped, 5000);
        assert_eq!(opened.peer, "172.17.0.1:5000".parse().unwrap());
        assert_eq!(
            (opened.cgroup, opened.transport),
            (CgroupId(42), Transport::Tcp)
        );
    }

    #[test]
    fn unix_socket_has_no_addresses() {
        let opened = opened_item(abi::FAMILY_UNIX, [7; 16], 7);
        let nowhere = "0.0.0.0:0".parse().unwrap();
        assert_eq!((opened.peer, opened.local), (nowhere, nowhere));
        assert_eq!(opened.transport, Transport::Unix);
    }
}
