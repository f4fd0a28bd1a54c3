//! Keeping a pool at its size: what is missing is spawned, what is too much goes, what is
//! outdated is replaced.

use super::context::Context;
use super::endings::Farewell;
use super::timers::Timer;
use super::watcher::{Phase, Up, Wanted, Watcher};
use super::worker::{Class, Life, Standing};
use super::{By, EventKind, Hook, ReloadMode, Time, WorkerId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many processes of each class there are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    fresh: [usize; 3],
    old: [usize; 3],
}

impl Tally {
    fn cell(&mut self, class: Class) -> &mut usize {
        match class {
            Class::Fresh(standing) => &mut self.fresh[standing as usize],
            Class::Old(standing) => &mut self.old[standing as usize],
        }
    }

    pub(super) fn enter(&mut self, class: Class) {
        *self.cell(class) += 1;
    }

    pub(super) fn leave(&mut self, class: Class) {
        *self.cell(class) -= 1;
    }

    /// Of the present kind.
    pub(super) fn fresh(&self, standing: Standing) -> usize {
        self.fresh[standing as usize]
    }

    /// To be replaced.
    pub(super) fn old(&self, standing: Standing) -> usize {
        self.old[standing as usize]
    }

    pub(super) fn fresh_total(&self) -> usize {
        self.fresh.iter().sum()
    }

    pub(super) fn old_total(&self) -> usize {
        self.old.iter().sum()
    }

    pub(super) fn total(&self) -> usize {
        self.fresh_total() + self.old_total()
    }

    /// In service, of either kind.
    pub(super) fn ready(&self) -> usize {
        self.fresh(Standing::Ready) + self.old(Standing::Ready)
    }

    pub(super) fn going(&self) -> usize {
        self.fresh(Standing::Going) + self.old(Standing::Going)
    }
}

/// Whether spawning works at present.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Failed spawns in a row.
    pub(super) failures: u32,
    /// No spawn before.
    pub(super) closed_until: Option<Time>,
    /// The last spawn succeeded, so that many may be asked for at once.
    pub(super) proven: bool,
    pub(super) given_up: bool,
    /// When the last process was asked for.
    pub(super) last: Option<Time>,
}

/// A replacement of all processes that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Reload {
    pub(super) mode: ReloadMode,
    /// Processes of this generation on are the new ones.
    pub(super) generation: u64,
    pub(super) began: Time,
}

impl Watcher {
    /// Brings the pool one step nearer to what it is to be.
    pub(super) fn reconcile_pool(&mut self, ctx: &mut Context) {
        self.places.wake(ctx.now);
        self.trim(ctx);
        // One that waits for its turn to stop keeps what it has.
        if self.wanted == Wanted::Up {
            self.fill(ctx);
        }
        self.retire(ctx);
        self.settle(ctx);
        // A moment that has passed waits for something else, which will be told.
        let wake = self.next_attempt().filter(|at| *at > ctx.now);
        ctx.timers.set(Timer::Pool(self.spec.name.clone()), wake);
    }

    /// When something is spawned again without anybody asking.
    pub(super) fn next_attempt(&self) -> Option<Time> {
        if self.gate.given_up || self.frozen {
            return None;
        }
        let missing =
            self.taken() < self.target() || !self.pending(|life| life == Life::Allowed).is_empty();
        let gate = if missing { self.gate_opens() } else { None };
        match (gate, self.places.next_wake()) {
            (Some(gate), Some(place)) => Some(gate.min(place)),
            (gate, place) => gate.or(place),
        }
    }

    /// When the next spawn may be asked for, if it is time that it waits for.
    fn gate_opens(&self) -> Option<Time> {
        let warm = match self.spec.warmup_delay {
            Duration::ZERO => None,
            delay => self.gate.last.map(|last| last + delay),
        };
        self.gate.closed_until.max(warm)
    }

    /// Places that count for the size of the pool.
    fn taken(&self) -> usize {
        self.tally.fresh_total() + self.places.kept()
    }

    /// How a replacement works here and now.
    pub(super) fn mode(&self) -> ReloadMode {
        match (self.spec.singleton, self.reload) {
            (true, _) => ReloadMode::Sequential,
            (false, Some(reload)) => reload.mode,
            (false, None) => self.spec.reload,
        }
    }

    fn trim(&mut self, ctx: &mut Context) {
        let target = self.target();
        let staying = self.tally.fresh(Standing::Unready) + self.tally.fresh(Standing::Ready);
        let excess = (staying + self.places.kept()).saturating_sub(target);
        if excess == 0 {
            return;
        }
        let dropped = self.places.drop_vacant(excess);
        for wid in &dropped {
            self.histories.remove(wid);
        }
        let mut fresh: Vec<(bool, u32, WorkerId)> = (self.workers.values())
            .filter(|worker| worker.outdated.is_none() && !worker.going())
            .map(|worker| {
                (
                    worker.life == Life::Running,
                    u32::MAX - worker.wid,
                    worker.id,
                )
            })
            .collect();
        // Those that are not ready go first, then the highest places, so that the pool stays dense.
        fresh.sort_unstable();
        for (_, _, id) in fresh.into_iter().take(excess - dropped.len()) {
            self.dismiss(id, Farewell::new(By::Scale, &self.spec), ctx);
        }
    }

    fn fill(&mut self, ctx: &mut Context) {
        let target = self.target();
        let limit = match self.mode() {
            // As many more as there are to be replaced, and never more than twice as many.
            ReloadMode::NewFirst => target.saturating_add(self.tally.old_total().min(target)),
            ReloadMode::Sequential => target,
        };
        while self.taken() < target && self.tally.total() < limit && self.may_spawn(ctx.now) {
            self.spawn(ctx);
        }
        for id in self.pending(|life| life == Life::Allowed) {
            let asked = self.tally.total() - self.pending(Life::is_pending).len();
            if asked < limit && self.gate_open(ctx.now) {
                self.change(id, |worker| worker.life = Life::Spawning);
                self.ask_kernel(&self.workers[&id], ctx);
            }
        }
    }

    /// The workers that the kernel was not asked for yet, because of the hook before.
    pub(super) fn pending(&self, wanted: impl Fn(Life) -> bool) -> Vec<WorkerId> {
        match self.tally.fresh(Standing::Unready) + self.tally.old(Standing::Unready) {
            0 => Vec::new(),
            _ => self.select(|worker| wanted(worker.life)),
        }
    }

    fn gate_open(&self, now: Time) -> bool {
        // A process born into a frozen group would never reach its program.
        !self.frozen && !self.gate.given_up && self.gate_opens().is_none_or(|at| at <= now)
    }

    fn may_spawn(&self, now: Time) -> bool {
        if !self.gate_open(now) {
            return false;
        }
        self.gate.proven
            || !self.workers.values().any(|w| {
                matches!(
                    w.life,
                    Life::Spawning | Life::BeforeSpawn(_) | Life::Allowed | Life::AfterSpawn(_)
                )
            })
    }

    /// Lets outdated processes go as far as their successors are there.
    fn retire(&mut self, ctx: &mut Context) {
        let staying = self.tally.old(Standing::Unready) + self.tally.old(Standing::Ready);
        if staying == 0 {
            return;
        }
        let ready = self.tally.fresh(Standing::Ready);
        let closed = self.places.closed();
        let go = match self.mode() {
            ReloadMode::NewFirst if self.reload.is_some() && ready + closed < self.target() => {
                // Until all are ready the old ones serve, but never more of them than asked.
                staying.saturating_sub(self.target())
            }
            ReloadMode::NewFirst => (ready + closed + staying).saturating_sub(self.target()),
            // One at a time, and only when nobody else is out of service.
            ReloadMode::Sequential => {
                let whole = self.tally.ready() + closed >= self.target() && self.tally.going() == 0;
                usize::from(whole && !self.gate.given_up && !self.frozen)
            }
        };
        let mut old: Vec<(Time, WorkerId, By)> = (self.workers.values())
            .filter(|worker| !worker.going())
            .filter_map(|worker| Some((worker.started, worker.id, worker.outdated?)))
            .collect();
        old.sort_unstable();
        for (_, id, by) in old.into_iter().take(go) {
            self.dismiss(id, Farewell::new(by, &self.spec), ctx);
        }
    }

    /// Tells what has been reached.
    fn settle(&mut self, ctx: &mut Context) {
        let target = self.target();
        let whole = self.whole();
        if whole && self.wanted == Wanted::Up {
            self.trouble = None;
            // There is nothing left that was given up.
            self.gate.given_up = false;
            self.gate.failures = 0;
            if self.phase == Phase::Up(Up::Filling) {
                match self.ask(Hook::AfterStart, ctx) {
                    Some(hook) => self.phase = Phase::Up(Up::AfterStart(hook)),
                    None => self.started(ctx),
                }
            }
        }
        if let Some(reload) = self.reload
            && self.tally.old_total() == 0
            && self.tally.fresh(Standing::Ready) + self.places.closed() >= target
        {
            self.reload = None;
            self.reloaded = (reload.generation, Ok(()));
            self.failed_reload = None;
            let duration = ctx.now.since(reload.began);
            self.emit(
                EventKind::Reload {
                    pids: self.pids(),
                    duration,
                },
                ctx,
            );
        }
    }

    /// Whether everything that is to run is ready, or has done its work.
    pub(super) fn whole(&self) -> bool {
        self.tally.ready() + self.places.finished() >= self.target()
            && self.tally.fresh(Standing::Unready) == 0
    }

    /// The start has succeeded.
    pub(super) fn started(&mut self, ctx: &mut Context) {
        self.phase = Phase::Up(Up::Started);
        let duration = ctx.now.since(self.since);
        self.emit(
            EventKind::Start {
                pids: self.pids(),
                duration,
            },
            ctx,
        );
    }
}
