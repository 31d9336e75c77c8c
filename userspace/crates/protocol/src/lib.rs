//! Bytes of observed connections in, finished requests out.
//!
//! A [`ConnectionTable`] takes what capture reports, in the order of the
//! kernel's ring, and yields one `RequestRecord` for each exchange and one
//! `SessionRecord` for each upgraded connection. It reads HTTP/1 as RFC 9112
//! has it, server-sent events and the frames of WebSockets, from bytes of
//! which only a part was captured and some may be lost.
//!
//! It does no I/O and knows no clock, file, task or log: time is an argument,
//! as in quinn-proto. It does not know containers either, only cgroup ids.
//!
//! Invariants:
//! - Every byte has one fate: `bytes_observed = bytes_parsed + bytes_skipped +
//!   bytes_truncated + bytes_buffered` after every call, and nothing is
//!   buffered once all connections are gone. Lost bytes (`bytes_gap`) were
//!   never observed here and are counted apart.
//! - Input is hostile: no input panics, and connections, exchanges and
//!   buffered bytes are bounded by [`Config`].
//! - A status is only ever one that was written. Where a loss leaves it open
//!   which request a response answers, the outcome is `lost`.
//! - Only heads are ever buffered. Bodies are counted, and streams classed,
//!   while they pass; of their content one short token is held at a time, and
//!   only of cgroups that were opted in is a model's name kept.
#![forbid(unsafe_code)]

mod accounts;
mod body;
mod connection;
mod detect;
mod exchange;
mod genai;
mod http1;
mod input;
mod inspect;
mod json;
mod message;
mod sse;
mod stream;
mod stream_figures;
mod table;
mod watch;
mod websocket;

pub use detect::Protocol;
pub use http1::{MAX_HEAD_BYTES, MAX_HEADERS};
pub use table::{Config, ConnectionTable, Stats};
