//! Parameters of `/alerts`, read into a question that has only valid values.

use modeltap_core::alert::AlertState;
use modeltap_core::time::UnixNs;
use modeltap_store::AlertQuery;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::ApiError;
use crate::query::{from_millis, time};

/// Alerts that are over, given if nothing is said.
const DEFAULT_ALERTS: usize = 100;
/// Most of them.
const MAX_ALERTS: usize = 1_000;

/// Parameters of `/alerts`, as they came.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertParameters {
    /// Only of this service.
    service: Option<String>,
    /// Only of the rule with this id.
    rule: Option<String>,
    /// Only in this state: `pending`, `firing` or `resolved`.
    #[param(pattern = "^(pending|firing|resolved)$", example = "firing")]
    state: Option<String>,
    /// Only those not over by then: Unix milliseconds or RFC 3339.
    #[param(pattern = "^([0-9]{1,15}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    from: Option<String>,
    /// Only those that began before: Unix milliseconds or RFC 3339.
    #[param(pattern = "^([0-9]{1,15}|[0-9]{4}-[0-9]{2}-[0-9]{2}T.*)$")]
    to: Option<String>,
    /// Most alerts that are over.
    #[param(minimum = 1, maximum = 1000, default = 100, example = 20)]
    limit: Option<usize>,
}

impl AlertParameters {
    /// Reads the parameters.
    pub fn query(self) -> Result<AlertQuery, ApiError> {
        let parameters = self;
        let limit = parameters.limit.unwrap_or(DEFAULT_ALERTS);
        if limit == 0 || limit > MAX_ALERTS {
            return Err(ApiError::BadRequest(format!(
                "limit must be 1 to {MAX_ALERTS}: {limit}"
            )));
        }
        let at = |name: &str, given: Option<String>, otherwise| match given {
            Some(text) => time(name, &text).map(from_millis),
            None => Ok(otherwise),
        };
        let state = parameters.state.map(|given| {
            AlertState::parse(&given).ok_or_else(|| {
                let given: String = given.chars().take(80).collect();
                ApiError::BadRequest(format!(
                    "state must be pending, firing or resolved: {given:?}"
                ))
            })
        });
        Ok(AlertQuery {
            service: parameters.service,
            rule: parameters.rule,
            state: state.transpose()?,
            from: at("from", parameters.from, UnixNs(0))?,
            to: at("to", parameters.to, UnixNs(u64::MAX))?,
            limit,
        })
    }
}
