//! What should happen: facts in, actions out.
//!
//! Nothing in here knows a clock, a file, a pid's meaning or another room.
//!
//! [`Supervisor::handle`] records what happened and then *reconciles*: for every watcher concerned
//! it compares what is wanted with what is, and asks for the difference. So there is no case for a
//! stop during a start, or for a hook that answers late; there are facts, and what follows from
//! them. The other file to begin with is `input.rs`, the closed list of all that can happen, with
//! `action.rs`, the closed list of all that can be asked for. The states of a watcher are drawn at
//! the top of `watcher.rs`, those of a process at the top of `worker.rs`.
//!
//! ```text
//! supervisor.rs   where every input arrives
//! commands.rs     what is asked, checked and turned into wishes; operate.rs into errands
//! watcher.rs      one watcher; phases.rs takes the next step from what is to what is wanted
//! specs.rs        watchers that come, go and change
//! pool.rs         keeps a pool at its size; births.rs makes its processes, replace.rs replaces all of it
//! worker.rs       one process; place.rs the history of its place
//! vitals.rs       what a process shows of itself: readiness, watchdog, health
//! endings.rs      what the end of a process means: back-off, flapping, giving up
//! signals.rs      stop, kill and signal
//! waves.rs        who comes before whom by priority, dependencies.rs by name
//! requests.rs     who waits for an answer; shutdown.rs the end of everything
//! saved.rs        what the next supervisor needs to go on
//! context.rs      what all share: time, timers, events, actions to come
//! sim/            random worlds, in which what must hold is checked after every step
//! ```

mod action;
mod births;
mod commands;
mod context;
mod dependencies;
mod endings;
mod event;
mod ids;
mod input;
mod operate;
mod phases;
mod place;
mod pool;
mod replace;
mod requests;
mod saved;
mod shutdown;
mod signals;
#[cfg(test)]
mod sim;
mod spec;
mod specs;
mod supervisor;
#[cfg(test)]
mod tests;
mod time;
mod timers;
mod vitals;
mod watcher;
mod waves;
mod worker;

pub use action::{Action, Change, Effect, ExitReason, Probe, Progress, Refusal, Reply};
pub use event::{By, Cause, Event, EventKind, Exit, Forced, Origin, Reason};
pub use ids::{HookId, RequestId, SignalId, WorkerId};
pub use input::{
    Announcement, Command, ExitStatus, Fault, HookAnswer, Input, Recipients, Request, Scale,
    Shutdown, SpawnFailure, Who,
};
pub use replace::FailedReload;
pub use saved::{Saved, SavedWatcher, SavedWorker, Unsaved};
pub use spec::{
    Backoff, Flapping, Hook, HookSpec, Limits, Name, Readiness, ReloadMode, Restart, Revision,
    WatcherSpec,
};
pub use supervisor::Supervisor;
pub use time::Time;
pub use watcher::{Watcher, WatcherState};
pub use worker::{ProcessState, Worker};
