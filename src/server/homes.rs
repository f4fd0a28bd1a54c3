//! Where a worker lives with all it forks: a cgroup of its place, or what stands in for one.
//!
//! ```text
//! BASE/                          a group that was delegated to us (its unit's, under systemd)
//!     supervisor/                circusd, where systemd puts it (DelegateSubgroup=)
//!     watchers/web/3/            one worker and all it forks
//!     hooks/web.before_start.7/  one run of a hook, so that no freezing or killing of workers hits it
//!     loggers/web.stdout.2/      one run of a program that reads what workers write
//! ```
//!
//! Where the group is not our unit's own, everything is below `BASE/circusd-INSTANCE/` instead, as
//! others may have groups there too. A place's group is reused by the next process there, so a
//! respawn neither makes nor removes a directory. What they are held to is in `resources`.

mod freed;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::hooks::HookHomes;
use super::orders::Standing;
use super::resources::{Resources, Unlimited};
use super::state::{KeptFreed, KeptHome};
use crate::sys::cgroup::{self, Cgroup, Events, Removal};
use crate::sys::pidfd::Pidfd;
use crate::sys::process::Process;
use crate::sys::tree::{self, Mark, Origin};

/// The variable by which a worker and its children are known where there is no group, and where it
/// was not written down who lives in one.
pub(super) const MARK: &str = "CIRCUS_WORKER";

/// What the kernel calls its own files in a group; a watcher's directory must not be in their way.
const RESERVED: [&str; 12] = [
    "cgroup",
    "cpu",
    "cpuset",
    "io",
    "memory",
    "pids",
    "hugetlb",
    "rdma",
    "misc",
    "irq",
    "perf_event",
    "dmem",
];

/// How often a guest looks for who may be left in a process group that still exists.
const GUEST_LOOKS: usize = 3;

/// What a process is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signals {
    /// This and no more.
    Alone(i32),
    /// This, and SIGCONT after it, as systemd does (systemd.kill(5)).
    Heard(i32),
}

impl Signals {
    /// What tells a process to end: one that is stopped hears nothing but SIGKILL and SIGCONT.
    pub(super) fn to_end(signal: i32) -> Signals {
        use nix::libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
        match signal {
            SIGKILL | SIGCONT | SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU => Signals::Alone(signal),
            _ => Signals::Heard(signal),
        }
    }

    /// The one that is meant.
    pub(super) fn first(self) -> i32 {
        let (Signals::Alone(signal) | Signals::Heard(signal)) = self;
        signal
    }

    /// # Errors
    ///
    /// Those of the first.
    pub(super) fn send(self, process: &Pidfd) -> io::Result<()> {
        process.signal(self.first())?;
        if matches!(self, Signals::Heard(_)) {
            // Whoever may be sent the first may be sent this, unless it has ended by the first.
            let _ = process.signal(nix::libc::SIGCONT);
        }
        Ok(())
    }
}

/// Makes homes.
#[derive(Debug)]
pub(super) struct Homes {
    root: Option<PathBuf>,
    instance: String,
    /// Groups that are still there, and in which nobody may be started any more.
    ///
    /// Those with somebody in them who was let go (`rm --nostop`), and those to which
    /// `cgroup.kill` was written: Linux (seen on 6.18) counts these kills for each group, so that
    /// none escapes who is forked meanwhile, and compares the count of the group a process is
    /// cloned from with that of the group it is cloned into. Into a group that was killed once,
    /// nobody can be cloned alive.
    spent: BTreeSet<PathBuf>,
    /// Of these, those with somebody in them who was let go; the next daemon is to know.
    let_go: BTreeSet<PathBuf>,
    let_go_changed: bool,
    /// Those who were let go, where there are no cgroups.
    free: Vec<Origin>,
    /// What the groups are held to.
    pub(super) resources: Resources,
}

/// The home of one worker, or of one run of a hook.
#[derive(Debug, Clone)]
pub(super) enum Home {
    /// Everything in this group.
    Cgroup(PathBuf),
    /// Everything that descends from it, is in its session, or carries its mark.
    Tree(Origin),
}

impl Homes {
    /// `base`: the group below which we may make groups, if there is one.
    pub(super) fn new(base: Option<&Path>, instance: &str, standing: Standing) -> Homes {
        let root = base.map(|base| match standing {
            Standing::Daemon => root(base, instance),
            // There may be several of us in one program.
            Standing::Guest => base.join(format!("circusd-{instance}")),
        });
        Homes {
            resources: Resources::new(base, root.as_deref()),
            root,
            instance: instance.to_owned(),
            spent: BTreeSet::new(),
            let_go: BTreeSet::new(),
            let_go_changed: false,
            free: Vec::new(),
        }
    }

    /// Whether workers have cgroups.
    pub(super) fn has_cgroups(&self) -> bool {
        self.root.is_some()
    }

    fn watcher_path(&self, watcher: &str) -> Option<PathBuf> {
        let name = directory_name(watcher);
        Some(self.root.as_ref()?.join("watchers").join(name))
    }

    /// What makes the homes of hooks.
    pub(super) fn for_hooks(&self) -> HookHomes {
        let root = self.root.as_ref().map(|root| root.join("hooks"));
        HookHomes::new(root, &self.instance, "CIRCUS_HOOK_RUN")
    }

    /// What makes the homes of loggers.
    pub(super) fn for_loggers(&self) -> HookHomes {
        let root = self.root.as_ref().map(|root| root.join("loggers"));
        HookHomes::new(root, &self.instance, "CIRCUS_LOGGER_RUN")
    }

    /// The group of a place, made if it is not there, and anew if it must not be used again. While
    /// somebody lives in that, the place has another one: `3.1`.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub(super) fn cgroup(&mut self, watcher: &str, wid: u32) -> io::Result<Option<Cgroup>> {
        let Some(groups) = self.watcher_path(watcher) else {
            return Ok(None);
        };
        let mut path = groups.join(wid.to_string());
        let mut others = 1..;
        while self.spent.contains(&path) {
            if remove(path.clone()) {
                self.resources.forget_place(&path);
                self.spent.remove(&path);
                self.let_go_changed |= self.let_go.remove(&path);
            } else if let Some(other) = others.next() {
                path = groups.join(format!("{wid}.{other}"));
            }
        }
        match Cgroup::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match groups.is_dir() {
                    true => self.resources.forget_place(&path),
                    false => self.resources.forget_groups(&groups),
                }
                std::fs::create_dir_all(&path)?;
                Cgroup::open(path).map(Some)
            }
            opened => opened.map(Some),
        }
    }

    /// Where the group of a place is, if there are groups.
    pub(super) fn cgroup_path(&self, watcher: &str, wid: u32) -> Option<PathBuf> {
        Some(self.watcher_path(watcher)?.join(wid.to_string()))
    }

    /// The home of a process of an earlier daemon.
    pub(super) fn find(&self, kept: &KeptHome, pid: Pid, worker: u64) -> Home {
        Home::find(kept, pid, self.mark(worker))
    }

    /// Removes the groups of an earlier daemon in which nobody lives, as they may have been killed
    /// once, and ends what hooks it was running. Groups that are homes still are kept.
    pub(super) fn clear_empty(&mut self, homes: &BTreeSet<PathBuf>) {
        let Some(root) = &self.root else {
            return;
        };
        for group in groups_in(&root.join("hooks")) {
            // Its answer has nobody to go to.
            if let Err(error) = kill_group(&group) {
                tracing::debug!("left the cgroup '{}': {error}", group.display());
            }
            remove(group);
        }
        for watcher in groups_in(&root.join("watchers")) {
            for place in groups_in(&watcher) {
                if !homes.contains(&place) && !remove(place.clone()) {
                    self.spent.insert(place);
                }
            }
            if groups_in(&watcher).is_empty() {
                remove(watcher);
            }
        }
    }

    /// Brings what a watcher is held to into force for the processes that run.
    ///
    /// # Errors
    ///
    /// The first limit that cannot be had.
    pub(super) fn limit(&mut self, watcher: &str) -> Result<(), Unlimited> {
        let path = self.watcher_path(watcher);
        self.resources.apply(watcher, path.as_deref())
    }

    /// The variable by which a worker and its children are known where there is no group.
    pub(super) fn mark(&self, worker: u64) -> (String, String) {
        (MARK.into(), format!("{}:{worker}", self.instance))
    }

    /// The home of a worker that has just been started.
    ///
    /// # Errors
    ///
    /// It has ended already and cannot be looked at.
    pub(super) fn home(&self, cgroup: Option<Cgroup>, pid: Pid, worker: u64) -> io::Result<Home> {
        if let Some(cgroup) = cgroup {
            return Ok(Home::Cgroup(cgroup.path().to_owned()));
        }
        tree_of(pid, self.mark(worker))
    }

    /// Stops or restarts the clocks of a whole watcher.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(super) fn freeze(&self, watcher: &str, frozen: bool) -> io::Result<()> {
        let Some(path) = self.watcher_path(watcher) else {
            return Ok(());
        };
        match Cgroup::open(path) {
            Ok(group) if frozen => group.freeze(),
            Ok(group) => group.thaw(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Kills everything in these homes, each with its main process. Says of each whether there was
    /// somebody to kill.
    ///
    /// Trees are looked for together, as each look is one at every process of the machine.
    ///
    /// # Errors
    ///
    /// Of each: the kernel refuses, or some processes may not be killed by us.
    pub(super) fn kill(&mut self, homes: &[(&Home, Option<&Pidfd>)]) -> Vec<io::Result<bool>> {
        let mut origins = Vec::new();
        let at_once: Vec<io::Result<bool>> = homes
            .iter()
            .map(|(home, main)| match home {
                Home::Cgroup(path) => {
                    self.spent.insert(path.clone());
                    kill_group(path)
                }
                Home::Tree(origin) => {
                    origins.push(origin.clone());
                    // Its process group first, as nobody can fork out of that meanwhile.
                    Ok(main.is_some_and(|main| main.signal_group(nix::libc::SIGKILL).is_ok()))
                }
            })
            .collect();
        let mut found = kill_trees(&origins).into_iter();
        let and_found = |(at_once, (home, _)): (io::Result<bool>, &(&Home, _))| match home {
            Home::Cgroup(_) => at_once,
            Home::Tree(_) => {
                let found = found.next().expect("each tree has its answer")?;
                at_once.map(|group| group || found)
            }
        };
        at_once.into_iter().zip(homes).map(and_found).collect()
    }

    /// Notes that somebody goes on living in a home, and is no longer ours.
    pub(super) fn let_go(&mut self, home: &Home) {
        match home {
            Home::Cgroup(path) => {
                self.spent.insert(path.clone());
                self.let_go_changed |= self.let_go.insert(path.clone());
            }
            Home::Tree(origin) => {
                self.free.push(origin.clone());
                self.let_go_changed = true;
            }
        }
    }

    /// The groups of those who were let go and, where there are none, who they are; if they are others
    /// than when this was asked last.
    pub(super) fn newly_let_go(&mut self) -> Option<(Vec<PathBuf>, Vec<KeptFreed>)> {
        let has_changed = std::mem::take(&mut self.let_go_changed);
        has_changed.then(|| (self.let_go_groups(), self.freed()))
    }

    /// The groups of those who were let go.
    pub(super) fn let_go_groups(&self) -> Vec<PathBuf> {
        self.let_go.iter().cloned().collect()
    }

    /// Notes those who were let go by an earlier daemon and live on.
    pub(super) fn inherit_let_go(&mut self, groups: &BTreeSet<PathBuf>, freed: &[KeptFreed]) {
        let there = groups.iter().filter(|group| group.is_dir()).cloned();
        self.let_go.extend(there);
        self.inherit_freed(freed);
    }

    /// Notes where a process of an earlier daemon lives that has this place now. If it is not the
    /// group of that place, nobody is started there.
    pub(super) fn inherit(&mut self, home: &Home, wid: u32) {
        if let Home::Cgroup(path) = home
            && place_of(path) != Some(wid)
        {
            self.spent.insert(path.clone());
        }
    }

    /// Where there are no cgroups, ends what has lost every sign of where it came from: it must not
    /// outlive us. Those who were let go are spared, with all that is theirs.
    pub(super) fn end_strangers(&self) {
        if self.has_cgroups() {
            return;
        }
        let mut spared = HashSet::new();
        for origin in &self.free {
            match tree::members(origin) {
                Ok(members) => spared.extend(members.into_iter().map(|process| process.pid)),
                // Better one too many lives on than one that was let go is killed.
                Err(error) => return tracing::warn!("failed to look for strangers: {error}"),
            }
        }
        if let Err(error) = tree::end_strangers(|pid| spared.contains(&pid)) {
            tracing::warn!("failed to end what has lost its origin: {error}");
        }
    }

    /// Removes the groups of a watcher of which nothing runs.
    pub(super) fn remove_watcher(&mut self, watcher: &str) {
        if let Some(path) = self.watcher_path(watcher)
            && remove(path.clone())
        {
            self.resources.forget_groups(&path);
            self.spent.retain(|spent| !spent.starts_with(&path));
            let before = self.let_go.len();
            self.let_go.retain(|group| !group.starts_with(&path));
            self.let_go_changed |= self.let_go.len() < before;
        }
    }

    /// Removes everything that we have made and that is empty.
    pub(super) fn remove_all(&mut self) {
        if let Some(root) = &self.root {
            remove(root.join("hooks"));
            remove(root.join("loggers"));
            if remove(root.join("watchers")) {
                self.resources.go_home();
            }
            if root.ends_with(format!("circusd-{}", self.instance)) {
                remove(root.clone());
            }
        }
    }
}

/// The group below which an instance has its groups.
pub(super) fn root(base: &Path, instance: &str) -> PathBuf {
    match cgroup::own() {
        Ok(own) if own.parent() == Some(base) => base.to_owned(),
        _ => base.join(format!("circusd-{instance}")),
    }
}

/// The place whose group this is, by its name: `3`, or `3.1` where `3` was not to be had.
pub(super) fn place_of(group: &Path) -> Option<u32> {
    let name = group.file_name()?.to_str()?;
    let wid = name.split('.').next()?.parse().ok()?;
    (wid > 0).then_some(wid)
}

/// The groups directly below one.
pub(super) fn groups_in(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let groups = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_type().ok()?.is_dir().then(|| entry.path())
    });
    groups.collect()
}

/// What the directory of a watcher is called.
pub(super) fn directory_name(watcher: &str) -> String {
    let first = watcher.split('.').next().unwrap_or_default();
    match RESERVED.contains(&first) {
        true => format!("_{watcher}"),
        false => watcher.to_owned(),
    }
}

/// What stands in for a group: whatever descends from this process, or carries this mark.
///
/// # Errors
///
/// It cannot be looked at.
pub(super) fn tree_of(pid: Pid, (name, value): (String, String)) -> io::Result<Home> {
    let start_ticks = Process::read(pid)?.start_ticks;
    let mark = Some(Mark {
        name,
        value: value.into(),
    });
    Ok(Home::Tree(Origin {
        pid,
        start_ticks,
        mark,
    }))
}

fn kill_group(path: &Path) -> io::Result<bool> {
    let group = Cgroup::open(path)?;
    let populated = group.is_populated()?;
    group.kill()?;
    Ok(populated)
}

/// Says of each tree whether there was somebody to kill; what keeps us from looking is told of each.
fn kill_trees(origins: &[Origin]) -> Vec<io::Result<bool>> {
    if origins.is_empty() {
        return Vec::new();
    }
    let killed = match tree::kill_trees(origins, nix::libc::SIGKILL) {
        Ok(killed) => killed,
        Err(error) => {
            let again = || io::Error::new(error.kind(), error.to_string());
            return origins.iter().map(|_| Err(again())).collect();
        }
    };
    let found = |killed: tree::Killed| match killed.refused.is_empty() {
        true => Ok(killed.signalled > 0),
        false => Err(Errno::EPERM.into()),
    };
    killed.into_iter().map(found).collect()
}

/// How many processes of an earlier run live on, where they are known by their mark alone.
pub(super) fn count_previous(previous: &str) -> usize {
    match tree::marked(MARK, &format!("{previous}:")) {
        Ok(marked) => marked.len(),
        Err(error) => {
            tracing::warn!("failed to look for what an earlier circusd has left: {error}");
            0
        }
    }
}

/// Removes the groups of an earlier instance, which held the state that is ours now: nobody else
/// makes any there. Says where processes live in them still, and who.
pub(super) fn clear_previous(base: &Path, previous: &str) -> Option<(PathBuf, Vec<Pid>)> {
    let path = base.join(format!("circusd-{previous}"));
    if !path.is_dir() || remove(path.clone()) {
        return None;
    }
    let left = Cgroup::open(&path).and_then(|group| group.procs());
    Some((path, left.unwrap_or_default()))
}

/// Says whether it is gone.
pub(super) fn remove(path: PathBuf) -> bool {
    let removed = Cgroup::open(&path).and_then(|group| group.remove());
    match removed {
        Ok(Removal::Done) => true,
        // Somebody still lives in there (`rm --nostop`).
        Ok(Removal::Busy) => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::debug!("left the cgroup '{}': {error}", path.display());
            false
        }
    }
}

impl Home {
    /// What was a home when an earlier daemon started `pid` there; `mark` is for where there are no groups.
    pub(super) fn find(kept: &KeptHome, pid: Pid, (name, value): (String, String)) -> Home {
        match kept {
            KeptHome::Cgroup(path) => Home::Cgroup(path.clone()),
            KeptHome::Started(start_ticks) => Home::Tree(Origin {
                pid,
                start_ticks: *start_ticks,
                mark: Some(Mark {
                    name,
                    value: value.into(),
                }),
            }),
        }
    }

    /// By what it is found again.
    pub(super) fn keep(&self) -> KeptHome {
        match self {
            Home::Cgroup(path) => KeptHome::Cgroup(path.clone()),
            Home::Tree(origin) => KeptHome::Started(origin.start_ticks),
        }
    }

    /// The group, if it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Home::Cgroup(path) => Some(path),
            Home::Tree(_) => None,
        }
    }

    /// What tells when the group is empty; `None` where only the ends of orphans tell.
    ///
    /// # Errors
    ///
    /// Those of opening the group.
    pub(super) fn events(&self) -> io::Result<Option<Events>> {
        match self {
            Home::Cgroup(path) => Cgroup::open(path)?.events_fd().map(Some),
            Home::Tree(_) => Ok(None),
        }
    }

    /// Whether nothing is left. To be asked when the main process, `main`, has ended. `is_known` tells
    /// the main processes of workers.
    ///
    /// # Errors
    ///
    /// Those of looking.
    pub(super) fn is_empty(
        &self,
        main: Option<&Pidfd>,
        is_known: impl Fn(Pid) -> bool,
    ) -> io::Result<bool> {
        match self {
            Home::Cgroup(path) => match Cgroup::open(path) {
                Ok(group) => group.is_populated().map(|populated| !populated),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
                Err(error) => Err(error),
            },
            Home::Tree(origin) => {
                // The kernel knows of everybody in its process group, where a look into /proc misses
                // who forks and ends all the while.
                let grouped = || main.is_some_and(|main| main.signal_group(0).is_ok());
                if grouped() {
                    // It knows of those as well who have only not been waited for.
                    tree::reap_orphans(&is_known)?;
                    if grouped() {
                        return Ok(false);
                    }
                }
                // Whoever else is left has lost its parent and become our child, or comes from one
                // who has.
                if tree::children()?.into_iter().all(is_known) {
                    return Ok(true);
                }
                tree::members(origin).map(|members| members.is_empty())
            }
        }
    }

    /// The same for a guest in somebody else's program: orphans do not come to us, and nobody's
    /// children are waited for but workers. Who is left is found by looking for them; `main` has
    /// been waited for.
    ///
    /// # Errors
    ///
    /// Those of looking.
    pub(super) fn is_empty_for_guest(&self, main: Option<&Pidfd>) -> io::Result<bool> {
        let Home::Tree(_) = self else {
            return self.is_empty(main, |_| true);
        };
        for _ in 0..GUEST_LOOKS {
            if !self.members()?.is_empty() {
                return Ok(false);
            }
            // The kernel knows of everybody in its process group: of those as well who have only
            // not been waited for, and of one who forks and ends faster than we can look.
            if main.is_none_or(|main| main.signal_group(0).is_err()) {
                return Ok(true);
            }
        }
        Ok(true)
    }

    /// Kills everything; `main` is the main process. Of a place, where another will live, by
    /// [`Homes::kill`].
    pub(super) fn kill(&self, main: &Pidfd) -> io::Result<bool> {
        match self {
            Home::Cgroup(path) => kill_group(path),
            Home::Tree(origin) => {
                // Its process group first, as nobody can fork out of that meanwhile.
                let group = main.signal_group(nix::libc::SIGKILL).is_ok();
                let killed = kill_trees(std::slice::from_ref(origin));
                killed
                    .into_iter()
                    .try_fold(group, |any, found| Ok(any || found?))
            }
        }
    }

    /// Sends `signals` to all, or to all but the main process. Says who got the first.
    ///
    /// # Errors
    ///
    /// Those of looking for them.
    pub(super) fn signal(&self, signals: Signals, except: Option<Pid>) -> io::Result<Vec<i32>> {
        let members = self.members()?;
        let mut reached = Vec::new();
        for pid in members.into_iter().filter(|pid| Some(*pid) != except) {
            // Opened first and found again afterwards: so the number is still the same process's.
            let Ok(pidfd) = Pidfd::open(pid) else {
                continue;
            };
            if self.has(pid)? && signals.send(&pidfd).is_ok() {
                reached.push(pid.as_raw());
            }
        }
        Ok(reached)
    }

    /// Who lives there.
    ///
    /// # Errors
    ///
    /// Those of looking.
    pub(super) fn members(&self) -> io::Result<Vec<Pid>> {
        match self {
            Home::Cgroup(path) => Cgroup::open(path)?.procs(),
            Home::Tree(origin) => Ok(tree::members(origin)?
                .into_iter()
                .map(|process| process.pid)
                .collect()),
        }
    }

    /// Whether a process lives there; one that has ended does if the kernel still knows where it was.
    /// `pidfd` is the process, where that is known: else its number may be another's by now.
    pub(super) fn holds(&self, pid: Pid, pidfd: Option<&Pidfd>) -> bool {
        let found = match self {
            Home::Cgroup(path) => {
                let id = |group: Cgroup| group.id();
                let known = pidfd.and_then(|pidfd| pidfd.cgroup_id().ok());
                if known.is_some() && known == Cgroup::open(path).and_then(id).ok() {
                    return true;
                }
                // It may be in a group below, or the kernel too old to say by number.
                cgroup::of(pid).is_ok_and(|group| group.starts_with(path))
            }
            Home::Tree(_) => self.has(pid).unwrap_or(false),
        };
        // The number was its own all the while.
        found && pidfd.is_none_or(|pidfd| pidfd.pid().is_ok_and(|now| now == pid))
    }

    fn has(&self, pid: Pid) -> io::Result<bool> {
        Ok(self.members()?.contains(&pid))
    }
}
