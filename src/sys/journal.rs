//! A stream into the journal, to be a worker's standard output.
//!
//! What is written to it goes to journald directly, neither through us nor ending with us. The protocol is that
//! of sd_journal_stream_fd(3): a header of seven lines, then text. Records with fields of their own are not
//! made here.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};

use std::os::fd::AsRawFd;

/// Where journald listens for streams.
pub const SOCKET: &str = "/run/systemd/journal/stdout";

/// What the kernel may hold of a worker's output while journald is busy: as systemd asks for its services.
const SEND_BUFFER_BYTES: usize = 8 << 20;

/// How the lines of a stream are marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// `SYSLOG_IDENTIFIER=` of each line.
    pub identifier: String,
    /// The unit they are filed under, where we have the right to say so; empty: the one journald finds by our
    /// cgroup.
    pub unit: String,
    /// 0 (emergency) to 7 (debug), of lines that do not say otherwise.
    pub priority: u8,
    /// Whether a line may begin with `<3>` to say otherwise.
    pub level_prefix: bool,
}

impl Stream {
    /// Opens a stream to the journal of this machine; writing to it may block.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `ECONNREFUSED` if no journald runs; `EAGAIN` if it has more connections waiting than it takes;
    /// `EINVAL` if a text holds a line break or the priority is above 7.
    pub fn open(&self) -> io::Result<OwnedFd> {
        self.open_at(Path::new(SOCKET))
    }

    fn open_at(&self, path: &Path) -> io::Result<OwnedFd> {
        let header = self.header()?;
        // Not blocking, so that a journald that stands still does not stop us; the header is far less than a
        // socket holds.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        let mut stream = UnixStream::from(fd);
        stream.shutdown(Shutdown::Read)?;
        // A smaller buffer is no reason to do without the journal.
        let _ = setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER_BYTES);
        stream.write_all(header.as_bytes())?;
        stream.set_nonblocking(false)?;
        Ok(stream.into())
    }

    fn header(&self) -> io::Result<String> {
        let Self {
            identifier,
            unit,
            priority,
            level_prefix,
        } = self;
        if *priority > 7
            || [identifier, unit]
                .iter()
                .any(|text| text.contains(['\n', '\0']))
        {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let level_prefix = u8::from(*level_prefix);
        // The last three: forward to syslog, to the kernel's log, to the console.
        Ok(format!(
            "{identifier}\n{unit}\n{priority}\n{level_prefix}\n0\n0\n0\n"
        ))
    }
}

/// Whether `fd` is the very stream to the journal that systemd started us with (`$JOURNAL_STREAM`,
/// systemd.exec(5)); a variable inherited by somebody whose output goes elsewhere does not count.
#[must_use]
pub fn connected_to_journal(fd: impl AsFd) -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some_and(|value| is_stream(&value, fd))
}

fn is_stream(journal_stream: &OsStr, fd: impl AsFd) -> bool {
    let Ok(stat) = nix::sys::stat::fstat(fd) else {
        return false;
    };
    journal_stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pidfd::ExitStatus;
    use crate::sys::spawn::spawn;
    use crate::sys::testing::{script, wait};
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    fn web() -> Stream {
        Stream {
            identifier: "web".into(),
            unit: String::new(),
            priority: 6,
            level_prefix: true,
        }
    }

    #[test]
    fn a_worker_writes_behind_the_header() {
        // A listener in journald's place sees what it would see.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        let listener = UnixListener::bind(&path).unwrap();
        let stream = web().open_at(&path).unwrap();
        let child = spawn(&script("echo '<3>bad'"), &[(stream.as_fd(), 1)], None).unwrap();
        drop(stream);
        let mut text = String::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "web\n\n6\n1\n0\n0\n0\n<3>bad\n");
        assert_eq!(wait(&child), ExitStatus::Exited(0));
    }

    #[test]
    fn a_line_break_cannot_forge_the_header() {
        for (identifier, unit) in [("a\nb", ""), ("a", "b\n"), ("a\0", "")] {
            let stream = Stream {
                identifier: identifier.into(),
                unit: unit.into(),
                ..web()
            };
            assert_eq!(
                stream.open().unwrap_err().raw_os_error(),
                Some(libc::EINVAL)
            );
        }
    }

    #[test]
    fn only_the_very_stream_counts() {
        let (ours, other) = UnixStream::pair().unwrap();
        let stat = nix::sys::stat::fstat(&ours).unwrap();
        let value = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_stream(OsStr::new(&value), &ours));
        assert!(!is_stream(OsStr::new(&value), &other));
        assert!(!is_stream(OsStr::new("nonsense"), &ours));
    }
}
