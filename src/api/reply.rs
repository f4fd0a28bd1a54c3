//! What each method of `io.circusd` answers with: the parameters of its replies.
//!
//! Fields, nullability and unknown members are treated as in [`types`](super::types). A method
//! that answers with nothing has [`Empty`].

use serde::{Deserialize, Serialize};

use super::types::{
    Change, ConfigChange, Effect, Event, Exit, Gap, Object, ProcessStats, Progress, Setting,
    Socket, SupervisorStats, Watcher,
};

/// The answer of `Add`, `Remove`, `HookResult`, `Reexec` and `Quit`: it is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Empty {}

/// The answer of `List`, `Freeze` and `Thaw`: the watchers selected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Names {
    /// Their names, in the order in which they start.
    pub watchers: Vec<String>,
}

/// The answer of `Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The watchers selected, in the order in which they start.
    pub watchers: Vec<Watcher>,
}

/// The answer of `Explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explain {
    /// The watcher as it is.
    pub watcher: Watcher,
    /// Its last exits.
    pub exits: Vec<Exit>,
    /// The story in sentences.
    pub text: String,
}

/// The answer of `Stats`: one sample.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Every process of the watchers selected.
    pub processes: Vec<ProcessStats>,
}

/// The answer of `DaemonStats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DaemonStats {
    /// The figures.
    pub stats: SupervisorStats,
}

/// The answer of `ListSockets`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListSockets {
    /// The sockets, by name.
    pub sockets: Vec<Socket>,
}

/// The answer of `Get`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Get {
    /// The options asked for, in the form of the configuration file.
    pub options: Object,
}

/// The answer of `GetSettings`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GetSettings {
    /// The settings asked for, in the order of the table.
    pub settings: Vec<Setting>,
}

/// The answer of `Start`, `Stop`, `Restart` and `Reload`: on the way `progress`, at the end
/// `changes`, and neither where the caller does not wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Changes {
    /// How far it has come; in replies that continue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What was done; in the last reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
}

/// The answer of `Scale`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Scale {
    /// How many processes are wanted now.
    pub numprocesses: u64,
    /// How far it has come; in replies that continue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What was done; in the last reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
}

/// The answer of `Signal` and `Kill`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pids {
    /// The processes that were signalled.
    pub pids: Vec<u32>,
}

/// The answer of `Set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Set {
    /// What it does to running processes.
    pub effect: Effect,
    /// What was done; absent where the caller does not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
}

/// The answer of `GetConfigChanges` and `ReloadConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConfigChanges {
    /// What the new configuration means for each watcher.
    pub changes: Vec<ConfigChange>,
}

/// One answer of `Subscribe`. The first carries neither `event` nor `gap`; every other, one of
/// the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Subscribe {
    /// Where the stream is after this reply: what to give as `since` to continue.
    pub cursor: String,
    /// The state of all watchers at that cursor; in the first reply, with `snapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchers: Option<Vec<Watcher>>,
    /// What happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// What cannot be told any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
}

/// One answer of `RegisterHook`. The first carries only `registration`; every other, an
/// invocation to be answered with `HookResult`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RegisterHook {
    /// The number of the registration.
    pub registration: u64,
    /// The number of the invocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocation: Option<u64>,
    /// The hook that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// The watcher it is asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watcher: Option<String>,
    /// What a program called as a hook would read from its standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Object>,
}
