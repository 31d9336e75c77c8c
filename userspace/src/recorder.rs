//! Writes what the probes report to a file, on a thread of its own.

use std::fs::File;
use std::io::BufWriter;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::Context;
use modeltap_capture::clock;
use modeltap_core::connection::CaptureEvent;
use modeltap_core::recording::{Entry, Writer, mask_contents};
use modeltap_discovery::DiscoveryEvent;

/// Entries that wait for the disk; what does not fit is counted and missing.
const QUEUE: usize = 16_384;

/// Writes a recording until it is finished.
#[derive(Debug)]
pub struct Recorder {
    thread: JoinHandle<std::io::Result<()>>,
    tap: Tap,
}

/// The door to the recorder.
#[derive(Clone, Debug)]
pub struct Tap {
    entries: SyncSender<Entry>,
    n_missing: Arc<AtomicU64>,
}

impl Recorder {
    /// Makes the file of a recording.
    ///
    /// # Errors
    /// It exists or cannot be written.
    pub fn create(path: &Path) -> anyhow::Result<File> {
        File::create_new(path)
            .with_context(|| format!("cannot create the recording {:?}", path.display()))
    }

    /// Begins a recording, on a thread that has no more rights than this one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(file: File) -> anyhow::Result<Self> {
        let mut writer = Writer::new(BufWriter::new(file)).context("cannot write the recording")?;
        let (entries, received) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || write(&mut writer, &received))
            .context("cannot start the recorder")?;
        let tap = Tap {
            entries,
            n_missing: Arc::default(),
        };
        tap.put(Entry::Anchor(clock::anchor()));
        Ok(Self { thread, tap })
    }

    /// A door for a part that has something to record.
    pub fn tap(&self) -> Tap {
        self.tap.clone()
    }

    /// Waits until everything is written; every other door must be gone.
    ///
    /// # Errors
    /// Writing failed.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self {
            thread,
            tap: Tap { entries, n_missing },
        } = self;
        drop(entries);
        let written = thread
            .join()
            .map_err(|_| anyhow::anyhow!("the recorder broke"))?;
        let n_missing = n_missing.load(Ordering::Relaxed);
        if n_missing > 0 {
            tracing::error!(
                n_missing,
                "entries are missing in the recording: the disk was too slow"
            );
        }
        written.context("cannot write the recording")
    }
}

impl Tap {
    /// Records an event of the probes; what it holds at `contents` is masked.
    pub fn event(&self, event: &CaptureEvent, contents: &[Range<usize>]) {
        let mut event = event.clone();
        if let CaptureEvent::Data(data) = &mut event {
            mask_contents(&mut data.bytes, contents);
        }
        self.put(Entry::Event(event));
    }

    /// Records what discovery told of containers.
    pub fn discovered(&self, event: &DiscoveryEvent) {
        match event {
            DiscoveryEvent::Upsert(container) => self.put(Entry::Container((**container).clone())),
            DiscoveryEvent::Removed { cgroup, id } => {
                self.put(Entry::Removed {
                    cgroup: *cgroup,
                    id: id.clone(),
                });
            }
            DiscoveryEvent::Excluded(_)
            | DiscoveryEvent::Engine(_)
            | DiscoveryEvent::State(_)
            | DiscoveryEvent::Happened(_) => {}
        }
    }

    fn put(&self, entry: Entry) {
        if self.entries.try_send(entry).is_err() {
            self.n_missing.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(writer: &mut Writer<BufWriter<File>>, entries: &Receiver<Entry>) -> std::io::Result<()> {
    for entry in entries {
        writer.write(&entry)?;
    }
    writer.flush()
}
