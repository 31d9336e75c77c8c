//! What reading many containers costs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use modeltap_core::connection::CgroupId;
use modeltap_core::container::ContainerId;
use modeltap_discovery::look::Direct;
use modeltap_discovery::resources::{Sampler, Target};
use modeltap_testbed::ground;

use crate::container_life::unix_now;

/// Cgroups with a process each, in every hierarchy; they go with this.
struct Cgroups {
    folders: Vec<PathBuf>,
    processes: Vec<Child>,
}

impl Cgroups {
    fn make(n: usize) -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("Linux has it");
        let mounts = mountinfo.lines().filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            filesystem
                .starts_with("cgroup")
                .then(|| mount.split(' ').nth(4))
                .flatten()
        });
        let mut made = Self {
            folders: mounts
                .map(|mount| Path::new(mount).join(format!("modeltap-cost-{}", std::process::id())))
                .collect(),
            processes: Vec::new(),
        };
        for folder in &made.folders {
            fs::create_dir(folder).unwrap_or_else(|error| panic!("create {folder:?}: {error}"));
        }
        for number in 0..n {
            let process = Command::new("unshare")
                .args(["--net", "sleep", "300"])
                .stdout(Stdio::null())
                .spawn()
                .expect("util-linux is there");
            let pid = process.id().to_string();
            made.processes.push(process);
            for folder in &made.folders {
                let own = folder.join(id(number));
                fs::create_dir(&own).unwrap_or_else(|error| panic!("create {own:?}: {error}"));
                // cpuset takes no process before it has processors; nothing is
                // read of it.
                let _ = fs::write(own.join("cgroup.procs"), &pid);
            }
        }
        made
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        for folder in &self.folders {
            for number in 0..self.processes.len() {
                let _ = fs::remove_dir(folder.join(id(number)));
            }
            let _ = fs::remove_dir(folder);
        }
    }
}

fn id(number: usize) -> String {
    format!("{number:064x}")
}

/// Processor time of this thread.
fn thread_cpu() -> Duration {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let ns = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.expect("nanoseconds come first"))
}

#[test]
fn two_hundred_containers_are_read_at_a_cost_nobody_notices() {
    let Some(_ground) = ground::take("cost") else {
        return;
    };
    const CONTAINERS: usize = 200;
    const LOOKS: u32 = 20;
    let cgroups = Cgroups::make(CONTAINERS);
    let targets = cgroups
        .processes
        .iter()
        .enumerate()
        .map(|(number, process)| {
            let target = Target {
                id: ContainerId(id(number)),
                pid: process.id(),
            };
            (CgroupId(number as u64 + 2), target)
        });
    let targets = targets.collect();
    // The processes have to be in their own networks.
    thread::sleep(Duration::from_millis(500));
    let mut sampler = Sampler::find(Arc::new(Direct::default())).expect("the host has cgroups");
    sampler.follow(&targets);
    for _ in 0..3 {
        sampler.sample(unix_now);
    }
    let (cpu, begun) = (thread_cpu(), Instant::now());
    for _ in 0..LOOKS {
        let readings = sampler.sample(unix_now);
        assert_eq!(readings.len(), CONTAINERS);
        assert!(readings.iter().all(|reading| reading.network.is_some()));
    }
    let cpu = (thread_cpu() - cpu) / LOOKS;
    let wall = begun.elapsed() / LOOKS;
    eprintln!("a look at {CONTAINERS} containers: {cpu:?} of processor time, {wall:?}");
    // Of a second; without optimisation, on a busy host.
    assert!(cpu < Duration::from_millis(50), "{cpu:?}");
}
