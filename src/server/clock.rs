//! The two clocks: the steady one that decisions use, and the one on the wall that people read.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::Time;

/// How far the wall clock may be from where it was expected before it counts as set. What is less
/// is the pause between reading two clocks; without this, one moment would be told differently by
/// a microsecond each time.
const SET_USEC: u64 = 1000;

/// Translates between core's [`Time`] and the clocks of the machine.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
    /// The origin on the wall clock, as that is set now.
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
        let origin = wall_usec().saturating_sub(self.now().as_micros());
        if origin.abs_diff(self.origin_usec.get()) > SET_USEC {
            self.origin_usec.set(origin);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_the_same_each_time() {
        let clock = Clock::start();
        let moment = clock.now();
        let told = clock.wall_usec(moment);
        // A clock that is set, or a thread that is halted between two readings, may differ once.
        let same = (0..1000).filter(|_| clock.wall_usec(moment) == told);
        assert!(same.count() > 500);
        assert_eq!(
            clock.wall_usec(moment + Duration::from_secs(1)),
            clock.wall_usec(moment) + 1_000_000
        );
    }
}
