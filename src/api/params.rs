//! What each method of `io.circusd` is called with.
//!
//! A parameter that the IDL marks `?` is an `Option`, left out when `None`; null and absent are
//! the same. A parameter that the IDL does not have is refused: a misspelt `graceful` must not
//! silently become an ungraceful reload.
//!
//! As the interface may get more of them, they are made with `default()`, and then set:
//!
//! ```
//! use circusd::api::{Method, params};
//!
//! let mut scale = params::Scale::default();
//! scale.watcher = "web".into();
//! scale.delta = Some(2);
//! assert_eq!(Method::Scale(scale).name(), "io.circusd.Scale");
//! ```

use serde::{Deserialize, Serialize};

use super::types::{Object, Recipients};

/// For `DaemonStats`, `ListSockets`, `GetConfigChanges`, `ReloadConfig` and `Reexec`: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// For `List`, `Status`, `Freeze` and `Thaw`: which watchers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Watchers {
    /// A name or shell-style pattern; `None` means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchers: Option<String>,
}

/// For `Explain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Explain {
    /// The watcher's name.
    pub watcher: String,
}

/// For `Stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Stats {
    /// A name or shell-style pattern; `None` means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchers: Option<String>,
    /// Whether to run the `extended_stats` hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended: Option<bool>,
    /// With `more`: a sample as often as this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_usec: Option<u64>,
    /// Whether to tell what each process below those of the watchers uses; `None` means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descendants: Option<bool>,
}

/// For `Get`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Get {
    /// The watcher's name.
    pub watcher: String,
    /// The keys wanted; `None` means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
}

/// For `GetSettings`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct GetSettings {
    /// The keys wanted; `None` means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

/// For `Start`, `Stop` and `Restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Verb {
    /// A name or shell-style pattern; `None` means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchers: Option<String>,
    /// Whether the result waits for the work; `None` means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
}

/// For `Reload`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Reload {
    /// A name or shell-style pattern; `None` means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchers: Option<String>,
    /// Whether the old processes stay until the new ones are ready; `None` means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graceful: Option<bool>,
    /// Whether they are replaced one after the other; `None`: as the watcher is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequential: Option<bool>,
    /// Whether the result waits for the work; `None` means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
}

/// For `Scale`: exactly one of `numprocesses` and `delta`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Scale {
    /// The watcher's name.
    pub watcher: String,
    /// How many processes are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numprocesses: Option<u64>,
    /// How many more, or less, than now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<i64>,
    /// Whether the result waits for the work; `None` means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
}

/// For `Signal`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Signal {
    /// The watcher's name.
    pub watcher: String,
    /// The signal: `SIGHUP`, `HUP` or a number in digits.
    pub signal: String,
    /// Only the process in this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wid: Option<u64>,
    /// Only the process with this pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Which part of each process's tree; `None` means the process alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipients: Option<Recipients>,
    /// Only this process below the one that `wid` or `pid` names, by pid; without `recipients`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child: Option<u32>,
}

/// For `Kill`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Kill {
    /// The watcher's name.
    pub watcher: String,
    /// Only the process in this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wid: Option<u64>,
    /// Only the process with this pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The first signal; `None`: the watcher's `stop_signal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// From the first signal to SIGKILL, a day at most; `None`: the watcher's `graceful_timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graceful_timeout_usec: Option<u64>,
}

/// For `Add`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Add {
    /// The new watcher's name.
    pub watcher: String,
    /// Its keys, as in the configuration file.
    pub options: Object,
    /// Whether it is started at once; `None`: as its `autostart` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<bool>,
}

/// For `Remove`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Remove {
    /// The watcher's name.
    pub watcher: String,
    /// Whether its processes go on, unsupervised; `None` means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_processes: Option<bool>,
}

/// For `Set`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Set {
    /// The watcher's name.
    pub watcher: String,
    /// The keys to change. Null takes a key back, `env.LANG` is one entry of a table.
    pub options: Object,
    /// Whether the result waits for the work; `None` means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
}

/// For `Subscribe`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Subscribe {
    /// Patterns as in [`topic`](super::topic); `None` is everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<String>>,
    /// The cursor exactly behind which to begin; `None` means now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Whether the first reply carries the state of all watchers; `None` means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<bool>,
}

/// For `RegisterHook`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RegisterHook {
    /// A name or shell-style pattern; `None` means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchers: Option<String>,
    /// The hooks that the caller answers for.
    pub hooks: Vec<String>,
    /// How long each answer may take; `None`: as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_usec: Option<u64>,
}

/// For `HookResult`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HookResult {
    /// The invocation that is answered.
    pub invocation: u64,
    /// Yes or no.
    pub result: bool,
    /// Why the hook could not say; a failure, whatever `result` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the hook adds, for `extended_stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Object>,
}

/// For `Quit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Quit {
    /// Whether the answer waits until all watchers are stopped; `None` means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
}
