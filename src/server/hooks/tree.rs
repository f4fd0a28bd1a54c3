//! Everything that one run of a program, a hook or a logger, has started, to the last process.
//!
//! Whoever drops a [`Tree`] ends it. What is killed takes a moment to go, which nobody waits for
//! but the end of the daemon.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::rc::{Rc, Weak};

use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};

use super::HookHomes;
use crate::server::descriptors::Budget;
use crate::server::homes::{self, Home};
use crate::server::orders::Standing;
use crate::server::program::Surroundings;
use crate::server::wakeups::wait_for;
use crate::sys::cgroup::Cgroup;
use crate::sys::pidfd::{ExitStatus, Pidfd};
use crate::sys::spawn::Child;

/// What all hooks stand on, or all loggers.
#[derive(Debug)]
pub(in crate::server) struct Ground {
    pub(in crate::server) homes: HookHomes,
    pub(in crate::server) budget: Budget,
    pub(in crate::server) surroundings: Rc<Surroundings>,
    /// All main processes that somebody waits for, ours and those of workers.
    known: Rc<RefCell<HashSet<Pid>>>,
    runs: Cell<u64>,
    /// The runs of what is asked for the daemon just now.
    daemons: RefCell<HashSet<u64>>,
    /// Trees of which something may be left.
    trees: Cell<usize>,
    cleared: Notify,
    left: mpsc::UnboundedSender<Left>,
}

/// What is left behind, to be given to [`clear_all`].
type LeftBehind = mpsc::UnboundedReceiver<Left>;

/// The program and all it has started.
#[derive(Debug)]
pub(in crate::server) struct Tree {
    pid: Pid,
    /// Kept to the end, as its process group is told by it. `None` only while it is dropped.
    main: Option<AsyncFd<Pidfd>>,
    waited: bool,
    run: u64,
    home: Home,
    ground: Rc<Ground>,
}

/// What has been killed and is not gone yet.
#[derive(Debug)]
struct Left {
    pid: Pid,
    /// `None` if it was waited for.
    main: Option<AsyncFd<Pidfd>>,
    others: Vec<Pidfd>,
    home: Home,
}

impl Ground {
    /// To be made inside the runtime: trees are cleared away by a task. `known` is where all who
    /// wait for processes look whom to leave alone.
    pub(in crate::server) fn new(
        homes: HookHomes,
        budget: Budget,
        surroundings: Rc<Surroundings>,
        known: Rc<RefCell<HashSet<Pid>>>,
    ) -> Rc<Ground> {
        let (left, receiver) = mpsc::unbounded_channel();
        let ground = Rc::new(Ground {
            homes,
            budget,
            surroundings,
            known,
            runs: Cell::new(0),
            daemons: RefCell::default(),
            trees: Cell::new(0),
            cleared: Notify::new(),
            left,
        });
        tokio::task::spawn_local(clear_all(Rc::downgrade(&ground), receiver));
        ground
    }

    /// A number for a run, given to no other.
    pub(in crate::server) fn next_run(&self) -> u64 {
        self.runs.set(self.runs.get() + 1);
        self.runs.get()
    }

    /// Waits until nothing is left of any tree.
    pub(in crate::server) async fn cleared(&self) {
        while self.trees.get() > 0 {
            self.cleared.notified().await;
        }
    }

    /// Whether a process is part of what is asked for the daemon just now. Anybody can say so of
    /// himself: whoever believes it knows the user first.
    pub(super) fn asks_daemons(&self, pid: Pid) -> bool {
        let daemons = self.daemons.borrow();
        let is_run = |run| daemons.contains(&run);
        !daemons.is_empty() && self.homes.run_of(pid).is_some_and(is_run)
    }

    fn is_known(&self, pid: Pid) -> bool {
        self.known.borrow().contains(&pid)
    }

    fn forget(&self, pid: Pid) {
        self.known.borrow_mut().remove(&pid);
    }

    fn one_less(&self) {
        self.trees.set(self.trees.get() - 1);
        self.cleared.notify_waiters();
    }
}

impl Tree {
    /// Takes a program that was just started under its care.
    ///
    /// # Errors
    ///
    /// It cannot be watched over; it has been ended then.
    pub(in crate::server) fn new(
        ground: &Rc<Ground>,
        child: Child,
        cgroup: Option<Cgroup>,
        run: u64,
    ) -> io::Result<Tree> {
        let pid = child.pid;
        let home = match ground.homes.home(cgroup, pid, run) {
            Ok(home) => home,
            Err(error) => {
                crate::server::workers::end_unheard(&child.pidfd);
                return Err(error);
            }
        };
        let main = match wait_for(child.pidfd, Interest::READABLE) {
            Ok(main) => main,
            Err((pidfd, error)) => {
                // Nobody would hear of its end: it must not be.
                crate::server::workers::end_unheard(&pidfd);
                return Err(error);
            }
        };
        Ok(Tree::under(ground, pid, main, home, run))
    }

    /// Takes a program of an earlier daemon under its care, which need not be a child of ours.
    ///
    /// # Errors
    ///
    /// It cannot be watched over; it is left alone then.
    pub(in crate::server) fn adopt(
        ground: &Rc<Ground>,
        (pid, process): (Pid, Pidfd),
        home: Home,
        run: u64,
    ) -> io::Result<Tree> {
        let main = wait_for(process, Interest::READABLE).map_err(|(_, error)| error)?;
        // Where there are no groups, nobody else may have its mark.
        ground.runs.set(ground.runs.get().max(run));
        Ok(Tree::under(ground, pid, main, home, run))
    }

    fn under(ground: &Rc<Ground>, pid: Pid, main: AsyncFd<Pidfd>, home: Home, run: u64) -> Tree {
        ground.known.borrow_mut().insert(pid);
        ground.trees.set(ground.trees.get() + 1);
        Tree {
            pid,
            main: Some(main),
            waited: false,
            run,
            home,
            ground: Rc::clone(ground),
        }
    }

    /// Notes that it is asked for the daemon.
    pub(super) fn is_daemons(&self) {
        self.ground.daemons.borrow_mut().insert(self.run);
    }

    /// Waits for the end of the program; the rest of the tree may live on. May be dropped at any
    /// point, and is not to be asked again when it has answered.
    ///
    /// # Errors
    ///
    /// Somebody else has waited for it.
    pub(in crate::server) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let Some(main) = &self.main else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let status = wait(main).await;
        self.waited = true;
        self.ground.forget(self.pid);
        status
    }

    /// The main process.
    pub(in crate::server) fn pid(&self) -> Pid {
        self.pid
    }

    /// Where it lives with all it has started.
    pub(in crate::server) fn home(&self) -> &Home {
        &self.home
    }

    /// Its number among all runs.
    pub(in crate::server) fn run(&self) -> u64 {
        self.run
    }

    /// Leaves it alone for good; says where it lives.
    pub(in crate::server) fn let_go(mut self) -> Home {
        self.ground.forget(self.pid);
        self.main = None;
        self.home.clone()
    }

    /// Says whether nothing is left, and kills what is.
    fn clear(&self) -> io::Result<bool> {
        let Some(main) = &self.main else {
            return Ok(true);
        };
        let main = main.get_ref();
        let is_empty = || match self.ground.surroundings.standing {
            Standing::Daemon => (self.home).is_empty(Some(main), |pid| self.ground.is_known(pid)),
            Standing::Guest => self.home.is_empty_for_guest(Some(main)),
        };
        // Who cannot tell kills once too often.
        if self.waited && is_empty().unwrap_or(false) {
            return Ok(match self.home.path() {
                Some(path) => homes::remove(path.to_owned()),
                None => true,
            });
        }
        self.home.kill(main).map(|_| false)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.ground.daemons.borrow_mut().remove(&self.run);
        match self.clear() {
            Ok(true) => return self.ground.one_less(),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!("failed to kill what a program has started, going on: {error}");
            }
        }
        let others = match &self.home {
            // The group tells when it is empty.
            Home::Cgroup(_) => Vec::new(),
            Home::Tree(_) => {
                let members = self.home.members().unwrap_or_default();
                let others = members.into_iter().filter(|pid| *pid != self.pid);
                others.filter_map(|pid| Pidfd::open(pid).ok()).collect()
            }
        };
        let left = Left {
            pid: self.pid,
            main: self.main.take().filter(|_| !self.waited),
            others,
            home: self.home.clone(),
        };
        if self.ground.left.send(left).is_err() {
            // The daemon is ending, and has stopped waiting.
            self.ground.one_less();
        }
    }
}

/// Waits for the end of what is left behind, each in a task of its own, until the daemon ends.
async fn clear_all(ground: Weak<Ground>, mut left: LeftBehind) {
    while let Some(left) = left.recv().await {
        let Some(ground) = ground.upgrade() else {
            return;
        };
        tokio::task::spawn_local(async move {
            clear(left, &ground).await;
            ground.one_less();
        });
    }
}

async fn clear(left: Left, ground: &Ground) {
    if let Some(main) = &left.main {
        // Nobody asks how it has ended.
        let _ = wait(main).await;
        ground.forget(left.pid);
    }
    for other in left.others {
        if let Ok(other) = wait_for(other, Interest::READABLE) {
            // An error means that it cannot be waited for, which is as good as gone.
            let _ = other.readable().await;
        }
    }
    if let Home::Cgroup(path) = left.home {
        if let Err(error) = emptied(&path).await {
            tracing::warn!("failed to wait for the end of what a program has started: {error}");
        }
        homes::remove(path);
    }
}

async fn wait(main: &AsyncFd<Pidfd>) -> io::Result<ExitStatus> {
    loop {
        let mut guard = main.readable().await?;
        let process = guard.get_inner();
        match process.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => guard.clear_ready(),
            // It is no child of ours.
            Err(error) => return process.exit_of_stranger().ok().flatten().ok_or(error),
        }
    }
}

async fn emptied(path: &std::path::Path) -> io::Result<()> {
    let group = match Cgroup::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        group => group?,
    };
    let events = wait_for(group.events_fd()?, Interest::PRIORITY).map_err(|(_, e)| e)?;
    while events.get_ref().state()?.populated {
        events.ready(Interest::PRIORITY).await?.clear_ready();
    }
    Ok(())
}
