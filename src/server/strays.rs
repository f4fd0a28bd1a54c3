//! Processes of an earlier daemon that its state does not know of: it was killed before it had
//! written them down, or could not write; or there is no state at all.
//!
//! They are looked for where only workers live, in the groups of the watchers of one instance; hooks
//! and loggers have theirs elsewhere. Where there are no groups, they are known by what only workers
//! and their children have in their environment, as long as the state is there. Nothing is done to anybody here: whoever is found becomes a
//! worker of its watcher, as if the state had told of it, and core keeps those that it has a place
//! for and ends the others as it ends any worker.
//!
//! ```text
//! known by the state, or let go               as the state says
//! its watcher is in the state or configured   one of its workers
//! its watcher is neither                      left alone, as if it had been let go
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use super::clock::Clock;
use super::convert;
use super::homes::{MARK, directory_name, groups_in, place_of};
use super::state::{KeptFreed, KeptHome, Left, MadeFrom};
use crate::config::{Store, Watcher};
use crate::core::{Name, Revision, SavedWatcher, WorkerId};
use crate::sys::cgroup::Cgroup;
use crate::sys::process::{self, Process};
use crate::sys::tree;

/// No daemon gives out so many numbers. A process may say of itself what it likes, and must not leave
/// us without any.
const NUMBER_MAX: u64 = 1 << 48;

/// Somebody who lives in the group of a place or is marked as a worker, and is not in the state.
struct Stray {
    /// What the directory of its watcher is called.
    directory: String,
    wid: u32,
    home: KeptHome,
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
    let mut search = Search::new(left, instance, store, clock);
    let mut found: Vec<Stray> = Vec::new();
    for groups in groups_in(&root.join("watchers")) {
        let Some(directory) = groups.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let mut places: Vec<(u32, PathBuf)> = (groups_in(&groups).into_iter())
            .filter_map(|group| Some((place_of(&group)?, group)))
            .collect();
        places.sort_unstable();
        let strays = (places.into_iter())
            .filter_map(|(wid, group)| search.stray(directory.to_owned(), wid, group));
        found.extend(strays);
    }
    search.add_all(found);
    (search.has_state || !search.left.saved.workers.is_empty()).then_some(search.left)
}

/// The same where there are no groups.
pub(super) fn add_marked(
    left: Option<Left>,
    instance: &str,
    store: &Store,
    clock: &Clock,
) -> Option<Left> {
    let mut search = Search::new(Some(left?), instance, store, clock);
    match search.marked() {
        Ok(found) => search.add_all(found),
        Err(error) => tracing::warn!(
            "failed to look for processes that are not in the state of the earlier circusd: {error}"
        ),
    }
    Some(search.left)
}

/// Which workers live in each group as far as the state tells, and their main processes.
fn known(left: &Left) -> BTreeMap<PathBuf, Vec<(WorkerId, i32)>> {
    let mut known: BTreeMap<PathBuf, Vec<_>> = BTreeMap::new();
    for worker in &left.saved.workers {
        if let Some(KeptHome::Cgroup(group)) = left.places.get(&worker.id).map(|place| &place.home)
        {
            let there = known.entry(group.clone()).or_default();
            there.push((worker.id, worker.pid));
        }
    }
    known
}

struct Search<'a> {
    has_state: bool,
    known: BTreeMap<PathBuf, Vec<(WorkerId, i32)>>,
    left: Left,
    instance: &'a str,
    store: &'a Store,
    clock: &'a Clock,
}

impl<'a> Search<'a> {
    fn new(left: Option<Left>, instance: &'a str, store: &'a Store, clock: &'a Clock) -> Self {
        Search {
            has_state: left.is_some(),
            known: left.as_ref().map_or_else(BTreeMap::new, known),
            left: left.unwrap_or_default(),
            instance,
            store,
            clock,
        }
    }

    /// Who lives there, if the state does not tell of it. If it tells of a predecessor in the same
    /// group, that one is gone, and is forgotten: what lives there could not be told from its
    /// leavings.
    fn stray(&mut self, directory: String, wid: u32, group: PathBuf) -> Option<Stray> {
        let living = Cgroup::open(&group).and_then(|group| group.procs()).ok()?;
        let living: BTreeSet<Pid> = living.into_iter().collect();
        let known = self.known.get(&group).map_or(&[][..], Vec::as_slice);
        let is_there = |(_, pid): &(_, i32)| living.contains(&Pid::from_raw(*pid));
        if self.left.let_go.contains(&group) || known.iter().any(is_there) {
            return None;
        }
        let main = oldest(&living)?;
        let worker = worker_of(&main, self.instance);
        let is_another = worker.is_some_and(|id| !self.left.places.contains_key(&id));
        if !known.is_empty() && !is_another {
            return None;
        }
        for (id, _) in known {
            self.left.places.remove(id);
            self.left.saved.workers.retain(|worker| worker.id != *id);
        }
        Some(Stray {
            directory,
            wid,
            home: KeptHome::Cgroup(group),
            main,
            worker,
        })
    }

    /// Who was started as a worker that the state does not tell of.
    fn marked(&self) -> io::Result<Vec<Stray>> {
        let mut living: BTreeMap<WorkerId, BTreeSet<Pid>> = BTreeMap::new();
        let freed: BTreeSet<&str> = (self.left.freed.iter())
            .filter_map(|freed| Some(freed.mark.as_ref()?.1.as_str()))
            .collect();
        for (process, number) in tree::marked(MARK, &format!("{}:", self.instance))? {
            let id = std::str::from_utf8(&number).ok().and_then(number_of);
            let Some(id) = id.filter(|id| !self.left.places.contains_key(id)) else {
                continue;
            };
            if !freed.contains(self.mark(id).as_str()) {
                living.entry(id).or_default().insert(process.pid);
            }
        }
        let strays = living.into_iter().filter_map(|(id, living)| {
            let main = oldest(&living)?;
            let told = |name| {
                let value = process::variable(main.pid, name).ok()??;
                String::from_utf8(value).ok()
            };
            Some(Stray {
                directory: directory_name(&told("CIRCUS_WATCHER")?),
                wid: told("CIRCUS_WID")?.parse().ok().filter(|wid| *wid > 0)?,
                home: KeptHome::Started(main.start_ticks),
                main,
                worker: Some(id),
            })
        });
        Ok(strays.collect())
    }

    fn add_all(&mut self, found: Vec<Stray>) {
        // No number of one who has his already is given to another.
        let numbers = found.iter().filter_map(|stray| stray.worker);
        let saved = &mut self.left.saved;
        saved.last_id = numbers.map(|id| id.0).fold(saved.last_id, u64::max);
        found.into_iter().for_each(|stray| self.add(stray));
    }

    fn add(&mut self, stray: Stray) {
        let place = self.watcher(&stray.directory).and_then(|at| {
            let name = self.left.saved.watchers[at].spec.name.clone();
            Some((at, self.place(&name, stray.wid)?, name))
        });
        let pid = stray.main.pid;
        let Some((at, wid, name)) = place else {
            return self.leave_alone(stray);
        };
        if self.has_state {
            let by = match stray.home {
                KeptHome::Cgroup(_) => "in its cgroup",
                KeptHome::Started(_) => "by its environment",
            };
            tracing::warn!(
                "{name}: process {wid} (pid {pid}) is not in the state of the earlier circusd, and \
                 was found {by}"
            );
        }
        let id = self.number(stray.worker);
        let started = self.clock.started(&stray.main);
        let watcher = &mut self.left.saved.watchers[at];
        let worker = watcher.found_worker(id, wid, pid.as_raw(), started, self.clock.now());
        self.left.saved.workers.push(worker);
        self.left.places.insert(id, stray.home.into());
    }

    fn mark(&self, id: WorkerId) -> String {
        format!("{}:{}", self.instance, id.0)
    }

    fn leave_alone(&mut self, stray: Stray) {
        let pid = stray.main.pid;
        let place = match stray.home {
            KeptHome::Cgroup(group) => {
                let told = format!(" in the cgroup '{}'", group.display());
                self.left.let_go.insert(group);
                told
            }
            KeptHome::Started(started) => {
                let mark = stray.worker.map(|id| (MARK.to_owned(), self.mark(id)));
                self.left.freed.push(KeptFreed {
                    pid: pid.as_raw(),
                    started,
                    mark,
                });
                String::new()
            }
        };
        tracing::warn!("process {pid}{place} is of no watcher that is known, and is left alone");
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
        let free = own.filter(|id| !self.left.places.contains_key(id));
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

/// Of those who live in a group the one that all others descend from.
fn oldest(living: &BTreeSet<Pid>) -> Option<Process> {
    let processes = living.iter().filter_map(|pid| Process::read(*pid).ok());
    // Its first child may have been started in the same tick.
    processes.min_by_key(|one| (one.start_ticks, living.contains(&one.ppid)))
}

/// The worker that a process was started as, if its environment still tells.
fn worker_of(process: &Process, instance: &str) -> Option<WorkerId> {
    let mark = process::variable(process.pid, MARK).ok()??;
    let (of, id) = std::str::from_utf8(&mark).ok()?.split_once(':')?;
    (of == instance).then(|| number_of(id))?
}

fn number_of(text: &str) -> Option<WorkerId> {
    let number = text.parse().ok().filter(|number| *number < NUMBER_MAX);
    number.map(WorkerId)
}
