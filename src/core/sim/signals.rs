//! How the simulated kernel carries out signals and freezes: at once, but heard of later.

use super::agenda::{Agenda, Dice, Due};
use super::kernel::{Because, Happening, Kernel, SLOWEST};
use crate::core::{ExitStatus, Input, Name, Recipients, SignalId, Time, WorkerId};
use std::time::Duration;

/// What ends a process that does not ignore it. The others are handled and survived.
const FATAL: [i32; 6] = [2, 3, 6, 9, 10, 15];

impl Kernel {
    pub(super) fn signal(
        &mut self,
        now: Time,
        worker: WorkerId,
        id: SignalId,
        what: (i32, Recipients),
        out: &mut Agenda,
        dice: &mut Dice,
    ) {
        let (signal, recipients) = what;
        if dice.percent(4) {
            self.die(
                now,
                worker,
                (ExitStatus::Exited(0), Because::Itself),
                out,
                dice,
            );
        }
        let mut pids = Vec::new();
        if let Some(process) = self.processes.get(&worker) {
            let (main, others) = match recipients {
                Recipients::Process => (true, false),
                Recipients::Children => (false, true),
                Recipients::Tree => (true, true),
                // Each has at most one.
                Recipients::Child(pid) => (false, process.descendants.contains(&pid)),
            };
            let fatal = FATAL.contains(&signal);
            let because = if signal == 9 {
                Because::Kill
            } else {
                Because::Signal
            };
            let patience = if signal == 9 {
                Some(Duration::ZERO)
            } else {
                process.obeys
            };
            if main && process.alive() {
                pids.push(process.pid);
                if let (true, Some(wait)) = (fatal, patience) {
                    let status = dice.pick(&[
                        ExitStatus::Signaled(signal),
                        ExitStatus::Exited(0),
                        ExitStatus::Exited(1),
                    ]);
                    out.put(
                        now + wait,
                        Due::Kernel(Happening::Dies(worker, status, because)),
                    );
                }
            }
            if others && process.born && !process.descendants.is_empty() {
                pids.extend(&process.descendants);
                if let (true, Some(wait)) = (fatal, patience) {
                    out.put(now + wait, Due::Kernel(Happening::Clears(worker)));
                }
            }
        }
        if FATAL.contains(&signal) && !pids.is_empty() {
            self.asks_for_time(now, worker, out, dice);
        }
        let heard = if pids.is_empty() {
            now
        } else {
            now + dice.delay(SLOWEST)
        };
        self.tell(
            heard,
            worker,
            Input::Signalled {
                worker,
                signal: id,
                pids,
            },
            out,
        );
    }

    pub(super) fn kill_tree(
        &mut self,
        now: Time,
        worker: WorkerId,
        id: SignalId,
        out: &mut Agenda,
        dice: &mut Dice,
    ) {
        let mut pids = Vec::new();
        if let Some(process) = self.processes.get(&worker).filter(|p| p.born) {
            pids.extend(process.alive().then_some(process.pid));
            pids.extend(&process.descendants);
            let ends = now + dice.delay(SLOWEST);
            if process.alive() {
                let dies = Happening::Dies(worker, ExitStatus::Signaled(9), Because::Kill);
                out.put(ends, Due::Kernel(dies));
            }
            out.put(
                ends + dice.delay(SLOWEST),
                Due::Kernel(Happening::Clears(worker)),
            );
        }
        self.tell(
            now,
            worker,
            Input::Signalled {
                worker,
                signal: id,
                pids,
            },
            out,
        );
    }

    pub(super) fn freeze(&mut self, now: Time, watcher: &Name, frozen: bool, out: &mut Agenda) {
        if frozen {
            self.frozen.insert(watcher.clone());
            return;
        }
        self.frozen.remove(watcher);
        for process in self
            .processes
            .values_mut()
            .filter(|p| p.watcher == *watcher)
        {
            for held in process.unsaid.drain(..).chain(process.held.take()) {
                out.put(now, Due::Kernel(held));
            }
        }
    }
}
