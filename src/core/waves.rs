//! Several watchers told the same thing at once go in order of priority, level by level: the next
//! level goes when all of the level before have settled.
//!
//! A watcher that others of its wave name as theirs goes before them, and stops after them, whatever
//! its priority.
//!
//! Watchers whose operator has changed his mind have left the wave, and nobody waits for them. A
//! wave delays only its own watchers.

use super::context::Context;
use super::dependencies::Links;
use super::timers::Timer;
use super::watcher::Watcher;
use super::{Name, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Waves {
    waves: BTreeMap<u64, Wave>,
    last: u64,
}

#[derive(Debug)]
struct Wave {
    /// Those that wait, with their level, in order.
    queue: VecDeque<(i64, Name)>,
    level: i64,
    /// Those of the present level that have not settled.
    out: BTreeSet<Name>,
    /// The pause between two watchers.
    pause: Duration,
    not_before: Time,
    boot: bool,
}

/// In which order a wave goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Low priorities first, with the pause between any two.
    Up(Duration),
    /// The reverse, without pauses.
    Down,
}

impl Waves {
    /// Makes these watchers wait for their turn. With `boot`, its end is told.
    pub(super) fn start(
        &mut self,
        names: &[Name],
        direction: Direction,
        boot: bool,
        links: &Links,
        watchers: &mut BTreeMap<Name, Watcher>,
        now: Time,
    ) {
        self.last += 1;
        for name in names {
            if let Some(watcher) = watchers.get_mut(name) {
                watcher.wave = self.last;
                watcher.held = true;
            }
        }
        let mut queue = in_order(names, links, watchers);
        let pause = match direction {
            Direction::Up(pause) => pause,
            Direction::Down => {
                queue = queue
                    .into_iter()
                    .rev()
                    .map(|(level, name)| (-level, name))
                    .collect();
                Duration::ZERO
            }
        };
        let wave = Wave {
            queue,
            level: i64::MIN,
            out: BTreeSet::new(),
            pause,
            not_before: now,
            boot,
        };
        self.waves.insert(self.last, wave);
    }

    /// Lets go whose turn has come. `looked_at` are the watchers that may have settled. Says
    /// whether the boot has ended with this.
    pub(super) fn advance(
        &mut self,
        looked_at: &BTreeSet<Name>,
        watchers: &mut BTreeMap<Name, Watcher>,
        ctx: &mut Context,
    ) -> bool {
        let mut booted = false;
        self.waves.retain(|id, wave| {
            wave.settle(*id, looked_at, watchers);
            wave.release(*id, watchers, ctx);
            let ended = wave.queue.is_empty() && wave.out.is_empty();
            booted |= ended && wave.boot;
            !ended
        });
        booted
    }

    /// Gives up all order: everything is to go at once.
    pub(super) fn clear(&mut self, ctx: &mut Context) {
        for (id, _) in std::mem::take(&mut self.waves) {
            ctx.timers.set(Timer::Wave(id), None);
        }
    }
}

/// The watchers in the order in which they start, each with its level.
fn in_order(
    names: &[Name],
    links: &Links,
    watchers: &BTreeMap<Name, Watcher>,
) -> VecDeque<(i64, Name)> {
    let mut levels: BTreeMap<&Name, i64> = (names.iter())
        .filter_map(|name| Some((name, i64::from(watchers.get(name)?.spec.priority))))
        .collect();
    let mut deepest_first: Vec<&Name> = levels.keys().copied().collect();
    deepest_first.sort_by_key(|name| std::cmp::Reverse(links.depth(name)));
    for name in deepest_first {
        let level = levels[name];
        for other in watchers[name].spec.depends_on() {
            if let Some(before) = levels.get_mut(other) {
                *before = level.min(*before);
            }
        }
    }
    let mut members: Vec<(i64, u32, u64, &Name)> = levels
        .into_iter()
        .map(|(name, level)| (level, links.depth(name), watchers[name].order, name))
        .collect();
    members.sort_unstable();
    let members = members.into_iter();
    members
        .map(|(level, _, _, name)| (level, name.clone()))
        .collect()
}

impl Wave {
    fn settle(&mut self, id: u64, looked_at: &BTreeSet<Name>, watchers: &BTreeMap<Name, Watcher>) {
        let settled = |name: &Name| {
            watchers
                .get(name)
                .is_none_or(|watcher| watcher.wave != id || watcher.settled())
        };
        if self.out.len() < looked_at.len() {
            self.out
                .retain(|name| !looked_at.contains(name) || !settled(name));
        } else {
            for name in looked_at {
                if self.out.contains(name) && settled(name) {
                    self.out.remove(name);
                }
            }
        }
    }

    fn release(&mut self, id: u64, watchers: &mut BTreeMap<Name, Watcher>, ctx: &mut Context) {
        while let Some((level, name)) = self.queue.front() {
            if *level > self.level {
                if !self.out.is_empty() {
                    return;
                }
                self.level = *level;
            }
            if let Some(watcher) = watchers.get_mut(name).filter(|w| w.wave == id) {
                // One that was waited for has gone before its turn.
                if watcher.held {
                    if ctx.now < self.not_before {
                        ctx.timers.set(Timer::Wave(id), Some(self.not_before));
                        return;
                    }
                    self.not_before = ctx.now + self.pause;
                    watcher.release(ctx);
                }
                ctx.touched.insert(name.clone());
                self.out.insert(name.clone());
            }
            self.queue.pop_front();
        }
    }
}
