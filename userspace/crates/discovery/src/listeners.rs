//! On which ports a container listens.
//!
//! A connection that is older than the probes was never seen accepted; that
//! its own port is one of these tells that the container is its server.
//! Only sockets held by the container's processes count, because a container
//! on the host's network shares its port list with the whole host.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use modeltap_core::container::Container;

use crate::cgroup::{CgroupError, Hierarchy};
use crate::look::Look;

/// Most processes of a container that are looked at.
const MAX_PROCESSES: usize = 4_096;
/// Most cgroups below a container's that are looked at.
const MAX_CGROUPS: usize = 1_024;
/// Most descriptors looked at over all of a container's processes.
const MAX_DESCRIPTORS: usize = 262_144;
/// Most network namespaces of one container; one is usual.
const MAX_NAMESPACES: usize = 16;
/// Most bytes read of a port list. The kernel lists listeners before
/// connections, so the limit cuts only what is not asked for.
const MAX_TABLE_BYTES: u64 = 4 << 20;
/// `TCP_LISTEN` of `include/net/tcp_states.h`, as the tables print it.
const LISTEN: &str = "0A";

/// A port on which a container's process listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// Inode number of the network namespace, as `/proc/PID/ns/net` shows it.
    pub network_namespace: u64,
    /// The port.
    pub port: u16,
}

/// Finds the ports on which the processes of `container` listen now.
///
/// Processes that end while they are looked at are left out.
///
/// # Errors
/// As [`Hierarchy::locate`].
pub fn listeners(
    hierarchy: &Hierarchy,
    look: &dyn Look,
    container: &Container,
) -> Result<BTreeSet<Listener>, CgroupError> {
    let cgroup = hierarchy.locate(container.pid, &container.id)?;
    let mut budget = MAX_DESCRIPTORS;
    let mut namespaces = BTreeMap::<u64, (PathBuf, HashSet<u64>)>::new();
    for pid in processes(&cgroup.directory) {
        let process = hierarchy.procfs().join(pid.to_string());
        let Some(namespace) = look.network(pid) else {
            continue;
        };
        let full = namespaces.len() == MAX_NAMESPACES;
        if full && !namespaces.contains_key(&namespace) {
            continue;
        }
        let sockets = look.sockets(pid, budget);
        budget = budget.saturating_sub(sockets.n_descriptors);
        let entry = namespaces.entry(namespace).or_default();
        entry.1.extend(sockets.inodes);
        entry.0 = process;
    }
    let mut found = BTreeSet::new();
    for (network_namespace, (process, inodes)) in namespaces {
        for table in ["net/tcp", "net/tcp6"] {
            // No tcp6 where IPv6 is off; nothing at all if the process ended.
            let Ok(file) = File::open(process.join(table)) else {
                continue;
            };
            let ports = listening_ports(BufReader::new(file.take(MAX_TABLE_BYTES)), &inodes);
            found.extend(ports.map(|port| Listener {
                network_namespace,
                port,
            }));
        }
    }
    Ok(found)
}

/// Inode numbers of the network namespaces that the processes of `container`
/// are in now.
///
/// # Errors
/// As [`Hierarchy::locate`].
pub fn networks(
    hierarchy: &Hierarchy,
    look: &dyn Look,
    container: &Container,
) -> Result<BTreeSet<u64>, CgroupError> {
    let cgroup = hierarchy.locate(container.pid, &container.id)?;
    let mut found = BTreeSet::new();
    for pid in processes(&cgroup.directory) {
        if let Some(inode) = look.network(pid)
            && found.len() < MAX_NAMESPACES
        {
            found.insert(inode);
        }
    }
    Ok(found)
}

/// Inode number of the host's own network namespace: that of its first process.
#[must_use]
pub fn host_network(look: &dyn Look) -> Option<u64> {
    look.network(1)
}

/// Processes in a cgroup and below it.
fn processes(cgroup: &Path) -> Vec<u32> {
    let mut pids = Vec::new();
    let mut cgroups = vec![cgroup.to_owned()];
    let mut n_cgroups = 0;
    while let Some(directory) = cgroups.pop() {
        n_cgroups += 1;
        if n_cgroups > MAX_CGROUPS {
            break;
        }
        if let Ok(file) = File::open(directory.join("cgroup.procs")) {
            let lines = BufReader::new(file).lines().map_while(Result::ok);
            let numbers = lines.filter_map(|line| line.parse::<u32>().ok());
            pids.extend(numbers.take(MAX_PROCESSES - pids.len()));
        }
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        let directories = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|file_type| file_type.is_dir()));
        let room = MAX_CGROUPS.saturating_sub(cgroups.len());
        cgroups.extend(directories.take(room).map(|entry| entry.path()));
    }
    pids
}

/// Ports of the listening sockets in a table of `/proc/PID/net` that are among
/// `inodes`.
fn listening_ports(table: impl BufRead, inodes: &HashSet<u64>) -> impl Iterator<Item = u16> {
    table.lines().map_while(Result::ok).filter_map(|line| {
        let (port, inode) = listening(&line)?;
        inodes.contains(&inode).then_some(port)
    })
}

/// Port and inode number of a line, if it is a listening socket's.
fn listening(line: &str) -> Option<(u16, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    if state != LISTEN {
        return None;
    }
    let (_, port) = local.rsplit_once(':')?;
    Some((u16::from_str_radix(port, 16).ok()?, inode.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::look::Direct;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 999 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F40 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 20 4 30 10 -1
";
    const TABLE6: &str = "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0\n";

    #[track_caller]
    fn check(table: &str, inodes: &[u64], expected: &[u16]) {
        let inodes = inodes.iter().copied().collect();
        assert_eq!(
            listening_ports(table.as_bytes(), &inodes).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn only_listening_sockets_of_the_container_count() {
        check(TABLE, &[12345], &[8000]);
        check(TABLE, &[12345, 999], &[8000, 8001]);
        check(TABLE, &[], &[]);
        check(TABLE6, &[12345], &[80]);
    }

    #[test]
    fn broken_table_yields_nothing() {
        check("", &[0], &[]);
        check("0: :: 0A\n\u{fffd} a b 0A c d e f g h\n", &[0], &[]);
    }

    #[test]
    fn own_listener_is_found_in_the_real_tables_and_a_connection_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let sockets = Direct::default().sockets(std::process::id(), MAX_DESCRIPTORS);
        let inodes = sockets.inodes.into_iter().collect();
        let table = BufReader::new(File::open("/proc/self/net/tcp").unwrap());
        let ports = listening_ports(table, &inodes).collect::<Vec<_>>();
        assert!(ports.contains(&address.port()), "{ports:?}");
        assert!(
            !ports.contains(&client.local_addr().unwrap().port()),
            "{ports:?}"
        );
    }
}
