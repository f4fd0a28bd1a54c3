//! What /proc says of one process, and who is whose child.
//!
//! By pid, so for looking only: whoever acts on it opens a [`super::pidfd::Pidfd`] first and compares
//! [`Process::start_ticks`] afterwards. Source: proc_pid_stat(5), proc_pid_task(5).

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use nix::unistd::{Pid, SysconfVar, sysconf};

/// The environment of a process is read up to here; the kernel lets a program start with at most 6 MiB of
/// arguments and environment together (execve(2)).
const ENVIRON_BYTES_MAX: u64 = 8 << 20;

/// Two names, a letter and some fifty numbers of at most 20 digits.
const STAT_BYTES_MAX: usize = 2048;

/// One line of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: Pid,
    /// `R`, `S`, `D`, `T`, `Z` and so on, as ps(1) shows it.
    pub state: char,
    /// Its parent now.
    pub ppid: Pid,
    /// Its process group.
    pub pgid: Pid,
    /// Its session.
    pub sid: Pid,
    /// Time on CPU, in user and system mode, in clock ticks; its children's are not in it.
    pub cpu_ticks: u64,
    /// Number of threads.
    pub threads: u32,
    /// When it was started, in clock ticks after boot: with the pid, its identity.
    pub start_ticks: u64,
    /// Resident memory, in pages.
    pub rss_pages: u64,
}

impl Process {
    /// Reads what the process with this pid is now.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `ESRCH` if there is none (see [`is_gone`]).
    pub fn read(pid: Pid) -> io::Result<Self> {
        let mut text = [0; STAT_BYTES_MAX];
        // The kernel gives the line whole, at the first read.
        let length = fs::File::open(format!("/proc/{pid}/stat"))?.read(&mut text)?;
        parse(pid, &text[..length]).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADMSG))
    }

    /// Whether it has ended and only waits for being waited for.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// When it was started, in microseconds after boot, on the clock that counts the time in which the
    /// machine sleeps (`CLOCK_BOOTTIME`); as exact as [`Process::start_ticks`], a hundredth of a second.
    #[must_use]
    pub fn started_usec(&self) -> u64 {
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        let per_second = per_second.and_then(|ticks| u64::try_from(ticks).ok());
        let per_second = per_second.filter(|ticks| *ticks > 0).unwrap_or(100);
        self.start_ticks.saturating_mul(1_000_000) / per_second
    }

    /// Whether it is one of the kernel's own, which have no program: kthreadd and its children.
    #[must_use]
    pub fn is_kernels(&self) -> bool {
        self.pid.as_raw() == 2 || self.ppid.as_raw() == 2
    }

    /// Whether `other` is the same process at another time.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.pid, self.start_ticks) == (other.pid, other.start_ticks)
    }
}

/// Whether an error of reading /proc means that the process has ended.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// The pids of all processes that we can see.
///
/// # Errors
///
/// Those of reading `/proc`.
pub fn all() -> io::Result<Vec<Pid>> {
    numbers(Path::new("/proc"))
}

/// The children of a process, zombies included.
///
/// Costs as much as there are threads and children, however many other processes run. Of ourselves it is
/// complete as long as we have one thread, which waits for nobody meanwhile; of others, and while threads come and
/// go, it is a snapshot that may miss some.
///
/// # Errors
///
/// See [`is_gone`].
pub fn children(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in numbers(Path::new(&format!("/proc/{pid}/task")))? {
        match fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")) {
            Ok(text) => children.extend(text.split_whitespace().filter_map(parse_pid)),
            // The thread has ended; or the kernel was built without these files.
            Err(error) if is_gone(&error) && has_children_files() => {}
            Err(error) if is_gone(&error) => return children_by_scan(pid),
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

fn has_children_files() -> bool {
    Path::new("/proc/thread-self/children").exists()
}

/// The same by looking at every process there is, for kernels without `CONFIG_PROC_CHILDREN`.
fn children_by_scan(parent: Pid) -> io::Result<Vec<Pid>> {
    let is_child = |pid: &Pid| Process::read(*pid).is_ok_and(|process| process.ppid == parent);
    Ok(all()?.into_iter().filter(is_child).collect())
}

/// The value of a variable in the environment that a process was started with; `None` if it has not got it.
///
/// A process has no environment for the moment in which it executes another program.
///
/// # Errors
///
/// `EACCES` for a process that we may not look into; see also [`is_gone`].
pub fn variable(pid: Pid, name: &str) -> io::Result<Option<Vec<u8>>> {
    let environment = environment(pid)?;
    Ok(value_in(&environment, name).map(<[u8]>::to_vec))
}

/// The environment that a process was started with; empty for the moment in which it executes another program.
///
/// # Errors
///
/// As for [`variable`].
pub fn environment(pid: Pid) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(format!("/proc/{pid}/environ"))?
        .take(ENVIRON_BYTES_MAX)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// The value of a variable in an environment.
#[must_use]
pub fn value_in<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environment.split(|&byte| byte == 0).find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    })
}

/// The entries of a directory that are numbers.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<Pid>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        numbers.extend(entry?.file_name().to_str().and_then(parse_pid));
    }
    Ok(numbers)
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().map(Pid::from_raw)
}

/// `pid (name) state ppid ...`: the name may hold blanks and parentheses, so counting begins after the last.
fn parse(pid: Pid, text: &[u8]) -> Option<Process> {
    let end_of_name = text.iter().rposition(|&byte| byte == b')')?;
    let fields = std::str::from_utf8(&text[end_of_name + 1..]).ok()?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // proc_pid_stat(5) counts from 1 at the pid; the state, its third, is our first.
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |index| field(index).and_then(|text| text.parse::<u64>().ok());
    Some(Process {
        pid,
        state: field(3)?.chars().next()?,
        ppid: parse_pid(field(4)?)?,
        pgid: parse_pid(field(5)?)?,
        sid: parse_pid(field(6)?)?,
        cpu_ticks: number(14)? + number(15)?,
        threads: field(20)?.parse().ok()?,
        start_ticks: number(22)?,
        rss_pages: number(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    use crate::sys::spawn::spawn;
    use crate::sys::testing::{alone, script, wait};

    #[test]
    fn a_name_with_parentheses_confuses_nobody() {
        let text = b"7 (a) S 1 (b)) R 3 4 5 0 -1 0 0 0 0 0 11 22 0 0 20 0 2 0 99 4096 33 0";
        let process = parse(Pid::from_raw(7), text).unwrap();
        assert_eq!(
            (process.state, process.ppid.as_raw(), process.sid.as_raw()),
            ('R', 3, 5)
        );
        assert_eq!((process.cpu_ticks, process.threads), (33, 2));
        assert_eq!((process.start_ticks, process.rss_pages), (99, 33));
        for cut in 0..text.len() - 10 {
            // Whatever is cut off, no panic.
            let _nothing = parse(Pid::from_raw(7), &text[..cut]);
        }
    }

    #[test]
    fn our_children_are_found_in_either_way() {
        if !alone(
            "sys::process::tests::our_children_are_found_in_either_way",
            Vec::new(),
        ) {
            return;
        }
        let child = spawn(&script("exec sleep 1000"), &[], None).unwrap();
        let us = Pid::this();
        assert!(children(us).unwrap().contains(&child.pid));
        assert!(children_by_scan(us).unwrap().contains(&child.pid));
        assert_eq!(Process::read(child.pid).unwrap().ppid, us);
        child.pidfd.signal(libc::SIGKILL).unwrap();
        crate::sys::testing::wait_pidfd(&child.pidfd);
        assert!(Process::read(child.pid).unwrap().is_dead());
        assert!(
            children(us).unwrap().contains(&child.pid),
            "a zombie is still a child"
        );
        wait(&child);
        assert!(is_gone(&Process::read(child.pid).unwrap_err()));
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let (read, write) = nix::unistd::pipe().unwrap();
        // Only after its line is it certain that it has its environment: a process has none for a moment while
        // it executes.
        let mut command = script("echo; sleep 1000; :");
        command.env.push(("MARKED".into(), "x=y".into()));
        let child = spawn(&command, &[(write.as_fd(), 1)], None).unwrap();
        fs::File::from(read).read_exact(&mut [0]).unwrap();
        assert_eq!(
            variable(child.pid, "MARKED").unwrap().as_deref(),
            Some(&b"x=y"[..])
        );
        assert_eq!(variable(child.pid, "MARK").unwrap(), None);
        child.pidfd.signal_group(libc::SIGKILL).unwrap();
        wait(&child);
    }
}
