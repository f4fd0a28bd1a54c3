//! The sockets of watchers that start at the first connection: told of, never accepted from.
//!
//! Which watchers these are, and what follows, is for core to say.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use super::sockets::Open;
use crate::core::Name;
use crate::sys::epoll::{Interest, Watch};

/// The watchers that are awaited.
#[derive(Debug, Default)]
pub(super) struct Demand {
    awaited: BTreeMap<Name, Awaited>,
    last: u64,
}

#[derive(Debug)]
struct Awaited {
    id: u64,
    /// Copies, as several watchers may wait for one socket, which is in the set only once.
    sockets: Vec<OwnedFd>,
}

impl Demand {
    /// Waits for a connection to one of these; `token` makes the number in the set.
    ///
    /// # Errors
    ///
    /// The table of descriptors is full; then nothing is waited for.
    pub(super) fn begin(
        &mut self,
        watcher: &Name,
        sockets: &[Rc<Open>],
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
    ) -> io::Result<()> {
        self.end(watcher, watch);
        self.last += 1;
        let id = self.last;
        let mut awaited = Awaited {
            id,
            sockets: Vec::new(),
        };
        for socket in sockets.iter().filter_map(|open| open.shared()) {
            let added = (socket.as_fd().try_clone_to_owned())
                .and_then(|copy| watch.add(&copy, token(id), Interest::Read).map(|()| copy));
            match added {
                Ok(copy) => awaited.sockets.push(copy),
                Err(error) => {
                    awaited.leave(watch);
                    return Err(error);
                }
            }
        }
        self.awaited.insert(watcher.clone(), awaited);
        Ok(())
    }

    /// Waits for it no longer.
    pub(super) fn end(&mut self, watcher: &Name, watch: &mut Watch) {
        if let Some(awaited) = self.awaited.remove(watcher) {
            awaited.leave(watch);
        }
    }

    /// Who is meant by a number in the set; `None` if it is not awaited any more.
    pub(super) fn watcher(&self, id: u64) -> Option<&Name> {
        let mut awaited = self.awaited.iter();
        awaited.find_map(|(name, awaited)| (awaited.id == id).then_some(name))
    }

    /// All that are awaited.
    pub(super) fn watchers(&self) -> Vec<Name> {
        self.awaited.keys().cloned().collect()
    }
}

impl Awaited {
    fn leave(self, watch: &mut Watch) {
        for socket in &self.sockets {
            // The workers have copies, so closing ours would not take it out.
            let _ = watch.remove(socket);
        }
    }
}
