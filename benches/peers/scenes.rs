//! What the contestants go through. One function for each situation; figures of one row always come
//! from all contestants in turn, so what the machine does meanwhile hits all alike.
//!
//! Nothing here sleeps but [`idle`], whose matter is time. All else waits for reports and answers.

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::contestant::Contestant;
use crate::crowd::Crowd;
use crate::daemon::Daemon;
use crate::subscribers::Subscribers;
use crate::table::{Measured, Sample};
use crate::tools::Tools;

/// How often each thing is done. Numbers of one round.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    rounds: usize,
    kills: usize,
    kills_among_many: usize,
    hundreds: usize,
    statuses: usize,
    commands: usize,
    bursts: usize,
    /// Length of the only window, and of the pause before it.
    idle: Duration,
}

impl Effort {
    /// 200 kills, as the budget asks; about a minute.
    pub(crate) const USUAL: Effort = Effort {
        rounds: 4,
        kills: 50,
        kills_among_many: 25,
        hundreds: 5,
        statuses: 1000,
        commands: 25,
        bursts: 4,
        idle: Duration::from_secs(5),
    };
    /// Everything once or little more.
    pub(crate) const QUICK: Effort = Effort {
        rounds: 1,
        kills: 10,
        kills_among_many: 5,
        hundreds: 1,
        statuses: 50,
        commands: 2,
        bursts: 1,
        idle: Duration::from_secs(1),
    };
}

/// Subscribers of the event scene, and events of one burst: fewer than any queue of a daemon holds.
const SUBSCRIBERS: usize = 100;
const BURST: usize = 250;

/// Plugins that run at once.
const PLUGINS: usize = 50;

/// One comparison of all contestants.
pub(crate) struct Run<'a> {
    tools: &'a Tools,
    contestants: &'a [Contestant],
    effort: Effort,
    full: bool,
    measured: Measured,
}

impl<'a> Run<'a> {
    /// Prepares a run; `full` adds 10 000 workers.
    pub(crate) fn new(
        tools: &'a Tools,
        contestants: &'a [Contestant],
        effort: Effort,
        full: bool,
    ) -> Run<'a> {
        Run {
            tools,
            contestants,
            effort,
            full,
            measured: Measured::default(),
        }
    }

    /// Goes through all scenes; `tell` hears how far it is.
    pub(crate) fn measure(mut self, tell: impl Fn(&str)) -> Result<Measured> {
        for round in 1..=self.effort.rounds {
            tell(&format!("round {round} of {}", self.effort.rounds));
            // The other way round every second time: nobody always comes first.
            let mut order: Vec<usize> = (0..self.contestants.len()).collect();
            if round % 2 == 0 {
                order.reverse();
            }
            self.one_worker(&order)?;
            self.ten_workers(&order)?;
            self.ten_workers_in_a_crowd(&order)?;
            self.hundred_workers(&order)?;
            self.hundred_watchers(&order)?;
            self.thousand_workers(&order)?;
            self.events(&order)?;
        }
        tell("idle");
        self.idle()?;
        if self.full {
            tell("10 000 workers");
            self.ten_thousand_workers()?;
        }
        Ok(self.measured)
    }

    fn start(
        &self,
        contestant: usize,
        watchers: usize,
        workers: usize,
    ) -> Result<(Daemon<'a>, Duration)> {
        self.start_beside(contestant, watchers, workers, 0)
    }

    /// The same with so many plugins.
    fn start_beside(
        &self,
        contestant: usize,
        watchers: usize,
        workers: usize,
        plugins: usize,
    ) -> Result<(Daemon<'a>, Duration)> {
        let contestant = &self.contestants[contestant];
        Daemon::start(contestant, self.tools, watchers, workers, plugins)
    }

    /// All contestants in `order`, running beside each other, with their numbers.
    fn start_all(&self, order: &[usize], workers: usize) -> Result<Vec<(usize, Daemon<'a>)>> {
        order
            .iter()
            .map(|&number| Ok((number, self.start(number, 1, workers)?.0)))
            .collect()
    }

    fn one_worker(&mut self, order: &[usize]) -> Result<()> {
        self.memory(Sample::Memory1, 1, order)?;
        let mut daemons = self.start_all(order, 1)?;
        for (number, daemon) in &daemons {
            if daemon.has_cgroups()? {
                self.measured.note_cgroups(*number);
            }
        }
        for _ in 0..self.effort.commands {
            for (number, daemon) in &daemons {
                self.measured
                    .add_time(Sample::StatusCommand, *number, daemon.run_status()?);
            }
        }
        for (number, daemon) in &mut daemons {
            self.statuses(Sample::Status1, *number, daemon)?;
        }
        Ok(())
    }

    /// One at a time: two that run the same program would halve what it takes up.
    fn memory(&mut self, sample: Sample, workers: usize, order: &[usize]) -> Result<()> {
        for &number in order {
            let (daemon, _) = self.start(number, 1, workers)?;
            self.measured.add(sample, number, daemon.pss()? as f64);
        }
        Ok(())
    }

    fn statuses(&mut self, sample: Sample, number: usize, daemon: &mut Daemon<'_>) -> Result<()> {
        let _shared = daemon.share_cpu()?;
        for _ in 0..self.effort.statuses {
            self.measured.add_time(sample, number, daemon.ask_status()?);
        }
        Ok(())
    }

    fn ten_workers(&mut self, order: &[usize]) -> Result<()> {
        let mut daemons = self.start_all(order, 10)?;
        for _ in 0..self.effort.kills {
            for (number, daemon) in &mut daemons {
                self.measured
                    .add_time(Sample::Death, *number, daemon.kill(1)?);
            }
        }
        for _ in 0..self.effort.commands {
            for (number, daemon) in &mut daemons {
                self.measured
                    .add_time(Sample::Restart10, *number, daemon.run_restart()?);
            }
        }
        Ok(())
    }

    /// One contestant at a time: the crowd takes a good part of the machine.
    fn ten_workers_in_a_crowd(&mut self, order: &[usize]) -> Result<()> {
        let has_events = |number: &&usize| self.contestants[**number].has_events();
        for &number in order.iter().filter(has_events) {
            let (mut daemon, _) = self.start(number, 1, 10)?;
            let crowd = Crowd::of_listeners(&daemon)?;
            let sample = Sample::DeathAmongListeners;
            let times = kills(&mut daemon, self.effort.kills)?;
            let heard = crowd.leave()?;
            times.for_each(|time| self.measured.add_time(sample, number, time));
            self.measured.add(Sample::Heard, number, heard);
            let crowd = Crowd::of_callers(&daemon)?;
            let sample = Sample::DeathAmongCallers;
            let times = kills(&mut daemon, self.effort.kills)?;
            crowd.leave()?;
            times.for_each(|time| self.measured.add_time(sample, number, time));
            drop(daemon);
            let (mut daemon, _) = self.start_beside(number, 1, 10, PLUGINS)?;
            let sample = Sample::DeathAmongPlugins;
            let times = kills(&mut daemon, self.effort.kills)?;
            times.for_each(|time| self.measured.add_time(sample, number, time));
        }
        Ok(())
    }

    fn hundred_workers(&mut self, order: &[usize]) -> Result<()> {
        self.memory(Sample::Memory100, 100, order)?;
        let mut daemons = self.start_all(order, 100)?;
        for _ in 0..self.effort.hundreds {
            for (number, daemon) in &mut daemons {
                self.measured
                    .add_time(Sample::Hundred, *number, daemon.kill(100)?);
            }
        }
        Ok(())
    }

    /// The floor has no watchers; its only answer stands for comparison.
    fn hundred_watchers(&mut self, order: &[usize]) -> Result<()> {
        for &number in order {
            let (mut daemon, _) = self.start(number, 100, 1)?;
            self.statuses(Sample::Status100, number, &mut daemon)?;
        }
        Ok(())
    }

    fn thousand_workers(&mut self, order: &[usize]) -> Result<()> {
        for &number in order {
            let (mut daemon, took) = self.start(number, 1, 1000)?;
            self.measured.add_time(Sample::Start1000, number, took);
            self.measured
                .add(Sample::Memory1000, number, daemon.pss()? as f64);
            for _ in 0..self.effort.kills_among_many {
                self.measured
                    .add_time(Sample::DeathAmong1000, number, daemon.kill(1)?);
            }
        }
        Ok(())
    }

    fn ten_thousand_workers(&mut self) -> Result<()> {
        for number in 0..self.contestants.len() {
            let (mut daemon, took) = self.start(number, 1, 10_000)?;
            self.measured.add_time(Sample::Start10000, number, took);
            self.measured
                .add(Sample::Memory10000, number, daemon.pss()? as f64);
            for _ in 0..self.effort.kills_among_many {
                self.measured
                    .add_time(Sample::DeathAmong10000, number, daemon.kill(1)?);
            }
        }
        Ok(())
    }

    fn events(&mut self, order: &[usize]) -> Result<()> {
        for &number in order
            .iter()
            .filter(|&&number| self.contestants[number].has_events())
        {
            let (daemon, _) = self.start(number, 1, 1)?;
            let mut subscribers = Subscribers::subscribe(&daemon, SUBSCRIBERS)?;
            for _ in 0..self.effort.bursts {
                let took = subscribers.deliver(&daemon, BURST)?;
                let deliveries = (SUBSCRIBERS * BURST) as f64;
                self.measured
                    .add(Sample::Deliveries, number, deliveries / took.as_secs_f64());
            }
        }
        Ok(())
    }

    /// All at the same time, since none disturbs another by doing nothing.
    fn idle(&mut self) -> Result<()> {
        let order: Vec<usize> = (0..self.contestants.len()).collect();
        let daemons = self.start_all(&order, 100)?;
        // What a start leaves to be done later is no idling yet.
        thread::sleep(self.effort.idle);
        let before: Vec<_> = daemons
            .iter()
            .map(|(_, daemon)| daemon.usage())
            .collect::<Result<_>>()?;
        let started = Instant::now();
        thread::sleep(self.effort.idle);
        let window = started.elapsed().as_secs_f64();
        for ((number, daemon), before) in daemons.iter().zip(before) {
            let after = daemon.usage()?;
            let switches = (after.switches - before.switches) as f64;
            self.measured
                .add(Sample::WakeUps, *number, switches / window);
            self.measured.add(
                Sample::IdleCpu,
                *number,
                (after.cpu - before.cpu).as_secs_f64() / window,
            );
        }
        Ok(())
    }
}

/// The times of so many single kills.
fn kills(daemon: &mut Daemon<'_>, count: usize) -> Result<impl Iterator<Item = Duration> + use<>> {
    let times: Vec<Duration> = (0..count).map(|_| daemon.kill(1)).collect::<Result<_>>()?;
    Ok(times.into_iter())
}
