//! Events: numbered without gaps, each fact told once, in its order, at its time.

use super::{Checker, KillDue, Verdict, ensure};
use crate::core::{By, Event, EventKind, Exit, Hook, Name, Readiness, WorkerId};

impl Checker {
    pub(super) fn tells(&mut self, event: &Event) -> Verdict {
        ensure!(
            event.seq == self.seq + 1,
            "no gaps between events",
            "{} after {}: {event:?}",
            event.seq,
            self.seq
        );
        self.seq = event.seq;
        ensure!(
            event.time >= self.told && event.time <= self.now,
            "events in order of time",
            "{event:?} after {:?}, now {:?}",
            self.told,
            self.now
        );
        self.told = event.time;
        match &event.watcher {
            Some(name) => self.tells_of(name, &event.kind),
            None => self.tells_of_itself(&event.kind),
        }
    }

    fn tells_of(&mut self, name: &Name, kind: &EventKind) -> Verdict {
        if *kind == EventKind::Remove && self.step.removed.remove(name) {
            return Ok(());
        }
        let Some(watch) = self.watchers.get_mut(name) else {
            ensure!(false, "only known watchers are told of", "{name}: {kind:?}");
            return Ok(());
        };
        ensure!(
            watch.told != (*kind == EventKind::Add),
            "add, then the rest, then remove",
            "{name}: {kind:?}"
        );
        match kind {
            EventKind::Add => watch.told = true,
            EventKind::Remove => watch.told = false,
            EventKind::Spawn { pid, wid, .. } => return self.tells_spawn(name, *pid, *wid),
            EventKind::Ready { pid, wid, .. } => return self.tells_ready(name, *pid, *wid),
            EventKind::Reap { pid, wid, exit } => {
                return self.tells_reap(name, *pid, *wid, exit);
            }
            EventKind::Kill {
                pid,
                wid,
                child,
                signal,
                by,
            } => {
                let late = self.find(name, *pid, *wid);
                if let Some(late) = late.filter(|_| *by == By::StartTimeout) {
                    self.tells_too_late(late)?;
                }
                return self.tells_kill(&KillDue {
                    pid: *pid,
                    wid: *wid,
                    child: *child,
                    signal: *signal,
                });
            }
            EventKind::Unfit {
                pid, wid, fault, ..
            } => {
                let id = self.find(name, *pid, *wid);
                return self.tells_unfit(id, *fault);
            }
            EventKind::SpawnFailed { wid, .. } => return self.tells_spawn_failed(name, *wid),
            EventKind::Start { pids, .. } => return self.tells_start(name, pids),
            EventKind::Stop { .. } => return self.tells_stop(name),
            EventKind::Reload { .. } => {
                watch.reloads = watch.reloads.saturating_sub(1);
                // New processes, new histories.
                self.pace.touched(name);
            }
            EventKind::HookSuccess { hook, result, .. } => {
                return self.hook_told(name, *hook, Some(*result));
            }
            EventKind::HookFailure { hook, .. } => return self.hook_told(name, *hook, None),
            // Of two things said at once, the other one may have asked for more.
            EventKind::GaveUp { .. } if self.step.several => {}
            EventKind::GaveUp { wid, .. } => {
                watch.given_up.insert(*wid);
            }
            EventKind::Flapping { wid, .. } => {
                self.pace.fresh(name, *wid);
                let may = watch.specs.iter().any(|spec| spec.flapping.is_some());
                ensure!(
                    may && *wid >= 1,
                    "only what may flap flaps",
                    "{name}: {kind:?}"
                );
            }
            EventKind::Updated { .. }
            | EventKind::Adopt { .. }
            | EventKind::Oom { .. }
            | EventKind::Freeze
            | EventKind::Thaw => {}
            EventKind::DaemonReady | EventKind::DaemonStopping | EventKind::Announced(_) => {
                ensure!(false, "the daemon is no watcher", "{name}: {kind:?}");
            }
        }
        Ok(())
    }

    /// A critical watcher has given up; what is to follow is somebody else's to say.
    pub(super) fn fails_critically(&mut self) -> Verdict {
        let mut specs = self.watchers.values().flat_map(|w| &w.specs);
        ensure!(
            specs.any(|spec| spec.critical),
            "only a critical watcher ends all",
            "nothing is critical"
        );
        ensure!(
            self.ending.is_none() && !self.critical_told,
            "that all is to end is said once",
            "it was known"
        );
        self.critical_told = true;
        Ok(())
    }

    fn tells_of_itself(&mut self, kind: &EventKind) -> Verdict {
        match kind {
            EventKind::DaemonStopping => {
                ensure!(
                    self.ending.is_some(),
                    "stopping only when asked",
                    "nobody asked"
                );
                ensure!(!self.stopping_told, "stopping is told once", "twice");
                self.stopping_told = true;
            }
            EventKind::DaemonReady => {
                ensure!(!self.ready_told, "readiness is told once", "twice");
                self.ready_told = true;
            }
            EventKind::Announced(_) => {}
            other => ensure!(false, "events of watchers name them", "{other:?}"),
        }
        Ok(())
    }

    /// The worker that an event is about.
    fn find(&self, name: &Name, pid: i32, wid: u32) -> Option<WorkerId> {
        let mut all = self
            .workers
            .iter()
            .filter(|(_, w)| w.watcher == *name && w.is_or_was(pid) && w.wid == wid);
        all.next().map(|(id, _)| *id)
    }

    fn tells_spawn(&mut self, name: &Name, pid: i32, wid: u32) -> Verdict {
        let id = self.find(name, pid, wid);
        ensure!(
            id.is_some_and(|id| self.step.spawned.remove(&id)),
            "one spawn event for each spawn",
            "pid {pid} at place {wid} of {name}: {id:?}"
        );
        if let Some(worker) = id.and_then(|id| self.workers.get_mut(&id)) {
            ensure!(
                !worker.spawn_told,
                "one spawn event for each spawn",
                "twice for {worker:?}"
            );
            worker.spawn_told = true;
        }
        Ok(())
    }

    fn tells_ready(&mut self, name: &Name, pid: i32, wid: u32) -> Verdict {
        let told_only = self.watchers[name]
            .specs
            .iter()
            .all(|s| matches!(s.ready, Readiness::Told { .. }));
        let worker = self
            .find(name, pid, wid)
            .and_then(|id| self.workers.get_mut(&id));
        let Some(worker) = worker else {
            ensure!(
                false,
                "ready once, between spawn and reap",
                "pid {pid} at place {wid} of {name} is unknown"
            );
            return Ok(());
        };
        ensure!(
            worker.spawn_told && !worker.ready_told && !worker.reap_told,
            "ready once, between spawn and reap",
            "{worker:?}"
        );
        ensure!(
            worker.ready_heard || !told_only,
            "ready when it said so",
            "{worker:?}"
        );
        let asked = worker.passed_after_spawn || !worker.steady_hooks.contains(&Hook::AfterSpawn);
        ensure!(asked, "after_spawn comes before ready", "{worker:?}");
        worker.ready_told = true;
        self.pace.was(name);
        if let Some(id) = self.find(name, pid, wid) {
            self.is_ready_now(id);
        }
        Ok(())
    }

    fn tells_reap(&mut self, name: &Name, pid: i32, wid: u32, exit: &Exit) -> Verdict {
        let (expected, ending) = (exit.expected, self.ending.is_some());
        let worker = self
            .find(name, pid, wid)
            .and_then(|id| self.workers.get_mut(&id));
        let Some(worker) = worker else {
            ensure!(
                false,
                "one reap event for each end",
                "pid {pid} at place {wid} of {name} is unknown"
            );
            return Ok(());
        };
        ensure!(
            worker.ended && worker.spawn_told && !worker.reap_told,
            "one reap event for each end",
            "{worker:?}"
        );
        ensure!(
            worker.touched || !expected,
            "expected ends were asked for",
            "{worker:?}"
        );
        let asked = worker.passed_before_reap || !worker.steady_hooks.contains(&Hook::BeforeReap);
        ensure!(
            asked || ending,
            "before_reap comes before reap",
            "{worker:?}"
        );
        if expected {
            // It ended by itself in the moment in which it was told to: its place starts anew.
            self.pace.fresh(name, wid);
        }
        worker.reap_told = true;
        match self.find(name, pid, wid) {
            Some(id) => self.tells_end(id, exit),
            None => Ok(()),
        }
    }

    fn tells_kill(&mut self, told: &KillDue) -> Verdict {
        let due = self.step.kills_due.iter().position(|due| due == told);
        ensure!(
            due.is_some(),
            "a kill event for each signal that reached somebody",
            "{told:?}, due {:?}",
            self.step.kills_due
        );
        due.map(|due| self.step.kills_due.remove(due));
        Ok(())
    }

    fn tells_spawn_failed(&mut self, name: &Name, wid: u32) -> Verdict {
        let fits = |id: &&WorkerId| {
            let worker = self.workers.get(*id);
            worker.is_some_and(|w| w.watcher == *name && w.wid == wid)
        };
        if let Some(id) = self.step.spawn_failed.iter().find(fits).copied() {
            self.step.spawn_failed.remove(&id);
            return Ok(());
        }
        ensure!(
            self.step.refused_spawns > 0,
            "one event for each failed spawn",
            "place {wid} of {name}"
        );
        self.step.refused_spawns -= 1;
        Ok(())
    }

    fn tells_start(&mut self, name: &Name, pids: &[i32]) -> Verdict {
        self.stirs(name);
        self.begins(name)?;
        if let Some(watch) = self.watchers.get_mut(name) {
            watch.started = true;
        }
        for pid in pids {
            let mut mine = self
                .workers
                .values()
                .filter(|w| w.watcher == *name && w.is_or_was(*pid));
            ensure!(
                mine.any(|w| w.spawn_told),
                "start tells of its own",
                "pid {pid} of {name}"
            );
        }
        Ok(())
    }

    fn tells_stop(&mut self, name: &Name) -> Verdict {
        let left = self
            .workers
            .values()
            .find(|w| w.watcher == *name && !w.is_gone());
        ensure!(
            left.is_none(),
            "stopped means empty",
            "stop is told of {name}, but there is {left:?}"
        );
        let watch = self
            .watchers
            .get_mut(name)
            .expect("the caller has looked it up");
        ensure!(watch.stirred, "no stop event of what was stopped", "{name}");
        watch.is_down();
        self.outlasts(name)?;
        self.pace.touched(name);
        Ok(())
    }

    pub(super) fn close_telling(&mut self) -> Verdict {
        let step = &self.step;
        ensure!(
            step.kills_due.is_empty(),
            "a kill event for each signal that reached somebody",
            "not told: {:?}",
            step.kills_due
        );
        ensure!(
            step.removed.is_empty(),
            "add, then the rest, then remove",
            "not told of the going of {:?}",
            step.removed
        );
        let heard = |id: &&WorkerId| self.workers.get(*id).is_none_or(|w| !w.abandoned);
        let untold = step.spawned.iter().find(heard);
        ensure!(
            untold.is_none(),
            "one spawn event for each spawn",
            "not told: {untold:?}"
        );
        ensure!(
            !step.spawn_failed.iter().any(|id| heard(&id)),
            "one event for each failed spawn",
            "not told: {:?}",
            step.spawn_failed
        );
        ensure!(
            step.leftovers.is_empty() || step.several || self.exited,
            "what is left of a crash is killed at once",
            "{:?}",
            step.leftovers
        );
        Ok(())
    }
}
