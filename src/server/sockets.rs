//! The sockets that workers inherit: opened before any watcher starts, and kept as long as anybody
//! uses them.
//!
//! A recipe holds the sockets that its processes inherit, so one that is no longer configured, or
//! has changed, is closed when the last process that was made with it is gone. Nothing is accepted
//! or read here.

mod kept;
mod open;

use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use crate::api::types;
use crate::config::{self, Config, Errors, Store};
use crate::sys::manager::Passed;
use crate::sys::socket::Place;

pub(super) use kept::KeptSocket;
pub(super) use open::{Inherited, Open};

/// The sockets of a configuration, by name.
pub(super) type Opened = BTreeMap<String, Rc<Open>>;

/// All sockets there are.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// What the service manager has given us; kept, as a later configuration may want it.
    passed: Vec<Passed>,
    configured: Opened,
    /// The names of what it has kept for us in vain.
    unclaimed: Vec<String>,
    /// Those that are no longer configured, while processes use them.
    leaving: Vec<Weak<Open>>,
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
            let ours = |place: &Place| {
                self.all()
                    .any(|open| open.address == *place && open.can_be_reached())
            };
            match Open::new(socket, &self.passed, ours) {
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
            fd: open.fd(),
            r#type: open.type_name().to_owned(),
            from_manager: open.settings.from_manager,
            watchers: users(name),
        });
        listed.collect()
    }
}
