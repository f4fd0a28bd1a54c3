//! The way to the service manager. It may be busy, and we do not wait for it: what it has no room
//! for now is sent later, in its order.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

/// More than this is not kept for a manager that does not listen. A thousand processes that start
/// together are as many messages.
const WAITING_MAX: usize = 16 * 1024;

/// What is on its way to the manager.
#[derive(Debug)]
pub(super) struct Outbox {
    socket: UnixDatagram,
    to: UnixAddr,
    waiting: VecDeque<(String, Option<OwnedFd>)>,
    /// Some were lost, and that was told.
    lossy: bool,
}

impl Outbox {
    /// `None` where there is no manager that listens: `NOTIFY_SOCKET` is not set.
    ///
    /// # Errors
    ///
    /// What it says is no address of a Unix socket.
    pub(super) fn open() -> io::Result<Option<Outbox>> {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        let to = address_of(&address)?;
        let socket = UnixDatagram::unbound()?;
        Ok(Some(Outbox {
            socket,
            to,
            waiting: VecDeque::new(),
            lossy: false,
        }))
    }

    /// Sends a message, now or later.
    pub(super) fn send(&mut self, text: String, fd: Option<BorrowedFd<'_>>) {
        self.flush();
        if self.waiting.is_empty() {
            match self.try_send(&text, fd) {
                Ok(()) => return,
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {}
                Err(errno) => return self.complain(&errno.to_string()),
            }
        }
        if self.waiting.len() >= WAITING_MAX {
            return self.complain("it does not listen");
        }
        match fd.map(|fd| fd.try_clone_to_owned()).transpose() {
            Ok(fd) => self.waiting.push_back((text, fd)),
            Err(error) => self.complain(&error.to_string()),
        }
    }

    /// Sends what has waited, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some((text, fd)) = self.waiting.front() {
            match self.try_send(text, fd.as_ref().map(AsFd::as_fd)) {
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return,
                Ok(()) => {}
                Err(errno) => self.complain(&errno.to_string()),
            }
            self.waiting.pop_front();
        }
    }

    /// Whether something waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn try_send(&self, text: &str, fd: Option<BorrowedFd<'_>>) -> nix::Result<()> {
        let fds: Vec<i32> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights[..] };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let parts = [IoSlice::new(text.as_bytes())];
        let socket = self.socket.as_raw_fd();
        sendmsg(socket, &parts, control, flags, Some(&self.to)).map(drop)
    }

    /// Once: it is not said for every message that somebody is not there.
    fn complain(&mut self, why: &str) {
        if !std::mem::replace(&mut self.lossy, true) {
            tracing::warn!("failed to notify the service manager, going on without: {why}");
        }
    }
}

/// A path, or `@` and an abstract name (sd_notify(3)).
fn address_of(text: &OsString) -> io::Result<UnixAddr> {
    match text.as_bytes() {
        [b'@', name @ ..] => Ok(UnixAddr::new_abstract(name)?),
        _ => Ok(UnixAddr::new(text.as_os_str())?),
    }
}
