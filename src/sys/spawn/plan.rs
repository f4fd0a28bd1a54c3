//! All that the child needs, made before there is one: it may neither allocate nor fail on a conversion.
//!
//! A plan holds no opinion on order; that is the child's (`child.rs`).

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::sys::resource::Resource;
use nix::unistd::{Gid, getgroups, getresgid, getresuid};

use super::staging::Staged;
use super::{Command, Ioprio, Method, Stage, path};
use crate::sys::cgroup::Cgroup;

/// What the child tells us before it ends: it writes here, in our memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) stage: Stage,
    pub(super) errno: i32,
}

/// The prepared start.
pub(super) struct Plan {
    pub(super) program: CString,
    pub(super) argv: Strings,
    pub(super) env: Strings,
    /// The last of `env`, which the child completes.
    pub(super) pid_variables: Vec<PidVariable>,
    pub(super) working_dir: Option<CString>,
    pub(super) groups: Option<Vec<libc::gid_t>>,
    pub(super) gid: Option<libc::gid_t>,
    pub(super) uid: Option<libc::uid_t>,
    pub(super) umask: Option<libc::mode_t>,
    pub(super) nice: Option<i32>,
    pub(super) ioprio: Option<i32>,
    pub(super) oom_score_adj: Option<CString>,
    pub(super) rlimits: Vec<(Resource, libc::rlimit64)>,
    pub(super) no_new_privileges: bool,
    pub(super) capabilities: Option<u64>,
    pub(super) descriptors: Descriptors,
    /// `cgroup.procs`, where the child moves itself.
    pub(super) cgroup_procs: Option<OwnedFd>,
    pub(super) failure: UnsafeCell<Option<Failure>>,
}

impl Plan {
    pub(super) fn new(
        command: &Command,
        fds: &[(BorrowedFd<'_>, RawFd)],
        cgroup: Option<&Cgroup>,
        method: Method,
    ) -> Result<Self, (Stage, io::Error)> {
        let preparing = |error| (Stage::Preparing, error);
        let cgroup_procs = match cgroup {
            Some(cgroup) => enter(cgroup, method).map_err(|e| (Stage::EnteringCgroup, e))?,
            None => None,
        };
        let program = path::find(
            &command.program,
            &command.env,
            command.working_dir.as_deref(),
        )
        .map_err(|error| (Stage::FindingProgram, error))?;
        let mut env = Strings::new(command.env.iter().map(variable)).map_err(preparing)?;
        let pid_variables = command.pid_variables.iter();
        let pid_variables = pid_variables.map(|name| PidVariable::new(name));
        let pid_variables = pid_variables.collect::<io::Result<Vec<_>>>();
        let pid_variables = pid_variables.map_err(preparing)?;
        env.extend(pid_variables.iter().map(PidVariable::as_ptr));
        Ok(Self {
            program: c_string(program.as_os_str()).map_err(preparing)?,
            argv: Strings::new(command.argv.iter().map(|a| c_string(a))).map_err(preparing)?,
            env,
            pid_variables,
            working_dir: command
                .working_dir
                .as_ref()
                .map(|dir| c_string(dir.as_os_str()))
                .transpose()
                .map_err(preparing)?,
            groups: groups_to_set(command).map_err(|e| (Stage::ChangingGroups, e))?,
            gid: gid_to_set(command).map_err(|e| (Stage::ChangingGroup, e))?,
            uid: uid_to_set(command).map_err(|e| (Stage::ChangingUser, e))?,
            umask: command.umask.map(|mask| mask.bits()),
            nice: command.nice,
            ioprio: command
                .ioprio
                .map(ioprio_to_set)
                .transpose()
                .map_err(|e| (Stage::SettingIoprio, e))?,
            oom_score_adj: command
                .oom_score_adj
                .map(|score| CString::new(score.to_string()).expect("digits hold no NUL")),
            rlimits: command.rlimits.iter().map(limit).collect(),
            no_new_privileges: command.no_new_privileges,
            capabilities: command.capabilities.map(|set| set.bits()),
            descriptors: Descriptors::new(fds)?,
            cgroup_procs,
            failure: UnsafeCell::new(None),
        })
    }

    /// Whether the child takes on other credentials than ours.
    pub(super) fn changes_credentials(&self) -> bool {
        self.uid.is_some() || self.gid.is_some()
    }
}

/// Makes sure that a child may be born there; gives the file it must write itself into, if it must.
fn enter(cgroup: &Cgroup, method: Method) -> io::Result<Option<OwnedFd>> {
    if cgroup.state()?.frozen {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    match method {
        Method::Clone3IntoCgroup => Ok(None),
        Method::Clone3 | Method::Clone => cgroup.open_procs().map(Some),
    }
}

fn limit(&(resource, soft, hard): &(Resource, u64, u64)) -> (Resource, libc::rlimit64) {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    (resource, limit)
}

/// The kernel takes a higher level for something else ("hints"), without a word.
fn ioprio_to_set(ioprio: Ioprio) -> io::Result<i32> {
    if ioprio.level > 7 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    Ok(ioprio.bits())
}

// setgroups(2) needs a capability even to set what is set already, so we do not ask for that. The user
// and the group are left out for the same reason only when all three ids are alike: a saved id that
// differs would let the worker change back.

fn groups_to_set(command: &Command) -> io::Result<Option<Vec<libc::gid_t>>> {
    let Some(wanted) = &command.groups else {
        return Ok(None);
    };
    let sorted = |groups: &[Gid]| {
        let mut ids: Vec<libc::gid_t> = groups.iter().map(|gid| gid.as_raw()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let wanted = sorted(wanted);
    Ok((wanted != sorted(&getgroups()?)).then_some(wanted))
}

fn gid_to_set(command: &Command) -> io::Result<Option<libc::gid_t>> {
    let Some(gid) = command.gid else {
        return Ok(None);
    };
    let ours = getresgid()?;
    let same = [ours.real, ours.effective, ours.saved] == [gid; 3];
    Ok((!same).then(|| gid.as_raw()))
}

fn uid_to_set(command: &Command) -> io::Result<Option<libc::uid_t>> {
    let Some(uid) = command.uid else {
        return Ok(None);
    };
    let ours = getresuid()?;
    let same = [ours.real, ours.effective, ours.saved] == [uid; 3];
    Ok((!same).then(|| uid.as_raw()))
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

fn variable((name, value): &(OsString, OsString)) -> io::Result<CString> {
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut line = name.clone();
    line.push("=");
    line.push(value);
    c_string(&line)
}

/// A list as execve(2) takes it, with the memory behind it.
pub(super) struct Strings {
    pointers: Vec<*const c_char>,
    _owner: Vec<CString>,
}

impl Strings {
    fn new(strings: impl Iterator<Item = io::Result<CString>>) -> io::Result<Self> {
        let owner = strings.collect::<io::Result<Vec<_>>>()?;
        let mut pointers: Vec<*const c_char> = owner.iter().map(|string| string.as_ptr()).collect();
        pointers.push(ptr::null());
        Ok(Self {
            pointers,
            _owner: owner,
        })
    }

    /// Adds strings whose memory somebody else keeps, for as long as this is used.
    fn extend(&mut self, strings: impl Iterator<Item = *const c_char>) {
        let end = self.pointers.pop();
        self.pointers.extend(strings.chain(end));
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// `NAME=`, and room for the number of the process, which is filled in when it is there.
pub(super) struct PidVariable {
    line: Box<[Cell<u8>]>,
    /// Where the digits begin.
    start: usize,
}

/// A pid has at most seven digits (`PID_MAX_LIMIT` is 2^22); an int has ten.
const PID_DIGITS: usize = 10;

impl PidVariable {
    fn new(name: &OsStr) -> io::Result<Self> {
        let before = variable(&(name.to_owned(), OsString::new()))?;
        let before = before.as_bytes();
        // One more, so that the string ends however long the number is.
        let room = [0; PID_DIGITS + 1];
        Ok(Self {
            line: before.iter().chain(&room).copied().map(Cell::new).collect(),
            start: before.len(),
        })
    }

    fn as_ptr(&self) -> *const c_char {
        self.line.as_ptr().cast()
    }

    /// Fills in the number. For the child: nothing in here allocates or panics.
    pub(super) fn fill(&self, pid: libc::c_long) {
        let mut divisor = 1;
        while pid / divisor >= 10 {
            divisor *= 10;
        }
        for cell in self.line.iter().skip(self.start).take(PID_DIGITS) {
            if divisor == 0 {
                return;
            }
            // A digit fits a byte.
            cell.set(b'0' + (pid / divisor % 10) as u8);
            divisor /= 10;
        }
    }
}

/// One descriptor on its way to its number in the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: RawFd,
    pub(super) to: RawFd,
    /// The child makes a copy above all numbers in use first, and keeps its number here.
    pub(super) copy_first: bool,
}

/// The descriptor map in the form in which it can be carried out without thinking.
pub(super) struct Descriptors {
    /// In order of `to`. The child writes to its copies' numbers, hence the cell.
    pub(super) moves: UnsafeCell<Vec<Move>>,
    /// The first number that is nobody's target.
    pub(super) above: RawFd,
    /// First and last of each range to close, none of which holds a target.
    pub(super) closed: Vec<(libc::c_uint, libc::c_uint)>,
    /// The last number of our table that the child has a use for; `None` when it needs all of them.
    pub(super) last_shared: Option<RawFd>,
    _null: Option<OwnedFd>,
    _staged: Option<Staged>,
}

impl Descriptors {
    fn new(fds: &[(BorrowedFd<'_>, RawFd)]) -> Result<Self, (Stage, io::Error)> {
        let mut wanted: Vec<(RawFd, RawFd)> = fds
            .iter()
            .map(|(from, to)| (from.as_raw_fd(), *to))
            .collect();
        let null = fill_standard(&mut wanted).map_err(|e| (Stage::PassingDescriptors, e))?;
        wanted.sort_unstable_by_key(|&(_, to)| to);
        let targets: Vec<RawFd> = wanted.iter().map(|&(_, to)| to).collect();
        let twice = targets.windows(2).any(|pair| pair[0] == pair[1]);
        if twice || targets.iter().any(|&to| !(0..RawFd::MAX).contains(&to)) {
            return Err((Stage::Preparing, io::Error::from_raw_os_error(libc::EINVAL)));
        }
        // From here on the numbers are those the child will see.
        let staged = Staged::put(&mut wanted);
        let above = targets.last().map_or(0, |last| last + 1);
        Ok(Self {
            moves: UnsafeCell::new(moves(&wanted, &targets)),
            above,
            closed: gaps(&targets),
            last_shared: staged.as_ref().map(Staged::last),
            _null: null,
            _staged: staged,
        })
    }
}

/// Gives 0, 1 and 2 the null device where the caller gave nothing.
fn fill_standard(wanted: &mut Vec<(RawFd, RawFd)>) -> io::Result<Option<OwnedFd>> {
    let missing: Vec<RawFd> = (0..3)
        .filter(|n| wanted.iter().all(|(_, to)| to != n))
        .collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    wanted.extend(missing.iter().map(|&to| (null.as_raw_fd(), to)));
    Ok(Some(null.into()))
}

fn moves(wanted: &[(RawFd, RawFd)], targets: &[RawFd]) -> Vec<Move> {
    wanted
        .iter()
        .map(|&(from, to)| Move {
            from,
            to,
            // A source that is somebody else's target would be overwritten before its turn.
            copy_first: from != to && targets.binary_search(&from).is_ok(),
        })
        .collect()
}

/// The ranges between and above `targets`, which are sorted and without duplicates.
fn gaps(targets: &[RawFd]) -> Vec<(libc::c_uint, libc::c_uint)> {
    let mut gaps = Vec::new();
    let mut next: libc::c_uint = 0;
    for &target in targets {
        let target = libc::c_uint::try_from(target).expect("negative targets were refused");
        if target > next {
            gaps.push((next, target - 1));
        }
        next = target + 1;
    }
    gaps.push((next, libc::c_uint::MAX));
    gaps
}
