//! Processes of an earlier daemon, which are no children of ours: looked after from now on as if we
//! had started them.

use std::os::fd::{AsFd, BorrowedFd};

use nix::unistd::Pid;

use super::told::{Ends, Told};
use super::{KIND_SHIFT, LINE, MEMORY, NOTIFY, PROCESS, Running, Workers};
use crate::core::{ExitStatus, Input, Name, WorkerId};
use crate::server::homes::Home;
use crate::server::program;
use crate::server::recipes::Recipe;
use crate::server::state::KeptHome;
use crate::server::want::Witness;
use crate::sys::cgroup::Cgroup;
use crate::sys::epoll::{Interest, Watch};
use crate::sys::pidfd::Pidfd;

/// A process of an earlier daemon.
#[derive(Debug)]
pub(in crate::server) struct Adopted<'a> {
    pub(in crate::server) worker: WorkerId,
    pub(in crate::server) watcher: &'a Name,
    pub(in crate::server) pid: Pid,
    /// The process itself, if it is still to be had.
    pub(in crate::server) process: Option<Pidfd>,
    /// It was not told to have ended.
    pub(in crate::server) runs: bool,
    pub(in crate::server) home: Home,
    /// What it was made from, or would be now.
    pub(in crate::server) recipe: Option<&'a Recipe>,
}

impl Workers {
    /// A main process that runs.
    pub(in crate::server) fn process(&self, worker: WorkerId) -> Option<BorrowedFd<'_>> {
        Some(self.running.get(&worker)?.pidfd.as_ref()?.as_fd())
    }

    /// By what a process is found again; `None` for one that is not here.
    pub(in crate::server) fn kept_home(&self, worker: WorkerId) -> Option<KeptHome> {
        Some(self.running.get(&worker)?.home.keep())
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
            pid,
            process,
            runs,
            home,
            recipe,
        } = adopted;
        let told = recipe.filter(|_| process.is_some());
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
                leases: Vec::new(),
                witness,
                rest: Vec::new(),
                events: None,
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
        match (runs, emptied) {
            (true, emptied) => vec![Input::Exited {
                worker,
                status,
                emptied,
            }],
            (false, true) => vec![Input::Emptied { worker }],
            (false, false) => Vec::new(),
        }
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
