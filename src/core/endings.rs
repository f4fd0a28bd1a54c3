//! How processes end: told to, by themselves, or by force, and what is done about each.

use super::context::{Context, Purpose};
use super::place::{Outlook, Vacancy};
use super::timers::Timer;
use super::watcher::{Phase, Up, Watcher};
use super::worker::{Life, Stop, Worker};
use super::{
    Action, By, Cause, EventKind, Exit, ExitStatus, Forced, Hook, Recipients, Restart, Time,
    WatcherSpec, WorkerId,
};
use std::time::Duration;

/// The pause before a tree that survived its kill is killed again; doubled each time. A tree can
/// only survive by a race with its own forks (without a cgroup) or inside the kernel.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// A SIGKILL that comes so soon after the kernel has killed something of the tree for want of memory
/// is taken for the same. The kernel tells of both within milliseconds, but a loop may be late.
const BLAMED_ON_MEMORY: Duration = Duration::from_secs(10);

/// The longest such pause.
const KILL_AGAIN_MAX: Duration = Duration::from_secs(60);

/// How a process is told to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Farewell {
    pub(super) by: By,
    pub(super) signal: i32,
    pub(super) recipients: Recipients,
    pub(super) grace: Duration,
}

impl Farewell {
    /// As the watcher's spec has it.
    pub(super) fn new(by: By, spec: &WatcherSpec) -> Farewell {
        Farewell {
            by,
            signal: spec.stop_signal,
            recipients: match spec.stop_children {
                true => Recipients::Tree,
                false => Recipients::Process,
            },
            grace: spec.graceful_timeout,
        }
    }
}

impl Watcher {
    /// Has a process end. One that is on its way out already goes on as it was told before.
    pub(super) fn dismiss(&mut self, id: WorkerId, farewell: Farewell, ctx: &mut Context) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        if worker.going() {
            return;
        }
        match worker.life {
            Life::BeforeSpawn(hook) => {
                ctx.cancel_hook(hook);
                return self.discard(id, ctx);
            }
            Life::Allowed => return self.discard(id, ctx),
            Life::AfterSpawn(hook) => ctx.cancel_hook(hook),
            Life::Spawning | Life::Starting | Life::Running => {}
            Life::Stopping | Life::BeforeReap(_) | Life::AfterReap(_) | Life::Reaped => return,
        }
        let spawning = worker.life == Life::Spawning;
        let kill_at = ctx.now + farewell.grace;
        let stop = Stop {
            by: farewell.by,
            kill_at,
            killed: None,
            overdue: false,
        };
        self.change(id, |worker| worker.stop = Some(stop));
        self.look_away(id, ctx);
        // The kernel is still making it; it is told as soon as it can hear.
        if !spawning {
            self.tell(id, farewell, ctx);
        }
    }

    /// Tells a process again that is on its way out. It never has longer than it had.
    pub(super) fn hurry(&mut self, id: WorkerId, farewell: Farewell, ctx: &mut Context) {
        let now = ctx.now;
        let kill_at = self.change(id, |worker| {
            let stop = worker.stop.as_mut().filter(|stop| stop.killed.is_none())?;
            stop.kill_at = stop.kill_at.min(now + farewell.grace);
            (worker.life == Life::Stopping).then_some(stop.kill_at)
        });
        let Some(Some(kill_at)) = kill_at else {
            return;
        };
        if kill_at <= now {
            return self.kill_tree(id, ctx);
        }
        ctx.timers.set(Timer::Worker(id), Some(kill_at));
        self.send(
            id,
            farewell.signal,
            farewell.recipients,
            farewell.by,
            None,
            ctx,
        );
    }

    /// Tells a process that was dismissed while the kernel was making it.
    pub(super) fn tell_to_end(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(stop) = self.workers.get(&id).and_then(|worker| worker.stop) else {
            return;
        };
        let grace = stop.kill_at.since(ctx.now);
        self.tell(
            id,
            Farewell {
                grace,
                ..Farewell::new(stop.by, &self.spec)
            },
            ctx,
        );
    }

    fn tell(&mut self, id: WorkerId, farewell: Farewell, ctx: &mut Context) {
        self.change(id, |worker| worker.life = Life::Stopping);
        if farewell.grace.is_zero() {
            return self.kill_tree(id, ctx);
        }
        ctx.timers
            .set(Timer::Worker(id), Some(ctx.now + farewell.grace));
        self.send(
            id,
            farewell.signal,
            farewell.recipients,
            farewell.by,
            None,
            ctx,
        );
    }

    /// Kills what is left of a process's tree, and again later if that was not enough.
    pub(super) fn kill_tree(&mut self, id: WorkerId, ctx: &mut Context) {
        let now = ctx.now;
        let again = self.change(id, |worker| {
            let by = By::Cleanup;
            let stop = worker.stop.get_or_insert(Stop {
                by,
                kill_at: now,
                killed: None,
                overdue: false,
            });
            let pause = stop
                .killed
                .map_or(KILL_AGAIN, |pause| (pause * 2).min(KILL_AGAIN_MAX));
            stop.killed = Some(pause);
            stop.kill_at = now + pause;
            stop.kill_at
        });
        ctx.timers.set(Timer::Worker(id), again);
        self.send_kill(id, ctx);
    }

    /// A deadline in a worker's life has come.
    pub(super) fn worker_due(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        if worker.stop.is_some() {
            self.change(id, |worker| {
                if let Some(stop) = &mut worker.stop {
                    stop.overdue |= stop.killed.is_none();
                }
            });
            return self.kill_tree(id, ctx);
        }
        match worker.life {
            Life::Starting => {
                let after = ctx.now.since(worker.started).as_secs_f64();
                let why = worker.vitals.not_ready.as_ref();
                let why = why.map_or(String::new(), |why| format!(": {why}"));
                let text = format!("process {} was not ready within {after} s{why}", worker.wid);
                self.set_trouble(Cause::SpawnFailed, text, ctx.now);
                self.dismiss(id, Farewell::new(By::StartTimeout, &self.spec), ctx);
                self.spawn_failed(ctx);
            }
            Life::Running if worker.outdated.is_none() => {
                self.change(id, |worker| worker.outdated = Some(By::MaxAge));
            }
            Life::Running
            | Life::BeforeSpawn(_)
            | Life::Allowed
            | Life::Spawning
            | Life::AfterSpawn(_)
            | Life::Stopping
            | Life::BeforeReap(_)
            | Life::AfterReap(_)
            | Life::Reaped => {}
        }
    }

    /// The main process has ended.
    pub(super) fn on_exited(
        &mut self,
        id: WorkerId,
        status: ExitStatus,
        emptied: bool,
        ctx: &mut Context,
    ) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let (Some(pid), None) = (worker.pid, &worker.exit) else {
            return;
        };
        if let Life::AfterSpawn(hook) = worker.life {
            ctx.cancel_hook(hook);
        }
        let told = worker.stop.is_some();
        let exit = Exit {
            wid: worker.wid,
            pid,
            time: ctx.now,
            runtime: ctx.now.since(worker.started),
            status,
            expected: told && !at_fault(worker),
            forced: forced(worker, status, ctx.now),
        };
        self.look_away(id, ctx);
        self.change(id, |worker| {
            worker.exit = Some(exit);
            worker.emptied = emptied;
            worker.life = Life::Reaped;
        });
        // What it leaves has what remains of the grace if it was told to end, else nothing.
        if emptied {
            ctx.timers.set(Timer::Worker(id), None);
        } else if !told {
            self.kill_tree(id, ctx);
        }
        let worker = &self.workers[&id];
        let hook = self.ask_about(
            Hook::BeforeReap,
            Purpose::Worker(id),
            Some(worker),
            None,
            ctx,
        );
        match hook {
            Some(hook) => {
                self.change(id, |worker| worker.life = Life::BeforeReap(hook));
            }
            None => self.tell_reaped(id, ctx),
        }
    }

    /// Tells everybody of the end; after the hook, if there is one.
    pub(super) fn tell_reaped(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(exit) = self.workers.get(&id).and_then(|worker| worker.exit.clone()) else {
            return;
        };
        self.change(id, |worker| worker.life = Life::Reaped);
        let (wid, pid) = (exit.wid, exit.pid);
        self.stopped_pids.push(pid);
        self.remember(exit.clone());
        self.emit(EventKind::Reap { pid, wid, exit }, ctx);
        let worker = &self.workers[&id];
        if let Some(hook) = self.ask_about(
            Hook::AfterReap,
            Purpose::Worker(id),
            Some(worker),
            None,
            ctx,
        ) {
            self.change(id, |worker| worker.life = Life::AfterReap(hook));
        }
        self.part_with(id, ctx);
    }

    /// Nothing is left of the tree.
    pub(super) fn on_emptied(&mut self, id: WorkerId, ctx: &mut Context) {
        let ended = self.change(id, |worker| {
            worker.emptied |= worker.exit.is_some();
            worker.emptied
        });
        if ended == Some(true) {
            ctx.timers.set(Timer::Worker(id), None);
            self.part_with(id, ctx);
        }
    }

    /// Gives a worker's place back when all is over.
    pub(super) fn part_with(&mut self, id: WorkerId, ctx: &mut Context) {
        let over = |worker: &Worker| worker.life == Life::Reaped && worker.emptied;
        // Who was asked what follows from a signal answers, even if the process has gone by it.
        if !self.workers.get(&id).is_some_and(over) || self.asks_after_signal(id) {
            return;
        }
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        self.unsaved.insert(id);
        self.tally.leave(worker.class());
        self.drop_signals(id, ctx);
        ctx.timers.set(Timer::Worker(id), None);
        ctx.owners.remove(&id);
        ctx.act(Action::Forget { worker: id });
        let vacancy = self.vacancy(&worker, ctx);
        self.places.leave(worker.wid, vacancy, ctx.now);
    }

    /// What is to become of the place of a process that has gone.
    fn vacancy(&mut self, worker: &Worker, ctx: &mut Context) -> Vacancy {
        let Some(exit) = &worker.exit else {
            return Vacancy::Free;
        };
        // The place of one that was to be replaced is not its successor's.
        let replaced = worker.outdated.is_some() || worker.generation < self.generation;
        // What was not ready in time has been counted, as a spawn that failed.
        let counted = worker.stop.is_some_and(|stop| stop.by == By::StartTimeout);
        let over = exit.expected || counted || replaced;
        if over || !matches!(self.phase, Phase::Up(_)) {
            self.histories.remove(&worker.wid);
            return Vacancy::Free;
        }
        if !self.respawns(worker, exit.status) {
            self.histories.remove(&worker.wid);
            return Vacancy::Finished;
        }
        self.restarts += 1;
        let fault = worker.vitals.fault.as_deref();
        let ended = fault.map_or_else(|| exit.to_string(), ToOwned::to_owned);
        self.note_early_end(worker, &ended, ctx);
        self.outlook(worker.wid, exit, &ended, ctx)
    }

    fn respawns(&self, worker: &Worker, status: ExitStatus) -> bool {
        match self.spec.restart {
            Restart::Always => true,
            Restart::Never => false,
            Restart::OnFailure if worker.vitals.fault.is_some() => true,
            Restart::OnFailure => match status {
                ExitStatus::Exited(code) => !self.spec.success_exit_status.contains(&code),
                ExitStatus::Signaled(_) | ExitStatus::Dumped(_) | ExitStatus::Unknown => true,
            },
        }
    }

    /// An end that spoils a start or a reload that is under way.
    fn note_early_end(&mut self, worker: &Worker, ended: &str, ctx: &mut Context) {
        let text = format!("process {} {ended}", worker.wid);
        let new = self
            .reload
            .is_some_and(|reload| worker.generation >= reload.generation);
        if new || self.phase == Phase::Up(Up::Filling) {
            self.set_trouble(Cause::SpawnFailed, text, ctx.now);
        }
        if new {
            self.fail_reload(ctx);
        }
    }

    fn outlook(&mut self, wid: u32, exit: &Exit, ended: &str, ctx: &mut Context) -> Vacancy {
        let history = self.histories.entry(wid).or_default();
        let (backoff, flapping) = (self.spec.backoff.as_ref(), self.spec.flapping.as_ref());
        let outlook = history.ended(exit.time, exit.runtime, backoff, flapping, &mut ctx.rng);
        let ended = format!("process {wid} {ended}");
        match (outlook, self.spec.flapping) {
            (Outlook::Respawn(pause), _) if pause.is_zero() => Vacancy::Until(ctx.now),
            (Outlook::Respawn(pause), _) => {
                let text = format!("{ended} soon after its start; the next one waits");
                self.set_trouble(Cause::Flapping, text, ctx.now);
                Vacancy::Until(ctx.now + pause)
            }
            (Outlook::Hold(retry_in), Some(flapping)) => {
                let (attempts, window) = (flapping.attempts, flapping.window);
                let within = window.as_secs_f64();
                let text = format!("{ended}, {attempts} times within {within} s");
                self.set_trouble(Cause::Flapping, text, ctx.now);
                self.emit(
                    EventKind::Flapping {
                        wid,
                        attempts,
                        window,
                        retry_in,
                    },
                    ctx,
                );
                Vacancy::Until(ctx.now + retry_in)
            }
            (Outlook::Hold(_) | Outlook::GiveUp, flapping) => {
                self.set_trouble(Cause::Flapping, ended, ctx.now);
                let attempts = flapping.map_or(0, |flapping| flapping.attempts);
                self.give_up(Some(wid), attempts, ctx);
                Vacancy::GivenUp
            }
        }
    }

    /// Lets a process run on without us.
    pub(super) fn abandon(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        match worker.life {
            Life::BeforeSpawn(hook) | Life::AfterSpawn(hook) => ctx.cancel_hook(hook),
            Life::BeforeReap(hook) | Life::AfterReap(hook) => ctx.cancel_hook(hook),
            Life::Allowed
            | Life::Spawning
            | Life::Starting
            | Life::Running
            | Life::Stopping
            | Life::Reaped => {}
        }
        self.drop_signals(id, ctx);
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        self.unsaved.insert(id);
        self.tally.leave(worker.class());
        self.places.leave(worker.wid, Vacancy::Free, ctx.now);
        ctx.timers.set(Timer::Worker(id), None);
        ctx.timers.set(Timer::Watchdog(id), None);
        ctx.owners.remove(&id);
        if !worker.life.is_pending() {
            ctx.act(Action::Abandon { worker: id });
        }
    }
}

/// Whether a process was told to end because of what it did, or did not do.
fn at_fault(worker: &Worker) -> bool {
    worker.stop.is_some_and(|stop| match stop.by {
        By::Watchdog | By::Health | By::StartTimeout => true,
        By::Stop
        | By::Scale
        | By::Reload
        | By::MaxAge
        | By::MaxRequests
        | By::Operator
        | By::Hook
        | By::Cleanup => false,
    })
}

/// What ended a process, where its status does not say.
fn forced(worker: &Worker, status: ExitStatus, now: Time) -> Option<Forced> {
    let killed = matches!(status, ExitStatus::Signaled(9));
    let short = (worker.vitals.out_of_memory).is_some_and(|at| now.since(at) <= BLAMED_ON_MEMORY);
    match worker.stop {
        Some(stop) if stop.by == By::Watchdog => Some(Forced::Watchdog),
        Some(stop) if stop.by == By::Health => Some(Forced::Health),
        Some(stop) if stop.by == By::StartTimeout => Some(Forced::Timeout),
        Some(stop) if stop.overdue && killed => Some(Forced::Timeout),
        // Else it was we who have killed it.
        None if short && killed => Some(Forced::OutOfMemory),
        Some(stop) if short && killed && stop.killed.is_none() => Some(Forced::OutOfMemory),
        _ => None,
    }
}
