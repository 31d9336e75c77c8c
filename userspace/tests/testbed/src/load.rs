//! A known load, and what its sender saw of it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::client::{Connection, Request, Response};
use crate::clock::monotonic_ns;
use crate::docker::Container;
use crate::namespace;

/// Requests of one burst.
const BURST: usize = 4;
/// Longest wait for an answer to a request of a burst: longer than servers
/// keep a connection that they take for idle.
const BURST_PATIENCE: Duration = Duration::from_secs(8);

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
    /// Four requests written at once; a connection for as many such bursts as
    /// the server allows. What it does not answer stays without an answer.
    Pipelined,
}

/// How a request ended, as its sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the whole answer.
    Complete,
    /// The server closed the connection without an answer.
    Unanswered,
    /// The sender went away first.
    Left,
}

impl Ending {
    /// What a pipelined request without an answer came to, by what reading
    /// said; nothing if that says something else.
    fn of_missing(error: &io::Error) -> Option<Self> {
        match error.kind() {
            // A close with unread requests is a reset.
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => Some(Self::Unanswered),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Some(Self::Left),
            _ => None,
        }
    }
}

/// How a client goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// In good order.
    Finish,
    /// By a reset.
    Reset,
}

impl Leave {
    /// Both ways.
    pub const BOTH: [Self; 2] = [Self::Finish, Self::Reset];

    /// Ends a connection.
    pub fn leave(self, connection: Connection) {
        match self {
            Self::Finish => connection.finish(),
            Self::Reset => connection.reset(),
        }
    }
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
    /// The status that came, if one did.
    pub status: Option<u16>,
    /// How it ended.
    pub ending: Ending,
    /// Just before the request was written.
    pub sent_ns: u64,
    /// The read that brought the first byte of the answer returned; without an
    /// answer, as `last_byte_ns`.
    pub first_byte_ns: u64,
    /// The read that brought its last byte returned; without one, when the
    /// connection was found or made to be over.
    pub last_byte_ns: u64,
    /// Length of the answer's body.
    pub body_bytes: u64,
}

/// Sends each plan on a thread of its own, all at once, and returns what came.
///
/// # Panics
/// If a request gets no answer that is not pipelined: the servers here answer
/// every one.
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
    if reuse == Reuse::Pipelined {
        return pipeline_all(address, &plan);
    }
    let mut open = None;
    let mut rows = Vec::with_capacity(plan.len());
    for mut planned in plan {
        planned.request.close |= reuse == Reuse::Close;
        let row = open
            .take()
            .map_or_else(|| Connection::open(address), Ok)
            .and_then(|mut c| {
                let (row, closes) = exchange(&mut c, &planned)?;
                // Not every server says that it closes when it is asked to.
                let closes = closes || planned.request.close;
                open = (!closes && reuse == Reuse::KeepAlive).then_some(c);
                Ok(row)
            });
        rows.push(row.unwrap_or_else(|error| panic!("{planned:?} at {address}: {error}")));
    }
    rows
}

fn pipeline_all(address: SocketAddr, plan: &[Planned]) -> Vec<Row> {
    let mut open = None;
    let mut rows = Vec::with_capacity(plan.len());
    for burst in plan.chunks(BURST) {
        let told = open
            .take()
            .map_or_else(|| Connection::open(address), Ok)
            .and_then(|connection| {
                let (answers, connection) = exchange_at_once(connection, burst)?;
                open = connection;
                Ok(answers)
            });
        rows.extend(told.unwrap_or_else(|error| panic!("{burst:?} at {address}: {error}")));
    }
    rows
}

/// Sends a burst and reads what is answered; gives the connection back where
/// it can be used again. Some servers never answer the second request: after a
/// while the sender leaves.
fn exchange_at_once(
    mut connection: Connection,
    burst: &[Planned],
) -> io::Result<(Vec<Row>, Option<Connection>)> {
    connection.wait_at_most(BURST_PATIENCE)?;
    let sent_ns = connection.pipeline(burst.iter().map(|planned| &planned.request))?;
    let mut rows: Vec<Row> = Vec::with_capacity(burst.len());
    let mut closes = false;
    let mut missing = None;
    for planned in burst {
        let response = if missing.is_some() {
            None
        } else {
            match connection.receive() {
                Ok(response) => Some(response),
                Err(error) if !rows.is_empty() => {
                    missing = Some(Ending::of_missing(&error).ok_or(error)?);
                    None
                }
                Err(error) => return Err(error),
            }
        };
        closes |= response.as_ref().is_some_and(|response| response.closes);
        let row = Row::new(&connection, planned, sent_ns, response.as_ref());
        rows.push(Row {
            ending: missing.unwrap_or(row.ending),
            ..row
        });
    }
    if missing.is_some() {
        connection.finish();
        for row in rows.iter_mut().filter(|row| row.ending == Ending::Left) {
            row.last_byte_ns = monotonic_ns();
        }
        return Ok((rows, None));
    }
    Ok((rows, (!closes).then_some(connection)))
}

/// Sends one request and reads its answer; also tells whether the connection
/// is used up.
///
/// # Errors
/// Those of [`Connection::send`] and [`Connection::receive`].
pub fn exchange(connection: &mut Connection, planned: &Planned) -> io::Result<(Row, bool)> {
    let sent_ns = connection.send(&planned.request)?;
    let response = connection.receive()?;
    let row = Row::new(connection, planned, sent_ns, Some(&response));
    Ok((row, response.closes))
}

/// Sends `n` requests, one after the other, whose client goes away before the
/// answer, and as many whose client goes away inside a stream; half of each by
/// a FIN and half by a reset. Each is read by the server before its client
/// leaves: what a reset overtakes is never a request.
///
/// # Panics
/// If the server does not read, or does not begin its stream.
#[must_use]
pub fn abandon(container: &Container, port: u16, n: usize) -> Vec<Row> {
    let target = Target::inside(container, port);
    let pid = container.pid();
    let mut rows = Vec::with_capacity(2 * n);
    for leave in Leave::BOTH.into_iter().cycle().take(n) {
        for (request, route) in [
            (Request::get("/slow?ms=80"), "/slow"),
            (Request::get("/stream?n=20&ms=5"), "/stream"),
        ] {
            let planned = Planned { request, route };
            let mut connection = target.connect();
            let sent = connection.send(&planned.request);
            let sent_ns = sent.unwrap_or_else(|error| panic!("{planned:?}: {error}"));
            connection.await_read(pid);
            if route == "/stream" {
                let first = connection.first_byte();
                first.unwrap_or_else(|error| panic!("no stream from {planned:?}: {error}"));
                thread::sleep(Duration::from_millis(8));
            }
            rows.push(Row::left(connection, leave, &planned, sent_ns));
            // The next finds the server idle.
            thread::sleep(Duration::from_millis(100));
        }
    }
    rows
}

impl Row {
    /// Leaves a connection with a request that is not answered.
    #[must_use]
    pub fn left(connection: Connection, leave: Leave, planned: &Planned, sent_ns: u64) -> Self {
        let row = Self::new(&connection, planned, sent_ns, None);
        leave.leave(connection);
        Self {
            ending: Ending::Left,
            last_byte_ns: monotonic_ns(),
            ..row
        }
    }

    fn new(
        connection: &Connection,
        planned: &Planned,
        sent_ns: u64,
        response: Option<&Response>,
    ) -> Self {
        let now_ns = monotonic_ns();
        let ending = match response {
            Some(_) => Ending::Complete,
            None => Ending::Unanswered,
        };
        Self {
            local_port: connection.local_port(),
            method: planned.request.method,
            route: planned.route,
            status: response.map(|response| response.status),
            ending,
            sent_ns,
            first_byte_ns: response.map_or(now_ns, |response| response.first_byte_ns),
            last_byte_ns: response.map_or(now_ns, |response| response.last_byte_ns),
            body_bytes: response.map_or(0, |response| response.body.len() as u64),
        }
    }
}

/// Requests for streams of `n_events` events, 2 ms apart.
#[must_use]
pub fn streams(n: usize, n_events: usize) -> Vec<Planned> {
    let planned = Planned {
        request: Request::get(format!("/stream?n={n_events}&ms=2")),
        route: "/stream",
    };
    vec![planned; n]
}

/// Requests that can stand in one burst: none asks for the connection's end.
#[must_use]
pub fn bursts(n: usize) -> Vec<Planned> {
    (0..n * BURST).map(|index| planned(index % 14)).collect()
}

/// The mix that every server of the testbed answers alike: of each twenty, 14
/// answered 200, 2 answered 404 (a known route and an unknown one), 3 answered
/// 422 and 1 answered 500. One has a chunked body.
#[must_use]
pub fn mix(n: usize) -> Vec<Planned> {
    (0..n).map(planned).collect()
}

fn planned(index: usize) -> Planned {
    let (request, route) = match index % 20 {
        7 => (
            Request {
                chunked: true,
                ..Request::post("/predict", format!("{{\"x\": {index}}}"))
            },
            "/predict",
        ),
        0..=6 => (
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
