//! What is wanted: requests that were not refused, written down.

use super::books::{Wanted, Watch};
use super::{Checker, Ending, Verdict, ensure};
use crate::core::sim::kernel::SLOWEST;
use crate::core::{Command, Name, Scale, Shutdown, WatcherSpec};
use std::time::Duration;

impl Checker {
    /// A request that was not refused on the spot changes what is wanted.
    pub(super) fn accept(&mut self, command: &Command) {
        match command {
            Command::Start(names) | Command::Restart(names) => self.want(names, Wanted::Up, false),
            Command::Reload { watchers, .. } => self.want(watchers, Wanted::Up, true),
            Command::Stop(names) => self.want(names, Wanted::Down, false),
            Command::Scale { watcher, to } => self.scale(watcher, *to),
            Command::Add { spec, start } => self.add(spec, *start),
            Command::Remove { watcher, .. } => {
                self.want(std::slice::from_ref(watcher), Wanted::Gone, false)
            }
            Command::Set { spec, .. } => {
                self.touch(&spec.name);
                self.retain_hooks(spec);
                self.may_give_time(&spec.name);
                if let Some(watch) = self.watchers.get_mut(&spec.name) {
                    watch.takes(spec);
                    watch.targets = vec![spec.numprocesses];
                }
            }
            Command::Apply { specs, limits, .. } => {
                self.limits = *limits;
                self.apply(specs);
            }
            Command::Kill { watcher, .. } => {
                self.touch(watcher);
                self.hurries(watcher);
            }
            Command::Thaw(names) | Command::Freeze(names) => {
                names.iter().for_each(|name| self.touch(name))
            }
            Command::Signal { watcher, .. } => {
                self.touch(watcher);
                self.hurries(watcher);
            }
            Command::Quit => self.shutdown(Shutdown::Graceful),
        }
    }

    fn want(&mut self, names: &[Name], wanted: Wanted, reload: bool) {
        for name in names {
            self.touch(name);
            if let Some(watch) = self.watchers.get_mut(name).filter(|w| w.is_there()) {
                watch.wanted = wanted;
                watch.pulled = false;
                watch.on_demand = false;
                watch.waved |= names.len() > 1;
                watch.reloads += u32::from(reload);
                watch.stirred |= wanted == Wanted::Up;
                watch.given_up.clear();
            }
        }
        if wanted == Wanted::Up {
            self.pulls(names);
        }
    }

    /// Somebody wants to be served. It is started if that is what is waited for, and left alone
    /// otherwise.
    pub(super) fn demanded(&mut self, name: &Name) {
        let watch = self.watchers.get_mut(name).filter(|w| w.on_demand);
        let Some(watch) = watch.filter(|_| self.ending.is_none()) else {
            return;
        };
        // One that another has started already, or that is not down yet, is not waited for.
        watch.pulled |= !watch.awaited;
        if watch.pulled {
            return self.may_pull(std::slice::from_ref(name));
        }
        self.want(std::slice::from_ref(name), Wanted::Up, false);
    }

    /// The supervisor wants to be told when somebody wants to be served, or no longer.
    pub(super) fn awaits(&mut self, name: &Name, awaited: bool) -> Verdict {
        let Some(watch) = self.watchers.get_mut(name) else {
            ensure!(!awaited, "only watchers are awaited", "{name}");
            return Ok(());
        };
        ensure!(
            watch.awaited != awaited,
            "an awaiting is told once",
            "{name} {awaited}"
        );
        ensure!(
            !awaited || watch.on_demand,
            "only what starts on demand is awaited",
            "{name}: {watch:?}"
        );
        watch.awaited = awaited;
        Ok(())
    }

    fn touch(&mut self, name: &Name) {
        self.pace.touched(name);
    }

    fn retain_hooks(&mut self, spec: &WatcherSpec) {
        for worker in self.workers.values_mut().filter(|w| w.watcher == spec.name) {
            worker
                .steady_hooks
                .retain(|hook| spec.hooks.contains_key(hook));
        }
    }

    fn scale(&mut self, name: &Name, to: Scale) {
        self.touch(name);
        if let Some(watch) = self.watchers.get_mut(name) {
            watch.given_up.clear();
            watch.targets = watch
                .targets
                .iter()
                .map(|target| scaled(*target, to))
                .collect();
        }
    }

    fn add(&mut self, spec: &WatcherSpec, up: bool) {
        self.touch(&spec.name);
        match self.watchers.get_mut(&spec.name) {
            // It came back before it was gone: whatever held then may hold a little longer.
            Some(watch) => {
                watch.takes(spec);
                watch.targets.push(spec.numprocesses);
                watch.wanted = if up { Wanted::Up } else { Wanted::Down };
                watch.pulled = false;
                watch.on_demand = !up && spec.autostart && spec.on_demand;
                watch.stirred |= up;
            }
            None => {
                self.watchers
                    .insert(spec.name.clone(), Watch::new(spec, up));
            }
        }
        if up {
            self.pulls(std::slice::from_ref(&spec.name));
        }
    }

    fn apply(&mut self, specs: &[WatcherSpec]) {
        let names: Vec<Name> = self.watchers.keys().cloned().collect();
        for name in names {
            if !specs.iter().any(|spec| spec.name == name) {
                self.want(&[name], Wanted::Gone, false);
            }
        }
        let mut new = Vec::new();
        for spec in specs {
            self.touch(&spec.name);
            self.retain_hooks(spec);
            self.may_give_time(&spec.name);
            match self.watchers.get_mut(&spec.name).filter(|w| w.is_there()) {
                Some(watch) => {
                    if !watch.targets.contains(&spec.numprocesses) {
                        watch.targets.push(spec.numprocesses);
                    }
                    watch.takes(spec);
                }
                None => {
                    let up = spec.autostart && !spec.on_demand;
                    self.add(spec, up);
                    new.extend(up.then(|| spec.name.clone()));
                }
            }
        }
        self.pulls(&new);
    }

    /// The longest that stopping these watchers, or all, may take.
    pub(super) fn stop_bound(&self) -> Duration {
        self.watchers.values().map(Watch::stop_time).sum()
    }

    pub(super) fn shutdown(&mut self, how: Shutdown) {
        if self.ending.is_none() {
            for (name, watch) in &mut self.watchers {
                let mut mine = self.workers.values().filter(|w| w.watcher == *name);
                let asks = self.hooks.values().any(|hook| hook.watcher == *name);
                watch.early = !watch.may_run() || asks || mine.any(|w| w.touched);
            }
        }
        let limit = match how {
            Shutdown::Graceful => self.limits.stop_timeout,
            Shutdown::AtOnce => Duration::ZERO,
        };
        let limit = self.now + limit;
        let due = limit + 10 * SLOWEST;
        match &mut self.ending {
            Some(ending) if ending.due <= due => {}
            ending => {
                *ending = Some(Ending {
                    limit,
                    due,
                    late: self.late,
                })
            }
        }
    }

    /// Drops what can no longer be in force: nothing is under way at the watcher.
    pub(super) fn tidy(&mut self) {
        let pending = self.requests.values().any(|asked| !asked.answered);
        for (name, watch) in &mut self.watchers {
            let works = self
                .workers
                .values()
                .any(|w| w.watcher == *name && !w.is_gone());
            let asks = self.hooks.values().any(|hook| hook.watcher == *name);
            if watch.specs.len() > 1 && !pending && !works && !asks {
                let newest = watch.specs.last().map(|spec| spec.revision);
                watch.outlived |= watch.specs.iter().any(|s| Some(s.revision) != newest);
                watch.specs.drain(..watch.specs.len() - 1);
            }
        }
        self.workers
            .retain(|_, worker| !(worker.forgotten || worker.abandoned));
        self.requests.retain(|_, asked| !asked.answered);
    }
}

pub(super) fn scaled(target: u32, to: Scale) -> u32 {
    match to {
        Scale::To(number) => number,
        Scale::By(by) => u32::try_from((i64::from(target) + by).max(0)).unwrap_or(u32::MAX),
    }
}
