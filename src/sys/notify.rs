//! The receiving end of sd_notify(3): a datagram socket at a path, and who has written to it.
//!
//! What a message says is not read here, nor decided who may say it. Descriptors that come with one are
//! closed at once, which is all that `BARRIER=1` asks for.

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::ptr;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Pid, Uid, chown};

use super::pidfd::Pidfd;

/// The longest message that is taken, as systemd has it (`NOTIFY_BUFFER_MAX`).
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// Room for what comes with a message: who has sent it, its pidfd, and one descriptor, as `BARRIER=1` needs.
///
/// There is no more on purpose: what does not fit, the kernel closes before it is ours, so that a flood of
/// descriptors cannot fill our table, and no close(2) of ours waits for somebody's file system. Who sends
/// some more may cost us the pidfd; then the credentials must do.
const CONTROL_BYTES: usize = 96;

/// A socket that one process and its children write to. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Receiver {
    fd: OwnedFd,
    path: PathBuf,
}

/// Who has sent a message, as the kernel knows it.
#[derive(Debug)]
pub struct Sender {
    /// Its pid when it was sent; another may have the number by now.
    pub pid: Pid,
    /// The process itself, from Linux 6.5.
    pub pidfd: Option<Pidfd>,
}

/// What was sent.
#[derive(Debug)]
pub struct Datagram {
    /// The message; `None` if it is longer than [`MESSAGE_BYTES_MAX`].
    pub text: Option<Vec<u8>>,
    /// `None` if it cannot be told: it is in a pid namespace that we cannot see.
    pub sender: Option<Sender>,
}

impl Receiver {
    /// Makes a socket at `path`, which only `owner` (and root) can write to; `None` is us.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE` if there is something; `ENAMETOOLONG` past 107 bytes; `EPERM` if `owner` is another and
    /// we may not give files away.
    pub fn bind(path: &Path, owner: Option<Uid>) -> io::Result<Self> {
        let address = UnixAddr::new(path)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&fd, sockopt::PassCred, &true)?;
        pass_pidfd(&fd);
        // On Linux the file is made with the mode of the socket itself (less the umask), so there is no moment
        // in which it is open to others.
        fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
        bind(fd.as_raw_fd(), &address)?;
        // From here on it is removed whatever happens.
        let receiver = Self {
            fd,
            path: path.to_owned(),
        };
        if let Some(owner) = owner {
            let group: Option<Gid> = None;
            chown(path, Some(owner), group)?;
        }
        Ok(receiver)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next message, without waiting; `None` if there is none.
    ///
    /// # Errors
    ///
    /// None is expected.
    pub fn receive(&self) -> io::Result<Option<Datagram>> {
        let mut text = vec![0_u8; MESSAGE_BYTES_MAX];
        // As 64-bit numbers, as the headers in it are aligned like those (cmsg(3)).
        let mut control = [0_u64; CONTROL_BYTES / 8];
        let mut part = libc::iovec {
            iov_base: text.as_mut_ptr().cast(),
            iov_len: text.len(),
        };
        // SAFETY: numbers and pointers, for all of which zero is a value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = mem::size_of_val(&control) as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the header describes two buffers of ours with their sizes; the kernel writes to no others.
        let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, flags) };
        let Ok(length) = usize::try_from(length) else {
            return match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error => Err(error),
            };
        };
        // SAFETY: recvmsg(2) has just filled it in, and `control`, to which it points, is there.
        let sender = unsafe { read_control(&header) };
        text.truncate(length);
        let whole = header.msg_flags & libc::MSG_TRUNC == 0;
        Ok(Some(Datagram {
            text: whole.then_some(text),
            sender,
        }))
    }
}

/// Has each message come with the pidfd of its sender, where the kernel can do that (Linux 6.5).
fn pass_pidfd(fd: &OwnedFd) {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads a number of the size that is said.
    // An older kernel refuses; then there are the credentials alone.
    let _ = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSPIDFD,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
}

/// Who has sent it; every other descriptor that came with it is closed.
///
/// # Safety
///
/// `header` is as recvmsg(2) has filled it in, and the buffer it points to is there.
unsafe fn read_control(header: &libc::msghdr) -> Option<Sender> {
    let (mut pid, mut pidfd) = (None, None);
    // SAFETY: by the caller's promise; each step stays inside what the kernel has written (cmsg(3)), and each
    // descriptor in there is new, open and nobody else's.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(item) = next.as_ref() {
            let data = libc::CMSG_DATA(item);
            let length: usize = item.cmsg_len as _;
            let bytes = length.saturating_sub(data.offset_from_unsigned(next.cast()));
            match (item.cmsg_level, item.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
                    if bytes >= mem::size_of::<libc::ucred>() =>
                {
                    pid = Some(ptr::read_unaligned(data.cast::<libc::ucred>()).pid);
                }
                (libc::SOL_SOCKET, SCM_PIDFD) if bytes >= mem::size_of::<RawFd>() => {
                    let fd = ptr::read_unaligned(data.cast::<RawFd>());
                    // Of a sender that is gone, an older kernel gives an error in its place.
                    pidfd = (fd >= 0).then(|| Pidfd::from(OwnedFd::from_raw_fd(fd)));
                }
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for index in 0..bytes / mem::size_of::<RawFd>() {
                        let fd = ptr::read_unaligned(data.cast::<RawFd>().add(index));
                        drop(OwnedFd::from_raw_fd(fd));
                    }
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    let pid = Pid::from_raw(pid.filter(|&pid| pid > 0)?);
    Some(Sender { pid, pidfd })
}

/// The kind of a control message that holds a pidfd (`linux/socket.h`); libc has no name for it.
const SCM_PIDFD: libc::c_int = 4;

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may be gone, or its directory; nobody is served by a complaint.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::IoSlice;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixDatagram;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use crate::sys::spawn::spawn;
    use crate::sys::testing::{is_root, script, wait};

    fn receiver() -> (tempfile::TempDir, Receiver) {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::bind(&directory.path().join("notify"), None).unwrap();
        (directory, receiver)
    }

    fn sender_to(receiver: &Receiver) -> UnixDatagram {
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(receiver.path()).unwrap();
        sender
    }

    fn open_descriptors() -> usize {
        fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn a_message_comes_with_its_sender() {
        let (_directory, receiver) = receiver();
        assert!(receiver.receive().unwrap().is_none());
        sender_to(&receiver).send(b"READY=1").unwrap();
        let datagram = receiver.receive().unwrap().unwrap();
        assert_eq!(datagram.text.unwrap(), b"READY=1");
        let sender = datagram.sender.unwrap();
        assert_eq!(sender.pid, Pid::this());
        if let Some(pidfd) = sender.pidfd {
            assert_eq!(pidfd.pid().unwrap(), Pid::this());
        }
    }

    #[test]
    fn a_sender_that_is_gone_is_told_all_the_same() {
        let (_directory, receiver) = receiver();
        let text = format!(
            "exec python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
             s.sendto(b\"X=1\", \"{}\")'",
            receiver.path().display()
        );
        let child = spawn(&script(&text), &[], None).unwrap();
        wait(&child);
        let datagram = receiver.receive().unwrap().unwrap();
        assert_eq!(datagram.sender.unwrap().pid, child.pid);
    }

    #[test]
    fn a_message_that_is_too_long_is_no_message() {
        let (_directory, receiver) = receiver();
        let sender = sender_to(&receiver);
        sender.send(&[b'x'; MESSAGE_BYTES_MAX]).unwrap();
        sender.send(&[b'x'; MESSAGE_BYTES_MAX + 1]).unwrap();
        sender.send(b"").unwrap();
        let mut lengths = Vec::new();
        while let Some(datagram) = receiver.receive().unwrap() {
            lengths.push(datagram.text.map(|text| text.len()));
        }
        assert_eq!(lengths, [Some(MESSAGE_BYTES_MAX), None, Some(0)]);
    }

    #[test]
    fn descriptors_are_closed_however_many_come() {
        let alone = "sys::notify::tests::descriptors_are_closed_however_many_come";
        if !crate::sys::testing::alone(alone, Vec::new()) {
            return;
        }
        let (_directory, receiver) = receiver();
        let sender = sender_to(&receiver);
        for count in [1, 2, 100, 253] {
            let (ours, theirs) = nix::unistd::pipe().unwrap();
            let before = open_descriptors();
            let many = vec![theirs.as_raw_fd(); count];
            sendmsg::<UnixAddr>(
                sender.as_raw_fd(),
                &[IoSlice::new(b"BARRIER=1")],
                &[ControlMessage::ScmRights(&many)],
                MsgFlags::empty(),
                None,
            )
            .unwrap();
            drop(theirs);
            let datagram = receiver.receive().unwrap().unwrap();
            assert_eq!(datagram.text.unwrap(), b"BARRIER=1");
            assert_eq!(datagram.sender.unwrap().pid, Pid::this());
            // The last writer is gone, which is what one that waits behind a barrier waits for.
            assert_eq!(nix::unistd::read(&ours, &mut [0]).unwrap(), 0, "{count}");
            assert_eq!(open_descriptors(), before - 1, "{count}");
        }
    }

    #[test]
    fn the_file_is_for_its_owner_and_goes_with_the_socket() {
        let (_directory, receiver) = receiver();
        let path = receiver.path().to_owned();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Receiver::bind(&path, None).unwrap_err();
        assert_eq!(again.raw_os_error(), Some(libc::EADDRINUSE));
        drop(receiver);
        assert!(!path.exists());
        if is_root() {
            let receiver = Receiver::bind(&path, Some(Uid::from_raw(65534))).unwrap();
            assert_eq!(fs::metadata(receiver.path()).unwrap().uid(), 65534);
        }
    }
}
