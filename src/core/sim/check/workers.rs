//! The life of workers: never more than asked, none forgotten, nothing asked of the dead.

use super::books::{Sent, Wanted, Worker};
use super::{Checker, Verdict, ensure};
use crate::core::{Hook, Name, Revision, SignalId, WorkerId};

impl Checker {
    pub(super) fn spawns(
        &mut self,
        id: WorkerId,
        name: &Name,
        wid: u32,
        revision: Revision,
    ) -> Verdict {
        ensure!(
            self.ending.is_none(),
            "no spawn on the way out",
            "{id:?} of {name} at place {wid}"
        );
        ensure!(self.used.insert(id), "worker ids are new", "{id:?}");
        let Some(watch) = self.watchers.get(name) else {
            ensure!(false, "only known watchers spawn", "{id:?} of {name}");
            return Ok(());
        };
        let mine = || {
            self.workers
                .values()
                .filter(|w| w.watcher == *name && !w.is_gone())
        };
        ensure!(
            watch.wanted == Wanted::Up,
            "no spawn unless wanted up",
            "{id:?} of {name}, which is wanted {:?}",
            watch.wanted
        );
        ensure!(
            !watch.frozen,
            "no spawn into a frozen watcher",
            "{id:?} of {name}"
        );
        ensure!(
            wid >= 1,
            "places count from 1",
            "{id:?} of {name} at place {wid}"
        );
        ensure!(
            mine().all(|w| w.wid != wid),
            "a place has one process",
            "{id:?} of {name} at place {wid}"
        );
        let older = watch
            .specs
            .windows(2)
            .any(|pair| pair[0].revision != pair[1].revision);
        let (most, now) = (watch.most(older), mine().count());
        ensure!(
            now < most,
            "never more than asked",
            "{id:?} of {name} would be one more than {now}; at most {most}, targets {:?}, reload {}",
            watch.targets,
            watch.reloads
        );
        ensure!(
            watch.specs.iter().any(|s| s.revision == revision),
            "spawned from a known revision",
            "{id:?} of {name}: {revision:?}"
        );
        ensure!(
            watch.may_shift()
                || !watch.given_up.contains(&Some(wid)) && !watch.given_up.contains(&None),
            "what is given up stays down",
            "{id:?} of {name} at place {wid}, given up {:?}",
            watch.given_up
        );
        let hooks = watch.steady_hooks.clone();
        ensure!(
            watch.start_passed || !hooks.contains(&Hook::BeforeStart),
            "before_start comes first",
            "{id:?} of {name}"
        );
        self.stirs(name);
        self.pass_before_spawn(id, name)?;
        let watch = &self.watchers[name];
        if !watch.may_shift() {
            self.pace.spawn(self.now, name, wid, &watch.specs)?;
        }
        self.workers
            .insert(id, worker(name.clone(), wid, revision, hooks));
        Ok(())
    }

    /// It does something that a stop has to undo.
    pub(super) fn stirs(&mut self, name: &Name) {
        if let Some(watch) = self.watchers.get_mut(name) {
            watch.stirred = true;
        }
    }

    fn pass_before_spawn(&mut self, id: WorkerId, name: &Name) -> Verdict {
        let watch = self
            .watchers
            .get_mut(name)
            .expect("the caller has looked it up");
        let pass = watch
            .spawn_passes
            .iter()
            .position(|pass| pass.is_none_or(|who| who == id));
        if let Some(pass) = pass {
            watch.spawn_passes.remove(pass);
            return Ok(());
        }
        ensure!(
            !watch.steady_hooks.contains(&Hook::BeforeSpawn),
            "before_spawn before each spawn",
            "{id:?} of {name}"
        );
        Ok(())
    }

    pub(super) fn spawned(&mut self, id: WorkerId, pid: i32) {
        let now = self.now;
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.pid = Some(pid);
            worker.born = Some(now);
            self.step.spawned.insert(id);
            self.pace.was(&worker.watcher);
        }
    }

    pub(super) fn spawn_failed(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.failed = true;
            self.step.spawn_failed.insert(id);
            let watch = self.watchers.get(&worker.watcher);
            // What is to be replaced anyway says nothing about its successor.
            let stays = |watch: &super::books::Watch| {
                let newest = watch.specs.last().map(|spec| spec.revision);
                watch.reloads == 0 && newest == Some(worker.revision)
            };
            if watch.is_some_and(stays) {
                self.pace.never_was(self.now, &worker.watcher, worker.wid);
            }
        }
    }

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
        }
    }

    pub(super) fn signals(&mut self, id: WorkerId, signal_id: SignalId, signal: i32) -> Verdict {
        self.sends(id, signal_id, signal)?;
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
        self.sends(id, signal_id, 9)
    }

    fn sends(&mut self, id: WorkerId, signal_id: SignalId, signal: i32) -> Verdict {
        ensure!(
            self.used_signals.insert(signal_id),
            "signal ids are new",
            "{signal_id:?}"
        );
        let Some(worker) = self.workers.get_mut(&id) else {
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
        worker.touched = true;
        self.signals.insert(signal_id, Sent { worker: id, signal });
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
            let main = worker.pid.unwrap_or_default();
            self.step.kills_due.push((main, worker.wid, sent.signal));
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

fn worker(
    watcher: Name,
    wid: u32,
    revision: Revision,
    steady_hooks: std::collections::BTreeSet<Hook>,
) -> Worker {
    Worker {
        watcher,
        wid,
        revision,
        pid: None,
        born: None,
        ended: false,
        emptied: false,
        ready_heard: false,
        touched: false,
        failed: false,
        forgotten: false,
        abandoned: false,
        spawn_told: false,
        ready_told: false,
        reap_told: false,
        passed_after_spawn: false,
        refused: false,
        passed_before_reap: false,
        steady_hooks,
        reached: std::collections::BTreeSet::new(),
    }
}
