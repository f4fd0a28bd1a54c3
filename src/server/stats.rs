//! Figures of processes and of the daemon itself, read from /proc when somebody asks.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use nix::unistd::Pid;

use super::clock::{age_usec, micros};
use super::driver::Driver;
use super::leave;
use crate::api::types::{DescendantStats, ProcessStats, SupervisorStats};
use crate::core::{Name, ProcessState, Time, Worker};
use crate::sys::cgroup::Cgroup;
use crate::sys::journal::connected_to_journal;
use crate::sys::process::Process;
use crate::sys::stats;

/// What a client was told last, so that it can be told of the difference.
#[derive(Debug, Default)]
pub(super) struct Samples {
    by_pid: HashMap<i32, Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    cpu_usec: u64,
}

impl Samples {
    /// The share of one CPU since the last sample, and replaces that.
    fn percent(&mut self, pid: i32, cpu_usec: u64) -> Option<f64> {
        let now = Instant::now();
        let before = self.by_pid.insert(pid, Sample { at: now, cpu_usec })?;
        let elapsed = micros(now.duration_since(before.at));
        let used = cpu_usec.saturating_sub(before.cpu_usec);
        (elapsed > 0).then(|| used as f64 * 100.0 / elapsed as f64)
    }

    fn keep(&mut self, pids: &HashSet<i32>) {
        self.by_pid.retain(|pid, _| pids.contains(pid));
    }
}

/// How far a sample goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The processes of the watchers.
    Workers,
    /// These, and all that run below them.
    Descendants,
}

impl Driver {
    /// A sample of each process of these watchers. One that ends meanwhile is left out.
    pub(super) fn samples(
        &self,
        names: &[Name],
        depth: Depth,
        last: &mut Samples,
    ) -> Vec<ProcessStats> {
        let now = self.clock.now();
        let mut pids = HashSet::new();
        let mut found = Vec::new();
        for watcher in names.iter().filter_map(|name| self.core.watcher(name)) {
            for worker in watcher.workers() {
                let Some(pid) = worker.pid() else { continue };
                pids.insert(pid);
                let name = watcher.spec().name.as_str();
                let sample = self.sample(name, worker, pid, now, last);
                found.extend(sample.map(|sample| match depth {
                    Depth::Workers => sample,
                    Depth::Descendants => ProcessStats {
                        descendants: Some(self.descendants(worker, last, &mut pids)),
                        ..sample
                    },
                }));
            }
        }
        last.keep(&pids);
        found
    }

    /// What those below a worker use; none where they cannot be looked for.
    fn descendants(
        &self,
        worker: &Worker,
        last: &mut Samples,
        pids: &mut HashSet<i32>,
    ) -> Vec<DescendantStats> {
        let below = self.workers.below(worker.id()).unwrap_or_default();
        let sample = |process: Process| {
            let pid = process.pid.as_raw();
            let cpu_usec = stats::ticks_to_usec(process.cpu_ticks);
            pids.insert(pid);
            Some(DescendantStats {
                pid: u32::try_from(pid).ok()?,
                ppid: u32::try_from(process.ppid.as_raw()).ok()?,
                age_usec: age_usec(&process),
                cpu_usec,
                cpu_percent: last.percent(pid, cpu_usec),
                memory_rss: stats::rss_bytes(&process),
            })
        };
        below.into_iter().filter_map(sample).collect()
    }

    fn sample(
        &self,
        watcher: &str,
        worker: &Worker,
        pid: i32,
        now: Time,
        last: &mut Samples,
    ) -> Option<ProcessStats> {
        let process = stats::process(Pid::from_raw(pid)).ok()?;
        let group = self
            .workers
            .cgroup(worker.id())
            .and_then(|path| Cgroup::open(path).ok());
        let group = group.map(|group| stats::cgroup(&group));
        Some(ProcessStats {
            watcher: watcher.to_owned(),
            wid: worker.wid().into(),
            pid: u32::try_from(pid).ok()?,
            state: state(worker.state()).to_owned(),
            age_usec: micros(now.since(worker.started())),
            cpu_usec: process.cpu_usec,
            cpu_percent: last.percent(pid, process.cpu_usec),
            memory_rss: process.rss_bytes,
            memory_current: group.as_ref().and_then(|group| group.memory_current),
            memory_peak: (self.workers).memory_peak(
                worker.id(),
                group.as_ref().and_then(|group| group.memory_peak),
            ),
            tasks: (group.and_then(|group| group.tasks)).unwrap_or(process.threads.into()),
            fds: process.fds.map(|fds| fds as u64),
            children: process.children as u64,
            io_read_bytes: process.io.map(|io| io.read_bytes),
            io_write_bytes: process.io.map(|io| io.write_bytes),
            descendants: None,
            extended: None,
        })
    }

    fn capabilities(&self) -> Vec<String> {
        let held = self.surroundings.held.permitted;
        held.iter().map(|one| one.to_string()).collect()
    }

    /// The daemon's own figures.
    pub(super) fn daemon_stats(&self) -> SupervisorStats {
        let own = stats::process(Pid::this()).ok();
        let process = Process::read(Pid::this());
        let started = process.map_or(Time::ZERO, |process| self.clock.started(&process));
        SupervisorStats {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_usec: self.clock.wall_usec(started),
            cpu_usec: own.as_ref().map_or(0, |own| own.cpu_usec),
            memory_rss: own.as_ref().map_or(0, |own| own.rss_bytes),
            memory_pss: stats::own_pss_bytes().unwrap_or(0),
            fds: own.and_then(|own| own.fds).map_or(0, |fds| fds as u64),
            watchers: self.core.watchers().count() as u64,
            processes: self.workers.count() as u64,
            connections: self.shared.connections.get() as u64,
            subscribers: self.log.with(|log| log.subscribers) as u64,
            events_total: self.core.last_seq(),
            spawns_total: self.workers.spawns,
            requests_total: self.requests,
            uid: nix::unistd::geteuid().as_raw(),
            unit: leave::system_unit(),
            journal: connected_to_journal(std::io::stderr()),
            capabilities: Some(self.capabilities()),
        }
    }
}

fn state(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Spawning => "spawning",
        ProcessState::Starting => "starting",
        ProcessState::Running => "running",
        ProcessState::Stopping => "stopping",
    }
}
