//! The API's own description (OpenAPI 3.1), made from the handlers and the
//! types they answer with, and the pages that show it.
//!
//! `openapi.json` beside the sources is what the description was when it was
//! looked at last. A test compares; `MODELTAP_BLESS=1 cargo test -p
//! modeltap-api` writes it anew.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa_swagger_ui::Config;

use crate::error::ApiError;
use crate::query::values_of;
use crate::{alerts, export, history, requests, rest, why, ws};

/// Where the description is.
const PATH: &str = "/api/v1/openapi.json";
/// The description's own description.
const ABOUT: &str = "\
What modeltap sees of the model APIs on this host, live and in the past.\n\n\
Durations are numbers in seconds and sizes in bytes unless a name says otherwise (`_ns`, \
`_unix_ms`); times are Unix milliseconds; what is not known is `null`, never zero. Errors are \
problem documents (RFC 9457) whose `detail` says what would be right. Where a token is set, send \
it as `Authorization: Bearer TOKEN` or as the password of any user; a WebSocket of a page's may \
offer it as the protocol `modeltap.token.` followed by the token in base64url, beside \
`modeltap.v1`.";

#[derive(OpenApi)]
#[openapi(
    info(title = "modeltap"),
    paths(
        rest::healthz,
        rest::readyz,
        rest::metrics,
        rest::status,
        rest::services,
        rest::service,
        rest::routes,
        why::why,
        history::query,
        history::heatmap,
        history::exemplars,
        history::events,
        history::sql,
        export::export,
        requests::requests,
        alerts::alerts,
        alerts::rules,
        alerts::add_rule,
        alerts::change_rule,
        alerts::remove_rule,
        alerts::preview,
        alerts::silences,
        alerts::add_silence,
        alerts::end_silence,
        alerts::notifiers,
        alerts::test_notifier,
        ws::live,
        describe,
    ),
    components(schemas(
        modeltap_api_types::LiveMessage,
        modeltap_api_types::LiveCommand,
        modeltap_api_types::Problem,
    )),
    tags(
        (name = "live", description = "Now: figures of the last minute, exact totals since the start."),
        (name = "alerts", description = "Rules, the alerts they raise, and who is told of them."),
        (name = "history", description = "The past, as far as it is kept."),
        (name = "daemon", description = "The daemon itself."),
    ),
)]
struct Description;

/// The whole description, as it is served.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
        text.push('\n');
        text
    })
}

fn document() -> Value {
    // A description of types that exist is always JSON.
    let mut document = serde_json::to_value(Description::openapi()).unwrap_or_default();
    document["info"]["description"] = ABOUT.into();
    // Whoever reads it has an address already.
    document["servers"] = json!([{ "url": "/" }]);
    document["components"]["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "The token, where one is set." },
        "basic": { "type": "http", "scheme": "basic", "description": "The token as the password of any user." },
    });
    document["security"] = json!([{}, { "bearer": [] }, { "basic": [] }]);
    // Untagged variants overlap: a whole number is any number too.
    document["components"]["schemas"]["SqlValue"] = json!({
        "description": "A value of an answer.",
        "type": ["null", "boolean", "number", "string"],
    });
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                list_values(path, operation);
                complete(method, operation);
            }
        }
    }
    plain_links(&mut document);
    document
}

/// Lists what each parameter may be, where that is a list.
fn list_values(path: &str, operation: &mut Value) {
    let parameters = operation.get_mut("parameters");
    for parameter in parameters
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let schema = &mut parameter["schema"];
        // It is left out, not sent as nothing.
        if let Some(kinds) = schema["type"].as_array() {
            let kind = kinds.iter().find(|kind| *kind != "null").cloned();
            schema["type"] = kind.unwrap_or_default();
        }
        let name = parameter["name"].as_str().unwrap_or_default();
        if let Some(values) = values_of(path, name) {
            parameter["schema"]["enum"] = json!(values);
        }
    }
}

/// Adds the answers of the checks before every operation.
fn complete(method: &str, operation: &mut Value) {
    let has_parameters = operation.get("parameters").is_some();
    let is_data = operation["responses"]["200"]["content"]["application/json"].is_object();
    let is_write = method != "get";
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    if method == "get" && is_data {
        let same = "What `If-None-Match` names is what there is.";
        responses.insert("304".to_owned(), json!({ "description": same }));
    }
    for (status, applies, description) in [
        (
            "400",
            has_parameters || is_write || is_data,
            "A parameter is not known or not understood.",
        ),
        ("401", true, "A token is needed."),
        ("403", true, "The host or the origin is not accepted."),
        ("413", is_write, "The body is too long."),
        (
            "414",
            has_parameters,
            "The path and query string are too long.",
        ),
        ("415", is_write, "The body is not JSON."),
        (
            "503",
            true,
            "A part of the daemon is away, or too much is asked at once.",
        ),
    ] {
        if applies && !responses.contains_key(status) {
            responses.insert(status.to_owned(), json!({ "description": description }));
        }
    }
    for (status, response) in responses {
        if status.starts_with(['4', '5']) {
            response["content"] = json!({
                "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } }
            });
        }
    }
}

/// Turns links to Rust's items into what they name: they lead nowhere here.
fn plain_links(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "description" || name == "summary" => {
                        *text = plain(text);
                    }
                    _ => plain_links(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_links),
        _ => {}
    }
}

fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, named)) = rest.split_once("[`") {
        plain.push_str(before);
        let Some((name, after)) = named.split_once("`]") else {
            plain.push_str("[`");
            rest = named;
            continue;
        };
        plain.push('`');
        plain.push_str(&name.replace("::", "."));
        plain.push('`');
        rest = match after
            .strip_prefix('(')
            .and_then(|link| link.split_once(')'))
        {
            Some((_, after)) => after,
            None => after,
        };
    }
    plain.push_str(rest);
    plain
}

/// This description.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "daemon",
    responses((status = 200, description = "The description.", body = Object))
)]
pub async fn describe() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], text()).into_response()
}

/// To the pages that show it, whose own links are relative.
pub async fn docs() -> Redirect {
    Redirect::permanent("/api/docs/")
}

/// The first of the pages that show it.
pub async fn docs_index() -> Response {
    docs_file(Path("index.html".to_owned())).await
}

/// A file of the pages that show it (Swagger UI, embedded).
pub async fn docs_file(Path(path): Path<String>) -> Response {
    // Its validator would send the description to somebody else's server.
    let config = Config::new([PATH])
        .validator_url("none")
        .use_base_layout()
        .try_it_out_enabled(true)
        .display_request_duration(true);
    let found = utoipa_swagger_ui::serve(&path, Arc::new(config));
    let Ok(Some(file)) = found else {
        return ApiError::NotFound(format!("there is no /api/docs/{path}")).into_response();
    };
    let mut response = Body::from(file.bytes.into_owned()).into_response();
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&file.content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if file.gzpipped {
        // They are embedded so, and every browser takes it.
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let keep = HeaderValue::from_static("private, max-age=3600");
    headers.insert(header::CACHE_CONTROL, keep);
    response
}

#[cfg(test)]
mod tests;
