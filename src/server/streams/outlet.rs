//! What a process gets as its standard streams, where it is ready made or opened at once.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;

use nix::fcntl::OFlag;

use super::loggers::{Lease, Which};
use crate::server::leave;
use crate::sys::journal;

/// What a worker gets as one of its descriptors.
#[derive(Debug)]
pub(in crate::server) enum Outlet {
    Inherit,
    Null,
    Owned(OwnedFd),
    /// The end of a pipe that we read, and its number.
    Pipe(OwnedFd, u64),
    /// The end of a pipe that the program reads that we are in, and until somebody has it, the other.
    Offered(OwnedFd, Which, RefCell<Option<OwnedFd>>),
    /// The end of a pipe that a logger reads.
    Logger(OwnedFd, Rc<Lease>),
    /// The same as standard output.
    AsStdout,
}

impl Outlet {
    /// The descriptor to be passed on.
    pub(in crate::server) fn descriptor<'a>(
        &'a self,
        null: BorrowedFd<'a>,
        ours: BorrowedFd<'a>,
        stdout: BorrowedFd<'a>,
    ) -> BorrowedFd<'a> {
        match self {
            Outlet::Inherit => ours,
            Outlet::Null => null,
            Outlet::Owned(fd)
            | Outlet::Pipe(fd, _)
            | Outlet::Offered(fd, ..)
            | Outlet::Logger(fd, _) => fd.as_fd(),
            Outlet::AsStdout => stdout,
        }
    }

    /// What shows that somebody writes to a logger.
    pub(in crate::server) fn lease(&self) -> Option<Rc<Lease>> {
        match self {
            Outlet::Logger(_, lease) => Some(Rc::clone(lease)),
            Outlet::Inherit
            | Outlet::Null
            | Outlet::Owned(_)
            | Outlet::Pipe(..)
            | Outlet::Offered(..)
            | Outlet::AsStdout => None,
        }
    }
}

/// Never waits, as open(2) of a named pipe does until somebody writes to it.
pub(super) fn open_input(path: &Path) -> io::Result<OwnedFd> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    let mut file = options.open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        // A pipe without a writer is at its end: with both ends open the worker waits instead.
        file = options.write(true).open(path)?;
    }
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(file.into())
}

/// What is said by somebody who has ended before journald looks for his cgroup is filed under our
/// unit, too: the last words of a process that does not live long. (Only of root journald takes it.)
static UNIT: LazyLock<String> = LazyLock::new(|| leave::system_unit().unwrap_or_default());

pub(super) fn open_journal(watcher: &str, priority: u8) -> io::Result<Outlet> {
    let stream = journal::Stream {
        identifier: watcher.to_owned(),
        unit: UNIT.clone(),
        priority,
        level_prefix: true,
    };
    stream.open().map(Outlet::Owned)
}
