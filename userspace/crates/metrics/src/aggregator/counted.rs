//! Requests that only the kernel counted, while all else was left out.

use modeltap_core::accounting::RequestCounts;
use modeltap_core::record::Outcome;

use super::{Aggregator, Placement, start_of};
use crate::route::RouteIndex;
use crate::series::SeriesIndex;

impl Aggregator {
    /// Counts what came since the last report of a container's requests of
    /// which nothing else is known: neither route nor time. Their statuses are
    /// known by class alone, so that those that failed are told as such.
    pub(super) fn record_counted(&mut self, placement: Placement, left_out: &RequestCounts) {
        let open = self.open.map_or(0, |open| open.second);
        let Some(service) = &mut self.services[placement.service as usize] else {
            return;
        };
        let container = service.container(placement.container as usize);
        let more = left_out.since(&container.account.left_out);
        let n_errors = more.n_responses[4];
        // A failure may be written in another second than its request began.
        if more.n_requests == 0 && n_errors == 0 {
            return;
        }
        container.last_seen = open;
        container.is_counted = true;
        service.last_request = service.last_request.max(Some(start_of(open)));
        let index = self.series_at(SeriesIndex {
            service: placement.service,
            container: placement.container,
            route: RouteIndex::OTHER,
            method: None,
            status: None,
            outcome: Outcome::Complete,
        });
        let series = self.series[index as usize]
            .as_mut()
            .expect("the index names a series");
        if series.window.n_requests == 0 {
            self.touched.push(index);
        }
        series.count(more.n_requests, n_errors);
        let total = series.total;
        let service = self.service_mut(placement);
        service.count(total, more.n_requests);
        self.stats.n_requests_counted += more.n_requests;
    }
}
