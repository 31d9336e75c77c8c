//! Serves the dashboard for a recording: the pipeline without a kernel.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use modeltap_core::container::DockerState;
use modeltap_core::recording::{Entry, ReadError, Reader};
use modeltap_core::time::{MonotonicNs, TimeAnchor, UnixNs};
use modeltap_discovery::DiscoveryEvent;
use modeltap_store::{Store, StoreConfig, Writer};
use tokio::sync::{mpsc, watch};

use crate::alerts::Alerts;
use crate::app::{self, ASKS, Counting};
use crate::config::Config;
use crate::pipeline::{Input, ParserReport, Tracker};
use crate::telemetry::Telemetry;

/// Time after the last event at which everything that waits for time is over.
const AFTERMATH: Duration = Duration::from_secs(3_600);

/// Reads the recording, then serves what it shows until `stop`. History goes
/// to a folder of its own that is removed at the end: a replay never touches
/// the daemon's.
///
/// # Errors
/// The recording cannot be read, or the API cannot be served.
pub async fn run(
    config: &Config,
    file: &Path,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let entries = open(file)?;
    let server = app::bind(config)?;
    let port_file = app::port_file(config)?;
    let folder = tempfile::tempdir().context("cannot create a folder for the replay's history")?;
    let (writer, reader) = Store::open(StoreConfig::new(folder.path().join(app::STORE_FILE)))?;
    let (stats_sender, stats) = watch::channel(ParserReport::default());
    let mut counting =
        Counting::new(Telemetry::new(stats, reader.clone()), Alerts::of_replay()).await;
    let (ask_sender, mut asks) = mpsc::channel(ASKS);
    let sources = counting.sources(ask_sender, Some(reader));

    let mut tracker = Tracker::new(None);
    let n_entries = feed(entries, &mut tracker, &mut counting, &writer)?;
    stats_sender.send_replace(tracker.report());
    writer.flush();
    counting.publish().await;
    tracing::info!(n_entries, "the recording is read");

    app::announce(port_file, server.address())?;
    let serving = server.serve(sources, stop);
    tokio::pin!(serving);
    loop {
        tokio::select! {
            served = &mut serving => break served.context("the API broke"),
            Some(ask) = asks.recv() => counting.answer(ask, None),
        }
    }
}

fn open(file: &Path) -> anyhow::Result<Reader<BufReader<File>>> {
    let reading = || format!("cannot read the recording {:?}", file.display());
    let opened = File::open(file).with_context(reading)?;
    Reader::new(BufReader::new(opened)).with_context(reading)
}

/// Feeds every entry through the pipeline; seconds pass as they did then.
fn feed(
    entries: impl Iterator<Item = Result<Entry, ReadError>>,
    tracker: &mut Tracker,
    counting: &mut Counting,
    writer: &Writer,
) -> anyhow::Result<u64> {
    let mut anchor: Option<TimeAnchor> = None;
    let mut now = MonotonicNs(0);
    let mut n_entries = 0_u64;
    counting.handle(
        Input::Discovery(DiscoveryEvent::State(DockerState::Unreachable {
            reason: "this is a recording".to_owned(),
        })),
        TimeAnchor {
            monotonic: MonotonicNs(0),
            unix: UnixNs(0),
        },
    );
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(ReadError::Torn) => {
                tracing::warn!("the recording ends inside an entry; what came before is shown");
                break;
            }
            Err(error) => return Err(error).context("cannot read the recording"),
        };
        n_entries += 1;
        if let Entry::Anchor(new) = entry {
            anchor = Some(new);
            continue;
        }
        let Some(anchor) = anchor else {
            bail!("the recording does not tell its time")
        };
        let input = match entry {
            Entry::Anchor(_) => continue,
            Entry::Container(container) => {
                Input::Discovery(DiscoveryEvent::Upsert(Box::new(container)))
            }
            Entry::Removed { cgroup, id } => {
                Input::Discovery(DiscoveryEvent::Removed { cgroup, id })
            }
            Entry::Event(event) => {
                now = now.max(event.at());
                writer.append(counting.tick(anchor.unix(now)));
                let mut finished = tracker.handle(std::slice::from_ref(&event));
                finished.extend(tracker.handle_timeout(now));
                Input::Finished(finished)
            }
        };
        counting.handle(input, anchor);
    }
    if let Some(anchor) = anchor {
        let finished = tracker.handle_timeout(now.after(AFTERMATH));
        counting.handle(Input::Finished(finished), anchor);
        // The second of the last event is over a second later.
        writer.append(counting.tick(anchor.unix(now.after(Duration::from_secs(1)))));
    }
    let end = anchor.map_or(UnixNs(0), |anchor| anchor.unix(now));
    writer.append(counting.finish(end));
    Ok(n_entries)
}
