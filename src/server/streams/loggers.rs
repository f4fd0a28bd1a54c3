//! Which watcher has which logger for which stream, and how long it needs it.
//!
//! There is one for all processes of a watcher that are made in the same way. When they are made in
//! another way, so that its program, its user or its environment differ, there is another one beside
//! it; the old one goes when the last of the old processes has gone.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::logger::{Logger, Order, State, new_pipe, open_anew};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Debug, Default)]
pub(in crate::server) struct Lease {
    /// One who had it runs on without us.
    free: Cell<bool>,
}

impl Lease {
    /// Who writes there is ours no longer.
    pub(in crate::server) fn let_go(&self) {
        self.free.set(true);
    }
}

type Key = (String, Which);

/// All loggers.
#[derive(Debug)]
pub(in crate::server) struct Loggers {
    ground: Rc<Ground>,
    /// Those that new processes write to.
    current: BTreeMap<Key, Open>,
    /// Those that only old processes write to.
    outdated: Vec<(Key, Open)>,
    /// Those that nobody writes to.
    ending: Vec<Ending>,
}

#[derive(Debug)]
struct Open {
    command: Command,
    sink: OwnedFd,
    lease: Rc<Lease>,
    grace: Duration,
    orders: watch::Sender<Order>,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Ending {
    key: Key,
    orders: watch::Sender<Order>,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Loggers {
    pub(in crate::server) fn new(ground: Rc<Ground>) -> Loggers {
        Loggers {
            ground,
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
        let sink = open_anew(&open.sink, OFlag::O_WRONLY);
        let sink =
            sink.map_err(|error| program::failure("opening the pipe to its logger", &error))?;
        Ok(Outlet::Logger(sink, Rc::clone(&open.lease)))
    }

    fn begin(&self, (watcher, which): &Key, command: Command) -> Result<Open, SpawnFailure> {
        let stage = format!("starting the logger of its {}", which.name());
        let (source, sink) = new_pipe().map_err(|error| program::failure(&stage, &error))?;
        let (orders, ordered) = watch::channel(Order::Run);
        let (state, told) = watch::channel(State::Waiting);
        let logger = Logger {
            ground: Rc::clone(&self.ground),
            who: format!("{watcher}: the logger of its {}", which.name()),
            watcher: watcher.clone(),
            stream: which.as_str(),
            command: command.clone(),
            source,
            orders: ordered,
            state,
            ends: 0,
        };
        // Two of them at once may be in each other's way, as where they write to the same files.
        let before = self.ending.iter().rev().find(|ending| {
            (ending.key.0 == *watcher && ending.key.1 == *which) && ending.will_end()
        });
        let running = match before {
            Some(_) => None,
            None => Some(logger.start().map_err(|why| SpawnFailure {
                error: format!("failed to start: {stage}: {why}"),
                stage,
                errno: 0,
            })?),
        };
        let before = before.map(|ending| ending.state.clone());
        Ok(Open {
            command,
            sink,
            lease: Rc::default(),
            grace: Duration::ZERO,
            orders,
            state: told,
            task: tokio::task::spawn_local(logger.keep(running, before)),
        })
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
            ending.orders.send_if_modified(|order| {
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
                    let _ = (&mut ending.task).await;
                }
            } => {}
            () = at_once => {}
        }
        let left = self.ending.drain(..).filter_map(|ending| {
            ending.task.abort();
            match &*ending.state.borrow() {
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
            .map(|(key, open)| (key, &open.state, "is read by"));
        let old = self
            .outdated
            .iter()
            .map(|(key, open)| (key, &open.state, OLD));
        let ending = self.ending.iter().filter(|ending| !ending.is_gone());
        let ending = ending.map(|ending| (&ending.key, &ending.state, OLD));
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
        self.orders.send_replace(match self.lease.free.get() {
            true => Order::Leave,
            false => Order::End(Instant::now() + self.grace),
        });
        Ending {
            key,
            orders: self.orders,
            state: self.state,
            task: self.task,
        }
    }
}

impl Ending {
    /// Whether it runs, but not for ever.
    fn will_end(&self) -> bool {
        matches!(*self.orders.borrow(), Order::End(_)) && !self.is_gone()
    }

    fn is_gone(&self) -> bool {
        self.task.is_finished()
    }
}

/// What it is started as: a process of the watcher, but for its program and its number.
fn command(
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
