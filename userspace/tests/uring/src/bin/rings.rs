//! An HTTP/1.1 server on bare io_uring: `rings MODE PORT`.
//!
//! | mode | accepts by | reads by | writes by |
//! |---|---|---|---|
//! | `single` | single-shot | RECV into its own buffer | SEND |
//! | `provided` | single-shot | RECV into a buffer of the kernel's choice | SEND |
//! | `multishot` | multishot | multishot RECV | SEND |
//! | `direct` | direct descriptors | RECV | SEND |
//! | `direct-multishot` | direct descriptors, multishot | multishot RECV | SEND |
//! | `sqpoll` | single-shot | RECV, submitted by the kernel's thread | SEND |
//! | `worker` | single-shot | RECV, made to run in a worker thread | SEND, likewise |
//! | `file` | single-shot | READ | WRITE |
//! | `message` | single-shot | RECVMSG, two segments | SENDMSG, two segments |
//! | `zero-copy` | single-shot | RECV | SEND_ZC |
//! | `linked` | direct descriptors | RECV | two SENDs in a chain |

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, cqueue, opcode, types};

const ACCEPT: u64 = 1;
const READ: u64 = 2;
const WRITE: u64 = 3;
const OTHER: u64 = 4;
/// Part of an answer whose rest follows in another request.
const WRITE_PART: u64 = 5;

const BUFFER_BYTES: usize = 4096;
const N_BUFFERS: u16 = 256;
const GROUP: u16 = 7;
const N_SLOTS: u32 = 1024;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Single,
    Provided,
    Multishot,
    Direct,
    DirectMultishot,
    Sqpoll,
    Worker,
    File,
    Message,
    ZeroCopy,
    Linked,
}

impl Mode {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "single" => Self::Single,
            "provided" => Self::Provided,
            "multishot" => Self::Multishot,
            "direct" => Self::Direct,
            "direct-multishot" => Self::DirectMultishot,
            "sqpoll" => Self::Sqpoll,
            "worker" => Self::Worker,
            "file" => Self::File,
            "message" => Self::Message,
            "zero-copy" => Self::ZeroCopy,
            "linked" => Self::Linked,
            _ => return None,
        })
    }

    fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectMultishot | Self::Linked)
    }

    fn is_multishot(self) -> bool {
        matches!(self, Self::Multishot | Self::DirectMultishot)
    }

    fn is_provided(self) -> bool {
        self.is_multishot() || self == Self::Provided
    }
}

/// What a connection's requests point at; boxed, so that it stays where it is.
struct Connection {
    buffer: Box<[u8; BUFFER_BYTES]>,
    received: Vec<u8>,
    answer: Vec<u8>,
    n_written: usize,
    closes: bool,
    segments: [libc::iovec; 2],
    message: libc::msghdr,
}

struct Server {
    mode: Mode,
    listener: TcpListener,
    buffers: Vec<u8>,
    connections: HashMap<u32, Box<Connection>>,
    waiting: Vec<Entry>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().as_deref().and_then(Mode::parse);
    let port = arguments.next().and_then(|port| port.parse::<u16>().ok());
    let (Some(mode), Some(port)) = (mode, port) else {
        panic!("rings MODE PORT");
    };
    let mut builder = IoUring::builder();
    if mode == Mode::Sqpoll {
        builder.setup_sqpoll(1_000);
    }
    let mut ring: IoUring = builder.build(1024).expect("io_uring is allowed");
    if mode.is_direct() {
        ring.submitter()
            .register_files_sparse(N_SLOTS)
            .expect("the kernel has direct descriptors");
    }
    let mut server = Server {
        mode,
        listener: TcpListener::bind(("0.0.0.0", port)).expect("the port is free"),
        buffers: vec![0; usize::from(N_BUFFERS) * BUFFER_BYTES],
        connections: HashMap::new(),
        waiting: Vec::new(),
    };
    if mode.is_provided() {
        server.provide(0, N_BUFFERS);
    }
    server.accept();
    loop {
        for entry in server.waiting.drain(..) {
            // SAFETY: what the entry points at lives until it is completed.
            while unsafe { ring.submission().push(&entry) }.is_err() {
                ring.submit().expect("the queue is submitted");
            }
        }
        ring.submit_and_wait(1).expect("a completion comes");
        let completions: Vec<_> = ring.completion().collect();
        for completion in completions {
            server.completed(&completion);
        }
    }
}

impl Server {
    fn completed(&mut self, completion: &cqueue::Entry) {
        let (kind, id) = (completion.user_data() >> 32, completion.user_data() as u32);
        let result = completion.result();
        match kind {
            ACCEPT => {
                if !cqueue::more(completion.flags()) {
                    self.accept();
                }
                if let Ok(socket) = u32::try_from(result) {
                    self.connections.insert(socket, Connection::new());
                    self.read(socket);
                }
            }
            READ => self.have_read(id, completion),
            WRITE => {
                // The second completion of a send without copying.
                if cqueue::notif(completion.flags()) {
                    return;
                }
                self.have_written(id, result);
            }
            WRITE_PART => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.n_written += usize::try_from(result).unwrap_or(0);
                }
            }
            _ => {}
        }
    }

    fn have_read(&mut self, id: u32, completion: &cqueue::Entry) {
        let goes_on = cqueue::more(completion.flags());
        let n = usize::try_from(completion.result()).unwrap_or(0);
        let chosen = cqueue::buffer_select(completion.flags());
        if let Some(connection) = self.connections.get_mut(&id) {
            let begin = usize::from(chosen.unwrap_or(0)) * BUFFER_BYTES;
            let bytes = match chosen {
                Some(_) => &self.buffers[begin..begin + n],
                None => &connection.buffer[..n],
            };
            connection.received.extend_from_slice(bytes);
        }
        if let Some(chosen) = chosen {
            self.provide(chosen, 1);
        }
        // Out of buffers: they come back with the next completions.
        if completion.result() == -libc::ENOBUFS {
            self.read(id);
            return;
        }
        if n == 0 {
            self.close(id);
            return;
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let has_answer = connection.answer_all();
        if has_answer {
            self.write(id);
        }
        if !goes_on && (self.mode.is_multishot() || !has_answer) {
            self.read(id);
        }
    }

    fn have_written(&mut self, id: u32, result: i32) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Ok(n) = usize::try_from(result) else {
            self.close(id);
            return;
        };
        connection.n_written += n;
        if connection.n_written < connection.answer.len() {
            self.write(id);
            return;
        }
        connection.answer.clear();
        connection.n_written = 0;
        if connection.closes {
            self.end(id);
        } else if !self.mode.is_multishot() {
            self.read(id);
        } else if connection.answer_all() {
            // Requests that came while the answer was written.
            self.write(id);
        }
    }

    fn accept(&mut self) {
        let listener = types::Fd(self.listener.as_raw_fd());
        let entry = match self.mode {
            Mode::DirectMultishot => opcode::AcceptMulti::new(listener)
                .allocate_file_index(true)
                .build(),
            Mode::Multishot => opcode::AcceptMulti::new(listener).build(),
            mode => {
                let none = std::ptr::null_mut();
                let accept = opcode::Accept::new(listener, none, none.cast());
                if mode.is_direct() {
                    accept
                        .file_index(Some(types::DestinationSlot::auto_target()))
                        .build()
                } else {
                    accept.build()
                }
            }
        };
        self.put(entry, ACCEPT, 0);
    }

    fn read(&mut self, id: u32) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let buffer = connection.buffer.as_mut_ptr();
        let length = BUFFER_BYTES as u32;
        macro_rules! build {
            ($socket:expr) => {
                match self.mode {
                    Mode::Multishot | Mode::DirectMultishot => {
                        opcode::RecvMulti::new($socket, GROUP).build()
                    }
                    Mode::Provided => opcode::Recv::new($socket, std::ptr::null_mut(), length)
                        .buf_group(GROUP)
                        .build()
                        .flags(Flags::BUFFER_SELECT),
                    Mode::File => opcode::Read::new($socket, buffer, length).build(),
                    Mode::Message => {
                        let message = connection.message(buffer, BUFFER_BYTES);
                        opcode::RecvMsg::new($socket, message).build()
                    }
                    Mode::Worker => opcode::Recv::new($socket, buffer, length)
                        .build()
                        .flags(Flags::ASYNC),
                    _ => opcode::Recv::new($socket, buffer, length).build(),
                }
            };
        }
        let entry = if self.mode.is_direct() {
            build!(types::Fixed(id))
        } else {
            build!(types::Fd(id as i32))
        };
        self.put(entry, READ, id);
    }

    fn write(&mut self, id: u32) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let rest = &mut connection.answer[connection.n_written..];
        let (data, length) = (rest.as_mut_ptr(), rest.len());
        if self.mode == Mode::Linked {
            let half = length / 2;
            let first = opcode::Send::new(types::Fixed(id), data, half as u32)
                .flags(libc::MSG_WAITALL)
                .build()
                .flags(Flags::IO_LINK);
            self.put(first, WRITE_PART, id);
            let rest = data.wrapping_add(half);
            let second = opcode::Send::new(types::Fixed(id), rest, (length - half) as u32)
                .flags(libc::MSG_WAITALL)
                .build();
            self.put(second, WRITE, id);
            return;
        }
        macro_rules! build {
            ($socket:expr) => {
                match self.mode {
                    Mode::File => opcode::Write::new($socket, data, length as u32).build(),
                    Mode::Message => {
                        let message = connection.message(data, length);
                        opcode::SendMsg::new($socket, message).build()
                    }
                    Mode::ZeroCopy => opcode::SendZc::new($socket, data, length as u32).build(),
                    Mode::Worker => opcode::Send::new($socket, data, length as u32)
                        .build()
                        .flags(Flags::ASYNC),
                    _ => opcode::Send::new($socket, data, length as u32).build(),
                }
            };
        }
        let entry = if self.mode.is_direct() {
            build!(types::Fixed(id))
        } else {
            build!(types::Fd(id as i32))
        };
        self.put(entry, WRITE, id);
    }

    /// Ends a connection that was answered to its end. A multishot receive
    /// still holds it, so its number must not be used again before that is
    /// done.
    fn end(&mut self, id: u32) {
        if self.mode.is_multishot() {
            let receive = READ << 32 | u64::from(id);
            self.put(opcode::AsyncCancel::new(receive).build(), OTHER, id);
        } else {
            self.close(id);
        }
    }

    fn close(&mut self, id: u32) {
        if self.connections.remove(&id).is_none() {
            return;
        }
        let entry = if self.mode.is_direct() {
            opcode::Close::new(types::Fixed(id)).build()
        } else {
            opcode::Close::new(types::Fd(id as i32)).build()
        };
        self.put(entry, OTHER, id);
    }

    fn provide(&mut self, first: u16, n: u16) {
        let begin = usize::from(first) * BUFFER_BYTES;
        let address = self.buffers[begin..].as_mut_ptr();
        let length = BUFFER_BYTES as i32;
        let entry = opcode::ProvideBuffers::new(address, length, n, GROUP, first).build();
        self.put(entry, OTHER, 0);
    }

    fn put(&mut self, entry: Entry, kind: u64, id: u32) {
        self.waiting
            .push(entry.user_data(kind << 32 | u64::from(id)));
    }
}

impl Connection {
    fn new() -> Box<Self> {
        Box::new(Self {
            buffer: Box::new([0; BUFFER_BYTES]),
            received: Vec::new(),
            answer: Vec::new(),
            n_written: 0,
            closes: false,
            // SAFETY: both are plain numbers and pointers.
            segments: unsafe { std::mem::zeroed() },
            message: unsafe { std::mem::zeroed() },
        })
    }

    /// A message of two segments, the first of them short.
    fn message(&mut self, data: *mut u8, length: usize) -> *mut libc::msghdr {
        let first = length.min(24);
        self.segments = [
            libc::iovec {
                iov_base: data.cast(),
                iov_len: first,
            },
            libc::iovec {
                iov_base: data.wrapping_add(first).cast(),
                iov_len: length - first,
            },
        ];
        self.message.msg_iov = self.segments.as_mut_ptr();
        self.message.msg_iovlen = 2;
        &raw mut self.message
    }

    /// Answers every complete request received, unless an answer is being
    /// written; whether there is one now.
    fn answer_all(&mut self) -> bool {
        if !self.answer.is_empty() {
            return false;
        }
        while let Some(request) = take_request(&mut self.received) {
            let status = match request.path.as_str() {
                "/fail" => "500 Internal Server Error",
                "/predict" if request.body.contains("no number") => "422 Unprocessable Content",
                "/predict" => "200 OK",
                path => match path.strip_prefix("/items/").map(str::parse::<u32>) {
                    Some(Ok(id)) if id < 1_000 => "200 OK",
                    _ => "404 Not Found",
                },
            };
            let connection = if request.closes {
                "close"
            } else {
                "keep-alive"
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: 11\r\nConnection: {connection}\r\n\r\n{{\"ok\":true}}"
            );
            self.answer.extend_from_slice(head.as_bytes());
            self.closes |= request.closes;
        }
        !self.answer.is_empty()
    }
}

struct Request {
    path: String,
    body: String,
    closes: bool,
}

/// Takes the first complete request out of what was received.
fn take_request(received: &mut Vec<u8>) -> Option<Request> {
    let head_bytes = received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&received[..head_bytes]).into_owned();
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let body_bytes = field("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    if received.len() < head_bytes + body_bytes {
        return None;
    }
    let bytes: Vec<u8> = received.drain(..head_bytes + body_bytes).collect();
    Some(Request {
        path: head.split(' ').nth(1)?.to_owned(),
        body: String::from_utf8_lossy(&bytes[head_bytes..]).into_owned(),
        closes: field("connection").is_some_and(|value| value == "close"),
    })
}
