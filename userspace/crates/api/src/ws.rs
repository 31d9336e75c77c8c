//! `GET /api/v1/live`: everything once, then what changed, every second.
//!
//! A client that does not keep up gets fewer, later messages, never a queue:
//! each tells what changed since the one before. One that reads nothing at all
//! is cut off, and told so by the close frame (RFC 6455 section 7.4).
//!
//! | close code | why |
//! |---|---|
//! | 1001 | the daemon ends |
//! | 1008 | more commands than a client has a use for |
//! | 1009 | a command that is too long, or no WebSocket frame |
//! | 1013 | the client did not read |

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use modeltap_api_types::{
    Live, LiveCommand, LiveMessage, LiveSelection, RequestSelection, Requests, Service,
};
use modeltap_metrics::LiveSnapshot;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::convert;
use crate::error::ApiError;
use crate::extract::{NoParameters, Parameters};
use crate::feed::{Client, Feed};
use crate::query::{RequestFilter, RequestParameters};

/// The protocol of a client that offers its token as another.
const PROTOCOL: &str = "modeltap.v1";
/// Longest command a client may send.
const MAX_COMMAND_BYTES: usize = 16 * 1024;
/// Most commands of a client between two seconds.
const MAX_COMMANDS: u32 = 50;
/// Most services a client may choose.
const MAX_SERVICES: usize = 200;
/// Most requests told in one message; a busier second shows its newest.
const MAX_REQUESTS: usize = 200;
/// Most bytes that wait for a client: one message.
const MAX_WAITING_BYTES: usize = 32 * 1024 * 1024;

/// Live figures, alerts and requests over a WebSocket.
#[utoipa::path(
    get,
    path = "/api/v1/live",
    tag = "live",
    responses(
        (status = 101, description = "A WebSocket. The daemon sends `LiveMessage`s, the client `LiveCommand`s, all as JSON text."),
        (status = 426, description = "Only WebSockets are answered here."),
    )
)]
pub async fn live(
    State(feed): State<Arc<Feed>>,
    _: Parameters<NoParameters>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|error| ApiError::UpgradeRequired(error.body_text()))?;
    let client = feed
        .admit()
        .ok_or_else(|| ApiError::TooBusy("there are too many live clients".to_owned()))?;
    Ok(upgrade
        .protocols([PROTOCOL])
        .max_message_size(MAX_COMMAND_BYTES)
        .max_frame_size(MAX_COMMAND_BYTES)
        .max_write_buffer_size(MAX_WAITING_BYTES)
        .on_upgrade(|socket| Session::new(feed, client, socket).run()))
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client has gone.
    Gone,
    /// The daemon ends.
    Ending,
    /// It did not read.
    Slow,
    /// It sent what is no message of ours.
    Broken,
    /// It commands without end.
    Restless,
}

impl End {
    fn frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Gone => return None,
            Self::Ending => (1001, "the daemon ends"),
            Self::Slow => (1013, "too slow: messages were not read; connect again"),
            Self::Broken => (1009, "a command is JSON text of at most 16 KB"),
            Self::Restless => (1008, "too many commands"),
        };
        Some(CloseFrame {
            code,
            reason: reason.into(),
        })
    }
}

/// One client.
struct Session {
    feed: Arc<Feed>,
    client: Client,
    socket: WebSocket,
    seconds: watch::Receiver<Arc<LiveSnapshot>>,
    selection: Selection,
    /// What was told last; of a selection, the part that is in it.
    told: Option<Arc<Live>>,
    /// What of single requests is asked for, if anything.
    subscription: Option<Subscription>,
    /// When the client was heard last.
    heard: Instant,
    /// Whether it was asked since whether it is there.
    is_asked: bool,
    /// Commands since the last second.
    n_commands: u32,
}

struct Subscription {
    filter: RequestFilter,
    /// Number of the last request told.
    after: u64,
}

/// What of live figures is told.
struct Selection {
    services: Option<BTreeSet<String>>,
    alerts: bool,
}

impl Session {
    fn new(feed: Arc<Feed>, client: Client, socket: WebSocket) -> Self {
        Self {
            seconds: feed.seconds(),
            feed,
            client,
            socket,
            selection: Selection {
                services: None,
                alerts: true,
            },
            told: None,
            subscription: None,
            heard: Instant::now(),
            is_asked: false,
            n_commands: 0,
        }
    }

    async fn run(mut self) {
        let Err(end) = self.talk().await;
        if end == End::Slow {
            self.client.is_slow();
        }
        let Some(frame) = end.frame() else {
            return;
        };
        tracing::debug!(reason = %frame.reason, "a live client was cut off");
        let told = async {
            // Behind what waits already: the client learns it once it reads.
            let sent = self.socket.send(Message::Close(Some(frame))).await;
            while sent.is_ok() && matches!(self.socket.recv().await, Some(Ok(_))) {}
        };
        // A client that does not even read this is left.
        let _ = timeout(self.feed.pace.close_within, told).await;
    }

    async fn talk(&mut self) -> Result<std::convert::Infallible, End> {
        self.snapshot().await?;
        loop {
            let pace = self.feed.pace;
            let patience = if self.is_asked {
                pace.answer_within
            } else {
                pace.ping_every
            };
            tokio::select! {
                changed = self.seconds.changed() => {
                    changed.map_err(|_| End::Ending)?;
                    self.update().await?;
                }
                received = self.socket.recv() => {
                    self.heard = Instant::now();
                    self.is_asked = false;
                    match received {
                        Some(Ok(message)) => self.receive(&message).await?,
                        Some(Err(_)) => return Err(End::Broken),
                        None => return Err(End::Gone),
                    }
                }
                () = sleep_until(self.heard + patience) => {
                    if self.is_asked {
                        return Err(End::Slow);
                    }
                    self.is_asked = true;
                    self.send_message(Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    async fn snapshot(&mut self) -> Result<(), End> {
        let (_, live) = self.current().await;
        let told = self.selection.of(&live, |_| true);
        self.told = Some(live);
        self.send(&LiveMessage::Snapshot(told)).await
    }

    async fn update(&mut self) -> Result<(), End> {
        self.n_commands = 0;
        let (second, live) = self.current().await;
        let told = self.told.replace(live.clone());
        let before: HashMap<&str, &Service> = told
            .iter()
            .flat_map(|told| &told.services)
            .map(|service| (service.name.as_str(), service))
            .collect();
        let changed = |service: &Service| before.get(service.name.as_str()) != Some(&service);
        let update = self.selection.of(&live, changed);
        self.send(&LiveMessage::Update(update)).await?;
        self.requests(&second).await
    }

    async fn current(&mut self) -> (Arc<LiveSnapshot>, Arc<Live>) {
        let second = self.seconds.borrow_and_update().clone();
        let live = self.feed.live(&second).await;
        (second, live)
    }

    async fn requests(&mut self, second: &Arc<LiveSnapshot>) -> Result<(), End> {
        let Some(subscription) = &mut self.subscription else {
            return Ok(());
        };
        let filter = &subscription.filter;
        let recent = self.feed.recent(second, filter.transport).await;
        let recent = recent.map_err(|_| End::Ending)?;
        let requests: Vec<_> = recent
            .iter()
            .take_while(|request| request.number > subscription.after)
            .filter(|request| filter.admits(request))
            .take(MAX_REQUESTS)
            .map(|request| convert::request(request))
            .collect();
        if let Some(newest) = recent.first() {
            subscription.after = newest.number;
        }
        if requests.is_empty() {
            return Ok(());
        }
        let requests = Requests {
            requests,
            next: None,
        };
        self.send(&LiveMessage::Requests(requests)).await
    }

    async fn receive(&mut self, message: &Message) -> Result<(), End> {
        let text = match message {
            Message::Text(text) => text.as_str(),
            // Pings are answered by the socket itself.
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End::Gone),
            Message::Binary(_) => {
                return self.complain("commands are JSON text".to_owned()).await;
            }
        };
        self.n_commands += 1;
        if self.n_commands > MAX_COMMANDS {
            return Err(End::Restless);
        }
        match serde_json::from_str(text) {
            Ok(LiveCommand::Subscribe(selection)) => self.select(selection).await,
            Ok(LiveCommand::SubscribeRequests(selection)) => self.subscribe(selection).await,
            Ok(LiveCommand::UnsubscribeRequests) => {
                self.subscription = None;
                Ok(())
            }
            Err(error) => {
                let error: String = error.to_string().chars().take(300).collect();
                self.complain(format!("the command is not understood: {error}"))
                    .await
            }
        }
    }

    async fn select(&mut self, selection: LiveSelection) -> Result<(), End> {
        let services = selection.services;
        if services
            .as_ref()
            .is_some_and(|all| all.len() > MAX_SERVICES)
        {
            let detail = format!("services must be at most {MAX_SERVICES}, or null for all");
            return self.complain(detail).await;
        }
        self.selection = Selection {
            services: services.map(BTreeSet::from_iter),
            alerts: selection.alerts,
        };
        self.snapshot().await
    }

    async fn subscribe(&mut self, selection: RequestSelection) -> Result<(), End> {
        match RequestParameters::from(selection).parse(self.feed.run()) {
            Ok(filter) => {
                self.subscription = Some(Subscription { filter, after: 0 });
                let second = self.seconds.borrow().clone();
                self.requests(&second).await
            }
            Err(error) => self.complain(error.to_string()).await,
        }
    }

    async fn complain(&mut self, detail: String) -> Result<(), End> {
        self.send(&LiveMessage::Error { detail }).await
    }

    async fn send(&mut self, message: &LiveMessage) -> Result<(), End> {
        let text = serde_json::to_string(message).map_err(|_| End::Gone)?;
        self.send_message(Message::Text(text.into())).await
    }

    async fn send_message(&mut self, message: Message) -> Result<(), End> {
        let sent = timeout(self.feed.pace.send_within, self.socket.send(message)).await;
        sent.map_err(|_| End::Slow)?.map_err(|_| End::Gone)
    }
}

impl Selection {
    fn has(&self, service: &str) -> bool {
        self.services
            .as_ref()
            .is_none_or(|chosen| chosen.contains(service))
    }

    /// What is chosen of `live`, of services those that `changed`.
    fn of(&self, live: &Live, changed: impl Fn(&Service) -> bool) -> Live {
        Live {
            status: live.status.clone(),
            services: live
                .services
                .iter()
                .filter(|service| self.has(&service.name) && changed(service))
                .cloned()
                .collect(),
            names: live
                .names
                .iter()
                .filter(|name| self.has(name))
                .cloned()
                .collect(),
            seconds: live
                .seconds
                .iter()
                .filter(|second| self.has(&second.service))
                .cloned()
                .collect(),
            alerts: live
                .alerts
                .iter()
                .filter(|alert| self.alerts && self.has(&alert.service))
                .cloned()
                .collect(),
            ..*live
        }
    }
}

#[cfg(test)]
mod tests;
