//! What is the daemon's own beside its socket: a lock, and the name of this instance.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::sys::lock::{Lock, LockError};

/// The directory of state, held for as long as this lives.
#[derive(Debug)]
pub(super) struct State {
    _lock: Lock,
    /// Names this run of the daemon in cursors and to workers.
    pub(super) instance: String,
}

/// The state cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    /// The directory cannot be made.
    #[error("failed to make the state directory '{}': {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// Others could put something there.
    #[error("the state directory '{}' belongs to the user with uid {uid}, or others may write to it", path.display())]
    Foreign { path: PathBuf, uid: u32 },
    /// Another daemon has it.
    #[error(transparent)]
    Locked(#[from] LockError),
}

impl State {
    /// Takes the directory, which is made if it is not there.
    pub(super) fn take(path: &Path) -> Result<State, StateError> {
        let failed = |source| StateError::Directory {
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            // The socket is there, too: who may pass is then a matter of its permissions. A user's
            // own directory may lie where others can write, and is nobody else's to look into.
            let mode = if nix::unistd::geteuid().is_root() {
                0o755
            } else {
                0o700
            };
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(parent)
                .map_err(failed)?;
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let found = std::fs::symlink_metadata(path).map_err(failed)?;
        let ours = found.uid() == nix::unistd::geteuid().as_raw();
        if !found.is_dir() || !ours || found.mode() & 0o022 != 0 {
            return Err(StateError::Foreign {
                path: path.to_owned(),
                uid: found.uid(),
            });
        }
        let lock = Lock::take(&path.join("lock"))?;
        Ok(State {
            _lock: lock,
            instance: new_instance(),
        })
    }
}

/// 64 random bits as hexadecimal digits.
fn new_instance() -> String {
    format!("{:016x}", fastrand::u64(..))
}
