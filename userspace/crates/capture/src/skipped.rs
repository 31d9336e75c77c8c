//! Runs of the probes that the kernel left out.
//!
//! It does not run a program that it interrupts on the same processor. Where
//! programs come in pairs, what the first was not run for the second may have
//! made up for: together they missed at most as often as the luckier of them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

use aya::Ebpf;
use aya::programs::ProgramFd;

use crate::loader::second;

/// `BPF_OBJ_GET_INFO_BY_FD`.
const GET_INFO: libc::c_long = 15;
/// The kernel's `struct bpf_prog_info` in 64-bit words, and the place of
/// `recursion_misses`, there since Linux 5.12.
const INFO_WORDS: usize = 27;
const MISSES: usize = 26;

/// The part of the kernel's `union bpf_attr` that asks for a program's facts.
#[repr(C)]
struct GetInfo {
    program: u32,
    length: u32,
    info: u64,
}

/// Runs that no program made up for, at most.
pub fn count(ebpf: &Ebpf) -> u64 {
    let misses: BTreeMap<&str, u64> = ebpf
        .programs()
        .filter_map(|(name, program)| Some((name, misses(program.fd().ok()?)?)))
        .collect();
    unmended(&misses)
}

fn unmended(misses: &BTreeMap<&str, u64>) -> u64 {
    let firsts = misses.iter().filter(|(name, _)| {
        let first = name.strip_suffix("_second");
        first.is_none_or(|first| !misses.contains_key(first))
    });
    firsts
        .map(|(name, &n)| misses.get(second(name).as_str()).map_or(n, |m| n.min(*m)))
        .sum()
}

fn misses(program: &ProgramFd) -> Option<u64> {
    let mut info = [0_u64; INFO_WORDS];
    let ask = GetInfo {
        program: u32::try_from(program.as_fd().as_raw_fd()).ok()?,
        length: u32::try_from(size_of_val(&info)).ok()?,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes at `info`, which lives
    // for as long as the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            GET_INFO,
            &raw const ask,
            size_of::<GetInfo>(),
        )
    };
    (answer == 0).then_some(info[MISSES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_of_a_pair_makes_up_for_the_first() {
        let misses = BTreeMap::from([
            ("sys_exit_read", 60),
            ("sys_exit_read_second", 11),
            ("sys_exit_write", 2),
            ("sys_exit_write_second", 5),
            ("tcp_probe", 3),
        ]);
        assert_eq!(unmended(&misses), 11 + 2 + 3);
        assert_eq!(unmended(&BTreeMap::new()), 0);
    }
}
