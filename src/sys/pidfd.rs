//! A process, held by a descriptor: signals and its end.
//!
//! A pid names whoever has the number now; a pidfd names the process it was opened for, for ever. Becomes
//! readable (epoll, poll) when the process ends.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::unistd::Pid;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this code (0 to 255).
    Exited(i32),
    /// By this signal.
    Signaled {
        /// Its number; may be a real-time signal.
        signal: i32,
        /// Whether it left a core dump.
        dumped: bool,
    },
}

/// A process.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// The process that has this pid now. Whether it is the one that is meant must be checked afterwards.
    ///
    /// # Errors
    ///
    /// `ESRCH` if there is none; `EMFILE`.
    pub fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: numbers only; on success the descriptor is new and ours.
        unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(fd as RawFd)))
        }
    }

    /// Sends `signal` (signal(7); 0 only checks) to the process.
    ///
    /// # Errors
    ///
    /// `ESRCH` if it has ended and was waited for; `EPERM` if it has changed to a user we may not signal;
    /// `EINVAL` if there is no such signal. A zombie takes the signal without error and without effect.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.send(signal, 0)
    }

    /// Sends `signal` to the process group that the process leads or led, as long as anybody is in it.
    ///
    /// Before Linux 6.9 only while the process itself has not been waited for: it is then that its number
    /// cannot have gone to a group of strangers.
    ///
    /// # Errors
    ///
    /// `ESRCH` if nobody is left in it, or the process is no group leader; else as for [`Self::signal`].
    pub fn signal_group(&self, signal: i32) -> io::Result<()> {
        match self.send(signal, PIDFD_SIGNAL_PROCESS_GROUP) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.signal_group_by_number(signal)
            }
            result => result,
        }
    }

    fn signal_group_by_number(&self, signal: i32) -> io::Result<()> {
        let pid = self.pid()?;
        // A pid is not given away before its process was waited for, and whoever waits is the caller.
        self.signal(0)?;
        // SAFETY: numbers only.
        match unsafe { libc::kill(-pid.as_raw(), signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn send(&self, signal: i32, flags: libc::c_uint) -> io::Result<()> {
        let info: *mut libc::siginfo_t = ptr::null_mut();
        // SAFETY: the descriptor is open because we own it; a null `siginfo` asks the kernel to fill in what
        // kill(2) would.
        let r = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal,
                info,
                flags,
            )
        };
        if r == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The pid, while the process has not been waited for.
    ///
    /// # Errors
    ///
    /// `ESRCH` afterwards.
    pub fn pid(&self) -> io::Result<Pid> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd()))?;
        info.lines()
            .find_map(|line| line.strip_prefix("Pid:"))
            .and_then(|number| number.trim().parse().ok())
            .filter(|&pid: &i32| pid > 0)
            .map(Pid::from_raw)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
    }

    /// A copy of a descriptor that the process has open under this number (pidfd_getfd(2)).
    ///
    /// # Errors
    ///
    /// `EBADF` if it has none, `ESRCH` if it has ended; `EPERM` if we may not look into it as a debugger
    /// may (ptrace(2)).
    pub fn descriptor(&self, number: RawFd) -> io::Result<OwnedFd> {
        // SAFETY: numbers only; on success the descriptor is new and ours, and closed on exec.
        unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), number, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(OwnedFd::from_raw_fd(fd as RawFd))
        }
    }

    /// How the process ended, or `None` while it runs. The first answer also releases its pid.
    ///
    /// # Errors
    ///
    /// `ECHILD` if the process is not our child, or has been waited for before.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        waitid(
            libc::P_PIDFD,
            self.0.as_raw_fd() as libc::id_t,
            libc::WNOHANG | libc::WEXITED,
        )
        .map(|ended| ended.map(|(_, status)| status))
    }

    /// How a process that is not our child has ended, or `None` while nobody can tell: it runs, or has
    /// ended and was not yet waited for by its parent (and may not be looked at by us).
    ///
    /// Who has waited for it does not matter: from Linux 6.15 the kernel keeps the answer for as long as
    /// somebody holds the process (`PIDFD_GET_INFO` in pidfd_open(2)).
    ///
    /// # Errors
    ///
    /// `ENOTTY` or `EINVAL` before Linux 6.13, `ENODATA` before 6.15 for one that was waited for.
    pub fn exit_of_stranger(&self) -> io::Result<Option<ExitStatus>> {
        // A zombie is told of by /proc, and after that by the kernel: it may go from the one to the other
        // in between.
        for _ in 0..2 {
            if let Some(status) = self.kept_exit()? {
                return Ok(Some(status));
            }
            if let Some(status) = self.pid().ok().and_then(exit_of_zombie) {
                return Ok(Some(status));
            }
        }
        match self.signal(0) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                Err(io::Error::from_raw_os_error(libc::ENODATA))
            }
            _ => Ok(None),
        }
    }

    fn kept_exit(&self) -> io::Result<Option<ExitStatus>> {
        let mut info = PidfdInfo {
            mask: PIDFD_INFO_EXIT,
            ..PidfdInfo::default()
        };
        // SAFETY: the request carries the size of the record, which is ours, aligned, and lives longer than
        // the call; the kernel writes no more than that size.
        let r = unsafe { libc::ioctl(self.0.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
        match r {
            0 if info.mask & PIDFD_INFO_EXIT != 0 => Ok(Some(wait_status(info.exit_code))),
            0 => Ok(None),
            _ => match io::Error::last_os_error() {
                // Older kernels know nothing any more of who was waited for.
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
                error => Err(error),
            },
        }
    }

    /// As [`Self::try_wait`], but waits for the end.
    pub(super) fn wait(&self) -> io::Result<Option<ExitStatus>> {
        waitid(
            libc::P_PIDFD,
            self.0.as_raw_fd() as libc::id_t,
            libc::WEXITED,
        )
        .map(|ended| ended.map(|(_, status)| status))
    }
}

/// `struct pidfd_info` of linux/pidfd.h, as far as Linux 6.13 and 6.15 have it (`PIDFD_INFO_SIZE_VER0`):
/// later kernels take the shorter record and fill in no more than that.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    pids_and_credentials: [u32; 11],
    exit_code: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: libc::Ioctl = {
    const READ_AND_WRITE: u32 = 3;
    const MAGIC: u32 = 0xff;
    (READ_AND_WRITE << 30 | (size_of::<PidfdInfo>() as u32) << 16 | MAGIC << 8 | 11) as libc::Ioctl
};

/// As wait(2) packs it.
fn wait_status(status: i32) -> ExitStatus {
    if libc::WIFSIGNALED(status) {
        ExitStatus::Signaled {
            signal: libc::WTERMSIG(status),
            dumped: libc::WCOREDUMP(status),
        }
    } else {
        ExitStatus::Exited(libc::WEXITSTATUS(status))
    }
}

/// The last field of /proc/PID/stat (proc_pid_stat(5)), which only root and its own user may read; others
/// see 0 there, and learn nothing.
fn exit_of_zombie(pid: Pid) -> Option<ExitStatus> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = &text[text.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace();
    let dead = fields.next() == Some("Z");
    let status: i32 = fields.next_back()?.parse().ok()?;
    (dead && (status != 0 || readable(pid))).then(|| wait_status(status))
}

/// Whether what stands in /proc of that process is the truth for us: its last field reads 0 for those who
/// may not know.
fn readable(pid: Pid) -> bool {
    use std::os::unix::fs::MetadataExt;
    let us = nix::unistd::geteuid();
    us.is_root() || std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|m| m.uid() == us.as_raw())
}

/// Linux 6.9.
const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;

/// waitid(2), as nix has it, but without losing the real-time signals, for which nix has no name.
pub(super) fn waitid(
    id_type: libc::idtype_t,
    id: libc::id_t,
    options: i32,
) -> io::Result<Option<(Pid, ExitStatus)>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel fills in `info`, which is as large as it expects and was zeroed before, so that the
    // pid reads 0 when nobody has ended (waitid(2)); si_pid and si_status are the members in use for SIGCHLD.
    let (pid, status, code) = unsafe {
        if libc::waitid(id_type, id, info.as_mut_ptr(), options) != 0 {
            return Err(io::Error::last_os_error());
        }
        let info = info.assume_init();
        (info.si_pid(), info.si_status(), info.si_code)
    };
    if pid == 0 {
        return Ok(None);
    }
    let status = match code {
        libc::CLD_EXITED => ExitStatus::Exited(status),
        _ => ExitStatus::Signaled {
            signal: status,
            dumped: code == libc::CLD_DUMPED,
        },
    };
    Ok(Some((Pid::from_raw(pid), status)))
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Pidfd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for Pidfd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Pidfd> for OwnedFd {
    fn from(pidfd: Pidfd) -> Self {
        pidfd.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    use nix::unistd::pipe;

    use crate::sys::spawn::{Child, spawn};
    use crate::sys::testing::{script, wait, wait_pidfd};

    /// A shell with a child in its group; both hold the pipe, and have started when this returns.
    fn group_of_two() -> (Child, File) {
        let (read, write) = pipe().unwrap();
        let text = "sh -c 'echo; exec sleep 1000' & sleep 1000";
        let child = spawn(&script(text), &[(write.as_fd(), 1)], None).unwrap();
        let mut read = File::from(read);
        read.read_exact(&mut [0]).unwrap();
        (child, read)
    }

    fn errno(result: io::Result<()>) -> Option<i32> {
        result.unwrap_err().raw_os_error()
    }

    #[test]
    fn an_end_is_told_once_with_its_cause() {
        for (text, expected) in [
            ("exit 0", ExitStatus::Exited(0)),
            ("exit 255", ExitStatus::Exited(255)),
            ("kill -TERM $$", killed_by(libc::SIGTERM)),
            // Beyond the signals that have names.
            (
                "kill -s RTMIN+3 $$ 2>/dev/null || kill -37 $$",
                killed_by(37),
            ),
        ] {
            let child = spawn(&script(text), &[], None).unwrap();
            assert_eq!(wait(&child), expected, "{text}");
            let again = child.pidfd.try_wait().unwrap_err();
            assert_eq!(again.raw_os_error(), Some(libc::ECHILD));
        }
    }

    fn killed_by(signal: i32) -> ExitStatus {
        ExitStatus::Signaled {
            signal,
            dumped: false,
        }
    }

    #[test]
    fn who_runs_has_no_end_and_a_zombie_takes_signals() {
        let child = spawn(&script("exec sleep 1000"), &[], None).unwrap();
        assert_eq!(child.pidfd.try_wait().unwrap(), None);
        assert_eq!(child.pidfd.pid().unwrap(), child.pid);
        child.pidfd.signal(libc::SIGKILL).unwrap();
        wait_pidfd(&child.pidfd);
        child.pidfd.signal(libc::SIGTERM).unwrap();
        assert_eq!(wait(&child), killed_by(libc::SIGKILL));
        assert_eq!(errno(child.pidfd.signal(0)), Some(libc::ESRCH));
        assert_eq!(
            child.pidfd.pid().unwrap_err().raw_os_error(),
            Some(libc::ESRCH)
        );
        assert_eq!(
            Pidfd::open(child.pid).unwrap_err().raw_os_error(),
            Some(libc::ESRCH)
        );
    }

    #[test]
    fn a_signal_that_does_not_exist_is_refused() {
        let child = spawn(&script("exec sleep 1000"), &[], None).unwrap();
        assert_eq!(errno(child.pidfd.signal(65)), Some(libc::EINVAL));
        assert_eq!(errno(child.pidfd.signal_group(65)), Some(libc::EINVAL));
        child.pidfd.signal(libc::SIGKILL).unwrap();
        wait(&child);
    }

    #[test]
    fn a_group_is_signalled_whole_in_either_way() {
        for signal in [Pidfd::signal_group, Pidfd::signal_group_by_number] {
            let (child, mut pipe) = group_of_two();
            signal(&child.pidfd, libc::SIGKILL).unwrap();
            assert_eq!(pipe.read(&mut [0]).unwrap(), 0, "nobody is left to write");
            assert_eq!(wait(&child), killed_by(libc::SIGKILL));
            // By its number it is not even tried.
            assert_eq!(
                errno(child.pidfd.signal_group_by_number(libc::SIGKILL)),
                Some(libc::ESRCH)
            );
        }
    }

    /// A child of our child, who waits for it; and the pipe they hold.
    fn stranger() -> (Pidfd, Child, File) {
        let (read, write) = pipe().unwrap();
        let text = "sleep 1000 & echo $!; wait; exec sleep 1000";
        let child = spawn(&script(text), &[(write.as_fd(), 1)], None).unwrap();
        let mut read = File::from(read);
        let mut digits = Vec::new();
        let mut byte = [0];
        while read.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            digits.push(byte[0]);
        }
        let pid: i32 = String::from_utf8(digits).unwrap().parse().unwrap();
        (Pidfd::open(Pid::from_raw(pid)).unwrap(), child, read)
    }

    #[test]
    fn a_strangers_end_is_known_where_the_kernel_tells() {
        let (process, parent, _pipe) = stranger();
        assert!(matches!(process.exit_of_stranger(), Ok(None)) || !kernel_tells(&process));
        process.signal(libc::SIGKILL).unwrap();
        wait_pidfd(&process);
        // Its parent waits for it in its own time.
        while process.signal(0).is_ok() && kernel_tells(&process) {
            std::thread::yield_now();
        }
        match process.exit_of_stranger() {
            Ok(status) => assert_eq!(status, Some(killed_by(libc::SIGKILL))),
            Err(error) => assert!(!kernel_tells(&process), "{error}"),
        }
        parent.pidfd.signal(libc::SIGKILL).unwrap();
        wait(&parent);
    }

    fn kernel_tells(process: &Pidfd) -> bool {
        process.kept_exit().is_ok()
    }

    #[test]
    fn another_process_is_signalled_but_not_waited_for() {
        let us = Pidfd::open(Pid::this()).unwrap();
        us.signal(0).unwrap();
        assert_eq!(
            us.try_wait().unwrap_err().raw_os_error(),
            Some(libc::ECHILD)
        );
    }
}
