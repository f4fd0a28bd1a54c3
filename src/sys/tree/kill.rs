//! Signals whole trees of processes that may still be growing.
//!
//! Nothing is stopped first: a stopped process is noticed by its parent, and one that is stopped and not
//! killed after all stays behind. Instead we look again until there is nobody new.

use std::collections::HashSet;
use std::io;

use nix::unistd::Pid;

use super::{Known, Origin, Snapshot};
use crate::sys::pidfd::Pidfd;
use crate::sys::process::Process;

/// How often we look again. Each time only those are new who were started during the last look, so a handful of
/// times is usual; who outruns this forks faster than we can read, and is left to the next attempt.
const PASSES_MAX: usize = 100;

/// What came of one tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Killed {
    /// How many processes took the signal.
    pub signalled: usize,
    /// Those that we may not signal, as they have changed to another user.
    pub refused: Vec<Pid>,
    /// Whether the last look found nobody new.
    pub complete: bool,
}

/// Sends `signal` once to every process that belongs to one of `origins`, themselves included, and looks again
/// until there is nobody new. Tells what came of each origin, in their order.
///
/// After `SIGKILL` and `complete`, nobody is left who could start another. Each process is held by a pidfd
/// and compared with what was seen before it gets the signal. Reads all of /proc at least twice, however many
/// origins there are, and does not wait for the processes to end.
///
/// # Errors
///
/// Those of reading `/proc`, and `EMFILE`.
pub fn kill_trees(origins: &[Origin], signal: i32) -> io::Result<Vec<Killed>> {
    let mut known = Known::new(origins);
    let mut done: HashSet<(Pid, u64)> = HashSet::new();
    let mut killed = vec![Killed::default(); origins.len()];
    for _ in 0..PASSES_MAX {
        let mut members = Snapshot::take()?.members(origins, &known);
        members.retain(|(_, member)| !done.contains(&(member.pid, member.start_ticks)));
        killed.iter_mut().for_each(|killed| killed.complete = true);
        if members.is_empty() {
            break;
        }
        for (origin, member) in &members {
            let killed = &mut killed[*origin];
            killed.complete = false;
            known.insert(member.pid, member.start_ticks, *origin);
            match signal_one(member, signal)? {
                Outcome::Changed => continue,
                Outcome::Signalled => killed.signalled += 1,
                Outcome::Refused => killed.refused.push(member.pid),
                Outcome::Gone => {}
            }
            done.insert((member.pid, member.start_ticks));
        }
    }
    Ok(killed)
}

enum Outcome {
    Signalled,
    Refused,
    Gone,
    /// Its session or parent is another than a moment ago; the next look decides anew.
    Changed,
}

fn signal_one(seen: &Process, signal: i32) -> io::Result<Outcome> {
    let pidfd = match Pidfd::open(seen.pid) {
        Ok(pidfd) => pidfd,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(Outcome::Gone),
        Err(error) => return Err(error),
    };
    // The pidfd holds whoever had the pid when it was opened; who has it now, after that, with the same start
    // time, is the same as was seen before it.
    match Process::read(seen.pid) {
        Ok(now) if !now.is_same(seen) || now.is_dead() => return Ok(Outcome::Gone),
        // Its parent may have ended just now, by our own signal.
        Ok(now) if now.sid != seen.sid => return Ok(Outcome::Changed),
        Ok(_) => {}
        Err(_) => return Ok(Outcome::Gone),
    }
    match pidfd.signal(signal) {
        Ok(()) => Ok(Outcome::Signalled),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(Outcome::Gone),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(Outcome::Refused),
        Err(error) => Err(error),
    }
}
