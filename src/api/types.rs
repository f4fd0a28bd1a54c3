//! The types of the interface `io.circusd`, one for each type of the IDL, with its names.
//!
//! They say what goes over the socket and nothing else: no behaviour, no validation beyond the
//! form, and no kinship with the types of `core`, however alike they look.
//!
//! A field that the IDL marks `?` is an `Option` and is left out when it is `None`: the varlink
//! documentation lets a null field be omitted, `varlinkctl` passes on what it gets, the Python
//! package `varlink` drops nulls itself in both directions, and it is less to send. When read, null and absent are the same, and
//! members that we do not know are skipped, so that a client outlives a newer daemon.
//!
//! All of them may get more members with the interface, so none can be made or matched without room
//! for these outside the crate.
//!
//! An `int` of the IDL that cannot be negative is unsigned here. Times (`_usec`) are microseconds
//! since the Unix epoch; durations are microseconds too. A pid is a `u32` above 0.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `object` of the IDL where it is a table of named values.
pub type Object = Map<String, Value>;

/// How one process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exit {
    /// The place in its watcher that the process held.
    pub wid: u64,
    /// The pid it had; by now it may be another's.
    pub pid: u32,
    /// When the end became known.
    pub time_usec: u64,
    /// How long it had lived.
    pub runtime_usec: u64,
    /// How it ended.
    pub cause: ExitCause,
    /// The exit code for `exited`, the signal number for `signaled` and `dumped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// Whether circusd asked for it.
    pub expected: bool,
}

/// The ways for a process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExitCause {
    /// It called exit(3).
    Exited,
    /// A signal ended it.
    Signaled,
    /// A signal ended it, and it left a core dump.
    Dumped,
    /// The kernel killed it for want of memory.
    OomKill,
    /// It was silent for longer than its `watchdog` allows, and we ended it.
    Watchdog,
    /// It did not become ready, or did not stop, in time, and we ended it.
    Timeout,
    /// The kernel cannot tell: a process taken over, before Linux 6.15.
    Unknown,
}

/// One process of a watcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Process {
    /// Its place in the watcher; a successor takes the same.
    pub wid: u64,
    /// Its pid.
    pub pid: u32,
    /// Where it is in its life.
    pub state: ProcessState,
    /// When it was started.
    pub started_usec: u64,
    /// When it became ready, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_usec: Option<u64>,
    /// The generation of the configuration that it was started with.
    pub generation: u64,
    /// Whether an earlier circusd process started it and this one took it over.
    pub adopted: bool,
    /// `STATUS=` of the worker, if it sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    /// Its cgroup below the root of the hierarchy, where it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

/// The stations in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProcessState {
    /// fork and exec are under way.
    Spawning,
    /// It runs and has not said that it is ready.
    Starting,
    /// It is ready.
    Running,
    /// It was told to end.
    Stopping,
}

/// Why a watcher is not simply running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reason {
    /// The kind of reason.
    pub cause: ReasonCause,
    /// The reason in one sentence, for people.
    pub text: String,
    /// Since when it is so.
    pub since_usec: u64,
    /// When circusd will try again by itself; `None`: it will not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_usec: Option<u64>,
}

/// The kinds of reason for a watcher not simply to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReasonCause {
    /// An operator stopped it.
    Operator,
    /// `autostart = false`, and nobody has started it.
    AutostartOff,
    /// It waits for the first connection to one of its sockets.
    OnDemand,
    /// A hook said no.
    HookRefused,
    /// A hook could not say.
    HookFailed,
    /// A process could not be started.
    SpawnFailed,
    /// Its processes end too often; places are held for a while.
    Flapping,
    /// So many attempts failed that there will be no other.
    GaveUp,
    /// A watcher that it needs is not ready.
    Dependency,
    /// Its configuration cannot be used.
    ConfigError,
    /// `respawn = false`, and its last process has ended.
    Finished,
}

/// A watcher and its processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Watcher {
    /// Its name.
    pub name: String,
    /// What it is doing as a whole.
    pub state: WatcherState,
    /// How many processes are wanted.
    pub numprocesses: u64,
    /// The processes there are, the ones on their way in and out among them.
    pub processes: Vec<Process>,
    /// Lower starts first and stops last.
    pub priority: i64,
    /// Whether it may never have more than one process.
    pub singleton: bool,
    /// Whether its processes are frozen.
    pub frozen: bool,
    /// Why it is not simply running, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Unexpected ends since an operator last started it.
    pub restarts: u64,
    /// The last end of one of its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
}

/// The states of a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WatcherState {
    /// No process, and none is wanted.
    Stopped,
    /// Its first processes are coming up.
    Starting,
    /// It does what it should.
    Active,
    /// Its processes are being replaced.
    Reloading,
    /// Its processes are going.
    Stopping,
    /// It will try again, later or when something else happens.
    Waiting,
    /// It has given up.
    Failed,
}

/// How far a verb has come with one watcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// The watcher.
    pub watcher: String,
    /// What is being done to it: `start`, `stop`, …
    pub action: String,
    /// How many processes are done.
    pub done: u64,
    /// How many there are to do.
    pub total: u64,
}

/// What a verb did to one watcher, in pids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// The watcher.
    pub watcher: String,
    /// The processes that are new.
    pub started: Vec<u32>,
    /// The processes that are gone.
    pub stopped: Vec<u32>,
    /// The processes that stayed.
    pub kept: Vec<u32>,
}

/// What one process below one of a watcher uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DescendantStats {
    /// Its pid.
    pub pid: u32,
    /// Its parent: the process of the watcher, or another below that.
    pub ppid: u32,
    /// How long it has lived, to a hundredth of a second.
    pub age_usec: u64,
    /// Processor time used so far, to a hundredth of a second.
    pub cpu_usec: u64,
    /// As [`ProcessStats::cpu_percent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Resident memory, in bytes.
    pub memory_rss: u64,
}

/// What one process uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessStats {
    /// Its watcher.
    pub watcher: String,
    /// Its place in the watcher.
    pub wid: u64,
    /// Its pid.
    pub pid: u32,
    /// Its state, as in [`ProcessState`].
    pub state: String,
    /// How long it has lived.
    pub age_usec: u64,
    /// Processor time used so far.
    pub cpu_usec: u64,
    /// Per cent of one CPU since the previous sample on this connection; `None` in the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Resident memory of the main process, in bytes.
    pub memory_rss: u64,
    /// Memory of the whole cgroup, in bytes; `None` without cgroup accounting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_current: Option<u64>,
    /// The most that `memory_current` has been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_peak: Option<u64>,
    /// Threads of the whole tree.
    pub tasks: u64,
    /// Open descriptors of the main process; `None` where we may not look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fds: Option<u64>,
    /// Processes below the main process.
    pub children: u64,
    /// Bytes read from storage; `None` without accounting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_read_bytes: Option<u64>,
    /// Bytes written to storage; `None` without accounting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_write_bytes: Option<u64>,
    /// Who runs below it, where that was asked for: 1000 at most.
    ///
    /// Without a cgroup, those among them that have lost their parent are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descendants: Option<Vec<DescendantStats>>,
    /// What the `extended_stats` hook added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended: Option<Object>,
}

/// What the daemon itself uses, and how much it has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SupervisorStats {
    /// The daemon's pid.
    pub pid: u32,
    /// The daemon's version.
    pub version: String,
    /// When the daemon's process was started.
    pub started_usec: u64,
    /// Processor time used so far.
    pub cpu_usec: u64,
    /// Resident memory, in bytes.
    pub memory_rss: u64,
    /// Resident memory with shared pages divided among those who share them, in bytes.
    pub memory_pss: u64,
    /// Open descriptors.
    pub fds: u64,
    /// Watchers configured.
    pub watchers: u64,
    /// Processes alive.
    pub processes: u64,
    /// Connections open.
    pub connections: u64,
    /// Connections among them that subscribe to events.
    pub subscribers: u64,
    /// Events so far.
    pub events_total: u64,
    /// Processes started so far.
    pub spawns_total: u64,
    /// Calls answered so far.
    pub requests_total: u64,
    /// The user that the daemon runs as.
    pub uid: u32,
    /// The service of the system's manager that the daemon runs as, `circusd.service`; not one of a
    /// user's manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Whether the output of workers goes to the journal where their watcher does not say where.
    pub journal: bool,
    /// The capabilities that the daemon has kept, by their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
}

/// One key of the daemon's configuration with its value and where that came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Setting {
    /// The key.
    pub name: String,
    /// The section of the file that it belongs to.
    pub section: String,
    /// The value in force, in the form of the configuration file: any JSON value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The value it has when nobody sets it: any JSON value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Who set it: `default`, `file`, `drop_in`, `environment`, `command_line` or `api`.
    pub origin: String,
    /// The file and line, or the variable, that set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What a change does to running processes.
    pub on_change: OnChange,
    /// One sentence about it.
    pub description: String,
}

/// What a change of a setting does to what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnChange {
    /// It holds at once; no process is replaced.
    Live,
    /// The watcher's processes are replaced.
    Reload,
    /// It holds when the daemon is started again.
    RestartDaemon,
}

/// A listening socket that circusd holds for its watchers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Socket {
    /// Its name in the configuration.
    pub name: String,
    /// The path, or `host:port` with the port the kernel chose.
    pub address: String,
    /// The descriptor in the daemon; -1 where only the processes have one (reuseport datagrams).
    pub fd: i32,
    /// `stream`, `dgram` or `seqpacket`.
    pub r#type: String,
    /// Whether systemd passed it.
    pub from_manager: bool,
    /// The watchers that use it.
    pub watchers: Vec<String>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Its place in the log, as in [`Cursor`](super::cursor::Cursor).
    pub cursor: String,
    /// The number in the cursor; without gaps within one instance.
    pub seq: u64,
    /// When it happened.
    pub time_usec: u64,
    /// `watcher.<name>.<action>` or `circusd.<action>`.
    pub topic: String,
    /// The watcher it is about; `None` for the daemon's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watcher: Option<String>,
    /// What happened: `spawn`, `reap`, …
    pub action: String,
    /// What else is known of it, by action.
    pub data: Object,
}

/// What a changed configuration means for one watcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConfigChange {
    /// The watcher.
    pub watcher: String,
    /// What would be, or was, done to it.
    pub change: ConfigChangeKind,
    /// The keys that differ.
    pub keys: Vec<String>,
}

/// What becomes of a watcher when the configuration changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConfigChangeKind {
    /// It is new.
    Add,
    /// It goes.
    Remove,
    /// It takes the change without replacing a process.
    Live,
    /// Its processes are replaced.
    Reload,
    /// Nothing happens to it.
    Unchanged,
}

/// Events that a subscriber cannot have any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gap {
    /// The number of the first event missed; 0 if it is not known.
    pub first: u64,
    /// The number of the last event missed.
    pub last: u64,
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Recipients {
    /// The main process alone.
    Process,
    /// Everything below the main process, without it.
    Children,
    /// The main process and everything below it.
    All,
}

/// What `Set` did to the running processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// Nothing: the new values hold at once.
    Live,
    /// They were replaced.
    Reload,
}
