//! Loggers of an earlier daemon: found again, and kept running as if we had started them.
//!
//! One whose watcher has no such logger any more is left alone: it ends by itself when the last who writes
//! to it has gone. What it is to be started as is not written down, as there may be secrets in it; where it
//! has to be started again, it is started as a new one would be.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;

use super::kept::{KeptOutput, KeptTo};
use super::logger::{Logger, Running, Ties, open_anew};
use super::loggers::{Key, Lease, Loggers, Open, Which, command};
use crate::config::{Expanded, Stream};
use crate::server::homes::{self, Home};
use crate::server::hooks::Tree;
use crate::server::recipes::Recipe;
use crate::server::state::KeptHome;
use crate::sys::cgroup;
use crate::sys::pidfd::Pidfd;
use crate::sys::pipe::unread;
use crate::sys::process::Process;
use crate::sys::spawn::Command;

/// A logger, as the next daemon is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptLogger {
    which: Which,
    /// What it was started as, in short; another version of circusd may tell it in another way, which only
    /// costs that new processes get a new logger.
    made: u64,
    run: Option<KeptRun>,
}

/// One that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptRun {
    pid: i32,
    home: KeptHome,
    run: u64,
    /// The pipe of its standard error, if that has a name.
    pub(super) errors: Option<u64>,
}

impl KeptRun {
    pub(super) fn of(tree: &Tree, errors: Option<u64>) -> KeptRun {
        KeptRun {
            pid: tree.pid().as_raw(),
            home: tree.home().keep(),
            run: tree.run(),
            errors,
        }
    }
}

impl KeptLogger {
    /// The other pipe that it has.
    pub(super) fn errors(&self) -> Option<u64> {
        self.run.as_ref()?.errors
    }
}

impl Loggers {
    /// What is to be known of the logger that reads this pipe.
    pub(super) fn kept(&self, number: u64) -> Option<KeptOutput> {
        self.all_kept().find(|kept| kept.number == number)
    }

    /// The same of all.
    pub(super) fn all_kept(&self) -> impl Iterator<Item = KeptOutput> {
        let open = self
            .all_open()
            .map(|(key, open)| (key, open.made, &open.held));
        let ending = self.ending.iter();
        let ending = ending.map(|ending| (&ending.key, ending.made, &ending.held));
        let named = open
            .chain(ending)
            .filter(|(_, _, held)| held.ties.named && !held.ties.gone.get());
        named.map(|((watcher, which), made, held)| KeptOutput {
            number: held.ties.number,
            watcher: watcher.clone(),
            to: KeptTo::Logger(KeptLogger {
                which: *which,
                made,
                run: held.ties.run.borrow().clone(),
            }),
        })
    }

    /// What shows that somebody writes to the logger that reads this pipe.
    pub(in crate::server) fn lease(&self, number: u64) -> Option<Rc<Lease>> {
        let mut leases = self.all_open().map(|(_, open)| &open.lease);
        leases.find(|lease| lease.number() == Some(number)).cloned()
    }

    /// Goes on with a logger. `held` is the end of its pipe that somebody has held for us, `used` says
    /// whether there are processes that may write to it. To be called for later ones first.
    pub(super) fn resume(
        &mut self,
        (number, kept): (u64, &KeptLogger),
        recipe: &Recipe,
        held: Option<OwnedFd>,
        used: bool,
    ) -> io::Result<()> {
        let fifos = Rc::clone(&self.fifos);
        let argv = argv(recipe, kept.which);
        let command = argv.map(|argv| command(recipe, kept.which, &argv, &self.ground));
        let Some(Ok(command)) = command else {
            fifos.remove(number);
            return Ok(());
        };
        let source: File = match held {
            Some(held) => held.into(),
            None => fifos.open(number)?,
        };
        let found = kept.run.as_ref().and_then(|run| self.find(run));
        if found.is_none() && !used && unread(&source)? == 0 {
            fifos.remove(number);
            return Ok(());
        }
        let sink = open_anew(&source, OFlag::O_RDWR)?;
        let key = (recipe.watcher.name.clone(), kept.which);
        let ties = Rc::new(Ties {
            number,
            named: true,
            source,
            fifos,
            changes: Rc::clone(&self.changes),
            run: RefCell::new(None),
            gone: Cell::new(false),
        });
        let (logger, reins) = self.logger(&key, &command, &ties);
        let running = found.and_then(|(process, home, run)| self.take(&logger, process, home, run));
        ties.run
            .replace(kept.run.clone().filter(|_| running.is_some()));
        let open = Open {
            made: kept.made,
            sink,
            lease: Rc::new(Lease::to(&ties)),
            grace: recipe.watcher.graceful_timeout,
            held: reins.hold(ties, logger.keep(running, None)),
            command,
        };
        self.insert(key, open);
        Ok(())
    }

    /// New processes write to one that is as it would be made now.
    fn insert(&mut self, key: Key, open: Open) {
        match open.made == fingerprint(&open.command) && !self.current.contains_key(&key) {
            true => drop(self.current.insert(key, open)),
            false => self.outdated.push((key, open)),
        }
    }

    /// The process that is meant, if it is still there, and where it lives.
    fn find<'a>(&self, run: &'a KeptRun) -> Option<(Pidfd, Home, &'a KeptRun)> {
        let pid = Pid::from_raw(run.pid);
        let home = self.ground.homes.find(&run.home, pid, run.run);
        let process = Pidfd::open(pid).ok();
        let lives = match &home {
            // Each run has a group of its own.
            Home::Cgroup(path) => cgroup::of(pid).is_ok_and(|group| group.starts_with(path)),
            Home::Tree(origin) => {
                Process::read(pid).is_ok_and(|p| p.start_ticks == origin.start_ticks)
            }
        };
        match (process.filter(|_| lives), &home) {
            (Some(process), _) => Some((process, home, run)),
            (None, Home::Cgroup(path)) => {
                homes::remove(path.clone());
                None
            }
            (None, Home::Tree(_)) => None,
        }
    }

    fn take(&self, logger: &Logger, process: Pidfd, home: Home, run: &KeptRun) -> Option<Running> {
        let pid = Pid::from_raw(run.pid);
        let tree = match Tree::adopt(&self.ground, (pid, process), home, run.run) {
            Ok(tree) => tree,
            Err(error) => {
                tracing::error!(
                    "{}: failed to look after it, starting another: {error}",
                    logger.who
                );
                return None;
            }
        };
        let errors = run.errors.and_then(|errors| self.fifos.open(errors).ok());
        let errors = errors.and_then(|errors| pipe::Receiver::from_file(errors).ok());
        Some(logger.running(tree, errors))
    }
}

/// A command in short.
pub(super) fn fingerprint(command: &Command) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{command:?}").hash(&mut hasher);
    hasher.finish()
}

/// The program that reads a stream of a watcher, if one does.
fn argv(recipe: &Recipe, which: Which) -> Option<Vec<String>> {
    let Expanded { stdout, stderr, .. } = recipe.watcher.expand(0);
    let stream = match which {
        Which::Stdout => stdout,
        Which::Stderr => stderr,
    };
    match stream {
        Some(Stream::Command(argv)) => Some(argv),
        _ => None,
    }
}
