//! What a watcher is to be, as far as decisions depend on it.
//!
//! What a process is made from (command, environment, user, limits) is not here: core knows only
//! its [`Revision`], and that another revision means other processes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The name of a watcher; cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Name {
        Name(name.into())
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        String::deserialize(deserializer).map(|name| Name(name.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Stands for everything that a process is made from. Two specs of one watcher with the same
/// revision make the same processes; with different ones, the processes must be replaced.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

/// One watcher: a pool of identical processes and the rules for keeping it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatcherSpec {
    /// Unique among the watchers of a supervisor.
    pub name: Name,
    /// What the processes are made from.
    pub revision: Revision,
    /// How many processes there are to be; 0 is a pool that is active with none.
    pub numprocesses: u32,
    /// Never more than one process, not even for the moment of a replacement.
    pub singleton: bool,
    /// Lower starts first and stops last.
    pub priority: i32,
    /// Those that must be ready before it starts.
    pub after: Vec<Name>,
    /// The same; a start of this one starts them too, and when one of them is to stop, this one
    /// stops first. In a circle with these and `after`, none starts.
    pub requires: Vec<Name>,
    /// Started with the supervisor.
    pub autostart: bool,
    /// With `autostart`: not with the supervisor, but at the first
    /// [`Input::Demanded`](super::Input::Demanded).
    pub on_demand: bool,
    /// Pause between the spawns of two processes.
    pub warmup_delay: Duration,
    /// From the stop signal to the kill of the whole tree; zero kills at once.
    pub graceful_timeout: Duration,
    /// Asks a process to end; see signal(7).
    pub stop_signal: i32,
    /// The stop signal goes to the whole tree instead of the main process alone.
    pub stop_children: bool,
    /// A reload is a SIGHUP to the processes that run.
    pub send_hup: bool,
    /// How processes are replaced.
    pub reload: ReloadMode,
    /// Which ended processes are replaced.
    pub restart: Restart,
    /// Exit codes that are a success for [`Restart::OnFailure`].
    pub success_exit_status: Vec<i32>,
    /// Failed spawns in a row before giving up; `None` never gives up.
    pub max_retry: Option<u32>,
    /// Pauses before respawns; `None` respawns at once, always.
    pub backoff: Option<Backoff>,
    /// When a place is held because its processes end too often; `None` never holds one.
    pub flapping: Option<Flapping>,
    /// Replace a process that is older; `None` lets it grow old.
    pub max_age: Option<Duration>,
    /// The upper bound of the random time that each process may live beyond `max_age`.
    pub max_age_variance: Duration,
    /// How a process becomes ready.
    pub ready: Readiness,
    /// A process that is ready says so often that it is alive, or it is replaced; `None` does not
    /// ask for it.
    pub watchdog: Option<Duration>,
    /// Whether processes that are ready are asked for their health.
    pub health: bool,
    /// Replace a process that has served so many requests; `None` lets it go on.
    pub max_requests: Option<u64>,
    /// When it has given up, the supervisor stops everything.
    pub critical: bool,
    /// The hooks that are configured; a hook that is not in here is not run.
    pub hooks: BTreeMap<Hook, HookSpec>,
}

impl WatcherSpec {
    /// Whether it starts by itself, and only when somebody demands it.
    pub(super) fn starts_on_demand(&self) -> bool {
        self.autostart && self.on_demand
    }

    /// Whether others must be ready before it.
    pub(super) fn depends(&self) -> bool {
        !self.after.is_empty() || !self.requires.is_empty()
    }

    /// Those that must be ready before it.
    pub(super) fn depends_on(&self) -> impl Iterator<Item = &Name> {
        self.requires.iter().chain(&self.after)
    }

    /// Whether it starts with the supervisor.
    pub(super) fn starts_at_once(&self) -> bool {
        self.autostart && !self.on_demand
    }
}

/// How processes are replaced by a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReloadMode {
    /// All new ones first; when all are ready the old ones go. Twice as many for a while.
    NewFirst,
    /// One at a time, never more than asked and never more than one fewer.
    Sequential,
}

/// Which processes that ended by themselves are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Every one.
    Always,
    /// Those that did not end with a success.
    OnFailure,
    /// None.
    Never,
}

/// How a process becomes ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// By having been spawned.
    Spawn,
    /// By an [`Input::Ready`](super::Input::Ready) within the time; else the start has failed.
    Told {
        /// From the spawn, or from the answer of `after_spawn`; a freeze is not counted.
        timeout: Duration,
    },
}

/// The pauses before respawns at one place: none before the first, then `initial`, and from there
/// each `factor` times the one before, up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// Before the second respawn.
    pub initial: Duration,
    /// Growth from one pause to the next; at least 1.
    pub factor: f64,
    /// The longest pause.
    pub max: Duration,
    /// The share of a pause that is random, 0 to 1, so that a pool does not march in step.
    pub jitter: f64,
    /// A process that lived this long clears the count of its place.
    pub reset_after: Duration,
}

/// When a place is held, and when it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flapping {
    /// So many unexpected ends...
    pub attempts: u32,
    /// ...within this time hold the place...
    pub window: Duration,
    /// ...for this long;
    pub retry_in: Duration,
    /// after so many such rounds it is given up. `None`: never.
    pub max_retry: Option<u32>,
}

/// A place in the life of a watcher where the outside is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// Before the watcher starts; may veto.
    BeforeStart,
    /// When the first full set of processes is ready; may veto.
    AfterStart,
    /// Before each process; may veto.
    BeforeSpawn,
    /// After each process runs; may veto.
    AfterSpawn,
    /// Before the first process is told to stop.
    BeforeStop,
    /// After the last process has gone.
    AfterStop,
    /// Before any signal except SIGKILL; may veto.
    BeforeSignal,
    /// After it was sent.
    AfterSignal,
    /// When a process has ended.
    BeforeReap,
    /// After its end was told.
    AfterReap,
}

impl Hook {
    /// The name in configurations and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Hook::BeforeStart => "before_start",
            Hook::AfterStart => "after_start",
            Hook::BeforeSpawn => "before_spawn",
            Hook::AfterSpawn => "after_spawn",
            Hook::BeforeStop => "before_stop",
            Hook::AfterStop => "after_stop",
            Hook::BeforeSignal => "before_signal",
            Hook::AfterSignal => "after_signal",
            Hook::BeforeReap => "before_reap",
            Hook::AfterReap => "after_reap",
        }
    }
}

/// How long a hook may take, and whether it may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookSpec {
    /// Past this the hook is cancelled and has failed.
    pub timeout: Duration,
    /// A failure (not a *false*) counts as *true*.
    pub ignore_failure: bool,
}

/// What holds for the supervisor as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pause between the starts of two watchers.
    pub warmup_delay: Duration,
    /// The whole shutdown; past it every tree is killed.
    pub stop_timeout: Duration,
    /// How many watchers there may be.
    pub watchers_max: usize,
    /// How many processes may be asked for, over all watchers.
    pub processes_max: usize,
}
