//! circusd: a process supervisor for Linux, as a daemon and as a library.
//!
//! It runs *watchers*: pools of processes that are alike, kept alive, scaled while they run,
//! replaced when they crash or grow old. The daemon is `circusd`, and `circusctl` commands it;
//! this is the library that both are made of, and with which your own program does the same.
//!
//! # A pool in five minutes
//!
//! A program that keeps three workers alive, whatever happens to them. In `Cargo.toml`:
//!
//! ```toml
//! [dependencies]
//! circusd = { version = "0.1", default-features = false, features = ["server"] }
//! tokio = { version = "1", features = ["full"] }
//! ```
//!
//! In `src/main.rs`, with `sleep` as the worker for now:
//!
//! ```no_run
//! # #[cfg(feature = "server")]
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let worker = circusd::Watcher::builder("worker", ["sleep", "60"]).numprocesses(3);
//!     let arbiter = circusd::get_arbiter([worker])?;
//!     tokio::select! {
//!         ended = arbiter.start() => ended?,
//!         _ = tokio::signal::ctrl_c() => arbiter.stop().await?,
//!     }
//!     Ok(())
//! }
//! # #[cfg(not(feature = "server"))]
//! # fn main() {}
//! ```
//!
//! `cargo run`, and in another terminal kill one of them (`pgrep -P` with the pid of the program
//! lists them): there are three again, at once. Ctrl-C ends all of them, with whatever they have
//! started; a worker that does not want to has 30 s.
//!
//! What it has to say goes through `tracing`, and any subscriber shows it; without one, a program that
//! is not there fails in silence, as far as the terminal goes.
//!
//! An [`Arbiter`] is started in the background as well, and commanded while it runs. Its watchers
//! are [`Watcher`]s, whose processes are [`Process`]es:
//!
//! ```
//! # #[cfg(feature = "server")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let worker = circusd::Watcher::builder("worker", ["sleep", "60"]).numprocesses(3);
//! # let arbiter = circusd::get_arbiter([worker])?;
//! arbiter.start_in_background().await?;
//! let worker = arbiter.get_watcher("worker").await?;
//! worker.incr(2).await?; // one more is started as soon as this says so
//! for process in worker.processes().await? {
//!     let used = process.info().await?;
//!     println!("{}: {} bytes of memory", process.pid(), used.memory_rss);
//! }
//! worker.reload().await?; // each replaced, the new ones first
//! assert_eq!(arbiter.numprocesses().await?, 5);
//! arbiter.stop().await?; // all gone
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "server"))]
//! # fn main() {}
//! ```
//!
//! What a watcher can be told is in circusd.toml(5), and all of it can be said in Rust:
//! [`WatcherBuilder::set`](arbiter::WatcherBuilder::set) takes every key, with a table in the form of
//! `serde_json::json!`, and [`Builder::config_file`](arbiter::Builder::config_file) the file itself.
//! From there:
//!
//! * whether a worker may start is for your own code to say: hooks as closures,
//!   [`Builder::hook`](arbiter::Builder::hook);
//! * what happens is told as it happens: [`Handle::events`](arbiter::Handle::events);
//! * sockets that outlive the workers behind them: [`Builder::socket`](arbiter::Builder::socket);
//! * services of your own beside the workers: [`Builder::server`](arbiter::Builder::server);
//! * programs that hear of it all and act on it, in any language and with [`plugin`] in Rust:
//!   [`Builder::plugin`](arbiter::Builder::plugin).
//!
//! [`arbiter`] tells the rest, and has a table for those who come from Circus. In `examples/` are
//! `three_lines`, `web_pool` (a web server with its pool), `hook_closure` and `follow_events`.
//!
//! # A client
//!
//! A daemon that runs already, or an arbiter with an API socket, is spoken with by [`client`], which
//! blocks and needs nothing but the standard library: with `default-features = false` the crate is
//! this, the types of the interface ([`api`]) and the [`core`], without tokio.
//!
//! ```no_run
//! use circusd::api::{Method, params, reply};
//! use circusd::client::{Client, Item, default_socket};
//!
//! let mut client = Client::connect(default_socket())?;
//! let status: reply::Status = client.call(&Method::Status(params::Watchers::default()))?;
//! let pools = status.watchers.iter().map(|watcher| watcher.name.as_str());
//! println!("{}", pools.collect::<Vec<_>>().join(", "));
//! for item in client.subscribe(params::Subscribe::default())? {
//!     if let Item::Event(event) = item? {
//!         println!("{} {:?}", event.topic, event.data);
//!     }
//! }
//! # Ok::<(), circusd::client::ClientError>(())
//! ```
//!
//! # What is promised
//!
//! The versions of the crate follow [semver](https://semver.org/), and hold for what these pages show:
//! [`arbiter`], [`plugin`], [`client`] and [`api`], which grow without breaking anybody, as their
//! types are `#[non_exhaustive]` where there may be more one day; [`server`], which is what
//! `circusd` itself calls; and the [`core`], whose lists are closed on purpose: whoever drives it
//! wants to hear from the compiler that there is something new to be done.
//!
//! Crates that are seen through ours are serde and serde_json 1, in [`arbiter`] and [`plugin`] tokio
//! 1 and futures-core 0.3, in [`server`] and [`plugin`] clap 4. The rooms `config`, `sys` and `cli`
//! are public for our own programs and tests: they are not shown, and may change with any version.
//!
//! # The map
//!
//! The rest of this page is for those who read or change the code.
//!
//! ## The house
//!
//! ```text
//! bin         circusd · circusctl · circus-plugin: flags in, exit code out, nothing else
//!  ├─ cli       the table of commands → parser, help, manual page, completions; printing
//!  │   └─ client    blocking, std only: call(), subscribe()
//!  │  arbiter   the same loop in another program: Arbiter, Watcher, Process, hooks as closures
//!  └─ server    the loop, one thread: owns the core, carries out its actions
//!      ├─ config    files and flags → checked specs; the table of keys
//!      ├─ core      what should happen: pure, no clock, no I/O, deterministic
//!      ├─ api       what goes over the socket: IDL, wire types, framing without I/O
//!      └─ sys       how Linux is asked: the only unsafe code; knows nothing of us
//! plugin      the trait Plugin, and those that come with circusd: clients like any other
//! ```
//!
//! `core`, `api`, `config` and `sys` know no other room, and nothing points back up. `client` and
//! `cli` see of the daemon only what goes over the socket; one file of `cli` asks `config`, for what
//! can be said without a daemon. Types of `core` and `api` are different types even where they look
//! alike, and one file, `server/convert.rs`, translates. A test (`tests/walls`) reads the `use`
//! lines and holds the walls. `core`, `api` and `client` need no tokio, the first two nothing of
//! Linux either; the feature `server` adds `config`, `sys`, `server` and `arbiter`, the feature
//! `cli` adds `cli`, the feature `plugin` adds `config` and `plugin`, which knows `api`, `client`
//! and `config` alone. Only `server`, `arbiter` and `plugin` are async.
//!
//! ## What always holds
//!
//! * Never more processes than asked for: a worker on its way out still holds its place. The
//!   exception is a reload with new processes first, which has at most twice as many.
//! * A watcher is stopped only when everything its workers have forked is gone.
//! * Each process is told of once when it runs and once when it ends; each request is answered
//!   once; events are numbered without gaps, and what a listener misses is told to it as a gap.
//! * A stop ends; nothing is tried again without a pause that grows.
//! * A mistake changes nothing: configurations and requests are checked whole before anything
//!   moves.
//! * A pid is never trusted: signals go through pidfds, and a worker is named by a
//!   [`core::WorkerId`], which is never used twice.
//! * Nothing waits without a limit, no queue is without a bound, and nothing is polled.
//!
//! Those of them that concern core are checked by its simulator (`core/sim`) after every step of
//! thousands of random worlds.
//!
//! ## Walks
//!
//! **`circusctl incr web`.** `cli::run` finds the row `incr` in `cli/commands/acting.rs`, whose
//! function calls `Scale` through [`client::Client`], which writes one line.
//! `server/connection.rs` reads it ([`api::frame::Frames`], [`api::method::Request::parse`]) and
//! puts it on the one channel to the loop in `server/driver.rs`. There `Driver::call`
//! (`server/calls.rs`) asks `server/access.rs` whether the peer may, and makes of it a
//! [`core::Command::Scale`]. [`core::Supervisor::handle_all`] records the new number
//! (`core/commands.rs`), then reconciles the watcher: one process is missing
//! (`core/pool.rs`), so out comes [`core::Action::Spawn`]. `Driver::carry_out` has
//! `server/workers.rs` start it by `sys::spawn`; its pid goes back in as
//! [`core::Input::Spawned`], from which follow the events `spawn` and `ready` and an
//! [`core::Action::Reply`], which `server/convert.rs` puts into the words of the API.
//!
//! **A worker crashes.** Its pidfd becomes readable and wakes the loop; `server/workers.rs` waits
//! for it and hands in [`core::Input::Exited`]. `core/endings.rs` counts the end and decides when
//! the place may be filled again: at once, or after a pause, for which
//! [`core::Supervisor::next_deadline`] wakes the loop. Then reconciliation finds one process
//! missing, as above.
//!
//! **SIGHUP, or `circusctl reloadconfig`.** `server/configure.rs` reads the files again
//! (`config::Store::reread`). On a mistake nothing has changed and the event `config_error`
//! tells where it is; else [`core::Command::Apply`] hands core all watchers, and core sorts them
//! into added, removed, changed in place and replaced.
//!
//! **`watcher.incr(1)` in a program.** `arbiter/watcher.rs` makes the same `Scale`, and sends it to
//! the thread of the arbiter, where the desk in `server/guest.rs` puts it on the loop's channel as
//! any connection does; the answer goes back the same way. That the process is not ours shows in few
//! places only: `server/orders.rs` stands in for signals, and what is left of a worker is found by
//! its pidfds, as orphans go elsewhere.
//!
//! **An event.** [`core::Action::Emit`] is put into the words of the API, logged
//! (`server/journal.rs`), serialized once and kept in the ring of `server/events.rs`. A
//! subscriber is a position in that ring; one that reads too slowly finds its position gone, and
//! is told which numbers it missed.
//!
//! ## The daemon itself
//!
//! [`server::run`] is all of `circusd` but its flags. It has the thread until the daemon ends, and
//! takes SIGTERM, SIGINT, SIGHUP and SIGCHLD of the process for itself. (For a program that is more
//! than that there is [`Arbiter`].)
//!
//! ```no_run
//! # #[cfg(feature = "server")] {
//! use circusd::server;
//!
//! let matches = server::command().get_matches_from(["circusd", "--config", "pool.toml"]);
//! let sources = server::sources(&matches);
//! let code = server::run(server::Options::new(sources), |complaint| eprintln!("{complaint}"));
//! assert_eq!(code, server::ExitCode::Stopped);
//! # }
//! ```
//!
//! ## The core by hand
//!
//! Facts go in with the time at which they happened, actions come out; whoever drives it carries
//! them out and hands in what came of it. Here a process is killed, and asked for again.
//!
//! ```
//! use circusd::core::{
//!     Action, Command, ExitStatus, Input, Limits, Name, Readiness, ReloadMode, Request, RequestId,
//!     Restart, Revision, Supervisor, Time, WatcherSpec, WorkerId,
//! };
//! use std::time::Duration;
//!
//! /// The workers that are to be started.
//! fn spawns(actions: &[Action]) -> Vec<WorkerId> {
//!     let worker = |action: &Action| match action {
//!         Action::Spawn { worker, .. } => Some(*worker),
//!         _ => None,
//!     };
//!     actions.iter().filter_map(worker).collect()
//! }
//!
//! let limits = Limits {
//!     warmup_delay: Duration::ZERO,
//!     stop_timeout: Duration::from_secs(90),
//!     watchers_max: 10,
//!     processes_max: 100,
//! };
//! let web = WatcherSpec {
//!     name: Name::from("web"),
//!     revision: Revision(1),
//!     numprocesses: 1,
//!     singleton: false,
//!     priority: 0,
//!     after: Vec::new(),
//!     requires: Vec::new(),
//!     autostart: true,
//!     on_demand: false,
//!     warmup_delay: Duration::ZERO,
//!     graceful_timeout: Duration::from_secs(30),
//!     stop_signal: 15,
//!     stop_children: false,
//!     send_hup: false,
//!     reload: ReloadMode::NewFirst,
//!     restart: Restart::Always,
//!     success_exit_status: vec![0],
//!     max_retry: Some(5),
//!     backoff: None,
//!     flapping: None,
//!     max_age: None,
//!     max_age_variance: Duration::ZERO,
//!     ready: Readiness::Spawn,
//!     watchdog: None,
//!     health: false,
//!     max_requests: None,
//!     critical: false,
//!     hooks: Default::default(),
//! };
//! let mut supervisor = Supervisor::new(Time::ZERO, limits, 42);
//! let boot = Request {
//!     id: RequestId(1),
//!     wait: true,
//!     progress: false,
//!     command: Command::Apply { specs: vec![web], changed: Default::default(), limits },
//! };
//!
//! let first = spawns(&supervisor.handle(Time::ZERO, Input::Request(boot)));
//! assert_eq!(first.len(), 1);
//! let spawned = Input::Spawned { worker: first[0], pid: 4711 };
//! let actions = supervisor.handle(Time::from_micros(800), spawned);
//! assert!(actions.iter().any(|action| matches!(action, Action::Reply { result: Ok(_), .. })));
//!
//! let exited = Input::Exited {
//!     worker: first[0],
//!     status: ExitStatus::Signaled(9),
//!     emptied: true,
//! };
//! let second = spawns(&supervisor.handle(Time::from_micros(60_000_000), exited));
//! assert_eq!(second.len(), 1, "its place is filled again");
//! assert_ne!(first, second, "a name is never used twice");
//! ```
//!
//! ## To read on
//!
//! The manual: circusd(8), circusctl(1), circusd.toml(5), io.circusd(7), circusd-events(7),
//! circusd-hooks(7).
//! [`core::Watcher`] and [`core::Worker`] begin with the diagrams of their states.
#![cfg_attr(
    not(all(feature = "server", feature = "plugin")),
    expect(
        rustdoc::broken_intra_doc_links,
        reason = "this page tells of all features, whichever are there"
    )
)]

pub mod api;
pub mod client;
pub mod core;

// Public for our own programs and tests, and no part of what is promised.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "config")]
#[doc(hidden)]
pub mod config;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod sys;

#[cfg(feature = "server")]
pub mod arbiter;
#[cfg(feature = "plugin")]
pub mod plugin;
#[cfg(feature = "server")]
pub mod server;

pub use client::Client;

#[cfg(feature = "server")]
pub use arbiter::{Arbiter, Process, Watcher, get_arbiter};

#[cfg(all(test, feature = "server"))]
#[path = "../tests/common/skip.rs"]
mod skip;
