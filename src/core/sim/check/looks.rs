//! How the watchers look from outside: a state that fits what is known, and a reason with it.

use super::{Checker, Verdict, ensure};
use crate::core::{Supervisor, Watcher, WatcherState};

impl Checker {
    /// Compares what the supervisor shows of its watchers with the books.
    pub(in crate::core::sim) fn looks(&self, supervisor: &Supervisor) -> Verdict {
        for watcher in supervisor.watchers() {
            self.look_at(watcher)?;
            self.waits_rightly(watcher, supervisor)?;
            self.was_started(watcher)?;
        }
        Ok(())
    }

    fn look_at(&self, watcher: &Watcher) -> Verdict {
        let (name, state) = (&watcher.spec().name, watcher.state());
        let there = self.workers.values().filter(|w| w.watcher == *name);
        let runs = there.filter(|w| w.born.is_some() && !w.ended).count();
        ensure!(
            state == WatcherState::Active || watcher.reason().is_some(),
            "what does not simply run says why",
            "{name} is {state:?}"
        );
        let fits = match state {
            WatcherState::Stopped | WatcherState::Failed => runs == 0,
            WatcherState::Active => runs > 0 || watcher.target() == 0,
            WatcherState::Starting
            | WatcherState::Waiting
            | WatcherState::Reloading
            | WatcherState::Stopping => true,
        };
        ensure!(
            fits,
            "the state fits what runs",
            "{name} is {state:?} with {runs}"
        );
        Ok(())
    }
}
