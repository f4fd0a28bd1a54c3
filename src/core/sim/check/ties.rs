//! Dependencies: who comes after another does not start before that one is ready; who requires
//! another is down before that one has stopped.

use super::books::Wanted;
use super::{Checker, Verdict, ensure};
use crate::core::{Cause, Name, Supervisor, Watcher, WatcherState};
use std::collections::BTreeSet;

impl Checker {
    /// A watcher begins to start, or has begun already.
    pub(super) fn begins(&mut self, name: &Name) -> Verdict {
        let Some(watch) = self.watchers.get(name).filter(|watch| !watch.begun) else {
            return Ok(());
        };
        for other in watch.names(true) {
            ensure!(
                self.may_be_ready(other),
                "who depends on others starts when they are ready",
                "{name} starts, and {other} is not ready: {:?}",
                self.watchers.get(other)
            );
        }
        if let Some(watch) = self.watchers.get_mut(name) {
            watch.begun = true;
        }
        Ok(())
    }

    /// It has not begun after all.
    pub(super) fn has_not_begun(&mut self, name: &Name) {
        if let Some(watch) = self.watchers.get_mut(name) {
            watch.begun = false;
        }
    }

    fn may_be_ready(&self, name: &Name) -> bool {
        let Some(watch) = self.watchers.get(name) else {
            return false;
        };
        // Nothing tells that the work of a watcher is done, and with what success.
        let done = watch.done || watch.may_finish();
        let mut mine = self.workers.values().filter(|w| w.watcher == *name);
        let somebody = mine.any(|w| w.ready_told && !w.ended);
        let nobody = watch.targets.contains(&0);
        done || watch.started && (somebody || nobody)
    }

    /// A watcher has come to a stop.
    pub(super) fn outlasts(&self, name: &Name) -> Verdict {
        let watch = &self.watchers[name];
        if watch.may_finish() || self.may_leave() {
            return Ok(());
        }
        let together = self.ending.is_some() && !watch.early;
        for (dependent, watch) in &self.watchers {
            let named = watch.names(together).contains(&name);
            ensure!(
                !named || !watch.begun || watch.retied || self.in_circle(name),
                "who depends on others stops before them",
                "{name} has stopped before {dependent}"
            );
        }
        Ok(())
    }

    fn in_circle(&self, name: &Name) -> bool {
        let start = BTreeSet::from([name.clone()]);
        self.closure(&start, true).contains(name)
    }

    /// All that these may require, and with `after` those that may come before them too; themselves
    /// only if they are in a circle.
    fn closure(&self, names: &BTreeSet<Name>, after: bool) -> BTreeSet<Name> {
        let (mut all, mut open) = (BTreeSet::new(), Vec::from_iter(names.iter().cloned()));
        while let Some(name) = open.pop() {
            let specs = self.watchers.get(&name).map(|watch| &watch.specs);
            for spec in specs.into_iter().flatten() {
                let more = spec.after.iter().filter(|_| after);
                for other in spec.requires.iter().chain(more) {
                    if all.insert(other.clone()) {
                        open.push(other.clone());
                    }
                }
            }
        }
        all
    }

    /// A start of these starts those that they require.
    pub(super) fn pulls(&mut self, names: &[Name]) {
        for name in names {
            self.pulls_certainly(name);
        }
        self.may_pull(names);
    }

    /// The same, of those that may have been started.
    pub(super) fn may_pull(&mut self, names: &[Name]) {
        let names: BTreeSet<Name> = names.iter().cloned().collect();
        for other in self.closure(&names, false) {
            self.pace.touched(&other);
            for asked in self.requests.values_mut() {
                if let crate::core::Command::Stop(stopped) = &asked.request.command {
                    asked.contradicted |= stopped.contains(&other);
                }
            }
            if let Some(watch) = self.watchers.get_mut(&other).filter(|w| w.is_there()) {
                watch.pulled |= watch.wanted == Wanted::Down;
                watch.stirred = true;
                watch.waved = true;
                watch.given_up.clear();
            }
        }
    }

    /// What one that is started requires itself, and what is down, is started.
    fn pulls_certainly(&mut self, name: &Name) {
        let Some(watch) = self.watchers.get(name).filter(|w| w.is_there()) else {
            return;
        };
        let required: Vec<Name> = watch.names(false).into_iter().cloned().collect();
        for other in required {
            let down = |watch: &&mut super::books::Watch| {
                watch.wanted == Wanted::Down && !watch.done && !watch.may_finish()
            };
            if let Some(watch) = self.watchers.get_mut(&other).filter(down) {
                watch.wanted = Wanted::Up;
                watch.on_demand = false;
            }
        }
    }

    /// Whether one that was started is up, or on its way, or says why not.
    pub(super) fn was_started(&self, watcher: &Watcher) -> Verdict {
        let name = &watcher.spec().name;
        let Some(watch) = self.watchers.get(name).filter(|_| self.ending.is_none()) else {
            return Ok(());
        };
        let cause = watcher.reason().map(|why| why.cause);
        let vetoed = matches!(cause, Some(Cause::HookRefused | Cause::HookFailed));
        let certain = watch.wanted == Wanted::Up && !vetoed && !watch.done && !watch.may_finish();
        ensure!(
            !certain || watcher.state() != WatcherState::Stopped,
            "who was started is not stopped",
            "{name}: {:?}",
            watcher.reason()
        );
        Ok(())
    }

    /// Whether a watcher says what it waits for, and waits for nobody who is there.
    pub(super) fn waits_rightly(&self, watcher: &Watcher, supervisor: &Supervisor) -> Verdict {
        let Some(other) = watcher.waits_for() else {
            return Ok(());
        };
        let name = &watcher.spec().name;
        let reason = watcher.reason();
        ensure!(
            watcher.state() == WatcherState::Waiting
                && reason.is_some_and(|why| {
                    why.cause == Cause::Dependency && why.text.contains(other.as_str())
                }),
            "who waits for another says so",
            "{name} waits for {other}: {:?}",
            watcher.reason()
        );
        let there = supervisor
            .watcher(other)
            .is_some_and(|other| other.state() == WatcherState::Active && other.reason().is_none());
        ensure!(
            !there,
            "nobody waits for who is ready",
            "{name} waits for {other}"
        );
        Ok(())
    }
}
