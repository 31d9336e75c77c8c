//! What only newer kernels tell: found out when the probes are loaded, and
//! left out where it is missing.

use aya::Ebpf;
use aya::programs::RawTracePoint;
use btf_rs::{Btf, Type};
use modeltap_abi::feature::{TcpOffsets, UringOffsets};

use crate::offsets::{enumerator, offset};

/// Tracepoint and program that note arrivals; `sock_recv_length` serves
/// io_uring too.
const ARRIVAL: [&str; 2] = ["sk_data_ready", "sock_recv_length"];
const DRAIN: [&str; 1] = ["tcp_probe"];
const URING: [&str; 5] = [
    SUBMIT,
    "io_uring_file_get",
    "io_uring_poll_arm",
    "io_uring_complete",
    "sock_send_length",
];
const SUBMIT: &str = "io_uring_submit_req";
/// Its name before Linux 6.4.
const SUBMIT_BEFORE: &str = "io_uring_submit_sqe";
/// Arguments of `io_uring_complete` since Linux 6.13: the ring, the request
/// and the completion queue's entry.
const N_COMPLETE_WITH_ENTRY: usize = 3;

/// Whether the kernel tells something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feature {
    /// It does.
    Seen,
    /// It does not.
    Unseen {
        /// What is missing.
        because: String,
    },
}

impl Feature {
    /// Whether the kernel tells it.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        matches!(self, Self::Seen)
    }
}

/// What the running kernel tells beside connections and their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// When bytes arrived at a socket, before the server read them.
    pub arrival: Feature,
    /// When a socket had sent what waited in it.
    pub drain: Feature,
    /// What servers move by io_uring.
    pub io_uring: Feature,
}

/// What was found in the kernel's types, for the probes.
pub(crate) struct Found {
    pub(crate) features: Features,
    pub(crate) tcp: TcpOffsets,
    pub(crate) uring: UringOffsets,
    submit: &'static str,
    /// Whether the kernel refused a program of a feature that it should have.
    pub(crate) is_refused: bool,
}

impl Found {
    /// Looks for everything in the kernel's types.
    pub(crate) fn look(btf: &Btf) -> Self {
        let mut tcp = TcpOffsets::default();
        let mut uring = UringOffsets::default();
        let mut submit = SUBMIT;
        let arrival = look_for_arrival(btf, &mut tcp);
        let drain = look_for_drain(btf, &mut tcp);
        let io_uring = arrival
            .clone()
            .and_then(|()| look_for_uring(btf, &mut uring, &mut submit));
        Self {
            features: Features {
                arrival: feature(arrival),
                drain: feature(drain),
                io_uring: feature(io_uring),
            },
            tcp,
            uring,
            submit,
            is_refused: false,
        }
    }

    /// Attaches the programs of what was found; returns how many. A program
    /// that the kernel refuses takes its feature with it.
    pub(crate) fn attach(&mut self, ebpf: &mut Ebpf) -> u32 {
        let mut n_programs = 0;
        let mut is_refused = false;
        let mut attach = |feature: &mut Feature, names: &[&'static str], submit: &str| {
            if !feature.is_seen() {
                return;
            }
            for &name in names {
                let tracepoint = if name == SUBMIT { submit } else { name };
                match attach(ebpf, name, tracepoint) {
                    Ok(()) => n_programs += 1,
                    Err(because) => {
                        is_refused = true;
                        *feature = Feature::Unseen { because };
                        return;
                    }
                }
            }
        };
        attach(&mut self.features.arrival, &ARRIVAL, self.submit);
        attach(&mut self.features.drain, &DRAIN, self.submit);
        if !self.features.arrival.is_seen() {
            self.features.io_uring = self.features.arrival.clone();
        }
        attach(&mut self.features.io_uring, &URING, self.submit);
        self.is_refused = is_refused;
        n_programs
    }
}

fn attach(ebpf: &mut Ebpf, name: &str, tracepoint: &str) -> Result<(), String> {
    let refused = |source: &dyn std::error::Error| {
        let mut text = format!("the kernel refused the probe {name}: {source}");
        let mut inner = source.source();
        while let Some(source) = inner {
            text = format!("{text}: {source}");
            inner = source.source();
        }
        text
    };
    let program: &mut RawTracePoint = ebpf
        .program_mut(name)
        .expect("the object holds every probe")
        .try_into()
        .map_err(|source: aya::programs::ProgramError| refused(&source))?;
    program.load().map_err(|source| refused(&source))?;
    program
        .attach(tracepoint)
        .map_err(|source| refused(&source))?;
    Ok(())
}

fn look_for_arrival(btf: &Btf, tcp: &mut TcpOffsets) -> Result<(), String> {
    for name in ARRIVAL {
        n_arguments(btf, name).ok_or_else(|| no_tracepoint(name))?;
    }
    tcp.rcv_nxt = field(btf, "tcp_sock", "rcv_nxt")?;
    tcp.copied_seq = field(btf, "tcp_sock", "copied_seq")?;
    tcp.has_arrival = 1;
    Ok(())
}

fn look_for_drain(btf: &Btf, tcp: &mut TcpOffsets) -> Result<(), String> {
    for name in DRAIN {
        n_arguments(btf, name).ok_or_else(|| no_tracepoint(name))?;
    }
    tcp.write_seq = field(btf, "tcp_sock", "write_seq")?;
    tcp.snd_una = field(btf, "tcp_sock", "snd_una")?;
    tcp.write_queue_length =
        field(btf, "sock", "sk_write_queue")? + field(btf, "sk_buff_head", "qlen")?;
    // Since Linux 4.20; without it a write's time is its call's return.
    tcp.last_sent_ns = offset(btf, "tcp_sock", "tcp_wstamp_ns").unwrap_or(0);
    tcp.has_drain = 1;
    Ok(())
}

fn look_for_uring(
    btf: &Btf,
    uring: &mut UringOffsets,
    submit: &mut &'static str,
) -> Result<(), String> {
    if n_arguments(btf, SUBMIT).is_none() {
        *submit = SUBMIT_BEFORE;
    }
    for name in URING {
        let name = if name == SUBMIT { *submit } else { name };
        n_arguments(btf, name).ok_or_else(|| no_tracepoint(name))?;
    }
    let n_complete = n_arguments(btf, "io_uring_complete").unwrap_or(0);
    *uring = UringOffsets {
        is_seen: 1,
        completes_with_entry: u32::from(n_complete == N_COMPLETE_WITH_ENTRY),
        request_file: field(btf, "io_kiocb", "file")?,
        request_opcode: field(btf, "io_kiocb", "opcode")?,
        request_async_data: field(btf, "io_kiocb", "async_data")?,
        request_work: field(btf, "io_kiocb", "work")?,
        message_buffer: field(btf, "io_kiocb", "cmd")? + field(btf, "io_sr_msg", "buf")?,
        file_address: field(btf, "io_kiocb", "cmd")? + field(btf, "io_rw", "addr")?,
        file_length: field(btf, "io_kiocb", "cmd")? + field(btf, "io_rw", "len")?,
        message_iterator: field(btf, "io_async_msghdr", "msg")? + field(btf, "msghdr", "msg_iter")?,
        file_iterator: field(btf, "io_async_rw", "iter").or_else(|_| {
            // Before Linux 6.10 it was part of the saved state.
            Ok::<_, String>(field(btf, "io_async_rw", "s")? + field(btf, "io_rw_state", "iter")?)
        })?,
        iterator_type: field(btf, "iov_iter", "iter_type")?,
        iterator_offset: field(btf, "iov_iter", "iov_offset")?,
        iterator_buffer: field(btf, "iov_iter", "ubuf")?,
        type_user_buffer: value(btf, "iter_type", "ITER_UBUF")?,
        type_segments: value(btf, "iter_type", "ITER_IOVEC")?,
        task_worker: field(btf, "task_struct", "worker_private")?,
        worker_work: field(btf, "io_worker", "cur_work")?,
    };
    Ok(())
}

fn feature(found: Result<(), String>) -> Feature {
    found.map_or_else(|because| Feature::Unseen { because }, |()| Feature::Seen)
}

fn field(btf: &Btf, structure: &str, member: &str) -> Result<u32, String> {
    offset(btf, structure, member)
        .ok_or_else(|| format!("this kernel has no field {structure}.{member}"))
}

fn value(btf: &Btf, enumeration: &str, name: &str) -> Result<u32, String> {
    enumerator(btf, enumeration, name).ok_or_else(|| format!("this kernel has no {name}"))
}

fn no_tracepoint(name: &str) -> String {
    let since = if name.starts_with("io_uring") {
        "CONFIG_IO_URING"
    } else {
        "Linux 6.3 or newer"
    };
    format!("this kernel has no tracepoint {name}: it needs {since}")
}

/// How many arguments a tracepoint hands over, if the kernel has it.
fn n_arguments(btf: &Btf, tracepoint: &str) -> Option<usize> {
    let name = format!("btf_trace_{tracepoint}");
    let found = btf.resolve_types_by_name(&name).ok()?;
    found.into_iter().find_map(|found| {
        let Type::Typedef(alias) = found else {
            return None;
        };
        let Type::Ptr(pointer) = btf.resolve_chained_type(&alias).ok()? else {
            return None;
        };
        let Type::FuncProto(function) = btf.resolve_chained_type(&pointer).ok()? else {
            return None;
        };
        // The first is the program's own.
        function.parameters.len().checked_sub(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btf() -> Btf {
        Btf::from_file("/sys/kernel/btf/vmlinux").expect("this kernel has BTF")
    }

    #[test]
    fn what_is_found_has_its_offsets_and_what_is_not_says_why() {
        let found = Found::look(&btf());
        let Features {
            arrival,
            drain,
            io_uring,
        } = &found.features;
        assert_eq!(found.tcp.has_arrival, u32::from(arrival.is_seen()));
        assert_eq!(found.tcp.has_drain, u32::from(drain.is_seen()));
        assert_eq!(found.uring.is_seen, u32::from(io_uring.is_seen()));
        if arrival.is_seen() {
            assert!(found.tcp.rcv_nxt > 0 && found.tcp.copied_seq > 0);
        }
        if drain.is_seen() {
            assert!(found.tcp.write_queue_length > 0 && found.tcp.last_sent_ns > 0);
        }
        for feature in [arrival, drain, io_uring] {
            if let Feature::Unseen { because } = feature {
                assert!(because.contains("this kernel has no"), "{because}");
            }
        }
    }

    #[test]
    fn missing_tracepoint_is_missed() {
        assert_eq!(n_arguments(&btf(), "sys_enter"), Some(2));
        assert_eq!(n_arguments(&btf(), "modeltap_never_was"), None);
    }

    #[test]
    fn reason_names_the_tracepoint_and_what_would_bring_it() {
        let reason = no_tracepoint("sk_data_ready");
        assert!(
            reason.contains("sk_data_ready") && reason.contains("6.3"),
            "{reason}"
        );
        let reason = no_tracepoint("io_uring_complete");
        assert!(reason.contains("CONFIG_IO_URING"), "{reason}");
    }
}
