//! Who may take how many descriptors. The last ones are the daemon's own: without them it could
//! not look after the processes that it has, read its files, or say how it is.
//!
//! Nothing is counted. The kernel gives the lowest free number (open(2)), so a number near the
//! limit says that the table is nearly full. One low number says nothing: a start may use it for a
//! moment and put all that stays above it, time after time.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// How many are kept back for the daemon itself. At any moment it has a handful of files open for
/// itself; a start takes some more for as long as it lasts.
const RESERVED: u64 = 16;

/// How many more are for clients alone: however many processes there are, somebody can still look
/// what keeps the next one from starting, and take some away.
const FOR_CLIENTS: u64 = 16;

/// What a start takes at most, as a rule: pipes, sockets, its group and the process.
const OF_A_START: usize = 8;

/// The limit on our descriptors, and what is kept back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// The first number that is not for clients.
    end: u64,
    /// The first number that is not for workers, nor for others that are started.
    end_of_programs: u64,
}

impl Budget {
    /// `limit`: RLIMIT_NOFILE as it is in force for us.
    pub(super) fn new(limit: u64) -> Budget {
        // With very few, most of them are still for what the daemon is there for.
        let reserved = RESERVED.min(limit / 4);
        let end = limit - reserved;
        Budget {
            end,
            end_of_programs: end - FOR_CLIENTS.min(limit / 8),
        }
    }

    /// Whether the descriptor of a client that was just taken in may stay.
    pub(super) fn allows(self, fd: impl AsFd) -> bool {
        is_below(self.end, fd)
    }

    /// Whether there is room for a program to be started. `any` is some open descriptor.
    ///
    /// # Errors
    ///
    /// `EMFILE` if there is none.
    pub(super) fn check(self, any: impl AsFd) -> io::Result<()> {
        let mut taken = Vec::with_capacity(OF_A_START);
        for _ in 0..OF_A_START {
            let one = any.as_fd().try_clone_to_owned()?;
            if !is_below(self.end_of_programs, &one) {
                return Err(Errno::EMFILE.into());
            }
            taken.push(one);
        }
        Ok(())
    }
}

fn is_below(end: u64, fd: impl AsFd) -> bool {
    u64::try_from(fd.as_fd().as_raw_fd()).is_ok_and(|number| number < end)
}
