//! Between the words of core, of the configuration and of the API: the one file that knows all.

mod events;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::clock::{Clock, micros};
use crate::api::frame::{Reply, Terminator, encode};
use crate::api::types::{self, ExitCause, ReasonCause};
use crate::api::{self, reply};
use crate::config;
use crate::core::{
    self, Cause, ExitStatus, Name, Readiness, Refusal, ReloadMode, Restart, Revision, WatcherSpec,
    Who,
};

pub(super) use events::{event, signal_name};

/// The rules of a configured watcher, for core; `hooks` are those that somebody answers for.
pub(super) fn spec(
    watcher: &config::Watcher,
    revision: Revision,
    hooks: BTreeMap<core::Hook, core::HookSpec>,
) -> WatcherSpec {
    let restart = match (watcher.respawn, watcher.restart) {
        (false, _) | (_, config::Restart::Never) => Restart::Never,
        (true, config::Restart::Always) => Restart::Always,
        (true, config::Restart::OnFailure) => Restart::OnFailure,
    };
    WatcherSpec {
        name: Name::from(watcher.name.as_str()),
        revision,
        numprocesses: numprocesses(watcher.numprocesses),
        singleton: watcher.singleton,
        priority: watcher.priority,
        after: names(&watcher.after),
        requires: names(&watcher.requires),
        autostart: watcher.autostart,
        on_demand: watcher.on_demand,
        warmup_delay: watcher.warmup_delay,
        graceful_timeout: watcher.graceful_timeout,
        stop_signal: watcher.stop_signal.number(),
        stop_children: watcher.stop_children,
        send_hup: watcher.send_hup,
        reload: match watcher.reload {
            config::ReloadOrder::NewFirst => ReloadMode::NewFirst,
            config::ReloadOrder::Sequential => ReloadMode::Sequential,
        },
        restart,
        success_exit_status: watcher
            .success_exit_status
            .iter()
            .map(|code| (*code).into())
            .collect(),
        max_retry: retries(watcher.max_retry),
        backoff: watcher.backoff.as_ref().map(|backoff| core::Backoff {
            initial: backoff.initial,
            factor: backoff.factor,
            max: backoff.max,
            jitter: backoff.jitter,
            reset_after: backoff.reset_after,
        }),
        flapping: watcher.flapping.as_ref().map(|flapping| core::Flapping {
            attempts: flapping.attempts,
            window: flapping.window,
            retry_in: flapping.retry_in,
            max_retry: retries(flapping.max_retry),
        }),
        max_age: (!watcher.max_age.is_zero()).then_some(watcher.max_age),
        max_age_variance: watcher.max_age_variance,
        ready: match watcher.ready {
            config::Ready::Spawn => Readiness::Spawn,
        },
        watchdog: None,
        health: false,
        max_requests: None,
        critical: watcher.critical,
        hooks,
    }
}

fn names(watchers: &config::WatcherNames) -> Vec<Name> {
    let names = watchers.0.iter();
    names.map(|name| Name::from(name.as_str())).collect()
}

/// `auto` is the number of CPUs that the daemon may use: affinity and quota count.
pub(super) fn numprocesses(number: config::NumProcesses) -> u32 {
    match number {
        config::NumProcesses::Count(count) => count,
        config::NumProcesses::Auto => std::thread::available_parallelism()
            .map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
    }
}

fn retries(retries: config::Retries) -> Option<u32> {
    match retries {
        config::Retries::Times(times) => Some(times),
        config::Retries::Unlimited => None,
    }
}

/// The limits of a configuration, for core.
pub(super) fn limits(circusd: &config::Circusd) -> core::Limits {
    core::Limits {
        warmup_delay: circusd.warmup_delay,
        stop_timeout: circusd.stop_timeout,
        watchers_max: circusd.watchers_max as usize,
        processes_max: circusd.processes_max as usize,
    }
}

/// A watcher as `Status` tells it.
pub(super) fn watcher(
    watcher: &core::Watcher,
    clock: &Clock,
    cgroup: impl Fn(core::WorkerId) -> Option<String>,
) -> types::Watcher {
    let spec = watcher.spec();
    types::Watcher {
        name: spec.name.to_string(),
        state: watcher_state(watcher.state()),
        numprocesses: watcher.target() as u64,
        processes: watcher
            .workers()
            .filter_map(|worker| process(worker, clock, cgroup(worker.id())))
            .collect(),
        priority: spec.priority.into(),
        singleton: spec.singleton,
        frozen: watcher.frozen(),
        reason: watcher.reason().map(|why| reason(&why, clock)),
        restarts: watcher.restarts(),
        last_exit: watcher.exits().next_back().map(|end| exit(end, clock)),
    }
}

/// A process that has a pid; before that there is nothing to tell.
fn process(worker: &core::Worker, clock: &Clock, cgroup: Option<String>) -> Option<types::Process> {
    Some(types::Process {
        wid: worker.wid().into(),
        pid: pid(worker.pid()?),
        state: match worker.state() {
            core::ProcessState::Spawning => types::ProcessState::Spawning,
            core::ProcessState::Starting => types::ProcessState::Starting,
            core::ProcessState::Running => types::ProcessState::Running,
            core::ProcessState::Stopping => types::ProcessState::Stopping,
        },
        started_usec: clock.wall_usec(worker.started()),
        ready_usec: worker.ready().map(|at| clock.wall_usec(at)),
        generation: worker.generation(),
        adopted: worker.adopted(),
        status_text: None,
        cgroup,
    })
}

/// The state's word in the API.
pub(super) fn watcher_state(state: core::WatcherState) -> types::WatcherState {
    match state {
        core::WatcherState::Stopped => types::WatcherState::Stopped,
        core::WatcherState::Starting => types::WatcherState::Starting,
        core::WatcherState::Active => types::WatcherState::Active,
        core::WatcherState::Reloading => types::WatcherState::Reloading,
        core::WatcherState::Stopping => types::WatcherState::Stopping,
        core::WatcherState::Waiting => types::WatcherState::Waiting,
        core::WatcherState::Failed => types::WatcherState::Failed,
    }
}

fn reason(reason: &core::Reason, clock: &Clock) -> types::Reason {
    types::Reason {
        cause: match reason.cause {
            Cause::Operator => ReasonCause::Operator,
            Cause::AutostartOff => ReasonCause::AutostartOff,
            Cause::OnDemand => ReasonCause::OnDemand,
            Cause::HookRefused => ReasonCause::HookRefused,
            Cause::HookFailed => ReasonCause::HookFailed,
            Cause::SpawnFailed => ReasonCause::SpawnFailed,
            Cause::Flapping => ReasonCause::Flapping,
            Cause::GaveUp => ReasonCause::GaveUp,
            Cause::Dependency => ReasonCause::Dependency,
            Cause::Finished => ReasonCause::Finished,
        },
        text: reason.text.clone(),
        since_usec: clock.wall_usec(reason.since),
        next_attempt_usec: reason.next_attempt.map(|at| clock.wall_usec(at)),
    }
}

/// An end as the API tells it.
pub(super) fn exit(exit: &core::Exit, clock: &Clock) -> types::Exit {
    let (cause, status) = match exit.status {
        ExitStatus::Exited(code) => (ExitCause::Exited, Some(code)),
        ExitStatus::Signaled(signal) => (ExitCause::Signaled, Some(signal)),
        ExitStatus::Dumped(signal) => (ExitCause::Dumped, Some(signal)),
        ExitStatus::Unknown => (ExitCause::Unknown, None),
    };
    types::Exit {
        wid: exit.wid.into(),
        pid: pid(exit.pid),
        time_usec: clock.wall_usec(exit.time),
        runtime_usec: micros(exit.runtime),
        cause: match exit.forced {
            None | Some(core::Forced::Health) => cause,
            Some(core::Forced::Timeout) => ExitCause::Timeout,
            Some(core::Forced::Watchdog) => ExitCause::Watchdog,
            Some(core::Forced::OutOfMemory) => ExitCause::OomKill,
        },
        status,
        expected: exit.expected,
    }
}

/// The exit code as a shell would say it: 128+n for signal n.
pub(super) fn exit_code(status: ExitStatus) -> Option<i32> {
    match status {
        ExitStatus::Exited(code) => Some(code),
        ExitStatus::Signaled(signal) | ExitStatus::Dumped(signal) => Some(128 + signal),
        ExitStatus::Unknown => None,
    }
}

fn pid(pid: i32) -> u32 {
    u32::try_from(pid).unwrap_or(0)
}

fn pids(pids: &[i32]) -> Vec<u32> {
    pids.iter().copied().map(pid).collect()
}

/// What was done, for the API.
pub(super) fn changes(changes: Vec<core::Change>) -> Vec<types::Change> {
    changes
        .into_iter()
        .map(|change| types::Change {
            watcher: change.watcher.to_string(),
            started: pids(&change.started),
            stopped: pids(&change.stopped),
            kept: pids(&change.kept),
        })
        .collect()
}

/// How far a request is, for the API.
pub(super) fn progress(progress: core::Progress) -> types::Progress {
    types::Progress {
        watcher: progress.watcher.to_string(),
        action: progress.action.to_owned(),
        done: progress.done.into(),
        total: progress.total.into(),
    }
}

/// What core grants, as the last reply to a call.
pub(super) fn reply(reply: core::Reply, terminator: Terminator) -> Vec<u8> {
    match reply {
        core::Reply::Changes(list) => {
            let (progress, changes) = (None, Some(changes(list)));
            encode(
                &Reply::last(reply::Changes { progress, changes }),
                terminator,
            )
        }
        core::Reply::Scaled {
            numprocesses,
            changes: list,
        } => {
            let (progress, changes) = (None, Some(changes(list)));
            let numprocesses = numprocesses.into();
            encode(
                &Reply::last(reply::Scale {
                    numprocesses,
                    progress,
                    changes,
                }),
                terminator,
            )
        }
        core::Reply::Pids(list) => {
            encode(&Reply::last(reply::Pids { pids: pids(&list) }), terminator)
        }
        core::Reply::Applied {
            effect,
            changes: list,
        } => {
            let effect = match effect {
                core::Effect::Live => types::Effect::Live,
                core::Effect::Reload => types::Effect::Reload,
            };
            let changes = Some(changes(list));
            encode(&Reply::last(reply::Set { effect, changes }), terminator)
        }
        core::Reply::Done => encode(&Reply::last(reply::Empty {}), terminator),
    }
}

/// A refusal, for the API.
pub(super) fn refusal(refusal: Refusal, clock: &Clock) -> api::Error {
    match refusal {
        Refusal::NoSuchWatcher(name) => api::Error::NoSuchWatcher {
            watcher: name.to_string(),
        },
        Refusal::WatcherExists(name) => api::Error::WatcherExists {
            watcher: name.to_string(),
        },
        Refusal::NoSuchProcess { watcher, who } => {
            let (wid, found_pid) = match who {
                Who::All => (None, None),
                Who::Wid(wid) => (Some(wid.into()), None),
                Who::Pid(number) => (None, Some(pid(number))),
            };
            api::Error::NoSuchProcess {
                watcher: watcher.to_string(),
                wid,
                pid: found_pid,
            }
        }
        Refusal::Singleton(name) => api::Error::Singleton {
            watcher: name.to_string(),
        },
        Refusal::StartFailed {
            watcher,
            reason: why,
        } => api::Error::StartFailed {
            watcher: watcher.to_string(),
            reason: reason(&why, clock),
        },
        Refusal::HookRefused {
            watcher,
            hook,
            reason,
        } => api::Error::HookRefused {
            watcher: watcher.to_string(),
            hook: hook.as_str().to_owned(),
            reason,
        },
        Refusal::HookFailed {
            watcher,
            hook,
            reason,
        } => api::Error::HookFailed {
            watcher: watcher.to_string(),
            hook: hook.as_str().to_owned(),
            reason,
        },
        Refusal::TooMany { what, limit } => api::Error::TooMany {
            what: what.to_owned(),
            limit: limit as u64,
        },
        Refusal::ShuttingDown => api::Error::ShuttingDown {},
    }
}
