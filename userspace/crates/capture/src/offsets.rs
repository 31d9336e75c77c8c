//! Where the running kernel keeps the fields the probes read, from its BTF.

use btf_rs::{Btf, Member, Type};
use modeltap_abi::config::{KernelOffsets, KernelTypes};

use crate::loader::LoadError;

/// Nested structures and unions that are searched for a member.
const MAX_DEPTH: u32 = 6;

/// Reads the types of the running kernel.
pub fn types() -> Result<Btf, LoadError> {
    Btf::from_file("/sys/kernel/btf/vmlinux").map_err(|source| LoadError::Btf {
        reason: source.to_string(),
    })
}

/// Finds the offsets that no probe can be without.
pub fn read(btf: &Btf) -> Result<KernelOffsets, LoadError> {
    let of = |structure: &'static str, member: &'static str| {
        offset(btf, structure, member).ok_or(LoadError::NoKernelField { structure, member })
    };
    // A counter of references, which begins at zero since Linux 6.13.
    let (file_count, file_count_of_one) = match offset(btf, "file", "f_ref") {
        Some(at) => (at, 0),
        None => (of("file", "f_count")?, 1),
    };
    Ok(KernelOffsets {
        task_files: of("task_struct", "files")?,
        files_fdt: of("files_struct", "fdt")?,
        fdtable_fd: of("fdtable", "fd")?,
        file_private_data: of("file", "private_data")?,
        file_inode: of("file", "f_inode")?,
        inode_mode: of("inode", "i_mode")?,
        socket_sk: of("socket", "sk")?,
        sock_err: of("sock", "sk_err")?,
        sock_protocol: of("sock", "sk_protocol")?,
        skc_family: of("sock_common", "skc_family")?,
        skc_state: of("sock_common", "skc_state")?,
        skc_num: of("sock_common", "skc_num")?,
        skc_dport: of("sock_common", "skc_dport")?,
        skc_daddr: of("sock_common", "skc_daddr")?,
        skc_rcv_saddr: of("sock_common", "skc_rcv_saddr")?,
        skc_v6_daddr: of("sock_common", "skc_v6_daddr")?,
        skc_v6_rcv_saddr: of("sock_common", "skc_v6_rcv_saddr")?,
        skc_net: of("sock_common", "skc_net")?,
        net_inum: of("net", "ns")? + of("ns_common", "inum")?,
        sock_type: of("sock", "sk_type")?,
        sock_shutdown: of("sock", "sk_shutdown")?,
        sock_socket: of("sock", "sk_socket")?,
        socket_file: of("socket", "file")?,
        inode_number: of("inode", "i_ino")?,
        file_count,
        file_count_of_one,
        tcp_write_seq: of("tcp_sock", "write_seq")?,
        reserved: 0,
    })
}

/// Finds the ids of the structures that those fields are in.
pub fn ids(btf: &Btf) -> Option<KernelTypes> {
    let id = |name| {
        let ids = btf.resolve_ids_by_name(name).ok()?;
        ids.into_iter()
            .find(|id| matches!(btf.resolve_type_by_id(*id), Ok(Type::Struct(_))))
    };
    Some(KernelTypes {
        task: id("task_struct")?,
        files: id("files_struct")?,
        fdtable: id("fdtable")?,
        pointer: id("list_head")?,
        file: id("file")?,
        inode: id("inode")?,
        socket: id("socket")?,
        sock: id("sock")?,
        tcp_sock: id("tcp_sock")?,
        net: id("net")?,
    })
}

/// Offset in bytes of a member of a structure, looked for inside its unnamed
/// structures and unions too.
pub fn offset(btf: &Btf, structure: &str, member: &str) -> Option<u32> {
    btf.resolve_types_by_name(structure)
        .ok()?
        .into_iter()
        .find_map(|found| match found {
            Type::Struct(found) => in_members(btf, &found.members, member, MAX_DEPTH),
            _ => None,
        })
}

/// Value of an enumeration's member.
pub fn enumerator(btf: &Btf, enumeration: &str, name: &str) -> Option<u32> {
    btf.resolve_types_by_name(enumeration)
        .ok()?
        .into_iter()
        .find_map(|found| match found {
            Type::Enum(found) => found
                .members
                .iter()
                .find(|member| btf.resolve_name(*member).is_ok_and(|found| found == name))
                .map(btf_rs::EnumMember::val),
            _ => None,
        })
}

fn in_members(btf: &Btf, members: &[Member], name: &str, depth: u32) -> Option<u32> {
    members.iter().find_map(|member| {
        let at = member.bit_offset() / 8;
        match btf.resolve_name(member) {
            Ok(found) if !found.is_empty() => (found == name).then_some(at),
            _ if depth > 0 => match btf.resolve_chained_type(member).ok()? {
                Type::Struct(inner) | Type::Union(inner) => {
                    Some(at + in_members(btf, &inner.members, name, depth - 1)?)
                }
                _ => None,
            },
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_on_the_running_kernel() {
        let offsets = read(&types().expect("this kernel has BTF")).unwrap();
        // The one place that has not moved since Linux 2.6: `__sk_common`
        // begins with the addresses, the state follows the family.
        assert_eq!(offsets.skc_daddr, 0);
        assert_eq!(offsets.skc_state, offsets.skc_family + 2);
        assert!(offsets.task_files > 0 && offsets.net_inum > 0);
    }
}
