//! Requests as they come in: checked whole before anything moves, then turned into facts.

use super::requests::{Form, Goal, TICKETS_MAX};
use super::supervisor::Supervisor;
use super::timers::Timer;
use super::watcher::{Errand, Phase, Wanted, Watcher};
use super::waves::Direction;
use super::{
    Action, Command, Effect, EventKind, Limits, Name, Origin, Recipients, Refusal, ReloadMode,
    Reply, Request, RequestId, Scale, WatcherSpec, Who,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a request leaves behind: who waits for what.
struct Waiting {
    tickets: Vec<(Name, Goal)>,
    form: Form,
}

impl Supervisor {
    /// Takes a request. An error means that nothing has changed and is the answer.
    pub(super) fn command(&mut self, request: Request) -> Result<(), Refusal> {
        if let Command::Quit = request.command {
            self.quit(request.id, request.wait);
            return Ok(());
        }
        if self.ending.begun() {
            return Err(Refusal::ShuttingDown);
        }
        let waiting = self.accept(&request)?;
        self.wait_for(&request, waiting);
        Ok(())
    }

    /// Whether a request for this would be granted, as things are now, or at least begun.
    ///
    /// # Errors
    ///
    /// What the answer would be.
    pub fn would_accept(&self, command: &Command) -> Result<(), Refusal> {
        if self.ending.begun() {
            return Err(Refusal::ShuttingDown);
        }
        match command {
            Command::Add { spec, .. } => self.check_add(spec),
            Command::Set { spec, .. } => self.check_set(spec),
            Command::Apply { specs, limits, .. } => check_apply(specs, limits),
            Command::Remove { watcher, .. } => self.check(std::slice::from_ref(watcher)),
            Command::Start(names)
            | Command::Stop(names)
            | Command::Restart(names)
            | Command::Reload {
                watchers: names, ..
            }
            | Command::Freeze(names)
            | Command::Thaw(names) => self.check(names),
            Command::Scale { watcher, .. }
            | Command::Signal { watcher, .. }
            | Command::Kill { watcher, .. } => self.check(std::slice::from_ref(watcher)),
            Command::Quit => Ok(()),
        }
    }

    fn check_add(&self, spec: &WatcherSpec) -> Result<(), Refusal> {
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

    fn check_set(&self, spec: &WatcherSpec) -> Result<(), Refusal> {
        self.check(std::slice::from_ref(&spec.name))?;
        let before = self.find(&spec.name)?.spec.numprocesses as usize;
        self.check_growth(before, spec.numprocesses as usize)
    }

    fn accept(&mut self, request: &Request) -> Result<Waiting, Refusal> {
        match &request.command {
            Command::Start(names) => self.start(names),
            Command::Stop(names) => self.stop(names),
            Command::Restart(names) => self.restart(names),
            Command::Reload {
                watchers,
                sequential,
            } => self.reload(watchers, *sequential),
            Command::Scale { watcher, to } => self.scale(watcher, *to),
            Command::Signal {
                watcher,
                who,
                signal,
                recipients,
            } => self.signal(request.id, watcher, *who, *signal, *recipients),
            Command::Kill {
                watcher,
                who,
                signal,
                grace,
            } => self.kill(watcher, *who, *signal, *grace),
            Command::Freeze(names) => self.freeze(names, true),
            Command::Thaw(names) => self.freeze(names, false),
            Command::Add { spec, start } => self.add(spec, *start),
            Command::Remove {
                watcher,
                keep_processes,
            } => self.remove_watcher(watcher, *keep_processes),
            Command::Set { spec, keys } => self.set(spec, keys),
            Command::Apply {
                specs,
                changed,
                limits,
            } => self.apply(specs, changed, *limits),
            Command::Quit => Ok(Waiting {
                tickets: Vec::new(),
                form: Form::Done,
            }),
        }
    }

    fn wait_for(&mut self, request: &Request, waiting: Waiting) {
        let Waiting { tickets, form } = waiting;
        // What has to be counted before it can be answered is waited for in any case.
        let open = match (request.wait, &request.command) {
            (false, command) if !matches!(command, Command::Signal { .. }) => 0,
            _ => tickets.len(),
        };
        if open == 0 {
            return self.requests.open(request.id, 0, form, &mut self.ctx);
        }
        for (name, goal) in tickets {
            self.with_watcher(&name, |watcher, _| {
                watcher.add_ticket(request.id, goal, request.progress);
            });
        }
        self.requests.open(request.id, open, form, &mut self.ctx);
    }

    /// All named watchers exist and take another request.
    fn check(&self, names: &[Name]) -> Result<(), Refusal> {
        for name in names {
            if self.find(name)?.tickets.len() >= TICKETS_MAX {
                let what = "requests waiting for one watcher";
                return Err(Refusal::TooMany {
                    what,
                    limit: TICKETS_MAX,
                });
            }
        }
        Ok(())
    }

    /// Lets several watchers go level by level, and a single one at once.
    fn in_order(&mut self, names: &[Name], direction: Direction) {
        match names {
            [name] => {
                self.with_watcher(name, |watcher, ctx| watcher.release(ctx));
            }
            names => {
                let (watchers, now) = (&mut self.watchers, self.ctx.now);
                self.waves.start(names, direction, false, watchers, now);
                for name in names {
                    self.ctx.touched.insert(name.clone());
                }
            }
        }
    }

    fn upwards(&self) -> Direction {
        Direction::Up(self.limits.warmup_delay)
    }

    fn start(&mut self, names: &[Name]) -> Result<Waiting, Refusal> {
        self.check(names)?;
        for name in names {
            self.with_watcher(name, |watcher, ctx| watcher.want_up(ctx));
        }
        self.in_order(names, self.upwards());
        let tickets = names
            .iter()
            .map(|name| (name.clone(), Goal::Up("start")))
            .collect();
        Ok(Waiting {
            tickets,
            form: Form::Changes,
        })
    }

    fn stop(&mut self, names: &[Name]) -> Result<Waiting, Refusal> {
        self.check(names)?;
        let mut tickets = Vec::new();
        for name in names {
            let stops = self.with_watcher(name, |watcher, ctx| {
                watcher.want_down(Wanted::Down, ctx);
                watcher.stops
            });
            tickets.extend(stops.map(|stops| (name.clone(), Goal::Down(stops))));
        }
        self.in_order(names, Direction::Down);
        Ok(Waiting {
            tickets,
            form: Form::Changes,
        })
    }

    fn restart(&mut self, names: &[Name]) -> Result<Waiting, Refusal> {
        self.check(names)?;
        for name in names {
            self.with_watcher(name, |watcher, ctx| watcher.want(Errand::Restart, ctx));
        }
        self.in_order(names, self.upwards());
        let tickets = names
            .iter()
            .map(|name| (name.clone(), Goal::Up("restart")))
            .collect();
        Ok(Waiting {
            tickets,
            form: Form::Changes,
        })
    }

    fn reload(&mut self, names: &[Name], sequential: bool) -> Result<Waiting, Refusal> {
        self.check(names)?;
        let mut tickets = Vec::new();
        for name in names {
            let goal = self.with_watcher(name, |watcher, ctx| {
                let errand = watcher.reload_errand(sequential);
                watcher.want_reload(errand, ctx)
            });
            tickets.extend(goal.map(|goal| (name.clone(), goal)));
        }
        self.in_order(names, self.upwards());
        Ok(Waiting {
            tickets,
            form: Form::Changes,
        })
    }

    fn scale(&mut self, name: &Name, to: Scale) -> Result<Waiting, Refusal> {
        self.check(std::slice::from_ref(name))?;
        let watcher = self.find(name)?;
        let now = i64::from(watcher.spec.numprocesses);
        let wanted = match to {
            Scale::To(number) => number,
            Scale::By(delta) => u32::try_from(now.saturating_add(delta).max(0)).unwrap_or(u32::MAX),
        };
        if watcher.spec.singleton && wanted > 1 {
            return Err(Refusal::Singleton(name.clone()));
        }
        self.check_growth(watcher.spec.numprocesses as usize, wanted as usize)?;
        self.with_watcher(name, |watcher, ctx| {
            watcher.spec.numprocesses = wanted;
            if wanted != now as u32 {
                watcher.emit(
                    EventKind::Updated {
                        keys: vec!["numprocesses".into()],
                        origin: Origin::Api,
                    },
                    ctx,
                );
            }
        });
        let tickets = vec![(name.clone(), Goal::Settled)];
        Ok(Waiting {
            tickets,
            form: Form::Scaled(wanted),
        })
    }

    fn asked_for(&self) -> usize {
        self.watchers
            .values()
            .map(|watcher| watcher.spec.numprocesses as usize)
            .sum()
    }

    /// Fewer are always allowed, even where a lowered limit is passed already.
    fn check_growth(&self, before: usize, after: usize) -> Result<(), Refusal> {
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

    fn signal(
        &mut self,
        request: RequestId,
        name: &Name,
        who: Who,
        signal: i32,
        recipients: Recipients,
    ) -> Result<Waiting, Refusal> {
        self.check(std::slice::from_ref(name))?;
        let ids = self.find(name)?.who(who)?;
        let sent = self.with_watcher(name, |watcher, ctx| {
            watcher.signal_all(&ids, signal, recipients, Some(request), ctx)
        });
        let open: BTreeSet<_> = sent.into_iter().flatten().collect();
        let tickets = vec![(name.clone(), Goal::Signals(open, Vec::new()))];
        Ok(Waiting {
            tickets,
            form: Form::Pids(Vec::new()),
        })
    }

    fn kill(
        &mut self,
        name: &Name,
        who: Who,
        signal: Option<i32>,
        grace: Option<Duration>,
    ) -> Result<Waiting, Refusal> {
        self.check(std::slice::from_ref(name))?;
        let ids = self.find(name)?.who(who)?;
        let pids = self.with_watcher(name, |watcher, ctx| {
            watcher.kill_all(&ids, signal, grace, ctx)
        });
        let tickets = vec![(name.clone(), Goal::Gone(ids))];
        Ok(Waiting {
            tickets,
            form: Form::Pids(pids.unwrap_or_default()),
        })
    }

    fn freeze(&mut self, names: &[Name], frozen: bool) -> Result<Waiting, Refusal> {
        self.check(names)?;
        for name in names {
            self.with_watcher(name, |watcher, ctx| {
                // There is nothing to freeze in a pool that does not run, or is on its way out.
                if matches!(watcher.phase, Phase::Up(_)) {
                    watcher.set_frozen(frozen, ctx);
                }
            });
        }
        Ok(Waiting {
            tickets: Vec::new(),
            form: Form::Done,
        })
    }

    fn add(&mut self, spec: &WatcherSpec, start: bool) -> Result<Waiting, Refusal> {
        self.check_add(spec)?;
        self.insert(spec.clone());
        let mut tickets = Vec::new();
        if start {
            self.with_watcher(&spec.name, |watcher, ctx| {
                watcher.want_up(ctx);
                watcher.release(ctx);
            });
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
        let watcher = Watcher::new(spec, self.next_order, self.ctx.now);
        watcher.emit(EventKind::Add, &mut self.ctx);
        self.ctx.touched.insert(name.clone());
        self.watchers.insert(name, watcher);
    }

    fn remove_watcher(&mut self, name: &Name, keep_processes: bool) -> Result<Waiting, Refusal> {
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

    fn set(&mut self, spec: &WatcherSpec, keys: &[String]) -> Result<Waiting, Refusal> {
        let name = &spec.name;
        self.check_set(spec)?;
        let keys = keys.to_vec();
        let goal = self.with_watcher(name, |watcher, ctx| {
            let origin = Origin::Api;
            watcher.emit(EventKind::Updated { keys, origin }, ctx);
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

    fn apply(
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
            let keys = changed.get(&name).cloned().unwrap_or_default();
            let result = self.with_watcher(&name, |watcher, ctx| match watcher.spec == *spec {
                true => None,
                false => {
                    let origin = Origin::Files;
                    watcher.emit(EventKind::Updated { keys, origin }, ctx);
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
        for name in &new {
            self.with_watcher(name, |watcher, ctx| watcher.want_up(ctx));
            tickets.push((name.clone(), Goal::Up("start")));
        }
        let (watchers, now) = (&mut self.watchers, self.ctx.now);
        self.waves.start(
            &new,
            Direction::Up(limits.warmup_delay),
            boot,
            watchers,
            now,
        );
        Ok(Waiting {
            tickets,
            form: Form::Changes,
        })
    }

    fn quit(&mut self, id: RequestId, wait: bool) {
        match wait {
            true => self.requests.quitting.push(id),
            false => self.ctx.act(Action::Reply {
                request: id,
                result: Ok(Reply::Done),
            }),
        }
        self.shut_down(super::Shutdown::Graceful);
    }
}

fn check_apply(specs: &[WatcherSpec], limits: &Limits) -> Result<(), Refusal> {
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
    fn want_reload(&mut self, errand: Errand, ctx: &super::context::Context) -> Goal {
        let generation = self.generation + 1;
        self.want(errand, ctx);
        match (self.errand, errand) {
            (Some(Errand::Reload(_)), _) => Goal::Reloaded(generation),
            _ => Goal::Up("reload"),
        }
    }

    /// Puts another spec in force; says what follows and what the request is to wait for.
    fn change_spec(
        &mut self,
        spec: WatcherSpec,
        ctx: &mut super::context::Context,
    ) -> (Effect, Option<Goal>) {
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

    fn abandon_all(&mut self, ctx: &mut super::context::Context) {
        self.cancel_own_hook(ctx);
        self.set_frozen(false, ctx);
        for id in self.select(|_| true) {
            self.abandon(id, ctx);
        }
        ctx.timers.set(Timer::Pool(self.spec.name.clone()), None);
    }

    fn cancel_own_hook(&mut self, ctx: &mut super::context::Context) {
        match self.phase {
            Phase::BeforeStart(hook)
            | Phase::BeforeStop(hook)
            | Phase::AfterStop(hook)
            | Phase::Up(super::watcher::Up::AfterStart(hook)) => ctx.cancel_hook(hook),
            Phase::Stopped | Phase::Up(_) | Phase::Stopping => {}
        }
        self.phase = Phase::Stopped;
    }
}
