//! Capabilities, and the promise never to gain any.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What looking at other users' processes takes: their folders in `/proc` are
/// theirs alone, and what is in them is for who may trace them.
const TO_LOOK: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

/// What measuring BPF programs takes; without it, only the daemon's own time
/// counts as what it costs.
const TO_MEASURE: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// The first kernel, by major and minor version, that asks for no capability
/// where a process uses maps that it has (commit c8644cd0efe7).
const MAPS_ARE_FREE_SINCE: (u32, u32) = (5, 19);

/// Drops every capability from every set, but for what is needed on this
/// host; gives the names of these.
///
/// `written` are files and folders that have to stay writable.
///
/// # Errors
/// The kernel refuses; capabilities may be left.
pub(super) fn drop_all(written: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut keep = CapabilitySet::empty();
    let sysctl = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease");
    if maps_need_capability(
        &release.unwrap_or_default(),
        sysctl.unwrap_or_default().trim(),
    ) {
        keep |= CapabilitySet::BPF;
    }
    let mut sets = capabilities(None).context("cannot read the capabilities")?;
    let had = sets.permitted;
    keep &= had;
    // As it will be: who owns a file decides.
    sets.effective = keep;
    set_capabilities(None, sets).context("cannot set the capabilities")?;
    if let Some(path) = written.iter().find(|path| is_refused(path)) {
        keep |= had & CapabilitySet::DAC_OVERRIDE;
        tracing::info!(
            path = %path.display(),
            "CAP_DAC_OVERRIDE is kept: another user owns what is written"
        );
    }
    keep_only(keep, had)?;
    Ok(names(keep))
}

/// Drops all but what looking and measuring take.
///
/// # Errors
/// The kernel refuses.
pub(super) fn keep_to_look() -> anyhow::Result<()> {
    let had = capabilities(None).context("cannot read the capabilities")?;
    keep_only(had.permitted & (TO_LOOK | TO_MEASURE), had.permitted)
}

/// What this process lacks to start a clerk that can look, if anything.
pub(super) fn lacking_to_look() -> Option<String> {
    let had = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    let lacking = names(TO_LOOK - had);
    (!lacking.is_empty()).then(|| format!("it was started without {}", lacking.join(" and ")))
}

/// No program that is started from here gains a privilege.
///
/// # Errors
/// The kernel is older than Linux 3.5.
pub(super) fn promise() -> io::Result<()> {
    set_no_new_privs(true).map_err(Into::into)
}

fn keep_only(keep: CapabilitySet, had: CapabilitySet) -> anyhow::Result<()> {
    let all_effective = CapabilitySets {
        effective: had,
        permitted: had,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, all_effective).context("cannot set the capabilities")?;
    clear_ambient_capability_set().context("cannot clear the ambient set")?;
    // Without CAP_SETPCAP it stays; nothing can be gained from it under
    // no_new_privs.
    if had.contains(CapabilitySet::SETPCAP) {
        drop_bounding(keep).context("cannot drop the bounding set")?;
    }
    let kept = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, kept).context("cannot drop the capabilities")
}

fn drop_bounding(keep: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if keep.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Behind the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether using a map takes CAP_BPF on a kernel of this release, where
/// `unprivileged_bpf_disabled` is this.
fn maps_need_capability(release: &str, sysctl: &str) -> bool {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    let version = numbers.next().zip(numbers.next());
    version.is_none_or(|version| version < MAPS_ARE_FREE_SINCE) && sysctl != "0"
}

/// Whether a file or folder may not be written without a capability. One that
/// is not there is somebody else's error.
fn is_refused(path: &Path) -> bool {
    let access = if path.is_dir() {
        Access::WRITE_OK | Access::EXEC_OK
    } else {
        Access::WRITE_OK
    };
    matches!(
        accessat(CWD, path, access, AtFlags::EACCESS),
        Err(Errno::ACCESS | Errno::PERM)
    )
}

fn names(set: CapabilitySet) -> Vec<String> {
    set.iter_names()
        .map(|(name, _)| format!("CAP_{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_for_maps_is_kept_only_on_kernels_that_ask_for_it() {
        for (release, sysctl, needed) in [
            ("5.15.0-91-generic", "2", true),
            ("5.15.0-91-generic", "1", true),
            ("5.15.0-91-generic", "0", false),
            ("5.18.19", "2", true),
            ("5.19.0", "2", false),
            ("6.1.0-18-amd64", "2", false),
            ("10.0-rc1", "2", false),
            // Better one too many than a daemon that counts nothing.
            ("", "2", true),
        ] {
            let found = maps_need_capability(release, sysctl);
            assert_eq!(found, needed, "{release:?} with {sysctl:?}");
        }
    }

    #[test]
    fn capabilities_have_their_usual_names() {
        assert_eq!(names(TO_LOOK), ["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"]);
    }
}
