//! The handlers of the REST API.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use modeltap_api_types as wire;
use modeltap_metrics::FinishedRequest;
use tokio::sync::oneshot;

use crate::convert::{self, Totals};
use crate::error::ApiError;
use crate::extract::{Name, NoParameters, Parameters};
use crate::state::{Ask, Sources};
use crate::traffic::Traffic;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "daemon",
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain"))
)]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// The probes are attached and history is written.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "daemon",
    responses(
        (status = 200, description = "They are.", body = String, content_type = "text/plain"),
        (status = 503, description = "They are not; why."),
    )
)]
pub async fn readyz(State(sources): State<Sources>) -> Result<&'static str, ApiError> {
    let daemon = sources.daemon.borrow().clone();
    if daemon.n_programs == Some(0) {
        return Err(ApiError::Unavailable(
            "the probes are not attached".to_owned(),
        ));
    }
    match &daemon.store.error {
        Some(error) => Err(ApiError::Unavailable(format!(
            "history is not written: {error}"
        ))),
        None => Ok("ready\n"),
    }
}

/// Prometheus' text.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "daemon",
    responses((status = 200, description = "Counters, gauges and histograms.", body = String, content_type = "text/plain"))
)]
pub async fn metrics(
    State(sources): State<Sources>,
    State(traffic): State<Arc<Traffic>>,
) -> Result<Response, ApiError> {
    let mut text = ask(&sources, Ask::Metrics).await?;
    traffic.expose(&mut text);
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}

/// The daemon's state.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "daemon",
    responses((status = 200, description = "The state of this second.", body = wire::Status))
)]
pub async fn status(
    State(sources): State<Sources>,
    State(traffic): State<Arc<Traffic>>,
    _: Parameters<NoParameters>,
) -> Json<wire::Status> {
    let live = sources.live.borrow().clone();
    let daemon = sources.daemon.borrow().clone();
    let mut status = convert::status(&daemon, &live.services);
    status.probes.programs = convert::programs(&daemon);
    status.api = traffic.told();
    Json(status)
}

/// Every service over the live window.
#[utoipa::path(
    get,
    path = "/api/v1/services",
    tag = "live",
    responses((status = 200, description = "Every service.", body = wire::Services))
)]
pub async fn services(
    State(sources): State<Sources>,
    _: Parameters<NoParameters>,
) -> Json<wire::Services> {
    Json(convert::services(&sources.live.borrow()))
}

/// One service over the live window.
#[utoipa::path(
    get,
    path = "/api/v1/services/{service}",
    tag = "live",
    params(("service" = String, Path, description = "The service's name.", max_length = 512, min_length = 1)),
    responses(
        (status = 200, description = "The service.", body = wire::Service),
        (status = 404, description = "No service has the name."),
    )
)]
pub async fn service(
    State(sources): State<Sources>,
    Name(name): Name,
    _: Parameters<NoParameters>,
) -> Result<Json<wire::Service>, ApiError> {
    let live = sources.live.borrow().clone();
    let service = live.service(&name).ok_or_else(|| unknown_service(&name))?;
    Ok(Json(convert::service(service, Totals::Included)))
}

/// The routes of one service over the live window.
#[utoipa::path(
    get,
    path = "/api/v1/services/{service}/routes",
    tag = "live",
    params(("service" = String, Path, description = "The service's name.", max_length = 512, min_length = 1)),
    responses(
        (status = 200, description = "Its routes.", body = wire::Routes),
        (status = 404, description = "No service has the name."),
    )
)]
pub async fn routes(
    State(sources): State<Sources>,
    Name(name): Name,
    _: Parameters<NoParameters>,
) -> Result<Json<wire::Routes>, ApiError> {
    let live = sources.live.borrow().clone();
    let service = live.service(&name).ok_or_else(|| unknown_service(&name))?;
    Ok(Json(convert::routes(&live, service)))
}

/// The requests that finished last, newest first.
pub async fn recent(sources: &Sources) -> Result<Vec<Arc<FinishedRequest>>, ApiError> {
    ask(sources, Ask::Recent).await
}

/// The requests over UNIX sockets that finished last, newest first.
pub async fn recent_inner(sources: &Sources) -> Result<Vec<Arc<FinishedRequest>>, ApiError> {
    ask(sources, Ask::RecentInner).await
}

pub(crate) async fn ask<T>(
    sources: &Sources,
    question: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Result<T, ApiError> {
    let (sender, receiver) = oneshot::channel();
    let away = || ApiError::Unavailable("the daemon is ending".to_owned());
    sources
        .asks
        .send(question(sender))
        .await
        .map_err(|_| away())?;
    receiver.await.map_err(|_| away())
}

fn unknown_service(name: &str) -> ApiError {
    ApiError::NotFound(format!("no service has the name {name:?}"))
}
