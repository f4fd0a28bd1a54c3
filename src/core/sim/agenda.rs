//! What is going to happen, in order of time, and the dice.
//!
//! Nothing in here knows what the things mean.

use super::super::Time;
use super::kernel::Happening;
use crate::core::Input;
use std::collections::BTreeMap;
use std::time::Duration;

/// Something that is due.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Due {
    /// The supervisor is told.
    Tell(Input),
    /// Something happens out there; the supervisor is told of it afterwards, or not at all.
    Kernel(Happening),
    /// The operator has another idea.
    Whim,
}

/// Everything that is due, first things first; what was put in first comes first among equals.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    items: BTreeMap<(Time, u64), Due>,
    next: u64,
}

impl Agenda {
    pub(super) fn put(&mut self, at: Time, due: Due) {
        self.next += 1;
        self.items.insert((at, self.next), due);
    }

    pub(super) fn first(&self) -> Option<Time> {
        self.items.keys().next().map(|key| key.0)
    }

    /// The first thing that is due at `now`, and when it was due.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Due)> {
        let entry = self.items.first_entry()?;
        let at = entry.key().0;
        (at <= now).then(|| (at, entry.remove()))
    }
}

/// The dice of one world.
#[derive(Debug)]
pub(super) struct Dice(fastrand::Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(fastrand::Rng::with_seed(seed))
    }

    /// True in so many of a hundred cases.
    pub(super) fn percent(&mut self, chance: u32) -> bool {
        self.0.u32(0..100) < chance
    }

    /// One of these.
    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.0.usize(0..from.len())].clone()
    }

    /// A number from `low` up to and including `high`.
    pub(super) fn number(&mut self, low: u32, high: u32) -> u32 {
        self.0.u32(low..=high)
    }

    /// A share, 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.0.f64()
    }

    /// Any number.
    pub(super) fn any(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Up to `most`, and often exactly nothing: so that things coincide.
    pub(super) fn delay(&mut self, most: Duration) -> Duration {
        if self.percent(70) {
            return Duration::ZERO;
        }
        most.mul_f64(if self.percent(50) {
            0.001
        } else {
            self.share()
        })
    }

    /// One of these many milliseconds.
    pub(super) fn millis(&mut self, from: &[u64]) -> Duration {
        Duration::from_millis(self.pick(from))
    }
}
