//! What is the daemon's own beside its socket: a lock, and the name of this instance.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::sys::lock::{Lock, LockError};

/// The directory of state, held for as long as this lives.
#[derive(Debug)]
pub(super) struct State {
    _lock: Lock,
    /// Names this run of the daemon in cursors and to workers.
    pub(super) instance: String,
    /// The name of the run before this one, if it left one.
    pub(super) previous: Option<String>,
    /// Where the notify sockets of workers are.
    notify: PathBuf,
}

/// The state cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    /// The directory cannot be made.
    #[error("failed to make the directory '{}'", path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// Others could put something there.
    #[error("the directory '{}' belongs to the user with uid {uid}, or is open to others, or is none", path.display())]
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
        let instance = new_instance();
        let file = path.join("instance");
        let previous = std::fs::read_to_string(&file)
            .ok()
            .filter(|name| is_instance(name));
        std::fs::write(&file, &instance).map_err(failed)?;
        let notify = path.join("notify");
        make_notify(&notify).map_err(failed)?;
        pass_through(path).map_err(failed)?;
        Ok(State {
            _lock: lock,
            instance,
            previous,
            notify,
        })
    }

    /// What the paths of the notify sockets of this run begin with.
    pub(super) fn notify(&self) -> PathBuf {
        self.notify.join(format!("{}.", self.instance))
    }
}

/// Makes the directory for notify sockets anew: what a killed daemon has left there nobody listens to.
fn make_notify(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(path)?;
    pass_through(path)
}

/// Lets workers of other users, which only root has, reach what they know the name of.
fn pass_through(path: &Path) -> io::Result<()> {
    match nix::unistd::geteuid().is_root() {
        true => std::fs::set_permissions(path, Permissions::from_mode(0o711)),
        false => Ok(()),
    }
}

/// Makes the directory of the socket and the state. Where root runs circusd, who may pass there is a
/// matter of the socket's permissions; a user's own is for nobody else to look into.
fn make_parent(path: &Path) -> io::Result<()> {
    let mode = match nix::unistd::geteuid().is_root() {
        true => 0o755,
        false => 0o700,
    };
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Makes the directory of a user without a session, or sees to it that what is there is the
/// user's own. In /tmp anybody could have made it, to be in the place of the daemon's socket.
///
/// # Errors
///
/// It cannot be made, or is somebody else's.
pub(super) fn take_private(path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Directory {
        path: path.to_owned(),
        source,
    };
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    // What is found to be ours now stays so: nobody else may take it out of a sticky directory.
    let found = std::fs::symlink_metadata(path).map_err(failed)?;
    let ours = found.uid() == nix::unistd::geteuid().as_raw();
    match found.is_dir() && ours && found.mode() & 0o077 == 0 {
        true => Ok(()),
        false => Err(StateError::Foreign {
            path: path.to_owned(),
            uid: found.uid(),
        }),
    }
}

/// Whether it is a name that we have given: nothing else may become part of a path.
fn is_instance(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// 64 random bits as hexadecimal digits.
fn new_instance() -> String {
    format!("{:016x}", fastrand::u64(..))
}
