//! The closed list of all that can happen to the supervisor.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{HookId, Limits, Name, RequestId, SignalId, WatcherSpec, WorkerId};
use std::time::Duration;

/// Something that happened. A fact: it is recorded, and what follows is decided afterwards.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Somebody asks for something. Answered exactly once, by
    /// [`Action::Reply`](super::Action::Reply), whatever happens.
    Request(Request),
    /// A process runs: its program has been executed.
    Spawned {
        /// As in [`Action::Spawn`](super::Action::Spawn).
        worker: WorkerId,
        /// For people and events; core does nothing with it but tell it.
        pid: i32,
    },
    /// A process could not be started, and none is left.
    SpawnFailed {
        /// As in [`Action::Spawn`](super::Action::Spawn).
        worker: WorkerId,
        /// Why.
        failure: SpawnFailure,
    },
    /// A process says or shows that it is ready.
    Ready {
        /// Which.
        worker: WorkerId,
    },
    /// A process is not ready yet, and this is why: told with the time-out if there is one.
    NotReady {
        /// Which.
        worker: WorkerId,
        /// Why not, without a full stop.
        why: String,
    },
    /// A process asks for more time to start or to end: until this long after now.
    Extended {
        /// Which.
        worker: WorkerId,
        /// From now on; it never has less than it had.
        by: Duration,
    },
    /// A process shows that it is alive, as its watchdog expects.
    Alive {
        /// Which.
        worker: WorkerId,
    },
    /// A process asks for another interval of its watchdog.
    WatchdogSet {
        /// Which.
        worker: WorkerId,
        /// Instead of the spec's; zero for none.
        interval: Duration,
    },
    /// A process is not fit to go on.
    Unfit {
        /// Which.
        worker: WorkerId,
        /// In what way.
        fault: Fault,
        /// In words, without a full stop.
        error: String,
    },
    /// A process tells how many requests it has served.
    Served {
        /// Which.
        worker: WorkerId,
        /// Since its start.
        requests: u64,
    },
    /// Another process of its tree is the main process of a worker from now on.
    MainPid {
        /// Which.
        worker: WorkerId,
        /// The pid of that process.
        pid: i32,
    },
    /// The kernel has killed something in the tree of a worker for want of memory. If that was the
    /// main process, this comes before its [`Input::Exited`].
    OutOfMemory {
        /// Which.
        worker: WorkerId,
        /// The most memory its tree has used, in bytes, where that is known.
        peak: Option<u64>,
        /// The limit it met, in bytes; `None` for none of its own.
        limit: Option<u64>,
    },
    /// The main process has ended and was waited for.
    Exited {
        /// Which.
        worker: WorkerId,
        /// How.
        status: ExitStatus,
        /// Whether nothing is left of its tree. If not, [`Input::Emptied`] follows in time.
        emptied: bool,
    },
    /// Nothing is left of the tree of a process that has ended.
    Emptied {
        /// Which.
        worker: WorkerId,
    },
    /// An [`Action::Signal`](super::Action::Signal) or
    /// [`Action::KillTree`](super::Action::KillTree) was carried out.
    Signalled {
        /// As in the action.
        worker: WorkerId,
        /// As in the action.
        signal: SignalId,
        /// Who got it; empty if it reached nobody (the process had just ended, or is out of our
        /// reach).
        pids: Vec<i32>,
    },
    /// Somebody wants to be served by a watcher for which [`Action::Await`](super::Action::Await)
    /// was asked. One that is no longer awaited changes nothing.
    Demanded {
        /// Which.
        watcher: Name,
    },
    /// A hook has answered.
    HookFinished {
        /// As in [`Action::RunHook`](super::Action::RunHook). An id that is no longer known is
        /// an answer that came too late, and changes nothing.
        hook: HookId,
        /// What it said.
        answer: HookAnswer,
    },
    /// Something about the supervisor itself that listeners should hear of.
    Announce(Announcement),
    /// Time has passed. Any other input serves as well.
    Deadline,
    /// Stop everything and end.
    Shutdown(Shutdown),
}

/// A request and how its answer is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Chosen by the caller; never used twice.
    pub id: RequestId,
    /// Answer when the work is done; else as soon as it is accepted.
    pub wait: bool,
    /// Tell of progress meanwhile.
    pub progress: bool,
    /// What is asked.
    pub command: Command,
}

/// What can be asked. Watchers are named exactly: patterns are resolved by the caller.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Have these watchers run.
    Start(Vec<Name>),
    /// Have these watchers stopped.
    Stop(Vec<Name>),
    /// Stop and start.
    Restart(Vec<Name>),
    /// Replace the processes without stopping the service.
    Reload {
        /// Which.
        watchers: Vec<Name>,
        /// One at a time, whatever the watchers' own mode.
        sequential: bool,
    },
    /// Change how many processes a watcher is to have.
    Scale {
        /// Which.
        watcher: Name,
        /// How.
        to: Scale,
    },
    /// Send a signal to processes.
    Signal {
        /// Which watcher.
        watcher: Name,
        /// Which of its processes.
        who: Who,
        /// See signal(7).
        signal: i32,
        /// How far it reaches.
        recipients: Recipients,
    },
    /// End processes; the watcher replaces what it lost.
    Kill {
        /// Which watcher.
        watcher: Name,
        /// Which of its processes.
        who: Who,
        /// Instead of the watcher's stop signal.
        signal: Option<i32>,
        /// Instead of the watcher's graceful timeout.
        grace: Option<Duration>,
    },
    /// Stop the clock of all processes of these watchers.
    Freeze(Vec<Name>),
    /// Undo a freeze.
    Thaw(Vec<Name>),
    /// Add a watcher.
    Add {
        /// The new watcher.
        spec: Box<WatcherSpec>,
        /// Start it, too.
        start: bool,
    },
    /// Remove a watcher.
    Remove {
        /// Which.
        watcher: Name,
        /// Leave its processes running, unmanaged.
        keep_processes: bool,
    },
    /// Give a watcher another spec.
    Set {
        /// The whole new spec; its name says which watcher.
        spec: Box<WatcherSpec>,
        /// The keys that changed, for the event.
        keys: Vec<String>,
    },
    /// Have exactly these watchers, in this order: sorted into added, removed, changed in place
    /// and replaced. The first time, at boot, is the same.
    Apply {
        /// All watchers there are to be.
        specs: Vec<WatcherSpec>,
        /// The keys that changed, for the events of those that stay.
        changed: BTreeMap<Name, Vec<String>>,
        /// The new limits.
        limits: Limits,
    },
    /// Stop everything and end.
    Quit,
}

/// A change of the number of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Exactly so many.
    To(u32),
    /// So many more, or fewer if negative; never below none.
    By(i64),
}

/// Which processes of a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// All of them.
    All,
    /// The one at this place.
    Wid(u32),
    /// The one with this pid.
    Pid(i32),
}

/// How far a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients {
    /// The main process alone.
    Process,
    /// All its descendants, but not the main process.
    Children,
    /// The whole tree.
    Tree,
    /// The one of its descendants that has this pid, if one has.
    Child(i32),
}

/// Why a process could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnFailure {
    /// What was being done, in words: `entering its cgroup`.
    pub stage: String,
    /// See errno(3).
    pub errno: i32,
    /// The whole sentence.
    pub error: String,
}

/// In what way a process that runs is not fit to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is silent, or says itself that it is stuck.
    Watchdog,
    /// It has failed its health check as often as it may.
    Health,
}

/// How a process ended, as waitid(2) tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// By this signal, leaving a core dump.
    Dumped(i32),
    /// Nobody can tell any more.
    Unknown,
}

/// What a hook said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAnswer {
    /// Go on.
    True,
    /// No, and why.
    False(String),
    /// It could not say, and why.
    Failed(String),
}

/// News of the supervisor itself that core does not know by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announcement {
    /// The configuration is about to be read again.
    Reloading,
    /// A new configuration is in force.
    ConfigChanged {
        /// The watchers concerned.
        watchers: Vec<String>,
    },
    /// A new configuration was refused and nothing has changed.
    ConfigError {
        /// The errors, one a line.
        error: String,
        /// Where the first one is.
        file: Option<String>,
        /// Its line, from 1.
        line: Option<u64>,
        /// Its column, from 1.
        column: Option<u64>,
    },
    /// A hook has answered that core did not ask, and whose answer is nothing to it.
    HookAnswered {
        /// Whose hook; `None` for the supervisor's own.
        watcher: Option<Name>,
        /// Which.
        hook: &'static str,
        /// What it said.
        answer: HookAnswer,
        /// How long it took.
        duration: Duration,
        /// The process it was about: its place and its pid.
        process: Option<(u32, i32)>,
    },
    /// The program that we are in has something to say of a watcher.
    Notice {
        /// Of which.
        watcher: Name,
        /// What.
        name: String,
        /// What else, in whatever form whoever drives us gives it.
        data: String,
    },
}

impl Announcement {
    /// The watcher that it is news of; `None` for the supervisor itself.
    #[must_use]
    pub fn watcher(&self) -> Option<&Name> {
        match self {
            Announcement::HookAnswered { watcher, .. } => watcher.as_ref(),
            Announcement::Notice { watcher, .. } => Some(watcher),
            Announcement::Reloading
            | Announcement::ConfigChanged { .. }
            | Announcement::ConfigError { .. } => None,
        }
    }
}

/// How the supervisor is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Level by level, with grace, within the limit.
    Graceful,
    /// Kill everything.
    AtOnce,
}
