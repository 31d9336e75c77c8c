//! An upgraded connection is a session: not a request that takes for ever.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use modeltap_api_types::Service;
use modeltap_testbed::clock::await_some;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::images;
use modeltap_testbed::{ground, namespace};

use crate::watch;

const HANDSHAKE: &[u8] = b"GET /echo HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Opcodes of RFC 6455 section 5.2, and the bit that ends a message.
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FIN: u8 = 0x80;
/// How long the session is kept open without a message.
const PAUSE: Duration = Duration::from_millis(1_200);

/// A client's frame: masked, here with zeros, which leave the text as it is.
fn frame(first: u8, text: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(text.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length),
        _ => {
            let length = u16::try_from(text.len()).expect("texts are short");
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text);
    frame
}

/// Reads a server's frame: its opcode and its text.
fn receive(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame comes");
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("its length comes");
            usize::from(u16::from_be_bytes(length))
        }
        length => usize::from(length),
    };
    let mut text = vec![0; length];
    stream.read_exact(&mut text).expect("its text comes");
    (head[0] & 0xf, text)
}

#[test]
fn upgraded_connection_is_a_session_and_its_handshake_a_request() {
    let Some(_ground) = ground::take("websocket") else {
        return;
    };
    let image = images::servers();
    let command = "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --no-access-log";
    let container = Container::start("websocket", &Spec::new(&image, command)).listening(8000);
    let watch = watch();
    watch.daemon.await_service(container.name());

    let address = ([127, 0, 0, 1], 8000).into();
    let connect = move || TcpStream::connect::<std::net::SocketAddr>(address);
    let mut stream = namespace::run(Some(container.pid()), connect).expect("the server listens");
    stream.write_all(HANDSHAKE).expect("the server reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the server answers");
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{answer:?}");

    let mut texts = vec![b"hello".to_vec(); 17];
    texts.push(vec![b'x'; 3_000]);
    for text in &texts {
        stream
            .write_all(&frame(FIN | TEXT, text))
            .expect("it reads");
        assert_eq!(receive(&mut stream), (TEXT, text.clone()));
        assert_eq!(receive(&mut stream), (TEXT, text.to_ascii_uppercase()));
    }
    // One message of two frames, with a ping between, which is none.
    stream.write_all(&frame(TEXT, b"hel")).expect("it reads");
    stream.write_all(&frame(FIN | PING, b"")).expect("it reads");
    stream
        .write_all(&frame(FIN | CONTINUATION, b"lo"))
        .expect("it reads");
    assert_eq!(receive(&mut stream), (PONG, Vec::new()));
    assert_eq!(receive(&mut stream), (TEXT, b"hello".to_vec()));
    assert_eq!(receive(&mut stream), (TEXT, b"HELLO".to_vec()));
    let path = format!("/api/v1/services/{}", container.name());
    await_some("the open session", Duration::from_secs(10), || {
        let sessions = watch.daemon.json::<Service>(&path).sessions?;
        ((sessions.n_active, sessions.n_sessions) == (Some(1), 0)).then_some(())
    });
    thread::sleep(PAUSE);
    stream
        .write_all(&frame(FIN | CLOSE, &1_000_u16.to_be_bytes()))
        .expect("it reads");
    assert_eq!(receive(&mut stream).0, CLOSE);
    drop(stream);

    let sessions = await_some("the session to end", Duration::from_secs(10), || {
        let sessions = watch.daemon.json::<Service>(&path).sessions?;
        (sessions.n_active == Some(0)).then_some(sessions)
    });
    let n_messages = texts.len() as u64 + 1;
    assert_eq!(
        (
            sessions.n_sessions,
            sessions.messages_read,
            sessions.messages_written
        ),
        (1, n_messages, 2 * n_messages),
        "{sessions:?}"
    );
    let longest = sessions.duration_max.expect("a session ended");
    assert!(longest >= PAUSE.as_secs_f64(), "{sessions:?}");

    // The handshake alone is a request, and as short as it was.
    watch.daemon.await_requests(container.name(), 1);
    let requests = watch.daemon.requests(container.name());
    let told: Vec<_> = requests
        .iter()
        .map(|request| (request.route.as_str(), request.status))
        .collect();
    assert_eq!(told, [("/echo", Some(101))]);
    assert!(requests[0].duration < PAUSE.as_secs_f64(), "{requests:?}");
    watch.daemon.stop();
}
