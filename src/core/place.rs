//! A place (wid) of a watcher: which are taken, and how its processes have fared there.

use super::{Backoff, Flapping, Time};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// How the processes at one place have ended lately. Only a place that saw an unexpected end
/// has one.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Unexpected ends within the flapping window, oldest first.
    ends: VecDeque<Time>,
    /// Unexpected ends in a row, each too soon after its spawn.
    streak: u32,
    /// How often the place was held in a row.
    rounds: u32,
}

/// What is to become of a place after an unexpected end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Respawn after the pause, which may be zero.
    Respawn(Duration),
    /// It flaps: hold it for so long.
    Hold(Duration),
    /// It has flapped too often.
    GiveUp,
}

impl History {
    /// Records an unexpected end of a process that had run for `lived`.
    pub(super) fn ended(
        &mut self,
        now: Time,
        lived: Duration,
        backoff: Option<&Backoff>,
        flapping: Option<&Flapping>,
        rng: &mut fastrand::Rng,
    ) -> Outlook {
        if let Some(flapping) = flapping
            && let Some(outlook) = self.flap(now, lived, flapping)
        {
            self.streak = 0;
            return outlook;
        }
        let Some(backoff) = backoff else {
            return Outlook::Respawn(Duration::ZERO);
        };
        if lived >= backoff.reset_after {
            self.streak = 0;
        }
        self.streak = self.streak.saturating_add(1);
        Outlook::Respawn(match self.streak {
            1 => Duration::ZERO,
            nth => pause(backoff, nth - 2, rng),
        })
    }

    fn flap(&mut self, now: Time, lived: Duration, flapping: &Flapping) -> Option<Outlook> {
        if lived >= flapping.window {
            self.ends.clear();
            self.rounds = 0;
        }
        self.ends.push_back(now);
        while self
            .ends
            .front()
            .is_some_and(|end| now.since(*end) > flapping.window)
        {
            self.ends.pop_front();
        }
        if self.ends.len() < flapping.attempts as usize {
            return None;
        }
        self.ends.clear();
        self.rounds = self.rounds.saturating_add(1);
        Some(match flapping.max_retry {
            Some(max) if self.rounds > max => Outlook::GiveUp,
            _ => Outlook::Hold(flapping.retry_in),
        })
    }
}

/// The pause after `growth` others, with its random share.
pub(super) fn pause(backoff: &Backoff, growth: u32, rng: &mut fastrand::Rng) -> Duration {
    // Past this the factor has long reached any `max`, and powi would overflow.
    let growth = i32::try_from(growth.min(64)).unwrap_or(64);
    let seconds = backoff.initial.as_secs_f64() * backoff.factor.max(1.0).powi(growth);
    let seconds = seconds.min(backoff.max.as_secs_f64());
    let random = 1.0 + backoff.jitter.clamp(0.0, 1.0) * (rng.f64() - 0.5) * 2.0;
    Duration::try_from_secs_f64(seconds * random).unwrap_or(backoff.max)
}

/// Which places are free, and which are vacant but may not be filled now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Places {
    /// No wid from here on was ever used.
    next: u32,
    /// Below `next`, and nobody's.
    free: BTreeSet<u32>,
    /// Vacant, with a history, to be filled before any other.
    due: BTreeSet<u32>,
    /// Vacant until a moment.
    held: BTreeSet<(Time, u32)>,
    /// Vacant for good: they flapped too often.
    given_up: BTreeSet<u32>,
    /// Vacant for good: their process has ended and is not to be replaced.
    finished: BTreeSet<u32>,
}

impl Default for Places {
    fn default() -> Places {
        Places {
            next: 1,
            free: BTreeSet::new(),
            due: BTreeSet::new(),
            held: BTreeSet::new(),
            given_up: BTreeSet::new(),
            finished: BTreeSet::new(),
        }
    }
}

/// What becomes of a place when its process has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// Anybody's.
    Free,
    /// To be filled from then on.
    Until(Time),
    /// Not filled any more: it flapped.
    GivenUp,
    /// Not filled any more: its work is done.
    Finished,
}

impl Places {
    /// Makes up for what is not saved: all places are free that are neither `taken` nor kept.
    pub(super) fn resume(&mut self, taken: &BTreeSet<u32>) {
        self.due.retain(|wid| !taken.contains(wid));
        self.held.retain(|(_, wid)| !taken.contains(wid));
        self.given_up.retain(|wid| !taken.contains(wid));
        self.finished.retain(|wid| !taken.contains(wid));
        self.next = self.next.max(taken.last().map_or(1, |last| last + 1));
        let held: BTreeSet<u32> = self.held.iter().map(|(_, wid)| *wid).collect();
        let kept = |wid: &u32| {
            let sets = [taken, &self.due, &held, &self.given_up, &self.finished];
            sets.iter().any(|set| set.contains(wid))
        };
        self.free = (1..self.next).filter(|wid| !kept(wid)).collect();
    }

    /// Takes a place for a new process: one that waits for its successor, else the lowest.
    pub(super) fn take(&mut self) -> u32 {
        if let Some(wid) = self.due.pop_first().or_else(|| self.free.pop_first()) {
            return wid;
        }
        let wid = self.next;
        self.next += 1;
        wid
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, wid: u32, vacancy: Vacancy, now: Time) {
        match vacancy {
            Vacancy::Free => self.free.insert(wid),
            Vacancy::Until(at) if at > now => self.held.insert((at, wid)),
            Vacancy::Until(_) => self.due.insert(wid),
            Vacancy::GivenUp => self.given_up.insert(wid),
            Vacancy::Finished => self.finished.insert(wid),
        };
    }

    /// Ends the holds that are over.
    pub(super) fn wake(&mut self, now: Time) {
        while self.held.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, wid)) = self.held.pop_first() {
                self.due.insert(wid);
            }
        }
    }

    /// Ends all holds: an operator wants it tried again.
    pub(super) fn forgive(&mut self) {
        self.due.extend(
            std::mem::take(&mut self.held)
                .into_iter()
                .map(|(_, wid)| wid),
        );
        self.free.append(&mut self.given_up);
        self.free.append(&mut self.finished);
    }

    /// Drops up to `count` vacant places that are being kept, and says which.
    pub(super) fn drop_vacant(&mut self, count: usize) -> Vec<u32> {
        let mut dropped = Vec::new();
        while dropped.len() < count {
            let wid = self
                .given_up
                .pop_last()
                .or_else(|| self.finished.pop_last());
            let Some(wid) = wid.or_else(|| self.held.pop_last().map(|(_, wid)| wid)) else {
                break;
            };
            self.free.insert(wid);
            dropped.push(wid);
        }
        dropped
    }

    /// Places that count as taken although nobody is there.
    pub(super) fn kept(&self) -> usize {
        self.held.len() + self.given_up.len() + self.finished.len()
    }

    /// Places that are vacant for good.
    pub(super) fn closed(&self) -> usize {
        self.given_up.len() + self.finished.len()
    }

    /// Places that flapped too often.
    pub(super) fn given_up(&self) -> usize {
        self.given_up.len()
    }

    /// Places whose work is done.
    pub(super) fn finished(&self) -> usize {
        self.finished.len()
    }

    /// When the first hold ends.
    pub(super) fn next_wake(&self) -> Option<Time> {
        self.held.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(100),
        factor: 2.0,
        max: Duration::from_secs(1),
        jitter: 0.0,
        reset_after: Duration::from_secs(10),
    };

    #[test]
    fn pauses_grow_from_none_to_the_longest_and_a_long_life_clears_them() {
        let mut history = History::default();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut end = |lived| {
            let lived = Duration::from_secs(lived);
            match history.ended(Time::ZERO, lived, Some(&BACKOFF), None, &mut rng) {
                Outlook::Respawn(pause) => pause.as_millis(),
                other => panic!("{other:?}"),
            }
        };
        let pauses: Vec<u128> = (0..6).map(|_| end(0)).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1000]);
        assert_eq!(end(10), 0);
    }

    #[test]
    fn a_place_is_held_round_after_round_and_then_given_up() {
        let flapping = Flapping {
            attempts: 2,
            window: Duration::from_secs(1),
            retry_in: Duration::from_secs(7),
            max_retry: Some(1),
        };
        let mut history = History::default();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut end = |at| {
            let at = Time::from_micros(at);
            history.ended(at, Duration::ZERO, None, Some(&flapping), &mut rng)
        };
        assert_eq!(end(0), Outlook::Respawn(Duration::ZERO));
        assert_eq!(end(1), Outlook::Hold(Duration::from_secs(7)));
        assert_eq!(end(2), Outlook::Respawn(Duration::ZERO));
        assert_eq!(end(3), Outlook::GiveUp);
    }

    #[test]
    fn the_place_of_the_dead_is_filled_before_the_lowest() {
        let mut places = Places::default();
        assert_eq!((places.take(), places.take(), places.take()), (1, 2, 3));
        places.leave(1, Vacancy::Free, Time::ZERO);
        places.leave(3, Vacancy::Until(Time::ZERO), Time::ZERO);
        assert_eq!((places.take(), places.take(), places.take()), (3, 1, 4));
    }
}
