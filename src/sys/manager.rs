//! The descriptors that a service manager has opened for us (sd_listen_fds(3)).
//!
//! What they are good for is their user's affair: they need not even be sockets.

use std::env;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// The first of them (`SD_LISTEN_FDS_START`).
pub const FIRST: RawFd = 3;

/// The name of one that was given none.
const UNNAMED: &str = "unknown";

/// One descriptor, and what its giver calls it.
#[derive(Debug)]
pub struct Passed {
    /// `FileDescriptorName=`; several may have the same.
    pub name: String,
    /// Ours from now on; closed on exec.
    pub fd: OwnedFd,
}

/// Takes over what `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` tell of; nothing if they are for another
/// process, or were taken before.
///
/// To be called before anything is opened: numbers that are not open when we begin would soon be others'.
#[must_use]
pub fn take() -> Vec<Passed> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let read = |name| env::var(name).ok();
    let ours = read("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
    if !ours || TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let count: RawFd = read("LISTEN_FDS")
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let names = read("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let last = FIRST.saturating_add(count);
    let open = (FIRST..last).take_while(|fd| close_on_exec(*fd));
    open.map(|fd| Passed {
        name: match names.next() {
            None | Some("") => UNNAMED.to_owned(),
            Some(name) => name.to_owned(),
        },
        // SAFETY: who started us has opened it for this very process, and it is handed out once.
        fd: unsafe { OwnedFd::from_raw_fd(fd) },
    })
    .collect()
}

/// Says whether there is such a descriptor.
fn close_on_exec(fd: RawFd) -> bool {
    // SAFETY: only asked about, and used no longer than the call lasts.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_ok()
}
