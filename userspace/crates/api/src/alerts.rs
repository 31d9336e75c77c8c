//! `/api/v1/alerts` and what belongs to it: rules, silences, notifiers.

pub(crate) mod history;
mod parameters;
mod rules;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use modeltap_api_types as wire;
use modeltap_core::alert::AlertState;
use modeltap_core::time::UnixNs;
use modeltap_store::{AlertQuery, Reader};

use self::parameters::AlertParameters;
use crate::convert::alert as convert;
use crate::error::ApiError;
use crate::extract::{Body, Name, NoParameters, Parameters};
use crate::history::ask as ask_history;
use crate::query::from_millis;
use crate::rest::ask;
use crate::state::{AlertAsk, Ask, Changed, Sources, TestError};

/// Deliveries shown.
const MAX_DELIVERIES: usize = 100;
/// Services a preview is made of.
const MAX_PREVIEWED: usize = 20;

/// What fires and what may soon, and what is over.
#[utoipa::path(
    get,
    path = "/api/v1/alerts",
    tag = "alerts",
    params(AlertParameters),
    responses((status = 200, description = "Alerts.", body = wire::Alerts))
)]
pub async fn alerts(
    State(sources): State<Sources>,
    Parameters(parameters): Parameters<AlertParameters>,
) -> Result<Json<wire::Alerts>, ApiError> {
    let query = parameters.query()?;
    let live = sources.live.borrow().clone();
    let is = |wanted: &Option<String>, given: &str| wanted.as_deref().is_none_or(|w| w == given);
    let active = live.alerts.iter().filter(|alert| {
        is(&query.service, &alert.service)
            && is(&query.rule, &alert.rule)
            && query.state.is_none_or(|state| state == alert.state)
            && alert.since < query.to
    });
    let active = active.map(convert::alert).collect();
    let wants_history = query
        .state
        .is_none_or(|state| state == AlertState::Resolved);
    let history = if wants_history && sources.history.is_some() {
        let over = AlertQuery {
            state: Some(AlertState::Resolved),
            ..query
        };
        let found = ask_history(&sources, move |history| history.alerts(&over)).await?;
        found.iter().map(convert::alert).collect()
    } else {
        Vec::new()
    };
    Ok(Json(wire::Alerts { active, history }))
}

/// Every rule, and what rules may be about.
#[utoipa::path(
    get,
    path = "/api/v1/alert-rules",
    tag = "alerts",
    responses((status = 200, description = "Rules: those on from the start, those of labels, those made by hand.", body = wire::AlertRules))
)]
pub async fn rules(
    State(sources): State<Sources>,
    _: Parameters<NoParameters>,
) -> Result<Json<wire::AlertRules>, ApiError> {
    let rules = ask(&sources, |sender| Ask::Alerts(AlertAsk::Rules(sender))).await?;
    Ok(Json(wire::AlertRules {
        rules: rules.iter().map(convert::rule).collect(),
        metrics: convert::metrics(),
    }))
}

/// Makes a rule.
#[utoipa::path(
    post,
    path = "/api/v1/alert-rules",
    tag = "alerts",
    request_body = wire::AlertRule,
    responses(
        (status = 201, description = "The rule, with its id; it is kept.", body = wire::AlertRule, headers(("Location" = String, description = "Where it is."))),
        (status = 409, description = "There are as many rules as there may be."),
        (status = 503, description = "It could not be kept, so it was not made."),
    )
)]
pub async fn add_rule(
    State(sources): State<Sources>,
    _: Parameters<NoParameters>,
    Body(given): Body<wire::AlertRule>,
) -> Result<Response, ApiError> {
    if !given.id.is_empty() {
        let text = "id must be left out: the daemon gives it (PUT changes a rule)";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    let rule = Box::new(rules::rule(given)?);
    let made = change(&sources, |sender| AlertAsk::Add(rule, sender)).await?;
    Ok(created(
        &format!("/api/v1/alert-rules/{}", made.id),
        convert::rule(&made),
    ))
}

/// Changes a rule that was made by hand or is on from the start.
#[utoipa::path(
    put,
    path = "/api/v1/alert-rules/{id}",
    tag = "alerts",
    params(("id" = String, Path, description = "The rule's id.", max_length = 512, min_length = 1)),
    request_body = wire::AlertRule,
    responses(
        (status = 200, description = "The rule as it is kept now.", body = wire::AlertRule),
        (status = 404, description = "No rule has the id."),
        (status = 409, description = "A label makes the rule."),
        (status = 503, description = "It could not be kept, so it was not changed."),
    )
)]
pub async fn change_rule(
    State(sources): State<Sources>,
    Name(id): Name,
    _: Parameters<NoParameters>,
    Body(given): Body<wire::AlertRule>,
) -> Result<Json<wire::AlertRule>, ApiError> {
    if !given.id.is_empty() && given.id != id {
        let text = format!("id must be that of the path, or left out: {:?}", given.id);
        return Err(ApiError::BadRequest(text));
    }
    let mut rule = Box::new(rules::rule(given)?);
    rule.id = id.into();
    let changed = change(&sources, |sender| AlertAsk::Change(rule, sender)).await?;
    Ok(Json(convert::rule(&changed)))
}

/// Deletes a rule that was made by hand; brings one that is on from the start
/// back to what it was.
#[utoipa::path(
    delete,
    path = "/api/v1/alert-rules/{id}",
    tag = "alerts",
    params(("id" = String, Path, description = "The rule's id.", max_length = 512, min_length = 1)),
    responses(
        (status = 204, description = "It is done and kept."),
        (status = 404, description = "No rule has the id."),
        (status = 409, description = "A label makes the rule."),
        (status = 503, description = "It could not be kept, so it was not done."),
    )
)]
pub async fn remove_rule(
    State(sources): State<Sources>,
    Name(id): Name,
    _: Parameters<NoParameters>,
) -> Result<StatusCode, ApiError> {
    change(&sources, |sender| AlertAsk::Remove(id, sender)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries a rule on the last 24 h.
#[utoipa::path(
    post,
    path = "/api/v1/alert-rules/preview",
    tag = "alerts",
    request_body = wire::AlertRule,
    responses((status = 200, description = "The figure, what it would have been compared with, and when it would have fired, of the rule's service or of the 20 busiest.", body = wire::RulePreview))
)]
pub async fn preview(
    State(sources): State<Sources>,
    _: Parameters<NoParameters>,
    Body(given): Body<wire::AlertRule>,
) -> Result<Json<wire::RulePreview>, ApiError> {
    let rule = rules::rule(given)?;
    let now = now();
    let (from, _, step) = history::preview_range(&rule, now);
    let tried = {
        let rule = rule.clone();
        move |history: &Reader| {
            let services = match &rule.service {
                Some(service) => vec![service.to_string()],
                None => {
                    let seen = history.overview(from_millis(from * 1_000), now)?;
                    let mut seen: Vec<_> = seen
                        .into_iter()
                        .map(|s| (s.n_requests, s.service))
                        .collect();
                    seen.sort_by(|a, b| b.cmp(a));
                    seen.truncate(MAX_PREVIEWED);
                    seen.into_iter().map(|(_, service)| service).collect()
                }
            };
            let mut tried = Vec::new();
            for service in services {
                let found = history::preview(history, &rule, &service, now)?;
                tried.push((service, found));
            }
            Ok(tried)
        }
    };
    let services = ask_history(&sources, tried)
        .await?
        .into_iter()
        .map(|(service, tried)| {
            let of = |(began, ended): (UnixNs, UnixNs)| [began.millis(), ended.millis()];
            wire::ServicePreview {
                service,
                values: tried.values,
                thresholds: tried.done.thresholds,
                episodes: tried.done.episodes.into_iter().map(of).collect(),
            }
        });
    Ok(Json(wire::RulePreview {
        services: services.collect(),
        unit: rule.metric.unit().to_owned(),
        from_unix_ms: from * 1_000,
        step_seconds: u32::try_from(step).unwrap_or(u32::MAX),
    }))
}

/// Silences that hold or will.
#[utoipa::path(
    get,
    path = "/api/v1/silences",
    tag = "alerts",
    responses((status = 200, description = "Silences, the next to end first.", body = wire::Silences))
)]
pub async fn silences(
    State(sources): State<Sources>,
    _: Parameters<NoParameters>,
) -> Result<Json<wire::Silences>, ApiError> {
    let silences = ask(&sources, |sender| Ask::Alerts(AlertAsk::Silences(sender))).await?;
    Ok(Json(wire::Silences {
        silences: silences.iter().map(convert::silence).collect(),
    }))
}

/// Makes a silence: its alerts are shown but not sent.
#[utoipa::path(
    post,
    path = "/api/v1/silences",
    tag = "alerts",
    request_body = wire::Silence,
    responses(
        (status = 201, description = "The silence, with its id; it is kept.", body = wire::Silence, headers(("Location" = String, description = "Where it is."))),
        (status = 409, description = "There are as many silences as there may be."),
        (status = 503, description = "It could not be kept, so it was not made."),
    )
)]
pub async fn add_silence(
    State(sources): State<Sources>,
    _: Parameters<NoParameters>,
    Body(given): Body<wire::Silence>,
) -> Result<Response, ApiError> {
    if !given.id.is_empty() {
        let text = "id must be left out: the daemon gives it";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    let silence = Box::new(rules::silence(given, now())?);
    let made = change(&sources, |sender| AlertAsk::Silence(silence, sender)).await?;
    Ok(created(
        &format!("/api/v1/silences/{}", made.id),
        convert::silence(&made),
    ))
}

/// Ends a silence.
#[utoipa::path(
    delete,
    path = "/api/v1/silences/{id}",
    tag = "alerts",
    params(("id" = String, Path, description = "The silence's id.", max_length = 512, min_length = 1)),
    responses(
        (status = 204, description = "It is over."),
        (status = 404, description = "No silence has the id."),
        (status = 503, description = "It could not be kept, so it was not done."),
    )
)]
pub async fn end_silence(
    State(sources): State<Sources>,
    Name(id): Name,
    _: Parameters<NoParameters>,
) -> Result<StatusCode, ApiError> {
    change(&sources, |sender| AlertAsk::EndSilence(id, sender)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Every notifier, and the last deliveries.
#[utoipa::path(
    get,
    path = "/api/v1/notifiers",
    tag = "alerts",
    responses((status = 200, description = "Notifiers, configured or not.", body = wire::Notifiers))
)]
pub async fn notifiers(
    State(sources): State<Sources>,
    _: Parameters<NoParameters>,
) -> Result<Json<wire::Notifiers>, ApiError> {
    let known = ask(&sources, |sender| Ask::Alerts(AlertAsk::Notifiers(sender))).await?;
    let deliveries = if sources.history.is_some() {
        ask_history(&sources, |history| history.deliveries(MAX_DELIVERIES)).await?
    } else {
        Vec::new()
    };
    Ok(Json(wire::Notifiers {
        notifiers: known.iter().map(convert::notifier).collect(),
        deliveries: deliveries.iter().map(convert::delivery).collect(),
    }))
}

/// Sends a test.
#[utoipa::path(
    post,
    path = "/api/v1/notifiers/{name}/test",
    tag = "alerts",
    params(("name" = String, Path, description = "The notifier's name.", max_length = 512, min_length = 1)),
    responses(
        (status = 200, description = "How it went; `error` is null if it was taken.", body = wire::Delivery),
        (status = 404, description = "No notifier has the name."),
        (status = 409, description = "It is not configured, or tests already."),
    )
)]
pub async fn test_notifier(
    State(sources): State<Sources>,
    Name(name): Name,
    _: Parameters<NoParameters>,
) -> Result<Json<wire::Delivery>, ApiError> {
    let tested = ask(&sources, |sender| Ask::Alerts(AlertAsk::Test(name, sender))).await?;
    match tested {
        Ok(delivery) => Ok(Json(convert::delivery(&delivery))),
        Err(error @ TestError::Unknown(_)) => Err(ApiError::NotFound(error.to_string())),
        Err(error @ TestError::Refused(_)) => Err(ApiError::Conflict(error.to_string())),
    }
}

async fn change<T>(
    sources: &Sources,
    question: impl FnOnce(tokio::sync::oneshot::Sender<Changed<T>>) -> AlertAsk,
) -> Result<T, ApiError> {
    let changed = ask(sources, |sender| Ask::Alerts(question(sender))).await?;
    Ok(changed?)
}

fn created<T: serde::Serialize>(location: &str, body: T) -> Response {
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn now() -> UnixNs {
    let now = jiff::Timestamp::now().as_millisecond();
    from_millis(u64::try_from(now).unwrap_or(0))
}

#[cfg(test)]
mod tests;
