//! Events, from core's words to those of the API.

use std::time::Duration;

use serde_json::json;

use super::{exit, exit_code, pids};
use crate::api::types;
use crate::core::{self, Announcement, EventKind, Fault, HookAnswer, Name};
use crate::server::clock::{Clock, micros, wall_usec};

/// An event, for the API, with the word for its action.
pub(in crate::server) fn event(
    event: &core::Event,
    cursor: String,
    clock: &Clock,
) -> (types::Event, &'static str) {
    let (action, data) = event_data(&event.kind, clock);
    let watcher = event.watcher.as_ref().map(Name::to_string);
    let topic = match &watcher {
        Some(name) => format!("watcher.{name}.{action}"),
        None => format!("circusd.{action}"),
    };
    let data = match data {
        serde_json::Value::Object(data) => data,
        _ => types::Object::new(),
    };
    let event = types::Event {
        cursor,
        seq: event.seq,
        time_usec: wall_usec(),
        topic,
        watcher,
        action: action.to_owned(),
        data,
    };
    (event, action)
}

pub(super) fn event_data(kind: &EventKind, clock: &Clock) -> (&'static str, serde_json::Value) {
    match kind {
        EventKind::Spawn {
            pid,
            wid,
            generation,
        } => (
            "spawn",
            json!({"process_pid": pid, "wid": wid, "generation": generation}),
        ),
        EventKind::Ready { pid, wid, after } => (
            "ready",
            json!({"process_pid": pid, "wid": wid, "after_usec": micros(*after)}),
        ),
        EventKind::Reap {
            pid,
            wid,
            exit: end,
        } => (
            "reap",
            json!({
                "process_pid": pid,
                "wid": wid,
                "exit_code": exit_code(end.status),
                "exit": exit(end, clock),
            }),
        ),
        EventKind::Kill {
            pid,
            wid,
            child,
            signal,
            by,
        } => {
            let mut data = json!({
                "process_pid": pid,
                "wid": wid,
                "signum": signal,
                "signal": signal_name(*signal),
                "by": by.as_str(),
            });
            if let Some(child) = child {
                data["child_pid"] = json!(child);
            }
            ("kill", data)
        }
        EventKind::SpawnFailed { wid, failure } => (
            "spawn_failed",
            json!({
                "wid": wid,
                "stage": failure.stage,
                "errno": failure.errno,
                "error": failure.error,
            }),
        ),
        EventKind::Start { pids, duration } => ("start", reached(pids, *duration)),
        EventKind::Stop { pids, duration } => ("stop", reached(pids, *duration)),
        EventKind::Reload { pids, duration } => ("reload", reached(pids, *duration)),
        EventKind::Updated { keys, origin } => {
            ("updated", json!({"keys": keys, "origin": origin.as_str()}))
        }
        EventKind::Add => ("add", json!({})),
        EventKind::Remove => ("remove", json!({})),
        EventKind::HookSuccess {
            hook,
            result,
            reason,
            duration,
            process,
        } => {
            let mut data = json!({
                "name": hook.as_str(),
                "result": result,
                "duration_usec": micros(*duration),
            });
            about(&mut data, process, "reason", reason.as_deref());
            ("hook_success", data)
        }
        EventKind::HookFailure {
            hook,
            error,
            duration,
            process,
        } => {
            let mut data = json!({"name": hook.as_str(), "duration_usec": micros(*duration)});
            about(&mut data, process, "error", Some(error));
            ("hook_failure", data)
        }
        EventKind::Flapping {
            wid,
            attempts,
            window,
            retry_in,
        } => (
            "flapping",
            json!({
                "wid": wid,
                "attempts": attempts,
                "window_usec": micros(*window),
                "retry_in_usec": micros(*retry_in),
            }),
        ),
        EventKind::GaveUp { wid, attempts } => {
            ("gave_up", json!({"wid": wid, "attempts": attempts}))
        }
        EventKind::Adopt { pid, wid } => ("adopt", json!({"process_pid": pid, "wid": wid})),
        EventKind::Oom {
            pid,
            wid,
            peak,
            limit,
        } => (
            "oom",
            json!({
                "process_pid": pid,
                "wid": wid,
                "memory_peak": peak,
                "memory_max": limit,
            }),
        ),
        EventKind::Unfit {
            pid,
            wid,
            fault,
            error,
        } => {
            let action = match fault {
                Fault::Watchdog => "watchdog",
                Fault::Health => "health",
            };
            (
                action,
                json!({"process_pid": pid, "wid": wid, "error": error}),
            )
        }
        EventKind::Freeze => ("freeze", json!({})),
        EventKind::Thaw => ("thaw", json!({})),
        EventKind::DaemonReady => ("ready", json!({})),
        EventKind::DaemonStopping => ("stopping", json!({})),
        EventKind::Announced(news) => announced(news),
    }
}

fn announced(news: &Announcement) -> (&'static str, serde_json::Value) {
    match news {
        Announcement::Notice { name, data, .. } => {
            let data: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
            ("notice", json!({"name": name, "data": data}))
        }
        Announcement::Reloading => ("reloading", json!({})),
        Announcement::ConfigChanged { watchers } => {
            ("config_changed", json!({"watchers": watchers}))
        }
        Announcement::ConfigError {
            error,
            file,
            line,
            column,
        } => (
            "config_error",
            json!({"error": error, "file": file, "line": line, "column": column}),
        ),
        Announcement::HookAnswered {
            hook,
            answer,
            duration,
            process,
            ..
        } => {
            let mut data = json!({"name": hook, "duration_usec": micros(*duration)});
            let (action, key, text) = match answer {
                HookAnswer::True => ("hook_success", "reason", None),
                HookAnswer::False(reason) => ("hook_success", "reason", Some(reason)),
                HookAnswer::Failed(error) => ("hook_failure", "error", Some(error)),
            };
            if action == "hook_success" {
                data["result"] = json!(*answer == HookAnswer::True);
            }
            let process = process.map(|(wid, pid)| (wid, Some(pid)));
            about(&mut data, &process, key, text.map(String::as_str));
            (action, data)
        }
    }
}

fn reached(list: &[i32], duration: Duration) -> serde_json::Value {
    json!({"pids": pids(list), "duration_usec": micros(duration)})
}

fn about(
    data: &mut serde_json::Value,
    process: &Option<(u32, Option<i32>)>,
    key: &str,
    text: Option<&str>,
) {
    if let Some(text) = text {
        data[key] = json!(text);
    }
    if let Some((wid, pid)) = process {
        data["wid"] = json!(wid);
        if let Some(pid) = pid {
            data["process_pid"] = json!(pid);
        }
    }
}

/// `SIGTERM` for 15; the number for one without a name.
pub(in crate::server) fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => signal.to_string(),
    }
}
