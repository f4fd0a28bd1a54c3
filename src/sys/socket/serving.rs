//! Sockets that are made here and served by others: bound and listening before any worker runs.
//!
//! Nothing here accepts or reads; what is in their queues waits for the workers.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, connect, getsockname,
    getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid};

use super::{Address, SocketFile, make_parent, open_up};

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address and a port; port 0 lets the kernel choose one.
    Inet(SocketAddr),
    /// In the file system, or an abstract name.
    Unix(Address),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(address) => address.fmt(f),
        }
    }
}

/// A socket as it is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where.
    pub place: Place,
    /// Stream, datagram or sequenced packets.
    pub kind: SockType,
    /// How many connections may wait; the kernel cuts it to `net.core.somaxconn`.
    pub backlog: u32,
    /// Whether others of the same user may bind the same place (`SO_REUSEPORT`, socket(7)).
    pub reuseport: bool,
    /// Whether an IPv6 socket takes no IPv4 (`IPV6_V6ONLY`, ipv6(7)).
    pub ipv6_only: bool,
    /// The only network interface that counts (`SO_BINDTODEVICE`, socket(7)).
    pub interface: Option<String>,
    /// The mode of a file; `None`: everything that `umask` leaves.
    pub mode: Option<Mode>,
    /// `None`: ours.
    pub umask: Option<Mode>,
    /// The owner of a file.
    pub owner: Option<Uid>,
    /// The group of a file.
    pub group: Option<Gid>,
    /// Whether a socket file that nobody listens on is replaced.
    pub replace: bool,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServingError {
    /// Somebody has the path.
    #[error("somebody is listening there already")]
    InUse,
    /// What is at the path must not be replaced.
    #[error("there is something that is not a socket")]
    NotASocket,
    /// Nobody has the path any more, and we were not told to replace what is left.
    #[error("there is a socket that nobody listens on, and it is not to be replaced")]
    Dead,
    /// A system call was refused.
    #[error("{doing}: {source}")]
    Io {
        /// What we were at: "binding".
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

fn failed<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> ServingError {
    move |source| ServingError::Io {
        doing,
        source: source.into(),
    }
}

/// A bound socket. Its file is removed when this is dropped; the socket itself lives on with
/// whoever has inherited it.
#[derive(Debug)]
pub struct Serving {
    fd: OwnedFd,
    /// Its path changes once, when it lands.
    file: Option<RefCell<SocketFile>>,
    /// The file stays when we go.
    stays: Cell<bool>,
    /// Where the file is in the end, if it was made beside that.
    lands: Option<PathBuf>,
}

impl Wanted {
    /// Makes the socket, bound and listening.
    ///
    /// A file has its final mode, owner and group before anybody can connect, and is closed to all
    /// others until then. Missing directories are made.
    ///
    /// # Errors
    ///
    /// [`ServingError`]; nothing is left behind then.
    pub fn open(&self) -> Result<Serving, ServingError> {
        let serving = self.reserve()?;
        serving.listen(self.kind, self.backlog)?;
        Ok(serving)
    }

    /// As [`Wanted::open`], but at the path with `.new` added, until [`Serving::land`].
    ///
    /// # Errors
    ///
    /// [`ServingError`]. Only a path has room beside it (`EINVAL`).
    pub fn open_beside(&self) -> Result<Serving, ServingError> {
        let Place::Unix(Address::Path(path)) = &self.place else {
            return Err(failed("finding room beside it")(Errno::EINVAL));
        };
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let place = Place::Unix(Address::Path(beside.into()));
        let replace = true;
        let wanted = Self {
            place,
            replace,
            ..self.clone()
        };
        let mut serving = wanted.open()?;
        serving.lands = Some(path.clone());
        Ok(serving)
    }

    /// Makes the socket and binds it, so that the place is ours; no connection comes to a stream
    /// socket that does not listen.
    ///
    /// # Errors
    ///
    /// [`ServingError`]; nothing is left behind then.
    pub fn reserve(&self) -> Result<Serving, ServingError> {
        match &self.place {
            Place::Inet(address) => self.bind_inet(*address),
            Place::Unix(Address::Path(path)) => self.bind_path(path),
            Place::Unix(address) => {
                let unix = address.to_unix().map_err(failed("reading the address"))?;
                let fd = self.new_socket(AddressFamily::Unix)?;
                bind(fd.as_raw_fd(), &unix).map_err(failed("binding"))?;
                Ok(Serving::of(fd))
            }
        }
    }

    fn new_socket(&self, family: AddressFamily) -> Result<OwnedFd, ServingError> {
        socket(family, self.kind, SockFlag::SOCK_CLOEXEC, None).map_err(failed("making the socket"))
    }

    fn bind_inet(&self, mut address: SocketAddr) -> Result<Serving, ServingError> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let fd = self.new_socket(family)?;
        if self.kind == SockType::Stream {
            // Connections of our predecessor that are not quite over yet keep nobody from listening.
            setsockopt(&fd, sockopt::ReuseAddr, &true).map_err(failed("setting SO_REUSEADDR"))?;
        }
        if self.reuseport {
            setsockopt(&fd, sockopt::ReusePort, &true).map_err(failed("setting SO_REUSEPORT"))?;
        }
        if family == AddressFamily::Inet6 {
            // Always, as what it is without that is up to net.ipv6.bindv6only.
            setsockopt(&fd, sockopt::Ipv6V6Only, &self.ipv6_only)
                .map_err(failed("setting IPV6_V6ONLY"))?;
        }
        if let Some(interface) = &self.interface {
            let index = nix::net::if_::if_nametoindex(interface.as_str())
                .map_err(failed("finding its interface"))?;
            setsockopt(&fd, sockopt::BindToDevice, &interface.into())
                .map_err(failed("binding to its interface"))?;
            if let SocketAddr::V6(address) = &mut address
                && address.ip().is_unicast_link_local()
            {
                address.set_scope_id(index);
            }
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(failed("binding"))?;
        Ok(Serving::of(fd))
    }

    fn bind_path(&self, path: &Path) -> Result<Serving, ServingError> {
        let unix = UnixAddr::new(path).map_err(failed("reading the address"))?;
        make_parent(path).map_err(failed("making its directory"))?;
        self.clear(path, &unix)?;
        let fd = self.new_socket(AddressFamily::Unix)?;
        // On Linux the file is made with the mode of the socket itself (less the umask), so there is
        // no moment in which it is open to others.
        fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed("setting its mode"))?;
        bind(fd.as_raw_fd(), &unix).map_err(failed("binding"))?;
        let mode = self.mode.unwrap_or_else(|| {
            let mask = self.umask.unwrap_or_else(current_umask);
            Mode::from_bits_truncate(0o777 & !mask.bits())
        });
        match open_up(path, Some(mode), self.owner, self.group) {
            Ok(file) => Ok(Serving {
                fd,
                file: Some(RefCell::new(file)),
                stays: Cell::new(false),
                lands: None,
            }),
            Err(error) => {
                // Ours, a moment old, and of no use to anybody.
                let _ = fs::remove_file(path);
                Err(failed("setting its owner, group and mode")(error))
            }
        }
    }

    /// Makes room at `path`, if that may be done.
    fn clear(&self, path: &Path, unix: &UnixAddr) -> Result<(), ServingError> {
        match path.symlink_metadata() {
            Ok(there) if !there.file_type().is_socket() => return Err(ServingError::NotASocket),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("looking at what is there")(error)),
        }
        // With datagrams, so that no listener finds a caller who never says anything; of another
        // kind (EPROTOTYPE), or connected to somebody else (EPERM), is as alive.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let probe = socket(AddressFamily::Unix, SockType::Datagram, flags, None)
            .map_err(failed("asking who is there"))?;
        match connect(probe.as_raw_fd(), unix) {
            Err(Errno::ECONNREFUSED) if !self.replace => Err(ServingError::Dead),
            Err(Errno::ECONNREFUSED) => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(failed("removing a dead socket")(error))
                }
                _ => Ok(()),
            },
            Err(Errno::ENOENT) => Ok(()),
            Ok(()) | Err(Errno::EPROTOTYPE | Errno::EPERM) => Err(ServingError::InUse),
            Err(errno) => Err(failed("asking who is there")(errno)),
        }
    }
}

impl Serving {
    fn of(fd: OwnedFd) -> Self {
        Self {
            fd,
            file: None,
            stays: Cell::new(false),
            lands: None,
        }
    }

    /// A socket that somebody else has made.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` if it is none.
    pub fn passed(fd: OwnedFd) -> io::Result<Self> {
        getsockopt(&fd, sockopt::SockType)?;
        Ok(Self::of(fd))
    }

    /// A socket that an earlier process of ours has made, with the file at `path`, if it has one: it is
    /// removed when this is dropped.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` if it is none; those of opening the file.
    pub fn resumed(fd: OwnedFd, path: Option<PathBuf>) -> io::Result<Self> {
        let file = path.map(|path| SocketFile::at(&path)).transpose()?;
        let mut serving = Self::passed(fd)?;
        serving.file = file.map(RefCell::new);
        Ok(serving)
    }

    /// Lets connections queue up, at most `backlog` of them; for one that listens already, changes
    /// that number. Datagrams need no listening.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE` if another listens at the same place.
    pub fn listen(&self, kind: SockType, backlog: u32) -> Result<(), ServingError> {
        if kind == SockType::Datagram {
            return Ok(());
        }
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        // SAFETY: a number of an open descriptor, and a number. (nix takes no more than 4096.)
        let listening = unsafe { libc::listen(self.fd.as_raw_fd(), backlog) };
        Errno::result(listening).map_err(failed("listening"))?;
        Ok(())
    }

    /// Puts the file that [`Wanted::open_beside`] has made where it belongs, in one step.
    ///
    /// # Errors
    ///
    /// Those of rename(2).
    pub fn land(&self) -> io::Result<()> {
        match (&self.file, &self.lands) {
            (Some(file), Some(path)) if file.borrow().path != *path => {
                file.borrow_mut().rename(path)
            }
            _ => Ok(()),
        }
    }

    /// Whether clients find it: nobody has put something else at its path.
    pub fn can_be_reached(&self) -> bool {
        let file = self.file.as_ref();
        file.is_none_or(|file| file.borrow().is_there().unwrap_or(false))
    }

    /// Leaves the file where it is when this is dropped: somebody else goes on with the socket.
    pub fn leave_file(&self) {
        self.stays.set(true);
    }

    /// Where it is, with the port that the kernel has chosen.
    ///
    /// # Errors
    ///
    /// `EAFNOSUPPORT` if it is neither of the Internet nor a Unix socket.
    pub fn place(&self) -> io::Result<Place> {
        if let Some(file) = &self.file {
            let path = (self.lands.clone()).unwrap_or_else(|| file.borrow().path.clone());
            return Ok(Place::Unix(Address::Path(path)));
        }
        let name: SockaddrStorage = getsockname(self.fd.as_raw_fd())?;
        if let Some(v4) = name.as_sockaddr_in() {
            return Ok(Place::Inet(std::net::SocketAddrV4::from(*v4).into()));
        }
        if let Some(v6) = name.as_sockaddr_in6() {
            return Ok(Place::Inet(std::net::SocketAddrV6::from(*v6).into()));
        }
        let unix = name.as_unix_addr().ok_or(Errno::EAFNOSUPPORT)?;
        let path = unix.path().map(|path| Address::Path(path.to_owned()));
        let address = path.or_else(|| unix.as_abstract().map(|n| Address::Abstract(n.to_vec())));
        Ok(Place::Unix(address.ok_or(Errno::EAFNOSUPPORT)?))
    }

    /// Which of the three kinds it is.
    ///
    /// # Errors
    ///
    /// None is expected.
    pub fn kind(&self) -> io::Result<SockType> {
        Ok(getsockopt(&self.fd, sockopt::SockType)?)
    }
}

impl AsFd for Serving {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let (Some(file), false) = (&self.file, self.stays.get()) {
            // It may be gone, or its directory; nobody is served by a complaint.
            let _ = file.borrow().remove();
        }
    }
}

/// There is no way to ask for it without setting it.
fn current_umask() -> Mode {
    let mask = nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
    nix::sys::stat::umask(mask);
    mask
}
