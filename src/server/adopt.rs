//! Going on where an earlier daemon was: its processes are found again, and those that have ended
//! meanwhile are told of; then the configuration is put in force as by any reload.
//!
//! A pid that was written down is only a hint. The process that has it now is the one that is meant
//! if it lives where that one lived, and was started when that one was; else that one has ended.

use std::collections::BTreeSet;
use std::path::Path;

use nix::unistd::Pid;

use super::clock::Clock;
use super::driver::Driver;
use super::homes::Home;
use super::notify::process_name;
use super::state::{Everything, Left, MadeFrom};
use super::streams::{Heritage, output_name};
use super::workers::Adopted;
use crate::core::{Limits, Name, Revision, Saved, Supervisor, Time, WorkerId};
use crate::sys::cgroup;
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
    /// Goes on with what processes of an earlier daemon write. To be called before
    /// [`Driver::take_over`].
    pub(super) fn take_over_output(&mut self, left: Option<&Left>) {
        let (sockets, recipes) = (&mut self.sockets, &self.recipes);
        let places = left.iter().flat_map(|left| left.places.values());
        let heritage = Heritage {
            kept: left.map_or(&[], |left| &left.outputs),
            held: &mut |number| sockets.take(&output_name(number)),
            recipe: &|watcher| recipes.get(recipes.current(watcher)?),
            used: places.flat_map(|place| place.loggers.clone()).collect(),
        };
        (self.workers).resume_output(heritage, self.watch.get_mut());
    }

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
        self.workers.homes.inherit_let_go(&left.let_go, &left.freed);
        let mut homes = BTreeSet::new();
        for (watcher, id, wid, pid, runs, started, revision) in known {
            let pid = Pid::from_raw(pid);
            let kept = left.places.get(&id);
            let home = kept.map_or_else(
                || {
                    self.workers
                        .homes
                        .cgroup_path(watcher.as_str(), wid)
                        .map(Home::Cgroup)
                },
                |kept| Some(self.workers.homes.find(&kept.home, pid, id.0)),
            );
            let Some(home) = home else {
                continue;
            };
            homes.extend(home.path().map(Path::to_owned));
            self.workers.homes.inherit(&home, wid);
            let held = self.sockets.take(&process_name(id));
            let process = match held {
                // Whatever has become of its pid.
                Some(process) if runs => Some(process.into()),
                _ => runs
                    .then(|| find(pid, &home, started, &self.clock))
                    .flatten(),
            };
            let watch = self.watch.get_mut();
            let recipe = self.recipes.get(revision);
            let adopted = Adopted {
                worker: id,
                watcher: &watcher,
                wid,
                pid,
                process,
                runs,
                home,
                recipe: recipe.as_deref(),
                loggers: kept.map_or(&[], |kept| &kept.loggers),
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
            self.workers.streams.changes.take();
            return;
        };
        let workers = &self.workers;
        records.note(unsaved, |id| workers.kept_place(id));
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
        if let Some((groups, freed)) = self.workers.homes.newly_let_go() {
            records.note_let_go(groups, freed);
        }
        for number in self.workers.streams.changes.take() {
            let streams = &self.workers.streams;
            let kept = streams.kept(number);
            match kept.as_ref().and_then(|_| streams.reader(number)) {
                Some(reader) => self.manager.keep_output(number, reader),
                None => self.manager.let_go_of_output(number),
            }
            records.note_output(number, kept);
        }
        if records.are_long() || records.are_due() {
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
            outputs: self.workers.streams.all_kept(),
            made_from,
            let_go: self.workers.homes.let_go_groups(),
            freed: self.workers.homes.freed(),
        };
        let workers = &self.workers;
        if let Some(records) = &mut self.records {
            records.rewrite(all, |id| workers.kept_place(id));
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
