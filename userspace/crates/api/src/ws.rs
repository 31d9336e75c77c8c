//! `GET /api/v1/live`: everything once, then what changed, every second.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::future::{Either, select};
use modeltap_api_types::{Live, LiveCommand, LiveMessage, Requests, Service};
use std::pin::pin;
use tokio::time::timeout;

use crate::convert;
use crate::rest;
use crate::state::Sources;

/// Longest command a client may send.
const MAX_COMMAND_BYTES: usize = 4 * 1024;
/// Most requests told in one message; a busier second shows its newest.
const MAX_REQUESTS: usize = 200;
/// A client that takes no bytes for this long is cut off.
const SEND_WITHIN: Duration = Duration::from_secs(10);

/// Upgrades to a WebSocket.
#[utoipa::path(
    get,
    path = "/api/v1/live",
    tag = "live",
    responses(
        (status = 101, description = "A WebSocket. The daemon sends `LiveMessage`s, the client `LiveCommand`s, all as JSON text."),
        (status = 426, description = "Only WebSockets are answered here."),
    )
)]
pub async fn live(State(sources): State<Sources>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_COMMAND_BYTES)
        .max_frame_size(MAX_COMMAND_BYTES)
        .on_upgrade(|socket| Session::new(sources, socket).run())
}

/// One client.
struct Session {
    sources: Sources,
    socket: WebSocket,
    /// Services as they were told last, by name.
    told: HashMap<String, Service>,
    /// What of single requests is asked for, if anything.
    subscription: Option<Subscription>,
}

struct Subscription {
    service: Option<String>,
    /// Number of the last request told.
    after: u64,
}

impl Session {
    fn new(sources: Sources, socket: WebSocket) -> Self {
        Self {
            sources,
            socket,
            told: HashMap::new(),
            subscription: None,
        }
    }

    async fn run(mut self) {
        if self.snapshot().await.is_none() {
            return;
        }
        loop {
            let step = {
                let changed = pin!(self.sources.live.changed());
                let received = pin!(self.socket.recv());
                match select(changed, received).await {
                    Either::Left((Ok(()), _)) => Step::Changed,
                    Either::Right((Some(Ok(message)), _)) => Step::Received(message),
                    // The daemon ends, or the client has gone.
                    Either::Left((Err(_), _)) | Either::Right((None | Some(Err(_)), _)) => return,
                }
            };
            let went_on = match step {
                Step::Changed => self.update().await,
                Step::Received(message) => self.command(&message).await,
            };
            if went_on.is_none() {
                return;
            }
        }
    }

    async fn snapshot(&mut self) -> Option<()> {
        let live = self.current();
        self.told = live
            .services
            .iter()
            .map(|told| (told.name.clone(), told.clone()))
            .collect();
        self.send(&LiveMessage::Snapshot(live)).await
    }

    async fn update(&mut self) -> Option<()> {
        let mut live = self.current();
        self.told.retain(|name, _| live.names.contains(name));
        live.services
            .retain(|service| self.told.get(&service.name) != Some(service));
        for service in &live.services {
            self.told.insert(service.name.clone(), service.clone());
        }
        self.send(&LiveMessage::Update(live)).await?;
        self.requests().await
    }

    async fn requests(&mut self) -> Option<()> {
        let Some(subscription) = &mut self.subscription else {
            return Some(());
        };
        let recent = rest::recent(&self.sources).await.ok()?;
        let newest = recent
            .first()
            .map_or(subscription.after, |request| request.number);
        let requests: Vec<_> = recent
            .iter()
            .take_while(|request| request.number > subscription.after)
            .filter(|request| {
                subscription
                    .service
                    .as_deref()
                    .is_none_or(|service| *request.service == *service)
            })
            .take(MAX_REQUESTS)
            .map(|request| convert::request(request))
            .collect();
        subscription.after = newest;
        if requests.is_empty() {
            return Some(());
        }
        self.send(&LiveMessage::Requests(Requests {
            requests,
            next: None,
        }))
        .await
    }

    async fn command(&mut self, message: &Message) -> Option<()> {
        let Message::Text(text) = message else {
            return (!matches!(message, Message::Close(_))).then_some(());
        };
        match serde_json::from_str(text) {
            Ok(LiveCommand::SubscribeRequests { service }) => {
                self.subscription = Some(Subscription { service, after: 0 });
                self.requests().await
            }
            Ok(LiveCommand::UnsubscribeRequests) => {
                self.subscription = None;
                Some(())
            }
            Err(error) => {
                tracing::debug!(%error, "a live client sent no command of ours");
                None
            }
        }
    }

    fn current(&mut self) -> Live {
        let daemon = self.sources.daemon.borrow().clone();
        let live = self.sources.live.borrow_and_update().clone();
        convert::live(&live, &daemon)
    }

    async fn send(&mut self, message: &LiveMessage) -> Option<()> {
        let text = serde_json::to_string(message).ok()?;
        timeout(SEND_WITHIN, self.socket.send(Message::Text(text.into())))
            .await
            .ok()?
            .ok()
    }
}

enum Step {
    Changed,
    Received(Message),
}
