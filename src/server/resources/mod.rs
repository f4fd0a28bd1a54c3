//! What watchers and their processes are held to: limits of their cgroups, and the controllers these
//! need.
//!
//! Controllers that only count, memory and pids, are handed down to every worker's group where that
//! costs nobody a move, so that kills for want of memory are recognised and figures are those of the
//! whole tree. The others decide who runs when, even among those without limits, so they are handed
//! down only when somebody asks for them.

mod lack;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

pub(super) use lack::{Lack, Unlimited};
use wanted::Wanted;

use crate::config::Watcher;
use crate::sys::cgroup::{Cgroup, Controller, Limit, Limits};

/// The controllers that every worker's group is to have.
const COUNTING: [Controller; 2] = [Controller::Memory, Controller::Pids];

/// Where we go when processes may not be in the group that is ours; as systemd's
/// `DelegateSubgroup=` calls it.
const OWN_LEAF: &str = "supervisor";

/// What has been asked for, and what the kernel was told.
#[derive(Debug)]
pub(super) struct Resources {
    /// From the group that was delegated to us down to the one of all watchers; none without cgroups.
    above: Vec<PathBuf>,
    available: BTreeSet<Controller>,
    /// By watcher; those without limits are not in here.
    wanted: BTreeMap<String, Wanted>,
    /// By group; one that is not in here has the kernel's defaults, and of one without limits in here
    /// nobody knows what it has: it was there before us.
    told: HashMap<PathBuf, Option<Limits>>,
    handed: HashMap<PathBuf, BTreeSet<Controller>>,
    /// Whether [`COUNTING`] has been seen to.
    counts: Option<BTreeSet<Controller>>,
    /// We have left the group that was delegated to us, for a leaf below it.
    moved: bool,
    /// By watcher, what it is not held to although it asks for it.
    lacking: BTreeMap<String, Vec<String>>,
}

impl Resources {
    /// `base` was delegated to us, and our own groups are below `root`.
    pub(super) fn new(base: Option<&Path>, root: Option<&Path>) -> Resources {
        let mut above: Vec<PathBuf> = base.into_iter().chain(root).map(Path::to_owned).collect();
        above.extend(root.map(|root| root.join("watchers")));
        above.dedup();
        let available = base.map(|base| Cgroup::open(base).and_then(|base| base.controllers()));
        let told = above.last().map(|watchers| found(watchers));
        Resources {
            above,
            available: available.and_then(Result::ok).unwrap_or_default(),
            wanted: BTreeMap::new(),
            told: told.unwrap_or_default(),
            handed: HashMap::new(),
            counts: None,
            moved: false,
            lacking: BTreeMap::new(),
        }
    }

    /// Notes what a watcher asks for from now on, and says whether that differs.
    ///
    /// # Errors
    ///
    /// It cannot be had here, and nothing has changed.
    pub(super) fn want(&mut self, watcher: &Watcher) -> Result<bool, Unlimited> {
        let wanted = Wanted::of(watcher)?;
        if self.of(&watcher.name) == wanted {
            return Ok(false);
        }
        if !wanted.optional {
            for limit in wanted.asked() {
                let unlimited = |why| Unlimited { limit, why };
                self.hand_down(limit.controller(), None)
                    .map_err(unlimited)?;
            }
        }
        self.keep(&watcher.name, wanted);
        Ok(true)
    }

    /// Notes it whether it can be had or not: a spawn will tell.
    pub(super) fn want_anyway(&mut self, watcher: &Watcher) {
        match Wanted::of(watcher) {
            Ok(wanted) => self.keep(&watcher.name, wanted),
            Err(error) => tracing::error!("{}: {error}, it goes on without", watcher.name),
        }
    }

    fn keep(&mut self, watcher: &str, wanted: Wanted) {
        match wanted == Wanted::default() {
            true => self.wanted.remove(watcher),
            false => self.wanted.insert(watcher.to_owned(), wanted),
        };
    }

    fn of(&self, watcher: &str) -> Wanted {
        self.wanted.get(watcher).copied().unwrap_or_default()
    }

    /// Sees to it that a process can be born into `leaf`, the group of its place in `watcher`, with all
    /// its limits in force.
    ///
    /// # Errors
    ///
    /// The first limit that cannot be had.
    pub(super) fn before_birth(
        &mut self,
        watcher: &str,
        leaf: Option<&Cgroup>,
    ) -> Result<(), Unlimited> {
        let wanted = self.of(watcher);
        let Some(leaf) = leaf else {
            return self.go_without(watcher);
        };
        let groups = leaf.path().parent().unwrap_or(leaf.path()).to_owned();
        self.count(&groups);
        let mut lacking = Vec::new();
        if !self.has_been_told(&groups, &wanted.all) {
            match open(&groups, &wanted.all) {
                Ok(group) => lacking.extend(self.tell(&group, &wanted.all, None)),
                Err(unlimited) => lacking.push(unlimited),
            }
        }
        if !self.has_been_told(leaf.path(), &wanted.each) {
            lacking.extend(self.tell(leaf, &wanted.each, Some(&groups)));
        }
        self.settle(watcher, wanted.optional, lacking)
    }

    /// Brings what a watcher asks for into force in all groups that it has, which are below `groups`;
    /// none without cgroups.
    ///
    /// # Errors
    ///
    /// The first limit that cannot be had.
    pub(super) fn apply(&mut self, watcher: &str, groups: Option<&Path>) -> Result<(), Unlimited> {
        let wanted = self.of(watcher);
        let Some(groups) = groups else {
            return self.go_without(watcher);
        };
        let group = match open(groups, &wanted.all) {
            Ok(group) => group,
            Err(unlimited) => match unlimited.why {
                // None of its processes runs.
                Lack::Closed { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    return Ok(());
                }
                _ => return Err(unlimited),
            },
        };
        let mut lacking = self.tell(&group, &wanted.all, None);
        // Those that vanish meanwhile have nobody in them.
        for leaf in group.below().unwrap_or_default() {
            lacking.extend(self.tell(&leaf, &wanted.each, Some(groups)));
        }
        self.settle(watcher, wanted.optional, lacking)
    }

    /// What a watcher is not held to although it asks for it: a sentence for each.
    pub(super) fn lacking(&self, watcher: &str) -> &[String] {
        self.lacking.get(watcher).map_or(&[], Vec::as_slice)
    }

    /// The group of a place has just been made, or will be made anew.
    pub(super) fn forget_place(&mut self, path: &Path) {
        self.told.remove(path);
    }

    /// The group of a watcher has been removed with all below it, or has just been made.
    pub(super) fn forget_groups(&mut self, path: &Path) {
        self.told.retain(|told, _| !told.starts_with(path));
        self.handed.retain(|handed, _| !handed.starts_with(path));
    }

    /// There is no such watcher any more.
    pub(super) fn forget_watcher(&mut self, watcher: &str) {
        self.wanted.remove(watcher);
        self.lacking.remove(watcher);
    }

    /// Goes back to where we were started, so that nothing of ours is left there. Nobody may live in our
    /// groups any more: he would be limited no longer.
    pub(super) fn go_home(&mut self) {
        if !std::mem::take(&mut self.moved) {
            return;
        }
        let mut there = self.above.iter().rev().filter(|path| path.is_dir());
        let gone = there.try_for_each(|path| take_all_back(path));
        let base = self.above.first().map(Cgroup::open).transpose();
        let gone = gone.and_then(|()| base?.map_or(Ok(()), |base| base.enter()));
        if let Err(error) = gone {
            tracing::debug!("stayed in a cgroup of our own: {error}");
        }
    }

    /// Without cgroups nobody is held to anything.
    fn go_without(&mut self, watcher: &str) -> Result<(), Unlimited> {
        let wanted = self.of(watcher);
        let lacking = wanted.asked().map(|limit| Unlimited {
            limit,
            why: Lack::NotDelegated(limit.controller()),
        });
        self.settle(watcher, wanted.optional, lacking.collect())
    }

    /// Whoever can do without is told of, once.
    fn settle(
        &mut self,
        watcher: &str,
        optional: bool,
        lacking: Vec<Unlimited>,
    ) -> Result<(), Unlimited> {
        let mut told: Vec<String> = Vec::new();
        for unlimited in lacking {
            if !optional {
                return Err(unlimited);
            }
            let sentence = unlimited.to_string();
            if !told.contains(&sentence) {
                told.push(sentence);
            }
        }
        let before = self.lacking(watcher);
        if before == told {
            return Ok(());
        }
        for sentence in told.iter().filter(|sentence| !before.contains(sentence)) {
            tracing::warn!("{watcher}: goes on without {sentence}");
        }
        match told.is_empty() {
            true => self.lacking.remove(watcher),
            false => self.lacking.insert(watcher.to_owned(), told),
        };
        Ok(())
    }

    fn has_been_told(&self, group: &Path, limits: &Limits) -> bool {
        match self.told.get(group) {
            None => *limits == Limits::default(),
            Some(told) => told.as_ref() == Some(limits),
        }
    }

    /// Holds a group to `limits`; `groups` is the watcher's if this is a worker's.
    fn tell(&mut self, group: &Cgroup, limits: &Limits, groups: Option<&Path>) -> Vec<Unlimited> {
        let before = match self.told.get(group.path()) {
            None => Some(Limits::default()),
            Some(told) => *told,
        };
        let mut now = *limits;
        let mut lacking = Vec::new();
        for limit in Limit::ALL {
            if before.is_some_and(|before| before.agree(limits, limit)) {
                continue;
            }
            let handed = match limits.has(limit) {
                true => self.hand_down(limit.controller(), groups),
                false => Ok(()),
            };
            let held = handed.and_then(|()| group.limit(limit, limits).map_err(Lack::Refused));
            if let Err(why) = held {
                now = now.without(limit);
                lacking.push(Unlimited { limit, why });
            }
        }
        match now == Limits::default() {
            true => self.told.remove(group.path()),
            false => self.told.insert(group.path().to_owned(), Some(now)),
        };
        lacking
    }

    /// Has the groups of all watchers counted in, and those below `groups`, as far as that can be.
    fn count(&mut self, groups: &Path) {
        let counts = self.counts.take().unwrap_or_else(|| {
            let alone = self.above.first().is_some_and(|base| is_empty(base));
            let counting = COUNTING.into_iter().filter(|_| alone);
            counting
                .filter(|c| self.hand_down(*c, None).is_ok())
                .collect()
        });
        for controller in &counts {
            if let Err(error) = self.hand_down(*controller, Some(groups)) {
                tracing::debug!("figures are without '{controller}': {error}");
            }
        }
        self.counts = Some(counts);
    }

    /// Hands a controller down to the groups of watchers, and to those below `groups`.
    fn hand_down(&mut self, controller: Controller, groups: Option<&Path>) -> Result<(), Lack> {
        if !self.available.contains(&controller) {
            return Err(Lack::NotDelegated(controller));
        }
        if self.has_handed_down(
            groups.or(self.above.last().map(PathBuf::as_path)),
            controller,
        ) {
            return Ok(());
        }
        let above = self.above.clone();
        for (index, path) in above.iter().map(PathBuf::as_path).chain(groups).enumerate() {
            if self.has_handed_down(Some(path), controller) {
                continue;
            }
            if index == 0 {
                self.make_room(path, controller)?;
            }
            hand_down(path, controller)?;
            self.handed
                .entry(path.to_owned())
                .or_default()
                .insert(controller);
        }
        Ok(())
    }

    fn has_handed_down(&self, path: Option<&Path>, controller: Controller) -> bool {
        let handed = path.and_then(|path| self.handed.get(path));
        handed.is_some_and(|handed| handed.contains(&controller))
    }

    /// A group that hands controllers down may hold no processes itself, so we move into a leaf; if
    /// others are there, too, it cannot be done: they are not ours to move.
    fn make_room(&mut self, base: &Path, controller: Controller) -> Result<(), Lack> {
        let failed = |source| Lack::HandDown {
            group: base.to_owned(),
            controller,
            source,
        };
        let procs = Cgroup::open(base).and_then(|group| group.own_procs());
        let procs = procs.map_err(failed)?;
        if procs.is_empty() {
            return Ok(());
        }
        let occupied = || Lack::Occupied {
            group: base.to_owned(),
            controller,
        };
        let (1, Some(root)) = (procs.len(), self.above.get(1)) else {
            return Err(occupied());
        };
        if procs[0] != nix::unistd::Pid::this() {
            return Err(occupied());
        }
        let leaf = root.join(OWN_LEAF);
        std::fs::create_dir_all(&leaf).map_err(failed)?;
        let entered = Cgroup::open(&leaf).and_then(|leaf| leaf.enter());
        entered.map_err(failed)?;
        self.moved = true;
        tracing::info!(
            "moved to the cgroup '{}', so that '{}' can hand controllers down",
            leaf.display(),
            base.display()
        );
        Ok(())
    }
}

fn hand_down(path: &Path, controller: Controller) -> Result<(), Lack> {
    let handed = std::fs::create_dir_all(path)
        .and_then(|()| Cgroup::open(path))
        .and_then(|group| group.hand_down(controller));
    handed.map_err(|source| Lack::HandDown {
        group: path.to_owned(),
        controller,
        source,
    })
}

fn take_all_back(path: &Path) -> io::Result<()> {
    let group = Cgroup::open(path)?;
    let mut handed = group.handed_down()?.into_iter();
    handed.try_for_each(|controller| group.take_back(controller))
}

fn is_empty(path: &Path) -> bool {
    let procs = Cgroup::open(path).and_then(|group| group.own_procs());
    procs.is_ok_and(|procs| procs.is_empty())
}

/// The first of `limits` that cannot be in force names why.
fn open(path: &Path, limits: &Limits) -> Result<Cgroup, Unlimited> {
    Cgroup::open(path).map_err(|source| {
        let mut asked = Limit::ALL.into_iter().filter(|limit| limits.has(*limit));
        let group = path.to_owned();
        Unlimited {
            limit: asked.next().unwrap_or(Limit::MemoryMax),
            why: Lack::Closed { group, source },
        }
    })
}

/// The groups of watchers and workers that are there already: nobody knows what they are held to.
fn found(watchers: &Path) -> HashMap<PathBuf, Option<Limits>> {
    let below = |group: &Cgroup| group.below().unwrap_or_default();
    let groups = Cgroup::open(watchers).map(|watchers| below(&watchers));
    let mut found = HashMap::new();
    for group in groups.unwrap_or_default() {
        found.extend(
            below(&group)
                .iter()
                .map(|leaf| (leaf.path().to_owned(), None)),
        );
        found.insert(group.path().to_owned(), None);
    }
    found
}
