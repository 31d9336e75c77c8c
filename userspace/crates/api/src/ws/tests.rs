//! Real clients over real sockets.

use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::connections::{self, Limits};
use crate::feed::Pace;
use crate::fixture::Fixture;

const WAIT: Duration = Duration::from_secs(20);
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

struct Peer {
    stream: TcpStream,
    head: String,
}

async fn served(api: &Fixture) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router: Router = api.router();
    let traffic = api.traffic.clone();
    let limits = Limits::default();
    tokio::spawn(async move {
        connections::serve(listener, router, traffic, limits, std::future::pending()).await
    });
    address
}

impl Peer {
    async fn connect(address: std::net::SocketAddr, fields: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // A client that reads nothing is found out the sooner.
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let request = format!(
            "GET /api/v1/live HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        Self { stream, head }
    }

    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match u8::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn command(&mut self, command: &Value) {
        self.send(TEXT, command.to_string().as_bytes()).await;
    }

    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.stream.read_u16().await.ok()?;
        let length = match head & 0x7f {
            126 => u64::from(self.stream.read_u16().await.ok()?),
            127 => self.stream.read_u64().await.ok()?,
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(((head >> 8) as u8 & 0xf, payload))
    }

    /// The next message of this type.
    async fn message(&mut self, kind: &str) -> Value {
        let found = async {
            loop {
                let (opcode, payload) = self.frame().await.expect("a message comes");
                if opcode == TEXT {
                    let message: Value = serde_json::from_slice(&payload).unwrap();
                    if message["type"] == kind {
                        return message;
                    }
                }
            }
        };
        timeout(WAIT, found).await.expect("it comes in time")
    }

    /// Reads to the close frame: its code and reason.
    async fn closed(&mut self) -> (u16, String) {
        let found = async {
            while let Some((opcode, payload)) = self.frame().await {
                if opcode == CLOSE {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    return (code, String::from_utf8(payload[2..].to_vec()).unwrap());
                }
            }
            panic!("the connection ended without a close frame");
        };
        timeout(WAIT, found).await.expect("it comes in time")
    }
}

async fn await_dropped(api: &Fixture, n: u64) {
    let dropped = async {
        while api.traffic.told().live_clients_dropped < n {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WAIT, dropped).await.expect("it is cut off");
}

fn patient() -> Pace {
    Pace {
        ping_every: Duration::from_millis(50),
        answer_within: Duration::from_millis(300),
        send_within: Duration::from_millis(300),
        close_within: WAIT,
    }
}

#[tokio::test]
async fn client_that_fills_its_buffers_is_cut_off_and_told() {
    let mut api = Fixture::new(200);
    api.pace = Some(Pace {
        // Only the full buffers tell.
        ping_every: WAIT,
        ..patient()
    });
    let address = served(&api).await;
    let mut slow = Peer::connect(address, "").await;
    slow.command(&json!({"type": "subscribe_requests"})).await;
    let mut good = Peer::connect(address, "").await;
    let mut n_lots = 0;
    while api.traffic.told().live_clients_dropped == 0 {
        n_lots += 1;
        assert!(n_lots < 2_000, "it is never cut off");
        api.requests.send(200).await.unwrap();
        // The good client gets every second's figures meanwhile.
        good.message("update").await;
    }
    let (code, reason) = slow.closed().await;
    assert_eq!(code, 1013);
    assert!(reason.contains("too slow"), "{reason}");
    assert_eq!(api.traffic.told().live_clients_dropped, 1);
    api.requests.send(1).await.unwrap();
    good.message("update").await;
}

#[tokio::test]
async fn client_that_answers_no_ping_is_cut_off_and_told_when_it_reads() {
    let mut api = Fixture::new(1);
    api.pace = Some(patient());
    let mut silent = Peer::connect(served(&api).await, "").await;
    await_dropped(&api, 1).await;
    assert_eq!(silent.closed().await.0, 1013);
}

#[tokio::test]
async fn client_that_answers_pings_stays() {
    let mut api = Fixture::new(1);
    api.pace = Some(patient());
    let mut client = Peer::connect(served(&api).await, "").await;
    let mut n_pings = 0;
    while n_pings < 12 {
        let frame = timeout(WAIT, client.frame()).await.unwrap();
        let (opcode, payload) = frame.expect("it stays open");
        if opcode == PING {
            client.send(PONG, &payload).await;
            n_pings += 1;
        }
    }
    // Longer than a silent client is borne.
    assert_eq!(api.traffic.told().live_clients_dropped, 0);
    assert_eq!(api.traffic.told().n_live_clients, 1);
}

#[tokio::test]
async fn only_what_is_chosen_is_sent() {
    let api = Fixture::new(3);
    let mut client = Peer::connect(served(&api).await, "").await;
    let everything = client.message("snapshot").await;
    assert_eq!(everything["names"], json!(["api"]));
    for (services, expected) in [
        (json!([]), json!([])),
        (json!(["other"]), json!([])),
        (json!(["api", "other"]), json!(["api"])),
        (json!(null), json!(["api"])),
    ] {
        let command = json!({"type": "subscribe", "services": services});
        client.command(&command).await;
        let snapshot = client.message("snapshot").await;
        assert_eq!(snapshot["names"], expected, "{services}");
        let n_services = snapshot["services"].as_array().unwrap().len();
        assert_eq!(n_services, expected.as_array().unwrap().len());
        api.requests.send(1).await.unwrap();
        let update = client.message("update").await;
        let n_services = update["services"].as_array().unwrap().len();
        assert_eq!(n_services, expected.as_array().unwrap().len());
        let n_seconds = update["seconds"].as_array().unwrap().len();
        assert!(n_seconds <= n_services, "{update}");
    }
}

#[tokio::test]
async fn requests_are_told_as_rest_would_filter_them() {
    let api = Fixture::new(3);
    let mut client = Peer::connect(served(&api).await, "").await;
    let subscribe = |filter: Value| {
        let mut command = json!({"type": "subscribe_requests"});
        let fields = filter.as_object().unwrap().clone();
        command.as_object_mut().unwrap().extend(fields);
        command
    };
    client
        .command(&subscribe(json!({"service": "api", "status": "2xx"})))
        .await;
    let told = client.message("requests").await;
    assert_eq!(told["requests"].as_array().unwrap().len(), 3);
    api.requests.send(2).await.unwrap();
    let told = client.message("requests").await;
    assert_eq!(told["requests"].as_array().unwrap().len(), 2);
    client.command(&subscribe(json!({"status": "5xx"}))).await;
    // Commands are taken in their order: this one is, once the next is.
    client.command(&json!({})).await;
    client.message("error").await;
    api.requests.send(2).await.unwrap();
    client.message("update").await;
    client
        .command(&subscribe(json!({"min_duration": "1ms"})))
        .await;
    let told = client.message("requests").await;
    assert_eq!(told["requests"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn commands_that_are_not_understood_are_answered_and_change_nothing() {
    let api = Fixture::new(1);
    let mut client = Peer::connect(served(&api).await, "").await;
    for (command, words) in [
        ("hello", "expected value"),
        ("{}", "type"),
        (r#"{"type":"shut_down"}"#, "subscribe_requests"),
        (r#"{"type":"subscribe","service":"api"}"#, "services"),
        (r#"{"type":"subscribe_requests","status":"9xx"}"#, "4xx"),
        (r#"{"type":"subscribe_requests","limit":1}"#, "limit"),
    ] {
        client.send(TEXT, command.as_bytes()).await;
        let error = client.message("error").await;
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{command}: {detail}");
    }
    client.send(BINARY, b"{}").await;
    let error = client.message("error").await;
    assert_eq!(error["detail"], "commands are JSON text");
    let many: Vec<_> = (0..201).map(|n| n.to_string()).collect();
    client
        .command(&json!({"type": "subscribe", "services": many}))
        .await;
    client.message("error").await;
    api.requests.send(1).await.unwrap();
    assert_eq!(client.message("update").await["names"], json!(["api"]));
}

#[tokio::test]
async fn client_that_commands_without_end_or_at_length_is_cut_off_and_told() {
    let api = Fixture::new(1);
    let address = served(&api).await;
    let mut restless = Peer::connect(address, "").await;
    for _ in 0..=MAX_COMMANDS {
        restless.send(TEXT, b"{}").await;
    }
    assert_eq!(
        restless.closed().await,
        (1008, "too many commands".to_owned())
    );
    let mut lengthy = Peer::connect(address, "").await;
    lengthy.send(TEXT, &[b' '; MAX_COMMAND_BYTES + 1]).await;
    assert_eq!(lengthy.closed().await.0, 1009);
}

#[tokio::test]
async fn clients_beyond_the_most_are_refused_until_one_leaves() {
    let api = Fixture::new(1);
    let address = served(&api).await;
    let mut clients = Vec::new();
    for _ in 0..128 {
        let client = Peer::connect(address, "").await;
        assert!(client.head.starts_with("HTTP/1.1 101 "), "{}", client.head);
        clients.push(client);
    }
    let refused = Peer::connect(address, "").await;
    assert!(
        refused.head.starts_with("HTTP/1.1 503 "),
        "{}",
        refused.head
    );
    assert_eq!(api.traffic.told().live_clients_refused, 1);
    clients.pop();
    let left = async {
        while api.traffic.told().n_live_clients == 128 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WAIT, left).await.unwrap();
    let admitted = Peer::connect(address, "").await;
    assert!(
        admitted.head.starts_with("HTTP/1.1 101 "),
        "{}",
        admitted.head
    );
}

#[tokio::test]
async fn token_may_be_one_of_the_protocols() {
    let mut api = Fixture::new(1);
    api.access.token = Some("0123456789abcdef".to_owned());
    let address = served(&api).await;
    let refused = Peer::connect(address, "").await;
    assert!(
        refused.head.starts_with("HTTP/1.1 401 "),
        "{}",
        refused.head
    );
    let offer = "Sec-WebSocket-Protocol: modeltap.v1, modeltap.token.MDEyMzQ1Njc4OWFiY2RlZg\r\n";
    let mut admitted = Peer::connect(address, offer).await;
    let head = admitted.head.to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(
        head.contains("sec-websocket-protocol: modeltap.v1\r\n"),
        "{head}"
    );
    admitted.message("snapshot").await;
    let foreign = "Origin: http://attacker.example\r\n";
    let foreign = Peer::connect(address, &format!("{offer}{foreign}")).await;
    assert!(
        foreign.head.starts_with("HTTP/1.1 403 "),
        "{}",
        foreign.head
    );
}

#[tokio::test]
async fn plain_request_is_told_that_only_websockets_are_answered() {
    let api = Fixture::new(1);
    let answer = api.get("/api/v1/live", &[]).await;
    assert_eq!(answer.status, 426);
    assert_eq!(answer.header("upgrade"), "websocket");
    assert_eq!(answer.header("content-type"), "application/problem+json");
}
