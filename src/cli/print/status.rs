//! The state of watchers: a line for each, or the whole of those that were named.

use serde_json::Error;

use super::columns::{columns, table};
use super::{View, lines, printable, read, words};
use crate::api::reply;
use crate::api::types::{Process, ProcessState, Watcher, WatcherState};
use crate::cli::command::Parameters;

const HEADER: [&str; 5] = ["WATCHER", "STATE", "PROCESSES", "RESTARTS", "AGE"];

/// A table of all watchers; in full, those that were named.
pub fn status(reply: &Parameters, view: &View<'_>) -> Result<String, Error> {
    let watchers = read::<reply::Status>(reply)?.watchers;
    if watchers.is_empty() {
        return Ok("no watchers\n".to_owned());
    }
    Ok(match view.given("watchers") {
        true => watchers.iter().map(|watcher| full(watcher, view)).collect(),
        false => overview(&watchers, view),
    })
}

/// What `Explain` tells, as it tells it.
pub fn story(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    let text = read::<reply::Explain>(reply)?.text;
    Ok(lines(text.lines().map(printable)))
}

fn overview(watchers: &[Watcher], view: &View<'_>) -> String {
    let rows = watchers.iter().map(|watcher| row(watcher, view)).collect();
    let left = columns(&HEADER, &["RESTARTS"], rows);
    // Pids come last and are as many as they are, so they are set behind the aligned columns.
    let indent = left
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0)
        + 2;
    let mut text = format!("{:indent$}PIDS\n", left[0]);
    for (line, watcher) in left[1..].iter().zip(watchers) {
        let room = view
            .width
            .map(|width| usize::from(width).saturating_sub(indent));
        let line = format!("{line:indent$}{}", pids(&watcher.processes, room));
        text.push_str(line.trim_end());
        text.push('\n');
        text.push_str(&notes(watcher, view, "    "));
    }
    text
}

fn row(watcher: &Watcher, view: &View<'_>) -> Vec<String> {
    vec![
        watcher.name.clone(),
        state(watcher),
        format!("{}/{}", ready(watcher), watcher.numprocesses),
        watcher.restarts.to_string(),
        match watcher
            .processes
            .iter()
            .map(|process| process.started_usec)
            .min()
        {
            None => "-".to_owned(),
            Some(oldest) => words::duration(view.now_usec.saturating_sub(oldest)),
        },
    ]
}

fn full(watcher: &Watcher, view: &View<'_>) -> String {
    let mut text = lines([format!(
        "{}: {}, {} of {} processes ready, {} restarts",
        watcher.name,
        state(watcher),
        ready(watcher),
        watcher.numprocesses,
        watcher.restarts,
    )]);
    text.push_str(&notes(watcher, view, "  "));
    if watcher.processes.is_empty() {
        return text;
    }
    let rows = watcher
        .processes
        .iter()
        .map(|process| process_row(process, view))
        .collect();
    let header = ["WID", "PID", "STATE", "AGE", ""];
    for line in table(&header, &["WID", "PID"], rows).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn process_row(process: &Process, view: &View<'_>) -> Vec<String> {
    let state = match process.state {
        ProcessState::Spawning => "spawning",
        ProcessState::Starting => "starting",
        ProcessState::Running => "running",
        ProcessState::Stopping => "stopping",
    };
    vec![
        process.wid.to_string(),
        process.pid.to_string(),
        state.to_owned(),
        words::duration(view.now_usec.saturating_sub(process.started_usec)),
        process.status_text.clone().unwrap_or_default(),
    ]
}

/// Why the watcher is not simply running, and how its last process ended if nobody asked it to.
fn notes(watcher: &Watcher, view: &View<'_>, indent: &str) -> String {
    let reason = watcher.reason.as_ref().map(|reason| {
        let next = reason.next_attempt_usec;
        let next = next.map(|next| format!("; {}", words::again(next, view.now_usec)));
        format!("{}{}", reason.text, next.unwrap_or_default())
    });
    let unexpected = watcher.last_exit.as_ref().filter(|exit| !exit.expected);
    let exit = unexpected.map(|exit| {
        format!(
            "last exit: {}, {} (wid {}, pid {}, ran {})",
            words::exit(exit),
            words::ago(exit.time_usec, view.now_usec),
            exit.wid,
            exit.pid,
            words::duration(exit.runtime_usec),
        )
    });
    reason
        .into_iter()
        .chain(exit)
        .map(|note| format!("{indent}{}\n", printable(&note)))
        .collect()
}

fn state(watcher: &Watcher) -> String {
    let state = match watcher.state {
        WatcherState::Stopped => "stopped",
        WatcherState::Starting => "starting",
        WatcherState::Active => "active",
        WatcherState::Reloading => "reloading",
        WatcherState::Stopping => "stopping",
        WatcherState::Waiting => "waiting",
        WatcherState::Failed => "failed",
    };
    match watcher.frozen {
        true => format!("{state}, frozen"),
        false => state.to_owned(),
    }
}

fn ready(watcher: &Watcher) -> usize {
    let processes = watcher.processes.iter();
    processes
        .filter(|process| process.state == ProcessState::Running)
        .count()
}

/// As many pids as have `room`, and how many there are besides; all of them where there is no
/// limit.
fn pids(processes: &[Process], room: Option<usize>) -> String {
    let pids: Vec<_> = processes
        .iter()
        .map(|process| process.pid.to_string())
        .collect();
    let all = pids.join(" ");
    let Some(room) = room.filter(|room| all.len() > *room) else {
        return all;
    };
    // One pid is shown even where there is room for none.
    let fits = |shown: &usize| short(&pids, *shown).len() <= room;
    let shown = (1..pids.len()).rev().find(fits).unwrap_or(1);
    short(&pids, shown)
}

fn short(pids: &[String], shown: usize) -> String {
    match pids.len() - shown {
        0 => pids.join(" "),
        rest => format!("{} +{rest}", pids[..shown].join(" ")),
    }
}
