//! Starts a process: one call, all that belongs to it, and either it runs the program or there is none.
//!
//! The child is made by `clone3` with `CLONE_VM | CLONE_VFORK`, so what a start costs does not grow with
//! our memory, nor (`staging.rs`) with our open files, and is born in its cgroup. Everything is prepared before (`plan.rs`), and the child
//! (`child.rs`) does nothing but system calls, because it borrows our memory until it executes.
//!
//! This never waits for the program to be ready, never restarts it and keeps no list of what it started.

mod child;
mod clone;
mod path;
mod plan;
mod staging;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;

use nix::sys::resource::Resource;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid};

use super::caps::Capabilities;
use super::cgroup::Cgroup;
use super::pidfd::Pidfd;

pub use clone::{Method, method};
pub use staging::reserve;

/// What to run, and as what.
///
/// Each `Option` left at `None` means: as the daemon has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program. Without a slash it is looked for in the `PATH` of `env`; with one that does not begin
    /// it, it is taken relative to `working_dir`.
    pub program: PathBuf,
    /// The arguments, `argv[0]` included.
    pub argv: Vec<OsString>,
    /// The whole environment; nothing of ours is added.
    pub env: Vec<(OsString, OsString)>,
    /// A variable that tells the process its own number, which nobody knows before it is there
    /// (`LISTEN_PID`, sd_listen_fds(3)).
    pub pid_variable: Option<OsString>,
    /// Where it runs. Entered as the user it runs as, so it needs that user's permission.
    pub working_dir: Option<PathBuf>,
    /// Real, effective and saved user. The supplementary groups do not follow by themselves: see `groups`.
    pub uid: Option<Uid>,
    /// Real, effective and saved group.
    pub gid: Option<Gid>,
    /// Supplementary groups, all of them. Whoever sets `uid` should set these, or the worker keeps ours.
    pub groups: Option<Vec<Gid>>,
    /// The file mode creation mask.
    pub umask: Option<Mode>,
    /// Niceness, -20 to 19.
    pub nice: Option<i32>,
    /// I/O scheduling class and level.
    pub ioprio: Option<Ioprio>,
    /// OOM killer's adjustment, -1000 to 1000; lower than ours needs `CAP_SYS_RESOURCE`.
    pub oom_score_adj: Option<i32>,
    /// Resource limits: soft, hard; `u64::MAX` is unlimited.
    pub rlimits: Vec<(Resource, u64, u64)>,
    /// Whether the worker and all it starts can never gain privileges by executing (prctl(2),
    /// `PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
    /// The bounding, inheritable and ambient set. `None` leaves all three alone.
    pub capabilities: Option<Capabilities>,
}

impl Command {
    /// `program` with itself as the only argument, an empty environment and nothing changed.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        Self {
            argv: vec![program.clone().into_os_string()],
            program,
            env: Vec::new(),
            pid_variable: None,
            working_dir: None,
            uid: None,
            gid: None,
            groups: None,
            umask: None,
            nice: None,
            ioprio: None,
            oom_score_adj: None,
            rlimits: Vec::new(),
            no_new_privileges: false,
            capabilities: None,
        }
    }
}

/// An I/O scheduling class (ioprio_set(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoClass {
    /// First in line; needs `CAP_SYS_ADMIN` or `CAP_SYS_NICE`.
    Realtime,
    /// The usual one.
    BestEffort,
    /// Only when nobody else wants the disk.
    Idle,
}

/// An I/O priority: class and, but for `Idle`, a level from 0 (first) to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ioprio {
    /// The class.
    pub class: IoClass,
    /// 0 to 7; more is refused.
    pub level: u8,
}

impl Ioprio {
    /// The number that ioprio_set(2) takes.
    pub(crate) fn bits(self) -> i32 {
        const IOPRIO_CLASS_SHIFT: i32 = 13;
        let class = match self.class {
            IoClass::Realtime => 1,
            IoClass::BestEffort => 2,
            IoClass::Idle => 3,
        };
        (class << IOPRIO_CLASS_SHIFT) | i32::from(self.level)
    }
}

/// A process that runs its program.
///
/// Whoever drops this without having waited leaves a zombie when it ends.
#[derive(Debug)]
pub struct Child {
    /// Its process id, for people and files; signals go through `pidfd`. Also the id of its session and
    /// of its process group, as it was started with setsid(2).
    pub pid: Pid,
    /// The process itself.
    pub pidfd: Pidfd,
}

/// How far a start had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// An argument, a variable or a path holds a NUL, or the descriptor map names a number twice.
    Preparing,
    /// The program has no slash and is in no directory of its `PATH`.
    FindingProgram,
    /// The process could not be made: too many of them, or no memory.
    CreatingProcess,
    /// The cgroup is gone, frozen or closed to us.
    EnteringCgroup,
    /// The signal handlers could not be set back.
    ResettingSignals,
    /// setsid(2) failed.
    StartingSession,
    /// `/proc/self/oom_score_adj` did not take the value.
    SettingOomScore,
    /// setpriority(2) failed.
    SettingNice,
    /// ioprio_set(2) failed.
    SettingIoprio,
    /// A descriptor could not be given its number.
    PassingDescriptors,
    /// close_range(2) failed.
    ClosingDescriptors,
    /// This limit was refused.
    SettingLimit(Resource),
    /// setgroups(2) failed.
    ChangingGroups,
    /// setresgid(2) failed.
    ChangingGroup,
    /// setresuid(2) failed.
    ChangingUser,
    /// A capability that we do not hold, or the bounding set is closed to us.
    SettingCapabilities,
    /// prctl(2) refused `PR_SET_NO_NEW_PRIVS`.
    SettingNoNewPrivileges,
    /// The directory is gone, or closed to the user the worker runs as.
    ChangingDirectory,
    /// execve(2) failed: no such program, not executable, or its interpreter is missing.
    Executing,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::SettingLimit(resource) => return write!(f, "setting its limit {resource:?}"),
            Self::Preparing => "preparing its arguments",
            Self::FindingProgram => "finding the program",
            Self::CreatingProcess => "creating the process",
            Self::EnteringCgroup => "entering its cgroup",
            Self::ResettingSignals => "resetting its signals",
            Self::StartingSession => "starting its session",
            Self::SettingOomScore => "setting its OOM score",
            Self::SettingNice => "setting its niceness",
            Self::SettingIoprio => "setting its I/O priority",
            Self::PassingDescriptors => "passing its descriptors",
            Self::ClosingDescriptors => "closing all other descriptors",
            Self::ChangingGroups => "changing its supplementary groups",
            Self::ChangingGroup => "changing its group",
            Self::ChangingUser => "changing its user",
            Self::SettingCapabilities => "setting its capabilities",
            Self::SettingNoNewPrivileges => "forbidding new privileges",
            Self::ChangingDirectory => "changing to its working directory",
            Self::Executing => "executing",
        };
        f.write_str(text)
    }
}

/// Why nothing was started. No process is left, not even a zombie.
#[derive(Debug, thiserror::Error)]
#[error("failed to start '{}': {stage}", program.display())]
pub struct SpawnError {
    /// As the command had it.
    pub program: PathBuf,
    /// How far it came.
    pub stage: Stage,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Starts `command` with exactly the descriptors of `fds` (ours, and the number it gets), in `cgroup`.
///
/// The numbers may overlap ours in any way. Of 0, 1 and 2, one that is not given is `/dev/null`: a program
/// without them would take its first file for its standard output. All other descriptors are closed,
/// signals are at their default with none blocked, and the process leads a session of its own.
///
/// Returns when the program runs; a start that fails has been undone by then. The calling thread waits
/// meanwhile with all signals blocked, usually well under a millisecond. A group or user that the daemon has
/// already is not set again, so an unprivileged daemon may ask for itself.
///
/// # Errors
///
/// [`SpawnError`], with the stage. A frozen cgroup is refused (`EBUSY`), because the child would freeze
/// before it executes, and we with it.
pub fn spawn(
    command: &Command,
    fds: &[(BorrowedFd<'_>, RawFd)],
    cgroup: Option<&Cgroup>,
) -> Result<Child, SpawnError> {
    spawn_by(method(), command, fds, cgroup)
}

/// As [`spawn`], by a method of the caller's choice: the doors that lesser machines use, open to tests.
fn spawn_by(
    method: Method,
    command: &Command,
    fds: &[(BorrowedFd<'_>, RawFd)],
    cgroup: Option<&Cgroup>,
) -> Result<Child, SpawnError> {
    let failed = |(stage, source)| SpawnError {
        program: command.program.clone(),
        stage,
        source,
    };
    let plan = plan::Plan::new(command, fds, cgroup, method).map_err(failed)?;
    clone::run(method, &plan, cgroup).map_err(failed)
}
