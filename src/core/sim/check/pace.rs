//! No hot loop: bounded work at one moment, and pauses where pauses are configured.

use super::{Verdict, ensure};
use crate::core::{Name, Time, WatcherSpec};
use std::collections::BTreeMap;
use std::time::Duration;

/// Calls of the supervisor without time passing: some thirty workers, each with a dozen inputs,
/// stopped and started a few times at one moment, stay well below.
const CALLS_MAX: u32 = 3000;

/// What one call may ask for.
const ACTIONS_MAX: usize = 1000;

/// The shortest life after which any simulated spec clears the count of a place.
const RESET_LEAST: Duration = Duration::from_secs(1);

/// How fast things go.
#[derive(Debug, Default)]
pub(super) struct Pace {
    now: Time,
    calls: u32,
    places: BTreeMap<(Name, u32), Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// Ends in a row that nobody asked for.
    crashes: u32,
    /// Spawns in a row that failed.
    failures: u32,
    last: Time,
}

impl Pace {
    pub(super) fn call(&mut self, now: Time, actions: usize) -> Verdict {
        if self.now != now {
            self.calls = 0;
            self.now = now;
        }
        self.calls += 1;
        ensure!(
            self.calls < CALLS_MAX,
            "no hot loop",
            "{} calls at {now:?}",
            self.calls
        );
        ensure!(
            actions < ACTIONS_MAX,
            "no hot loop",
            "{actions} actions at {now:?}"
        );
        Ok(())
    }

    /// Somebody wants something of a watcher: what comes next is not of its own accord.
    pub(super) fn touched(&mut self, name: &Name) {
        self.places.retain(|(watcher, _), _| watcher != name);
    }

    /// A process ended without being told to.
    pub(super) fn crashed(&mut self, now: Time, name: &Name, wid: u32, born: Option<Time>) {
        let place = self.place(name, wid);
        if born.is_some_and(|born| now.since(born) >= RESET_LEAST) {
            place.crashes = 0;
        }
        place.crashes += 1;
        place.last = now;
    }

    /// A process could not be started.
    pub(super) fn never_was(&mut self, now: Time, name: &Name, wid: u32) {
        let place = self.place(name, wid);
        // The pause after a crash was served before this spawn was tried.
        place.crashes = place.crashes.min(1);
        place.failures += 1;
        place.last = now;
    }

    /// A process was started, or became ready: the next one may be tried at once.
    pub(super) fn was(&mut self, name: &Name) {
        for (_, place) in self
            .places
            .iter_mut()
            .filter(|((watcher, _), _)| watcher == name)
        {
            place.failures = 0;
        }
    }

    /// A new beginning for a place: it was held, which is a pause of its own, or its process ended
    /// because it was told to.
    pub(super) fn fresh(&mut self, name: &Name, wid: u32) {
        self.places.remove(&(name.clone(), wid));
    }

    pub(super) fn spawn(
        &mut self,
        now: Time,
        name: &Name,
        wid: u32,
        specs: &[WatcherSpec],
    ) -> Verdict {
        let place = self.place(name, wid);
        let paused = now.since(place.last);
        let least = match (place.failures, place.crashes) {
            (0, 0 | 1) => Duration::ZERO,
            // A command that cannot be started is not tried in a hot loop, whatever is configured.
            (1.., _) => Duration::from_micros(1),
            (0, 2..) => specs.iter().map(pause).min().unwrap_or_default(),
        };
        ensure!(
            paused >= least,
            "a pause before a respawn",
            "place {wid} of {name} after {place:?}: {paused:?}, not {least:?}"
        );
        Ok(())
    }

    fn place(&mut self, name: &Name, wid: u32) -> &mut Place {
        self.places.entry((name.clone(), wid)).or_default()
    }
}

/// The shortest pause that a second respawn of its own accord may have.
fn pause(spec: &WatcherSpec) -> Duration {
    let least = |backoff: crate::core::Backoff| backoff.initial.mul_f64(1.0 - backoff.jitter);
    // A microsecond for rounding.
    spec.backoff
        .map_or(Duration::ZERO, least)
        .saturating_sub(Duration::from_micros(1))
}
