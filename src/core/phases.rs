//! The steps of a watcher from stopped to running and back.

use super::context::{Context, HookRun, Purpose};
use super::endings::Farewell;
use super::place::Places;
use super::pool::Gate;
use super::timers::Timer;
use super::watcher::{Phase, Up, Wanted, Watcher};
use super::worker::Life;
use super::{Action, By, Cause, EventKind, Hook, HookAnswer, HookId, WorkerId};

impl Watcher {
    /// Takes the steps that are possible now towards what is wanted.
    pub(super) fn reconcile(&mut self, ctx: &mut Context) {
        loop {
            let before = self.phase;
            self.step(ctx);
            if self.phase == before {
                return;
            }
        }
    }

    fn step(&mut self, ctx: &mut Context) {
        match self.phase {
            Phase::Stopped if self.wanted == Wanted::Up && !self.held => {
                if self.ties.waits_for.is_none() {
                    self.begin_start(ctx);
                }
            }
            Phase::BeforeStart(hook) if self.wanted != Wanted::Up || self.going_down() => {
                ctx.cancel_hook(hook);
                self.phase = Phase::Stopped;
                self.since = ctx.now;
            }
            Phase::Up(_) if self.going_down() => match self.ties.outlasts {
                None => self.begin_stop(ctx),
                // It serves on for those that stop before it.
                Some(_) => self.reconcile_pool(ctx),
            },
            // Unless somebody is about to want something of it.
            Phase::Up(_) if self.errand.is_none() && self.finished() => {
                // Who is to go, or waits for its turn to stop, has nothing to add.
                if self.wanted == Wanted::Up {
                    self.wanted = Wanted::Down;
                    let text = match self.exits.back() {
                        Some(exit) => format!("its work is done: the last process {}", exit.status),
                        None => "its work is done".into(),
                    };
                    self.set_trouble(Cause::Finished, text, ctx.now);
                }
                self.begin_stop(ctx);
            }
            Phase::Up(_) => self.reconcile_pool(ctx),
            Phase::Stopping => self.empty_pool(ctx),
            Phase::Stopped | Phase::BeforeStart(_) | Phase::BeforeStop(_) | Phase::AfterStop(_) => {
            }
        }
    }

    fn begin_start(&mut self, ctx: &mut Context) {
        self.since = ctx.now;
        self.trouble = None;
        self.stopped_pids.clear();
        self.phase = match self.ask(Hook::BeforeStart, ctx) {
            Some(hook) => Phase::BeforeStart(hook),
            None => Phase::Up(Up::Filling),
        };
    }

    /// Whether all processes have ended and none is to be replaced.
    fn finished(&self) -> bool {
        self.places.finished() > 0
            && self.tally.total() == 0
            && self.places.finished() >= self.target()
    }

    fn begin_stop(&mut self, ctx: &mut Context) {
        if let Phase::Up(Up::AfterStart(hook)) = self.phase {
            ctx.cancel_hook(hook);
        }
        self.since = ctx.now;
        self.reload = None;
        self.stopped_pids.clear();
        ctx.timers.set(Timer::Pool(self.spec.name.clone()), None);
        self.freeze(false, ctx);
        let hook = match self.workers.is_empty() {
            true => None,
            false => self.ask(Hook::BeforeStop, ctx),
        };
        self.phase = hook.map_or(Phase::Stopping, Phase::BeforeStop);
    }

    fn empty_pool(&mut self, ctx: &mut Context) {
        if self.tally.going() < self.tally.total() {
            for id in self.select(|worker| !worker.going()) {
                self.dismiss(id, Farewell::new(By::Stop, &self.spec), ctx);
            }
        }
        if !self.workers.is_empty() {
            return;
        }
        match self.ask(Hook::AfterStop, ctx) {
            Some(hook) => self.phase = Phase::AfterStop(hook),
            None => self.reach_stopped(ctx),
        }
    }

    fn reach_stopped(&mut self, ctx: &mut Context) {
        let duration = ctx.now.since(self.since);
        let pids = std::mem::take(&mut self.stopped_pids);
        self.emit(EventKind::Stop { pids, duration }, ctx);
        self.phase = Phase::Stopped;
        self.since = ctx.now;
        self.must_stop = false;
        self.stops += 1;
        self.failed_reload = None;
        self.places = Places::default();
        self.histories.clear();
        self.gate = Gate::default();
    }

    /// Stops or restarts the clocks of the processes, and with them all that is waited for.
    pub(super) fn freeze(&mut self, frozen: bool, ctx: &mut Context) {
        if self.frozen == frozen {
            return;
        }
        self.set_frozen(frozen, ctx);
        match frozen {
            true => self.look_away_from_all(ctx),
            false => self.look_again(ctx),
        }
    }

    /// Stops or restarts the clocks of the processes, if that is a change.
    pub(super) fn set_frozen(&mut self, frozen: bool, ctx: &mut Context) {
        if self.frozen == frozen {
            return;
        }
        self.frozen = frozen;
        ctx.act(Action::Freeze {
            watcher: self.spec.name.clone(),
            frozen,
        });
        self.emit(
            if frozen {
                EventKind::Freeze
            } else {
                EventKind::Thaw
            },
            ctx,
        );
    }

    /// A hook that we waited for has spoken.
    pub(super) fn on_hook(
        &mut self,
        hook: HookId,
        run: &HookRun,
        answer: &HookAnswer,
        ctx: &mut Context,
    ) {
        match run.purpose {
            Purpose::Watcher => self.on_own_hook(hook, answer, ctx),
            Purpose::Worker(id) => self.on_worker_hook(hook, id, answer, ctx),
            Purpose::Signal(id) => self.signal_hook_answered(id, answer, ctx),
        }
    }

    fn on_own_hook(&mut self, hook: HookId, answer: &HookAnswer, ctx: &mut Context) {
        match self.phase {
            Phase::BeforeStart(id) if id == hook => match answer {
                HookAnswer::True => self.phase = Phase::Up(Up::Filling),
                HookAnswer::False(_) | HookAnswer::Failed(_) => {
                    self.set_hook_trouble(Hook::BeforeStart, answer, ctx.now);
                    self.phase = Phase::Stopped;
                    self.since = ctx.now;
                    self.refuse();
                }
            },
            Phase::Up(Up::AfterStart(id)) if id == hook => match answer {
                HookAnswer::True => self.started(ctx),
                HookAnswer::False(_) | HookAnswer::Failed(_) => {
                    self.set_hook_trouble(Hook::AfterStart, answer, ctx.now);
                    self.phase = Phase::Up(Up::Filling);
                    self.refuse();
                }
            },
            Phase::BeforeStop(id) if id == hook => self.phase = Phase::Stopping,
            Phase::AfterStop(id) if id == hook => self.reach_stopped(ctx),
            Phase::Stopped
            | Phase::BeforeStart(_)
            | Phase::Up(_)
            | Phase::BeforeStop(_)
            | Phase::Stopping
            | Phase::AfterStop(_) => {}
        }
    }

    /// A hook has decided that it does not run, whatever waits in a wave.
    fn refuse(&mut self) {
        self.leave_wave();
        if self.wanted == Wanted::Up {
            self.wanted = Wanted::Down;
        }
    }

    fn on_worker_hook(
        &mut self,
        hook: HookId,
        id: WorkerId,
        answer: &HookAnswer,
        ctx: &mut Context,
    ) {
        match self.workers.get(&id).map(|worker| worker.life) {
            Some(Life::BeforeSpawn(h)) if h == hook => self.before_spawn_answered(id, answer, ctx),
            Some(Life::AfterSpawn(h)) if h == hook => self.after_spawn_answered(id, answer, ctx),
            Some(Life::BeforeReap(h)) if h == hook => self.tell_reaped(id, ctx),
            Some(Life::AfterReap(h)) if h == hook => {
                self.change(id, |worker| worker.life = Life::Reaped);
                self.part_with(id, ctx);
            }
            _ => {}
        }
    }

    /// Ends everything at once: whatever is asked or waited for no longer matters.
    pub(super) fn force_down(&mut self, ctx: &mut Context) {
        self.held = false;
        self.set_frozen(false, ctx);
        match self.phase {
            Phase::BeforeStop(hook) => {
                ctx.cancel_hook(hook);
                self.phase = Phase::Stopping;
            }
            Phase::AfterStop(hook) => {
                ctx.cancel_hook(hook);
                self.reach_stopped(ctx);
            }
            Phase::Stopped | Phase::BeforeStart(_) | Phase::Up(_) | Phase::Stopping => {}
        }
        let at_once = Farewell {
            grace: std::time::Duration::ZERO,
            ..Farewell::new(By::Stop, &self.spec)
        };
        for id in self.select(|_| true) {
            self.drop_after_signal(id, ctx);
            match self.workers[&id].life {
                Life::BeforeReap(hook) => {
                    ctx.cancel_hook(hook);
                    self.tell_reaped(id, ctx);
                    self.kill_leftovers(id, ctx);
                }
                Life::AfterReap(hook) => {
                    ctx.cancel_hook(hook);
                    self.change(id, |worker| worker.life = Life::Reaped);
                    self.part_with(id, ctx);
                    self.kill_leftovers(id, ctx);
                }
                Life::Stopping => self.kill_tree(id, ctx),
                Life::Reaped => {
                    self.part_with(id, ctx);
                    self.kill_leftovers(id, ctx);
                }
                // It was told to end before, and is killed as soon as it is there.
                Life::Spawning if self.workers[&id].stop.is_some() => {
                    let now = ctx.now;
                    self.change(id, |worker| {
                        worker.stop.as_mut().map(|stop| stop.kill_at = now)
                    });
                }
                Life::BeforeSpawn(_)
                | Life::Allowed
                | Life::Spawning
                | Life::AfterSpawn(_)
                | Life::Starting
                | Life::Running => self.dismiss(id, at_once, ctx),
            }
        }
    }

    /// Does not wait for the grace of what a process has left behind.
    fn kill_leftovers(&mut self, id: WorkerId, ctx: &mut Context) {
        if self.workers.get(&id).is_some_and(|worker| !worker.emptied) {
            self.kill_tree(id, ctx);
        }
    }
}
