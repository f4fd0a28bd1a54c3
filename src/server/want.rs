//! What the kernel says of a worker's want of memory: whether somebody was killed, and at whose limit.
//!
//! A place's group is used by one worker after the other and the kernel goes on counting, so all
//! counts are compared with what they were when the worker was born.

use std::io;
use std::path::PathBuf;

use crate::sys::cgroup::{Cgroup, MemoryEvents, Wants};

/// Listens to the group of one worker.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) events: MemoryEvents,
    leaf: PathBuf,
    seen: Wants,
    /// How often the limit of the watcher was met.
    seen_above: u64,
    /// The most memory that the place has had before this worker, in bytes.
    peak_before: u64,
    /// Somebody was killed already.
    has_seen: bool,
}

/// Something was killed for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kill {
    /// The most memory the worker has had, in bytes, where that is known.
    pub(super) peak: Option<u64>,
    /// The limit that was met, in bytes, if it is the worker's or its watcher's.
    pub(super) limit: Option<u64>,
}

impl Witness {
    /// Listens from now on, before anybody lives in `leaf`. `None` where memory is not counted.
    ///
    /// # Errors
    ///
    /// The table of descriptors is full.
    pub(super) fn new(leaf: &Cgroup) -> io::Result<Option<Witness>> {
        let Some(events) = leaf.memory_events()? else {
            return Ok(None);
        };
        Ok(Some(Witness {
            seen: events.wants()?,
            events,
            seen_above: above(leaf).and_then(|g| g.own_limit_met()).unwrap_or(0),
            peak_before: leaf.memory_peak().unwrap_or(0),
            has_seen: false,
            leaf: leaf.path().to_owned(),
        }))
    }

    /// Whether somebody was killed since the last look.
    ///
    /// # Errors
    ///
    /// The group is gone: there will be no more to see.
    pub(super) fn look(&mut self) -> io::Result<Option<Kill>> {
        let now = self.events.wants()?;
        // That a limit is met comes first, and the kill after it: until then it is kept in mind.
        if now.killed <= self.seen.killed {
            return Ok(None);
        }
        let before = std::mem::replace(&mut self.seen, now);
        let leaf = Cgroup::open(&self.leaf)?;
        // Where all are killed as one, those that follow the first are no news.
        if std::mem::replace(&mut self.has_seen, true) && leaf.is_killed_as_one() {
            return Ok(None);
        }
        let limit = match now.met > before.met {
            true => leaf.memory_max(),
            false => self.limit_above(&leaf),
        };
        Ok(Some(Kill {
            peak: self.peak(leaf.memory_peak()),
            limit,
        }))
    }

    /// The most memory of this worker, given the most that its place has ever had; `None` if that was
    /// an earlier worker's.
    pub(super) fn peak(&self, of_place: Option<u64>) -> Option<u64> {
        of_place.filter(|peak| *peak > self.peak_before)
    }

    fn limit_above(&mut self, leaf: &Cgroup) -> Option<u64> {
        let above = above(leaf)?;
        let met = above.own_limit_met()?;
        let before = std::mem::replace(&mut self.seen_above, met);
        (met > before).then(|| above.memory_max()).flatten()
    }
}

/// The group of the watcher.
fn above(leaf: &Cgroup) -> Option<Cgroup> {
    Cgroup::open(leaf.path().parent()?).ok()
}
