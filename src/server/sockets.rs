//! The sockets that workers inherit: opened before any watcher starts, and kept as long as anybody
//! uses them.
//!
//! A recipe holds the sockets that its processes inherit, so one that is no longer configured, or
//! has changed, is closed when the last process that was made with it is gone. Nothing is accepted
//! or read here.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::{Rc, Weak};

use nix::sys::socket::SockType;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

use crate::api::types;
use crate::config::{self, Config, Errors, Identity, SocketPath, SocketType, Store, Where};
use crate::sys::manager::Passed;
use crate::sys::socket::{Address, Place, Serving, ServingError, Wanted};
use crate::sys::users::{self, LookupError};

/// The sockets of a configuration, by name.
pub(super) type Opened = BTreeMap<String, Rc<Open>>;

/// All sockets there are.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// What the service manager has given us; kept, as a later configuration may want it.
    passed: Vec<Passed>,
    configured: Opened,
    /// Those that are no longer configured, while processes use them.
    leaving: Vec<Weak<Open>>,
}

/// A socket that is open.
#[derive(Debug)]
pub(super) struct Open {
    /// As it was opened.
    settings: config::Socket,
    /// What can be changed while it is open.
    backlog: Cell<u32>,
    kind: SockType,
    address: Place,
    /// What keeps the place; `None` for datagrams with reuseport, as it would get its share of them.
    serving: Option<Serving>,
    /// With reuseport: what each process gets of its own.
    own: Option<Wanted>,
}

/// What a process inherits of a socket.
pub(super) enum Inherited<'a> {
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
enum OpenError {
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

impl Sockets {
    /// None yet; `passed` are those of the service manager.
    pub(super) fn new(passed: Vec<Passed>) -> Sockets {
        Sockets {
            passed,
            ..Sockets::default()
        }
    }

    /// Those in force.
    pub(super) fn configured(&self) -> &Opened {
        &self.configured
    }

    /// The sockets of a configuration that is about to be in force: those that are open already,
    /// and the others newly opened. If they are dropped again, nothing has happened.
    ///
    /// # Errors
    ///
    /// Every socket that cannot be opened, at the place where it is configured.
    pub(super) fn open(&self, store: &Store) -> Result<Opened, Errors> {
        let settings = &store.config().sockets;
        let mut opened = self.kept(settings);
        let mut faults = Vec::new();
        for socket in settings {
            if opened.contains_key(&socket.name) {
                continue;
            }
            match self.open_one(socket) {
                Ok(open) => {
                    opened.insert(socket.name.clone(), Rc::new(open));
                }
                Err(error) => faults.push(store.fault_of_socket(&socket.name, error.to_string())),
            }
        }
        match faults.is_empty() {
            true => Ok(opened),
            false => Err(Errors::new(faults)),
        }
    }

    /// Those that are open and as they are to be. One that keeps its name comes before one that
    /// changes it: with port 0, several are alike.
    fn kept(&self, settings: &[config::Socket]) -> Opened {
        let mut kept = Opened::new();
        for socket in settings {
            if let Some(open) = self.configured.get(&socket.name)
                && open.settings.is_same(socket)
            {
                kept.insert(socket.name.clone(), Rc::clone(open));
            }
        }
        for socket in settings {
            if kept.contains_key(&socket.name) {
                continue;
            }
            let free = |open: &Rc<Open>| !kept.values().any(|taken| Rc::ptr_eq(taken, open));
            let fits = |open: &Rc<Open>| open.settings.is_same(socket) && open.can_be_reached();
            let found = self.all().find(|open| fits(open) && free(open));
            if let Some(open) = found {
                kept.insert(socket.name.clone(), open);
            }
        }
        kept
    }

    fn all(&self) -> impl Iterator<Item = Rc<Open>> {
        let leaving = self.leaving.iter().filter_map(Weak::upgrade);
        self.configured.values().cloned().chain(leaving)
    }

    fn open_one(&self, socket: &config::Socket) -> Result<Open, OpenError> {
        let place = match socket.place() {
            Where::Manager => return self.take_passed(socket),
            Where::Inet(address) => Place::Inet(address),
            Where::Unix(SocketPath::Path(path)) => Place::Unix(Address::Path(path)),
            Where::Unix(SocketPath::Abstract(name)) => {
                Place::Unix(Address::Abstract(name.into_bytes()))
            }
        };
        let wanted = wanted(socket, place.clone())?;
        let ours = self
            .all()
            .any(|open| open.address == place && open.can_be_reached());
        let opened = match (&place, ours) {
            (Place::Unix(Address::Path(_)), true) => wanted.open_beside(),
            _ if socket.reuseport => wanted.reserve(),
            _ => wanted.open(),
        };
        let serving = opened.map_err(|source| match ours {
            true => OpenError::Ours {
                address: place.clone(),
                source,
            },
            false => OpenError::Serving {
                address: place.clone(),
                source,
            },
        })?;
        let address = serving.place().unwrap_or(place);
        let own = socket.reuseport.then(|| Wanted {
            place: address.clone(),
            ..wanted.clone()
        });
        let anchors = !(socket.reuseport && wanted.kind == SockType::Datagram);
        Ok(Open {
            settings: socket.clone(),
            backlog: Cell::new(socket.backlog),
            kind: wanted.kind,
            address,
            serving: anchors.then_some(serving),
            own,
        })
    }

    fn take_passed(&self, socket: &config::Socket) -> Result<Open, OpenError> {
        let named: Vec<_> = (self.passed.iter())
            .filter(|passed| passed.name == socket.name)
            .collect();
        let passed = match named.as_slice() {
            [one] => one,
            [] => {
                let names = self.passed.iter().map(|passed| passed.name.clone());
                return Err(OpenError::NotPassed(names.collect()));
            }
            several => return Err(OpenError::Ambiguous(several.len())),
        };
        let serving = passed.fd.try_clone().and_then(Serving::passed);
        let serving = serving.map_err(OpenError::Useless)?;
        Ok(Open {
            settings: socket.clone(),
            backlog: Cell::new(socket.backlog),
            kind: serving.kind().map_err(OpenError::Useless)?,
            address: serving.place().map_err(OpenError::Useless)?,
            serving: Some(serving),
            own: None,
        })
    }

    /// Puts the sockets of a configuration in force.
    pub(super) fn put(&mut self, opened: Opened, config: &Config) {
        for open in opened.values() {
            open.land();
        }
        for socket in &config.sockets {
            if let Some(open) = opened.get(&socket.name) {
                open.set_backlog(socket.backlog);
            }
        }
        let before = std::mem::replace(&mut self.configured, opened);
        let stays = |open: &Rc<Open>| self.configured.values().any(|kept| Rc::ptr_eq(kept, open));
        let gone = before.values().filter(|open| !stays(open));
        self.leaving.extend(gone.map(Rc::downgrade));
        drop(before);
        self.leaving.retain(|open| open.strong_count() > 0);
    }

    /// Whether processes still use what is no longer configured.
    pub(super) fn are_leaving(&mut self) -> bool {
        self.leaving.retain(|open| open.strong_count() > 0);
        !self.leaving.is_empty()
    }

    /// For `ListSockets`.
    pub(super) fn list(&self, config: &Config) -> Vec<types::Socket> {
        let users = |name: &str| {
            let uses = |watcher: &&config::Watcher| watcher.sockets.iter().any(|s| s.name == name);
            let users = config.watchers.iter().filter(uses);
            users.map(|watcher| watcher.name.clone()).collect()
        };
        let listed = self.configured.iter().map(|(name, open)| types::Socket {
            name: name.clone(),
            address: open.address.to_string(),
            fd: (open.serving.as_ref()).map_or(-1, |serving| serving.as_fd().as_raw_fd()),
            r#type: kind_name(open.kind).to_owned(),
            from_manager: open.settings.from_manager,
            watchers: users(name),
        });
        listed.collect()
    }
}

impl Open {
    /// What the next process inherits.
    ///
    /// # Errors
    ///
    /// With reuseport: a socket of its own cannot be opened.
    pub(super) fn inherit(&self) -> Result<Inherited<'_>, ServingError> {
        match (&self.own, &self.serving) {
            (None, Some(serving)) => Ok(Inherited::Shared(serving)),
            (Some(own), _) => {
                let backlog = self.backlog.get();
                let own = Wanted {
                    backlog,
                    ..own.clone()
                };
                own.open().map(Inherited::Own)
            }
            (None, None) => unreachable!("only where each has its own is none kept"),
        }
    }

    /// What all processes inherit; `None` where each has its own.
    pub(super) fn shared(&self) -> Option<&Serving> {
        self.serving.as_ref().filter(|_| self.own.is_none())
    }

    fn can_be_reached(&self) -> bool {
        self.serving.as_ref().is_none_or(Serving::can_be_reached)
    }

    fn land(&self) {
        if let Some(Err(error)) = self.serving.as_ref().map(Serving::land) {
            let (name, address) = (&self.settings.name, &self.address);
            tracing::error!("socket {name}: failed to put it at '{address}': {error}");
        }
    }

    fn set_backlog(&self, backlog: u32) {
        if self.backlog.replace(backlog) == backlog || self.own.is_some() {
            return;
        }
        let listening = (self.serving.as_ref()).map(|serving| serving.listen(self.kind, backlog));
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

fn kind_name(kind: SockType) -> &'static str {
    match kind {
        SockType::Datagram => SocketType::Dgram.as_str(),
        SockType::SeqPacket => SocketType::Seqpacket.as_str(),
        // There are others (raw(7)), which nobody can ask for.
        _ => SocketType::Stream.as_str(),
    }
}
