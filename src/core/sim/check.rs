//! What the supervisor promises, checked after every step.
//!
//! An independent reading of the manual: it hears what the supervisor hears and what it asks for,
//! keeps its own books, and never looks inside. Where the books cannot know (a spec that was
//! asked for and may be in force), every possibility counts as allowed.

mod books;
mod hooks;
mod looks;
mod pace;
mod requests;
mod rest;
mod spawns;
mod telling;
mod ties;
mod vitals;
mod wishes;
mod workers;

use super::super::{
    Action, Hook, HookId, Input, Limits, Name, RequestId, SignalId, Time, WorkerId,
};
use books::{Asked, Sent, Watch, Worker};
use hooks::Running;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A promise that was not kept.
#[derive(Debug, Clone)]
pub(super) struct Violation {
    /// Which; the same words for every world.
    pub(super) promise: &'static str,
    /// The values.
    pub(super) detail: String,
}

pub(super) type Verdict = Result<(), Violation>;

/// Demands that something holds: the promise, then the values.
macro_rules! ensure {
    ($holds:expr, $promise:literal, $($detail:tt)+) => {
        if !$holds {
            return Err(crate::core::sim::check::Violation {
                promise: $promise,
                detail: format!($($detail)+),
            });
        }
    };
}
pub(super) use ensure;

/// The books.
#[derive(Debug)]
pub(super) struct Checker {
    now: Time,
    limits: Limits,
    watchers: BTreeMap<Name, Watch>,
    workers: BTreeMap<WorkerId, Worker>,
    hooks: BTreeMap<HookId, Running>,
    hook_last: Option<HookId>,
    requests: BTreeMap<RequestId, Asked>,
    signals: BTreeMap<SignalId, Sent>,
    used_signals: BTreeSet<SignalId>,
    step: Step,
    seq: u64,
    told: Time,
    ending: Option<Ending>,
    exited: bool,
    settled: bool,
    ready_told: bool,
    stopping_told: bool,
    critical_told: bool,
    used: BTreeSet<WorkerId>,
    /// By how much the loop was late so far, in sum.
    late: Duration,
    pace: pace::Pace,
}

/// A signal that reached somebody, and is to be told.
#[derive(Debug, PartialEq, Eq)]
struct KillDue {
    pid: i32,
    wid: u32,
    child: Option<i32>,
    signal: i32,
}

/// What belongs to one call of the supervisor.
#[derive(Debug, Default)]
struct Step {
    spawned: BTreeSet<WorkerId>,
    spawn_failed: BTreeSet<WorkerId>,
    ended: BTreeSet<WorkerId>,
    /// Spawns that a hook refused, each of which may be told as a failed one.
    refused_spawns: u32,
    /// What reached somebody.
    kills_due: Vec<KillDue>,
    /// What ended without being told to and left something behind.
    leftovers: BTreeSet<WorkerId>,
    /// Watchers that are gone and whose going is not told yet.
    removed: BTreeSet<Name>,
    /// The hooks that answered and are not told of yet.
    answered: BTreeMap<HookId, Answered>,
    /// All the hooks that answered.
    heard: BTreeSet<HookId>,
    /// Who was found unfit and is not told of yet.
    unfit: BTreeSet<WorkerId>,
    /// Whether nothing was said to the supervisor.
    only_time_passed: bool,
    /// Whether several things were said, of which one may have made another meaningless.
    several: bool,
    /// Hooks that ran out of time: whether one certainly did, how many at most, and as told.
    must_time_out: bool,
    may_time_out: u32,
    timed_out: u32,
}

/// A hook that answered.
#[derive(Debug)]
struct Answered {
    watcher: Name,
    point: Hook,
    /// What it said; `None`: it failed.
    result: Option<bool>,
    /// Whether the answer may have come too late.
    overdue: bool,
}

/// The way out.
#[derive(Debug, Clone, Copy)]
struct Ending {
    /// When everything left is killed.
    limit: Time,
    /// When it must be over.
    due: Time,
    late: Duration,
}

impl Checker {
    pub(super) fn new(limits: Limits) -> Checker {
        Checker {
            now: Time::ZERO,
            limits,
            watchers: BTreeMap::new(),
            workers: BTreeMap::new(),
            hooks: BTreeMap::new(),
            hook_last: None,
            requests: BTreeMap::new(),
            signals: BTreeMap::new(),
            used_signals: BTreeSet::new(),
            step: Step::default(),
            seq: 0,
            told: Time::ZERO,
            ending: None,
            exited: false,
            settled: false,
            ready_told: false,
            stopping_told: false,
            critical_told: false,
            used: BTreeSet::new(),
            late: Duration::ZERO,
            pace: pace::Pace::default(),
        }
    }

    /// Whether the supervisor has ended.
    pub(super) fn has_exited(&self) -> bool {
        self.exited
    }

    /// Whether nothing is under way that is lost with the supervisor.
    pub(super) fn is_quiet(&self) -> bool {
        let asked = self.requests.values().any(|asked| !asked.answered);
        !asked && self.hooks.is_empty() && self.signals.is_empty() && self.ending.is_none()
    }

    /// Another supervisor goes on: what each says once it may say, too.
    pub(super) fn succeeded(&mut self) {
        (self.settled, self.ready_told) = (false, false);
        for watch in self.watchers.values_mut() {
            watch.awaited = false;
        }
    }

    /// Whether the supervisor is on its way out.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// The watchers there are, each with the spec that was asked for last.
    pub(super) fn specs(&self) -> Vec<super::super::WatcherSpec> {
        let there = self.watchers.values().filter(|w| w.is_there());
        there.filter_map(|w| w.specs.last().cloned()).collect()
    }

    /// Whether a shutdown may have run out of time, so that it had to end with something left.
    pub(super) fn may_leave(&self) -> bool {
        self.ending.is_some_and(|ending| self.now >= ending.limit)
    }

    /// The loop was late by so much.
    pub(super) fn was_late(&mut self, by: Duration) {
        self.late += by;
    }

    /// One call: what was said, what was asked for, and when it wants to be called again.
    pub(super) fn step(
        &mut self,
        now: Time,
        inputs: &[Input],
        actions: &[Action],
        next: Option<Time>,
    ) -> Verdict {
        ensure!(
            !self.exited || actions.is_empty(),
            "nothing after exit",
            "{actions:?}"
        );
        self.now = now;
        self.step = Step {
            only_time_passed: inputs.iter().all(|input| *input == Input::Deadline),
            several: inputs.len() > 1,
            ..Step::default()
        };
        self.pace.call(now, actions.len())?;
        for input in inputs {
            self.hear(input, actions)?;
        }
        for action in actions {
            self.judge(action)?;
        }
        self.close(next)
    }

    /// Writes down what the supervisor was told.
    fn hear(&mut self, input: &Input, actions: &[Action]) -> Verdict {
        match input {
            Input::Request(request) => return self.requested(request, actions),
            Input::Spawned { worker, pid } => self.spawned(*worker, *pid),
            Input::SpawnFailed { worker, .. } => self.spawn_failed(*worker),
            Input::Ready { worker } => self.ready_heard(*worker),
            Input::Exited {
                worker, emptied, ..
            } => self.ended(*worker, *emptied),
            Input::Emptied { worker } => self.emptied(*worker),
            Input::Signalled {
                worker,
                signal,
                pids,
            } => self.signalled(*worker, *signal, pids),
            Input::Demanded { watcher } => self.demanded(watcher),
            Input::HookFinished { hook, answer } => self.hook_answered(*hook, answer),
            Input::Shutdown(shutdown) => self.shutdown(*shutdown),
            Input::Extended { worker, by } => self.extended(*worker, *by),
            Input::Alive { worker } => self.alive(*worker),
            Input::WatchdogSet { worker, interval } => self.watchdog_set(*worker, *interval),
            Input::Unfit { worker, .. } => self.unfit_heard(*worker),
            Input::Served { worker, requests } => self.served(*worker, *requests),
            Input::MainPid { worker, pid } => self.main_pid(*worker, *pid),
            Input::OutOfMemory { worker, .. } => self.out_of_memory(*worker),
            Input::NotReady { .. } | Input::Announce(_) | Input::Deadline => {}
        }
        Ok(())
    }

    /// Judges what the supervisor asks for, and writes it down.
    fn judge(&mut self, action: &Action) -> Verdict {
        ensure!(!self.exited, "nothing after exit", "{action:?}");
        match action {
            Action::Spawn {
                worker,
                watcher,
                wid,
                revision,
            } => self.spawns(*worker, watcher, *wid, *revision),
            Action::Signal {
                worker,
                id,
                signal,
                recipients,
            } => self.signals(*worker, *id, *signal, *recipients),
            Action::KillTree { worker, id } => self.kills_tree(*worker, *id),
            Action::Abandon { worker } => self.abandons(*worker),
            Action::Forget { worker } => self.forgets(*worker),
            Action::Await { watcher, awaited } => self.awaits(watcher, *awaited),
            Action::Freeze { watcher, frozen } => self.freezes(watcher, *frozen),
            Action::RunHook {
                hook,
                watcher,
                point,
                worker,
                signal,
            } => self.runs_hook(*hook, watcher, *point, (*worker, *signal)),
            Action::CancelHook { hook } => self.cancels_hook(*hook),
            Action::Reply { request, result } => self.replies(*request, result),
            Action::Progress { request, progress } => self.progresses(*request, progress),
            Action::Emit(event) => self.tells(event),
            Action::Settled => {
                ensure!(!self.settled, "settled is said once", "twice");
                self.settled = true;
                Ok(())
            }
            Action::CriticalFailure => self.fails_critically(),
            Action::Probe { worker, probe } => self.probes(*worker, *probe),
            Action::EndProbe { worker } => self.ends_probe(*worker),
            Action::Removed { watcher } => self.removes(watcher),
            Action::Exit { left, .. } => self.exits(*left),
        }
    }

    /// What must hold between two calls.
    fn close(&mut self, next: Option<Time>) -> Verdict {
        let now = self.now;
        ensure!(
            self.exited || next.is_none_or(|next| next > now),
            "no deadline in the past",
            "asked to be called at {next:?}, it is {now:?}"
        );
        self.close_telling()?;
        self.close_hooks()?;
        self.close_requests()?;
        self.close_vitals()?;
        self.close_ending()?;
        self.tidy();
        Ok(())
    }
}
