//! Deadlines as data: what is due when. Nobody here waits.

use super::{HookId, Name, Time, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// What a deadline is for. Each has at most one at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The next thing due in a worker's life: kill, readiness, age.
    Worker(WorkerId),
    /// A worker has been silent for too long.
    Watchdog(WorkerId),
    /// The next moment at which a watcher may spawn again.
    Pool(Name),
    /// A hook's time is over.
    Hook(HookId),
    /// The next watcher of a wave may go.
    Wave(u64),
    /// The shutdown has taken long enough.
    Shutdown,
}

/// All deadlines, in order.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Time, Timer)>,
    by_timer: BTreeMap<Timer, Time>,
}

impl Timers {
    /// Replaces the deadline of `timer`; `None` takes it away.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Time>) {
        let before = match at {
            Some(at) => self.by_timer.insert(timer.clone(), at),
            None => self.by_timer.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, timer.clone()));
        }
        if let Some(at) = at {
            self.by_time.insert((at, timer));
        }
    }

    /// The deadline of `timer`.
    pub(super) fn get(&self, timer: &Timer) -> Option<Time> {
        self.by_timer.get(timer).copied()
    }

    /// Takes the first deadline that is due at `now`.
    pub(super) fn pop(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.by_time.pop_first()?;
        self.by_timer.remove(&timer);
        Some(timer)
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_has_one_deadline_and_they_come_in_order() {
        let mut timers = Timers::default();
        timers.set(Timer::Shutdown, Some(Time::from_micros(5)));
        timers.set(Timer::Wave(1), Some(Time::from_micros(3)));
        timers.set(Timer::Shutdown, Some(Time::from_micros(2)));
        assert_eq!(timers.next(), Some(Time::from_micros(2)));
        assert_eq!(timers.pop(Time::from_micros(1)), None);
        assert_eq!(timers.pop(Time::from_micros(9)), Some(Timer::Shutdown));
        timers.set(Timer::Wave(1), None);
        assert_eq!(timers.pop(Time::from_micros(9)), None);
    }
}
