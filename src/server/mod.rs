//! Makes it so: the daemon's loop, its connections, its processes.
//!
//! The only room that waits. One thread; `driver` owns core and carries out what it says,
//! `connection` serves one client, `workers` holds the processes, and `convert` is the one place
//! where the words of core, configuration and API meet.

mod access;
mod calls;
mod clock;
mod configure;
mod connection;
mod convert;
mod descriptors;
mod driver;
mod events;
mod flags;
mod homes;
mod journal;
mod notify;
mod program;
mod recipes;
mod start;
mod state;
mod stats;
mod streams;
mod workers;

pub use flags::{command, sources};
pub use start::{ExitCode, Options, run};
