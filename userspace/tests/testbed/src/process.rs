//! What a process holds, as the kernel counts it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::process::Command;

/// What the daemon and the process that it has beside it hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Open descriptors of both.
    pub n_descriptors: usize,
    /// Threads of both.
    pub n_threads: usize,
    /// Memory of the daemon that is in RAM and in no file, in bytes.
    pub anonymous_bytes: u64,
    /// Memory of the daemon that is in RAM, in bytes.
    pub resident_bytes: u64,
    /// Entries of each BPF map that holds any number of them, by its name.
    pub map_entries: BTreeMap<String, usize>,
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{} descriptors, {} threads, {:.1} MB ({:.1} anonymous), {} map entries",
            self.n_descriptors,
            self.n_threads,
            megabytes(self.resident_bytes),
            megabytes(self.anonymous_bytes),
            self.n_entries()
        )
    }
}

impl Holdings {
    /// What process `pid` and its children hold now.
    ///
    /// # Panics
    /// If it has ended, or bpftool is not there.
    #[must_use]
    #[track_caller]
    pub fn of(pid: u32) -> Self {
        let mut holdings = Self {
            anonymous_bytes: kilobytes(pid, "RssAnon:") * 1024,
            resident_bytes: kilobytes(pid, "VmRSS:") * 1024,
            map_entries: map_entries(pid),
            ..Self::default()
        };
        let all = children(pid);
        for process in all.into_iter().chain([pid]) {
            holdings.n_descriptors += count(&format!("/proc/{process}/fd"));
            holdings.n_threads += count(&format!("/proc/{process}/task"));
        }
        holdings
    }

    /// Entries of all maps.
    #[must_use]
    pub fn n_entries(&self) -> usize {
        self.map_entries.values().sum()
    }
}

fn count(folder: &str) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

fn kilobytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_else(|error| panic!("look at process {pid}: {error}"));
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let value = value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
    value.unwrap_or_else(|| panic!("no {field} of process {pid}"))
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let text = tasks.map(|task| fs::read_to_string(task.path().join("children")));
    let text: Vec<String> = text.map(|text| text.unwrap_or_default()).collect();
    let words = text.iter().flat_map(|text| text.split_whitespace());
    words.filter_map(|pid| pid.parse().ok()).collect()
}

/// Entries of the hash maps that a process has open; those that throw out the
/// least used by themselves cannot leak.
fn map_entries(pid: u32) -> BTreeMap<String, usize> {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let infos = infos.into_iter().flatten().flatten();
    let ids = infos.filter_map(|info| {
        let text = fs::read_to_string(info.path()).ok()?;
        let id = text.lines().find_map(|line| line.strip_prefix("map_id:"))?;
        Some(id.trim().to_owned())
    });
    let mut entries = BTreeMap::new();
    for id in ids {
        let map = bpftool(&["map", "show", "id", &id]);
        let is_hash = map["type"]
            .as_str()
            .is_some_and(|kind| kind.contains("hash") && !kind.contains("lru"));
        if !is_hash {
            continue;
        }
        let all = bpftool(&["map", "dump", "id", &id]);
        let n = all.as_array().map_or(0, Vec::len);
        let name = map["name"].as_str().unwrap_or_default().to_owned();
        entries.insert(name, n);
    }
    entries
}

fn bpftool(arguments: &[&str]) -> serde_json::Value {
    let output = Command::new("bpftool")
        .arg("--json")
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("run bpftool: {error}; install bpftool"));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("bpftool {}: {error}: {said}", arguments.join(" "))
    })
}
