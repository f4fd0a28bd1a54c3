//! Who may take how many descriptors. The last ones are the daemon's own: without them it could
//! not look after the processes that it has, read its files, or say how it is.
//!
//! Nothing is counted. The kernel gives the lowest free number (open(2)), so a number near the
//! limit says that the table is nearly full.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// How many are kept back for the daemon itself. At any moment it has a handful of files open for
/// itself; a start takes some more for as long as it lasts.
const RESERVED: u64 = 16;

/// The limit on our descriptors, and what is kept back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// The first number that is not for clients and workers.
    end: u64,
}

impl Budget {
    /// `limit`: RLIMIT_NOFILE as it is in force for us.
    pub(super) fn new(limit: u64) -> Budget {
        // With very few, most of them are still for what the daemon is there for.
        let reserved = RESERVED.min(limit / 4);
        Budget {
            end: limit - reserved,
        }
    }

    /// Whether a descriptor that was just opened may stay.
    pub(super) fn allows(self, fd: impl AsFd) -> bool {
        u64::try_from(fd.as_fd().as_raw_fd()).is_ok_and(|number| number < self.end)
    }

    /// Whether there is room for a worker. `any` is some open descriptor.
    ///
    /// # Errors
    ///
    /// `EMFILE` if there is none.
    pub(super) fn check(self, any: impl AsFd) -> io::Result<()> {
        match self.allows(any.as_fd().try_clone_to_owned()?) {
            true => Ok(()),
            false => Err(Errno::EMFILE.into()),
        }
    }
}
