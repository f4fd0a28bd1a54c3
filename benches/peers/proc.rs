//! What `/proc` tells of a process, and the ends of processes that lost their supervisor.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::{Result, failed};

/// What a process has used up to now, all threads together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// How often it was switched away from, voluntarily (each a sleep, so a wake-up) or not.
    pub(crate) switches: u64,
    /// Time on a CPU.
    pub(crate) cpu: Duration,
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(failed(format!("to read '{path}'")))
}

/// The number after `key` in a file of lines as `key:  123 kB`.
fn number(text: &str, key: &str) -> u64 {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Proportional set size in bytes: private memory, and its share of what is shared.
pub(crate) fn pss(pid: Pid) -> Result<u64> {
    Ok(number(&read(&format!("/proc/{pid}/smaps_rollup"))?, "Pss:") * 1024)
}

/// Context switches and CPU time until now.
pub(crate) fn usage(pid: Pid) -> Result<Usage> {
    let mut usage = Usage::default();
    for task in tasks(pid)? {
        let status = read(&format!("{}/status", task.display()))?;
        usage.switches += number(&status, "voluntary_ctxt_switches:")
            + number(&status, "nonvoluntary_ctxt_switches:");
        // Nanoseconds, where `stat` has only clock ticks (proc_pid_schedstat(5)).
        let schedstat = read(&format!("{}/schedstat", task.display()))?;
        usage.cpu += Duration::from_nanos(number(&schedstat, ""));
    }
    Ok(usage)
}

fn tasks(pid: Pid) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))
        .map_err(failed(format!("to list threads of {pid}")))?;
    let paths: io::Result<_> = entries.map(|entry| Ok(entry?.path())).collect();
    paths.map_err(failed(format!("to list threads of {pid}")))
}

/// Whether `worker` lives in another cgroup than `daemon`.
pub(crate) fn has_own_cgroup(worker: Pid, daemon: Pid) -> Result<bool> {
    Ok(read(&format!("/proc/{worker}/cgroup"))? != read(&format!("/proc/{daemon}/cgroup"))?)
}

/// Holds this thread and a process on one CPU; dropped, it lets go of this thread.
///
/// A round trip between two CPUs costs five times as much as one on the same, and which it is the
/// scheduler decides anew for each pair of processes.
pub(crate) struct OnOneCpu {
    before: CpuSet,
}

impl OnOneCpu {
    /// Moves both to the first CPU that we may use.
    pub(crate) fn with(process: Pid) -> Result<OnOneCpu> {
        let ourselves = Pid::from_raw(0);
        let what = || failed(format!("to share a CPU with process {process}"));
        let before = sched_getaffinity(ourselves).map_err(|e| what()(e.into()))?;
        let mut one = CpuSet::new();
        let first = (0..CpuSet::count()).find(|&cpu| before.is_set(cpu).unwrap_or(false));
        one.set(first.expect("we run on some CPU"))
            .map_err(|e| what()(e.into()))?;
        for pid in [process, ourselves] {
            sched_setaffinity(pid, &one).map_err(|e| what()(e.into()))?;
        }
        Ok(OnOneCpu { before })
    }
}

impl Drop for OnOneCpu {
    fn drop(&mut self) {
        // What was allowed a moment ago is refused only if the CPUs have gone; then we stay.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
    }
}

/// Makes this process the parent of all below it whose own parent ends, instead of init. Dropped, also
/// by a panic, it ends them.
pub(crate) struct Orphanage(());

impl Orphanage {
    /// Adopts from now on.
    pub(crate) fn open() -> Result<Orphanage> {
        set_child_subreaper(true).map_err(|e| failed("to become a subreaper")(e.into()))?;
        Ok(Orphanage(()))
    }

    /// Ends every child there is, and returns how many there were: with all supervisors ended, those
    /// that one has lost.
    pub(crate) fn close(self) -> Result<usize> {
        end_children()
    }
}

impl Drop for Orphanage {
    fn drop(&mut self) {
        // The run has failed already, or has been told by `close`.
        let _ = end_children();
    }
}

/// A child's pid is its own until we have waited for it, so none but a child is ever signalled.
fn end_children() -> Result<usize> {
    let mut ended = 0;
    loop {
        let children = children()?;
        if children.is_empty() {
            return Ok(ended);
        }
        for child in children {
            kill(child, Signal::SIGKILL)
                .and_then(|()| waitpid(child, None))
                .map_err(|e| failed(format!("to end process {child}"))(e.into()))?;
            ended += 1;
        }
    }
}

fn children() -> Result<Vec<Pid>> {
    let mut children = Vec::new();
    for task in tasks(Pid::this())? {
        let pids = read(&format!("{}/children", task.display()))?;
        children.extend(
            pids.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .map(Pid::from_raw),
        );
    }
    Ok(children)
}
