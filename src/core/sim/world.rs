//! One world: it lets time pass, feeds the supervisor, does what it asks for, and has it checked.
//!
//! A world goes through [`Phase`]s. In the first one everything goes wrong that can; from the
//! second on the surroundings are well, so that everything must come to rest, then up, then down.

use super::agenda::{Agenda, Dice, Due};
use super::check::{Checker, Verdict, ensure};
use super::kernel::Kernel;
use super::operator::{self, Operator};
use super::story::Story;
use crate::core::{
    Command, Input, Limits, Name, RequestId, Scale, Shutdown, Supervisor, Time, WatcherSpec,
};
use std::time::Duration;

/// Steps after which a world that ought to have come to rest is one that never does.
const STEPS_MAX: u32 = 20_000;

/// What the operator is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// He has ideas, so many are left.
    Chaos(u32),
    /// He has none left.
    Spent,
    /// He watches things settle.
    Calm,
    /// He has asked for everything to run.
    Up,
    /// He has asked for an end.
    Down,
}

/// The whole of it.
pub(super) struct World {
    now: Time,
    dice: Dice,
    limits: Limits,
    supervisor: Supervisor,
    agenda: Agenda,
    kernel: Kernel,
    operator: Operator,
    checker: Checker,
    story: Story,
    phase: Phase,
    /// Whether all that is due is said at once, as by the server's loop.
    batches: bool,
    /// In how many of a hundred steps the loop is late.
    late_percent: u32,
    started: Vec<RequestId>,
    steps: u32,
}

impl World {
    pub(super) fn new(seed: u64, story: Story) -> World {
        let mut dice = Dice::new(seed);
        let limits = operator::limits(&mut dice);
        World {
            now: Time::ZERO,
            limits,
            supervisor: Supervisor::new(Time::ZERO, limits, dice.any()),
            agenda: Agenda::default(),
            kernel: Kernel::default(),
            operator: Operator::new(&mut dice),
            checker: Checker::new(limits),
            story,
            phase: Phase::Chaos(dice.number(2, 16)),
            batches: dice.percent(40),
            late_percent: dice.pick(&[0, 0, 2, 10]),
            started: Vec::new(),
            steps: 0,
            dice,
        }
    }

    /// Lives until the end of the world or the first broken promise.
    pub(super) fn run(&mut self) -> Verdict {
        let boot = self.operator.boot(self.limits, &mut self.dice);
        self.feed(vec![boot])?;
        self.plan_whim();
        while !self.checker.has_exited() {
            self.steps += 1;
            ensure!(
                self.steps < STEPS_MAX,
                "rest is reached",
                "not within {STEPS_MAX} steps, in phase {:?}",
                self.phase
            );
            match self.pass_time() {
                Some(late) => self.advance(late)?,
                None => self.next_phase()?,
            }
        }
        ensure!(
            self.kernel.living() == 0 || self.limits_are_short(),
            "no process forgotten",
            "{} live on after the end",
            self.kernel.living()
        );
        self.feed(vec![Input::Deadline])
    }

    pub(super) fn story(&self) -> &Story {
        &self.story
    }

    /// Whether a shutdown may run out of time with something left.
    fn limits_are_short(&self) -> bool {
        self.checker.may_leave()
    }

    /// Goes on to the next moment at which something is due, or a little beyond; says by how much.
    fn pass_time(&mut self) -> Option<Duration> {
        let deadline = self.supervisor.next_deadline();
        let next = [self.agenda.first(), deadline]
            .into_iter()
            .flatten()
            .min()?;
        // A deadline in the past was a broken promise already, and an agenda never lies behind.
        let next = next.max(self.now);
        let late = if self.dice.percent(self.late_percent) {
            self.dice.millis(&[0, 3, 300, 8000])
        } else {
            Duration::ZERO
        };
        self.now = next + late;
        Some(late)
    }

    /// Says and does all that is due now.
    fn advance(&mut self, late: Duration) -> Verdict {
        self.checker.was_late(late);
        if self.dice.percent(2) {
            self.feed(vec![Input::Deadline])?;
        }
        if self.checker.has_exited() {
            return Ok(());
        }
        let (mut batch, mut spoke) = (Vec::new(), false);
        while let Some((at, due)) = self.agenda.pop(self.now) {
            batch.extend(self.take(at, due));
            if !self.batches && !batch.is_empty() {
                spoke = true;
                self.feed(std::mem::take(&mut batch))?;
            }
            if self.checker.has_exited() {
                return Ok(());
            }
        }
        let overdue = self
            .supervisor
            .next_deadline()
            .is_some_and(|at| at <= self.now);
        if batch.is_empty() && overdue && !spoke {
            batch.push(Input::Deadline);
        }
        if !batch.is_empty() {
            self.feed(batch)?;
        }
        if self.phase == Phase::Spent {
            self.calm_down()?;
        }
        Ok(())
    }

    /// One thing that is due; what the supervisor hears of it.
    fn take(&mut self, at: Time, due: Due) -> Option<Input> {
        match due {
            Due::Kernel(what) => {
                self.story.happens(at, what);
                self.kernel
                    .happen(at, what, &mut self.agenda, &mut self.dice);
                None
            }
            Due::Tell(input) => self.kernel.is_heard(&input).then_some(input),
            Due::Whim => self.whim(),
        }
    }

    fn feed(&mut self, inputs: Vec<Input>) -> Verdict {
        for input in &inputs {
            self.story.hears(self.now, input);
        }
        let actions = self.supervisor.handle_all(self.now, inputs.clone());
        for action in &actions {
            self.story.asks(self.now, action);
        }
        let next = self.supervisor.next_deadline();
        self.checker.step(self.now, &inputs, &actions, next)?;
        self.checker.looks(&self.supervisor)?;
        for action in actions {
            self.kernel
                .carry_out(self.now, &action, &mut self.agenda, &mut self.dice);
        }
        Ok(())
    }

    fn plan_whim(&mut self) {
        let after = self.dice.millis(&[0, 0, 1, 100, 900, 3000, 15_000]);
        self.agenda.put(self.now + after, Due::Whim);
    }

    fn whim(&mut self) -> Option<Input> {
        let Phase::Chaos(left) = self.phase else {
            return None;
        };
        if left == 0 {
            self.phase = Phase::Spent;
        } else {
            self.phase = Phase::Chaos(left - 1);
            self.plan_whim();
        }
        Some(self.operator.whim(self.limits, &mut self.dice))
    }

    /// From here on everything goes well. What never comes to rest is switched off.
    fn calm_down(&mut self) -> Verdict {
        self.phase = Phase::Calm;
        self.late_percent = 0;
        self.story.says(self.now, "all is well from here on");
        self.kernel.heal(self.now, &mut self.agenda);
        if self.checker.is_ending() {
            return Ok(());
        }
        let specs = self.checker.specs();
        let names = specs.iter().map(|spec| spec.name.clone()).collect();
        self.ask(Command::Thaw(names))?;
        let there: Vec<Name> = specs.iter().map(|spec| spec.name.clone()).collect();
        for spec in specs {
            let tamed = tame(&spec, &there);
            if tamed != spec {
                let spec = Box::new(WatcherSpec {
                    // None of its own, lest the limit of processes refuse it.
                    numprocesses: 0,
                    ..tamed
                });
                let keys = vec!["max_age".into()];
                self.ask(Command::Set { spec, keys })?;
            }
        }
        Ok(())
    }

    fn ask(&mut self, command: Command) -> Verdict {
        if self.checker.has_exited() {
            return Ok(());
        }
        let request = self.operator.request(command, true, false);
        if let Input::Request(request) = &request {
            self.started.push(request.id);
        }
        self.feed(vec![request])
    }

    /// Nothing is due: everything must be at rest, and the operator goes on.
    fn next_phase(&mut self) -> Verdict {
        if matches!(self.phase, Phase::Calm | Phase::Up) && self.dice.percent(30) {
            self.succeed()?;
            if self.agenda.first().is_some() || self.supervisor.next_deadline().is_some() {
                return Ok(());
            }
        }
        match self.phase {
            // The operator's next idea is always due, so the world cannot stand still before.
            Phase::Chaos(_) | Phase::Spent => self.calm_down(),
            Phase::Calm => self.ask_all_up(),
            Phase::Up => self.ask_all_down(),
            Phase::Down => {
                ensure!(
                    false,
                    "a shutdown ends",
                    "nothing is due, but it has not ended"
                );
                Ok(())
            }
        }
    }

    /// Another supervisor goes on with what this one has left, as it stands on the disk, and is given
    /// the configuration that was in force. Nobody is to notice.
    fn succeed(&mut self) -> Verdict {
        if !self.checker.is_quiet() {
            return Ok(());
        }
        self.story.says(self.now, "another supervisor goes on");
        let saved = self.supervisor.save();
        let specs = self.supervisor.watchers_in_order();
        let specs: Vec<WatcherSpec> = specs.map(|watcher| watcher.spec().clone()).collect();
        let saved = super::copied(saved);
        let seed = self.dice.any();
        self.supervisor = Supervisor::resume(self.now, self.limits, seed, saved);
        self.checker.succeeded();
        self.ask(Command::Apply {
            specs,
            changed: Default::default(),
            limits: self.limits,
        })
    }

    fn ask_all_up(&mut self) -> Verdict {
        self.checker.at_rest()?;
        self.story.says(self.now, "at rest; everything is to run");
        self.phase = Phase::Up;
        self.started.clear();
        let specs = self.checker.specs();
        let names: Vec<Name> = specs.iter().map(|spec| spec.name.clone()).collect();
        for spec in &specs {
            let to = Scale::To(1);
            self.ask(Command::Scale {
                watcher: spec.name.clone(),
                to,
            })?;
        }
        self.ask(Command::Start(names))
    }

    fn ask_all_down(&mut self) -> Verdict {
        self.checker.all_up()?;
        ensure!(
            self.started.iter().all(|id| self.checker.is_answered(*id)),
            "every request is answered",
            "{:?}",
            self.started
        );
        self.story.says(self.now, "all is up; it is to end");
        self.phase = Phase::Down;
        match self.dice.number(0, 2) {
            0 => self.feed(vec![Input::Shutdown(Shutdown::Graceful)]),
            1 => self.feed(vec![Input::Shutdown(Shutdown::AtOnce)]),
            _ => self.ask(Command::Quit),
        }
    }
}

/// The spec without what never comes to rest, and without those that it waits for in vain.
fn tame(spec: &WatcherSpec, there: &[Name]) -> WatcherSpec {
    let real = |named: &[Name]| {
        let comes_before = |name: &&Name| **name < spec.name && there.contains(name);
        named.iter().filter(comes_before).cloned().collect()
    };
    WatcherSpec {
        max_age: None,
        watchdog: None,
        after: real(&spec.after),
        requires: real(&spec.requires),
        ..spec.clone()
    }
}
