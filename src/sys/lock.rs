//! A file that one process at a time may hold, for as long as it lives: flock(2).
//!
//! The lock belongs to the open file, so it ends with us however we end, and a file left behind locks nobody
//! out. The pid in the file is for people; it decides nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else has it.
    #[error("'{}' is held by {}", path.display(), holder(*pid))]
    Held {
        /// The file.
        path: PathBuf,
        /// Who says to hold it; `None` when it has not said so yet.
        pid: Option<Pid>,
    },
    /// The file could not be opened, locked or written.
    #[error("failed to lock '{}'", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn holder(pid: Option<Pid>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

/// A lock held; released when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock on the file at `path`, which is made if it is missing, and writes our pid into it.
    ///
    /// Does not wait. The file is never removed: another could hold the lock on the removed one.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`]; otherwise what opening gave. A symbolic link is not followed (`ELOOP`).
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        loop {
            let file = open(path).map_err(failed)?;
            let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((mut file, Errno::EWOULDBLOCK)) => {
                    return Err(LockError::Held {
                        path: path.to_owned(),
                        pid: read_pid(&mut file),
                    });
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            };
            // Somebody may have removed the file between our opening and our locking it.
            if is_at(&file, path).map_err(failed)? {
                write_pid(&mut file).map_err(failed)?;
                return Ok(Self { _file: file });
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        // Whoever may read it may lock it (flock(2)).
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", Pid::this())
}

fn read_pid(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::spawn::spawn;
    use crate::sys::testing::{script, wait};

    #[test]
    fn the_second_is_told_who_is_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err();
        let expected = format!("'{}' is held by process {}", path.display(), Pid::this());
        assert_eq!(error.to_string(), expected);
        drop(lock);
        drop(Lock::take(&path).unwrap());
    }

    #[test]
    fn a_worker_does_not_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::take(&path).unwrap();
        let worker = spawn(&script("exec sleep 1000"), &[], None).unwrap();
        drop(lock);
        drop(Lock::take(&path).unwrap());
        worker.pidfd.signal(libc::SIGKILL).unwrap();
        wait(&worker);
    }

    #[test]
    fn a_link_is_not_followed_and_a_missing_directory_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("target"), &link).unwrap();
        for path in [link, dir.path().join("none/lock")] {
            let error = Lock::take(&path).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("failed to lock '{}'", path.display())
            );
        }
    }
}
