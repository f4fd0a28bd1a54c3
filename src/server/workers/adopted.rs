//! Processes of an earlier daemon, which are no children of ours: looked after from now on as if we
//! had started them.

use std::os::fd::{AsFd, BorrowedFd};

use nix::unistd::Pid;

use super::told::{Ends, Told};
use super::{GROUP, KIND_SHIFT, LINE, MEMORY, NOTIFY, PIPE, PROCESS, Running, Workers};
use crate::core::{ExitStatus, Input, Name, WorkerId};
use crate::server::homes::Home;
use crate::server::program;
use crate::server::recipes::Recipe;
use crate::server::state::KeptPlace;
use crate::server::streams::Heritage;
use crate::server::want::Witness;
use crate::sys::cgroup::Cgroup;
use crate::sys::epoll::{Interest, Watch};
use crate::sys::pidfd::Pidfd;

/// A process of an earlier daemon.
#[derive(Debug)]
pub(in crate::server) struct Adopted<'a> {
    pub(in crate::server) worker: WorkerId,
    pub(in crate::server) watcher: &'a Name,
    pub(in crate::server) wid: u32,
    pub(in crate::server) pid: Pid,
    /// The process itself, if it is still to be had.
    pub(in crate::server) process: Option<Pidfd>,
    /// It was not told to have ended.
    pub(in crate::server) runs: bool,
    pub(in crate::server) home: Home,
    /// What it was made from, or would be now.
    pub(in crate::server) recipe: Option<&'a Recipe>,
    /// The pipes by which it writes to loggers.
    pub(in crate::server) loggers: &'a [u64],
}

impl Workers {
    /// A main process that runs.
    pub(in crate::server) fn process(&self, worker: WorkerId) -> Option<BorrowedFd<'_>> {
        Some(self.running.get(&worker)?.pidfd.as_ref()?.as_fd())
    }

    /// By what a process is found again; `None` for one that is not here.
    pub(in crate::server) fn kept_place(&self, worker: WorkerId) -> Option<KeptPlace> {
        let running = self.running.get(&worker)?;
        let leases = running.leases.iter();
        Some(KeptPlace {
            home: running.home.keep(),
            loggers: leases.filter_map(|lease| lease.number()).collect(),
        })
    }

    /// Goes on with what processes of an earlier daemon write.
    pub(in crate::server) fn resume_output(&mut self, heritage: Heritage<'_>, watch: &mut Watch) {
        let token = |id| PIPE << KIND_SHIFT | id;
        self.streams.resume(heritage, watch, token);
    }

    /// All are here of an earlier daemon's who live: what others of its processes had is cleared away.
    pub(in crate::server) fn all_adopted(&mut self) {
        let running = &self.running;
        self.handed.resume(|worker| running.contains_key(&worker));
    }

    /// Looks after a process of an earlier daemon. Says what has become of it meanwhile.
    pub(in crate::server) fn adopt(
        &mut self,
        adopted: Adopted<'_>,
        watch: &mut Watch,
    ) -> Vec<Input> {
        let Adopted {
            worker,
            watcher,
            wid,
            pid,
            process,
            runs,
            home,
            recipe,
            loggers,
        } = adopted;
        let told = recipe.filter(|_| process.is_some());
        if let Some(recipe) = told {
            let token = |id| PIPE << KIND_SHIFT | id;
            self.streams.claim(recipe, (wid, pid), watch, token);
        }
        let told = told.map(|recipe| self.listen_again(worker, recipe, watch));
        let token = PROCESS << KIND_SHIFT | worker.0;
        let watched = process.filter(|process| watch.add(process, token, Interest::Read).is_ok());
        let group = home.path().and_then(|path| Cgroup::open(path).ok());
        // What was counted before is another daemon's to have told of.
        let witness = group.and_then(|group| Witness::new(&group).ok().flatten());
        let witness = witness.filter(|witness| {
            let token = MEMORY << KIND_SHIFT | worker.0;
            watch
                .add(&witness.events, token, Interest::Priority)
                .is_ok()
        });
        let leases = loggers.iter();
        let leases = leases.filter_map(|number| self.streams.loggers.lease(*number));
        let waited = watched.is_none();
        if !waited {
            self.pids.insert(pid);
            self.known.borrow_mut().insert(pid);
        }
        self.running.insert(
            worker,
            Running {
                watcher: watcher.clone(),
                pid,
                pidfd: watched,
                waited,
                home,
                leader: None,
                told: told.unwrap_or_default(),
                watchdog: recipe.map(|recipe| recipe.watcher.watchdog),
                leases: leases.collect(),
                witness,
                events: None,
                astray: true,
                left: None,
            },
        );
        if !waited {
            return Vec::new();
        }
        let emptied = self.is_empty(worker);
        if !emptied {
            self.await_empty(worker, watch);
        }
        let status = ExitStatus::Unknown;
        let mut inputs = match (runs, emptied) {
            (true, emptied) => vec![Input::Exited {
                worker,
                status,
                emptied,
            }],
            (false, true) => vec![Input::Emptied { worker }],
            (false, false) => Vec::new(),
        };
        self.await_left(worker, watch, &mut inputs);
        inputs
    }

    /// Has us told when one of those has ended that a worker has left and that do not come to us, where
    /// there is no group to tell. One after the other, until none is found.
    pub(super) fn await_left(
        &mut self,
        worker: WorkerId,
        watch: &mut Watch,
        inputs: &mut Vec<Input>,
    ) {
        let Some(running) = self.running.get_mut(&worker) else {
            return;
        };
        if !running.astray || !self.leaving.contains(&worker) {
            return;
        }
        let token = GROUP << KIND_SHIFT | worker.0;
        let members = running.home.members().unwrap_or_default();
        running.left = members
            .into_iter()
            .filter_map(|pid| Pidfd::open(pid).ok())
            .find(|left| watch.add(left, token, Interest::Read).is_ok());
        if running.left.is_none() {
            self.look_at(worker, inputs);
        }
    }

    /// The one that was waited for may have ended.
    pub(super) fn one_left_less(
        &mut self,
        worker: WorkerId,
        watch: &mut Watch,
        inputs: &mut Vec<Input>,
    ) {
        let running = self.running.get_mut(&worker);
        let Some(left) = running.and_then(|running| running.left.take()) else {
            return;
        };
        let _ = watch.remove(&left);
        // It has come to us all the same if the program that we are in has made itself a reaper.
        let _ = left.try_wait();
        self.await_left(worker, watch, inputs);
    }

    /// Hears again what a process says: its socket has the path that it knows.
    fn listen_again(&self, worker: WorkerId, recipe: &Recipe, watch: &mut Watch) -> Told {
        let path = format!("{}{}", self.notify.display(), worker.0);
        let owner = recipe
            .credentials()
            .ok()
            .and_then(program::Credentials::uid);
        let told = match Ends::make(&recipe.watcher, path.into(), owner) {
            Ok(ends) => ends.into_told(),
            Err(failure) => {
                tracing::warn!("{}: {}", recipe.watcher.name, failure.error);
                return Told::default();
            }
        };
        let tokens = (
            NOTIFY << KIND_SHIFT | worker.0,
            LINE << KIND_SHIFT | worker.0,
        );
        if let Err(error) = told.watch(watch, tokens.0, tokens.1) {
            let name = &recipe.watcher.name;
            tracing::warn!("{name}: a process that was taken over is not heard: {error}");
        }
        told
    }
}
