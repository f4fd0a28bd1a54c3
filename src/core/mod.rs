//! What should happen: facts in, actions out.
//!
//! Nothing in here knows a clock, a file, a pid's meaning or another room.

mod action;
mod commands;
mod context;
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
mod shutdown;
mod signals;
#[cfg(test)]
mod sim;
mod spec;
mod supervisor;
#[cfg(test)]
mod tests;
mod time;
mod timers;
mod watcher;
mod waves;
mod worker;

pub use action::{Action, Change, Effect, ExitReason, Progress, Refusal, Reply};
pub use event::{By, Cause, Event, EventKind, Exit, Reason};
pub use ids::{HookId, RequestId, SignalId, WorkerId};
pub use input::{
    Announcement, Command, ExitStatus, HookAnswer, Input, Recipients, Request, Scale, Shutdown,
    SpawnFailure, Who,
};
pub use spec::{
    Backoff, Flapping, Hook, HookSpec, Limits, Name, Readiness, ReloadMode, Restart, Revision,
    WatcherSpec,
};
pub use supervisor::Supervisor;
pub use time::Time;
pub use watcher::{Watcher, WatcherState};
pub use worker::{ProcessState, Worker};
