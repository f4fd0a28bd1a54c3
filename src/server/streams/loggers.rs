//! Which watcher has which logger for which stream, and how long it needs it.
//!
//! There is one for all processes of a watcher that are made in the same way. When they are made in
//! another way, so that its program, its user or its environment differ, there is another one beside
//! it; the old one goes when the last of the old processes has gone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::fifo::{Fifos, Made};
use super::heirs::fingerprint;
use super::kept::Changes;
use super::logger::{Logger, Order, State, Ties, enlarge, open_anew};
use super::outlet::Outlet;
use crate::config::Expanded;
use crate::core::SpawnFailure;
use crate::server::homes::Home;
use crate::server::hooks::Ground;
use crate::server::program;
use crate::server::recipes::Recipe;
use crate::sys::spawn::Command;

/// How long the end of the daemon waits for what it has killed.
const LAST_MAX: Duration = Duration::from_secs(5);

/// A stream that a logger reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Which {
    Stdout,
    Stderr,
}

impl Which {
    fn as_str(self) -> &'static str {
        match self {
            Which::Stdout => "stdout",
            Which::Stderr => "stderr",
        }
    }

    /// As it is called in sentences about a process.
    pub(in crate::server) fn name(self) -> &'static str {
        match self {
            Which::Stdout => "standard output",
            Which::Stderr => "standard error",
        }
    }
}

/// Whoever has one may write to a logger.
#[derive(Debug)]
pub(in crate::server) struct Lease {
    /// One who had it runs on without us.
    free: Cell<bool>,
    number: Option<u64>,
}

impl Lease {
    pub(super) fn to(ties: &Ties) -> Lease {
        Lease {
            free: Cell::new(false),
            number: ties.named.then_some(ties.number),
        }
    }

    /// The number of the pipe, if the next daemon can find that.
    pub(in crate::server) fn number(&self) -> Option<u64> {
        self.number
    }

    /// Who writes there is ours no longer.
    pub(in crate::server) fn let_go(&self) {
        self.free.set(true);
    }
}

pub(super) type Key = (String, Which);

/// All loggers.
#[derive(Debug)]
pub(in crate::server) struct Loggers {
    pub(super) ground: Rc<Ground>,
    pub(super) fifos: Rc<Fifos>,
    pub(super) changes: Rc<Changes>,
    /// Those that new processes write to.
    pub(super) current: BTreeMap<Key, Open>,
    /// Those that only old processes write to.
    pub(super) outdated: Vec<(Key, Open)>,
    /// Those that nobody writes to.
    pub(super) ending: Vec<Ending>,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) command: Command,
    /// What it was started as, in short.
    pub(super) made: u64,
    pub(super) sink: OwnedFd,
    pub(super) lease: Rc<Lease>,
    pub(super) grace: Duration,
    pub(super) held: Held,
}

#[derive(Debug)]
pub(super) struct Ending {
    pub(super) key: Key,
    pub(super) made: u64,
    pub(super) held: Held,
}

/// A logger that is looked after.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) ties: Rc<Ties>,
    orders: watch::Sender<Order>,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

/// The ends of what goes to and comes from whoever looks after a logger.
pub(super) struct Reins {
    orders: watch::Sender<Order>,
    state: watch::Receiver<State>,
}

impl Reins {
    /// Has a logger looked after by this task.
    pub(super) fn hold(self, ties: Rc<Ties>, task: impl Future<Output = ()> + 'static) -> Held {
        Held {
            ties,
            orders: self.orders,
            state: self.state,
            task: tokio::task::spawn_local(task),
        }
    }
}

impl Loggers {
    /// `fifos` is where their pipes are.
    pub(in crate::server) fn new(ground: Rc<Ground>, fifos: Rc<Fifos>) -> Loggers {
        Loggers {
            ground,
            fifos,
            changes: Rc::default(),
            current: BTreeMap::new(),
            outdated: Vec::new(),
            ending: Vec::new(),
        }
    }

    /// What a process writes to so that `argv` reads it, which is started if it does not run.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(super) fn open(
        &mut self,
        recipe: &Recipe,
        which: Which,
        argv: &[String],
    ) -> Result<Outlet, SpawnFailure> {
        let key = (recipe.watcher.name.clone(), which);
        let command = command(recipe, which, argv, &self.ground)?;
        let known = self.current.get(&key);
        if known.is_none_or(|known| known.command != command) {
            let open = self.begin(&key, command)?;
            if let Some(old) = self.current.insert(key.clone(), open) {
                self.outdated.push((key.clone(), old));
            }
        }
        let open = self.current.get_mut(&key).expect("it is there now");
        open.grace = recipe.watcher.graceful_timeout;
        let end = match open.held.ties.named {
            true => OFlag::O_RDWR,
            false => OFlag::O_WRONLY,
        };
        let sink = open_anew(&open.sink, end);
        let sink =
            sink.map_err(|error| program::failure("opening the pipe to its logger", &error))?;
        Ok(Outlet::Logger(sink, Rc::clone(&open.lease)))
    }

    /// New processes of a watcher no longer write to a logger.
    pub(super) fn outdate(&mut self, watcher: &str, which: Which) {
        if !self.current.is_empty() {
            let old = self.current.remove_entry(&(watcher.to_owned(), which));
            self.outdated.extend(old);
        }
    }

    fn begin(&self, key: &Key, command: Command) -> Result<Open, SpawnFailure> {
        let stage = format!("starting the logger of its {}", key.1.name());
        let made = self.fifos.make();
        let made = made.map_err(|error| program::failure(&stage, &error))?;
        enlarge(&made.writer);
        let Made {
            number,
            named,
            reader: source,
            writer: sink,
        } = made;
        let ties = Rc::new(Ties {
            number,
            named,
            source,
            fifos: Rc::clone(&self.fifos),
            changes: Rc::clone(&self.changes),
            run: RefCell::new(None),
            gone: Cell::new(false),
        });
        let (logger, reins) = self.logger(key, &command, &ties);
        // Two of them at once may be in each other's way, as where they write to the same files.
        let before = self
            .ending
            .iter()
            .rev()
            .find(|ending| ending.key == *key && ending.will_end());
        let running = match before {
            Some(_) => None,
            None => Some(logger.start().map_err(|why| {
                self.fifos.remove(number);
                SpawnFailure {
                    error: format!("failed to start: {stage}: {why}"),
                    stage,
                    errno: 0,
                }
            })?),
        };
        let before = before.map(|ending| ending.held.state.clone());
        Ok(Open {
            made: fingerprint(&command),
            command,
            sink,
            lease: Rc::new(Lease::to(&ties)),
            grace: Duration::ZERO,
            held: reins.hold(ties, logger.keep(running, before)),
        })
    }

    pub(super) fn logger(
        &self,
        (watcher, which): &Key,
        command: &Command,
        ties: &Rc<Ties>,
    ) -> (Logger, Reins) {
        let (orders, ordered) = watch::channel(Order::Run);
        let (state, told) = watch::channel(State::Waiting);
        let logger = Logger {
            ground: Rc::clone(&self.ground),
            who: format!("{watcher}: the logger of its {}", which.name()),
            watcher: watcher.clone(),
            stream: which.as_str(),
            command: command.clone(),
            ties: Rc::clone(ties),
            orders: ordered,
            state,
            ends: 0,
        };
        let state = told;
        (logger, Reins { orders, state })
    }

    /// All that somebody may write to.
    pub(super) fn all_open(&self) -> impl Iterator<Item = (&Key, &Open)> {
        let outdated = self.outdated.iter().map(|(key, open)| (key, open));
        self.current.iter().chain(outdated)
    }

    /// The end of its pipe that a logger reads.
    pub(super) fn reader(&self, number: u64) -> Option<BorrowedFd<'_>> {
        let open = self.all_open().map(|(_, open)| &open.held.ties);
        let ending = self.ending.iter().map(|ending| &ending.held.ties);
        let mut all = open.chain(ending);
        let ties = all.find(|ties| ties.number == number)?;
        Some(ties.source.as_fd())
    }

    /// Leaves them all to the next daemon.
    pub(in crate::server) async fn hand_over(&mut self) {
        let current = self.current.values_mut();
        let outdated = self.outdated.iter_mut().map(|(_, open)| open);
        let open = current.chain(outdated).map(|open| &mut open.held);
        let ending = self.ending.iter_mut().map(|ending| &mut ending.held);
        for held in open.chain(ending) {
            held.orders.send_replace(Order::LetGo);
            // It waits for nothing else, and an error means that it is gone.
            let _ = tokio::time::timeout(LAST_MAX, &mut held.task).await;
        }
    }

    /// Ends those that nobody needs; `is_down` says of a watcher whether nothing will be started.
    pub(in crate::server) fn tidy(&mut self, is_down: impl Fn(&str) -> bool) {
        let unused = |open: &Open| Rc::strong_count(&open.lease) == 1;
        let Loggers {
            current,
            outdated,
            ending,
            ..
        } = self;
        if !ending.is_empty() {
            ending.retain(|ending| !ending.is_gone());
        }
        let old = outdated.extract_if(.., |(_, open)| unused(open));
        ending.extend(old.map(|(key, open)| open.end(key)));
        let done = current
            .iter()
            .filter(|((watcher, _), open)| unused(open) && is_down(watcher));
        let done: Vec<Key> = done.map(|(key, _)| key.clone()).collect();
        for key in done {
            if let Some(open) = current.remove(&key) {
                ending.push(open.end(key));
            }
        }
    }

    /// Ends them all, and waits until they have; `at_once` cuts that short. Gives back where those
    /// live that are to live on.
    pub(in crate::server) async fn end(&mut self, at_once: impl Future<Output = ()>) -> Vec<Home> {
        self.tidy(|_| true);
        for (key, open) in std::mem::take(&mut self.current)
            .into_iter()
            .chain(self.outdated.drain(..))
        {
            // Somebody could not be ended who writes to it.
            self.ending.push(open.end(key));
        }
        for ending in &self.ending {
            ending.held.orders.send_if_modified(|order| {
                let leave = *order == Order::Leave;
                if leave {
                    *order = Order::LetGo;
                }
                leave
            });
        }
        tokio::select! {
            () = async {
                for ending in &mut self.ending {
                    // An error means that it is gone.
                    let _ = (&mut ending.held.task).await;
                }
            } => {}
            () = at_once => {}
        }
        let left = self.ending.drain(..).filter_map(|ending| {
            ending.held.task.abort();
            match &*ending.held.state.borrow() {
                State::Left(home) => Some(home.clone()),
                State::Waiting | State::Running { .. } | State::Pausing { .. } | State::Gone => {
                    None
                }
            }
        });
        let left: Vec<Home> = left.collect();
        if tokio::time::timeout(LAST_MAX, self.ground.cleared())
            .await
            .is_err()
        {
            tracing::warn!(
                "something that a logger has started cannot be ended, and is left behind"
            );
        }
        left
    }

    /// How the loggers of a watcher are, a sentence each.
    pub(super) fn story(&self, watcher: &str) -> Vec<String> {
        let of = |key: &&Key| key.0 == watcher;
        let current = self
            .current
            .iter()
            .map(|(key, open)| (key, &open.held.state, "is read by"));
        let old = self
            .outdated
            .iter()
            .map(|(key, open)| (key, &open.held.state, OLD));
        let ending = self.ending.iter().filter(|ending| !ending.is_gone());
        let ending = ending.map(|ending| (&ending.key, &ending.held.state, OLD));
        let all = current.chain(old).chain(ending).filter(|(key, ..)| of(key));
        all.map(|(key, state, how)| sentence(key.1, &state.borrow(), how))
            .collect()
    }
}

const OLD: &str = "was, before, read by";

fn sentence(which: Which, state: &State, how: &str) -> String {
    let mut told = format!("Its {} {how} a logger", which.name());
    // Writing to a string cannot fail.
    let _ = match state {
        State::Waiting => write!(told, " that starts when the one before it has ended."),
        State::Running { pid } => write!(told, " (pid {pid})."),
        State::Pausing { why, until } => {
            let left = until
                .saturating_duration_since(Instant::now())
                .as_secs_f64();
            write!(told, " that {why}, and is started again in {left:.1} s.")
        }
        State::Gone | State::Left(_) => write!(told, " that has ended."),
    };
    told
}

impl Open {
    /// Closes our end of its pipe: it has read all when the last of the others is closed.
    fn end(self, key: Key) -> Ending {
        self.held.orders.send_replace(match self.lease.free.get() {
            true => Order::Leave,
            false => Order::End(Instant::now() + self.grace),
        });
        Ending {
            key,
            made: self.made,
            held: self.held,
        }
    }
}

impl Ending {
    /// Whether it runs, but not for ever.
    fn will_end(&self) -> bool {
        matches!(*self.held.orders.borrow(), Order::End(_)) && !self.is_gone()
    }

    fn is_gone(&self) -> bool {
        self.held.task.is_finished()
    }
}

/// What it is started as: a process of the watcher, but for its program and its number.
pub(super) fn command(
    recipe: &Recipe,
    which: Which,
    argv: &[String],
    ground: &Ground,
) -> Result<Command, SpawnFailure> {
    let watcher = &recipe.watcher;
    let expanded = Expanded {
        argv: argv.to_vec(),
        ..watcher.expand(0)
    };
    let credentials = recipe.credentials()?;
    let mark = ("CIRCUS_STREAM".to_owned(), which.as_str().to_owned());
    let surroundings = &ground.surroundings;
    let mut command = program::command(watcher, credentials, expanded, 0, mark, surroundings)?;
    command.env.retain(|(name, _)| name != "CIRCUS_WID");
    Ok(command)
}
