//! `reload_on_change`: hearing that a configuration file has changed.
//!
//! Decides nothing, not even whether there is anything new to read: only that somebody should look,
//! when all has been quiet for a moment, as an editor or a package manager does more than one thing.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::driver::sleep_until;
use super::wakeups::wait_for;
use crate::config::Trace;
use crate::sys::inotify::Directories;

/// For how long nothing may have changed before it is looked.
const QUIET: Duration = Duration::from_millis(200);

/// It is looked at the latest so long after the first change, though there be others all the time.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// Who watches over the configuration files, or nobody.
#[derive(Debug, Default)]
pub(super) struct Vigil(Option<Watching>);

#[derive(Debug)]
struct Watching {
    directories: AsyncFd<Directories>,
    /// What was found when it was looked last.
    last: Arc<Trace>,
    /// The first change of which nobody has looked what it is.
    since: Option<Instant>,
    /// When it is to be looked.
    look: Option<Instant>,
    /// Told of already.
    failed: Vec<PathBuf>,
}

impl Vigil {
    /// Watches over what a configuration was read from, now; or over nothing.
    pub(super) fn keep(&mut self, wanted: bool, trace: Arc<Trace>) {
        if !wanted {
            self.0 = None;
            return;
        }
        if self.0.is_none() {
            match Watching::new(&trace) {
                Ok(watching) => self.0 = Some(watching),
                Err(error) => tracing::warn!(
                    "failed to watch over the configuration files, which are read again only when \
                     somebody says so: {error}"
                ),
            }
        }
        if let Some(watching) = &mut self.0 {
            watching.turn_to(trace);
        }
    }

    /// Whether what was found now is what was found when it was looked last.
    pub(super) fn knows(&self, trace: &Trace) -> bool {
        let last = self.0.as_ref().map(|watching| &watching.last);
        last.is_some_and(|last| last.found_the_same(trace))
    }

    /// Waits until somebody should look. May be dropped at any point: nothing is lost.
    pub(super) async fn quiet(&mut self) {
        match &mut self.0 {
            Some(watching) => watching.quiet().await,
            None => std::future::pending().await,
        }
    }
}

impl Watching {
    fn new(trace: &Arc<Trace>) -> io::Result<Self> {
        let directories = wait_for(Directories::new()?, Interest::READABLE);
        Ok(Self {
            directories: directories.map_err(|(_, error)| error)?,
            last: Arc::clone(trace),
            since: None,
            look: None,
            failed: Vec::new(),
        })
    }

    fn turn_to(&mut self, trace: Arc<Trace>) {
        let turned = self.directories.get_mut().turn_to(trace.places());
        self.last = trace;
        // What has happened there since it was read was not told.
        if turned.anew {
            self.look_soon();
        }
        for (path, error) in &turned.failures {
            if !self.failed.contains(path) {
                let path = path.display();
                tracing::warn!("what changes in '{path}' will not be noticed: {error}");
            }
        }
        let failures = turned.failures.into_iter();
        self.failed = failures.map(|(path, _)| path).collect();
    }

    fn look_soon(&mut self) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        self.look = Some((now + QUIET).min(since + QUIET_MAX));
    }

    async fn quiet(&mut self) {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.look) => {
                    (self.since, self.look) = (None, None);
                    return;
                }
                guard = self.directories.readable_mut() => {
                    let Ok(mut guard) = guard else { continue };
                    // Before it is taken: what comes after that is told anew.
                    guard.clear_ready();
                    // Where it cannot be told what has changed, something may have.
                    if guard.get_inner_mut().have_changed().unwrap_or(true) {
                        self.look_soon();
                    }
                }
            }
        }
    }
}
