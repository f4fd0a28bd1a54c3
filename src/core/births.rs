//! How processes come to be: asked for, made, ready, or failed.

use super::context::{Context, Purpose};
use super::endings::Farewell;
use super::timers::Timer;
use super::watcher::Watcher;
use super::worker::{Life, Standing, Vitals, Worker};
use super::{
    Action, By, Cause, EventKind, Hook, HookAnswer, Probe, Readiness, SpawnFailure, Time, WorkerId,
};
use std::time::Duration;

/// No failed spawn is repeated sooner, whatever the configuration says.
const RETRY_MIN: Duration = Duration::from_millis(100);

impl Watcher {
    pub(super) fn spawn(&mut self, ctx: &mut Context) {
        let id = WorkerId(ctx.fresh_id());
        let wid = self.places.take();
        let mut worker = Worker {
            id,
            wid,
            generation: self.generation,
            revision: self.spec.revision,
            life: Life::Spawning,
            outdated: None,
            pid: None,
            started: ctx.now,
            ready: None,
            stop: None,
            exit: None,
            emptied: false,
            adopted: false,
            vitals: Vitals::default(),
            age_share: ctx.rng.f64(),
        };
        self.gate.last = Some(ctx.now);
        ctx.owners.insert(id, self.spec.name.clone());
        let hook = self.ask_about(
            Hook::BeforeSpawn,
            Purpose::Worker(id),
            Some(&worker),
            None,
            ctx,
        );
        match hook {
            Some(hook) => worker.life = Life::BeforeSpawn(hook),
            None => self.ask_kernel(&worker, ctx),
        }
        self.tally.enter(worker.class());
        self.workers.insert(id, worker);
    }

    pub(super) fn ask_kernel(&self, worker: &Worker, ctx: &mut Context) {
        ctx.act(Action::Spawn {
            worker: worker.id,
            watcher: self.spec.name.clone(),
            wid: worker.wid,
            revision: worker.revision,
        });
    }

    /// The hook has spoken about a process that is to be.
    pub(super) fn before_spawn_answered(
        &mut self,
        id: WorkerId,
        answer: &HookAnswer,
        ctx: &mut Context,
    ) {
        if *answer == HookAnswer::True {
            self.change(id, |worker| worker.life = Life::Allowed);
            return;
        }
        self.discard(id, ctx);
        self.set_hook_trouble(Hook::BeforeSpawn, answer, ctx.now);
        self.spawn_failed(ctx);
    }

    /// The kernel has made the process.
    pub(super) fn on_spawned(&mut self, id: WorkerId, pid: i32, ctx: &mut Context) {
        let now = ctx.now;
        self.change(id, |worker| {
            worker.pid = Some(pid);
            worker.started = now;
            worker.life = Life::Starting;
        });
        self.gate.proven = true;
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let (wid, generation, dismissed) = (worker.wid, worker.generation, worker.stop.is_some());
        self.emit(
            EventKind::Spawn {
                pid,
                wid,
                generation,
            },
            ctx,
        );
        if dismissed {
            return self.tell_to_end(id, ctx);
        }
        let worker = &self.workers[&id];
        let hook = self.ask_about(
            Hook::AfterSpawn,
            Purpose::Worker(id),
            Some(worker),
            None,
            ctx,
        );
        match hook {
            Some(hook) => {
                self.change(id, |worker| worker.life = Life::AfterSpawn(hook));
            }
            None => self.await_readiness(id, ctx),
        }
    }

    /// The hook has spoken about a process that runs.
    pub(super) fn after_spawn_answered(
        &mut self,
        id: WorkerId,
        answer: &HookAnswer,
        ctx: &mut Context,
    ) {
        if *answer == HookAnswer::True {
            self.change(id, |worker| worker.life = Life::Starting);
            return self.await_readiness(id, ctx);
        }
        self.set_hook_trouble(Hook::AfterSpawn, answer, ctx.now);
        self.dismiss(id, Farewell::new(By::Hook, &self.spec), ctx);
        self.spawn_failed(ctx);
    }

    pub(super) fn await_readiness(&mut self, id: WorkerId, ctx: &mut Context) {
        let told = self.workers.get(&id).and_then(|worker| worker.ready);
        match (self.spec.ready, told) {
            (Readiness::Told { .. }, None) => {
                self.give_time(id, ctx);
                self.probe(id, Probe::Readiness, ctx);
            }
            _ => self.on_ready(id, ctx),
        }
    }

    /// The process is ready.
    pub(super) fn on_ready(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let (now, wid, pid, started) = (ctx.now, worker.wid, worker.pid, worker.started);
        let life = match worker.life {
            // It says so before the hook has spoken: it counts from the hook's answer on.
            Life::AfterSpawn(hook) => Life::AfterSpawn(hook),
            Life::Starting if worker.stop.is_none() => Life::Running,
            // Nobody asked, or nobody cares any more.
            Life::BeforeSpawn(_)
            | Life::Allowed
            | Life::Spawning
            | Life::Starting
            | Life::Running
            | Life::Stopping
            | Life::BeforeReap(_)
            | Life::AfterReap(_)
            | Life::Reaped => return,
        };
        self.change(id, |worker| {
            worker.ready = worker.ready.or(Some(now));
            worker.life = life;
        });
        if life != Life::Running {
            return;
        }
        self.gate.failures = 0;
        self.gate.closed_until = None;
        if let Some(pid) = pid {
            self.emit(
                EventKind::Ready {
                    pid,
                    wid,
                    after: now.since(started),
                },
                ctx,
            );
        }
        self.look_after(id, ctx);
    }

    /// When a process is too old.
    pub(super) fn age_limit(&self, worker: &Worker) -> Option<Time> {
        let share = self.spec.max_age_variance.mul_f64(worker.age_share);
        Some(worker.started + self.spec.max_age? + share)
    }

    /// The kernel could not make the process.
    pub(super) fn on_spawn_failed(
        &mut self,
        id: WorkerId,
        failure: SpawnFailure,
        ctx: &mut Context,
    ) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let (wid, dismissed) = (worker.wid, worker.stop.is_some());
        self.discard(id, ctx);
        let text = failure.error.clone();
        self.emit(EventKind::SpawnFailed { wid, failure }, ctx);
        if !dismissed {
            self.set_trouble(Cause::SpawnFailed, text, ctx.now);
            self.spawn_failed(ctx);
        }
    }

    /// Counts a failed spawn, and decides whether and when to go on. The trouble is set already.
    pub(super) fn spawn_failed(&mut self, ctx: &mut Context) {
        self.gate.proven = false;
        let replacing = self.reload.is_some() || self.serves();
        self.fail_reload(ctx);
        // What was asked for together fails together, and counts once.
        if self.gate.closed_until.is_some_and(|until| until > ctx.now) || self.gate.given_up {
            return;
        }
        self.gate.failures += 1;
        let attempts = self.gate.failures;
        if self.spec.max_retry.is_some_and(|max| attempts >= max) && !replacing {
            self.gate.given_up = true;
            for id in self.pending(Life::is_pending) {
                self.dismiss(id, Farewell::new(By::Scale, &self.spec), ctx);
            }
            return self.give_up(None, attempts, ctx);
        }
        let growth = attempts - 1;
        let pause = self.spec.backoff.map_or(RETRY_MIN, |backoff| {
            super::place::pause(&backoff, growth, &mut ctx.rng).max(RETRY_MIN)
        });
        self.gate.closed_until = Some(ctx.now + pause);
    }

    /// Whether what could not be started is only to replace what still runs.
    fn serves(&self) -> bool {
        self.tally.old(Standing::Ready) > 0
    }

    /// Tells that a place, or the whole watcher, is not tried any more.
    pub(super) fn give_up(&mut self, wid: Option<u32>, attempts: u32, ctx: &mut Context) {
        let before = self.trouble.as_ref().map(|trouble| &trouble.reason.text);
        let last = before.map_or(String::new(), |text| format!(": {text}"));
        let text = match wid {
            None => format!("given up after {attempts} failed attempts{last}"),
            Some(wid) => format!("process {wid} ended too often and is given up{last}"),
        };
        self.set_trouble(Cause::GaveUp, text, ctx.now);
        self.emit(EventKind::GaveUp { wid, attempts }, ctx);
    }

    /// Forgets a worker that never came to be.
    pub(super) fn discard(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        self.unsaved.insert(id);
        self.tally.leave(worker.class());
        self.places
            .leave(worker.wid, super::place::Vacancy::Free, ctx.now);
        ctx.timers.set(Timer::Worker(id), None);
        ctx.owners.remove(&id);
        if !worker.life.is_pending() {
            ctx.act(Action::Forget { worker: id });
        }
    }
}
