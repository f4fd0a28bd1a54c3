//! Hooks: only those that are configured, in their order, each told once, none beyond its time.

use super::{Answered, Checker, Verdict, ensure};
use crate::core::{Hook, HookAnswer, HookId, Name, Time, WorkerId};
use std::time::Duration;

/// A hook that has not answered yet.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) watcher: Name,
    point: Hook,
    worker: Option<WorkerId>,
    signal: Option<i32>,
    at: Time,
}

impl Checker {
    pub(super) fn runs_hook(
        &mut self,
        id: HookId,
        name: &Name,
        point: Hook,
        about: (Option<WorkerId>, Option<i32>),
    ) -> Verdict {
        ensure!(
            self.hook_last.is_none_or(|last| last < id),
            "hook ids are new",
            "{id:?} after {:?}",
            self.hook_last
        );
        self.hook_last = Some(id);
        let Some(watch) = self.watchers.get_mut(name) else {
            ensure!(
                false,
                "only known watchers have hooks",
                "{point:?} of {name}"
            );
            return Ok(());
        };
        ensure!(
            watch.may_have(point),
            "only configured hooks run",
            "{point:?} of {name}"
        );
        if matches!(
            point,
            Hook::BeforeStart | Hook::BeforeSpawn | Hook::AfterStart
        ) {
            watch.stirred = true;
            self.begins(name)?;
        }
        let (worker, signal) = about;
        if let (Hook::BeforeSignal, Some(id), Some(signal)) = (point, worker, signal) {
            self.farewell(id, signal);
        }
        self.fits(name, point, worker, signal)?;
        let hook = Running {
            watcher: name.clone(),
            point,
            worker,
            signal,
            at: self.now,
        };
        self.hooks.insert(id, hook);
        Ok(())
    }

    /// Whether this is the moment for such a hook.
    fn fits(&self, name: &Name, point: Hook, id: Option<WorkerId>, signal: Option<i32>) -> Verdict {
        let worker = id
            .and_then(|id| self.workers.get(&id))
            .filter(|w| !w.forgotten && !w.abandoned);
        let fits = match (point, worker) {
            (Hook::BeforeStart | Hook::AfterStart | Hook::BeforeStop, _) => id.is_none(),
            (Hook::AfterStop, _) => self
                .workers
                .values()
                .all(|w| w.watcher != *name || w.is_gone()),
            (Hook::BeforeSpawn, worker) => worker.is_none(),
            (_, None) => false,
            (Hook::AfterSpawn, Some(worker)) => worker.spawn_told && !worker.ready_told,
            (Hook::BeforeSignal, Some(worker)) => {
                let dying = self.step.several && id.is_some_and(|id| self.step.ended.contains(&id));
                let hears = worker.born.is_some() && (dying || !worker.is_gone());
                hears && signal.is_some_and(|s| s != 9)
            }
            (Hook::AfterSignal, Some(worker)) => {
                signal.is_some_and(|s| worker.reached.contains(&s))
            }
            (Hook::BeforeReap, Some(worker)) => worker.ended && !worker.reap_told,
            (Hook::AfterReap, Some(worker)) => worker.reap_told,
        };
        ensure!(
            fits,
            "a hook runs at its moment",
            "{point:?} of {name} about {id:?} and signal {signal:?}: {worker:?}"
        );
        Ok(())
    }

    pub(super) fn cancels_hook(&mut self, id: HookId) -> Verdict {
        let now = self.now;
        if self.step.heard.contains(&id) && self.step.several {
            // Something else in the same moment had made its answer meaningless.
            return Ok(());
        }
        if let Some(answered) = self.step.answered.get(&id) {
            let overdue = answered.overdue;
            ensure!(
                overdue,
                "only running hooks are cancelled",
                "{id:?} has just answered"
            );
            return Ok(());
        }
        let Some(hook) = self.hooks.remove(&id) else {
            ensure!(false, "only running hooks are cancelled", "{id:?}");
            return Ok(());
        };
        if hook.point == Hook::BeforeStart {
            self.has_not_begun(&hook.watcher);
        }
        let bounds = self
            .watchers
            .get(&hook.watcher)
            .and_then(|w| w.timeouts(hook.point));
        if let Some((least, most)) = bounds {
            let ran = now.since(hook.at);
            self.step.may_time_out += u32::from(ran >= least);
            // A stop of whatever kind that comes at the same moment wins, and so does giving up when
            // a process is not ready in time at that very moment.
            let before = hook.point == Hook::BeforeSpawn;
            let alone = self.step.only_time_passed && self.ending.is_none() && !before;
            self.step.must_time_out |= alone && ran >= most;
            if ran >= least {
                self.conclude(&hook, None);
            }
        }
        Ok(())
    }

    pub(super) fn hook_answered(&mut self, id: HookId, answer: &HookAnswer) {
        let Some(hook) = self.hooks.remove(&id) else {
            return;
        };
        let result = match answer {
            HookAnswer::True => Some(true),
            HookAnswer::False(_) => Some(false),
            HookAnswer::Failed(_) => None,
        };
        let bounds = self
            .watchers
            .get(&hook.watcher)
            .and_then(|w| w.timeouts(hook.point));
        let least = bounds.map_or(Duration::ZERO, |bounds| bounds.0);
        let answered = Answered {
            watcher: hook.watcher.clone(),
            point: hook.point,
            result,
            overdue: self.now.since(hook.at) >= least,
        };
        self.step.heard.insert(id);
        self.step.answered.insert(id, answered);
        self.conclude(&hook, result);
    }

    /// Writes down what an answer, or with `None` a failure, lets pass.
    fn conclude(&mut self, hook: &Running, result: Option<bool>) {
        let Some(watch) = self.watchers.get_mut(&hook.watcher) else {
            return;
        };
        let passes = result.unwrap_or(watch.may_ignore(hook.point));
        let worker = hook.worker.and_then(|id| self.workers.get_mut(&id));
        match (hook.point, worker) {
            (Hook::BeforeStart, _) => {
                watch.start_passed |= passes;
                watch.begun = passes;
            }
            (Hook::BeforeSpawn, _) if passes => watch.spawn_passes.push(hook.worker),
            (Hook::BeforeSpawn, _) => self.step.refused_spawns += 1,
            (Hook::AfterSpawn, Some(worker)) => {
                worker.passed_after_spawn = passes;
                worker.refused = !passes;
                self.step.refused_spawns += u32::from(!passes);
            }
            (Hook::BeforeSignal, _) if passes => {
                watch.signal_passes.extend(hook.worker.zip(hook.signal));
            }
            (Hook::BeforeReap, Some(worker)) => worker.passed_before_reap = true,
            _ => {}
        }
    }

    /// An event about a hook.
    pub(super) fn hook_told(&mut self, name: &Name, point: Hook, result: Option<bool>) -> Verdict {
        let mine = |a: &Answered| a.watcher == *name && a.point == point;
        let find = |fits: &dyn Fn(&Answered) -> bool| {
            let mut all = self.step.answered.iter();
            all.find(|(_, a)| mine(a) && fits(a)).map(|(id, _)| *id)
        };
        let exact = find(&|a| a.result == result);
        let told = exact.or_else(|| find(&|a| a.overdue && result.is_none()));
        if let Some(id) = told {
            self.step.answered.remove(&id);
            return Ok(());
        }
        ensure!(
            result.is_none(),
            "each answer of a hook is told once",
            "{point:?} said {result:?}, but was it asked?"
        );
        self.step.timed_out += 1;
        Ok(())
    }

    pub(super) fn close_hooks(&mut self) -> Verdict {
        let step = &self.step;
        // A stop in the same moment wins over an answer.
        ensure!(
            step.answered.is_empty() || step.several,
            "each answer of a hook is told once",
            "{:?} not told",
            step.answered
        );
        ensure!(
            step.timed_out <= step.may_time_out && (!step.must_time_out || step.timed_out > 0),
            "each time-out of a hook is told once",
            "{} told, at most {} due, at least one: {}",
            step.timed_out,
            step.may_time_out,
            step.must_time_out
        );
        if self.exited {
            return Ok(());
        }
        for (id, hook) in &self.hooks {
            let most = self
                .watchers
                .get(&hook.watcher)
                .and_then(|w| w.timeouts(hook.point));
            let overdue = most.is_some_and(|(_, most)| self.now.since(hook.at) >= most);
            ensure!(
                !overdue,
                "a hook ends at its time-out",
                "{id:?} {hook:?} with {most:?}"
            );
        }
        Ok(())
    }
}
