//! The loop: whatever happens becomes an input, core says what follows, and that is carried out.
//!
//! One thread; nothing in here waits for anything but the next thing to happen, and nothing is
//! decided here.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use super::adopt::Written;
use super::clock::Clock;
use super::connection::{Answer, Ask};
use super::convert;
use super::events::SharedLog;
use super::examine::{Examiner, Finding};
use super::homes;
use super::hooks::{Hooks, News};
use super::journal;
use super::leave::{Leave, Leaving, Verdict};
use super::notify::Manager;
use super::orders::{Orders, Standing};
use super::program::Surroundings;
use super::recipes::{Recipe, Recipes};
use super::sockets::Sockets;
use super::state::Records;
use super::turns::Turns;
use super::vigil::Vigil;
use super::wakeups::wait_for;
use super::workers::Workers;
use crate::api::frame::{Reply as Message, Terminator, encode};
use crate::config::Store;
use crate::core::{
    Action, Announcement, EventKind, ExitReason, Input, Name, ProcessState, Reply, RequestId,
    Revision, SignalId, Supervisor, WatcherState, WorkerId,
};
use crate::sys::epoll::Watch;
use crate::sys::memory;

/// How long clients are answered before processes are looked after again. A respawn may be late by
/// so much, and by one answer; each look costs a system call.
const ANSWERING_MAX: Duration = Duration::from_millis(1);

/// How long processes are started before it is everybody else's turn: a start waits until the
/// program is executed, and there may be thousands of them to be started.
const STARTING_MAX: Duration = Duration::from_millis(10);

/// How the daemon ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) why: ExitReason,
    /// Processes that could not be ended.
    pub(crate) left: usize,
    /// The program that goes on in this process, if one does.
    pub(super) next: Option<PathBuf>,
    /// What it is given.
    pub(super) passed: Vec<(String, OwnedFd)>,
}

impl Ended {
    /// Everything has been stopped, or as much as could be.
    pub(super) fn new(why: ExitReason, left: usize) -> Ended {
        Ended {
            why,
            left,
            next: None,
            passed: Vec::new(),
        }
    }
}

/// Owns core and carries out what it says.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) core: Supervisor,
    pub(super) clock: Clock,
    pub(super) workers: Workers,
    pub(super) watch: AsyncFd<Watch>,
    pub(super) recipes: Recipes,
    pub(super) sockets: Sockets,
    pub(super) store: Store,
    pub(super) log: Rc<SharedLog>,
    pub(super) surroundings: Rc<Surroundings>,
    pub(super) hooks: Hooks,
    pub(super) examiner: Examiner,
    pub(super) turns: Turns,
    pub(super) shared: super::connection::Shared,
    pub(super) requests: u64,
    pub(super) waiting: BTreeMap<RequestId, Waiting>,
    pub(super) inputs: Vec<Input>,
    /// Processes that core has asked for and that were not started yet.
    pub(super) births: VecDeque<Birth>,
    /// Something was ready at the last look, so there may be more.
    pub(super) more: bool,
    /// All that is to start with us has settled since we were last idle.
    pub(super) has_begun: bool,
    /// A child has ended. The successor of a worker comes first: the kernel looks for orphans among
    /// all children, so that takes the longer the more there are.
    pub(super) bereaved: bool,
    /// SIGINT has come before: the next one means at once.
    pub(super) interrupted: bool,
    pub(super) ended: Option<Ended>,
    /// None where the log is somebody else's.
    pub(super) reload_log: Option<journal::Reload>,
    /// None where there will be no next daemon.
    pub(super) records: Option<Records>,
    pub(super) written: Written,
    pub(super) manager: Manager,
    pub(super) leaving: Leaving,
    pub(super) standing: Standing,
    pub(super) vigil: Vigil,
}

/// Who waits for the answer to a request.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) terminator: Terminator,
    pub(super) progress: Option<mpsc::Sender<Vec<u8>>>,
    pub(super) answer: oneshot::Sender<Answer>,
    /// What is said instead of what core answers, if it grants the request.
    pub(super) instead: Option<Vec<u8>>,
    /// The shape of progress in a reply of `Scale`, which always carries the number.
    pub(super) scales: Option<u64>,
}

/// A process that is to be started.
#[derive(Debug)]
pub(super) struct Birth {
    worker: WorkerId,
    watcher: Name,
    wid: u32,
    revision: Revision,
    recipe: Rc<Recipe>,
}

/// Something that woke the loop.
enum Wake {
    Processes,
    Signal(i32),
    Ask(Ask),
    Hook(News),
    Verdict(Verdict),
    Finding(Finding),
    Deadline,
    /// The service manager is to hear something, or the next daemon.
    Manager,
    /// The state could not be written, and is tried again.
    State,
    /// A configuration file may have changed.
    Files,
}

impl Driver {
    /// Runs until everything has ended.
    pub(super) async fn run(
        mut self,
        mut orders: Orders,
        mut asks: mpsc::UnboundedReceiver<Ask>,
    ) -> Ended {
        loop {
            self.pursue();
            if self.workers.streams.changes.are_there() {
                self.write_down();
            }
            self.manager.tend(&self.core);
            if std::mem::take(&mut self.bereaved) {
                self.workers
                    .child_ended(self.watch.get_mut(), &mut self.inputs);
                self.pursue();
            }
            // The last who used a socket may have gone; it is closed with its last recipe. Not before
            // everything that was asked for is known to core: it may be about other recipes.
            if self.sockets.are_leaving() {
                self.forget_recipes();
            }
            if let Some(leave) = self.leaving.decided {
                return self.leave(leave).await;
            }
            if let Some(ended) = self.ended.take() {
                self.examiner.end_all();
                self.hooks.end().await;
                let at_once = async {
                    if ended.why != ExitReason::AskedAtOnce {
                        orders.interrupt().await;
                    }
                };
                let left = self.workers.streams.loggers.end(at_once).await;
                left.iter().for_each(|home| self.workers.homes.let_go(home));
                self.workers.streams.drain();
                if ended.left == 0 && self.standing == Standing::Daemon {
                    self.workers.homes.end_strangers();
                }
                self.workers.homes.remove_all();
                if let Some(records) = self.records.take() {
                    records.remove();
                }
                self.log.keep_in(None);
                self.manager.end();
                return ended;
            }
            if std::mem::take(&mut self.has_begun) && self.standing == Standing::Daemon {
                give_back_code();
            }
            let wake = self.sleep(&mut orders, &mut asks).await;
            self.more |= matches!(wake, Wake::Processes);
            self.take(wake);
            self.on_hook_news(None);
            self.on_findings();
            self.answer(&mut asks).await;
            if self.more {
                self.more = self
                    .workers
                    .take_ready(self.watch.get_mut(), &mut self.inputs);
            }
        }
    }

    /// Ends, and leaves all that runs to the next one.
    async fn leave(mut self, leave: Leave) -> Ended {
        self.examiner.end_all();
        self.hooks.end().await;
        self.workers.streams.loggers.hand_over().await;
        self.workers.streams.hand_over();
        self.sockets.leave();
        let passed = match leave {
            Leave::HandOver => Vec::new(),
            Leave::Reexec => self.descriptors_to_pass(),
        };
        // Whatever could not be written before: there is no later.
        self.write_all();
        self.write_down();
        Ended {
            why: ExitReason::Asked,
            left: 0,
            next: self
                .leaving
                .program()
                .map(Path::to_owned)
                .filter(|_| leave == Leave::Reexec),
            passed,
        }
    }

    /// Answers those who have asked, but not for longer than [`ANSWERING_MAX`]: then it is everybody
    /// else's turn, as the next of them may ask for much.
    async fn answer(&mut self, asks: &mut mpsc::UnboundedReceiver<Ask>) {
        let begun = Instant::now();
        while begun.elapsed() < ANSWERING_MAX {
            match asks.try_recv() {
                Ok(ask) => self.call(ask),
                Err(_) => return,
            }
        }
        // Without this the runtime would not look for signals, nor at connections.
        tokio::task::yield_now().await;
        self.more = true;
    }

    /// Waits for the next thing to happen. May be dropped at any point: nothing is lost.
    async fn sleep(
        &mut self,
        orders: &mut Orders,
        asks: &mut mpsc::UnboundedReceiver<Ask>,
    ) -> Wake {
        let deadline = self
            .core
            .next_deadline()
            .and_then(|at| self.clock.instant(at));
        let changes = Rc::clone(&self.workers.streams.changes);
        tokio::select! {
            biased;
            Some(signal) = orders.next() => Wake::Signal(signal),
            // Before all that could come without end.
            () = sleep_until(deadline) => Wake::Deadline,
            () = sleep_until(self.manager.next()) => Wake::Manager,
            () = sleep_until(self.records.as_ref().and_then(Records::retry_at)) => Wake::State,
            guard = self.watch.readable() => {
                // Tokio is told of changes only, so what is ready now is looked at until nothing is.
                if let Ok(mut guard) = guard {
                    guard.clear_ready();
                }
                Wake::Processes
            }
            // The connections have their turn in between, so that no worker can talk them to death.
            () = tokio::task::yield_now(), if self.more || !self.births.is_empty() => Wake::Processes,
            Some(news) = self.hooks.news.recv() => Wake::Hook(news),
            Some(verdict) = self.leaving.verdicts.recv() => Wake::Verdict(verdict),
            Some(finding) = self.examiner.findings.recv() => Wake::Finding(finding),
            () = changes.come() => Wake::Manager,
            () = self.vigil.quiet() => Wake::Files,
            Some(ask) = asks.recv() => Wake::Ask(ask),
        }
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Processes | Wake::Manager => {}
            Wake::State => self.write_down(),
            Wake::Signal(signal) => self.on_signal(signal),
            Wake::Ask(ask) => self.call(ask),
            Wake::Hook(news) => self.on_hook_news(Some(news)),
            Wake::Verdict(verdict) => self.on_verdict(verdict),
            Wake::Finding(finding) => self.inputs.extend(self.examiner.take(finding)),
            Wake::Deadline => self.inputs.push(Input::Deadline),
            Wake::Files => self.look_at_files(),
        }
    }

    fn on_signal(&mut self, signal: i32) {
        use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR2};
        match signal {
            SIGCHLD => (self.more, self.bereaved) = (true, true),
            SIGHUP => {
                self.reload_config_by_signal();
                self.workers.streams.reopen();
            }
            SIGTERM if self.standing == Standing::Guest => self.end_gracefully(),
            SIGTERM => self.on_terminate(),
            SIGINT if self.interrupted => self.end_at_once(),
            SIGINT => {
                self.interrupted = true;
                self.end_gracefully();
            }
            SIGUSR2 => self.ask_to_reexec(None),
            _ => {}
        }
    }

    /// Feeds core until nothing more follows at this moment, or [`STARTING_MAX`] is over.
    pub(super) fn pursue(&mut self) {
        let begun = Instant::now();
        self.decide();
        while !self.births.is_empty() && begun.elapsed() < STARTING_MAX {
            self.start_some(begun);
            self.decide();
        }
    }

    /// Starts what core has asked for, as far as the time goes, and tells of all together.
    fn start_some(&mut self, begun: Instant) {
        while let Some(birth) = self.births.pop_front() {
            self.start_one(&birth);
            if begun.elapsed() >= STARTING_MAX {
                return;
            }
        }
    }

    fn start_one(&mut self, birth: &Birth) {
        // What may be changed while processes run may have changed since it was asked for.
        let recipe = self.recipes.get(birth.revision);
        let recipe = recipe.as_ref().unwrap_or(&birth.recipe);
        let watch = self.watch.get_mut();
        let spawned = self.workers.spawn(
            birth.worker,
            &birth.watcher,
            birth.wid,
            recipe,
            &self.surroundings,
            watch,
        );
        if let (Input::Spawned { worker, .. }, Some(process)) =
            (&spawned, self.workers.process(birth.worker))
        {
            self.manager.keep_process(*worker, process);
        }
        self.inputs.push(spawned);
    }

    /// Nobody can be born into a group that is frozen: it is done before.
    fn start_all_of(&mut self, watcher: &Name) {
        let births = std::mem::take(&mut self.births);
        let (now, later) = births
            .into_iter()
            .partition::<VecDeque<_>, _>(|birth| birth.watcher == *watcher);
        self.births = later;
        for birth in &now {
            self.start_one(birth);
        }
    }

    fn decide(&mut self) {
        if self.inputs.is_empty() {
            return;
        }
        while !self.inputs.is_empty() {
            let inputs = std::mem::take(&mut self.inputs);
            let actions = self.core.handle_all(self.clock.now(), inputs);
            self.carry_out_all(actions);
        }
        let core = &self.core;
        self.workers.streams.loggers.tidy(|watcher| {
            let watcher = core.watcher(&Name::from(watcher));
            watcher.is_none_or(|watcher| {
                matches!(
                    watcher.state(),
                    WatcherState::Stopped | WatcherState::Failed
                )
            })
        });
        self.write_down();
    }

    /// Kills that nothing but talk comes between are done together: to look for the tree of one
    /// worker costs as much as to look for those of all.
    fn carry_out_all(&mut self, actions: Vec<Action>) {
        let mut kills = Vec::new();
        for action in actions {
            match action {
                Action::KillTree { worker, id } => kills.push((worker, id)),
                Action::Emit(_) | Action::Reply { .. } | Action::Progress { .. } => {
                    self.carry_out(action);
                }
                _ => {
                    self.kill_trees(&mut kills);
                    self.carry_out(action);
                }
            }
        }
        self.kill_trees(&mut kills);
    }

    fn kill_trees(&mut self, kills: &mut Vec<(WorkerId, SignalId)>) {
        if kills.is_empty() {
            return;
        }
        self.inputs.extend(self.workers.kill_trees(kills));
        for (worker, _) in kills.drain(..) {
            self.workers.look_at(worker, &mut self.inputs);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn {
                worker,
                watcher,
                wid,
                revision,
            } => {
                let Some(recipe) = self.recipes.get(revision) else {
                    unreachable!("a recipe is kept as long as core has its revision: {revision:?}");
                };
                self.births.push_back(Birth {
                    worker,
                    watcher,
                    wid,
                    revision,
                    recipe,
                });
            }
            Action::Signal {
                worker,
                id,
                signal,
                recipients,
            } => {
                let signals = match self.is_stopping(worker) {
                    true => homes::Signals::to_end(signal),
                    false => homes::Signals::Alone(signal),
                };
                let sent = self.workers.signal(worker, id, signals, recipients);
                self.inputs.push(sent);
            }
            Action::KillTree { worker, id } => self.kill_trees(&mut vec![(worker, id)]),
            Action::Probe { worker, probe } => self.examine(worker, probe),
            Action::EndProbe { worker } => self.examiner.end(worker),
            Action::Abandon { worker } => {
                self.births.retain(|birth| birth.worker != worker);
                self.examiner.end(worker);
                self.workers.let_go(worker, self.watch.get_mut());
                self.manager.let_go_of_process(worker);
            }
            Action::Forget { worker } => {
                self.examiner.end(worker);
                self.workers.forget(worker, self.watch.get_mut());
                self.manager.let_go_of_process(worker);
            }
            Action::Await {
                watcher,
                awaited: false,
            } => self.workers.end_demand(&watcher, self.watch.get_mut()),
            Action::Await { watcher, .. } => self.await_demand(&watcher),
            Action::Freeze { watcher, frozen } => {
                if frozen {
                    self.start_all_of(&watcher);
                }
                if let Err(error) = self.workers.homes.freeze(watcher.as_str(), frozen) {
                    let what = if frozen { "freeze" } else { "thaw" };
                    tracing::error!("{watcher}: failed to {what} its processes: {error}");
                }
            }
            Action::RunHook {
                hook,
                watcher,
                point,
                worker,
                signal,
            } => self.run_hook(hook, &watcher, point, worker, signal),
            Action::CancelHook { hook } => self.hooks.cancel(hook),
            Action::Reply { request, result } => self.reply(request, result),
            Action::Progress { request, progress } => self.progress(request, progress),
            Action::Emit(event) => self.emit(&event),
            Action::Settled => {
                self.settled();
                self.has_begun = true;
            }
            Action::CriticalFailure => self.end_gracefully(),
            Action::Removed { watcher } => {
                self.workers.homes.remove_watcher(watcher.as_str());
                self.workers.streams.forget_watcher(watcher.as_str());
                // It may have come back meanwhile.
                if self.store.config().watcher(watcher.as_str()).is_none() {
                    let resources = &mut self.workers.homes.resources;
                    resources.forget_watcher(watcher.as_str());
                }
            }
            Action::Exit { why, left } => self.exit(Ended::new(why, left)),
        }
    }

    fn is_stopping(&self, worker: WorkerId) -> bool {
        let watcher = self.core.owner(worker);
        let watcher = watcher.and_then(|name| self.core.watcher(name));
        let worker = watcher.and_then(|watcher| watcher.worker(worker));
        worker.is_some_and(|worker| worker.state() == ProcessState::Stopping)
    }

    /// Waits for the first connection to one of the sockets that the watcher has now.
    fn await_demand(&mut self, watcher: &crate::core::Name) {
        let revision = self.recipes.current(watcher.as_str());
        if let Some(recipe) = revision.and_then(|revision| self.recipes.get(revision)) {
            let watch = self.watch.get_mut();
            self.workers.await_demand(watcher, &recipe, watch);
        }
    }

    /// The sockets of those who are awaited may be others now.
    pub(super) fn await_demands_anew(&mut self) {
        for watcher in self.workers.awaited() {
            self.await_demand(&watcher);
        }
    }

    fn emit(&mut self, event: &crate::core::Event) {
        self.tell_manager(&event.kind);
        let cursor = self.log.with(|log| log.cursor(event.seq));
        let (told, action) = convert::event(event, cursor, &self.clock);
        journal::record(event, &told);
        self.log.push(&told, event.watcher.clone(), action);
        if action == "stop"
            && let Some(watcher) = &event.watcher
        {
            self.workers.homes.remove_watcher(watcher.as_str());
        }
    }

    /// Has the service manager hear of what concerns it.
    fn tell_manager(&mut self, kind: &EventKind) {
        match kind {
            EventKind::DaemonStopping => {
                self.manager
                    .stopping(self.store.config().circusd.stop_timeout);
            }
            EventKind::Announced(Announcement::Reloading) => self.manager.reloading(),
            EventKind::Announced(Announcement::ConfigChanged { .. }) => {
                self.manager.ready(&self.core);
            }
            EventKind::Announced(Announcement::ConfigError { error, .. }) => {
                self.manager
                    .refused(error.lines().next().unwrap_or_default());
            }
            _ => self.manager.changed(),
        }
    }

    fn reply(&mut self, request: RequestId, result: Result<Reply, crate::core::Refusal>) {
        let Some(waiting) = self.waiting.remove(&request) else {
            return;
        };
        let message = match result {
            Err(refusal) => encode(&convert::refusal(refusal, &self.clock), waiting.terminator),
            Ok(reply) => match waiting.instead {
                Some(instead) => instead,
                None => convert::reply(reply, waiting.terminator),
            },
        };
        // Nobody waits any more if the client has gone; what it asked for was done all the same.
        let _ = waiting.answer.send(Answer::Last(message));
    }

    fn progress(&mut self, request: RequestId, progress: crate::core::Progress) {
        let Some(waiting) = self.waiting.get(&request) else {
            return;
        };
        let Some(steps) = &waiting.progress else {
            return;
        };
        let progress = Some(convert::progress(progress));
        let message = match waiting.scales {
            Some(numprocesses) => {
                let reply = crate::api::reply::Scale {
                    numprocesses,
                    progress,
                    changes: None,
                };
                encode(&Message::continued(reply), waiting.terminator)
            }
            None => {
                let reply = crate::api::reply::Changes {
                    progress,
                    changes: None,
                };
                encode(&Message::continued(reply), waiting.terminator)
            }
        };
        // A client that does not keep up hears of the next step.
        let _ = steps.try_send(message);
    }
}

/// `None` never comes.
pub(super) async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The descriptors by which the loop is woken.
///
/// # Errors
///
/// The table of descriptors is full.
pub(super) fn watch() -> io::Result<AsyncFd<Watch>> {
    wait_for(Watch::new()?, tokio::io::Interest::READABLE).map_err(|(_, error)| error)
}

/// Unmaps what was needed to start.
fn give_back_code() {
    if let Err(error) = memory::give_back_code() {
        tracing::debug!("the code that was needed to start stays in memory: {error}");
    }
}
