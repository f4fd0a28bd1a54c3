//! The life of workers after their birth: none is forgotten, nothing is asked of the dead.

use super::books::{Sent, Wanted};
use super::{Checker, KillDue, Verdict, ensure};
use crate::core::{Hook, Name, Recipients, SignalId, WorkerId};

impl Checker {
    pub(super) fn ready_heard(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.ready_heard = true;
        }
    }

    pub(super) fn ended(&mut self, id: WorkerId, emptied: bool) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.ended = true;
            self.step.ended.insert(id);
            worker.emptied = emptied;
            if worker.touched {
                self.pace.fresh(&worker.watcher, worker.wid);
            } else {
                if !emptied {
                    self.step.leftovers.insert(id);
                }
                self.pace
                    .crashed(self.now, &worker.watcher, worker.wid, worker.born);
            }
        }
    }

    pub(super) fn emptied(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.emptied = true;
            self.step.ended.insert(id);
        }
    }

    pub(super) fn signals(
        &mut self,
        id: WorkerId,
        signal_id: SignalId,
        signal: i32,
        recipients: Recipients,
    ) -> Verdict {
        self.sends(id, signal_id, signal, recipients)?;
        let worker = &self.workers[&id];
        let guarded = worker.steady_hooks.contains(&Hook::BeforeSignal) && signal != 9;
        let Some(watch) = self.watchers.get_mut(&worker.watcher) else {
            return Ok(());
        };
        let pass = watch
            .signal_passes
            .iter()
            .position(|pass| *pass == (id, signal));
        if let Some(pass) = pass {
            watch.signal_passes.remove(pass);
        } else {
            ensure!(
                !guarded,
                "before_signal before each signal",
                "{signal} to {id:?} of {}",
                worker.watcher
            );
        }
        Ok(())
    }

    pub(super) fn kills_tree(&mut self, id: WorkerId, signal_id: SignalId) -> Verdict {
        self.step.leftovers.remove(&id);
        self.no_longer_spared(id)?;
        self.sends(id, signal_id, 9, Recipients::Tree)
    }

    fn sends(
        &mut self,
        id: WorkerId,
        signal_id: SignalId,
        signal: i32,
        recipients: Recipients,
    ) -> Verdict {
        ensure!(
            self.used_signals.insert(signal_id),
            "signal ids are new",
            "{signal_id:?}"
        );
        let Some(worker) = self.workers.get(&id) else {
            ensure!(
                false,
                "only known workers are signalled",
                "{signal} to {id:?}"
            );
            return Ok(());
        };
        ensure!(
            !worker.is_gone() || self.step.several && self.step.ended.contains(&id),
            "the dead are not signalled",
            "{signal} to {id:?}: {worker:?}"
        );
        let sent = Sent {
            worker: id,
            signal,
            recipients,
        };
        self.signals.insert(signal_id, sent);
        self.farewell(id, signal);
        Ok(())
    }

    pub(super) fn signalled(&mut self, id: WorkerId, signal_id: SignalId, pids: &[i32]) {
        let Some(sent) = self.signals.remove(&signal_id) else {
            return;
        };
        if let Some(worker) = self.workers.get_mut(&id).filter(|_| !pids.is_empty()) {
            debug_assert_eq!(
                sent.worker, id,
                "the kernel answers for the one it was asked about"
            );
            worker.reached.insert(sent.signal);
            self.step.kills_due.push(KillDue {
                pid: worker.pid.unwrap_or_default(),
                wid: worker.wid,
                child: match sent.recipients {
                    Recipients::Child(pid) => Some(pid),
                    Recipients::Process | Recipients::Children | Recipients::Tree => None,
                },
                signal: sent.signal,
            });
        }
    }

    pub(super) fn abandons(&mut self, id: WorkerId) -> Verdict {
        self.step.leftovers.remove(&id);
        let Some(worker) = self.workers.get_mut(&id) else {
            ensure!(false, "only known workers are abandoned", "{id:?}");
            return Ok(());
        };
        ensure!(
            !worker.forgotten && !worker.abandoned,
            "abandoned once",
            "{id:?}: {worker:?}"
        );
        worker.abandoned = true;
        // What was heard of it in the same moment is told of no more.
        let (wid, pid) = (worker.wid, worker.pid.unwrap_or_default());
        (self.step.kills_due).retain(|due| (due.pid, due.wid) != (pid, wid));
        Ok(())
    }

    pub(super) fn forgets(&mut self, id: WorkerId) -> Verdict {
        let Some(worker) = self.workers.get_mut(&id) else {
            ensure!(false, "forgotten once", "{id:?}");
            return Ok(());
        };
        ensure!(
            !worker.forgotten && !worker.abandoned,
            "forgotten once",
            "{id:?}: {worker:?}"
        );
        ensure!(
            worker.is_gone(),
            "only the dead are forgotten",
            "{id:?}: {worker:?}"
        );
        ensure!(
            worker.failed || worker.reap_told,
            "a reap for each end",
            "{id:?}: {worker:?}"
        );
        worker.forgotten = true;
        Ok(())
    }

    pub(super) fn freezes(&mut self, name: &Name, frozen: bool) -> Verdict {
        let Some(watch) = self.watchers.get_mut(name) else {
            ensure!(false, "only known watchers are frozen", "{name}");
            return Ok(());
        };
        watch.frozen = frozen;
        self.gives_time(name, frozen);
        Ok(())
    }

    pub(super) fn removes(&mut self, name: &Name) -> Verdict {
        let left = self
            .workers
            .iter()
            .find(|(_, w)| w.watcher == *name && !w.is_gone());
        ensure!(
            left.is_none(),
            "removed when empty",
            "{name} still has {left:?}"
        );
        let asks = self.hooks.iter().find(|(_, hook)| hook.watcher == *name);
        ensure!(
            asks.is_none(),
            "removed when empty",
            "{name} still asks {asks:?}"
        );
        let Some(watch) = self.watchers.get_mut(name) else {
            ensure!(false, "only known watchers are removed", "{name}");
            return Ok(());
        };
        if watch.told {
            self.step.removed.insert(name.clone());
        }
        if watch.wanted == Wanted::Gone {
            self.watchers.remove(name);
        } else {
            // Somebody has asked for another one of this name meanwhile.
            watch.told = false;
            watch.frozen = false;
        }
        Ok(())
    }

    pub(super) fn exits(&mut self, left: usize) -> Verdict {
        self.exited = true;
        let alive = self.workers.values().filter(|w| !w.is_gone()).count();
        ensure!(
            left == alive,
            "exit tells what is left",
            "says {left}, there are {alive}"
        );
        let ending = self.ending;
        ensure!(ending.is_some(), "exit only when asked", "nobody asked");
        let silent = self
            .workers
            .iter()
            .find(|(_, w)| w.is_gone() && !w.failed && !w.abandoned && !w.reap_told);
        ensure!(
            silent.is_none(),
            "a reap for each end",
            "not told of {silent:?}"
        );
        let asked = self.requests.iter().find(|(_, asked)| !asked.answered);
        ensure!(asked.is_none(), "every request is answered", "{asked:?}");
        Ok(())
    }
}
