//! One process of a watcher: what it is, what it writes, and what can be done to it.
//!
//! It is named by its pid, its place and what it was made from: of another process that has the
//! number later, everything here says that the one that was meant is gone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::unistd::Pid;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::error::Error;
use super::handle::Handle;
use crate::api::types::{self, ProcessState, ProcessStats};
use crate::api::{Method, params, reply};
use crate::config::Signal;
use crate::server::{Message, Which};
use crate::sys::{process, tree};

/// A process of a watcher, as it was when [`super::Watcher::processes`] found it.
///
/// Every method fails with [`Error::Gone`] if it has ended since, but for [`Process::status`] and
/// those that only say what is known; and with [`Error::Ended`].
#[derive(Debug, Clone)]
pub struct Process {
    arbiter: Handle,
    watcher: String,
    found: types::Process,
}

impl Process {
    pub(super) fn new(arbiter: Handle, watcher: String, found: types::Process) -> Process {
        Process {
            arbiter,
            watcher,
            found,
        }
    }

    /// Its number in the system.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.found.pid
    }

    /// Its place in the watcher, from 1; a successor takes the same.
    #[must_use]
    pub fn wid(&self) -> u64 {
        self.found.wid
    }

    /// Its watcher.
    #[must_use]
    pub fn watcher(&self) -> &str {
        &self.watcher
    }

    /// How long ago it was started, by the clock on the wall.
    #[must_use]
    pub fn age(&self) -> Duration {
        let started = UNIX_EPOCH + Duration::from_micros(self.found.started_usec);
        SystemTime::now()
            .duration_since(started)
            .unwrap_or_default()
    }

    /// Where it is in its life now; `None` when it has ended. As the loop knows it, which hears of
    /// an end within a millisecond.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`].
    pub async fn status(&self) -> Result<Option<ProcessState>, Error> {
        let params = params::Watchers {
            watchers: Some(self.watcher.clone()),
        };
        let status = self.arbiter.call(Method::Status(params)).await;
        let watchers = match status {
            Ok(reply::Status { watchers }) => watchers,
            Err(Error::Refused(crate::api::Error::NoSuchWatcher { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut processes = watchers.into_iter().flat_map(|watcher| watcher.processes);
        let now = processes.find(|process| self.is(process));
        Ok(now.map(|process| process.state))
    }

    /// What it uses: processor time, memory, threads, descriptors, ...; see `Stats` of
    /// io.circusd(7).
    ///
    /// # Errors
    ///
    /// Those of all methods.
    pub async fn info(&self) -> Result<ProcessStats, Error> {
        self.must_live().await?;
        let stats = params::Stats {
            watchers: Some(self.watcher.clone()),
            ..Default::default()
        };
        let reply: reply::Stats = self.arbiter.call(Method::Stats(stats)).await?;
        let mut processes = reply.processes.into_iter();
        let found = processes.find(|process| process.pid == self.pid());
        found.ok_or_else(|| self.gone())
    }

    /// Its standard output, to be read by the program: for a watcher with `stdout = "pipe"`
    /// ([`super::WatcherBuilder::stdout`]). `None` where that is not so, or who was first has it.
    ///
    /// To be taken while the process runs: with its end, what nobody has taken is gone. What is in
    /// the pipe stays there until it is read, and as with any pipe the process waits when it is
    /// full (64 KiB) and has SIGPIPE when the reader is dropped.
    ///
    /// # Errors
    ///
    /// Those of all methods; [`Error::System`] outside a tokio runtime, or if the table of
    /// descriptors is full.
    ///
    /// # Panics
    ///
    /// In a tokio runtime without I/O (`enable_io`), as everything that reads there.
    pub async fn stdout(&self) -> Result<Option<Output>, Error> {
        self.output(Which::Stdout).await
    }

    /// Its standard error, as [`Process::stdout`]; with `stderr = "stdout"` it is in that.
    ///
    /// # Errors
    ///
    /// Those of [`Process::stdout`].
    ///
    /// # Panics
    ///
    /// As [`Process::stdout`].
    pub async fn stderr(&self) -> Result<Option<Output>, Error> {
        self.output(Which::Stderr).await
    }

    async fn output(&self, which: Which) -> Result<Option<Output>, Error> {
        self.must_live().await?;
        if tokio::runtime::Handle::try_current().is_err() {
            let error = io::Error::other("there is no tokio runtime here");
            return Err(Error::system("failed to read what a process writes")(error));
        }
        let (answer, answered) = oneshot::channel();
        let pid = self.raw_pid();
        self.arbiter.send(Message::Output { pid, which, answer })?;
        let end = answered.await.map_err(|_| Error::Ended)?;
        let output = end.map(pipe::Receiver::from_owned_fd).transpose();
        let output = output.map_err(Error::system("failed to read what a process writes"))?;
        Ok(output.map(Output))
    }

    /// Sends it a signal, and to nobody else: `"HUP"`, `"SIGHUP"` or a number in digits.
    ///
    /// # Errors
    ///
    /// Those of all methods; [`Error::NoSignal`].
    pub async fn send_signal(&self, signal: &str) -> Result<(), Error> {
        self.send(self.signal(signal)).await.map(drop)
    }

    /// Ends it: the stop signal of its watcher, after its grace SIGKILL for everything that it has
    /// started. Waits until all of that is gone. The watcher starts another in its place, which is what
    /// differs from stopping the watcher.
    ///
    /// # Errors
    ///
    /// Those of all methods.
    pub async fn stop(&self) -> Result<(), Error> {
        self.must_live().await?;
        let kill = params::Kill {
            watcher: self.watcher.clone(),
            pid: Some(self.pid()),
            ..Default::default()
        };
        self.told(self.arbiter.call(Method::Kill(kill)).await)
            .map(drop)
    }

    /// The processes directly below it, by pid; with `recursive` all below it, nearest first.
    ///
    /// Costs a look at `/proc` for each process that is looked at.
    ///
    /// # Errors
    ///
    /// Those of all methods; [`Error::System`] if `/proc` cannot be read.
    pub async fn children(&self, recursive: bool) -> Result<Vec<u32>, Error> {
        self.must_live().await?;
        let pid = Pid::from_raw(self.raw_pid());
        let found = match recursive {
            true => {
                let below = tree::descendants(pid, usize::MAX);
                below.map(|below| below.into_iter().map(|process| process.pid).collect())
            }
            false => process::children(pid),
        };
        let found = match found {
            Err(error) if process::is_gone(&error) => return Err(self.gone()),
            found => found.map_err(Error::system("failed to look for children"))?,
        };
        // Only if it still is the same have we looked at the right one.
        self.must_live().await?;
        let number = |pid: Pid| u32::try_from(pid.as_raw()).ok();
        Ok(found.into_iter().filter_map(number).collect())
    }

    /// Whether a process is somewhere below it.
    ///
    /// # Errors
    ///
    /// Those of [`Process::children`].
    pub async fn is_child(&self, pid: u32) -> Result<bool, Error> {
        Ok(self.children(true).await?.contains(&pid))
    }

    /// Sends a signal to one process somewhere below it. The hooks of its watcher are asked as for
    /// any signal, and `before_signal` may keep it.
    ///
    /// # Errors
    ///
    /// Those of [`Process::send_signal`]; [`Error::NoChild`].
    pub async fn send_signal_child(&self, child: u32, signal: &str) -> Result<(), Error> {
        let params = params::Signal {
            child: Some(child),
            ..self.signal(signal)
        };
        self.send(params).await.map(drop)
    }

    /// Sends a signal to everything below it, but not to itself. Says who got it.
    ///
    /// # Errors
    ///
    /// Those of [`Process::send_signal`].
    pub async fn send_signal_children(&self, signal: &str) -> Result<Vec<u32>, Error> {
        let params = params::Signal {
            recipients: Some(types::Recipients::Children),
            ..self.signal(signal)
        };
        self.send(params).await
    }

    /// What sends a signal to it alone.
    fn signal(&self, signal: &str) -> params::Signal {
        params::Signal {
            watcher: self.watcher.clone(),
            signal: signal.to_owned(),
            pid: Some(self.pid()),
            ..Default::default()
        }
    }

    async fn send(&self, params: params::Signal) -> Result<Vec<u32>, Error> {
        if Signal::parse(&params.signal).is_none() {
            return Err(Error::NoSignal {
                signal: params.signal,
            });
        }
        self.must_live().await?;
        self.told(self.arbiter.call(Method::Signal(params)).await)
    }

    /// Who was told; that there is nobody is an error of ours.
    fn told(&self, answer: Result<reply::Pids, Error>) -> Result<Vec<u32>, Error> {
        match answer {
            Ok(reply) => Ok(reply.pids),
            Err(Error::Refused(
                crate::api::Error::NoSuchProcess { .. } | crate::api::Error::NoSuchWatcher { .. },
            )) => Err(self.gone()),
            Err(Error::Refused(crate::api::Error::NoSuchChild { child, .. })) => {
                Err(Error::NoChild {
                    pid: self.pid(),
                    child,
                })
            }
            Err(error) => Err(error),
        }
    }

    fn is(&self, other: &types::Process) -> bool {
        let name = |process: &types::Process| (process.pid, process.wid, process.generation);
        name(other) == name(&self.found)
    }

    async fn must_live(&self) -> Result<(), Error> {
        match self.status().await? {
            Some(_) => Ok(()),
            None => Err(self.gone()),
        }
    }

    fn gone(&self) -> Error {
        Error::Gone {
            watcher: self.watcher.clone(),
            pid: self.found.pid,
        }
    }

    fn raw_pid(&self) -> i32 {
        i32::try_from(self.found.pid).expect("a pid is what the kernel calls one")
    }
}

/// What a process writes, as it writes it: [`AsyncRead`] on the runtime in which it was taken.
#[derive(Debug)]
pub struct Output(pipe::Receiver);

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}
