//! Requests to inference endpoints of one service, by operation and model.

use std::collections::HashMap;
use std::sync::Arc;

use modeltap_core::record::{Operation, RequestRecord, StreamFormat};
use modeltap_core::time_buckets::{FIRST_TOKEN_BOUNDS_NS, INFERENCE_BOUNDS_NS, TimeBuckets};
use modeltap_core::totals::{InferenceCounters, error_type};

use crate::facts::{Facts, measured_duration};
use crate::route::Proof;
use crate::template::OTHER;

/// The model of a request that named none.
const UNKNOWN: &str = "_unknown";
/// The error of requests beyond the limit, as the semantic conventions have it.
const OTHER_ERROR: &str = "_OTHER";
/// Models of a service that have a name: clients choose names too.
const MAX_MODELS: usize = 50;
/// Longest name of a model kept, in bytes.
const MAX_MODEL_BYTES: usize = 128;
/// Combinations a container may have with names and errors of their own.
const MAX_ENTRIES: usize = 256;

/// What is counted apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InferenceKey {
    pub(crate) container: u32,
    pub(crate) operation: Operation,
    pub(crate) model: Arc<str>,
    pub(crate) error_type: Arc<str>,
}

/// Counts by key, bounded whatever clients send.
#[derive(Debug, Default)]
pub(crate) struct InferenceBook {
    models: Vec<Arc<str>>,
    counts: HashMap<InferenceKey, InferenceCounters>,
    n_entries: HashMap<u32, usize>,
}

impl InferenceBook {
    /// Counts a request of a container, if it went to an inference endpoint.
    pub(crate) fn record(&mut self, container: u32, request: &RequestRecord, facts: &Facts<'_>) {
        let Some(inference) = request.inference.as_deref() else {
            return;
        };
        let model = self.model(inference.model.as_deref(), Proof::of(request.status));
        let key = InferenceKey {
            container,
            operation: inference.operation,
            model,
            error_type: error_type(request.status, request.outcome).into(),
        };
        let counters = self.counters(key);
        if let Some(duration) = measured_duration(request) {
            counters.duration.record(duration);
        }
        if is_first_token(request, inference.operation)
            && let Some(first) = facts.first_chunk()
        {
            counters
                .first_token
                .get_or_insert_with(|| TimeBuckets::new(&FIRST_TOKEN_BOUNDS_NS))
                .record(first);
        }
        counters.tokens.merge(&facts.tokens());
    }

    /// Forgets what containers counted.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(u32) -> bool) {
        self.counts.retain(|key, _| !is_gone(key.container));
        self.n_entries.retain(|container, _| !is_gone(*container));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&InferenceKey, &InferenceCounters)> {
        self.counts.iter()
    }

    /// The model's name; only an answer that proves it real makes a new one.
    fn model(&mut self, model: Option<&str>, proof: Proof) -> Arc<str> {
        let Some(model) = model.map(clean).filter(|model| !model.is_empty()) else {
            return UNKNOWN.into();
        };
        if let Some(known) = self.models.iter().find(|known| ***known == *model) {
            return Arc::clone(known);
        }
        if proof == Proof::None || self.models.len() >= MAX_MODELS {
            return OTHER.into();
        }
        let model: Arc<str> = model.into();
        self.models.push(Arc::clone(&model));
        model
    }

    fn counters(&mut self, key: InferenceKey) -> &mut InferenceCounters {
        let n_entries = self.n_entries.entry(key.container).or_default();
        let key = if self.counts.contains_key(&key) {
            key
        } else if *n_entries < MAX_ENTRIES {
            *n_entries += 1;
            key
        } else {
            // One an operation, with an error and without.
            let error_type = if key.error_type.is_empty() {
                key.error_type
            } else {
                OTHER_ERROR.into()
            };
            InferenceKey {
                model: OTHER.into(),
                error_type,
                ..key
            }
        };
        self.counts.entry(key).or_insert_with(|| InferenceCounters {
            duration: TimeBuckets::new(&INFERENCE_BOUNDS_NS),
            first_token: None,
            tokens: Default::default(),
        })
    }
}

/// Whether the first content chunk is the model's first token: a successful
/// answer of a model that generates, whose frames tell content from the rest.
fn is_first_token(request: &RequestRecord, operation: Operation) -> bool {
    let is_framed = request.stream.as_deref().is_some_and(|stream| {
        matches!(
            stream.format,
            StreamFormat::ServerSentEvents | StreamFormat::JsonLines
        )
    });
    let is_success = request
        .status
        .is_some_and(|status| (200..300).contains(&status));
    operation.is_generative() && is_framed && is_success
}

/// A name without control characters, cut to [`MAX_MODEL_BYTES`].
fn clean(model: &str) -> String {
    let mut name: String = model.trim().chars().filter(|c| !c.is_control()).collect();
    while name.len() > MAX_MODEL_BYTES {
        name.pop();
    }
    name
}
