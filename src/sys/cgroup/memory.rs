//! What a group has gone through for want of memory.
//!
//! Counts only, as the kernel does, since the group was made; who compares them with what they were is the
//! caller. Source: the kernel's `admin-guide/cgroup-v2.rst`, memory interface files.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::Cgroup;

/// How often since the group was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Its limit, or that of a group below, was met and nothing was left to reclaim.
    pub met: u64,
    /// One of its processes was killed for want of memory, whoever's limit it was.
    pub killed: u64,
}

/// `memory.events` of a group, held open to hear of changes.
///
/// It signals priority as [`Events`](super::Events) do, at most a hundred times a second, and for other
/// reasons too: each reading may find the same counts.
#[derive(Debug)]
pub struct MemoryEvents(File);

impl MemoryEvents {
    /// Reads the counts, and with it takes note of the change.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the group has been removed, or has lost its controller.
    pub fn wants(&self) -> io::Result<Wants> {
        let mut buffer = [0; 512];
        let n = self.0.read_at(&mut buffer, 0)?;
        Ok(parse(&String::from_utf8_lossy(&buffer[..n])))
    }
}

impl AsFd for MemoryEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Cgroup {
    /// Opens `memory.events` for waiting; `None` if the group does not have the memory controller.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the group has been removed; `EMFILE`.
    pub fn memory_events(&self) -> io::Result<Option<MemoryEvents>> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        match openat(self, "memory.events", flags, Mode::empty()) {
            Ok(fd) => Ok(Some(MemoryEvents(File::from(fd)))),
            Err(nix::errno::Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// How often the limit of this very group was met, not that of one below; `None` without the memory
    /// controller.
    #[must_use]
    pub fn own_limit_met(&self) -> Option<u64> {
        let text = self.read("memory.events.local").ok()?;
        Some(parse(&text).met)
    }

    /// The limit of its memory in bytes; `None` if it has none.
    #[must_use]
    pub fn memory_max(&self) -> Option<u64> {
        self.read("memory.max").ok()?.trim().parse().ok()
    }

    /// Whether a want of memory that kills one of its processes kills all of them.
    #[must_use]
    pub fn is_killed_as_one(&self) -> bool {
        let text = self.read("memory.oom.group");
        text.is_ok_and(|text| text.trim() == "1")
    }

    /// The most memory it has had since it was made, in bytes, page cache included; `None` without the
    /// memory controller, and before Linux 5.19.
    #[must_use]
    pub fn memory_peak(&self) -> Option<u64> {
        self.read("memory.peak").ok()?.trim().parse().ok()
    }
}

fn parse(text: &str) -> Wants {
    let count = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0)
    };
    Wants {
        met: count("oom"),
        killed: count("oom_kill"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cgroup::Controller;
    use crate::sys::testing::group;

    #[test]
    fn the_counts_are_found_among_the_others() {
        let text = "low 0\nhigh 5\nmax 17\noom 2\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(parse(text), Wants { met: 2, killed: 3 });
        assert_eq!(parse(""), Wants::default());
    }

    #[test]
    fn a_group_tells_of_its_memory_only_with_the_controller() {
        let Some(group) = group("wants") else { return };
        let has = group.controllers().unwrap().contains(&Controller::Memory);
        let events = group.memory_events().unwrap();
        assert_eq!(events.is_some(), has);
        assert_eq!(group.own_limit_met().is_some(), has);
        if let Some(events) = events {
            assert_eq!(events.wants().unwrap(), Wants::default());
        }
        assert_eq!(group.memory_max(), None, "a new group has no limit");
        group.remove().unwrap();
    }
}
