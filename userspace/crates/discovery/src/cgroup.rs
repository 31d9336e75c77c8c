//! From a process id to the id of its container's cgroup.
//!
//! The id that probes compare is the inode number of a directory in the v2
//! hierarchy, also where controllers sit in v1: runc makes the container's
//! directory there too on a hybrid host. Its path is the `0::` line of
//! `/proc/PID/cgroup`, below the mount point of cgroup2.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use modeltap_core::connection::CgroupId;
use modeltap_core::container::ContainerId;
use thiserror::Error;

/// The root cgroup's id. It holds the whole machine.
const ROOT: u64 = 1;
/// Most bytes read of a file below `/proc/PID`; real ones have a few hundred.
pub(crate) const MAX_CGROUP_BYTES: u64 = 64 << 10;
/// Most bytes read of `mountinfo`: a host with a thousand containers has some
/// hundred kilobytes.
pub(crate) const MAX_MOUNTINFO_BYTES: u64 = 16 << 20;

/// Why no cgroup could be told.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// The process ended meanwhile.
    #[error("process has ended: {0}")]
    Gone(u32),
    /// `/proc` could not be read.
    #[error("cannot read {path:?}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel's v2 hierarchy is not mounted where it would be seen.
    #[error(
        "no cgroup2 hierarchy is mounted; mount one (mount -t cgroup2 cgroup2 \
         /sys/fs/cgroup/unified) and start the containers again"
    )]
    NotMounted,
    /// The path leads out of what this process may see.
    #[error(
        "modeltap runs in a cgroup namespace of its own and cannot see the host's cgroups; \
         start its container with --cgroupns=host --pid=host; path {0:?}"
    )]
    Namespaced(String),
    /// The process runs in a cgroup that is not this container's alone.
    #[error("container has no cgroup of its own in the v2 hierarchy; its process is in {0:?}")]
    Shared(String),
}

/// A container's own cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerCgroup {
    /// Its id.
    pub id: CgroupId,
    /// Its directory below the mount point.
    pub directory: PathBuf,
    /// Its path in the hierarchy, beginning with `/`.
    pub path: String,
}

/// The v2 hierarchy as this process sees it.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    procfs: PathBuf,
    mounts: Vec<Mount>,
}

/// Where a part of a hierarchy is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The part of the hierarchy that is mounted.
    root: String,
    /// Where.
    point: PathBuf,
}

impl Hierarchy {
    /// Finds the hierarchy of this machine.
    ///
    /// # Errors
    /// [`CgroupError::Read`] if `/proc` is not readable,
    /// [`CgroupError::NotMounted`] if there is no cgroup2 mount.
    pub fn find() -> Result<Self, CgroupError> {
        Self::below(Path::new("/proc"))
    }

    /// As [`Self::find`], with another place for `/proc`.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn below(procfs: &Path) -> Result<Self, CgroupError> {
        let mountinfo = read(&procfs.join("self/mountinfo"), MAX_MOUNTINFO_BYTES)?;
        let mounts = cgroup2_mounts(&mountinfo);
        if mounts.is_empty() {
            return Err(CgroupError::NotMounted);
        }
        Ok(Self {
            procfs: procfs.to_owned(),
            mounts,
        })
    }

    /// The `/proc` it reads.
    #[must_use]
    pub fn procfs(&self) -> &Path {
        &self.procfs
    }

    /// The directory of the hierarchy's root, where all of it is mounted.
    #[must_use]
    pub fn root(&self) -> Option<PathBuf> {
        self.directory("/")
    }

    /// Finds the cgroup of the container `id` by one of its processes, which
    /// may itself sit in a cgroup nested in the container's.
    ///
    /// # Errors
    /// [`CgroupError::Gone`] if the process has ended; the others say what
    /// about the host stands in the way.
    pub fn locate(&self, pid: u32, id: &ContainerId) -> Result<ContainerCgroup, CgroupError> {
        let path = container_path(&self.path_of(&pid.to_string(), pid)?, id)?;
        let directory = self.directory(&path).ok_or(CgroupError::NotMounted)?;
        let metadata = match directory.metadata() {
            Ok(metadata) => metadata,
            // The cgroup is removed right after its last process.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(CgroupError::Gone(pid));
            }
            Err(source) => {
                return Err(CgroupError::Read {
                    path: directory,
                    source,
                });
            }
        };
        if metadata.ino() <= ROOT {
            return Err(CgroupError::Shared(path));
        }
        Ok(ContainerCgroup {
            id: CgroupId(metadata.ino()),
            directory,
            path,
        })
    }

    /// Whether this very process runs in `cgroup` or below it.
    #[must_use]
    pub fn holds_this_process(&self, cgroup: &ContainerCgroup) -> bool {
        self.path_of("self", 0).is_ok_and(|own| {
            own.strip_prefix(&cgroup.path)
                .is_some_and(|below| below.is_empty() || below.starts_with('/'))
        })
    }

    fn path_of(&self, process: &str, pid: u32) -> Result<String, CgroupError> {
        let file = self.procfs.join(process).join("cgroup");
        match read(&file, MAX_CGROUP_BYTES) {
            // ESRCH: the process ended between open and read.
            Err(CgroupError::Read { source, .. })
                if source.kind() == ErrorKind::NotFound || source.raw_os_error() == Some(ESRCH) =>
            {
                Err(CgroupError::Gone(pid))
            }
            Err(error) => Err(error),
            Ok(text) => match unified_path(&text) {
                None => Err(CgroupError::NotMounted),
                Some(path) if path.ends_with(" (deleted)") => Err(CgroupError::Gone(pid)),
                Some(path) => Ok(path.to_owned()),
            },
        }
    }

    /// The directory of a path, by the mount that shows most of it.
    fn directory(&self, path: &str) -> Option<PathBuf> {
        directory(&self.mounts, path)
    }
}

/// The directory of a path in the hierarchy of `mounts`, by the mount that
/// shows most of it.
pub(crate) fn directory<'a>(
    mounts: impl IntoIterator<Item = &'a Mount>,
    path: &str,
) -> Option<PathBuf> {
    mounts
        .into_iter()
        .filter_map(|mount| Some((mount, below(path, &mount.root)?)))
        .min_by_key(|(_, rest)| rest.len())
        .map(|(mount, rest)| mount.point.join(rest))
}

/// The part of `path` below `root`, without a leading slash.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    path.strip_prefix(root.trim_end_matches('/'))?
        .strip_prefix('/')
}

const ESRCH: i32 = 3;

pub(crate) fn read(path: &Path, limit: u64) -> Result<String, CgroupError> {
    let error = |source| CgroupError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(error)?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(error)?;
    // Mount points are bytes; the lines that matter are plain.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The cgroup2 mounts of a `mountinfo`, see `man 5 proc_pid_mountinfo`.
pub(crate) fn cgroup2_mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(cgroup2_mount).collect()
}

fn cgroup2_mount(line: &str) -> Option<Mount> {
    let (mount, filesystem) = line.split_once(" - ")?;
    if filesystem.split(' ').next() != Some("cgroup2") {
        return None;
    }
    mount_of(mount)
}

/// The mounts of v1 hierarchies, each with its options, among which its
/// controllers are.
pub(crate) fn v1_mounts(mountinfo: &str) -> impl Iterator<Item = (&str, Mount)> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = filesystem.split(' ');
        if fields.next() != Some("cgroup") {
            return None;
        }
        Some((fields.nth(1)?, mount_of(mount)?))
    })
}

fn mount_of(fields: &str) -> Option<Mount> {
    let mut fields = fields.split(' ').skip(3);
    let root = unescape(fields.next()?);
    let point = PathBuf::from(unescape(fields.next()?));
    Some(Mount { root, point })
}

/// Replaces the octal escapes of blanks and backslashes.
fn unescape(field: &str) -> String {
    field
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// The path in the v2 hierarchy; absent on a kernel without cgroup2.
fn unified_path(cgroups: &str) -> Option<&str> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The path down to the component that holds the container's id: `/docker/ID`,
/// `/system.slice/docker-ID.scope`, and so on for any parent.
pub(crate) fn container_path(path: &str, id: &ContainerId) -> Result<String, CgroupError> {
    let components = || path.split('/').filter(|component| !component.is_empty());
    if components().any(|component| component == "..") {
        return Err(CgroupError::Namespaced(path.to_owned()));
    }
    // A short id could be part of another container's.
    if id.0.len() < 64 {
        return Err(CgroupError::Shared(path.to_owned()));
    }
    let mut own = String::new();
    for component in components() {
        own.push('/');
        own.push_str(component);
        if component.contains(&id.0) {
            return Ok(own);
        }
    }
    Err(CgroupError::Shared(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "4f1d8a1c9be94ae0a7b3f2f6d5c4b3a291807f6e5d4c3b2a19080706050403ff";
    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 master:1 - cgroup2 cgroup2 rw
";
    const UNIFIED: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_LINES: &str = "9:name=systemd:/docker/x\n4:memory:/docker/x\n";

    /// A `/proc` and a cgroup tree of our own; the process is number 77.
    struct Host {
        dir: tempfile::TempDir,
        hierarchy: Hierarchy,
    }

    fn host(cgroup_file: &str, directory: &str) -> Host {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("cgroup with blank");
        fs::create_dir_all(mount.join(directory)).unwrap();
        fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        fs::create_dir_all(dir.path().join("proc/77")).unwrap();
        let point = mount.to_str().unwrap().replace(' ', "\\040");
        let mountinfo = format!("30 23 0:26 / {point} rw - cgroup2 cgroup2 rw\n");
        fs::write(dir.path().join("proc/self/mountinfo"), mountinfo).unwrap();
        fs::write(dir.path().join("proc/77/cgroup"), cgroup_file).unwrap();
        let hierarchy = Hierarchy::below(&dir.path().join("proc")).unwrap();
        Host { dir, hierarchy }
    }

    #[track_caller]
    fn check_located(cgroup_file: &str, directory: &str) {
        let host = host(cgroup_file, directory);
        let found = host
            .hierarchy
            .locate(77, &ContainerId(ID.to_owned()))
            .unwrap();
        let expected = host.dir.path().join("cgroup with blank").join(directory);
        assert_eq!(found.directory, expected);
        assert_eq!(found.id.0, expected.metadata().unwrap().ino());
    }

    #[test]
    fn cgroup_is_the_containers_own_with_any_driver() {
        check_located(
            &format!("{V1_LINES}0::/docker/{ID}\n"),
            &format!("docker/{ID}"),
        );
        check_located(
            &format!("0::/system.slice/docker-{ID}.scope\n"),
            &format!("system.slice/docker-{ID}.scope"),
        );
        check_located(
            &format!("0::/models/gpu/{ID}\n"),
            &format!("models/gpu/{ID}"),
        );
    }

    #[test]
    fn process_in_a_nested_cgroup_belongs_to_the_container() {
        check_located(
            &format!("0::/docker/{ID}/sub/worker\n"),
            &format!("docker/{ID}"),
        );
        check_located(
            &format!("0::/system.slice/docker-{ID}.scope/init.scope\n"),
            &format!("system.slice/docker-{ID}.scope"),
        );
    }

    #[test]
    fn cgroup_that_is_not_the_containers_own_is_refused() {
        for path in ["/", "/system.slice/containerd.service", "/docker/0123"] {
            let host = host(&format!("0::{path}\n"), "docker/0123");
            let error = host
                .hierarchy
                .locate(77, &ContainerId(ID.to_owned()))
                .unwrap_err();
            assert!(matches!(error, CgroupError::Shared(_)), "{path}: {error}");
        }
        let host = host("0::/docker/4f1d\n", "docker/4f1d");
        let error = host
            .hierarchy
            .locate(77, &ContainerId("4f1d".to_owned()))
            .unwrap_err();
        assert!(matches!(error, CgroupError::Shared(_)), "short id: {error}");
    }

    #[test]
    fn foreign_namespace_is_told_with_the_next_step() {
        let host = host(&format!("0::/../{ID}\n"), "x");
        let error = host
            .hierarchy
            .locate(77, &ContainerId(ID.to_owned()))
            .unwrap_err();
        assert!(error.to_string().contains("--cgroupns=host"), "{error}");
    }

    #[test]
    fn ended_process_is_gone() {
        let host = host(&format!("0::/docker/{ID} (deleted)\n"), "docker");
        let id = ContainerId(ID.to_owned());
        for pid in [77, 78] {
            let error = host.hierarchy.locate(pid, &id).unwrap_err();
            assert!(matches!(error, CgroupError::Gone(_)), "{pid}: {error}");
        }
        fs::write(
            host.dir.path().join("proc/77/cgroup"),
            format!("0::/docker/{ID}\n"),
        )
        .unwrap();
        let error = host.hierarchy.locate(77, &id).unwrap_err();
        assert!(
            matches!(error, CgroupError::Gone(77)),
            "directory removed: {error}"
        );
    }

    #[test]
    fn own_container_is_recognised_but_not_its_neighbour() {
        let host = host(&format!("0::/docker/{ID}\n"), &format!("docker/{ID}"));
        let found = host
            .hierarchy
            .locate(77, &ContainerId(ID.to_owned()))
            .unwrap();
        let own = host.dir.path().join("proc/self/cgroup");
        for (path, expected) in [
            (format!("/docker/{ID}"), true),
            (format!("/docker/{ID}/sub"), true),
            (format!("/docker/{ID}0"), false),
            ("/".to_owned(), false),
        ] {
            fs::write(&own, format!("0::{path}\n")).unwrap();
            assert_eq!(
                host.hierarchy.holds_this_process(&found),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn mounts_of_hybrid_and_unified_hosts_are_found() {
        let points = |text| {
            cgroup2_mounts(text)
                .into_iter()
                .map(|mount| mount.point)
                .collect::<Vec<_>>()
        };
        assert_eq!(points(HYBRID), [Path::new("/sys/fs/cgroup/unified")]);
        assert_eq!(points(UNIFIED), [Path::new("/sys/fs/cgroup")]);
        assert!(points("35 31 0:32 / /m rw - cgroup cgroup rw,memory\nnonsense\n").is_empty());
    }

    #[test]
    fn path_is_taken_below_the_mount_that_shows_it() {
        let mount = |root: &str, point: &str| Mount {
            root: root.into(),
            point: point.into(),
        };
        let hierarchy = Hierarchy {
            procfs: PathBuf::from("/proc"),
            mounts: vec![mount("/docker", "/docker-only"), mount("/", "/all")],
        };
        let directory = |path| hierarchy.directory(path).unwrap();
        assert_eq!(directory("/docker/x"), Path::new("/docker-only/x"));
        assert_eq!(directory("/dockerish/x"), Path::new("/all/dockerish/x"));
        assert_eq!(hierarchy.root().as_deref(), Some(Path::new("/all")));
        let part = Hierarchy {
            procfs: PathBuf::from("/proc"),
            mounts: vec![mount("/docker", "/docker-only")],
        };
        assert_eq!(part.root(), None);
    }

    #[test]
    fn this_machine_has_a_hierarchy_and_this_process_a_place_in_it() {
        let hierarchy = Hierarchy::find().unwrap();
        let path = hierarchy.path_of("self", 0).unwrap();
        assert!(hierarchy.directory(&path).unwrap().is_dir(), "{path}");
    }
}
