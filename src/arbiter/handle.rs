//! How a program speaks with an arbiter that runs: calls, watchers, sockets, events.
//!
//! A handle keeps nothing running: that the arbiter does, which is dropped but once.

use std::sync::{Arc, Mutex, OnceLock};

use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::error::Error;
use super::events::Events;
use super::executor::Executor;
use super::watcher::Watcher;
use super::watcher_builder::WatcherBuilder;
use crate::api::frame::Reply;
use crate::api::{Method, params, reply, types};
use crate::server::{BATCHES_MAX, Message};

/// Where an arbiter is in its life.
#[derive(Debug, Clone)]
pub(super) enum State {
    New,
    Running,
    /// All watchers that start by themselves have settled.
    Settled,
    Ended(Result<(), Error>),
}

/// What an arbiter, its handles and its closures share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) messages: mpsc::UnboundedSender<Message>,
    pub(super) orders: mpsc::UnboundedSender<i32>,
    pub(super) state: watch::Sender<State>,
    /// Whether somebody wants it to end in order: servers end first.
    pub(super) stopping: watch::Sender<bool>,
    pub(super) executor: OnceLock<Executor>,
    /// Why a server has failed, the first that did.
    pub(super) failed: Mutex<Option<Error>>,
}

impl Shared {
    pub(super) fn executor(&self) -> Option<&Executor> {
        self.executor.get()
    }

    /// Waits until all watchers that start by themselves have settled, or everything has ended.
    pub(super) async fn settled(&self) -> Result<(), Error> {
        let mut state = self.state.subscribe();
        let settled = |state: &State| matches!(state, State::Settled | State::Ended(_));
        match state.wait_for(settled).await.as_deref() {
            Ok(State::Ended(Ok(()))) | Err(_) => Err(Error::Ended),
            Ok(State::Ended(Err(error))) => Err(error.clone()),
            Ok(State::New | State::Running | State::Settled) => Ok(()),
        }
    }
}

/// A running arbiter, for whoever is to speak with it: tasks, hooks, servers.
///
/// Clones are cheap, and may be used from any thread and in any runtime, or none. When the arbiter
/// has ended, all of it answers with [`Error::Ended`].
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Handle {
        Handle { shared }
    }

    /// Calls any method of `io.circusd`, as a client would over the socket, and waits for its
    /// answer; `T` is the method's in [`crate::api::reply`], or a JSON value.
    ///
    /// Dropping the future takes nothing back.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with what the interface has for it: `ExpectedMore` for `Subscribe` (see
    /// [`Handle::subscribe`]) and `RegisterHook` (see [`super::Builder::hook`]),
    /// `MethodNotImplemented` for `Reexec`. [`Error::NotStarted`], [`Error::Ended`].
    pub async fn call<T: DeserializeOwned>(&self, method: Method) -> Result<T, Error> {
        method.check_more(false).map_err(Error::Refused)?;
        let (answer, answered) = oneshot::channel();
        self.send(Message::Call { method, answer })?;
        let message = answered.await.map_err(|_| Error::Ended)?;
        read(&message)
    }

    pub(super) fn send(&self, message: Message) -> Result<(), Error> {
        match *self.shared.state.borrow() {
            State::New => return Err(Error::NotStarted),
            State::Ended(_) => return Err(Error::Ended),
            State::Running | State::Settled => {}
        }
        self.shared.messages.send(message).map_err(|_| Error::Ended)
    }

    /// Stops everything in order, as `Quit` does, and waits until the arbiter has ended: servers
    /// first, then the watchers in the reverse order of their start, each process with its grace;
    /// what is left after `stop_timeout` (90 s) is killed. Servers that do not let go, as they block,
    /// are waited for no longer than five seconds. Of one that has ended already, or was
    /// never started, it is done at once.
    ///
    /// Dropping the future does not take it back. Not to be waited for in a hook or a server,
    /// which would wait for itself.
    ///
    /// # Errors
    ///
    /// How the arbiter has ended, as [`Handle::ended`] tells it.
    pub async fn stop(&self) -> Result<(), Error> {
        if matches!(*self.shared.state.borrow(), State::New) {
            return Ok(());
        }
        self.shared.stopping.send_replace(true);
        self.ended().await
    }

    /// Waits until the arbiter has ended, whoever has ended it. Of one that was not started, that
    /// is until it was, and has ended.
    ///
    /// # Errors
    ///
    /// It did not end because somebody wanted it to: [`Error::Server`], [`Error::Critical`],
    /// [`Error::Left`], [`Error::Panicked`]; or it never began.
    pub async fn ended(&self) -> Result<(), Error> {
        let mut state = self.shared.state.subscribe();
        let ended = state
            .wait_for(|state| matches!(state, State::Ended(_)))
            .await;
        match ended.as_deref() {
            Ok(State::Ended(how)) => how.clone(),
            // We hold the other end.
            Ok(State::New | State::Running | State::Settled) | Err(_) => Err(Error::Ended),
        }
    }

    /// Replaces the processes of all watchers without stopping their service, as each is configured
    /// to (`reload`, `send_hup`), and waits until that is done. Says what has become of whom, in
    /// pids.
    ///
    /// # Errors
    ///
    /// New processes did not become ready: [`crate::api::Error::StartFailed`], and the old ones
    /// stay. [`Error::NotStarted`], [`Error::Ended`].
    pub async fn reload(&self) -> Result<Vec<types::Change>, Error> {
        let params = params::Reload::default();
        let reply: reply::Changes = self.call(Method::Reload(params)).await?;
        Ok(reply.changes.unwrap_or_default())
    }

    /// How many processes there are, those on their way in and out among them.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`], [`Error::Ended`].
    pub async fn numprocesses(&self) -> Result<usize, Error> {
        let watchers = self.status().await?;
        Ok(watchers.iter().map(|watcher| watcher.processes.len()).sum())
    }

    /// How many watchers there are, the stopped ones among them.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`], [`Error::Ended`].
    pub async fn numwatchers(&self) -> Result<usize, Error> {
        Ok(self.watchers().await?.len())
    }

    /// All watchers, in the order of their start.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`], [`Error::Ended`].
    pub async fn watchers(&self) -> Result<Vec<Watcher>, Error> {
        let names: reply::Names = self.call(Method::List(params::Watchers::default())).await?;
        let watcher = |name| Watcher::new(self.clone(), name);
        Ok(names.watchers.into_iter().map(watcher).collect())
    }

    /// The watcher of that name.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::NoSuchWatcher`]; [`Error::NotStarted`], [`Error::Ended`].
    pub async fn get_watcher(&self, name: impl Into<String>) -> Result<Watcher, Error> {
        let watcher = Watcher::new(self.clone(), name.into());
        watcher.status().await?;
        Ok(watcher)
    }

    /// Adds a watcher, and starts it unless its `autostart` is false; waits until it has started.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::WatcherExists`], [`crate::api::Error::InvalidOption`] with the first
    /// option that is wrong, [`crate::api::Error::TooMany`]: then it is not there.
    /// [`crate::api::Error::StartFailed`]: then it is, and says why it does not run.
    pub async fn add_watcher(&self, watcher: impl Into<WatcherBuilder>) -> Result<Watcher, Error> {
        let (name, options) = watcher.into().into_parts();
        let add = params::Add {
            watcher: name.clone(),
            options,
            start: Some(false),
        };
        let _: reply::Empty = self.call(Method::Add(add)).await?;
        let watcher = Watcher::new(self.clone(), name);
        let options = watcher.options().await?;
        if options.get("autostart") != Some(&serde_json::Value::Bool(false)) {
            watcher.start().await?;
        }
        Ok(watcher)
    }

    /// Stops a watcher and removes it, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::NoSuchWatcher`]; [`crate::api::Error::InvalidConfig`] if another one
    /// names it in `after` or `requires`. [`Error::NotStarted`], [`Error::Ended`].
    pub async fn rm_watcher(&self, name: impl Into<String>) -> Result<(), Error> {
        let remove = params::Remove {
            watcher: name.into(),
            keep_processes: None,
        };
        let _: reply::Empty = self.call(Method::Remove(remove)).await?;
        Ok(())
    }

    /// All listening sockets, by name.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`], [`Error::Ended`].
    pub async fn sockets(&self) -> Result<Vec<types::Socket>, Error> {
        let reply: reply::ListSockets = self.call(Method::ListSockets(params::Nothing {})).await?;
        Ok(reply.sockets)
    }

    /// The listening socket of that name, with the address that it really has: a port that was
    /// given as 0 is the one that the kernel chose. `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`], [`Error::Ended`].
    pub async fn get_socket(&self, name: &str) -> Result<Option<types::Socket>, Error> {
        let sockets = self.sockets().await?;
        Ok(sockets.into_iter().find(|socket| socket.name == name))
    }

    /// All events from now on.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`], [`Error::Ended`].
    pub async fn events(&self) -> Result<Events, Error> {
        self.subscribe(params::Subscribe::default()).await
    }

    /// Events from now on or from a cursor, all or some, with the state of all watchers at the
    /// beginning or without; as `Subscribe` of io.circusd(7) has it.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::InvalidParameter`]; [`Error::NotStarted`], [`Error::Ended`].
    pub async fn subscribe(&self, params: params::Subscribe) -> Result<Events, Error> {
        let (first, answered) = oneshot::channel();
        let (events, batches) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(BATCHES_MAX));
        self.send(Message::Subscribe {
            params,
            first,
            events,
            room: Arc::clone(&room),
        })?;
        let first = answered.await.map_err(|_| Error::Ended)?;
        Ok(Events::new(read(&first)?, batches, room))
    }

    async fn status(&self) -> Result<Vec<types::Watcher>, Error> {
        let status: reply::Status = self
            .call(Method::Status(params::Watchers::default()))
            .await?;
        Ok(status.watchers)
    }
}

/// Reads an answer of the loop.
fn read<T: DeserializeOwned>(message: &[u8]) -> Result<T, Error> {
    let reply: Reply = serde_json::from_slice(message).expect("both ends are of one version");
    reply.result().map_err(Error::of_reply)
}
