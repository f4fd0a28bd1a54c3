//! What a process says and shows of itself while it runs: that it is ready, alive, healthy, or has
//! done its share; and what follows for it.

use super::context::Context;
use super::endings::Farewell;
use super::timers::Timer;
use super::watcher::Watcher;
use super::worker::Worker;
use super::{Action, By, EventKind, Fault, Probe, Readiness, Recipients, WatcherSpec, WorkerId};
use std::time::Duration;

/// What a silent process is told, so that a core dump shows where it is stuck; as systemd does
/// (`WatchdogSignal=` in systemd.service(5)).
const SIGABRT: i32 = 6;

impl Watcher {
    /// Why a process is not ready, should it not become so in time.
    pub(super) fn on_not_ready(&mut self, id: WorkerId, why: String) {
        self.change(id, |worker| worker.vitals.not_ready = Some(why));
    }

    /// A process wants more time for what it is at: to start, or to end.
    pub(super) fn on_extended(&mut self, id: WorkerId, by: Duration, ctx: &mut Context) {
        let until = ctx.now + by;
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.runs()) else {
            return;
        };
        let Some(stop) = &mut worker.stop else {
            worker.vitals.extended = worker.vitals.extended.max(Some(until));
            return self.wait_for_readiness(id, ctx);
        };
        if stop.killed.is_none() {
            stop.kill_at = stop.kill_at.max(until);
            let timer = Timer::Worker(id);
            if ctx.timers.get(&timer).is_some() {
                ctx.timers.set(timer, Some(stop.kill_at));
            }
        }
    }

    /// Gives a process the whole of its time to become ready.
    pub(super) fn give_time(&mut self, id: WorkerId, ctx: &mut Context) {
        let now = ctx.now;
        self.change(id, |worker| worker.vitals.awaited = Some(now));
        self.wait_for_readiness(id, ctx);
    }

    /// Has a process looked after that will not be ready in time. Its clock stands still in a freeze.
    fn wait_for_readiness(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.starts()) else {
            return;
        };
        let (Readiness::Told { timeout }, Some(since)) = (self.spec.ready, worker.vitals.awaited)
        else {
            return;
        };
        let due = (since + timeout).max(worker.vitals.extended.unwrap_or(since));
        let due = (!self.frozen).then_some(due);
        ctx.timers.set(Timer::Worker(id), due);
    }

    /// A process has shown that it is alive.
    pub(super) fn on_alive(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let timer = Timer::Watchdog(id);
        // Else nobody waits for it.
        if ctx.timers.get(&timer).is_some() {
            let silence = self.silence_max(worker);
            ctx.timers
                .set(timer, silence.map(|silence| ctx.now + silence));
        }
    }

    /// A process has chosen how often it will show that it is alive.
    pub(super) fn on_watchdog_set(&mut self, id: WorkerId, interval: Duration, ctx: &mut Context) {
        self.change(id, |worker| worker.vitals.watchdog = Some(interval));
        self.watch_over(id, ctx);
    }

    /// How long a process may be silent.
    fn silence_max(&self, worker: &Worker) -> Option<Duration> {
        let interval = worker.vitals.watchdog.or(self.spec.watchdog)?;
        (!interval.is_zero()).then_some(interval)
    }

    /// Gives a process that is ready the whole of its time to show that it is alive.
    fn watch_over(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.in_service()) else {
            return;
        };
        let silence = self.silence_max(worker).filter(|_| !self.frozen);
        let due = silence.map(|silence| ctx.now + silence);
        ctx.timers.set(Timer::Watchdog(id), due);
    }

    /// A process has been silent for too long.
    pub(super) fn watchdog_due(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(silence) = self.workers.get(&id).and_then(|w| self.silence_max(w)) else {
            return;
        };
        let error = format!("was silent for {} s", silence.as_secs_f64());
        self.on_unfit(id, Fault::Watchdog, error, ctx);
    }

    /// A process is not fit to go on: it makes room for another.
    pub(super) fn on_unfit(
        &mut self,
        id: WorkerId,
        fault: Fault,
        error: String,
        ctx: &mut Context,
    ) {
        let here = self.workers.get(&id).filter(|worker| worker.in_service());
        // Who is frozen can show nothing: what is told of it was so before, or is no fault of its.
        let Some(worker) = here.filter(|_| !self.frozen) else {
            return;
        };
        let (wid, pid) = (worker.wid, worker.pid);
        let told = match fault {
            Fault::Health => format!("was not healthy: {error}"),
            Fault::Watchdog => error.clone(),
        };
        self.change(id, |worker| worker.vitals.fault = Some(told.into()));
        if let Some(pid) = pid {
            self.emit(
                EventKind::Unfit {
                    pid,
                    wid,
                    fault,
                    error,
                },
                ctx,
            );
        }
        let farewell = match fault {
            Fault::Health => Farewell::new(By::Health, &self.spec),
            Fault::Watchdog => Farewell {
                signal: SIGABRT,
                recipients: Recipients::Process,
                ..Farewell::new(By::Watchdog, &self.spec)
            },
        };
        self.dismiss(id, farewell, ctx);
    }

    /// A process has told how much it has done.
    pub(super) fn on_served(&mut self, id: WorkerId, requests: u64, ctx: &mut Context) {
        self.change(id, |worker| worker.vitals.requests = requests);
        self.appraise(id, ctx);
    }

    /// Has a process replaced that has done its share, now, or when it will be too old.
    pub(super) fn appraise(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.in_service()) else {
            return;
        };
        let age = self.age_limit(worker).filter(|_| worker.outdated.is_none());
        let share = self.spec.max_requests;
        let done = share.is_some_and(|share| worker.vitals.requests >= share);
        ctx.timers.set(Timer::Worker(id), age.filter(|_| !done));
        if done {
            self.change(id, |worker| {
                worker.outdated = worker.outdated.or(Some(By::MaxRequests))
            });
        }
    }

    /// Another process of the tree is the main one now.
    pub(super) fn on_main_pid(&mut self, id: WorkerId, pid: i32) {
        self.change(id, |worker| {
            if worker.runs() {
                worker.pid = Some(pid);
            }
        });
    }

    /// The kernel has killed something of a process.
    pub(super) fn on_out_of_memory(
        &mut self,
        id: WorkerId,
        peak: Option<u64>,
        limit: Option<u64>,
        ctx: &mut Context,
    ) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let (wid, pid) = (worker.wid, worker.pid);
        let now = ctx.now;
        self.change(id, |worker| worker.vitals.out_of_memory = Some(now));
        if let Some(pid) = pid {
            self.emit(
                EventKind::Oom {
                    pid,
                    wid,
                    peak,
                    limit,
                },
                ctx,
            );
        }
    }

    /// Has somebody find out about a process.
    pub(super) fn probe(&mut self, id: WorkerId, probe: Probe, ctx: &mut Context) {
        self.change(id, |worker| worker.vitals.probed = true);
        ctx.act(Action::Probe { worker: id, probe });
    }

    fn end_probe(&mut self, id: WorkerId, ctx: &mut Context) {
        let probed = self.change(id, |worker| std::mem::take(&mut worker.vitals.probed));
        if probed == Some(true) {
            ctx.act(Action::EndProbe { worker: id });
        }
    }

    /// Looks after a process that is ready from now on.
    pub(super) fn look_after(&mut self, id: WorkerId, ctx: &mut Context) {
        if self.spec.health && !self.frozen {
            self.probe(id, Probe::Health, ctx);
        } else {
            self.end_probe(id, ctx);
        }
        self.watch_over(id, ctx);
        self.appraise(id, ctx);
    }

    /// No longer looks after a process: it is on its way out, or has ended.
    pub(super) fn look_away(&mut self, id: WorkerId, ctx: &mut Context) {
        self.end_probe(id, ctx);
        ctx.timers.set(Timer::Watchdog(id), None);
    }

    /// Nothing counts while the processes are frozen. Who finds out whether one is ready goes on: it
    /// may have said so just before, and it says so once.
    pub(super) fn look_away_from_all(&mut self, ctx: &mut Context) {
        for id in self.select(Worker::in_service) {
            self.look_away(id, ctx);
        }
        for id in self.select(Worker::starts) {
            self.wait_for_readiness(id, ctx);
        }
    }

    /// After a freeze everybody has the whole of its time.
    pub(super) fn look_again(&mut self, ctx: &mut Context) {
        for id in self.select(Worker::in_service) {
            self.look_after(id, ctx);
        }
        for id in self.select(|worker| worker.starts() && worker.vitals.awaited.is_some()) {
            self.give_time(id, ctx);
        }
    }

    /// The rules have changed: what follows for processes that run.
    pub(super) fn take_over(&mut self, old: &WatcherSpec, ctx: &mut Context) {
        let limits = |spec: &WatcherSpec| (spec.max_age, spec.max_age_variance, spec.max_requests);
        if limits(old) != limits(&self.spec) {
            for id in self.select(Worker::in_service) {
                self.change(id, |worker| {
                    let grown = |by: &By| matches!(by, By::MaxAge | By::MaxRequests);
                    worker.outdated = worker.outdated.filter(|by| !grown(by));
                });
                self.appraise(id, ctx);
            }
        }
        if (old.watchdog, old.health) != (self.spec.watchdog, self.spec.health) {
            for id in self.select(Worker::in_service) {
                self.look_after(id, ctx);
            }
        }
        if old.ready != self.spec.ready {
            for id in self.select(Worker::starts) {
                self.wait_for_readiness(id, ctx);
            }
        }
    }
}
