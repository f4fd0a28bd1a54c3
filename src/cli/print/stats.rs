//! What processes and the daemon use.

use std::iter;

use serde_json::Error;

use super::columns::columns;
use super::{View, read, words};
use crate::api::reply;
use crate::api::types::{DescendantStats, Object, ProcessStats};
use crate::cli::command::Parameters;

const HEADER: [&str; 13] = [
    "WATCHER", "WID", "PID", "STATE", "AGE", "CPU%", "CPU", "MEMORY", "TREE", "TASKS", "FDS",
    "READ", "WRITTEN",
];

/// One sample, a process on each line.
pub fn stats(reply: &Parameters, view: &View<'_>) -> Result<String, Error> {
    let processes = read::<reply::Stats>(reply)?.processes;
    let rows = processes.iter().flat_map(rows).collect();
    let right: Vec<_> = HEADER
        .into_iter()
        .filter(|name| !["WATCHER", "STATE"].contains(name))
        .collect();
    let mut lines = columns(&HEADER, &right, rows).into_iter();
    let mut text: String = lines.by_ref().take(1).map(|line| line + "\n").collect();
    for process in &processes {
        text.extend(lines.by_ref().take(1).map(|line| line + "\n"));
        text.extend(process.extended.iter().map(extended));
        let below = lines.by_ref().take(below(process).len());
        text.extend(below.map(|line| line + "\n"));
    }
    if view.given("interval") {
        text.push('\n');
    }
    Ok(text)
}

/// What the hook of the watcher knows of the process, on a line of its own.
fn extended(figures: &Object) -> String {
    let figures = words::members(figures);
    format!("   {}\n", super::printable(&figures))
}

/// Those below it that are shown.
fn below(process: &ProcessStats) -> &[DescendantStats] {
    process.descendants.as_deref().unwrap_or_default()
}

/// The row of a process and those of whoever is below it.
fn rows(process: &ProcessStats) -> Vec<Vec<String>> {
    let below = below(process).iter();
    let below = below.map(|child| row_of_child(process, child));
    iter::once(row(process)).chain(below).collect()
}

/// Beside the first columns there is nothing that is asked about each of them.
fn row_of_child(of: &ProcessStats, child: &DescendantStats) -> Vec<String> {
    let mut row = vec![
        of.watcher.clone(),
        of.wid.to_string(),
        child.pid.to_string(),
        "child".to_owned(),
        words::duration(child.age_usec),
        or_dash(child.cpu_percent.map(percent)),
        words::duration(child.cpu_usec),
        words::size(child.memory_rss),
    ];
    row.resize(HEADER.len(), or_dash(None));
    row
}

fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

fn percent(of_one_cpu: f64) -> String {
    format!("{of_one_cpu:.1}")
}

fn row(process: &ProcessStats) -> Vec<String> {
    vec![
        process.watcher.clone(),
        process.wid.to_string(),
        process.pid.to_string(),
        process.state.clone(),
        words::duration(process.age_usec),
        or_dash(process.cpu_percent.map(percent)),
        words::duration(process.cpu_usec),
        words::size(process.memory_rss),
        or_dash(process.memory_current.map(words::size)),
        process.tasks.to_string(),
        or_dash(process.fds.map(|fds| fds.to_string())),
        or_dash(process.io_read_bytes.map(words::size)),
        or_dash(process.io_write_bytes.map(words::size)),
    ]
}

/// The daemon's figures, one on a line.
pub fn daemon_stats(reply: &Parameters, view: &View<'_>) -> Result<String, Error> {
    let stats = read::<reply::DaemonStats>(reply)?.stats;
    let figures = [
        ("pid", stats.pid.to_string()),
        ("version", stats.version),
        ("user id", stats.uid.to_string()),
        ("service", stats.unit.unwrap_or_else(|| "-".to_owned())),
        (
            "running for",
            words::duration(view.now_usec.saturating_sub(stats.started_usec)),
        ),
        ("cpu time", words::duration(stats.cpu_usec)),
        ("memory (rss)", words::size(stats.memory_rss)),
        ("memory (pss)", words::size(stats.memory_pss)),
        ("descriptors", stats.fds.to_string()),
        ("watchers", stats.watchers.to_string()),
        ("processes", stats.processes.to_string()),
        ("connections", stats.connections.to_string()),
        ("subscribers", stats.subscribers.to_string()),
        ("events so far", stats.events_total.to_string()),
        ("spawns so far", stats.spawns_total.to_string()),
        ("requests so far", stats.requests_total.to_string()),
        ("capabilities", capabilities(stats.capabilities)),
    ];
    let line = |(name, value): (&str, String)| format!("{name:17}{}\n", super::printable(&value));
    Ok(figures.into_iter().map(line).collect())
}

fn capabilities(kept: Option<Vec<String>>) -> String {
    match kept {
        None => "-".to_owned(),
        Some(kept) if kept.is_empty() => "none".to_owned(),
        Some(kept) => kept.join(" "),
    }
}
