//! A supervisor that runs: started in a directory of its own, asked, robbed of workers, ended.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::child::Owned;
use crate::connection::Connection;
use crate::contestant::{Contestant, Pool};
use crate::muster::{Address, Muster, now};
use crate::proc::{self, OnOneCpu, Usage};
use crate::tools::Tools;
use crate::{BenchError, Result, failed};

/// Longest wait for any one thing. Far beyond what the slowest machine needs for 10 000 workers: a run
/// that meets it has found a fault.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often, while waiting for workers, we look whether their supervisor is still there.
const LOOK: Duration = Duration::from_millis(250);

/// Environment of the daemons: no systemd, no settings of the person who measures.
const ENVIRONMENT: [&str; 3] = ["PATH", "HOME", "USER"];

/// Set by SIGINT and SIGTERM. Looked at before each start; a wait that the signal breaks fails by itself.
pub(crate) static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// A running supervisor. Dropped, it is ended, and its workers with it.
pub(crate) struct Daemon<'a> {
    pub(crate) contestant: &'a Contestant,
    tools: &'a Tools,
    // Declared before the directory, so that the directory outlives the process.
    child: Owned,
    muster: Muster,
    /// In the order of their reports, so the front is the oldest.
    workers: VecDeque<Pid>,
    asking: Option<Connection>,
    dir: TempDir,
}

impl<'a> Daemon<'a> {
    /// Starts it, and waits until all its workers have reported and it answers.
    ///
    /// Returns also the time from just before its start to the `main` of the last worker.
    pub(crate) fn start(
        contestant: &'a Contestant,
        tools: &'a Tools,
        watchers: usize,
        workers: usize,
        plugins: usize,
    ) -> Result<(Daemon<'a>, Duration)> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(BenchError::Interrupted);
        }
        let dir = fresh_dir()?;
        let (socket, address) = (socket_in(dir.path()), Address::in_dir(dir.path()));
        let pool = Pool {
            watchers,
            workers,
            dir: dir.path(),
            socket: &socket,
            muster: &address,
            plugins,
        };
        let mut muster = Muster::open(&address)?;
        muster.expect(pool.size())?;
        let line = contestant.start(tools, &pool)?;
        let log = File::create(dir.path().join("log")).map_err(failed("to create a log file"))?;
        let mut command = Command::new(&tools.launch);
        command
            .arg(std::process::id().to_string())
            .args(&line)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .env_clear();
        command.envs(
            ENVIRONMENT
                .iter()
                .filter_map(|&name| Some((name, std::env::var_os(name)?))),
        );

        let started = now();
        let child =
            Owned::spawn(&mut command).map_err(failed(format!("to start {}", contestant.name)))?;
        let mut daemon = Daemon {
            contestant,
            tools,
            child,
            muster,
            workers: VecDeque::new(),
            asking: None,
            dir,
        };
        let last = daemon.gather()?;
        daemon.settle()?;
        Ok((daemon, last - started))
    }

    /// Expects `count` more workers. Fails if more than were expected before have come meanwhile.
    fn expect(&mut self, count: usize) -> Result<()> {
        match self.muster.missing()? {
            0 => self.muster.expect(count),
            missing => Err(BenchError::Surplus {
                name: self.contestant.name.clone(),
                surplus: -missing,
            }),
        }
    }

    /// Waits for all workers that are expected; they are known from then on. Returns the last one's time.
    fn gather(&mut self) -> Result<Duration> {
        let limit = Instant::now() + PATIENCE;
        while !self.muster.wait(LOOK)? {
            self.look(limit)?;
        }
        let reports = self.muster.reports()?;
        self.workers.extend(reports.iter().map(|report| report.pid));
        Ok(reports
            .iter()
            .map(|report| report.at)
            .max()
            .unwrap_or_default())
    }

    /// Fails if there is nothing left to wait for.
    fn look(&mut self, limit: Instant) -> Result<()> {
        let (name, missing) = (self.contestant.name.clone(), self.muster.missing()?);
        if self
            .child
            .ended()
            .map_err(failed("to wait for the supervisor"))?
            .is_some()
        {
            return Err(BenchError::Ended {
                name,
                missing,
                log: self.log(),
            });
        }
        if Instant::now() > limit {
            return Err(BenchError::Silent {
                name,
                missing,
                limit: PATIENCE,
                log: self.log(),
            });
        }
        Ok(())
    }

    /// The end of what it wrote to standard error.
    fn log(&self) -> String {
        let log = fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned()
    }

    /// Kills the `count` oldest workers in one go, and returns the time from just before the first kill to
    /// the `main` of the last successor.
    pub(crate) fn kill(&mut self, count: usize) -> Result<Duration> {
        let victims: Vec<Pid> = self.workers.drain(..count).collect();
        self.expect(count)?;
        let started = now();
        for victim in victims {
            // No pidfd: the worker never ends by itself, so its pid is its own until our signal.
            kill(victim, Signal::SIGKILL)
                .map_err(|e| failed(format!("to kill worker {victim}"))(e.into()))?;
        }
        let last = self.gather()?;
        self.settle()?;
        Ok(last - started)
    }

    /// Waits until it has done what came before this call, and does nothing any more: it has answered.
    ///
    /// Otherwise what it does after a respawn would be measured with the next contestant.
    fn settle(&mut self) -> Result<()> {
        self.ask_status().map(|_| ())
    }

    /// Asks for the status over a connection that stays open, and returns how long that took.
    pub(crate) fn ask_status(&mut self) -> Result<Duration> {
        let request = self.contestant.status_request();
        let mut asking = match self.asking.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let started = Instant::now();
        let reply = asking.ask(request)?;
        let took = started.elapsed();
        if !reply.starts_with(self.contestant.status_reply()) {
            return Err(BenchError::Reply {
                name: self.contestant.name.clone(),
                request: request.trim_end().into(),
                reply: reply.chars().take(200).collect(),
            });
        }
        self.asking = Some(asking);
        Ok(took)
    }

    /// A new connection to it.
    pub(crate) fn connect(&self) -> Result<Connection> {
        Connection::open(&socket_in(self.dir.path()))
    }

    /// Runs its status command, from start to end.
    pub(crate) fn run_status(&self) -> Result<Duration> {
        self.run(
            self.contestant
                .status_command(self.tools, &socket_in(self.dir.path())),
        )
    }

    /// Runs its restart command, from start to end. All workers are new afterwards.
    pub(crate) fn run_restart(&mut self) -> Result<Duration> {
        self.expect(self.workers.len())?;
        self.workers.clear();
        let took = self.run(
            self.contestant
                .restart_command(self.tools, &socket_in(self.dir.path())),
        )?;
        self.gather()?;
        self.settle()?;
        Ok(took)
    }

    fn run(&self, line: Vec<PathBuf>) -> Result<Duration> {
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let started = Instant::now();
        let status = command
            .status()
            .map_err(failed(format!("to run '{}'", line[0].display())))?;
        let took = started.elapsed();
        if !status.success() {
            let command = line
                .iter()
                .map(|word| word.display().to_string())
                .collect::<Vec<_>>()
                .join(" ");
            return Err(BenchError::Command { command, status });
        }
        Ok(took)
    }

    /// Holds it on one CPU with us, from now to its end, so round trips compare.
    pub(crate) fn share_cpu(&self) -> Result<OnOneCpu> {
        OnOneCpu::with(self.child.pid())
    }

    /// Its proportional set size in bytes.
    pub(crate) fn pss(&self) -> Result<u64> {
        proc::pss(self.child.pid())
    }

    /// What it has used up to now.
    pub(crate) fn usage(&self) -> Result<Usage> {
        proc::usage(self.child.pid())
    }

    /// Whether its workers live in cgroups of their own.
    pub(crate) fn has_cgroups(&self) -> Result<bool> {
        self.workers.front().map_or(Ok(false), |&worker| {
            proc::has_own_cgroup(worker, self.child.pid())
        })
    }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("socket")
}

/// In memory where that is to be had, as what a daemon keeps in `/run` would be.
fn fresh_dir() -> Result<TempDir> {
    let shared_memory = Path::new("/dev/shm");
    let base = if shared_memory.is_dir() {
        shared_memory.into()
    } else {
        std::env::temp_dir()
    };
    tempfile::Builder::new()
        .prefix("circusd-peers.")
        .tempdir_in(base)
        .map_err(failed("to make a directory"))
}
