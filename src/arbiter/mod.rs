//! The supervisor in your own program: [`Arbiter`], its [`Watcher`]s and their [`Process`]es.
//!
//! The page for newcomers is [the crate's first](crate). This is what it is, what it leaves alone,
//! and what became of each thing that Circus's library has.
//!
//! ```no_run
//! use circusd::arbiter::{Answer, Hook, Item};
//! use circusd::{Arbiter, Watcher};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let web = Watcher::builder("web", ["/srv/web/bin/serve"])
//!     .numprocesses(4)
//!     .env("RUST_LOG", "info")
//!     .set("max_age", "1d");
//! let arbiter = Arbiter::builder()
//!     .watcher(web)
//!     .hook("web", Hook::BeforeStart, |cx| async move {
//!         match std::fs::exists("/srv/web/migrated")? {
//!             true => Ok(Answer::yes()),
//!             false => Ok::<_, std::io::Error>(Answer::no("the database is an old one")),
//!         }
//!     })
//!     .build()?;
//! arbiter.start_in_background().await?;
//! let mut events = arbiter.events().await?;
//! while let Some(item) = events.next().await {
//!     if let Item::Event(event) = item {
//!         println!("{}", event.topic);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # A guest
//!
//! It is the loop of the daemon, on a thread of its own, and it behaves as a guest does: no signal
//! of the program is caught, no child is waited for that the arbiter has not started, no limit,
//! mask, directory or environment is changed, nothing is logged but through `tracing` (with targets
//! below `circusd`), and nothing is left when it has ended. So it runs inside any program, and
//! several run in one. In return:
//!
//! * A program that waits for *any* child (`waitpid(-1)`), or ignores SIGCHLD, takes the ends of
//!   workers from us. They are noticed all the same, but before Linux 6.15 their cause is `unknown`.
//! * Without [`Builder::cgroups`], what a worker has started is held together by parentage, session,
//!   process group and a mark in the environment. The daemon catches who sheds all of these by being
//!   the reaper of its descendants; in a program with children of its own that cannot be told apart.
//! * When the program is killed, nobody stops the workers, and no other arbiter takes them over:
//!   for that there is the daemon.
//! * Workers inherit the soft limit on descriptors that the program has.
//!
//! A watcher that does not start is no error of [`Arbiter::start`]: others go on. It is told in its
//! [`status`](Watcher::status), as events, by [`Watcher::start`], and as a record of `tracing`.
//!
//! # Your code and ours
//!
//! Hooks and servers run on the tokio runtime in which the arbiter was started; without one, on a
//! thread for them. They never run on the loop's thread, so nothing they do holds up a worker that
//! they are not about. A runtime of one thread runs them only while that is in `block_on`: a hook
//! that is asked meanwhile is one that does not answer. Everything else is a message to the loop, in
//! the words of io.circusd(7): [`Handle::call`] takes any of its methods.
//!
//! # For those who come from Circus
//!
//! | Circus | here |
//! |---|---|
//! | `get_arbiter([{"cmd": "myprogram", "numprocesses": 3}])` | [`get_arbiter`], of JSON objects or [`Watcher::builder`] |
//! | `get_arbiter(..., sockets=…, plugins=…)` | [`Builder::socket`], [`Builder::plugin`] |
//! | `get_arbiter(..., endpoint=…, pubsub_endpoint=…, loop=…)` | [`Builder::api_socket`]; any runtime |
//! | `Arbiter.start`, `stop` | [`Arbiter::start`], [`Arbiter::start_in_background`], [`Handle::stop`] |
//! | `Arbiter.reload`, `numprocesses`, `numwatchers` | [`Handle::reload`], [`Handle::numprocesses`], [`Handle::numwatchers`] |
//! | `Arbiter.get_watcher`, `iter_watchers`, `add_watcher`, `rm_watcher` | [`Handle::get_watcher`], [`Handle::watchers`], [`Handle::add_watcher`], [`Handle::rm_watcher`] |
//! | `Arbiter.get_socket` | [`Handle::get_socket`] |
//! | `Arbiter.reloadconfig` | [`Handle::call`] with [`ReloadConfig`](crate::api::Method::ReloadConfig) |
//! | `CircusConsumer` | [`Handle::events`]; from another process [`Client::subscribe`](crate::client::Client::subscribe) |
//! | `CircusClient` | [`Handle::call`]; from another process [`Client::call`](crate::client::Client::call) |
//! | `Watcher.start`, `stop`, `restart`, `reload` | [`Watcher::start`], [`Watcher::stop`], [`Watcher::restart`], [`Watcher::reload`] |
//! | `Watcher.incr`, `decr`, `set_numprocesses`, `spawn_process` | [`Watcher::incr`], [`Watcher::decr`], [`Watcher::scale`], [`Watcher::spawn`] |
//! | `Watcher.kill_process`, `kill_processes` | [`Process::stop`], [`Watcher::kill`] |
//! | `Watcher.send_signal`, `send_signal_child` | [`Watcher::signal`], [`Process::send_signal_child`] |
//! | `Watcher.notify_event` | [`Watcher::notify_event`]: `watcher.NAME.notice` |
//! | `Watcher.status`, `processes`, `options`, `set_opt`, `do_action` | [`Watcher::status`], [`Watcher::processes`], [`Watcher::options`], [`Watcher::set`], which acts by itself |
//! | `Watcher.spawn_processes`, `manage_processes`, `reap_processes`, `reap_and_manage_processes` | not the caller's to do any more: ends are heard of as they happen, and what is missing is started |
//! | `Process.pid`, `wid`, `age`, `info`, `status` | [`Process::pid`], [`Process::wid`], [`Process::age`], [`Process::info`], [`Process::status`] |
//! | `Process.stdout`, `stderr` | [`Process::stdout`], [`Process::stderr`], of a watcher with `stdout = "pipe"` |
//! | `Process.send_signal`, `stop` | [`Process::send_signal`], [`Process::stop`] |
//! | `Process.children`, `is_child`, `send_signal_children` | [`Process::children`], [`Process::is_child`], [`Process::send_signal_children`] |
//! | hooks as functions, `hook(watcher, arbiter, hook_name)` | [`Builder::hook`] with a [`HookContext`] |
//! | subclasses, for finer control | hooks, events, and the [core by hand](crate#the-core-by-hand) |
//!
//! And of microagent's life cycle: `pre_start`, `post_start`, `pre_stop`, `server` and `@on(label)`
//! are [`Builder::on`] and [`Builder::server`]; `ServerInterrupt` is `Ok(())`.
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
pub use crate::config::{DaemonHook, Diagnostic, Errors, HookName as Hook};
pub use crate::sys::manager::{Passed, take as take_passed};
