//! The closed list of all that the supervisor can ask for, and the answers to requests.

use super::{
    Event, Hook, HookId, Name, Reason, Recipients, RequestId, Revision, SignalId, Who, WorkerId,
};

/// Something to be carried out, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start a process; answered by [`Input::Spawned`](super::Input::Spawned) or
    /// [`Input::SpawnFailed`](super::Input::SpawnFailed), exactly once.
    Spawn {
        /// The name of the process from now on.
        worker: WorkerId,
        /// Whose it is.
        watcher: Name,
        /// Its place.
        wid: u32,
        /// What to make it from.
        revision: Revision,
    },
    /// Send a signal; answered by [`Input::Signalled`](super::Input::Signalled).
    Signal {
        /// To whom.
        worker: WorkerId,
        /// Names this signal in the answer.
        id: SignalId,
        /// See signal(7).
        signal: i32,
        /// How far it reaches.
        recipients: Recipients,
    },
    /// Send SIGKILL to all that is left of the tree; answered by
    /// [`Input::Signalled`](super::Input::Signalled).
    KillTree {
        /// Whose.
        worker: WorkerId,
        /// Names this signal in the answer.
        id: SignalId,
    },
    /// Find out whether a process is ready, or healthy; a later one for the same worker takes the
    /// place of an earlier. Answered by [`Input::Ready`](super::Input::Ready) or
    /// [`Input::NotReady`](super::Input::NotReady), or by [`Input::Unfit`](super::Input::Unfit).
    Probe {
        /// Which.
        worker: WorkerId,
        /// For what.
        probe: Probe,
    },
    /// Nobody wants to know any more.
    EndProbe {
        /// Which.
        worker: WorkerId,
    },
    /// Let the processes of a worker run on without us; nothing more will be heard of it.
    Abandon {
        /// Which.
        worker: WorkerId,
    },
    /// Tell with [`Input::Demanded`](super::Input::Demanded) when somebody wants to be served by a
    /// watcher, or do so no longer.
    Await {
        /// Which.
        watcher: Name,
        /// From now on, or no longer.
        awaited: bool,
    },
    /// The worker is gone and told of; its records may go.
    Forget {
        /// Which.
        worker: WorkerId,
    },
    /// Stop (or start again) the clock of all processes of a watcher.
    Freeze {
        /// Which watcher.
        watcher: Name,
        /// Whether to stop.
        frozen: bool,
    },
    /// Ask the outside; answered by [`Input::HookFinished`](super::Input::HookFinished), unless
    /// cancelled before.
    RunHook {
        /// Names this call in the answer.
        hook: HookId,
        /// Whose hook.
        watcher: Name,
        /// Which hook.
        point: Hook,
        /// The process it is about.
        worker: Option<WorkerId>,
        /// The signal it is about.
        signal: Option<i32>,
    },
    /// End a hook: its answer no longer matters.
    CancelHook {
        /// Which.
        hook: HookId,
    },
    /// Answer a request.
    Reply {
        /// Which.
        request: RequestId,
        /// What to say.
        result: Result<Reply, Refusal>,
    },
    /// Tell a request how far it is.
    Progress {
        /// Which.
        request: RequestId,
        /// What to say.
        progress: Progress,
    },
    /// Tell all listeners.
    Emit(Event),
    /// The watchers to be started at boot have settled.
    Settled,
    /// A critical watcher has given up, so all is to end. Said once; [`super::Input::Shutdown`] is to
    /// follow, after whatever is to be done before anything stops.
    CriticalFailure,
    /// A watcher is gone for good; its records may go.
    Removed {
        /// Which.
        watcher: Name,
    },
    /// End the program: everything has stopped, or could not be stopped in time.
    Exit {
        /// Why.
        why: ExitReason,
        /// How many processes could not be ended; 0 as a rule.
        left: usize,
    },
}

/// What is to be found out about a process that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Whether it is ready, as what it was made from says.
    Readiness,
    /// Whether it is healthy, again and again.
    Health,
}

/// Why the supervisor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// It was asked to.
    Asked,
    /// It was asked to, at once.
    AskedAtOnce,
    /// A critical watcher has given up.
    Critical,
}

/// The answer to a request that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// What was done, watcher by watcher.
    Changes(Vec<Change>),
    /// The number of processes asked for from now on, and what was done.
    Scaled {
        /// The new target.
        numprocesses: u32,
        /// What was done.
        changes: Vec<Change>,
    },
    /// Who got the signal, or was ended.
    Pids(Vec<i32>),
    /// A new spec is in force.
    Applied {
        /// Whether processes were replaced for it.
        effect: Effect,
        /// What was done.
        changes: Vec<Change>,
    },
    /// Done.
    Done,
}

/// What a changed spec does to processes that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Live,
    /// They are replaced.
    Reload,
}

/// What a request did to one watcher: pids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub watcher: Name,
    /// Run now and did not before.
    pub started: Vec<i32>,
    /// Ran before and do not now.
    pub stopped: Vec<i32>,
    /// Run now as before.
    pub kept: Vec<i32>,
}

/// How far a request is with one watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which.
    pub watcher: Name,
    /// `start`, `stop`, `restart`, `reload`, `scale`.
    pub action: &'static str,
    /// Processes done with.
    pub done: u32,
    /// Processes to do.
    pub total: u32,
}

/// The answer to a request that was not granted, or did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such watcher.
    #[error("no watcher is named '{0}'")]
    NoSuchWatcher(Name),
    /// There is one already.
    #[error("a watcher named '{0}' exists already")]
    WatcherExists(Name),
    /// The watcher has no such process.
    #[error("watcher '{watcher}' has no such process")]
    NoSuchProcess {
        /// Which watcher.
        watcher: Name,
        /// What was looked for.
        who: Who,
    },
    /// A singleton has one process at most.
    #[error("watcher '{0}' is a singleton")]
    Singleton(Name),
    /// The watcher did not come up.
    #[error("watcher '{watcher}' did not start: {}", reason.text)]
    StartFailed {
        /// Which watcher.
        watcher: Name,
        /// Why.
        reason: Reason,
    },
    /// A hook said no.
    #[error("hook {} of watcher '{watcher}' refused: {reason}", hook.as_str())]
    HookRefused {
        /// Which watcher.
        watcher: Name,
        /// Which hook.
        hook: Hook,
        /// Its words.
        reason: String,
    },
    /// A hook could not say.
    #[error("hook {} of watcher '{watcher}' failed: {reason}", hook.as_str())]
    HookFailed {
        /// Which watcher.
        watcher: Name,
        /// Which hook.
        hook: Hook,
        /// What went wrong.
        reason: String,
    },
    /// A limit would be passed.
    #[error("too many {what}: the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The supervisor is on its way out.
    #[error("circusd is shutting down")]
    ShuttingDown,
}
