//! The plugins that come with circusd: each is a [`Plugin`](super::Plugin) like anybody's.
//!
//! Their settings are declared in `config::plugins`. What some of them share: `statsd_client`,
//! `sampler` (what processes use), `http`, `programs` (which file a command is), `peers` (who has
//! sent a datagram), `exposition` (metrics as text).

mod command_reloader;
mod exposition;
mod full_stats;
mod http;
mod http_observer;
mod logger;
mod metrics;
mod peers;
mod programs;
mod redis_observer;
mod resource_watcher;
mod sampler;
mod statsd;
mod statsd_client;
mod watchdog;

use std::fmt::Display;
use std::io;
use std::path::Path;

use super::ExitCode;
use super::handle::Handle;
use super::program::{complain, live as let_live};
use crate::api::types::WatcherState;
use crate::api::{Method, params, reply};
use crate::client::ClientError;
use crate::config::plugins::{BuiltInSettings as Settings, PREFIX, plugin_of};

/// Lets the plugin with these settings live.
pub(super) fn live(settings: Settings, socket: &Path) -> ExitCode {
    match settings {
        Settings::Logger(of) => let_live(logger::Logger::new(of), socket),
        Settings::Statsd(of) => let_live(statsd::Counter::new(of), socket),
        Settings::FullStats(of) => let_live(full_stats::FullStats::new(of), socket),
        Settings::CommandReloader(of) => {
            let_live(command_reloader::CommandReloader::new(of), socket)
        }
        Settings::ResourceWatcher(of) => {
            let_live(resource_watcher::ResourceWatcher::new(of), socket)
        }
        Settings::HttpObserver(of) => let_live(http_observer::HttpObserver::new(of), socket),
        Settings::RedisObserver(of) => let_live(redis_observer::RedisObserver::new(of), socket),
        Settings::Watchdog(of) => let_live(watchdog::Watchdog::new(of), socket),
        Settings::Metrics(of) => let_live(metrics::Metrics::new(of), socket),
        Settings::Flapping(_) => {
            complain("flapping has no process: it is for [plugin.NAME] of circusd.toml(5) alone");
            ExitCode::Usage
        }
    }
}

/// The topics of a plugin that looks by the clock: what happens it need not know.
fn no_events() -> Option<Vec<String>> {
    Some(vec!["circusd.stopping".to_owned()])
}

/// Whether a pattern that matches this watcher is meant for it: plugins are no service of anybody's,
/// and by `*` nobody means them; least of all the one that acts on it.
fn is_meant(pattern: &str, watcher: &str) -> bool {
    plugin_of(watcher).is_none() || pattern.starts_with(PREFIX)
}

/// Says where it was that nothing could be bound to: the kernel tells only why.
fn cannot_listen(place: impl Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot listen on {place}: {error}"))
}

/// Whether somebody has stopped this watcher: then it is not for a plugin to start.
async fn is_stopped(watcher: &str, handle: &Handle) -> Result<bool, ClientError> {
    let watchers = Some(watcher.to_owned());
    let status = Method::Status(params::Watchers { watchers });
    let status: reply::Status = handle.call(&status).await?;
    let is_stopped = |state| matches!(state, WatcherState::Stopped | WatcherState::Stopping);
    Ok(status
        .watchers
        .iter()
        .all(|watcher| is_stopped(watcher.state)))
}

/// Restarts a watcher that is not stopped, without waiting for it; false where it is.
async fn restart(watcher: &str, handle: &Handle) -> Result<bool, ClientError> {
    if is_stopped(watcher, handle).await? {
        return Ok(false);
    }
    let restart = Method::Restart(params::Verb {
        watchers: Some(watcher.to_owned()),
        wait: Some(false),
    });
    let _: reply::Changes = handle.call(&restart).await?;
    Ok(true)
}

/// The same for an observer: says what came of it, and whether it was restarted.
async fn restart_aloud(watcher: &str, handle: &Handle) -> bool {
    match restart(watcher, handle).await {
        Ok(true) => {
            handle.log(&format!("{watcher} is restarted"));
            true
        }
        Ok(false) => false,
        Err(error) => {
            handle.log(&format!("{watcher} was not restarted: {error}"));
            false
        }
    }
}
