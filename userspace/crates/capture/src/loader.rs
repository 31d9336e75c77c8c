//! Loads and attaches the probes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use aya::programs::{ProgramError, RawTracePoint, TracePoint};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use modeltap_abi::config::{KernelOffsets, KernelTypes};
use thiserror::Error;
use zerocopy::IntoBytes;

use crate::control::{Control, Limits, Maps};
use crate::features::{Features, Found};
use crate::object::Object;
use crate::{offsets, requirements};

/// The probes, compiled.
pub(crate) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probes.o"));

/// Tracepoints `syscalls:*`; each has a program of its name.
const TRACEPOINTS: [&str; 18] = [
    "sys_exit_accept",
    "sys_exit_accept4",
    "sys_exit_read",
    "sys_exit_readv",
    "sys_exit_preadv2",
    "sys_exit_recvfrom",
    "sys_exit_recvmsg",
    "sys_exit_recvmmsg",
    "sys_exit_write",
    "sys_exit_writev",
    "sys_exit_pwritev2",
    "sys_exit_sendto",
    "sys_exit_sendmsg",
    "sys_exit_sendmmsg",
    "sys_exit_sendfile64",
    "sys_exit_splice",
    "sys_exit_shutdown",
    "sys_enter_close",
];
const SOCKET_STATE: &str = "inet_sock_set_state";
/// A program that the daemon runs itself.
pub(crate) const SWEEP: &str = "sweep";
/// How often the probes' own messages are looked at.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What is captured and how much room it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Size of the ring buffer in bytes; rounded up to a power of two.
    pub ring_bytes: u32,
    /// Bytes captured of each turn of reads.
    pub read_turn_bytes: u32,
    /// Bytes captured of each turn of writes.
    pub write_turn_bytes: u32,
    /// Bytes captured of each call beyond its turn's share.
    pub continued_bytes: u32,
    /// Connections tracked at once; the events of more are counted as lost.
    pub max_connections: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ring_bytes: 8 * 1024 * 1024,
            read_turn_bytes: 16 * 1024,
            write_turn_bytes: 4 * 1024,
            // An event of a stream that brings a token is 200 to 400 bytes
            // long, and one call may write several.
            continued_bytes: 1024,
            max_connections: 65_536,
        }
    }
}

impl Config {
    /// What is captured of each call.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits::Bytes {
            read_turn: self.read_turn_bytes,
            write_turn: self.write_turn_bytes,
            continued: self.continued_bytes,
        }
    }
}

/// Why the probes could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The process lacks the capabilities.
    #[error("loading the probes needs CAP_BPF and CAP_PERFMON: run as root")]
    NotPrivileged,
    /// The kernel does not describe its types.
    #[error(
        "this kernel has no BTF (/sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF, which \
         every major distribution has since 2020"
    )]
    NoBtf,
    /// BTF is there and cannot be read.
    #[error("cannot read the kernel's BTF: {reason}")]
    Btf {
        /// What the parser said.
        reason: String,
    },
    /// BTF lacks a field.
    #[error("this kernel has no field {structure}.{member}: please report its version")]
    NoKernelField {
        /// The structure.
        structure: &'static str,
        /// The field.
        member: &'static str,
    },
    /// tracefs is not mounted and cannot be.
    #[error("tracefs is missing: mount -t tracefs tracefs /sys/kernel/tracing")]
    NoTracefs {
        /// What mounting it said.
        source: io::Error,
    },
    /// A tracepoint is missing.
    #[error("this kernel has no tracepoint {name}: it needs CONFIG_FTRACE_SYSCALLS")]
    NoTracepoint {
        /// Its name.
        name: String,
    },
    /// The binary was built without the probes.
    #[error("this binary was built without its probes: build it with cargo xtask build")]
    NoObject,
    /// The kernel refused the object.
    #[error("the kernel refused the probes")]
    Load(#[from] aya::EbpfError),
    /// The kernel has no helper that a program calls.
    #[error("this kernel has no BPF helper {helper}: it needs Linux 5.15 or newer")]
    NoHelper {
        /// The helper's name.
        helper: String,
    },
    /// The kernel refused a program.
    #[error("the kernel refused the probe {name}: {reason}; please report its version")]
    Program {
        /// The program's name.
        name: &'static str,
        /// What the kernel said, in one line.
        reason: String,
    },
    /// A map could not be used.
    #[error("cannot use the map {name}")]
    Map {
        /// The map's name.
        name: &'static str,
        /// What the kernel said.
        source: aya::maps::MapError,
    },
}

impl LoadError {
    /// Whether the running kernel lacks what is needed: another one would do.
    #[must_use]
    pub fn is_of_kernel(&self) -> bool {
        matches!(
            self,
            Self::NoBtf
                | Self::NoKernelField { .. }
                | Self::NoTracepoint { .. }
                | Self::NoHelper { .. }
        )
    }
}

/// Checks what the kernel offers, without loading anything.
///
/// # Errors
/// [`LoadError`], with the missing feature's name.
pub fn check() -> Result<(), LoadError> {
    if OBJECT.is_empty() {
        return Err(LoadError::NoObject);
    }
    requirements::check(&TRACEPOINTS)
}

/// Hands the probes' own messages over to the log.
type Logger = Box<dyn FnMut() + Send>;

/// Attached probes. They detach when this and its [`Control`] are dropped.
pub struct Probes {
    // Holds what is attached.
    _ebpf: Arc<Ebpf>,
    ring: Option<RingBuf<MapData>>,
    control: Option<Control>,
    logger: Option<Logger>,
    n_programs: u32,
    features: Features,
    is_refused: bool,
}

impl Probes {
    /// Checks what the kernel offers, loads the probes and attaches them. They
    /// report nothing until [`Control::watch`] names a cgroup. Nothing that is
    /// done with them later takes a privilege, from Linux 5.19 on.
    ///
    /// # Errors
    /// [`LoadError`], with the missing feature's name.
    pub fn load(config: &Config) -> Result<Self, LoadError> {
        check()?;
        let with_casts = Self::load_with(config, true);
        let is_refused = match &with_casts {
            Ok(probes) => probes.is_refused,
            Err(error) => matches!(error, LoadError::Program { .. }),
        };
        if is_refused {
            drop(with_casts);
            return Self::load_with(config, false);
        }
        with_casts
    }

    fn load_with(config: &Config, wants_casts: bool) -> Result<Self, LoadError> {
        let types = offsets::types()?;
        let offsets: KernelOffsets = offsets::read(&types)?;
        let mut found = Found::look(&types);
        let ids = offsets::ids(&types);
        let object = Object::for_kernel(OBJECT, &types, wants_casts && ids.is_some());
        let ids: KernelTypes = ids.filter(|_| object.casts()).unwrap_or_default();
        drop(types);
        let self_tgid = std::process::id();

        let mut ebpf = EbpfLoader::new()
            .override_global("OFFSETS", offsets.as_bytes(), true)
            .override_global("SELF_TGID", self_tgid.as_bytes(), true)
            .override_global("TYPES", ids.as_bytes(), true)
            .override_global("TCP", found.tcp.as_bytes(), true)
            .override_global("PAIRED", &u32::from(object.is_paired()), true)
            .override_global("URING", found.uring.as_bytes(), true)
            .map_max_entries("EVENTS", config.ring_bytes.next_power_of_two())
            .map_max_entries("CONNECTIONS", config.max_connections)
            .load(object.bytes())?;
        let logger = logger(&mut ebpf);

        let mut n_programs = 0;
        for name in TRACEPOINTS {
            attach_tracepoint(&mut ebpf, name, name).map_err(refused(name))?;
            n_programs += 1;
            if object.is_paired() {
                // After the first: the kernel runs them in this order.
                attach_tracepoint(&mut ebpf, &second(name), name).map_err(refused(name))?;
                n_programs += 1;
            }
        }
        attach_socket_state(&mut ebpf, SOCKET_STATE).map_err(refused(SOCKET_STATE))?;
        n_programs += 1;
        if object.is_paired() {
            let second = second(SOCKET_STATE);
            attach_socket_state(&mut ebpf, &second).map_err(refused(SOCKET_STATE))?;
            n_programs += 1;
        }
        drop(object);
        load_sweep(&mut ebpf).map_err(refused(SWEEP))?;
        let n_programs = n_programs + found.attach(&mut ebpf);
        let ring =
            RingBuf::try_from(take(&mut ebpf, "EVENTS")?).map_err(|source| LoadError::Map {
                name: "EVENTS",
                source,
            })?;
        let maps = Maps::take(|name| take(&mut ebpf, name))?;
        let ebpf = Arc::new(ebpf);
        let mut control = Control::new(maps, ebpf.clone());
        // The probes capture nothing until they are watching, which is later.
        let limits = control.limit(config.limits());
        limits.map_err(|source| LoadError::Map {
            name: "CONFIG",
            source,
        })?;
        Ok(Self {
            ring: Some(ring),
            control: Some(control),
            _ebpf: ebpf,
            logger,
            n_programs,
            features: found.features,
            is_refused: found.is_refused,
        })
    }

    /// Programs attached.
    #[must_use]
    pub fn n_programs(&self) -> u32 {
        self.n_programs
    }

    /// What this kernel tells beside connections and their bytes.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Takes the ring of events; once.
    ///
    /// # Errors
    /// It was taken before.
    pub fn take_ring(&mut self) -> Result<RingBuf<MapData>, LoadError> {
        self.ring.take().ok_or_else(|| taken("EVENTS"))
    }

    /// Takes the maps by which the daemon steers the probes; once.
    ///
    /// # Errors
    /// They were taken before.
    pub fn take_control(&mut self) -> Result<Control, LoadError> {
        self.control.take().ok_or_else(|| taken("CGROUPS"))
    }

    /// Has the probes' own rare messages go to the daemon's log, from a task
    /// of the runtime that this is called in.
    pub fn forward_logs(&mut self) {
        let Some(mut logger) = self.logger.take() else {
            return;
        };
        tokio::spawn(async move {
            loop {
                logger();
                tokio::time::sleep(LOG_INTERVAL).await;
            }
        });
    }
}

fn refused(name: &'static str) -> impl FnOnce(ProgramError) -> LoadError {
    move |error| {
        let reason = reason(&error);
        match missing_helper(&reason) {
            Some(helper) => LoadError::NoHelper {
                helper: helper.to_owned(),
            },
            None => LoadError::Program { name, reason },
        }
    }
}

/// The helper that a kernel does not know: `unknown func bpf_loop#181`, and
/// since Linux 6.10 `program of this type cannot use helper bpf_loop#181`.
fn missing_helper(reason: &str) -> Option<&str> {
    ["unknown func ", "cannot use helper "]
        .iter()
        .find_map(|said| reason.split_once(said))
        .and_then(|(_, rest)| rest.split('#').next())
}

/// The kernel's log of a refused program tells every step it looked at, up to
/// a megabyte; its last line but for the statistics says what was wrong.
fn reason(error: &ProgramError) -> String {
    const STATISTICS: [&str; 3] = ["verification time", "stack depth", "processed "];
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let said = log.lines().rfind(|line| {
                !line.trim().is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start))
            });
            format!("{io_error}: {}", said.unwrap_or("it does not say why"))
        }
        other => other.to_string(),
    }
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, LoadError> {
    ebpf.take_map(name).ok_or_else(|| taken(name))
}

fn taken(name: &'static str) -> LoadError {
    LoadError::Map {
        name,
        source: aya::maps::MapError::InvalidName {
            name: name.to_owned(),
        },
    }
}

/// The program that makes up for one that the kernel did not run.
pub(crate) fn second(name: &str) -> String {
    format!("{name}_second")
}

fn attach_tracepoint(ebpf: &mut Ebpf, name: &str, tracepoint: &str) -> Result<(), ProgramError> {
    let program: &mut TracePoint = ebpf
        .program_mut(name)
        .expect("the object holds every probe")
        .try_into()?;
    program.load()?;
    program.attach("syscalls", tracepoint)?;
    Ok(())
}

fn attach_socket_state(ebpf: &mut Ebpf, name: &str) -> Result<(), ProgramError> {
    let program: &mut RawTracePoint = ebpf
        .program_mut(name)
        .expect("the object holds every probe")
        .try_into()?;
    program.load()?;
    program.attach(SOCKET_STATE)?;
    Ok(())
}

fn load_sweep(ebpf: &mut Ebpf) -> Result<(), ProgramError> {
    let program: &mut RawTracePoint = ebpf
        .program_mut(SWEEP)
        .expect("the object holds every probe")
        .try_into()?;
    program.load()
}

/// The door of the probes' own rare messages. If the kernel refuses it, they
/// are not worth failing for.
fn logger(ebpf: &mut Ebpf) -> Option<Logger> {
    match EbpfLogger::init(ebpf) {
        Ok(mut logger) => Some(Box::new(move || logger.flush())),
        Err(error) => {
            tracing::warn!(%error, "the probes' own messages will not be seen");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::missing_helper;

    #[test]
    fn helper_that_a_kernel_lacks_is_named() {
        let old = "Invalid argument (os error 22): unknown func bpf_task_pt_regs#175";
        assert_eq!(missing_helper(old), Some("bpf_task_pt_regs"));
        let new = "program of this type cannot use helper bpf_task_pt_regs#175";
        assert_eq!(missing_helper(new), Some("bpf_task_pt_regs"));
        assert_eq!(missing_helper("R8 !read_ok"), None);
    }
}
