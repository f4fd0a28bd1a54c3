//! Control groups, version 2: where a worker and all it starts are held together.
//!
//! A [`Cgroup`] is a directory held open, so that a group removed and made anew under the same name is not
//! mistaken for the one that was meant. Limits and controllers are in `control`, what comes of a want of memory in
//! `memory`; nothing in here has any idea of which group belongs to whom. Source: cgroups(7) and the kernel's
//! `admin-guide/cgroup-v2.rst`.

mod control;
mod memory;
mod place;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::Pid;

pub use control::{Controller, CpuMax, Limit, LimitError, Limits};
pub use memory::{MemoryEvents, Wants};
pub use place::{NotDelegated, delegated, mount, of, own};

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// What `cgroup.events` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether a living process is in the group or below it. A zombie does not count.
    pub populated: bool,
    /// Whether all of it stands still.
    pub frozen: bool,
}

/// How a removal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone, or was gone already.
    Done,
    /// Something still lives in it, so it stays: to be tried again at the next change of
    /// [`Cgroup::events_fd`]. Groups below it that were empty are gone.
    Busy,
}

/// One control group.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    dir: OwnedFd,
}

impl Cgroup {
    /// Opens the group at `path`.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `EACCES`; `ENOTDIR` also if `path` is a symbolic link.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let dir = nix::fcntl::open(&path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
        Ok(Self { path, dir })
    }

    /// Makes the group `name` below `parent`, or opens it if it is there already.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `name` is not the name of a single directory; `EACCES`; `EAGAIN` past `cgroup.max.depth`
    /// or `cgroup.max.descendants`.
    pub fn create(parent: &Self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = name.as_ref();
        if matches!(name.as_bytes(), b"" | b"." | b"..") || name.as_bytes().contains(&b'/') {
            return Err(Errno::EINVAL.into());
        }
        match mkdirat(&parent.dir, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        parent.child(name)
    }

    fn child(&self, name: &OsStr) -> io::Result<Self> {
        let dir = openat(
            &self.dir,
            name,
            DIRECTORY | OFlag::O_NOFOLLOW,
            Mode::empty(),
        )?;
        let path = self.path.join(name);
        Ok(Self { path, dir })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kills everything in it and below, whatever it does meanwhile.
    ///
    /// Returns when all have been told; they are gone when [`State::populated`] turns false.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the group has been removed; `ENOENT` if this is the root group.
    pub fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Asks for everything in it and below to stand still.
    ///
    /// It does when [`State::frozen`] turns true, of which [`Self::events_fd`] tells. A frozen process can
    /// still be killed.
    ///
    /// # Errors
    ///
    /// As for [`Self::kill`].
    pub fn freeze(&self) -> io::Result<()> {
        self.write("cgroup.freeze", "1")
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// As for [`Self::kill`].
    pub fn thaw(&self) -> io::Result<()> {
        self.write("cgroup.freeze", "0")
    }

    /// What `cgroup.events` says now.
    ///
    /// The root group has no such file; it is populated and never frozen.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the group has been removed.
    pub fn state(&self) -> io::Result<State> {
        match self.events_fd().and_then(|events| events.state()) {
            Ok(state) => Ok(state),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.has("cgroup.procs") => {
                Ok(State {
                    populated: true,
                    frozen: false,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Errno::ENODEV.into()),
            Err(error) => Err(error),
        }
    }

    /// Whether a living process is in it or below it.
    ///
    /// # Errors
    ///
    /// As for [`Self::state`].
    pub fn is_populated(&self) -> io::Result<bool> {
        Ok(self.state()?.populated)
    }

    /// Opens `cgroup.events` for waiting: it signals priority (`EPOLLPRI`, [`super::epoll::Interest::Priority`])
    /// at each change of the state since it was last read through [`Events::state`].
    ///
    /// # Errors
    ///
    /// `ENOENT` for the root group; `ENODEV` if the group has been removed; `EMFILE`.
    pub fn events_fd(&self) -> io::Result<Events> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let fd = openat(&self.dir, "cgroup.events", flags, Mode::empty())?;
        Ok(Events(File::from(fd)))
    }

    /// All living processes in it and below.
    ///
    /// A snapshot: who forks meanwhile may be missing.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the group has been removed. Groups below it that vanish meanwhile are no error.
    pub fn procs(&self) -> io::Result<Vec<Pid>> {
        let mut pids: Vec<Pid> = self
            .read("cgroup.procs")?
            .lines()
            .filter_map(|line| line.parse().ok())
            .map(Pid::from_raw)
            .collect();
        for below in self.below()? {
            match below.procs() {
                Ok(more) => pids.extend(more),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pids)
    }

    /// Removes the group and those that a worker made below it.
    ///
    /// # Errors
    ///
    /// `EACCES` and the like; that somebody lives in it is [`Removal::Busy`].
    pub fn remove(&self) -> io::Result<Removal> {
        let below = match self.below() {
            Ok(below) => below,
            Err(error) if is_gone(&error) => return Ok(Removal::Done),
            Err(error) => return Err(error),
        };
        let mut busy = false;
        for group in below {
            busy |= group.remove()? == Removal::Busy;
        }
        if busy {
            return Ok(Removal::Busy);
        }
        match std::fs::remove_dir(&self.path) {
            Ok(()) => Ok(Removal::Done),
            Err(error) if is_gone(&error) => Ok(Removal::Done),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(Removal::Busy),
            Err(error) => Err(error),
        }
    }

    /// `cgroup.procs`, open for writing pids into it.
    pub(super) fn open_procs(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        Ok(openat(&self.dir, "cgroup.procs", flags, Mode::empty())?)
    }

    /// Whether the kernel offers this file for the group.
    pub(super) fn has(&self, file: &str) -> bool {
        nix::sys::stat::fstatat(&self.dir, file, nix::fcntl::AtFlags::empty()).is_ok()
    }

    /// The whole of one of its files.
    pub(super) fn read(&self, file: &str) -> io::Result<String> {
        let fd = openat(
            &self.dir,
            file,
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        self.write_with(file, text, OFlag::empty())
    }

    fn write_with(&self, file: &str, text: &str, flags: OFlag) -> io::Result<()> {
        let flags = flags | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let fd = openat(&self.dir, file, flags, Mode::empty())?;
        File::from(fd).write_all(text.as_bytes())
    }

    /// The groups directly below.
    ///
    /// # Errors
    ///
    /// `ENODEV` or `ENOENT` if the group has been removed. One below that vanishes meanwhile is no error.
    pub fn below(&self) -> io::Result<Vec<Self>> {
        let mut dir = Dir::openat(&self.dir, ".", DIRECTORY, Mode::empty())?;
        let mut groups = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if entry.file_type() != Some(Type::Directory) || name == "." || name == ".." {
                continue;
            }
            match self.child(name) {
                Ok(group) => groups.push(group),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(groups)
    }
}

/// `ENODEV` comes from the files of a removed group that was still open.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl AsRawFd for Cgroup {
    fn as_raw_fd(&self) -> RawFd {
        self.dir.as_raw_fd()
    }
}

/// `cgroup.events` of one group, held open to hear of changes.
#[derive(Debug)]
pub struct Events(File);

impl Events {
    /// Reads the state, and with it takes note of the change.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the group has been removed.
    pub fn state(&self) -> io::Result<State> {
        let mut buffer = [0; 128];
        let n = std::os::unix::fs::FileExt::read_at(&self.0, &mut buffer, 0)?;
        Ok(parse_events(&String::from_utf8_lossy(&buffer[..n])))
    }

    /// Blocks until the state is as `wanted`, at most for `limit`; `None` when that is over.
    ///
    /// For programs that have no loop; the daemon watches the descriptor.
    ///
    /// # Errors
    ///
    /// As for [`Self::state`].
    pub fn wait(
        &self,
        limit: Duration,
        wanted: impl Fn(State) -> bool,
    ) -> io::Result<Option<State>> {
        let end = std::time::Instant::now() + limit;
        loop {
            let state = self.state()?;
            if wanted(state) {
                return Ok(Some(state));
            }
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(
                &mut [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)],
                timeout,
            ) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn parse_events(text: &str) -> State {
    let is_set = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .any(|(key, value)| key == name && value == "1")
    };
    State {
        populated: is_set("populated"),
        frozen: is_set("frozen"),
    }
}
