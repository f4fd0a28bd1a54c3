//! The daemon's own log: to the journal, to standard error, or to a file; and every event as a
//! sentence in it.

use std::io;
use std::sync::Arc;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::convert;
use super::stderr::Stderr;
use super::streams::open_file;
use crate::api::types;
use crate::config::{self, LogLevel, LogTarget};
use crate::core::{Event, EventKind, ExitStatus};
use crate::sys::journal::connected_to_journal;

/// Changes what is logged while the daemon runs.
#[derive(Debug)]
pub(super) struct Reload(reload::Handle<Targets, Registry>);

/// Begins to log.
///
/// # Errors
///
/// The file cannot be opened, or there is no journal.
pub(super) fn start(level: &LogLevel, target: Option<&LogTarget>) -> io::Result<Reload> {
    let (filter, handle) = reload::Layer::new(targets(level));
    let registry = tracing_subscriber::registry();
    let result = match target {
        Some(LogTarget::Journal) => registry.with(journald()?.with_filter(filter)).try_init(),
        None if connected_to_journal(io::stderr()) => {
            registry.with(journald()?.with_filter(filter)).try_init()
        }
        None | Some(LogTarget::Stderr) => {
            let stderr = Stderr::default();
            let lines = fmt::layer()
                .with_target(false)
                .with_ansi(false)
                .with_writer(move || stderr.clone());
            registry.with(lines.with_filter(filter)).try_init()
        }
        Some(LogTarget::File(path)) => {
            let file = open_file(path)?;
            let lines = fmt::layer().with_target(false).with_ansi(false);
            registry
                .with(lines.with_writer(Arc::new(file)).with_filter(filter))
                .try_init()
        }
    };
    // Somebody who embeds us logs in his own way already.
    drop(result);
    Ok(Reload(handle))
}

fn journald() -> io::Result<tracing_journald::Layer> {
    let layer = tracing_journald::layer()?;
    Ok(layer
        .with_field_prefix(None)
        .with_syslog_identifier("circusd".into()))
}

impl Reload {
    /// Puts another level in force.
    pub(super) fn set(&self, level: &LogLevel) {
        if let Err(error) = self.0.reload(targets(level)) {
            tracing::warn!("failed to change the log level: {error}");
        }
    }
}

fn targets(level: &LogLevel) -> Targets {
    let parts = level.parts.iter().map(|(part, level)| {
        // `circus::server` is what people write; the crate is called circusd.
        let part = match part.strip_prefix("circus::") {
            Some(rest) => format!("circusd::{rest}"),
            None => part.clone(),
        };
        (part, filter(*level))
    });
    Targets::new()
        .with_default(filter(level.default))
        .with_targets(parts)
}

fn filter(level: config::Level) -> LevelFilter {
    match level {
        config::Level::Error => LevelFilter::ERROR,
        config::Level::Warn => LevelFilter::WARN,
        config::Level::Info => LevelFilter::INFO,
        config::Level::Debug => LevelFilter::DEBUG,
        config::Level::Trace => LevelFilter::TRACE,
    }
}

/// Records an event.
pub(super) fn record(event: &Event, told: &types::Event) {
    let level = level(event);
    let enabled = match level {
        Level::ERROR => tracing::enabled!(Level::ERROR),
        Level::WARN => tracing::enabled!(Level::WARN),
        Level::DEBUG => tracing::enabled!(Level::DEBUG),
        _ => tracing::enabled!(Level::INFO),
    };
    if !enabled {
        return;
    }
    let sentence = sentence(event, told);
    match level {
        Level::ERROR => tracing::error!("{sentence}"),
        Level::WARN => tracing::warn!("{sentence}"),
        Level::DEBUG => tracing::debug!("{sentence}"),
        _ => tracing::info!("{sentence}"),
    }
}

fn level(event: &Event) -> Level {
    match &event.kind {
        EventKind::GaveUp { .. } | EventKind::SpawnFailed { .. } => Level::ERROR,
        EventKind::HookFailure { .. }
        | EventKind::Flapping { .. }
        | EventKind::Oom { .. }
        | EventKind::Unfit { .. } => Level::WARN,
        EventKind::Reap { exit, .. } if !exit.expected => Level::WARN,
        EventKind::Announced(crate::core::Announcement::ConfigError { .. }) => Level::ERROR,
        EventKind::Ready { .. } => Level::DEBUG,
        EventKind::Spawn { .. }
        | EventKind::Reap { .. }
        | EventKind::Kill { .. }
        | EventKind::Start { .. }
        | EventKind::Stop { .. }
        | EventKind::Reload { .. }
        | EventKind::Updated { .. }
        | EventKind::Add
        | EventKind::Remove
        | EventKind::HookSuccess { .. }
        | EventKind::Adopt { .. }
        | EventKind::Freeze
        | EventKind::Thaw
        | EventKind::DaemonReady
        | EventKind::DaemonStopping
        | EventKind::Announced(_) => Level::INFO,
    }
}

/// The event as one sentence for people.
fn sentence(event: &Event, told: &types::Event) -> String {
    let name = told.watcher.as_deref().unwrap_or("circusd");
    let seconds = |duration: &std::time::Duration| format!("{:.3} s", duration.as_secs_f64());
    let what = match &event.kind {
        EventKind::Spawn { pid, wid, .. } => format!("process {wid} started, pid {pid}"),
        EventKind::Ready { pid, wid, after } => {
            format!(
                "process {wid} (pid {pid}) is ready after {}",
                seconds(after)
            )
        }
        EventKind::Reap { pid, wid, exit } => {
            let how = match (exit.forced, exit.expected) {
                (Some(_), _) => "",
                (None, true) => " as it was told to",
                (None, false) => " by itself",
            };
            let lived = seconds(&exit.runtime);
            format!(
                "process {wid} (pid {pid}) {}{how}, after {lived}",
                ended(exit.status)
            )
        }
        EventKind::Kill {
            pid,
            wid,
            signal,
            by,
        } => {
            let signal = convert::signal_name(*signal);
            format!(
                "sent {signal} to process {wid} (pid {pid}): {}",
                by.as_str()
            )
        }
        EventKind::SpawnFailed { wid, failure } => format!("process {wid}: {}", failure.error),
        EventKind::Start { pids, duration } => {
            format!(
                "started after {}, {}",
                seconds(duration),
                processes(pids.len())
            )
        }
        EventKind::Stop { duration, .. } => format!("stopped after {}", seconds(duration)),
        EventKind::Reload { pids, duration } => {
            format!(
                "reloaded after {}, {}",
                seconds(duration),
                processes(pids.len())
            )
        }
        EventKind::Updated { keys, .. } => format!("changed {}", keys.join(", ")),
        EventKind::Add => "added".into(),
        EventKind::Remove => "removed".into(),
        EventKind::HookSuccess { hook, result, .. } => {
            format!("hook {} says {result}", hook.as_str())
        }
        EventKind::HookFailure { hook, error, .. } => {
            format!("hook {} failed: {error}", hook.as_str())
        }
        EventKind::Flapping {
            wid,
            attempts,
            window,
            retry_in,
        } => format!(
            "process {wid} ended {attempts} times within {}; the next attempt is in {}",
            seconds(window),
            seconds(retry_in)
        ),
        EventKind::GaveUp { wid: Some(wid), .. } => {
            format!("process {wid} ended too often and is not started any more")
        }
        EventKind::GaveUp {
            wid: None,
            attempts,
        } => {
            format!("given up after {attempts} failed attempts to start a process")
        }
        EventKind::Adopt { pid, wid } => {
            format!("process {wid} (pid {pid}) of an earlier circusd was taken over")
        }
        EventKind::Oom { pid, wid, .. } => {
            format!("something of process {wid} (pid {pid}) was killed for want of memory")
        }
        EventKind::Unfit {
            pid, wid, error, ..
        } => format!("process {wid} (pid {pid}) is not fit to go on: {error}"),
        EventKind::Freeze => "frozen".into(),
        EventKind::Thaw => "thawed".into(),
        EventKind::DaemonReady => "ready".into(),
        EventKind::DaemonStopping => "stopping".into(),
        EventKind::Announced(news) => announced(news),
    };
    format!("{name}: {what}")
}

/// How a process ended, its signal by the name under which it was sent.
fn ended(status: ExitStatus) -> String {
    match status {
        ExitStatus::Signaled(signal) => format!("was ended by {}", convert::signal_name(signal)),
        ExitStatus::Dumped(signal) => format!("dumped core on {}", convert::signal_name(signal)),
        ExitStatus::Exited(_) | ExitStatus::Unknown => status.to_string(),
    }
}

pub(super) fn processes(number: usize) -> String {
    match number {
        1 => "1 process".into(),
        number => format!("{number} processes"),
    }
}

fn announced(news: &crate::core::Announcement) -> String {
    use crate::core::Announcement;
    match news {
        Announcement::Reloading => "reading the configuration again".into(),
        Announcement::ConfigChanged { watchers } if watchers.is_empty() => {
            "the configuration is in force, no watcher is concerned".into()
        }
        Announcement::ConfigChanged { watchers } => {
            format!("the configuration is in force for {}", watchers.join(", "))
        }
        Announcement::ConfigError { error, .. } => {
            format!("the configuration is refused, the old one stays: {error}")
        }
    }
}
