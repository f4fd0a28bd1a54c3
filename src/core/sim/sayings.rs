//! What the simulated processes say of themselves, and what those who look after them find out.
//!
//! They say it in time, late, or never, and go on when nobody listens any more.

use super::agenda::{Agenda, Dice, Due};
use super::kernel::{Because, Happening, Kernel};
use crate::core::{ExitStatus, Fault, Input, Probe, Time, WorkerId};
use std::time::Duration;

/// How often a process shows at most that it is alive before it falls silent, so that a world ends.
const BEATS_MAX: u32 = 8;

/// The longest that a process asks for at a time.
pub(super) const EXTENSION_MAX: Duration = Duration::from_secs(5);

/// Something that a process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It is alive, and says so again after this time, so many times.
    Alive(Duration, u32),
    /// It chooses the interval of its watchdog.
    Watchdog(Duration),
    /// It wants more time.
    Extended(Duration),
    /// It is not ready, and why.
    NotReady,
    /// It has served so many requests.
    Served(u64),
    /// Another process is its main one.
    Main,
    /// The kernel has killed something of it.
    Memory,
    /// It is stuck, by its own account.
    Stuck,
}

impl Kernel {
    /// What a process that has just been born is going to say.
    pub(super) fn plan_sayings(
        &mut self,
        now: Time,
        worker: WorkerId,
        out: &mut Agenda,
        dice: &mut Dice,
    ) {
        if self.is_healthy() || dice.percent(60) {
            return;
        }
        let mut say = |chance: u32, said: Said, dice: &mut Dice| {
            if dice.percent(chance) {
                let at = now + dice.millis(&[0, 0, 1, 90, 600, 2500]);
                out.put(at, Due::Kernel(Happening::Says(worker, said)));
            }
        };
        let period = dice.millis(&[100, 300, 900, 3000]);
        let beats = dice.number(0, BEATS_MAX);
        say(50, Said::Alive(period, beats), dice);
        let interval = dice.millis(&[0, 200, 1000]);
        say(15, Said::Watchdog(interval), dice);
        for _ in 0..2 {
            let by = dice.pick(&[Duration::from_millis(1), EXTENSION_MAX / 5, EXTENSION_MAX]);
            say(20, Said::Extended(by), dice);
        }
        say(20, Said::NotReady, dice);
        for requests in [1, 50, 500] {
            say(15, Said::Served(requests), dice);
        }
        say(5, Said::Main, dice);
        say(8, Said::Memory, dice);
        say(4, Said::Stuck, dice);
    }

    /// A process that was told to end may want more time.
    pub(super) fn asks_for_time(
        &mut self,
        now: Time,
        worker: WorkerId,
        out: &mut Agenda,
        dice: &mut Dice,
    ) {
        if !self.is_healthy() && dice.percent(15) {
            let by = dice.pick(&[EXTENSION_MAX / 10, EXTENSION_MAX]);
            let at = now + dice.millis(&[0, 1, 400]);
            let said = Said::Extended(by);
            out.put(at, Due::Kernel(Happening::Says(worker, said)));
        }
    }

    pub(super) fn says(
        &mut self,
        now: Time,
        worker: WorkerId,
        said: Said,
        out: &mut Agenda,
        dice: &mut Dice,
    ) {
        let Some(process) = self.processes.get_mut(&worker).filter(|p| p.alive()) else {
            return;
        };
        if self.frozen.contains(&process.watcher) {
            process.unsaid.push(Happening::Says(worker, said));
            return;
        }
        let input = match said {
            Said::Alive(period, beats) => {
                if beats > 0 && !self.is_healthy() {
                    let next = Happening::Says(worker, Said::Alive(period, beats - 1));
                    out.put(now + period, Due::Kernel(next));
                }
                Input::Alive { worker }
            }
            Said::Watchdog(interval) => Input::WatchdogSet { worker, interval },
            Said::Extended(by) => Input::Extended { worker, by },
            Said::NotReady => {
                let why = "it says so".into();
                Input::NotReady { worker, why }
            }
            Said::Served(requests) => Input::Served { worker, requests },
            Said::Main => {
                let pid = self.fresh_pid();
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.pid = pid;
                }
                Input::MainPid { worker, pid }
            }
            Said::Memory => {
                let (peak, limit) = (None, Some(1 << 20));
                if dice.percent(60) {
                    let dies = Happening::Dies(worker, ExitStatus::Signaled(9), Because::Kill);
                    out.put(now, Due::Kernel(dies));
                }
                Input::OutOfMemory {
                    worker,
                    peak,
                    limit,
                }
            }
            Said::Stuck => unfit(worker, Fault::Watchdog),
        };
        self.tell(now, worker, input, out);
    }

    /// Somebody is to find out about a process.
    pub(super) fn probe(
        &mut self,
        now: Time,
        worker: WorkerId,
        probe: Probe,
        out: &mut Agenda,
        dice: &mut Dice,
    ) {
        if probe == Probe::Health && !self.is_healthy() && dice.percent(40) {
            let at = now + dice.millis(&[0, 1, 100, 3000]);
            out.put(at, Due::Tell(unfit(worker, Fault::Health)));
            if let Some(process) = self.processes.get_mut(&worker) {
                process.unheard = false;
            }
        }
    }

    /// Nobody wants to know any more; what was found out may be on its way all the same.
    pub(super) fn end_probe(&mut self, worker: WorkerId, dice: &mut Dice) {
        if let Some(process) = self.processes.get_mut(&worker) {
            process.unheard |= dice.percent(60);
        }
    }
}

fn unfit(worker: WorkerId, fault: Fault) -> Input {
    let error = "has failed its check".into();
    Input::Unfit {
        worker,
        fault,
        error,
    }
}
