//! The kernel's small files, opened once and read again and again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes read of a file: `memory.stat` has 1.5 KB, `net/dev` of a
/// container 0.5 KB. What is beyond is not looked at.
const BUFFER_BYTES: usize = 16 << 10;
/// Most descriptors kept open, whatever the process may open.
const MAX_KEPT: usize = 32_768;

/// How many descriptors may be kept open; without one left a file is opened
/// for every look, which costs some microseconds more.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// Half of what this process may open: connections need the rest.
    pub(super) fn of_this_process(procfs: &Path) -> Self {
        let limits = fs::read_to_string(procfs.join("self/limits")).unwrap_or_default();
        Self::new(soft_limit(&limits).unwrap_or(1_024) / 2)
    }

    pub(super) fn new(n_descriptors: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(n_descriptors.min(MAX_KEPT))))
    }

    fn take(&self) -> bool {
        let left = |left: usize| left.checked_sub(1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .is_ok()
    }
}

/// The soft limit of open files; nothing where there is none.
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    let soft = line["Max open files".len()..]
        .split_ascii_whitespace()
        .next()?;
    Some(soft.parse().unwrap_or(usize::MAX))
}

/// How the kernel writes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// In one piece, as every file of cgroups (`seq_show` without a
    /// `seq_next`): one read gets all of it.
    Whole,
    /// Piece by piece: reads go on until nothing comes.
    Pieces,
}

/// A file that is read again and again from its beginning, which makes the
/// kernel write it anew.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    file: Option<File>,
    shape: Shape,
    budget: Budget,
}

impl Kept {
    /// Opens a file of a cgroup's `directory`.
    pub(super) fn open(directory: &Path, name: &str, budget: &Budget) -> io::Result<Self> {
        Self::shaped(directory.join(name), Shape::Whole, budget)
    }

    /// Opens a file of some shape.
    pub(super) fn shaped(path: PathBuf, shape: Shape, budget: &Budget) -> io::Result<Self> {
        let file = File::open(&path)?;
        Ok(Self {
            path,
            file: budget.take().then_some(file),
            shape,
            budget: budget.clone(),
        })
    }

    /// Reads all of it.
    pub(super) fn read<'a>(&self, buffer: &'a mut Buffer) -> io::Result<&'a str> {
        match &self.file {
            Some(file) => buffer.fill(file, self.shape),
            None => buffer.fill(&File::open(&self.path)?, self.shape),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.file.is_some() {
            self.budget.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where files are read to; one serves for all.
#[derive(Debug)]
pub(super) struct Buffer(Box<[u8]>);

impl Buffer {
    pub(super) fn new() -> Self {
        Self(vec![0; BUFFER_BYTES].into_boxed_slice())
    }

    fn fill(&mut self, file: &File, shape: Shape) -> io::Result<&str> {
        let mut filled = 0;
        while filled < self.0.len() {
            match file.read_at(&mut self.0[filled..], filled as u64) {
                Ok(0) => break,
                Ok(n_bytes) => {
                    filled += n_bytes;
                    if shape == Shape::Whole {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // What is not text ends what is looked at, and so does a line that
        // does not fit.
        let bytes = &self.0[..filled];
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        };
        let is_cut = filled == self.0.len();
        Ok(match text.rfind('\n') {
            Some(end) if is_cut => &text[..end],
            _ => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    #[test]
    fn file_is_read_anew_from_one_descriptor_or_without_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1\n").unwrap();
        let budget = Budget::new(1);
        let kept = Kept::open(dir.path(), "a", &budget).unwrap();
        let opened = Kept::open(dir.path(), "a", &budget).unwrap();
        assert!(kept.file.is_some() && opened.file.is_none());
        let mut buffer = Buffer::new();
        for text in ["1\n", "23\n"] {
            fs::write(dir.path().join("a"), text).unwrap();
            assert_eq!(kept.read(&mut buffer).unwrap(), text);
            assert_eq!(opened.read(&mut buffer).unwrap(), text);
        }
        drop(kept);
        let again = Kept::open(dir.path(), "a", &budget).unwrap();
        assert!(again.file.is_some(), "the descriptor came back");
        fs::remove_file(dir.path().join("a")).unwrap();
        assert!(opened.read(&mut buffer).is_err());
    }

    #[test]
    fn long_and_foreign_contents_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "line\n".repeat(10_000)).unwrap();
        let kept = Kept::open(dir.path(), "a", &Budget::new(1)).unwrap();
        let mut buffer = Buffer::new();
        let text = kept.read(&mut buffer).unwrap();
        assert!(text.len() < BUFFER_BYTES && text.lines().all(|line| line == "line"));

        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        file.write_all(b"good 1\nba\xffd 2\n").unwrap();
        assert_eq!(kept.read(&mut buffer).unwrap(), "good 1\nba");
    }

    #[test]
    fn soft_limit_is_the_first_number() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(limits), Some(1_024));
        assert_eq!(
            soft_limit("Max open files            unlimited   x"),
            Some(usize::MAX)
        );
        assert_eq!(soft_limit(""), None);
    }
}
