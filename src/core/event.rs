//! What listeners are told.

use super::{Announcement, ExitStatus, Fault, Hook, Name, SpawnFailure, Time};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One thing that happened, numbered without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// 1 for the first event of an instance, then always one more.
    pub seq: u64,
    /// When, on the clock that core is given.
    pub time: Time,
    /// The watcher concerned; `None` for the supervisor itself.
    pub watcher: Option<Name>,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen. See hooks-and-events in the manual for when each is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of circusd-events, described once there and in the manual"
)]
pub enum EventKind {
    /// A process runs.
    Spawn { pid: i32, wid: u32, generation: u64 },
    /// It is ready.
    Ready { pid: i32, wid: u32, after: Duration },
    /// It has ended and was waited for.
    Reap { pid: i32, wid: u32, exit: Exit },
    /// A signal was sent to it, or to this one of its descendants alone.
    Kill {
        pid: i32,
        wid: u32,
        child: Option<i32>,
        signal: i32,
        by: By,
    },
    /// A process could not be started.
    SpawnFailed { wid: u32, failure: SpawnFailure },
    /// The first full set of processes is ready.
    Start { pids: Vec<i32>, duration: Duration },
    /// The last process has gone.
    Stop { pids: Vec<i32>, duration: Duration },
    /// The processes have been replaced.
    Reload { pids: Vec<i32>, duration: Duration },
    /// Options changed.
    Updated { keys: Vec<String>, origin: Origin },
    /// The watcher has come.
    Add,
    /// The watcher has gone.
    Remove,
    /// A hook answered.
    HookSuccess {
        hook: Hook,
        result: bool,
        reason: Option<String>,
        duration: Duration,
        process: Option<(u32, Option<i32>)>,
    },
    /// A hook could not answer.
    HookFailure {
        hook: Hook,
        error: String,
        duration: Duration,
        process: Option<(u32, Option<i32>)>,
    },
    /// A place is held.
    Flapping {
        wid: u32,
        attempts: u32,
        window: Duration,
        retry_in: Duration,
    },
    /// A place, or with `wid` `None` the whole watcher, is given up.
    GaveUp { wid: Option<u32>, attempts: u32 },
    /// A process of an earlier supervisor was taken over.
    Adopt { pid: i32, wid: u32 },
    /// The kernel has killed something of a process for want of memory.
    Oom {
        pid: i32,
        wid: u32,
        peak: Option<u64>,
        limit: Option<u64>,
    },
    /// A process is not fit to go on, and is replaced.
    Unfit {
        pid: i32,
        wid: u32,
        fault: Fault,
        error: String,
    },
    /// The processes' clocks are stopped.
    Freeze,
    /// They go again.
    Thaw,
    /// All watchers to be started at boot have settled.
    DaemonReady,
    /// The supervisor is on its way out.
    DaemonStopping,
    /// Told by the surroundings.
    Announced(Announcement),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its place.
    pub wid: u32,
    /// Its pid.
    pub pid: i32,
    /// When.
    pub time: Time,
    /// How long it had run.
    pub runtime: Duration,
    /// As the kernel tells it.
    pub status: ExitStatus,
    /// Whether we had asked for it, other than because of what it did or did not do: who was not
    /// ready in time, silent or not healthy has not ended as expected.
    pub expected: bool,
    /// What ended it, where the status does not say.
    pub forced: Option<Forced>,
}

/// What ended a process, where its status does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forced {
    /// It was not ready, or did not end, in time.
    Timeout,
    /// It was silent for longer than its watchdog allows, or said itself that it is stuck.
    Watchdog,
    /// It had failed its health check as often as it may.
    Health,
    /// The kernel killed it for want of memory.
    OutOfMemory,
}

/// Where a change came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A call.
    Api,
    /// The files, read again.
    Files,
}

impl Origin {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::Api => "api",
            Origin::Files => "file",
        }
    }
}

/// On whose account a process was signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum By {
    /// The watcher stops.
    Stop,
    /// There are to be fewer processes.
    Scale,
    /// It is replaced by a reload.
    Reload,
    /// It has grown too old.
    MaxAge,
    /// An operator asked.
    Operator,
    /// It was not ready in time.
    StartTimeout,
    /// A hook refused it.
    Hook,
    /// What it left behind is cleared away.
    Cleanup,
    /// It was silent for too long.
    Watchdog,
    /// It has failed its health check.
    Health,
    /// It has served as many requests as it may.
    MaxRequests,
}

impl By {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            By::Stop => "stop",
            By::Scale => "scale",
            By::Reload => "reload",
            By::MaxAge => "max_age",
            By::Operator => "operator",
            By::StartTimeout => "start_timeout",
            By::Hook => "hook",
            By::Cleanup => "cleanup",
            By::Watchdog => "watchdog",
            By::Health => "health",
            By::MaxRequests => "max_requests",
        }
    }
}

/// Why a watcher is not simply running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// For programs.
    pub cause: Cause,
    /// For people: one sentence without a full stop.
    pub text: String,
    /// Since when.
    pub since: Time,
    /// When it will be tried again without anybody asking; `None`: it will not.
    pub next_attempt: Option<Time>,
}

/// The kinds of [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// An operator asked for it.
    Operator,
    /// It is not started with the supervisor.
    AutostartOff,
    /// It starts when somebody demands it.
    OnDemand,
    /// A hook said no.
    HookRefused,
    /// A hook could not say.
    HookFailed,
    /// A process could not be started.
    SpawnFailed,
    /// Its processes end too often.
    Flapping,
    /// It is not tried any more.
    GaveUp,
    /// Others come first.
    Dependency,
    /// All its processes have ended and are not to be replaced.
    Finished,
}

impl std::fmt::Display for Exit {
    /// To go behind the name of the process.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.forced {
            None => self.status.fmt(f),
            Some(Forced::Timeout) => write!(f, "took too long and {}", self.status),
            Some(Forced::Watchdog) => write!(f, "was silent for too long and {}", self.status),
            Some(Forced::Health) => write!(f, "was not healthy and {}", self.status),
            Some(Forced::OutOfMemory) => write!(f, "was killed for want of memory"),
        }
    }
}

impl std::fmt::Display for ExitStatus {
    /// To go behind the name of the process.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExitStatus::Exited(code) => write!(f, "ended with exit code {code}"),
            ExitStatus::Signaled(signal) => write!(f, "was ended by signal {signal}"),
            ExitStatus::Dumped(signal) => write!(f, "dumped core on signal {signal}"),
            ExitStatus::Unknown => write!(f, "ended, nobody knows how"),
        }
    }
}
