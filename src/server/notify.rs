//! What the service manager is told, where there is one (sd_notify(3)).

use sd_notify::NotifyState;

use crate::core::{Supervisor, WatcherState};

/// The watchers to be started at boot have settled.
pub(super) fn ready(core: &Supervisor) {
    let status = status(core);
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Everything is on its way to its end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// One sentence: `12 of 12 processes of 3 watchers; web waiting`.
fn status(core: &Supervisor) -> String {
    let (mut run, mut wanted, mut watchers) = (0, 0, 0);
    let mut others = String::new();
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
            run += watcher
                .workers()
                .filter(|worker| worker.pid().is_some())
                .count();
        }
        if let Some(word) = word {
            others.push_str(&format!("; {} {word}", watcher.spec().name));
        }
    }
    format!("{run} of {wanted} processes of {watchers} watchers{others}")
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("failed to notify the service manager, going on without: {error}");
    }
}
