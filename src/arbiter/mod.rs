//! The supervisor in your own program: [`Arbiter`], its [`Watcher`]s and their [`Process`]es.
//!
//! It is the loop of the daemon, on a thread of its own, without what belongs to a whole process:
//! no signal of the program is caught, no child is waited for that the arbiter has not started, no
//! limit, mask or environment is changed, nothing is logged but through `tracing`, and nothing is
//! left when it has ended. So it runs inside any program, and several run in one. What it has
//! that the daemon has not: hooks as closures, servers, and output that the program reads itself.
//!
//! It deliberately decides nothing: that core does, and everything here goes to the loop in the
//! words of `io.circusd`, as a client's calls do.

mod builder;
mod error;
mod events;
mod executor;
mod handle;
mod hooks;
mod life;
mod process;
mod servers;
mod watcher;
mod watcher_builder;

pub use builder::{Builder, get_arbiter};
pub use error::{BoxError, Error};
pub use events::Events;
pub use handle::Handle;
pub use hooks::{Answer, DaemonContext, HookContext};
pub use life::Arbiter;
pub use process::{Output, Process};
pub use watcher::Watcher;
pub use watcher_builder::WatcherBuilder;

pub use crate::client::Item;
pub use crate::config::{DaemonHook, HookName as Hook};
