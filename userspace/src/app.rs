//! Builds the daemon, starts its tasks and drains them: the only wiring.

use std::collections::{HashMap, HashSet};
use std::env;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use modeltap_api::state::{Ask, Confinement, DaemonState, Sources, Spending};
use modeltap_api::{Access, Server};
use modeltap_capture::control::{Control, Network};
use modeltap_capture::features::{Feature, Features};
use modeltap_capture::loader::Probes;
use modeltap_capture::ring::DrainCounts;
use modeltap_capture::{clock, cut, loader, memory, ring};
use modeltap_core::connection::CgroupId;
use modeltap_core::container::{Container, Inspect};
use modeltap_core::history::Batch;
use modeltap_core::time::{TimeAnchor, UnixNs};
use modeltap_discovery::cgroup::{CgroupError, Hierarchy};
use modeltap_discovery::look::Look;
use modeltap_discovery::resources::Target;
use modeltap_discovery::{DiscoveryEvent, listeners};
use modeltap_export::notify::{self, Notifiers};
use modeltap_metrics::LiveSnapshot;
use modeltap_store::{ProbeCommand, Reader, Retention, Store, StoreConfig, Writer, takes_over_cut};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use crate::alerts::Alerts;
use crate::clerk::Clerk;
use crate::config::{self, Config};
use crate::confine::{self, Needs};
use crate::journal::Journal;
use crate::pipeline::{
    Counter, Input, ParserReport, Permissions, Tracker, keep_interval, next_second,
};
use crate::recorder::{Recorder, Tap};
use crate::resources::{self, Targets};
use crate::telemetry::{Telemetry, render};
use crate::thrift::Thrift;

/// Name of the history in the data directory.
pub const STORE_FILE: &str = "modeltap.duckdb";

/// Batches of events between the drain and the tracker.
const EVENT_BATCHES: usize = 256;
/// Messages between the tracker, the discovery and the aggregator.
const INPUTS: usize = 256;
/// Questions between the API and the aggregator.
pub const ASKS: usize = 64;
/// What discovery tells before it waits.
const DISCOVERY_EVENTS: usize = 64;
/// How long the child may take to read back the history's log.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);

/// A daemon whose parts are built and whose tasks do not run yet.
pub struct App {
    server: Server,
    probes: Probes,
    writer: Writer,
    reader: Reader,
    recorder: Option<Recorder>,
    notifiers: notify::Settings,
    clerk: Arc<Clerk>,
    confinement: Confinement,
    port_file: Option<File>,
    config: Config,
}

impl App {
    /// Checks what the host offers, binds and attaches; then gives up every
    /// privilege that is not needed any more, and opens history without them.
    /// To be called before there is another thread: it would keep them.
    ///
    /// # Errors
    /// The first part that cannot be built; nothing is left behind.
    pub fn build(config: &Config, recording: Option<&Path>) -> anyhow::Result<Self> {
        let notifiers = crate::notify::settings(config)?;
        loader::check()?;
        let server = bind(config)?;
        let recording = recording.map(Recorder::create).transpose()?;
        let port_file = port_file(config)?;
        let clerk = Clerk::start()?;
        let probes = Probes::load(&loader::Config {
            ring_bytes: config.ring_bytes,
            ..loader::Config::default()
        })?;
        for (what, because) in untold(probes.features()) {
            tracing::warn!(because, "this kernel does not tell of {what}");
        }
        let confinement = confine::confine(&Needs::of(config, &notifiers));
        let recorder = recording.map(Recorder::begin).transpose()?;
        let (writer, reader) = open_store(config)?;
        memory::release();
        Ok(Self {
            server,
            probes,
            writer,
            reader,
            recorder,
            notifiers,
            clerk: Arc::new(clerk),
            confinement,
            port_file,
            config: config.clone(),
        })
    }

    /// Runs until `stop`, then drains: what was counted is written.
    ///
    /// # Errors
    /// A part that cannot be without broke.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        self.probes.forward_logs();
        let kept = self.confinement.kept.join(" ");
        tracing::info!(kept, "privileges are given up");
        let control = Arc::new(Mutex::new(self.probes.take_control()?));
        let drain_counts = Arc::new(DrainCounts::default());
        let (batch_sender, batches) = mpsc::channel(EVENT_BATCHES);
        let (input_sender, inputs) = mpsc::channel(INPUTS);
        let (ask_sender, asks) = mpsc::channel(ASKS);
        let (report_sender, reports) = watch::channel(ParserReport::default());

        let mut telemetry = Telemetry::new(reports, self.reader.clone());
        telemetry.untold = untold(self.probes.features());
        telemetry.confinement = Some(self.confinement);
        let (told, spending) = watch::channel(Spending::default());
        telemetry.spending = Some(spending);
        telemetry.kernel = Some((
            control.clone(),
            drain_counts.clone(),
            self.probes.n_programs(),
        ));
        telemetry.notifiers = Some(Notifiers::start(self.notifiers)?);
        let alerts = Alerts::load(
            self.reader.clone(),
            telemetry.notifiers.as_ref(),
            clock::anchor().unix,
        );
        let counting = Counting::new(telemetry, alerts).await;
        let sources = counting.sources(ask_sender, Some(self.reader));

        let drain = tokio::spawn(ring::drain(
            self.probes.take_ring()?,
            control.clone(),
            batch_sender,
            drain_counts,
        ));
        let tap = || self.recorder.as_ref().map(Recorder::tap);
        let (permission_sender, permissions) = watch::channel(Permissions::default());
        let tracker = tokio::spawn(Tracker::new(tap()).run(
            batches,
            permissions,
            input_sender.clone(),
            report_sender,
        ));
        let (target_sender, targets) = watch::channel(Targets::default());
        let sampler = tokio::spawn(resources::run(
            self.clerk.clone(),
            targets,
            input_sender.clone(),
        ));
        let watch = Watch {
            control: control.clone(),
            look: self.clerk.clone(),
            inputs: input_sender,
            targets: target_sender,
            permissions: permission_sender,
            inspect: self.config.inspect.0,
            tap: tap(),
            listening: HashMap::new(),
            networks: HashMap::new(),
        };
        let discovery = spawn_discovery(&self.config, watch);
        let thrift = Thrift::new(
            self.config.max_cpu.cores(),
            control.clone(),
            self.clerk,
            told,
        );
        let thrift = tokio::spawn(thrift.run());
        let counter = tokio::spawn(counting.run(inputs, asks, self.writer));

        announce(self.port_file, self.server.address())?;
        self.server
            .serve(sources, stop)
            .await
            .context("the API broke")?;

        // The sources end first; what they sent is counted and written.
        discovery.abort();
        drain.abort();
        sampler.abort();
        thrift.abort();
        for (task, name) in [(tracker, "tracker"), (counter, "counter")] {
            task.await.with_context(|| format!("the {name} broke"))?;
        }
        // Its door is gone once the aborted task is.
        let _ = discovery.await;
        self.recorder.map_or(Ok(()), Recorder::finish)
    }
}

/// Binds the API as configured.
pub fn bind(config: &Config) -> anyhow::Result<Server> {
    let access = Access {
        allowed_hosts: config.allowed_hosts.clone(),
        token: config::token()?,
    };
    Ok(Server::bind(config.listen, access)?)
}

/// What the kernel is too old to tell, and what it lacks for it.
fn untold(features: &Features) -> Vec<(&'static str, String)> {
    [
        ("arrival", &features.arrival),
        ("drain", &features.drain),
        ("io_uring", &features.io_uring),
    ]
    .into_iter()
    .filter_map(|(what, feature)| match feature {
        Feature::Seen => None,
        Feature::Unseen { because } => Some((what, because.clone())),
    })
    .collect()
}

/// Makes the file that will tell the bound address.
///
/// # Errors
/// It cannot be written.
pub fn port_file(config: &Config) -> anyhow::Result<Option<File>> {
    let make = |file: &PathBuf| {
        File::create(file)
            .with_context(|| format!("cannot write the port file {:?}", file.display()))
    };
    config.port_file.as_ref().map(make).transpose()
}

/// Says where the dashboard is.
///
/// # Errors
/// The port file cannot be written.
pub fn announce(port_file: Option<File>, address: SocketAddr) -> anyhow::Result<()> {
    tracing::info!("the dashboard is at http://{address}");
    if let Some(mut file) = port_file {
        file.write_all(format!("{address}\n").as_bytes())
            .context("cannot write the port file")?;
    }
    Ok(())
}

fn open_store(config: &Config) -> anyhow::Result<(Writer, Reader)> {
    let mut store = StoreConfig::new(config.data_dir.join(STORE_FILE));
    store.retention = Retention {
        seconds: config.keep_seconds.0,
        ten_seconds: config.keep_ten_seconds.0,
        minutes: config.keep_minutes.0,
    };
    store.max_bytes = config.history_max_size.0;
    store.probe = Some(ProbeCommand {
        program: env::current_exe().context("cannot find the running program")?,
        arguments: vec!["probe-store".into()],
        variables: Vec::new(),
        timeout: PROBE_TIMEOUT,
    });
    if !cut::ask_on_failure(takes_over_cut) {
        tracing::warn!("a disk that fails while history is written may end this process");
    }
    Ok(Store::open(store)?)
}

/// The task that counts, with everything it shows.
pub struct Counting {
    counter: Counter,
    journal: Journal,
    telemetry: Telemetry,
    alerts: Alerts,
    live: watch::Sender<Arc<LiveSnapshot>>,
    daemon: watch::Sender<Arc<DaemonState>>,
}

impl Counting {
    /// Nothing counted yet.
    pub async fn new(mut telemetry: Telemetry, alerts: Alerts) -> Self {
        let counter = Counter::new();
        let state = telemetry.gather(&counter.state()).await;
        // What fired before a restart fires before the first second is over.
        let mut live = LiveSnapshot::default();
        live.set_alerts(alerts.active());
        Self {
            counter,
            journal: Journal::default(),
            telemetry,
            alerts,
            live: watch::Sender::new(Arc::new(live)),
            daemon: watch::Sender::new(Arc::new(state)),
        }
    }

    /// Where the API takes what it shows.
    pub fn sources(&self, asks: mpsc::Sender<Ask>, history: Option<Reader>) -> Sources {
        Sources {
            live: self.live.subscribe(),
            daemon: self.daemon.subscribe(),
            asks,
            history,
        }
    }

    /// Counts until the inputs end; closes every second on time.
    pub async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut asks: mpsc::Receiver<Ask>,
        writer: Writer,
    ) {
        let mut second = Box::pin(next_second());
        let mut so_far = keep_interval();
        let mut anchor = clock::anchor();
        self.journal.started(anchor.unix);
        loop {
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.counter.handle(input, anchor),
                    None => break,
                },
                Some(ask) = asks.recv() => self.answer(ask, Some(&writer)),
                Some(kept) = self.alerts.news.recv() => self.alerts.apply(kept),
                () = &mut second => {
                    second.set(next_second());
                    anchor = clock::anchor();
                    let batch = self.tick(anchor.unix);
                    writer.append(self.evaluate(anchor.unix, batch).await);
                    if !self.daemon.borrow().leaves_details_out() {
                        writer.keep(self.counter.minute_so_far());
                    }
                    so_far.reset();
                }
                _ = so_far.tick() => writer.keep(self.counter.second_so_far()),
            }
        }
        let end = clock::anchor().unix;
        self.journal.stopped(end);
        writer.append(self.finish(end));
        if let Some(notifiers) = &self.telemetry.notifiers {
            notifiers.stop().await;
            writer.append(Batch {
                deliveries: notifiers.take_deliveries(),
                ..Batch::default()
            });
        }
        writer.close();
    }

    /// Counts one input; for replays, where seconds pass as they did then.
    pub fn handle(&mut self, input: Input, anchor: TimeAnchor) {
        self.counter.handle(input, anchor);
    }

    /// Closes the second that is over and gives what it brought.
    pub fn tick(&mut self, now: UnixNs) -> Batch {
        let mut batch = self.counter.tick(now);
        if self.daemon.borrow().leaves_details_out() {
            batch.exemplars.clear();
        }
        batch.events.extend(self.journal.take());
        batch
    }

    /// Closes the last second.
    pub fn finish(&mut self, now: UnixNs) -> Batch {
        let mut batch = self.counter.finish(now);
        batch.events.extend(self.journal.take());
        batch
    }

    /// Evaluates the second that `batch` is of, shows it, and gives the batch
    /// with what changed of alerts.
    async fn evaluate(&mut self, now: UnixNs, mut batch: Batch) -> Batch {
        let mut live = self.refresh().await;
        let notifiers = self.telemetry.notifiers.as_ref();
        self.alerts.evaluate(now, &mut batch, &mut live, notifiers);
        self.live.send_replace(Arc::new(live));
        batch
    }

    /// Shows the newest figures; for replays.
    pub async fn publish(&mut self) {
        let live = self.refresh().await;
        self.live.send_replace(Arc::new(live));
    }

    async fn refresh(&mut self) -> LiveSnapshot {
        let state = self.telemetry.gather(&self.counter.state()).await;
        (self.journal).look(&state.accounting, &state.store, state.at);
        if let Some(spending) = &state.spending {
            self.journal.look_at(spending, state.at);
        }
        let (reports, bytes_dropped) = self.telemetry.reports().await;
        self.counter.set_accounts(&reports, bytes_dropped);
        self.daemon.send_replace(Arc::new(state));
        self.counter.snapshot()
    }

    /// Answers a question of the API's; one that nobody waits for is skipped.
    /// Without a writer nothing can be changed.
    pub fn answer(&mut self, ask: Ask, writer: Option<&Writer>) {
        let aggregator = self.counter.aggregator();
        match ask {
            Ask::Recent(sender) => {
                let _ = sender.send(aggregator.recent().cloned().collect());
            }
            Ask::RecentInner(sender) => {
                let _ = sender.send(aggregator.recent_inner().cloned().collect());
            }
            Ask::Metrics(sender) => {
                let daemon = self.daemon.borrow().clone();
                let notifiers = self.telemetry.notifiers.as_ref();
                let notifiers = notifiers.map_or_else(Vec::new, Notifiers::stats);
                let alerts = self.alerts.active();
                let totals = aggregator.totals();
                let _ = sender.send(render(&totals, &daemon, &notifiers, &alerts));
            }
            Ask::Alerts(ask) => {
                let notifiers = self.telemetry.notifiers.as_ref();
                self.alerts.answer(ask, writer, notifiers);
            }
        }
    }
}

fn spawn_discovery(config: &Config, watch: Watch) -> JoinHandle<()> {
    let (sender, events) = mpsc::channel(DISCOVERY_EVENTS);
    let docker = modeltap_discovery::Config {
        host: config.docker_host.clone(),
    };
    tokio::spawn(async move {
        tokio::join!(modeltap_discovery::watch(docker, sender), watch.run(events),);
    })
}

/// Makes the probes watch what discovery finds.
struct Watch {
    control: Arc<Mutex<Control>>,
    look: Arc<dyn Look>,
    inputs: mpsc::Sender<Input>,
    /// The containers whose resources are read.
    targets: watch::Sender<Targets>,
    /// What the tracker may have read of bodies.
    permissions: watch::Sender<Permissions>,
    /// What the configuration allows of every container's.
    inspect: Inspect,
    tap: Option<Tap>,
    /// Ports of each watched container at the time it was found.
    listening: HashMap<CgroupId, HashSet<(u32, u16)>>,
    /// Network namespaces of each watched container, likewise.
    networks: HashMap<CgroupId, Vec<(u32, Network)>>,
}

impl Watch {
    async fn run(mut self, mut events: mpsc::Receiver<DiscoveryEvent>) {
        while let Some(mut event) = events.recv().await {
            if let DiscoveryEvent::Upsert(container) = &mut event {
                container.inspect = container.inspect.or(self.inspect);
            }
            if let Some(tap) = &self.tap {
                tap.discovered(&event);
            }
            // Whose requests they are must be known before there are any.
            if self
                .inputs
                .send(Input::Discovery(event.clone()))
                .await
                .is_err()
            {
                return;
            }
            match event {
                DiscoveryEvent::Upsert(container) => {
                    // Before the probes tell of its first byte.
                    let (cgroup, inspect) = (container.cgroup, container.inspect);
                    self.permit(|all| all.insert(cgroup, inspect));
                    let target = Target {
                        id: container.id.clone(),
                        pid: container.pid,
                    };
                    self.follow(|all| all.insert(cgroup, target));
                    self.watch(*container).await;
                }
                DiscoveryEvent::Removed { cgroup, .. } => {
                    self.permit(|all| all.remove(&cgroup));
                    self.follow(|all| all.remove(&cgroup));
                    let last = self.control.lock().await.unwatch(cgroup);
                    if let Some(counts) = last {
                        let counts = Input::LastCounts(cgroup, counts);
                        // Without a receiver the daemon ends.
                        let _ = self.inputs.send(counts).await;
                    }
                    self.listening.remove(&cgroup);
                    self.networks.remove(&cgroup);
                    self.tell_listeners().await;
                    self.tell_networks().await;
                }
                DiscoveryEvent::Excluded(_)
                | DiscoveryEvent::Engine(_)
                | DiscoveryEvent::State(_)
                | DiscoveryEvent::Happened(_) => {}
            }
        }
    }

    fn permit(&self, change: impl FnOnce(&mut HashMap<CgroupId, Inspect>) -> Option<Inspect>) {
        self.permissions.send_modify(|permissions| {
            change(Arc::make_mut(permissions));
        });
    }

    fn follow(&self, change: impl FnOnce(&mut HashMap<CgroupId, Target>) -> Option<Target>) {
        self.targets.send_modify(|targets| {
            change(Arc::make_mut(targets));
        });
    }

    async fn watch(&mut self, container: Container) {
        let cgroup = container.cgroup;
        if let Err(error) = self.control.lock().await.watch(cgroup) {
            tracing::error!(%error, container = container.name, "a container cannot be watched");
            return;
        }
        // From here on every accept is seen. Connections accepted before
        // belong to ports that are listened on now.
        let look = self.look.clone();
        let found = tokio::task::spawn_blocking(move || {
            let hierarchy = Hierarchy::find()?;
            let networks = networks(&hierarchy, &*look, &container)?;
            let listeners = listeners::listeners(&hierarchy, &*look, &container)?;
            Ok::<_, CgroupError>((networks, listeners))
        });
        match found.await {
            Ok(Ok((networks, found))) => {
                self.networks.insert(cgroup, networks);
                self.tell_networks().await;
                let ports = found
                    .into_iter()
                    .filter_map(|listener| {
                        Some((
                            u32::try_from(listener.network_namespace).ok()?,
                            listener.port,
                        ))
                    })
                    .collect();
                self.listening.insert(cgroup, ports);
                self.tell_listeners().await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a container's ports could not be read"),
            Err(error) => tracing::error!(%error, "looking for a container's ports broke"),
        }
    }

    async fn tell_listeners(&self) {
        let all = self.listening.values().flatten().copied().collect();
        self.control.lock().await.set_listeners(&all);
    }

    async fn tell_networks(&self) {
        let all = self.networks.values().flatten().copied().collect();
        self.control.lock().await.set_networks(&all);
    }
}

/// The network namespaces of a container, and whose they are.
fn networks(
    hierarchy: &Hierarchy,
    look: &dyn Look,
    container: &Container,
) -> Result<Vec<(u32, Network)>, CgroupError> {
    let host = listeners::host_network(look);
    let found = listeners::networks(hierarchy, look, container)?;
    let told = found.into_iter().filter_map(|network| {
        let whose = if Some(network) == host {
            Network::Shared
        } else {
            Network::Own
        };
        Some((u32::try_from(network).ok()?, whose))
    });
    Ok(told.collect())
}
