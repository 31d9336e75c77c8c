//! One container's files, and what they say now.
//!
//! | figure | v1 | v2 |
//! |---|---|---|
//! | processor | `cpuacct.usage`, `cpuacct.stat` | `cpu.stat` |
//! | throttling, quota | `cpu.stat`, `cpu.cfs_quota_us` | `cpu.stat`, `cpu.max` |
//! | memory | `memory.usage_in_bytes`, `memory.stat` | `memory.current`, `memory.stat` |
//! | killed | `memory.oom_control` | `memory.events` |
//! | block devices | `blkio.throttle.io_service_bytes_recursive` | `io.stat` |
//! | tasks | `pids.current`, `pids.max` | the same |
//! | pressure | | `*.pressure`, also on a hybrid host |
//!
//! All of them hold what cgroups nested in the container's did, but for v1's
//! count of killed processes, which is summed here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use modeltap_core::resource::{
    BlockReading, CpuReading, MemoryReading, NetworkReading, PressureReading,
};

use super::file::{Budget, Buffer, Kept, Shape};
use super::layout::Places;
use super::text;

/// `USER_HZ`, the unit of `cpuacct.stat`: 100 on x86-64 and arm64 whatever the
/// kernel's own HZ.
const NS_PER_TICK: u64 = 10_000_000;
/// Cgroups nested in a container's whose killed processes are counted apart.
const MAX_NESTED: usize = 1_024;
/// Directories above a container's that are asked for their limit.
const MAX_ANCESTORS: usize = 16;

/// The files of one container.
#[derive(Debug)]
pub(super) struct Gauge {
    cpu: Cpu,
    memory: Option<Memory>,
    network: Option<Kept>,
    block: Option<Block>,
    pids: Option<Kept>,
    pids_max: Option<Kept>,
    pressure: Option<[Kept; 3]>,
    /// Changed by nobody but an operator, so not read every second.
    limits: Limits,
}

#[derive(Debug)]
enum Block {
    /// Since Linux 6.10 v1 accounts nothing of a device until a limit is set
    /// on it. That the root names no device either tells it from a container
    /// that moved nothing yet.
    V1 {
        moved: Kept,
        root: PathBuf,
        is_accounted: bool,
    },
    V2(Kept),
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Limits {
    cores: Option<f64>,
    memory_bytes: Option<u64>,
    n_pids: Option<u64>,
}

#[derive(Debug)]
enum Cpu {
    V1 {
        usage: Kept,
        split: Option<Kept>,
        throttling: Option<Kept>,
        quota: Option<[Kept; 2]>,
    },
    V2 {
        stat: Kept,
        quota: Option<Kept>,
    },
}

#[derive(Debug)]
struct Memory {
    usage: Kept,
    stat: Kept,
    kills: Option<Kept>,
    limit: MemoryLimit,
}

#[derive(Debug)]
enum MemoryLimit {
    V1 { limit: Kept, nested: Nested },
    V2 { directory: PathBuf },
}

/// What [`Gauge::read`] found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) cpu: CpuReading,
    pub(super) memory: MemoryReading,
    pub(super) network: Option<NetworkReading>,
    pub(super) block: Option<BlockReading>,
    pub(super) n_pids: Option<u64>,
    pub(super) pids_limit: Option<u64>,
    pub(super) pressure: Option<PressureReading>,
}

impl Gauge {
    /// Opens what there is of a container; nothing if not even its processor
    /// time can be read. `process` is its folder below `/proc`, left out where
    /// its network is the host's.
    pub(super) fn open(places: &Places, process: Option<&Path>, budget: &Budget) -> Option<Self> {
        let open =
            |place: &Option<PathBuf>, name: &str| Kept::open(place.as_deref()?, name, budget).ok();
        let both = |place: &Option<PathBuf>, names: [&str; 2]| {
            Some([open(place, names[0])?, open(place, names[1])?])
        };
        let unified = &places.unified;
        let v1_cpu = open(&places.cpuacct, "cpuacct.usage").map(|usage| Cpu::V1 {
            usage,
            split: open(&places.cpuacct, "cpuacct.stat"),
            throttling: open(&places.cpu, "cpu.stat"),
            quota: both(&places.cpu, ["cpu.cfs_quota_us", "cpu.cfs_period_us"]),
        });
        let v2_cpu = || {
            Some(Cpu::V2 {
                stat: open(unified, "cpu.stat")?,
                quota: open(unified, "cpu.max"),
            })
        };
        let pids = |name| open(&places.pids, name).or_else(|| open(unified, name));
        let pressure = || {
            let open = |name| open(unified, name);
            Some([
                open("cpu.pressure")?,
                open("memory.pressure")?,
                open("io.pressure")?,
            ])
        };
        Some(Self {
            cpu: v1_cpu.or_else(v2_cpu)?,
            memory: Memory::open(places, budget),
            network: process.and_then(|process| {
                Kept::shaped(process.join("net/dev"), Shape::Pieces, budget).ok()
            }),
            block: Block::v1(places, budget).or_else(|| Some(Block::V2(open(unified, "io.stat")?))),
            pids: pids("pids.current"),
            pids_max: pids("pids.max"),
            pressure: pressure(),
            limits: Limits::default(),
        })
    }

    /// Reads everything; nothing once the container is gone.
    pub(super) fn read(&mut self, buffer: &mut Buffer) -> Option<Figures> {
        let mut cpu = self.cpu.read(buffer)?;
        cpu.limit_cores = self.limits.cores;
        let mut memory = match &mut self.memory {
            Some(memory) => memory.read(buffer)?,
            None => MemoryReading::default(),
        };
        memory.limit_bytes = self.limits.memory_bytes;
        let mut read = |kept: &Option<Kept>| Some(kept.as_ref()?.read(buffer).ok()?.to_owned());
        Some(Figures {
            cpu,
            memory,
            network: read(&self.network).map(|table| text::network(&table)),
            n_pids: read(&self.pids).and_then(|count| text::number(&count)),
            pids_limit: self.limits.n_pids,
            block: self.block.as_ref().and_then(|block| block.read(buffer)),
            pressure: self.pressure(buffer),
        })
    }

    /// Reads the limits anew.
    pub(super) fn read_limits(&mut self, buffer: &mut Buffer) {
        if let Some(block) = &mut self.block {
            block.look_at_root();
        }
        let n_pids = self.pids_max.as_ref();
        self.limits = Limits {
            cores: self.cpu.quota(buffer),
            memory_bytes: self.memory.as_ref().and_then(|found| found.limit(buffer)),
            n_pids: n_pids.and_then(|kept| text::limit(kept.read(buffer).ok()?)),
        };
    }

    fn pressure(&self, buffer: &mut Buffer) -> Option<PressureReading> {
        let [cpu, memory, io] = self.pressure.as_ref()?;
        let mut total = |kept: &Kept| text::pressure(kept.read(buffer).ok()?);
        Some(PressureReading {
            cpu_us: total(cpu)?,
            memory_us: total(memory)?,
            io_us: total(io)?,
        })
    }
}

impl Block {
    fn v1(places: &Places, budget: &Budget) -> Option<Self> {
        let directory = places.blkio.as_deref()?;
        let names = [
            "blkio.throttle.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes",
        ];
        names.into_iter().find_map(|name| {
            let moved = Kept::open(directory, name, budget).ok()?;
            let above = directory.ancestors().take(MAX_ANCESTORS);
            let root = above
                .map(|directory| directory.join(name))
                .take_while(|file| file.exists())
                .last()?;
            Some(Self::V1 {
                moved,
                root,
                is_accounted: false,
            })
        })
    }

    fn read(&self, buffer: &mut Buffer) -> Option<BlockReading> {
        match self {
            Self::V1 {
                moved,
                is_accounted,
                ..
            } => text::v1_block(moved.read(buffer).ok()?)
                .or_else(|| is_accounted.then(BlockReading::default)),
            Self::V2(stat) => Some(text::v2_block(stat.read(buffer).ok()?)),
        }
    }

    fn look_at_root(&mut self) {
        if let Self::V1 {
            root, is_accounted, ..
        } = self
        {
            let content = fs::read_to_string(root).unwrap_or_default();
            *is_accounted = text::v1_block(&content).is_some();
        }
    }
}

impl Cpu {
    fn read(&self, buffer: &mut Buffer) -> Option<CpuReading> {
        match self {
            Self::V1 {
                usage,
                split,
                throttling,
                ..
            } => {
                let mut cpu = CpuReading {
                    usage_ns: text::number(usage.read(buffer).ok()?)?,
                    ..CpuReading::default()
                };
                if let Some(Ok(stat)) = split.as_ref().map(|kept| kept.read(buffer)) {
                    let ticks = |name| Some(text::field(stat, name)?.saturating_mul(NS_PER_TICK));
                    cpu.user_ns = ticks("user");
                    cpu.system_ns = ticks("system");
                }
                if let Some(Ok(stat)) = throttling.as_ref().map(|kept| kept.read(buffer)) {
                    cpu.n_periods = text::field(stat, "nr_periods");
                    cpu.n_throttled = text::field(stat, "nr_throttled");
                    cpu.throttled_ns = text::field(stat, "throttled_time");
                }
                Some(cpu)
            }
            Self::V2 { stat, .. } => {
                let stat = stat.read(buffer).ok()?;
                let ns = |name| Some(text::field(stat, name)?.saturating_mul(1_000));
                Some(CpuReading {
                    usage_ns: ns("usage_usec")?,
                    user_ns: ns("user_usec"),
                    system_ns: ns("system_usec"),
                    n_periods: text::field(stat, "nr_periods"),
                    n_throttled: text::field(stat, "nr_throttled"),
                    throttled_ns: ns("throttled_usec"),
                    limit_cores: None,
                })
            }
        }
    }

    fn quota(&self, buffer: &mut Buffer) -> Option<f64> {
        match self {
            Self::V1 { quota, .. } => {
                let [quota, period] = quota.as_ref()?;
                let quota = quota.read(buffer).ok()?.to_owned();
                text::v1_quota(&quota, period.read(buffer).ok()?)
            }
            Self::V2 { quota, .. } => text::v2_quota(quota.as_ref()?.read(buffer).ok()?),
        }
    }
}

impl Memory {
    fn open(places: &Places, budget: &Budget) -> Option<Self> {
        let v1 = || {
            let directory = places.memory.as_deref()?;
            Some(Self {
                usage: Kept::open(directory, "memory.usage_in_bytes", budget).ok()?,
                stat: Kept::open(directory, "memory.stat", budget).ok()?,
                kills: Kept::open(directory, "memory.oom_control", budget).ok(),
                limit: MemoryLimit::V1 {
                    limit: Kept::open(directory, "memory.limit_in_bytes", budget).ok()?,
                    nested: Nested::new(directory),
                },
            })
        };
        let v2 = || {
            let directory = places.unified.as_deref()?;
            Some(Self {
                usage: Kept::open(directory, "memory.current", budget).ok()?,
                stat: Kept::open(directory, "memory.stat", budget).ok()?,
                kills: Kept::open(directory, "memory.events", budget).ok(),
                limit: MemoryLimit::V2 {
                    directory: directory.to_owned(),
                },
            })
        };
        v1().or_else(v2)
    }

    fn read(&mut self, buffer: &mut Buffer) -> Option<MemoryReading> {
        let usage_bytes = text::number(self.usage.read(buffer).ok()?)?;
        let stat = self.stat.read(buffer).ok()?;
        let inactive = match self.limit {
            MemoryLimit::V1 { .. } => ["total_inactive_file", "inactive_file"],
            MemoryLimit::V2 { .. } => ["inactive_file", ""],
        };
        let working_set_bytes =
            text::working_set(usage_bytes, inactive.map(|name| text::field(stat, name)));
        let kills = self.kills.as_ref().and_then(|kept| kept.read(buffer).ok());
        let own = kills.and_then(|content| text::field(content, "oom_kill"));
        let nested = match &mut self.limit {
            MemoryLimit::V1 { nested, .. } => nested.n_oom_kills(),
            MemoryLimit::V2 { .. } => 0,
        };
        Some(MemoryReading {
            usage_bytes,
            working_set_bytes,
            limit_bytes: None,
            n_oom_kills: own.map(|own| own.saturating_add(nested)),
        })
    }

    /// The tightest limit of its own and of the cgroups around it.
    fn limit(&self, buffer: &mut Buffer) -> Option<u64> {
        match &self.limit {
            MemoryLimit::V1 { limit, .. } => {
                let own = text::limit(limit.read(buffer).ok()?);
                let stat = self.stat.read(buffer).ok();
                let around = stat.and_then(|stat| text::field(stat, "hierarchical_memory_limit"));
                let around = around.and_then(|bytes| text::limit(&bytes.to_string()));
                own.into_iter().chain(around).min()
            }
            MemoryLimit::V2 { directory } => {
                let limits = directory
                    .ancestors()
                    .take(MAX_ANCESTORS)
                    .map_while(|above| fs::read_to_string(above.join("memory.max")).ok());
                limits.filter_map(|content| text::limit(&content)).min()
            }
        }
    }
}

/// What v1 counts in nested cgroups alone: processes killed there. A cgroup
/// that is removed keeps its count here.
#[derive(Debug)]
struct Nested {
    directory: Option<File>,
    path: PathBuf,
    counts: BTreeMap<PathBuf, u64>,
}

impl Nested {
    fn new(path: &Path) -> Self {
        Self {
            directory: File::open(path).ok(),
            path: path.to_owned(),
            counts: BTreeMap::new(),
        }
    }

    fn n_oom_kills(&mut self) -> u64 {
        // A directory has a link more for each one in it: few containers nest.
        let metadata = self.directory.as_ref().map(File::metadata);
        if matches!(metadata, Some(Ok(found)) if found.nlink() > 2) {
            let mut budget = MAX_NESTED;
            let path = self.path.clone();
            self.look_into(&path, &mut budget);
        }
        self.counts
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn look_into(&mut self, path: &Path, budget: &mut usize) {
        let Ok(entries) = fs::read_dir(path) else {
            return;
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if *budget == 0 {
                return;
            }
            *budget -= 1;
            let nested = entry.path();
            let content = fs::read_to_string(nested.join("memory.oom_control"));
            let count = content
                .ok()
                .and_then(|content| text::field(&content, "oom_kill"));
            if let Some(count) = count {
                let has_room = self.counts.len() < MAX_NESTED;
                match self.counts.get_mut(&nested) {
                    // One that was made anew under its name begins at zero;
                    // what is told must not fall.
                    Some(known) => *known = (*known).max(count),
                    None if has_room && count > 0 => {
                        self.counts.insert(nested.clone(), count);
                    }
                    None => {}
                }
            }
            self.look_into(&nested, budget);
        }
    }
}
