//! `[watcher.NAME]`: the settings of one pool of processes.

use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::plugins::Plugin;
use super::socket::Socket;
use super::table::section;
use super::values::{
    Backoff, Capability, Command, CredentialName, EnvMap, Flapping, Health, Hooks, Identity, Input,
    IoPriority, Mode, NumProcesses, Oom, Output, Ready, ReloadOrder, Resources, Restart, Retries,
    Rlimits, Signal, UseSockets, WatcherNames, Words,
};

section! {
    /// `[watcher.NAME]`, read and checked, with what `[defaults]` and `[env]` add to it.
    pub struct Watcher for Watcher, given cx;
    also {
        /// Its name.
        name: String,
        /// All variables of its processes; `env` holds only those of the watcher itself.
        environment: Environment,
        /// The sockets that use_sockets stands for, in the order of their descriptors.
        sockets: Vec<Socket>,
        /// What it is made from beside its options, if it is a plugin.
        plugin: Option<Plugin>,
    }
    /// Program and arguments: an array, or a string that is split as a shell would, without a
    /// shell; a program with a slash is looked up from working_dir, another in PATH.
    cmd: Command = Command::default() => "required", Reload;
    /// More arguments, as an array or a string that is split.
    args: Words = Words::default() => "none", Reload;
    /// Run cmd, which must then be a string, with /bin/sh -c; args are quoted and added to it.
    shell: bool = false, Reload;
    /// The directory the processes start in; it must exist then.
    working_dir: PathBuf = if cx.system { "/".into() } else { cx.home() }
        => "/; a user's own daemon: $HOME", Reload;
    /// The user the processes run as, by name or number.
    uid: Option<Identity> = None => "that of circusd", Reload;
    /// The group the processes run as, by name or number.
    gid: Option<Identity> = None => "that of uid, or of circusd", Reload;
    /// The supplementary groups of the processes.
    groups: Option<Vec<Identity>> = None => "those of uid, or of circusd", Reload;
    /// The file mode creation mask.
    umask: Option<Mode> = None => "inherited", Reload;
    /// The nice value: lower is scheduled more.
    nice: Option<i32> = None => "inherited", Reload, -20.0 => 19.0;
    /// The I/O priority: "idle", "best_effort:N" or "realtime:N", N from 0 (first) to 7.
    ioprio: Option<IoPriority> = None => "inherited", Reload;
    /// How readily the kernel kills the processes when memory is short.
    oom_score_adj: Option<i32> = None => "inherited", Reload, -1000.0 => 1000.0;
    /// Variables for the processes, stronger than those of the section env and of env_file.
    env: EnvMap = EnvMap::default() => "none", Reload;
    /// Pass on the whole environment of circusd, not only PATH, HOME, USER, LANG and SHELL.
    copy_env: bool = false, Reload;
    /// Pass on PYTHONPATH of circusd, also without copy_env.
    copy_path: bool = false, Reload;
    /// A file of NAME=VALUE lines, read with the configuration.
    env_file: Option<PathBuf> = None => "none", Reload;
    /// How many processes; "auto": as many as there are CPUs this service may use.
    numprocesses: NumProcesses = NumProcesses::Count(1), Live;
    /// Never more than one process.
    singleton: bool = false, Live;
    /// Lower starts first and stops last; equal ones in the order written.
    priority: i32 = 0, Live;
    /// Watchers that must be ready before this one starts, whatever the priorities; it does not
    /// matter what becomes of them later. One that has done its work (respawn = false, and the last
    /// process has ended with success) counts as ready.
    after: WatcherNames = WatcherNames::default(), Live;
    /// As after; and a start of this watcher starts them too, and before one of them is stopped or
    /// restarted, this one stops. It starts again by itself when they are ready again. A process
    /// of theirs that crashes, or their giving up, leaves it alone.
    requires: WatcherNames = WatcherNames::default(), Live;
    /// Start with the daemon.
    autostart: bool = true, Live;
    /// With autostart: start at the first connection to one of its sockets, which is then served,
    /// instead of with the daemon.
    on_demand: bool = false, Reload;
    /// The pause between two of its processes when they are started.
    warmup_delay: Duration = Duration::ZERO, Live, 0.0 => 86400.0;
    /// The time from the stop signal to SIGKILL for the whole tree; 0: SIGKILL at once.
    graceful_timeout: Duration = Duration::from_secs(30), Live, 0.0 => 86400.0;
    /// The signal that asks a process to end.
    stop_signal: Signal = Signal::TERM, Live;
    /// Send the stop signal to the whole tree, not only to the main process.
    stop_children: bool = false, Live;
    /// Reload by sending SIGHUP to the processes instead of replacing them.
    send_hup: bool = false, Live;
    /// In which order a reload replaces the processes.
    reload: ReloadOrder = ReloadOrder::NewFirst, Live;
    /// Start again what has ended; false: when the last has ended, the watcher is stopped.
    respawn: bool = true, Live;
    /// After which ends a process is started again.
    restart: Restart = Restart::Always, Live;
    /// The exit codes that are no failure to restart = "on_failure".
    success_exit_status: Vec<u8> = vec![0], Live;
    /// Failed spawns in a row before the watcher is given up; -1: never.
    max_retry: Retries = Retries::Times(5), Live;
    /// When a place in the pool counts as flapping: attempts ends within window, and it is held
    /// for retry_in; after max_retry such rounds it is given up; false: never.
    flapping: Option<Flapping> = Some(Flapping::default()), Live;
    /// The growing pause before a respawn; false: always at once.
    backoff: Option<Backoff> = Some(Backoff::default()), Live;
    /// Replace a process that is older, new one first; 0: never.
    max_age: Duration = Duration::ZERO, Live;
    /// The most that is added at random to max_age, drawn once for each process.
    max_age_variance: Duration = Duration::from_secs(30), Live;
    /// When a process counts as ready; "spawn": as soon as its program runs; "notify": when it says
    /// READY=1 on NOTIFY_SOCKET; "fd": when it writes a line to the descriptor NOTIFY_FD; a table:
    /// when this probe says yes. See READINESS.
    ready: Ready = Ready::Spawn, Reload;
    /// A process that is not ready so long after its start has failed to start, and is ended.
    start_timeout: Duration = Duration::from_secs(90), Live, 0.001 => 86400.0;
    /// A process that is ready must say WATCHDOG=1 on NOTIFY_SOCKET this often, or is replaced; 0: it
    /// need not. One that runs is held to what it was told when it started, or to this if it is
    /// longer.
    watchdog: Duration = Duration::ZERO, Live, 0.0 => 86400.0;
    /// What a process that is ready is asked again and again; one that fails too often is replaced.
    health: Option<Health> = None => "none", Live;
    /// Replace a process that has said CIRCUS_REQUESTS=n on NOTIFY_SOCKET with at least this number,
    /// new one first; 0: never.
    max_requests: u32 = 0, Live;
    /// Passed on as CIRCUS_THREAD_WORKERS: how many threads a process is to work with.
    thread_workers: Option<u32> = None => "not passed on", Reload, 1.0 => 65536.0;
    /// Inherit sockets of circusd, as sd_listen_fds(3) has it: true for all of them, or the names
    /// of some.
    use_sockets: UseSockets = UseSockets::None, Reload;
    /// Where standard input comes from: "null", "inherit" or { file = ... }.
    stdin: Input = Input::Null, Reload;
    /// Where standard output goes: "journal", "null", "inherit", a file or a program that reads
    /// it, as STREAMS below tells.
    stdout: Option<Output> = None => "journal if circusd is connected to it, else inherit", Reload;
    /// Where standard error goes: as stdout, or "stdout" for the same place.
    stderr: Option<Output> = None => "journal if circusd is connected to it, else inherit", Reload;
    /// Resource limits, soft and hard alike, such as { nofile = 65536, core = "unlimited" }.
    rlimits: Rlimits = Rlimits::default() => "inherited", Reload;
    /// Never gain privileges by executing a program.
    no_new_privileges: bool = true, Reload;
    /// The capabilities that the processes have (capabilities(7)); no other, even if they are root's.
    /// circusd itself keeps at start only what it needs and what a watcher names (circusctl dstats):
    /// one that is named later is to be had when circusd has been restarted.
    capabilities: Vec<Capability> = Vec::new() => "none", Reload;
    /// Credentials of circusd (LoadCredential= and the like of its unit, systemd.exec(5)), by name or
    /// pattern, that each process finds in a directory of its own, $CREDENTIALS_DIRECTORY, for its user
    /// alone to read. A name that circusd does not have is an error at the start.
    credentials: Vec<CredentialName> = Vec::new() => "none", Reload;
    /// What the processes may use of memory, CPU, disks and tasks, all together and each, as the
    /// section LIMITS tells: a table with any of the keys below, best written as the sections
    /// [watcher.NAME.resources] and [watcher.NAME.resources.each].
    resources: Resources = Resources::default() => "no limits", Live;
    /// What the kernel kills for want of memory: "process", the one it chooses, or "group", with it
    /// everything that belongs to the same process of the watcher; this needs the memory controller.
    oom: Oom = Oom::Process, Live;
    /// When the watcher has given up, circusd stops everything and exits with 70.
    critical: bool = false, Live;
    /// Programs and probes that are asked at turning points, as circusd-hooks(7) tells: a table
    /// with any of before_start, after_start, before_spawn, after_spawn, before_stop, after_stop,
    /// before_signal, after_signal, before_reap, after_reap and extended_stats. Each is a table as
    /// below, an array of such tables, or a command, which is short for { exec = COMMAND }.
    hooks: Hooks = Hooks::default() => "none", Live;
    later {
    }
}
