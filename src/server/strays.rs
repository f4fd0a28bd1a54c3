//! Processes of an earlier daemon that its state does not know of: it was killed before it had
//! written them down, or could not write; or there is no state at all.
//!
//! They are looked for where only workers live, in the groups of the watchers of one instance; hooks
//! and loggers have theirs elsewhere. Nothing is done to anybody here: whoever is found becomes a
//! worker of its watcher, as if the state had told of it, and core keeps those that it has a place
//! for and ends the others as it ends any worker.
//!
//! ```text
//! known by the state, or let go               as the state says
//! its watcher is in the state or configured   one of its workers
//! its watcher is neither                      left alone, as if it had been let go
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::clock::Clock;
use super::convert;
use super::homes::{MARK, directory_name, groups_in, place_of};
use super::state::{KeptHome, Left, MadeFrom};
use crate::config::{Store, Watcher};
use crate::core::{Name, Revision, SavedWatcher, SavedWorker, WorkerId};
use crate::sys::cgroup::Cgroup;
use crate::sys::process::{self, Process};

/// No daemon gives out so many numbers. A process may say of itself what it likes, and must not leave
/// us without any.
const NUMBER_MAX: u64 = 1 << 48;

/// Somebody who lives in the group of a place.
#[derive(Debug)]
struct Stray {
    wid: u32,
    group: PathBuf,
    main: Process,
    /// The worker that it says it is, if it does.
    worker: Option<WorkerId>,
}

/// Adds to what was left, if anything was, the processes below `root` that are not in there. `instance`
/// is the name of the daemon that has left them.
///
/// Without a state nothing is known of them but where they live: they count as ready, and as made from
/// what is configured now.
pub(super) fn add(
    left: Option<Left>,
    root: &Path,
    instance: &str,
    store: &Store,
    clock: &Clock,
) -> Option<Left> {
    let mut search = Search {
        has_state: left.is_some(),
        left: left.unwrap_or_default(),
        store,
        clock,
    };
    let mut found: Vec<(String, Stray)> = Vec::new();
    for groups in groups_in(&root.join("watchers")) {
        let Some(directory) = groups.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let living = inhabited(&groups, instance);
        let strays = living
            .into_iter()
            .filter(|stray| search.is_unknown(stray))
            .collect::<Vec<_>>();
        found.extend(
            strays
                .into_iter()
                .map(|stray| (directory.to_owned(), stray)),
        );
    }
    // No number of one who has his already is given to another.
    let numbers = found.iter().filter_map(|(_, stray)| stray.worker);
    let saved = &mut search.left.saved;
    saved.last_id = numbers.map(|id| id.0).fold(saved.last_id, u64::max);
    for (directory, stray) in found {
        search.add(&directory, stray);
    }
    (search.has_state || !search.left.saved.workers.is_empty()).then_some(search.left)
}

struct Search<'a> {
    has_state: bool,
    left: Left,
    store: &'a Store,
    clock: &'a Clock,
}

impl Search<'_> {
    /// Whether the state does not tell of it. If it tells of a predecessor in the same group, that
    /// one is gone, and is forgotten: what lives there could not be told from its leavings.
    fn is_unknown(&mut self, stray: &Stray) -> bool {
        if self.left.let_go.contains(&stray.group) {
            return false;
        }
        let home = KeptHome::Cgroup(stray.group.clone());
        let homes = &self.left.homes;
        let known: Vec<WorkerId> = (homes.iter())
            .filter(|(_, kept)| **kept == home)
            .map(|(id, _)| *id)
            .collect();
        let saved = &self.left.saved.workers;
        let is_main = |worker: &&SavedWorker| worker.pid == stray.main.pid.as_raw();
        let mut mains = saved.iter().filter(is_main);
        let is_another = stray.worker.is_some_and(|id| !homes.contains_key(&id))
            && !mains.any(|main| known.contains(&main.id));
        if !known.is_empty() && !is_another {
            return false;
        }
        for id in known {
            self.left.homes.remove(&id);
            self.left.saved.workers.retain(|worker| worker.id != id);
        }
        true
    }

    fn add(&mut self, directory: &str, stray: Stray) {
        let place = self.watcher(directory).and_then(|at| {
            let name = self.left.saved.watchers[at].spec.name.clone();
            Some((at, self.place(&name, stray.wid)?, name))
        });
        let (pid, group) = (stray.main.pid, stray.group.display());
        let Some((at, wid, name)) = place else {
            tracing::warn!(
                "process {pid} in the cgroup '{group}' is of no watcher that is known, and is left \
                 alone"
            );
            self.left.let_go.insert(stray.group);
            return;
        };
        if self.has_state {
            tracing::warn!(
                "{name}: process {wid} (pid {pid}) is not in the state of the earlier circusd, and \
                 was found in its cgroup"
            );
        }
        let id = self.number(stray.worker);
        let started = self.clock.started(&stray.main);
        let watcher = &mut self.left.saved.watchers[at];
        let worker = watcher.found_worker(id, wid, pid.as_raw(), started, self.clock.now());
        self.left.saved.workers.push(worker);
        self.left.homes.insert(id, KeptHome::Cgroup(stray.group));
    }

    /// The place that is meant or, if another one has that, a free one. None without a state: one of
    /// the two was let go, and nobody knows which.
    fn place(&self, name: &Name, wid: u32) -> Option<u32> {
        let taken = |wid: &u32| {
            let mut workers = self.left.saved.workers.iter();
            workers.any(|worker| worker.watcher == *name && worker.wid == *wid)
        };
        match taken(&wid) {
            false => Some(wid),
            true => (1..).find(|wid| !taken(wid)).filter(|_| self.has_state),
        }
    }

    /// Its own number, if nobody has that, else the next.
    fn number(&mut self, own: Option<WorkerId>) -> WorkerId {
        let saved = &mut self.left.saved;
        let free = own.filter(|id| !self.left.homes.contains_key(id));
        free.unwrap_or_else(|| {
            let known = saved.workers.iter().map(|worker| worker.id.0).max();
            saved.last_id = saved.last_id.max(known.unwrap_or(0)) + 1;
            WorkerId(saved.last_id)
        })
    }

    /// Which of the watchers that were left has this directory; one of which nothing was left is put
    /// to them.
    fn watcher(&mut self, directory: &str) -> Option<usize> {
        let watchers = &self.left.saved.watchers;
        let left = (watchers.iter())
            .position(|watcher| directory_name(watcher.spec.name.as_str()) == directory);
        if left.is_some() {
            return left;
        }
        let mut configured = self.store.config().watchers.iter();
        let watcher = configured.find(|watcher| directory_name(&watcher.name) == directory)?;
        self.found(watcher)
    }

    fn found(&mut self, watcher: &Watcher) -> Option<usize> {
        let what = self.store.made_from(&watcher.name)?;
        let left = &mut self.left;
        let revisions = left.made_from.iter().map(|made| made.revision);
        let in_force = left.saved.watchers.iter().map(|saved| saved.spec.revision);
        let last = revisions.chain(in_force).max().unwrap_or_default();
        let revision = Revision(last.0 + 1);
        let spec = convert::spec(watcher, revision, BTreeMap::new());
        let configured = &self.store.config().watchers;
        let place = (configured.iter()).position(|other| other.name == watcher.name);
        let order = place.unwrap_or(configured.len()) as u64 + 1;
        let found = SavedWatcher::found(spec, order, self.clock.now());
        left.saved.watchers.push(found);
        left.made_from.push(MadeFrom {
            watcher: watcher.name.clone(),
            revision,
            what,
        });
        Some(left.saved.watchers.len() - 1)
    }
}

/// Who lives in the groups of a watcher, in the order of their places: in each the oldest, as all
/// others descend from it.
fn inhabited(groups: &Path, instance: &str) -> Vec<Stray> {
    let stray = |group: PathBuf| {
        let wid = place_of(&group)?;
        let living = Cgroup::open(&group).and_then(|group| group.procs()).ok()?;
        let processes = living.iter().filter_map(|pid| Process::read(*pid).ok());
        // Its first child may have been started in the same tick.
        let main = processes.min_by_key(|one| (one.start_ticks, living.contains(&one.ppid)))?;
        let worker = worker_of(&main, instance);
        Some(Stray {
            wid,
            group,
            main,
            worker,
        })
    };
    let mut strays: Vec<Stray> = groups_in(groups).into_iter().filter_map(stray).collect();
    strays.sort_by(|a, b| (a.wid, &a.group).cmp(&(b.wid, &b.group)));
    strays
}

/// The worker that a process was started as, if its environment still tells.
fn worker_of(process: &Process, instance: &str) -> Option<WorkerId> {
    let mark = process::variable(process.pid, MARK).ok()??;
    let (of, id) = std::str::from_utf8(&mark).ok()?.split_once(':')?;
    let id = id.parse().ok().filter(|id| *id < NUMBER_MAX)?;
    (of == instance).then_some(WorkerId(id))
}
