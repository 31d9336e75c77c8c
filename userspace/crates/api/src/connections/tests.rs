//! Real sockets against few places.

use std::net::SocketAddr;

use axum::routing::get;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

struct Served {
    address: SocketAddr,
    traffic: Arc<Traffic>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

async fn served(limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let traffic = Arc::new(Traffic::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/never", get(std::future::pending::<()>));
    let task = tokio::spawn(serve(listener, router, traffic.clone(), limits, async {
        let _ = stopped.await;
    }));
    Served {
        address,
        traffic,
        stop: Some(stop),
        task,
    }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What a client that asks and closes is told.
    async fn asked(&self) -> String {
        let mut stream = self.connect().await;
        let request = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        told(&mut stream).await
    }

    async fn await_connections(&self, n: u64) {
        let reached = async {
            while self.traffic.told().n_connections != n {
                tokio::task::yield_now().await;
            }
        };
        timeout(WAIT, reached)
            .await
            .expect("connections are counted");
    }
}

const WAIT: Duration = Duration::from_secs(10);

async fn told(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    timeout(WAIT, stream.read_to_end(&mut text))
        .await
        .expect("it ends")
        .unwrap_or(0);
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn heads_that_never_end_do_not_keep_a_good_client_out() {
    let limits = Limits {
        n_connections: 8,
        ..Limits::default()
    };
    let served = served(limits).await;
    let mut slow = Vec::new();
    for n in 0..40 {
        let mut stream = served.connect().await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nX-Slow: ")
            .await
            .unwrap();
        slow.push(stream);
        if n % 10 == 9 {
            assert!(served.asked().await.ends_with("here"));
        }
    }
    let counted = served.traffic.told();
    assert!(counted.n_connections <= 8, "{counted:?}");
    assert!(counted.connections_evicted >= 32, "{counted:?}");
    assert_eq!(counted.connections_refused, 0);
    assert_eq!(told(&mut slow[0]).await, "", "the oldest went first");
}

#[tokio::test]
async fn head_that_does_not_end_in_time_is_given_up() {
    let limits = Limits {
        head_within: Duration::from_millis(200),
        ..Limits::default()
    };
    let served = served(limits).await;
    let mut silent = served.connect().await;
    let mut slow = served.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
    for stream in [&mut silent, &mut slow] {
        let answer = told(stream).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    served.await_connections(0).await;
}

#[tokio::test]
async fn newcomer_is_told_when_every_place_is_being_answered() {
    let limits = Limits {
        n_connections: 2,
        ..Limits::default()
    };
    let served = served(limits).await;
    let mut busy = Vec::new();
    for n in 1..=2 {
        let mut stream = served.connect().await;
        stream
            .write_all(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .unwrap();
        busy.push(stream);
        served.await_connections(n).await;
    }
    // Until both requests are read, their connections are idle.
    let answer = loop {
        let answer = served.asked().await;
        if !answer.is_empty() && !answer.contains(" 200 ") {
            break answer;
        }
        let mut stream = served.connect().await;
        stream
            .write_all(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .unwrap();
        busy.push(stream);
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("Retry-After: 1"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], 503);
    assert!(served.traffic.told().connections_refused >= 1);
}

#[tokio::test]
async fn client_that_reads_nothing_gives_up_its_place() {
    let limits = Limits {
        n_connections: 1,
        answer_within: Duration::ZERO,
        ..Limits::default()
    };
    let served = served(limits).await;
    let mut busy = served.connect().await;
    busy.write_all(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    served.await_connections(1).await;
    assert!(served.asked().await.ends_with("here"));
    assert_eq!(told(&mut busy).await, "");
}

#[tokio::test]
async fn heads_that_are_too_long_are_refused() {
    let served = served(Limits::default()).await;
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "x".repeat(400_000));
    for fields in [many, long] {
        let mut stream = served.connect().await;
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n");
        // It may be refused before it is written.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = told(&mut stream).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
            "{answer}"
        );
    }
    assert!(served.asked().await.ends_with("here"));
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut served = served(Limits::default()).await;
    let _idle = served.connect().await;
    served.await_connections(1).await;
    served.stop.take().unwrap().send(()).unwrap();
    let ended = timeout(Duration::from_secs(3), &mut served.task).await;
    ended.expect("it ends at once").unwrap().unwrap();
}
