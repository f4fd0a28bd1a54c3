//! Holding processes together where there is no cgroup: by parentage, session, group and a mark.
//!
//! Less than a cgroup can do, and honest about it: who changes its session, leaves its parent *and* wipes its
//! environment cannot be told from others' processes. As we are the subreaper of all that we started, such a
//! one becomes at least our child ([`reap_orphans`]).

mod kill;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::Pid;

use super::pidfd::{ExitStatus, Pidfd, waitid};
use super::process::{self, Process};

pub use kill::{Killed, kill_trees};

/// How often we look at a process without an environment, about a millisecond in all. An execve(2) that takes
/// longer is seen the next time; a process that was started without one costs so much at each look.
const LOOKS_MAX: usize = 100;

/// How many generations of strangers are ended: each may have been hidden by the one before.
const STRANGERS_PASSES_MAX: usize = 100;

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

/// The descendants of a process, nearest first, `max` of them at most; none if it has ended.
///
/// # Errors
///
/// Those of reading `/proc`; that a process ends meanwhile is none.
pub fn descendants(pid: Pid, max: usize) -> io::Result<Vec<Process>> {
    let mut found: Vec<Process> = Vec::new();
    let mut seen = HashSet::from([pid]);
    let mut next = VecDeque::from([pid]);
    while let Some(parent) = next.pop_front() {
        let children = match process::children(parent) {
            Ok(children) => children,
            Err(error) if process::is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        for child in children.into_iter().filter(|child| seen.insert(*child)) {
            if found.len() >= max {
                return Ok(found);
            }
            found.extend(Process::read(child));
            next.push_back(child);
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
    let origins = std::slice::from_ref(origin);
    let members = Snapshot::take()?.members(origins, &Known::new(origins));
    Ok(members.into_iter().map(|(_, member)| member).collect())
}

/// Who is known to have come from which origin: by pid, then by start time, as a number may have had several
/// owners.
struct Known(HashMap<Pid, BTreeMap<u64, usize>>);

impl Known {
    fn new(origins: &[Origin]) -> Self {
        let mut known = Self(HashMap::new());
        for (index, origin) in origins.iter().enumerate() {
            known.insert(origin.pid, origin.start_ticks, index);
        }
        known
    }

    fn insert(&mut self, pid: Pid, start_ticks: u64, origin: usize) {
        self.0.entry(pid).or_default().insert(start_ticks, origin);
    }

    fn get(&self, process: &Process) -> Option<usize> {
        self.0.get(&process.pid)?.get(&process.start_ticks).copied()
    }

    /// The origin of whoever had the number last.
    fn last(&self, pid: Pid) -> Option<usize> {
        self.0
            .get(&pid)?
            .last_key_value()
            .map(|(_, origin)| *origin)
    }
}

/// The living processes that were given a variable of this name whose value begins so, and what follows.
///
/// Looks at every process of the machine that we may look into.
///
/// # Errors
///
/// Those of reading `/proc`.
pub fn marked(name: &str, prefix: &str) -> io::Result<Vec<(Process, Vec<u8>)>> {
    let Snapshot(processes) = Snapshot::take()?;
    let marked = processes.into_values().filter_map(|process| {
        let environment = environment(&process);
        let mark = process::value_in(&environment, name)?;
        let rest = mark.strip_prefix(prefix.as_bytes())?.to_vec();
        Some((process, rest))
    });
    Ok(marked.collect())
}

/// The marks of all origins, so that a process's environment is read once for all of them.
struct Marks<'a> {
    names: BTreeSet<&'a str>,
    origins: HashMap<(&'a str, &'a [u8]), usize>,
}

impl<'a> Marks<'a> {
    fn new(origins: &'a [Origin]) -> Self {
        let marks = || {
            let marks = origins.iter().map(|origin| origin.mark.as_ref());
            marks
                .enumerate()
                .filter_map(|(index, mark)| mark.map(|mark| (index, mark)))
        };
        let key = |mark: &'a Mark| (mark.name.as_str(), mark.value.as_bytes());
        Self {
            names: marks().map(|(_, mark)| mark.name.as_str()).collect(),
            origins: marks().map(|(index, mark)| (key(mark), index)).collect(),
        }
    }

    /// What the process carries under these names, whosever it is; nothing if we may not look.
    fn carried_by(&self, process: &Process) -> BTreeMap<&'a str, Vec<u8>> {
        let environment = environment(process);
        let names = self.names.iter();
        names
            .filter_map(|name| Some((*name, process::value_in(&environment, name)?.to_vec())))
            .collect()
    }
}

/// The environment of a process; empty if it has none, or we may not look.
///
/// One that is just executing another program has none for a moment, and is given that.
fn environment(process: &Process) -> Vec<u8> {
    if process.is_dead() || process.is_kernels() {
        return Vec::new();
    }
    for _ in 0..LOOKS_MAX {
        match process::environment(process.pid) {
            Ok(environment) if environment.is_empty() => std::thread::yield_now(),
            read => return read.unwrap_or_default(),
        }
    }
    Vec::new()
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

    /// The members, each with the index of its origin, given those that are `known` to have been such.
    fn members(&self, origins: &[Origin], known: &Known) -> Vec<(usize, Process)> {
        let us = Pid::this();
        let marks = Marks::new(origins);
        let signs: HashMap<Pid, usize> = self
            .0
            .values()
            .filter(|process| process.pid != us)
            .filter_map(|process| Some((process.pid, self.sign(process, origins, known, &marks)?)))
            .collect();
        let origin = |process: &Process| {
            self.ancestry(process)
                .take_while(|pid| *pid != us)
                .find_map(|pid| signs.get(&pid).copied())
        };
        let alive = |process: &&Process| !process.is_dead() && process.pid != us;
        let living = self.0.values().filter(alive);
        living
            .filter_map(|process| Some((origin(process)?, *process)))
            .collect()
    }

    /// The origin that the process itself shows it comes from.
    fn sign(
        &self,
        process: &Process,
        origins: &[Origin],
        known: &Known,
        marks: &Marks<'_>,
    ) -> Option<usize> {
        let is_younger = |origin: &usize| process.start_ticks >= origins[*origin].start_ticks;
        if !(0..origins.len()).any(|origin| is_younger(&origin)) {
            return None;
        }
        let leaders = [process.sid, process.pgid];
        // The number is still that of the member, alive or a zombie, so its session and group are too.
        let led = || {
            let mut alive = leaders.iter().filter_map(|leader| self.0.get(leader));
            alive.find_map(|leader| known.get(leader).filter(is_younger))
        };
        if let Some(origin) = known.get(process).or_else(led) {
            return Some(origin);
        }
        let carried = marks.carried_by(process);
        let mut marked = carried
            .iter()
            .filter_map(|(name, value)| marks.origins.get(&(*name, value.as_slice())).copied());
        if let Some(origin) = marked.find(is_younger) {
            return Some(origin);
        }
        // The member is gone. Its number is not given away while its session lives, but that may have ended
        // and another begun: whoever has our sign of another, or does not come from us, is not meant.
        let is_anothers = |origin: &usize| {
            let mark = origins[*origin].mark.as_ref();
            mark.is_some_and(|mark| carried.contains_key(mark.name.as_str()))
        };
        let mut gone = leaders.iter().filter(|leader| !self.0.contains_key(leader));
        gone.find_map(|leader| {
            known
                .last(*leader)
                .filter(is_younger)
                .filter(|origin| !is_anothers(origin))
        })
        .filter(|_| self.comes_from_us(process))
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

/// Kills those of our children that nobody knows, and theirs, who come to us when they lose their parent; and
/// waits for them. For the end of the daemon: they are what has lost every sign of its origin.
///
/// `is_known` tells whom to spare.
///
/// # Errors
///
/// Those of reading `/proc`. Who may not be signalled is left alone.
pub fn end_strangers(is_known: impl Fn(Pid) -> bool) -> io::Result<()> {
    for _ in 0..STRANGERS_PASSES_MAX {
        let strangers = children()?.into_iter().filter(|pid| !is_known(*pid));
        // A child of ours keeps its number until we have waited for it.
        let told: Vec<Pidfd> = strangers
            .filter_map(|pid| Pidfd::open(pid).ok())
            .filter(|pidfd| pidfd.signal(libc::SIGKILL).is_ok())
            .collect();
        if told.is_empty() {
            return Ok(());
        }
        for pidfd in &told {
            let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            // A second is for a machine that is not itself; the kernel needs far less.
            let _ = poll(&mut fds, 1000_u16);
            let _ = pidfd.try_wait();
        }
    }
    Ok(())
}
