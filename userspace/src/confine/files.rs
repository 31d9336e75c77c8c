//! Landlock: which files are read and written, and which ports connected to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, bail};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

/// What is asked for; a kernel that knows less gives what it has. Later ones
/// may also restrict connecting to UNIX sockets: Docker's would be refused.
const VERSION: ABI = ABI::V7;

/// Folders and files that are read: what the kernel tells, names and
/// certificates for notifiers, libraries that are loaded when they are needed
/// (NVML, name services).
const READ: [&str; 10] = [
    "/proc",
    "/sys",
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    // Where /etc/resolv.conf leads to.
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/dev/urandom",
];
/// Variables that name certificates.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
/// Devices have names that begin so.
const GPU: &str = "nvidia";

/// What the daemon goes on using.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Folders whose files are made, written, renamed and removed.
    pub written: Vec<PathBuf>,
    /// TCP ports that may be connected to; `None` is any.
    pub ports: Option<BTreeSet<u16>>,
}

/// Confines this thread to `places`.
///
/// # Errors
/// The kernel has no Landlock, or not all of it is enforced.
pub(super) fn confine(places: &Places) -> anyhow::Result<()> {
    let mut rules = ruleset(places)?;
    for path in READ.iter().map(PathBuf::from).chain(also_read()) {
        rules = allow(rules, &path, AccessFs::ReadFile | AccessFs::ReadDir)?;
    }
    for path in libraries() {
        rules = allow(rules, &path, AccessFs::ReadFile | AccessFs::ReadDir)?;
    }
    // The daemon starts itself to try a history file, and the kernel starts
    // the dynamic linker for it.
    for path in program() {
        rules = allow(rules, &path, AccessFs::ReadFile | AccessFs::Execute)?;
    }
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    for path in devices() {
        rules = allow(rules, &path, device)?;
    }
    for path in &places.written {
        rules = allow(rules, path, writing())?;
    }
    for port in places.ports.iter().flatten() {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    let status = rules.restrict_self().context("the kernel refuses")?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => {
            bail!("this kernel has an older one, which leaves a part of it out")
        }
        RulesetStatus::NotEnforced => bail!("this kernel has none"),
    }
}

fn ruleset(places: &Places) -> anyhow::Result<RulesetCreated> {
    let mut network = BitFlags::from(AccessNet::BindTcp);
    if places.ports.is_some() {
        network |= AccessNet::ConnectTcp;
    }
    Ruleset::default()
        .handle_access(AccessFs::from_all(VERSION))?
        .handle_access(network)?
        .scope(Scope::from_all(VERSION))?
        .create()
        .context("cannot make the rules")
}

/// What history takes: plain files and folders.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::Refer
}

/// Allows `access` below `path`; one that is not there needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: impl Into<BitFlags<AccessFs>>,
) -> anyhow::Result<RulesetCreated> {
    let Ok(opened) = PathFd::new(path) else {
        return Ok(rules);
    };
    let mut access = access.into();
    if !path.is_dir() {
        access &= AccessFs::from_file(VERSION);
    }
    rules
        .add_rule(PathBeneath::new(opened, access))
        .with_context(|| format!("no rule can be made for {:?}", path.display()))
}

fn also_read() -> impl Iterator<Item = PathBuf> {
    let certificates = CERTIFICATES.iter().filter_map(env::var_os);
    let certificates = certificates.map(PathBuf::from);
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let cgroups: Vec<_> = cgroup_mounts(&mountinfo).map(PathBuf::from).collect();
    certificates.chain(cgroups)
}

/// Where hierarchies of cgroups are mounted, which may be outside of `/sys`.
fn cgroup_mounts(mountinfo: &str) -> impl Iterator<Item = &str> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let is_cgroup = filesystem.starts_with("cgroup ") || filesystem.starts_with("cgroup2 ");
        is_cgroup.then(|| mount.split(' ').nth(4)).flatten()
    })
}

fn devices() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let gpus = entries
        .map(|entry| entry.path())
        .filter(|path| file_name(path).starts_with(GPU));
    gpus.chain([PathBuf::from("/dev/null")]).collect()
}

/// Folders of the libraries that this process is made of.
fn libraries() -> Vec<PathBuf> {
    let folders = mapped_files().into_iter();
    let mut folders: Vec<PathBuf> = folders
        .filter(|path| file_name(path).contains(".so"))
        .filter_map(|path| path.parent().map(Path::to_owned))
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

/// The program and its dynamic linker.
fn program() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = mapped_files()
        .into_iter()
        .filter(|path| file_name(path).starts_with("ld-"))
        .collect();
    paths.extend(env::current_exe());
    paths
}

fn mapped_files() -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut paths: Vec<PathBuf> = maps.lines().filter_map(mapped_file).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// The file of a line of `/proc/PID/maps`.
fn mapped_file(line: &str) -> Option<PathBuf> {
    let path = line.find('/').map(|start| &line[start..])?;
    Some(path.into())
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;
    use crate::confine::privileges::promise;

    /// Runs `work` on a thread that is confined to `places`.
    fn confined(places: &Places, work: impl FnOnce() + Send) {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                promise().unwrap();
                match confine(places) {
                    Ok(()) => work(),
                    Err(lack) if env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{lack}"),
                    Err(lack) => eprintln!("skipped: {lack}"),
                }
            });
            thread.join().unwrap();
        });
    }

    #[test]
    fn only_history_is_written_and_only_receivers_are_connected_to() {
        let [own, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [known, unknown] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [known, unknown] = [known, unknown].map(|socket| socket.local_addr().unwrap());
        fs::write(other.path().join("secret"), "x").unwrap();
        let places = Places {
            written: vec![own.path().to_owned()],
            ports: Some(BTreeSet::from([known.port()])),
        };
        confined(&places, || {
            fs::write(own.path().join("a"), "x").unwrap();
            fs::rename(own.path().join("a"), own.path().join("b")).unwrap();
            fs::remove_file(own.path().join("b")).unwrap();
            fs::read_to_string("/proc/1/cgroup").unwrap();
            fs::read_to_string("/etc/hostname").unwrap();
            for refused in [
                File::create(other.path().join("new")).err(),
                File::open(other.path().join("secret")).err(),
                File::create("/etc/modeltap-test").err(),
                fs::read_dir(other.path()).err(),
            ] {
                let kind = refused.map(|error| error.kind());
                assert_eq!(kind, Some(ErrorKind::PermissionDenied));
            }
            // Refused before it is tried: nobody listens any more.
            let tried = |address| TcpStream::connect(address).map_err(|error| error.kind());
            assert_eq!(tried(known).err(), Some(ErrorKind::ConnectionRefused));
            assert_eq!(tried(unknown).err(), Some(ErrorKind::PermissionDenied));
            let bound = TcpListener::bind("127.0.0.1:0").map_err(|error| error.kind());
            assert_eq!(bound.err(), Some(ErrorKind::PermissionDenied));
        });
    }

    #[test]
    fn hierarchies_of_cgroups_are_found_wherever_they_are_mounted() {
        let mountinfo = "\
35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /elsewhere/unified rw shared:4 master:1 - cgroup2 cgroup2 rw
42 31 0:39 / /data rw - ext4 /dev/cgroup rw
";
        let found: Vec<_> = cgroup_mounts(mountinfo).collect();
        assert_eq!(found, ["/sys/fs/cgroup/memory", "/elsewhere/unified"]);
    }

    #[test]
    fn own_program_and_its_linker_are_known() {
        let found = program();
        assert!(found.contains(&env::current_exe().unwrap()), "{found:?}");
        assert!(found.len() > 1, "{found:?}");
        let line = "7f0-7f1 r-xp 00000000 fe:00 12 /usr/lib/a folder/libx.so.1";
        let expected = Path::new("/usr/lib/a folder/libx.so.1");
        assert_eq!(mapped_file(line).as_deref(), Some(expected));
        assert_eq!(mapped_file("7f0-7f1 r-xp 00000000 00:00 0 [vdso]"), None);
    }
}
