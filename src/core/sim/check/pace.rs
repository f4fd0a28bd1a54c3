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
    fails: u32,
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

    /// A process ended without being told to, or never came to be.
    pub(super) fn failed(&mut self, now: Time, name: &Name, wid: u32, born: Option<Time>) {
        let place = self.places.entry((name.clone(), wid)).or_default();
        if born.is_some_and(|born| now.since(born) >= RESET_LEAST) {
            place.fails = 0;
        }
        place.fails += 1;
        place.last = now;
    }

    pub(super) fn spawn(
        &mut self,
        now: Time,
        name: &Name,
        wid: u32,
        specs: &[WatcherSpec],
    ) -> Verdict {
        let Some(place) = self
            .places
            .get(&(name.clone(), wid))
            .filter(|p| p.fails >= 2)
        else {
            return Ok(());
        };
        let least = specs.iter().map(pause).min().unwrap_or_default();
        let paused = now.since(place.last);
        ensure!(
            paused >= least,
            "a pause before a respawn",
            "place {wid} of {name} after {} failures: {paused:?}, not {least:?}",
            place.fails
        );
        Ok(())
    }
}

/// The shortest pause that a second respawn of its own accord may have.
fn pause(spec: &WatcherSpec) -> Duration {
    let Some(backoff) = spec.backoff else {
        return Duration::ZERO;
    };
    let pause = backoff
        .initial
        .mul_f64(1.0 - backoff.jitter)
        .saturating_sub(Duration::from_micros(1));
    spec.flapping
        .map_or(pause, |flapping| pause.min(flapping.retry_in))
}
