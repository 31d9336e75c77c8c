//! Sample model servers and the traffic that drives them.
//!
//! The servers stand for what modeltap watches: `predictor` answers with a
//! latency that varies and fails at times, `chat` streams its answer piece by
//! piece. They know nothing of modeltap. Everything is linked statically, so
//! that an image holds one file and needs no registry.
//!
//! Requests are bounded by axum's body limit (2 MB), answers by constants.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod client;
pub mod random;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Serves `router` on `port` of every address until SIGTERM or SIGINT.
///
/// The process is number 1 in its container, where a signal without a handler
/// does nothing and `docker stop` waits ten seconds before it kills.
///
/// # Errors
/// When the port cannot be bound or the handlers cannot be installed.
pub async fn serve(port: u16, router: Router) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await?;
    println!("listening on {}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, router).into_future() => served,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
