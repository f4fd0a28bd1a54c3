//! Where workers report when their `main` was reached: a file they append to, and a FIFO for the last
//! of those expected.
//!
//! Nothing here wakes for each report. With two CPUs a harness that does takes one of them from the
//! supervisor it measures: a sixth of a start of a thousand workers.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, mkfifo};

use crate::{Result, failed};

/// Two numbers of 64 bits; see `worker.c`. The first record of the file is the expectation.
const RECORD_BYTES: usize = 16;

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

/// The paths that a worker is given, in this order.
pub(crate) struct Address {
    pub(crate) roll: PathBuf,
    pub(crate) fifo: PathBuf,
}

impl Address {
    /// Two names in `dir`, which must be in memory or at least local: workers append at the same time.
    pub(crate) fn in_dir(dir: &Path) -> Address {
        Address {
            roll: dir.join("roll"),
            fifo: dir.join("fifo"),
        }
    }
}

/// The reading end.
pub(crate) struct Muster {
    roll: File,
    fifo: File,
    /// Records that were read, the expectation among them.
    read: usize,
    /// Records there are when all that are expected have reported.
    expected: usize,
}

impl Muster {
    /// Makes both files and holds them open. Nobody is expected yet.
    pub(crate) fn open(address: &Address) -> Result<Muster> {
        let roll = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&address.roll)
            .map_err(failed("to make the roll"))?;
        mkfifo(&address.fifo, Mode::S_IRWXU).map_err(|e| failed("to make a FIFO")(e.into()))?;
        // Opened for writing too, so it never looks closed between two workers (fifo(7)).
        let fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&address.fifo)
            .map_err(failed("to open the FIFO"))?;
        roll.write_all_at(&[0; RECORD_BYTES], 0)
            .map_err(failed("to write the roll"))?;
        Ok(Muster {
            roll,
            fifo,
            read: 1,
            expected: 1,
        })
    }

    /// From now on `count` more workers are expected. To be called before what makes them start.
    pub(crate) fn expect(&mut self, count: usize) -> Result<()> {
        self.expected += count;
        let length = (self.expected * RECORD_BYTES) as u64;
        self.roll
            .write_all_at(&length.to_ne_bytes(), 0)
            .map_err(failed("to write the roll"))
    }

    /// Waits until all that are expected have reported; false if `patience` is over first.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<bool> {
        let patience =
            PollTimeout::try_from(patience).expect("callers wait for seconds, not for weeks");
        let mut fds = [PollFd::new(self.fifo.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, patience).map_err(|e| failed("to wait for reports")(e.into()))?;
        match self.fifo.read(&mut [0]) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(failed("to wait for reports")(error)),
        }
    }

    /// How many of the expected have not reported; less than none when more have than were expected.
    pub(crate) fn missing(&self) -> Result<i64> {
        let length = self
            .roll
            .metadata()
            .map_err(failed("to look at the roll"))?
            .len();
        Ok(self.expected as i64 - (length / RECORD_BYTES as u64) as i64)
    }

    /// The reports of those expected that were not read yet.
    pub(crate) fn reports(&mut self) -> Result<Vec<Report>> {
        let mut bytes = vec![0; (self.expected - self.read) * RECORD_BYTES];
        let start = (self.read * RECORD_BYTES) as u64;
        self.roll
            .read_exact_at(&mut bytes, start)
            .map_err(failed("to read the roll"))?;
        self.read = self.expected;
        Ok(bytes.chunks_exact(RECORD_BYTES).map(report).collect())
    }
}

fn report(record: &[u8]) -> Report {
    let number = |at: usize| {
        let bytes = record[at..at + 8]
            .try_into()
            .expect("a record has two numbers of eight bytes");
        i64::from_ne_bytes(bytes)
    };
    let pid = i32::try_from(number(0)).expect("a pid fits an i32");
    let at = u64::try_from(number(8)).expect("the clock never goes below zero");
    Report {
        pid: Pid::from_raw(pid),
        at: Duration::from_nanos(at),
    }
}
