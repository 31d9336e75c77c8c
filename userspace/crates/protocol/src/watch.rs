//! A look at a body's bytes while they pass, transfer coding removed.

use std::ops::Range;

use modeltap_core::record::Completeness;
use modeltap_core::time::MonotonicNs;

use crate::exchange::worse;
use crate::inspect::Document;
use crate::stream_figures::StreamTracker;
use crate::websocket::Frames;

/// Who looks at the bytes of the body being passed; mostly nobody.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Who records the call being taken in, and must know what not to.
    pub(crate) contents: Option<Contents>,
    pub(crate) stream: Option<Box<StreamTracker>>,
    pub(crate) tunnel: Option<Tunnel>,
    /// Only in containers that were opted in.
    pub(crate) document: Option<Box<Document>>,
}

/// Which captured bytes of a call are neither of a head nor of framing.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Address of the call's first captured byte.
    start: usize,
    ranges: Vec<Range<usize>>,
}

impl Contents {
    fn note(&mut self, bytes: &[u8]) {
        let from = (bytes.as_ptr() as usize).saturating_sub(self.start);
        match self.ranges.last_mut() {
            Some(last) if last.end == from => last.end = from + bytes.len(),
            _ => self.ranges.push(from..from + bytes.len()),
        }
    }
}

/// One direction of an upgraded connection.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    /// Where the protocol is known.
    pub(crate) frames: Option<Frames>,
    pub(crate) bytes: u64,
    pub(crate) completeness: Completeness,
}

impl Tunnel {
    pub(crate) fn new(frames: Option<Frames>) -> Self {
        Self {
            frames,
            bytes: 0,
            completeness: Completeness::Whole,
        }
    }

    /// Messages that passed, where they could be followed.
    pub(crate) fn n_messages(&self) -> Option<u64> {
        self.frames.as_ref()?.n_messages()
    }

    /// Passes over the bytes of a call, seen and unseen.
    pub(crate) fn pass(&mut self, seen: &[u8], unseen: u64) {
        self.bytes = self
            .bytes
            .saturating_add(unseen.saturating_add(seen.len() as u64));
        if let Some(frames) = &mut self.frames {
            let was_known = frames.n_messages().is_some();
            frames.seen(seen);
            frames.unseen(unseen);
            if was_known && frames.n_messages().is_none() {
                self.completeness = worse(self.completeness, Completeness::Truncated);
            }
        }
    }

    /// Passes over bytes whose events were lost.
    pub(crate) fn lose(&mut self, n: u64) {
        self.bytes = self.bytes.saturating_add(n);
        self.completeness = Completeness::Gap;
        if let Some(frames) = &mut self.frames {
            frames.unseen(n);
        }
    }
}

impl Watch {
    /// `bytes`, captured of a call, are recorded: what they hold is noted
    /// until [`Self::end_recorded`].
    pub(crate) fn begin_recorded(&mut self, bytes: &[u8]) {
        self.contents = Some(Contents {
            start: bytes.as_ptr() as usize,
            ranges: Vec::new(),
        });
    }

    /// Where in the bytes of the call their contents are.
    pub(crate) fn end_recorded(&mut self) -> Vec<Range<usize>> {
        self.contents
            .take()
            .map_or_else(Vec::new, |contents| contents.ranges)
    }

    /// Bytes that are passed over without a look.
    pub(crate) fn skip(&mut self, bytes: &[u8]) {
        if let Some(contents) = &mut self.contents
            && !bytes.is_empty()
        {
            contents.note(bytes);
        }
    }

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
        self.skip(bytes);
        if let Some(stream) = &mut self.stream {
            stream.seen(bytes);
        }
        if let Some(document) = &mut self.document {
            document.seen(bytes);
        }
    }

    /// Bytes of the body moved that were not captured.
    pub(crate) fn unseen(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.unseen();
        }
        if let Some(document) = &mut self.document {
            document.miss();
        }
    }

    /// Bytes of the body are not known, and where chunks end neither.
    pub(crate) fn miss(&mut self, to: Completeness) {
        if let Some(stream) = &mut self.stream {
            stream.miss(to);
        }
        if let Some(document) = &mut self.document {
            document.miss();
        }
    }

    /// A chunk of the transfer coding is over.
    pub(crate) fn chunk_ended(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.chunk_ended();
        }
    }

    /// Bytes behind an upgrade, seen and unseen.
    pub(crate) fn pass_tunnel(&mut self, seen: &[u8], unseen: u64) {
        self.skip(seen);
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.pass(seen, unseen);
        }
    }

    /// Bytes behind an upgrade whose events were lost.
    pub(crate) fn lose_tunnel(&mut self, n: u64) {
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.lose(n);
        }
    }

    /// The body is over, or of no interest any more.
    pub(crate) fn look_away(&mut self) {
        (self.stream, self.document) = (None, None);
    }

    /// Bytes it takes in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        let stream = self.stream.as_ref().map_or(0, |stream| stream.footprint());
        stream + self.document.as_ref().map_or(0, |_| size_of::<Document>())
    }
}
