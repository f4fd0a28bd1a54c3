//! The short replies: names, numbers, pids, and what a verb has done.

use serde_json::Error;

use super::columns::table;
use super::{View, lines, printable, read};
use crate::api::reply;
use crate::api::types::{Change, ConfigChange, ConfigChangeKind, Effect, Socket};
use crate::cli::command::Parameters;

/// For commands whose success is silent.
pub fn nothing(_: &Parameters, _: &View<'_>) -> Result<String, Error> {
    Ok(String::new())
}

/// The names of watchers.
pub fn names(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    Ok(lines(read::<reply::Names>(reply)?.watchers))
}

/// The names of all watchers, or the pids of those that were named.
pub fn list(reply: &Parameters, view: &View<'_>) -> Result<String, Error> {
    if !view.given("name") {
        return names(reply, view);
    }
    let watchers = read::<reply::Status>(reply)?.watchers;
    let processes = watchers.iter().flat_map(|watcher| &watcher.processes);
    Ok(lines(processes.map(|process| process.pid)))
}

/// How many watchers there are.
pub fn numwatchers(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    Ok(lines([read::<reply::Names>(reply)?.watchers.len()]))
}

/// How many processes there are, from `Status`, or shall be, from `Scale`.
pub fn numprocesses(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    if reply.contains_key("numprocesses") {
        return Ok(lines([read::<reply::Scale>(reply)?.numprocesses]));
    }
    let watchers = read::<reply::Status>(reply)?.watchers;
    let counts = watchers.iter().map(|watcher| watcher.processes.len());
    Ok(lines([counts.sum::<usize>()]))
}

/// The processes that got a signal.
pub fn pids(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    Ok(lines(read::<reply::Pids>(reply)?.pids))
}

/// The sockets, one on a line.
pub fn sockets(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    let sockets = read::<reply::ListSockets>(reply)?.sockets;
    let row = |socket: &Socket| {
        let fd = match (socket.fd, socket.from_manager) {
            (-1, _) => "-".to_owned(),
            (fd, false) => fd.to_string(),
            (fd, true) => format!("{fd} (from the service manager)"),
        };
        vec![
            socket.name.clone(),
            socket.address.clone(),
            socket.r#type.clone(),
            fd,
            joined(&socket.watchers),
        ]
    };
    let header = ["SOCKET", "ADDRESS", "TYPE", "FD", "WATCHERS"];
    Ok(table(&header, &[], sockets.iter().map(row).collect()))
}

/// What a verb has done to each watcher.
pub fn changes(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    Ok(match read::<reply::Changes>(reply)?.changes {
        None => "accepted\n".to_owned(),
        Some(changes) => lines(changes.iter().map(change)),
    })
}

/// What `set` meant for the running processes.
pub fn effect(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    let set = read::<reply::Set>(reply)?;
    Ok(match (set.effect, set.changes) {
        (Effect::Live, _) => "in force; no process was replaced\n".to_owned(),
        (Effect::Reload, None) => "accepted; the processes are being replaced\n".to_owned(),
        (Effect::Reload, Some(changes)) => lines(changes.iter().map(change)),
    })
}

fn change(change: &Change) -> String {
    let parts: Vec<_> = [("started", &change.started), ("stopped", &change.stopped)]
        .into_iter()
        .filter(|(_, pids)| !pids.is_empty())
        .map(|(verb, pids)| format!("{verb} {} ({})", pids.len(), joined(pids)))
        .collect();
    if parts.is_empty() {
        return format!("{}: no process was started or stopped", change.watcher);
    }
    format!("{}: {}", change.watcher, parts.join(", "))
}

fn joined<T: ToString>(things: &[T]) -> String {
    let words: Vec<_> = things.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// What a new configuration means, or meant, for each watcher that it touches.
pub fn config_changes(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    let changes = read::<reply::ConfigChanges>(reply)?.changes;
    let told = lines(changes.iter().filter_map(config_change));
    Ok(match told.is_empty() {
        true => "no watcher changes\n".to_owned(),
        false => told,
    })
}

fn config_change(change: &ConfigChange) -> Option<String> {
    let what = match change.change {
        ConfigChangeKind::Unchanged => return None,
        ConfigChangeKind::Add => "add",
        ConfigChangeKind::Remove => "remove",
        ConfigChangeKind::Live => "live",
        ConfigChangeKind::Reload => "reload",
    };
    Some(match change.keys.is_empty() {
        true => format!("{}: {what}", change.watcher),
        false => format!("{}: {what} ({})", change.watcher, joined(&change.keys)),
    })
}

/// Our version and the daemon's.
pub fn version(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    let stats = read::<reply::DaemonStats>(reply)?.stats;
    Ok(format!(
        "circusctl {}\ncircusd {} (pid {})\n",
        env!("CARGO_PKG_VERSION"),
        printable(&stats.version),
        stats.pid,
    ))
}
