//! The two clocks: the steady one that decisions use, and the one on the wall that people read.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;
use nix::time::ClockId;

use crate::core::Time;
use crate::sys::process::Process;

/// By how many microseconds the clocks must have moved against each other before the one on the
/// wall counts as set anew. Two readings are never of the same moment, and a moment that is told
/// twice is to be told alike.
const STEP_USEC: u64 = 1000;

/// Translates between core's [`Time`] and the clocks of the machine.
///
/// The origin is that of `CLOCK_MONOTONIC` (clock_gettime(2)), which is the boot of the machine, so
/// that the next daemon means the same moment by the same number.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// What the wall clock shows at the origin, as it was set when it was last seen to be.
    origin_usec: Cell<u64>,
}

impl Clock {
    pub(super) fn start() -> Clock {
        let (now, up) = (Instant::now(), kernel_usec(ClockId::CLOCK_MONOTONIC));
        // What the standard library calls an instant is a reading of that clock.
        let origin = now.checked_sub(Duration::from_micros(up)).unwrap_or(now);
        Clock {
            origin,
            origin_usec: Cell::new(wall_usec().saturating_sub(micros(origin.elapsed()))),
        }
    }

    /// For how long the machine has slept since its boot: other clocks of the kernel count that.
    pub(super) fn slept_usec(&self) -> u64 {
        let whole = kernel_usec(ClockId::CLOCK_BOOTTIME);
        whole.saturating_sub(kernel_usec(ClockId::CLOCK_MONOTONIC))
    }

    pub(super) fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// When a process was started; too late by the time for which the machine had slept before, as the
    /// kernel counts that.
    pub(super) fn started(&self, process: &Process) -> Time {
        let then = Time::ZERO + Duration::from_micros(process.started_usec());
        then.min(self.now())
    }

    /// The moment for a timer of the runtime; one beyond the end of its clock never comes.
    pub(super) fn instant(&self, time: Time) -> Option<Instant> {
        self.origin
            .checked_add(Duration::from_micros(time.as_micros()))
    }

    /// Microseconds since the Unix epoch, as the wall clock is set now: a moment told twice around
    /// a change of that clock is told differently.
    pub(super) fn wall_usec(&self, time: Time) -> u64 {
        let before = self.now();
        let wall = wall_usec();
        let after = self.now();
        let seen = wall.saturating_sub(after.as_micros());
        // Whoever was interrupted between two readings has not seen the clock being set.
        let at_once = after.as_micros() - before.as_micros() < STEP_USEC / 2;
        if at_once && seen.abs_diff(self.origin_usec.get()) > STEP_USEC {
            self.origin_usec.set(seen);
        }
        self.origin_usec.get().saturating_add(time.as_micros())
    }
}

/// How long ago a process was started, to a hundredth of a second; with the time for which the
/// machine has slept since.
pub(super) fn age_usec(process: &Process) -> u64 {
    kernel_usec(ClockId::CLOCK_BOOTTIME).saturating_sub(process.started_usec())
}

/// What a clock of the kernel shows, in microseconds.
fn kernel_usec(clock: ClockId) -> u64 {
    let time = clock.now().unwrap_or(TimeSpec::new(0, 0));
    micros(Duration::from(time))
}

/// The wall clock, in microseconds since the Unix epoch.
pub(super) fn wall_usec() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, micros)
}

/// Whole microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
