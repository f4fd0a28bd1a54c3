//! One watcher told as a story: its state, why, what happens next, and how its processes ended.

use std::time::Duration;

use super::convert::Seen;
use crate::core::{Cause, Exit, FailedReload, ProcessState, Time, Watcher, WatcherState, WorkerId};

/// The story at `now`, a sentence a line; `lacking` is what the watcher is not held to although it asks
/// for it, `streams` what there is to say about its output, and `seen` what a process says of itself.
pub(super) fn story(
    watcher: &Watcher,
    lacking: &[String],
    streams: &[String],
    now: Time,
    seen: impl Fn(WorkerId) -> Seen,
) -> String {
    let mut lines = vec![state(watcher)];
    lines.extend(why(watcher, now));
    lines.extend(watcher.failed_reload().map(|failed| reload(failed, now)));
    lines.push(next(watcher, now));
    lines.extend(
        lacking
            .iter()
            .map(|lack| format!("It goes on without {lack}.")),
    );
    lines.extend(watcher.workers().flat_map(|worker| {
        let pid = worker.pid().unwrap_or_default();
        let process = format!("Process {} (pid {pid})", worker.wid());
        let unready = (worker.not_ready()).map(|why| format!("{process} is not ready: {why}."));
        let seen = seen(worker.id());
        let departing = seen
            .departing
            .then(|| format!("{process} says that it is on its way out."));
        let said = (seen.status_text).map(|text| format!("{process} says: {text}"));
        unready.into_iter().chain(departing).chain(said)
    }));
    let leaving = watcher
        .workers()
        .filter(|worker| worker.state() == ProcessState::Stopping);
    lines.extend(leaving.filter_map(|worker| {
        let (wid, pid) = (worker.wid(), worker.pid()?);
        let left = worker.kill_at()?.since(now);
        let left = match left.is_zero() {
            true => "being killed".to_owned(),
            false => format!("killed in {} if it has not ended by then", seconds(left)),
        };
        Some(format!(
            "Process {wid} (pid {pid}) was told to end, and is {left}."
        ))
    }));
    lines.extend(streams.iter().cloned());
    lines.extend(watcher.exits().rev().map(|exit| end(exit, now)));
    lines.join("\n")
}

fn state(watcher: &Watcher) -> String {
    let word = match watcher.state() {
        WatcherState::Stopped => "stopped",
        WatcherState::Starting => "starting",
        WatcherState::Active => "active",
        WatcherState::Reloading => "being reloaded",
        WatcherState::Stopping => "stopping",
        WatcherState::Waiting => "waiting",
        WatcherState::Failed => "failed",
    };
    let ready = watcher
        .workers()
        .filter(|w| w.state() == ProcessState::Running)
        .count();
    let frozen = if watcher.frozen() { ", and frozen" } else { "" };
    let (name, target) = (&watcher.spec().name, watcher.target());
    format!("{name} is {word}{frozen}; {ready} of {target} processes are ready.")
}

fn why(watcher: &Watcher, now: Time) -> Option<String> {
    let reason = watcher.reason()?;
    let ago = seconds(now.since(reason.since));
    Some(format!("Why: {}; since {ago} ago.", reason.text))
}

fn reload(failed: &FailedReload, now: Time) -> String {
    let ago = seconds(now.since(failed.at));
    let kept = match failed.kept {
        0 => "no old process was left".to_owned(),
        1 => "1 old process was kept".to_owned(),
        number => format!("{number} old processes were kept"),
    };
    let text = &failed.text;
    format!("The last reload failed {ago} ago, and {kept}: {text}.")
}

fn next(watcher: &Watcher, now: Time) -> String {
    if let Some(name) = watcher.waits_for() {
        return format!("Next: it starts by itself when {name} is ready.");
    }
    if watcher.frozen() {
        return "Next: nothing until somebody thaws it.".into();
    }
    let reason = watcher.reason();
    let again = reason.as_ref().and_then(|reason| reason.next_attempt);
    let cause = reason.map(|reason| reason.cause);
    match (watcher.state(), again, cause) {
        (_, Some(at), _) => {
            format!(
                "Next: circusd tries again by itself in {}.",
                seconds(at.since(now))
            )
        }
        (WatcherState::Waiting, None, _) if is_tried(watcher) => {
            "Next: an attempt is under way; it is done when all its processes are ready.".into()
        }
        (WatcherState::Active, None, None) => {
            "Next: nothing; a process that ends is replaced as its settings say.".into()
        }
        (WatcherState::Starting | WatcherState::Reloading, ..) => {
            "Next: it is done when all its processes are ready.".into()
        }
        (WatcherState::Stopped, _, Some(Cause::OnDemand)) => {
            "Next: it starts at the first connection to one of its sockets.".into()
        }
        (WatcherState::Stopping, ..) => "Next: it is stopped when nothing of it is left.".into(),
        (WatcherState::Waiting, _, Some(Cause::Dependency)) => {
            "Next: it starts when those before it have settled.".into()
        }
        _ => "Next: nothing until somebody starts, restarts or reloads it.".into(),
    }
}

/// Whether a process is on its way to be ready.
fn is_tried(watcher: &Watcher) -> bool {
    watcher.workers().any(|worker| match worker.state() {
        ProcessState::Spawning | ProcessState::Starting => true,
        ProcessState::Running | ProcessState::Stopping => false,
    })
}

fn end(exit: &Exit, now: Time) -> String {
    let how = match (exit.forced, exit.expected) {
        (Some(_), _) => "",
        (None, true) => " as it was told to",
        (None, false) => " by itself",
    };
    let (ago, ran) = (seconds(now.since(exit.time)), seconds(exit.runtime));
    let (wid, pid) = (exit.wid, exit.pid);
    format!("{ago} ago process {wid} (pid {pid}) {exit}{how}; it had run for {ran}.")
}

/// To a tenth of a second, and no more exactly than that.
fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min", duration.as_secs() / 60),
        3600.. => format!("{} h", duration.as_secs() / 3600),
    }
}
