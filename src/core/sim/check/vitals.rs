//! What processes show of themselves: who is late or silent goes, in time and not before; nobody is
//! asked who cannot answer.

use super::books::{Watch, Worker};
use super::{Checker, Verdict, ensure};
use crate::core::{
    Exit, ExitStatus, Fault, Forced, Name, Probe, Readiness, Time, WatcherSpec, WorkerId,
};
use std::time::Duration;

/// What is known of what a worker shows.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    /// What is being found out.
    probed: Option<Probe>,
    /// Since when its readiness is waited for.
    awaited: Option<Time>,
    /// Until when it has asked to be left alone.
    extended: Option<Time>,
    /// Until when it may take to end, if nobody is in a hurry.
    may_end: Option<Time>,
    /// When it last showed that it is alive, or was given its time anew; and when it may have been.
    alive: Option<Time>,
    revived: Option<Time>,
    interval: Option<Duration>,
    /// When it was first asked to be signalled.
    touched: Option<Time>,
    /// Whether it was certainly told to end.
    dismissed: bool,
    killed: bool,
    /// Whether an operator has signalled or killed something of its watcher.
    hurried: bool,
    unfit: Option<Fault>,
    served: u64,
    /// The pids of what was its main process before.
    pub(super) former: Vec<i32>,
    memory: Option<Time>,
}

/// Signals that no simulated operator sends: whoever gets one was told to end.
const FAREWELLS: [i32; 4] = [2, 3, 6, 10];

impl Checker {
    fn vitals(&mut self, id: WorkerId) -> Option<&mut Vitals> {
        let worker = self.workers.get_mut(&id)?;
        (worker.born.is_some() && !worker.ended).then_some(&mut worker.vitals)
    }

    pub(super) fn extended(&mut self, id: WorkerId, by: Duration) {
        let until = self.now + by;
        if let Some(vitals) = self.vitals(id) {
            match (vitals.touched, vitals.killed) {
                (None, _) => vitals.extended = vitals.extended.max(Some(until)),
                (Some(_), false) => vitals.may_end = vitals.may_end.max(Some(until)),
                (Some(_), true) => {}
            }
        }
    }

    pub(super) fn alive(&mut self, id: WorkerId) {
        let now = self.now;
        if let Some(vitals) = self.vitals(id) {
            vitals.alive = vitals.alive.map(|_| now);
            vitals.revived = vitals.alive;
        }
    }

    pub(super) fn watchdog_set(&mut self, id: WorkerId, interval: Duration) {
        if let Some(vitals) = self.vitals(id) {
            vitals.interval = Some(interval);
        }
        self.alive(id);
    }

    pub(super) fn unfit_heard(&mut self, id: WorkerId) {
        self.step.unfit.insert(id);
    }

    pub(super) fn served(&mut self, id: WorkerId, requests: u64) {
        if let Some(vitals) = self.vitals(id) {
            vitals.served = requests;
        }
    }

    pub(super) fn main_pid(&mut self, id: WorkerId, pid: i32) {
        if let Some(worker) = self.workers.get_mut(&id).filter(|w| !w.ended)
            && let Some(former) = worker.pid.replace(pid)
        {
            worker.vitals.former.push(former);
        }
    }

    pub(super) fn out_of_memory(&mut self, id: WorkerId) {
        let now = self.now;
        if let Some(vitals) = self.vitals(id) {
            vitals.memory = Some(now);
        }
    }

    /// Somebody was asked to be signalled, or the hook before that.
    pub(super) fn farewell(&mut self, id: WorkerId, signal: i32) {
        let now = self.now;
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.touched = true;
            worker.vitals.touched.get_or_insert(now);
            // A reload by SIGHUP tells nobody to end.
            worker.vitals.hurried |= signal == 1;
            worker.vitals.dismissed |= FAREWELLS.contains(&signal);
        }
    }

    /// A tree is killed.
    pub(super) fn no_longer_spared(&mut self, id: WorkerId) -> Verdict {
        let (now, in_a_hurry) = (self.now, self.may_leave());
        let Some(worker) = self.workers.get_mut(&id) else {
            return Ok(());
        };
        let vitals = &mut worker.vitals;
        let spared = vitals.may_end.is_some_and(|until| now < until);
        let first = !vitals.killed && !worker.ended && !vitals.hurried;
        ensure!(
            !(spared && first) || in_a_hurry,
            "who was given time to end has it",
            "{id:?}: {vitals:?}"
        );
        vitals.killed = true;
        vitals.dismissed = true;
        Ok(())
    }

    /// An operator has taken matters into his own hands.
    pub(super) fn hurries(&mut self, name: &Name) {
        for worker in self.workers.values_mut().filter(|w| w.watcher == *name) {
            worker.vitals.hurried = true;
        }
    }

    pub(super) fn probes(&mut self, id: WorkerId, probe: Probe) -> Verdict {
        let now = self.now;
        // Its end may have come with what made it ready.
        let late = self.step.several && self.step.ended.contains(&id);
        let Some(worker) = self.workers.get_mut(&id) else {
            ensure!(false, "only known workers are asked", "{probe:?} of {id:?}");
            return Ok(());
        };
        let fits = match probe {
            Probe::Readiness => worker.spawn_told && !worker.ready_told,
            Probe::Health => worker.ready_told,
        };
        ensure!(
            fits && (late || !worker.ended) && !worker.vitals.dismissed,
            "a process is asked what it can answer",
            "{probe:?} of {id:?}: {worker:?}"
        );
        worker.vitals.probed = Some(probe);
        if probe == Probe::Readiness {
            worker.vitals.awaited = Some(now);
        }
        Ok(())
    }

    pub(super) fn ends_probe(&mut self, id: WorkerId) -> Verdict {
        let probed = self.workers.get_mut(&id).map(|w| w.vitals.probed.take());
        ensure!(
            matches!(probed, Some(Some(_))),
            "what is ended was asked",
            "{id:?}"
        );
        Ok(())
    }

    /// Everybody of this watcher has his whole time again, or none counts.
    pub(super) fn gives_time(&mut self, name: &Name, frozen: bool) {
        let now = self.now;
        for worker in self.workers.values_mut().filter(|w| w.watcher == *name) {
            let vitals = &mut worker.vitals;
            vitals.alive = vitals.alive.map(|_| now);
            vitals.revived = vitals.alive;
            if !frozen && vitals.touched.is_none() {
                vitals.awaited = vitals.awaited.map(|_| now);
            }
        }
    }

    /// Everybody of this watcher may have his time again.
    pub(super) fn may_give_time(&mut self, name: &Name) {
        let now = self.now;
        for worker in self.workers.values_mut().filter(|w| w.watcher == *name) {
            worker.vitals.revived = worker.vitals.alive.map(|_| now);
        }
    }

    pub(super) fn is_ready_now(&mut self, id: WorkerId) {
        let now = self.now;
        if let Some(vitals) = self.vitals(id) {
            vitals.alive = Some(now);
            vitals.revived = Some(now);
            vitals.awaited = None;
        }
    }

    /// An event about a process that is not fit to go on.
    pub(super) fn tells_unfit(&mut self, id: Option<WorkerId>, fault: Fault) -> Verdict {
        let Some(id) = id else {
            ensure!(false, "only known workers are unfit", "{fault:?}");
            return Ok(());
        };
        let (now, said) = (self.now, self.step.unfit.remove(&id));
        let worker = self.workers.get_mut(&id).expect("the caller has found it");
        let watch = self.watchers.get(&worker.watcher);
        ensure!(
            watch.is_none_or(|watch| !watch.frozen),
            "in a freeze nothing counts",
            "{id:?} is unfit: {fault:?}"
        );
        ensure!(
            worker.ready_told && !worker.reap_told && !worker.vitals.dismissed,
            "only who serves is unfit",
            "{fault:?} of {id:?}: {worker:?}"
        );
        let least = watch.and_then(|watch| intervals(watch, worker).min());
        let silent = worker.vitals.alive.zip(least).map(|(at, least)| at + least);
        ensure!(
            said || silent.is_some_and(|due| due <= now),
            "who is not silent is left alone",
            "{fault:?} of {id:?}, due {silent:?}: {worker:?}"
        );
        worker.vitals.unfit = Some(fault);
        Ok(())
    }

    /// Whether a process was told to end for not having been ready, and rightly so.
    pub(super) fn tells_too_late(&self, id: WorkerId) -> Verdict {
        let worker = &self.workers[&id];
        let vitals = &worker.vitals;
        let timeouts = self.watchers.get(&worker.watcher).map(timeouts);
        let least = timeouts.into_iter().flatten().flatten().min();
        let due = (vitals.awaited.zip(least)).map(|(at, least)| at + least);
        let due = due.max(vitals.extended);
        ensure!(
            vitals.hurried
                || !worker.ready_told
                    && vitals
                        .touched
                        .is_some_and(|at| due.is_none_or(|due| due <= at)),
            "who starts has its time",
            "{id:?}, due {due:?}: {worker:?}"
        );
        Ok(())
    }

    /// Whether the end of a process is told as what it was.
    pub(super) fn tells_end(&self, id: WorkerId, exit: &Exit) -> Verdict {
        let worker = &self.workers[&id];
        let vitals = &worker.vitals;
        ensure!(
            vitals.unfit.is_none() || !exit.expected,
            "nobody expects what is unfit",
            "{exit:?} of {worker:?}"
        );
        let killed = exit.status == ExitStatus::Signaled(9);
        let short = vitals
            .memory
            .is_some_and(|at| exit.time.since(at) < Duration::from_secs(10));
        let fits = match exit.forced {
            Some(Forced::Watchdog) => vitals.unfit == Some(Fault::Watchdog),
            Some(Forced::Health) => vitals.unfit == Some(Fault::Health),
            Some(Forced::OutOfMemory) => killed && vitals.memory.is_some(),
            Some(Forced::Timeout) => worker.touched,
            None => {
                let untouched = vitals.touched.is_none();
                vitals.unfit != Some(Fault::Watchdog) && !(untouched && killed && short)
            }
        };
        ensure!(
            fits,
            "an end is told as what it was",
            "{exit:?} of {worker:?}"
        );
        Ok(())
    }

    pub(super) fn close_vitals(&mut self) -> Verdict {
        if self.exited {
            return Ok(());
        }
        for (id, worker) in &self.workers {
            if worker.abandoned {
                continue;
            }
            self.close_worker(*id, worker)?;
        }
        Ok(())
    }

    fn close_worker(&self, id: WorkerId, worker: &Worker) -> Verdict {
        let vitals = &worker.vitals;
        ensure!(
            vitals.probed.is_none() || !worker.ended && !vitals.dismissed,
            "nobody is asked on the way out",
            "{id:?}: {worker:?}"
        );
        ensure!(
            vitals.probed != Some(Probe::Readiness) || !worker.ready_told,
            "who is ready is not asked for it",
            "{id:?}: {worker:?}"
        );
        let Some(watch) = self.watchers.get(&worker.watcher) else {
            return Ok(());
        };
        ensure!(
            vitals.probed != Some(Probe::Health) || !watch.frozen,
            "in a freeze nothing counts",
            "{id:?}: {worker:?}"
        );
        if worker.ended || worker.born.is_none() || vitals.touched.is_some() || watch.frozen {
            return Ok(());
        }
        let certain = watch.specs.iter().all(|s| silence(s, worker).is_some());
        let most = intervals(watch, worker).max().filter(|_| certain);
        let silent = vitals.revived.zip(most).map(|(at, most)| at + most);
        ensure!(
            silent.is_none_or(|due| due > self.now),
            "who is silent goes in time",
            "{id:?}, due {silent:?}: {worker:?}"
        );
        let certain = timeouts(watch).all(|timeout| timeout.is_some());
        let most = timeouts(watch).flatten().max().filter(|_| certain);
        let due = vitals.awaited.zip(most).map(|(at, most)| at + most);
        let due = due.map(|due| due.max(vitals.extended.unwrap_or(due)));
        ensure!(
            worker.ready_told || due.is_none_or(|due| due > self.now),
            "who is not ready goes in time",
            "{id:?}, due {due:?}: {worker:?}"
        );
        Ok(())
    }

    /// When all is up, nobody is left who has done his share.
    pub(super) fn all_fresh(&self) -> Verdict {
        for (id, worker) in &self.workers {
            let Some(watch) = self.watchers.get(&worker.watcher) else {
                continue;
            };
            let share = |spec: &WatcherSpec| {
                (spec.max_requests).is_some_and(|share| worker.vitals.served >= share)
            };
            ensure!(
                !watch.specs.iter().all(share),
                "who has done its share is replaced",
                "{id:?}: {worker:?}"
            );
        }
        Ok(())
    }
}

/// How long a worker may be silent, by this spec.
fn silence(spec: &WatcherSpec, worker: &Worker) -> Option<Duration> {
    let interval = worker.vitals.interval.or(spec.watchdog);
    interval.filter(|interval| !interval.is_zero())
}

fn intervals(watch: &Watch, worker: &Worker) -> impl Iterator<Item = Duration> {
    watch.specs.iter().filter_map(|spec| silence(spec, worker))
}

fn timeouts(watch: &Watch) -> impl Iterator<Item = Option<Duration>> + '_ {
    watch.specs.iter().map(|spec| match spec.ready {
        Readiness::Told { timeout } => Some(timeout),
        Readiness::Spawn => None,
    })
}
