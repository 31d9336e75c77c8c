//! The single requests that stand for a minute: the slowest and the failed.

use modeltap_core::exemplar::{Exemplar, ExemplarReason};
use modeltap_core::measure::Measure;
use modeltap_core::record::RequestRecord;
use modeltap_core::rollup::SeriesKey;
use modeltap_core::time::TimeAnchor;

use crate::facts::{Facts, measured_duration, measured_ttfb, nanos};

/// Slowest requests kept of a service and minute.
const MAX_SLOW: usize = 5;
/// Failed requests kept of a service and minute: all, if there are no more,
/// else as many, each failed request as likely as another.
const MAX_FAILED: usize = 20;

/// What one service keeps of the minute that is open. A request that is not
/// kept costs two comparisons.
#[derive(Debug, Default)]
pub(crate) struct Exemplars {
    slow: Vec<Exemplar>,
    /// A request has to take longer than this to be kept as slow.
    floor_ns: u64,
    failed: Vec<Exemplar>,
    n_failed: u64,
}

impl Exemplars {
    /// Takes a request of the service's, counted under `key`.
    pub(crate) fn offer(
        &mut self,
        key: &SeriesKey,
        request: &RequestRecord,
        facts: &Facts<'_>,
        anchor: TimeAnchor,
    ) {
        let build = |reason| exemplar(reason, key, request, facts, anchor);
        if let Some(duration) = measured_duration(request)
            && (nanos(duration) > self.floor_ns || self.slow.is_empty())
        {
            self.keep_slow(build(ExemplarReason::Slow));
        }
        if request.is_error() {
            self.n_failed += 1;
            if self.failed.len() < MAX_FAILED {
                self.failed.push(build(ExemplarReason::Failed));
            } else if let Some(place) = usize::try_from(scatter(self.n_failed) % self.n_failed)
                .ok()
                .and_then(|place| self.failed.get_mut(place))
            {
                // Vitter's algorithm R.
                *place = build(ExemplarReason::Failed);
            }
        }
    }

    /// Closes the minute and gives what it kept, the slowest first.
    pub(crate) fn close(&mut self) -> impl Iterator<Item = Exemplar> {
        let mut kept = std::mem::take(self);
        kept.slow
            .sort_by_key(|slow| std::cmp::Reverse(slow.duration));
        kept.slow.into_iter().chain(kept.failed)
    }

    /// What is kept of the minute so far.
    pub(crate) fn so_far(&self) -> impl Iterator<Item = &Exemplar> {
        self.slow.iter().chain(&self.failed)
    }

    fn keep_slow(&mut self, slow: Exemplar) {
        if self.slow.len() < MAX_SLOW {
            self.slow.push(slow);
        } else if let Some(least) = self.slow.iter_mut().min_by_key(|kept| kept.duration) {
            *least = slow;
        }
        if self.slow.len() == MAX_SLOW {
            let least = self.slow.iter().filter_map(|kept| kept.duration).min();
            self.floor_ns = nanos(least.unwrap_or_default());
        }
    }
}

fn exemplar(
    reason: ExemplarReason,
    key: &SeriesKey,
    request: &RequestRecord,
    facts: &Facts<'_>,
    anchor: TimeAnchor,
) -> Exemplar {
    let timings = &request.timings;
    let time = |measure| facts.time(measure);
    let stream = request.stream.as_deref();
    Exemplar {
        reason,
        service: key.service.clone(),
        container: key.container.clone(),
        route: key.route.clone(),
        method: request.method,
        status: request.status,
        outcome: request.outcome,
        completeness: request.completeness,
        streamed: request.streamed,
        started: anchor.unix(timings.request_start),
        finished: anchor.unix(timings.finished),
        duration: measured_duration(request),
        time_to_first_byte: measured_ttfb(request),
        felt: time(Measure::Felt),
        queue: time(Measure::Queue),
        read: time(Measure::Read),
        app: time(Measure::App),
        stream: time(Measure::Stream),
        drain: time(Measure::Drain),
        first_chunk: time(Measure::FirstChunk),
        n_chunks: stream.map(|stream| stream.n_chunks),
        request_body_bytes: request.request_body_bytes,
        response_body_bytes: request.response_body_bytes,
        peer: request.peer,
        local_port: request.local.port(),
    }
}

/// SplitMix64's finalizer: spreads a counter over all of `u64`.
fn scatter(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
