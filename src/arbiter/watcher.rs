//! One watcher of an arbiter, to be commanded.
//!
//! A handle is a name: of a watcher that was removed it says `NoSuchWatcher`, and of one that was
//! added under the same name it speaks again.

use std::time::Duration;

use serde_json::{Map, Value};

use super::error::Error;
use super::handle::Handle;
use super::process::Process;
use super::watcher_builder::WatcherBuilder;
use crate::api::types::{self, Object};
use crate::api::{Method, params, reply};
use crate::server::Message;

/// The longest name of a notice, in bytes; as that of a watcher.
const NOTICE_NAME_MAX: usize = 128;

/// The longest notice: the log keeps thousands.
const NOTICE_BYTES_MAX: usize = 64 * 1024;

/// A pool of processes that are alike.
///
/// Every method waits until it is done, and dropping its future takes nothing back. All of them
/// fail with [`crate::api::Error::NoSuchWatcher`] if there is none of this name, and with
/// [`Error::NotStarted`] and [`Error::Ended`]; beyond that each says what else.
#[derive(Debug, Clone)]
pub struct Watcher {
    arbiter: Handle,
    name: String,
}

impl Watcher {
    pub(super) fn new(arbiter: Handle, name: String) -> Watcher {
        Watcher { arbiter, name }
    }

    /// Describes a watcher that is to be: its name, and its program with arguments.
    pub fn builder(
        name: impl Into<String>,
        cmd: impl IntoIterator<Item = impl Into<String>>,
    ) -> WatcherBuilder {
        WatcherBuilder::new(name, cmd)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it, and what it requires; waits until its processes are ready. Nothing happens if it
    /// runs already, but that missing processes are started.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::StartFailed`], [`crate::api::Error::HookRefused`],
    /// [`crate::api::Error::HookFailed`].
    pub async fn start(&self) -> Result<Vec<types::Change>, Error> {
        self.verb(Method::Start).await
    }

    /// Stops it, after what requires it: the stop signal, after `graceful_timeout` (30 s) SIGKILL
    /// for everything that its processes have started. Nothing happens if it is stopped.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::HookRefused`], [`crate::api::Error::HookFailed`].
    pub async fn stop(&self) -> Result<Vec<types::Change>, Error> {
        self.verb(Method::Stop).await
    }

    /// Stops it, and starts it again.
    ///
    /// # Errors
    ///
    /// Those of both.
    pub async fn restart(&self) -> Result<Vec<types::Change>, Error> {
        self.verb(Method::Restart).await
    }

    /// Replaces its processes without stopping its service; starts it if it is stopped.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::StartFailed`]: new processes did not become ready, and the old ones
    /// stay.
    pub async fn reload(&self) -> Result<Vec<types::Change>, Error> {
        let reload = params::Reload {
            watchers: Some(self.name.clone()),
            ..Default::default()
        };
        self.changes(Method::Reload(reload)).await
    }

    /// Has it run this many processes. Of a stopped one that is how many it will start.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::Singleton`], [`crate::api::Error::TooMany`], and those of
    /// [`Watcher::start`].
    pub async fn scale(&self, numprocesses: u32) -> Result<u64, Error> {
        self.scale_as(params::Scale {
            numprocesses: Some(numprocesses.into()),
            ..self.named()
        })
        .await
    }

    /// One process more, or some; says how many are wanted now.
    ///
    /// # Errors
    ///
    /// Those of [`Watcher::scale`].
    pub async fn incr(&self, by: u32) -> Result<u64, Error> {
        self.scale_as(params::Scale {
            delta: Some(by.into()),
            ..self.named()
        })
        .await
    }

    /// Fewer processes, and never fewer than none; says how many are wanted now.
    ///
    /// # Errors
    ///
    /// Those that the interface has for it.
    pub async fn decr(&self, by: u32) -> Result<u64, Error> {
        self.scale_as(params::Scale {
            delta: Some(-i64::from(by)),
            ..self.named()
        })
        .await
    }

    /// Starts one process more than there are now; the same as `incr(1)`, by the name that Circus
    /// has for it. How many processes there are is otherwise not the caller's to keep up.
    ///
    /// # Errors
    ///
    /// Those of [`Watcher::scale`].
    pub async fn spawn(&self) -> Result<u64, Error> {
        self.incr(1).await
    }

    /// Ends all its processes, and it starts others; waits until those that were told are gone, with
    /// all that they have started. Says who was told.
    ///
    /// `grace`: the time from the first signal to SIGKILL for whatever is left, in whole microseconds;
    /// a day at most; zero is SIGKILL at once, and `None` its `graceful_timeout`.
    ///
    /// # Errors
    ///
    /// Those of all methods.
    pub async fn kill(&self, grace: Option<Duration>) -> Result<Vec<u32>, Error> {
        let kill = params::Kill {
            watcher: self.name.clone(),
            graceful_timeout_usec: grace.map(usec),
            ..Default::default()
        };
        self.pids(Method::Kill(kill)).await
    }

    /// Sends a signal to each of its processes, to them alone or with their children as well. Says
    /// who got it.
    ///
    /// `signal` is `"HUP"`, `"SIGHUP"` or a number in digits.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::InvalidParameter`] for a word that is no signal.
    pub async fn signal(
        &self,
        signal: impl Into<String>,
        recipients: types::Recipients,
    ) -> Result<Vec<u32>, Error> {
        let signal = params::Signal {
            watcher: self.name.clone(),
            signal: signal.into(),
            recipients: Some(recipients),
            ..Default::default()
        };
        self.pids(Method::Signal(signal)).await
    }

    /// Has something told to all who listen to its events, as `watcher.NAME.notice`, in the program's
    /// own words: what has happened, and an object with whatever else there is to say, of 64 KiB as
    /// JSON at most.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::InvalidParameter`]: the name is empty or longer than 128 bytes, or the
    /// object is too long.
    pub async fn notify_event(&self, name: impl Into<String>, data: Object) -> Result<(), Error> {
        let name = name.into();
        let invalid = |parameter| {
            Err(Error::Refused(crate::api::Error::invalid_parameter(
                parameter,
            )))
        };
        if name.is_empty() || name.len() > NOTICE_NAME_MAX {
            return invalid("name");
        }
        let data = Value::Object(data);
        if data.to_string().len() > NOTICE_BYTES_MAX {
            return invalid("data");
        }
        self.status().await?;
        let Value::Object(data) = data else {
            unreachable!("it was made of an object");
        };
        self.arbiter.send(Message::Notice {
            watcher: self.name.clone(),
            name,
            data,
        })
    }

    /// What it is doing, and all there is to know of its processes.
    ///
    /// # Errors
    ///
    /// Those of all methods.
    pub async fn status(&self) -> Result<types::Watcher, Error> {
        let params = params::Watchers {
            watchers: Some(self.name.clone()),
        };
        let reply: reply::Status = self.arbiter.call(Method::Status(params)).await?;
        let missing = || {
            Error::Refused(crate::api::Error::NoSuchWatcher {
                watcher: self.name.clone(),
            })
        };
        // What is no name may be a pattern, and stands for others.
        let mut found = reply.watchers.into_iter();
        found
            .find(|watcher| watcher.name == self.name)
            .ok_or_else(missing)
    }

    /// Its processes, as they are now.
    ///
    /// # Errors
    ///
    /// Those of all methods.
    pub async fn processes(&self) -> Result<Vec<Process>, Error> {
        let status = self.status().await?;
        let process = |process| Process::new(self.arbiter.clone(), self.name.clone(), process);
        Ok(status.processes.into_iter().map(process).collect())
    }

    /// Its options, in the form of the configuration file.
    ///
    /// # Errors
    ///
    /// Those of all methods.
    pub async fn options(&self) -> Result<Object, Error> {
        let get = params::Get {
            watcher: self.name.clone(),
            keys: None,
        };
        let reply: reply::Get = self.arbiter.call(Method::Get(get)).await?;
        Ok(reply.options)
    }

    /// Changes one option; null takes it back to what it was configured as. Whether its processes
    /// are replaced for it, gracefully, is told.
    ///
    /// # Errors
    ///
    /// [`crate::api::Error::InvalidOption`], and nothing has changed; those of [`Watcher::reload`].
    pub async fn set(
        &self,
        key: impl Into<String>,
        value: impl Into<Value>,
    ) -> Result<types::Effect, Error> {
        let set = params::Set {
            watcher: self.name.clone(),
            options: Map::from_iter([(key.into(), value.into())]),
            wait: None,
        };
        let reply: reply::Set = self.arbiter.call(Method::Set(set)).await?;
        Ok(reply.effect)
    }

    fn named(&self) -> params::Scale {
        params::Scale {
            watcher: self.name.clone(),
            ..Default::default()
        }
    }

    async fn scale_as(&self, scale: params::Scale) -> Result<u64, Error> {
        let reply: reply::Scale = self.arbiter.call(Method::Scale(scale)).await?;
        Ok(reply.numprocesses)
    }

    async fn verb(&self, verb: fn(params::Verb) -> Method) -> Result<Vec<types::Change>, Error> {
        let params = params::Verb {
            watchers: Some(self.name.clone()),
            wait: None,
        };
        self.changes(verb(params)).await
    }

    async fn changes(&self, method: Method) -> Result<Vec<types::Change>, Error> {
        let reply: reply::Changes = self.arbiter.call(method).await?;
        Ok(reply.changes.unwrap_or_default())
    }

    async fn pids(&self, method: Method) -> Result<Vec<u32>, Error> {
        let reply: reply::Pids = self.arbiter.call(method).await?;
        Ok(reply.pids)
    }
}

pub(super) fn usec(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
