//! How much memory there is, and giving back what we do not need any more.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// How much memory the machine has, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What the kernel manages: a little less than what is built in.
    pub memory: u64,
    /// All swap areas together.
    pub swap: u64,
}

/// Reads how much there is now: memory and swap can be added while a machine runs.
///
/// # Errors
///
/// Those of reading `/proc/meminfo`.
pub fn installed() -> io::Result<Installed> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let bytes = |key| {
        let kibibytes = super::stats::value(&text, key);
        let kibibytes = kibibytes.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADMSG))?;
        Ok::<u64, io::Error>(kibibytes * 1024)
    };
    Ok(Installed {
        memory: bytes("MemTotal:")?,
        swap: bytes("SwapTotal:")?,
    })
}

/// Unmaps the pages of our own program's code, and says how many bytes they spanned.
///
/// Most of them were needed once: to read flags and configuration, to set up. What is called again comes back
/// from the page cache, page by page, without a read from the disk. For a daemon that mostly waits this is
/// the greater part of its memory (PSS); what runs is never interrupted.
///
/// # Errors
///
/// Those of reading `/proc/self`; where that cannot be read everything stays as it is.
pub fn give_back_code() -> io::Result<usize> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read("/proc/self/maps")?;
    let mappings = maps.split(|byte| *byte == b'\n');
    let code = mappings.filter_map(|line| code_of(line, program.as_os_str().as_bytes()));
    code.map(|(start, end)| give_back(start, end)).sum()
}

/// The bounds of a mapping of `program` that can be executed and not written, see proc_pid_maps(5):
/// `55d0c6a00000-55d0c6c00000 r-xp 00058000 fe:00 4711    /usr/bin/circusd`.
fn code_of(line: &[u8], program: &[u8]) -> Option<(usize, usize)> {
    let line = line.strip_suffix(program)?;
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.split(' ');
    let (start, end) = fields.next()?.split_once('-')?;
    // Nobody ever wrote to it: there is no relocation in code, and what is in the file is what is mapped.
    if fields.next()? != "r-xp" || !line.ends_with(' ') {
        return None;
    }
    let bound = |text| usize::from_str_radix(text, 16).ok();
    Some((bound(start)?, bound(end)?))
}

fn give_back(start: usize, end: usize) -> io::Result<usize> {
    // SAFETY: the range is a mapping of our own code, private, unchanged and backed by the file; whoever reads or
    // executes it next gets the same bytes from there (madvise(2), MADV_DONTNEED).
    let result = unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_DONTNEED) };
    match result {
        0 => Ok(end - start),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_memory_in_this_machine() {
        let installed = installed().unwrap();
        assert!(installed.memory > 1 << 24, "{installed:?}");
    }

    #[test]
    fn what_was_given_back_runs_again() {
        let given = give_back_code().unwrap();
        assert!(given > 4096, "{given} bytes");
        assert_eq!(give_back_code().unwrap(), given);
    }

    #[test]
    fn only_the_programs_own_code_is_meant() {
        let check = |line: &str| code_of(line.as_bytes(), b"/usr/bin/circusd");
        assert_eq!(
            check("1000-3000 r-xp 00058000 fe:00 4711          /usr/bin/circusd"),
            Some((0x1000, 0x3000))
        );
        for other in [
            "1000-3000 r--p 00058000 fe:00 4711          /usr/bin/circusd",
            "1000-3000 rw-p 00058000 fe:00 4711          /usr/bin/circusd",
            "1000-3000 r-xp 00058000 fe:00 4711          /usr/lib/libc.so.6",
            "1000-3000 r-xp 00058000 fe:00 4711          /opt/usr/bin/circusd",
            "",
        ] {
            assert_eq!(check(other), None, "{other}");
        }
    }
}
