//! Requests and containers for tests.

use std::time::Duration;

use modeltap_core::connection::{CgroupId, ConnectionId, Transport};
use modeltap_core::container::{Container, ContainerId, Inspect, Lifecycle, ServiceName, Slo};
use modeltap_core::record::{Completeness, Method, Outcome, RequestRecord, Timings};
use modeltap_core::time::{MonotonicNs, TimeAnchor, UnixNs};

/// The monotonic zero is this second of wall time.
pub const EPOCH: u64 = 1_700_000_000;
pub const ANCHOR: TimeAnchor = TimeAnchor {
    monotonic: MonotonicNs(0),
    unix: UnixNs(EPOCH * 1_000_000_000),
};

pub fn at(seconds: f64) -> UnixNs {
    UnixNs(EPOCH * 1_000_000_000 + (seconds * 1e9) as u64)
}

pub fn container(service: &str, name: &str) -> Container {
    Container {
        id: ContainerId(format!("{service}/{name}")),
        name: name.into(),
        service: ServiceName(service.into()),
        project: Some("shop".into()),
        image: "image:1".into(),
        cgroup: CgroupId(name.len() as u64 * 1_000 + u64::from(name.as_bytes()[name.len() - 1])),
        pid: 1,
        routes: Vec::new(),
        inspect: Inspect::default(),
        lifecycle: Lifecycle::default(),
        slo: Slo::default(),
    }
}

/// A complete POST that finished at `finished` after `duration`.
pub fn request(path: &str, status: u16, finished: f64, duration: Duration) -> RequestRecord {
    let end = MonotonicNs((finished * 1e9) as u64);
    let start = MonotonicNs(end.0.saturating_sub(duration.as_nanos() as u64));
    RequestRecord {
        connection: ConnectionId {
            socket: 1,
            opened: MonotonicNs(0),
        },
        sequence: 0,
        cgroup: CgroupId(1),
        transport: Transport::Tcp,
        peer: "10.0.0.2:50000".parse().expect("an address"),
        local: "10.0.0.1:8000".parse().expect("an address"),
        method: Some(Method::Post),
        path: path.into(),
        http_minor: 1,
        status: Some(status),
        timings: Timings {
            arrived: None,
            accepted: None,
            request_start: start,
            request_end: Some(start),
            response_start: Some(end),
            body_start: Some(end),
            response_end: Some(end),
            drained: None,
            finished: end,
        },
        request_body_bytes: 10,
        response_body_bytes: 2_000,
        streamed: false,
        stream: None,
        inference: None,
        outcome: Outcome::Complete,
        completeness: Completeness::Whole,
    }
}
