//! Spawns: never more than asked, only where wanted, each in its place and with its hooks.

use super::books::Worker;
use super::{Checker, Verdict, ensure};
use crate::core::{Hook, Name, Revision, WorkerId};

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
            watch.may_run(),
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
        self.begins(name)?;
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
        vitals: super::vitals::Vitals::default(),
        passed_before_reap: false,
        steady_hooks,
        reached: std::collections::BTreeSet::new(),
    }
}
