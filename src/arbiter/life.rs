//! The arbiter itself: started once, on a thread of its own, and ended for good.

use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle as Thread;

use signal_hook::consts::SIGINT;
use tokio::sync::{mpsc, oneshot, watch};

use super::builder::{Builder, Parts, Target};
use super::error::Error;
use super::executor::{Executor, OwnRuntime};
use super::handle::{Handle, Shared, State};
use super::servers::{end_when_wanted, look_after};
use crate::core::ExitReason;
use crate::server::{Closure, Closures, Failure, Message, Plan, run_guest};

/// A supervisor of processes in this program.
///
/// It is also a [`Handle`], with all that can be asked of one that runs. Handles can be cloned and
/// given away; the arbiter cannot, as it is what keeps everything running.
///
/// # Dropping it
///
/// An arbiter that is dropped while it runs kills everything at once, as a second SIGINT does the
/// daemon: SIGKILL for each process with all it has started, without hooks. The thread that drops
/// it waits for that, which takes milliseconds, and five seconds if the kernel cannot end
/// something. Call [`Handle::stop`] for an end in order.
#[derive(Debug)]
#[must_use = "it ends, with all its processes, when it is dropped"]
pub struct Arbiter {
    handle: Handle,
    shared: Arc<Shared>,
    prepared: Mutex<Option<Prepared>>,
    running: Mutex<Option<Running>>,
}

/// All that the start takes.
struct Prepared {
    parts: Parts,
    messages: mpsc::UnboundedReceiver<Message>,
    orders: mpsc::UnboundedReceiver<i32>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Running {
    thread: Thread<()>,
    /// Where there was no runtime.
    _own: Option<OwnRuntime>,
}

impl Arbiter {
    /// Describes one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn new(parts: Parts) -> Arbiter {
        let (messages, taken) = mpsc::unbounded_channel();
        let (orders, heard) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            messages,
            orders,
            state: watch::Sender::new(State::New),
            stopping: watch::Sender::new(false),
            executor: OnceLock::new(),
            failed: Mutex::new(None),
        });
        Arbiter {
            handle: Handle::new(Arc::clone(&shared)),
            shared,
            prepared: Mutex::new(Some(Prepared {
                parts,
                messages: taken,
                orders: heard,
            })),
            running: Mutex::new(None),
        }
    }

    /// Starts everything, and waits until it has ended: somebody has called [`Handle::stop`], a
    /// server has failed, a critical watcher was given up.
    ///
    /// Dropping the future stops nothing. Hooks and servers run on the tokio runtime in which this
    /// is called; where there is none, on a thread for them. When that runtime ends, the arbiter
    /// ends in order.
    ///
    /// # Errors
    ///
    /// It could not begin: [`Error::Config`], [`Error::NotBegun`], [`Error::Thread`],
    /// [`Error::AlreadyStarted`]. That a watcher does not start is none: it says so itself. Or it has
    /// not ended as somebody wanted: see [`Handle::ended`].
    pub async fn start(&self) -> Result<(), Error> {
        self.launch()?;
        self.handle.ended().await
    }

    /// Starts everything, and waits until all watchers that start by themselves have settled: their
    /// processes are ready, or could not be had. It then goes on by itself.
    ///
    /// # Errors
    ///
    /// Those of [`Arbiter::start`]; [`Error::Ended`] if it was stopped meanwhile.
    pub async fn start_in_background(&self) -> Result<(), Error> {
        self.launch()?;
        self.shared.settled().await
    }

    /// Another handle.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    fn launch(&self) -> Result<(), Error> {
        let prepared = lock(&self.prepared).take().ok_or(Error::AlreadyStarted)?;
        let (executor, own) = Executor::find().map_err(|error| Error::Thread(Arc::new(error)))?;
        let executor = self.shared.executor.get_or_init(|| executor);
        let (ready, is_ready) = oneshot::channel();
        let Prepared {
            parts,
            messages,
            orders,
        } = prepared;
        let plan = Plan {
            store: parts.store,
            closures: bind(parts.closures, &self.shared),
            cgroups: parts.cgroups,
            listens: parts.listens,
            ready,
            messages,
            orders,
        };
        self.shared.state.send_replace(State::Running);
        let shared = Arc::clone(&self.shared);
        let beside = end_when_wanted(Arc::clone(&self.shared), parts.servers.len());
        let thread = std::thread::Builder::new().name("circusd".into());
        let thread = thread.spawn(move || {
            // What it has touched is dropped with it.
            let ended = std::panic::catch_unwind(AssertUnwindSafe(|| run_guest(plan, beside)));
            let how = match ended {
                Ok(ended) => outcome(ended, &shared),
                Err(_) => Err(Error::Panicked),
            };
            shared.state.send_replace(State::Ended(how));
        });
        let thread = thread.map_err(|error| {
            let error = Error::Thread(Arc::new(error));
            self.shared
                .state
                .send_replace(State::Ended(Err(error.clone())));
            error
        })?;
        executor.spawn_detached(look_after(
            Arc::clone(&self.shared),
            parts.servers,
            is_ready,
        ));
        *lock(&self.running) = Some(Running { thread, _own: own });
        Ok(())
    }
}

impl Deref for Arbiter {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Arbiter {
    fn drop(&mut self) {
        let Some(running) = lock(&self.running).take() else {
            return;
        };
        // The second means at once. If it has ended, nobody hears them.
        for _ in 0..2 {
            let _ = self.shared.orders.send(SIGINT);
        }
        // A closure that owns it drops it there, where nobody can wait for the thread.
        if running.thread.thread().id() != std::thread::current().id() {
            // Its panic has been told of.
            let _ = running.thread.join();
        }
    }
}

/// Nothing that holds one of these locks can panic halfway.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind(closures: Vec<(Target, super::hooks::Unbound)>, shared: &Arc<Shared>) -> Closures {
    let bound = closures.into_iter().map(|(target, closure)| {
        let ask = closure(Arc::clone(shared));
        match target {
            Target::Watchers(watchers, hook) => Closure::of_watchers(watchers, hook, ask),
            Target::Daemon(hook) => Closure::of_daemon(hook, ask),
        }
    });
    Closures::new(bound.collect())
}

fn outcome(ended: Result<crate::server::Ended, Failure>, shared: &Shared) -> Result<(), Error> {
    let ended = match ended {
        Ok(ended) => ended,
        Err(Failure::Config(errors)) => return Err(Error::Config(errors)),
        Err(Failure::Start(error)) => {
            return Err(Error::NotBegun {
                reason: crate::server::whole(&error),
            });
        }
    };
    if let Some(failed) = lock(&shared.failed).take() {
        return Err(failed);
    }
    match ended.why {
        ExitReason::Critical => Err(Error::Critical),
        ExitReason::Asked | ExitReason::AskedAtOnce if ended.left > 0 => Err(Error::Left {
            processes: ended.left,
        }),
        ExitReason::Asked | ExitReason::AskedAtOnce => Ok(()),
    }
}
