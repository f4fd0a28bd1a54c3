//! What is written down about watchers, workers and requests.

use crate::core::sim::kernel::SLOWEST;
use crate::core::{
    Hook, Name, Recipients, ReloadMode, Request, Revision, Time, WatcherSpec, WorkerId,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// What is known of one watcher.
#[derive(Debug)]
pub(super) struct Watch {
    /// All that may be in force; the last one was asked for last.
    pub(super) specs: Vec<WatcherSpec>,
    /// All that may be the number of processes asked for.
    pub(super) targets: Vec<u32>,
    pub(super) wanted: Wanted,
    /// Whether it may have been started because another requires it.
    pub(super) pulled: bool,
    /// Whether it has begun to start, or runs.
    pub(super) begun: bool,
    /// Whether all its processes have been ready since it was last down.
    pub(super) started: bool,
    /// Whether those that it names have changed since it was last down.
    pub(super) retied: bool,
    /// Whether it may have older processes than its specs tell of.
    pub(super) outlived: bool,
    /// Whether it may have been on its way down when everything began to end.
    pub(super) early: bool,
    /// Whether its work may have been done when it was last down.
    pub(super) done: bool,
    /// Whether it is to start when somebody demands it.
    pub(super) on_demand: bool,
    /// Whether the supervisor asked to be told of that.
    pub(super) awaited: bool,
    /// Whether its coming was told, and its going not yet.
    pub(super) told: bool,
    pub(super) frozen: bool,
    pub(super) given_up: BTreeSet<Option<u32>>,
    /// Whether an earlier request for several watchers may reach it later.
    pub(super) waved: bool,
    /// How many reloads may be under way or to come.
    pub(super) reloads: u32,
    /// Whether it was asked to run, or did anything, since it was last down.
    pub(super) stirred: bool,
    /// Whether `before_start` has let it pass since it was last down.
    pub(super) start_passed: bool,
    /// The hooks it has had ever since it was last down.
    pub(super) steady_hooks: BTreeSet<Hook>,
    pub(super) spawn_passes: Vec<Option<WorkerId>>,
    pub(super) signal_passes: Vec<(WorkerId, i32)>,
}

/// What was asked of a watcher last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Up,
    Down,
    Gone,
}

/// What is known of one worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) watcher: Name,
    pub(super) wid: u32,
    pub(super) revision: Revision,
    pub(super) pid: Option<i32>,
    pub(super) born: Option<Time>,
    pub(super) ended: bool,
    pub(super) emptied: bool,
    pub(super) ready_heard: bool,
    /// Whether it was ever asked to be signalled.
    pub(super) touched: bool,
    pub(super) failed: bool,
    pub(super) forgotten: bool,
    pub(super) abandoned: bool,
    pub(super) spawn_told: bool,
    pub(super) ready_told: bool,
    pub(super) reap_told: bool,
    pub(super) passed_after_spawn: bool,
    /// Whether `after_spawn` said no.
    pub(super) refused: bool,
    pub(super) vitals: super::vitals::Vitals,
    pub(super) passed_before_reap: bool,
    /// The hooks its watcher has had ever since it was asked for.
    pub(super) steady_hooks: BTreeSet<Hook>,
    pub(super) reached: BTreeSet<i32>,
}

impl Worker {
    /// Whether its main process has, or had, this pid.
    pub(super) fn is_or_was(&self, pid: i32) -> bool {
        self.pid == Some(pid) || self.vitals.former.contains(&pid)
    }

    /// Whether its place is free.
    pub(super) fn is_gone(&self) -> bool {
        self.failed || self.abandoned || (self.ended && self.emptied)
    }
}

/// A request that was made.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) at: Time,
    pub(super) late: Duration,
    pub(super) answered: bool,
    /// Whether a later request may be about the same watchers.
    pub(super) contradicted: bool,
    /// How long the answer may take, if the books know.
    pub(super) within: Option<Duration>,
    /// The number of processes that a scale asks for, if the books know.
    pub(super) scaled: Option<u32>,
}

/// A signal on its way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) worker: WorkerId,
    pub(super) signal: i32,
    pub(super) recipients: Recipients,
}

impl Watch {
    pub(super) fn new(spec: &WatcherSpec, up: bool) -> Watch {
        Watch {
            specs: vec![spec.clone()],
            targets: vec![spec.numprocesses],
            wanted: if up { Wanted::Up } else { Wanted::Down },
            pulled: false,
            begun: false,
            started: false,
            retied: false,
            early: false,
            outlived: false,
            done: false,
            on_demand: !up && spec.autostart && spec.on_demand,
            awaited: false,
            told: false,
            frozen: false,
            given_up: BTreeSet::new(),
            waved: false,
            reloads: 0,
            stirred: up,
            start_passed: false,
            steady_hooks: spec.hooks.keys().copied().collect(),
            spawn_passes: Vec::new(),
            signal_passes: Vec::new(),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.wanted != Wanted::Gone
    }

    /// Whether its processes may end and not be replaced.
    pub(super) fn may_finish(&self) -> bool {
        let all = |spec: &WatcherSpec| spec.restart == crate::core::Restart::Always;
        !self.specs.iter().all(all)
    }

    /// Whether it may run.
    pub(super) fn may_run(&self) -> bool {
        self.wanted == Wanted::Up || self.pulled && self.wanted == Wanted::Down
    }

    /// Those that it certainly requires, and with `after`, those that come before it too.
    pub(super) fn names(&self, after: bool) -> Vec<&Name> {
        let named = |spec: &'_ WatcherSpec, name: &Name| {
            spec.requires.contains(name) || after && spec.after.contains(name)
        };
        let newest = self.specs.last();
        let all = newest
            .into_iter()
            .flat_map(|spec| spec.requires.iter().chain(&spec.after));
        all.filter(|name| self.specs.iter().all(|spec| named(spec, name)))
            .collect()
    }

    /// Whether any spec that may be in force has this hook.
    pub(super) fn may_have(&self, hook: Hook) -> bool {
        self.specs.iter().any(|spec| spec.hooks.contains_key(&hook))
    }

    /// Whether places may change hands: a replacement takes another place than what it replaces.
    pub(super) fn may_shift(&self) -> bool {
        let replaced = |spec: &WatcherSpec| spec.max_age.is_some() || spec.max_requests.is_some();
        let ages = self.specs.iter().any(replaced);
        self.waved || self.reloads > 0 || ages
    }

    /// The shortest and the longest time-out that this hook may have.
    pub(super) fn timeouts(&self, hook: Hook) -> Option<(Duration, Duration)> {
        let all = || {
            self.specs
                .iter()
                .filter_map(|spec| spec.hooks.get(&hook))
                .map(|h| h.timeout)
        };
        Some((all().min()?, all().max()?))
    }

    /// Whether a failure of this hook may count as a yes.
    pub(super) fn may_ignore(&self, hook: Hook) -> bool {
        self.specs
            .iter()
            .filter_map(|spec| spec.hooks.get(&hook))
            .any(|h| h.ignore_failure)
    }

    /// How many workers there may be at once, `older` telling whether some are of another revision.
    pub(super) fn most(&self, older: bool) -> usize {
        let target = self.targets.iter().copied().max().unwrap_or(0) as usize;
        let any = |what: fn(&WatcherSpec) -> bool| self.specs.iter().any(what);
        if !any(|s| !s.singleton) {
            return target.min(1);
        }
        let replaces = (self.reloads > 0 || older || self.outlived)
            && any(|s| s.reload == ReloadMode::NewFirst);
        if replaces || any(|s| s.max_age.is_some() || s.max_requests.is_some()) {
            2 * target
        } else {
            target
        }
    }

    /// It has come to a stop: the next start is a new one.
    pub(super) fn is_down(&mut self) {
        self.start_passed = false;
        self.stirred = false;
        self.begun = false;
        self.started = false;
        self.retied = false;
        self.outlived = false;
        self.done = self.may_finish();
        self.given_up.clear();
        self.spawn_passes.clear();
        self.signal_passes.clear();
        let has = |hook: &Hook| self.specs.iter().all(|spec| spec.hooks.contains_key(hook));
        let newest = self.specs.last();
        self.steady_hooks = newest
            .map(|s| s.hooks.keys().copied().filter(has).collect())
            .unwrap_or_default();
    }

    /// Another spec is asked for.
    pub(super) fn takes(&mut self, spec: &WatcherSpec) {
        self.steady_hooks
            .retain(|hook| spec.hooks.contains_key(hook));
        self.on_demand &= spec.autostart && spec.on_demand;
        let named = |spec: &WatcherSpec| (spec.after.clone(), spec.requires.clone());
        self.retied |= self.specs.iter().any(|old| named(old) != named(spec));
        self.specs.push(spec.clone());
        self.given_up.clear();
        self.waved = true;
    }

    /// The longest that stopping this watcher takes with patience for everything.
    pub(super) fn stop_time(&self) -> Duration {
        let longest = |spec: &WatcherSpec| {
            let hooks: Duration = spec.hooks.values().map(|h| h.timeout).sum();
            spec.graceful_timeout + 2 * hooks
        };
        let spec = self.specs.iter().map(longest).max().unwrap_or_default();
        // One that wants more time may say so until its time is over.
        let extended = 2 * crate::core::sim::sayings::EXTENSION_MAX;
        spec + 4 * SLOWEST + crate::core::sim::operator::GRACE_MAX + extended
    }
}
