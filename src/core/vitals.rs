//! What a process says and shows of itself while it runs: that it is ready, alive, healthy, or has
//! done its share; and what follows for it.

use super::context::Context;
use super::endings::Farewell;
use super::timers::Timer;
use super::watcher::Watcher;
use super::worker::{Life, Worker};
use super::{Action, By, EventKind, Fault, Probe, Recipients, WorkerId};
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
        let extended = self.change(id, |worker| match (&mut worker.stop, worker.life) {
            (Some(stop), _) if stop.killed.is_none() => {
                stop.kill_at = stop.kill_at.max(until);
                true
            }
            (None, Life::Starting) => true,
            _ => false,
        });
        let timer = Timer::Worker(id);
        if extended == Some(true)
            && let Some(due) = ctx.timers.get(&timer)
        {
            ctx.timers.set(timer, Some(due.max(until)));
        }
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
        let Some(worker) = self.workers.get(&id).filter(|worker| in_service(worker)) else {
            return;
        };
        let silence = self.silence_max(worker);
        ctx.timers.set(
            Timer::Watchdog(id),
            silence.map(|silence| ctx.now + silence),
        );
    }

    /// A process has been silent for too long.
    pub(super) fn watchdog_due(&mut self, id: WorkerId, ctx: &mut Context) {
        let Some(silence) = self.workers.get(&id).and_then(|w| self.silence_max(w)) else {
            return;
        };
        if self.frozen {
            // It cannot speak. When it is thawed it has the whole of its time again.
            return;
        }
        let error = format!("was silent for {} s", silence.as_secs_f64());
        self.on_unfit(id, Fault::Watchdog, error, ctx);
    }

    /// The processes run again after their clocks have stood still.
    pub(super) fn watch_over_all(&mut self, ctx: &mut Context) {
        for id in self.select(in_service) {
            self.watch_over(id, ctx);
        }
    }

    /// A process is not fit to go on: it makes room for another.
    pub(super) fn on_unfit(
        &mut self,
        id: WorkerId,
        fault: Fault,
        error: String,
        ctx: &mut Context,
    ) {
        let Some(worker) = self.workers.get(&id).filter(|worker| in_service(worker)) else {
            return;
        };
        if self.frozen {
            // Who is frozen cannot answer, and is not to blame for it.
            return;
        }
        let (wid, pid) = (worker.wid, worker.pid);
        self.change(id, |worker| {
            worker.vitals.fault = Some(error.as_str().into())
        });
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
    pub(super) fn on_served(&mut self, id: WorkerId, requests: u64) {
        self.change(id, |worker| worker.vitals.requests = requests);
        self.relieve(id);
    }

    /// Has a process replaced that has done its share.
    fn relieve(&mut self, id: WorkerId) {
        let max = self.spec.max_requests;
        self.change(id, |worker| {
            let done = max.is_some_and(|max| worker.vitals.requests >= max);
            if done && in_service(worker) && worker.outdated.is_none() {
                worker.outdated = Some(By::MaxRequests);
            }
        });
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
        self.change(id, |worker| worker.vitals.out_of_memory = true);
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
        if self.spec.health {
            self.probe(id, Probe::Health, ctx);
        } else {
            self.end_probe(id, ctx);
        }
        self.watch_over(id, ctx);
        self.relieve(id);
    }

    /// No longer looks after a process: it is on its way out, or has ended.
    pub(super) fn look_away(&mut self, id: WorkerId, ctx: &mut Context) {
        self.end_probe(id, ctx);
        ctx.timers.set(Timer::Watchdog(id), None);
    }

    /// How processes are looked after has changed.
    pub(super) fn look_after_all(&mut self, ctx: &mut Context) {
        for id in self.select(in_service) {
            self.change(id, |worker| {
                worker.outdated = worker.outdated.filter(|by| *by != By::MaxRequests);
            });
            self.look_after(id, ctx);
        }
    }
}

fn in_service(worker: &Worker) -> bool {
    worker.life == Life::Running && worker.stop.is_none()
}
