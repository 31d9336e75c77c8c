//! One series: a container, method, route, status and outcome.

use modeltap_core::record::{Method, Outcome, RequestRecord};
use modeltap_core::rollup::{Figures, SeriesKey};
use modeltap_core::totals::{Counters, SeriesTotals};

use crate::facts::{Facts, measured_duration, measured_ttfb};
use crate::route::RouteIndex;

/// The name of a series in small numbers, for the look-up on every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SeriesIndex {
    pub(crate) service: u32,
    pub(crate) container: u32,
    pub(crate) route: RouteIndex,
    pub(crate) method: Option<Method>,
    pub(crate) status: Option<u16>,
    pub(crate) outcome: Outcome,
}

/// Which limit a series counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    /// That of its service.
    Own,
    /// The reserve for what exceeds that.
    Overflow,
    /// None: there is one an outcome.
    Last,
}

/// What is gathered of a series. The open window's histograms are sparse: a
/// second of one series fills few buckets, and its rollup needs them so.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) index: SeriesIndex,
    pub(crate) budget: Budget,
    pub(crate) key: SeriesKey,
    /// Place of its count in its service's totals.
    pub(crate) total: usize,
    /// The open window.
    pub(crate) window: Figures,
    /// Counts since the start, by minor version of HTTP/1.
    versions: Vec<(u8, Box<Counters>)>,
}

impl Series {
    pub(crate) fn new(index: SeriesIndex, budget: Budget, key: SeriesKey, total: usize) -> Self {
        let versions = Vec::with_capacity(1);
        Self {
            index,
            budget,
            key,
            total,
            window: Figures::default(),
            versions,
        }
    }

    /// Counts one request in the open window and since the start.
    pub(crate) fn record(&mut self, request: &RequestRecord, facts: &Facts<'_>) {
        facts.add_request(request, &mut self.window);
        let counters = self.version(request.http_minor);
        counters.n_requests += 1;
        if let Some(duration) = measured_duration(request) {
            counters.duration.record(duration);
        }
        counters.request_body.record(request.request_body_bytes);
        counters.response_body.record(request.response_body_bytes);
        if let Some(ttfb) = measured_ttfb(request) {
            counters.time_to_first_byte.record(ttfb);
        }
    }

    /// Counts requests of which nothing else is known.
    pub(crate) fn count(&mut self, n_requests: u64, n_errors: u64) {
        self.window.n_requests += n_requests;
        self.window.n_errors += n_errors;
        self.version(1).n_requests += n_requests;
    }

    /// Counts since the start, one entry a version.
    pub(crate) fn totals(&self) -> impl Iterator<Item = SeriesTotals> {
        self.versions
            .iter()
            .map(|(http_minor, counters)| SeriesTotals {
                key: self.key.clone(),
                http_minor: *http_minor,
                counters: **counters,
            })
    }

    fn version(&mut self, http_minor: u8) -> &mut Counters {
        // HTTP/1 has two minor versions; anything else counts as the newer.
        let http_minor = http_minor.min(1);
        let at = match self
            .versions
            .iter()
            .position(|(known, _)| *known == http_minor)
        {
            Some(at) => at,
            None => {
                self.versions.push((http_minor, Box::default()));
                self.versions.len() - 1
            }
        };
        &mut self.versions[at].1
    }
}
