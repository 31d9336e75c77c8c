//! A known load, and what its sender saw of it.

use std::io;
use std::net::SocketAddr;
use std::thread;

use crate::client::{Connection, Request};
use crate::docker::Container;
use crate::namespace;

/// Where to send: an address, and the process in whose network it is.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The server's address.
    pub address: SocketAddr,
    /// A process of the network namespace; none for our own.
    pub namespace_of: Option<u32>,
}

impl Target {
    /// A server on the loopback of a container's own network.
    #[must_use]
    pub fn inside(container: &Container, port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            address,
            namespace_of: Some(container.pid()),
        }
    }

    /// A server on our own loopback.
    #[must_use]
    pub fn here(port: u16) -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            namespace_of: None,
        }
    }

    /// Connects.
    ///
    /// # Panics
    /// If the server refuses.
    #[must_use]
    pub fn connect(&self) -> Connection {
        let address = self.address;
        namespace::run(self.namespace_of, move || Connection::open(address))
            .unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }
}

/// A request to send, and the route that it should be told under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The request.
    pub request: Request,
    /// The route template.
    pub route: &'static str,
}

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// One connection for as many requests as the server allows.
    KeepAlive,
    /// One connection a request, closed by the server at the request's word.
    Close,
}

/// One request, as its sender saw it. Times are on CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Our port.
    pub local_port: u16,
    /// The method.
    pub method: &'static str,
    /// The route it was planned under.
    pub route: &'static str,
    /// The status that came.
    pub status: u16,
    /// Just before the request was written.
    pub sent_ns: u64,
    /// The read that brought the first byte of the answer returned.
    pub first_byte_ns: u64,
    /// The read that brought its last byte returned.
    pub last_byte_ns: u64,
    /// Length of the answer's body.
    pub body_bytes: u64,
}

/// Sends each plan on a thread of its own, all at once, and returns what came.
///
/// # Panics
/// If a request gets no answer: the servers here answer every one.
#[must_use]
pub fn run(target: Target, plans: Vec<(Reuse, Vec<Planned>)>) -> Vec<Row> {
    thread::scope(|scope| {
        let workers: Vec<_> = plans
            .into_iter()
            .map(|(reuse, plan)| {
                scope.spawn(move || {
                    target.namespace_of.into_iter().for_each(namespace::enter);
                    send_all(target.address, reuse, plan)
                })
            })
            .collect();
        let rows = workers.into_iter().map(|worker| match worker.join() {
            Ok(rows) => rows,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        rows.flatten().collect()
    })
}

fn send_all(address: SocketAddr, reuse: Reuse, plan: Vec<Planned>) -> Vec<Row> {
    let mut open = None;
    let mut rows = Vec::with_capacity(plan.len());
    for mut planned in plan {
        planned.request.close |= reuse == Reuse::Close;
        let row = open
            .take()
            .map_or_else(|| Connection::open(address), Ok)
            .and_then(|mut c| {
                let (row, closes) = exchange(&mut c, &planned)?;
                open = (!closes && reuse == Reuse::KeepAlive).then_some(c);
                Ok(row)
            });
        rows.push(row.unwrap_or_else(|error| panic!("{planned:?} at {address}: {error}")));
    }
    rows
}

/// Sends one request and reads its answer; also tells whether the connection
/// is used up.
///
/// # Errors
/// Those of [`Connection::send`] and [`Connection::receive`].
pub fn exchange(connection: &mut Connection, planned: &Planned) -> io::Result<(Row, bool)> {
    let sent_ns = connection.send(&planned.request)?;
    let response = connection.receive()?;
    let row = Row {
        local_port: connection.local_port(),
        method: planned.request.method,
        route: planned.route,
        status: response.status,
        sent_ns,
        first_byte_ns: response.first_byte_ns,
        last_byte_ns: response.last_byte_ns,
        body_bytes: response.body.len() as u64,
    };
    Ok((row, response.closes))
}

/// The mix that every server of the testbed answers alike: of each twenty, 14
/// answered 200, 2 answered 404 (a known route and an unknown one), 3 answered
/// 422 and 1 answered 500.
#[must_use]
pub fn mix(n: usize) -> Vec<Planned> {
    (0..n).map(planned).collect()
}

fn planned(index: usize) -> Planned {
    let (request, route) = match index % 20 {
        0..=7 => (
            Request::post("/predict", format!("{{\"x\": {index}}}")),
            "/predict",
        ),
        8..=13 => (
            Request::get(format!("/items/{}", index % 1_000)),
            "/items/{id}",
        ),
        14..=16 => (
            Request::post("/predict", "{\"x\": \"no number\"}"),
            "/predict",
        ),
        17 => (
            Request::get(format!("/items/{}", 1_000 + index)),
            "/items/{id}",
        ),
        18 => (Request::get("/missing?of=nothing"), "/missing"),
        // Some servers close the connection after an exception without saying
        // so, and a request sent meanwhile would be theirs or nobody's.
        _ => (
            Request {
                close: true,
                ..Request::get("/fail")
            },
            "/fail",
        ),
    };
    Planned { request, route }
}

/// Splits a load over two connections that are kept and two threads that open
/// one for each request.
#[must_use]
pub fn spread(plan: Vec<Planned>) -> Vec<(Reuse, Vec<Planned>)> {
    let reuse = [
        Reuse::KeepAlive,
        Reuse::Close,
        Reuse::KeepAlive,
        Reuse::Close,
    ];
    let mut plans = reuse.map(|reuse| (reuse, Vec::new()));
    for (index, planned) in plan.into_iter().enumerate() {
        plans[index / 20 % 4].1.push(planned);
    }
    plans.into()
}
