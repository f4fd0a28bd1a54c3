//! The two clocks: the steady one that decisions use, and the one on the wall that people read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::Time;

/// Translates between core's [`Time`] and the clocks of the machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is now.
    pub(super) fn start() -> Clock {
        Clock {
            origin: Instant::now(),
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
        let now = self.now();
        let wall = wall_usec();
        if time > now {
            return wall.saturating_add(micros(time.since(now)));
        }
        wall.saturating_sub(micros(now.since(time)))
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
