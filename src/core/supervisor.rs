//! The one place where everything that can happen arrives: [`Supervisor::handle`].

use super::context::Context;
use super::dependencies::Links;
use super::requests::Requests;
use super::shutdown::Ending;
use super::timers::Timer;
use super::watcher::{Phase, Wanted, Watcher};
use super::waves::Waves;
use super::{Action, EventKind, HookAnswer, HookId, Input, Limits, Name, Refusal, Time, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// Decides what should happen.
///
/// Handling an input records facts; then every watcher that is concerned is reconciled: what is
/// wanted is compared with what is, and the difference is asked for. All answers to requests and
/// all events come out of that, in order.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) ctx: Context,
    pub(super) limits: Limits,
    pub(super) watchers: BTreeMap<Name, Watcher>,
    pub(super) requests: Requests,
    pub(super) waves: Waves,
    pub(super) links: Links,
    pub(super) ending: Ending,
    /// The next watcher's place among those of its priority.
    pub(super) next_order: u64,
    /// Watchers that were looked at since [`Supervisor::unsaved`] was asked.
    pub(super) unsaved: BTreeSet<Name>,
    /// Workers of watchers that were removed since then.
    pub(super) gone: BTreeSet<WorkerId>,
    /// Whether the first configuration was applied.
    pub(super) booted: bool,
}

impl Supervisor {
    /// A supervisor with no watchers, at `now`; `seed` feeds jitter and variance.
    #[must_use]
    pub fn new(now: Time, limits: Limits, seed: u64) -> Supervisor {
        Supervisor {
            ctx: Context::new(now, seed),
            limits,
            watchers: BTreeMap::new(),
            requests: Requests::default(),
            waves: Waves::default(),
            links: Links::default(),
            ending: Ending::default(),
            next_order: 0,
            unsaved: BTreeSet::new(),
            gone: BTreeSet::new(),
            booted: false,
        }
    }

    /// Records what happened at `now` and says what is to be done, in order.
    ///
    /// # Panics
    ///
    /// If `now` is before the `now` of an earlier call.
    pub fn handle(&mut self, now: Time, input: Input) -> Vec<Action> {
        self.handle_all(now, [input])
    }

    /// As [`Supervisor::handle`], for all that happened up to one reading of the clock: what
    /// follows from them together is decided once.
    ///
    /// # Panics
    ///
    /// If `now` is before the `now` of an earlier call.
    pub fn handle_all(
        &mut self,
        now: Time,
        inputs: impl IntoIterator<Item = Input>,
    ) -> Vec<Action> {
        assert!(
            now >= self.ctx.now,
            "time went backwards: {:?} then {now:?}",
            self.ctx.now
        );
        self.ctx.now = now;
        if self.ending.over() {
            return Vec::new();
        }
        for input in inputs {
            self.record(input);
        }
        loop {
            while let Some(timer) = self.ctx.timers.pop(now) {
                self.due(timer);
            }
            if !self.ending.over() {
                self.pursue();
            }
            // What was decided may be due at once: a limit of no time at all.
            if self.next_deadline().is_none_or(|next| next > now) {
                return std::mem::take(&mut self.ctx.actions);
            }
        }
    }

    /// When [`Supervisor::handle`] wants to be called again if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.ctx.timers.next()
    }

    /// All watchers, by name.
    pub fn watchers(&self) -> impl Iterator<Item = &Watcher> {
        self.watchers.values()
    }

    /// All watchers, in the order in which they start.
    pub fn watchers_in_order(&self) -> impl Iterator<Item = &Watcher> {
        let mut watchers: Vec<&Watcher> = self.watchers.values().collect();
        watchers.sort_by_key(|watcher| (watcher.spec.priority, watcher.order));
        watchers.into_iter()
    }

    /// The watcher of that name.
    #[must_use]
    pub fn watcher(&self, name: &Name) -> Option<&Watcher> {
        self.watchers.get(name)
    }

    /// Whether it is on its way to its end.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.begun()
    }

    /// Whose process this is; `None` once it is gone.
    #[must_use]
    pub fn owner(&self, worker: WorkerId) -> Option<&Name> {
        self.ctx.owners.get(&worker)
    }

    /// Whether everything is on its way to its end.
    #[must_use]
    pub fn ending(&self) -> bool {
        self.ending.begun()
    }

    /// The number of the last event; 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.ctx.last_seq()
    }

    fn record(&mut self, input: Input) {
        match input {
            Input::Request(request) => {
                if let Err(refusal) = self.command(request.clone()) {
                    self.ctx.act(Action::Reply {
                        request: request.id,
                        result: Err(refusal),
                    });
                }
            }
            Input::Spawned { worker, pid } => {
                self.with_owner(worker, |watcher, ctx| watcher.on_spawned(worker, pid, ctx));
            }
            Input::SpawnFailed { worker, failure } => {
                self.with_owner(worker, |watcher, ctx| {
                    watcher.on_spawn_failed(worker, failure, ctx);
                });
            }
            Input::Ready { worker } => {
                self.with_owner(worker, |watcher, ctx| watcher.on_ready(worker, ctx));
            }
            Input::NotReady { worker, why } => {
                self.with_owner(worker, |watcher, _| watcher.on_not_ready(worker, why));
            }
            Input::Extended { worker, by } => {
                self.with_owner(worker, |watcher, ctx| watcher.on_extended(worker, by, ctx));
            }
            Input::Alive { worker } => {
                self.with_owner(worker, |watcher, ctx| watcher.on_alive(worker, ctx));
            }
            Input::WatchdogSet { worker, interval } => {
                self.with_owner(worker, |watcher, ctx| {
                    watcher.on_watchdog_set(worker, interval, ctx);
                });
            }
            Input::Unfit {
                worker,
                fault,
                error,
            } => {
                self.with_owner(worker, |watcher, ctx| {
                    watcher.on_unfit(worker, fault, error, ctx);
                });
            }
            Input::Served { worker, requests } => {
                self.with_owner(worker, |watcher, ctx| {
                    watcher.on_served(worker, requests, ctx);
                });
            }
            Input::MainPid { worker, pid } => {
                self.with_owner(worker, |watcher, _| watcher.on_main_pid(worker, pid));
            }
            Input::OutOfMemory {
                worker,
                peak,
                limit,
            } => {
                self.with_owner(worker, |watcher, ctx| {
                    watcher.on_out_of_memory(worker, peak, limit, ctx);
                });
            }
            Input::Exited {
                worker,
                status,
                emptied,
            } => {
                self.with_owner(worker, |watcher, ctx| {
                    watcher.on_exited(worker, status, emptied, ctx);
                });
            }
            Input::Emptied { worker } => {
                self.with_owner(worker, |watcher, ctx| watcher.on_emptied(worker, ctx));
            }
            Input::Signalled {
                worker,
                signal,
                pids,
            } => {
                self.with_owner(worker, |watcher, ctx| {
                    watcher.on_signalled(signal, &pids, ctx)
                });
            }
            Input::Demanded { watcher } => {
                self.demanded(&watcher);
            }
            Input::HookFinished { hook, answer } => {
                let answered = self.ctx.hook_answered(hook, answer);
                self.hook_spoke(hook, answered);
            }
            Input::Announce(news) => self.ctx.emit(None, EventKind::Announced(news)),
            Input::Deadline => {}
            Input::Shutdown(how) => self.shut_down(how),
        }
    }

    fn due(&mut self, timer: Timer) {
        match timer {
            Timer::Worker(id) => self.with_owner(id, |watcher, ctx| watcher.worker_due(id, ctx)),
            Timer::Watchdog(id) => {
                self.with_owner(id, |watcher, ctx| watcher.watchdog_due(id, ctx));
            }
            Timer::Pool(name) => {
                self.ctx.touched.insert(name);
            }
            Timer::Hook(hook) => {
                let answered = self.ctx.hook_overdue(hook);
                self.hook_spoke(hook, answered);
            }
            // The wave is looked at in any case.
            Timer::Wave(_) => {}
            Timer::Shutdown => self.shutdown_due(),
        }
    }

    fn hook_spoke(
        &mut self,
        hook: HookId,
        answered: Option<(super::context::HookRun, HookAnswer)>,
    ) {
        let Some((run, answer)) = answered else {
            return;
        };
        self.with_watcher(&run.watcher.clone(), |watcher, ctx| {
            watcher.on_hook(hook, &run, &answer, ctx);
        });
    }

    fn with_owner(&mut self, worker: WorkerId, act: impl FnOnce(&mut Watcher, &mut Context)) {
        if let Some(name) = self.ctx.owners.get(&worker).cloned() {
            self.with_watcher(&name, act);
        }
    }

    /// Changes facts of a watcher, which is looked at before the input is done with.
    pub(super) fn with_watcher<R>(
        &mut self,
        name: &Name,
        act: impl FnOnce(&mut Watcher, &mut Context) -> R,
    ) -> Option<R> {
        let watcher = self.watchers.get_mut(name)?;
        let result = act(watcher, &mut self.ctx);
        self.ctx.touched.insert(name.clone());
        Some(result)
    }

    pub(super) fn find(&self, name: &Name) -> Result<&Watcher, Refusal> {
        self.watchers
            .get(name)
            .ok_or_else(|| Refusal::NoSuchWatcher(name.clone()))
    }

    /// Reconciles until nothing more follows.
    fn pursue(&mut self) {
        loop {
            let mut looked_at = BTreeSet::new();
            self.refresh_links();
            while let Some(name) = self.ctx.touched.pop() {
                self.look_at(&name);
                looked_at.insert(name);
                self.refresh_links();
            }
            self.judge_dependents(&looked_at);
            if self
                .waves
                .advance(&looked_at, &mut self.watchers, &mut self.ctx)
            {
                self.ctx.emit(None, EventKind::DaemonReady);
                self.ctx.act(Action::Settled);
            }
            if self.ctx.touched.is_empty() {
                break;
            }
        }
        self.end_if_over();
    }

    /// Answers the requests for watchers that depend on others: what is true of these is certain
    /// only when all have been looked at.
    fn judge_dependents(&mut self, looked_at: &BTreeSet<Name>) {
        for name in looked_at {
            if let Some(watcher) = self.watchers.get_mut(name).filter(|w| w.spec.depends()) {
                watcher.judge(&mut self.requests, &mut self.ctx);
            }
        }
    }

    fn look_at(&mut self, name: &Name) {
        self.unsaved.insert(name.clone());
        self.tie(name);
        let Some(watcher) = self.watchers.get_mut(name) else {
            return;
        };
        watcher.reconcile(&mut self.ctx);
        watcher.tell_awaited(&mut self.ctx);
        if !watcher.spec.depends() {
            watcher.judge(&mut self.requests, &mut self.ctx);
        }
        let gave_up = watcher.spec.critical && watcher.failed();
        if watcher.wanted == Wanted::Gone && watcher.phase == Phase::Stopped {
            self.remove(name);
        }
        self.tell_standing(name);
        if gave_up {
            self.critical_failure();
        }
    }

    /// Forgets a watcher of which nothing runs (or is to be looked after) any more.
    pub(super) fn remove(&mut self, name: &Name) {
        let Some(mut watcher) = self.watchers.remove(name) else {
            return;
        };
        self.unsaved.insert(name.clone());
        self.gone.append(&mut watcher.unsaved);
        self.ctx.timers.set(Timer::Pool(name.clone()), None);
        if watcher.spec.depends() {
            self.links.forget();
        }
        self.touch_dependents(name);
        watcher.removed = true;
        watcher.tell_awaited(&mut self.ctx);
        watcher.emit(EventKind::Remove, &mut self.ctx);
        let refusal = watcher.overruled("it was removed meanwhile");
        watcher.close_tickets(&refusal, &mut self.requests, &mut self.ctx);
        self.ctx.act(Action::Removed {
            watcher: name.clone(),
        });
    }
}
