//! Those who were let go where there are no groups, as the next daemon is told of them: it is to take none
//! of them for a worker, and to end none of them with what nobody knows.
//!
//! Nothing is written or read here.

use nix::unistd::Pid;

use super::Homes;
use crate::server::state::KeptFreed;
use crate::sys::tree::{self, Mark, Origin};

impl Homes {
    /// Those who were let go where there are no groups.
    pub(in crate::server) fn freed(&self) -> Vec<KeptFreed> {
        self.free.iter().map(kept).collect()
    }

    /// Notes those who were let go by an earlier daemon, as far as they or what is theirs live on.
    pub(super) fn inherit_freed(&mut self, freed: &[KeptFreed]) {
        // Better one too many is known than one that was let go is ended.
        let lives = |origin: &Origin| !tree::members(origin).is_ok_and(|left| left.is_empty());
        self.free.extend(freed.iter().map(origin).filter(lives));
    }
}

fn kept(origin: &Origin) -> KeptFreed {
    let mark = origin.mark.as_ref();
    KeptFreed {
        pid: origin.pid.as_raw(),
        started: origin.start_ticks,
        mark: mark.and_then(|mark| Some((mark.name.clone(), mark.value.to_str()?.to_owned()))),
    }
}

fn origin(freed: &KeptFreed) -> Origin {
    let mark = freed.mark.clone();
    Origin {
        pid: Pid::from_raw(freed.pid),
        start_ticks: freed.started,
        mark: mark.map(|(name, value)| Mark {
            name,
            value: value.into(),
        }),
    }
}
