//! A look at a body's bytes while they pass, transfer coding removed.

use modeltap_core::record::Completeness;
use modeltap_core::time::MonotonicNs;

use crate::stream_figures::StreamTracker;

/// Who looks at the bytes of the body being passed; mostly nobody.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) stream: Option<Box<StreamTracker>>,
}

impl Watch {
    /// The bytes of a call follow, which returned at `at`.
    pub(crate) fn begin_call(&mut self, at: MonotonicNs) {
        if let Some(stream) = &mut self.stream {
            stream.begin_call(at);
        }
    }

    /// Bytes of the body.
    pub(crate) fn seen(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(stream) = &mut self.stream {
            stream.seen(bytes);
        }
    }

    /// Bytes of the body moved that were not captured.
    pub(crate) fn unseen(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.unseen();
        }
    }

    /// Bytes of the body are not known, and where chunks end neither.
    pub(crate) fn miss(&mut self, to: Completeness) {
        if let Some(stream) = &mut self.stream {
            stream.miss(to);
        }
    }

    /// A chunk of the transfer coding is over.
    pub(crate) fn chunk_ended(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.chunk_ended();
        }
    }

    /// Bytes it takes in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.stream.as_ref().map_or(0, |stream| stream.footprint())
    }
}
