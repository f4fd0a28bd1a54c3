//! From a configured watcher to what the kernel is asked to start.

use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use nix::sys::resource::Resource;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

use super::orders::Standing;
use super::powers;
use super::resources::Unlimited;
use crate::config::plugins;
use crate::config::{self, Expanded, Identity, Watcher};
use crate::core::SpawnFailure;
use crate::sys::spawn::{Command, IoClass, Ioprio, SpawnError, Stage};
use crate::sys::{caps, users};

/// What systemd tells circusd and means for nobody else; see sd_notify(3), sd_listen_fds(3) and
/// sd_watchdog_enabled(3). A worker that copies our environment must not speak in our name.
pub(super) const OURS_ALONE: [&str; 6] = [
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Where credentials are, as systemd.exec(5) has it: what all of ours are is no worker's to know.
pub(super) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// What a process is told of the worker that it is, or that it is about.
const OF_A_WORKER: [&str; 5] = [
    "CIRCUS_PID",
    "CIRCUS_SIGNUM",
    "CIRCUS_WATCHER",
    "CIRCUS_WID",
    "CIRCUS_WORKER",
];

/// What workers are told of the daemon, and what they inherit from how it was started.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) instance: String,
    /// None where nobody answers on one.
    pub(super) socket: Option<String>,
    /// The limit on descriptors that circusd was started with, before it raised its own.
    pub(super) descriptors: (Resource, u64, u64),
    /// The out-of-memory score adjustment that workers start with unless told otherwise.
    pub(super) oom_score_adj: Option<i32>,
    /// The capabilities that we hold.
    pub(super) held: caps::Held,
    /// Whose process we are in.
    pub(super) standing: Standing,
    /// The program with the built-in plugins, if it lies beside circusd.
    pub(super) plugins: Option<PathBuf>,
}

/// The program with the built-in plugins beside that of circusd: the one of the same version, also
/// where nothing was installed.
pub(super) fn plugins_beside_us() -> Option<PathBuf> {
    let us = std::env::current_exe().ok()?;
    let program = us.parent()?.join(plugins::PROGRAM);
    program.is_file().then_some(program)
}

impl Surroundings {
    /// What a hook is told of the daemon.
    pub(super) fn context(&self) -> serde_json::Value {
        serde_json::json!({
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "instance": self.instance,
            "socket": self.socket,
        })
    }
}

/// Who a worker runs as, by number; `None` is who circusd is.
#[derive(Debug)]
pub(super) struct Credentials {
    user: Option<users::User>,
    gid: Option<Gid>,
    groups: Option<Vec<Gid>>,
}

impl Credentials {
    /// Looks them up, which may take as long as the machine's databases do.
    ///
    /// # Errors
    ///
    /// A user or group that does not exist, or a database that does not answer.
    pub(super) fn look_up(recipe: &Watcher) -> Result<Credentials, SpawnFailure> {
        let user = identify_user(recipe.uid.as_ref())?;
        let gid = match &recipe.gid {
            Some(identity) => Some(identify_group(identity)?),
            None => user.as_ref().and_then(|user| user.gid),
        };
        let groups = match (&recipe.groups, &user, gid) {
            (Some(list), ..) => Some(list.iter().map(identify_group).collect::<Result<_, _>>()?),
            (None, Some(user), Some(gid)) => Some(supplementary(user, gid)?),
            _ => None,
        };
        Ok(Credentials { user, gid, groups })
    }

    /// The user, if it was said who that is.
    pub(super) fn uid(&self) -> Option<Uid> {
        self.user.as_ref().map(|user| user.uid)
    }
}

/// What the process at this place is started with.
///
/// # Errors
///
/// It has no program.
pub(super) fn command(
    recipe: &Watcher,
    credentials: &Credentials,
    expanded: Expanded,
    wid: u32,
    mark: (String, String),
    surroundings: &Surroundings,
) -> Result<Command, SpawnFailure> {
    let mut env = expanded.env;
    env.retain(|name, _| {
        let ours = OURS_ALONE.contains(&name.as_str()) || name == CREDENTIALS;
        !ours || recipe.environment.is_configured(name)
    });
    if let Some(user) = &credentials.user {
        take_home(&mut env, user, recipe);
    }
    env.extend([
        ("CIRCUS_WATCHER".into(), recipe.name.clone()),
        ("CIRCUS_WID".into(), wid.to_string()),
        ("CIRCUS_INSTANCE".into(), surroundings.instance.clone()),
        mark,
    ]);
    match &surroundings.socket {
        Some(socket) => env.insert("CIRCUS_SOCKET".into(), socket.clone()),
        // That of another circusd, which runs our program, would be misleading.
        None => env.remove("CIRCUS_SOCKET"),
    };
    let threads = recipe.thread_workers.map(|threads| threads.to_string());
    env.extend(threads.map(|threads| ("CIRCUS_THREAD_WORKERS".into(), threads)));
    let argv: Vec<OsString> = expanded.argv.into_iter().map(OsString::from).collect();
    let Some(program) = argv.first() else {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(failure("preparing its arguments", &error));
    };
    let is_built_in = (recipe.plugin.as_ref()).is_some_and(|plugin| plugin.built_in.is_some());
    let beside_us = surroundings.plugins.as_ref().filter(|_| is_built_in);
    Ok(Command {
        program: beside_us.map_or_else(|| program.into(), Clone::clone),
        env: env
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        pid_variables: Vec::new(),
        working_dir: Some(recipe.working_dir.clone()),
        uid: credentials.user.as_ref().map(|user| user.uid),
        gid: credentials.gid,
        groups: credentials.groups.clone(),
        umask: recipe.umask.map(|mode| Mode::from_bits_truncate(mode.0)),
        nice: recipe.nice,
        ioprio: recipe.ioprio.as_ref().map(ioprio),
        oom_score_adj: recipe.oom_score_adj.or(surroundings.oom_score_adj),
        rlimits: rlimits(recipe, surroundings),
        no_new_privileges: recipe.no_new_privileges,
        capabilities: capabilities(recipe, surroundings)?,
        argv,
    })
}

/// What a program is started with that runs as circusd itself does.
pub(super) fn own_command(
    argv: &[String],
    mark: (String, String),
    surroundings: &Surroundings,
) -> Command {
    let mut command = Command::new(argv.first().map_or("", String::as_str));
    // Whoever runs circusd as a worker of another has told it of itself, not of what it starts.
    let is_inherited = |(name, _): &(OsString, OsString)| {
        let mut left_out = OURS_ALONE.iter().chain(&OF_A_WORKER);
        !left_out.any(|word| name == word)
    };
    command.env = std::env::vars_os().filter(is_inherited).collect();
    let socket = ("CIRCUS_SOCKET".to_owned(), surroundings.socket.clone());
    let told = [
        (
            "CIRCUS_INSTANCE".into(),
            Some(surroundings.instance.clone()),
        ),
        socket,
        (mark.0, Some(mark.1)),
    ];
    command
        .env
        .retain(|(name, _)| !told.iter().any(|(own, _)| name.as_os_str() == own.as_str()));
    let told = told.into_iter();
    let told = told.filter_map(|(name, value)| Some((name.into(), value?.into())));
    command.env.extend(told);
    command.argv = argv.iter().map(OsString::from).collect();
    command.oom_score_adj = surroundings.oom_score_adj;
    command.rlimits = vec![surroundings.descriptors];
    command
}

/// Tells of the sockets that the process inherits, as sd_listen_fds(3) reads it.
pub(super) fn name_sockets(command: &mut Command, recipe: &Watcher) {
    if recipe.sockets.is_empty() {
        return;
    }
    let names: Vec<&str> = recipe.sockets.iter().map(|s| s.name.as_str()).collect();
    tell(command, "LISTEN_FDS", names.len().to_string());
    tell(command, "LISTEN_FDNAMES", names.join(":"));
    tell_pid(command, "LISTEN_PID");
}

/// Tells of what the process has been given to speak of itself: the path of a socket, as
/// sd_notify(3) and sd_watchdog_enabled(3) read it, and the number of a descriptor, as programs of s6
/// are told.
pub(super) fn name_ends(
    command: &mut Command,
    recipe: &Watcher,
    socket: Option<&Path>,
    line: Option<RawFd>,
) {
    if let Some(path) = socket {
        tell(command, "NOTIFY_SOCKET", path);
    }
    if !recipe.watchdog.is_zero() {
        let micros = recipe.watchdog.as_micros();
        tell(command, "WATCHDOG_USEC", micros.to_string());
        tell_pid(command, "WATCHDOG_PID");
    }
    if let Some(number) = line {
        tell(command, "NOTIFY_FD", number.to_string());
    }
}

/// Tells of the directory with the process's credentials.
pub(super) fn name_credentials(command: &mut Command, directory: Option<&Path>) {
    if let Some(directory) = directory {
        tell(command, CREDENTIALS, directory);
    }
}

/// Sets a variable, whatever else has set it.
fn tell(command: &mut Command, name: &str, value: impl Into<OsString>) {
    command.env.retain(|(known, _)| known != name);
    command.env.push((name.into(), value.into()));
}

/// The same with the number of the process itself.
fn tell_pid(command: &mut Command, name: &str) {
    command.env.retain(|(known, _)| known != name);
    command.pid_variables.push(name.into());
}

fn identify_user(identity: Option<&Identity>) -> Result<Option<users::User>, SpawnFailure> {
    let found = match identity {
        None => return Ok(None),
        Some(Identity::Name(name)) => users::user(name),
        Some(Identity::Id(uid)) => users::by_uid(Uid::from_raw(*uid)),
    };
    found
        .map(Some)
        .map_err(|error| lookup_failure("looking up its user", &error))
}

fn identify_group(identity: &Identity) -> Result<Gid, SpawnFailure> {
    match identity {
        Identity::Id(gid) => Ok(Gid::from_raw(*gid)),
        Identity::Name(name) => {
            users::group(name).map_err(|error| lookup_failure("looking up its group", &error))
        }
    }
}

fn supplementary(user: &users::User, gid: Gid) -> Result<Vec<Gid>, SpawnFailure> {
    user.groups(gid)
        .map_err(|error| lookup_failure("looking up its groups", &error))
}

/// A worker that runs as somebody else is at home there, unless the configuration says otherwise.
fn take_home(
    env: &mut std::collections::BTreeMap<String, String>,
    user: &users::User,
    recipe: &Watcher,
) {
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref()
            .map(|path| path.to_string_lossy().into_owned())
    };
    let theirs = [
        ("HOME", path(&user.home)),
        ("SHELL", path(&user.shell)),
        ("USER", Some(user.name.clone())),
    ];
    for (name, value) in theirs {
        if let Some(value) = value
            && !recipe.environment.is_configured(name)
        {
            env.insert(name.into(), value);
        }
    }
}

fn rlimits(recipe: &Watcher, surroundings: &Surroundings) -> Vec<(Resource, u64, u64)> {
    let mut limits: Vec<(Resource, u64, u64)> = recipe
        .rlimits
        .0
        .iter()
        .map(|(resource, value)| {
            let value = value.unwrap_or(nix::libc::RLIM_INFINITY);
            (kernel_resource(*resource), value, value)
        })
        .collect();
    if limits
        .iter()
        .all(|(resource, ..)| *resource != Resource::RLIMIT_NOFILE)
    {
        limits.push(surroundings.descriptors);
    }
    limits
}

fn kernel_resource(resource: config::Resource) -> Resource {
    match resource {
        config::Resource::As => Resource::RLIMIT_AS,
        config::Resource::Core => Resource::RLIMIT_CORE,
        config::Resource::Cpu => Resource::RLIMIT_CPU,
        config::Resource::Data => Resource::RLIMIT_DATA,
        config::Resource::Fsize => Resource::RLIMIT_FSIZE,
        config::Resource::Memlock => Resource::RLIMIT_MEMLOCK,
        config::Resource::Msgqueue => Resource::RLIMIT_MSGQUEUE,
        config::Resource::Nice => Resource::RLIMIT_NICE,
        config::Resource::Nofile => Resource::RLIMIT_NOFILE,
        config::Resource::Nproc => Resource::RLIMIT_NPROC,
        config::Resource::Rtprio => Resource::RLIMIT_RTPRIO,
        config::Resource::Rttime => Resource::RLIMIT_RTTIME,
        config::Resource::Sigpending => Resource::RLIMIT_SIGPENDING,
        config::Resource::Stack => Resource::RLIMIT_STACK,
    }
}

/// Root's workers lose all capabilities but those that are named. Without root there is nothing
/// to lose.
fn capabilities(
    recipe: &Watcher,
    surroundings: &Surroundings,
) -> Result<Option<caps::Capabilities>, SpawnFailure> {
    let named: caps::Capabilities = recipe.capabilities.iter().map(|named| named.0).collect();
    let held = &surroundings.held;
    powers::check(named, held).map_err(|lacking| {
        let stage = Stage::SettingCapabilities.to_string();
        SpawnFailure {
            error: format!("failed to start: {stage}: {lacking}"),
            errno: nix::libc::EPERM,
            stage,
        }
    })?;
    Ok((!held.permitted.is_empty()).then_some(named))
}

fn ioprio(priority: &config::IoPriority) -> Ioprio {
    let class = match priority.class {
        config::IoClass::Idle => IoClass::Idle,
        config::IoClass::BestEffort => IoClass::BestEffort,
        config::IoClass::Realtime => IoClass::Realtime,
    };
    Ioprio {
        class,
        level: priority.level,
    }
}

/// A failure before the kernel was asked for a process.
pub(super) fn failure(stage: &str, error: &io::Error) -> SpawnFailure {
    SpawnFailure {
        stage: stage.to_owned(),
        errno: error.raw_os_error().unwrap_or(0),
        error: format!("failed to start: {stage}: {error}"),
    }
}

/// The same, with the file that it is about.
pub(super) fn failure_at(stage: &str, file: Option<&Path>, error: &io::Error) -> SpawnFailure {
    let mut failure = failure(stage, error);
    if let Some(file) = file {
        failure.error = format!("failed to start: {stage} '{}': {error}", file.display());
    }
    failure
}

/// It asks for a limit that cannot be had.
pub(super) fn unlimited(unlimited: &Unlimited) -> SpawnFailure {
    SpawnFailure {
        stage: unlimited.stage().to_owned(),
        errno: unlimited.errno(),
        error: format!("failed to start: {unlimited}"),
    }
}

/// The kernel refused to start it.
pub(super) fn refused(error: &SpawnError, working_dir: &Path) -> SpawnFailure {
    let mut failure = failure(&error.stage.to_string(), &error.source);
    // Every other place is the program itself, which the error names.
    failure.error = match error.stage {
        Stage::ChangingDirectory => {
            let directory = working_dir.display();
            format!("{error} '{directory}': {}", error.source)
        }
        _ => format!("{error}: {}", error.source),
    };
    failure
}

fn lookup_failure(stage: &str, error: &users::LookupError) -> SpawnFailure {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let cause = cause.unwrap_or_default();
    SpawnFailure {
        stage: stage.to_owned(),
        errno: 0,
        error: format!("failed to start: {stage}: {error}{cause}"),
    }
}
