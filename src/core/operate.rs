//! What an operator's wish changes in one watcher: facts only; what follows is reconciled.

use super::context::Context;
use super::endings::Farewell;
use super::pool::Gate;
use super::watcher::{Errand, Phase, Wanted, Watcher};
use super::worker::Worker;
use super::{
    Action, By, Cause, Effect, EventKind, Recipients, Refusal, ReloadMode, RequestId, SignalId,
    WatcherSpec, Who, WorkerId,
};
use std::time::Duration;

/// SIGHUP on every Linux; see signal(7).
const SIGHUP: i32 = 1;

impl Watcher {
    /// An operator wants it to run. What was given up is tried again.
    pub(super) fn want_up(&mut self, ctx: &Context) {
        // What is to be removed is not wanted back by a start; the removal answers it.
        if self.wanted != Wanted::Gone {
            self.wanted = Wanted::Up;
            self.leave_wave();
        }
        self.errand = Some(Errand::Start);
        if self.phase == Phase::Stopped || self.failed() {
            self.since = ctx.now;
        }
    }

    /// Has us told of demands, if that is a change.
    pub(super) fn tell_awaited(&mut self, ctx: &mut Context) {
        let awaited = self.awaits_demand();
        if std::mem::replace(&mut self.awaited, awaited) != awaited {
            let watcher = self.spec.name.clone();
            ctx.act(Action::Await { watcher, awaited });
        }
    }

    /// What was given up is tried again, and what was held need not wait.
    pub(super) fn forgive(&mut self) {
        self.places.forgive();
        self.histories.clear();
        self.gate = Gate {
            last: self.gate.last,
            ..Gate::default()
        };
    }

    /// An operator wants it stopped.
    pub(super) fn want_down(&mut self, wanted: Wanted, ctx: &Context) {
        if self.wanted != Wanted::Gone {
            self.wanted = wanted;
        }
        self.leave_wave();
        let runs = self.phase != Phase::Stopped;
        let told = self.trouble.as_ref().map(|trouble| trouble.reason.cause);
        // Who stops what was never started has changed nothing about why it does not run.
        if runs || !matches!(told, Some(Cause::AutostartOff | Cause::Finished)) {
            self.set_trouble(Cause::Operator, "stopped by an operator".into(), ctx.now);
        }
    }

    /// Whatever it was about to do in a wave, it does not any more.
    pub(super) fn leave_wave(&mut self) {
        self.wave = 0;
        self.held = false;
        self.errand = None;
    }

    /// An operator wants something done with the pool, or has it started if there is none.
    pub(super) fn want(&mut self, errand: Errand, ctx: &Context) {
        match self.phase {
            Phase::Up(_) if self.wanted == Wanted::Up => {
                self.leave_wave();
                self.errand = Some(errand);
            }
            // It was on its way to a stop in a wave: what runs is to be replaced all the same.
            Phase::Up(_) => {
                self.want_up(ctx);
                self.errand = Some(errand);
            }
            _ => self.want_up(ctx),
        }
    }

    /// Its turn has come.
    pub(super) fn release(&mut self, ctx: &mut Context) {
        self.held = false;
        let Some(errand) = self.errand.take() else {
            return;
        };
        if self.wanted != Wanted::Up {
            return;
        }
        self.trouble = None;
        self.forgive();
        if !matches!(self.phase, Phase::Up(_)) {
            self.restarts = 0;
            return;
        }
        match errand {
            Errand::Start => self.restarts = 0,
            Errand::Restart => {
                self.must_stop = true;
                self.restarts = 0;
            }
            Errand::Reload(mode) => self.begin_reload(mode, ctx),
            Errand::Hangup => self.hang_up(ctx),
        }
    }

    fn hang_up(&mut self, ctx: &mut Context) {
        for id in self.select(|worker| worker.runs() && !worker.going()) {
            self.send(id, SIGHUP, Recipients::Process, By::Reload, None, ctx);
        }
        let (pids, duration) = (self.pids(), Duration::ZERO);
        self.emit(EventKind::Reload { pids, duration }, ctx);
    }

    /// How a reload by an operator is done.
    pub(super) fn reload_errand(&self, sequential: bool) -> Errand {
        match (self.spec.send_hup, sequential || self.spec.singleton) {
            (true, _) => Errand::Hangup,
            (false, true) => Errand::Reload(ReloadMode::Sequential),
            (false, false) => Errand::Reload(self.spec.reload),
        }
    }

    /// Puts another spec in force. Says whether the processes must be replaced for it.
    pub(super) fn adopt_spec(&mut self, spec: WatcherSpec, ctx: &mut Context) -> Effect {
        let replaced = spec.revision != self.spec.revision;
        let old = std::mem::replace(&mut self.spec, spec);
        if self.awaits_demand() && !self.spec.starts_on_demand() {
            let text = "it no longer waits for a connection, and nobody has started it";
            self.set_trouble(Cause::Operator, text.into(), ctx.now);
        }
        self.take_over(&old, ctx);
        if !replaced || !matches!(self.phase, Phase::Up(_)) {
            return Effect::Live;
        }
        match self.workers.is_empty() && self.places.kept() == 0 && !self.gate.given_up {
            true => Effect::Live,
            false => Effect::Reload,
        }
    }

    /// The processes that are meant: those that run.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchProcess`] if one is named, and there is none.
    pub fn who(&self, who: Who) -> Result<Vec<WorkerId>, Refusal> {
        let found = self.select(|worker: &Worker| {
            worker.runs()
                && match who {
                    Who::All => true,
                    Who::Wid(wid) => worker.wid == wid,
                    Who::Pid(pid) => worker.pid == Some(pid),
                }
        });
        match (who, found.is_empty()) {
            (Who::Wid(_) | Who::Pid(_), true) => Err(Refusal::NoSuchProcess {
                watcher: self.spec.name.clone(),
                who,
            }),
            _ => Ok(found),
        }
    }

    /// Signals processes for a request.
    pub(super) fn signal_all(
        &mut self,
        ids: &[WorkerId],
        signal: i32,
        recipients: Recipients,
        request: Option<RequestId>,
        ctx: &mut Context,
    ) -> Vec<SignalId> {
        ids.iter()
            .map(|id| self.send(*id, signal, recipients, By::Operator, request, ctx))
            .collect()
    }

    /// Ends processes for a request. Says their pids.
    pub(super) fn kill_all(
        &mut self,
        ids: &[WorkerId],
        signal: Option<i32>,
        grace: Option<Duration>,
        ctx: &mut Context,
    ) -> Vec<i32> {
        let usual = Farewell::new(By::Operator, &self.spec);
        let farewell = Farewell {
            signal: signal.unwrap_or(usual.signal),
            grace: grace.unwrap_or(usual.grace),
            ..usual
        };
        let pids = ids
            .iter()
            .filter_map(|id| self.workers.get(id)?.pid)
            .collect();
        for id in ids {
            match self.workers.get(id).is_some_and(|worker| worker.going()) {
                true => self.hurry(*id, farewell, ctx),
                false => self.dismiss(*id, farewell, ctx),
            }
        }
        pids
    }
}
