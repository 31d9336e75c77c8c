//! Binds, routes and serves.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::http::Method;
use axum::middleware;
use axum::routing::{delete, get, post, put};
use thiserror::Error;

use crate::connections::{self, Limits};
use crate::error::ApiError;
use crate::feed::{Feed, Pace};
use crate::guard::{self, Access};
use crate::state::Sources;
use crate::traffic::Traffic;
use crate::{alerts, cache, export, history, limits, openapi, requests, rest, ui, why, ws};

/// Why the API cannot be served.
#[derive(Debug, Error)]
pub enum BindError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: choose another address with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Reachable from other hosts, but open to everyone.
    #[error("listening on {address} needs a token: set MODELTAP_TOKEN, or listen on 127.0.0.1")]
    NoToken {
        /// The address asked for.
        address: SocketAddr,
    },
}

/// A bound listener that does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
}

impl Server {
    /// Binds. An address that other hosts reach needs a token. No runtime is
    /// needed yet: a low port takes a privilege that is gone when there is one.
    ///
    /// # Errors
    /// The address is taken, not ours, or open without a token.
    pub fn bind(address: SocketAddr, access: Access) -> Result<Self, BindError> {
        if !address.ip().is_loopback() && access.token.is_none() {
            return Err(BindError::NoToken { address });
        }
        let failed = |source| BindError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            access,
        })
    }

    /// The address it is bound to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready; then open WebSockets are closed by their
    /// own tasks.
    ///
    /// # Errors
    /// The listener broke.
    pub async fn serve(
        self,
        sources: Sources,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let traffic = Arc::new(Traffic::default());
        let shared = Shared::new(sources, traffic.clone());
        let router = router(shared, self.access);
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        connections::serve(listener, router, traffic, Limits::default(), stop).await
    }
}

/// What handlers share.
#[derive(Clone)]
pub struct Shared {
    sources: Sources,
    traffic: Arc<Traffic>,
    why: Arc<why::Kept>,
    /// What live clients are told, made once for all of them.
    pub feed: Arc<Feed>,
}

impl Shared {
    /// Around what there is to show.
    pub fn new(sources: Sources, traffic: Arc<Traffic>) -> Self {
        let feed = Feed::new(sources.clone(), traffic.clone(), Pace::default());
        Self {
            sources,
            traffic,
            why: Arc::default(),
            feed: Arc::new(feed),
        }
    }
}

impl FromRef<Shared> for Sources {
    fn from_ref(shared: &Shared) -> Self {
        shared.sources.clone()
    }
}

impl FromRef<Shared> for Arc<Traffic> {
    fn from_ref(shared: &Shared) -> Self {
        shared.traffic.clone()
    }
}

impl FromRef<Shared> for Arc<why::Kept> {
    fn from_ref(shared: &Shared) -> Self {
        shared.why.clone()
    }
}

impl FromRef<Shared> for Arc<Feed> {
    fn from_ref(shared: &Shared) -> Self {
        shared.feed.clone()
    }
}

/// Every route, behind every check.
pub fn router(shared: Shared, access: Access) -> Router {
    let api = Router::new()
        .route("/status", get(rest::status))
        .route("/services", get(rest::services))
        .route("/services/{service}", get(rest::service))
        .route("/services/{service}/routes", get(rest::routes))
        .route("/services/{service}/why", get(why::why))
        .route("/query", get(history::query))
        .route("/heatmap", get(history::heatmap))
        .route("/exemplars", get(history::exemplars))
        .route("/events", get(history::events))
        .route("/sql", post(history::sql))
        .route("/export", get(export::export))
        .route("/requests", get(requests::requests))
        .route("/alerts", get(alerts::alerts))
        .route("/alert-rules", get(alerts::rules).post(alerts::add_rule))
        .route("/alert-rules/preview", post(alerts::preview))
        .route(
            "/alert-rules/{id}",
            put(alerts::change_rule).delete(alerts::remove_rule),
        )
        .route("/silences", get(alerts::silences).post(alerts::add_silence))
        .route("/silences/{id}", delete(alerts::end_silence))
        .route("/notifiers", get(alerts::notifiers))
        .route("/notifiers/{name}/test", post(alerts::test_notifier))
        .route("/live", get(ws::live))
        .route("/openapi.json", get(openapi::describe));
    let all = Router::new()
        .route("/healthz", get(rest::healthz))
        .route("/readyz", get(rest::readyz))
        .route("/metrics", get(rest::metrics))
        .nest("/api/v1", api)
        .route("/api/docs", get(openapi::docs))
        .route("/api/docs/", get(openapi::docs_index))
        .route("/api/docs/{*path}", get(openapi::docs_file))
        .fallback(ui::serve)
        .method_not_allowed_fallback(not_allowed);
    // The last layer sees a request first.
    all.layer(middleware::from_fn(cache::tag))
        .layer(limits::compression())
        .layer(middleware::from_fn(limits::check))
        .layer(middleware::from_fn_with_state(
            Arc::new(access),
            guard::check,
        ))
        .with_state(shared)
}

async fn not_allowed(method: Method) -> ApiError {
    ApiError::MethodNotAllowed(method.to_string())
}

#[cfg(test)]
mod tests;
