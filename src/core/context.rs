//! What all watchers share while an input is handled: the clock's reading, the actions so far,
//! deadlines, hooks under way, and the next free numbers.

use super::timers::{Timer, Timers};
use super::{
    Action, Event, EventKind, Hook, HookAnswer, HookId, HookSpec, Name, SignalId, Time, WorkerId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug)]
pub(super) struct Context {
    pub(super) now: Time,
    pub(super) actions: Vec<Action>,
    pub(super) timers: Timers,
    pub(super) rng: fastrand::Rng,
    /// Whose worker it is. A worker that is not in here is gone.
    pub(super) owners: BTreeMap<WorkerId, Name>,
    /// The watchers to be looked at before the input is done with.
    pub(super) touched: Touched,
    /// At the end of a shutdown nobody is asked any more.
    pub(super) hooks_off: bool,
    hooks: BTreeMap<HookId, HookRun>,
    last_id: u64,
    seq: u64,
}

/// Watchers in the order in which something happened to them, each once.
#[derive(Debug, Default)]
pub(super) struct Touched {
    order: VecDeque<Name>,
    members: BTreeSet<Name>,
}

impl Touched {
    pub(super) fn insert(&mut self, name: Name) {
        if self.members.insert(name.clone()) {
            self.order.push_back(name);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Name> {
        let name = self.order.pop_front()?;
        self.members.remove(&name);
        Some(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// A hook that was asked and has not answered.
#[derive(Debug)]
pub(super) struct HookRun {
    pub(super) watcher: Name,
    pub(super) purpose: Purpose,
    hook: Hook,
    spec: HookSpec,
    asked: Time,
    process: Option<(u32, Option<i32>)>,
}

/// What waits for a hook's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Watcher,
    Worker(WorkerId),
    Signal(SignalId),
}

impl Context {
    pub(super) fn new(now: Time, seed: u64) -> Context {
        Context {
            now,
            actions: Vec::new(),
            timers: Timers::default(),
            rng: fastrand::Rng::with_seed(seed),
            owners: BTreeMap::new(),
            touched: Touched::default(),
            hooks_off: false,
            hooks: BTreeMap::new(),
            last_id: 0,
            seq: 0,
        }
    }

    /// The last number that was given out as a name.
    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Gives out no number that was given out before.
    pub(super) fn continue_from(&mut self, last_seq: u64, last_id: u64) {
        (self.seq, self.last_id) = (last_seq, last_id);
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// A number that was never given out before.
    pub(super) fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn emit(&mut self, watcher: Option<&Name>, kind: EventKind) {
        self.seq += 1;
        self.actions.push(Action::Emit(Event {
            seq: self.seq,
            time: self.now,
            watcher: watcher.cloned(),
            kind,
        }));
    }

    /// The number of the last event; 0 before the first.
    pub(super) fn last_seq(&self) -> u64 {
        self.seq
    }

    pub(super) fn ask(&mut self, spec: HookSpec, question: Question<'_>) -> HookId {
        let id = HookId(self.fresh_id());
        self.act(Action::RunHook {
            hook: id,
            watcher: question.watcher.clone(),
            point: question.hook,
            worker: question.worker,
            signal: question.signal,
        });
        self.timers
            .set(Timer::Hook(id), Some(self.now + spec.timeout));
        let run = HookRun {
            watcher: question.watcher.clone(),
            purpose: question.purpose,
            hook: question.hook,
            spec,
            asked: self.now,
            process: question.process,
        };
        self.hooks.insert(id, run);
        id
    }

    /// Ends a hook whose answer no longer matters.
    pub(super) fn cancel_hook(&mut self, id: HookId) {
        if self.hooks.remove(&id).is_some() {
            self.timers.set(Timer::Hook(id), None);
            self.act(Action::CancelHook { hook: id });
        }
    }

    /// Ends a hook that has used up its time; that is its answer.
    pub(super) fn hook_overdue(&mut self, id: HookId) -> Option<(HookRun, HookAnswer)> {
        let timeout = self.hooks.get(&id)?.spec.timeout;
        self.act(Action::CancelHook { hook: id });
        let error = format!("no answer within {} s", timeout.as_secs_f64());
        self.hook_answered(id, HookAnswer::Failed(error))
    }

    /// Takes an answer and tells of it. `None`: nobody waits for it (any more). A failure that is
    /// to be ignored comes back as true.
    pub(super) fn hook_answered(
        &mut self,
        id: HookId,
        answer: HookAnswer,
    ) -> Option<(HookRun, HookAnswer)> {
        let run = self.hooks.remove(&id)?;
        self.timers.set(Timer::Hook(id), None);
        let duration = self.now.since(run.asked);
        let (hook, process) = (run.hook, run.process);
        let (kind, verdict) = match answer {
            HookAnswer::Failed(error) => {
                let verdict = match run.spec.ignore_failure {
                    true => HookAnswer::True,
                    false => HookAnswer::Failed(error.clone()),
                };
                (
                    EventKind::HookFailure {
                        hook,
                        error,
                        duration,
                        process,
                    },
                    verdict,
                )
            }
            answer => {
                let (result, reason) = match &answer {
                    HookAnswer::False(reason) => (false, Some(reason.clone())),
                    HookAnswer::True | HookAnswer::Failed(_) => (true, None),
                };
                (
                    EventKind::HookSuccess {
                        hook,
                        result,
                        reason,
                        duration,
                        process,
                    },
                    answer,
                )
            }
        };
        self.emit(Some(&run.watcher), kind);
        Some((run, verdict))
    }
}

/// What a hook is asked.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) watcher: &'a Name,
    pub(super) hook: Hook,
    pub(super) purpose: Purpose,
    pub(super) worker: Option<WorkerId>,
    pub(super) process: Option<(u32, Option<i32>)>,
    pub(super) signal: Option<i32>,
}
