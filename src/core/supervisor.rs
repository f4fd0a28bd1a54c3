//! The state machine.

use super::{Action, Input, Limits, Time};

/// Decides what should happen.
#[derive(Debug)]
pub struct Supervisor {
    _limits: Limits,
}

impl Supervisor {
    /// A supervisor with no watchers, at `now`; `seed` feeds jitter and variance.
    #[must_use]
    pub fn new(_now: Time, limits: Limits, _seed: u64) -> Supervisor {
        Supervisor { _limits: limits }
    }

    /// Records what happened at `now` and says what is to be done.
    ///
    /// # Panics
    ///
    /// If `now` is before the `now` of an earlier call.
    pub fn handle(&mut self, _now: Time, _input: Input) -> Vec<Action> {
        Vec::new()
    }

    /// When [`Supervisor::handle`] wants to be called again if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }
}
