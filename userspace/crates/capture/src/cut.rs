//! The process's `ftruncate(2)`, which asks before it tells of a failure.
//!
//! DuckDB 1.5 takes a failed commit back by cutting its log, inside a function
//! that may throw nothing (`DuckTransaction::Commit` is `noexcept`). Where the
//! disk turned read-only between the commit's first write and the end of its
//! `fsync`, cutting fails as well, and what is thrown then ends the process by
//! `std::terminate`. Nothing can catch that, so the failure must not reach it.
//!
//! A program's own functions come before the C library's for every library it
//! is linked with, so this one is called in its place.

use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use libc::{c_int, off_t};

/// Tells whether it takes a failure over: the caller is told of success then.
pub type TakesOver = fn(RawFd) -> bool;

static TAKES_OVER: OnceLock<TakesOver> = OnceLock::new();

/// From now on `takes_over` is asked about each file that cannot be cut. The
/// first one that is given stays; without any, every failure is told.
///
/// Gives whether libraries call this function at all: a linker may keep it to
/// itself.
pub fn ask_on_failure(takes_over: TakesOver) -> bool {
    let _first_stays = TAKES_OVER.set(takes_over);
    // SAFETY: the name ends with a zero, and is only looked up.
    let called = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"ftruncate".as_ptr()) };
    std::ptr::eq(called, ftruncate as *const libc::c_void)
}

/// Sets a file's length, as the C library's function of this name does.
// SAFETY: name, arguments and meaning are those that POSIX gives it.
#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    // SAFETY: the call takes two numbers, and touches no memory.
    if unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) } == 0 {
        return 0;
    }
    let error = io::Error::last_os_error();
    if TAKES_OVER.get().is_some_and(|takes_over| takes_over(fd)) {
        return 0;
    }
    // SAFETY: each thread has a place of its own, for as long as it lives.
    unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::EIO) };
    -1
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicI32, Ordering};

    use super::*;

    static TAKEN_OVER: AtomicI32 = AtomicI32::new(-1);

    fn cut(file: &File, length: off_t) -> Result<(), Option<i32>> {
        // SAFETY: the call takes two numbers, and touches no memory.
        match unsafe { libc::ftruncate(file.as_raw_fd(), length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error().raw_os_error()),
        }
    }

    #[test]
    fn failure_is_told_unless_it_is_taken_over() {
        let path = std::env::temp_dir().join(format!("modeltap-cut-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        file.write_all(b"12345678").unwrap();
        assert_eq!(cut(&file, 3), Ok(()));
        assert_eq!(std::fs::read(&path).unwrap(), b"123");
        let [read_only, other] = [(); 2].map(|()| File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(cut(&read_only, 1), Err(Some(libc::EINVAL)));
        TAKEN_OVER.store(read_only.as_raw_fd(), Ordering::Relaxed);
        let _is_called = ask_on_failure(|fd| fd == TAKEN_OVER.load(Ordering::Relaxed));
        assert_eq!(cut(&read_only, 1), Ok(()));
        assert_eq!(cut(&other, 1), Err(Some(libc::EINVAL)));
    }
}
