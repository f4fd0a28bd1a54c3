//! Makes it so: the daemon's loop, its connections, its processes.
//!
//! The only room that waits. One thread, but for those that write files of output
//! (`streams/writers` says why); `driver` owns core and carries out what it says,
//! `connection` serves one client, `workers` holds the processes, and `convert` is the one place
//! where the words of core, configuration and API meet.
//!
//! Nothing is decided here. What wakes the loop becomes an input, all inputs that are there are
//! handed to core with one reading of the clock, and the actions are carried out in their order:
//!
//! ```text
//!  signals ────┐                                          ┌──► workers ──► sys
//!  pidfds ─────┤             inputs          actions      ├──► events ───► connections
//!  calls ──────┼──► driver ─────────► core ─────────► driver ─► journal, notify
//!  deadline ───┘      ▲                                   └──► replies ──► connections
//!                     └── calls.rs, configure.rs: a call becomes a command, or its answer
//! ```
//!
//! `start` makes the daemon from a configuration, `flags` are those of its command line, and `options`
//! what it is started and ends with. `homes`
//! gives each worker a cgroup or what stands in for one, `resources` says what that is held to and
//! `want` what comes of it, `streams` is the worker's output, `program` all else that it is made from, `recipes` keeps that for as long as core may ask for it, with the `sockets`
//! that it inherits; `demand` waits for whoever connects to those of a watcher that starts on demand.
//! `said` takes what the programs beside the workers, hooks and loggers, say to the log.
//! `hooks` asks what core wants to have asked, each in a task of its own; `examine` finds out whether
//! processes are ready and healthy; `probes` are the questions that need no program, and `messages`
//! what processes say by themselves. The daemon's own hooks are asked in `turns`, between its
//! beginning and its end, and at the `gate`, about each client and what it calls. `vigil` hears that a
//! configuration file has changed, which `configure` then reads. `state` is what a daemon leaves to the
//! next one, `leave` makes room for that, and `adopt` goes on with it; `strays` looks for those that
//! were not written down.

mod access;
mod adopt;
mod calls;
mod clock;
mod configure;
mod connection;
mod convert;
mod demand;
mod descriptors;
mod driver;
mod events;
mod examine;
mod explain;
mod flags;
mod gate;
mod guest;
mod homes;
mod hooks;
mod journal;
mod leave;
mod messages;
mod notify;
mod options;
mod orders;
mod powers;
mod probes;
mod program;
mod recipes;
mod resources;
mod said;
mod sockets;
mod start;
mod state;
mod stats;
mod stderr;
mod stop_post;
mod strays;
mod streams;
mod tool;
mod turns;
mod vigil;
mod wakeups;
mod want;
mod workers;

pub(crate) use driver::Ended;
pub(crate) use guest::{BATCHES_MAX, Message, Plan, run as run_guest};
pub(crate) use hooks::{AskProgram, Asked, Closure, Closures, Said, Saying};
pub(crate) use start::{Failure, whole};
pub(crate) use streams::Which;

pub use crate::config::Sources;
pub use flags::{command, sources};
pub use options::{ExitCode, Options};
pub use start::run;
pub use state::check as check_state;
pub use stop_post::stop_post;
