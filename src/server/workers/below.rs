//! What runs below a worker: who that is, and which part of a worker's tree gets a signal.
//!
//! A number from outside is trusted only once the process that has it is held and was found in the
//! home of its worker afterwards.

use std::io;

use nix::libc::ESRCH;
use nix::unistd::Pid;

use super::super::homes::{Home, Signals};
use super::{Running, Workers};
use crate::core::{Recipients, WorkerId};
use crate::sys::cgroup::Cgroup;
use crate::sys::pidfd::Pidfd;
use crate::sys::process::Process;
use crate::sys::tree;

/// Of so many processes below one worker it is told what they use, and nothing of any others: looking
/// at each takes some tens of microseconds, for which everybody else waits.
const BELOW_MAX: usize = 1000;

impl Workers {
    /// Whether this is a living process below a worker.
    pub(in crate::server) fn is_below(&self, worker: WorkerId, pid: i32) -> bool {
        let running = self.running.get(&worker);
        running.is_some_and(|running| running.child(Pid::from_raw(pid)).is_some())
    }

    /// The living processes below a worker, [`BELOW_MAX`] of them at most.
    ///
    /// Without a cgroup only those that it has not lost: to find who left its parent takes a look
    /// at every process of the machine.
    ///
    /// # Errors
    ///
    /// Those of looking; a worker that has ended has none.
    pub(in crate::server) fn below(&self, worker: WorkerId) -> io::Result<Vec<Process>> {
        let Some(running) = self.running.get(&worker) else {
            return Ok(Vec::new());
        };
        let found = match &running.home {
            Home::Cgroup(path) => {
                let others = Cgroup::open(path)?.procs()?.into_iter();
                let others = others.filter(|pid| *pid != running.pid).take(BELOW_MAX);
                others.filter_map(|pid| Process::read(pid).ok()).collect()
            }
            Home::Tree(_) => tree::descendants(running.pid, BELOW_MAX)?,
        };
        Ok(found.into_iter().filter(|of| !of.is_dead()).collect())
    }
}

impl Running {
    /// Sends `signals` to these of its processes. Says who got the first.
    ///
    /// # Errors
    ///
    /// Those of looking for them; of a single one those of sending, but for its having ended.
    pub(super) fn signal(&self, signals: Signals, recipients: Recipients) -> io::Result<Vec<i32>> {
        match recipients {
            Recipients::Process => signal_one(signals, self.pidfd.as_ref(), self.pid),
            Recipients::Children => self.home.signal(signals, Some(self.pid)),
            Recipients::Tree => self.home.signal(signals, None),
            Recipients::Child(pid) => {
                let pid = Pid::from_raw(pid);
                signal_one(signals, self.child(pid).as_ref(), pid)
            }
        }
    }

    /// The living process below the main one that has this number.
    fn child(&self, pid: Pid) -> Option<Pidfd> {
        if pid == self.pid {
            return None;
        }
        // Opened first and found afterwards: so the number is still the same process's.
        let pidfd = Pidfd::open(pid).ok()?;
        let lives = Process::read(pid).is_ok_and(|process| !process.is_dead());
        (lives && self.home.holds(pid, Some(&pidfd))).then_some(pidfd)
    }
}

fn signal_one(signals: Signals, process: Option<&Pidfd>, pid: Pid) -> io::Result<Vec<i32>> {
    match process.map(|pidfd| signals.send(pidfd)) {
        Some(Ok(())) => Ok(vec![pid.as_raw()]),
        Some(Err(error)) if error.raw_os_error() != Some(ESRCH) => Err(error),
        Some(Err(_)) | None => Ok(Vec::new()),
    }
}
