//! Pipes that are read without being emptied, so that what was read and not yet dealt with is still there
//! for somebody else.
//!
//! Knows nothing of lines, nor of who writes.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Copies what is in one pipe to another without taking it out (tee(2)): `max` bytes at most, and no more
/// than there is room for. Never waits. 0: it is empty, and nobody can write to it any more.
///
/// # Errors
///
/// `WouldBlock` where it is empty for now, or there is no room; `EINVAL` where one of them is no pipe.
pub fn tee(from: impl AsFd, to: impl AsFd, max: usize) -> io::Result<usize> {
    // SAFETY: numbers only, of descriptors that are open as they are borrowed.
    let copied = unsafe {
        libc::tee(
            from.as_fd().as_raw_fd(),
            to.as_fd().as_raw_fd(),
            max,
            libc::SPLICE_F_NONBLOCK,
        )
    };
    usize::try_from(copied).map_err(|_| io::Error::last_os_error())
}

/// How many bytes are in a pipe (`FIONREAD`).
///
/// # Errors
///
/// None is expected.
pub fn unread(pipe: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as it is borrowed; the kernel writes one int, which is there.
    let result = unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &mut bytes) };
    match result {
        0 => Ok(usize::try_from(bytes).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether nobody has an end of this pipe open by which it can be written to. Of one that nobody ever had
/// open since this end was, that cannot be told: false.
#[must_use]
pub fn is_hung_up(reader: impl AsFd) -> bool {
    polled(reader, PollFlags::POLLIN).contains(PollFlags::POLLHUP)
}

/// Whether a writer of this pipe would not have to wait. The pages of a pipe are never all filled to the
/// last byte, so that the number of bytes in it does not tell; only who can write is told, and so the pipe
/// is opened for a moment.
///
/// # Errors
///
/// `EMFILE`; `ENOENT` without /proc.
pub fn has_room(reader: impl AsFd) -> io::Result<bool> {
    let path = format!("/proc/self/fd/{}", reader.as_fd().as_raw_fd());
    let mut options = OpenOptions::new();
    let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let writer = options.write(true).custom_flags(flags.bits()).open(path)?;
    Ok(polled(writer, PollFlags::POLLOUT).contains(PollFlags::POLLOUT))
}

fn polled(fd: impl AsFd, wanted: PollFlags) -> PollFlags {
    let mut fds = [PollFd::new(fd.as_fd(), wanted)];
    // Who cannot be asked is as if nothing had happened.
    let _ = poll(&mut fds, PollTimeout::ZERO);
    fds[0].revents().unwrap_or(PollFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;

    fn pipe() -> (File, File) {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let into = |fd: OwnedFd| File::from(fd);
        (into(read), into(write))
    }

    #[test]
    fn what_is_copied_stays_where_it_is() {
        let (mut from, mut writer) = pipe();
        let (mut copy, to) = pipe();
        let again = tee(&from, &to, 100).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::WouldBlock);
        writer.write_all(b"one").unwrap();
        for _ in 0..2 {
            assert_eq!(tee(&from, &to, 100).unwrap(), 3);
            let mut read = [0; 10];
            assert_eq!(copy.read(&mut read).unwrap(), 3);
            assert_eq!(&read[..3], b"one");
            assert_eq!(unread(&from).unwrap(), 3);
        }
        let mut read = [0; 10];
        assert_eq!(from.read(&mut read).unwrap(), 3);
        assert!(!is_hung_up(&from));
        drop(writer);
        assert!(is_hung_up(&from));
        assert_eq!(tee(&from, &to, 100).unwrap(), 0);
    }

    #[test]
    fn a_pipe_is_full_when_a_writer_would_wait_whatever_is_in_it() {
        let (from, mut writer) = pipe();
        assert!(has_room(&from).unwrap());
        let mut written = 0;
        // More than half a page, so that no two of them share one.
        while let Ok(n) = writer.write(&[b'x'; 2100]) {
            written += n;
        }
        assert!(written < 40_000, "{written}");
        assert_eq!(unread(&from).unwrap(), written);
        assert!(!has_room(&from).unwrap());
    }
}
