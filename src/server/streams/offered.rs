//! Output that the program reads that we are in: a pipe for each stream of each process, of which it
//! may take our end while the process runs.
//!
//! Nothing is read here. What nobody takes fills up, and then the process waits, as with any pipe.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;

use super::{Outlet, Which};

/// The ends that nobody has taken yet, by the pid of the process.
#[derive(Debug, Default)]
pub(in crate::server) struct Offered {
    ends: RefCell<HashMap<(i32, Which), OwnedFd>>,
}

impl Offered {
    pub(super) fn offer(&self, pid: i32, which: Which, end: Option<OwnedFd>) {
        if let Some(end) = end {
            self.ends.borrow_mut().insert((pid, which), end);
        }
    }

    /// Gives an end away; `None` if there is none, or none any more.
    pub(in crate::server) fn take(&self, pid: i32, which: Which) -> Option<OwnedFd> {
        self.ends.borrow_mut().remove(&(pid, which))
    }

    /// The process is gone, and its number may be another's soon.
    pub(in crate::server) fn withdraw(&self, pid: i32) {
        self.ends.borrow_mut().retain(|(of, _), _| *of != pid);
    }
}

/// # Errors
///
/// The table of descriptors is full.
pub(super) fn open(which: Which) -> io::Result<Outlet> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok(Outlet::Offered(write, which, RefCell::new(Some(read))))
}
