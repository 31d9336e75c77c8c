//! One typed door to the daemon: requests that time out, and the live
//! connection that comes back by itself.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use js_sys::Array;
use leptos::prelude::{
    Effect, Get, GetUntracked, Memo, RwSignal, Set, Signal, Track, Trigger, set_timeout, window,
};
use modeltap_api_types::{LiveCommand, LiveMessage, Problem};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, MessageEvent, RequestInit, Response, WebSocket};

use crate::browser;
use crate::json;
use crate::state::{Connection, Store};
use crate::words::{W, phrases, t};

/// Longest wait for an answer.
const TIMEOUT_MS: u32 = 10_000;
/// Longest wait for what changes something: a test of a notifier waits for
/// somebody else's server.
const WRITE_TIMEOUT_MS: u32 = 30_000;
/// First and longest pause before the live connection is tried again.
const BACK_OFF_MS: (u64, u64) = (500, 8_000);
/// The daemon speaks every second; after this much silence it is gone, even
/// where the connection was never closed (a host that lost power).
const SILENCE_MS: f64 = 6_000.0;
/// Longest live message that is read.
const MAX_MESSAGE_CHARS: usize = 16 << 20;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The daemon did not answer.
    Unreachable,
    /// It refused, and says why.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What was wrong.
        detail: String,
    },
    /// It answered something this page does not understand.
    Unreadable(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str(t(W::DaemonSilent)),
            Self::Refused { status, detail } => {
                f.write_str(&phrases::bracketed(detail, &status.to_string()))
            }
            Self::Unreadable(why) => f.write_str(&phrases::unreadable(why)),
        }
    }
}

/// A way to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Makes something.
    Post,
    /// Puts something in its place.
    Put,
    /// Takes something away.
    Delete,
}

/// Changes something at a path of the API, and hands out the answer's text.
///
/// The token, where one is asked for, is the browser's to send, as it is for
/// what is read.
///
/// # Errors
/// As for [`fetch`]; `Refused` has the problem document's own words.
pub async fn write(
    method: Write,
    path: String,
    body: Option<String>,
) -> Result<String, FetchError> {
    exchange(path, Some((method, body))).await
}

/// Reads a path of the API.
///
/// # Errors
/// `Unreachable` after ten seconds or without a connection, `Refused` for any
/// status but 2xx, `Unreadable` for a body of another shape.
pub async fn fetch<T: DeserializeOwned>(path: &str) -> Result<T, FetchError> {
    // Everything but the last line is compiled once, not once a type.
    parse(&fetch_text(path.to_owned()).await?)
}

/// Reads an answer's text.
///
/// # Errors
/// `Unreadable` for another shape.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, FetchError> {
    json::read(text).map_err(|e| FetchError::Unreadable(e.to_string()))
}

/// Reads a path of the API as text.
pub fn fetch_text(path: String) -> Pin<Box<dyn Future<Output = Result<String, FetchError>>>> {
    exchange(path, None)
}

fn exchange(
    path: String,
    change: Option<(Write, Option<String>)>,
) -> Pin<Box<dyn Future<Output = Result<String, FetchError>>>> {
    Box::pin(async move {
        let init = RequestInit::new();
        let mut patience = TIMEOUT_MS;
        if let Some((method, body)) = change {
            patience = WRITE_TIMEOUT_MS;
            init.set_method(match method {
                Write::Post => "POST",
                Write::Put => "PUT",
                Write::Delete => "DELETE",
            });
            if let Some(body) = body {
                let header = Array::of2(&"Content-Type".into(), &"application/json".into());
                init.set_headers(&Array::of1(&header));
                init.set_body(&body.into());
            }
        }
        init.set_signal(Some(&AbortSignal::timeout_with_u32(patience)));
        let response = JsFuture::from(window().fetch_with_str_and_init(&path, &init))
            .await
            .map_err(|_| FetchError::Unreachable)?;
        let response: Response = response.unchecked_into();
        let text = match response.text() {
            Ok(promise) => JsFuture::from(promise)
                .await
                .map_err(|_| FetchError::Unreachable)?,
            Err(_) => return Err(FetchError::Unreachable),
        };
        let text = text.as_string().unwrap_or_default();
        if !response.ok() {
            let status = response.status();
            let detail = json::read::<Problem>(&text)
                .map_or_else(|_| response.status_text(), |problem| problem.detail);
            return Err(FetchError::Refused { status, detail });
        }
        Ok(text)
    })
}

/// What is asked for again and again: the last answer and the last failure.
pub struct Polled<T: Send + Sync + 'static> {
    /// The last answer; a later failure leaves it.
    pub value: RwSignal<Option<T>>,
    /// Why the newest attempt failed.
    pub error: RwSignal<Option<FetchError>>,
    /// Told, it is asked for at once: something was changed.
    pub again: Trigger,
}

impl<T: Send + Sync + 'static> Clone for Polled<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for Polled<T> {}

/// Reads a path once the daemon answers and `known` holds, and then every
/// `period` for as long as `live` holds too and the page is in sight; one
/// request at a time.
pub fn poll<T>(
    store: Store,
    path: String,
    period: Duration,
    known: Signal<bool>,
    live: Signal<bool>,
) -> Polled<T>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    let polled = Polled {
        value: RwSignal::new(None),
        error: RwSignal::new(None),
        again: Trigger::new(),
    };
    // The page may have gone while the answer was on its way.
    let take = move |answer: Result<String, FetchError>| match answer.and_then(|t| parse(&t)) {
        Ok(value) => {
            polled.value.try_set(Some(value));
            polled.error.try_set(None);
        }
        Err(error) => {
            polled.error.try_set(Some(error));
        }
    };
    let times = (period, polled.again);
    poll_text(store, path, times, known, live, Rc::new(take));
    polled
}

/// Takes an answer's text.
type Take = Rc<dyn Fn(Result<String, FetchError>)>;

fn poll_text(
    store: Store,
    path: String,
    (period, again): (Duration, Trigger),
    known: Signal<bool>,
    live: Signal<bool>,
    take: Take,
) {
    let busy = Rc::new(Cell::new(false));
    // An answer that was on its way when something changed may be of before.
    let outdated = Rc::new(Cell::new(false));
    let read = {
        let outdated = Rc::clone(&outdated);
        move || {
            if busy.replace(true) {
                return;
            }
            outdated.set(false);
            let (busy, path, take) = (Rc::clone(&busy), path.clone(), Rc::clone(&take));
            let outdated = Rc::clone(&outdated);
            leptos::task::spawn_local(async move {
                loop {
                    let answer = fetch_text(path.clone()).await;
                    if !outdated.replace(false) {
                        busy.set(false);
                        take(answer);
                        break;
                    }
                }
            });
        }
    };
    let ready = Memo::new(move |_| store.connection.get() == Connection::Open && known.get());
    Effect::new({
        let read = read.clone();
        move |_| {
            again.track();
            if ready.get() {
                outdated.set(true);
                read();
            }
        }
    });
    browser::every(period, move || {
        if ready.get_untracked() && live.get_untracked() && !browser::is_hidden() {
            read();
        }
    });
}

/// Opens the live connection and keeps it open for as long as the page lives.
pub fn connect_live(store: Store) {
    let link = Rc::new_cyclic(|link: &Weak<Link>| {
        let link = link.clone();
        Link {
            store,
            socket: RefCell::new(None),
            attempt: Cell::new(0),
            heard_ms: Cell::new(browser::now_ms()),
            retry_at_ms: Cell::new(None),
            awaits_frame: Cell::new(false),
            show: Closure::new(move || {
                if let Some(link) = link.upgrade() {
                    link.show_more();
                }
            }),
        }
    });
    link.open();
    let watchdog = Rc::clone(&link);
    browser::every(Duration::from_millis(500), move || watchdog.tick());
    Effect::new(move |_| {
        let command = store.subscription.get();
        link.send(
            command
                .as_ref()
                .unwrap_or(&LiveCommand::UnsubscribeRequests),
        );
    });
}

struct Link {
    store: Store,
    /// The open or opening socket with its callbacks, which must outlive it.
    socket: RefCell<Option<Socket>>,
    attempt: Cell<u32>,
    heard_ms: Cell<f64>,
    retry_at_ms: Cell<Option<f64>>,
    /// Whether a frame is awaited that shows what waits.
    awaits_frame: Cell<bool>,
    /// What that frame calls.
    show: Closure<dyn FnMut()>,
}

struct Socket {
    socket: WebSocket,
    _on_open: Closure<dyn FnMut()>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        // Closing what is closed is no error worth telling.
        let _ = self.socket.close();
    }
}

impl Link {
    fn open(self: &Rc<Self>) {
        self.retry_at_ms.set(None);
        self.heard_ms.set(browser::now_ms());
        let Ok(socket) = WebSocket::new(&live_address()) else {
            self.lost();
            return;
        };
        let weak = Rc::downgrade(self);
        let on_open = Closure::<dyn FnMut()>::new(move || {
            if let Some(link) = weak.upgrade() {
                link.opened();
            }
        });
        let weak = Rc::downgrade(self);
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            if let (Some(link), Some(text)) = (weak.upgrade(), event.data().as_string()) {
                link.receive(&text);
            }
        });
        let weak = Rc::downgrade(self);
        let on_close = Closure::<dyn FnMut()>::new(move || {
            // The callback must not be dropped while it runs.
            let weak = weak.clone();
            set_timeout(
                move || {
                    if let Some(link) = weak.upgrade() {
                        link.lost();
                    }
                },
                Duration::ZERO,
            );
        });
        socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        *self.socket.borrow_mut() = Some(Socket {
            socket,
            _on_open: on_open,
            _on_message: on_message,
            _on_close: on_close,
        });
    }

    fn opened(&self) {
        self.heard_ms.set(browser::now_ms());
        if let Some(command) = self.store.subscription.get_untracked() {
            self.send(&command);
        }
    }

    fn receive(&self, text: &str) {
        self.heard_ms.set(browser::now_ms());
        if text.len() > MAX_MESSAGE_CHARS {
            browser::warn("a live message was too long and was left out");
            return;
        }
        match live_message(text) {
            Ok(message) => {
                self.attempt.set(0);
                self.store.apply(message, browser::now_ms());
                self.await_frame();
            }
            // A newer daemon may say what this page does not know.
            Err(error) => browser::warn(&format!("a live message was left out: {error}")),
        }
    }

    /// Shows the next of what waits in the next frame. A page that is out of
    /// sight has no frames: then the newest of each service waits until it is
    /// seen.
    fn await_frame(&self) {
        if !self.awaits_frame.replace(true) {
            let show = self.show.as_ref().unchecked_ref();
            // Fails for no function.
            let _ = window().request_animation_frame(show);
        }
    }

    fn show_more(&self) {
        self.awaits_frame.set(false);
        if self.store.show_more() {
            self.await_frame();
        }
    }

    fn send(&self, command: &LiveCommand) {
        if let Some(socket) = &*self.socket.borrow()
            && socket.socket.ready_state() == WebSocket::OPEN
            && let Ok(text) = json::write(command)
        {
            // A socket that closes just now is found out by its own event.
            let _ = socket.socket.send_with_str(&text);
        }
    }

    fn lost(&self) {
        let now = browser::now_ms();
        self.socket.borrow_mut().take();
        if !matches!(
            self.store.connection.get_untracked(),
            Connection::Lost { .. }
        ) {
            self.store
                .connection
                .set(Connection::Lost { since_ms: now });
        }
        let attempt = self.attempt.get();
        // The browser does not say why it could not connect; asked once a
        // loss, because it may ask its user for the token.
        if attempt == 1 {
            let refused = self.store.refused;
            leptos::task::spawn_local(async move {
                let answer = fetch_text("/api/v1/status".to_owned()).await;
                let is_refusal = matches!(answer, Err(FetchError::Refused { status: 401, .. }));
                refused.set(is_refusal);
            });
        }
        self.attempt.set(attempt.saturating_add(1));
        let pause = (BACK_OFF_MS.0 << attempt.min(8)).min(BACK_OFF_MS.1) as f64;
        // Many open pages must not all come back in the same instant.
        self.retry_at_ms
            .set(Some(now + pause * (0.75 + 0.5 * js_sys::Math::random())));
    }

    fn tick(self: &Rc<Self>) {
        let now = browser::now_ms();
        match self.retry_at_ms.get() {
            Some(at) if now >= at => self.open(),
            Some(_) => {}
            None if now - self.heard_ms.get() > SILENCE_MS => self.lost(),
            None => {}
        }
    }
}

fn live_address() -> String {
    let location = window().location();
    let scheme = if location.protocol().is_ok_and(|p| p == "https:") {
        "wss"
    } else {
        "ws"
    };
    format!(
        "{scheme}://{}/api/v1/live",
        location.host().unwrap_or_default()
    )
}

/// Reads a live message. Its own derived reader would keep the whole message
/// aside until it knows the tag, and so read every type of it in a second way:
/// a tenth of the module, for nothing. The tag is what the daemon writes first.
fn live_message(text: &str) -> Result<LiveMessage, json::Error> {
    let rest = text.strip_prefix(r#"{"type":""#).unwrap_or_default();
    match rest.split('"').next() {
        Some("snapshot") => json::read(text).map(LiveMessage::Snapshot),
        Some("update") => json::read(text).map(LiveMessage::Update),
        Some("requests") => json::read(text).map(LiveMessage::Requests),
        _ => Err(json::Error::Shape),
    }
}

#[cfg(test)]
mod tests {
    use modeltap_api_types::{Live, Request, Requests, Service, Status};

    use super::*;

    #[test]
    fn live_messages_read_as_they_were_written() {
        let live = Live {
            status: Status::default(),
            services: vec![Service {
                name: "chat".into(),
                ..Service::default()
            }],
            names: vec!["chat".into()],
            seconds: Vec::new(),
            alerts: Vec::new(),
            at_unix_ms: 1,
            window_seconds: 60,
        };
        let requests = Requests {
            requests: vec![Request::default()],
            next: None,
        };
        for message in [
            LiveMessage::Snapshot(live.clone()),
            LiveMessage::Update(live),
            LiveMessage::Requests(requests),
        ] {
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(live_message(&text).unwrap(), message);
        }
        for nonsense in [r#"{"type":"later"}"#, "{}", "[]", r#"{"type":"update"}"#] {
            assert!(live_message(nonsense).is_err(), "{nonsense}");
        }
    }
}
