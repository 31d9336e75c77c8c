//! A task that counts, with a few requests, behind a whole API.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use modeltap_core::connection::ConnectionId;
use modeltap_core::time::{MonotonicNs, UnixNs};
use modeltap_metrics::{Aggregator, Config, LiveSnapshot};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

use crate::convert::tests::{ANCHOR, chat, container};
use crate::feed::{Feed, Pace};
use crate::guard::Access;
use crate::server::{self, Shared};
use crate::state::{Ask, DaemonState, Sources};
use crate::traffic::Traffic;

/// The API over requests that a test makes.
pub struct Fixture {
    pub sources: Sources,
    pub traffic: Arc<Traffic>,
    pub requests: mpsc::Sender<usize>,
    pub access: Access,
    pub pace: Option<Pace>,
    _daemon: watch::Sender<Arc<DaemonState>>,
}

impl Fixture {
    /// With this many requests already counted.
    pub fn new(n_requests: usize) -> Self {
        let live = watch::Sender::new(Arc::default());
        let daemon = watch::Sender::new(Arc::new(DaemonState {
            started: ANCHOR.unix,
            ..DaemonState::default()
        }));
        let (asks, asked) = mpsc::channel(8);
        let (requests, more) = mpsc::channel(8);
        let sources = Sources {
            live: live.subscribe(),
            daemon: daemon.subscribe(),
            asks,
            history: None,
        };
        let mut counting = Counting::new(live);
        counting.add(n_requests);
        tokio::spawn(counting.run(asked, more));
        Self {
            sources,
            traffic: Arc::default(),
            requests,
            access: Access::default(),
            pace: None,
            _daemon: daemon,
        }
    }

    /// Every route.
    pub fn router(&self) -> Router {
        let mut shared = Shared::new(self.sources.clone(), self.traffic.clone());
        if let Some(pace) = self.pace {
            let feed = Feed::new(self.sources.clone(), self.traffic.clone(), pace);
            shared.feed = Arc::new(feed);
        }
        server::router(shared, self.access.clone())
    }

    /// Asks for a path with headers.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, headers, "").await
    }

    /// Asks with a method and a body.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1:7979");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        Answer::read(self.router().oneshot(request).await.unwrap()).await
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: body.to_vec(),
        }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Counts, answers, and closes a second after each lot of requests.
struct Counting {
    aggregator: Aggregator,
    number: u64,
    second: u64,
    live: watch::Sender<Arc<LiveSnapshot>>,
}

impl Counting {
    fn new(live: watch::Sender<Arc<LiveSnapshot>>) -> Self {
        let mut aggregator = Aggregator::new(Config::default());
        aggregator.upsert_container(&container());
        aggregator.tick(ANCHOR.unix);
        Self {
            aggregator,
            number: 0,
            second: 0,
            live,
        }
    }

    fn add(&mut self, n_requests: usize) {
        for _ in 0..n_requests {
            self.number += 1;
            let mut record = chat();
            record.connection = ConnectionId {
                socket: self.number,
                opened: MonotonicNs(0),
            };
            self.aggregator.record(record, &container(), ANCHOR);
        }
        self.second += 1;
        self.aggregator
            .tick(UnixNs(ANCHOR.unix.0 + self.second * 1_000_000_000));
        self.live.send_replace(Arc::new(self.aggregator.snapshot()));
    }

    async fn run(mut self, mut asked: mpsc::Receiver<Ask>, mut more: mpsc::Receiver<usize>) {
        loop {
            tokio::select! {
                Some(n) = more.recv() => self.add(n),
                ask = asked.recv() => match ask {
                    Some(Ask::Recent(sender)) => {
                        let _ = sender.send(self.aggregator.recent().cloned().collect());
                    }
                    Some(Ask::RecentInner(sender)) => {
                        let _ = sender.send(self.aggregator.recent_inner().cloned().collect());
                    }
                    Some(Ask::Metrics(sender)) => {
                        let _ = sender.send("modeltap_up 1\n".to_owned());
                    }
                    Some(Ask::Alerts(_)) => {}
                    None => return,
                },
            }
        }
    }
}
