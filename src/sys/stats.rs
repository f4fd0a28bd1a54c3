//! What processes and groups use, read once when asked.
//!
//! Keeps nothing between two readings: shares of a CPU are the caller's arithmetic. What cannot be known,
//! for want of permission or of a controller, is `None` and never 0.

use std::fs;
use std::io;

use nix::unistd::{Pid, SysconfVar, sysconf};

use super::cgroup::Cgroup;
use super::process::{self, Process};

/// What one process uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStats {
    /// Its pid.
    pub pid: Pid,
    /// Its parent.
    pub ppid: Pid,
    /// Its start, in clock ticks after boot: to be compared with that of the process that is meant.
    pub start_ticks: u64,
    /// Time on CPU so far, in microseconds; the clock ticks of the kernel are coarser.
    pub cpu_usec: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Number of threads.
    pub threads: u32,
    /// Number of children.
    pub children: usize,
    /// Number of open descriptors; `None` if we may not look.
    pub fds: Option<usize>,
    /// Bytes read from and written to disks so far; `None` if we may not look.
    pub io: Option<Io>,
}

/// Bytes that went through block devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    /// Read.
    pub read_bytes: u64,
    /// Written, or to be written.
    pub write_bytes: u64,
}

/// What one group uses, all below it included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupStats {
    /// Time on CPU since it was made, in microseconds.
    pub cpu_usec: Option<u64>,
    /// Memory now, page cache included; needs the memory controller.
    pub memory_current: Option<u64>,
    /// The most there has been; Linux 5.19.
    pub memory_peak: Option<u64>,
    /// Processes and threads now; needs the pids controller.
    pub tasks: Option<u64>,
}

/// Reads what the process with this pid uses.
///
/// # Errors
///
/// As [`Process::read`].
pub fn process(pid: Pid) -> io::Result<ProcessStats> {
    let process = Process::read(pid)?;
    Ok(ProcessStats {
        pid,
        ppid: process.ppid,
        start_ticks: process.start_ticks,
        cpu_usec: ticks_to_usec(process.cpu_ticks),
        rss_bytes: rss_bytes(&process),
        threads: process.threads,
        children: process::children(pid).map_or(0, |children| children.len()),
        fds: fds(pid),
        io: io_of(pid),
    })
}

/// The resident memory of a process that was read before.
#[must_use]
pub fn rss_bytes(process: &Process) -> u64 {
    process
        .rss_pages
        .saturating_mul(system(SysconfVar::PAGE_SIZE))
}

/// Clock ticks of /proc as microseconds.
#[must_use]
pub fn ticks_to_usec(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000 / system(SysconfVar::CLK_TCK))
}

/// Reads what a group uses; what it does not account for is `None`.
#[must_use]
pub fn cgroup(group: &Cgroup) -> CgroupStats {
    let number = |file| {
        group
            .read(file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
    };
    CgroupStats {
        cpu_usec: group
            .read("cpu.stat")
            .ok()
            .and_then(|text| value(&text, "usage_usec")),
        memory_current: number("memory.current"),
        memory_peak: group.memory_peak(),
        tasks: number("pids.current"),
    }
}

/// Our own memory, what is shared counted in proportion (PSS), in bytes.
///
/// The kernel walks our page tables for it: a fraction of a millisecond.
///
/// # Errors
///
/// Those of reading `/proc/self/smaps_rollup`.
pub fn own_pss_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    let kibibytes =
        value(&text, "Pss:").ok_or_else(|| io::Error::from_raw_os_error(libc::EBADMSG))?;
    Ok(kibibytes * 1024)
}

/// From Linux 6.2 the directory itself tells how many there are; older kernels say 0.
fn fds(pid: Pid) -> Option<usize> {
    let path = format!("/proc/{pid}/fd");
    // Whoever may not list it is not told the truth by its size either.
    let listing = fs::read_dir(&path).ok()?;
    match fs::metadata(&path).map_or(0, |metadata| metadata.len()) {
        0 => Some(listing.count()),
        size => usize::try_from(size).ok(),
    }
}

fn io_of(pid: Pid) -> Option<Io> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    Some(Io {
        read_bytes: value(&text, "read_bytes:")?,
        write_bytes: value(&text, "write_bytes:")?,
    })
}

/// The first number on the line that begins with the word `key`.
pub(super) fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(key)).then(|| words.next()?.parse().ok())?
    })
}

fn system(name: SysconfVar) -> u64 {
    let value = sysconf(name)
        .ok()
        .flatten()
        .and_then(|value| u64::try_from(value).ok());
    value
        .filter(|&value| value > 0)
        .expect("Linux tells its page size and clock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::spawn::spawn;
    use crate::sys::testing::{group, script, wait};
    use nix::unistd::pipe;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn a_worker_is_measured() {
        let (read, write) = pipe().unwrap();
        let text = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 1000 & echo; wait";
        let child = spawn(&script(text), &[(write.as_fd(), 1)], None).unwrap();
        drop(write);
        File::from(read).read_exact(&mut [0]).unwrap();
        let stats = process(child.pid).unwrap();
        assert_eq!((stats.pid, stats.ppid), (child.pid, Pid::this()));
        assert_eq!((stats.threads, stats.children, stats.fds), (1, 1, Some(3)));
        assert!(stats.rss_bytes > 100_000 && stats.cpu_usec > 0, "{stats:?}");
        assert!(stats.io.is_some(), "{stats:?}");
        child.pidfd.signal_group(libc::SIGKILL).unwrap();
        wait(&child);
        assert!(process::is_gone(&process(child.pid).unwrap_err()));
    }

    #[test]
    fn our_own_memory_is_known() {
        let bytes = own_pss_bytes().unwrap();
        assert!((100_000..10_000_000_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_group_tells_what_it_has() {
        let Some(group) = group("stats") else { return };
        let stats = cgroup(&group);
        eprintln!("measured: {stats:?}");
        assert!(stats.cpu_usec.is_some());
        group.remove().unwrap();
        assert_eq!(cgroup(&group), CgroupStats::default());
    }

    #[test]
    fn a_value_is_found_by_the_whole_word() {
        assert_eq!(
            value("usage_usec_x 1\nusage_usec 22\n", "usage_usec"),
            Some(22)
        );
        assert_eq!(value("usage_usec x\n", "usage_usec"), None);
    }
}
