//! What the service manager is told, where there is one (sd_notify(3)): that we are ready, reload,
//! stop; that the loop is alive; and a sentence for `systemctl status`.
//!
//! The sentence is told when it has changed, but not more often than [`STATUS_PAUSE`]: thousands of
//! processes may start at once, and the manager wakes up for each.

mod outbox;

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::sync::oneshot;

use super::streams::output_name;
use crate::core::{Supervisor, WatcherState, WorkerId};
use outbox::Outbox;

/// The shortest time between two sentences.
const STATUS_PAUSE: Duration = Duration::from_millis(250);

/// How soon it is tried again to send what the manager had no room for.
const OUTBOX_PAUSE: Duration = Duration::from_millis(20);

/// How long the end of the daemon waits for a manager that is busy.
const END_MAX: Duration = Duration::from_secs(1);

/// What is asked for beyond the limit of a shutdown: the kernel's time to clear away what was killed,
/// and ours to say goodbye.
const STOP_SPARE: Duration = Duration::from_secs(15);

/// Watchers that are named in the sentence; the others are counted.
const NAMED_MAX: usize = 5;

/// What is told, and what was.
#[derive(Debug)]
pub(super) struct Manager {
    /// A program that waits until we are ready.
    host: Option<oneshot::Sender<()>>,
    /// The way to whoever listens.
    outbox: Option<Outbox>,
    /// Whether it keeps descriptors for us.
    stores: bool,
    /// How often it wants to hear that the loop is alive, and when it will hear it next.
    watchdog: Option<(Duration, Instant)>,
    status: String,
    told: Instant,
    /// The sentence may have changed since.
    changed: bool,
    /// A last word that is not to be followed by another.
    stopping: bool,
    /// The names of what it keeps for us, but for processes and pipes.
    kept: BTreeSet<String>,
    /// The pipes that it keeps for us.
    outputs: BTreeSet<u64>,
}

impl Manager {
    pub(super) fn new() -> Manager {
        let now = Instant::now();
        // Twice as often as it must be, as sd_watchdog_enabled(3) recommends.
        let interval = sd_notify::watchdog_enabled().map(|interval| interval / 2);
        Manager {
            host: None,
            outbox: Outbox::open().unwrap_or_else(|error| {
                tracing::warn!("NOTIFY_SOCKET is of no use, going on without: {error}");
                None
            }),
            // How many it would keep; see FileDescriptorStoreMax= in systemd.service(5).
            stores: std::env::var_os("FDSTORE").is_some(),
            watchdog: interval.map(|interval| (interval, now)),
            status: String::new(),
            told: now,
            changed: false,
            stopping: false,
            kept: BTreeSet::new(),
            outputs: BTreeSet::new(),
        }
    }

    /// The program that we are in, which wants to hear one thing alone: that we are ready.
    pub(super) fn host(ready: oneshot::Sender<()>) -> Manager {
        Manager {
            host: Some(ready),
            outbox: None,
            stores: false,
            watchdog: None,
            status: String::new(),
            told: Instant::now(),
            changed: false,
            stopping: false,
            outputs: Default::default(),
            kept: BTreeSet::new(),
        }
    }

    /// When it wants to be called again, see [`Manager::tend`].
    pub(super) fn next(&self) -> Option<Instant> {
        let status = (self.changed && self.outbox.is_some()).then(|| self.told + STATUS_PAUSE);
        let watchdog = self.watchdog.map(|(_, at)| at);
        let waiting = self.outbox.as_ref().is_some_and(Outbox::is_waiting);
        let waiting = waiting.then(|| Instant::now() + OUTBOX_PAUSE);
        status.into_iter().chain(watchdog).chain(waiting).min()
    }

    /// Says what is due. Called by the loop whenever it has come round, so that a loop that does not
    /// is found out.
    pub(super) fn tend(&mut self, core: &Supervisor) {
        let Some(outbox) = &mut self.outbox else {
            return;
        };
        outbox.flush();
        let now = Instant::now();
        if let Some((interval, at)) = &mut self.watchdog
            && now >= *at
        {
            *at = now + *interval;
            self.tell(&[NotifyState::Watchdog]);
        }
        if self.changed && now >= self.told + STATUS_PAUSE {
            self.changed = false;
            let status = status(core);
            if status != self.status {
                self.told = now;
                self.tell(&[NotifyState::Status(&status)]);
                self.status = status;
            }
        }
    }

    /// Something has happened to a process or a watcher.
    pub(super) fn changed(&mut self) {
        self.changed = !self.stopping || self.changed;
    }

    /// The watchers to be started at boot have settled, or a new configuration is in force.
    pub(super) fn ready(&mut self, core: &Supervisor) {
        if let Some(host) = self.host.take() {
            // Whoever does not wait for it is told in vain.
            let _ = host.send(());
        }
        let status = status(core);
        self.tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.status = status;
    }

    /// The configuration is being read again.
    pub(super) fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!("failed to read the clock for the manager: {error}"),
        }
    }

    /// The new configuration was refused: the old one is in force.
    pub(super) fn refused(&mut self, error: &str) {
        let status = format!("the new configuration is refused, the old one is in force: {error}");
        self.tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.status = status;
    }

    /// Everything is on its way to its end, which may take so long.
    pub(super) fn stopping(&mut self, limit: Duration) {
        let micros = u32::try_from((limit + STOP_SPARE).as_micros()).unwrap_or(u32::MAX);
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(micros),
        ]);
        self.changed = true;
    }

    /// Has the manager keep descriptors for the next daemon (`FDSTORE=1`): these and no others of those
    /// that were given to it before.
    pub(super) fn keep<'a>(&mut self, fds: impl IntoIterator<Item = (String, BorrowedFd<'a>)>) {
        if !self.stores {
            return;
        }
        let mut kept = BTreeSet::new();
        for (name, fd) in fds {
            if !self.kept.contains(&name) {
                self.store(&name, fd);
            }
            kept.insert(name);
        }
        let before = std::mem::replace(&mut self.kept, kept);
        for gone in before.difference(&self.kept.clone()) {
            self.tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(gone)]);
        }
    }

    /// Has the manager keep a process, so that its end can be told of by the next daemon.
    pub(super) fn keep_process(&mut self, worker: WorkerId, process: BorrowedFd<'_>) {
        if self.stores {
            self.store(&process_name(worker), process);
        }
    }

    /// Nobody asks for that process any more.
    pub(super) fn let_go_of_process(&mut self, worker: WorkerId) {
        if self.stores {
            let name = process_name(worker);
            self.tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
        }
    }

    /// Has the manager keep the end by which a pipe is read: what is in it would be gone with the last
    /// who has it open, as a worker that ends while there is no daemon.
    pub(super) fn keep_output(&mut self, number: u64, reader: BorrowedFd<'_>) {
        if self.stores && self.outputs.insert(number) {
            self.store(&output_name(number), reader);
        }
    }

    /// That pipe has ended.
    pub(super) fn let_go_of_output(&mut self, number: u64) {
        self.outputs.remove(&number);
        // An earlier daemon may have had it kept.
        if self.stores {
            self.forget(&[output_name(number)]);
        }
    }

    /// Without `FDPOLL=0` the manager would drop a process that has ended before anybody could ask how.
    fn store(&mut self, name: &str, fd: BorrowedFd<'_>) {
        let states = [
            NotifyState::FdStore,
            NotifyState::FdName(name),
            NotifyState::Custom("FDPOLL=0"),
        ];
        if let Some(outbox) = &mut self.outbox {
            outbox.send(text(&states), Some(fd));
        }
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        if let Some(outbox) = &mut self.outbox {
            outbox.send(text(states), None);
        }
    }

    /// Has the manager keep these no longer.
    pub(super) fn forget(&mut self, names: &[String]) {
        for name in names {
            self.tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
        }
    }

    /// Nothing is left to go on with: the manager keeps nothing for us any more. What it has no room
    /// to hear of now is waited for, a second at most.
    pub(super) fn end(&mut self) {
        self.keep([]);
        for number in self.outputs.clone() {
            self.let_go_of_output(number);
        }
        let Some(outbox) = &mut self.outbox else {
            return;
        };
        let end = Instant::now() + END_MAX;
        while outbox.is_waiting() && Instant::now() < end {
            std::thread::sleep(OUTBOX_PAUSE);
            outbox.flush();
        }
    }

    /// Others go on with what is here.
    pub(super) fn handing_over(&mut self) {
        self.stopping = true;
        let status = "handing over to the next circusd; all processes go on";
        self.tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }
}

/// The lines of a message.
fn text(states: &[NotifyState<'_>]) -> String {
    states.iter().map(|state| format!("{state}\n")).collect()
}

/// What the names of processes begin with that the manager keeps for us.
pub(super) const IN_STORE_OF_PROCESSES: &str = "process/";

/// What the manager is told to call a process.
pub(super) fn process_name(worker: WorkerId) -> String {
    format!("{IN_STORE_OF_PROCESSES}{}", worker.0)
}

/// One sentence: `12 of 12 processes of 3 watchers; web reloading`.
fn status(core: &Supervisor) -> String {
    let (mut run, mut wanted, mut watchers) = (0, 0, 0);
    let mut others = Vec::new();
    for watcher in core.watchers() {
        watchers += 1;
        let word = match watcher.state() {
            WatcherState::Stopped | WatcherState::Active => None,
            WatcherState::Starting => Some("starting"),
            WatcherState::Reloading => Some("reloading"),
            WatcherState::Stopping => Some("stopping"),
            WatcherState::Waiting => Some("waiting"),
            WatcherState::Failed => Some("failed"),
        };
        if watcher.state() != WatcherState::Stopped {
            wanted += watcher.target();
            let alive = |worker: &&crate::core::Worker| worker.pid().is_some();
            run += watcher.workers().filter(alive).count();
        }
        others.extend(word.map(|word| (watcher.spec().name.clone(), word)));
    }
    let mut text = match watchers {
        0 => return "no watchers, nothing to supervise".to_owned(),
        1 => format!("{run} of {wanted} processes of 1 watcher"),
        _ => format!("{run} of {wanted} processes of {watchers} watchers"),
    };
    for (name, word) in others.iter().take(NAMED_MAX) {
        text.push_str(&format!("; {name} {word}"));
    }
    if others.len() > NAMED_MAX {
        text.push_str(&format!("; {} others not active", others.len() - NAMED_MAX));
    }
    text
}
