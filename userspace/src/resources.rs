//! What containers use, read once a second beside everything else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use modeltap_capture::clock;
use modeltap_core::connection::CgroupId;
use modeltap_discovery::look::Look;
use modeltap_discovery::resources::{Sampler, Target};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::pipeline::Input;

/// How long before the end of a second its readings are taken: they have to be
/// there when the second is closed.
const AHEAD: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);

/// Every container that is read. Only the newest is of interest, so that
/// telling it never waits.
pub type Targets = Arc<HashMap<CgroupId, Target>>;

/// Reads what the targets use until nobody wants to know.
pub async fn run(
    look: Arc<dyn Look>,
    targets: watch::Receiver<Targets>,
    inputs: mpsc::Sender<Input>,
) {
    allow_descriptors();
    // NVML may take a while to load.
    let mut sampler = match spawn_blocking(|| Sampler::find(look)).await {
        Ok(Ok(sampler)) => sampler,
        Ok(Err(error)) => {
            tracing::error!(%error, "what containers use cannot be read");
            return;
        }
        Err(error) => {
            tracing::error!(%error, "looking for what containers use broke");
            return;
        }
    };
    loop {
        let wait = until_look(Duration::from_nanos(clock::anchor().unix.0));
        sleep(wait).await;
        let newest = targets.borrow().clone();
        let look = spawn_blocking(move || {
            sampler.follow(&newest);
            let readings = sampler.sample(|| clock::anchor().unix);
            (sampler, readings)
        });
        let readings = match look.await {
            Ok((same, readings)) => {
                sampler = same;
                readings
            }
            Err(error) => {
                tracing::error!(%error, "reading what containers use broke");
                return;
            }
        };
        if inputs.send(Input::Resources(readings)).await.is_err() {
            return;
        }
    }
}

/// From `now`, since the epoch, to the next look.
fn until_look(now: Duration) -> Duration {
    let into = Duration::from_nanos(u64::from(now.subsec_nanos()));
    let look = SECOND - AHEAD;
    if into < look {
        look - into
    } else {
        look + SECOND - into
    }
}

/// Raises the soft limit of open files to the hard one: each container has a
/// dozen files, and the usual limit of 1,024 is for programs that use
/// `select`.
fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use modeltap_core::time::{MonotonicNs, TimeAnchor, UnixNs};
    use modeltap_core::timeline::{TimelineEvent, TimelineKind};
    use modeltap_discovery::DiscoveryEvent;

    use super::*;
    use crate::pipeline::{Counter, MAX_EVENTS};

    #[test]
    fn what_happened_is_in_the_next_batch_and_in_no_other() {
        let mut counter = Counter::new();
        let anchor = TimeAnchor {
            monotonic: MonotonicNs(0),
            unix: UnixNs(1_700_000_000_000_000_000),
        };
        counter.tick(anchor.unix);
        let event = |kind| TimelineEvent {
            at: anchor.unix,
            kind,
            service: Some("shop".into()),
            container: Some("shop-1".into()),
            detail: String::new(),
        };
        let happens = |counter: &mut Counter, kind| {
            let event = DiscoveryEvent::Happened(event(kind));
            counter.handle(Input::Discovery(event), anchor);
        };
        let kinds = [TimelineKind::ContainerStarted, TimelineKind::OomKilled];
        for kind in kinds {
            happens(&mut counter, kind);
        }
        let next = anchor.unix(MonotonicNs(1_000_000_000));
        let batch = counter.tick(next);
        assert_eq!(batch.events, kinds.map(event));
        assert_eq!(batch.resources.len(), 1, "the kill is in a rollup");
        assert!(counter.finish(next).is_empty());

        for _ in 0..MAX_EVENTS + 9 {
            happens(&mut counter, TimelineKind::HealthChanged);
        }
        assert_eq!(counter.tick(next).events.len(), MAX_EVENTS);
    }

    #[test]
    fn look_is_just_before_the_end_of_a_second() {
        for (now, wait) in [(5_000, 950), (5_949, 1), (5_950, 1_000), (5_999, 951)] {
            assert_eq!(
                until_look(Duration::from_millis(now)),
                Duration::from_millis(wait)
            );
        }
    }
}
