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
    #[error("the directory '{}' belongs to the user with uid {uid}, or others may write to it", path.display())]
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
            make_parent(parent).map_err(failed)?;
            if parent.parent().is_some_and(anybody_can_write) {
                check_ours(parent)?;
            }
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        check_ours(path)?;
        let lock = Lock::take(&path.join("lock"))?;
        Ok(State {
            _lock: lock,
            instance: new_instance(),
        })
    }
}

/// Makes the directory of the socket and the state. Who may pass there is a matter of the socket's
/// permissions; but a user's own may lie in /tmp, and is for nobody else to look into.
fn make_parent(path: &Path) -> io::Result<()> {
    let mode = match nix::unistd::geteuid().is_root() {
        true => 0o755,
        false => 0o700,
    };
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Whether what is in there may have been put there by somebody else: /tmp, as a rule.
fn anybody_can_write(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.mode() & 0o002 != 0)
}

fn check_ours(path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Directory {
        path: path.to_owned(),
        source,
    };
    let found = std::fs::symlink_metadata(path).map_err(failed)?;
    let ours = found.uid() == nix::unistd::geteuid().as_raw();
    if found.is_dir() && ours && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(StateError::Foreign {
        path: path.to_owned(),
        uid: found.uid(),
    })
}

/// 64 random bits as hexadecimal digits.
fn new_instance() -> String {
    format!("{:016x}", fastrand::u64(..))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_others_may_have_made_is_refused_where_everybody_can_write() {
        let place = tempfile::tempdir().unwrap();
        let (public, private) = (place.path().join("public"), place.path().join("private"));
        for (directory, mode) in [(&public, 0o1777), (&private, 0o755)] {
            let parent = directory.join("circusd");
            fs::create_dir_all(&parent).unwrap();
            fs::set_permissions(&parent, Permissions::from_mode(0o777)).unwrap();
            fs::set_permissions(directory, Permissions::from_mode(mode)).unwrap();
        }
        let take = |directory: &Path| State::take(&directory.join("circusd/state"));
        let refused = take(&public).unwrap_err();
        assert!(matches!(refused, StateError::Foreign { .. }), "{refused}");
        take(&private).unwrap();
        assert!(State::take(&public.join("ours/state")).is_ok());
    }
}
