//! A model server that answers at once: `POST /predict` takes a log-normal
//! time, refuses malformed input with 422 and fails with 500 at times.
//!
//! Options: `--port 8080`, `--latency-ms 20` (median), `--error-rate 0.01`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use modeltap_demo::arguments::Arguments;
use modeltap_demo::random::Random;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Items that `GET /items/{id}` knows: ids below this.
const ITEMS: u64 = 1_000;
/// The most features one prediction takes.
const MAX_FEATURES: usize = 1_024;
const LATENCY_SIGMA: f64 = 0.6;

struct Model {
    random: Mutex<Random>,
    latency: Duration,
    error_rate: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse(std::env::args().skip(1))?;
    let port = arguments.take("port", 8080)?;
    let model = Model {
        random: Mutex::new(Random::from_entropy()),
        latency: Duration::from_millis(arguments.take("latency-ms", 20)?),
        error_rate: arguments.take("error-rate", 0.01)?,
    };
    arguments.finish()?;
    let router = Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/items/{id}", get(item))
        .route("/predict", post(predict))
        .with_state(Arc::new(model));
    modeltap_demo::serve(port, router).await?;
    Ok(())
}

async fn item(Path(id): Path<u64>) -> (StatusCode, Json<Value>) {
    if id < ITEMS {
        (
            StatusCode::OK,
            Json(json!({ "id": id, "name": format!("item {id}") })),
        )
    } else {
        (
            StatusCode::NOT_FOUND,
            Json(json!({ "detail": "no such item" })),
        )
    }
}

async fn predict(
    State(model): State<Arc<Model>>,
    Json(input): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let Some(score) = score(&input) else {
        return (
            StatusCode::UNPROCESSABLE_ENTITY,
            Json(json!({ "detail": "features must be 1 to 1024 numbers" })),
        );
    };
    let (latency, fails) = {
        let mut random = model.random.lock().unwrap_or_else(PoisonError::into_inner);
        (
            random.latency(model.latency, LATENCY_SIGMA),
            random.chance(model.error_rate),
        )
    };
    sleep(latency).await;
    if fails {
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            Json(json!({ "detail": "the model failed" })),
        )
    } else {
        (StatusCode::OK, Json(json!({ "score": score })))
    }
}

/// Averages the features, squashed to `0..1`; none where they are malformed.
fn score(input: &Value) -> Option<f64> {
    let features = input.get("features")?.as_array()?;
    if features.is_empty() || features.len() > MAX_FEATURES {
        return None;
    }
    let mut sum = 0.0;
    for feature in features {
        sum += feature.as_f64()?;
    }
    Some(1.0 / (1.0 + (-sum / features.len() as f64).exp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_features_have_no_score() {
        for (input, expected) in [
            (json!({ "features": [0.0, 0.0] }), Some(0.5)),
            (json!({ "features": [] }), None),
            (json!({ "features": ["a"] }), None),
            (json!({ "features": vec![1.0; MAX_FEATURES + 1] }), None),
            (json!({}), None),
            (json!([1]), None),
        ] {
            assert_eq!(score(&input), expected, "{input}");
        }
    }
}
