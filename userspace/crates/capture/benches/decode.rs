//! What it costs to read one event of the ring: a request's head, a
//! response's head, and a moment of a socket.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use modeltap_abi::event as abi;
use modeltap_capture::decode::decode;
use zerocopy::IntoBytes;

const REQUEST: &[u8] = b"POST /predict HTTP/1.1\r\nhost: 10.0.0.7:8000\r\n\
    user-agent: python-httpx/0.28\r\naccept: */*\r\naccept-encoding: gzip, deflate\r\n\
    content-type: application/json\r\ncontent-length: 12\r\n\r\n{\"x\": 1.25}\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\n\
    content-length: 9\r\ncontent-type: application/json\r\n\r\n";

fn header(kind: u32) -> abi::EventHeader {
    abi::EventHeader {
        kind,
        tgid: 7,
        timestamp_ns: 1_000_000,
        socket: 3,
        opened_ns: 10,
    }
}

fn data(direction: u16, bytes: &[u8]) -> Vec<u8> {
    let event = abi::Data {
        header: header(abi::KIND_DATA),
        position: 0,
        arrived_ns: 0,
        length: bytes.len() as u32,
        captured: bytes.len() as u32,
        direction,
        waits: 0,
        reserved: [0; 2],
    };
    [event.as_bytes(), bytes].concat()
}

fn events(criterion: &mut Criterion) {
    let moment = abi::Moment {
        header: header(abi::KIND_ARRIVED),
        position: 100,
    };
    for (name, item) in [
        (
            "decode a request's head",
            data(abi::DIRECTION_READ, REQUEST),
        ),
        (
            "decode a response's head",
            data(abi::DIRECTION_WRITE, RESPONSE),
        ),
        ("decode a moment", moment.as_bytes().to_vec()),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| black_box(decode(black_box(&item))));
        });
    }
}

criterion_group!(benches, events);
criterion_main!(benches);
