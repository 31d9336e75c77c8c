//! Why a service is worse than it was: asks history for the few series that
//! tell, and hands them to the function that knows.

mod ask;
mod kept;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use modeltap_api_types as wire;
use modeltap_core::time::UnixNs;
use modeltap_store::{QueryError, Reader};
use serde::Deserialize;

use crate::error::ApiError;
use crate::extract::{Name, Parameters};
use crate::history;
use crate::state::Sources;
use crate::{cache, convert};

pub use kept::Kept;
use kept::Key;

/// Steps of a range.
const RANGE_STEPS: u64 = 60;
/// Steps before it that it is compared with.
const PAST_STEPS: u64 = 180;
/// The look at what is worse since a moment ago: length of its steps, and how
/// far it reaches back, in seconds.
const SUDDEN_STEP: u64 = 5;
const SUDDEN_SPAN: u64 = 1_200;
/// Steps that history's sums have, in seconds.
const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
/// Shortest and longest range.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(31 * 86_400);
/// How long an answer is kept: of a range that moves a quarter of a step, from
/// and to so many seconds; and of one that is over.
const KEPT_MOVING: (u64, u64) = (3, 30);
const KEPT_OVER: Duration = Duration::from_secs(60);

/// Parameters of `/why`, as they came.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhyParameters {
    /// Beginning of the range: Unix milliseconds or RFC 3339; an hour before
    /// `to` if it is left out. It is compared with what was before.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    from: Option<String>,
    /// End of the range, likewise; now if it is left out.
    #[param(pattern = "^([0-9]{1,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    to: Option<String>,
}

/// Why a service is slower, failing or starved.
///
/// Since when, by how much, which part of the time grew, which route and
/// container carry it, and what happened then: against the service's own past,
/// three times the range before it and three hours at the least. Empty where
/// nothing is known to have changed; of a service that did not change, one
/// answer in 1,000 at most says something.
#[utoipa::path(
    get,
    path = "/api/v1/services/{service}/why",
    tag = "history",
    params(
        ("service" = String, Path, description = "The service's name.", max_length = 512, min_length = 1),
        WhyParameters,
    ),
    responses(
        (status = 200, description = "What is worse than it was; a few seconds old at most.", body = wire::Why),
        (status = 500, description = "The history could not be read."),
    )
)]
pub async fn why(
    State(sources): State<Sources>,
    State(kept): State<Arc<Kept>>,
    Name(service): Name,
    Parameters(parameters): Parameters<WhyParameters>,
) -> Result<Response, ApiError> {
    let now = Timestamp::now().as_second();
    let now = u64::try_from(now).unwrap_or(0);
    let (from, to) = history::range(parameters.from.as_deref(), parameters.to.as_deref())?;
    let span = Duration::from_nanos(to.0 - from.0);
    if !(SHORTEST..=LONGEST).contains(&span) {
        return Err(ApiError::BadRequest(format!(
            "a range is 10 s to 31 days long, not {span:?}"
        )));
    }
    let range = Range::of(from, to);
    let is_over = range.to + 2 * MINUTE <= now;
    let moving = (range.step / 4).clamp(KEPT_MOVING.0, KEPT_MOVING.1);
    let lasts = if is_over {
        KEPT_OVER
    } else {
        Duration::from_secs(moving)
    };
    let key = Key {
        service: service.clone(),
        range,
    };
    let found = kept
        .or_find(key, lasts, async || {
            let answer = history::ask(&sources, move |reader| found(reader, &service, range, now));
            Ok::<_, ApiError>(Arc::new(answer.await?))
        })
        .await?;
    let mut response = Json(&*found).into_response();
    if parameters.from.is_some() && parameters.to.is_some() {
        cache::settle(&mut response, range.to * 1_000, now * 1_000);
    }
    Ok(response)
}

/// A range in whole steps, in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    from: u64,
    to: u64,
    step: u64,
}

impl Range {
    fn of(from: UnixNs, to: UnixNs) -> Self {
        let span = (to.0 - from.0).div_ceil(1_000_000_000);
        let step = whole_step(span.div_ceil(RANGE_STEPS));
        let to = to.0.div_ceil(1_000_000_000).next_multiple_of(step);
        let from = from.seconds();
        Self {
            from: from - from % step,
            to,
            step,
        }
    }

    /// The steps in which it is looked at: its own, and minutes over hours
    /// where its own reach back less far.
    fn looks(self) -> impl Iterator<Item = Look> {
        let steps = [self.step, MINUTE];
        let n_looks = if self.step < MINUTE { 2 } else { 1 };
        steps.into_iter().take(n_looks).map(move |step| {
            let from = self.from - self.from % step;
            let past = step * PAST_STEPS;
            Look {
                past: from.saturating_sub(past),
                from,
                to: self.to.next_multiple_of(step),
                step,
            }
        })
    }

    /// The look at what is worse at its end, or now where its last step is not
    /// over.
    fn sudden(self, now: u64) -> Look {
        let to = self.to.min(now).next_multiple_of(SUDDEN_STEP);
        let past = to.saturating_sub(SUDDEN_SPAN);
        Look {
            past,
            from: past,
            to,
            step: SUDDEN_STEP,
        }
    }
}

/// One look at a range and its past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Beginning of the past.
    past: u64,
    /// Beginning of the range.
    from: u64,
    to: u64,
    step: u64,
}

/// A step at least as long that divides a minute or an hour, or is hours.
fn whole_step(seconds: u64) -> u64 {
    const WHOLE: [u64; 8] = [1, 2, 5, 10, 15, 20, 30, 60];
    let within_minute = WHOLE.into_iter().find(|step| *step >= seconds);
    within_minute.unwrap_or_else(|| {
        let unit = if seconds <= HOUR { MINUTE } else { HOUR };
        seconds.next_multiple_of(unit)
    })
}

/// What is found by the first look that finds something of a kind.
fn found(reader: &Reader, service: &str, range: Range, now: u64) -> Result<wire::Why, QueryError> {
    let mut why = wire::Why {
        service: service.to_owned(),
        from_unix_ms: range.from * 1_000,
        to_unix_ms: range.to * 1_000,
        findings: Vec::new(),
    };
    let mut tell = |found: Vec<ask::Found>| {
        for found in found {
            let found = convert::why::finding(service, found.step, range.to, found.finding);
            if why.findings.iter().all(|known| known.kind != found.kind) {
                why.findings.push(found);
            }
        }
    };
    let sudden = || ask::sudden(reader, service, range.sudden(now));
    // Steps of its own that are shorter tell better since when it is.
    if range.step >= SUDDEN_STEP {
        tell(sudden()?);
    }
    for look in range.looks() {
        tell(ask::findings(reader, service, look)?);
        if look.step < SUDDEN_STEP {
            tell(sudden()?);
        }
    }
    const GRAVEST: [&str; 3] = ["failing", "slow", "starved"];
    let place = |found: &wire::WhyFinding| GRAVEST.iter().position(|kind| *kind == found.kind);
    why.findings.sort_by_key(place);
    Ok(why)
}

#[cfg(test)]
mod tests;
