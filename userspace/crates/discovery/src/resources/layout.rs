//! Where the controllers of a container's cgroup are: each in a hierarchy of
//! its own (v1), all in one (v2), or some here and some there (hybrid).

use std::path::{Path, PathBuf};

use modeltap_core::container::ContainerId;

use crate::cgroup::{
    self, CgroupError, MAX_CGROUP_BYTES, MAX_MOUNTINFO_BYTES, Mount, container_path, directory,
};

/// The hierarchies that are mounted here.
#[derive(Clone, Debug)]
pub(super) struct Hierarchies {
    procfs: PathBuf,
    /// With the options of each, among which its controllers are.
    v1: Vec<(String, Mount)>,
    unified: Vec<Mount>,
}

/// A container's directories. One that is not there, or that the container
/// shares with others, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) cpu: Option<PathBuf>,
    pub(super) cpuacct: Option<PathBuf>,
    pub(super) memory: Option<PathBuf>,
    pub(super) blkio: Option<PathBuf>,
    pub(super) pids: Option<PathBuf>,
    /// In the v2 hierarchy, which every controller has that is in no v1 one.
    pub(super) unified: Option<PathBuf>,
}

impl Hierarchies {
    /// Finds what is mounted, as `procfs` tells.
    pub(super) fn below(procfs: &Path) -> Result<Self, CgroupError> {
        let mountinfo = cgroup::read(&procfs.join("self/mountinfo"), MAX_MOUNTINFO_BYTES)?;
        Ok(Self {
            procfs: procfs.to_owned(),
            v1: cgroup::v1_mounts(&mountinfo)
                .map(|(options, mount)| (options.to_owned(), mount))
                .collect(),
            unified: cgroup::cgroup2_mounts(&mountinfo),
        })
    }

    /// The directories of the container `id`, one of whose processes is `pid`.
    pub(super) fn places(&self, pid: u32, id: &ContainerId) -> Result<Places, CgroupError> {
        let file = self.procfs.join(pid.to_string()).join("cgroup");
        let cgroups = cgroup::read(&file, MAX_CGROUP_BYTES)?;
        let mut places = Places::default();
        for line in cgroups.lines() {
            // `4:memory:/docker/ID`; the v2 hierarchy has no controllers.
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            let Ok(path) = container_path(path, id) else {
                continue;
            };
            if controllers.is_empty() {
                places.unified = directory(&self.unified, &path);
                continue;
            }
            for controller in controllers.split(',') {
                let place = match controller {
                    "cpu" => &mut places.cpu,
                    "cpuacct" => &mut places.cpuacct,
                    "memory" => &mut places.memory,
                    "blkio" => &mut places.blkio,
                    "pids" => &mut places.pids,
                    _ => continue,
                };
                *place = directory(self.mounts_of(controller), &path);
            }
        }
        Ok(places)
    }

    fn mounts_of(&self, controller: &str) -> impl Iterator<Item = &Mount> {
        self.v1
            .iter()
            .filter(move |(options, _)| options.split(',').any(|option| option == controller))
            .map(|(_, mount)| mount)
    }
}
