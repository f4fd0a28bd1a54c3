//! The daemon's own log: to the journal, to standard error, or to a file; and every event as a
//! record in it: a sentence, and for the journal the fields of circusd-events(7).

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use serde_json::Value as Json;
use tracing::Level;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::convert;
use super::stderr::Stderr;
use super::streams::open_file;
use crate::api::action::{self, Of};
use crate::api::types;
use crate::config::{self, LogLevel, LogTarget};
use crate::core::{Announcement, Event, EventKind, ExitStatus, HookAnswer};
use crate::sys::journal::connected_to_journal;
use crate::sys::socket::Peer;

/// Writes one record; its level must be known to the compiler.
///
/// The names are those of the journal (systemd.journal-fields(7)), where all fields stand side by
/// side; what is `None` is left out.
macro_rules! write_record {
    ($level:expr, $fields:ident, $sentence:ident) => {
        tracing::event!(
            $level,
            MESSAGE_ID = $fields.message_id,
            CIRCUS_ACTION = $fields.action,
            CIRCUS_SEQ = $fields.seq,
            CIRCUS_WATCHER = $fields.watcher,
            CIRCUS_WID = $fields.wid,
            CIRCUS_PID = $fields.pid,
            OBJECT_PID = $fields.pid,
            CIRCUS_HOOK = $fields.hook,
            CIRCUS_HOOK_RESULT = $fields.hook_result,
            CIRCUS_EXIT_CAUSE = $fields.exit_cause,
            CIRCUS_EXIT_STATUS = $fields.exit_status,
            "{}",
            $sentence
        )
    };
}

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
                .fmt_fields(debug_fn(write_sentence))
                .with_writer(move || stderr.clone());
            registry.with(lines.with_filter(filter)).try_init()
        }
        Some(LogTarget::File(path)) => {
            let file = open_file(path)?;
            let lines = fmt::layer()
                .with_target(false)
                .with_ansi(false)
                .fmt_fields(debug_fn(write_sentence));
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
        .with_syslog_identifier("circusd".into())
        .with_priority_mappings(PriorityMappings {
            error: Priority::Error,
            warn: Priority::Warning,
            info: Priority::Informational,
            debug: Priority::Debug,
            trace: Priority::Debug,
        }))
}

/// A record as people read it: its sentence in one line, without the fields that are for programs.
fn write_sentence(to: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    match field.name() {
        "message" => {
            let sentence = format!("{value:?}");
            to.write_str(&sentence.trim_end().replace('\n', "; "))
        }
        _ => Ok(()),
    }
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
        _ => tracing::enabled!(Level::INFO),
    };
    if !enabled {
        return;
    }
    let fields = Fields::of(told);
    let sentence = sentence(event, told);
    match level {
        Level::ERROR => write_record!(Level::ERROR, fields, sentence),
        Level::WARN => write_record!(Level::WARN, fields, sentence),
        _ => write_record!(Level::INFO, fields, sentence),
    }
}

/// Records that somebody was refused a call, or without a method the connection.
pub(super) fn denied(method: Option<&str>, peer: &Peer, why: &str) {
    let what = method.unwrap_or("a connection");
    let (uid, gid) = (peer.uid.as_raw(), peer.gid.as_raw());
    let pid = peer.pid.map(nix::unistd::Pid::as_raw);
    let who = match pid {
        Some(pid) => format!("the user with uid {uid} (pid {pid})"),
        None => format!("the user with uid {uid}"),
    };
    tracing::warn!(
        MESSAGE_ID = action::DENIED.id,
        CIRCUS_METHOD = method,
        CIRCUS_PEER_PID = pid,
        CIRCUS_PEER_UID = uid,
        CIRCUS_PEER_GID = gid,
        "circusd: {what} is denied to {who}: {why}"
    );
}

/// What the journal keeps of an event beside its sentence, as far as it applies.
#[derive(Debug, Default)]
struct Fields<'a> {
    message_id: Option<&'static str>,
    action: &'a str,
    seq: u64,
    watcher: Option<&'a str>,
    wid: Option<u64>,
    pid: Option<u64>,
    hook: Option<&'a str>,
    hook_result: Option<&'static str>,
    exit_cause: Option<&'a str>,
    exit_status: Option<i64>,
}

impl Fields<'_> {
    fn of(told: &types::Event) -> Fields<'_> {
        let of = match told.watcher {
            Some(_) => Of::Watcher,
            None => Of::Daemon,
        };
        let data = &told.data;
        let hook_result = match (told.action.as_str(), data.get("result")) {
            ("hook_failure", _) => Some("failure"),
            (_, Some(Json::Bool(true))) => Some("true"),
            (_, Some(Json::Bool(false))) => Some("false"),
            _ => None,
        };
        let exit = data.get("exit");
        Fields {
            message_id: action::find(of, &told.action).map(|action| action.message.id),
            action: &told.action,
            seq: told.seq,
            watcher: told.watcher.as_deref(),
            wid: data.get("wid").and_then(Json::as_u64),
            pid: data.get("process_pid").and_then(Json::as_u64),
            hook: hook_result.and(data.get("name")).and_then(Json::as_str),
            hook_result,
            exit_cause: exit.and_then(|exit| exit["cause"].as_str()),
            exit_status: exit.and_then(|exit| exit["status"].as_i64()),
        }
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
        EventKind::Announced(Announcement::ConfigError { .. }) => Level::ERROR,
        EventKind::Announced(Announcement::HookAnswered {
            answer: HookAnswer::Failed(_),
            ..
        }) => Level::WARN,
        EventKind::Spawn { .. }
        | EventKind::Ready { .. }
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
            child,
            signal,
            by,
        } => {
            let child = child.map_or(String::new(), |child| format!("pid {child} below "));
            format!(
                "sent {} to {child}process {wid} (pid {pid}): {}",
                convert::signal_name(*signal),
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
        EventKind::HookSuccess {
            hook,
            result: false,
            reason: Some(reason),
            ..
        } => format!("hook {} says false: {reason}", hook.as_str()),
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

fn announced(news: &Announcement) -> String {
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
        Announcement::Notice { name, .. } => format!("notice: {name}"),
        Announcement::HookAnswered { hook, answer, .. } => match answer {
            HookAnswer::True => format!("hook {hook} says true"),
            HookAnswer::False(reason) => format!("hook {hook} says false: {reason}"),
            HookAnswer::Failed(error) => format!("hook {hook} failed: {error}"),
        },
    }
}
