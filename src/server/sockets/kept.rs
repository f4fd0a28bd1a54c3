//! Sockets of an earlier daemon, taken over as they are, so that no connection is refused: from the
//! service manager, who keeps them for us, or else from a process that has inherited them.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Open, Sockets};
use crate::config::{FIRST_SOCKET, Store};
use crate::core::Revision;
use crate::server::notify::IN_STORE_OF_PROCESSES;
use crate::server::state::Left;
use crate::server::streams::IN_STORE_OF_OUTPUT;
use crate::sys::manager::Passed;
use crate::sys::pidfd::Pidfd;

/// What the names of those begin with that the manager keeps for us.
const IN_STORE: &str = "socket/";

/// A socket, and by what it is known again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::server) struct KeptSocket {
    name: String,
    /// As it was configured.
    what: Json,
    address: String,
}

impl Sockets {
    /// Takes over what an earlier daemon has left, as far as it is still configured as it was.
    pub(in crate::server) fn resume(&mut self, store: &Store, left: &Left) {
        for kept in &left.sockets {
            let same = store.socket_as_written(&kept.name).as_ref() == Some(&kept.what);
            let settings = &store.config().sockets;
            let socket = settings.iter().find(|socket| socket.name == kept.name);
            let Some(socket) = socket.filter(|socket| same && !socket.from_manager) else {
                continue;
            };
            let of_manager = self.kept_by_manager(&kept.name).into_iter();
            let mut found = of_manager.chain(from_workers(&kept.name, left));
            let open = found.find_map(|fd| {
                let open = Open::resumed(socket, fd).ok()?;
                (open.address.to_string() == kept.address).then_some(open)
            });
            if let Some(open) = open {
                self.configured.insert(kept.name.clone(), Rc::new(open));
            }
        }
    }

    /// What the service manager has kept for us under this name.
    fn kept_by_manager(&self, name: &str) -> Option<OwnedFd> {
        let name = name_in_store(name);
        let passed = self.passed.iter().find(|passed| passed.name == name)?;
        passed.fd.try_clone().ok()
    }

    /// What is open, by the names under which the next daemon looks for it.
    pub(in crate::server) fn pass_on(&self) -> Vec<(String, OwnedFd)> {
        let given = self
            .passed
            .iter()
            .filter(|passed| !passed.name.starts_with(IN_STORE));
        let given =
            given.filter_map(|passed| Some((passed.name.clone(), passed.fd.try_clone().ok()?)));
        let opened = self.to_keep();
        let opened = opened.filter_map(|(name, fd)| Some((name, fd.try_clone_to_owned().ok()?)));
        given.chain(opened).collect()
    }

    /// What the service manager is to keep for the next daemon.
    pub(in crate::server) fn to_keep(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        let opened = self
            .configured
            .iter()
            .filter(|(_, open)| !open.settings.from_manager);
        opened.filter_map(|(name, open)| Some((name_in_store(name), open.descriptor()?)))
    }

    /// Leaves the files of sockets where they are.
    pub(in crate::server) fn leave(&self) {
        for open in self.configured.values() {
            open.leave_file();
        }
    }

    /// Closes the sockets that the service manager has kept for us and nobody goes on with.
    pub(in crate::server) fn close_unclaimed(&mut self) {
        let stale = |passed: &mut Passed| passed.name.starts_with(IN_STORE);
        let names = self.passed.extract_if(.., stale).map(|passed| passed.name);
        let names: Vec<String> = names.collect();
        self.unclaimed.extend(names);
    }

    /// The names of all that the service manager has kept for us and nobody goes on with.
    pub(in crate::server) fn take_unclaimed(&mut self) -> Vec<String> {
        let stale = |passed: &mut Passed| {
            let kinds = [IN_STORE_OF_PROCESSES, IN_STORE_OF_OUTPUT];
            kinds.iter().any(|kind| passed.name.starts_with(kind))
        };
        let names = self.passed.extract_if(.., stale).map(|passed| passed.name);
        let names: Vec<String> = names.collect();
        let mut unclaimed = std::mem::take(&mut self.unclaimed);
        unclaimed.extend(names);
        unclaimed
    }

    /// What the service manager has kept for us under this name, that is none of the sockets, or the
    /// program before this one in this process.
    pub(in crate::server) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let found = self.passed.iter().position(|passed| passed.name == name)?;
        Some(self.passed.remove(found).fd)
    }

    /// By what the next daemon knows those in force.
    pub(in crate::server) fn keep(&self, store: &Store) -> Vec<KeptSocket> {
        let known = self.configured.iter().filter(|(_, open)| open.fd() >= 0);
        let kept = known.filter_map(|(name, open)| {
            Some(KeptSocket {
                name: name.clone(),
                what: store.socket_as_written(name)?,
                address: open.address.to_string(),
            })
        });
        kept.collect()
    }
}

/// The descriptors that workers have inherited of it: of the first who still has one, and is willing.
fn from_workers<'a>(name: &'a str, left: &'a Left) -> impl Iterator<Item = OwnedFd> + 'a {
    let living = left.saved.workers.iter().filter(|worker| worker.runs());
    living.filter_map(move |worker| {
        let number = FIRST_SOCKET + place_of(name, worker.revision, left)?;
        let process = Pidfd::open(Pid::from_raw(worker.pid)).ok()?;
        process.descriptor(i32::try_from(number).ok()?).ok()
    })
}

/// Which of the sockets of its processes it is.
fn place_of(name: &str, revision: Revision, left: &Left) -> Option<usize> {
    let made_from = left
        .made_from
        .iter()
        .find(|made| made.revision == revision)?;
    let sockets = made_from.what.get("sockets")?.as_array()?;
    sockets
        .iter()
        .position(|socket| socket.get(0).and_then(Json::as_str) == Some(name))
}

/// What the service manager is told to call it (`FDNAME=` in sd_notify(3)), where a colon cannot be.
fn name_in_store(socket: &str) -> String {
    format!("{IN_STORE}{}", socket.replace(':', "/"))
}
