//! Standard error as a place for log records. It may be a pipe that nobody reads or a terminal that
//! was halted: that costs records, never the daemon's time.
//!
//! It stays a blocking descriptor, as the same open file is in the hands of others.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What a pipe that is said to be writable takes without waiting: PIPE_BUF of pipe(7).
const PIECE_BYTES_MAX: usize = 4096;

/// Writes records as long as somebody takes them.
#[derive(Debug, Clone, Default)]
pub(super) struct Stderr {
    /// Records that nobody took, since the last time this was told.
    lost: Arc<AtomicU64>,
}

impl Stderr {
    fn tell_lost(&self) -> io::Result<()> {
        match self.lost.swap(0, Ordering::Relaxed) {
            0 => Ok(()),
            lost => writeln!(
                io::stderr(),
                " WARN {lost} log records were lost, as nobody read them"
            ),
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        if !takes_more() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            // All of it: the rest of a record is of no use without its beginning.
            return Ok(record.len());
        }
        if self.lost.load(Ordering::Relaxed) > 0 {
            self.tell_lost()?;
            return self.write(record);
        }
        io::stderr().write(&record[..record.len().min(PIECE_BYTES_MAX)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A descriptor that is broken takes everything: writing to it fails at once.
fn takes_more() -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO) != Ok(0)
}
