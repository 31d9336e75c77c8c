//! Accepts connections, and keeps those that say nothing from keeping others
//! out.
//!
//! Their number is bounded. When all places are taken, a newcomer gets the
//! place of the connection that has waited longest without a request: a head
//! that never ends (slowloris) and a browser's spare connection go first, and
//! a client with a request to make is served. Only where every connection is
//! being answered is the newcomer refused, in words.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::Request;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::error::ApiError;
use crate::traffic::Traffic;

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at a time, WebSockets not counted.
    pub n_connections: usize,
    /// Longest time from the connection, or from the last answer, to the end
    /// of the next head.
    pub head_within: Duration,
    /// How long an answer may be on its way before its place may be given to
    /// another: a client that reads nothing holds it no longer.
    pub answer_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            n_connections: 256,
            head_within: Duration::from_secs(30),
            answer_within: Duration::from_secs(90),
        }
    }
}

/// Most header fields of a request; more are answered with 431.
const MAX_HEADERS: usize = 100;
/// Longest head in bytes; a longer one is answered with 431. A browser sends
/// the cookies of every port of `localhost`.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Newcomers that are told at a time that there is no place.
const MAX_REFUSALS: usize = 32;
/// How long telling so may take.
const REFUSE_WITHIN: Duration = Duration::from_secs(1);
/// Pause after the kernel had no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);
/// How long answers under way may take once the daemon ends.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// Serves every connection until `stop` is ready, then drains.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    traffic: Arc<Traffic>,
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let places = Arc::new(Places::default());
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let (ending, ended) = watch::channel(());
    let mut tasks = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // The client gave up, or there is no descriptor left.
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        // An answer is one write; a second that waits for the first to be
        // acknowledged takes 40 ms.
        let _ = stream.set_nodelay(true);
        match places.take(&limits, &traffic) {
            Some(place) => {
                let connection = Connection {
                    place,
                    router: router.clone(),
                    ended: ended.clone(),
                    head_within: limits.head_within,
                };
                tasks.spawn(connection.run(stream));
            }
            None => {
                traffic.count(|traffic| &traffic.n_refused);
                if let Ok(permit) = refusals.clone().try_acquire_owned() {
                    tasks.spawn(async move {
                        refuse(stream).await;
                        drop(permit);
                    });
                }
            }
        }
    }
    drop(ending);
    drop(listener);
    let drained = timeout(DRAIN_WITHIN, async {
        while tasks.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!("clients that did not read their answers were cut off");
    }
    Ok(())
}

/// Says that there is no place. What the client sent is read, for a close with
/// unread bytes is a reset, which may overtake the answer.
async fn refuse(mut stream: TcpStream) {
    let told = async {
        stream.write_all(refusal().as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4_096];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // A client that does not take it is left.
    let _ = timeout(REFUSE_WITHIN, told).await;
}

fn refusal() -> String {
    let detail = "too many connections are being answered: try again in a second";
    let problem = ApiError::TooBusy(detail.to_owned()).problem();
    let body = serde_json::to_string(&problem).unwrap_or_default();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
         Retry-After: 1\r\nCache-Control: no-store\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One connection and its place.
struct Connection {
    place: Place,
    router: Router,
    ended: watch::Receiver<()>,
    head_within: Duration,
}

impl Connection {
    async fn run(mut self, stream: TcpStream) {
        let progress = self.place.progress.clone();
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |request: Request<Incoming>| {
            let busy = Busy::new(&progress);
            let answer = router.call(request);
            async move {
                let answered = answer.await;
                answered.map(|response| response.map(|body| Answer { body, _busy: busy }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_within)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let evicted = self.place.progress.evicted.notified();
        let mut evicted = std::pin::pin!(evicted);
        let mut is_ending = false;
        loop {
            tokio::select! {
                result = &mut connection => {
                    if let Err(error) = result {
                        tracing::trace!(%error, "a connection to the API broke");
                    }
                    return;
                }
                // Nothing is ever sent: it is ready once the sender is gone.
                _ = self.ended.changed(), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut evicted => return,
            }
        }
    }
}

/// Where a connection stands.
struct Progress {
    standing: Mutex<Standing>,
    evicted: Notify,
}

#[derive(Clone, Copy)]
struct Standing {
    n_answers: usize,
    since: Instant,
}

impl Progress {
    fn change(&self, n_answers: impl FnOnce(usize) -> usize) {
        let mut standing = lock(&self.standing);
        standing.n_answers = n_answers(standing.n_answers);
        standing.since = Instant::now();
    }

    /// When it may give its place to another, if it may; the earlier the
    /// rather.
    fn expendable(&self, limits: &Limits) -> Option<Instant> {
        let standing = *lock(&self.standing);
        let is_idle = standing.n_answers == 0;
        (is_idle || standing.since.elapsed() > limits.answer_within).then_some(standing.since)
    }
}

/// Every connection's place.
#[derive(Default)]
struct Places {
    taken: Mutex<(u64, BTreeMap<u64, Arc<Progress>>)>,
}

impl Places {
    fn take(self: &Arc<Self>, limits: &Limits, traffic: &Arc<Traffic>) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let (last, places) = &mut *taken;
        if places.len() >= limits.n_connections {
            let (id, _) = places
                .iter()
                .filter_map(|(id, progress)| Some((*id, progress.expendable(limits)?)))
                .min_by_key(|(_, since)| *since)?;
            if let Some(progress) = places.remove(&id) {
                progress.evicted.notify_one();
                traffic.count(|traffic| &traffic.n_evicted);
            }
        }
        *last += 1;
        let progress = Arc::new(Progress {
            standing: Mutex::new(Standing {
                n_answers: 0,
                since: Instant::now(),
            }),
            evicted: Notify::new(),
        });
        places.insert(*last, progress.clone());
        traffic.set_connections(places.len());
        Some(Place {
            id: *last,
            progress,
            places: self.clone(),
            traffic: traffic.clone(),
        })
    }
}

/// One place, given back when it is dropped.
struct Place {
    id: u64,
    progress: Arc<Progress>,
    places: Arc<Places>,
    traffic: Arc<Traffic>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        taken.1.remove(&self.id);
        self.traffic.set_connections(taken.1.len());
    }
}

/// A request is being answered.
struct Busy(Arc<Progress>);

impl Busy {
    fn new(progress: &Arc<Progress>) -> Self {
        progress.change(|n| n + 1);
        Self(progress.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|n| n.saturating_sub(1));
    }
}

/// An answer's body: the connection is busy until it is written.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(ctx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What the lock guards is whole whoever panicked while holding it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
