//! Drains the ring on a timer, in batches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use modeltap_core::connection::{CaptureEvent, CloseCause, ConnectionId};
use modeltap_core::time::MonotonicNs;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::clock;
use crate::control::Control;
use crate::decode::decode;

/// How soon the ring is looked at again while events arrive.
const BUSY_INTERVAL: Duration = Duration::from_millis(2);
/// How late it may be looked at when none do: the ring holds what a host
/// writes in that time many times over.
const IDLE_INTERVAL: Duration = Duration::from_millis(20);
/// Events of one batch.
const BATCH: usize = 512;
/// How long an ended connection stays known to the probes, for the return of
/// a write that its end overtook.
const LINGER: Duration = Duration::from_secs(1);
/// How often the probes look for connections that ended unseen: UNIX sockets
/// of a process that ended, mostly. It takes a millisecond.
const SWEEP_INTERVAL: Duration = Duration::from_secs(2);
/// Ended connections that wait to be forgotten.
const MAX_LINGERING: usize = 65_536;

/// Counts of the drain; they only grow.
#[derive(Debug, Default)]
pub struct DrainCounts {
    /// Events delivered.
    pub events_delivered: AtomicU64,
    /// Events that the daemon's queue had no room for.
    pub events_dropped: AtomicU64,
    /// Bytes those events moved.
    pub bytes_dropped: AtomicU64,
    /// Events that could not be decoded.
    pub events_undecoded: AtomicU64,
    /// Times the drain found the ring empty or emptied it.
    pub drains: AtomicU64,
}

/// Drains `ring` into `events` until the receiver is gone.
///
/// The kernel wakes nobody for an event, so this looks by itself: every 2 ms
/// while events arrive, up to every 20 ms while none do. A full queue never
/// blocks it: the batch is dropped and counted.
pub async fn drain(
    mut ring: RingBuf<MapData>,
    control: Arc<Mutex<Control>>,
    events: mpsc::Sender<Vec<CaptureEvent>>,
    counts: Arc<DrainCounts>,
) {
    let mut interval = BUSY_INTERVAL;
    let mut lingering: VecDeque<(MonotonicNs, ConnectionId)> = VecDeque::new();
    let mut sweep_at = Instant::now() + SWEEP_INTERVAL;
    while !events.is_closed() {
        let began = Instant::now();
        let mut n_events = 0;
        loop {
            let batch = next_batch(&mut ring, &counts);
            if batch.is_empty() {
                break;
            }
            n_events += batch.len();
            linger(&mut lingering, &batch);
            deliver(batch, &events, &counts);
            // Other tasks of this thread get their turn in a long burst.
            tokio::task::yield_now().await;
        }
        counts.drains.fetch_add(1, Ordering::Relaxed);
        forget(&mut lingering, &control).await;
        if began >= sweep_at {
            sweep_at = began + SWEEP_INTERVAL;
            if let Err(error) = control.lock().await.sweep() {
                tracing::warn!(%error, "connections that ended unseen cannot be looked for");
            }
        }
        interval = if n_events > 0 {
            BUSY_INTERVAL
        } else {
            (interval * 2).min(IDLE_INTERVAL)
        };
        sleep_until(began + interval).await;
    }
}

fn next_batch(ring: &mut RingBuf<MapData>, counts: &DrainCounts) -> Vec<CaptureEvent> {
    let mut batch = Vec::new();
    while batch.len() < BATCH {
        let Some(item) = ring.next() else { break };
        match decode(&item) {
            Ok(event) => batch.push(event),
            Err(error) => {
                // The first says it; the counter says how many.
                if counts.events_undecoded.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(%error, "an event of the probes could not be decoded");
                }
            }
        }
    }
    batch
}

fn deliver(
    batch: Vec<CaptureEvent>,
    events: &mpsc::Sender<Vec<CaptureEvent>>,
    counts: &DrainCounts,
) {
    let n_events = batch.len() as u64;
    match events.try_send(batch) {
        Ok(()) => {
            counts
                .events_delivered
                .fetch_add(n_events, Ordering::Relaxed);
        }
        Err(mpsc::error::TrySendError::Full(batch) | mpsc::error::TrySendError::Closed(batch)) => {
            let n_bytes = batch.iter().map(|event| match event {
                CaptureEvent::Data(data) => u64::from(data.length),
                CaptureEvent::Opened(_)
                | CaptureEvent::Arrived(_)
                | CaptureEvent::Drained(_)
                | CaptureEvent::Closed(_) => 0,
            });
            counts
                .bytes_dropped
                .fetch_add(n_bytes.sum(), Ordering::Relaxed);
            counts.events_dropped.fetch_add(n_events, Ordering::Relaxed);
        }
    }
}

fn linger(lingering: &mut VecDeque<(MonotonicNs, ConnectionId)>, batch: &[CaptureEvent]) {
    for event in batch {
        if let CaptureEvent::Closed(closed) = event
            && closed.cause != CloseCause::PeerFinished
        {
            lingering.push_back((closed.at.after(LINGER), closed.id));
        }
    }
}

async fn forget(lingering: &mut VecDeque<(MonotonicNs, ConnectionId)>, control: &Mutex<Control>) {
    let now = clock::monotonic();
    let is_due = |lingering: &VecDeque<(MonotonicNs, ConnectionId)>| {
        lingering.len() > MAX_LINGERING || lingering.front().is_some_and(|(due, _)| *due <= now)
    };
    if !is_due(lingering) {
        return;
    }
    let mut control = control.lock().await;
    while is_due(lingering) {
        if let Some((_, id)) = lingering.pop_front() {
            control.forget(id);
        }
    }
}
