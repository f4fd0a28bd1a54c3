//! Requests as they come in: checked whole before anything moves, then turned into facts.

use super::requests::{Form, Goal, TICKETS_MAX};
use super::specs::check_apply;
use super::supervisor::Supervisor;
use super::watcher::{Errand, Phase, Wanted, Watcher};
use super::waves::Direction;
use super::{
    Action, Command, EventKind, Name, Origin, Recipients, Refusal, Reply, Request, RequestId,
    Scale, Who,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a request leaves behind: who waits for what.
pub(super) struct Waiting {
    pub(super) tickets: Vec<(Name, Goal)>,
    pub(super) form: Form,
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
    pub(super) fn check(&self, names: &[Name]) -> Result<(), Refusal> {
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
    pub(super) fn in_order(&mut self, names: &[Name], direction: Direction) {
        self.refresh_links();
        match names {
            [name] => {
                self.with_watcher(name, |watcher, ctx| watcher.release(ctx));
            }
            names => {
                let (watchers, now) = (&mut self.watchers, self.ctx.now);
                let links = &self.links;
                self.waves
                    .start(names, direction, false, links, watchers, now);
                for name in names {
                    self.ctx.touched.insert(name.clone());
                }
            }
        }
    }

    pub(super) fn upwards(&self) -> Direction {
        Direction::Up(self.limits.warmup_delay)
    }

    fn start(&mut self, names: &[Name]) -> Result<Waiting, Refusal> {
        self.check(names)?;
        for name in names {
            self.with_watcher(name, |watcher, ctx| watcher.want_up(ctx));
        }
        let all = self.pull_in(names);
        self.in_order(&all, self.upwards());
        let tickets = names
            .iter()
            .map(|name| (name.clone(), Goal::Up("start")))
            .collect();
        Ok(Waiting {
            tickets,
            form: Form::Changes,
        })
    }

    /// Somebody wants to be served.
    pub(super) fn demanded(&mut self, name: &Name) {
        if self.watchers.get(name).is_some_and(Watcher::awaits_demand) {
            self.want_up(name);
        }
    }

    /// Has one watcher started, and those that it requires.
    pub(super) fn want_up(&mut self, name: &Name) {
        self.with_watcher(name, |watcher, ctx| watcher.want_up(ctx));
        let all = self.pull_in(std::slice::from_ref(name));
        self.in_order(&all, self.upwards());
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
        let all = self.pull_in(names);
        self.in_order(&all, self.upwards());
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
        let all = self.pull_in(names);
        self.in_order(&all, self.upwards());
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
                    watcher.freeze(frozen, ctx);
                }
            });
        }
        Ok(Waiting {
            tickets: Vec::new(),
            form: Form::Done,
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
