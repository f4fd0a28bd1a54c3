//! The two clocks: the steady one that decisions use, and the one on the wall that people read.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::Time;

/// By how many microseconds the clocks must have moved against each other before the one on the
/// wall counts as set anew. Two readings are never of the same moment, and a moment that is told
/// twice is to be told alike.
const STEP_USEC: u64 = 1000;

/// Translates between core's [`Time`] and the clocks of the machine.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// What the wall clock shows at the origin, as it was set when it was last seen to be.
    origin_usec: Cell<u64>,
}

impl Clock {
    /// A clock whose origin is now.
    pub(super) fn start() -> Clock {
        Clock {
            origin: Instant::now(),
            origin_usec: Cell::new(wall_usec()),
        }
    }

    pub(super) fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
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
