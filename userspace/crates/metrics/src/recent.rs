//! The requests that finished last, one by one.

use std::collections::VecDeque;
use std::sync::Arc;

use modeltap_core::record::RequestRecord;
use modeltap_core::time::UnixNs;

/// One finished request with the names it is counted under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedRequest {
    /// Its place among all requests since the daemon's start, from one: a
    /// reader that remembers the last one it saw finds those after it.
    pub number: u64,
    /// The service.
    pub service: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// The route template, or `_other`.
    pub route: Arc<str>,
    /// When its first byte arrived at the socket, wall time, where that is
    /// known.
    pub arrived: Option<UnixNs>,
    /// When its first byte was read, wall time.
    pub started: UnixNs,
    /// When it was over, wall time.
    pub finished: UnixNs,
    /// The exchange itself.
    pub record: RequestRecord,
}

/// A ring of the requests that finished last.
#[derive(Debug)]
pub(crate) struct Recent {
    capacity: usize,
    ring: VecDeque<Arc<FinishedRequest>>,
}

impl Recent {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            ring: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, request: FinishedRequest) {
        if self.capacity == 0 {
            return;
        }
        let oldest = if self.ring.len() >= self.capacity {
            self.ring.pop_front()
        } else {
            None
        };
        let slot = match oldest {
            // The oldest one's memory serves again, unless a reader holds it.
            Some(mut oldest) => match Arc::get_mut(&mut oldest) {
                Some(free) => {
                    *free = request;
                    oldest
                }
                None => Arc::new(request),
            },
            None => Arc::new(request),
        };
        self.ring.push_back(slot);
    }

    /// Newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<FinishedRequest>> {
        self.ring.iter().rev()
    }
}
