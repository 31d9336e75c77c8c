//! The table beside hyper: both read the same bytes, and must read the same in
//! them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use modeltap_core::connection::{
    CaptureEvent, CgroupId, CloseCause, ConnectionClosed, ConnectionId, ConnectionOpened, Data,
    Direction, Origin, Transport,
};
use modeltap_core::record::{Completeness, Method, Outcome};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::{Config, ConnectionTable};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const ID: ConnectionId = ConnectionId {
    socket: 1,
    opened: MonotonicNs(1_000),
};
/// Bytes on their way in a duplex: more than any conversation has.
const PIPE_BYTES: usize = 1 << 20;
/// No conversation is so slow that it does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// What both must agree on: method, path, status and the bodies' lengths.
type Told = (Option<Method>, String, Option<u16>, u64, u64);

/// A body as one side sends it.
#[derive(Clone, Debug)]
enum Body {
    Empty,
    Length(usize),
    /// Sizes of the chunks, and whether they have extensions and trailers.
    Chunked(Vec<usize>, bool),
}

impl Body {
    fn size(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Length(size) => *size,
            Self::Chunked(sizes, _) => sizes.iter().sum(),
        }
    }

    /// The rest of a head, and the body.
    fn push(&self, wire: &mut Vec<u8>) {
        match self {
            Self::Empty => wire.extend_from_slice(b"\r\n"),
            Self::Length(size) => {
                wire.extend_from_slice(format!("Content-Length: {size}\r\n\r\n").as_bytes());
                wire.extend(filler(*size));
            }
            Self::Chunked(sizes, odd) => {
                wire.extend_from_slice(b"transfer-encoding:  chunked\r\n\r\n");
                for size in sizes {
                    let line = match odd {
                        false => format!("{size:x}\r\n"),
                        true => format!("00{size:X};a=b;c\r\n"),
                    };
                    wire.extend_from_slice(line.as_bytes());
                    wire.extend(filler(*size));
                    wire.extend_from_slice(b"\r\n");
                }
                wire.extend_from_slice(match odd {
                    false => &b"0\r\n\r\n"[..],
                    true => b"0\r\nDigest: x\r\n\r\n",
                });
            }
        }
    }
}

/// Looks like framing.
fn filler(size: usize) -> impl Iterator<Item = u8> {
    let text = b"\r\n0\r\n\r\nHTTP/1.1 500 No\r\n\r\nGET /no HTTP/1.1\r\n\r\n";
    text.iter().copied().cycle().take(size)
}

#[derive(Clone, Debug)]
struct Exchange {
    method: &'static str,
    target: &'static str,
    fields: Vec<&'static str>,
    request: Body,
    interim: Vec<u16>,
    status: u16,
    response: Body,
}

impl Exchange {
    fn request_wire(&self) -> Vec<u8> {
        let mut wire = format!("{} {} HTTP/1.1\r\nHost: h\r\n", self.method, self.target);
        for field in &self.fields {
            wire.push_str(field);
            wire.push_str("\r\n");
        }
        let mut wire = wire.into_bytes();
        self.request.push(&mut wire);
        wire
    }

    fn response_wire(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        for status in &self.interim {
            wire.extend_from_slice(format!("HTTP/1.1 {status} Wait\r\nLink: x\r\n\r\n").as_bytes());
        }
        wire.extend_from_slice(format!("HTTP/1.1 {} \r\nServer: s\r\n", self.status).as_bytes());
        match self.status {
            204 | 304 => wire.extend_from_slice(b"\r\n"),
            _ if self.method == "HEAD" => wire.extend_from_slice(b"Content-Length: 7\r\n\r\n"),
            // Without a length it would last until the connection's end.
            _ if matches!(self.response, Body::Empty) => Body::Length(0).push(&mut wire),
            _ => self.response.push(&mut wire),
        }
        wire
    }
}

fn bodies() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::Empty),
        (0..3_000_usize).prop_map(Body::Length),
        (vec(1..400_usize, 0..6), any::<bool>()).prop_map(|(sizes, odd)| Body::Chunked(sizes, odd)),
    ]
}

fn exchanges() -> impl Strategy<Value = Exchange> {
    let methods = vec![
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "M-SEARCH",
    ];
    let targets = vec![
        "/",
        "/a/b",
        "/a?b=/c?d",
        "/%20%ff",
        "/a//b/../c",
        "http://host:80/abs?q",
        "/~user;v=1/*",
    ];
    let fields = vec![
        "Accept: */*",
        "X-Empty:",
        "X-Space:    a   b ",
        "cookie: a=b; c=d",
        "Content-Type: x/y",
    ];
    (
        select(methods),
        select(targets),
        vec(select(fields), 0..6),
        bodies(),
        vec(select(vec![100, 102, 103]), 0..3),
        select(vec![200, 201, 204, 304, 400, 404, 422, 500, 503, 599]),
        bodies(),
    )
        .prop_map(
            |(method, target, fields, request, interim, status, response)| Exchange {
                method,
                target,
                fields,
                request,
                interim,
                status,
                response,
            },
        )
}

/// Writes down what passes a duplex, as capture tells of it.
struct Tap {
    events: Vec<CaptureEvent>,
    positions: [u64; 2],
}

impl Tap {
    fn new() -> Self {
        let opened = CaptureEvent::Opened(ConnectionOpened {
            id: ID,
            cgroup: CgroupId(1),
            transport: Transport::Tcp,
            peer: ([10, 0, 0, 2], 40_000).into(),
            local: ([10, 0, 0, 1], 8_000).into(),
            origin: Origin::Accepted,
        });
        Self {
            events: vec![opened],
            positions: [0, 0],
        }
    }

    fn at(&self) -> MonotonicNs {
        MonotonicNs(2_000 + 1_000 * self.events.len() as u64)
    }

    fn pass(&mut self, direction: Direction, bytes: &[u8]) {
        let position = &mut self.positions[usize::from(direction == Direction::Write)];
        let data = Data {
            id: ID,
            at: MonotonicNs(0),
            direction,
            position: *position,
            length: u32::try_from(bytes.len()).expect("calls are short"),
            arrived: None,
            waits: false,
            bytes: bytes.to_vec(),
        };
        *position += bytes.len() as u64;
        let at = self.at();
        self.events.push(CaptureEvent::Data(Data { at, ..data }));
    }

    /// What the table tells of it; all of it is whole.
    fn told(mut self) -> Vec<Told> {
        let [bytes_read, bytes_written] = self.positions;
        self.events.push(CaptureEvent::Closed(ConnectionClosed {
            id: ID,
            at: self.at(),
            cause: CloseCause::LocalFinished,
            bytes_read,
            bytes_written,
        }));
        let mut table = ConnectionTable::new(Config::default());
        self.events.iter().for_each(|event| table.handle(event));
        table.handle_timeout(MonotonicNs(u64::MAX));
        assert_eq!(table.stats().bytes_parsed, bytes_read + bytes_written);
        std::iter::from_fn(|| table.poll_record())
            .map(|record| {
                assert_eq!(record.outcome, Outcome::Complete, "{record:?}");
                assert_eq!(record.completeness, Completeness::Whole, "{record:?}");
                (
                    record.method,
                    record.path,
                    record.status,
                    record.request_body_bytes,
                    record.response_body_bytes,
                )
            })
            .collect()
    }
}

/// Pieces of `bytes` as long as `sizes` say, over and over.
fn pieces<'a>(mut bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = sizes.next().map_or(1, |size| *size).min(bytes.len());
        let (piece, rest) = bytes.split_at(size);
        bytes = rest;
        (size > 0).then_some(piece)
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(PATIENCE, future).await })
        .expect("the conversation ends")
}

/// A server of hyper's reads the requests' bytes and answers by itself.
async fn served(exchanges: &[Exchange], reads: &[usize], writes: &[usize]) -> (Tap, Vec<Told>) {
    let (mut client, server) = duplex(PIPE_BYTES);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let plans = exchanges.to_vec();
    let service = service_fn(|request: Request<Incoming>| {
        let (seen, plans) = (seen.clone(), &plans);
        async move {
            let method = Method::parse(request.method().as_str());
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.expect("a whole body");
            let n_read = body.to_bytes().len() as u64;
            let mut seen = seen.lock().expect("one thread");
            let plan = &plans[seen.len()];
            let has_body = method != Method::Head && ![204, 304].contains(&plan.status);
            let n_written = if has_body {
                plan.response.size() as u64
            } else {
                0
            };
            seen.push((Some(method), path, Some(plan.status), n_read, n_written));
            let body = match &plan.response {
                _ if !has_body => Full::default().boxed(),
                Body::Chunked(sizes, _) => {
                    let frames = sizes.iter().map(|size| filler(*size).collect::<Bytes>());
                    let frames: Vec<_> = frames.map(|bytes| Ok(Frame::data(bytes))).collect();
                    Frames(frames.into_iter()).boxed()
                }
                body => Full::new(filler(body.size()).collect::<Bytes>()).boxed(),
            };
            let response = Response::builder().status(plan.status).body(body);
            Ok::<_, Infallible>(response.expect("a response"))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(server), service);
    let mut tap = Tap::new();
    let talk = async {
        for exchange in exchanges {
            for piece in pieces(&exchange.request_wire(), reads) {
                client.write_all(piece).await.expect("the server reads");
                tap.pass(Direction::Read, piece);
            }
        }
        client.shutdown().await.expect("a half-closed pipe");
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).await.expect("answers");
        for piece in pieces(&answers, writes) {
            tap.pass(Direction::Write, piece);
        }
    };
    let (served, ()) = tokio::join!(connection, talk);
    served.expect("hyper takes the requests for well-formed");
    let seen = std::mem::take(&mut *seen.lock().expect("one thread"));
    (tap, seen)
}

/// Frames that are all there already.
struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().0.next())
    }
}

/// A client of hyper's asks, and reads the responses' bytes.
async fn asked(exchanges: &[Exchange], writes: &[usize]) -> (Tap, Vec<Told>) {
    let (client, mut server) = duplex(PIPE_BYTES);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client))
        .await
        .expect("a connection");
    let mut tap = Tap::new();
    let mut seen = Vec::new();
    let talk = async {
        for exchange in exchanges {
            let body = filler(exchange.request.size()).collect::<Bytes>();
            let n_sent = body.len() as u64;
            let request = Request::builder()
                .method(exchange.method)
                .uri(exchange.target)
                .header("host", "h")
                .body(Full::new(body))
                .expect("a request");
            let path = request.uri().path().to_owned();
            let answer = async {
                sender.ready().await.expect("the connection is open");
                let response = sender.send_request(request).await.expect("a response");
                let status = response.status().as_u16();
                let body = response.into_body().collect().await.expect("a whole body");
                (status, body.to_bytes().len() as u64)
            };
            let serve = serve_raw(&mut server, exchange, n_sent, writes, &mut tap);
            let ((status, n_read), ()) = tokio::join!(answer, serve);
            let method = Some(Method::parse(exchange.method));
            seen.push((method, path, Some(status), n_sent, n_read));
        }
        drop(sender);
    };
    let (connected, ()) = tokio::join!(connection, talk);
    connected.expect("hyper takes the responses for well-formed");
    (tap, seen)
}

/// Reads a request with a body of `n_body` bytes and writes the response.
async fn serve_raw(
    server: &mut DuplexStream,
    exchange: &Exchange,
    n_body: u64,
    writes: &[usize],
    tap: &mut Tap,
) {
    let mut request = Vec::new();
    let mut buffer = [0; 997];
    loop {
        let n = server.read(&mut buffer).await.expect("a request");
        tap.pass(Direction::Read, &buffer[..n]);
        request.extend_from_slice(&buffer[..n]);
        let head = request.windows(4).position(|end| end == b"\r\n\r\n");
        if head.is_some_and(|head| request.len() as u64 == head as u64 + 4 + n_body) {
            break;
        }
    }
    for piece in pieces(&exchange.response_wire(), writes) {
        server.write_all(piece).await.expect("the client reads");
        tap.pass(Direction::Write, piece);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn requests_are_read_as_hypers_server_reads_them(
        exchanges in vec(exchanges(), 1..6),
        reads in vec(1..600_usize, 1..5),
        writes in vec(1..600_usize, 1..5),
    ) {
        let (tap, seen) = block_on(served(&exchanges, &reads, &writes));
        assert_eq!(seen.len(), exchanges.len());
        assert_eq!(tap.told(), seen);
    }

    #[test]
    fn responses_are_read_as_hypers_client_reads_them(
        exchanges in vec(exchanges(), 1..6),
        writes in vec(1..600_usize, 1..5),
    ) {
        let (tap, seen) = block_on(asked(&exchanges, &writes));
        assert_eq!(tap.told(), seen);
    }
}
