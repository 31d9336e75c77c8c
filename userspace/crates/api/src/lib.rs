//! REST, WebSocket and the embedded page.
//!
//! It shows what metrics and the store know, and hands changes of alert rules
//! to the task that makes them. It does not
//! know probes, Docker or how the daemon is built: the daemon's state comes as
//! a plain [`state::DaemonState`], everything else through [`state::Sources`].
//!
//! Invariants: `convert` is the only translation between the daemon's types
//! and the wire's; errors are problem documents; no answer waits for another
//! request's.
#![forbid(unsafe_code)]

mod alerts;
mod cache;
mod connections;
mod convert;
mod error;
mod export;
mod extract;
mod feed;
#[cfg(test)]
mod fixture;
mod format;
mod guard;
mod history;
mod limits;
mod openapi;
mod query;
mod requests;
mod rest;
mod server;
pub mod state;
mod traffic;
mod ui;
mod why;
mod ws;

pub use alerts::history::figures as alert_figures;
pub use guard::Access;
pub use server::{BindError, Server};
