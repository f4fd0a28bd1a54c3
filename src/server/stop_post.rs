//! The last of a unit that is being stopped: what workers are left, because circusd itself did not
//! live to stop them, are stopped (`ExecStopPost=` in systemd.service(5)).
//!
//! systemd runs this at every end of circusd. If the unit is to come up again nothing is done: the
//! next circusd goes on with what runs. There is no loop here, and no other daemon.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::leave::{job_arguments, unit_around};
use super::state::{self, KeptHome};
use crate::config::{Sources, Store};
use crate::sys::cgroup::{self, Cgroup};
use crate::sys::pidfd::Pidfd;

/// The manager gives us no longer than `TimeoutStopSec=`, of which so much is for the workers at most.
const GRACE_MAX: Duration = Duration::from_secs(60);

/// How long it takes the kernel to clear away what was killed, at most.
const KILL_MAX: Duration = Duration::from_secs(5);

/// Stops what is left of the unit's processes, if the unit is being stopped.
///
/// # Errors
///
/// A sentence: something is left, or nobody can say whether anything should be.
pub fn stop_post(sources: Sources) -> Result<(), String> {
    let (unit, of_user) = unit_around().ok_or("not in a service of the service manager")?;
    let base = unit_group(&unit)?;
    let groups: Vec<PathBuf> = ["watchers", "hooks", "loggers"]
        .map(|name| base.join(name))
        .into();
    let left = groups.iter().filter(|group| is_populated(group)).count();
    if left == 0 || !is_stopped(&unit, of_user)? {
        return Ok(());
    }
    let directory = state_dir(sources);
    let grace = directory.as_deref().map_or(Duration::ZERO, tell_to_end);
    wait_until_empty(&groups, grace);
    for group in &groups {
        // It may be gone by now.
        let _ = Cgroup::open(group).and_then(|group| group.kill());
    }
    match wait_until_empty(&groups, KILL_MAX) {
        true => {
            for group in groups {
                super::homes::remove(group);
            }
            if let Some(directory) = &directory {
                state::forget(directory);
            }
            Ok(())
        }
        false => Err(format!("processes are left in '{}'", base.display())),
    }
}

/// Where the state is. A mistake in the files does not keep workers from their end: without the files
/// it is in its usual place, or nobody knows how the workers are told to end.
fn state_dir(sources: Sources) -> Option<PathBuf> {
    let store = Store::load(sources.clone()).or_else(|_| Store::load(sources.without_files()));
    Some(store.ok()?.config().circusd.state_dir.clone())
}

/// The group of the unit: we are in one below it.
fn unit_group(unit: &str) -> Result<PathBuf, String> {
    let own = cgroup::own().map_err(|error| error.to_string())?;
    let group = own.ancestors().find(|path| path.ends_with(unit));
    group
        .map(Path::to_owned)
        .ok_or_else(|| format!("not in the cgroup of {unit}"))
}

fn is_populated(group: &Path) -> bool {
    Cgroup::open(group)
        .and_then(|group| group.is_populated())
        .unwrap_or(false)
}

/// Whether the manager wants the unit down. A crash alone is no job: the unit comes up again.
fn is_stopped(unit: &str, of_user: bool) -> Result<bool, String> {
    let arguments = job_arguments(unit, of_user);
    let answer = Command::new(&arguments[0]).args(&arguments[1..]).output();
    let answer = answer.map_err(|error| format!("failed to ask systemctl: {error}"))?;
    let jobs = String::from_utf8_lossy(&answer.stdout);
    Ok(jobs
        .lines()
        .any(|line| line.split_whitespace().nth(2) == Some("stop")))
}

/// Tells all workers that are known to end, each as its watcher has it; how long they may take.
fn tell_to_end(directory: &Path) -> Duration {
    let Ok(Some(left)) = state::left_in(directory) else {
        return Duration::ZERO;
    };
    let mut grace = Duration::ZERO;
    for worker in left.saved.workers.iter().filter(|worker| worker.runs()) {
        let named = |watcher: &&crate::core::SavedWatcher| watcher.spec.name == worker.watcher;
        let Some(watcher) = left.saved.watchers.iter().find(named) else {
            continue;
        };
        let place = left.places.get(&worker.id);
        let Some(KeptHome::Cgroup(home)) = place.map(|place| &place.home) else {
            continue;
        };
        let pid = Pid::from_raw(worker.pid);
        let lives = || cgroup::of(pid).is_ok_and(|group| group.starts_with(home));
        if let Ok(process) = Pidfd::open(pid)
            && lives()
            && process.signal(watcher.spec.stop_signal).is_ok()
        {
            // A stopped process hears nothing else.
            let _ = process.signal(nix::libc::SIGCONT);
            grace = grace.max(watcher.spec.graceful_timeout);
        }
    }
    grace.min(GRACE_MAX)
}

/// Says whether they were empty in time.
fn wait_until_empty(groups: &[PathBuf], limit: Duration) -> bool {
    let end = Instant::now() + limit;
    groups.iter().all(|group| {
        let events = Cgroup::open(group).and_then(|group| group.events_fd());
        let Ok(events) = events else {
            return true;
        };
        let left = end.saturating_duration_since(Instant::now());
        let emptied = events.wait(left, |state| !state.populated);
        matches!(emptied, Ok(Some(_)) | Err(_))
    })
}
