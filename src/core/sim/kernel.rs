//! The kernel of the simulated world: processes with a temper, and their descendants.
//!
//! It carries out what the supervisor asks, at once or later, and keeps the order of what it
//! tells of one process; of different processes it keeps none. It knows no watcher's spec.

use super::agenda::{Agenda, Dice, Due};
use super::process::{Process, Temper, draw};
use super::sayings::Said;
use crate::core::{Action, ExitStatus, Fault, HookId, Input, Name, SpawnFailure, Time, WorkerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The longest that anything takes that the kernel has to do; SIGKILL and the telling of it
/// together take at most three times as long.
pub(super) const SLOWEST: Duration = Duration::from_millis(400);

/// What happens to a process without the supervisor knowing at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    /// The spawn is through, well or badly.
    SpawnDone(WorkerId),
    /// It becomes ready.
    BecomesReady(WorkerId),
    /// The main process ends: by itself, or because it was told to.
    Dies(WorkerId, ExitStatus, Because),
    /// The last descendant ends.
    Clears(WorkerId),
    /// It says something of itself.
    Says(WorkerId, Said),
}

/// Why a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Because {
    /// It wanted to.
    Itself,
    /// A signal that can be handled; a frozen process will handle it later.
    Signal,
    /// SIGKILL, which reaches frozen ones too.
    Kill,
}

/// All processes there are.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    pub(super) processes: BTreeMap<WorkerId, Process>,
    pub(super) frozen: BTreeSet<Name>,
    tempers: BTreeMap<Name, Temper>,
    abandoned: BTreeSet<WorkerId>,
    silenced: BTreeSet<HookId>,
    next_pid: i32,
    healthy: bool,
}

impl Kernel {
    /// From now on spawns succeed, processes run for ever and obey, and hooks say yes.
    pub(super) fn heal(&mut self, now: Time, out: &mut Agenda) {
        self.healthy = true;
        // Who has chosen an interval would have to keep to it for ever.
        for (worker, process) in self.processes.iter_mut().filter(|(_, p)| p.alive()) {
            process.told = process.told.max(now);
            let (worker, interval) = (*worker, Duration::ZERO);
            out.put(
                process.told,
                Due::Tell(Input::WatchdogSet { worker, interval }),
            );
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy
    }

    pub(super) fn fresh_pid(&mut self) -> i32 {
        self.next_pid += 1;
        1000 + self.next_pid
    }

    /// How many processes run, whoever they belong to; the abandoned do not count.
    pub(super) fn living(&self) -> usize {
        let left = |p: &&Process| p.alive() || !p.descendants.is_empty();
        self.processes.values().filter(left).count()
    }

    /// Whether an input still finds its way to the supervisor.
    pub(super) fn is_heard(&self, input: &Input) -> bool {
        match input {
            Input::Spawned { worker, .. }
            | Input::SpawnFailed { worker, .. }
            | Input::Ready { worker }
            | Input::NotReady { worker, .. }
            | Input::Extended { worker, .. }
            | Input::Alive { worker }
            | Input::WatchdogSet { worker, .. }
            | Input::Served { worker, .. }
            | Input::MainPid { worker, .. }
            | Input::OutOfMemory { worker, .. }
            | Input::Exited { worker, .. }
            | Input::Emptied { worker }
            | Input::Signalled { worker, .. } => !self.abandoned.contains(worker),
            Input::Unfit { worker, fault, .. } => {
                let heard = |p: &Process| *fault == Fault::Watchdog || !p.unheard && !self.healthy;
                self.processes.get(worker).is_some_and(heard)
            }
            Input::HookFinished { hook, .. } => !self.silenced.contains(hook),
            Input::Request(_)
            | Input::Demanded { .. }
            | Input::Announce(_)
            | Input::Deadline
            | Input::Shutdown(_) => true,
        }
    }

    /// Does what the supervisor asks.
    pub(super) fn carry_out(
        &mut self,
        now: Time,
        action: &Action,
        out: &mut Agenda,
        dice: &mut Dice,
    ) {
        match action {
            Action::Spawn {
                worker, watcher, ..
            } => self.spawn(now, *worker, watcher, out, dice),
            Action::Signal {
                worker,
                id,
                signal,
                recipients,
            } => {
                self.signal(now, *worker, *id, (*signal, *recipients), out, dice);
            }
            Action::KillTree { worker, id } => self.kill_tree(now, *worker, *id, out, dice),
            Action::Abandon { worker } => {
                self.processes.remove(worker);
                self.abandoned.insert(*worker);
            }
            Action::Forget { worker } => {
                self.processes.remove(worker);
            }
            Action::Await {
                watcher,
                awaited: true,
            } => super::outside::connect(now, watcher, out, dice),
            Action::Freeze { watcher, frozen } => self.freeze(now, watcher, *frozen, out),
            Action::Probe { worker, probe } => self.probe(now, *worker, *probe, out, dice),
            Action::EndProbe { worker } => self.end_probe(*worker, dice),
            Action::RunHook { hook, .. } => {
                super::outside::ask(now, *hook, self.healthy, out, dice)
            }
            Action::CancelHook { hook } => {
                if dice.percent(60) {
                    self.silenced.insert(*hook);
                }
            }
            Action::CriticalFailure => super::outside::before_the_end(now, self.healthy, out, dice),
            Action::Reply { .. }
            | Action::Progress { .. }
            | Action::Await { .. }
            | Action::Emit(_)
            | Action::Settled
            | Action::Removed { .. }
            | Action::Exit { .. } => {}
        }
    }

    fn spawn(
        &mut self,
        now: Time,
        worker: WorkerId,
        watcher: &Name,
        out: &mut Agenda,
        dice: &mut Dice,
    ) {
        let pid = self.fresh_pid();
        let temper = *self
            .tempers
            .entry(watcher.clone())
            .or_insert_with(|| Temper::any(dice));
        let mut process = draw(temper, self.healthy, dice);
        process.watcher = watcher.clone();
        process.pid = pid;
        process.told = now;
        if !process.descendants.is_empty() {
            process.descendants = vec![self.fresh_pid()];
        }
        // A spawn that takes no time at all and fails at once would be a world in which a watcher
        // without back-off never lets the clock advance.
        let took = dice.delay(SLOWEST).max(Duration::from_micros(300));
        self.processes.insert(worker, process);
        out.put(now + took, Due::Kernel(Happening::SpawnDone(worker)));
    }

    /// Something happens out there.
    pub(super) fn happen(&mut self, now: Time, what: Happening, out: &mut Agenda, dice: &mut Dice) {
        match what {
            Happening::SpawnDone(worker) => self.spawn_done(now, worker, out, dice),
            Happening::BecomesReady(worker) => {
                if self.processes.get(&worker).is_some_and(Process::alive) {
                    self.tell(now, worker, Input::Ready { worker }, out);
                }
            }
            Happening::Dies(worker, status, because) => {
                self.die(now, worker, (status, because), out, dice)
            }
            Happening::Clears(worker) => self.clear(now, worker, out),
            Happening::Says(worker, said) => self.says(now, worker, said, out, dice),
        }
    }

    fn spawn_done(&mut self, now: Time, worker: WorkerId, out: &mut Agenda, dice: &mut Dice) {
        let Some(process) = self.processes.get_mut(&worker) else {
            return;
        };
        if let Some(errno) = process.fails {
            let failure = SpawnFailure {
                stage: "executing it".into(),
                errno,
                error: format!("errno {errno}"),
            };
            process.dead = true;
            process.descendants.clear();
            return self.tell(now, worker, Input::SpawnFailed { worker, failure }, out);
        }
        process.born = true;
        let pid = process.pid;
        if let Some((life, status)) = process.life {
            out.put(
                now + life,
                Due::Kernel(Happening::Dies(worker, status, Because::Itself)),
            );
        }
        if self.healthy || dice.percent(75) {
            let most = if self.healthy { 0 } else { 3000 };
            let at = now + dice.delay(Duration::from_millis(most));
            out.put(at, Due::Kernel(Happening::BecomesReady(worker)));
        }
        self.tell(now, worker, Input::Spawned { worker, pid }, out);
        self.plan_sayings(now, worker, out, dice);
    }

    pub(super) fn die(
        &mut self,
        now: Time,
        worker: WorkerId,
        how: (ExitStatus, Because),
        out: &mut Agenda,
        dice: &mut Dice,
    ) {
        let (status, because) = how;
        let Some(process) = self.processes.get_mut(&worker) else {
            return;
        };
        if process.dead || (self.healthy && because == Because::Itself) {
            return;
        }
        if because != Because::Kill && self.frozen.contains(&process.watcher) {
            process.held = Some(Happening::Dies(worker, status, because));
            return;
        }
        process.dead = true;
        let emptied = process.descendants.is_empty();
        let heard = now + dice.delay(SLOWEST);
        self.tell(
            heard,
            worker,
            Input::Exited {
                worker,
                status,
                emptied,
            },
            out,
        );
        if !emptied && dice.percent(30) {
            let later = dice.millis(&[0, 1, 200, 20_000]);
            out.put(heard + later, Due::Kernel(Happening::Clears(worker)));
        }
    }

    fn clear(&mut self, now: Time, worker: WorkerId, out: &mut Agenda) {
        let Some(process) = self.processes.get_mut(&worker) else {
            return;
        };
        if process.descendants.is_empty() {
            return;
        }
        process.descendants.clear();
        if process.dead {
            self.tell(now, worker, Input::Emptied { worker }, out);
        }
    }

    /// Tells the supervisor, but not before what it was told of this worker earlier.
    pub(super) fn tell(&mut self, at: Time, worker: WorkerId, input: Input, out: &mut Agenda) {
        let at = match self.processes.get_mut(&worker) {
            Some(process) => {
                process.told = process.told.max(at);
                process.told
            }
            None => at,
        };
        out.put(at, Due::Tell(input));
    }
}
