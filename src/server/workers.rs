//! The processes that run: started, signalled, killed and waited for as core asks, and told to
//! core as inputs.
//!
//! Decides nothing. All pidfds, what processes tell of themselves, and for a moment the groups that
//! are emptying, are in one epoll set.

mod adopted;
mod below;
mod handed;
mod told;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::Pid;

pub(super) use self::adopted::Adopted;
pub(super) use self::handed::Handed;
use self::told::{Ends, Told};
use super::convert::Seen;
use super::demand::Demand;
use super::descriptors::Budget;
use super::homes::{Home, Homes, Signals};
use super::orders::Standing;
use super::program;
use super::recipes::Recipe;
use super::sockets::Inherited;
use super::streams::{Lease, Outlet, Streams, Which};
use super::want::Witness;
use crate::config;
use crate::core::{ExitStatus, Input, Name, Recipients, SignalId, SpawnFailure, WorkerId};
use crate::sys::cgroup::Events;
use crate::sys::epoll::{Interest, Ready, Watch};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::{manager, spawn, tree};

/// What a number in the epoll set stands for: its three highest bits.
const KIND_SHIFT: u32 = 61;
const KINDS: u64 = 7 << KIND_SHIFT;
const PROCESS: u64 = 0;
const GROUP: u64 = 1;
const PIPE: u64 = 2;
const DEMAND: u64 = 3;
const MEMORY: u64 = 4;
const NOTIFY: u64 = 5;
const LINE: u64 = 6;

/// All processes that core knows.
#[derive(Debug)]
pub(super) struct Workers {
    running: HashMap<WorkerId, Running>,
    /// The main processes that have not been waited for.
    pids: HashSet<Pid>,
    /// The same with those of hooks and loggers: who waits for orphans leaves all of them alone.
    pub(super) known: Rc<RefCell<HashSet<Pid>>>,
    /// Ended, and something of them is left that no group tells of.
    leaving: Vec<WorkerId>,
    pub(super) homes: Homes,
    pub(super) streams: Streams,
    demand: Demand,
    budget: Budget,
    ready: Vec<Ready>,
    /// Where the notify sockets of processes are, and what their names begin with.
    notify: PathBuf,
    handed: Handed,
    /// Those that have said that they are on their way out, since the loop has looked.
    pub(super) departing: Vec<WorkerId>,
    /// Processes started since the daemon was.
    pub(super) spawns: u64,
    standing: Standing,
}

#[derive(Debug)]
struct Running {
    watcher: Name,
    pid: Pid,
    /// Once it was waited for only where it has no cgroup: its process group is told by it.
    pidfd: Option<Pidfd>,
    waited: bool,
    home: Home,
    events: Option<Events>,
    /// The process that was started, if another is the main one now: its process group goes by it.
    leader: Option<Pidfd>,
    told: Told,
    /// The interval that it was told to show that it is alive in; none if it was told nothing, or has
    /// chosen another itself.
    watchdog: Option<Duration>,
    /// By which it may write to loggers.
    leases: Vec<Rc<Lease>>,
    /// Where memory is counted.
    witness: Option<Witness>,
    /// What it leaves does not come to us when it has ended: an earlier daemon has started it, or
    /// we are a guest in another program.
    astray: bool,
    /// One of those that such a one has left, where there is no group: its end is waited for.
    left: Option<Pidfd>,
}

impl Workers {
    /// `known` is where all who wait for processes look whom to leave alone; `notify` where the notify
    /// sockets of processes are to be, and what their names begin with.
    pub(super) fn new(
        homes: Homes,
        streams: Streams,
        budget: Budget,
        known: Rc<RefCell<HashSet<Pid>>>,
        notify: PathBuf,
        handed: Handed,
        standing: Standing,
    ) -> Workers {
        Workers {
            running: HashMap::new(),
            pids: HashSet::new(),
            known,
            leaving: Vec::new(),
            homes,
            streams,
            demand: Demand::default(),
            budget,
            ready: Vec::new(),
            notify,
            handed,
            departing: Vec::new(),
            spawns: 0,
            standing,
        }
    }

    /// How many processes run.
    pub(super) fn count(&self) -> usize {
        self.pids.len()
    }

    /// Whether somebody waits for this process by its pidfd.
    pub(super) fn is_known(&self, pid: Pid) -> bool {
        self.known.borrow().contains(&pid)
    }

    /// The group of a worker, for people.
    pub(super) fn cgroup(&self, worker: WorkerId) -> Option<String> {
        let path = self.running.get(&worker)?.home.path()?;
        Some(path.to_string_lossy().into_owned())
    }

    /// What is to be seen of a process.
    pub(super) fn seen(&self, worker: WorkerId) -> Seen {
        let running = self.running.get(&worker);
        Seen {
            cgroup: self.cgroup(worker),
            status_text: running.and_then(|running| running.told.status_text()),
            departing: self.is_departing(worker),
        }
    }

    /// Whether a process has said that it is on its way out.
    pub(super) fn is_departing(&self, worker: WorkerId) -> bool {
        let running = self.running.get(&worker);
        running.is_some_and(|running| running.told.stopping)
    }

    /// Holds the processes of a watcher to the interval of its watchdog that is in force from now on,
    /// as far as they can know of it: one that runs goes on as it was told when it started.
    pub(super) fn set_watchdog(&mut self, watcher: &str, interval: Duration) -> Vec<Input> {
        let running = self.running.iter();
        let concerned = running.filter(|(_, running)| running.watcher.as_str() == watcher);
        let set = concerned.filter_map(|(worker, running)| {
            let told = running.watchdog?;
            let interval = match told.is_zero() || interval.is_zero() {
                true => Duration::ZERO,
                false => interval.max(told),
            };
            let worker = *worker;
            Some(Input::WatchdogSet { worker, interval })
        });
        set.collect()
    }

    /// Starts a process.
    pub(super) fn spawn(
        &mut self,
        worker: WorkerId,
        watcher: &Name,
        wid: u32,
        recipe: &Recipe,
        surroundings: &program::Surroundings,
        watch: &mut Watch,
    ) -> Input {
        match self.try_spawn(worker, watcher, wid, recipe, surroundings, watch) {
            Ok(pid) => {
                self.spawns += 1;
                Input::Spawned {
                    worker,
                    pid: pid.as_raw(),
                }
            }
            Err(failure) => {
                self.handed.take_back(worker);
                Input::SpawnFailed { worker, failure }
            }
        }
    }

    fn try_spawn(
        &mut self,
        worker: WorkerId,
        watcher: &Name,
        wid: u32,
        whole: &Recipe,
        surroundings: &program::Surroundings,
        watch: &mut Watch,
    ) -> Result<Pid, SpawnFailure> {
        let room = self.budget.check(self.streams.null());
        room.map_err(|error| program::failure("making room for its descriptors", &error))?;
        let credentials = whole.credentials()?;
        let sockets = inherit(whole)?;
        let recipe = &whole.watcher;
        let expanded = recipe.expand(wid);
        let mut outlet = |stream: &Option<config::Stream>, which| {
            let token = |id| PIPE << KIND_SHIFT | id;
            (self.streams).open(stream.as_ref(), whole, which, watch, token)
        };
        let out = outlet(&expanded.stdout, Which::Stdout)?;
        let err = outlet(&expanded.stderr, Which::Stderr)?;
        let stdin = self.streams.input(&recipe.stdin);
        let stdin = stdin.map_err(|error| {
            let file = match &recipe.stdin {
                config::Input::File(path) => Some(path.as_path()),
                config::Input::Null | config::Input::Inherit => None,
            };
            program::failure_at("opening its standard input", file, &error)
        })?;
        let mark = self.homes.mark(worker.0);
        let mut command = program::command(recipe, credentials, expanded, wid, mark, surroundings)?;
        program::name_sockets(&mut command, recipe);
        let path = format!("{}{}", self.notify.display(), worker.0);
        let ends = Ends::make(recipe, path.into(), credentials.uid())?;
        let line = manager::FIRST + recipe.sockets.len() as RawFd;
        program::name_ends(
            &mut command,
            recipe,
            ends.socket(),
            ends.line().map(|_| line),
        );
        let given = (self.handed).give(worker, &recipe.credentials, credentials.uid())?;
        program::name_credentials(&mut command, given.as_deref());
        let cgroup = self.homes.cgroup(watcher.as_str(), wid);
        let cgroup = cgroup.map_err(|error| program::failure("making its cgroup", &error))?;
        let limited = self
            .homes
            .resources
            .before_birth(watcher.as_str(), cgroup.as_ref());
        limited.map_err(|unlimited| program::unlimited(&unlimited))?;
        let witness = cgroup.as_ref().map_or(Ok(None), Witness::new);
        let witness = witness.map_err(|error| program::failure("watching its memory", &error))?;
        let null = self.streams.null();
        let (our_in, our_out, our_err) = (io::stdin(), io::stdout(), io::stderr());
        let stdout = out.descriptor(null, our_out.as_fd(), null);
        let mut fds = vec![
            (stdin.descriptor(null, our_in.as_fd(), null), 0),
            (stdout, 1),
            (err.descriptor(null, our_err.as_fd(), stdout), 2),
        ];
        fds.extend(sockets.iter().map(AsFd::as_fd).zip(manager::FIRST..));
        fds.extend(ends.line().map(|fd| (fd, line)));
        let child = spawn::spawn(&command, &fds, cgroup.as_ref())
            .map_err(|error| program::refused(&error, &recipe.working_dir))?;
        let pid = child.pid;
        let home = self.homes.home(cgroup, pid, worker.0);
        let told = ends.into_told();
        let tokens = (
            NOTIFY << KIND_SHIFT | worker.0,
            LINE << KIND_SHIFT | worker.0,
        );
        let watched = watch.add(&child.pidfd, process_token(worker), Interest::Read);
        let watched = watched.and_then(|()| told.watch(watch, tokens.0, tokens.1));
        let listening = witness.as_ref().map_or(Ok(()), |witness| {
            let token = MEMORY << KIND_SHIFT | worker.0;
            watch.add(&witness.events, token, Interest::Priority)
        });
        let home = match watched.and(listening).and(home) {
            Ok(home) => home,
            Err(error) => {
                // Nobody would hear of its end: it must not be. What is closed leaves the set by itself.
                end_unheard(&child.pidfd);
                return Err(program::failure("watching over it", &error));
            }
        };
        self.pids.insert(pid);
        self.known.borrow_mut().insert(pid);
        for outlet in [&out, &err] {
            self.streams
                .belongs_to(outlet, watcher.as_str(), wid, pid.as_raw());
        }
        let leases = [&out, &err].into_iter().filter_map(Outlet::lease).collect();
        let (watcher, pidfd) = (watcher.clone(), Some(child.pidfd));
        self.running.insert(
            worker,
            Running {
                watcher,
                pid,
                pidfd,
                waited: false,
                home,
                events: None,
                leader: None,
                told,
                watchdog: Some(recipe.watchdog),
                leases,
                witness,
                astray: self.standing == Standing::Guest,
                left: None,
            },
        );
        Ok(pid)
    }

    /// Waits for the first connection to a socket of a watcher, made as `recipe` says.
    pub(super) fn await_demand(&mut self, watcher: &Name, recipe: &Recipe, watch: &mut Watch) {
        let token = |id| DEMAND << KIND_SHIFT | id;
        let begun = (self.demand).begin(watcher, &recipe.sockets, watch, token);
        if let Err(error) = begun {
            tracing::error!(
                "{watcher}: failed to wait for a connection, start it by hand: {error}"
            );
        }
    }

    /// Waits for connections to a watcher no longer.
    pub(super) fn end_demand(&mut self, watcher: &Name, watch: &mut Watch) {
        self.demand.end(watcher, watch);
    }

    /// The watchers whose first connection is waited for.
    pub(super) fn awaited(&self) -> Vec<Name> {
        self.demand.watchers()
    }

    /// Sends a signal, and SIGCONT if that is needed for it to be heard; only the signal is told of.
    pub(super) fn signal(
        &mut self,
        worker: WorkerId,
        id: SignalId,
        signals: Signals,
        recipients: Recipients,
    ) -> Input {
        let pids = self.running.get(&worker).map_or(Ok(Vec::new()), |running| {
            running.signal(signals, recipients)
        });
        self.signalled(worker, id, signals.first(), pids)
    }

    /// Kills everything of these workers, and answers for each.
    pub(super) fn kill_trees(&mut self, kills: &[(WorkerId, SignalId)]) -> Vec<Input> {
        let running: Vec<&Running> = kills
            .iter()
            .filter_map(|(worker, _)| self.running.get(worker))
            .collect();
        let homes: Vec<_> = running
            .iter()
            .map(|running| (&running.home, running.leader()))
            .collect();
        let found = self.homes.kill(&homes);
        let reached = |(running, found): (&&Running, io::Result<bool>)| {
            found.map(|found| Vec::from_iter(found.then(|| running.pid.as_raw())))
        };
        let reached: Vec<_> = running.iter().zip(found).map(reached).collect();
        let mut reached = reached.into_iter();
        let answer = |(worker, id): &(WorkerId, SignalId)| {
            let pids = match self.running.contains_key(worker) {
                true => reached.next().expect("who runs has its answer"),
                false => Ok(Vec::new()),
            };
            self.signalled(*worker, *id, nix::libc::SIGKILL, pids)
        };
        kills.iter().map(answer).collect()
    }

    fn signalled(
        &self,
        worker: WorkerId,
        id: SignalId,
        signal: i32,
        pids: io::Result<Vec<i32>>,
    ) -> Input {
        let pids = pids.unwrap_or_else(|error| {
            let watcher = self
                .running
                .get(&worker)
                .map_or("", |running| running.watcher.as_str());
            let signal = super::convert::signal_name(signal);
            tracing::warn!("{watcher}: failed to send {signal} to a process, going on: {error}");
            Vec::new()
        });
        Input::Signalled {
            worker,
            signal: id,
            pids,
        }
    }

    /// Forgets a worker that is to run on without us.
    pub(super) fn let_go(&mut self, worker: WorkerId, watch: &mut Watch) {
        if let Some(running) = self.running.get(&worker) {
            self.homes.let_go(&running.home);
            self.handed.let_go(worker);
            running.leases.iter().for_each(|lease| lease.let_go());
        }
        self.forget(worker, watch);
    }

    /// Forgets a worker that is gone.
    pub(super) fn forget(&mut self, worker: WorkerId, watch: &mut Watch) {
        let Some(mut running) = self.running.remove(&worker) else {
            return;
        };
        running.told.close(watch);
        self.streams.offered.withdraw(running.pid.as_raw());
        self.handed.take_back(worker);
        if let (Some(pidfd), false) = (&running.pidfd, running.waited) {
            // It may have ended and been taken out already.
            let _ = watch.remove(pidfd);
            self.pids.remove(&running.pid);
            self.known.borrow_mut().remove(&running.pid);
        }
        if let Some(events) = &running.events {
            let _ = watch.remove(events);
        }
        if let Some(left) = &running.left {
            let _ = watch.remove(left);
        }
        if let Some(witness) = &running.witness {
            let _ = watch.remove(&witness.events);
        }
        self.leaving.retain(|leaving| *leaving != worker);
    }

    /// Takes in all that has happened to processes and pipes.
    pub(super) fn take_ready(&mut self, watch: &mut Watch, inputs: &mut Vec<Input>) -> bool {
        let mut ready = std::mem::take(&mut self.ready);
        if let Err(error) = watch.ready(&mut ready) {
            tracing::error!("failed to look after the processes, trying again: {error}");
        }
        let any = !ready.is_empty();
        for item in &ready {
            let id = item.token & !KINDS;
            match item.token >> KIND_SHIFT {
                PROCESS => self.process_ended(WorkerId(id), watch, inputs),
                GROUP => {
                    self.group_changed(WorkerId(id), watch, inputs);
                    self.one_left_less(WorkerId(id), watch, inputs);
                }
                PIPE => self.streams.pump(id, watch),
                MEMORY => self.memory_changed(WorkerId(id), watch, inputs),
                NOTIFY => {
                    // What is left makes it ready again.
                    let _ = self.notified(WorkerId(id), watch, inputs);
                }
                LINE => self.line_came(WorkerId(id), watch, inputs),
                _ => {
                    let watcher = self.demand.watcher(id).cloned();
                    inputs.extend(watcher.map(|watcher| Input::Demanded { watcher }));
                }
            }
        }
        self.ready = ready;
        any
    }

    fn process_ended(&mut self, worker: WorkerId, watch: &mut Watch, inputs: &mut Vec<Input>) {
        // What it has said comes before its end, above all that another is the main process now.
        self.last_words(worker, watch, inputs);
        let Some(running) = self.running.get_mut(&worker) else {
            return;
        };
        let (Some(pidfd), false) = (&running.pidfd, running.waited) else {
            return;
        };
        let status = match pidfd.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => exit_status(status),
            // It is not our child, or somebody else has waited for it.
            Err(_) => match pidfd.exit_of_stranger() {
                Ok(Some(status)) => exit_status(status),
                Ok(None) | Err(_) => ExitStatus::Unknown,
            },
        };
        let _ = watch.remove(pidfd);
        running.waited = true;
        running.told.close(watch);
        running.pidfd.take_if(|_| running.home.path().is_some());
        let pid = running.pid;
        self.pids.remove(&pid);
        self.known.borrow_mut().remove(&pid);
        // Counted before the process could end of it, and the notice may be late.
        self.memory_changed(worker, watch, inputs);
        let emptied = self.is_empty(worker);
        if !emptied {
            self.await_empty(worker, watch);
        }
        inputs.push(Input::Exited {
            worker,
            status,
            emptied,
        });
        self.await_left(worker, watch, inputs);
    }

    fn is_empty(&self, worker: WorkerId) -> bool {
        let Some(running) = self.running.get(&worker) else {
            return true;
        };
        let empty = match (&running.home, self.standing, running.astray) {
            (home, Standing::Guest, _) => home.is_empty_for_guest(running.leader()),
            // Nobody there is a child of ours, and its group is told until somebody else has waited.
            (Home::Tree(_), Standing::Daemon, true) => {
                running.home.members().map(|members| members.is_empty())
            }
            (home, Standing::Daemon, _) => {
                home.is_empty(running.leader(), |pid| self.is_known(pid))
            }
        };
        empty.unwrap_or_else(|error| {
            tracing::warn!(
                "{}: failed to look for what is left of a process: {error}",
                running.watcher
            );
            false
        })
    }

    /// Has us told when a worker's group is empty.
    fn await_empty(&mut self, worker: WorkerId, watch: &mut Watch) {
        let Some(running) = self.running.get_mut(&worker) else {
            return;
        };
        let events = running.home.events().and_then(|events| {
            if let Some(events) = &events {
                watch.add(events, GROUP << KIND_SHIFT | worker.0, Interest::Priority)?;
            }
            Ok(events)
        });
        running.events = events.unwrap_or_else(|error| {
            tracing::warn!(
                "{}: failed to watch over a cgroup: {error}",
                running.watcher
            );
            None
        });
        if running.events.is_none() {
            self.leaving.push(worker);
        }
    }

    fn group_changed(&mut self, worker: WorkerId, watch: &mut Watch, inputs: &mut Vec<Input>) {
        // Reading it is also what makes the kernel tell of the next change.
        let populated = self
            .running
            .get(&worker)
            .and_then(|running| running.events.as_ref())
            .is_some_and(|events| events.state().is_ok_and(|state| state.populated));
        if populated {
            return;
        }
        if let Some(running) = self.running.get_mut(&worker)
            && let Some(events) = running.events.take()
        {
            let _ = watch.remove(&events);
            inputs.push(Input::Emptied { worker });
        }
    }

    /// Looks whether something of a worker was killed for want of memory.
    fn memory_changed(&mut self, worker: WorkerId, watch: &mut Watch, inputs: &mut Vec<Input>) {
        let running = self.running.get_mut(&worker);
        let Some(witness) = running.and_then(|running| running.witness.as_mut()) else {
            return;
        };
        match witness.look() {
            Ok(None) => {}
            Ok(Some(kill)) => inputs.push(Input::OutOfMemory {
                worker,
                peak: kill.peak,
                limit: kill.limit,
            }),
            // It would be told again and again.
            Err(_) => {
                let _ = watch.remove(&witness.events);
            }
        }
    }

    /// The most memory that a worker has had, given the most that its place has ever had.
    pub(super) fn memory_peak(&self, worker: WorkerId, of_place: Option<u64>) -> Option<u64> {
        let witness = self.running.get(&worker)?.witness.as_ref()?;
        witness.peak(of_place)
    }

    /// A child has ended: orphans are waited for, and what they leave is looked at again.
    pub(super) fn child_ended(&mut self, watch: &mut Watch, inputs: &mut Vec<Input>) {
        // Workers are waited for through their pidfds, and first.
        self.take_ready(watch, inputs);
        if let Err(error) = tree::reap_orphans(|pid| self.is_known(pid)) {
            tracing::warn!("failed to wait for orphans, trying again at the next: {error}");
        }
        self.look_again(inputs);
    }

    /// Looks at the trees of ended workers again.
    fn look_again(&mut self, inputs: &mut Vec<Input>) {
        for worker in self.leaving.clone() {
            self.look_at(worker, inputs);
        }
    }

    /// Looks at the tree of one of them again.
    pub(super) fn look_at(&mut self, worker: WorkerId, inputs: &mut Vec<Input>) {
        if self.leaving.contains(&worker) && self.is_empty(worker) {
            self.leaving.retain(|leaving| *leaving != worker);
            inputs.push(Input::Emptied { worker });
        }
    }
}

impl Running {
    /// The process whose group the worker was born in.
    fn leader(&self) -> Option<&Pidfd> {
        self.leader.as_ref().or(self.pidfd.as_ref())
    }
}

/// The number of a main process in the epoll set.
fn process_token(worker: WorkerId) -> u64 {
    PROCESS << KIND_SHIFT | worker.0
}

/// The sockets of a process, in the order of their descriptors.
fn inherit(recipe: &Recipe) -> Result<Vec<Inherited<'_>>, SpawnFailure> {
    let names = recipe.watcher.sockets.iter().map(|socket| &socket.name);
    let sockets = recipe.sockets.iter().zip(names);
    sockets
        .map(|(socket, name)| {
            socket.inherit().map_err(|error| {
                let stage = "opening its socket";
                let error = std::io::Error::other(format!("'{name}': {error}"));
                program::failure(stage, &error)
            })
        })
        .collect()
}

/// How a process has ended, in core's words.
pub(super) fn exit_status(status: pidfd::ExitStatus) -> ExitStatus {
    match status {
        pidfd::ExitStatus::Exited(code) => ExitStatus::Exited(code),
        pidfd::ExitStatus::Signaled {
            signal,
            dumped: false,
        } => ExitStatus::Signaled(signal),
        pidfd::ExitStatus::Signaled {
            signal,
            dumped: true,
        } => ExitStatus::Dumped(signal),
    }
}

/// Ends a process that we cannot watch over, and waits for it.
pub(super) fn end_unheard(pidfd: &Pidfd) {
    let _ = pidfd.signal(nix::libc::SIGKILL);
    let mut fds = [nix::poll::PollFd::new(
        pidfd.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    // The kernel ends it in no time; a second is for a machine that is not itself.
    let _ = nix::poll::poll(&mut fds, 1000_u16);
    let _ = pidfd.try_wait();
}
