//! One socket: how it is opened as the configuration says, and what its processes inherit of it.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::SockType;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

use crate::config::{self, Identity, SocketPath, SocketType, Where};
use crate::sys::manager::Passed;
use crate::sys::socket::{Address, Place, Serving, ServingError, Wanted};
use crate::sys::users::{self, LookupError};

/// A socket that is open.
#[derive(Debug)]
pub(in crate::server) struct Open {
    /// As it was opened.
    pub(super) settings: config::Socket,
    pub(super) address: Place,
    kind: SockType,
    /// What can be changed while it is open.
    backlog: Cell<u32>,
    held: Held,
}

/// What we have of a socket.
#[derive(Debug)]
enum Held {
    /// The one that all processes inherit.
    Shared(Serving),
    /// What each process gets of its own (reuseport), and what keeps the place meanwhile: nothing
    /// for datagrams, as it would get its share of them.
    Own(Wanted, Option<Serving>),
}

/// What a process inherits of a socket.
pub(in crate::server) enum Inherited<'a> {
    /// The one that all have.
    Shared(&'a Serving),
    /// One of its own, which is nobody else's once the process has it.
    Own(Serving),
}

impl AsFd for Inherited<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Inherited::Shared(serving) => serving.as_fd(),
            Inherited::Own(serving) => serving.as_fd(),
        }
    }
}

/// Why a socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("failed to open '{address}': {source}")]
    Serving {
        address: Place,
        source: ServingError,
    },
    #[error(
        "failed to open '{address}': {source}; circusd itself has it open, as it was configured \
         before: give it another address, or start circusd again"
    )]
    Ours {
        address: Place,
        source: ServingError,
    },
    #[error("the service manager has passed no socket of this name{}", others(.0))]
    NotPassed(Vec<String>),
    #[error("the service manager has passed {0} sockets of this name")]
    Ambiguous(usize),
    #[error("what the service manager has passed is of no use: {0}")]
    Useless(io::Error),
    #[error("failed to look up its {whose}: {source}{}", cause(.source))]
    Lookup {
        whose: &'static str,
        source: LookupError,
    },
}

fn others(names: &[String]) -> String {
    match names {
        [] => ", nor any other".to_owned(),
        names => format!(", only '{}'", names.join("', '")),
    }
}

fn cause(error: &LookupError) -> String {
    let cause = std::error::Error::source(error);
    cause.map(|cause| format!(": {cause}")).unwrap_or_default()
}

impl Open {
    /// Opens a socket; `is_ours` tells whether we have one at a place.
    pub(super) fn new(
        socket: &config::Socket,
        passed: &[Passed],
        is_ours: impl Fn(&Place) -> bool,
    ) -> Result<Open, OpenError> {
        let place = match socket.place() {
            Where::Manager => return Open::passed(socket, passed),
            Where::Inet(address) => Place::Inet(address),
            Where::Unix(SocketPath::Path(path)) => Place::Unix(Address::Path(path)),
            Where::Unix(SocketPath::Abstract(name)) => {
                Place::Unix(Address::Abstract(name.into_bytes()))
            }
        };
        let wanted = wanted(socket, place.clone())?;
        let ours = is_ours(&place);
        let opened = match (&place, ours) {
            (Place::Unix(Address::Path(_)), true) => wanted.open_beside(),
            _ if socket.reuseport => wanted.reserve(),
            _ => wanted.open(),
        };
        let serving = match (opened, ours) {
            (Ok(serving), _) => serving,
            (Err(source), true) => {
                let address = place;
                return Err(OpenError::Ours { address, source });
            }
            (Err(source), false) => {
                let address = place;
                return Err(OpenError::Serving { address, source });
            }
        };
        let (kind, address) = (wanted.kind, serving.place().unwrap_or(place));
        let held = match socket.reuseport {
            false => Held::Shared(serving),
            true => {
                let place = address.clone();
                let keeps = kind != SockType::Datagram;
                Held::Own(Wanted { place, ..wanted }, keeps.then_some(serving))
            }
        };
        Ok(Open::of(socket, address, kind, held))
    }

    /// Takes the socket that the service manager has given us under this name.
    fn passed(socket: &config::Socket, passed: &[Passed]) -> Result<Open, OpenError> {
        let named = passed.iter().filter(|passed| passed.name == socket.name);
        let passed = match named.collect::<Vec<_>>().as_slice() {
            [one] => *one,
            [] => {
                let names = passed.iter().map(|passed| passed.name.clone());
                return Err(OpenError::NotPassed(names.collect()));
            }
            several => return Err(OpenError::Ambiguous(several.len())),
        };
        let serving = passed.fd.try_clone().and_then(Serving::passed);
        let serving = serving.map_err(OpenError::Useless)?;
        let address = serving.place().map_err(OpenError::Useless)?;
        let kind = serving.kind().map_err(OpenError::Useless)?;
        Ok(Open::of(socket, address, kind, Held::Shared(serving)))
    }

    /// Takes the socket that an earlier daemon had opened as `socket` says.
    ///
    /// # Errors
    ///
    /// It is none.
    pub(super) fn resumed(socket: &config::Socket, fd: OwnedFd) -> Result<Open, OpenError> {
        let path = match socket.place() {
            Where::Unix(SocketPath::Path(path)) => Some(path),
            _ => None,
        };
        let serving = Serving::resumed(fd, path).map_err(OpenError::Useless)?;
        let address = serving.place().map_err(OpenError::Useless)?;
        let kind = serving.kind().map_err(OpenError::Useless)?;
        let held = match socket.reuseport {
            false => Held::Shared(serving),
            true => Held::Own(wanted(socket, address.clone())?, Some(serving)),
        };
        Ok(Open::of(socket, address, kind, held))
    }

    fn of(socket: &config::Socket, address: Place, kind: SockType, held: Held) -> Open {
        Open {
            settings: socket.clone(),
            address,
            kind,
            backlog: Cell::new(socket.backlog),
            held,
        }
    }

    /// What the next process inherits.
    ///
    /// # Errors
    ///
    /// With reuseport: a socket of its own cannot be opened.
    pub(in crate::server) fn inherit(&self) -> Result<Inherited<'_>, ServingError> {
        match &self.held {
            Held::Shared(serving) => Ok(Inherited::Shared(serving)),
            Held::Own(wanted, _) => {
                let backlog = self.backlog.get();
                let wanted = Wanted {
                    backlog,
                    ..wanted.clone()
                };
                wanted.open().map(Inherited::Own)
            }
        }
    }

    /// What all processes inherit; `None` where each has its own.
    pub(in crate::server) fn shared(&self) -> Option<&Serving> {
        match &self.held {
            Held::Shared(serving) => Some(serving),
            Held::Own(..) => None,
        }
    }

    fn serving(&self) -> Option<&Serving> {
        match &self.held {
            Held::Shared(serving) => Some(serving),
            Held::Own(_, keeps) => keeps.as_ref(),
        }
    }

    /// Our descriptor of it, if we have one.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.serving().map(Serving::as_fd)
    }

    /// Leaves its file where it is.
    pub(super) fn leave_file(&self) {
        if let Some(serving) = self.serving() {
            serving.leave_file();
        }
    }

    /// Our descriptor of it; -1 if we have none.
    pub(super) fn fd(&self) -> RawFd {
        self.serving()
            .map_or(-1, |serving| serving.as_fd().as_raw_fd())
    }

    /// Its type, as the configuration has it.
    pub(super) fn type_name(&self) -> &'static str {
        match self.kind {
            SockType::Datagram => SocketType::Dgram.as_str(),
            SockType::SeqPacket => SocketType::Seqpacket.as_str(),
            // There are others (raw(7)), which nobody can ask for.
            _ => SocketType::Stream.as_str(),
        }
    }

    /// Whether clients find it: nobody has put something else at its path.
    pub(super) fn can_be_reached(&self) -> bool {
        self.serving().is_none_or(Serving::can_be_reached)
    }

    /// Puts its file where it belongs, if it was made beside that.
    pub(super) fn land(&self) {
        if let Some(Err(error)) = self.serving().map(Serving::land) {
            let (name, address) = (&self.settings.name, &self.address);
            tracing::error!("socket {name}: failed to put it at '{address}': {error}");
        }
    }

    /// Changes how many connections may wait.
    pub(super) fn set_backlog(&self, backlog: u32) {
        if self.backlog.replace(backlog) == backlog {
            return;
        }
        let listening = self
            .shared()
            .map(|serving| serving.listen(self.kind, backlog));
        if let Some(Err(error)) = listening {
            let name = &self.settings.name;
            tracing::warn!("socket {name}: failed to change its backlog: {error}");
        }
    }
}

fn wanted(socket: &config::Socket, place: Place) -> Result<Wanted, OpenError> {
    let mode = |mode: Option<config::Mode>| mode.map(|mode| Mode::from_bits_truncate(mode.0));
    let failed = |whose| move |source| OpenError::Lookup { whose, source };
    Ok(Wanted {
        place,
        kind: match socket.r#type {
            SocketType::Stream => SockType::Stream,
            SocketType::Dgram => SockType::Datagram,
            SocketType::Seqpacket => SockType::SeqPacket,
        },
        backlog: socket.backlog,
        reuseport: socket.reuseport,
        ipv6_only: socket.ipv6_only,
        interface: socket.interface.as_ref().map(|name| name.0.clone()),
        mode: mode(socket.mode),
        umask: mode(socket.umask),
        owner: match &socket.owner {
            None => None,
            Some(Identity::Id(uid)) => Some(Uid::from_raw(*uid)),
            Some(Identity::Name(name)) => Some(users::user(name).map_err(failed("owner"))?.uid),
        },
        group: match &socket.group {
            None => None,
            Some(Identity::Id(gid)) => Some(Gid::from_raw(*gid)),
            Some(Identity::Name(name)) => Some(users::group(name).map_err(failed("group"))?),
        },
        replace: socket.replace,
    })
}
