//! Going on where an earlier daemon was: its processes are found again, and those that have ended
//! meanwhile are told of; then the configuration is put in force as by any reload.
//!
//! A pid that was written down is only a hint. The process that has it now is the one that is meant
//! if it lives where that one lived, and was started when that one was; else that one has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use super::clock::Clock;
use super::convert;
use super::driver::Driver;
use super::homes::{Home, directory_name};
use super::notify::process_name;
use super::state::{Everything, KeptHome, Left, MadeFrom};
use super::workers::Adopted;
use crate::config::Store;
use crate::core::{
    Limits, Name, Revision, Saved, SavedWatcher, SavedWorker, Supervisor, Time, WorkerId,
};
use crate::sys::cgroup::{self, Cgroup};
use crate::sys::pidfd::Pidfd;
use crate::sys::process::Process;

/// The clocks that tell when a process was started and those that we use differ by so much at most.
const START_SLACK_USEC: u64 = 2_000_000;

/// What is to be written down, as far as it has changed.
#[derive(Debug, Default)]
pub(super) struct Written {
    revisions: BTreeSet<Revision>,
    /// The configuration has changed since.
    pub(super) store_changed: bool,
}

impl Driver {
    /// Takes over the processes that core has been told of. To be called before anything else is.
    pub(super) fn take_over(&mut self, left: &Left) {
        let known: Vec<(Name, WorkerId, u32, i32, bool, Time, Revision)> = (self.core.watchers())
            .flat_map(|watcher| {
                watcher.workers().map(|worker| {
                    let runs = worker.exit().is_none();
                    let name = watcher.spec().name.clone();
                    let pid = worker.pid().unwrap_or_default();
                    (
                        name,
                        worker.id(),
                        worker.wid(),
                        pid,
                        runs,
                        worker.started(),
                        worker.revision(),
                    )
                })
            })
            .collect();
        let mut homes = BTreeSet::new();
        for (watcher, id, wid, pid, runs, started, revision) in known {
            let pid = Pid::from_raw(pid);
            let kept = left.homes.get(&id);
            let home = kept.map_or_else(
                || {
                    self.workers
                        .homes
                        .cgroup_path(watcher.as_str(), wid)
                        .map(Home::Cgroup)
                },
                |kept| Some(self.workers.homes.find(kept, pid, id.0)),
            );
            let Some(home) = home else {
                continue;
            };
            homes.extend(home.path().map(Path::to_owned));
            let kept = self.sockets.take_process(&process_name(id));
            let process = match kept {
                // Whatever has become of its pid.
                Some(process) if runs => Some(process),
                _ => runs
                    .then(|| find(pid, &home, started, &self.clock))
                    .flatten(),
            };
            let watch = self.watch.get_mut();
            let recipe = self.recipes.get(revision);
            let adopted = Adopted {
                worker: id,
                watcher: &watcher,
                pid,
                process,
                runs,
                home,
                recipe: recipe.as_deref(),
            };
            let ended = self.workers.adopt(adopted, watch);
            self.inputs.extend(ended);
        }
        self.workers.homes.clear_empty(&homes);
        if left.damaged > 0 {
            tracing::warn!(
                "{} lines of the state of an earlier circusd could not be read and are left out",
                left.damaged
            );
        }
        match self.workers.count() {
            0 => {}
            number => tracing::info!(
                "{} of an earlier circusd taken over",
                super::journal::processes(number)
            ),
        }
    }

    /// Writes down what has changed, before anybody can hear of it.
    pub(super) fn write_down(&mut self) {
        let unsaved = self.core.unsaved();
        let store_changed = std::mem::take(&mut self.written.store_changed);
        let made_from = match store_changed && self.records.is_some() {
            true => self.made_from(),
            false => Vec::new(),
        };
        let Some(records) = &mut self.records else {
            return;
        };
        let workers = &self.workers;
        records.note(unsaved, |id| workers.kept_home(id));
        if store_changed {
            for made_from in made_from {
                if self.written.revisions.insert(made_from.revision) {
                    records.note_made_from(made_from);
                }
            }
            records.note_wishes(self.store.wishes());
            records.note_sockets(self.sockets.keep(&self.store));
            self.manager.keep(self.sockets.to_keep());
        }
        if records.are_long() {
            self.write_all();
        }
        if let Some(records) = &mut self.records {
            records.flush();
        }
        self.log.flush();
    }

    /// Writes down everything.
    pub(super) fn write_all(&mut self) {
        if self.records.is_none() {
            return;
        }
        let made_from = self.made_from();
        self.written.revisions = made_from.iter().map(|made| made.revision).collect();
        let all = Everything {
            saved: self.core.save(),
            wishes: self.store.wishes(),
            sockets: self.sockets.keep(&self.store),
            made_from,
        };
        let workers = &self.workers;
        if let Some(records) = &mut self.records {
            records.rewrite(all, |id| workers.kept_home(id));
        }
    }

    fn made_from(&self) -> Vec<MadeFrom> {
        let watchers = self.store.config().watchers.iter();
        let made_from = watchers.filter_map(|watcher| {
            Some(MadeFrom {
                watcher: watcher.name.clone(),
                revision: self.recipes.current(&watcher.name)?,
                what: self.store.made_from(&watcher.name)?,
            })
        });
        made_from.collect()
    }
}

/// The process that is meant, if it still runs or has not been forgotten by the kernel.
fn find(pid: Pid, home: &Home, started: Time, clock: &Clock) -> Option<Pidfd> {
    let process = Pidfd::open(pid).ok()?;
    let lives = match home {
        Home::Cgroup(path) => {
            cgroup::of(pid).is_ok_and(|group| group.starts_with(path))
                && was_started(pid, started, clock)
        }
        Home::Tree(origin) => Process::read(pid).is_ok_and(|p| p.start_ticks == origin.start_ticks),
    };
    lives.then_some(process)
}

/// Whether the process that has this pid was started then. The kernel counts the time in which the
/// machine slept, and we do not.
fn was_started(pid: Pid, started: Time, clock: &Clock) -> bool {
    let Ok(process) = Process::read(pid) else {
        return false;
    };
    let then = process.started_usec();
    let earliest = started.as_micros().saturating_sub(START_SLACK_USEC);
    let latest = started.as_micros() + clock.slept_usec() + START_SLACK_USEC;
    (earliest..=latest).contains(&then)
}

/// What can be known without a state: processes that live where the processes of configured watchers
/// did, below `root`. Nothing is changed about them; they count as ready, and as made from what is
/// configured now. `None` if there are none.
pub(super) fn found(root: &Path, store: &Store, now: Time) -> Option<Left> {
    let mut left = Left::default();
    for (number, watcher) in (1..).zip(&store.config().watchers) {
        let groups = root.join("watchers").join(directory_name(&watcher.name));
        let inhabited = inhabited(&groups);
        if inhabited.is_empty() {
            continue;
        }
        let revision = Revision(number);
        let spec = convert::spec(watcher, revision, BTreeMap::new());
        for (wid, group, pid) in inhabited {
            let id = WorkerId(left.saved.workers.len() as u64 + 1);
            let (name, pid) = (spec.name.clone(), pid.as_raw());
            left.homes.insert(id, KeptHome::Cgroup(group));
            let worker = SavedWorker::found(id, name, wid, pid, revision, now);
            left.saved.workers.push(worker);
        }
        left.saved
            .watchers
            .push(SavedWatcher::found(spec, number, now));
        left.made_from.push(MadeFrom {
            watcher: watcher.name.clone(),
            revision,
            what: store.made_from(&watcher.name)?,
        });
    }
    (!left.saved.workers.is_empty()).then_some(left)
}

/// The places of a watcher in whose groups somebody lives, and who that is: the oldest there, as all
/// others descend from it.
fn inhabited(groups: &Path) -> Vec<(u32, PathBuf, Pid)> {
    let Ok(entries) = std::fs::read_dir(groups) else {
        return Vec::new();
    };
    let places = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let wid: u32 = path
            .file_name()?
            .to_str()?
            .split('.')
            .next()?
            .parse()
            .ok()?;
        let living = Cgroup::open(&path).and_then(|group| group.procs()).ok()?;
        let living = living.into_iter().filter_map(|pid| Process::read(pid).ok());
        let oldest = living.min_by_key(|process| process.start_ticks)?;
        Some((wid, path, oldest.pid))
    });
    let mut places: Vec<_> = places.filter(|(wid, ..)| *wid > 0).collect();
    places.sort();
    places.dedup_by_key(|(wid, ..)| *wid);
    places
}

/// The supervisor that goes on with what was left, or begins anew.
pub(super) fn supervisor(
    left: Option<&mut Left>,
    last_seq: u64,
    now: Time,
    limits: Limits,
) -> Supervisor {
    let seed = fastrand::u64(..);
    let Some(left) = left else {
        return Supervisor::new(now, limits, seed);
    };
    let saved = Saved {
        last_seq,
        ..std::mem::take(&mut left.saved)
    };
    Supervisor::resume(now, limits, seed, saved)
}
