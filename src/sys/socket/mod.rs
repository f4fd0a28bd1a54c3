//! Listening sockets: the daemon's own, those that workers serve, and who is at the other end.
//!
//! Reads and writes nothing, and accepts nobody: it hands out sockets that are ready to be used.

mod peer;
mod serving;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind,
    connect, getsockname, getsockopt, listen as listen_on, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchownat, geteuid};

pub use peer::{Peer, peer};
pub use serving::{Place, Serving, ServingError, Wanted};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A file.
    Path(PathBuf),
    /// A name without a file, which has no owner and no mode: everybody may connect.
    Abstract(Vec<u8>),
}

impl Address {
    /// As it is written: `@name` is abstract, everything else a path.
    #[must_use]
    pub fn parse(text: &std::ffi::OsStr) -> Self {
        match text.as_bytes().strip_prefix(b"@") {
            Some(name) => Self::Abstract(name.to_vec()),
            None => Self::Path(text.into()),
        }
    }

    fn to_unix(&self) -> nix::Result<UnixAddr> {
        match self {
            Self::Path(path) => UnixAddr::new(path),
            Self::Abstract(name) if name.is_empty() => Err(Errno::EINVAL),
            Self::Abstract(name) => UnixAddr::new_abstract(name),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// Why we do not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody answers there.
    #[error("a daemon is listening on '{address}' already")]
    InUse {
        /// The address.
        address: Address,
    },
    /// There is something at the path that we must not replace.
    #[error("'{}' exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A system call was refused.
    #[error("failed to listen on '{address}': {doing}")]
    Io {
        /// The address.
        address: Address,
        /// What we were at: "making its directory".
        doing: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A listening socket.
#[derive(Debug)]
pub struct Listening {
    /// The socket; blocking, closed on exec.
    pub listener: UnixListener,
    /// Its file, if it has one.
    pub file: Option<SocketFile>,
}

/// The file of a socket that we bound.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Held open, as the number of a removed file is soon another's.
    file: fs::File,
}

impl SocketFile {
    /// What is at `path` now.
    ///
    /// # Errors
    ///
    /// Those of open(2); `ENOTSOCK` if it is no socket.
    fn at(path: &Path) -> io::Result<Self> {
        // What we hold is the very file, whatever is put in its place meanwhile.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = fs::File::from(nix::fcntl::open(path, flags, Mode::empty())?);
        if !file.metadata()?.file_type().is_socket() {
            return Err(Errno::ENOTSOCK.into());
        }
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Gives the file another path, where it takes the place of what is there, with no moment in between.
    ///
    /// # Errors
    ///
    /// Those of rename(2); it stays where it is then.
    pub fn rename(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        path.clone_into(&mut self.path);
        Ok(())
    }

    /// Whether it is still where it was made, and nothing else is.
    ///
    /// # Errors
    ///
    /// Those of stat(2); that there is nothing is none.
    pub fn is_there(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match self.path.symlink_metadata() {
            Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the file, unless another socket has taken its place.
    ///
    /// # Errors
    ///
    /// Those of unlink(2); that it is gone already is none.
    pub fn remove(&self) -> io::Result<()> {
        match self.is_there()? {
            true => fs::remove_file(&self.path),
            false => Ok(()),
        }
    }
}

/// Goes on with a listening socket that was opened before, with the file at `path`, if that is ours.
///
/// # Errors
///
/// `EINVAL` if it is no Unix socket that listens; those of opening the file.
pub fn resume_listening(fd: OwnedFd, path: Option<&Path>) -> io::Result<Listening> {
    let listens = getsockopt(&fd, sockopt::AcceptConn)?;
    let kind = getsockopt(&fd, sockopt::SockType)?;
    let name: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    if !listens || kind != SockType::Stream || name.family() != Some(AddressFamily::Unix) {
        return Err(Errno::EINVAL.into());
    }
    Ok(Listening {
        listener: fd.into(),
        file: path.map(SocketFile::at).transpose()?,
    })
}

/// Listens on `address`.
///
/// A socket file that nobody listens on is replaced. Missing directories are made, with mode 0755 for root
/// and 0700 for everybody else. The file has its final `mode` and `group` before anybody can connect, and is
/// closed to all others until then. `backlog` is cut to `net.core.somaxconn` by the kernel.
///
/// Of two daemons that start at the same moment, both could find the same dead socket and one remove the
/// other's new one: whoever calls this holds a [`super::lock::Lock`] that belongs to the address.
///
/// # Errors
///
/// [`ListenError`]. `mode` and `group` without a file to have them are refused (`EINVAL`).
pub fn listen(
    address: &Address,
    mode: Option<Mode>,
    group: Option<Gid>,
    backlog: i32,
) -> Result<Listening, ListenError> {
    let io = |doing| {
        move |source: io::Error| ListenError::Io {
            address: address.clone(),
            doing,
            source,
        }
    };
    let unix = address
        .to_unix()
        .map_err(|e| io("reading the address")(e.into()))?;
    let backlog = Backlog::new(backlog).map_err(|e| io("reading the backlog")(e.into()))?;
    match address {
        Address::Path(path) => {
            make_parent(path).map_err(io("making its directory"))?;
            clear(path, address, &unix)?;
        }
        Address::Abstract(_) if mode.is_some() || group.is_some() => {
            return Err(io("setting its mode and group")(Errno::EINVAL.into()));
        }
        Address::Abstract(_) => {}
    }
    let fd = new_socket().map_err(io("making the socket"))?;
    // On Linux the file is made with the mode of the socket itself (less the umask), so there is no moment in
    // which it is open to others.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|e| io("setting its mode")(e.into()))?;
    match bind(fd.as_raw_fd(), &unix) {
        Ok(()) => {}
        Err(Errno::EADDRINUSE) => {
            return Err(ListenError::InUse {
                address: address.clone(),
            });
        }
        Err(errno) => return Err(io("binding")(errno.into())),
    }
    let file = match address {
        Address::Path(path) => {
            Some(open_up(path, mode, None, group).map_err(io("setting its mode and group"))?)
        }
        Address::Abstract(_) => None,
    };
    listen_on(&fd, backlog).map_err(|e| io("listening")(e.into()))?;
    Ok(Listening {
        listener: fd.into(),
        file,
    })
}

fn new_socket() -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}

fn make_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    else {
        return Ok(());
    };
    let mode = if geteuid().is_root() { 0o755 } else { 0o700 };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(parent)
}

/// Makes room at `path`, if that may be done.
fn clear(path: &Path, address: &Address, unix: &UnixAddr) -> Result<(), ListenError> {
    let io = |doing, source| ListenError::Io {
        address: address.clone(),
        doing,
        source,
    };
    match path.symlink_metadata() {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(ListenError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("looking at what is there", error)),
    }
    match try_connect(unix) {
        Err(Errno::ECONNREFUSED) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io("removing the socket of a dead daemon", error))
            }
            _ => Ok(()),
        },
        Err(Errno::ENOENT) => Ok(()),
        // EAGAIN: it lives, and has more callers waiting than it takes. EPROTOTYPE: it is of another kind.
        Ok(()) | Err(Errno::EAGAIN | Errno::EPROTOTYPE) => Err(ListenError::InUse {
            address: address.clone(),
        }),
        Err(errno) => Err(io("asking who is there", errno.into())),
    }
}

fn try_connect(unix: &UnixAddr) -> nix::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), unix)
}

/// Gives the file its owner and group and then its mode, in this order: as a change of these may take bits of
/// the mode.
fn open_up(
    path: &Path,
    mode: Option<Mode>,
    owner: Option<Uid>,
    group: Option<Gid>,
) -> io::Result<SocketFile> {
    let SocketFile { file, .. } = SocketFile::at(path)?;
    if owner.is_some() || group.is_some() {
        fchownat(&file, "", owner, group, AtFlags::AT_EMPTY_PATH)?;
    }
    if let Some(mode) = mode {
        // fchmod(2) does not take such a descriptor; its name under /proc leads to the same file.
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        nix::sys::stat::fchmodat(
            AT_FDCWD,
            name.as_str(),
            mode,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )?;
    }
    Ok(SocketFile {
        path: path.to_owned(),
        file,
    })
}
