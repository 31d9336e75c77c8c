//! What the watched host is: told once, for people who look at its figures.

use std::fs;
use std::path::Path;
use std::thread;

use modeltap_api::state::Host;

/// Reads it; what the host does not tell is empty or zero.
pub fn read() -> Host {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    Host {
        system: pretty_name(&text("/etc/os-release")),
        architecture: std::env::consts::ARCH.to_owned(),
        n_cpus: thread::available_parallelism()
            .map_or(0, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory_bytes: total_bytes(&text("/proc/meminfo")),
        cgroups: cgroups(Path::new("/sys/fs/cgroup")).to_owned(),
    }
}

/// `PRETTY_NAME` of os-release(5), without its quotes.
fn pretty_name(release: &str) -> String {
    let mut lines = release.lines();
    let name = lines.find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

/// `MemTotal` of proc_meminfo(5), in bytes.
fn total_bytes(memory: &str) -> u64 {
    let mut lines = memory.lines();
    let kilobytes = lines.find_map(|line| {
        let rest = line.strip_prefix("MemTotal:")?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    kilobytes.map_or(0, |kilobytes| kilobytes.saturating_mul(1024))
}

/// The version of the control groups mounted at `root` (cgroups(7)).
fn cgroups(root: &Path) -> &'static str {
    if root.join("cgroup.controllers").exists() {
        "v2"
    } else if root.join("unified").is_dir() {
        "v1 + v2"
    } else if root.is_dir() {
        "v1"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_and_what_is_missing_is_nothing() {
        let release = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n";
        assert_eq!(pretty_name(release), "Debian GNU/Linux 13 (trixie)");
        assert_eq!(pretty_name("ID=debian\n"), "");
        assert_eq!(total_bytes("MemFree: 1 kB\nMemTotal:   2048 kB\n"), 2 << 20);
        assert_eq!(total_bytes("MemTotal: many\n"), 0);
    }

    #[test]
    fn each_layout_of_control_groups_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        assert_eq!(cgroups(&path.join("none")), "");
        assert_eq!(cgroups(path), "v1");
        fs::create_dir(path.join("unified")).unwrap();
        assert_eq!(cgroups(path), "v1 + v2");
        fs::write(path.join("cgroup.controllers"), "cpu").unwrap();
        assert_eq!(cgroups(path), "v2");
    }
}
