//! What processes say of themselves: on a notify socket of their own, as sd_notify(3) has it, or with
//! a line on a descriptor, as those of s6 do.
//!
//! Who may say it is checked here; what follows is for core to say.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{Pid, Uid};

use super::{Running, Workers};
use crate::config::{Ready, Watcher};
use crate::core::{Fault, Input, SpawnFailure, WorkerId};
use crate::server::homes::Home;
use crate::server::messages::{Word, words};
use crate::server::program;
use crate::server::state;
use crate::sys::epoll::Watch;
use crate::sys::notify::{Datagram, Receiver, Sender};
use crate::sys::pidfd::Pidfd;
use crate::sys::process::Process;

/// How many messages of one process are read before it is everybody else's turn: who floods us waits,
/// as the kernel keeps only some of its messages (`net.unix.max_dgram_qlen`).
const MESSAGES_MAX: usize = 32;

/// How often so many are read at the end of a process, so that all it has said is heard; more than
/// the kernel keeps of them.
const LAST_LOOKS_MAX: usize = 32;

/// How much is read at once of what comes before the end of the line.
const LINE_BYTES: usize = 4096;

/// What a process has been given to tell of itself, and what it has told.
#[derive(Debug, Default)]
pub(super) struct Told {
    socket: Option<Receiver>,
    line: Option<File>,
    /// READY=1 means something.
    ready_by_word: bool,
    status: Option<String>,
    reloading: bool,
    pub(super) stopping: bool,
    /// The last sender that was looked for among all processes: who, when it was started, and whether it
    /// is one of the worker's. For the flood of one that is not.
    known: Option<(Pid, u64, bool)>,
    /// A message of somebody else was dropped, and that was told.
    warned: bool,
}

/// Our ends of it and the worker's, before there is a process.
#[derive(Debug, Default)]
pub(super) struct Ends {
    told: Told,
    line: Option<OwnedFd>,
}

impl Ends {
    /// Makes what a process of this watcher needs. `path` is where a socket would be, and `owner` is
    /// the user who writes to it, if it is another than we.
    pub(super) fn make(
        recipe: &Watcher,
        path: PathBuf,
        owner: Option<Uid>,
    ) -> Result<Ends, SpawnFailure> {
        let mut ends = Ends::default();
        ends.told.ready_by_word = recipe.ready == Ready::Notify;
        if ends.told.ready_by_word || !recipe.watchdog.is_zero() || recipe.max_requests > 0 {
            let room = path.parent().map_or(Ok(()), state::make_passage_of_ours);
            let socket = room.and_then(|()| Receiver::bind(&path, owner));
            let socket = socket.map_err(|error| {
                program::failure_at("making its notify socket", Some(&path), &error)
            })?;
            ends.told.socket = Some(socket);
        }
        if recipe.ready == Ready::Fd {
            let made = pipe().map_err(|error| program::failure("making a pipe", &error))?;
            ends.told.line = Some(made.0);
            ends.line = Some(made.1);
        }
        Ok(ends)
    }

    /// Where the worker finds its socket.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.told.socket.as_ref().map(Receiver::path)
    }

    /// The descriptor that the worker gets for its line.
    pub(super) fn line(&self) -> Option<BorrowedFd<'_>> {
        self.line.as_ref().map(AsFd::as_fd)
    }

    /// What stays with us when the worker runs.
    pub(super) fn into_told(self) -> Told {
        self.told
    }
}

/// Ours does not block, the worker's does.
fn pipe() -> io::Result<(File, OwnedFd)> {
    let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&ours, flags)?;
    Ok((File::from(ours), theirs))
}

impl Told {
    /// Has us told of what comes; each token is for one of the two ends.
    pub(super) fn watch(&self, watch: &mut Watch, socket: u64, line: u64) -> io::Result<()> {
        use crate::sys::epoll::Interest;
        if let Some(end) = &self.socket {
            watch.add(end, socket, Interest::Read)?;
        }
        match &self.line {
            Some(end) => watch.add(end, line, Interest::Read),
            None => Ok(()),
        }
    }

    /// Listens no longer; what was told is kept.
    pub(super) fn close(&mut self, watch: &mut Watch) {
        if let Some(socket) = self.socket.take() {
            // Nobody has a copy of it, so it would leave the set by itself as well.
            let _ = watch.remove(&socket);
        }
        self.close_line(watch);
    }

    fn close_line(&mut self, watch: &mut Watch) {
        if let Some(line) = self.line.take() {
            let _ = watch.remove(&line);
        }
    }

    /// In its own words, what it is at.
    pub(super) fn status_text(&self) -> Option<String> {
        match (self.reloading, &self.status) {
            (true, Some(status)) => Some(format!("reloading: {status}")),
            (true, None) => Some("reloading".into()),
            (false, status) => status.clone(),
        }
    }
}

impl Running {
    /// Whether a message comes from the worker, and not from somebody else who can reach its socket.
    /// The second says that it has cost a look at all processes.
    fn is_its_own(&mut self, sender: &Sender) -> (bool, bool) {
        // It has not been waited for, so the number is its own.
        if sender.pid == self.pid {
            return (true, false);
        }
        let pidfd = sender.pidfd.as_ref();
        if matches!(self.home, Home::Cgroup(_)) {
            return (self.home.holds(sender.pid, pidfd), false);
        }
        let Ok(process) = Process::read(sender.pid) else {
            // It is gone, and has left no sign of where it belonged.
            return (false, false);
        };
        match self.told.known {
            Some((pid, start, own)) if (pid, start) == (process.pid, process.start_ticks) => {
                (own, false)
            }
            _ => {
                let own = self.home.holds(sender.pid, pidfd);
                self.told.known = Some((process.pid, process.start_ticks, own));
                (own, true)
            }
        }
    }

    fn warn_of(&mut self, sender: Option<&Sender>) {
        if std::mem::replace(&mut self.told.warned, true) {
            return;
        }
        let who = match sender {
            Some(sender) => format!("process {}", sender.pid),
            None => "a process that cannot be seen from here".to_owned(),
        };
        let (watcher, pid) = (&self.watcher, self.pid);
        tracing::warn!(
            "{watcher}: dropped a message on the notify socket of process {pid}: it came from {who}, \
             which is none of its own; there may be more of them"
        );
    }
}

impl Workers {
    /// Reads some of what a process has sent. Says whether there may be more.
    pub(super) fn notified(
        &mut self,
        worker: WorkerId,
        watch: &mut Watch,
        inputs: &mut Vec<Input>,
    ) -> bool {
        for _ in 0..MESSAGES_MAX {
            let Some(running) = self.running.get_mut(&worker) else {
                return false;
            };
            let Some(socket) = &running.told.socket else {
                return false;
            };
            let datagram = match socket.receive() {
                Ok(Some(datagram)) => datagram,
                Ok(None) => return false,
                Err(error) => {
                    tracing::warn!("{}: failed to read a message: {error}", running.watcher);
                    return false;
                }
            };
            let Datagram { text, sender } = datagram;
            let (own, costly) = sender
                .as_ref()
                .map_or((false, false), |sender| running.is_its_own(sender));
            if !own {
                running.warn_of(sender.as_ref());
            } else if let Some(text) = text {
                for word in words(&text) {
                    self.take_word(worker, word, watch, inputs);
                }
            }
            if costly {
                return true;
            }
        }
        true
    }

    /// All that a process has said before its end.
    pub(super) fn last_words(
        &mut self,
        worker: WorkerId,
        watch: &mut Watch,
        inputs: &mut Vec<Input>,
    ) {
        for _ in 0..LAST_LOOKS_MAX {
            if !self.notified(worker, watch, inputs) {
                return;
            }
        }
    }

    fn take_word(
        &mut self,
        worker: WorkerId,
        word: Word,
        watch: &mut Watch,
        inputs: &mut Vec<Input>,
    ) {
        let Some(running) = self.running.get_mut(&worker) else {
            return;
        };
        let told = &mut running.told;
        match word {
            Word::MainPid(pid) => self.change_main(worker, pid, watch, inputs),
            Word::Ready => {
                told.reloading = false;
                if told.ready_by_word {
                    inputs.push(Input::Ready { worker });
                }
            }
            Word::Reloading => told.reloading = true,
            Word::Stopping => {
                told.stopping = true;
                self.departing.push(worker);
            }
            Word::Status(text) => told.status = Some(text).filter(|text| !text.is_empty()),
            Word::Alive => inputs.push(Input::Alive { worker }),
            Word::Stuck => inputs.push(Input::Unfit {
                worker,
                fault: Fault::Watchdog,
                error: "says itself that it is stuck".into(),
            }),
            Word::Watchdog(interval) => {
                running.watchdog = None;
                inputs.push(Input::WatchdogSet { worker, interval });
            }
            Word::Extend(by) => inputs.push(Input::Extended { worker, by }),
            Word::Requests(requests) => inputs.push(Input::Served { worker, requests }),
        }
    }

    /// Takes another process of a worker for its main one from now on: its end is the worker's.
    fn change_main(
        &mut self,
        worker: WorkerId,
        pid: Pid,
        watch: &mut Watch,
        inputs: &mut Vec<Input>,
    ) {
        let Some(running) = self.running.get_mut(&worker) else {
            return;
        };
        if pid == running.pid || running.waited {
            return;
        }
        let found = Pidfd::open(pid).and_then(|pidfd| {
            // Looked at after it was opened: so the number is still the same process's.
            if !running.home.holds(pid, Some(&pidfd)) {
                return Err(io::Error::other("it is none of its own"));
            }
            watch.add(&pidfd, super::process_token(worker), super::Interest::Read)?;
            Ok(pidfd)
        });
        let pidfd = match found {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let (watcher, main) = (&running.watcher, running.pid);
                tracing::warn!(
                    "{watcher}: process {main} names {pid} as its main process, which is refused: {error}"
                );
                return;
            }
        };
        let old = running.pidfd.replace(pidfd);
        let was = std::mem::replace(&mut running.pid, pid);
        if let Some(old) = old {
            // It may have ended, and been taken out then.
            let _ = watch.remove(&old);
            // From now on it is waited for with the orphans, unless it is a zombie already.
            let _ = old.try_wait();
            if running.home.path().is_none() {
                running.leader.get_or_insert(old);
            }
        }
        let watcher = &running.watcher;
        tracing::info!("{watcher}: the main process is {pid} from now on, and {was} no longer");
        self.pids.remove(&was);
        self.pids.insert(pid);
        let mut known = self.known.borrow_mut();
        known.remove(&was);
        known.insert(pid);
        inputs.push(Input::MainPid {
            worker,
            pid: pid.as_raw(),
        });
    }

    /// Reads what has come on the descriptor of a process: the first line says that it is ready.
    pub(super) fn line_came(
        &mut self,
        worker: WorkerId,
        watch: &mut Watch,
        inputs: &mut Vec<Input>,
    ) {
        let Some(running) = self.running.get_mut(&worker) else {
            return;
        };
        let Some(line) = &mut running.told.line else {
            return;
        };
        let mut buffer = [0; LINE_BYTES];
        match line.read(&mut buffer) {
            Ok(0) => {
                let why = "it has closed its descriptor NOTIFY_FD without a line".into();
                inputs.push(Input::NotReady { worker, why });
            }
            Ok(length) if buffer[..length].contains(&b'\n') => inputs.push(Input::Ready { worker }),
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                let why = format!("its descriptor NOTIFY_FD cannot be read: {error}");
                inputs.push(Input::NotReady { worker, why });
            }
        }
        running.told.close_line(watch);
    }
}
