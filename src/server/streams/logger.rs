//! One program that reads what the workers of a watcher write: kept running as long as somebody may
//! write, and then until it has read all.
//!
//! Lines do not pass through us: the workers write to the very pipe that it reads. Both ends of that
//! are kept open here, so that nothing is lost while there is no logger; what is in the pipe is
//! there for the next one. Should we be killed, it reads on, and the next daemon finds it (`heirs`).
//! Decides nothing about workers.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use super::fifo::{Fifos, Made};
use super::heirs::KeptRun;
use super::kept::Changes;
use super::lines::Lost;
use crate::server::homes::{self, Home};
use crate::server::hooks::{Ground, Tree};
use crate::server::program;
use crate::server::said::{Said, drain, read};
use crate::server::workers::exit_status;
use crate::sys::spawn::{self, Command};

/// The pause after a logger has ended twice; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A logger that has run for so long has done its work: the pauses begin anew.
const RESET_AFTER: Duration = Duration::from_secs(10);

/// What a pipe to a logger is to hold, so that workers need not wait while there is none.
const PIPE_BYTES: i32 = 1 << 20;

/// What becomes of a logger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It is kept running.
    Run,
    /// Nobody writes any more: it is to read what is left, until then.
    End(Instant),
    /// Somebody who is none of ours may write: it runs as long as it likes.
    Leave,
    /// We end, and it is to live on.
    LetGo,
}

/// How a logger is.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Another one, which reads for those who were here before, has not ended yet.
    Waiting,
    Running {
        pid: i32,
    },
    Pausing {
        why: String,
        until: Instant,
    },
    Gone,
    /// It lives on without us.
    Left(Home),
}

/// All that it takes to keep one running.
#[derive(Debug)]
pub(super) struct Logger {
    pub(super) ground: Rc<Ground>,
    /// "web: the logger of its standard output".
    pub(super) who: String,
    pub(super) watcher: String,
    /// `stdout` or `stderr`.
    pub(super) stream: &'static str,
    /// Without the mark of a run.
    pub(super) command: Command,
    pub(super) ties: Rc<Ties>,
    pub(super) orders: watch::Receiver<Order>,
    pub(super) state: watch::Sender<State>,
    /// Ends in a row.
    pub(super) ends: u32,
}

/// What the next daemon is to know of a logger, and where that is told.
#[derive(Debug)]
pub(super) struct Ties {
    /// Of the pipe.
    pub(super) number: u64,
    /// Whether the next daemon can find it.
    pub(super) named: bool,
    /// The end of the pipe that it reads.
    pub(super) source: File,
    pub(super) fifos: Rc<Fifos>,
    pub(super) changes: Rc<Changes>,
    /// What runs of it.
    pub(super) run: RefCell<Option<KeptRun>>,
    /// It has read all, or will read no more.
    pub(super) gone: Cell<bool>,
}

/// One run of it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) tree: Tree,
    /// What it says to the log. None of one that was taken over from a daemon that could not tell where
    /// that is.
    pub(super) errors: Option<pipe::Receiver>,
    pub(super) since: Instant,
}

/// How a run was over.
enum End {
    /// It has ended, and so.
    Itself(String),
    /// Its time was up.
    Late,
    LetGo,
}

/// Makes room in the pipe to a logger.
pub(super) fn enlarge(pipe: impl AsFd) {
    // An ordinary user may have no more; a smaller pipe only means that workers wait sooner.
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
}

/// The same end of the same pipe, opened anew: who gets it may set its flags (O_NONBLOCK) without
/// doing so for all others who have it.
///
/// # Errors
///
/// The table of descriptors is full.
pub(super) fn open_anew(end: impl AsFd, flag: OFlag) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", end.as_fd().as_raw_fd());
    let mut options = OpenOptions::new();
    options.read(flag != OFlag::O_WRONLY);
    options.write(flag != OFlag::O_RDONLY);
    // One with a name would be waited for until it has another end.
    let flags = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    match options.custom_flags(flags.bits()).open(path) {
        Ok(file) => {
            fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
            Ok(file.into())
        }
        // Without /proc they share what they have.
        Err(_) => end.as_fd().try_clone_to_owned(),
    }
}

impl Logger {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// Why it does not run, in words.
    pub(super) fn start(&self) -> Result<Running, String> {
        let told =
            |stage: &'static str| move |error: io::Error| program::failure(stage, &error).error;
        let room = self.ground.budget.check(&self.ties.source);
        room.map_err(told("making room for its descriptors"))?;
        let errors = self.ties.fifos.make().map_err(told("making a pipe"))?;
        let number = errors.number;
        let started = self.start_saying(errors);
        started.inspect_err(|_| self.ties.fifos.remove(number))
    }

    /// Starts it with this as its standard error.
    fn start_saying(&self, errors: Made) -> Result<Running, String> {
        let told =
            |stage: &'static str| move |error: io::Error| program::failure(stage, &error).error;
        let source = &self.ties.source;
        let input = open_anew(source, OFlag::O_RDONLY).map_err(told("making a pipe"))?;
        let null = OpenOptions::new().write(true).open("/dev/null");
        let null = null.map_err(told("opening /dev/null"))?;
        let run = self.ground.next_run();
        let mut command = self.command.clone();
        let (name, value) = self.ground.homes.mark(run);
        command.env.push((name.into(), value.into()));
        let cgroup = self.ground.homes.cgroup(&self.watcher, self.stream, run);
        let cgroup = cgroup.map_err(told("making its cgroup"))?;
        let fds = [
            (input.as_fd(), 0),
            (null.as_fd(), 1),
            (errors.writer.as_fd(), 2),
        ];
        let child = spawn::spawn(&command, &fds, cgroup.as_ref()).map_err(|error| {
            if let Some(cgroup) = &cgroup {
                homes::remove(cgroup.path().to_owned());
            }
            let directory = command.working_dir.clone().unwrap_or_default();
            program::refused(&error, &directory).error
        })?;
        let tree = Tree::new(&self.ground, child, cgroup, run).map_err(told("watching over it"))?;
        let number = errors.named.then_some(errors.number);
        let errors = pipe::Receiver::from_file(errors.reader).map_err(told("making a pipe"))?;
        self.ties.runs(&tree, number);
        Ok(self.running(tree, Some(errors)))
    }

    /// Tells that it runs.
    pub(super) fn running(&self, tree: Tree, errors: Option<pipe::Receiver>) -> Running {
        let pid = tree.pid().as_raw();
        self.state.send_replace(State::Running { pid });
        Running {
            tree,
            errors,
            since: Instant::now(),
        }
    }

    /// Keeps it running until nobody needs it; `before` is who has to be gone first.
    pub(super) async fn keep(
        mut self,
        mut running: Option<Running>,
        before: Option<watch::Receiver<State>>,
    ) {
        if let Some(mut before) = before {
            let is_gone = |state: &State| matches!(state, State::Gone | State::Left(_));
            tokio::select! {
                // An error means that it is gone.
                _ = before.wait_for(is_gone) => {}
                _ = self.orders.wait_for(|order| *order == Order::LetGo) => return,
            }
        }
        loop {
            let started = match running.take() {
                Some(running) => Ok(running),
                None => self.start(),
            };
            let why = match started {
                Ok(running) => match self.attend(running).await {
                    End::Itself(why) => why,
                    End::Late => break,
                    // Its state tells.
                    End::LetGo => return,
                },
                Err(why) => why,
            };
            if !self.goes_on_after(why).await {
                break;
            }
        }
        // Another reads what is left where we were only to let go of it.
        if *self.orders.borrow() != Order::LetGo {
            self.tell_unread();
            self.ties.end();
        }
        self.state.send_replace(State::Gone);
    }

    /// Waits for the end of one run.
    async fn attend(&mut self, running: Running) -> End {
        let Running {
            mut tree,
            errors,
            since,
        } = running;
        let mut said = Said::new(self.who.clone());
        let status = tokio::select! {
            status = tree.ended() => status,
            () = time_is_up(&mut self.orders) => {
                if *self.orders.borrow() == Order::LetGo {
                    self.state.send_replace(State::Left(tree.let_go()));
                    return End::LetGo;
                }
                tracing::warn!("{} has not ended in time, and is killed", self.who);
                self.ties.has_run();
                return End::Late;
            }
            () = async {
                if let Some(errors) = &errors {
                    read(errors, |bytes| said.push(bytes)).await;
                }
                std::future::pending().await
            } => unreachable!("it waits for ever"),
        };
        drop(tree);
        if let Some(errors) = &errors {
            drain(errors, |bytes| said.push(bytes));
        }
        self.ties.has_run();
        if since.elapsed() >= RESET_AFTER {
            self.ends = 0;
        }
        End::Itself(match status {
            Ok(status) => exit_status(status).to_string(),
            Err(error) => format!("ended, nobody knows how: {error}"),
        })
    }

    /// Whether it is to be started again; waits until it may be.
    async fn goes_on_after(&mut self, why: String) -> bool {
        let order = *self.orders.borrow_and_update();
        match order {
            Order::End(_) if self.is_at_end() => return false,
            Order::Leave | Order::LetGo => return false,
            Order::Run | Order::End(_) => {}
        }
        let pause = pause(self.ends);
        self.ends += 1;
        let (who, seconds) = (&self.who, pause.as_secs_f64());
        match pause.is_zero() {
            true => tracing::error!("{who} {why}; starting it again at once"),
            false => tracing::error!("{who} {why}; starting it again in {seconds:.1} s"),
        }
        let until = Instant::now() + pause;
        self.state.send_replace(State::Pausing { why, until });
        if order != Order::Run {
            return tokio::select! {
                () = sleep(pause) => true,
                () = time_is_up(&mut self.orders) => false,
            };
        }
        let changed = tokio::select! {
            () = sleep(pause) => return true,
            changed = self.orders.changed() => changed,
        };
        // What is left in the pipe is read at once, if anything is.
        changed.is_ok() && matches!(*self.orders.borrow(), Order::End(_)) && !self.is_at_end()
    }

    /// Whether nobody can write any more, and all is read.
    fn is_at_end(&self) -> bool {
        let mut fds = [PollFd::new(self.ties.source.as_fd(), PollFlags::POLLIN)];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        let found = fds[0].revents().unwrap_or(PollFlags::empty());
        polled.is_ok() && found.contains(PollFlags::POLLHUP) && !found.contains(PollFlags::POLLIN)
    }

    /// What is still in the pipe is lost.
    fn tell_unread(&mut self) {
        let mut left = Vec::new();
        // There is no more when it says so, with whatever error.
        let _ = (&self.ties.source)
            .take(PIPE_BYTES.unsigned_abs().into())
            .read_to_end(&mut left);
        let lost = Lost::all(&left);
        if !lost.is_none() {
            tracing::error!("{} has not read all: {lost} of output are lost", self.who);
        }
    }
}

impl Ties {
    fn runs(&self, tree: &Tree, errors: Option<u64>) {
        self.run.replace(Some(KeptRun::of(tree, errors)));
        self.changes.push(self.number);
    }

    fn has_run(&self) {
        let errors = self.run.take().and_then(|run| run.errors);
        errors
            .into_iter()
            .for_each(|errors| self.fifos.remove(errors));
        self.changes.push(self.number);
    }

    fn end(&self) {
        self.gone.set(true);
        self.fifos.remove(self.number);
        self.changes.push(self.number);
    }
}

/// The pause before it is started again after so many ends in a row.
fn pause(ends: u32) -> Duration {
    match ends {
        0 => Duration::ZERO,
        _ => (PAUSE_FIRST * 2_u32.saturating_pow((ends - 1).min(16))).min(PAUSE_MAX),
    }
}

/// Waits until it may not run any longer. May be dropped at any point.
async fn time_is_up(orders: &mut watch::Receiver<Order>) {
    loop {
        let order = *orders.borrow_and_update();
        match order {
            Order::End(at) => {
                tokio::select! {
                    () = sleep_until(at.into()) => return,
                    changed = orders.changed() => if changed.is_err() {
                        return sleep_until(at.into()).await;
                    }
                }
            }
            Order::LetGo => return,
            Order::Run | Order::Leave => {
                if orders.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pause_is_none_and_the_others_grow() {
        let pauses: Vec<f64> = [0, 1, 2, 3, 20, u32::MAX]
            .map(|n| pause(n).as_secs_f64())
            .into();
        assert_eq!(pauses, [0.0, 0.1, 0.2, 0.4, 60.0, 60.0]);
    }

    #[test]
    fn an_end_that_is_opened_anew_has_flags_of_its_own() {
        let (source, sink) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        for flag in [OFlag::O_WRONLY, OFlag::O_RDWR] {
            let own = open_anew(&sink, flag).unwrap();
            fcntl(&own, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
            let flags = fcntl(&sink, FcntlArg::F_GETFL).unwrap();
            assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
            nix::unistd::write(&own, b"through").unwrap();
            let mut read = [0; 7];
            nix::unistd::read(&source, &mut read).unwrap();
            assert_eq!(&read, b"through");
        }
    }
}
