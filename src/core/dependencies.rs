//! Who comes before whom: what other watchers mean for one that starts after them, or that they
//! require.
//!
//! Nothing in here starts or stops anything. [`Supervisor::tie`] finds out what holds, a fact like
//! any other, and `phases.rs` takes the steps that follow from it. What a watcher means for others
//! is its [`Standing`]; whenever that changes, they are looked at again.

use super::supervisor::Supervisor;
use super::watcher::{Phase, Up, Wanted, Watcher};
use super::worker;
use super::{Cause, ExitStatus, Name, WatcherState};
use std::collections::{BTreeMap, BTreeSet};

/// Who names whom, as the specs in force have it.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Those that name a watcher, which need not exist.
    dependents: BTreeMap<Name, Vec<Name>>,
    /// The longest chain of others before a watcher. Who names nobody is not in here.
    depths: BTreeMap<Name, u32>,
    /// Those in a circle, and those that name them: they wait for ever, so nobody waits for them.
    circular: BTreeSet<Name>,
    stale: bool,
}

/// Whether a watcher that others wait for will be ready; the worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Prospect {
    /// It is, or its work is done.
    Ready,
    /// It is on its way.
    Coming,
    /// Something has gone wrong, and is tried again.
    Troubled,
    /// Not unless somebody does something.
    Never,
}

/// What a watcher means for those that name it, and for those that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    prospect: Prospect,
    /// It runs and is to stop.
    leaving: bool,
    /// It is on its way to a stop, or about to be.
    going: bool,
    stopped: bool,
    /// Its state in words.
    words: String,
}

/// What other watchers mean for one.
#[derive(Debug, Default)]
pub(super) struct Ties {
    /// It may not start yet.
    pub(super) waits_for: Option<WaitsFor>,
    /// It requires this one, which is about to stop: it has to stop first.
    pub(super) yields_to: Option<Name>,
    /// It may not stop before this one has.
    pub(super) outlasts: Option<Name>,
}

/// Whom a watcher waits for.
#[derive(Debug)]
pub(super) struct WaitsFor {
    /// The one with the worst prospects.
    pub(super) name: Name,
    pub(super) prospect: Prospect,
    pub(super) text: String,
}

impl Links {
    /// The specs have changed.
    pub(super) fn forget(&mut self) {
        self.stale = true;
    }

    fn dependents(&self, name: &Name) -> &[Name] {
        self.dependents.get(name).map_or(&[], Vec::as_slice)
    }

    /// The longest chain of others that come before this one.
    pub(super) fn depth(&self, name: &Name) -> u32 {
        self.depths.get(name).copied().unwrap_or(0)
    }

    fn in_one_circle(&self, one: &Name, other: &Name) -> bool {
        self.circular.contains(one) && self.circular.contains(other)
    }

    fn of(watchers: &BTreeMap<Name, Watcher>) -> Links {
        let mut links = Links::default();
        let mut open: BTreeMap<&Name, usize> = BTreeMap::new();
        for (name, watcher) in watchers.iter().filter(|(_, w)| w.spec.depends()) {
            let named: BTreeSet<&Name> = watcher.spec.depends_on().collect();
            let depends = |other: &&&Name| watchers.get(**other).is_some_and(|w| w.spec.depends());
            open.insert(name, named.iter().filter(depends).count());
            for other in named {
                let dependents = links.dependents.entry(other.clone()).or_default();
                dependents.push(name.clone());
            }
        }
        let mut free: Vec<&Name> = (open.iter())
            .filter(|(_, count)| **count == 0)
            .map(|(name, _)| *name)
            .collect();
        while let Some(name) = free.pop() {
            let before = watchers[name].spec.depends_on();
            let depth = before.map(|other| links.depth(other)).max().unwrap_or(0) + 1;
            links.depths.insert(name.clone(), depth);
            for dependent in links.dependents(name) {
                if let Some((dependent, count)) = open.get_key_value(dependent) {
                    let (dependent, count) = (*dependent, *count - 1);
                    open.insert(dependent, count);
                    if count == 0 {
                        free.push(dependent);
                    }
                }
            }
        }
        let circular = open.into_keys().filter(|n| !links.depths.contains_key(*n));
        links.circular = circular.cloned().collect();
        links
    }
}

impl Supervisor {
    /// Sees to it that the links are those of the specs in force.
    pub(super) fn refresh_links(&mut self) {
        if !self.links.stale {
            return;
        }
        let mut concerned: BTreeSet<Name> = self.links.depths.keys().cloned().collect();
        concerned.extend(self.links.dependents.keys().cloned());
        self.links = Links::of(&self.watchers);
        concerned.extend(self.links.depths.keys().cloned());
        concerned.extend(self.links.circular.iter().cloned());
        concerned.extend(self.links.dependents.keys().cloned());
        for name in concerned {
            self.ctx.touched.insert(name);
        }
    }

    /// Finds out what other watchers mean for this one.
    pub(super) fn tie(&mut self, name: &Name) {
        let Some(watcher) = self.watchers.get(name) else {
            return;
        };
        if !watcher.spec.depends() && self.links.dependents(name).is_empty() {
            if let Some(watcher) = self.watchers.get_mut(name) {
                watcher.ties = Ties::default();
            }
            return;
        }
        let starts = watcher.wanted == Wanted::Up && watcher.phase == Phase::Stopped;
        let hastened: Vec<Name> = match starts && !watcher.held {
            true => self.held_before(watcher),
            false => Vec::new(),
        };
        // Whoever is waited for does not wait for its own turn.
        for other in hastened {
            self.with_watcher(&other, |watcher, ctx| watcher.release(ctx));
        }
        let watcher = &self.watchers[name];
        let ties = Ties {
            waits_for: self.waits_for(watcher),
            yields_to: self.yields_to(watcher),
            outlasts: self.outlasts(watcher),
        };
        if let Some(watcher) = self.watchers.get_mut(name) {
            watcher.ties = ties;
        }
    }

    /// Has those looked at to whom this watcher now means something else.
    pub(super) fn tell_standing(&mut self, name: &Name) {
        let Some(watcher) = self.watchers.get_mut(name) else {
            return;
        };
        if !watcher.spec.depends() && self.links.dependents(name).is_empty() {
            watcher.standing = None;
            return;
        }
        let standing = Some(watcher.standing());
        if watcher.standing == standing {
            return;
        }
        watcher.standing = standing;
        for other in self.watchers[name].spec.depends_on() {
            self.ctx.touched.insert(other.clone());
        }
        self.touch_dependents(name);
    }

    /// Has those looked at that name this one.
    pub(super) fn touch_dependents(&mut self, name: &Name) {
        for dependent in self.links.dependents(name) {
            self.ctx.touched.insert(dependent.clone());
        }
    }

    /// Wants all those up that these require and that are not, and so on; says who all are.
    pub(super) fn pull_in(&mut self, names: &[Name]) -> Vec<Name> {
        let mut all = names.to_vec();
        let mut seen: BTreeSet<Name> = names.iter().cloned().collect();
        let mut open = names.to_vec();
        // Who is to be removed is not wanted back, nor are those that it required.
        open.retain(|name| {
            self.watchers
                .get(name)
                .is_some_and(|w| w.wanted == Wanted::Up)
        });
        while let Some(name) = open.pop() {
            let required = self.watchers.get(&name).map(|w| w.spec.requires.clone());
            for other in required.unwrap_or_default() {
                let lacks = |watcher: &&Watcher| {
                    watcher.wanted != Wanted::Gone && watcher.prospect() != Prospect::Ready
                };
                let Some(watcher) = self.watchers.get(&other).filter(lacks) else {
                    continue;
                };
                if !seen.insert(other.clone()) {
                    continue;
                }
                if watcher.wanted == Wanted::Down || watcher.failed() {
                    self.with_watcher(&other, |watcher, ctx| watcher.want_up(ctx));
                    all.push(other.clone());
                }
                open.push(other);
            }
        }
        all
    }

    /// Those that have to be ready before `watcher`, are not, and wait for their turn in a wave.
    fn held_before(&self, watcher: &Watcher) -> Vec<Name> {
        let held = |name: &&Name| {
            let other = self.watchers.get(*name);
            other.is_some_and(|other| {
                other.held && other.wanted == Wanted::Up && other.prospect() != Prospect::Ready
            })
        };
        watcher.spec.depends_on().filter(held).cloned().collect()
    }

    fn waits_for(&self, watcher: &Watcher) -> Option<WaitsFor> {
        let name = &watcher.spec.name;
        let lacking: BTreeMap<&Name, Prospect> = (watcher.spec.depends_on())
            .map(|other| (other, self.prospect_of(other)))
            .filter(|(_, prospect)| *prospect != Prospect::Ready)
            .collect();
        // The first of the worst, in the order in which they are named.
        let worst = *lacking.values().max()?;
        let first = (watcher.spec.depends_on()).find(|other| lacking.get(other) == Some(&worst))?;
        let words = match self.watchers.get(first) {
            Some(other) => format!("which is {}", other.words()),
            None => "which does not exist".into(),
        };
        let others = match lacking.len() - 1 {
            0 => String::new(),
            1 => " (and for one more)".into(),
            more => format!(" (and for {more} more)"),
        };
        let circle = self.links.circular.contains(name);
        Some(WaitsFor {
            name: first.clone(),
            prospect: if circle { Prospect::Never } else { worst },
            text: format!("waiting for {first}{others}, {words}"),
        })
    }

    fn prospect_of(&self, name: &Name) -> Prospect {
        self.watchers
            .get(name)
            .map_or(Prospect::Never, Watcher::prospect)
    }

    fn yields_to(&self, watcher: &Watcher) -> Option<Name> {
        let leaving = |name: &&Name| {
            !self.links.in_one_circle(name, &watcher.spec.name)
                && self.watchers.get(*name).is_some_and(Watcher::leaving)
        };
        watcher.spec.requires.iter().find(leaving).cloned()
    }

    fn outlasts(&self, watcher: &Watcher) -> Option<Name> {
        // When everything is killed, nobody waits for anybody.
        if self.ctx.hooks_off {
            return None;
        }
        let name = &watcher.spec.name;
        let first = |dependent: &&Name| {
            !self.links.in_one_circle(dependent, name)
                && self.watchers.get(*dependent).is_some_and(|dependent| {
                    dependent.phase != Phase::Stopped
                        && (dependent.spec.requires.contains(name) || dependent.going_to_stop())
                })
        };
        self.links.dependents(name).iter().find(first).cloned()
    }
}

impl Watcher {
    /// Whom it waits for before it starts, if that is all that it waits for.
    #[must_use]
    pub fn waits_for(&self) -> Option<&Name> {
        let waits = self.phase == Phase::Stopped && self.wanted == Wanted::Up && !self.held;
        let waits_for = self.ties.waits_for.as_ref().filter(|_| waits)?;
        Some(&waits_for.name)
    }

    /// Whether it will be ready.
    pub(super) fn prospect(&self) -> Prospect {
        if self.done() {
            return Prospect::Ready;
        }
        if self.wanted != Wanted::Up {
            return Prospect::Never;
        }
        match self.phase {
            Phase::Up(Up::Started) if self.serves_others() => Prospect::Ready,
            // Its turn is yet to come, and may change everything.
            _ if self.held || self.must_stop => Prospect::Coming,
            Phase::Up(_) if self.stuck() => Prospect::Never,
            Phase::Up(_) if self.trouble.is_some() => Prospect::Troubled,
            Phase::Stopped => match &self.ties.waits_for {
                Some(waits_for) => waits_for.prospect,
                None => Prospect::Coming,
            },
            Phase::BeforeStart(_)
            | Phase::Up(_)
            | Phase::BeforeStop(_)
            | Phase::Stopping
            | Phase::AfterStop(_) => Prospect::Coming,
        }
    }

    /// It runs, and will not get any further by itself.
    fn stuck(&self) -> bool {
        let moves = self.tally.fresh(worker::Standing::Unready) + self.tally.going() > 0
            || self.next_attempt().is_some();
        self.frozen || self.trouble.is_some() && !moves
    }

    /// Somebody serves, or nobody is asked for, and it is not about to stop.
    fn serves_others(&self) -> bool {
        (self.tally.ready() > 0 || self.target() == 0) && !self.going_down()
    }

    /// Its work is done, and well: what comes after it may come.
    fn done(&self) -> bool {
        let told = self.trouble.as_ref().map(|trouble| trouble.reason.cause);
        let well = self.exits.back().is_some_and(|exit| match exit.status {
            ExitStatus::Exited(code) => self.spec.success_exit_status.contains(&code),
            ExitStatus::Signaled(_) | ExitStatus::Dumped(_) | ExitStatus::Unknown => false,
        });
        self.wanted == Wanted::Down && told == Some(Cause::Finished) && well
    }

    /// Whether it runs and is to stop.
    fn leaving(&self) -> bool {
        matches!(self.phase, Phase::Up(_)) && self.going_down()
    }

    fn going_to_stop(&self) -> bool {
        match self.phase {
            Phase::BeforeStop(_) | Phase::Stopping | Phase::AfterStop(_) => true,
            Phase::Up(_) | Phase::BeforeStart(_) => self.going_down(),
            Phase::Stopped => false,
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            prospect: self.prospect(),
            leaving: self.leaving(),
            going: self.going_to_stop(),
            stopped: self.phase == Phase::Stopped,
            words: self.words(),
        }
    }

    /// Its state, and why it is not simply running. Of whom it waits for it tells the name only:
    /// in a circle there would be no end to it.
    fn words(&self) -> String {
        let state = match self.state() {
            WatcherState::Stopped => "stopped",
            WatcherState::Starting => "starting",
            WatcherState::Active => "active",
            WatcherState::Reloading => "being reloaded",
            WatcherState::Stopping => "stopping",
            WatcherState::Waiting => "waiting",
            WatcherState::Failed => "failed",
        };
        match (self.waits_for(), &self.trouble) {
            (Some(name), _) => format!("{state} for {name}"),
            (None, Some(trouble)) => format!("{state}: {}", trouble.reason.text),
            (None, None) => state.into(),
        }
    }
}
