//! What live clients are told, made once a second for all of them, and how
//! patient one is with them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use modeltap_api_types::Live;
use modeltap_core::connection::Transport;
use modeltap_metrics::{FinishedRequest, LiveSnapshot};
use tokio::sync::{Mutex, watch};

use crate::convert;
use crate::error::ApiError;
use crate::rest;
use crate::state::Sources;
use crate::traffic::Traffic;

/// Most live clients at a time.
const MAX_CLIENTS: u64 = 128;

/// Requests that finished last, newest first.
pub type Recent = Arc<Vec<Arc<FinishedRequest>>>;

/// How long a live client may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A client that was not heard for this long is asked whether it is there.
    pub ping_every: Duration,
    /// A client that has not answered for this long reads nothing: what it was
    /// sent since waits in buffers.
    pub answer_within: Duration,
    /// Longest time to hand one message to the kernel.
    pub send_within: Duration,
    /// How long telling the client why it is cut off may take.
    pub close_within: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(10),
            answer_within: Duration::from_secs(30),
            send_within: Duration::from_secs(10),
            close_within: Duration::from_secs(2),
        }
    }
}

/// What live clients share.
pub struct Feed {
    sources: Sources,
    traffic: Arc<Traffic>,
    /// How patient one is.
    pub pace: Pace,
    /// Of the newest second: made by the client that asks first.
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    of: Arc<LiveSnapshot>,
    live: Option<Arc<Live>>,
    recent: Option<Recent>,
    recent_inner: Option<Recent>,
}

impl Feed {
    /// Nothing made yet.
    pub fn new(sources: Sources, traffic: Arc<Traffic>, pace: Pace) -> Self {
        Self {
            sources,
            traffic,
            pace,
            made: Mutex::default(),
        }
    }

    /// Tells of every new second.
    pub fn seconds(&self) -> watch::Receiver<Arc<LiveSnapshot>> {
        self.sources.live.clone()
    }

    /// Which run of the daemon this is.
    pub fn run(&self) -> u64 {
        self.sources.daemon.borrow().started.millis()
    }

    /// Everything of the second.
    pub async fn live(&self, of: &Arc<LiveSnapshot>) -> Arc<Live> {
        let mut made = self.made.lock().await;
        made.begin(of);
        let live = made.live.get_or_insert_with(|| {
            let daemon = self.sources.daemon.borrow().clone();
            let mut live = convert::live(of, &daemon);
            live.status.api = self.traffic.told();
            Arc::new(live)
        });
        live.clone()
    }

    /// The requests that finished last. The task that counts is asked once a
    /// second, however many clients there are.
    ///
    /// # Errors
    /// The daemon is ending.
    pub async fn recent(
        &self,
        of: &Arc<LiveSnapshot>,
        transport: Transport,
    ) -> Result<Recent, ApiError> {
        let mut made = self.made.lock().await;
        made.begin(of);
        let kept = match transport {
            Transport::Tcp => &mut made.recent,
            Transport::Unix => &mut made.recent_inner,
        };
        if let Some(kept) = kept {
            return Ok(kept.clone());
        }
        let recent = Arc::new(match transport {
            Transport::Tcp => rest::recent(&self.sources).await?,
            Transport::Unix => rest::recent_inner(&self.sources).await?,
        });
        *kept = Some(recent.clone());
        Ok(recent)
    }

    /// A place for one more client, if there is one.
    pub fn admit(&self) -> Option<Client> {
        let more = |n| (n < MAX_CLIENTS).then_some(n + 1);
        let admitted = self
            .traffic
            .n_live
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if admitted.is_err() {
            self.traffic.count(|traffic| &traffic.n_live_refused);
            return None;
        }
        Some(Client(self.traffic.clone()))
    }
}

impl Made {
    fn begin(&mut self, of: &Arc<LiveSnapshot>) {
        if !Arc::ptr_eq(&self.of, of) {
            *self = Self {
                of: of.clone(),
                ..Self::default()
            };
        }
    }
}

/// A client's place, given back when it is dropped.
pub struct Client(Arc<Traffic>);

impl Client {
    /// Counts that it is cut off because it does not read.
    pub fn is_slow(&self) {
        self.0.count(|traffic| &traffic.n_live_slow);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.n_live.fetch_sub(1, Ordering::Relaxed);
    }
}
