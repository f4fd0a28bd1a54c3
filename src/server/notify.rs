//! What the service manager is told, where there is one (sd_notify(3)): that we are ready, reload,
//! stop; that the loop is alive; and a sentence for `systemctl status`.
//!
//! The sentence is told when it has changed, but not more often than [`STATUS_PAUSE`]: thousands of
//! processes may start at once, and the manager wakes up for each.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::core::{Supervisor, WatcherState, WorkerId};

/// The shortest time between two sentences.
const STATUS_PAUSE: Duration = Duration::from_millis(250);

/// What is asked for beyond the limit of a shutdown: the kernel's time to clear away what was killed,
/// and ours to say goodbye.
const STOP_SPARE: Duration = Duration::from_secs(15);

/// Watchers that are named in the sentence; the others are counted.
const NAMED_MAX: usize = 5;

/// What is told, and what was.
#[derive(Debug)]
pub(super) struct Manager {
    /// Whether anybody listens.
    listens: bool,
    /// How often it wants to hear that the loop is alive, and when it will hear it next.
    watchdog: Option<(Duration, Instant)>,
    status: String,
    told: Instant,
    /// The sentence may have changed since.
    changed: bool,
    /// A last word that is not to be followed by another.
    stopping: bool,
    /// The names of what it keeps for us, but for processes.
    kept: BTreeSet<String>,
}

impl Manager {
    pub(super) fn new() -> Manager {
        let now = Instant::now();
        // Twice as often as it must be, as sd_watchdog_enabled(3) recommends.
        let interval = sd_notify::watchdog_enabled().map(|interval| interval / 2);
        Manager {
            listens: std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty()),
            watchdog: interval.map(|interval| (interval, now)),
            status: String::new(),
            told: now,
            changed: false,
            stopping: false,
            kept: BTreeSet::new(),
        }
    }

    /// When it wants to be called again, see [`Manager::tend`].
    pub(super) fn next(&self) -> Option<Instant> {
        let status = (self.changed && self.listens).then(|| self.told + STATUS_PAUSE);
        let watchdog = self.watchdog.map(|(_, at)| at);
        status.into_iter().chain(watchdog).min()
    }

    /// Says what is due. Called by the loop whenever it has come round, so that a loop that does not
    /// is found out.
    pub(super) fn tend(&mut self, core: &Supervisor) {
        if !self.listens {
            return;
        }
        let now = Instant::now();
        if let Some((interval, at)) = &mut self.watchdog
            && now >= *at
        {
            *at = now + *interval;
            tell(&[NotifyState::Watchdog]);
        }
        if self.changed && now >= self.told + STATUS_PAUSE {
            self.changed = false;
            let status = status(core);
            if status != self.status {
                self.told = now;
                tell(&[NotifyState::Status(&status)]);
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
        self.status = status(core);
        tell(&[NotifyState::Ready, NotifyState::Status(&self.status)]);
    }

    /// The configuration is being read again.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!("failed to read the clock for the manager: {error}"),
        }
    }

    /// The new configuration was refused: the old one is in force.
    pub(super) fn refused(&mut self, error: &str) {
        self.status = format!("the new configuration is refused, the old one is in force: {error}");
        tell(&[NotifyState::Ready, NotifyState::Status(&self.status)]);
    }

    /// Everything is on its way to its end, which may take so long.
    pub(super) fn stopping(&mut self, limit: Duration) {
        let micros = u32::try_from((limit + STOP_SPARE).as_micros()).unwrap_or(u32::MAX);
        tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(micros),
        ]);
        self.changed = true;
    }

    /// Has the manager keep descriptors for the next daemon (`FDSTORE=1`): these and no others of those
    /// that were given to it before.
    pub(super) fn keep<'a>(&mut self, fds: impl IntoIterator<Item = (String, BorrowedFd<'a>)>) {
        if !self.listens {
            return;
        }
        let mut kept = BTreeSet::new();
        for (name, fd) in fds {
            if !self.kept.contains(&name) {
                store(&name, fd);
            }
            kept.insert(name);
        }
        for gone in self.kept.difference(&kept) {
            tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(gone)]);
        }
        self.kept = kept;
    }

    /// Has the manager keep a process, so that its end can be told of by the next daemon.
    pub(super) fn keep_process(&self, worker: WorkerId, process: BorrowedFd<'_>) {
        if self.listens {
            store(&process_name(worker), process);
        }
    }

    /// Nobody asks for that process any more.
    pub(super) fn let_go_of_process(&self, worker: WorkerId) {
        if self.listens {
            let name = process_name(worker);
            tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
        }
    }

    /// Others go on with what is here.
    pub(super) fn handing_over(&mut self) {
        self.stopping = true;
        let status = "handing over to the next circusd; all processes go on";
        tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }
}

/// What the manager is told to call a process.
pub(super) fn process_name(worker: WorkerId) -> String {
    format!("process/{}", worker.0)
}

/// Without `FDPOLL=0` the manager would drop a process that has ended before anybody could ask how.
fn store(name: &str, fd: BorrowedFd<'_>) {
    let states = [
        NotifyState::FdStore,
        NotifyState::FdName(name),
        NotifyState::Custom("FDPOLL=0"),
    ];
    if let Err(error) = sd_notify::notify_with_fds(&states, &[fd]) {
        tracing::warn!("failed to have the service manager keep '{name}': {error}");
    }
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
    let mut text = format!("{run} of {wanted} processes of {watchers} watchers");
    for (name, word) in others.iter().take(NAMED_MAX) {
        text.push_str(&format!("; {name} {word}"));
    }
    if others.len() > NAMED_MAX {
        text.push_str(&format!("; {} others not active", others.len() - NAMED_MAX));
    }
    text
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("failed to notify the service manager, going on without: {error}");
    }
}
