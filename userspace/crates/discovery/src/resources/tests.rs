//! Fixture trees of every layout, and the real one.

use std::fs;
use std::path::{Path, PathBuf};

use modeltap_core::resource::{
    BlockReading, CpuReading, MemoryReading, NetworkReading, PressureReading,
};
use tempfile::TempDir;

use super::*;
use crate::look::Direct;

const ID: &str = "4f1d8a1c9be94ae0a7b3f2f6d5c4b3a291807f6e5d4c3b2a19080706050403ff";
const CGROUP: CgroupId = CgroupId(42);
const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     900       2    0    0    0     0          0         0      900       0    0    0    0     0       0          0
  eth0:     200       2    1    0    0     0          0         0       50       1    0    2    0     0       0          0
";
const V1_MEMORY_STAT: &str = "cache 9\ninactive_file 10\nhierarchical_memory_limit 67108864\n\
                              total_cache 9\ntotal_inactive_file 1000\n";

/// A `/proc` and cgroup trees of our own; the container's process is number 77.
struct Host {
    dir: TempDir,
}

impl Host {
    fn new(mountinfo: &[(&str, &str)], cgroups: &str) -> Self {
        let host = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let mounts: String = mountinfo
            .iter()
            .map(|(place, filesystem)| {
                let point = host.dir.path().join(place);
                fs::create_dir_all(&point).unwrap();
                format!(
                    "30 23 0:26 / {} rw,nosuid shared:9 - {filesystem}\n",
                    point.display()
                )
            })
            .collect();
        host.write("proc/self/mountinfo", &mounts);
        host.write(
            "proc/self/limits",
            "Max open files            1024  1024  files\n",
        );
        host.write("proc/77/cgroup", cgroups);
        host.write("proc/77/net/dev", NET_DEV);
        let daemons = std::process::id().to_string();
        for (process, namespace) in [(daemons.as_str(), "host"), ("77", "own")] {
            host.write(&format!("proc/{process}/ns/{namespace}"), "");
            let ns = host.dir.path().join(format!("proc/{process}/ns"));
            fs::rename(ns.join(namespace), ns.join("net")).unwrap();
        }
        host
    }

    fn v1() -> Self {
        let mounts = [
            ("cg/cpu", "cgroup cgroup rw,cpu,cpuacct"),
            ("cg/memory", "cgroup cgroup rw,memory"),
            ("cg/blkio", "cgroup cgroup rw,blkio"),
            ("cg/pids", "cgroup cgroup rw,pids"),
            ("cg/systemd", "cgroup cgroup rw,xattr,name=systemd"),
        ];
        let path = format!("/docker/{ID}");
        let host = Self::new(
            &mounts,
            &format!(
                "5:pids:{path}\n4:memory:{path}/nested\n3:blkio:{path}\n2:cpu,cpuacct:{path}\n\
                 1:name=systemd:{path}\n"
            ),
        );
        for (file, content) in [
            ("cpu/{}/cpuacct.usage", "5000000000\n"),
            ("cpu/{}/cpuacct.stat", "user 300\nsystem 200\n"),
            (
                "cpu/{}/cpu.stat",
                "nr_periods 20\nnr_throttled 7\nthrottled_time 900\n",
            ),
            ("cpu/{}/cpu.cfs_quota_us", "20000\n"),
            ("cpu/{}/cpu.cfs_period_us", "100000\n"),
            ("memory/{}/memory.usage_in_bytes", "5000\n"),
            ("memory/{}/memory.stat", V1_MEMORY_STAT),
            (
                "memory/{}/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            ),
            ("memory/{}/memory.limit_in_bytes", "9223372036854771712\n"),
            (
                "blkio/{}/blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 4096\n8:0 Write 8192\nTotal 12288\n",
            ),
            ("pids/{}/pids.current", "4\n"),
            ("pids/{}/pids.max", "max\n"),
        ] {
            host.cgroup(file, content);
        }
        host
    }

    fn v2() -> Self {
        let path = format!("/system.slice/docker-{ID}.scope");
        let host = Self::new(
            &[("cg", "cgroup2 cgroup2 rw")],
            &format!("0::{path}/init\n"),
        );
        let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=";
        let stat = "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 20\n\
                    nr_throttled 7\nthrottled_usec 9\n";
        for (file, content) in [
            ("cpu.stat", stat),
            ("cpu.max", "150000 100000\n"),
            ("memory.current", "5000\n"),
            ("memory.stat", "anon 1\ninactive_file 1000\n"),
            ("memory.events", "low 0\nhigh 0\nmax 9\noom 5\noom_kill 3\n"),
            ("memory.max", "max\n"),
            (
                "io.stat",
                "8:0 rbytes=4096 wbytes=8192 rios=1 wios=1 dbytes=0 dios=0\n",
            ),
            ("pids.current", "4\n"),
            ("pids.max", "512\n"),
            ("cpu.pressure", &format!("{pressure}11\n")),
            ("memory.pressure", &format!("{pressure}12\n")),
            ("io.pressure", &format!("{pressure}13\n")),
        ] {
            host.write(&format!("cg{path}/{file}"), content);
        }
        host.write("cg/system.slice/memory.max", "8000\n");
        host
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a file of a v1 container; `{}` is its directory.
    fn cgroup(&self, file: &str, content: &str) {
        let file = file.replace("{}", &format!("docker/{ID}"));
        self.write(&format!("cg/{file}"), content);
    }

    fn sampler(&self) -> Sampler {
        let gpus = Gpus::absent();
        let procfs = self.path("proc");
        let look = Arc::new(Direct::below(&procfs));
        let mut sampler = Sampler::new(&procfs, look, gpus).unwrap();
        sampler.follow(&target(77));
        sampler
    }
}

fn target(pid: u32) -> HashMap<CgroupId, Target> {
    let id = ContainerId(ID.to_owned());
    HashMap::from([(CGROUP, Target { id, pid })])
}

fn sample(sampler: &mut Sampler) -> Option<ResourceReading> {
    let mut readings = sampler.sample(|| UnixNs(9));
    assert!(readings.len() <= 1);
    readings.pop()
}

const NETWORK: NetworkReading = NetworkReading {
    received_bytes: 200,
    sent_bytes: 50,
    n_errors: 3,
};
const BLOCK: BlockReading = BlockReading {
    read_bytes: 4_096,
    written_bytes: 8_192,
};

fn v1_reading() -> ResourceReading {
    ResourceReading {
        cgroup: CGROUP,
        at: UnixNs(9),
        cpu: CpuReading {
            usage_ns: 5_000_000_000,
            user_ns: Some(3_000_000_000),
            system_ns: Some(2_000_000_000),
            n_periods: Some(20),
            n_throttled: Some(7),
            throttled_ns: Some(900),
            limit_cores: Some(0.2),
        },
        memory: MemoryReading {
            usage_bytes: 5_000,
            working_set_bytes: 4_000,
            limit_bytes: Some(64 << 20),
            n_oom_kills: Some(3),
        },
        network: Some(NETWORK),
        block: Some(BLOCK),
        n_pids: Some(4),
        pids_limit: None,
        pressure: None,
        gpus: Vec::new(),
    }
}

#[test]
fn v1_figures_come_from_the_controllers_hierarchies() {
    let host = Host::v1();
    assert_eq!(sample(&mut host.sampler()), Some(v1_reading()));
}

#[test]
fn v2_figures_come_from_one_directory_and_a_slices_limit_counts() {
    let host = Host::v2();
    let expected = ResourceReading {
        cpu: CpuReading {
            usage_ns: 5_000_000,
            user_ns: Some(3_000_000),
            system_ns: Some(2_000_000),
            n_periods: Some(20),
            n_throttled: Some(7),
            throttled_ns: Some(9_000),
            limit_cores: Some(1.5),
        },
        memory: MemoryReading {
            limit_bytes: Some(8_000),
            ..v1_reading().memory
        },
        pids_limit: Some(512),
        pressure: Some(PressureReading {
            cpu_us: 11,
            memory_us: 12,
            io_us: 13,
        }),
        ..v1_reading()
    };
    assert_eq!(sample(&mut host.sampler()), Some(expected));
}

#[test]
fn hybrid_host_has_v1_figures_and_v2_pressure() {
    let host = Host::v1();
    let mountinfo = host.path("proc/self/mountinfo");
    let unified = host.path("cg/unified");
    let more = format!(
        "41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n",
        unified.display()
    );
    let all = fs::read_to_string(&mountinfo).unwrap() + &more;
    fs::write(mountinfo, all).unwrap();
    let cgroups = fs::read_to_string(host.path("proc/77/cgroup")).unwrap();
    host.write("proc/77/cgroup", &format!("{cgroups}0::/docker/{ID}\n"));
    host.cgroup("unified/{}/cpu.stat", "usage_usec 1\n");
    for kind in ["cpu", "memory", "io"] {
        let file = format!("unified/{{}}/{kind}.pressure");
        host.cgroup(&file, "some avg10=0 avg60=0 avg300=0 total=5\n");
    }
    let pressure = PressureReading {
        cpu_us: 5,
        memory_us: 5,
        io_us: 5,
    };
    let expected = ResourceReading {
        pressure: Some(pressure),
        ..v1_reading()
    };
    assert_eq!(sample(&mut host.sampler()), Some(expected));
}

#[test]
fn second_look_reads_the_same_files_again() {
    let host = Host::v1();
    let mut sampler = host.sampler();
    sample(&mut sampler).unwrap();
    host.cgroup("cpu/{}/cpuacct.usage", "6000000000\n");
    host.cgroup("memory/{}/memory.limit_in_bytes", "4096\n");
    let looks: Vec<_> = (0..LIMITS_EVERY)
        .map(|_| sample(&mut sampler).unwrap())
        .collect();
    assert_eq!(looks[0].cpu.usage_ns, 6_000_000_000);
    let last = looks.last().unwrap();
    assert_eq!(last.memory.limit_bytes, Some(4_096), "a new limit is found");
}

#[test]
fn processes_killed_in_nested_cgroups_count_and_stay_counted() {
    let host = Host::v1();
    let kills = |n| format!("oom_kill_disable 0\nunder_oom 0\noom_kill {n}\n");
    host.cgroup("memory/{}/a/memory.oom_control", &kills(2));
    host.cgroup("memory/{}/a/deep/memory.oom_control", &kills(1));
    let mut sampler = host.sampler();
    let killed = |sampler: &mut Sampler| sample(sampler).unwrap().memory.n_oom_kills;
    assert_eq!(killed(&mut sampler), Some(6));
    fs::remove_dir_all(host.path(&format!("cg/memory/docker/{ID}/a/deep"))).unwrap();
    assert_eq!(killed(&mut sampler), Some(6));
    host.cgroup("memory/{}/a/memory.oom_control", &kills(3));
    assert_eq!(killed(&mut sampler), Some(7));
}

#[test]
fn kernel_that_accounts_no_device_is_not_told_as_zero() {
    let host = Host::v1();
    let file = "blkio.throttle.io_service_bytes_recursive";
    host.cgroup(&format!("blkio/{{}}/{file}"), "Total 0\n");
    host.cgroup(&format!("blkio/docker/{file}"), "Total 0\n");
    host.cgroup(&format!("blkio/{file}"), "Total 0\n");
    let mut sampler = host.sampler();
    assert_eq!(sample(&mut sampler).unwrap().block, None);
    host.cgroup(&format!("blkio/{file}"), "254:0 Read 5\nTotal 5\n");
    let looks: Vec<_> = (0..LIMITS_EVERY)
        .map(|_| sample(&mut sampler).unwrap().block)
        .collect();
    assert_eq!(looks.last(), Some(&Some(BlockReading::default())));
}

#[test]
fn container_on_the_hosts_network_has_no_network_of_its_own() {
    let host = Host::v1();
    let own = host.path("proc/77/ns/net");
    fs::remove_file(&own).unwrap();
    let daemons = format!("proc/{}/ns/net", std::process::id());
    fs::hard_link(host.path(&daemons), own).unwrap();
    let reading = sample(&mut host.sampler()).unwrap();
    assert_eq!(reading.network, None);
    assert_eq!(reading.block, Some(BLOCK));
}

#[test]
fn missing_controllers_are_not_told_as_zero() {
    let host = Host::v1();
    for controller in ["blkio", "pids"] {
        fs::remove_dir_all(host.path("cg").join(controller)).unwrap();
    }
    fs::remove_file(host.path("proc/77/net/dev")).unwrap();
    fs::remove_file(host.path(&format!("cg/cpu/docker/{ID}/cpu.stat"))).unwrap();
    let reading = sample(&mut host.sampler()).unwrap();
    assert_eq!(
        (reading.block, reading.n_pids, reading.network),
        (None, None, None)
    );
    assert_eq!(
        (reading.cpu.n_periods, reading.cpu.user_ns),
        (None, v1_reading().cpu.user_ns)
    );
}

#[test]
fn odd_contents_yield_nothing_or_less_and_never_a_panic() {
    let odd: [&[u8]; 6] = [
        b"",
        b"\n",
        b"-1\n",
        b"\xff\xfe",
        b"99999999999999999999\n",
        b"x 1 2 3 : total=",
    ];
    for content in odd {
        let host = Host::v2();
        let mut sampler = host.sampler();
        let directory = host.path(&format!("cg/system.slice/docker-{ID}.scope"));
        for entry in fs::read_dir(&directory).unwrap() {
            fs::write(entry.unwrap().path(), content).unwrap();
        }
        fs::write(host.path("proc/77/net/dev"), content).unwrap();
        for _ in 0..LIMITS_EVERY {
            assert_eq!(sample(&mut sampler), None, "{content:?}");
        }
    }
}

#[test]
fn container_that_is_gone_or_was_never_there_has_no_reading() {
    let host = Host::v1();
    let mut sampler = host.sampler();
    sampler.follow(&HashMap::new());
    assert_eq!(sample(&mut sampler), None);
    sampler.follow(&target(78));
    assert_eq!(sample(&mut sampler), None);
    sampler.follow(&target(77));
    assert!(sample(&mut sampler).is_some());
}

#[test]
fn container_whose_files_come_late_is_tried_again() {
    let host = Host::v1();
    let usage = host.path(&format!("cg/cpu/docker/{ID}/cpuacct.usage"));
    fs::remove_file(&usage).unwrap();
    let mut sampler = host.sampler();
    assert_eq!(sample(&mut sampler), None);
    fs::write(&usage, "5000000000\n").unwrap();
    let looks: Vec<_> = (0..LIMITS_EVERY).map(|_| sample(&mut sampler)).collect();
    assert_eq!(looks.last(), Some(&Some(v1_reading())));
    // A file that cannot be read any more, then can.
    fs::write(&usage, "").unwrap();
    assert_eq!(sample(&mut sampler), None);
    fs::write(&usage, "6000000000\n").unwrap();
    let looks: Vec<_> = (0..LIMITS_EVERY).map(|_| sample(&mut sampler)).collect();
    assert!(looks.last().is_some_and(Option::is_some));
}

/// This process is in a real cgroup, if not in a container's: what the files
/// say is taken from its own directories.
#[test]
fn real_files_of_the_root_cgroups_are_read() {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = |controller: &str| -> Option<PathBuf> {
        mountinfo
            .lines()
            .filter(|line| line.contains(" - cgroup "))
            .find(|line| line.split([' ', ',']).any(|word| word == controller))
            .and_then(|line| line.split(' ').nth(4))
            .map(PathBuf::from)
    };
    let unified = mountinfo
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .and_then(|line| line.split(' ').nth(4))
        .map(PathBuf::from);
    let places = layout::Places {
        cpu: point("cpu"),
        cpuacct: point("cpuacct"),
        memory: point("memory"),
        blkio: point("blkio"),
        pids: point("pids"),
        unified,
    };
    let budget = Budget::new(100);
    let mut gauge = Gauge::open(&places, Some(Path::new("/proc/self")), &budget)
        .expect("processor time is told of every cgroup");
    let mut buffer = Buffer::new();
    gauge.read_limits(&mut buffer);
    let first = gauge.read(&mut buffer).unwrap();
    let begun = std::time::Instant::now();
    while begun.elapsed().as_millis() < 20 {}
    let second = gauge.read(&mut buffer).unwrap();
    assert!(
        second.cpu.usage_ns > first.cpu.usage_ns,
        "{first:?} {second:?}"
    );
    assert!(first.network.is_some());
}
