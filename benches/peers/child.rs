//! A child process that ends when its owner lets go of it, also while a panic unwinds.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// How long a supervisor may take to end thousands of workers before it is killed itself.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// Told to end with SIGTERM when dropped, then waited for.
pub(crate) struct Owned(Child);

impl Owned {
    /// Starts `command`.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Owned> {
        command.spawn().map(Owned)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).expect("a pid fits an i32"))
    }

    /// Its status, if it has ended by itself.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Waits for its end without reaping it, so its pid stays ours; false if `STOP_PATIENCE` is over.
    fn ends_in_time(&self) -> bool {
        let (tell, told) = mpsc::channel();
        let process = Id::Pid(self.pid());
        thread::spawn(move || {
            let ended = waitid(process, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            // Nobody listens any more once patience is over.
            let _ = tell.send(ended.is_ok());
        });
        told.recv_timeout(STOP_PATIENCE).unwrap_or(false)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // A child already reaped has no pid that we could signal.
        if !matches!(self.ended(), Ok(None)) {
            return;
        }
        let told = kill(self.pid(), Signal::SIGTERM);
        if told.is_err() || !self.ends_in_time() {
            // Its workers become our children then; see `proc::Orphanage`.
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}
