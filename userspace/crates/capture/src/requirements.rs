//! What the kernel must offer, checked before anything is loaded, so that an
//! error names the missing feature and not a number.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::loader::LoadError;

const BTF: &str = "/sys/kernel/btf/vmlinux";
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// Bits of `CapEff`: either CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON.
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// Checks privileges, BTF, tracefs and every tracepoint.
pub fn check(tracepoints: &[&str]) -> Result<(), LoadError> {
    if !has_privileges() {
        return Err(LoadError::NotPrivileged);
    }
    if !Path::new(BTF).exists() {
        return Err(LoadError::NoBtf);
    }
    let tracefs = tracefs()?;
    for tracepoint in tracepoints {
        if !tracefs
            .join("events/syscalls")
            .join(tracepoint)
            .join("id")
            .exists()
        {
            return Err(LoadError::NoTracepoint {
                name: format!("syscalls:{tracepoint}"),
            });
        }
    }
    Ok(())
}

fn has_privileges() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0);
    effective & CAP_SYS_ADMIN != 0 || effective & (CAP_BPF | CAP_PERFMON) == CAP_BPF | CAP_PERFMON
}

/// Where tracefs is mounted; mounts it at its usual place if it is nowhere.
fn tracefs() -> Result<PathBuf, LoadError> {
    let mounted = || {
        TRACEFS
            .iter()
            .map(PathBuf::from)
            .find(|path| path.join("events").is_dir())
    };
    if let Some(path) = mounted() {
        return Ok(path);
    }
    mount_tracefs().map_err(|source| LoadError::NoTracefs { source })?;
    tracing::info!(path = TRACEFS[0], "tracefs was not mounted and is now");
    mounted().ok_or_else(|| LoadError::NoTracefs {
        source: io::ErrorKind::NotFound.into(),
    })
}

fn mount_tracefs() -> io::Result<()> {
    let kind = CString::new("tracefs").expect("no zero byte in it");
    let target = CString::new(TRACEFS[0]).expect("no zero byte in it");
    // SAFETY: all strings end in a zero byte and tracefs takes no data.
    let result = unsafe {
        libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
