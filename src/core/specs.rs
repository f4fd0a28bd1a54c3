//! Watchers that come, go and change: one by one, or all of a configuration at once.

use super::commands::Waiting;
use super::context::Context;
use super::requests::{Form, Goal};
use super::supervisor::Supervisor;
use super::timers::Timer;
use super::watcher::{Errand, Phase, Up, Wanted, Watcher};
use super::waves::Direction;
use super::{Effect, EventKind, Limits, Name, Origin, Refusal, ReloadMode, WatcherSpec};
use std::collections::{BTreeMap, BTreeSet};

impl Supervisor {
    pub(super) fn check_add(&self, spec: &WatcherSpec) -> Result<(), Refusal> {
        if self.watchers.contains_key(&spec.name) {
            return Err(Refusal::WatcherExists(spec.name.clone()));
        }
        check_limit(
            "watchers",
            self.watchers.len() + 1,
            self.limits.watchers_max,
        )?;
        self.check_processes(self.asked_for() + spec.numprocesses as usize)
    }

    pub(super) fn check_set(&self, spec: &WatcherSpec) -> Result<(), Refusal> {
        self.check(std::slice::from_ref(&spec.name))?;
        let before = self.find(&spec.name)?.spec.numprocesses as usize;
        self.check_growth(before, spec.numprocesses as usize)
    }

    fn asked_for(&self) -> usize {
        self.watchers
            .values()
            .map(|watcher| watcher.spec.numprocesses as usize)
            .sum()
    }

    /// Fewer are always allowed, even where a lowered limit is passed already.
    pub(super) fn check_growth(&self, before: usize, after: usize) -> Result<(), Refusal> {
        match after > before {
            true => self.check_processes(self.asked_for() - before + after),
            false => Ok(()),
        }
    }

    fn check_processes(&self, number: usize) -> Result<(), Refusal> {
        let limit = self.limits.processes_max;
        match number > limit {
            true => Err(Refusal::TooMany {
                what: "processes",
                limit,
            }),
            false => Ok(()),
        }
    }

    pub(super) fn add(&mut self, spec: &WatcherSpec, start: bool) -> Result<Waiting, Refusal> {
        self.check_add(spec)?;
        self.insert(spec.clone());
        let mut tickets = Vec::new();
        if start {
            self.want_up(&spec.name);
            tickets.push((spec.name.clone(), Goal::Up("start")));
        }
        Ok(Waiting {
            tickets,
            form: Form::Done,
        })
    }

    fn insert(&mut self, spec: WatcherSpec) {
        let name = spec.name.clone();
        self.next_order += 1;
        self.links.forget();
        let watcher = Watcher::new(spec, self.next_order, self.ctx.now);
        watcher.emit(EventKind::Add, &mut self.ctx);
        self.ctx.touched.insert(name.clone());
        self.watchers.insert(name, watcher);
    }

    pub(super) fn remove_watcher(
        &mut self,
        name: &Name,
        keep_processes: bool,
    ) -> Result<Waiting, Refusal> {
        self.check(std::slice::from_ref(name))?;
        if keep_processes {
            self.with_watcher(name, |watcher, ctx| watcher.abandon_all(ctx));
            self.remove(name);
            return Ok(Waiting {
                tickets: Vec::new(),
                form: Form::Done,
            });
        }
        self.with_watcher(name, |watcher, ctx| watcher.want_down(Wanted::Gone, ctx));
        Ok(Waiting {
            tickets: vec![(name.clone(), Goal::Removed)],
            form: Form::Done,
        })
    }

    pub(super) fn set(&mut self, spec: &WatcherSpec, keys: &[String]) -> Result<Waiting, Refusal> {
        let name = &spec.name;
        self.check_set(spec)?;
        let keys = keys.to_vec();
        self.links.forget();
        let goal = self.with_watcher(name, |watcher, ctx| {
            // Without a key no option has changed, only who answers for its hooks.
            if !keys.is_empty() {
                let origin = Origin::Api;
                watcher.emit(EventKind::Updated { keys, origin }, ctx);
            }
            watcher.change_spec(spec.clone(), ctx)
        });
        let Some((effect, goal)) = goal else {
            return Err(Refusal::NoSuchWatcher(name.clone()));
        };
        if effect == Effect::Reload {
            self.in_order(std::slice::from_ref(name), self.upwards());
        }
        let tickets = goal.map(|goal| (name.clone(), goal)).into_iter().collect();
        Ok(Waiting {
            tickets,
            form: Form::Applied(effect),
        })
    }

    pub(super) fn apply(
        &mut self,
        specs: &[WatcherSpec],
        changed: &BTreeMap<Name, Vec<String>>,
        limits: Limits,
    ) -> Result<Waiting, Refusal> {
        check_apply(specs, &limits)?;
        self.limits = limits;
        let boot = !std::mem::replace(&mut self.booted, true);
        let wanted: BTreeSet<&Name> = specs.iter().map(|spec| &spec.name).collect();
        let mut tickets = Vec::new();
        let gone: Vec<Name> = self
            .watchers
            .keys()
            .filter(|name| !wanted.contains(name))
            .cloned()
            .collect();
        for name in gone {
            self.with_watcher(&name, |watcher, ctx| watcher.want_down(Wanted::Gone, ctx));
            tickets.push((name, Goal::Removed));
        }
        let mut new = Vec::new();
        let mut replaced = Vec::new();
        for spec in specs {
            let name = spec.name.clone();
            if !self.watchers.contains_key(&name) {
                self.insert(spec.clone());
                if spec.starts_at_once() {
                    new.push(name);
                }
                continue;
            }
            // It was about to be removed, and is wanted again.
            let revived = self.with_watcher(&name, |watcher, _| watcher.revive()) == Some(true);
            if revived && spec.starts_at_once() {
                new.push(name.clone());
            }
            self.links.forget();
            let keys = changed.get(&name).cloned().unwrap_or_default();
            let result = self.with_watcher(&name, |watcher, ctx| match watcher.spec == *spec {
                true => None,
                false => {
                    if !keys.is_empty() {
                        let origin = Origin::Files;
                        watcher.emit(EventKind::Updated { keys, origin }, ctx);
                    }
                    Some(watcher.change_spec(spec.clone(), ctx))
                }
            });
            if revived && spec.starts_on_demand() {
                self.with_watcher(&name, |watcher, ctx| watcher.await_demand(ctx.now));
            }
            if let Some((effect, goal)) = result.flatten() {
                tickets.extend(goal.map(|goal| (name.clone(), goal)));
                if effect == Effect::Reload {
                    replaced.push(name);
                }
            }
        }
        if !replaced.is_empty() {
            self.in_order(&replaced, self.upwards());
        }
        let resumed = match boot {
            true => self.unstarted(),
            false => Vec::new(),
        };
        for name in new.iter().chain(&resumed) {
            self.with_watcher(name, |watcher, ctx| watcher.want_up(ctx));
            tickets.push((name.clone(), Goal::Up("start")));
        }
        let mut all = self.pull_in(&new);
        // They have their turns with the others. What they require was wanted when they were; who is
        // down by now was stopped since, or has failed, and stays so.
        all.extend(resumed);
        self.refresh_links();
        let (watchers, now) = (&mut self.watchers, self.ctx.now);
        let direction = Direction::Up(limits.warmup_delay);
        self.waves
            .start(&all, direction, boot, &self.links, watchers, now);
        Ok(Waiting {
            tickets,
            form: Form::Changes,
        })
    }
}

pub(super) fn check_apply(specs: &[WatcherSpec], limits: &Limits) -> Result<(), Refusal> {
    check_limit("watchers", specs.len(), limits.watchers_max)?;
    let processes = specs.iter().map(|spec| spec.numprocesses as usize).sum();
    check_limit("processes", processes, limits.processes_max)
}

fn check_limit(what: &'static str, number: usize, limit: usize) -> Result<(), Refusal> {
    match number > limit {
        true => Err(Refusal::TooMany { what, limit }),
        false => Ok(()),
    }
}

impl Watcher {
    /// Asks for a reload; says what the request is to wait for.
    pub(super) fn want_reload(&mut self, errand: Errand, ctx: &Context) -> Goal {
        let generation = self.generation + 1;
        self.want(errand, ctx);
        match (self.errand, errand) {
            (Some(Errand::Reload(_)), _) => Goal::Reloaded(generation),
            _ => Goal::Up("reload"),
        }
    }

    /// Puts another spec in force; says what follows and what the request is to wait for.
    fn change_spec(&mut self, spec: WatcherSpec, ctx: &mut Context) -> (Effect, Option<Goal>) {
        let scaled = spec.numprocesses != self.spec.numprocesses;
        let effect = self.adopt_spec(spec, ctx);
        let mode = match self.spec.singleton {
            true => ReloadMode::Sequential,
            false => self.spec.reload,
        };
        let goal = match effect {
            // A signal would not give them what is new.
            Effect::Reload if self.wanted == Wanted::Up => {
                Some(self.want_reload(Errand::Reload(mode), ctx))
            }
            // It is on its way to a stop; the next start makes them new.
            Effect::Reload => return (Effect::Live, None),
            Effect::Live if scaled => Some(Goal::Settled),
            Effect::Live => None,
        };
        (effect, goal)
    }

    /// Takes back a removal; says whether there was one.
    fn revive(&mut self) -> bool {
        let removed = self.wanted == Wanted::Gone;
        if removed {
            self.wanted = Wanted::Down;
            self.must_stop = matches!(self.phase, Phase::Up(_));
        }
        removed
    }

    fn abandon_all(&mut self, ctx: &mut Context) {
        self.cancel_own_hook(ctx);
        self.set_frozen(false, ctx);
        for id in self.select(|_| true) {
            self.abandon(id, ctx);
        }
        ctx.timers.set(Timer::Pool(self.spec.name.clone()), None);
    }

    fn cancel_own_hook(&mut self, ctx: &mut Context) {
        match self.phase {
            Phase::BeforeStart(hook)
            | Phase::BeforeStop(hook)
            | Phase::AfterStop(hook)
            | Phase::Up(Up::AfterStart(hook)) => ctx.cancel_hook(hook),
            Phase::Stopped | Phase::Up(_) | Phase::Stopping => {}
        }
        self.phase = Phase::Stopped;
    }
}
