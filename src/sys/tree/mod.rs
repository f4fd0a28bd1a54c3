//! Holding processes together where there is no cgroup: by parentage, session, group and a mark.
//!
//! Less than a cgroup can do, and honest about it: who changes its session, leaves its parent *and* wipes its
//! environment cannot be told from others' processes. As we are the subreaper of all that we started, such a
//! one becomes at least our child ([`reap_orphans`]).

mod kill;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::unistd::Pid;

use super::pidfd::{ExitStatus, waitid};
use super::process::{self, Process};

pub use kill::{Killed, kill_tree};

/// How many generations a chain of parents is followed; a loop can only come from a snapshot that is not of one
/// moment, and ends here.
const GENERATIONS_MAX: usize = 4096;

/// Makes us the parent of every orphan among our descendants (prctl(2), `PR_SET_CHILD_SUBREAPER`).
///
/// # Errors
///
/// None is expected on Linux.
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Our own children, zombies included; see [`process::children`] for the cost.
///
/// # Errors
///
/// Those of reading `/proc/self`.
pub fn children() -> io::Result<Vec<Pid>> {
    process::children(Pid::this())
}

/// All descendants of a process, nearest first; none if it has ended.
///
/// # Errors
///
/// Those of reading `/proc`; that a process ends meanwhile is none.
pub fn descendants(pid: Pid) -> io::Result<Vec<Process>> {
    let mut found: Vec<Process> = Vec::new();
    let mut seen = HashSet::from([pid]);
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        let children = match process::children(parent) {
            Ok(children) => children,
            Err(error) if process::is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        for child in children.into_iter().filter(|child| seen.insert(*child)) {
            found.extend(Process::read(child));
            next.push(child);
        }
    }
    Ok(found)
}

/// A worker, as the origin of others.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its pid, which is also the id of its session and group.
    pub pid: Pid,
    /// When it was started ([`Process::start_ticks`]): a later process with the same pid is another.
    pub start_ticks: u64,
    /// The variable that it was given and hands on to its children.
    pub mark: Option<Mark>,
}

/// A variable of the environment whose value nobody else has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: OsString,
}

/// All living processes that belong to `origin`, itself included.
///
/// Looks at every process of the machine: for the end of a worker, not for a loop. Reading another user's
/// mark takes `CAP_SYS_PTRACE`. Who is known by the mark alone is not seen while it is just executing another
/// program.
///
/// # Errors
///
/// Those of reading `/proc`.
pub fn members(origin: &Origin) -> io::Result<Vec<Process>> {
    let known = HashMap::from([(origin.pid, origin.start_ticks)]);
    Ok(Snapshot::take()?.members(origin, &known))
}

/// All processes, as they were while we looked.
struct Snapshot(HashMap<Pid, Process>);

impl Snapshot {
    fn take() -> io::Result<Self> {
        let processes = process::all()?
            .into_iter()
            .filter_map(|pid| Process::read(pid).ok());
        Ok(Self(
            processes.map(|process| (process.pid, process)).collect(),
        ))
    }

    /// The members, given the pids and start times of those that are `known` to have been such.
    fn members(&self, origin: &Origin, known: &HashMap<Pid, u64>) -> Vec<Process> {
        let us = Pid::this();
        let signed: HashSet<Pid> = self
            .0
            .values()
            .filter(|process| process.pid != us && self.has_sign(process, origin, known))
            .map(|process| process.pid)
            .collect();
        let belongs = |process: &&Process| {
            !process.is_dead()
                && process.pid != us
                && self
                    .ancestry(process)
                    .take_while(|pid| *pid != us)
                    .any(|pid| signed.contains(&pid))
        };
        self.0.values().filter(belongs).copied().collect()
    }

    /// Whether the process itself shows where it comes from.
    fn has_sign(&self, process: &Process, origin: &Origin, known: &HashMap<Pid, u64>) -> bool {
        if process.start_ticks < origin.start_ticks {
            return false;
        }
        if known.get(&process.pid) == Some(&process.start_ticks) {
            return true;
        }
        let mark = marked(process, origin.mark.as_ref());
        if mark == Some(true) {
            return true;
        }
        [process.sid, process.pgid].iter().any(|leader| {
            match (known.get(leader), self.0.get(leader)) {
                // The number is still that of the member, alive or a zombie, so its session and group are too.
                (Some(start), Some(now)) => now.start_ticks == *start,
                // The member is gone. Its number is not given away while its session lives, but that may have ended
                // and another begun: whoever has our sign of another, or does not come from us, is not meant.
                (Some(_), None) => mark != Some(false) && self.comes_from_us(process),
                (None, _) => false,
            }
        })
    }

    fn comes_from_us(&self, process: &Process) -> bool {
        let us = Pid::this();
        self.ancestry(process).any(|pid| pid == us)
    }

    /// The process, its parent, and so on.
    fn ancestry(&self, process: &Process) -> impl Iterator<Item = Pid> {
        let parent = |pid: &Pid| self.0.get(pid).map(|process| process.ppid);
        std::iter::successors(Some(process.pid), parent).take(GENERATIONS_MAX)
    }
}

/// Whether the process carries the mark: `Some(false)` when it carries another value, `None` when it has none or
/// we may not look.
fn marked(process: &Process, mark: Option<&Mark>) -> Option<bool> {
    let mark = mark?;
    let value = process::variable(process.pid, &mark.name).ok()??;
    Some(value == mark.value.as_bytes())
}

/// Waits for those of our children that have ended and that nobody else waits for: orphans that came to us.
///
/// `is_known` tells the workers, whose ends are read through their pidfds. Costs one system call when no child
/// waits to be waited for; so workers first, then this.
///
/// # Errors
///
/// Those of waitid(2) and of reading `/proc/self`.
pub fn reap_orphans(is_known: impl Fn(Pid) -> bool) -> io::Result<Vec<(Pid, ExitStatus)>> {
    let mut reaped = Vec::new();
    loop {
        // Without taking it, as it may be a worker.
        let peek = waitid(
            libc::P_ALL,
            0,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
        );
        match peek {
            Ok(None) => return Ok(reaped),
            Ok(Some((pid, _))) if is_known(pid) => break,
            Ok(Some((pid, _))) => reaped.extend(reap(pid)?),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(reaped),
            Err(error) => return Err(error),
        }
    }
    // A worker stands before the others and would be shown again and again.
    for pid in children()?.into_iter().filter(|pid| !is_known(*pid)) {
        reaped.extend(reap(pid)?);
    }
    Ok(reaped)
}

/// Waits for one child, if it has ended. By pid, which cannot change hands before that.
fn reap(pid: Pid) -> io::Result<Option<(Pid, ExitStatus)>> {
    let id = libc::id_t::try_from(pid.as_raw()).expect("children have positive pids");
    match waitid(libc::P_PID, id, libc::WEXITED | libc::WNOHANG) {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        result => result,
    }
}
