//! The rhythm of streams, however the calls cut them.

use std::time::Duration;

use modeltap_core::connection::{
    CaptureEvent, CloseCause, ConnectionClosed, Data, Direction, Origin,
};
use modeltap_core::histogram::DurationHistogram;
use modeltap_core::record::{Completeness, StreamFigures, StreamFormat};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::{Config, ConnectionTable};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;

use crate::model::{ID, opened};
use crate::{assert_coherent, cases};

const OPENED: MonotonicNs = MonotonicNs(1_000_000);

/// A piece of a stream, as it is written, and whether it carries content.
type Frame = (String, bool);

/// A stream, and the sizes and distances of the calls that write it.
#[derive(Clone, Debug)]
struct Stream {
    format: StreamFormat,
    frames: Vec<Frame>,
    /// Frames of one chunk each, or cut anywhere into chunks, or not chunked.
    chunks: Vec<usize>,
    is_chunked: bool,
    writes: Vec<usize>,
    pauses_us: Vec<u64>,
}

fn events() -> impl Strategy<Value = Frame> {
    let data = select(vec![
        (r#"{"choices":[{"delta":{"content":"x"}}]}"#, true),
        (
            r#"{"type":"content_block_delta","delta":{"text":"y"}}"#,
            true,
        ),
        ("plain text", true),
        ("[1,\n2]", true),
        (r#"{"choices":[{"delta":{"role":"assistant"}}]}"#, false),
        (r#"{"choices":[],"usage":{"prompt_tokens":3}}"#, false),
        ("[DONE]", false),
        ("", false),
    ]);
    let around = select(vec![
        "",
        ": ping\n",
        "event: e\n",
        "id: 1\nretry: 5\n",
        "data\n",
    ]);
    (data, around).prop_map(|((data, is_content), around)| {
        let lines: String = data
            .split('\n')
            .map(|line| format!("data: {line}\n"))
            .collect();
        (format!("{around}{lines}\n"), is_content)
    })
}

fn comments() -> impl Strategy<Value = Frame> {
    select(vec![": keep-alive\n\n", "\n", "event: ping\n\n"]).prop_map(|text| (text.into(), false))
}

fn lines() -> impl Strategy<Value = Frame> {
    select(vec![
        (
            "{\"model\":\"m\",\"response\":\"x\",\"done\":false}\n",
            true,
        ),
        (
            "{\"message\":{\"role\":\"assistant\",\"content\":\"x\"}}\r\n",
            true,
        ),
        ("{\"progress\":3}\n", true),
        (
            "{\"model\":\"m\",\"response\":\"\",\"done\":true,\"eval_count\":3}\n",
            false,
        ),
        ("\n", false),
    ])
    .prop_map(|(text, is_content)| (text.to_owned(), is_content))
}

fn streams() -> impl Strategy<Value = Stream> {
    let frames = prop_oneof![
        (
            vec(prop_oneof![4 => events(), 1 => comments()], 0..12),
            select(vec!["\n", "\r\n", "\r"]),
        )
            .prop_map(|(mut frames, end)| {
                for (text, _) in &mut frames {
                    *text = text.replace('\n', end);
                }
                (StreamFormat::ServerSentEvents, frames)
            }),
        vec(lines(), 0..12).prop_map(|frames| (StreamFormat::JsonLines, frames)),
        vec("[a-z\r\n]{1,40}".prop_map(|text| (text, true)), 0..12)
            .prop_map(|frames| (StreamFormat::Chunks, frames)),
    ];
    (
        frames,
        vec(1..80_usize, 0..6),
        any::<bool>(),
        vec(1..120_usize, 1..8),
        vec(prop_oneof![0..50_u64, 0..2_000_000_u64], 1..20),
    )
        .prop_map(
            |((format, frames), chunks, is_chunked, writes, pauses_us)| Stream {
                format,
                frames,
                chunks,
                is_chunked: is_chunked || format == StreamFormat::Chunks,
                writes,
                pauses_us,
            },
        )
}

impl Stream {
    /// What is written, and where in it each frame's last byte lies.
    fn wire(&self) -> (String, Vec<usize>) {
        let content_type = match self.format {
            StreamFormat::ServerSentEvents => "text/event-stream; charset=utf-8",
            StreamFormat::JsonLines => "application/x-ndjson",
            StreamFormat::Chunks => "text/plain",
        };
        let coding = match self.is_chunked {
            true => "Transfer-Encoding: chunked\r\n",
            false => "",
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{coding}\r\n");
        let mut wire = head;
        let mut ends = Vec::new();
        // Frames are chunks where no other sizes are given.
        let by_frame = self.chunks.is_empty() || self.format == StreamFormat::Chunks;
        let body: String = self.frames.iter().map(|(text, _)| text.as_str()).collect();
        let mut sizes: Vec<usize> = match by_frame {
            true => self.frames.iter().map(|(text, _)| text.len()).collect(),
            false => self.chunks.clone(),
        };
        sizes.push(body.len().max(1));
        let mut frame_ends = self.frames.iter().scan(0, |sum, (text, _)| {
            *sum += text.len();
            // The CR of an empty line ends an event already.
            let is_event = self.format == StreamFormat::ServerSentEvents;
            Some(*sum - usize::from(is_event && text.ends_with("\r\n")))
        });
        let mut next_end = frame_ends.next();
        let mut at = 0;
        for size in sizes {
            let size = size.min(body.len() - at);
            if size == 0 {
                break;
            }
            if self.is_chunked {
                wire += &format!("{size:x}\r\n");
            }
            for _ in 0..size {
                wire.push_str(&body[at..=at]);
                at += 1;
                while next_end == Some(at) {
                    ends.push(wire.len() - 1);
                    next_end = frame_ends.next();
                }
            }
            if self.is_chunked {
                wire += "\r\n";
            }
        }
        if self.is_chunked {
            wire += "0\r\n\r\n";
        }
        (wire, ends)
    }

    /// Its events, of which `captured(length)` bytes of each write are told,
    /// and what is to be told of the stream.
    fn play(&self, mut captured: impl FnMut(usize) -> usize) -> (Vec<CaptureEvent>, StreamFigures) {
        let (wire, ends) = self.wire();
        let mut events = vec![CaptureEvent::Opened(opened(ID, Origin::Accepted))];
        let data = |at, direction, position: usize, length: usize, bytes: &[u8]| {
            CaptureEvent::Data(Data {
                id: ID,
                at,
                direction,
                position: position as u64,
                length: u32::try_from(length).expect("streams are short"),
                arrived: None,
                waits: false,
                bytes: bytes.to_vec(),
            })
        };
        let request = b"GET / HTTP/1.1\r\n\r\n";
        events.push(data(OPENED, Direction::Read, 0, request.len(), request));
        let (mut now, mut position) = (OPENED, 0);
        let mut times = Vec::new();
        let mut pauses = self.pauses_us.iter().cycle();
        for size in self.writes.iter().cycle() {
            let call = &wire[position..(position + size).min(wire.len())];
            if call.is_empty() {
                break;
            }
            now = now.after(Duration::from_micros(*pauses.next().expect("a cycle")));
            let told = &call.as_bytes()[..captured(call.len()).min(call.len())];
            events.push(data(now, Direction::Write, position, call.len(), told));
            times.resize(position + call.len(), now);
            position += call.len();
        }
        events.push(CaptureEvent::Closed(ConnectionClosed {
            id: ID,
            at: now,
            cause: CloseCause::LocalFinished,
            bytes_read: request.len() as u64,
            bytes_written: wire.len() as u64,
        }));
        let content = self.frames.iter().zip(ends).filter(|((_, is), _)| *is);
        let written: Vec<_> = content.map(|(_, end)| times[end]).collect();
        (events, self.expected(&written))
    }

    fn expected(&self, written: &[MonotonicNs]) -> StreamFigures {
        let mut figures = StreamFigures {
            format: self.format,
            n_chunks: written.len() as u64,
            first_chunk: written.first().copied(),
            last_chunk: written.last().copied(),
            intervals: DurationHistogram::default(),
            longest_interval: Duration::ZERO,
            n_stalls: 0,
            after_abort: None,
            completeness: Completeness::Whole,
        };
        for pair in written.windows(2) {
            let interval = pair[1].since(pair[0]);
            figures.intervals.record(interval);
            figures.longest_interval = figures.longest_interval.max(interval);
            figures.n_stalls += u64::from(interval > Duration::from_secs(1));
        }
        figures
    }
}

fn told(events: &[CaptureEvent]) -> Option<StreamFigures> {
    let mut table = ConnectionTable::new(Config::default());
    for event in events {
        table.handle(event);
    }
    table.handle_timeout(MonotonicNs(u64::MAX));
    let record = table.poll_record().expect("one request");
    assert_eq!(table.poll_record(), None);
    record.stream.map(|stream| *stream)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..cases() })]

    #[test]
    fn stream_cut_anywhere_has_the_same_rhythm(stream in streams()) {
        let (events, expected) = stream.play(|length| length);
        assert_eq!(told(&events).expect("it streams"), expected);
    }

    #[test]
    fn stream_captured_in_part_invents_no_chunk(
        stream in streams(),
        captured in vec(0..200_usize, 1..10),
    ) {
        let mut sizes = captured.iter().cycle();
        let (events, expected) = stream.play(|_| *sizes.next().expect("a cycle"));
        if let Some(told) = told(&events) {
            assert_coherent(&told);
            assert!(told.n_chunks <= expected.n_chunks, "{told:?} {expected:?}");
            assert!(told.longest_interval <= expected.longest_interval);
            // A few bytes of a chunk may be taken for the last one.
            if told.completeness == Completeness::Whole && !stream.is_chunked {
                assert_eq!(told, expected);
            }
        }
    }

    #[test]
    fn stream_with_lost_calls_invents_no_interval(
        stream in streams(),
        lost in vec(any::<proptest::sample::Index>(), 1..4),
    ) {
        let (mut events, expected) = stream.play(|length| length);
        for lost in lost {
            // Neither the head nor the end.
            if events.len() > 4 {
                events.remove(3 + lost.index(events.len() - 4));
            }
        }
        if let Some(told) = told(&events) {
            assert_coherent(&told);
            assert!(told.n_chunks <= expected.n_chunks, "{told:?} {expected:?}");
            assert!(told.longest_interval <= expected.longest_interval);
        }
    }
}
