//! One epoll set for many descriptors, each under a number of the caller's choice.
//!
//! It can itself be watched (it is readable while anything in it is ready), so the daemon's loop has one
//! descriptor for all pidfds. Level-triggered but for [`Interest::News`], non-blocking; it owns none of the
//! descriptors in it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// How many are told at once: the cost of a look must not grow with the set. What is ready and not told
/// comes first the next time.
const READY_MAX: usize = 256;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something can be read; a pidfd: the process has ended.
    Read,
    /// Something has come, or nothing more will: told once each time it does (`EPOLLET`), even if what was
    /// there before has not been read. Pipes do so from Linux 5.14 on, and in the stable ones before.
    News,
    /// Nothing but that nothing more will come, told once.
    End,
    /// `EPOLLPRI`: the content of a kernel file (`cgroup.events`) has changed.
    Priority,
}

/// How a descriptor is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The number it was added under.
    pub token: u64,
    /// Something can be read.
    pub readable: bool,
    /// A kernel file has changed.
    pub priority: bool,
    /// It has an error, or the other end is gone. Kernel files say so with every change.
    pub failed: bool,
}

/// The set.
#[derive(Debug)]
pub struct Watch {
    epoll: Epoll,
}

impl Watch {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// `EMFILE`.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Adds a descriptor. It must be removed before it is closed if a copy of it stays open anywhere.
    ///
    /// # Errors
    ///
    /// `EEXIST` if it is in the set; `EPERM` for a plain file; `ENOSPC` past `max_user_watches`.
    pub fn add(&mut self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(fd, event(token, interest))?)
    }

    /// Waits for something else of a descriptor that is in the set; what is there already is told.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not in the set.
    pub fn change(&mut self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut event(token, interest))?)
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not in the set.
    pub fn remove(&mut self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// Replaces the content of `ready` by what is ready now, at most 256 of it, without waiting.
    ///
    /// The kernel puts whom it has told at the end of its list, so nobody who is always ready can push another
    /// aside (epoll_wait(2)). Whoever waits for this set edge-triggered (tokio's `AsyncFd`) must call again until the answer is empty before waiting.
    ///
    /// # Errors
    ///
    /// None is expected.
    pub fn ready(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let mut events = [EpollEvent::empty(); READY_MAX];
        let n = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
            Ok(n) => n,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        ready.extend(events[..n].iter().map(|event| {
            let has = |flags| event.events().intersects(flags);
            Ready {
                token: event.data(),
                readable: has(EpollFlags::EPOLLIN),
                priority: has(EpollFlags::EPOLLPRI),
                failed: has(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP),
            }
        }));
        Ok(())
    }
}

fn event(token: u64, interest: Interest) -> EpollEvent {
    let flags = match interest {
        Interest::Read => EpollFlags::EPOLLIN,
        Interest::News => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
        Interest::End => EpollFlags::EPOLLET,
        Interest::Priority => EpollFlags::EPOLLPRI,
    };
    EpollEvent::new(flags, token)
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use crate::sys::cgroup::Removal;
    use crate::sys::pidfd::ExitStatus;
    use crate::sys::spawn::spawn;
    use crate::sys::testing::{PATIENCE, group, script, wait, wait_pidfd};
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::unistd::pipe;

    /// Waits until the set itself is readable.
    fn wait_ready(watch: &Watch) -> Vec<Ready> {
        let timeout = PollTimeout::try_from(PATIENCE).unwrap();
        let n = poll(
            &mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)],
            timeout,
        )
        .unwrap();
        assert_eq!(n, 1, "nothing became ready");
        let mut ready = Vec::new();
        watch.ready(&mut ready).unwrap();
        ready
    }

    #[test]
    fn the_end_of_a_process_is_told_under_its_token() {
        let mut watch = Watch::new().unwrap();
        let child = spawn(&script("read line"), &[], None).unwrap();
        watch.add(&child.pidfd, 42, Interest::Read).unwrap();
        let ready = wait_ready(&watch);
        assert_eq!(
            (ready.len(), ready[0].token, ready[0].readable),
            (1, 42, true)
        );
        watch.remove(&child.pidfd).unwrap();
        assert_eq!(wait(&child), ExitStatus::Exited(1));
        let mut none = vec![ready[0]];
        watch.ready(&mut none).unwrap();
        assert_eq!(none, []);
    }

    #[test]
    fn who_is_always_ready_hides_nobody() {
        let mut watch = Watch::new().unwrap();
        let (read, write) = pipe().unwrap();
        nix::unistd::write(&write, b"x").unwrap();
        let always: Vec<_> = (0..READY_MAX + 50)
            .map(|_| read.try_clone().unwrap())
            .collect();
        for (n, read) in always.iter().enumerate() {
            watch.add(read, n as u64, Interest::Read).unwrap();
        }
        let child = spawn(&script(""), &[], None).unwrap();
        watch.add(&child.pidfd, 1000, Interest::Read).unwrap();
        wait_pidfd(&child.pidfd);
        for _ in 0..3 {
            let told = [wait_ready(&watch), wait_ready(&watch)].concat();
            let tokens: BTreeSet<u64> = told.iter().map(|ready| ready.token).collect();
            let all = (0..READY_MAX as u64 + 50).chain([1000]);
            assert_eq!(tokens, all.collect(), "in two looks");
        }
        wait(&child);
    }

    #[test]
    fn what_comes_to_a_pipe_that_is_not_read_is_news_each_time() {
        let mut watch = Watch::new().unwrap();
        let (read, write) = pipe().unwrap();
        watch.add(&read, 3, Interest::News).unwrap();
        let mut ready = Vec::new();
        for _ in 0..3 {
            nix::unistd::write(&write, b"x").unwrap();
            assert_eq!(wait_ready(&watch).len(), 1);
            watch.ready(&mut ready).unwrap();
            assert_eq!(ready, [], "told once");
        }
        watch.change(&read, 3, Interest::End).unwrap();
        nix::unistd::write(&write, b"x").unwrap();
        watch.ready(&mut ready).unwrap();
        assert_eq!(ready, [], "nobody asks for it");
        watch.change(&read, 3, Interest::News).unwrap();
        assert_eq!(wait_ready(&watch).len(), 1, "what came meanwhile");
        watch.change(&read, 3, Interest::End).unwrap();
        drop(write);
        assert!(wait_ready(&watch)[0].failed);
    }

    #[test]
    fn an_emptied_cgroup_is_told_as_priority() {
        let Some(group) = group("epoll") else { return };
        let mut watch = Watch::new().unwrap();
        let child = spawn(&script("exec sleep 1000"), &[], Some(&group)).unwrap();
        let events = group.events_fd().unwrap();
        assert!(events.state().unwrap().populated);
        watch.add(&events, 7, Interest::Priority).unwrap();
        let mut ready = Vec::new();
        watch.ready(&mut ready).unwrap();
        assert_eq!(ready, [], "nothing has changed yet");
        group.kill().unwrap();
        loop {
            let ready = wait_ready(&watch);
            assert!(
                ready.iter().all(|one| one.token == 7 && one.priority),
                "{ready:?}"
            );
            if !events.state().unwrap().populated {
                break;
            }
        }
        watch.ready(&mut ready).unwrap();
        assert_eq!(ready, [], "a change that was read is told no more");
        wait(&child);
        assert_eq!(group.remove().unwrap(), Removal::Done);
    }
}
