//! What is the daemon's own beside its socket: a lock, the name of this instance, and what the next
//! daemon goes on with.

mod history;
mod records;

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use std::time::Duration;

use nix::unistd::Pid;

use crate::server::streams;
use crate::sys::lock::{Lock, LockError};
use crate::sys::process::{self, Process};

pub(super) use history::{History, Past};
use records::ReadError;
pub(super) use records::{Everything, KeptFreed, KeptHome, KeptPlace, Left, MadeFrom, Records};

/// How often the lock of a dead daemon is tried, and the pause in between: two seconds in all.
const LOCK_TRIES: u32 = 400;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The directory of state, held for as long as this lives.
#[derive(Debug)]
pub(super) struct State {
    _lock: Lock,
    directory: PathBuf,
    /// Names the daemon in cursors and to workers, from its first start until it has stopped all,
    /// however often it is restarted or killed in between.
    pub(super) instance: String,
    /// The name of an instance that left something with which we cannot go on.
    pub(super) previous: Option<String>,
    /// What the run before this one has left.
    pub(super) left: Option<Left>,
    /// The last events of that.
    pub(super) past: Vec<Past>,
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
        let lock = take_lock(&path.join("lock"))?;
        let file = path.join("instance");
        let previous = std::fs::read_to_string(&file).ok();
        let previous = previous.filter(|name| is_instance(name));
        let (instance, left) = match records::read(&path.join("state")) {
            Ok(Some((head, left))) if is_instance(&head.instance) => (head.instance, Some(left)),
            Ok(_) => (new_instance(), None),
            Err(error) => {
                refuse(&error);
                (new_instance(), None)
            }
        };
        let previous = previous.filter(|name| *name != instance);
        let past = match &left {
            Some(_) => history::read(path),
            None => Vec::new(),
        };
        std::fs::write(&file, &instance).map_err(failed)?;
        let notify = path.join("notify");
        make_notify(&notify).map_err(failed)?;
        pass_through(path).map_err(failed)?;
        Ok(State {
            _lock: lock,
            directory: path.to_owned(),
            instance,
            previous,
            left,
            past,
            notify,
        })
    }

    /// What the paths of the notify sockets of this instance begin with.
    pub(super) fn notify(&self) -> PathBuf {
        self.notify.join(format!("{}.", self.instance))
    }

    /// What the paths of the directories begin with in which workers of this instance find their
    /// credentials.
    pub(super) fn credentials(&self) -> PathBuf {
        self.directory
            .join("credentials")
            .join(format!("{}.", self.instance))
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Begins to write down what comes.
    ///
    /// # Errors
    ///
    /// The files cannot be made.
    pub(super) fn begin(&self) -> io::Result<(Records, History)> {
        let history = History::begin(&self.directory, &self.past)?;
        Ok((Records::begin(&self.directory, &self.instance)?, history))
    }
}

/// Makes the directory for notify sockets anew: what a killed daemon has left there nobody listens to.
fn make_notify(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make_passage(path)
}

/// Makes a directory in which workers reach what they know the name of.
pub(super) fn make_passage(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    pass_through(path)
}

/// The same where it may be there already: a daemon has made it at its start, a guest makes it when
/// somebody needs it, and in /tmp anybody could have.
pub(super) fn make_passage_of_ours(path: &Path) -> io::Result<()> {
    match make_passage(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = std::fs::symlink_metadata(path)?;
    let ours = found.uid() == nix::unistd::geteuid().as_raw();
    match found.is_dir() && ours && found.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(io::Error::other(
            "its directory belongs to somebody else, or is open to others",
        )),
    }
}

/// Lets workers of other users, which only root has, reach what they know the name of.
fn pass_through(path: &Path) -> io::Result<()> {
    match nix::unistd::geteuid().is_root() {
        true => std::fs::set_permissions(path, Permissions::from_mode(0o711)),
        false => Ok(()),
    }
}

/// Says whether this version could go on with the state in a directory; that there is none is fine.
///
/// # Errors
///
/// A sentence: why not.
pub fn check(directory: &Path) -> Result<(), String> {
    match records::read(&directory.join("state")) {
        Ok(Some((_, left))) if left.damaged > 0 => {
            let path = directory.join("state");
            Err(format!(
                "'{}': {} lines cannot be read",
                path.display(),
                left.damaged
            ))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What was left in a directory.
///
/// # Errors
///
/// It is nothing to go on with.
pub(super) fn left_in(directory: &Path) -> Result<Option<Left>, String> {
    let found = records::read(&directory.join("state")).map_err(|error| error.to_string())?;
    Ok(found.map(|(_, left)| left))
}

/// Removes what was left, as nothing of it lives.
pub(super) fn forget(directory: &Path) {
    for name in ["state", "state.new", "events.0", "events.1", "events.new"] {
        // It may be gone already.
        let _ = std::fs::remove_file(directory.join(name));
    }
    streams::forget(directory);
}

/// Takes the lock, and waits for it if the daemon that had it is dead: a process that it was just
/// making holds what it held until it executes its own program.
fn take_lock(path: &Path) -> Result<Lock, LockError> {
    for _ in 0..LOCK_TRIES {
        match Lock::take(path) {
            Err(LockError::Held { pid: Some(pid), .. }) if is_dead(pid) => {
                std::thread::sleep(LOCK_PAUSE);
            }
            taken => return taken,
        }
    }
    Lock::take(path)
}

fn is_dead(pid: Pid) -> bool {
    Process::read(pid).is_ok_and(|process| process.is_dead())
        || Process::read(pid).is_err_and(|error| process::is_gone(&error))
}

/// Says why there is nothing to go on with. After a new start of the machine nobody expects it.
fn refuse(error: &ReadError) {
    let told = match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    match error {
        ReadError::Boot { .. } => tracing::debug!("nothing to go on with: {told}"),
        _ => tracing::error!(
            "cannot go on where an earlier circusd was, what it has left is looked for: {told}"
        ),
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
pub(super) fn new_instance() -> String {
    format!("{:016x}", fastrand::u64(..))
}
