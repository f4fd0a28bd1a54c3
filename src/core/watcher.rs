//! One watcher: what is wanted of it, what is known of it, and how it looks from outside.
//!
//! The phases of a watcher, with the hooks that are asked on the way:
//!
//! ```text
//!   ┌────────► Stopped ──────────► BeforeStart ───────────────► Up ───┐
//!   │             ▲     start          │ refused, failed,       │     │ full set ready:
//!   │             └────────────────────┘ or stop                │     │ after_start, started
//!   │                                                   stop, restart, finished,
//!   │                                                   refused by after_start
//!   │                                                           ▼
//!   └── AfterStop ◄──────────── Stopping ◄────────────────── BeforeStop
//!                 last process gone        told to end
//! ```
//!
//! What is *wanted* is a fact beside the phase; [`Watcher::reconcile`] compares the two and takes
//! the next step, so that a stop during a start, or a start during a stop, is no special case.

use super::context::{Context, Purpose, Question};
use super::dependencies::{Prospect, Standing, Ties};
use super::place::{History, Places};
use super::pool::{Gate, Reload, Tally};
use super::replace::FailedReload;
use super::requests::Ticket;
use super::signals::SignalRun;
use super::worker::{self, Worker};
use super::{
    Cause, EventKind, Exit, Hook, HookAnswer, HookId, Reason, Refusal, ReloadMode, SignalId, Time,
    WatcherSpec, WorkerId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many of its last ends a watcher remembers, for `Explain`.
const EXITS_KEPT: usize = 8;

/// A pool of processes and all that is known of it.
#[derive(Debug)]
pub struct Watcher {
    pub(super) spec: WatcherSpec,
    /// The place among watchers of the same priority: as written.
    pub(super) order: u64,
    pub(super) wanted: Wanted,
    /// It must come to a stop before anything else: a restart.
    pub(super) must_stop: bool,
    /// The wave it belongs to, and whether it still waits there for its turn.
    pub(super) wave: u64,
    pub(super) held: bool,
    /// What is to be done when its turn comes, beyond what `wanted` says.
    pub(super) errand: Option<Errand>,
    pub(super) phase: Phase,
    /// When the present start or stop began.
    pub(super) since: Time,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) tally: Tally,
    pub(super) places: Places,
    pub(super) histories: BTreeMap<u32, History>,
    pub(super) gate: Gate,
    pub(super) generation: u64,
    pub(super) reload: Option<Reload>,
    /// How the reload of this generation went.
    pub(super) reloaded: (u64, Result<(), Refusal>),
    /// How the last one failed, as long as that matters.
    pub(super) failed_reload: Option<FailedReload>,
    pub(super) signals: BTreeMap<SignalId, SignalRun>,
    pub(super) frozen: bool,
    /// What other watchers mean for it, and it for others, when it was last looked at.
    pub(super) ties: Ties,
    pub(super) standing: Option<Standing>,
    /// Why it is not simply running; kept until it is, or is told to do something else.
    pub(super) trouble: Option<Trouble>,
    pub(super) restarts: u64,
    pub(super) exits: VecDeque<Exit>,
    /// It is no more; only its last answers are given.
    pub(super) removed: bool,
    /// Whether we have asked to be told when somebody demands it.
    pub(super) awaited: bool,
    /// How often it has come to a stop.
    pub(super) stops: u64,
    /// The pids told of by the coming `stop` event.
    pub(super) stopped_pids: Vec<i32>,
    pub(super) tickets: Vec<Ticket>,
    /// Workers that have changed since that was asked for the last time.
    pub(super) unsaved: BTreeSet<WorkerId>,
}

/// What an operator (or the configuration) wants of a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Up,
    Down,
    /// Down, and then removed.
    Gone,
}

/// What an operator asked of a pool that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Only what is missing is started.
    Start,
    Restart,
    /// By what they are replaced.
    Reload(ReloadMode),
    /// They get a SIGHUP instead.
    Hangup,
}

/// Where a watcher is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Stopped,
    BeforeStart(HookId),
    Up(Up),
    BeforeStop(HookId),
    Stopping,
    AfterStop(HookId),
}

/// How far the start of a running pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Up {
    /// Not all were ready yet.
    Filling,
    /// All were ready; the hook is asked.
    AfterStart(HookId),
    /// All were ready once and the start was told.
    Started,
}

/// A failure and what it means for those who wait.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) reason: Reason,
    pub(super) refusal: Refusal,
}

/// A watcher as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatcherState {
    /// Nothing runs, and nothing is to.
    Stopped,
    /// On its way up.
    Starting,
    /// At least one process is ready (or none is asked for).
    Active,
    /// Active, and its processes are being replaced.
    Reloading,
    /// On its way down.
    Stopping,
    /// It will be tried again, or others come first.
    Waiting,
    /// Given up.
    Failed,
}

impl Watcher {
    pub(super) fn new(spec: WatcherSpec, order: u64, now: Time) -> Watcher {
        let generation = 1;
        let mut watcher = Watcher {
            order,
            wanted: Wanted::Down,
            must_stop: false,
            wave: 0,
            held: false,
            errand: None,
            phase: Phase::Stopped,
            since: now,
            workers: BTreeMap::new(),
            tally: Tally::default(),
            places: Places::default(),
            histories: BTreeMap::new(),
            gate: Gate::default(),
            generation,
            reload: None,
            reloaded: (generation, Ok(())),
            failed_reload: None,
            signals: BTreeMap::new(),
            frozen: false,
            ties: Ties::default(),
            standing: None,
            trouble: None,
            restarts: 0,
            exits: VecDeque::new(),
            removed: false,
            awaited: false,
            stops: 0,
            stopped_pids: Vec::new(),
            tickets: Vec::new(),
            unsaved: BTreeSet::new(),
            spec,
        };
        let (cause, text) = match watcher.spec.autostart {
            true => (Cause::Operator, "not started yet"),
            false => (
                Cause::AutostartOff,
                "autostart is off and nobody has started it",
            ),
        };
        watcher.set_trouble(cause, text.into(), now);
        if watcher.spec.starts_on_demand() {
            watcher.await_demand(now);
        }
        watcher
    }

    /// What does not run starts when somebody demands it; what is on its way to a stop, after that.
    pub(super) fn await_demand(&mut self, now: Time) {
        let text = "waiting for the first connection to one of its sockets";
        self.set_trouble(Cause::OnDemand, text.into(), now);
    }

    /// Whether it starts when somebody demands it.
    pub(super) fn awaits_demand(&self) -> bool {
        let told = self.trouble.as_ref().map(|trouble| trouble.reason.cause);
        told == Some(Cause::OnDemand)
            && self.phase == Phase::Stopped
            && self.wanted == Wanted::Down
            && !self.removed
    }

    /// How many processes there are to be.
    #[must_use]
    pub fn target(&self) -> usize {
        match self.spec.singleton {
            true => self.spec.numprocesses.min(1) as usize,
            false => self.spec.numprocesses as usize,
        }
    }

    /// The rules in force.
    #[must_use]
    pub fn spec(&self) -> &WatcherSpec {
        &self.spec
    }

    /// Its processes, oldest first.
    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values()
    }

    /// One of them, by its name.
    #[must_use]
    pub fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    /// Its last ends, oldest first; at most eight.
    #[must_use]
    pub fn exits(&self) -> impl DoubleEndedIterator<Item = &Exit> {
        self.exits.iter()
    }

    /// Unexpected ends since it was last started by an operator.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Whether the clocks of its processes are stopped.
    #[must_use]
    pub fn frozen(&self) -> bool {
        self.frozen
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> WatcherState {
        match self.phase {
            Phase::Stopped if self.wanted == Wanted::Up => WatcherState::Waiting,
            Phase::Stopped => WatcherState::Stopped,
            Phase::BeforeStart(_) => WatcherState::Starting,
            Phase::BeforeStop(_) | Phase::Stopping | Phase::AfterStop(_) => WatcherState::Stopping,
            Phase::Up(_) if self.going_down() => WatcherState::Stopping,
            Phase::Up(_) if self.failed() => WatcherState::Failed,
            Phase::Up(_) if self.reload.is_some() => WatcherState::Reloading,
            Phase::Up(Up::Started) if self.target() == 0 => WatcherState::Active,
            Phase::Up(up) => match (up, self.tally.ready(), self.trouble.is_some()) {
                (Up::Started, 1.., _) => WatcherState::Active,
                (_, _, true) => WatcherState::Waiting,
                (_, _, false) => WatcherState::Starting,
            },
        }
    }

    /// Why it is not simply running. `None` only of one that is active and whole.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        if let Some(text) = self.waiting() {
            return Some(self.because(Cause::Dependency, text));
        }
        let Some(trouble) = &self.trouble else {
            return self.underway();
        };
        let mut reason = trouble.reason.clone();
        if matches!(self.phase, Phase::Up(_)) {
            reason.next_attempt = self.next_attempt();
        }
        Some(reason)
    }

    /// What it waits for before it starts.
    fn waiting(&self) -> Option<String> {
        if self.phase != Phase::Stopped || self.wanted != Wanted::Up {
            return None;
        }
        Some(match &self.ties.waits_for {
            Some(waits_for) if !self.held => waits_for.text.clone(),
            _ => "waiting for watchers that start before it".into(),
        })
    }

    /// What it is about, where nothing has gone wrong.
    fn underway(&self) -> Option<Reason> {
        let (ready, target) = (self.tally.fresh(worker::Standing::Ready), self.target());
        let still = if self.frozen { "it is frozen; " } else { "" };
        let (cause, text) = match self.state() {
            WatcherState::Active => return None,
            WatcherState::Stopping => self.why_stopping(),
            WatcherState::Reloading => (
                Cause::Operator,
                format!("{still}{ready} of {target} new processes are ready"),
            ),
            WatcherState::Stopped
            | WatcherState::Starting
            | WatcherState::Waiting
            | WatcherState::Failed => match self.phase {
                Phase::BeforeStart(_) => (
                    Cause::Operator,
                    "hook before_start has not answered yet".into(),
                ),
                Phase::Up(Up::AfterStart(_)) => (
                    Cause::Operator,
                    "hook after_start has not answered yet".into(),
                ),
                _ => (
                    Cause::Operator,
                    format!("{still}{ready} of {target} processes are ready"),
                ),
            },
        };
        Some(self.because(cause, text))
    }

    fn why_stopping(&self) -> (Cause, String) {
        match (&self.ties.yields_to, &self.ties.outlasts) {
            (Some(name), _) => (
                Cause::Dependency,
                format!("{name}, which it requires, is about to stop"),
            ),
            (None, Some(name)) if matches!(self.phase, Phase::Up(_)) => (
                Cause::Dependency,
                format!("{name}, which depends on it, stops first"),
            ),
            _ => (Cause::Operator, "it was told to stop".into()),
        }
    }

    fn because(&self, cause: Cause, text: String) -> Reason {
        Reason {
            cause,
            text,
            since: self.since,
            next_attempt: None,
        }
    }

    /// Whether it has given up and nothing of it runs.
    pub(super) fn failed(&self) -> bool {
        let target = self.target();
        let closed = self.gate.given_up || self.places.given_up() > 0;
        let open = match self.gate.given_up {
            true => 0,
            false => target.saturating_sub(self.places.closed()),
        };
        target > 0 && closed && open == 0 && self.tally.total() == 0
    }

    /// Whether a stop is due now.
    pub(super) fn going_down(&self) -> bool {
        let told = !self.held && (self.must_stop || self.wanted != Wanted::Up);
        // Whoever has to go first does not wait for its own turn.
        told || self.ties.yields_to.is_some()
    }

    /// Whether a wave may pass on to the next level.
    pub(super) fn settled(&self) -> bool {
        match (self.wanted, self.phase) {
            _ if self.held => false,
            (Wanted::Down | Wanted::Gone, phase) => phase == Phase::Stopped,
            (Wanted::Up, Phase::Up(_)) if self.going_down() => false,
            (Wanted::Up, Phase::Up(Up::Started)) => self.reload.is_none() || self.stands_still(),
            (Wanted::Up, Phase::Up(Up::Filling)) => self.trouble.is_some() || self.frozen,
            // What it waits for will not come by itself, or not soon.
            (Wanted::Up, Phase::Stopped) => (self.ties.waits_for.as_ref())
                .is_some_and(|waits_for| waits_for.prospect >= Prospect::Troubled),
            (Wanted::Up, _) => false,
        }
    }

    pub(super) fn set_trouble(&mut self, cause: Cause, text: String, now: Time) {
        let setback = matches!(cause, Cause::SpawnFailed | Cause::Flapping | Cause::GaveUp);
        // That it fails no longer matters to one that is to stop, and is not why it does.
        if setback && self.wanted != Wanted::Up {
            return;
        }
        let reason = Reason {
            since: now,
            ..self.because(cause, text)
        };
        let refusal = self.start_failed(reason.clone());
        self.trouble = Some(Trouble { reason, refusal });
    }

    pub(super) fn start_failed(&self, reason: Reason) -> Refusal {
        Refusal::StartFailed {
            watcher: self.spec.name.clone(),
            reason,
        }
    }

    /// Trouble that a hook made.
    pub(super) fn set_hook_trouble(&mut self, hook: Hook, answer: &HookAnswer, now: Time) {
        if self.wanted != Wanted::Up {
            return;
        }
        let watcher = self.spec.name.clone();
        let (cause, text, refusal) = match answer {
            HookAnswer::True => return,
            HookAnswer::False(reason) => (
                Cause::HookRefused,
                format!("hook {} said no{}", hook.as_str(), colon(reason)),
                Refusal::HookRefused {
                    watcher,
                    hook,
                    reason: reason.clone(),
                },
            ),
            HookAnswer::Failed(reason) => (
                Cause::HookFailed,
                format!("hook {} failed{}", hook.as_str(), colon(reason)),
                Refusal::HookFailed {
                    watcher,
                    hook,
                    reason: reason.clone(),
                },
            ),
        };
        let reason = Reason {
            cause,
            text,
            since: now,
            next_attempt: None,
        };
        self.trouble = Some(Trouble { reason, refusal });
    }

    pub(super) fn remember(&mut self, exit: Exit) {
        if self.exits.len() == EXITS_KEPT {
            self.exits.pop_front();
        }
        self.exits.push_back(exit);
    }

    /// Asks a hook of the watcher itself; `None` if there is none to ask.
    pub(super) fn ask(&self, hook: Hook, ctx: &mut Context) -> Option<HookId> {
        self.ask_about(hook, Purpose::Watcher, None, None, ctx)
    }

    /// Asks a hook about a process or a signal; `None` if there is none to ask.
    pub(super) fn ask_about(
        &self,
        hook: Hook,
        purpose: Purpose,
        worker: Option<&Worker>,
        signal: Option<i32>,
        ctx: &mut Context,
    ) -> Option<HookId> {
        let spec = *self.spec.hooks.get(&hook)?;
        if ctx.hooks_off {
            return None;
        }
        let question = Question {
            watcher: &self.spec.name,
            hook,
            purpose,
            worker: worker.map(|worker| worker.id),
            process: worker.map(|worker| (worker.wid, worker.pid)),
            signal,
        };
        Some(ctx.ask(spec, question))
    }

    pub(super) fn emit(&self, kind: EventKind, ctx: &mut Context) {
        ctx.emit(Some(&self.spec.name), kind);
    }

    /// Changes a worker and keeps the tally right.
    pub(super) fn change<R>(
        &mut self,
        id: WorkerId,
        change: impl FnOnce(&mut Worker) -> R,
    ) -> Option<R> {
        let worker = self.workers.get_mut(&id)?;
        self.unsaved.insert(id);
        self.tally.leave(worker.class());
        let result = change(worker);
        self.tally.enter(worker.class());
        Some(result)
    }

    /// The pids of the processes that run.
    pub(super) fn pids(&self) -> Vec<i32> {
        self.workers
            .values()
            .filter(|w| w.runs())
            .filter_map(|w| w.pid)
            .collect()
    }

    /// The workers whose class satisfies `wanted`, oldest first.
    pub(super) fn select(&self, wanted: impl Fn(&Worker) -> bool) -> Vec<WorkerId> {
        self.workers
            .values()
            .filter(|worker| wanted(worker))
            .map(|worker| worker.id)
            .collect()
    }
}

fn colon(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(": {reason}"),
    }
}

impl Worker {
    pub(super) fn going(&self) -> bool {
        matches!(
            self.class(),
            worker::Class::Fresh(worker::Standing::Going)
                | worker::Class::Old(worker::Standing::Going)
        )
    }
}
