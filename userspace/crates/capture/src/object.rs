//! The compiled probes as the running kernel needs them: the calls that stand
//! for functions of the kernel's become calls of these, or nothing.

use btf_rs::{Btf, Type};
use modeltap_abi::config::{CAST, PREEMPT_DISABLE, PREEMPT_ENABLE};
use zerocopy::IntoBytes;

/// The kernel's function that runs programs of system calls' tracepoints with
/// preemption on, since Linux 7.3.
const RUNS_PREEMPTED: &str = "trace_call_bpf_faultable";
const DISABLE: &str = "bpf_preempt_disable";
const ENABLE: &str = "bpf_preempt_enable";
/// Lets a program say what lies at an address, since Linux 6.2.
const SAY: &str = "bpf_rdonly_cast";

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL` as the source register: the number is a BTF id.
const OF_KERNEL: u8 = 2 << 4;
/// A jump to the next instruction, which the kernel leaves out.
const NOTHING: u64 = 0x05;
/// `r0 = r1`: what a cast does, and no program comes to it without one.
const SAME: u64 = 0x10bf;

/// The probes as ELF, aligned as its reader needs it.
pub struct Object {
    words: Vec<u64>,
    length: usize,
    is_paired: bool,
    casts: bool,
}

/// What stands for functions of the kernel's, each with its BTF id where it is
/// to be called.
#[derive(Clone, Copy, Debug, Default)]
struct Functions {
    /// To turn preemption off and on: both or none.
    preemption: Option<[u32; 2]>,
    cast: Option<u32>,
}

impl Object {
    /// Copies the compiled probes and writes their stand-ins anew; with casts
    /// if they are wanted and the kernel has them.
    pub fn for_kernel(compiled: &[u8], btf: &Btf, wants_casts: bool) -> Self {
        let is_paired = function(btf, RUNS_PREEMPTED).is_some();
        let functions = Functions {
            preemption: function(btf, DISABLE)
                .zip(function(btf, ENABLE))
                .filter(|_| is_paired)
                .map(|(disable, enable)| [disable, enable]),
            cast: function(btf, SAY).filter(|_| wants_casts),
        };
        Self {
            is_paired,
            ..Self::with(compiled, functions)
        }
    }

    /// Whether every tracepoint of a system call needs its second program.
    pub fn is_paired(&self) -> bool {
        self.is_paired
    }

    /// Whether the programs may say what lies at an address.
    pub fn casts(&self) -> bool {
        self.casts
    }

    fn with(compiled: &[u8], functions: Functions) -> Self {
        let length = compiled.len();
        let mut words = vec![0_u64; length.div_ceil(size_of::<u64>())];
        words.as_mut_bytes()[..length].copy_from_slice(compiled);
        let [disable, enable] = functions
            .preemption
            .map_or([NOTHING; 2], |ids| ids.map(of_kernel));
        let calls = [
            (PREEMPT_DISABLE, disable),
            (PREEMPT_ENABLE, enable),
            (CAST, functions.cast.map_or(SAME, of_kernel)),
        ];
        // Instructions are as long as words, and aligned.
        for word in &mut words {
            for (stand_in, call) in calls {
                if *word == instruction(CALL, 0, stand_in.cast_unsigned()) {
                    *word = call.to_le();
                }
            }
        }
        Self {
            words,
            length,
            is_paired: false,
            casts: functions.cast.is_some(),
        }
    }

    /// The ELF file.
    pub fn bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..self.length]
    }
}

fn of_kernel(id: u32) -> u64 {
    instruction(CALL, OF_KERNEL, id)
}

/// An instruction as it lies in memory: code, registers, offset, number.
fn instruction(code: u8, registers: u8, number: u32) -> u64 {
    u64::from(code) | u64::from(registers) << 8 | u64::from(number) << 32
}

/// BTF id of a function of the kernel's.
fn function(btf: &Btf, name: &str) -> Option<u32> {
    let ids = btf.resolve_ids_by_name(name).ok()?;
    ids.into_iter()
        .find(|id| matches!(btf.resolve_type_by_id(*id), Ok(Type::Func(_))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::OBJECT;

    fn count(object: &[u8], wanted: u64) -> usize {
        let words = object.chunks_exact(8);
        words.filter(|w| **w == wanted.to_le_bytes()).count()
    }

    fn stand_in(number: i32) -> u64 {
        instruction(CALL, 0, number.cast_unsigned())
    }

    #[test]
    fn every_stand_in_becomes_the_call_of_its_function() {
        let n_begin = count(OBJECT, stand_in(PREEMPT_DISABLE));
        let n_end = count(OBJECT, stand_in(PREEMPT_ENABLE));
        // Two programs a tracepoint; ends in every branch.
        assert!(n_begin >= 36 && n_end >= 36, "{n_begin} and {n_end}");
        let n_casts = count(OBJECT, stand_in(CAST));
        assert!(n_casts >= 100, "{n_casts}");
        let functions = Functions {
            preemption: Some([4_711, 4_712]),
            cast: Some(4_713),
        };
        let object = Object::with(OBJECT, functions);
        assert_eq!(object.bytes().len(), OBJECT.len());
        assert_eq!(count(object.bytes(), of_kernel(4_711)), n_begin);
        assert_eq!(count(object.bytes(), of_kernel(4_712)), n_end);
        assert_eq!(count(object.bytes(), of_kernel(4_713)), n_casts);
        assert!(object.casts());
        for number in [PREEMPT_DISABLE, PREEMPT_ENABLE, CAST] {
            assert_eq!(count(object.bytes(), stand_in(number)), 0);
        }
    }

    #[test]
    fn kernel_without_the_functions_gets_no_call_of_them() {
        let n_casts = count(OBJECT, stand_in(CAST));
        let n_same = count(OBJECT, SAME);
        let object = Object::with(OBJECT, Functions::default());
        assert!(!object.casts());
        for number in [PREEMPT_DISABLE, PREEMPT_ENABLE, CAST] {
            assert_eq!(count(object.bytes(), stand_in(number)), 0);
        }
        assert_eq!(count(object.bytes(), SAME), n_same + n_casts);
    }

    #[test]
    fn functions_are_told_from_other_names() {
        let btf = Btf::from_file("/sys/kernel/btf/vmlinux").expect("this kernel has BTF");
        assert!(function(&btf, "tcp_sendmsg").is_some());
        assert_eq!(function(&btf, "tcp_sock"), None, "a structure");
        assert_eq!(function(&btf, "modeltap_never_was"), None);
    }
}
