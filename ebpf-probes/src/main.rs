//! The probes: one exit tracepoint a socket system call, one raw tracepoint
//! and the calls that close for the end of connections, and some for what no
//! system call shows: when bytes arrived and left, and what io_uring moved.
//!
//! A probe looks at the return value first, at the calling task's cgroup
//! second and at everything else only if both say so: what is not watched
//! pays a few nanoseconds. Arguments are read from the registers saved at the
//! call's entry, so no enter probe and no in-flight map are needed.
//!
//! Invariants: only sockets that a watched container accepted are reported;
//! every event is either in the ring or counted as lost; nothing here loops
//! without a constant bound.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![cfg_attr(
    not(target_arch = "bpf"),
    expect(dead_code, reason = "on the host the programs are only type-checked")
)]

mod arrival;
mod batch;
mod beginnings;
mod call;
mod connection;
mod drain;
mod emit;
mod filter;
mod kernel;
mod maps;
mod segments;
mod socket;
mod splice;
mod sweep;
mod unix;
mod uring;

/// The licence the kernel is told: helpers used here are for GPL programs.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
