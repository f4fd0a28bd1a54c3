//! Where workers report: one FIFO, into which each writes its pid and when its `main` was reached.
//!
//! A FIFO rather than a socket: reports of a thousand workers wait in it without blocking one of them
//! (`net.unix.max_dgram_qlen` is 10), and one read takes many.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, mkfifo};

use crate::{Result, failed};

/// Room for 65 536 reports. Granted up to `fs.pipe-max-size`, whose default this is.
const CAPACITY_BYTES: i32 = 1 << 20;

/// Two numbers of 64 bits; see `worker.c`.
const REPORT_BYTES: usize = 16;

/// What a worker said about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) pid: Pid,
    /// CLOCK_MONOTONIC when its `main` was reached.
    pub(crate) at: Duration,
}

/// The clock of the workers.
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("every Linux has this clock")
        .into()
}

/// The reading end.
pub(crate) struct Muster {
    fifo: File,
}

impl Muster {
    /// Makes the FIFO `path` and holds it open.
    pub(crate) fn open(path: &Path) -> Result<Muster> {
        mkfifo(path, Mode::S_IRWXU)
            .map_err(io::Error::from)
            .map_err(failed("to make a FIFO"))?;
        // Opened for writing too, so it never looks closed between two workers (fifo(7)).
        let fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(failed("to open the FIFO"))?;
        // Less room only means that workers may have to wait for us, after their clock was read.
        let _ = fcntl(&fifo, FcntlArg::F_SETPIPE_SZ(CAPACITY_BYTES));
        Ok(Muster { fifo })
    }

    /// Waits until there are reports, or `patience` is over; returns those there are, perhaps none.
    pub(crate) fn reports(&mut self, patience: Duration) -> Result<Vec<Report>> {
        let patience =
            PollTimeout::try_from(patience).expect("callers wait for seconds, not for weeks");
        let mut fds = [PollFd::new(self.fifo.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, patience)
            .map_err(io::Error::from)
            .map_err(failed("to wait for reports"))?;
        let mut bytes = [0; 256 * REPORT_BYTES];
        match self.fifo.read(&mut bytes) {
            Ok(length) => Ok(bytes[..length]
                .chunks_exact(REPORT_BYTES)
                .map(report)
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(failed("to read reports")(error)),
        }
    }
}

fn report(bytes: &[u8]) -> Report {
    let number = |at: usize| {
        let bytes = bytes[at..at + 8]
            .try_into()
            .expect("a report has two numbers of eight bytes");
        i64::from_ne_bytes(bytes)
    };
    let pid = i32::try_from(number(0)).expect("a pid fits an i32");
    let at = u64::try_from(number(8)).expect("the clock never goes below zero");
    Report {
        pid: Pid::from_raw(pid),
        at: Duration::from_nanos(at),
    }
}
